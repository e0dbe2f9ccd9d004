"""What training needs around the cells, in NumPy: the same bits as the kernels.

Linear layers, the softmax cross-entropy, the gradient of an embedding, sums of squares,
the rules of optimisers.
Every function has the name and the arguments of its fellow in ``_core``, less the
instruction set and the number of threads, and returns its outputs.

Twins: ``csrc/kernels/math/dense.c``, ``update.c``.  Letters: N rows, K inputs, O
outputs, V classes or symbols, E width of an embedding.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn.reference.arith import chain, exp, log, long_sum

Array: TypeAlias = NDArray[np.floating[Any]]
Index: TypeAlias = NDArray[np.int64]
Updated: TypeAlias = tuple[Array, Array | None, Array | None, Array | None]
RuleNumbers: TypeAlias = tuple[float, tuple[float, float], float, float, float]


def linear_forward(x: Array, w: Array, b: Array | None) -> Array:
    """``y[n, o]``: the chain over k of ``x[n, k] * w[o, k]``, from the bias or +0.0."""
    start = np.zeros(w.shape[0], w.dtype) if b is None else b
    return chain(np.broadcast_to(start, (x.shape[0], w.shape[0])), x, w)


def linear_backward(
    x: Array, w: Array, dy: Array, dw: Array, db: Array | None
) -> tuple[Array, Array, Array | None]:
    """Gradients ``dx``, and ``dw`` and ``db`` added to those given.

    ``dx`` is the chain over the outputs from +0.0, the others are long sums over rows.
    """
    dx = chain(np.zeros(x.shape, x.dtype), dy, w.T)
    dw = long_sum(dw, dy, x)
    if db is not None:
        one = np.ones((x.shape[0], 1), x.dtype)
        db = long_sum(db[:, None], dy, one)[:, 0]
    return dx, dw, db


def softmax_xent(logits: Array, target: Index, scale: float) -> tuple[Array, Array]:
    """Loss of each row ``[N]`` and its gradient ``[N, V]`` times `scale`."""
    m = logits[:, 0]
    for v in range(1, logits.shape[1]):
        m = np.where(logits[:, v] > m, logits[:, v], m)
    e = exp(logits - m[:, None])
    s = np.zeros_like(m)
    for v in range(logits.shape[1]):
        s = s + e[:, v]

    n = np.arange(len(target))
    counted = target >= 0
    own = logits[n, np.where(counted, target, 0)]
    zero = logits.dtype.type(0)
    loss = np.where(counted, (log(s) + m) - own, zero)
    q = e / s[:, None]
    q[n[counted], target[counted]] -= 1
    dlogits = np.where(counted[:, None], q * logits.dtype.type(scale), zero)
    return loss, dlogits


def embedding_backward(index: Index, dy: Array, dw: Array) -> Array:
    """Return ``dw`` plus, for each symbol, the long sum of its own rows of `dy`."""
    dw = dw.copy()
    for v in range(len(dw)):
        rows = dy[index == v]
        one = np.ones((len(rows), 1), dy.dtype)
        dw[v] = long_sum(dw[v][None], one, rows)[0]
    return dw


def long_sum_of(x: Array, init: float = 0.0) -> float:
    """The long sum of `x`, from `init`; ``_core.long_sum``."""
    return _one_sum(np.ones_like(x), x, init)


def long_sum_squares(x: Array, init: float = 0.0) -> float:
    """The long sum of ``x * x``, from `init`."""
    return _one_sum(x, x, init)


def _one_sum(a: Array, x: Array, init: float) -> float:
    start = np.full((1, 1), init, x.dtype)
    return float(long_sum(start, a[:, None], x[:, None])[0, 0])


def update(rule: str, arrays: Updated, numbers: RuleNumbers) -> Updated:
    """Return one entry ``(p, g, m, v)`` of ``_core.update`` as it is afterwards."""
    p, g, m, v = arrays
    number = p.dtype.type
    rate, correction = number(numbers[0]), number(numbers[2])
    eps, keep = number(numbers[3]), number(numbers[4])
    beta1, beta2 = (number(beta) for beta in numbers[1])
    rest1, rest2 = (number(1 - beta) for beta in numbers[1])
    if rule == "scale" or g is None:
        return p * rate, g, m, v
    if rule == "sgd":
        m = None if m is None else m * beta1 + g
        return p - (g if m is None else m) * rate, g, m, v
    assert v is not None
    v = v * beta2 + g * g * rest2
    if rule == "rmsprop":
        direction = g / (np.sqrt(v) + eps)
        m = None if m is None else m * beta1 + direction
        return p - (direction if m is None else m) * rate, g, m, v
    assert m is not None
    p = p * keep
    m = m * beta1 + g * rest1
    return p - m * rate / (np.sqrt(v / correction) + eps), g, m, v
