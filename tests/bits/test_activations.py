"""The activations of the reference: values, slopes, clips, special numbers.

Kernels and twin are compared number by number, through a layer that does nothing else;
what the layers make of them is seen in test_bits.py and test_nonlinearities.py.
"""

import functools
import math

import numpy as np
import pytest
from bits import assert_same_bits
from variants import ACTIVATIONS

import exactrnn as xr
from exactrnn._spec.activations import (
    PARAMETERS,
    default_first,
    name_of,
    with_parameters,
)
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush

DTYPES = [np.float32, np.float64]
CLIP = 0.75
CORNERS = np.array([0, 1, 2.5, 3, 0.5, 4 / 3, 2, CLIP])
each_activation = pytest.mark.parametrize("kind", ACTIVATIONS, ids=str)


def inputs(dtype):
    """Return numbers on both sides of every corner, none nearer than 0.001 to one."""
    a = np.linspace(-6.0, 6.0, 997).astype(dtype)
    corners = np.concatenate([CORNERS, -CORNERS])
    return a[(np.abs(a[:, None] - corners) > 1e-3).all(axis=1)]


def defined(kind, a):
    """Return an activation in float64 by its definition, written anew."""
    name, alpha, beta = with_parameters(kind)
    return {
        "sigmoid": lambda: 1 / (1 + np.exp(-a)),
        "tanh": lambda: np.tanh(a),
        "relu": lambda: np.maximum(a, 0),
        "hard_sigmoid": lambda: np.clip(alpha * a + beta, 0, 1),
        "softsign": lambda: a / (1 + np.abs(a)),
        "identity": lambda: a,
        "leaky_relu": lambda: np.where(a > 0, a, alpha * a),
        "elu": lambda: np.where(a > 0, a, alpha * np.expm1(a)),
        "softplus": lambda: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
        "scaled_tanh": lambda: alpha * np.tanh(beta * a),
        "thresholded_relu": lambda: np.where(a > alpha, a, 0),
        "affine": lambda: alpha * a + beta,
    }[name]()


@each_activation
def test_values_are_those_of_the_definitions(kind):
    a = np.array(
        [-40.0, -4.0, -1.0, -0.25, -1e-9, 0.0, 1e-9, 0.25, 1.0, 2.0, 4.0, 40.0]
    )
    expected = defined(kind, a)
    np.testing.assert_allclose(activate(kind, a), expected, rtol=1e-15, atol=1e-16)


def test_usual_parameters_are_those_of_onnx():
    schema = pytest.importorskip(
        "onnx.defs", reason="onnx, whose definitions these are, is absent"
    )
    ops = {"HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1, "ThresholdedRelu": 1}
    for op, count in ops.items():
        attributes = schema.get_schema(op).attributes
        usual = [attributes[n].default_value.f for n in ("alpha", "beta")[:count]]
        snake = {"LeakyRelu": "leaky_relu", "HardSigmoid": "hard_sigmoid"}
        snake["ThresholdedRelu"] = "thresholded_relu"
        ours = PARAMETERS[snake.get(op, op.lower())]
        assert np.float32(ours).tolist() == usual, op


# Float32 results against float64: of the elementary functions at most 1.8 ulp
# (test_elementary.py), of what multiplies or shifts them this many.
MAX_ULP = {"elu": 2.5, "scaled_tanh": 3.5, "softplus": 1.05, "leaky_relu": 0.51}


@pytest.mark.parametrize("name", MAX_ULP)
def test_float32_error_is_within_bounds(name):
    rng = np.random.default_rng(5)
    a = np.concatenate(
        [rng.uniform(-9, 9, 40_000), -(2.0 ** -rng.uniform(0, 30, 4_000))]
    )
    a = a.astype(np.float32)
    for _ in range(20):
        count = len(PARAMETERS[name])
        drawn = tuple(float(np.float32(p)) for p in rng.uniform(0.5, 2, count))
        kind = (name, *drawn) if count else name
        exact = defined(kind, a.astype(np.float64))
        y = activate(kind, a).astype(np.float64)
        unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        assert (np.abs(y - exact) / unit).max() <= MAX_ULP[name]


# The kernels, number by number


@functools.cache
def numbers(dtype):
    """Return numbers of all sizes, corners and special values."""
    rng = np.random.default_rng(7)
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    every = rng.integers(0, np.iinfo(integer).max, 600, integer).view(dtype)
    limit = np.finfo(dtype)
    sizes = np.array([0, CLIP, limit.tiny, limit.smallest_subnormal, limit.max, np.inf])
    near = np.concatenate([CORNERS, 1 / 6 * CORNERS])
    near = np.concatenate([near, np.nextafter(near, 9), np.nextafter(near, -9)])
    small = 2.0 ** -rng.uniform(0, 140, 100)
    drawn = np.concatenate([rng.uniform(-6, 6, 900), rng.uniform(-110, 110, 300)])
    parts = [[np.nan], sizes, -sizes, near, -near, small, -small, drawn]
    return np.concatenate([every, np.concatenate(parts).astype(dtype)])


def identity_layer(kind, clip, dtype):
    """Return an RNN whose pre-activation is its input, to the sign of zeros."""
    layer = xr.RNN(1, 1, nonlinearity=kind, clip=clip, dtype=dtype)
    weights = {name: np.zeros_like(w) for name, w in layer.state_dict().items()}
    weights["weight_ih_l0"][...] = 1
    for name in ("bias_ih_l0", "bias_hh_l0"):
        weights[name][...] = -0.0
    layer.load_state_dict(weights)
    return layer


@functools.cache
def expected_numbers(kind, clip, dtype):
    a = numbers(dtype)
    with np.errstate(all="ignore"):
        y = flush(activate(kind, a, clip))
        return y, flush(slope(kind, y, clip))


@pytest.mark.parametrize("clip", [None, CLIP])
@each_activation
def test_kernel_equals_twin(kind, isa, dtype, clip):
    a = numbers(dtype)
    layer = identity_layer(kind, clip, dtype)
    minus_zero = np.full((1, a.size, 1), -0.0, dtype)
    y, _, cache = layer.forward(a[None, :, None], minus_zero)
    value, steep = expected_numbers(kind, clip, dtype)
    assert_same_bits("value", y[0, :, 0], value)
    found = layer.backward(cache, np.ones_like(y)).x[0, :, 0]
    if kind == "relu":  # it selects, where the others multiply: see cells/rnn.py
        found, steep = found[~np.isnan(a)], steep[~np.isnan(a)]
    assert_same_bits("slope", found, steep)


# Slopes, clips


@pytest.mark.parametrize("clip", [None, CLIP])
@each_activation
def test_a_slope_is_the_central_difference(kind, clip):
    a, width = inputs(np.float64), 2.0**-20
    rise = activate(kind, a + width, clip) - activate(kind, a - width, clip)
    found = slope(kind, activate(kind, a, clip), clip)
    np.testing.assert_allclose(found, rise / (2 * width), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@each_activation
def test_a_clip_that_nothing_reaches_changes_nothing(kind, dtype):
    a = inputs(dtype)
    y = activate(kind, a)
    assert_same_bits("value", activate(kind, a, 7.0), y)
    assert_same_bits("slope", slope(kind, y, 7.0), slope(kind, y))
    assert y.dtype == slope(kind, y).dtype == dtype


@each_activation
def test_a_clip_stops_the_gradient_from_the_limit_on(kind):
    a = np.array([-np.inf, -9.0, -CLIP, CLIP, 9.0, np.inf])
    y = activate(kind, a, CLIP)
    assert set(y) == set(activate(kind, np.array([-CLIP, CLIP])))
    assert not slope(kind, y, CLIP).any()


@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize("dtype", DTYPES)
@each_activation
def test_nan_passes(kind, dtype, clip):
    assert np.isnan(activate(kind, np.array([np.nan], dtype), clip)).all()


def test_a_slope_at_a_corner_is_that_below_it():
    corner = np.array([0.0])
    assert slope("relu", activate("relu", corner)) == 0
    assert slope(("leaky_relu", 0.25), activate("leaky_relu", corner)) == 0.25
    assert slope(("elu", 0.5), activate(("elu", 0.5), corner)) == 0.5
    assert slope("thresholded_relu", activate("thresholded_relu", corner + 1)) == 0
    assert not slope("hard_sigmoid", np.array([0.0, 1.0])).any()


def test_the_slope_of_softplus_is_right_where_it_vanishes():
    a = np.array([-30.0, -700.0, 30.0, 40.0])
    want = [1 / (1 + math.exp(-v)) for v in a]
    found = slope("softplus", activate("softplus", a))
    np.testing.assert_allclose(found, want, rtol=6e-16)


def test_scaled_tanh_has_a_slope_where_squares_over_or_underflow():
    for alpha in (1e-30, 1e30):
        y = activate(("scaled_tanh", alpha, 1.0), np.array([0.5], np.float32))
        found = slope(("scaled_tanh", alpha, 1.0), y)
        assert found / alpha == pytest.approx(1 - math.tanh(0.5) ** 2, rel=1e-5)


def test_large_and_small_values_follow_their_branch():
    a = np.array([-np.inf, np.inf, -0.0, 0.0])
    assert activate("leaky_relu", a).tolist() == [-np.inf, np.inf, 0, 0]
    assert np.signbit(activate("leaky_relu", a)).tolist() == [True, False, True, False]
    assert activate("elu", a).tolist() == [-1, np.inf, 0, 0]
    assert np.signbit(activate("elu", a)).tolist() == [True, False, True, False]
    assert activate("softplus", a)[:2].tolist() == [0, np.inf]
    assert activate(("scaled_tanh", 2.0, -3.0), a).tolist() == [2, -2, 0, 0]
    assert activate("thresholded_relu", a).tolist() == [0, np.inf, 0, 0]
    assert activate(("affine", -2.0, 1.0), a).tolist() == [np.inf, -np.inf, 1, 1]


# Names


def test_the_default_comes_first_and_all_others_after_it():
    assert default_first("relu")[0] == "relu"
    assert sorted(default_first("relu")) == sorted(PARAMETERS)


def test_a_name_stands_for_its_usual_parameters():
    assert name_of("elu") == name_of(("elu", 0.5)) == "elu"
    assert with_parameters("hard_sigmoid") == ("hard_sigmoid", 0.2, 0.5)
    assert with_parameters(("elu", 0.5)) == ("elu", 0.5, 0.0)
    assert with_parameters("tanh") == ("tanh", 0.0, 0.0)
    a = inputs(np.float32)
    for name, usual in PARAMETERS.items():
        spelled = (name, *usual) if usual else name
        assert_same_bits(name, activate(spelled, a), activate(name, a))
