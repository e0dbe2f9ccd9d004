"""What of an output a loss counts, and the mean over it (contract N9).

Steps past a row's length count nothing: what they hold reaches no result, and their
gradient is zero. Weights say how much the rest counts. With ``e`` the loss of each
element, ``s`` its slope, ``w`` the weights and ``W`` their long sum:

    loss      long sum of e * w, divided by W
    gradient  s * (w * (factor / W))        `factor` is what a slope leaves out

and without weights, with N the number of elements that count:

    loss      long sum of e, divided by N
    gradient  s * (factor / N)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn import _core
from exactrnn._checks import Array, as_any_array, check_lengths
from exactrnn._checks.arrays import check_floats
from exactrnn._checks.limits import shorten
from exactrnn.engine import isa


class Counted(NamedTuple):
    """Which elements count, in the shape of the output, and how much.

    Attributes
    ----------
    mask : ndarray of bool or None
        None: all do.
    weights : ndarray or None
        0 where the mask is False. None: each that counts, alike.
    total : number of the dtype
        N, or W.
    """

    mask: NDArray[np.bool_] | None
    weights: Array | None
    total: Any


def count(
    like: Array, lengths: object, weights: ArrayLike | None, *, batch_first: bool
) -> Counted:
    """Return which elements of ``[T, B, ...]`` count, or raise."""
    mask = None if lengths is None else step_mask(like, lengths, batch_first)
    number = like.dtype.type
    if weights is None:
        size = like.size if mask is None else int(np.count_nonzero(mask))
        return Counted(mask, None, number(size))
    wide = spread(like, weights)
    own: Array = np.ascontiguousarray(wide if mask is None else np.where(mask, wide, 0))
    if not np.all((own >= 0) & (own < np.inf)):
        raise ValueError("weights: expected finite numbers of at least 0")
    return Counted(mask, own, number(_core.long_sum(own.reshape(-1), isa())))


def spread(like: Array, weights: ArrayLike) -> Array:
    """Return weights of the first axes of `like` in its shape, or raise."""
    given = as_any_array("weights", weights)
    if given.shape != like.shape[: given.ndim]:
        expected = ", ".join(map(str, like.shape))
        raise ValueError(
            f"weights: expected the first axes of ({expected}), got "
            f"{shorten(given.shape)}"
        )
    given = check_floats("weights", given, like.dtype)
    missing = (1,) * (like.ndim - given.ndim)
    return np.broadcast_to(given.reshape(given.shape + missing), like.shape)


def step_mask(like: Array, lengths: object, batch_first: bool) -> NDArray[np.bool_]:
    """Return True where a step is before its row's end, in the shape of `like`."""
    if like.ndim < 2:
        raise ValueError(f"lengths: expected them with [T, B, ...], got {like.shape}")
    steps, rows = like.shape[:2][:: -1 if batch_first else 1]
    counts = check_lengths(lengths, steps, rows, batched=True)
    before = np.arange(steps)[:, None] < counts
    own = before.T if batch_first else before
    return np.broadcast_to(own.reshape(own.shape + (1,) * (like.ndim - 2)), like.shape)


def mean(
    losses: Array, slopes: Array, counted: Counted, factor: float = 1.0
) -> tuple[float, Array]:
    """Return the mean of the losses that count, and its gradient."""
    number = losses.dtype.type
    if counted.total == 0:
        return 0.0, np.zeros_like(slopes)
    scale: Any = number(factor) / counted.total
    if counted.weights is not None:
        losses, scale = losses * counted.weights, counted.weights * scale
    gradient: Array = np.asarray(slopes * scale)
    if counted.mask is not None:
        zero = number(0)
        losses = np.where(counted.mask, losses, zero)
        gradient = np.where(counted.mask, gradient, zero)
    flat = np.ascontiguousarray(losses).reshape(-1)
    return float(number(_core.long_sum(flat, isa())) / counted.total), gradient
