"""Losses and their gradients, with defined bits (contract N9).

Every loss returns its value and the gradient with respect to its first argument, so
that the gradient can be handed to a layer's ``backward`` at once.  Sums are long sums
(N3), exponentials and logarithms the library's own (N4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn import _core
from exactrnn._checks import Array, as_any_array
from exactrnn._checks.arrays import Index, check_floats, check_index
from exactrnn._checks.numbers import check_real
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa, threads_for_calls
from exactrnn.train._counted import count, mean, spread, step_mask

__all__ = ["mean_squared_error", "softmax_cross_entropy"]

IGNORED = -1


@ieee_mode()
def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Mean cross-entropy of the softmax of `logits`, in nats.

    For one row ``l`` with target ``v``, with ``m = max(l)``, ``e = exp(l - m)`` and
    ``s`` the sum of ``e`` in ascending order, the loss is ``(log(s) + m) - l[v]`` and
    its gradient ``(e/s - onehot(v)) * (1/N)``, where ``N`` counts the targets that
    are not ignored.  The mean is the long sum of the rows' losses divided by ``N``.

    With label smoothing ``a`` (C. Szegedy et al., arXiv 1512.00567) the target is
    ``1 - a`` of class ``v`` and ``a/V`` of every class: ``(l[v] - c/V) * a`` is added
    to the loss, where ``c`` is the sum of ``l`` in ascending order, and
    ``a * (onehot(v) - 1/V)`` to the gradient of a row.  With weights ``w``, whose long
    sum is ``W``, the loss is the long sum of the losses times ``w`` divided by ``W``,
    and the gradient of a row has ``w * (1/W)`` for ``1/N``.

    Parameters
    ----------
    logits : array_like, ``[..., V]``
        Unnormalised log-probabilities, float32 or float64.
    targets : array_like of int, ``[...]``
        Classes ``0 .. V-1``; ``-1`` leaves a row out: no loss, gradient zero.
    label_smoothing : float
        ``a``, from 0 to 1.
    lengths : array_like of int, ``[B]``, optional
        Steps of each row of ``[T, B, ...]``; what is past it counts nothing and is not
        looked at.
    weights : array_like, optional
        How much each part counts, finite and at least 0, in the shape of the first
        axes of `targets`; the mean is divided by their sum.
    batch_first : bool
        Whether rows are the first axis, steps the second; for `lengths` alone.

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
    if lengths is not None:
        targets = _without_padding(targets, lengths, batch_first)
    values, index = check_logits(logits, targets)
    share = check_real("label_smoothing", label_smoothing, 0.0, 1.0)
    dlogits = np.empty_like(values)
    if share or weights is not None:
        losses = row_losses(values, index, dlogits, 1.0).reshape(index.shape)
        if share:
            _smooth(values, index, losses, dlogits, share)
        return _weighted(losses, dlogits, index, weights)
    number = counted_targets(index)
    one = values.dtype.type(1)
    scale = float(one / values.dtype.type(number)) if number else 0.0
    losses = row_losses(values, index, dlogits, scale)
    return mean_of_rows(losses, number), dlogits


def _without_padding(
    targets: ArrayLike, lengths: object, batch_first: bool
) -> NDArray[Any]:
    """Return targets that are ignored past each row's length."""
    given = as_any_array("targets", targets)
    if given.dtype.kind not in "iu":
        return given  # which is refused by its name next
    return np.where(step_mask(given, lengths, batch_first), given, IGNORED)


def _smooth(
    logits: Array, targets: Index, losses: Array, dlogits: Array, share: float
) -> None:
    """Add what label smoothing adds to the losses and gradients of rows."""
    number = logits.dtype.type
    classes, a = number(logits.shape[-1]), number(share)
    c = np.zeros(targets.shape, logits.dtype)
    for v in range(logits.shape[-1]):
        c = c + logits[..., v]
    counts = targets != IGNORED
    own = np.where(counts, targets, 0)[..., None]
    chosen = np.take_along_axis(logits, own, -1)[..., 0]
    losses += np.where(counts, (chosen - c / classes) * a, number(0))
    onehot = (np.arange(logits.shape[-1]) == own).astype(logits.dtype)
    more = (onehot - number(1) / classes) * a
    dlogits += np.where(counts[..., None], more, number(0))


def _weighted(
    losses: Array, dlogits: Array, targets: Index, weights: ArrayLike | None
) -> tuple[float, Array]:
    """Return the mean of the rows' losses by their weights, and its gradient."""
    counts = targets != IGNORED
    whole = np.ones_like(losses) if weights is None else weights
    given = spread(losses, whole)
    by = count(losses, None, np.where(counts, given, 0), batch_first=False)
    ones = np.ones_like(losses)
    loss, scales = mean(losses, ones, by)
    gradient = dlogits * scales[..., None]
    return loss, np.where(counts[..., None], gradient, losses.dtype.type(0))


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
def mean_squared_error(
    y: ArrayLike,
    target: ArrayLike,
    *,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Mean of the squared differences, and its gradient with respect to `y`.

    With ``d = y - target`` and ``N`` its number of elements the loss is the long sum
    of ``d*d`` in storage order divided by ``N``, the gradient ``d * (2/N)``.  With
    `lengths`, ``d`` is 0 past them and ``N`` counts the others.  With weights ``w``,
    whose long sum over all elements is ``W``, the loss is the long sum of
    ``(d*d) * w`` divided by ``W``, the gradient ``d * (w * (2/W))``.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.
    lengths : array_like of int, ``[B]``, optional
        Steps of each row of ``[T, B, ...]``; what is past it counts nothing and is not
        looked at.
    weights : array_like, optional
        How much each part counts, finite and at least 0, in the shape of the first
        axes of `y`; the mean is divided by their sum.
    batch_first : bool
        Whether rows are the first axis, steps the second; for `lengths` alone.

    Returns
    -------
    loss : float
        0.0 for empty arrays, and if nothing counts.
    dy : ndarray
        Gradient with respect to `y`, of its shape and dtype.

    Raises
    ------
    TypeError
        If the dtypes differ or are neither float32 nor float64.
    ValueError
        If the shapes differ, or lengths or weights do not fit.

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
    number = output.dtype.type
    zero = number(0)
    counted = count(difference, lengths, weights, batch_first=batch_first)
    if weights is not None:
        return mean(difference * difference, difference, counted, 2.0)
    if counted.total == 0:
        return 0.0, np.zeros_like(difference)
    if counted.mask is not None:
        difference = np.where(counted.mask, difference, zero)
    total: Any = number(_core.long_sum_squares(difference.reshape(-1), zero, isa()))
    scale = number(2) / counted.total
    return float(total / counted.total), np.asarray(difference * scale)
