"""`map_sequences`: each sequence has what it has alone, whoever computes it when."""

import io
import itertools
import multiprocessing
import pickle
import time

import numpy as np
import pytest
from arrays import draw, same_bits
from mapped_models import (
    Choosy,
    Mean,
    SteeredEngine,
    Turned,
    alone_by_gru,
    flat_of,
    gru,
    three,
)
from modules import CELLS, DECODERS, GRIDS, LAYERS, I, fitted, flat

import exactrnn as xr
from exactrnn.distributed import (
    LocalEngine,
    MappedSequence,
    SequenceError,
    _map_worker,
    map_sequences,
)
from exactrnn.distributed._pool import Pool, Waiting
from exactrnn.train import Embedding, Last, Linear, Sequential

LENGTHS = (5, 1, 9, 3, 3, 7, 1, 12, 2, 4, 5, 30)
SOURCE = three()
TRUTH = alone_by_gru(SOURCE)
SMALL = 1 << 15
"""Bytes: some sequences in a group, several groups."""


def chain(**options):
    return Sequential(
        xr.GRU(I, 5, bidirectional=True, **options), Linear(10, 3), seed=1
    )


MODELS = {
    **{name: lambda make=make: make() for name, make in LAYERS.items()},
    "bidirectional": lambda: xr.LSTM(I, 5, 2, bidirectional=True, seed=1),
    "reverse": lambda: xr.GRU(I, 5, reverse=True, seed=1),
    "batch-first": lambda: xr.LSTM(I, 5, batch_first=True, seed=1),
    "projected": lambda: xr.LSTM(I, 5, proj_size=2, seed=1),
    "double": lambda: xr.RNN(I, 5, dtype="float64", seed=1),
    "echo-state": fitted,
    "linear": lambda: Linear(I, 5, seed=1),
    "embedding": lambda: Embedding(I, 5, seed=1),
    "chain": chain,
    "last": lambda: Sequential(xr.GRU(I, 5), Last(), Linear(5, 3), seed=1),
    "symbols": lambda: Sequential(Embedding(I, 6), xr.LSTM(6, 5), xr.GRU(5, 3), seed=1),
    "nested": lambda: Sequential(Sequential(xr.GRU(I, 5), xr.GRU(5, 5)), Linear(5, 2)),
}


def reads_symbols(model):
    return isinstance(model[0] if isinstance(model, Sequential) else model, Embedding)


def sequences_for(model, lengths=LENGTHS):
    if reads_symbols(model):
        source = np.random.default_rng(0)
        return [source.integers(0, I, T) for T in lengths]
    dtype = str(model.dtype)
    return [draw(T, I, dtype=dtype, seed=T + k) for k, T in enumerate(lengths)]


def alone(model, x):
    """Return what a model gives for one sequence, without an axis for rows."""
    if not isinstance(model, Sequential):
        return model(x)
    found = model(x[:, None])
    y, state = found if isinstance(found, tuple) else (found, None)
    parts = [part[:, 0] for part in flat(state)]
    return y[0] if y.ndim == 2 else y[:, 0], parts


def results(model, source, **options):
    """Return what a map gives, as lists of arrays; the places must be in order."""
    found = [*map_sequences(model, source, **options)]
    assert [one.index for one in found] == [*range(len(found))]
    return [flat_of(one) for one in found]


@pytest.fixture
def together(monkeypatch):
    """No group falls back to one call for each of its sequences."""

    def alone(self, x):
        pytest.fail(f"{x.shape} was run alone")

    monkeypatch.setattr(_map_worker.MapWorker, "_alone", alone)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("memory", [1, SMALL, 1 << 28], ids=["one", "some", "all"])
@pytest.mark.parametrize("name", MODELS)
def test_each_sequence_has_what_it_has_alone(name, memory):
    model = MODELS[name]()
    source = sequences_for(model)
    found = results(model, source, memory=memory)
    assert len(found) == len(source)
    for x, given in zip(source, found, strict=True):
        assert same_bits(given, flat(alone(model, x)))


def test_shapes_are_those_of_a_sequence_alone():
    layer = xr.ClockworkRNN(3, 4, periods=(1, 2), seed=1)
    [one] = map_sequences(layer, [draw(7, 3)])
    y, (h, clock) = layer(draw(7, 3))
    assert (one.y.shape, one.state[0].shape) == (y.shape, h.shape)
    assert one.state[1].shape == clock.shape == ()
    assert int(one.state[1]) == 7


def test_results_are_memory_of_their_own():
    one, other = map_sequences(gru(), [draw(5, 3), draw(5, 3)])
    one.y[...] = one.state[...] = 7
    assert same_bits(other, (1, *gru()(draw(5, 3))))
    assert one.y.base is None


# What is computed where does not show


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_bits_do_not_depend_on_workers_groups_and_order(workers, seed):
    for memory in (1, 1 << 14, 1 << 16, 1 << 28):
        engine = SteeredEngine(seed)
        found = results(gru(), SOURCE, workers=workers, engine=engine, memory=memory)
        assert same_bits(found, TRUTH)
        assert max(engine.open_at_call) <= 2


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_bits_do_not_depend_on_deaths(workers):
    for losses in ([0], [1, 2], [3, 5, 8], [0, 2, 9]):
        engine = SteeredEngine(len(losses), losses)
        options = {"workers": workers, "engine": engine, "memory": 1 << 14}
        assert same_bits(results(gru(), SOURCE, **options), TRUTH)
        assert engine.lost == len(losses)


def test_threads_do_not_show():
    for threads in (1, 2, 3):
        assert same_bits(results(gru(), SOURCE, threads=threads), TRUTH)


def test_a_sequence_is_not_blamed_for_those_beside_it():
    # The first run has a group of several; all others are alone with their workers.
    source = [draw(4, 3, seed=k) for k in range(6)]
    for extra in range(1, 7):
        engine = SteeredEngine(0, [1, 1 + extra])  # run 0 is of the first sequence
        given = {"workers": 1, "engine": engine}
        assert same_bits(results(gru(), source, **given), alone_by_gru(source))


def test_a_suspect_is_alone_with_its_worker():
    source = [draw(4, 3, seed=k) for k in range(90)]
    truth = alone_by_gru(source)
    for seed in range(5):
        engine = SteeredEngine(seed, [3])  # two workers begin with a sequence each
        given = {"workers": 2, "engine": engine, "memory": 1 << 17}
        assert same_bits(results(gru(), source, **given), truth)
        calls = [*zip(engine.sizes, engine.open_at_call, strict=True)][2:]
        assert engine.lost == 1
        assert [size for size, _ in calls].count(1) > 2
        assert {opened for size, opened in calls if size == 1} == {1}
        assert {opened for size, opened in calls if size > 1} == {1, 2}


@pytest.mark.parametrize("ragged", [True, False])
def test_groups_are_of_like_length_and_begin_with_the_oldest(ragged):
    draws = np.random.default_rng(0)
    pool = Pool(5000, ragged=ragged)
    left = {}
    for k, T in enumerate(draws.integers(1, 40, 300)):
        dtype = ("f4", "f8")[draws.integers(2)]
        left[k] = Waiting(k, np.zeros((T, 1 + k % 2), dtype), 100 + 10 * int(T))
        pool.add(left[k])
    counts = []
    while left:
        assert (len(pool), pool.size) == (len(left), sum(w.size for w in left.values()))
        group = pool.take(12)
        assert group[0].index == min(left)
        steps = [one.steps for one in group]
        assert min(steps) >= (0.75 if ragged else 1.0) * max(steps)
        assert len({one.kind for one in group}) == 1
        assert len(group) == 1 or sum(one.size for one in group) <= 5000
        assert [left.pop(one.index) for one in group] == group
        counts.append(len(group))
    assert len(pool) == pool.size == 0
    assert max(counts) == 12 if ragged else max(counts) > 1


# Bad sequences


BAD = {
    "none": (None, "got None"),
    "empty": (np.zeros((0, 3), np.float32), "with shape (0, 3)"),
    "wide": (np.zeros((4, 5), np.float32), "with shape (4, 5)"),
    "flat": (np.zeros(3, np.float32), "with shape (3,)"),
    "deep": (np.zeros((2, 1, 3), np.float32), "with shape (2, 1, 3)"),
    "double": (np.zeros((4, 3)), "an array of float64"),
    "integers": (np.zeros((4, 3), int), "an array of int64"),
    "text": ("word", "an array of <U4"),
    "number": (np.float32(3), "with shape ()"),
    "object": (object(), "got object"),
    "uneven": ([[1.0], [2.0, 3.0]], "(ValueError: "),
    "masked": (np.ma.zeros((4, 3), np.float32), "without a mask"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sequence_is_named_and_the_rest_is_done(name):
    bad, words = BAD[name]
    source = [*SOURCE[:4], bad, *SOURCE[5:8]]
    mapped = map_sequences(gru(), source, on_error="skip")
    found = [*mapped]
    assert [one.index for one in found] == [0, 1, 2, 3, 5, 6, 7]
    wanted = [t for k, t in enumerate(TRUTH[:8]) if k != 4]
    assert same_bits([flat_of(one) for one in found], wanted)
    [error] = mapped.bad
    assert error.index == 4
    assert str(error) == f"source[4]: {error.reason}"
    assert words in error.reason


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sequence_is_raised_in_its_turn(name):
    bad, words = BAD[name]
    mapped = map_sequences(gru(), [*SOURCE[:4], bad, *SOURCE[5:8]])
    found = [flat_of(next(mapped)) for _ in range(4)]
    assert same_bits(found, TRUTH[:4])
    with pytest.raises(SequenceError, match=r"^source\[4\]: ") as caught:
        next(mapped)
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert [*mapped] == []


def test_symbols_that_a_model_does_not_have_are_bad():
    model = Sequential(Embedding(5, 3), gru(), seed=1)
    source = [np.array([1, 2, 3]), np.array([1, 7]), np.array([0.5]), np.array([4, 4])]
    mapped = map_sequences(model, source, on_error="skip")
    assert [one.index for one in mapped] == [0, 3]
    first, second = mapped.bad
    assert (first.index, second.index) == (1, 2)
    assert first.reason == "index: expected integers from 0 to 4, got 1 to 7"
    assert "expected integers [T] with T >= 1" in second.reason


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError, "RuntimeError: negative"), (ValueError, "negative")],
)
def test_a_model_that_raises_spoils_one_sequence_alone(error, words):
    source = [abs(x) for x in SOURCE]
    for k in (3, 4, 17):
        source[k] = -source[k]
    mapped = map_sequences(Choosy(error), source, on_error="skip")
    found = {one.index: flat_of(one) for one in mapped}
    assert [(bad.index, bad.reason) for bad in mapped.bad] == [
        (3, words),
        (4, words),
        (17, words),
    ]
    assert all(same_bits(given, flat(gru()(source[k]))) for k, given in found.items())
    assert len(found) == len(source) - 3


# Sources


class Indexed:
    def __len__(self):
        return 5

    def __getitem__(self, place):
        if not 0 <= place < 5:
            raise KeyError(place)  # which no loop takes for the end
        return SOURCE[place]


class Exporting:
    """As an array of another library that has no items."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.array = array


class Rows:
    """As a dataset of Ray."""

    def iter_rows(self):
        return ({"id": k, "x": x} for k, x in enumerate(SOURCE[:5]))


def test_sources_of_every_kind(tmp_path):
    path = tmp_path / "all.npy"
    np.save(path, draw(6, 5, 3))
    mapped = np.load(path, mmap_mode="r")
    equal = [flat(gru()(x)) for x in draw(6, 5, 3)]
    assert same_bits(results(gru(), mapped), equal)
    assert same_bits(results(gru(), draw(6, 5, 3)), equal)
    assert same_bits(results(gru(), memoryview(draw(6, 5, 3))), equal)
    assert same_bits(results(gru(), Exporting(draw(6, 5, 3))), equal)
    assert same_bits(results(gru(), tuple(SOURCE[:5])), TRUTH[:5])
    assert same_bits(results(gru(), Indexed()), TRUTH[:5])
    assert same_bits(results(gru(), Rows(), column="x"), TRUTH[:5])
    assert same_bits(results(gru(), ({"x": x} for x in SOURCE[:5])), TRUTH[:5])
    swapped = [x.astype(">f4") for x in SOURCE[:5]]
    assert same_bits(results(gru(), swapped), TRUTH[:5])


def test_an_empty_source_has_no_results_and_needs_no_workers():
    for source in ([], iter(()), np.zeros((0, 4, 3), np.float32)):
        with map_sequences(gru(), source, workers=2) as mapped:
            assert [*mapped] == []
        assert multiprocessing.active_children() == []


def test_memory_that_a_generator_uses_again_is_not_read_late():
    def generator():
        for x in SOURCE:
            page[: len(x)] = x
            yield page[: len(x)]
            page[...] = np.nan

    page = np.zeros((30, 3), np.float32)
    assert same_bits(results(gru(), generator()), TRUTH)


def test_columns_that_are_not_there_are_bad():
    mapped = map_sequences(gru(), Rows(), on_error="skip")
    assert [*mapped] == []
    assert mapped.bad[0].reason == "expected one column, got 'id', 'x'"
    mapped = map_sequences(gru(), Rows(), on_error="skip", column="y")
    assert [*mapped] == []
    assert [bad.reason for bad in mapped.bad] == ["expected 'y', got 'id', 'x'"] * 5


@pytest.mark.parametrize("after", [0, 1, 9])
def test_what_a_source_raises_comes_after_what_it_gave(after):
    def generator():
        yield from SOURCE[:after]
        raise OSError("the disk is gone")

    mapped = map_sequences(gru(), generator())
    found = [flat_of(next(mapped)) for _ in range(after)]
    assert same_bits(found, TRUTH[:after])
    with pytest.raises(OSError, match=r"^the disk is gone$"):
        next(mapped)
    assert [*mapped] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_slow_consumer_stops_the_reading(workers):
    read = itertools.count()
    last = 0

    def endless():
        nonlocal last
        while True:
            last = next(read)
            yield draw(10, 3)

    engine = SteeredEngine() if workers else None
    memory = 40_000  # some 40 sequences of 120 bytes, results of 176, objects of 512
    with map_sequences(
        gru(), endless(), memory=memory, workers=workers, engine=engine
    ) as mapped:
        for k in range(200):
            next(mapped)
            assert last - k <= memory / (120 + 176 + 512) + 1
        assert last - k > 30  # and what memory allows is used


def test_large_results_count_before_they_are_there():
    # 24 bytes in, 8 kB out: what is read must not be judged by what goes in.
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield np.zeros(3, np.int64)

    model = Sequential(Embedding(2, 3), xr.GRU(3, 700), seed=1)
    with map_sequences(model, endless(), memory=1 << 18) as mapped:
        for k in range(30):
            next(mapped)
            assert (read - k - 1) * 4 * 700 * 4 <= 1 << 18


def test_a_slow_source_does_not_keep_results_back():
    def slow():
        yield SOURCE[0]
        yield SOURCE[1]
        yield SOURCE[2]
        time.sleep(0.1)
        yield SOURCE[3]
        pytest.fail("read although a result is there")

    mapped = map_sequences(gru(), slow())
    assert same_bits(flat_of(next(mapped)), TRUTH[0])
    assert same_bits(flat_of(next(mapped)), TRUTH[1])
    mapped.close()


# Models


def test_models_are_taken_from_files_and_parts(tmp_path):
    path = tmp_path / "gru.safetensors"
    xr.save(gru(), path)
    for model in (path, str(path), path.read_bytes()):
        assert same_bits(results(model, SOURCE[:5]), TRUTH[:5])
    parts = {"one": gru(), "two": Linear(4, 2, seed=1)}
    file = io.BytesIO()
    xr.save(parts, file)
    wanted = results(Sequential(parts), SOURCE[:5])
    for model in (parts, file.getvalue()):
        assert same_bits(results(model, SOURCE[:5]), wanted)


def test_weights_are_those_of_the_call():
    layer = gru()
    mapped = map_sequences(layer, SOURCE)
    next(mapped)
    layer.weight_hh_l0[...] = 0
    assert same_bits([flat_of(one) for one in mapped], TRUTH[1:])


def test_weights_of_a_worker_are_the_arrays_it_was_given():
    from exactrnn.distributed import _frozen

    model = Sequential(gru(), Linear(4, 2), seed=1)
    frozen = _frozen.freeze({"model": model, "again": [model]})
    twin = _frozen.thaw(frozen)["model"]
    owned = [store.own[n] for store in twin._stores().values() for n in store.names]
    assert same_bits(owned, [*model.parameters().values()])
    for array, given in zip(owned, frozen.arrays, strict=True):
        assert np.shares_memory(array, given)
    for array in frozen.arrays:
        array.flags.writeable = False  # as what workers map
    shared = _frozen.thaw(frozen)["model"]
    assert same_bits(flat(shared(draw(5, 2, 3))), flat(model(draw(5, 2, 3))))
    with pytest.raises(
        ValueError, match=r"^weights: expected a layer's own, got those"
    ):
        shared[0].weight_hh_l0[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        shared[0].weight_hh_l0 = np.zeros((12, 4), np.float32)


@pytest.mark.usefixtures("together")
def test_models_of_ones_own():
    source = [*SOURCE, *SOURCE]
    found = results(Mean(), source, axes=(1, 0), returns="y")
    assert same_bits(found, [[Mean()(x[:, None])[0]] for x in source])
    found = [*map_sequences(Turned(), source, axes=(0, 0))]
    for x, one in zip(source, found, strict=True):
        y, state = Turned()(x[None])
        assert same_bits(one.y, y[0])
        assert [*one.state] == ["c", "h"]
        assert same_bits(flat(one.state), [part[:, 0] for part in flat(state)])


def test_an_output_without_its_rows_is_an_error_of_axes():
    mapped = map_sequences(Mean(), SOURCE[:2])
    with pytest.raises(SequenceError, match=r"axes\[1\]: expected an output with B=1"):
        next(mapped)


def test_what_is_wanted_is_what_comes():
    for returns, wanted in (("y", (0,)), ("state", (1,)), ("both", (0, 1))):
        found = [*map_sequences(gru(), SOURCE, returns=returns)]
        for one, truth in zip(found, TRUTH, strict=True):
            assert same_bits(flat_of(one), [truth[k] for k in wanted])
    [one] = map_sequences(Linear(3, 2, seed=1), SOURCE[:1])
    assert one.state is None


# Arguments


REFUSED = {
    "workers": (
        {"workers": -1},
        ValueError,
        "workers: expected an integer of at least 0",
    ),
    "workers kind": ({"workers": 1.5}, TypeError, "workers: expected an integer"),
    "threads": ({"threads": 0}, ValueError, "threads: expected an integer >= 1"),
    "memory": ({"memory": 0}, ValueError, "memory: expected an integer >= 1"),
    "returns": ({"returns": "h"}, ValueError, "returns: expected one of 'both', 'y'"),
    "on_error": ({"on_error": 1}, TypeError, "on_error: expected one of 'raise'"),
    "column": ({"column": 3}, TypeError, "column: expected a name, got 3"),
    "axes": ({"axes": 1}, TypeError, "axes: expected two integers, got 1"),
    "axes item": ({"axes": (0, 2)}, ValueError, r"axes\[1\]: expected 0 or 1, got 2"),
    "engine": (
        {"engine": 3},
        TypeError,
        "engine: expected an Engine or its name, got 3",
    ),
    "engine name": (
        {"engine": "dask"},
        ValueError,
        "engine: expected 'inline', ",
    ),
    "engine class": ({"engine": LocalEngine}, TypeError, "engine: expected an Eng"),
    "engine local": ({"engine": "local"}, ValueError, "workers: expected at least 1"),
    "engine alone": ({"engine": SteeredEngine()}, ValueError, "workers: expected at l"),
    "progress": ({"progress": "yes"}, TypeError, "progress: expected True or False"),
    "model": ({"model": 5}, TypeError, "model: expected a layer, a Sequential or"),
    "model class": ({"model": xr.GRU}, TypeError, "model: expected a layer"),
    "model lambda": ({"model": lambda x: x}, TypeError, "model: expected one that can"),
    "source": ({"source": 5}, TypeError, "source: expected an iterable of sequences"),
    "option": ({"thread": 1}, ValueError, "options: expected .*; got unknown 'thread'"),
    "source class": ({"source": list}, TypeError, "source: expected an iterable of"),
    "threads many": ({"threads": 9999}, ValueError, "threads: expected 1..1024, got"),
    "source text": ({"source": "abc"}, TypeError, "source: expected an iterable of"),
    "source flat": (
        {"source": np.ones(3)},
        ValueError,
        r"source: expected an array \[",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_are_refused_at_once(name):
    given, error, words = REFUSED[name]
    options = {"model": gru(), "source": SOURCE, **given}
    with pytest.raises(error, match=f"^{words}"):
        map_sequences(options.pop("model"), options.pop("source"), **options)


@pytest.mark.parametrize("name", [*CELLS, *GRIDS, *DECODERS])
def test_what_is_called_with_other_things_is_refused(name):
    model = (CELLS | GRIDS | DECODERS)[name]()
    with pytest.raises(TypeError, match=r"^model: expected a layer, a Sequential or a"):
        map_sequences(model, SOURCE)


def test_results_and_errors_are_pickled():
    one = next(map_sequences(gru(), SOURCE))
    assert same_bits(flat(tuple(pickle.loads(pickle.dumps(one)))), flat(tuple(one)))
    assert isinstance(one, MappedSequence)
    error = pickle.loads(pickle.dumps(SequenceError(3, "expected a, got b")))
    assert (error.index, error.reason) == (3, "expected a, got b")
    assert str(error) == "source[3]: expected a, got b"
