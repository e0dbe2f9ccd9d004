"""Checks of everything a caller hands in, and every error message of the layers.

A message names the argument, what was expected in letters and numbers, and what came:

    x: expected [T, B, I=128], got (100, 8, 64)

Shapes, ranges and overlaps raise `ValueError`, kinds and dtypes `TypeError`. Nothing is
cast between float32 and float64 and nothing is broadcast. `make_readable` hands on what
has passed as an array that the kernels can read: native byte order, aligned, last axis
contiguous, any other strides; only an array that is not so already is copied.

The file is long because all these messages stand in one place; those about the options
of single classes are in `_spec/option_checks.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks.limits import MAX_BITS, MAX_SIZE, check_memory, quote, shorten

Array: TypeAlias = NDArray[np.floating[Any]]
Lengths: TypeAlias = NDArray[np.int64]
FloatType: TypeAlias = np.dtype[np.floating[Any]]
DTypeLike: TypeAlias = (
    Literal["float32", "float64"] | type[np.float32 | np.float64 | float] | FloatType
)
"""What an argument `dtype` takes."""

DTYPES = ("float32", "float64")
MAX_CLOCK = 2**62
"""Largest number of steps that a clock may have counted: far from int64's end."""
MAX_ITEMS = 2**20
"""Items of an argument that is a sequence, such as the leak of each unit."""
PLAIN = frozenset({int, float, str, bool, type(None)})
"""Types whose objects never change."""
MOST_COPIED = 2**16
"""Numbers that are copied before it is clear that there are too many of them."""
BYTES = 8
"""Of a number in a list, as NumPy reads it."""
ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")
"""What NumPy reads without a copy, in this order."""
OVERLAP_EFFORT = 10_000
"""Work after which two arrays with tangled strides are taken to overlap."""


class SupportsArray(Protocol):
    """An object that gives itself as a NumPy array, as a torch tensor does."""

    def __array__(self) -> NDArray[Any]:
        """Return the values, without a copy where that is possible."""


class SupportsDLPack(Protocol):
    """An object of the array API standard, in memory that the CPU can read."""

    def __dlpack__(self) -> object:
        """Return a capsule over the values."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the kind and number of the device."""


ArrayLike: TypeAlias = NDArray[Any] | SupportsArray | SupportsDLPack | memoryview


# Numbers and options


def check_size(name: str, value: object) -> int:
    """Return `value` as an int of at least 1, of a size that an axis may have."""
    size = check_positive(name, value)
    if size > MAX_SIZE:
        raise ValueError(f"{name}: expected at most {MAX_SIZE}, got {size}")
    return size


def check_positive(name: str, value: object) -> int:
    """Return `value` as an int of at least 1."""
    number = check_integer(name, value)
    if number < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {number}")
    return number


def check_integer(name: str, value: object) -> int:
    """Return `value` as an int of 64 bits; a bool or a float is none."""
    number = _as_integer(name, value)
    if number.bit_length() > MAX_BITS:
        got = quote(number)
        raise ValueError(f"{name}: expected an integer of {MAX_BITS} bits, got {got}")
    return number


def _as_integer(name: str, value: object) -> int:
    """Return `value` as an int of any size."""
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{name}: expected an integer, got {describe(value)}")


def as_float(name: str, value: float | np.number[Any], expected: str) -> float:
    """Return a number as a float; one that is too large for it is an error."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected {expected}, got {quote(value)}") from None


def settle(name: str, value: object) -> object:
    """Return an argument of a constructor in a form that does not change any more.

    Checks read arguments more than once, and sizes that differ in between would be no
    layer. So what gives an integer is asked for it here, and sequences and arrays are
    copied; all else is left to the checks. More items than a layer may have units for
    are refused before they are listed: a range may claim any number.
    """
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return np.array(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > MAX_ITEMS:
            raise ValueError(f"{name}: expected at most {MAX_ITEMS} items, got more")
        items = [*value]
        if not PLAIN.issuperset(map(type, items)):
            items = [settle(f"{name}[{k}]", item) for k, item in enumerate(items)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, bool | np.bool_ | np.number) or not hasattr(
        value, "__index__"
    ):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value


def check_flag(name: str, value: object) -> bool:
    """Return `value` as a bool; nothing but a bool is one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def check_dropout(value: object, name: str = "dropout") -> float:
    """Return the share of values to drop, 0 <= value < 1."""
    expected = "a number in [0, 1)"
    real = int | float | np.integer | np.floating
    if isinstance(value, bool) or not isinstance(value, real):
        raise TypeError(f"{name}: expected {expected}, got {describe(value)}")
    share = as_float(name, value, expected)
    if not 0.0 <= share < 1.0:
        raise ValueError(f"{name}: expected {expected}, got {share}")
    return share


def check_dtype(value: object) -> FloatType:
    """Return `value` as float32 or float64 in native byte order."""
    expected = "dtype: expected float32 or float64, got"
    if value is None:
        raise TypeError(f"{expected} None")
    try:
        dtype = np.dtype(value)  # type: ignore[call-overload]
    except Exception:  # NumPy reads texts, lists, dicts: any error may come out of it
        raise TypeError(f"{expected} {quote(value)}") from None
    if dtype.name not in DTYPES:
        raise TypeError(f"{expected} {shorten(dtype.name)}")
    return cast(FloatType, np.dtype(dtype.name))


def check_seed(value: object) -> int | None:
    """Return the seed: None for one from the operating system, or an int >= 0."""
    if value is None:
        return None
    seed = _as_integer("seed", value)
    if seed < 0:
        got = quote(seed)
        raise ValueError(f"seed: expected None or an integer >= 0, got {got}")
    return seed


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return `value`, which must be one of `choices`."""
    listed = ", ".join(map(repr, choices))
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {listed}, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name}: expected one of {listed}, got {quote(value)}")
    return value


# Arrays


def describe(value: object) -> str:
    """Name what came in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array of {shorten(value.dtype)} with shape {shorten(value.shape)}"
    if isinstance(value, bool | int | float | str | None):
        return quote(value)
    return shorten(type(value).__name__)


def as_array(name: str, value: object, dtype: FloatType) -> Array:
    """Return `value` as an array of `dtype`, in any byte order and layout.

    Arrays, buffers, `__array__`, the array interface and CPU `__dlpack__` are taken,
    without a copy; lists and numbers are not: they have no dtype to check. Nobody else
    has the array object that is returned, so its shape, strides and dtype cannot change
    after a check.
    """
    array = value.view() if type(value) is np.ndarray else as_exported(name, value)
    if array.dtype is dtype:  # the usual case: NumPy has one object for each
        return array
    if array.dtype != dtype and array.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{name}: expected {dtype}, got {shorten(array.dtype)}")
    return array


def as_exported(name: str, value: object) -> NDArray[Any]:
    """Return an array of whatever dtype, or what exports one, as an array."""
    check_whole(name, value)
    try:
        if isinstance(value, np.ndarray) or any(
            hasattr(value, name) for name in ARRAY_PROTOCOLS
        ):
            return np.asarray(value).view()
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(memoryview(value))  # type: ignore[arg-type]
    except MemoryError:
        raise
    except Exception as error:
        raise TypeError(
            f"{name}: expected a NumPy array or a CPU array with the buffer protocol, "
            f"__dlpack__ or __array__, got {describe(value)} ({shorten(error)})"
        ) from error


def check_whole(name: str, value: object) -> None:
    """Raise for what looks like an array and is more than one, or a part."""
    if _has_mask(value):
        got = shorten(type(value).__name__)
        raise TypeError(f"{name}: expected an array without a mask, got {got}")
    if isinstance(value, tuple) and hasattr(value, "batch_sizes"):
        raise TypeError(
            f"{name}: expected a padded array, got {type(value).__name__}: give what "
            "torch.nn.utils.rnn.pad_packed_sequence makes of it, with lengths="
        )


def _has_mask(value: object) -> bool:
    """Tell whether there is a mask, at which NumPy does not look."""
    if isinstance(value, np.ndarray):
        return isinstance(value, np.ma.MaskedArray)
    try:
        interface = getattr(value, "__array_interface__", None)
    except Exception:  # the caller's own: NumPy meets it too, where it is reported
        return False
    return isinstance(interface, dict) and interface.get("mask") is not None


def as_any_array(name: str, value: object, expected: str = "an array") -> NDArray[Any]:
    """Return an array, or numbers in lists, as an array of whatever dtype.

    It is asked for once, is an array object of its own and may view the caller's
    memory.
    """
    check_whole(name, value)
    if isinstance(value, Sequence):  # a range may claim any number
        check_memory(name, "numbers", len(value) * BYTES)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(cast(Any, value)).view()
        return np.asarray(value).view()
    except MemoryError:
        raise
    except Exception as error:
        reason = shorten(f"{type(error).__name__}: {error}")
        got = describe(value)
        raise TypeError(f"{name}: expected {expected}, got {got} ({reason})") from error


def own_array(name: str, value: object, expected: str, most: int) -> NDArray[Any]:
    """Return numbers that may come as a list as a fresh array, dtype unchecked.

    There are `most` of them at most; what has far more is wrong whatever they are, and
    is not copied.
    """
    limit = max(most, MOST_COPIED)
    if isinstance(value, Sequence) and len(value) > limit:
        raise ValueError(f"{name}: expected {expected}, got more than {limit} items")
    given = as_any_array(name, value, expected)
    if given.size > limit:
        raise ValueError(f"{name}: expected {expected}, got {shorten(given.shape)}")
    return np.array(given)


def make_readable(array: Array) -> Array:
    """Return `array`, or a copy where the kernels cannot read it as it lies."""
    if _is_readable(array):
        return array
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _is_readable(array: Array) -> bool:
    flags = array.flags
    if not (flags.aligned and array.dtype.isnative):
        return False
    if flags.c_contiguous:
        return True
    size = array.itemsize  # alignment may be less: of float64 on 32-bit x86
    return array.strides[-1] == size and not any(step % size for step in array.strides)


def shape_error(name: str, expected: str, shape: tuple[int, ...]) -> ValueError:
    """Return the error of an array with the wrong shape."""
    return ValueError(f"{name}: expected [{expected}], got {shorten(tuple(shape))}")


def check_shape(name: str, array: NDArray[Any], **sizes: int) -> None:
    """Raise unless the shape is `sizes`, given as letter=size in the order of axes."""
    if array.shape != tuple(sizes.values()):
        raise shape_error(name, spell(sizes), array.shape)


def spell(sizes: Mapping[str, int]) -> str:
    """Write sizes as in messages; `D_H` stands for the product `D*H`."""
    return ", ".join(f"{k.replace('_', '*')}={size}" for k, size in sizes.items())


def check_sequence(
    x: object, input_size: int, dtype: FloatType, batch_first: bool
) -> Array:
    """Return a layer's input [T, B, I] (or [B, T, I]) or [T, I], not yet readable."""
    array = as_array("x", x, dtype)
    if array.ndim not in (2, 3) or array.shape[-1] != input_size:
        axes = "B, T" if batch_first else "T, B"
        either = f"{axes}, I={input_size}] or [T, I={input_size}"
        expected = f"{axes}, I={input_size}" if array.ndim == 3 else either
        raise shape_error("x", expected, array.shape)
    return array


def check_step(x: object, input_size: int, dtype: FloatType) -> Array:
    """Return a cell's input [B, I] or [I], not yet readable."""
    array = as_array("x", x, dtype)
    if array.ndim not in (1, 2) or array.shape[-1] != input_size:
        expected = f"B, I={input_size}] or [I={input_size}"
        raise shape_error("x", expected, array.shape)
    return array


def check_state(
    name: str,
    state: object,
    parts: Sequence[tuple[str, str, int]],
    dtype: FloatType,
    lead: Mapping[str, int],
    *,
    fill: bool = False,
) -> tuple[Array, ...]:
    """Return the arrays of a state: one array, or as many as the cell has states.

    `parts` are name, letter of the width and width of each, `lead` the sizes of the
    axes before the last. With `fill` one of several may be None, for zeros.
    """
    if len(parts) == 1:
        return (_check_part(name, state, parts[0], dtype, lead),)
    given = check_parts(name, state, [part[0] for part in parts])
    return tuple(
        np.zeros((*lead.values(), part[2]), dtype)
        if fill and array is None
        else _check_part(f"{name}[{index}]", array, part, dtype, lead)
        for index, (array, part) in enumerate(zip(given, parts, strict=True))
    )


def check_parts(name: str, state: object, names: Sequence[str]) -> tuple[object, ...]:
    """Return `state`, which must be a tuple of as many parts as there are names."""
    given = tuple(state) if isinstance(state, tuple | list) else None
    if given is None or len(given) != len(names):
        came = describe(state)
        if given is not None:
            came = f"a {type(state).__name__} of {len(given)}"
        wanted = ", ".join(names)
        raise TypeError(f"{name}: expected the tuple ({wanted}), got {came}")
    return given


def _check_part(
    name: str,
    value: object,
    part: tuple[str, str, int],
    dtype: FloatType,
    lead: Mapping[str, int],
) -> Array:
    array = as_array(name, value, dtype)
    if array.shape != (*lead.values(), part[2]):
        raise shape_error(name, spell({**lead, part[1]: part[2]}), array.shape)
    if array.flags.c_contiguous and _is_readable(array):
        return array
    return np.array(array, dtype, order="C")


def check_weight(
    name: str,
    value: object,
    letters: Sequence[str],
    shape: tuple[int, ...],
    dtype: FloatType,
) -> Array:
    """Return a weight as a fresh array; `letters` name its axes in the message."""
    array = as_array(name, value, dtype)
    if array.shape != shape:
        sizes = zip(letters, shape, strict=True)
        expected = ", ".join(f"{letter}={size}" for letter, size in sizes)
        raise shape_error(name, expected, array.shape)
    return np.array(array, dtype, order="C")


def check_clock(name: str, clock: object, rows: int, batched: bool) -> Lengths:
    """Return a clock [B] (one integer if unbatched) as a fresh int64 array."""
    given = own_array(name, clock, f"integers [B={rows}]", rows)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {describe(clock)}")
    if given.shape != ((rows,) if batched else ()):
        expected = f"[B={rows}]" if batched else "one integer"
        got = shorten(given.shape)
        raise ValueError(f"{name}: expected {expected}, got {got}")
    checked = given.astype(np.int64).reshape(rows)
    outside = np.flatnonzero((checked < 0) | (checked > MAX_CLOCK))
    if outside.size:
        b = outside[0]
        got = given.reshape(rows)[b]
        raise ValueError(f"{name}[{b}]: expected 0..{MAX_CLOCK}, got {got}")
    return checked


def check_lengths(
    lengths: object,
    steps: int,
    rows: int,
    batched: bool,
    *,
    name: str = "lengths",
    letter: str = "T",
) -> Lengths:
    """Return lengths [B] (one integer if unbatched) as a fresh int64 array."""
    given = own_array(name, lengths, f"integers [B={rows}]", rows)
    if given.dtype.kind not in "iu" and given.shape != (0,):
        raise TypeError(f"{name}: expected integers, got {shorten(given.dtype)}")
    if not batched and given.ndim == 0:
        given = given.reshape(1)
    if given.shape != (rows,):
        expected = f"B={rows}" if batched else "] (one integer) or [1"
        raise shape_error(name, expected, given.shape)
    checked = given.astype(np.int64)
    # An unsigned value past int64 turns negative in it, and so is outside as well.
    outside = np.flatnonzero((checked < 0) | (checked > steps))
    if outside.size:
        b = outside[0]
        expected = f"0..{letter}={steps}"
        raise ValueError(f"{name}[{b}]: expected {expected}, got {given[b]}")
    return checked


def check_booleans(
    name: str, value: object, sizes: Mapping[str, int]
) -> NDArray[np.bool_]:
    """Return booleans of this shape, of nothing but bool, as a fresh array."""
    expected = f"bool [{spell(sizes)}]"
    given = own_array(name, value, expected, math.prod(sizes.values()))
    if given.dtype != np.bool_ and given.shape != (0,):
        got = shorten(given.dtype)
        raise TypeError(f"{name}: expected {expected}, got {got}")
    check_shape(name, given, **sizes)
    return given.astype(np.bool_, order="C")


# Arrays to write into


def check_out(
    out: object,
    dtype: FloatType,
    sizes: Mapping[str, int],
    inputs: Iterable[Array],
    name: str = "out",
) -> Array:
    """Return `out` as a writable array of exactly this shape, apart from `inputs`."""
    array, expected = as_array(name, out, dtype), f"{name}: expected"
    if not array.dtype.isnative:
        raise TypeError(
            f"{expected} {dtype} in native byte order, got {shorten(array.dtype)}"
        )
    check_shape(name, array, **sizes)
    if not array.flags.writeable:
        raise ValueError(f"{expected} a writable array, got a read-only one")
    if _overlaps_itself(array):
        raise ValueError(f"{expected} separate elements, got an array whose overlap")
    for other in inputs:
        if _overlap(array, other):
            raise ValueError(f"{expected} memory of its own, got memory of an input")
    return array


def as_given(out: object, array: Array) -> Array:
    """Return the caller's own `out`, or `array` if that was no array object."""
    return out if isinstance(out, np.ndarray) else array


def _overlap(first: Array, second: Array) -> bool:
    if not np.may_share_memory(first, second):
        return False
    try:
        effort = cast(Any, OVERLAP_EFFORT)  # NumPy's stubs know 0 and -1 alone
        return np.shares_memory(first, second, max_work=effort)
    except np.exceptions.TooHardError:
        return True


def _overlaps_itself(array: Array) -> bool:
    """Tell whether strides are so that elements may overlap (a sufficient test)."""
    if array.size == 0 or array.flags.c_contiguous:
        return False
    extent = array.itemsize
    axes = [(abs(step), n) for step, n in zip(array.strides, array.shape, strict=True)]
    for step, n in sorted(axis for axis in axes if axis[1] > 1):
        if step < extent:
            return True
        extent = step * (n - 1) + extent
    return False


def allocate(shape: tuple[int, ...], dtype: FloatType) -> Array:
    """Return an array to be filled; a size past all memory is a `MemoryError`."""
    try:
        return np.empty(shape, dtype)
    except ValueError:
        text = f"an array of {dtype} with shape {shorten(shape)} is too large"
        raise MemoryError(text) from None


# State of the caller's objects


def check_owner(cache: object, owner: object, maker: str = "forward") -> None:
    """Raise unless `cache` was made by the `forward`, or `maker`, of `owner`."""
    made_by = getattr(cache, "_owner", None)
    if made_by is None:
        raise TypeError(f"cache: expected one made by {maker}, got {describe(cache)}")
    if made_by is not owner:
        raise ValueError("cache: expected one made by this layer, got another layer's")


def check_version(then: int, now: int) -> None:
    """Raise if the weights have changed since the forward that made a cache."""
    if then != now:
        raise ValueError(
            "cache: expected the weights that forward used, but they have changed "
            "since; call forward again"
        )


def check_gradient_given(dy: object, dstate: object) -> None:
    """Raise unless at least one of the gradients of a backward is given."""
    if dy is None and not has_parts(dstate):
        raise ValueError("dy: expected an array because dstate is not given, got None")


def has_parts(state: object) -> bool:
    """Tell whether there is a state, or one part of it at least that is not None."""
    if isinstance(state, tuple | list):
        return any(part is not None for part in state)
    return state is not None


def check_one_way(name: str, layer: Any) -> None:
    """Raise if state cannot be carried on because a layer reads rows from their ends.

    `name` is who asks: `stream`, or the argument that the layer is.
    """
    for option in ("bidirectional", "reverse"):
        if getattr(layer, option, False):
            raise ValueError(
                f"{name}: expected a layer with {option}=False; the reverse direction "
                "starts at the end of the sequence"
            )
