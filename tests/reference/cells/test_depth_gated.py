"""What only the depth-gated LSTM promises."""

from math import log

import numpy as np
import pytest

from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

DEPTH_GATED = CELLS["depth_gated"]
ACTIVATIONS = ("sigmoid", "tanh", "tanh")

# i = 3/4, f = 4/5, g = 1/2, o = 1/5, d = 3/4, lower = 1, and tanh(c) = 1/2.
PRE_ACTIVATIONS = np.array([log(3), log(4), log(3) / 2, -log(4), log(3)])
C = log(3) / 2
C_PREV = (C - 3 / 8 - 3 / 4) / (4 / 5)
P = np.array([2.0, 3.0, 5.0, 7.0, 11.0])
SEEN = P * [C_PREV, C_PREV, C, C_PREV, 1.0]


def test_one_step_by_hand_with_vectors_i_f_o_cd_ld():
    # All products are 0; the biases make up for what the vectors see.
    peeped = [SEEN[0], SEEN[1], 0.0, SEEN[2], SEEN[3] + SEEN[4]]
    weights = Weights(
        np.zeros((5, 1)),
        np.zeros((4, 1)),
        PRE_ACTIVATIONS - peeped - [1.0, 1.0, 1.0, 1.0, 0.0],
        np.ones(4),
        vectors=P[:, None],
    )
    direction = Direction(DEPTH_GATED, weights, ACTIVATIONS)
    x, state = np.array([[[2.0]]]), (np.array([[3.0]]), np.array([[C_PREV]]))
    y, (_, c), cache = direction_forward(direction, x, state, lower=np.ones((1, 1, 1)))
    gates = [cache.slots[gate][0, 0, 0] for gate in DEPTH_GATED.gates]
    assert gates == pytest.approx([3 / 4, 4 / 5, 1 / 2, 1 / 5, 3 / 4], rel=1e-14)
    assert c[0, 0] == pytest.approx(C, rel=1e-14)
    assert y[0, 0, 0] == pytest.approx(1 / 10, rel=1e-14)

    # dh = 2, dc = 3: dao = 2 * 1/2 * 4/25; dct = 3 + 2 * 1/5 * 3/4 + 5 * dao
    dao = 4 / 25
    dct = 33 / 10 + 5 * dao
    dai, daf, dag = dct / 2 * 3 / 16, dct * C_PREV * 4 / 25, dct * 3 / 4 * 3 / 4
    dad = dct * 3 / 16
    da = [dai, daf, dag, dao, dad]
    dstate = np.array([[2.0]]), np.array([[3.0]])
    found = direction_backward(cache, None, dstate)
    assert found.weights.b_ih == pytest.approx(da, rel=1e-13)
    assert found.weights.b_hh == pytest.approx(da[:4], rel=1e-13)
    assert found.weights.w_ih[:, 0] == pytest.approx(2 * np.array(da), rel=1e-13)
    assert found.weights.w_hh[:, 0] == pytest.approx(3 * np.array(da[:4]), rel=1e-13)
    assert found.weights.vectors[:, 0] == pytest.approx(
        [dai * C_PREV, daf * C_PREV, dao * C, dad * C_PREV, dad], rel=1e-13
    )
    assert found.state[1][0, 0] == pytest.approx(
        dct * 4 / 5 + 2 * dai + 3 * daf + 7 * dad, rel=1e-13
    )
    assert found.lower[0, 0, 0] == pytest.approx(dct * 3 / 4 + 11 * dad, rel=1e-13)


def test_an_open_depth_gate_alone_copies_the_lower_cell():
    # d = 1, f = 0 and i = 0: c is the cell below, step by step, bit for bit.
    rng = np.random.default_rng(0)
    H = 4
    bias = np.zeros((5, H))
    bias[[0, 1, 4]] = np.array([[-1000.0], [-1000.0], [1000.0]])
    weights = Weights(
        rng.normal(size=(5 * H, 2)),
        rng.normal(size=(4 * H, H)),
        bias.reshape(-1),
        np.zeros(4 * H),
        vectors=rng.normal(size=(5, H)),
    )
    direction = Direction(DEPTH_GATED, weights, ACTIVATIONS)
    lower = rng.normal(size=(9, 3, H))
    _, _, cache = direction_forward(direction, rng.normal(size=(9, 3, 2)), lower=lower)
    np.testing.assert_array_equal(cache.state["c"], lower)

    dcells = rng.normal(size=lower.shape)
    found = direction_backward(cache, dcells=dcells)
    np.testing.assert_array_equal(found.lower, dcells)
