"""`layer.step` and `layer.step_back`: layouts, totals, messages.

Their bits are in test_step_bits.py, their truth in test_step_truth.py.
"""

import copy
import pickle

import numpy as np
import pytest
from arrays import as_state, as_tuple, draw, same_bits
from layer_kinds import draw_gradient, draw_state
from modules import LAYERS, B, I, T
from test_layouts import frames_of
from test_plain_calls import is_plain, strange

import exactrnn as xr

of_every_layer = pytest.mark.parametrize("name", LAYERS)


def stepped(layer, seed=0):
    """Return the results of one step, and gradients to go back with."""
    x, state = draw(B, I, dtype=layer.dtype, seed=seed), draw_state(layer, B)
    y, final, cache = layer.step(x, state)
    dy = draw(*y.shape, dtype=layer.dtype, seed=seed + 1)
    return y, final, cache, dy, draw_gradient(layer, B, seed=seed + 2)


def with_axis(state):
    """Return a state of one row with an axis of rows; a clock is a number."""
    parts = [
        part[:, None] if np.ndim(part) else np.array([part]) for part in as_tuple(state)
    ]
    return as_state(parts)


def totals_of(layer, seed=7):
    return {
        name: draw(*w.shape, dtype=layer.dtype, seed=seed)
        for name, w in layer.state_dict().items()
    }


def copies(totals):
    return {name: array.copy() for name, array in totals.items()}


@of_every_layer
def test_a_step_is_plain_and_has_the_bits_of_the_checked_way(name):
    layer = LAYERS[name]()
    x, state = draw(B, I), draw_state(layer, B)
    y, final, cache = layer.step(x, state)
    assert is_plain(layer.step, x, state)
    assert is_plain(layer.step, x)
    *checked, other = layer.step(strange(x), strange(state), gates=True)
    assert same_bits((y, final), tuple(checked))
    _, _, dy, dstate = stepped(layer)[1:]
    learned = "leaky-" in name  # the kernels' gradient is not the user's
    for given in ((dy, None), (None, dstate), (dy, dstate)):
        once = layer.step_back(cache, *given)
        assert is_plain(layer.step_back, cache, *given)
        assert same_bits(tuple(once), tuple(layer.step_back(other, *strange(given))))
        totals = totals_of(layer)
        assert learned != is_plain(layer.step_back, cache, *given, copies(totals))
        added = layer.step_back(cache, *given, copies(totals))
        again = layer.step_back(
            other, *given, {n: strange(a) for n, a in totals.items()}
        )
        assert same_bits(tuple(added), tuple(again))
        assert same_bits(added.x, once.x)
        for key, total in totals.items():  # the strange ones were views of these
            assert same_bits(total, added.weights[key])


@of_every_layer
def test_a_step_enters_its_layer_once(name):
    layer = LAYERS[name]()
    _, state, cache, dy, dstate = stepped(layer)
    assert frames_of(layer, lambda: layer.step(draw(B, I), state)) == ["step"]
    back = frames_of(layer, lambda: layer.step_back(cache, dy, dstate))
    assert back == ["step_back"]


@of_every_layer
def test_one_row_may_come_without_an_axis_of_rows(name):
    layer = LAYERS[name]()
    x, state = draw(I), draw_state(layer)
    y, final, cache = layer.step(x, state, gates=True)
    for part, before in zip(as_tuple(final), as_tuple(state), strict=True):
        assert np.shape(part) == np.shape(before)
    assert cache.x.shape == (I,)
    assert {gate.ndim for gate in cache.gates.values()} <= {1}
    rows, _, with_rows = layer.step(x[None], with_axis(state))
    assert same_bits(rows[0], y)
    one = layer.step_back(cache, y)
    other = layer.step_back(with_rows, rows)
    assert same_bits(other.x[0], one.x)
    assert same_bits([p[:, 0] for p in as_tuple(other.state)], as_tuple(one.state))
    assert same_bits(one.weights, other.weights)


def test_layouts_of_sequences_are_nothing_to_a_step():
    first, second = (xr.GRU(I, 6, batch_first=flag, seed=1) for flag in (True, False))
    x = draw(B, I)
    assert same_bits(first.step(x)[:2], second.step(x)[:2])


def test_totals_are_added_to_in_place_and_returned():
    layer = xr.LSTM(I, 6, 2, seed=1)
    *_, cache, dy, dstate = stepped(layer)
    totals = layer.step_back(cache, dy, dstate).weights
    arrays = dict(totals)
    grads = layer.step_back(cache, dy, dstate, totals)
    assert grads.weights is totals
    assert all(totals[name] is arrays[name] for name in arrays)
    once = layer.step_back(cache, dy, dstate).weights
    assert same_bits(totals, {name: 2 * dw for name, dw in once.items()})


def test_totals_may_lie_in_any_memory_of_their_own():
    layer = xr.GRU(I, 6, seed=1)
    *_, cache, dy, dstate = stepped(layer)
    totals = totals_of(layer)
    expected = layer.step_back(cache, dy, dstate, copies(totals)).weights

    def turned(array):
        return np.asfortranarray(array)

    def apart(array):
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]

    def odd(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
        own = memory.view(array.dtype).reshape(array.shape)
        own[...] = array
        return own

    for lay in (turned, apart, odd, memoryview):
        given = {name: lay(array.copy()) for name, array in totals.items()}
        grads = layer.step_back(cache, dy, dstate, given)
        assert grads.weights is given
        found = {name: np.asarray(array) for name, array in given.items()}
        assert same_bits(found, expected), lay


def test_dropout_draws_at_each_step_and_goes_back_through_what_it_drew():
    layer = xr.GRU(I, 40, 2, dropout=0.5, seed=1)
    x = draw(B, I)
    y, _, cache = layer.step(x)
    other, _, second = layer.step(x)
    assert not same_bits(y, other)
    assert [mask.shape for mask in cache.masks] == [(1, B, 40)]
    assert not same_bits(cache.masks, second.masks)
    totals = totals_of(layer)
    added = layer.step_back(cache, y, None, copies(totals)).weights
    own = layer.step_back(cache, y).weights
    assert same_bits(added, {name: totals[name] + own[name] for name in totals})
    grid = xr.TimeDepthGridLSTM(I, 6, 2, dropout=0.5, seed=1)
    y, _, cache = grid.step(x)
    totals = totals_of(grid)
    added = grid.step_back(cache, y, None, copies(totals)).weights
    own = grid.step_back(cache, y).weights
    assert same_bits(added, {name: totals[name] + own[name] for name in totals})


def test_no_rows_are_no_step():
    layer = xr.LSTM(I, 6, seed=1)
    y, (h, c), cache = layer.step(draw(0, I))
    assert (y.shape, h.shape, c.shape) == ((0, 6), (1, 0, 6), (1, 0, 6))
    totals = totals_of(layer)
    grads = layer.step_back(cache, y, None, copies(totals))
    assert grads.x.shape == (0, I)
    assert same_bits(grads.weights, totals)


@of_every_layer
def test_copies_of_a_cache_go_back_alike(name):
    layer = LAYERS[name]()
    *_, cache, dy, dstate = stepped(layer)
    expected = layer.step_back(cache, dy, dstate, totals_of(layer))
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        grads = other.layer.step_back(other, dy, dstate, totals_of(layer))
        assert same_bits(tuple(grads), tuple(expected))


# Messages


def test_a_layer_that_reads_rows_from_their_ends_has_no_steps():
    for option in ("bidirectional", "reverse"):
        layer = xr.GRU(I, 6, seed=1, **{option: True})
        with pytest.raises(ValueError, match=f"^step: .* with {option}=False"):
            layer.step(draw(B, I))


def test_arguments_of_a_step_are_named():
    layer = xr.LSTM(I, 6, seed=1)
    state = draw_state(layer, B)
    for x, begin, kind, message in (
        (draw(T, B, I), None, ValueError, r"x: expected \[B, I=4\] or \[I=4\], got"),
        (draw(B, I + 1), None, ValueError, r"x: expected \[B, I=4\] or \[I=4\], got"),
        (draw(B, I, dtype="float64"), None, TypeError, "x: expected .*float32"),
        (draw(B, I), state[0], (ValueError, TypeError), "state: expected"),
        (draw(B + 1, I), state, ValueError, r"state\[0\]: expected \[L\*D=1, B=4"),
        (draw(I), state, ValueError, r"state\[0\]: expected \[L\*D=1, H=6\]"),
    ):
        with pytest.raises(kind, match=f"^{message}"):
            layer.step(x, begin)
    with pytest.raises(TypeError, match=r"^gates: expected"):
        layer.step(draw(B, I), gates=1)


def test_a_cache_goes_back_the_way_it_came():
    layer = xr.LSTM(I, 6, seed=1)
    y, _, whole = layer.forward(draw(1, B, I))
    *_, cache, dy, _ = stepped(layer)
    with pytest.raises(ValueError, match=r"^cache: expected one made by step, got one"):
        layer.step_back(whole, y)
    with pytest.raises(ValueError, match=r"^cache: .* got another layer's"):
        xr.LSTM(I, 6, seed=1).step_back(cache, dy)
    with pytest.raises(TypeError, match=r"^cache: expected one made by step, got None"):
        layer.step_back(None, dy)
    with pytest.raises(ValueError, match=r"^dy: expected \[B=3, D\*H=6\]"):
        layer.step_back(cache, dy[None])
    with pytest.raises(ValueError, match=r"^dy: expected an array because"):
        layer.step_back(cache, None)
    layer.bias_ih_l0 = np.ones(24, np.float32)
    with pytest.raises(ValueError, match=r"^cache: expected the weights"):
        layer.step_back(cache, dy, None, totals_of(layer))


def wrong_totals(layer, totals, dy):
    """Give what no step may add to, and the beginning of its message."""
    name, other = "weight_hh_l0", "weight_ih_l0"
    array = totals[name]
    frozen = array.copy()
    frozen.flags.writeable = False
    yield list(totals), TypeError, "weights: expected a mapping"
    yield {name: array}, ValueError, "weights: expected .*missing"
    yield totals | {"more": array}, ValueError, "weights: expected .*unknown 'more'"
    inside = rf"weights\['{name}'\]: expected "
    yield totals | {name: None}, TypeError, inside
    yield totals | {name: array[:-1]}, ValueError, inside + r"\[rows=24, columns=6\]"
    yield totals | {name: array.astype("float64")}, TypeError, inside + ".*float32"
    yield totals | {name: frozen}, ValueError, inside + "a writable array"
    yield (
        totals | {name: dy.base[: array.size].reshape(array.shape)},
        ValueError,
        (inside + "memory of its own"),
    )
    swapped = array.astype(array.dtype.newbyteorder())
    yield totals | {name: swapped}, TypeError, inside + "float32 in native byte order"
    both = np.zeros(24 * 6 + 24 * I - 1, np.float32)
    shared = {name: both[: 24 * 6].reshape(24, 6), other: both[1 - 24 * I - 1 :]}
    shared[other] = both[-24 * I :].reshape(24, I)
    yield totals | shared, ValueError, f"weights: .* got memory of both {name} and"
    wide = np.zeros((24, 1), np.float32)
    same = np.broadcast_to(wide, (24, 6))
    same = np.lib.stride_tricks.as_strided(wide, (24, 6), (4, 0))
    yield totals | {name: same}, ValueError, inside + "separate elements"


def test_totals_that_cannot_be_added_to_are_named_and_nothing_is_changed():
    layer = xr.LSTM(I, 6, seed=1)
    *_, cache, _, dstate = stepped(layer)
    dy = draw(400)[: B * 6].reshape(B, 6)
    totals = totals_of(layer)
    before = copies(totals)
    for given, kind, message in wrong_totals(layer, totals, dy):
        with pytest.raises(kind, match=f"^{message}"):
            layer.step_back(cache, dy, dstate, given)
        assert same_bits(totals, before)
    with pytest.raises(ValueError, match=r"^dstate\[1\]: expected"):
        layer.step_back(cache, dy, (dstate[0], dstate[1][..., 1:]), totals)
    assert same_bits(totals, before)


def test_many_weights_are_added_to_as_few_are():
    layer = xr.RNN(2, 2, 20, seed=1)  # more arrays than a plain call compares
    y, _, cache = layer.step(draw(B, 2))
    totals = totals_of(layer)
    own = layer.step_back(cache, y).weights
    added = layer.step_back(cache, y, None, copies(totals)).weights
    assert same_bits(added, {name: totals[name] + own[name] for name in totals})
