"""Clipping gradients by one global norm.

R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural
networks", ICML 2013, arXiv 1211.5063, with the factor of ``torch.nn.utils``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._checks.numbers import check_real
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa
from exactrnn.layers._gradients import GradientsLike, as_gradient, weights_of

__all__ = ["clip_global_norm", "global_norm"]

EPSILON = 1e-6


def global_norm(gradients: GradientsLike) -> float:
    """Norm of all gradients taken together, as one vector.

    The sum of squares is one long sum (N3) continued from array to array in the order
    of the mapping: within an array ``k`` runs in storage order and chunks start anew.

    Parameters
    ----------
    gradients : mapping of str to ndarray, or what `backward` returned
        C-contiguous arrays of one dtype, float32 or float64.

    Returns
    -------
    float
        The norm, rounded to the gradients' dtype; infinite or NaN if a gradient is
        or if the squares overflow; 0.0 for an empty mapping.

    Raises
    ------
    TypeError
        If the arrays are not all of one dtype, float32 or float64.
    ValueError
        If an array is not C-contiguous.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> xr.train.global_norm({"a": np.array([3.0]), "b": np.array([[4.0]])})
    5.0
    """
    return _norm(_check_gradients(gradients))


@ieee_mode()
def _norm(arrays: list[Array]) -> float:
    if not arrays:
        return 0.0
    number = arrays[0].dtype.type
    total = number(0)
    for array in arrays:
        total = number(_core.long_sum_squares(array, total, isa()))
    return float(np.sqrt(total))


def clip_global_norm(gradients: GradientsLike, limit: float) -> float:
    """Scale all gradients in place so that their global norm is at most `limit`.

    The factor is ``limit / (norm + 1e-6)`` in the gradients' dtype, and 1 if that is
    not below 1.  **A norm that is infinite or NaN leaves the gradients untouched**:
    look at the returned value and leave the step out, as ``LanguageModel`` does.  All
    are scaled or none: nothing can come between.

    Parameters
    ----------
    gradients : mapping of str to ndarray, or what `backward` returned
        As for `global_norm`, and writable; scaled in place.
    limit : float
        Largest norm wanted, above 0.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError, ValueError
        As `global_norm`, and if `limit` is not a positive finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> gradients = {"a": np.array([3.0]), "b": np.array([4.0])}
    >>> xr.train.clip_global_norm(gradients, 1.0)
    5.0
    >>> round(float(gradients["b"][0]), 6)
    0.8
    """
    limit = check_real("limit", limit, 0.0, open_below=True)
    arrays = _check_gradients(gradients, writable=True)
    norm = _norm(arrays)
    if not math.isfinite(norm) or not arrays:
        return norm
    factor = clip_factor(norm, limit, arrays[0].dtype)
    if factor < 1.0:
        numbers = (factor, (0.0, 0.0), 0.0, 0.0, 1.0)
        updates = tuple((array, None, None, None) for array in arrays)
        _core.update("scale", updates, (numbers,) * len(updates), isa())
    return norm


@ieee_mode()
def clip_factor(norm: float, limit: float, dtype: np.dtype[Any]) -> float:
    """Return ``min(1, limit / (norm + 1e-6))`` computed in `dtype`."""
    number = dtype.type
    factor = float(number(limit) / (number(norm) + number(EPSILON)))
    return min(1.0, factor)


def _check_gradients(
    gradients: GradientsLike, *, writable: bool = False
) -> list[Array]:
    """Return each gradient as a flat view of its own memory."""
    given = {name: as_gradient(name, a) for name, a in weights_of(gradients).items()}
    arrays = list(given.values())
    for name, array in given.items():
        if array.dtype != arrays[0].dtype:
            raise TypeError(f"{name}: expected {arrays[0].dtype}, got {array.dtype}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: expected a C-contiguous array")
        if writable and not array.flags.writeable:
            raise ValueError(f"{name}: expected a writable array, got a read-only one")
    return [array.reshape(-1) for array in arrays]
