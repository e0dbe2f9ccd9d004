"""What only the clockwork network promises."""

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

RNN = CELLS["rnn"]
SLOW_AND_FAST = {"modules": ((1, 2), (1, 1))}


def make_small(reverse=False):
    """Return a slow and a fast unit; the slow one must not hear the 7 of the other."""
    weights = Weights(
        np.ones((2, 1)), np.array([[0.5, 7.0], [0.25, 0.5]]), np.zeros(2), np.zeros(2)
    )
    return Direction(RNN, weights, ("relu",), reverse, options=SLOW_AND_FAST)


def test_two_steps_by_hand():
    # Step 0: a = x + R h_prev for both, 1 + 1/2*2 and 1 + 1/4*2 + 1/2*4. In step 1 the
    # slow unit keeps its 2 and the fast one has 2 + 1/4*2 + 1/2*7/2.
    x, state = np.array([[[1.0]], [[2.0]]]), (np.array([[2.0, 4.0]]),)
    y, _, cache = direction_forward(make_small(), x, state)
    np.testing.assert_array_equal(y[:, 0], [[2.0, 3.5], [2.0, 4.25]])

    # dh = 1: in step 1 the fast unit alone takes part, da = 1, and the slow one gets
    # 1 + 1/4; in step 0 da = (5/4, 1/2).
    dx, (dh,), dweights, _ = direction_backward(cache, None, (np.ones((1, 2)),))
    np.testing.assert_array_equal(dx[:, 0, 0], [1.75, 1.0])
    np.testing.assert_array_equal(dh, [[0.75, 0.25]])
    np.testing.assert_array_equal(dweights.w_ih, [[1.25], [2.5]])
    np.testing.assert_array_equal(dweights.w_hh, [[2.5, 0.0], [3.0, 5.5]])
    np.testing.assert_array_equal(dweights.b_ih, [1.25, 1.5])
    np.testing.assert_array_equal(dweights.b_hh, [1.25, 1.5])


def test_the_reverse_direction_counts_from_its_own_first_step():
    x, state = np.array([[[2.0]], [[1.0]]]), (np.array([[2.0, 4.0]]),)
    y, _, _ = direction_forward(make_small(reverse=True), x, state)
    np.testing.assert_array_equal(y[:, 0], [[2.0, 4.25], [2.0, 3.5]])


def test_the_clock_of_a_row_may_start_anywhere():
    x, state = np.ones((1, 4, 1)), (np.array([[6.0, 4.0]] * 4),)
    clock = np.array([0, 1, 2, 7])
    y, _, _ = direction_forward(make_small(), x, state, None, clock)
    np.testing.assert_array_equal(y[0, :, 0], [4.0, 6.0, 4.0, 6.0])


@pytest.mark.parametrize("period", [2, 3, 5])
def test_periods_need_not_divide_each_other(period):
    rng = np.random.default_rng(period)
    modules = ((2, period), (1, 7), (3, 1))
    weights = Weights(
        rng.normal(size=(6, 2)),
        rng.normal(size=(6, 6)),
        rng.normal(size=6),
        rng.normal(size=6),
    )
    options = {"modules": modules}
    direction = Direction(RNN, weights, ("tanh",), options=options)
    y, _, cache = direction_forward(direction, rng.normal(size=(30, 1, 2)))
    changed = y[:, 0] != cache.prev["h"][:, 0]
    ticks = np.array([period, period, 7, 1, 1, 1])
    np.testing.assert_array_equal(changed, np.arange(30)[:, None] % ticks == 0)
