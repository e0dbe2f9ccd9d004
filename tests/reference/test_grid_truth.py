"""The grid's twin is right: central differences, hand computation, the LSTM inside."""

import math

import numpy as np
import pytest
from bits import assert_same_bits, random_array
from grids import any_grid, make_grid, random_borders
from hypothesis import given, settings

import exactrnn as xr
from exactrnn.reference import grid as twin

STEP = 1e-5
GRIDS = {
    "1d": {"sizes": (3,)},
    "1d softsign": {"sizes": (3,), "kinds": ("softsign",)},
    "2d": {"sizes": (2, 3)},
    "2d priority 0": {"sizes": (2, 2), "phases": (1, 0)},
    "2d priority 1, 0": {"sizes": (2, 2), "phases": (2, 1)},
    "2d tanh": {"sizes": (2, 2), "kinds": ("lstm", "tanh"), "phases": (0, 1)},
    "2d unshared": {"sizes": (2, 3), "unshared": (1,), "phases": (0, 1)},
    "2d tied": {"sizes": (2, 2), "tied": True},
    "2d tied, without bias": {"sizes": (2, 2), "tied": True, "bias": False},
    "3d": {"sizes": (2, 2, 2)},
    "3d priority 2, 0": {"sizes": (2, 1, 2), "phases": (2, 0, 1)},
    "3d identity": {
        "sizes": (2, 2, 2),
        "kinds": ("lstm", "identity", "lstm"),
        "phases": (0, 1, 0),
        "unshared": (1,),
    },
    "ragged": {"sizes": (3, 2), "lengths": np.array([[2, 2], [3, 1]])},
}


def dot(first, second):
    return math.fsum(a * b for a, b in zip(first.flat, second.flat, strict=True))


def loss(grid, borders, dends):
    ends, _ = twin.grid_forward(grid, borders)
    pairs = zip(ends, dends, strict=True)
    return math.fsum(
        dot(a, b)
        for end, dend in pairs
        for a, b in zip(end, dend, strict=True)
        if a is not None
    )


def moving_arrays(grid, borders, dends):
    """Return every array that the loss depends on, once, with its gradient."""
    _, cache = twin.grid_forward(grid, borders)
    dborders, dweights = twin.grid_backward(cache, dends)
    pairs = list(zip(borders, dborders, strict=True))
    for dimensions in zip(grid.weights, dweights, strict=True):
        pairs += zip(*dimensions, strict=True)
    found = {}
    for one, other in pairs:
        for array, gradient in zip(one, other, strict=True):
            if array is not None:
                found[id(array)] = array, gradient
    return list(found.values())


def check_gradients(grid, seed):
    """Compare with central differences, each array in turn in a random direction."""
    rng = np.random.default_rng(seed)
    borders = random_borders(rng, grid, 2)
    dends = random_borders(rng, grid, 2, 1.0)
    for array, gradient in moving_arrays(grid, borders, dends):
        direction, before = rng.standard_normal(array.shape), array.copy()
        sides = []
        for sign in (1, -1):
            array[...] = before + sign * STEP * direction
            sides.append(loss(grid, borders, dends))
        array[...] = before
        expected = (sides[0] - sides[1]) / (2 * STEP)
        assert dot(gradient, direction) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("tanh_outside", [True, False], ids=["paper", "lstm"])
@pytest.mark.parametrize("name", GRIDS)
def test_gradients_are_those_of_central_differences(name, tanh_outside):
    grid = make_grid(**GRIDS[name], H=2, tanh_outside=tanh_outside, seed=5)
    check_gradients(grid, 6)


@settings(max_examples=12, deadline=None)
@given(any_grid(size=2, H=2))
def test_gradients_of_any_combination(grid):
    check_gradients(grid, 7)


def sigma(a):
    return 1 / (1 + math.exp(-a))


def hand_lstm(W, b, Hc, m, tanh_outside):
    """One transform of one unit, with numbers alone."""
    ai, af, ag, ao = (
        b[g] + math.fsum(w * h for w, h in zip(W[g], Hc, strict=True)) for g in range(4)
    )
    m_new = sigma(af) * m + sigma(ai) * math.tanh(ag)
    o = sigma(ao)
    return math.tanh(o * m_new) if tanh_outside else o * math.tanh(m_new), m_new


@pytest.mark.parametrize("tanh_outside", [True, False], ids=["paper", "lstm"])
@pytest.mark.parametrize("phases", [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)], ids=str)
def test_one_unit_by_hand(phases, tanh_outside):
    grid = make_grid((2, 2), 1, phases=phases, tanh_outside=tanh_outside, seed=8)
    borders = random_borders(np.random.default_rng(9), grid, 1)
    ends, _ = twin.grid_forward(grid, borders)
    h = {(k, line): float(borders[k][0][line, 0, 0]) for k in (0, 1) for line in (0, 1)}
    m = {(k, line): float(borders[k][1][line, 0, 0]) for k in (0, 1) for line in (0, 1)}
    for p in ((0, 0), (0, 1), (1, 0), (1, 1)):
        lines = ((0, p[1]), (1, p[0]))
        old = [h[line] for line in lines]
        new = {}
        for k in sorted((0, 1), key=lambda k: phases[k]):
            Hc = [new[j][0] if phases[j] < phases[k] else old[j] for j in (0, 1)]
            W, b = grid.weights[0][k]
            new[k] = hand_lstm(W.tolist(), b.tolist(), Hc, m[lines[k]], tanh_outside)
        for k in (0, 1):
            h[lines[k]], m[lines[k]] = new[k]
    for k in (0, 1):
        for line in (0, 1):
            assert ends[k][0][line, 0, 0] == pytest.approx(h[k, line], rel=1e-13)
            assert ends[k][1][line, 0, 0] == pytest.approx(m[k, line], rel=1e-13)


def test_time_transform_of_one_layer_is_an_lstm(dtype):
    """With h_depth := x_t and o*tanh(m'), bit for bit, back as well."""
    T, B, H = 7, 3, 5
    grid = make_grid((1, T), H, tanh_outside=False, dtype=dtype, seed=2)
    rng = np.random.default_rng(3)
    x = random_array(rng, (T, B, H), dtype)
    h, m, dh, dm = (random_array(rng, (1, B, H), dtype) for _ in range(4))
    zeros = np.zeros((T, B, H), dtype)
    W, b = grid.weights[0][1]
    lstm = xr.LSTM(H, H, dtype=dtype)
    lstm.weight_ih_l0, lstm.weight_hh_l0 = W[:, :H].copy(), W[:, H:].copy()
    lstm.bias_ih_l0, lstm.bias_hh_l0 = b, np.zeros_like(b)

    ends, cache = twin.grid_forward(grid, ((x, zeros), (h, m)))
    dborders, dweights = twin.grid_backward(cache, ((zeros, zeros), (dh, dm)))
    y, final, kept = lstm.forward(x, (h, m))
    grads = lstm.backward(kept, None, (dh, dm))

    assert_same_bits("y", cache.h[1][1:, 0], y)
    assert_same_bits("h", ends[1][0], final[0])
    assert_same_bits("m", ends[1][1], final[1])
    assert_same_bits("dx", dborders[0][0], grads.x)
    assert_same_bits("dh", dborders[1][0], grads.state[0])
    assert_same_bits("dm", dborders[1][1], grads.state[1])
    dW, db = dweights[0][1]
    assert_same_bits("dW", dW[:, :H], grads.weights["weight_ih_l0"])
    assert_same_bits("dR", dW[:, H:], grads.weights["weight_hh_l0"])
    assert_same_bits("db", db, grads.weights["bias_ih_l0"])


def test_tied_dimensions_differ_by_their_memory_alone():
    """Same Hc, same W: of weights tied among dimensions."""
    grid = make_grid((1, 1), 3, tied=True)
    borders = random_borders(np.random.default_rng(4), grid, 2)
    _, cache = twin.grid_forward(grid, borders)
    for letter in "ifgo":
        assert_same_bits(letter, cache.gates[0][letter], cache.gates[1][letter])
    same = ((borders[0]), (borders[1][0], borders[0][1].reshape(1, 2, 3)))
    ends, _ = twin.grid_forward(grid, same)
    assert_same_bits("h", ends[0][0], ends[1][0])


def test_order_of_the_dimensions_does_not_matter():
    """Swapping axes, columns and weights swaps the results (to rounding)."""
    grid = make_grid((2, 3), 3, phases=(0, 1), unshared=(1,))
    borders = random_borders(np.random.default_rng(4), grid, 2)
    ends, _ = twin.grid_forward(grid, borders)
    columns = np.r_[3:6, 0:3]
    swapped = twin.Grid(
        grid.kinds,
        (1, 0),
        grid.tanh_outside,
        [[(W[:, columns], b) for W, b in dims[::-1]] for dims in grid.weights],
        (3, 2),
        grid.set_steps[::-1],
    )
    others, _ = twin.grid_forward(swapped, borders[::-1])
    for one, other in zip(ends, others[::-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
