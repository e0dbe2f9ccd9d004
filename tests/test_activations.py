"""The activations of `_activations.py`: values, slopes, clips, special numbers.

That the kernels have the same bits is seen in the layers that use them.
"""

import numpy as np
import pytest
from bits import assert_same_bits

from exactrnn._activations import ACTIVATIONS, activate, default_first, slope

DTYPES = [np.float32, np.float64]
CLIP = 0.75


def inputs(dtype):
    """Return numbers on both sides of every corner, none nearer than 0.001 to one."""
    a = np.linspace(-6.0, 6.0, 997).astype(dtype)
    corners = np.array([0.0, 2.5, -2.5, CLIP, -CLIP])
    return a[(np.abs(a[:, None] - corners) > 1e-3).all(axis=1)]


def test_values_are_those_of_the_definitions():
    a = np.array([-4.0, -1.0, -0.25, 0.0, 0.25, 1.0, 4.0])
    expected = {
        "sigmoid": 1 / (1 + np.exp(-a)),
        "tanh": np.tanh(a),
        "relu": [0, 0, 0, 0, 0.25, 1, 4],
        "hard_sigmoid": [0, 0.3, 0.45, 0.5, 0.55, 0.7, 1],
        "softsign": [-0.8, -0.5, -0.2, 0, 0.2, 0.5, 0.8],
        "identity": a,
    }
    assert set(expected) == set(ACTIVATIONS)
    for kind, values in expected.items():
        np.testing.assert_allclose(activate(kind, a), values, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_slope_is_the_central_difference(kind, clip):
    a, width = inputs(np.float64), 2.0**-20
    rise = activate(kind, a + width, clip) - activate(kind, a - width, clip)
    found = slope(kind, activate(kind, a, clip), clip)
    np.testing.assert_allclose(found, rise / (2 * width), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_clip_that_nothing_reaches_changes_nothing(kind, dtype):
    a = inputs(dtype)
    y = activate(kind, a)
    assert_same_bits(kind, activate(kind, a, 7.0), y)
    assert_same_bits(kind, slope(kind, y, 7.0), slope(kind, y))
    assert y.dtype == slope(kind, y).dtype == dtype


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_clip_stops_the_gradient_from_the_limit_on(kind):
    a = np.array([-np.inf, -9.0, -CLIP, CLIP, 9.0, np.inf])
    y = activate(kind, a, CLIP)
    assert set(y) == set(activate(kind, np.array([-CLIP, CLIP])))
    assert not slope(kind, y, CLIP).any()


@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_nan_passes(kind, dtype, clip):
    assert np.isnan(activate(kind, np.array([np.nan], dtype), clip)).all()


def test_relu_and_hard_sigmoid_are_flat_at_their_corners():
    corners = np.array([0.0])
    assert slope("relu", activate("relu", corners)) == 0
    assert not slope("hard_sigmoid", np.array([0.0, 1.0])).any()


def test_the_default_comes_first_and_all_others_after_it():
    assert default_first("relu")[0] == "relu"
    assert sorted(default_first("relu")) == sorted(ACTIVATIONS)
