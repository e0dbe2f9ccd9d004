"""CTC gives the twin's bits: every isa, dtype and number of threads (contract N9)."""

import numpy as np
import pytest
from bits import assert_same_bits, every_thread_used

from exactrnn import _core
from exactrnn.reference import ctc as twin

# T, B, K, L
SIZES = [(1, 1, 1, 0), (0, 2, 3, 2), (1, 3, 2, 1), (9, 1, 4, 3), (40, 7, 9, 12)]
SIZES += [(130, 3, 33, 40)]


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


def draw_problem(T, B, K, L, dtype, blank=0):
    """Return logits and labels of rows of all lengths, some of which no path spells."""
    rng = np.random.default_rng(T + K)
    logits = (3 * rng.standard_normal((T, B, K))).astype(dtype)
    labels = (blank + 1 + rng.integers(0, max(K - 1, 1), (B, L))) % K
    lengths = rng.integers(0, T + 1, B)
    lengths[0] = T
    label_lengths = rng.integers(0, L + 1, B)
    return logits, (labels, lengths, label_lengths)


def run(logits, labels, blank, isa, threads):
    loss = np.full(logits.shape[1], np.nan, logits.dtype)
    dlogits = np.full_like(logits, np.nan)
    _core.ctc_loss(logits, labels, loss, dlogits, blank, isa, threads)
    return loss, dlogits


def assert_all_same(ours, theirs):
    for name, one, other in zip(("loss", "dlogits"), ours, theirs, strict=True):
        assert_same_bits(name, one, other)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("blank", ["first", "last"])
def test_ctc_equals_twin(isa, dtype, threads, sizes, blank):
    blank = 0 if blank == "first" else sizes[2] - 1
    logits, labels = draw_problem(*sizes, dtype, blank)
    ours = run(logits, labels, blank, isa, threads)
    with np.errstate(all="ignore"):
        assert_all_same(ours, twin.ctc_loss(logits, *labels, blank))
    alone = np.full_like(ours[0], np.nan)
    _core.ctc_loss(logits, labels, alone, None, blank, isa, threads)
    assert_same_bits("loss without gradient", alone, ours[0])


def test_a_row_has_the_bits_that_it_has_alone(isa, dtype, threads):
    """In a batch, with padding of any kind behind its outputs and its labels."""
    logits, (labels, lengths, sizes) = draw_problem(40, 7, 9, 12, dtype)
    padded, fuller = logits.copy(), labels.copy()
    for b, (T, n) in enumerate(zip(lengths, sizes, strict=True)):
        padded[T:, b] = np.nan
        fuller[b, n:] = -(2**40)
    loss, dlogits = run(padded, (fuller, lengths, sizes), 0, isa, threads)
    for b, (T, n) in enumerate(zip(lengths, sizes, strict=True)):
        own = (labels[b : b + 1, :n].copy(), lengths[b : b + 1], sizes[b : b + 1])
        alone = run(logits[:T, b : b + 1].copy(), own, 0, isa, 1)
        assert_all_same((loss[b : b + 1], dlogits[:T, b : b + 1]), alone)
        assert not dlogits[T:, b].any()


def test_nan_and_infinity_stay_in_their_rows(isa, dtype, threads):
    clean, labels = draw_problem(12, 6, 5, 3, dtype)
    labels = (labels[0], np.full(6, 12), np.full(6, 3))
    broken = clean.copy()
    broken[3, 1, 2], broken[4, 2, 0], broken[5, 4, 1] = np.nan, np.inf, -np.inf
    ours = run(broken, labels, 0, isa, threads)
    with np.errstate(all="ignore"):
        assert_all_same(ours, twin.ctc_loss(broken, *labels, 0))
    whole = run(clean, labels, 0, isa, threads)
    others = ~np.isin(np.arange(6), (1, 2, 4))
    assert_same_bits("loss", ours[0][others], whole[0][others])
    assert_same_bits("dlogits", ours[1][:, others], whole[1][:, others])
    assert np.isnan(ours[0][[1, 2]]).all()


def test_labels_that_outputs_of_zero_forbid_have_no_gradient(isa, dtype):
    """A probability of exactly 0 is infeasible too: no NaN comes of it."""
    logits, _ = draw_problem(4, 1, 3, 2, dtype)
    logits[:, :, 2] = -np.inf
    fixed = (np.array([[1, 2]]), np.array([4]), np.array([2]))
    loss, dlogits = run(logits, fixed, 0, isa, 1)
    assert np.isposinf(loss[0])
    assert not dlogits.any()
