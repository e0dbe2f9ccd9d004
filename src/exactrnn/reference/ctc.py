"""Connectionist temporal classification in NumPy: the same bits as the kernel.

A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal
Classification*, ICML 2006, doi 10.1145/1143844.1143891.

Labels are read with a blank before, between and behind them: ``blank l1 blank l2 ...
blank``, S = 2n + 1 places.  ``alpha[s]`` is the log-probability of all that ends in
place s, ``beta[s]`` of all that follows it; ``y[s]``, the log-probability of the
place's symbol, is in alpha alone, so that their sum counts it once.

Twin: ``csrc/kernels/math/ctc.c``, line by line.  Letters: T time, B rows, K symbols
with the blank, L labels of a row at most.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn.reference.arith import exp, log

Array: TypeAlias = NDArray[np.floating[Any]]
Index: TypeAlias = NDArray[np.int64]

__all__ = ["ctc_loss"]


def ctc_loss(
    logits: Array, labels: Index, lengths: Index, label_lengths: Index, blank: int
) -> tuple[Array, Array]:
    """Loss of each row ``[B]`` and its gradient ``[T, B, K]`` at the logits.

    ``loss = 0 - log(p)``; +inf, with a gradient of zeros, where no path spells the
    labels.
    """
    losses = np.zeros(logits.shape[1], logits.dtype)
    dlogits = np.zeros_like(logits)
    for b, (T, n) in enumerate(zip(lengths, label_lengths, strict=True)):
        row = _Row(logits[:T, b], labels[b, :n], blank)
        log_p = row.forward()
        losses[b] = 0 - log_p
        if log_p != -np.inf:
            dlogits[:T, b] = row.backward(log_p)
    return losses, dlogits


def _log_add(a: Array, b: Array, c: Array) -> Array:
    """``log(exp(a) + exp(b) + exp(c))``; -inf of three that are -inf."""
    most = np.where(a > b, a, b)
    most = np.where(most > c, most, c)
    shift = np.where(most == -np.inf, most.dtype.type(0), most)
    return log((exp(a - shift) + exp(b - shift)) + exp(c - shift)) + shift


def _ahead(places: Array, by: int) -> Array:
    """What lies `by` places further on, or with a negative `by` back; -inf outside."""
    moved = np.full_like(places, -np.inf)
    if by > 0:
        moved[:-by] = places[by:]
    else:
        moved[-by:] = places[:by]
    return moved


class _Row:
    """One row of the batch: logits ``[T, K]``, labels ``[n]``."""

    def __init__(self, logits: Array, labels: Index, blank: int) -> None:
        self.symbols = np.full(2 * len(labels) + 1, blank)
        self.symbols[1::2] = labels
        may_skip = np.zeros(len(self.symbols), bool)
        may_skip[3::2] = labels[1:] != labels[:-1]
        self.skip = np.where(may_skip, 0, -np.inf).astype(logits.dtype)
        m = logits[:, 0]
        for k in range(1, logits.shape[1]):
            m = np.where(logits[:, k] > m, logits[:, k], m)
        e = exp(logits - m[:, None])
        s = np.zeros_like(m)
        for k in range(logits.shape[1]):
            s = s + e[:, k]
        self.softmax = e / s[:, None]
        self.y = logits[:, self.symbols] - (log(s) + m)[:, None]
        self.alphas: list[Array] = []

    def forward(self) -> Any:
        """The log-probability of the labels; fills ``alphas``."""
        alpha = np.full_like(self.skip, -np.inf)
        alpha[0] = 0
        for y in self.y:
            leap = _ahead(alpha, -2) + self.skip
            alpha = y + _log_add(alpha, _ahead(alpha, -1), leap)
            self.alphas.append(alpha)
        none = np.full(1, -np.inf, alpha.dtype)
        before = alpha[-2:-1] if len(alpha) > 1 else none
        return _log_add(alpha[-1:], before, none)[0]

    def backward(self, log_p: Any) -> Array:
        """The gradient ``[T, K]`` at the logits."""
        beta = np.full_like(self.skip, -np.inf)
        beta[-2:] = 0
        dlogits = self.softmax.copy()
        for t in range(len(self.y) - 1, -1, -1):
            gamma = exp((self.alphas[t] + beta) - log_p)
            total = np.zeros_like(dlogits[t])
            for s, symbol in enumerate(self.symbols):
                total[symbol] = total[symbol] + gamma[s]
            dlogits[t] = dlogits[t] - total
            z = self.y[t] + beta
            leap = _ahead(z + self.skip, 2)
            beta = _log_add(z, _ahead(z, 1), leap)
        return dlogits
