"""What only MUT1 promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

MUT1 = CELLS["mut1"]
ACTIVATIONS = ("sigmoid", "tanh")


def test_one_step_by_hand_with_row_blocks_r_z_n_and_r_n():
    # x = 2, h_prev = 4. r = 3/4, z = 1/5 without any state, s = 3, tanh(ax) = 1/2,
    # an = 5*s + b = log(3)/2 - 1/2, so that n = tanh(an + tanh(ax)) = 1/2
    ar, az, ax = log(3), -log(4), log(3) / 2
    w_ih = np.array([[ar / 2], [az / 4], [ax / 2]])
    w_hh = np.array([[-ar / 4], [5.0]])
    b_ih = np.array([3 * ar / 4, az / 2, ax - 16])
    b_hh = np.array([ar / 4, 1 / 2])
    direction = Direction(MUT1, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)
    y, _, cache = direction_forward(
        direction, np.array([[[2.0]]]), (np.array([[4.0]]),)
    )
    kept = [cache.slots[name][0, 0, 0] for name in "rzxns"]
    assert kept == pytest.approx([3 / 4, 1 / 5, 1 / 2, 1 / 2, 3.0], rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(4 / 5 * 4 + 1 / 5 * 1 / 2, rel=1e-14)

    # dh = 2: dan = 2 * 1/5 * 3/4, dax = dan * 3/4, ds = 5 * dan
    dan = 3 / 10
    dax, ds, daz = dan * 3 / 4, 5 * dan, -2 * 7 / 2 * 4 / 25
    dar = ds * 4 * 3 / 16
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights.b_ih == pytest.approx([dar, daz, dan], rel=1e-13)
    assert dweights.b_hh == pytest.approx([dar, dan], rel=1e-13)
    assert dweights.w_ih[:, 0] == pytest.approx([2 * dar, 2 * daz, 2 * dax], rel=1e-13)
    assert dweights.w_hh[:, 0] == pytest.approx([4 * dar, 3 * dan], rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(
        dar * ar / 2 + daz * az / 4 + dax * ax / 2, rel=1e-13
    )
    assert dh_prev[0, 0] == pytest.approx(
        2 * 4 / 5 + ds * 3 / 4 - dar * ar / 4, rel=1e-13
    )


def test_the_bias_of_the_candidate_stands_outside_the_inner_tanh():
    # With all weights 0, n = tanh(b_n): inside, it would be tanh(tanh(b_n)).
    zero = np.zeros((3, 1)), np.zeros((2, 1))
    b_ih, b_hh = np.array([0.0, 900.0, 3.0]), np.array([0.0, 2.0])
    direction = Direction(MUT1, Weights(*zero, b_ih, b_hh), ACTIVATIONS)
    y, _, _ = direction_forward(direction, np.ones((1, 1, 1)))
    assert y[0, 0, 0] == pytest.approx(np.tanh(5.0), rel=1e-15)


def test_z_at_0_keeps_the_state_to_the_bit():
    rng = np.random.default_rng(0)
    b_ih = rng.normal(size=12)
    b_ih[4:8] = -1000.0
    weights = Weights(
        rng.normal(size=(12, 2)),
        rng.normal(size=(8, 4)),
        b_ih,
        rng.normal(size=8),
    )
    direction = Direction(MUT1, weights, ACTIVATIONS)
    h_0 = rng.normal(size=(3, 4))
    x = rng.normal(size=(40, 3, 2))
    _, (h,), cache = direction_forward(direction, x, (h_0.copy(),))
    np.testing.assert_array_equal(h.view(np.int64), h_0.view(np.int64))

    dh = rng.normal(size=(3, 4))
    _, (dh_0,), dweights, _ = direction_backward(cache, None, (dh,))
    np.testing.assert_array_equal(dh_0, dh)
    assert not any(dw.any() for dw in dweights[:4])
