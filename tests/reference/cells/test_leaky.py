"""What only the leaky units promise."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

LEAKY = CELLS["leaky"]


def make_direction(rng, alpha, activation="tanh"):
    weights = Weights(
        rng.normal(size=(len(alpha), 2)),
        rng.normal(size=(len(alpha), len(alpha))),
        rng.normal(size=len(alpha)),
        rng.normal(size=len(alpha)),
        vectors=np.array([alpha]),
    )
    return Direction(LEAKY, weights, (activation,))


def test_one_step_by_hand():
    # x = 2, h_prev = 4: a = (a/2)*2 + (-a/4)*4 + (3/4 + 1/4)*a, u = tanh(a) = 1/2
    a = log(3) / 2
    weights = Weights(
        np.array([[a / 2]]),
        np.array([[-a / 4]]),
        np.array([3 * a / 4]),
        np.array([a / 4]),
        vectors=np.array([[1 / 4]]),
    )
    direction = Direction(LEAKY, weights, ("tanh",))
    x, state = np.array([[[2.0]]]), (np.array([[4.0]]),)
    y, _, cache = direction_forward(direction, x, state)
    assert cache.slots["a"][0, 0, 0] == pytest.approx(1 / 2, rel=1e-15)
    assert y[0, 0, 0] == pytest.approx(3 / 4 * 4 + 1 / 4 * 1 / 2, rel=1e-15)

    # dh = 2: da = 2 * 1/4 * (1 - 1/4), dalpha = 2 * (u - h_prev)
    da = 3 / 8
    dx, (dh_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    assert dweights.vectors[0] == pytest.approx([-7.0], rel=1e-14)
    assert dweights.b_ih == dweights.b_hh == pytest.approx([da], rel=1e-14)
    assert dweights.w_ih[0] == pytest.approx([2 * da], rel=1e-14)
    assert dweights.w_hh[0] == pytest.approx([4 * da], rel=1e-14)
    assert dx[0, 0, 0] == pytest.approx(da * a / 2, rel=1e-14)
    assert dh_prev[0, 0] == pytest.approx(2 * 3 / 4 - da * a / 4, rel=1e-14)


def test_a_unit_that_does_not_leak_keeps_its_state_and_its_error():
    rng = np.random.default_rng(0)
    direction = make_direction(rng, [0.0, 0.5, 0.0])
    h_0, dh = rng.normal(size=(2, 2, 3))
    x = rng.normal(size=(50, 2, 2))
    _, (h,), cache = direction_forward(direction, x, (h_0,))
    np.testing.assert_array_equal(h[:, ::2], h_0[:, ::2])
    assert (h[:, 1] != h_0[:, 1]).all()

    dh[:, 1] = 0.0
    _, (dh_0,), dweights, _ = direction_backward(cache, None, (dh,))
    np.testing.assert_array_equal(dh_0[:, ::2], dh[:, ::2])
    assert not dweights.w_hh.any()
    assert dweights.vectors[0, ::2].all()


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_the_state_stays_between_itself_and_one(alpha):
    rng = np.random.default_rng(1)
    direction = make_direction(rng, [alpha] * 4)
    h_0 = 3 * rng.normal(size=(2, 4))
    y, _, _ = direction_forward(direction, rng.normal(size=(60, 2, 2)), (h_0,))
    bound = np.maximum(1.0, np.abs(h_0))
    assert (np.abs(y) <= bound).all()
    assert (np.abs(y[-1]) <= 1 + (1 - alpha) ** 60 * (bound - 1)).all()
