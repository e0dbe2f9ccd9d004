"""Elementary functions and fma of the kernels: the twin's bits, errors, structure.

All 2^32 float32 inputs are measured by benchmarks/elementary_exhaustive.py; here is a
part of them, by the same code. Functions are contract N4, fma N2, flush N6.
"""

import functools
import math

import numpy as np
import pytest
from bits import assert_same_bits
from elementary_exhaustive import (
    FUNCTIONS,
    count_out_of_order,
    kernel,
    measure_f32,
    measure_f64,
    sample_f64,
)
from steered import steered_triples
from variants import ISAS

from exactrnn import _core
from exactrnn.reference import arith

MAX_ULP = {"exp": 1.05, "expm1": 1.8, "log": 0.87, "softplus": 1.05}
MAX_ULP |= {"tanh": 1.5, "sigmoid": 1.75}
STEP = 10_007  # prime: the sample has all exponents and any last bits
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0)


@functools.cache
def sample(name, dtype):
    """Return arguments over all bit patterns and over the working range."""
    rng = np.random.default_rng(11)
    special = np.array(SPECIAL, dtype)
    if dtype == "float32":
        every = np.arange(0, 1 << 32, STEP, dtype=np.uint64).astype(np.uint32)
        narrow = rng.uniform(-110, 110, 50_000).astype(np.float32)
        return np.concatenate([special, every.view(np.float32), narrow])
    every = rng.integers(0, 1 << 64, 100_000, dtype=np.uint64).view(np.float64)
    where = name if name in FUNCTIONS else "exp"
    return np.concatenate([special, every, sample_f64(rng, where, 50_000)])


@functools.cache
def twin(name, dtype):
    return getattr(arith, name)(sample(name, dtype))


@functools.cache
def steered(dtype):
    a, b, c = steered_triples(dtype, 200_000, seed=1)
    return a, b, c, arith.fma(a, b, c)


@pytest.mark.parametrize("name", [*FUNCTIONS, "flush"])
def test_kernel_equals_twin(name, isa, dtype):
    x = sample(name, dtype)
    assert_same_bits(name, kernel(name, x, isa), twin(name, dtype))


def test_fma_of_the_kernels_equals_the_twins(isa, dtype):
    a, b, c, expected = steered(dtype)
    out = np.empty_like(a)
    _core.fma(a, b, c, out, isa)
    assert_same_bits("fma", out, expected)


@pytest.mark.parametrize("count", range(34))
def test_part_of_a_vector_is_computed_alike(isa, dtype, count):
    x = np.linspace(-3, 3, 34, dtype=dtype)
    whole = kernel("tanh", x, isa)
    out = np.full(34, 7, dtype)
    _core.elementary("tanh", x[:count].copy(), out[:count], isa)
    assert_same_bits("start", out[:count], whole[:count])
    assert (out[count:] == 7).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_error_is_within_bounds(name):
    report = measure_f32(name, ISAS, range(0, 1 << 32, STEP))
    assert report.worst <= MAX_ULP[name]
    assert report.special_wrong == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_error_is_within_bounds(name):
    report = measure_f64(name, ISAS, seed=3, count=8_000)
    assert report.worst <= MAX_ULP[name]
    assert report.special_wrong == 0


def neighbours_of(centres, dtype, reach):
    """Return rows of neighbouring numbers, one row around each centre."""
    integer = {"float32": np.int32, "float64": np.int64}[dtype]
    centres = np.array(centres, dtype).view(integer)
    steps = np.arange(-reach, reach + 1, dtype=integer)
    return (centres[:, None] + steps).view(dtype)


def joints(name, dtype):
    """Return the arguments where a function changes its formula or its reduction."""
    reach = {"float32": 150, "float64": 1080}[dtype]
    halves = (np.arange(-reach, reach) + 0.5) * math.log(2)
    if name == "tanh":
        return np.concatenate([[0.55, -0.55, 2.0**-13, 2.0**-28, 9.5, 20], halves / 2])
    if name == "log":
        return np.concatenate([np.sqrt([0.5, 2, 8]), 2.0 ** np.arange(-30, 30)])
    if name == "expm1":
        ends = [2.0**-25, 2.0**-54, 30, 60]
        return np.concatenate([ends, np.negative(ends), halves])
    if name == "softplus":
        half = np.log(np.sqrt(2) - 1)  # from here on m is half of 1 + e
        return np.concatenate([[half, -half, np.log(2), 0.0], halves])
    return halves


@pytest.mark.parametrize("name", FUNCTIONS)
def test_monotone_where_the_formula_changes(name, dtype):
    rows = neighbours_of(joints(name, dtype), dtype, 100)
    y = kernel(name, rows.ravel(), ISAS[0]).reshape(rows.shape)
    falling = [count_out_of_order(*pair) for pair in zip(rows, y, strict=True)]
    assert sum(falling) == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_monotone_in_between(name, dtype):
    rng = np.random.default_rng(17)
    starts = rng.uniform(-20, 20, 2_000) * 2.0 ** -rng.integers(0, 8, 2_000)
    rows = neighbours_of(np.abs(starts) if name == "log" else starts, dtype, 50)
    y = kernel(name, rows.ravel(), ISAS[0]).reshape(rows.shape)
    falling = [count_out_of_order(*pair) for pair in zip(rows, y, strict=True)]
    assert sum(falling) == 0


def values(name, x, dtype):
    """Return a function of a list of numbers, the same by kernel and by twin."""
    x = np.array(x, dtype)
    y = kernel(name, x, ISAS[0])
    assert_same_bits(name, y, getattr(arith, name)(x))
    return y


def test_tanh_is_odd_and_bounded(dtype):
    x = sample("tanh", dtype)
    y = kernel("tanh", x, ISAS[0])
    assert_same_bits("odd", kernel("tanh", -x, ISAS[0]), -y)
    assert not (np.abs(y) > 1).any()


def test_tanh_of_tiny_numbers_is_the_number(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, tiny, -tiny, 3 * tiny, 2.0**-100, 2.0**-30], dtype)
    assert_same_bits("tanh", values("tanh", x, dtype), x)


def test_sigmoid_is_a_half_at_zero_and_within_0_and_1(dtype):
    assert values("sigmoid", [0.0, -0.0], dtype).tolist() == [0.5, 0.5]
    y = kernel("sigmoid", sample("sigmoid", dtype), ISAS[0])
    assert not ((y < 0) | (y > 1) | np.signbit(y) & (y == 0)).any()


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_small_values_are_right_in_the_subnormal_range(name):
    least = 2.0**-149
    x = [-100, -102, -103, -103.9, -103.98, -104]
    expected = [round(math.exp(v) / least) * least for v in x]
    assert expected[0] == 27 * least  # 3.78e-44
    assert values(name, x, "float32").tolist() == expected


def test_expm1_of_tiny_numbers_is_the_number(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, tiny, -tiny, 3 * tiny, -(2.0**-100), 2.0**-60], dtype)
    assert_same_bits("expm1", values("expm1", x, dtype), x)


def test_softplus_is_at_least_its_argument_and_0(dtype):
    x = sample("softplus", dtype)
    y = kernel("softplus", x, ISAS[0])
    assert not ((y < x) | (y < 0) | np.signbit(y) & (y == 0)).any()


def test_expm1_is_at_least_minus_1(dtype):
    assert not (kernel("expm1", sample("expm1", dtype), ISAS[0]) < -1).any()


def test_exp_is_right_in_the_subnormal_range():
    least = 2.0**-149
    x = [-88, -90, -95, -100, -103, -103.9, -104]
    expected = [round(math.exp(v) / least) * least for v in x]
    assert values("exp", x, "float32").tolist() == expected


def test_special_values(dtype):
    infinite = [-math.inf, math.inf]
    assert values("exp", [0.0, -0.0, *infinite], dtype).tolist() == [1, 1, 0, math.inf]
    assert values("tanh", infinite, dtype).tolist() == [-1, 1]
    assert values("sigmoid", infinite, dtype).tolist() == [0, 1]
    assert values("expm1", infinite, dtype).tolist() == [-1, math.inf]
    assert values("softplus", infinite, dtype).tolist() == [0, math.inf]
    zeros = values("log", [0.0, -0.0, 1.0], dtype)
    assert zeros.tolist() == [-math.inf, -math.inf, 0]
    assert values("log", [math.inf], dtype).item() == math.inf
    assert np.isnan(values("log", [-1.0, -math.inf, -1e-40], dtype)).all()
    for name in (*FUNCTIONS, "flush"):
        assert np.isnan(values(name, [math.nan], dtype)).all()


def test_exp_overflows_where_it_must(dtype):
    last = {"float32": 88.72283, "float64": 709.782712893384}[dtype]
    for name in ("exp", "expm1"):
        y = values(name, [last, last * (1 + 1e-6), 1e6], dtype)
        assert np.isfinite(y).tolist() == [True, False, False]


def test_flush_drops_what_lies_below_its_limit(dtype):
    limit = {"float32": 2.0**-100, "float64": 2.0**-900}[dtype]
    below = float(np.nextafter(np.array(limit, dtype), np.array(0, dtype)))
    x = np.array([limit, -limit, below, -below, 0.0, -0.0, math.inf], dtype)
    y = np.array([limit, -limit, 0, 0, 0, 0, math.inf], dtype)
    assert_same_bits("flush", values("flush", x, dtype), y)
