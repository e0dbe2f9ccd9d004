"""What only MUT3 promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

MUT3 = CELLS["mut3"]
ACTIVATIONS = ("sigmoid", "tanh")


def test_one_step_by_hand_where_the_update_gate_sees_tanh_of_the_state():
    # x = 2, h_prev = log(3)/2, hence q = 1/2. r = 3/4 from 0*x + 2*h_prev, z = 1/5 from
    # (az/4)*x + az*q, s = 3/4 * h_prev, n = tanh(4*x + 5*s + b) = 1/2
    az, h = -log(4), log(3) / 2
    s = 3 / 4 * h
    w_ih = np.array([[0.0], [az / 4], [4.0]])
    w_hh = np.array([[2.0], [az], [5.0]])
    b_ih = np.array([0.0, 0.0, h - 8])
    b_hh = np.array([0.0, 0.0, -5 * s])
    direction = Direction(MUT3, Weights(w_ih, w_hh, b_ih, b_hh), ACTIVATIONS)
    y, _, cache = direction_forward(direction, np.array([[[2.0]]]), (np.array([[h]]),))
    kept = [cache.slots[name][0, 0, 0] for name in "rznsq"]
    assert kept == pytest.approx([3 / 4, 1 / 5, 1 / 2, s, 1 / 2], rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(4 / 5 * h + 1 / 5 * 1 / 2, rel=1e-14)

    # dh = 2: dan = 2 * 1/5 * 3/4, ds = 5 * dan, dq = az * daz
    dan = 3 / 10
    dar, daz = 5 * dan * h * 3 / 16, 2 * (1 / 2 - h) * 4 / 25
    da = [dar, daz, dan]
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights.b_ih == pytest.approx(da, rel=1e-13)
    assert dweights.b_hh == pytest.approx(da, rel=1e-13)
    assert dweights.w_ih[:, 0] == pytest.approx([2 * dar, 2 * daz, 2 * dan], rel=1e-13)
    assert dweights.w_hh[:, 0] == pytest.approx([h * dar, daz / 2, s * dan], rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(daz * az / 4 + 4 * dan, rel=1e-13)
    assert dh_prev[0, 0] == pytest.approx(
        2 * 4 / 5 + 5 * dan * 3 / 4 + az * daz * 3 / 4 + 2 * dar, rel=1e-13
    )


def test_the_update_gate_cannot_tell_large_states_apart():
    # tanh is 1 from 20 on, so z is the same for states of 30 and of 300.
    rng = np.random.default_rng(0)
    weights = Weights(
        rng.normal(size=(12, 2)),
        rng.normal(size=(12, 4)),
        rng.normal(size=12),
        rng.normal(size=12),
    )
    direction = Direction(MUT3, weights, ACTIVATIONS)
    x = rng.normal(size=(1, 1, 2))
    first, second = (
        direction_forward(direction, x, (np.full((1, 4), size),))[2].slots
        for size in (30.0, 300.0)
    )
    np.testing.assert_array_equal(first["z"], second["z"])
    assert (first["r"] != second["r"]).any()
