"""The NumPy twin's arithmetic by itself: fma, sums of products, special values.

That the kernels have the same bits is in test_elementary.py, and so are the errors of
the elementary functions. Operations are contract N2, sums N3.
"""

import numpy as np
import pytest
from bits import assert_same_bits
from steered import FORMATS, exact_fmas, steered_triples

from exactrnn.reference import arith, fma

ELEMENTARY = (arith.exp, arith.expm1, arith.log, arith.softplus)
ELEMENTARY += (arith.tanh, arith.sigmoid, arith.flush)


def rounded_twice(a, b, c):
    """What an fma is without fma: the product in twice the width at most."""
    wide = np.float64
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def error_free_only(a, b, c):
    """Round-to-odd emulation that forgets overflow and underflow of its own steps."""
    high, low = fma.expand(a, b, c)
    return high + low


def count_wrong(emulation, a, b, c):
    with np.errstate(all="ignore"):
        found, expected = emulation(a, b, c), exact_fmas(a, b, c)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return int((~same).sum())


def test_fma_is_the_exact_sum_rounded_once(dtype):
    a, b, c = steered_triples(dtype, 20_000)
    assert_same_bits("fma", arith.fma(a, b, c), exact_fmas(a, b, c))


def test_steered_triples_catch_an_fma_that_rounds_twice(dtype):
    a, b, c = steered_triples(dtype, 5_000)
    assert count_wrong(rounded_twice, a, b, c) > 50


def test_steered_triples_catch_an_fma_that_forgets_under_and_overflow():
    a, b, c = steered_triples("float64", 5_000)
    assert count_wrong(error_free_only, a, b, c) > 500


def test_steered_triples_reach_subnormal_results_ties_and_overflow(dtype):
    of = FORMATS[dtype]
    y = exact_fmas(*steered_triples(dtype, 5_000))
    size = np.abs(y)
    assert ((size > 0) & (size < np.finfo(dtype).tiny)).sum() > 300
    assert (size == 2.0**of.least_power).sum() > 30
    assert (size == 0).sum() > 30
    assert np.isinf(y).sum() > 300


def test_fma_is_the_same_alone_and_among_others(dtype):
    a, b, c = steered_triples(dtype, 500)
    alone = [arith.fma(*triple) for triple in zip(a, b, c, strict=True)]
    assert_same_bits("fma", np.array(alone), arith.fma(a, b, c))


def test_fma_broadcasts_and_takes_python_numbers(dtype):
    a = np.linspace(-1, 1, 12, dtype=dtype).reshape(3, 4)
    b = np.linspace(0, 3, 4, dtype=dtype)
    whole = arith.fma(a, np.tile(b, (3, 1)), np.ones((3, 4), dtype))
    assert_same_bits("fma", arith.fma(a, b, 1), whole)
    assert arith.fma(a[:0], b, 1).shape == (0, 4)


@pytest.mark.parametrize("wrong", [np.arange(3), np.ones(3, np.float16)])
def test_fma_takes_no_other_dtype(wrong):
    with pytest.raises(TypeError, match="expected float32 or float64"):
        arith.fma(wrong, wrong, wrong)


def random_operands(dtype, M, N, K):
    rng = np.random.default_rng(5)
    shapes = ((M, N), (M, K), (N, K))
    return (rng.standard_normal(shape).astype(dtype) for shape in shapes)


@pytest.mark.parametrize("K", [0, 1, 7])
def test_chain_is_one_fma_after_another(dtype, K):
    init, x, w = random_operands(dtype, 3, 5, K)
    expected = init.copy()
    for m, n in np.ndindex(3, 5):
        for k in range(K):
            expected[m, n] = arith.fma(x[m, k], w[n, k], expected[m, n])
    assert_same_bits("chain", arith.chain(init, x, w), expected)


def test_chain_goes_up_from_its_start():
    big = np.float32(2.0**25)
    init = np.full((1, 1), big)
    x = np.array([[1, 1, -big]], np.float32)
    assert arith.chain(init, x, np.ones_like(x)).item() == 0
    assert arith.chain(init, x[:, ::-1], np.ones_like(x)).item() == 2


def test_chain_keeps_what_it_was_given(dtype):
    init, x, w = random_operands(dtype, 2, 3, 4)
    before = init.copy()
    arith.chain(init, x, w)
    assert_same_bits("init", init, before)


@pytest.mark.parametrize("K", [0, 1, 255, 256, 257, 600])
def test_long_sum_adds_chains_of_256(dtype, K):
    init, a, w = random_operands(dtype, 2, 3, K)
    zero = np.zeros((2, 3), dtype)
    expected = init
    for first in range(0, K, 256):
        part = slice(first, first + 256)
        expected = expected + arith.chain(zero, a[:, part], w[:, part])
    assert_same_bits("long sum", arith.long_sum(init, a.T, w.T), expected)


def test_long_sum_stays_accurate_where_a_chain_does_not():
    x = np.full((100_000, 1), 0.1, np.float32)
    one, zero = np.ones_like(x), np.zeros((1, 1), np.float32)
    exact = 100_000 * float(np.float32(0.1))
    assert abs(arith.long_sum(zero, x, one).item() / exact - 1) < 2e-6
    assert abs(arith.chain(zero, x.T, one.T).item() / exact - 1) > 2e-5


@pytest.mark.parametrize("function", ELEMENTARY, ids=lambda f: f.__name__)
def test_elementary_functions_keep_shape_and_dtype(function, dtype):
    x = np.ones((2, 0, 3), dtype)
    assert function(x).shape == (2, 0, 3)
    assert function(x).dtype == dtype
    assert function(np.ones((), dtype)).dtype == dtype


@pytest.mark.parametrize("function", ELEMENTARY, ids=lambda f: f.__name__)
def test_nothing_warns_even_where_warnings_are_errors(function, dtype):
    special = np.array([np.nan, np.inf, -np.inf, 0, -1, 1e-40, 1e30], dtype)
    with np.errstate(all="raise"):
        function(special)
        arith.fma(special, special[:, None], special)
        arith.chain(special[:, None], special[:, None], special[:1, None])
        arith.long_sum(special[:, None], special[None], special[None, :1])
