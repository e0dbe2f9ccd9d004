"""Weights and their packed copies: a stale copy is impossible.

Whatever the way in which a weight is written, the next call computes with it. What it
should give is computed by a new layer that has had the weight from the start.
"""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from arrays import draw, same_bits
from layer_kinds import KINDS, make_kind
from writing import NAME, NEW, H, ways

import exactrnn as xr

T, B, I = 4, 2, 3
X = draw(T, B, I)


@pytest.fixture
def layer():
    """A layer whose packed copies are in use, and beyond doubt."""
    layer = xr.GRU(I, H, seed=1)
    layer(X)
    layer.forward(X)
    assert layer._store.clean
    return layer


def with_weights(weights):
    twin = xr.GRU(I, H, seed=2)
    twin.load_state_dict(weights)
    return twin


def assert_in_force(layer, weight=NEW):
    weights = layer.state_dict()
    assert same_bits(weights[NAME], weight)
    twin = with_weights(weights)
    expected, _ = twin(X)
    assert same_bits(layer(X)[0], expected)
    assert same_bits(layer.stream(B).step(X[0]), expected[0])
    y, _, cache = layer.forward(X)
    assert same_bits(y, expected)
    _, _, twin_cache = twin.forward(X)
    dx = twin.backward(twin_cache, y).x
    assert same_bits(layer.backward(cache, y).x, dx)


def through(take):
    """Return a function that writes to a layer through an array that `take` gives."""

    def write(layer, way):
        way(take(layer))

    return write


def in_block(layer, way):
    with layer.editing() as weights:
        way(weights[NAME])


VIEWS = {
    "attribute": through(lambda layer: layer.weight_hh_l0),
    "parameters": through(lambda layer: layer.parameters()[NAME]),
}
LEASES = {
    "writable": through(lambda layer: layer.parameters(writable=True)[NAME]),
    "block": in_block,
}
of_every_view = pytest.mark.parametrize("view", VIEWS)
of_every_lease = pytest.mark.parametrize("lease", LEASES)


def assert_seen(layer, write):
    """Write and see that calls and running streams compute with it."""
    stream, twin = layer.stream(B), with_weights(layer.state_dict())
    state = twin(X[:1])[1]
    stream.step(X[0])
    write()
    gc.collect()
    assert_in_force(layer)
    assert layer._store.clean
    expected = with_weights(layer.state_dict())(X[1:2], state)[0][0]
    assert same_bits(stream.step(X[1]), expected)
    assert not same_bits(expected, twin(X[1:2], state)[0][0])


@pytest.mark.parametrize("write", ways("write"))
def test_what_is_written_acts_in_the_next_call(layer, write):
    assert_seen(layer, lambda: write(layer))


@of_every_view
@pytest.mark.parametrize("way", ways("view"))
def test_what_a_view_is_set_to_acts_in_the_next_call(layer, way, view):
    assert_seen(layer, lambda: VIEWS[view](layer, way))


@of_every_lease
@pytest.mark.parametrize("way", ways("view") + ways("memory"))
def test_what_is_written_to_a_lease_acts_in_the_next_call(layer, way, lease):
    assert_seen(layer, lambda: LEASES[lease](layer, way))


@of_every_view
@pytest.mark.parametrize("way", ways("memory") + ways("force"))
def test_the_memory_of_a_view_cannot_be_written(layer, way, view):
    before, packs = layer.state_dict(), layer._store.packs(xr.isa())
    with pytest.raises((ValueError, TypeError, BufferError, UserWarning)):
        VIEWS[view](layer, way)
    assert same_bits(layer.state_dict(), before)
    assert layer._store.fresh[xr.isa()] is packs


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_every_kind_acts(kind):
    many = 16  # units: of a few, all may be cut off by a relu
    layer = make_kind(kind, I, many, num_layers=2, bidirectional=True)
    twin = make_kind(kind, I, many, num_layers=2, bidirectional=True, seed=2)
    y, _ = layer(X)
    for name, weight in layer.parameters().items():
        before, y_before = weight.copy(), y
        weight[...] = before[::-1] + 0.01
        y, _, cache = layer.forward(X)
        assert not same_bits(y, y_before)
        assert layer.backward(cache, y).weights[name].any()
        twin.load_state_dict(layer.state_dict())
        assert same_bits(twin(X)[0], y)


# Arrays that are held


HOLDERS = {
    "lease": lambda weight: weight,
    "row": lambda weight: weight[:1],
    "bytes": lambda weight: weight.view(np.uint8).reshape(-1),
    "memoryview": lambda weight: np.asarray(memoryview(weight)),
    "dlpack": np.from_dlpack,
    "flat base": lambda weight: np.asarray(weight.base).reshape(-1),
    "subclass": lambda weight: weight.view(np.recarray),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_held_array_may_be_written_between_any_two_calls(layer, holder):
    held = HOLDERS[holder](layer.parameters(writable=True)[NAME])
    gc.collect()
    stream = layer.stream(B)
    for _ in range(3):
        held.reshape(-1)[0] += 1
        assert_in_force(layer, layer.state_dict()[NAME])
        state = stream.state
        expected = with_weights(layer.state_dict())(X[:1], state)[0][0]
        assert same_bits(stream.step(X[0]), expected)
        assert not layer._store.clean
    del held
    layer(X)
    assert layer._store.clean


@pytest.mark.parametrize("last", [True, False])
def test_of_several_held_arrays_each_may_be_written(layer, last):
    lent = layer.parameters(writable=True)
    first, second = lent[NAME], lent["bias_hh_l0"]
    del lent
    layer(X)
    kept = second if last else first
    del first, second
    layer(X)
    kept[...] = 0.5
    assert_in_force(layer, layer.state_dict()[NAME])


def test_a_lease_lives_longer_than_its_layer(layer):
    weight = layer.parameters(writable=True)[NAME]
    view, kept = layer.weight_hh_l0, layer.state_dict()[NAME]
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None or gone()._store is not None
    assert same_bits(weight, kept)
    weight[...] = 1
    assert (view == 1).all()


def test_writing_in_another_thread_acts_in_the_next_call(layer):
    held = layer.parameters(writable=True)[NAME]
    for value in range(20):
        writer = threading.Thread(target=held.fill, args=(value / 20,))
        writer.start()
        writer.join()
        assert same_bits(layer(X)[0], with_weights(layer.state_dict())(X)[0])


def test_threads_that_lease_write_and_call_leave_nothing_stale(layer):
    def disturb(seed):
        values = draw(3 * H, H, seed=seed)
        for _ in range(50):
            layer.weight_hh_l0[...] = values
            layer(X)
            layer.weight_hh_l0 = values[::-1]
            layer.forward(X)

    workers = [threading.Thread(target=disturb, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert_in_force(layer, layer.state_dict()[NAME])


def test_every_isa_gets_the_new_weights(layer):
    for isa in xr.isas():
        with xr.use_isa(isa):
            layer(X)
    layer.weight_hh_l0[...] = NEW
    for isa in reversed(xr.isas()):
        with xr.use_isa(isa):
            assert_in_force(layer)


def test_weights_swapped_among_themselves_are_not_mixed_up():
    layer = xr.RNN(H, H, 2, seed=1)
    before = layer.state_dict()
    names = {"weight_hh_l0": "weight_hh_l1", "weight_hh_l1": "weight_hh_l0"}
    own = layer.parameters()
    layer.load_state_dict({to: own[name] for to, name in names.items()}, strict=False)
    for to, name in names.items():
        assert same_bits(layer.state_dict()[to], before[name])
    layer.weight_hh_l0 = layer.weight_hh_l0.T
    assert same_bits(
        layer.state_dict()["weight_hh_l0"], before["weight_hh_l1"].T.copy()
    )


# Versions


def test_backward_refuses_weights_that_have_changed(layer):
    y, _, cache = layer.forward(X)
    layer.weight_hh_l0[0, 0] += 1
    with pytest.raises(
        ValueError, match="cache: expected the weights that forward used"
    ):
        layer.backward(cache, y)
    layer.weight_hh_l0[0, 0] -= 1
    y, _, cache = layer.forward(X)
    layer.backward(cache, y)
    layer.bias_hh_l0 = np.ones(3 * H, np.float32)
    with pytest.raises(ValueError, match="call forward again"):
        layer.backward(cache, y)


def test_backward_takes_weights_that_were_only_looked_at(layer):
    y, _, cache = layer.forward(X)
    held = layer.parameters(writable=True)
    first = layer.backward(cache, y)
    held[NAME][...] = held[NAME].copy()
    layer.load_state_dict(layer.state_dict())
    with xr.use_isa(xr.isas()[-1]):
        second = layer.backward(cache, y)
    assert same_bits(first.x, second.x)
    assert all(same_bits(first.weights[n], second.weights[n]) for n in first.weights)


def test_clean_weights_are_packed_once(layer):
    store = layer._store
    packs = store.packs(xr.isa())
    layer(X)
    layer.forward(X)
    assert store.packs(xr.isa()) is packs
    layer.weight_hh_l0.sum()  # a look, not a change
    assert store.packs(xr.isa()) is packs
    layer.weight_hh_l0 = NEW
    assert store.packs(xr.isa()) is not packs


def test_copies_for_backward_are_packed_when_first_needed():
    layer = xr.GRU(I, H, seed=1)
    layer(X)
    store = layer._store
    assert not store.packs(xr.isa()).has_backward
    y, _, cache = layer.forward(X)
    assert store.packs(xr.isa()).has_backward
    held = layer.parameters(writable=True)
    layer(X)
    layer.backward(cache, y)
    assert not same_bits(layer(X)[0], np.zeros_like(y))
    del held


# What a caller can and cannot do


def test_weights_handed_out_are_views_and_state_dict_is_a_copy(layer):
    layer.state_dict()[NAME][...] = 0
    assert layer.weight_hh_l0.any()
    assert np.shares_memory(layer.weight_hh_l0, layer.parameters()[NAME])
    lent = layer.parameters(writable=True)[NAME]
    assert np.shares_memory(layer.weight_hh_l0, lent)
    assert type(lent) is np.ndarray
    assert lent.flags.writeable
    for weight in (lent, layer.weight_hh_l0):
        assert weight.flags.c_contiguous
        assert not weight.flags.owndata


def test_copies_of_a_layer_have_weights_of_their_own(layer):
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.weight_hh_l0[...] = NEW
        assert_in_force(twin)
        assert not same_bits(layer.state_dict()[NAME], NEW)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (NEW.T, ValueError, r"weight_hh_l0: expected \[G\*H=15, H=5\], got \(5, 15\)"),
        (NEW.astype("f8"), TypeError, "weight_hh_l0: expected float32, got float64"),
        (NEW.tolist(), TypeError, "weight_hh_l0: expected a NumPy array"),
        (0.0, TypeError, "weight_hh_l0: expected a NumPy array"),
    ],
)
def test_a_wrong_weight_is_refused_and_changes_nothing(layer, value, error, message):
    before = layer.state_dict()
    with pytest.raises(error, match=message):
        layer.weight_hh_l0 = value
    with pytest.raises(error, match=message):
        layer.load_state_dict({**before, "bias_ih_l0": NEW[:, 0], NAME: value})
    after = layer.state_dict()
    assert all(same_bits(before[name], after[name]) for name in before)


def test_wrong_names_are_refused(layer):
    weights = layer.state_dict()
    with pytest.raises(ValueError, match=r"state_dict: .* unknown 'weight_hh_l1'"):
        layer.load_state_dict({**weights, "weight_hh_l1": NEW})
    del weights[NAME]
    with pytest.raises(ValueError, match=r"state_dict: .* missing 'weight_hh_l0'"):
        layer.load_state_dict(weights)
    with pytest.raises(TypeError, match="state_dict: expected a mapping, got list"):
        layer.load_state_dict(list(weights.items()))
    with pytest.raises(AttributeError, match="weight_hh_l7: expected one of weight_ih"):
        layer.weight_hh_l7 = NEW
    with pytest.raises(AttributeError, match="has no attribute 'weight_hh_l7'"):
        layer.weight_hh_l7  # noqa: B018
    with pytest.raises(AttributeError, match="hidden_size cannot change: make a"):
        layer.hidden_size = 7
    with pytest.raises(AttributeError, match="reset_after cannot change"):
        layer.reset_after = False
