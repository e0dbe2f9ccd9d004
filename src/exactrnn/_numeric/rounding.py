"""Weights of another floating-point type, rounded where a caller asks for it.

To the nearest number, ties to even, whatever mode the caller's thread is in; what is
narrower becomes wider as it is. Nothing finite becomes infinite.

NumPy has no bfloat16 of its own: it comes as torch's tensors, which NumPy cannot read,
as arrays of the package ml_dtypes, which JAX has, or as bits out of a file. Its numbers
are the upper halves of those of float32, and that is how they are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, FloatType, as_exported, check_dtype
from exactrnn._checks.limits import shorten
from exactrnn._system.mode import ieee_mode

TAKEN = ("float16", "bfloat16", "float32", "float64")
BFLOAT16 = "bfloat16"


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
    given = as_floats(name, value)
    if given.shape != shape:
        return np.broadcast_to(dtype.type(0), given.shape)
    return round_array(name, given, dtype)


def round_array(name: str, given: NDArray[Any], dtype: FloatType) -> Array:
    """Return the numbers of a floating-point array rounded to `dtype`, in fresh memory.

    `name` is what the message says whose number was too large.
    """
    own = np.array(given, given.dtype.newbyteorder("="), order="C")
    with ieee_mode(), np.errstate(all="ignore"):
        rounded = own.astype(dtype)
    lost = np.isinf(rounded) & np.isfinite(own)
    if lost.any():
        got = own[lost][0]
        raise ValueError(f"{name}: expected numbers that {dtype} holds, got {got}")
    return rounded


def as_floats(name: str, value: object) -> NDArray[Any]:
    """Return a weight of any type taken as an array; bfloat16 becomes float32."""
    dtype = type_name(value)
    if dtype == BFLOAT16 and not isinstance(value, np.ndarray):
        value = _widen_foreign(value)
    given = as_exported(name, value)
    if given.dtype.name == BFLOAT16:
        given = widen_bfloat16(given.view(np.uint16))
    if given.dtype.name not in TAKEN:
        expected = ", ".join(TAKEN[:-1])
        raise TypeError(
            f"{name}: expected {expected} or {TAKEN[-1]}, got {shorten(given.dtype)}"
        )
    return given


def type_name(value: object) -> str:
    """Return what NumPy, torch or JAX calls an array's dtype; "" if it has none."""
    dtype = getattr(value, "dtype", "")
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers whose bits in bfloat16 are given, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _widen_foreign(value: Any) -> object:
    """Return a tensor of bfloat16 in a type that NumPy reads, if it is torch's."""
    widen = getattr(value, "float", None)
    return value if widen is None else widen()
