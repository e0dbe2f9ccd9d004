"""Weights that are read: a view is live, costs nothing, and hands nobody its memory.

That what is written through it acts is in test_weights.py.
"""

import copy
import gc
import pickle

import numpy as np
import pytest
from arrays import draw, same_bits
from modules import WEIGHTED
from writing import NAME, NEW, H

import exactrnn as xr
from exactrnn import _core
from exactrnn._weights import store as weight_store
from exactrnn.train import SGD

T, B, I = 4, 2, 3
X = draw(T, B, I)

SOURCES = {name: make for name, make in WEIGHTED.items() if name != "echo-state"}
of_every_source = pytest.mark.parametrize("name", SOURCES)


@pytest.fixture
def layer():
    layer = xr.GRU(I, H, seed=1)
    layer(X)
    return layer


@pytest.fixture
def packed(monkeypatch):
    """How often weights were packed since the list was cleared."""
    calls, pack = [], _core.pack

    def count(*arguments):
        calls.append(arguments)
        return pack(*arguments)

    monkeypatch.setattr(weight_store._core, "pack", count)
    return calls


class PackError(Exception):
    """Raised in the middle of packing or of a block, as KeyboardInterrupt may be."""


# Reading


def test_reading_costs_the_next_call_nothing(layer, packed):
    layer.forward(X)
    stream = layer.stream(B)
    store, packs = layer._store, stream._packs
    packed.clear()
    held = layer.weight_hh_l0
    kept = [*layer.parameters().values(), held.T[1:], np.asarray(held)]
    for read in (str, np.sum, np.ndarray.tolist, memoryview, pickle.dumps):
        read(held)
        assert store.fresh[xr.isa()] is packs
    layer(X)
    layer.forward(X)
    stream.step(X[0])
    assert stream._packs is packs
    assert not packed
    del kept


def test_a_view_shows_what_the_weight_is_now(layer):
    view, row = layer.weight_hh_l0, layer.parameters()[NAME][1]
    layer.weight_hh_l0 = NEW
    assert same_bits(np.asarray(view), NEW)
    assert same_bits(np.asarray(row), NEW[1])
    SGD(layer, lr=1.0).step({n: a * 0 + 1 for n, a in layer.state_dict().items()})
    assert same_bits(np.asarray(view), NEW - 1)
    with layer.editing() as weights:
        weights[NAME].fill(3)
        assert (view == 3).all()


@of_every_source
def test_every_weight_of_everything_is_a_view_or_a_lease(name):
    source = SOURCES[name]()
    lent, shown = source.parameters(writable=True), source.parameters()
    weights = source.state_dict()
    assert list(lent) == list(shown) == list(weights)
    assert same_bits({n: np.asarray(a) for n, a in shown.items()}, weights)
    for place, array in lent.items():
        assert array.flags.writeable
        array.fill(0.5)
        assert (shown[place] == 0.5).all()
        assert not shown[place].flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            np.copyto(shown[place], 1)
        shown[place][...] = 0.25
        assert (array == 0.25).all()
    with pytest.raises(TypeError, match="positional"):
        source.parameters(True)


def test_what_is_made_of_a_view_is_plain_and_apart(layer):
    weight = layer.weight_hh_l0
    made = [
        *(weight + 1, -weight, weight == weight, weight @ weight.T, weight.copy()),
        *(weight.mean(axis=0), np.abs(weight), np.array(weight), weight.clip(-1, 1)),
        *(np.concatenate([weight, weight]), np.linalg.svd(weight)[0], NEW * weight),
        *(copy.copy(weight), copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))),
        np.from_dlpack(weight, copy=True),
    ]
    before = layer.state_dict()
    for array in made:
        assert type(array) is np.ndarray
        array[...] = 1
    assert type(weight[0, 0]) is type(weight.sum()) is np.float32
    # NumPy makes these of the type that it is given.
    for array in (weight.astype(np.float64), weight[[0, 2]], weight.dot(weight.T)):
        array[...] = 2
        array += 1
        np.negative(array, out=array)
        assert (array == -3).all()
        array.fill(0)
    assert same_bits(layer.state_dict(), before)
    plain = np.zeros_like(NEW)
    plain += weight
    np.add(plain, weight, out=plain)
    assert type(plain) is np.ndarray
    assert same_bits(plain, 2 * before[NAME])


def test_a_write_that_fails_changes_nothing(layer):
    before = layer.state_dict()
    weight = layer.weight_hh_l0
    for write, error in (
        (lambda: weight.__setitem__(99, 0), IndexError),
        (lambda: weight.__setitem__(0, NEW), ValueError),
        (lambda: weight.__iadd__(NEW.T), ValueError),
        (lambda: weight.__iadd__(1j), TypeError),
    ):
        with pytest.raises(error):
            write()
    layer(X)
    assert same_bits(layer.state_dict(), before)
    assert layer._store.clean


class Keeper:
    """An operand that keeps the array it is told to write to."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        self.kept = out[0]
        return out[0]


def test_another_operand_that_keeps_the_target_is_seen_writing(layer):
    keeper = Keeper()
    layer.weight_hh_l0 += keeper
    layer(X)
    keeper.kept[...] = NEW
    twin = xr.GRU(I, H, seed=2)
    twin.load_state_dict(layer.state_dict())
    assert same_bits(layer(X)[0], twin(X)[0])
    assert same_bits(layer.state_dict()[NAME], NEW)


# Blocks


def test_after_a_block_nothing_is_lent(layer):
    with layer.editing() as weights:
        assert list(weights) == list(layer.state_dict())
        assert len(weights) == 4
        weights[NAME] *= 0
        np.copyto(weights["bias_hh_l0"], 1)
        assert not layer.weight_hh_l0.any()
        assert not layer._store.clean
    layer(X)
    assert layer._store.clean
    assert not weights
    assert repr(weights) == "<weights to edit: the block has ended>"
    with pytest.raises(KeyError, match=NAME):
        weights[NAME]
    with pytest.raises(KeyError, match=NAME):
        weights[NAME] = NEW


def test_calls_in_a_block_see_what_was_written_so_far(layer):
    twin = xr.GRU(I, H, seed=2)
    with layer.editing() as weights:
        for value in range(3):
            weights[NAME].reshape(-1)[value] = value
            twin.load_state_dict(layer.state_dict())
            assert same_bits(layer(X)[0], twin(X)[0])


def test_an_array_that_outlives_its_block_is_seen_writing(layer):
    with layer.editing() as weights:
        kept = weights[NAME][2:]
    gc.collect()
    layer(X)
    kept[...] = NEW[2:]
    twin = xr.GRU(I, H, seed=2)
    twin.load_state_dict(layer.state_dict())
    assert same_bits(layer(X)[0], twin(X)[0])
    assert same_bits(layer.state_dict()[NAME][2:], NEW[2:])
    assert not layer._store.clean
    del kept
    layer(X)
    assert layer._store.clean


@pytest.mark.parametrize("name", ["gru cell", "linear", "embedding", "grid", "gru"])
def test_an_item_of_a_block_is_checked_and_copied_in(name):
    source = SOURCES[name]()
    (place, value), *_ = source.state_dict().items()
    with source.editing() as weights:
        weights[place] = 2 * value
        with pytest.raises(ValueError, match=f"{place}: expected"):
            weights[place] = value[:1]
        with pytest.raises(TypeError, match=f"{place}: expected"):
            weights[place] = value.astype(np.int8)
        with pytest.raises(KeyError, match="weight_7"):
            weights["weight_7"] = value
    assert same_bits(source.state_dict()[place], 2 * value)


def test_a_block_that_raises_has_ended_too(layer):
    block = layer.editing()
    with pytest.raises(PackError), block as weights:
        raise PackError
    assert not weights
    layer(X)
    assert layer._store.clean


# What a lease that lives costs


def test_while_a_lease_lives_weights_are_compared_and_packed_when_they_change(
    layer, packed
):
    held = layer.parameters(writable=True)
    layer(X)
    assert len(packed) == 1
    layer(X)
    layer.stream(B).step(X[0])
    assert len(packed) == 1
    held[NAME][0] += 1
    layer(X)
    layer(X)
    assert len(packed) == 2
    layer.forward(X)  # which needs those for backward too
    assert len(packed) == 3
    del held
    layer(X)
    assert len(packed) == 3
    assert layer._store.clean
    assert not layer._store._seen


def test_zeros_of_both_signs_and_nans_are_told_apart(layer):
    held = layer.parameters(writable=True)[NAME]
    held.fill(0)
    layer(X)
    twin = xr.GRU(I, H, seed=2)
    for value in (-0.0, np.nan, 0.0):
        held[0, 0] = value
        twin.load_state_dict(layer.state_dict())
        assert same_bits(layer(X)[0], twin(X)[0])
        mine, its = (t._store.packs(xr.isa()) for t in (layer, twin))
        assert mine.copies[0][0].equals(its.copies[0][0])


@pytest.mark.parametrize("held", [False, True])
def test_weights_that_could_not_be_packed_are_packed_by_the_next_call(
    layer, held, monkeypatch
):
    lent = layer.parameters(writable=True)
    layer(X)
    lent[NAME][...] = NEW
    if not held:
        del lent

    def fail(*_):
        raise PackError

    with monkeypatch.context() as patch:
        patch.setattr(weight_store._core, "pack", fail)
        for _ in range(2):
            with pytest.raises(PackError):
                layer(X)
    twin = xr.GRU(I, H, seed=2)
    twin.load_state_dict(layer.state_dict())
    assert same_bits(layer(X)[0], twin(X)[0])


@pytest.mark.parametrize("undone", [False, True])
@pytest.mark.parametrize("forward", [False, True])
def test_what_is_written_while_weights_are_packed_is_seen_by_the_next_call(
    undone, forward, monkeypatch
):
    layer = xr.GRU(I, H, seed=1)
    layer(X)
    held, pack = layer.parameters(writable=True)[NAME], _core.pack

    def pack_what_another_thread_writes(*arguments):
        before = held.copy()
        held[...] = NEW
        packs = pack(*arguments)
        if undone:
            held[...] = before
        return packs

    held[0] += 1
    with monkeypatch.context() as patch:
        patch.setattr(weight_store._core, "pack", pack_what_another_thread_writes)
        (layer.forward if forward else layer)(X)
    twin = xr.GRU(I, H, seed=2)
    twin.load_state_dict(layer.state_dict())
    assert same_bits(layer(X)[0], twin(X)[0])


@pytest.mark.parametrize("size", [4, 8])
def test_bytes_are_the_same_or_not(size):
    one = draw(5, 7, dtype=f"f{size}")
    assert _core.same_bytes(one, one.copy())
    assert _core.same_bytes(one[:0], one[1:1])
    other = one.copy()
    other.view(np.uint8)[-1, -1] ^= 1
    assert not _core.same_bytes(one, other)
    assert not _core.same_bytes(one, one[:4])
    with pytest.raises(ValueError, match="gaps in its last axis"):
        _core.same_bytes(one, one.astype(f"f{12 - size}"))


# Optimisers


class Model:
    def __init__(self):
        self.layer = xr.GRU(I, H, seed=1)

    def parameters(self):
        return self.layer.parameters()


@pytest.mark.parametrize("writable", [False, True])
def test_an_optimiser_of_arrays_trains_whatever_they_are(writable):
    layer, twin, model = (xr.GRU(I, H, seed=1) for _ in range(3))
    ones = {n: a * 0 + 1 for n, a in layer.state_dict().items()}
    optimizer = SGD(layer.parameters(writable=writable), lr=1.0)
    own, model = SGD(twin, lr=1.0), Model()
    last = SGD(model, lr=1.0)
    for _ in range(2):
        for each in (optimizer, own, last):
            each.step(ones)
        assert same_bits(layer.state_dict(), twin.state_dict())
        assert same_bits(model.layer.state_dict(), twin.state_dict())
        assert same_bits(layer(X)[0], twin(X)[0])
        model.layer(X)
        assert layer._store.clean == (not writable)
        assert model.layer._store.clean


def test_a_part_of_a_weight_may_be_trained(layer):
    before = layer.state_dict()[NAME]
    part = {"rows": layer.weight_hh_l0[2:5]}
    SGD(part, lr=1.0).step({"rows": np.ones((3, H), np.float32)})
    before[2:5] -= 1
    assert same_bits(layer.state_dict()[NAME], before)
    gaps = SGD({"columns": layer.weight_hh_l0[:, 1:]}, lr=1.0)
    with pytest.raises(ValueError, match="columns: expected a writable C-contiguous"):
        gaps.step({"columns": np.ones((3 * H, H - 1), np.float32)})


def test_a_lease_that_its_holder_made_read_only_is_not_trained(layer):
    lent = layer.parameters(writable=True)
    lent[NAME].flags.writeable = False
    before = layer.state_dict()
    with pytest.raises(ValueError, match=f"{NAME}: expected a writable C-contiguous"):
        SGD(lent, lr=1.0).step(before)
    assert same_bits(layer.state_dict(), before)
