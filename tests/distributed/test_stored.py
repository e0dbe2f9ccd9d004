"""Examples in files and in chunks: what is read by whom, and that it does not show."""

import os
import pickle
import time

import numpy as np
import pytest
from arrays import draw, same_bits
from engines import make_ray_engine, needs_ray
from mapped_models import alone_by_gru, flat_of, gru, three
from spread import Unlucky

import exactrnn as xr
from exactrnn import distributed, train
from exactrnn.distributed import InlineEngine, LocalEngine
from exactrnn.train._stored import FileRows, as_file

N, T, I = 23, 5, 3
X, Y = draw(T, N, I), draw(N, T, 4)


@pytest.fixture
def stored(tmp_path):
    """Return inputs and targets in files, mapped."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]


def trained(x, y, *, size=7, loss=train.mean_squared_error, **options):
    model = xr.LSTM(I, 4, seed=0)
    history = distributed.fit(
        model,
        train.batches(x, y.swapaxes(0, 1), size, seed=2),
        loss,
        train.SGD(model, lr=0.2),
        epochs=2,
        **{"shards": 4, **options},
    )
    return [*model.state_dict().values(), *history[:3]]


TRUTH = trained(X, Y)


class Seeing(InlineEngine):
    """Keeps what comes with the shards; `has_files` says what workers say of them."""

    def __init__(self, has_files=True):
        self.shards, self.has_files = [], has_files

    def call(self, worker, method, *args, returns=1):
        args = pickle.loads(pickle.dumps(args)) if method == "gradients" else args
        if method == "gradients":
            self.shards += args[2]
        found = super().call(worker, method, *args, returns=returns)
        return self.put(False) if method == "load" and not self.has_files else found


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_files_have_the_bits_of_arrays(stored, workers):
    engine = Seeing() if workers else None
    assert same_bits(trained(*stored, workers=workers, engine=engine), TRUTH)
    if workers:
        parts = [part for shard in engine.shards for part in shard.rows[:2]]
        assert {type(part) for part in parts} == {FileRows}
        assert max(len(pickle.dumps(shard)) for shard in engine.shards) < 2000


def test_processes_read_files_and_a_lost_one_does_not_show(stored):
    with LocalEngine() as engine:
        assert same_bits(trained(*stored, workers=2, engine=engine), TRUTH)
    engine = Unlucky([9])
    assert same_bits(trained(*stored, workers=2, engine=engine), TRUTH)
    assert engine.losses == 1


def test_workers_that_lack_a_file_get_the_rows(stored):
    engine = Seeing(has_files=False)
    assert same_bits(trained(*stored, workers=2, engine=engine), TRUTH)
    parts = [part for shard in engine.shards for part in shard.rows[:2]]
    assert {type(part) for part in parts} == {np.ndarray}


def test_a_file_that_is_gone_or_another_is_not_here(stored, tmp_path):
    file = as_file(stored[0])
    assert file.is_here()
    later = time.time() + 5
    os.utime(tmp_path / "x.npy", (later, later))
    assert not file.is_here()
    for path in tmp_path.iterdir():
        path.unlink()
    assert as_file(stored[0]) is None
    assert same_bits(trained(*stored, workers=2, engine=Seeing()), TRUTH)


def test_a_file_that_goes_during_an_epoch_is_read_by_who_has_it(stored, tmp_path):
    engine = Seeing(has_files=False)

    def watch(exchange):
        if exchange.batch == 1:
            for path in tmp_path.iterdir():
                path.unlink()

    assert same_bits(trained(*stored, workers=2, engine=engine, watch=watch), TRUTH)


VIEWS = {
    "whole": lambda m: m,
    "as an array": np.asarray,
    "rows": lambda m: m[3:17],
    "backwards": lambda m: m[::-1, :, ::2],
    "turned": lambda m: m.swapaxes(0, 2),
    "one": lambda m: m[4],
}


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
@pytest.mark.parametrize("name", VIEWS)
def test_views_of_files_are_found_in_them(tmp_path, dtype, name):
    path = tmp_path / "raw"
    whole = (draw(20, 6, 5) * 100).astype(dtype)
    path.write_bytes(b"head" * 3 + whole.tobytes())
    mapped = np.memmap(path, dtype, "r", 12, whole.shape)
    view = VIEWS[name](mapped)
    file = pickle.loads(pickle.dumps(as_file(view)))
    assert np.array_equal(file.array(), VIEWS[name](whole))
    chosen = np.array([2, 0, 1])
    rows = FileRows(file, chosen, view.ndim - 1)
    assert rows.dtype == rows.read().dtype
    assert (rows.shape, rows.size) == (rows.read().shape, rows.read().size)
    assert np.array_equal(rows.part(1, 3), VIEWS[name](whole)[..., [0, 1]])


def test_what_is_in_no_file_is_said(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    private = np.load(path, mmap_mode="c")
    assert as_file(private) is None
    assert as_file(X) is None
    assert as_file(np.load(path, mmap_mode="r") * 1) is None
    written = np.load(path, mmap_mode="r+")
    written[0, 0, 0] = 5
    assert as_file(written).array()[0, 0, 0] == 5


def test_targets_of_integers_are_counted(tmp_path):
    y = np.random.default_rng(0).integers(-1, 4, (T, N))
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    found = []
    for targets in (y, mapped):
        engine, loss = Seeing(), train.softmax_cross_entropy
        options = {"workers": 2, "engine": engine, "loss": loss}
        found.append(trained(X, targets.swapaxes(0, 1), **options))
    assert same_bits(*found)
    assert isinstance(engine.shards[0].rows.y, FileRows)


# Chunks


class Chunked:
    """An array in chunks that reads rising indices alone, as h5py does."""

    chunks = (2, 2)

    def __init__(self, array):
        self._array, self.read = array, []
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        [rows] = [one for one in index if not isinstance(one, slice)]
        assert (np.diff(rows) > 0).all()
        self.read.append(len(rows))
        return self._array[index]


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_are_read_as_batches_need_them(workers):
    x, y = Chunked(X), Chunked(Y.swapaxes(0, 1))
    y.swapaxes = lambda *_: y
    engine = "inline" if workers else None
    assert same_bits(trained(x, y, workers=workers, engine=engine), TRUTH)
    assert x.read == y.read == [7, 7, 7, 2] * 2


def test_arrays_of_dask_are_examples():
    dask = pytest.importorskip("dask.array", reason="needs dask")
    x, y = (dask.from_array(array, chunks=4) for array in (X, Y))
    assert same_bits(trained(x, y, workers=2, engine="inline"), TRUTH)


# Maps


def mapped(source):
    return [flat_of(one) for one in distributed.map_sequences(gru(), source)]


def test_maps_read_arrays_a_chunk_at_a_time():
    class Rows(Chunked):
        def __len__(self):
            return len(self._array)

        def __getitem__(self, index):
            self.read.append(index)
            return self._array[index]

    source = Rows(draw(5, 6, 3))
    assert same_bits(mapped(source), alone_by_gru(draw(5, 6, 3)))
    assert source.read == [slice(0, 2), slice(2, 4), slice(4, 6)]


def test_maps_read_collections_of_dask_in_parts():
    dask = pytest.importorskip("dask", reason="needs dask")
    array = pytest.importorskip("dask.array", reason="needs dask")
    bag = pytest.importorskip("dask.bag", reason="needs dask")
    chunked = array.from_array(draw(6, 5, 3), chunks=(4, 2, 3))
    assert same_bits(mapped(chunked), alone_by_gru(draw(6, 5, 3)))
    with dask.config.set(scheduler="sync"):
        found = mapped(bag.from_sequence(three()[:5], npartitions=2))
    assert same_bits(found, alone_by_gru(three()[:5]))


# Ray


class Dataset:
    """As a dataset of Ray, but for what is in it."""

    def iter_batches(self):
        """Do nothing."""

    def __iter__(self):
        raise TypeError("no loops")


def test_a_dataset_of_ray_says_what_to_do():
    model = xr.GRU(3, 4)
    parts = train.mean_squared_error, train.SGD(model, lr=0.1)
    for fit in (train.fit, distributed.fit):
        with pytest.raises(TypeError, match=r"^batches: .*RayColumn\(dataset, name\)"):
            fit(model, Dataset(), *parts)
    with pytest.raises(TypeError, match=r"^dataset: expected one of ray.data, got "):
        distributed.RayColumn([X], "x")


@pytest.mark.deep
@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own
def test_columns_of_ray_are_examples():
    pytest.importorskip("pyarrow", reason="needs ray[data]")
    import ray.data

    items = [{"x": X[:, k], "y": Y[k], "n": k} for k in range(N)]
    with make_ray_engine() as engine:
        dataset = ray.data.from_items(items, override_num_blocks=4)
        x, y, n = (distributed.RayColumn(dataset, name) for name in "xyn")
        assert (x.shape, x.dtype, len(y)) == ((N, T, I), X.dtype, N)
        assert sum(x.chunks[0]) == N
        blocks = len(x.chunks[0])
        shown = f"<RayColumn 'x': {x.shape}, float32, {blocks} blocks>"
        assert repr(x) == shown
        assert n[np.array([22, 0, 7])].tolist() == [22, 0, 7]
        found = []
        for given in ((np.array(X.swapaxes(0, 1)), Y), (x, y)):
            model = xr.LSTM(I, 4, batch_first=True, seed=0)
            data = train.batches(*given, 7, seed=2, axes=(0, 0))
            parts = model, data, train.mean_squared_error, train.SGD(model, lr=0.2)
            options = {"epochs": 1, "shards": 4, "workers": 2, "engine": engine}
            distributed.fit(*parts, **options)
            found.append(model.state_dict())
        assert same_bits(*found)
        with pytest.raises(ValueError, match=r"^name: expected one of 'x', 'y', 'n'"):
            distributed.RayColumn(dataset, "z")
        ragged = [{"x": np.zeros(k)} for k in range(1, 4)]
        with pytest.raises(ValueError, match=r"^name: expected entries of 'x' of one"):
            distributed.RayColumn(ray.data.from_items(ragged), "x")
        with pytest.raises(ValueError, match=r"^axes: expected 0 for a column of Ray"):
            next(iter(train.batches(x, x, 7, axes=(1, 1))))
