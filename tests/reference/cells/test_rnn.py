"""What only the simple recurrent network promises."""

from fractions import Fraction
from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS
from exactrnn.reference.cells._cell import Step

RNN = CELLS["rnn"]


def run(weights, x, h, activation):
    direction = Direction(RNN, Weights(*weights), (activation,))
    return direction_forward(direction, np.array([[x]]), (np.array([h]),))


def test_one_step_by_hand():
    # a = 2*x + 5*h_prev + (b_ih + b_hh) = 2*3 - 5*1 + (log(3)/2 - 1), tanh(a) = 1/2
    weights = np.array([[2.0]]), np.array([[5.0]]), np.array([0.75]), np.array([-1.75])
    weights[2][0] += log(3) / 2
    y, (h,), cache = run(weights, [3.0], [-1.0], "tanh")
    assert y[0, 0, 0] == h[0, 0] == pytest.approx(0.5, abs=1e-15)

    # da = 8 * (1 - 1/4) = 6
    dx, (dh,), dweights, _ = direction_backward(cache, np.array([[[8.0]]]))
    assert dx[0, 0, 0] == pytest.approx(12.0, rel=1e-14)
    assert dh[0, 0] == pytest.approx(30.0, rel=1e-14)
    assert np.concatenate([dw.ravel() for dw in dweights[:4]]) == pytest.approx(
        [18.0, -6.0, 6.0, 6.0], rel=1e-14
    )


@pytest.mark.parametrize("a", [0.0, -0.0, -3.0, -np.inf])
def test_relu_of_what_is_not_positive_is_plus_zero_and_has_no_gradient(a):
    step = Step(("relu",), prev={}, a={"a": np.array([[a]])})
    RNN.forward[0](step)
    assert step.state["h"] == 0
    assert not np.signbit(step.state["h"])
    step.dstate["h"] = np.array([[7.0]])
    RNN.backward[0](step)
    assert step.da["a"] == 0


def test_relu_passes_what_is_positive_and_nan():
    a = np.array([[0.25, 3e5, np.inf, np.nan]])
    step = Step(("relu",), prev={}, a={"a": a})
    RNN.forward[0](step)
    np.testing.assert_array_equal(step.state["h"], a)
    step.dstate["h"] = np.array([[1.0, 2.0, 3.0, 4.0]])
    RNN.backward[0](step)
    np.testing.assert_array_equal(step.da["a"], [[1.0, 2.0, 3.0, 0.0]])


def test_an_identity_network_sums_its_input_without_error():
    # Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941: relu with R = 1 starts as a sum.
    numbers = [Fraction(n * n % 37, 64) for n in range(100)]
    one, zero = np.array([[1.0]]), np.array([0.0])
    direction = Direction(RNN, Weights(one, one, zero, zero), ("relu",))
    x = np.array(numbers, float).reshape(100, 1, 1)
    y, _, cache = direction_forward(direction, x)
    assert y[-1, 0, 0] == sum(numbers)

    dx, _, _, _ = direction_backward(cache, None, (np.array([[3.0]]),))
    assert (dx[y > 0] == 3).all()


def test_the_gradient_vanishes_as_fast_as_the_weights_allow():
    # |dh_0| <= sigma(R)^T |dh_T|; R is a rotation by half
    angle = 0.3
    cos, sin = np.cos(angle), np.sin(angle)
    R = 0.5 * np.array([[cos, -sin], [sin, cos]])
    zero = np.zeros(2)
    direction = Direction(RNN, Weights(np.zeros((2, 1)), R, zero, zero), ("tanh",))
    state = (np.array([[0.4, -0.3]]),)
    _, _, cache = direction_forward(direction, np.zeros((50, 1, 1)), state)
    _, (dh,), _, _ = direction_backward(cache, None, (np.array([[3.0, 4.0]]),))
    assert 0 < np.hypot(*dh[0]) <= 0.5**50 * 5


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_state_below_the_threshold_is_stored_as_plus_zero(activation):
    sign = 1 if activation == "relu" else -1
    a = sign * np.array([[2.0**-899, 2.0**-901, 2.0**-1074]])
    step = Step((activation,), prev={}, a={"a": a})
    RNN.forward[0](step)
    np.testing.assert_array_equal(step.state["h"], [[a[0, 0], 0, 0]])
    assert not np.signbit(step.state["h"][0, 1:]).any()
