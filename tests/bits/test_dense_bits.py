"""The dense kernels give the twin's bits, on every isa, dtype and number of threads.

Their sums are contract N3; of losses, N9.
"""

import numpy as np
import pytest
from bits import assert_same_bits, every_thread_used

from exactrnn import _core
from exactrnn._numeric import leak
from exactrnn.reference import arith
from exactrnn.reference import dense as twin

LINEAR_SIZES = [(1, 1, 1), (5, 3, 17), (7, 33, 100), (600, 70, 37), (256, 1, 130)]
LINEAR_SIZES += [(0, 3, 2)]
SUM_SIZES = [0, 1, 255, 256, 257, 4095, 4096, 5000]


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


def assert_all_same(*pairs):
    for place, (ours, theirs) in enumerate(pairs):
        assert_same_bits(f"array {place}", np.asarray(ours), np.asarray(theirs))


def draw(seed, shape, dtype):
    """Return normal numbers of many magnitudes, with zeros of both signs."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, shape)
    values[rng.random(shape) < 0.05] = 0.0
    values[rng.random(shape) < 0.05] = -0.0
    return values.astype(dtype)


@pytest.mark.parametrize("sizes", LINEAR_SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_linear_forward_equals_twin(isa, dtype, threads, sizes, bias):
    N, K, O = sizes
    x, w = draw(1, (N, K), dtype), draw(2, (O, K), dtype)
    b = draw(3, (O,), dtype) if bias else None
    y = np.full((N, O), np.nan, dtype)
    _core.linear_forward(x, w, b, y, isa, threads)
    assert_all_same((y, twin.linear_forward(x, w, b)))


@pytest.mark.parametrize("sizes", LINEAR_SIZES, ids=str)
def test_linear_backward_equals_twin_and_adds(isa, dtype, threads, sizes):
    N, K, O = sizes
    x, w = draw(1, (N, K), dtype), draw(2, (O, K), dtype)
    dy = draw(4, (N, O), dtype)
    before_dw, before_db = draw(5, (O, K), dtype), draw(6, (O,), dtype)
    dx, dw, db = np.full((N, K), np.nan, dtype), before_dw.copy(), before_db.copy()
    _core.linear_backward(x, w, dy, dx, dw, db, isa, threads)
    expected = twin.linear_backward(x, w, dy, before_dw, before_db)
    assert_all_same(*zip((dx, dw, db), expected, strict=True))


def test_linear_backward_leaves_out_what_is_none(isa, dtype):
    x, w, dy = (draw(n, (4, 4), dtype) for n in range(3))
    full, alone = np.zeros((4, 4), dtype), np.zeros((4, 4), dtype)
    _core.linear_backward(x, w, dy, np.empty_like(x), full, np.zeros(4, dtype), isa, 1)
    _core.linear_backward(x, w, dy, None, alone, None, isa, 1)
    assert_all_same((alone, full))


@pytest.mark.parametrize("V", [1, 2, 35, 300])
@pytest.mark.parametrize("N", [1, 7, 16, 520])
def test_softmax_equals_twin(isa, dtype, threads, N, V):
    logits = draw(7, (N, V), dtype)
    target = np.random.default_rng(8).integers(-1, V, N)
    scale = float(np.dtype(dtype).type(1) / np.dtype(dtype).type(N))
    loss, dlogits = np.full(N, np.nan, dtype), np.full((N, V), np.nan, dtype)
    _core.softmax_xent(logits, target, loss, dlogits, scale, isa, threads)
    expected_loss, expected_dlogits = twin.softmax_xent(logits, target, scale)
    assert_all_same((loss, expected_loss), (dlogits, expected_dlogits))

    loss_alone = np.full(N, np.nan, dtype)
    _core.softmax_xent(logits, target, loss_alone, None, 0.0, isa, threads)
    assert_all_same((loss_alone, loss))


def test_softmax_keeps_nan_and_infinity_in_their_rows(isa, dtype):
    logits = draw(9, (20, 6), dtype)
    clean = logits.copy()
    logits[3, 2], logits[11, 0], logits[17, 5] = np.nan, np.inf, -np.inf
    target = np.arange(20) % 6
    results = []
    for values in (logits, clean):
        loss, dlogits = np.empty(20, dtype), np.empty((20, 6), dtype)
        _core.softmax_xent(values, target, loss, dlogits, 1.0, isa, 1)
        results.append((loss, dlogits))
    with np.errstate(all="ignore"):
        expected = twin.softmax_xent(logits, target, 1.0)
    assert_all_same(*zip(results[0], expected, strict=True))
    others = ~np.isin(np.arange(20), (3, 11, 17))
    for broken, whole in zip(*results, strict=True):
        assert_all_same((broken[others], whole[others]))
    assert np.isnan(results[0][0][[3, 11]]).all()


@pytest.mark.parametrize(("N", "V", "E"), [(1, 1, 1), (700, 3, 5), (3000, 50, 37)])
def test_embedding_backward_equals_twin_and_adds(isa, dtype, threads, N, V, E):
    index = np.minimum(np.random.default_rng(10).geometric(0.2, N) - 1, V - 1)
    dy, before = draw(11, (N, E), dtype), draw(12, (V, E), dtype)
    dw = before.copy()
    _core.embedding_backward(index.astype(np.int64), dy, dw, isa, threads)
    assert_all_same((dw, twin.embedding_backward(index, dy, before)))


@pytest.mark.parametrize("size", SUM_SIZES)
def test_long_sums_equal_twin(isa, dtype, size):
    x = draw(13, size, dtype)
    number = np.dtype(dtype).type
    assert_all_same((number(_core.long_sum(x, isa)), number(twin.long_sum_of(x))))
    squares = number(_core.long_sum_squares(x, number(1.5), isa))
    assert_all_same((squares, number(twin.long_sum_squares(x, 1.5))))


def test_long_sum_stays_accurate_in_float32(isa):
    x = np.full(100_000, 0.1, np.float32)
    exact = 100_000 * float(np.float32(0.1))
    assert abs(_core.long_sum(x, isa) - exact) <= 2e-5 * exact


# Updates


NUMBERS = {
    "scale": (0.3, (0.0, 0.0), 0.0, 0.0, 1.0),
    "sgd": (0.1, (0.9, 0.0), 0.0, 0.0, 1.0),
    "adam": (0.05, (0.9, 0.999), 0.001, 1e-8, 0.99),
    "rmsprop": (0.05, (0.9, 0.99), 0.0, 1e-8, 1.0),
}
STATES = {  # which of m and v a rule keeps
    "none": (False, False),
    "m": (True, False),
    "v": (False, True),
    "m v": (True, True),
}
UPDATES = [
    ("scale", "none"),
    ("sgd", "none"),
    ("sgd", "m"),
    ("adam", "m v"),
    ("rmsprop", "v"),
    ("rmsprop", "m v"),
]


def update_problem(rule, states, size, dtype):
    """Return (p, g, m, v) with numbers of all kinds, and None for what is not kept."""
    arrays = [draw(20 + k, size, dtype) for k in range(4)]
    arrays[3] = np.abs(arrays[3])
    if size > 20:
        tiny = np.finfo(dtype).smallest_subnormal
        for k, special in enumerate((np.nan, np.inf, -np.inf, tiny, 3e38)):
            for j in range(3):
                arrays[j][3 * k + j] = special
    g = None if rule == "scale" else arrays[1]
    kept = (
        a if has else None for a, has in zip(arrays[2:], STATES[states], strict=True)
    )
    return arrays[0], g, *kept


@pytest.mark.parametrize("size", [0, 1, 7, 16, 33, 5000])
@pytest.mark.parametrize(("rule", "states"), UPDATES)
def test_updates_equal_twin(isa, dtype, rule, states, size):
    first = update_problem(rule, states, size, dtype)
    second = update_problem(rule, states, 50, dtype)
    with np.errstate(all="ignore"):
        numbers = (NUMBERS[rule], (0.5, *NUMBERS[rule][1:]))
        expected = [
            twin.update(rule, arrays, own)
            for arrays, own in zip((first, second), numbers, strict=True)
        ]
    holder = [None]
    _core.update(rule, (first, second), numbers, isa, holder, "done")
    assert holder == ["done"]
    for found, wanted in zip((first, second), expected, strict=True):
        kept = [k for k, array in enumerate(found) if array is not None]
        assert_all_same(*((found[k], wanted[k]) for k in kept))


@pytest.mark.parametrize(("rule", "states"), UPDATES)
def test_updates_take_the_gradient_that_is_the_parameter(isa, dtype, rule, states):
    p, _, m, v = update_problem(rule, states, 50, dtype)
    with np.errstate(all="ignore"):
        expected = twin.update(rule, (p, p, m, v), NUMBERS[rule])
    _core.update(rule, ((p, p, m, v),), (NUMBERS[rule],), isa)
    assert_all_same((p, expected[0]))


def test_updates_of_arrays_that_do_not_fit_change_nothing(isa, dtype):
    good = update_problem("adam", "m v", 50, dtype)
    other = {"float32": "float64", "float64": "float32"}[dtype]
    before = [array.copy() for array in good]
    fixed = good[0].copy()
    fixed.flags.writeable = False
    for bad in (
        (good[0].copy(), good[1][:49], good[2], good[3]),
        (good[0].copy(), good[1].astype(other), good[2], good[3]),
        (fixed, *good[1:]),
    ):
        holder = ["before"]
        numbers = (NUMBERS["adam"],) * 2
        with pytest.raises((ValueError, BufferError)):
            _core.update("adam", (good, bad), numbers, isa, holder, "after")
        assert holder == ["before"]
        assert_all_same(*zip(good, before, strict=True))


@pytest.mark.parametrize("H", [1, 5, 300])
@pytest.mark.parametrize("leaks", ["one", "each"])
def test_gradient_of_a_learned_leak_is_that_of_its_logit(isa, dtype, leaks, H):
    """The kernel and the layers' twin take it from one place: this is another."""
    logit = np.clip(draw(7, (H if leaks == "each" else 1,), dtype), -5, 5)
    dalpha = draw(8, (1, H), dtype)
    alpha, zero = arith.sigmoid(logit), np.zeros((1, 1), dtype)
    total = arith.long_sum(zero, dalpha.T, np.ones((H, 1), dtype))[0]
    d = dalpha[0] if logit.size > 1 else total
    expected = d * (alpha * (1 - alpha))
    found = _core.leak_gradient(logit, dalpha, isa)
    assert_all_same((found, expected), (leak.logit_gradient(logit, dalpha), expected))
