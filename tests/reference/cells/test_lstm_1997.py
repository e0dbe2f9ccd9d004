"""What only the LSTM of 1997 promises: blocks that share gates, a constant error."""

from math import log

import numpy as np
import pytest
from directions import make_direction, make_problem

import exactrnn as xr
from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

UNITS = 3


def test_one_step_by_hand():
    # One block of two cells, x = 1: every weight of x is a whole pre-activation, and
    # the biases are what the gates and cells of the step before bring: 0 in all.
    #   i = 3/4   o = 1/4   g_1 = 4 * 3/4 - 2 = 1   g_2 = 4 * 1/4 - 2 = -1
    #   c_1 = c' + 3/4 = log 3   c_2 = c' - 3/4 = -log 9
    #   h_1 = 1/4 * (2 * 3/4 - 1) = 1/8   h_2 = 1/4 * (2 * 1/10 - 1) = -1/5
    w = log(3)
    weights = Weights(
        np.array([[w], [-w], [w], [-w]]),
        np.array([[0.1, 0.2, -0.3, 0.5]] * 4),
        np.array([-0.1, -0.1, -0.1, -0.1]),
    )
    cell = CELLS["lstm_1997"].adapted({"cells": 2})
    direction = Direction(cell, weights, (), options={"cells": 2})
    # R s = 0.1 * 0.5 + 0.2 * 0.25 - 0.3 * 0.5 + 0.5 * 0.3 = 0.1
    state = (
        np.array([[0.5, 0.25]]),
        np.array([[log(3) - 0.75, 0.75 - log(9)]]),
        np.array([[0.5]]),
        np.array([[0.3]]),
    )
    y, (h, c, i, o), cache = direction_forward(direction, np.ones((1, 1, 1)), state)
    assert y[0, 0] == pytest.approx([1 / 8, -1 / 5], rel=1e-14)
    np.testing.assert_array_equal(h, y[0])
    assert c[0] == pytest.approx([log(3), -log(9)], rel=1e-14)
    assert (i[0, 0], o[0, 0]) == pytest.approx((3 / 4, 1 / 4), rel=1e-14)

    # dh = (8, 10), with h' = 2 s (1 - s) for s = 3/4 and 1/10:
    #   dc = dh * 1/4 * h'' = (8/4 * 3/8, 10/4 * 18/100) = (3/4, 9/20)
    #   dao = (8 * 1/2 - 10 * 4/5) * 3/16 = -3/4
    #   dai = (3/4 * 1 - 9/20) * 3/16 = 9/160
    #   dag = dc * 3/4 * 4 * 3/16 = dc * 9/16
    dy = np.array([[[8.0, 10.0]]])
    dx, (dh, dc, di, do), dweights, _ = direction_backward(cache, dy)
    da = np.array([9 / 160, -3 / 4, 27 / 64, 81 / 320])
    assert dweights.b_ih == pytest.approx(da, rel=1e-13)
    np.testing.assert_array_equal(dweights.w_ih[:, 0], dweights.b_ih)
    before = np.array([0.5, 0.25, 0.5, 0.3])
    assert dweights.w_hh == pytest.approx(da[:, None] * before, rel=1e-13)
    assert dc[0] == pytest.approx([3 / 4, 9 / 20], rel=1e-13)
    total = da.sum()
    assert dh[0] == pytest.approx([0.1 * total, 0.2 * total], rel=1e-12)
    assert (di[0, 0], do[0, 0]) == pytest.approx((-0.3 * total, 0.5 * total), rel=1e-12)
    assert dx[0, 0, 0] == pytest.approx(w * (da[0] - da[1] + da[2] - da[3]), rel=1e-12)


def test_one_cell_a_block_without_gates_as_inputs_is_the_lstm_without_forget_gate():
    # g = 2 tanh(a/2) and h = o tanh(c/2): the LSTM with half the weights into g, whose
    # c is half of this one's.
    ours = xr.LSTM1997(2, UNITS, dtype="float64", seed=1)
    lstm = xr.LSTM(2, UNITS, omit="f", dtype="float64")
    rows = {"i": slice(0, 3), "o": slice(3, 6), "g": slice(6, 9)}
    weights = ours.state_dict()
    weights["weight_hh_l0"][:, UNITS:] = 0.0
    ours.load_state_dict(weights)

    def moved(weight):
        return np.concatenate(
            [weight[rows["i"]], weight[rows["g"]] / 2, weight[rows["o"]]]
        )

    lstm.load_state_dict(
        {
            "weight_ih_l0": moved(weights["weight_ih_l0"]),
            "weight_hh_l0": moved(weights["weight_hh_l0"][:, :UNITS]),
            "bias_ih_l0": moved(weights["bias_ih_l0"]),
            "bias_hh_l0": np.zeros(3 * UNITS),
        }
    )
    x = np.random.default_rng(2).standard_normal((9, 4, 2))
    y, (_, c, _, _) = ours(x)
    y_lstm, (_, c_lstm) = lstm(x)
    np.testing.assert_allclose(y, y_lstm, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(c, 2 * c_lstm, rtol=1e-12, atol=1e-14)


def test_cells_of_a_block_share_its_gates_and_no_other_blocks():
    layer = xr.LSTM1997(1, 6, block_size=2, bias=False, dtype="float64", seed=3)
    weights = {name: np.zeros_like(w) for name, w in layer.state_dict().items()}
    weights["weight_ih_l0"][:, 0] = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    weights["weight_ih_l0"][1, 0] = -60.0  # the input gate of block 1 is shut
    layer.load_state_dict(weights)
    _, (_, c, i, _) = layer(np.ones((1, 1, 1)))
    open_, shut = [0, 2, 3, 5], [1, 4]  # cell k of block n is unit k*N + n
    assert (np.abs(c[0, 0, open_]) > 0.4).all()
    assert (np.abs(c[0, 0, shut]) < 1e-20).all()
    assert c[0, 0, 0] != c[0, 0, 3]
    np.testing.assert_allclose(i[0, 0], [0.5, 0, 0.5], atol=1e-20)


def test_gates_that_are_shut_are_stored_as_plus_zero():
    # In float32 σ(-100) is no more than a subnormal number.
    layer = xr.LSTM1997(1, 2, seed=7)
    layer.bias_ih_l0[:4] = -100.0
    x = np.ones((1, 1, 1), np.float32)
    for _, (_, _, i, o) in (layer(x), xr.reference.forward(layer, x)[:2]):
        assert i.tobytes() == o.tobytes() == bytes(8)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_truncated_errors_pass_the_cells_unchanged(size):
    layer = xr.LSTM1997(2, 4 * size, block_size=size, dtype="float64", seed=4)
    x = np.random.default_rng(5).standard_normal((100, 2, 2))
    _, final, cache = layer.forward(x)
    rng = np.random.default_rng(6)
    dstate = tuple(np.zeros_like(part) for part in final)
    dstate[1][...] = rng.standard_normal(final[1].shape)
    cut = layer.backward(cache, None, dstate, truncated=True).state
    np.testing.assert_array_equal(cut[1], dstate[1])
    assert not any(part.any() for part in (cut[0], cut[2], cut[3]))
    whole = layer.backward(cache, None, dstate).state
    assert all(part.any() for part in whole)


def test_every_sum_hears_every_cell_and_every_gate():
    # No entry of R is without a gradient, and no state of the step before.
    problem = make_problem(make_direction("lstm_1997", options={"cells": 2}), steps=2)
    found = problem.backward()
    assert (found.weights.w_hh != 0).all()
    assert all((part != 0).all() for part in found.state)
