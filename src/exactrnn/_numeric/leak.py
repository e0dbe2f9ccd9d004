"""The leak of leaky units, fixed or learned.

The kernels read one leak α per unit, in the layer's dtype. A learned one is α = σ(ℓ) of
the weight ℓ, so that no step of an optimiser takes it out of (0, 1):

    ℓ [1] or [H]        α = σ(ℓ) [H]        dℓ = dα * (α * (1 - α))

With one leak for all units dα is the long sum of the gradients of all units. σ and log
are the library's own, with the same bits on every instruction set.
"""

from __future__ import annotations

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array, FloatType


def _apply(function: str, values: Array) -> Array:
    result = np.empty_like(values)
    _core.elementary(function, values, result, _core.isas()[0])
    return result


def leak_row(
    leak: float | tuple[float, ...], logit: Array | None, size: int, dtype: FloatType
) -> Array:
    """Return α [1, H]: of the weight if there is one, else the fixed leak.

    The latter has been rounded to the dtype before.
    """
    values = np.asarray(leak, dtype) if logit is None else _apply("sigmoid", logit)
    row = np.empty((1, size), dtype)
    row[...] = values
    return row


def logit_gradient(logit: Array, dalpha: Array) -> Array:
    """Return dℓ, in the shape of ℓ, from dα [1, H]."""
    return _core.leak_gradient(logit, dalpha, _core.isas()[0])


def first_logit(leak: float | tuple[float, ...], dtype: FloatType) -> Array:
    """Return ℓ = log(α / (1 - α)), [1] or [H]."""
    alpha = np.atleast_1d(np.asarray(leak, dtype))
    return _apply("log", alpha / (1 - alpha))
