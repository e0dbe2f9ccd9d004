"""Losses and their gradients, with defined bits (contract N9).

Every loss returns its value and the gradient with respect to its first argument, so
that the gradient can be handed to a layer's ``backward`` at once.  Sums are long sums
(N3), exponentials and logarithms the library's own (N4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._checks.arrays import Index, check_floats, check_index
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa, threads_for_calls

__all__ = ["mean_squared_error", "softmax_cross_entropy"]

IGNORED = -1


@ieee_mode()
def softmax_cross_entropy(logits: ArrayLike, targets: ArrayLike) -> tuple[float, Array]:
    """Mean cross-entropy of the softmax of `logits`, in nats.

    For one row ``l`` with target ``v``, with ``m = max(l)``, ``e = exp(l - m)`` and
    ``s`` the sum of ``e`` in ascending order, the loss is ``(log(s) + m) - l[v]`` and
    its gradient ``(e/s - onehot(v)) * (1/N)``, where ``N`` counts the targets that
    are not ignored.  The mean is the long sum of the rows' losses divided by ``N``.

    Parameters
    ----------
    logits : array_like, ``[..., V]``
        Unnormalised log-probabilities, float32 or float64.
    targets : array_like of int, ``[...]``
        Classes ``0 .. V-1``; ``-1`` leaves a row out: no loss, gradient zero.

    Returns
    -------
    loss : float
        The mean over the targets that are not ignored; 0.0 if there are none.
    dlogits : ndarray, ``[..., V]``
        Gradient of `loss` with respect to `logits`, in its dtype.

    Raises
    ------
    TypeError
        If `logits` are not float32 or float64 or `targets` are not integers.
    ValueError
        If the shapes do not match or a target is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> loss, dlogits = xr.train.softmax_cross_entropy(np.zeros((2, 4)), [0, 3])
    >>> round(loss, 6)
    1.386294
    >>> dlogits[0].tolist()
    [-0.375, 0.125, 0.125, 0.125]
    """
    values, index = check_logits(logits, targets)
    dlogits = np.empty_like(values)
    count = counted_targets(index)
    one = values.dtype.type(1)
    scale = float(one / values.dtype.type(count)) if count else 0.0
    losses = row_losses(values, index, dlogits, scale)
    return mean_of_rows(losses, count), dlogits


def check_logits(logits: ArrayLike, targets: ArrayLike) -> tuple[Array, Index]:
    """Return logits ``[..., V]`` and targets ``[...]``, or raise."""
    values = check_floats("logits", logits)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"logits: expected [..., V] with V >= 1, got {values.shape}")
    *rows, size = values.shape
    return values, check_index("targets", targets, IGNORED, size, tuple(rows))


def counted_targets(targets: Index) -> int:
    """Return the number of targets that are not ignored."""
    return int(np.count_nonzero(targets != IGNORED))


def row_losses(
    logits: Array, targets: Index, dlogits: Array | None, scale: float
) -> Array:
    """Return the loss of each row ``[N]`` and fill `dlogits` where it is given."""
    size = logits.shape[-1]
    rows = logits.reshape(-1, size)
    losses: Array = np.empty(rows.shape[0], rows.dtype)
    _core.softmax_xent(
        rows,
        targets.reshape(-1),
        losses,
        None if dlogits is None else dlogits.reshape(-1, size),
        scale,
        isa(),
        threads_for_calls(),
    )
    return losses


@ieee_mode()
def mean_of_rows(losses: Array, count: int) -> float:
    """Return the long sum of `losses` divided by `count`, rounded to their dtype."""
    if count == 0:
        return 0.0
    total: Any = losses.dtype.type(_core.long_sum(losses, isa()))
    return float(total / losses.dtype.type(count))


@ieee_mode()
def mean_squared_error(y: ArrayLike, target: ArrayLike) -> tuple[float, Array]:
    """Mean of the squared differences, and its gradient with respect to `y`.

    With ``d = y - target`` and ``N`` its number of elements the loss is the long sum
    of ``d*d`` in storage order divided by ``N``, the gradient ``d * (2/N)``.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.

    Returns
    -------
    loss : float
        0.0 for empty arrays.
    dy : ndarray
        Gradient with respect to `y`, of its shape and dtype.

    Raises
    ------
    TypeError
        If the dtypes differ or are neither float32 nor float64.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> y = np.array([1.0, 2.0])
    >>> xr.train.mean_squared_error(y, np.array([1.0, 4.0]))
    (2.0, array([ 0., -2.]))
    """
    output = check_floats("y", y)
    wanted = check_floats("target", target, output.dtype, output.shape)
    difference: Array = np.asarray(output - wanted)
    if difference.size == 0:
        return 0.0, difference
    number = output.dtype.type
    zero = number(0)
    total: Any = number(_core.long_sum_squares(difference.reshape(-1), zero, isa()))
    size = number(difference.size)
    return float(total / size), np.asarray(difference * (number(2) / size))
