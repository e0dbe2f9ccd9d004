"""The promise: every kernel gives the bits of its NumPy twin (contract N3, N5, N6, N8).

Outputs, states, kept gates and all gradients, over cells, instruction sets, dtypes and
thread counts; sizes around the vectors and panels of every instruction set, ragged
lengths, layers and directions. Cells with options go through some of these problems.
"""

import functools

import numpy as np
import pytest
from bits import (
    SPLITS,
    as_tuple,
    assert_same_bits,
    assert_same_results,
    every_thread_used,
    random_problem,
    run_layer,
    run_twin,
)
from variants import NETWORKS, VARIANTS, make_layer

import exactrnn as xr

# T, B, I, H, options
PROBLEMS = {
    "one of everything": (1, 1, 1, 1, {}),
    "odd sizes": (4, 2, 3, 15, {}),
    "a whole vector": (3, 5, 16, 16, {}),
    "one unit more": (3, 3, 17, 17, {"bias": False}),
    "ragged": (5, 5, 1, 33, {"lengths": [5, 0, 3, 4, 1]}),
    "many rows": (2, 17, 3, 3, {}),
    "several panels": (2, 2, 3, 100, {}),
    "both directions": (3, 2, 3, 5, {"bidirectional": True}),
    "stacked, ragged, both directions": (
        4, 7, 3, 17,
        {"num_layers": 2, "bidirectional": True, "lengths": [4, 3, 0, 1, 4, 2, 3]},
    ),
    "several chunks of the long sum": (36, 16, 2, 3, {}),
    "gaps in several chunks": (36, 16, 2, 3, {"lengths": [36, 0, 3, 17, *[36, 1] * 6]}),
}  # fmt: skip
FEW = ("ragged", "stacked, ragged, both directions")
NAMES = (*NETWORKS, *VARIANTS)


@functools.cache
def problem_and_expected(name, dtype, problem_name):
    T, B, I, H, options = PROBLEMS[problem_name]
    options = dict(options)
    lengths = options.pop("lengths", None)
    layer = make_layer(name, I, H, dtype=dtype, seed=1, **options)
    problem = random_problem(layer, T, B, lengths, seed=H)
    return layer, problem, run_twin(layer, **problem)


def assert_kernel_equals_twin(name, dtype, problem_name, splits):
    layer, problem, expected = problem_and_expected(name, dtype, problem_name)
    x, state, lengths = problem["x"], problem["state"], problem["lengths"]
    for split in splits:
        with every_thread_used(split):
            assert_same_results(run_layer(layer, **problem), expected)
            y, _ = layer(x, state, lengths=lengths)
        assert_same_bits("y of inference", y, expected["y"])


@pytest.mark.parametrize("name", PROBLEMS, ids=lambda name: name.replace(" ", "_"))
def test_kernel_equals_twin(cell, isa, dtype, threads, name):
    splits = SPLITS if threads > 1 else ("by units",)
    assert_kernel_equals_twin(cell, dtype, name, splits)


@pytest.mark.parametrize("name", FEW, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("variant", VARIANTS)
def test_kernel_with_options_equals_twin(variant, isa, dtype, name):
    assert_kernel_equals_twin(variant, dtype, name, ("by units",))
    with xr.threads(3):
        assert_kernel_equals_twin(variant, dtype, name, SPLITS)


@functools.cache
def extreme_and_expected(name, dtype):
    """Saturated gates, vanishing states, products that overflow or underflow."""
    layer = make_layer(name, 3, 17, dtype=dtype, seed=2)
    problem = random_problem(layer, 4, 6, seed=3)
    tiny = np.finfo(dtype).tiny
    scales = np.array([1e3, 1e-3, tiny, 3 * tiny * np.finfo(dtype).eps, 1e30, 1.0])
    problem["x"] = (problem["x"] * scales[None, :, None]).astype(dtype)
    problem["dy"] = (problem["dy"] * scales[None, ::-1, None]).astype(dtype)
    return layer, problem, run_twin(layer, **problem)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_values_equal_twin(name, isa, dtype):
    layer, problem, expected = extreme_and_expected(name, dtype)
    assert_same_results(run_layer(layer, **problem), expected)


@functools.cache
def truncated_and_expected(name, dtype):
    layer = make_layer(name, 3, 9, dtype=dtype, seed=2, num_layers=2)
    problem = random_problem(layer, 4, 4, [4, 3, 0, 2], seed=3)
    return layer, problem, run_twin(layer, **problem, truncated=True)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("lstm")])
def test_truncated_gradient_equals_twin(name, isa, dtype):
    layer, problem, expected = truncated_and_expected(name, dtype)
    assert_same_results(run_layer(layer, **problem, truncated=True), expected)


def vanishing_problem(layer, dtype):
    """Gradients from just above to far below the threshold of N6, row by row."""
    problem = random_problem(layer, 3, 6, seed=3)
    exponent = -100 if dtype == "float32" else -900
    scales = np.array([2.0 ** (exponent + n) for n in (8, 4, 2, 1, 0, -6)], dtype)
    problem["dy"] *= scales[None, :, None]
    scaled = tuple(p * scales[None, :, None] for p in as_tuple(problem["dstate"]))
    problem["dstate"] = scaled if len(scaled) > 1 else scaled[0]
    return problem


@functools.cache
def vanishing_and_expected(cell, dtype):
    layer = make_layer(cell, 3, 17, dtype=dtype, seed=2)
    problem = vanishing_problem(layer, dtype)
    return layer, problem, run_twin(layer, **problem)


def test_vanishing_values_equal_twin(cell, isa, dtype):
    layer, problem, expected = vanishing_and_expected(cell, dtype)
    assert_same_results(run_layer(layer, **problem), expected)


def test_vanishing_values_are_stored_as_zero(cell, isa, dtype):
    """Contract N6: what is below 2^-100 (2^-900) becomes +0.0, states and gradients."""
    layer = make_layer(cell, 3, 17, dtype=dtype, seed=2)
    gradients = run_layer(layer, **vanishing_problem(layer, dtype))["dstate0"]
    least = 2.0**-100 if dtype == "float32" else 2.0**-900
    assert (gradients == 0).any()
    assert (gradients != 0).any()
    assert (np.abs(gradients[gradients != 0]) >= least).all()
    assert not np.signbit(gradients[gradients == 0]).any()


def test_comparison_tells_zeros_apart_and_one_bit_but_not_nan(dtype):
    """Contract N8: what every test of bits stands on."""

    def is_same(actual, expected):
        try:
            assert_same_bits("", np.array([actual], dtype), np.array([expected], dtype))
        except AssertionError:
            return False
        return True

    assert is_same(np.nan, -np.nan)
    assert not is_same(np.nan, np.inf)
    assert not is_same(0.0, -0.0)
    assert not is_same(1.0, np.nextafter(np.array(1, dtype), 2))


# Modules of a clockwork network: without padding between them, with some, in the order
# of their periods and in another, a slow one alone; rows with the same clock, and each
# with its own.
MODULES = {
    "one": ((3,), (17,)),
    "no padding": ((1, 2, 4), (16, 32, 48)),
    "no padding, unordered": ((4, 1, 2, 4), (16, 16, 48, 32)),
    "padding behind the second": ((1, 2, 4), (32, 10, 22)),
    "padding before the last, two alike": ((2, 3, 2, 1), (16, 16, 1, 40)),
}


# Modules whose chains go side by side in a single row: more than there is room for, of
# one width and of several, with others between them, that do not fill their vectors.
SIDE_BY_SIDE = {
    "seven of 16": ((1, 1, 1, 2, 2, 4, 8), (16,) * 7),
    "five of 32": ((1, 1, 2, 1, 4), (32,) * 5),
    "of several widths": ((1, 2, 1, 1, 1, 2), (16, 32, 16, 70, 16, 8)),
    "not filled": ((1, 1, 2, 1), (5, 13, 9, 1)),
}


@pytest.mark.parametrize("name", SIDE_BY_SIDE, ids=lambda name: name.replace(" ", "_"))
def test_modules_side_by_side_equal_twin(isa, dtype, name):
    periods, sizes = SIDE_BY_SIDE[name]
    layer = xr.ClockworkRNN(
        3, sum(sizes), periods=periods, module_sizes=sizes, dtype=dtype, seed=6
    )
    problem = random_problem(layer, 9, 1, None, seed=7)
    assert_same_results(run_layer(layer, **problem), run_twin(layer, **problem))


@functools.cache
def modules_and_expected(name, in_step, lengths, dtype):
    periods, sizes = MODULES[name]
    options = {"periods": periods, "module_sizes": sizes, "bidirectional": True}
    layer = xr.ClockworkRNN(5, sum(sizes), dtype=dtype, seed=4, **options)
    problem = random_problem(layer, 9, 3, lengths, seed=5)
    h, clock = problem["state"]
    problem["state"] = h, np.full_like(clock, 2) if in_step else clock
    return layer, problem, run_twin(layer, **problem)


@pytest.mark.parametrize("lengths", [None, (9, 4, 7)], ids=["full", "ragged"])
@pytest.mark.parametrize("in_step", [True, False], ids=["in_step", "apart"])
@pytest.mark.parametrize("name", MODULES, ids=lambda name: name.replace(" ", "_"))
def test_clockwork_modules_equal_twin(isa, dtype, threads, name, in_step, lengths):
    layer, problem, expected = modules_and_expected(name, in_step, lengths, dtype)
    for split in SPLITS if threads > 1 else ("by units",):
        with every_thread_used(split):
            assert_same_results(run_layer(layer, **problem), expected)
            y, _ = layer(problem["x"], problem["state"], lengths=lengths)
        assert_same_bits("y of inference", y, expected["y"])
