"""What grid layers say about bad input: the argument, what was expected, what came."""

import re

import numpy as np
import pytest

import exactrnn as xr

X = np.zeros((5, 2, 3), np.float32)
MAKING = {
    "dims: expected 1..6, got 7": {"dims": 7},
    "kinds: expected one entry for each of the 2": {"kinds": ("lstm",)},
    "kinds[1]: expected one of 'lstm'": {"kinds": ("lstm", "gru")},
    "priority[0]: expected a dimension 0..1, got 2": {"priority": (2,)},
    "priority: expected each dimension once at most": {"priority": (1, 1)},
    "sides[0]: expected a dimension 0..1, got -3": {"sides": (-3,)},
    "output: expected one of 'tanh(o*m)', 'o*tanh(m)'": {"output": "tanh"},
    "sizes[1]: expected an integer >= 1, because shared": {"shared": (True, False)},
    "sizes[0]: expected an integer >= 0 or None": {"sizes": (-1, None)},
    "tied: expected False, because dimensions of unequal size": {
        "tied": True,
        "kinds": ("lstm", "tanh"),
    },
    "input_size: expected one integer or one for each": {"input_size": (3, 3)},
    "hidden_size: expected an integer >= 1": {"hidden_size": 0},
    "forget_bias: expected None because there is no forget": {
        "kinds": "tanh",
        "forget_bias": 1.0,
    },
}


@pytest.mark.parametrize("message", MAKING)
def test_bad_arguments_are_explained(message):
    options = {"input_size": 3, "hidden_size": 4} | MAKING[message]
    with pytest.raises(ValueError, match=r"^" + re.escape(message)):
        xr.GridLSTM(**options)


H2 = np.zeros((2, 2, 4), np.float32)
CALLS = {
    "x: expected [n_0, B, I=3], got (5, 2, 4)": {"x": np.zeros((5, 2, 4), np.float32)},
    "x: expected [n_0, B, I=3], got (5, 3)": {"x": np.zeros((5, 3), np.float32)},
    "borders: expected one entry for each of the 2": {"borders": (None,)},
    "borders[0][0]: expected [n_1=2, B, H=4], got (2, 4)": {
        "borders": ((H2[0], None), None)
    },
    "borders[0][1]: expected [n_1=2, B=2, 4], got (3, 2, 4)": {
        "borders": ((H2, np.zeros((3, 2, 4), np.float32)), None)
    },
    "borders[1][0]: expected None, because the input of side 1": {
        "borders": (None, (H2, None))
    },
    "sizes[1]: expected 2, as the grid was made, got 3": {"sizes": (None, 3)},
    "x: expected [n_0=4, B=2, 3], got (5, 2, 3)": {"sizes": (4, None)},
    "lengths: expected [B=2, N=2], got (2,)": {"lengths": [1, 2]},
    "lengths[1, 0]: expected 0..n_0=5, got 6": {"lengths": [[1, 2], [6, 1]]},
}


@pytest.mark.parametrize("message", CALLS)
def test_bad_calls_are_explained(message):
    layer = xr.GridLSTM(3, 4, sizes=(None, 2))
    with pytest.raises(ValueError, match=r"^" + re.escape(message)):
        layer(**({"x": X} | CALLS[message]))


def test_unknown_sizes_and_wrong_kinds_are_explained():
    layer = xr.GridLSTM(3, 4)
    with pytest.raises(
        ValueError, match=r"^sizes\[1\]: expected an integer, because no"
    ):
        layer(X)
    with pytest.raises(TypeError, match=r"^borders\[0\]: expected the tuple \(h, m\)"):
        layer(X, (H2, None))
    with pytest.raises(TypeError, match=r"^x: expected float32, got float64"):
        layer(X.astype("float64"), sizes=(5, 1))
    with pytest.raises(TypeError, match=r"^x: expected a tuple of 2 arrays"):
        xr.GridLSTM(3, 4, sides=(0, 1))(X)
    with pytest.raises(ValueError, match=r"^x: expected None"):
        xr.GridLSTM(3, 4, sides=())(X)
    with pytest.raises(ValueError, match=r"^borders: expected at least one array"):
        xr.GridLSTM(3, 4, sides=())(None, sizes=(1, 2))
    ends, cache = layer.forward(X, sizes=(None, 2))
    with pytest.raises(ValueError, match=r"^dends: expected at least one array"):
        layer.backward(cache, (None, None))
    with pytest.raises(
        ValueError, match=r"^dends\[1\]\[0\]: expected \[n_0=5, B=2, H=4"
    ):
        layer.backward(cache, (None, (H2, None)))
    with pytest.raises(ValueError, match=r"^cache: expected one made by this layer"):
        xr.GridLSTM(3, 4).backward(cache, ends)
    layer.weight_hh_d0[0, 0] += 1
    with pytest.raises(ValueError, match=r"^cache: expected the weights that forward"):
        layer.backward(cache, ends)


def test_changed_side_weights_are_noticed():
    layer = xr.TimeDepthGridLSTM(3, 4, seed=1)
    y, _, cache = layer.forward(X)
    layer.weight_ih[0, 0] += 1
    with pytest.raises(ValueError, match=r"^cache: expected the weights that forward"):
        layer.backward(cache, y)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": "gru"},
        {"priority": "both"},
        {"num_layers": 0},
        {"output": "o"},
        {"tied": True, "depth": "tanh"},
        {"bidirectional": 2},
    ],
    ids=str,
)
def test_bad_layer_arguments_are_refused(options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        xr.TimeDepthGridLSTM(3, 4, **options)
