"""Checks of arrays of any shape, as dense layers, losses and optimisers take them.

Lists of numbers are arrays here. None of these checks changes or silently converts a
floating-point type. An array's type and shape are compared before anything is copied,
so that a claim of a size costs nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import DTYPES, Array, as_any_array
from exactrnn._checks.limits import shorten

Index: TypeAlias = NDArray[np.int64]
"""Integers as the kernels read them: symbols, classes."""


def check_floats(
    name: str,
    value: object,
    dtype: np.dtype[Any] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Array:
    """Return `value` as a plain array of `dtype`, None for float32 or float64."""
    array = as_any_array(name, value)
    taken = DTYPES if dtype is None else (dtype.name,)
    if array.dtype is not dtype and array.dtype.name not in taken:  # is: the usual one
        expected = " or ".join(taken)
        raise TypeError(f"{name}: expected {expected}, got {shorten(array.dtype)}")
    if shape is not None:
        check_exact_shape(name, array, shape)
    return make_plain(array)


def make_plain(array: Array) -> Array:
    """Return `array`, or a copy where it is not C-contiguous, aligned and native."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def check_exact_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise unless `array` has exactly `shape`, whose axes have no letters."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {shorten(array.shape)}")


def check_last_axis(name: str, array: Array, letter: str, size: int) -> None:
    """Raise unless the last axis of `array` has `size` entries."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{name}: expected [..., {letter}={size}], got {shorten(array.shape)}"
        )


def check_index(
    name: str,
    value: object,
    lowest: int,
    size: int,
    shape: tuple[int, ...] | None = None,
) -> Index:
    """Return integers in ``lowest .. size-1`` as a fresh C-contiguous int64 array.

    The copy is judged, not the caller's memory, which another thread may change.
    """
    given = as_any_array(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {shorten(given.dtype)}")
    if shape is not None:
        check_exact_shape(name, given, shape)
    array = np.array(given, np.int64, order="C")
    # An unsigned value past int64 has turned negative: there it is read as it was.
    seen = array.view(np.uint64) if given.dtype.kind == "u" else array
    if array.size and (seen.min() < lowest or seen.max() >= size):
        raise ValueError(
            f"{name}: expected integers from {lowest} to {size - 1}, "
            f"got {seen.min()} to {seen.max()}"
        )
    return array
