"""Weights of another floating-point type, rounded where a caller asks for it.

To the nearest number, ties to even, whatever mode the caller's thread is in; float32
and float16 become float64 as they are. Nothing finite becomes infinite.
"""

from __future__ import annotations

import numpy as np

from exactrnn._checks import Array, FloatType, as_exported, check_dtype
from exactrnn._checks.limits import shorten
from exactrnn._system.mode import ieee_mode

TAKEN = ("float16", "float32", "float64")


def check_target(dtype: object, own: FloatType) -> None:
    """Raise unless `dtype`, to which weights are to be rounded, is the layer's own."""
    wanted = check_dtype(dtype)
    if wanted != own:
        raise TypeError(f"dtype: expected {own}, that of the layer, got {wanted}")


def round_weight(
    name: str, value: object, dtype: FloatType, shape: tuple[int, ...]
) -> Array:
    """Return a weight rounded to `dtype`.

    One of another shape than `shape` is not read: zeros of its shape, which take no
    memory, go where shapes are compared.
    """
    given = as_exported(name, value)
    if given.dtype.name not in TAKEN:
        expected = ", ".join(TAKEN[:-1])
        raise TypeError(
            f"{name}: expected {expected} or {TAKEN[-1]}, got {shorten(given.dtype)}"
        )
    if given.shape != shape:
        return np.broadcast_to(dtype.type(0), given.shape)
    own = np.array(given, given.dtype.newbyteorder("="), order="C")
    with ieee_mode(), np.errstate(all="ignore"):
        rounded = own.astype(dtype)
    lost = np.isinf(rounded) & np.isfinite(own)
    if lost.any():
        got = own[lost][0]
        raise ValueError(f"{name}: expected numbers that {dtype} holds, got {got}")
    return rounded
