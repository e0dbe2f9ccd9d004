"""What only the GRU with the reset before the product promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

GRU, GRU_BEFORE = CELLS["gru"], CELLS["gru_before"]
ACTIVATIONS = ("sigmoid", "tanh")


def make_weights(rng, hidden_size):
    w_ih = rng.normal(size=(3 * hidden_size, 2))
    w_hh = rng.normal(size=(3 * hidden_size, hidden_size))
    b_ih, b_hh = rng.normal(size=(2, 3 * hidden_size))
    return Weights(w_ih, w_hh, b_ih, b_hh)


def run_both_forms(weights):
    """Return y, dx, dh_0 and the weights' gradients of both forms, with dy and dh."""
    rng = np.random.default_rng(0)
    x, h_0 = rng.normal(size=(7, 3, 2)), rng.normal(size=(3, 4))
    dy, dh = rng.normal(size=(7, 3, 4)), rng.normal(size=(3, 4))
    found = []
    for cell in (GRU_BEFORE, GRU):
        direction = Direction(cell, weights, ACTIVATIONS)
        y, _, cache = direction_forward(direction, x, (h_0,))
        dx, (dh_0,), dweights, _ = direction_backward(cache, dy, (dh,))
        found.append((y, dx, dh_0, *dweights[:3]))
    return found


def test_one_step_by_hand_in_the_gate_order_r_z_n():
    # x = 2, h_prev = 4. r = 3/4 and z = 1/5 from a = (a/2)*2 + (-a/4)*4 + 3a/4 + a/4;
    # s = 3, n = tanh(4*x + 5*s + b) = tanh(log(3)/2) = 1/2
    ar, az = log(3), -log(4)
    w_ih = np.array([[ar / 2], [az / 2], [4.0]])
    w_hh = np.array([[-ar / 4], [-az / 4], [5.0]])
    b_ih = np.array([3 * ar / 4, 3 * az / 4, log(3) / 2 - 16])
    b_hh = np.array([ar / 4, az / 4, -7.0])
    direction = Direction(GRU_BEFORE, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)
    y, _, cache = direction_forward(
        direction, np.array([[[2.0]]]), (np.array([[4.0]]),)
    )
    kept = [cache.slots[name][0, 0, 0] for name in "rzns"]
    assert kept == pytest.approx([3 / 4, 1 / 5, 1 / 2, 3.0], rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(1 / 5 * 4 + 4 / 5 * 1 / 2, rel=1e-14)

    # dh = 2: dan = 2 * 4/5 * 3/4, ds = 5 * dan
    dan = 6 / 5
    dar, daz = 5 * dan * 4 * 3 / 16, 2 * 7 / 2 * 4 / 25
    da = [dar, daz, dan]
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights[2] == pytest.approx(da, rel=1e-13)
    assert dweights[3] == pytest.approx(da, rel=1e-13)
    assert dweights[0][:, 0] == pytest.approx([2 * dar, 2 * daz, 2 * dan], rel=1e-13)
    assert dweights[1][:, 0] == pytest.approx([4 * dar, 4 * daz, 3 * dan], rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(
        dar * ar / 2 + daz * az / 2 + 4 * dan, rel=1e-13
    )
    assert dh_prev[0, 0] == pytest.approx(
        2 * 1 / 5 + 5 * dan * 3 / 4 - dar * ar / 4 - daz * az / 4, rel=1e-13
    )


def test_both_forms_agree_where_the_reset_gate_is_open():
    weights = make_weights(np.random.default_rng(1), 4)
    weights[2][:4] = 900.0
    for before, after in zip(*run_both_forms(weights), strict=True):
        np.testing.assert_allclose(before, after, rtol=0, atol=1e-12)


def test_both_forms_agree_where_the_recurrent_part_is_diagonal():
    # r * (R_n h) = R_n (r * h) for a diagonal R_n, without the bias inside
    weights = make_weights(np.random.default_rng(2), 4)
    weights[1][8:] *= np.eye(4)
    weights[3][8:] = 0.0
    (*before, dR_before, _), (*after, dR_after, _) = run_both_forms(weights)
    for first, second in zip(before, after, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)
    for row in range(12):
        columns = [row - 8] if row >= 8 else slice(None)
        np.testing.assert_allclose(
            dR_before[row, columns], dR_after[row, columns], rtol=0, atol=1e-12
        )


def test_both_forms_differ_elsewhere():
    weights = make_weights(np.random.default_rng(3), 4)
    for before, after in zip(*run_both_forms(weights), strict=True):
        assert np.abs(before - after).max() > 1e-3


def test_the_reset_gate_acts_before_the_product():
    # With r of one unit shut, no candidate hears the state of that unit.
    rng = np.random.default_rng(4)
    weights = make_weights(rng, 4)
    weights[2][0] = -900.0
    weights[1][:4] = 0.0
    direction = Direction(GRU_BEFORE, weights, ACTIVATIONS)
    x, h = rng.normal(size=(1, 1, 2)), rng.normal(size=(1, 4))
    first = direction_forward(direction, x, (h,))[2].slots["n"]
    h[0, 0] += 1.0
    np.testing.assert_array_equal(
        direction_forward(direction, x, (h,))[2].slots["n"], first
    )
    h[0, 1] += 1.0
    assert (direction_forward(direction, x, (h,))[2].slots["n"] != first).all()


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_state_stays_between_the_candidate_and_the_state_before(scale):
    rng = np.random.default_rng(5)
    direction = Direction(GRU_BEFORE, make_weights(rng, 4), ACTIVATIONS)
    state = (scale * rng.normal(size=(3, 4)),)
    y, _, cache = direction_forward(direction, rng.normal(size=(40, 3, 2)), state)
    n, h_prev = cache.slots["n"], cache.prev["h"]
    slack = 2**-52 * np.maximum(np.abs(n), np.abs(h_prev))
    assert (y >= np.minimum(n, h_prev) - slack).all()
    assert (y <= np.maximum(n, h_prev) + slack).all()
    assert np.abs(y).max() <= max(1.0, np.abs(state[0]).max())


def test_z_at_1_keeps_the_state_to_the_bit():
    rng = np.random.default_rng(6)
    weights = make_weights(rng, 4)
    weights[2][4:8] = 900.0
    h_0 = rng.normal(size=(3, 4))
    _, (h,), cache = direction_forward(
        Direction(GRU_BEFORE, weights, ACTIVATIONS),
        rng.normal(size=(40, 3, 2)),
        (h_0.copy(),),
    )
    np.testing.assert_array_equal(h.view(np.int64), h_0.view(np.int64))

    dh = rng.normal(size=(3, 4))
    _, (dh_0,), dweights, _ = direction_backward(cache, None, (dh,))
    np.testing.assert_array_equal(dh_0, dh)
    assert not any(dw.any() for dw in dweights[:4])
