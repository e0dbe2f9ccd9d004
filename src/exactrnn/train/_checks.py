"""Argument checks of the training module: what was expected and what came.

The checks of the layers are in ``exactrnn/_checks.py``; these are the ones that only
training needs.  None of them changes or silently converts a floating-point type.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import DTYPES
from exactrnn._limits import shorten

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IndexArray: TypeAlias = NDArray[np.int64]


def check_float_array(
    name: str,
    value: Any,
    dtype: np.dtype[Any] | None = None,
    shape: tuple[int, ...] | None = None,
) -> FloatArray:
    """Return `value` as a C-contiguous array of float32 or float64.

    Of another `shape` than the one given it is refused before anything is copied.
    """
    array = np.asarray(value)
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"{name}: expected float32 or float64, got {shorten(array.dtype)}"
        )
    if dtype is not None and array.dtype.name != dtype.name:
        raise TypeError(f"{name}: expected {dtype.name}, got {shorten(array.dtype)}")
    if shape is not None:
        check_shape(name, array, shape)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def check_last_axis(name: str, array: FloatArray, letter: str, size: int) -> None:
    """Raise unless the last axis of `array` has `size` entries."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"{name}: expected [..., {letter}={size}], got {array.shape}")


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise unless `array` has exactly `shape`."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {shorten(array.shape)}")


def check_index(name: str, value: ArrayLike, lowest: int, size: int) -> IndexArray:
    """Return integers in ``lowest .. size-1`` as a C-contiguous int64 array."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {shorten(array.dtype)}")
    if array.size and (array.min() < lowest or array.max() >= size):
        raise ValueError(
            f"{name}: expected integers from {lowest} to {size - 1}, "
            f"got {array.min()} to {array.max()}"
        )
    return np.ascontiguousarray(array, np.int64)


def check_real(
    name: str,
    value: Any,
    lowest: float,
    highest: float = math.inf,
    *,
    open_below: bool = False,
) -> float:
    """Return `value` as a finite float in the range, or raise."""
    number = float(value)
    below = number <= lowest if open_below else number < lowest
    if not math.isfinite(number) or below or number > highest:
        bound = "above" if open_below else "at least"
        limit = "" if highest == math.inf else f" and at most {highest:g}"
        raise ValueError(
            f"{name}: expected a finite number {bound} {lowest:g}{limit}, got {number}"
        )
    return number
