"""What only MUT2 promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

MUT2 = CELLS["mut2"]
ACTIVATIONS = ("sigmoid", "tanh")


def test_one_step_by_hand_in_the_gate_order_r_z_n():
    # x = 2, h_prev = 4. r = 3/4 and z = 1/5 from a = (a/2)*2 + (-a/4)*4 + 3a/4 + a/4;
    # s = 3, n = tanh(4*x + 5*s + b) = tanh(log(3)/2) = 1/2
    ar, az = log(3), -log(4)
    w_ih = np.array([[ar / 2], [az / 2], [4.0]])
    w_hh = np.array([[-ar / 4], [-az / 4], [5.0]])
    b_ih = np.array([3 * ar / 4, 3 * az / 4, log(3) / 2 - 16])
    b_hh = np.array([ar / 4, az / 4, -7.0])
    direction = Direction(MUT2, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)
    y, _, cache = direction_forward(
        direction, np.array([[[2.0]]]), (np.array([[4.0]]),)
    )
    kept = [cache.slots[name][0, 0, 0] for name in "rzns"]
    assert kept == pytest.approx([3 / 4, 1 / 5, 1 / 2, 3.0], rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(4 / 5 * 4 + 1 / 5 * 1 / 2, rel=1e-14)

    # dh = 2: dan = 2 * 1/5 * 3/4, ds = 5 * dan
    dan = 3 / 10
    dar, daz = 5 * dan * 4 * 3 / 16, -2 * 7 / 2 * 4 / 25
    da = [dar, daz, dan]
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights.b_ih == pytest.approx(da, rel=1e-13)
    assert dweights.b_hh == pytest.approx(da, rel=1e-13)
    assert dweights.w_ih[:, 0] == pytest.approx([2 * dar, 2 * daz, 2 * dan], rel=1e-13)
    assert dweights.w_hh[:, 0] == pytest.approx([4 * dar, 4 * daz, 3 * dan], rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(
        dar * ar / 2 + daz * az / 2 + 4 * dan, rel=1e-13
    )
    assert dh_prev[0, 0] == pytest.approx(
        2 * 4 / 5 + 5 * dan * 3 / 4 - dar * ar / 4 - daz * az / 4, rel=1e-13
    )


def test_z_at_0_keeps_the_state_to_the_bit_and_at_1_forgets_it():
    rng = np.random.default_rng(0)
    h_0, x = rng.normal(size=(3, 4)), rng.normal(size=(40, 3, 2))
    weights = Weights(
        rng.normal(size=(12, 2)),
        rng.normal(size=(12, 4)),
        rng.normal(size=12),
        rng.normal(size=12),
    )
    direction = Direction(MUT2, weights, ACTIVATIONS)
    weights.b_ih[4:8] = -1000.0
    _, (h,), _ = direction_forward(direction, x, (h_0.copy(),))
    np.testing.assert_array_equal(h.view(np.int64), h_0.view(np.int64))
    weights.b_ih[4:8] = 1000.0
    y, _, cache = direction_forward(direction, x, (h_0.copy(),))
    np.testing.assert_array_equal(y, cache.slots["n"])
