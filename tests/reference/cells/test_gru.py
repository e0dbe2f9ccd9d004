"""What only the GRU with the reset after the product promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

GRU = CELLS["gru"]
ACTIVATIONS = ("sigmoid", "tanh")


def make_direction(rng, hidden_size, cell=GRU):
    w_ih = rng.normal(size=(3 * hidden_size, 2))
    w_hh = rng.normal(size=(3 * hidden_size, hidden_size))
    b_ih, b_hh = rng.normal(size=(2, 3 * hidden_size))
    return Direction(cell, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)


def test_one_step_by_hand_in_the_gate_order_r_z_n():
    # x = 2, h_prev = 3. r = 3/4 and z = 1/5 from a = (a/2)*2 + (-a/3)*3 + 3a/4 + a/4;
    # v = 3*h_prev - 7 = 2; n = tanh(4*x + b + r*v) = tanh(log(3)/2) = 1/2
    ar, az = log(3), -log(4)
    w_ih = np.array([[ar / 2], [az / 2], [4.0]])
    w_hh = np.array([[-ar / 3], [-az / 3], [3.0]])
    b_ih = np.array([3 * ar / 4, 3 * az / 4, log(3) / 2 - 8 - 3 / 2])
    b_hh = np.array([ar / 4, az / 4, -7.0])
    direction = Direction(GRU, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)
    y, _, cache = direction_forward(
        direction, np.array([[[2.0]]]), (np.array([[3.0]]),)
    )
    kept = [cache.slots[name][0, 0, 0] for name in "rznv"]
    assert kept == pytest.approx([3 / 4, 1 / 5, 1 / 2, 2.0], rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(1 / 5 * 3 + 4 / 5 * 1 / 2, rel=1e-14)

    # dh = 2
    dar, daz, dan, dv = (
        6 / 5 * 2 * 3 / 16,
        2 * 5 / 2 * 4 / 25,
        2 * 4 / 5 * 3 / 4,
        9 / 10,
    )
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights[2] == pytest.approx([dar, daz, dan], rel=1e-13)
    assert dweights[3] == pytest.approx([dar, daz, dv], rel=1e-13)
    assert dweights[0][:, 0] == pytest.approx([2 * dar, 2 * daz, 2 * dan], rel=1e-13)
    assert dweights[1][:, 0] == pytest.approx([3 * dar, 3 * daz, 3 * dv], rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(
        dar * ar / 2 + daz * az / 2 + 4 * dan, rel=1e-13
    )
    assert dh_prev[0, 0] == pytest.approx(
        2 * 1 / 5 - dar * ar / 3 - daz * az / 3 + 3 * dv, rel=1e-13
    )


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_state_stays_between_the_candidate_and_the_state_before(scale):
    rng = np.random.default_rng(0)
    direction = make_direction(rng, 4)
    state = (scale * rng.normal(size=(3, 4)),)
    y, _, cache = direction_forward(direction, rng.normal(size=(40, 3, 2)), state)
    n, h_prev = cache.slots["n"], cache.prev["h"]
    slack = 2**-52 * np.maximum(np.abs(n), np.abs(h_prev))
    assert (y >= np.minimum(n, h_prev) - slack).all()
    assert (y <= np.maximum(n, h_prev) + slack).all()
    assert np.abs(y).max() <= max(1.0, np.abs(state[0]).max())


def test_z_at_1_keeps_the_state_to_the_bit():
    rng = np.random.default_rng(1)
    direction = make_direction(rng, 4)
    direction.weights[2][4:8] = 900.0
    h_0 = rng.normal(size=(3, 4))
    _, (h,), cache = direction_forward(
        direction, rng.normal(size=(40, 3, 2)), (h_0.copy(),)
    )
    assert (cache.slots["z"] == 1).all()
    np.testing.assert_array_equal(h.view(np.int64), h_0.view(np.int64))

    dh = rng.normal(size=(3, 4))
    _, (dh_0,), dweights, _ = direction_backward(cache, None, (dh,))
    np.testing.assert_array_equal(dh_0, dh)
    assert not any(dw.any() for dw in dweights[:4])


def test_the_two_biases_of_the_candidate_have_gradients_of_their_own():
    rng = np.random.default_rng(2)
    direction = make_direction(rng, 4)
    _, _, cache = direction_forward(direction, rng.normal(size=(5, 3, 2)))
    _, _, dweights, _ = direction_backward(cache, rng.normal(size=(5, 3, 4)))
    db_ih, db_hh = dweights.b_ih, dweights.b_hh
    np.testing.assert_array_equal(db_ih[:8], db_hh[:8])
    assert (db_ih[8:] != db_hh[8:]).all()


def test_the_reset_gate_acts_after_the_product():
    # With r of one unit shut, its candidate hears nothing of any state, but others do.
    rng = np.random.default_rng(3)
    direction = make_direction(rng, 4)
    direction.weights[2][0] = -900.0
    x = rng.normal(size=(1, 1, 2))
    states = rng.normal(size=(2, 1, 4))
    first, second = (
        direction_forward(direction, x, (h,))[2].slots["n"] for h in states
    )
    assert first[0, 0, 0] == second[0, 0, 0]
    assert (first[0, 0, 1:] != second[0, 0, 1:]).all()
