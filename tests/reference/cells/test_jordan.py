"""What only the Jordan network promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

JORDAN = CELLS["jordan"]


def make_direction(rng, hidden_size, output_size, activations=("tanh", "identity")):
    weights = Weights(
        rng.normal(size=(hidden_size, 2)),
        rng.normal(size=(hidden_size, output_size)),
        rng.normal(size=hidden_size),
        rng.normal(size=hidden_size),
        rng.normal(size=(output_size, hidden_size)),
        rng.normal(size=output_size),
    )
    return Direction(JORDAN, weights, activations)


def test_one_step_by_hand():
    # x = 2, y_prev = 3: a = (a/2)*2 + (-a/3)*3 + (3/4 + 1/4)*a, s = tanh(a) = 1/2,
    # y = sigmoid(6*s + log(3) - 3) = 3/4
    a = log(3) / 2
    weights = Weights(
        np.array([[a / 2]]),
        np.array([[-a / 3]]),
        np.array([3 * a / 4]),
        np.array([a / 4]),
        np.array([[6.0]]),
        np.array([log(3) - 3]),
    )
    direction = Direction(JORDAN, weights, ("tanh", "sigmoid"))
    x, state = np.array([[[2.0]]]), (np.array([[3.0]]),)
    y, (last,), cache = direction_forward(direction, x, state)
    assert y[0, 0, 0] == last[0, 0] == pytest.approx(3 / 4, rel=1e-14)
    assert cache.slots["a"][0, 0, 0] == pytest.approx(1 / 2, rel=1e-15)
    assert cache.slots["s"][0, 0, 0] == pytest.approx(1 / 2, rel=1e-15)

    # dy = 2: day = 2 * 3/16, da = 6 * day * (1 - 1/4)
    day = 3 / 8
    da = 6 * day * 3 / 4
    dx, (dy_prev,), dweights, _ = direction_backward(cache, np.array([[[2.0]]]))
    found = [dw[..., 0] if dw.ndim == 2 else dw for dw in dweights[:6]]
    expected = [[2 * da], [3 * da], [da], [da], [day / 2], [day]]
    assert np.array(found) == pytest.approx(np.array(expected), rel=1e-13)
    assert dx[0, 0, 0] == pytest.approx(da * a / 2, rel=1e-13)
    assert dy_prev[0, 0] == pytest.approx(-da * a / 3, rel=1e-13)


def test_the_output_is_fed_back_and_nothing_else():
    # Where V is 0, all that a step hears of those before is the bias of the output.
    rng = np.random.default_rng(0)
    direction = make_direction(rng, 5, 3)
    direction.weights.w_hr[...] = 0.0
    y, _, cache = direction_forward(direction, rng.normal(size=(6, 2, 2)))
    assert (y == direction.weights.b_hr).all()
    x = cache.x[::-1]
    _, _, backwards = direction_forward(direction, x, (y[0],))
    _, _, forwards = direction_forward(direction, cache.x, (y[0],))
    np.testing.assert_array_equal(backwards.slots["s"][::-1], forwards.slots["s"])


@pytest.mark.parametrize("output_size", [1, 5, 9])
def test_the_state_is_as_wide_as_the_output(output_size):
    rng = np.random.default_rng(1)
    direction = make_direction(rng, 5, output_size)
    y, (last,), cache = direction_forward(direction, rng.normal(size=(4, 3, 2)))
    assert y.shape == (4, 3, output_size)
    np.testing.assert_array_equal(last, y[-1])
    assert cache.slots["s"].shape == (4, 3, 5)
