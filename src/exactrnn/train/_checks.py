"""Argument checks of the training module: what was expected and what came.

The checks of the layers are in ``exactrnn/_checks``; these are the ones that only
training needs.  None of them changes or silently converts a floating-point type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import DTYPES, describe
from exactrnn._checks.limits import check_memory, shorten

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IndexArray: TypeAlias = NDArray[np.int64]


FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


class HasWeights(Protocol):
    """What a `backward` returns: gradients of weights by name, among others."""

    @property
    def weights(self) -> Mapping[str, FloatArray]:
        """Gradient of each weight."""


GradientsLike: TypeAlias = Mapping[str, FloatArray] | HasWeights


def as_given(name: str, value: object) -> NDArray[Any]:
    """Return `value` as an array, asked for once: it may view the caller's memory.

    It is an array object of its own, whose shape nobody else can change.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got MaskedArray")
    if isinstance(value, Sequence):  # a range may claim any number
        check_memory(name, "numbers", len(value) * FLOAT64.itemsize)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value).view()
        return np.asarray(value).view()
    except MemoryError:
        raise
    except Exception as error:
        reason = shorten(f"{type(error).__name__}: {error}")
        got = describe(value)
        raise TypeError(f"{name}: expected an array, got {got} ({reason})") from error


def check_float_array(
    name: str,
    value: object,
    dtype: np.dtype[Any] | None = None,
    shape: tuple[int, ...] | None = None,
) -> FloatArray:
    """Return `value` as an array of float32 or float64 that kernels can read.

    Of another `shape` than the one given it is refused before anything is copied.
    """
    array = as_given(name, value)
    check_float_type(name, array, dtype)
    if shape is not None:
        check_shape(name, array, shape)
    return make_plain(array)


def make_plain(array: FloatArray) -> FloatArray:
    """Return `array`, or a copy where it is not C-contiguous, aligned and native."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def check_float_type(
    name: str, array: NDArray[Any], dtype: np.dtype[Any] | None
) -> None:
    """Raise unless `array` is of `dtype`; None stands for float32 and float64."""
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"{name}: expected float32 or float64, got {shorten(array.dtype)}"
        )
    if dtype is not None and array.dtype.name != dtype.name:
        raise TypeError(f"{name}: expected {dtype.name}, got {shorten(array.dtype)}")


def take_parameter(
    name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> FloatArray:
    """Return `value` as a fresh array; it is compared before anything is copied."""
    array = as_given(name, value)
    check_float_type(name, array, dtype)
    check_shape(name, array, shape)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def weights_of(gradients: GradientsLike) -> dict[str, FloatArray]:
    """Return the gradients of weights by name, of a mapping or what has one."""
    given: object = gradients
    if not isinstance(given, Mapping):
        given = getattr(given, "weights", given)
    if not isinstance(given, Mapping):
        raise TypeError(
            "gradients: expected a mapping of names to arrays, or what backward "
            f"returned, got {describe(given)}"
        )
    return dict(given)


def as_gradient(name: str, value: object, argument: str = "") -> FloatArray:
    """Return an array as an object of its own over the same memory.

    `argument` is what it is an item of, for the message.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value).view()
        if array.dtype is FLOAT32 or array.dtype is FLOAT64:
            return array
        if array.dtype in (FLOAT32, FLOAT64):  # in native byte order alone
            return array
    label = f"{argument}[{name!r}]" if argument else name
    got = describe(value)
    raise TypeError(f"{label}: expected float32 or float64, got {got}")


def check_last_axis(name: str, array: FloatArray, letter: str, size: int) -> None:
    """Raise unless the last axis of `array` has `size` entries."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{name}: expected [..., {letter}={size}], got {shorten(array.shape)}"
        )


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise unless `array` has exactly `shape`."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {shorten(array.shape)}")


def check_index(
    name: str,
    value: object,
    lowest: int,
    size: int,
    shape: tuple[int, ...] | None = None,
) -> IndexArray:
    """Return integers in ``lowest .. size-1`` as a fresh C-contiguous int64 array.

    The copy is judged, not the caller's memory, which another thread may change.
    """
    given = as_given(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {shorten(given.dtype)}")
    if shape is not None:
        check_shape(name, given, shape)
    array = np.array(given, np.int64, order="C")
    # An unsigned value past int64 has turned negative: there it is read as it was.
    seen = array.view(np.uint64) if given.dtype.kind == "u" else array
    if array.size and (seen.min() < lowest or seen.max() >= size):
        raise ValueError(
            f"{name}: expected integers from {lowest} to {size - 1}, "
            f"got {seen.min()} to {seen.max()}"
        )
    return array


def check_real(
    name: str,
    value: Any,
    lowest: float,
    highest: float = math.inf,
    *,
    open_below: bool = False,
) -> float:
    """Return `value` as a finite float in the range, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    below = number <= lowest if open_below else number < lowest
    if not math.isfinite(number) or below or number > highest:
        bound = "above" if open_below else "at least"
        limit = "" if highest == math.inf else f" and at most {highest:g}"
        raise ValueError(
            f"{name}: expected a finite number {bound} {lowest:g}{limit}, got {number}"
        )
    return number
