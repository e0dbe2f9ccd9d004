"""Checks of what callers hand to grid layers, with their error messages.

As `_checks`, whose pieces are used: a message names the argument, what was expected
and what came; shapes and ranges raise `ValueError`, kinds and dtypes `TypeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np

from exactrnn import _checks, _core
from exactrnn._checks import Array, FloatType, Lengths
from exactrnn._checks.limits import quote, shorten
from exactrnn._spec import option_checks
from exactrnn._spec.activations import Activation
from exactrnn._spec.grid import OUTPUTS, GridConfig, Pair
from exactrnn._spec.rules import Init

Sizes: TypeAlias = tuple[int | None, ...]


def check_dims(value: object) -> int:
    """Return the number of dimensions."""
    dims = _checks.check_size("dims", value)
    if dims > _core.grid_dims():
        raise ValueError(f"dims: expected 1..{_core.grid_dims()}, got {dims}")
    return dims


def check_items(name: str, value: object, count: int) -> Sequence[object]:
    """Return `value`, which must be a sequence of `count` things."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        got = _checks.describe(value)
        raise TypeError(f"{name}: expected a sequence of {count}, got {got}")
    given = tuple(value)
    if len(given) != count:
        raise ValueError(
            f"{name}: expected one entry for each of the {count} dimensions, "
            f"got {len(given)}"
        )
    return given


def check_kinds(value: object, dims: int, dtype: FloatType) -> tuple[Activation, ...]:
    """Return the kind of each dimension; a single one is for all."""
    is_one = isinstance(value, tuple | list) and option_checks.is_one_activation(value)
    given = (
        [value] * dims
        if isinstance(value, str) or is_one
        else check_items("kinds", value, dims)
    )
    return tuple(check_kind(f"kinds[{k}]", kind, dtype) for k, kind in enumerate(given))


def check_kind(name: str, value: object, dtype: FloatType) -> Activation:
    """Return what a dimension is: "lstm", or its activation without memory."""
    return option_checks.check_activation(name, value, dtype, ("lstm",))


def check_dimension(name: str, value: object, dims: int) -> int:
    """Return `value`, the number of a dimension; negative ones count from the last."""
    k = _checks.check_integer(name, value)
    if not -dims <= k < dims:
        raise ValueError(f"{name}: expected a dimension 0..{dims - 1}, got {k}")
    return k % dims


def check_dimensions(name: str, value: object, dims: int) -> tuple[int, ...]:
    """Return numbers of dimensions, each at most once."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        got = _checks.describe(value)
        raise TypeError(f"{name}: expected a sequence of dimensions, got {got}")
    given = tuple(value)
    found = [check_dimension(f"{name}[{i}]", k, dims) for i, k in enumerate(given)]
    if len(set(found)) < len(found):
        raise ValueError(
            f"{name}: expected each dimension once at most, got {quote(given)}"
        )
    return tuple(found)


def check_output(value: object) -> str:
    """Return the form of the output."""
    return _checks.check_choice("output", value, OUTPUTS)


def check_sizes(value: object, dims: int) -> Sizes:
    """Return the number of points along each dimension, None for any."""
    if value is None:
        return (None,) * dims
    return tuple(
        None if size is None else check_length(f"sizes[{k}]", size)
        for k, size in enumerate(check_items("sizes", value, dims))
    )


def check_length(name: str, value: object) -> int:
    """Return a number of points, which may be 0."""
    size = _checks.check_integer(name, value)
    if size < 0:
        raise ValueError(f"{name}: expected an integer >= 0 or None, got {size}")
    return _checks.check_size(name, size) if size else size


def check_shared(value: object, sizes: Sizes) -> tuple[bool, ...]:
    """Return along which dimensions all positions have the same weights."""
    dims = len(sizes)
    given = (
        [value] * dims
        if isinstance(value, bool | np.bool_)
        else check_items("shared", value, dims)
    )
    shared = tuple(
        _checks.check_flag(f"shared[{k}]", flag) for k, flag in enumerate(given)
    )
    for k in range(dims):
        if not shared[k] and not sizes[k]:
            raise ValueError(
                f"sizes[{k}]: expected an integer >= 1, because shared[{k}] is False "
                f"and each position along dimension {k} has weights of its own, "
                f"got {sizes[k]}"
            )
    return shared


def check_tied(value: object, kinds: tuple[Activation, ...]) -> bool:
    """Return whether all dimensions of a block have the same weights."""
    tied = _checks.check_flag("tied", value)
    memory = [kind == "lstm" for kind in kinds]
    if tied and any(memory) and not all(memory):
        raise ValueError(
            "tied: expected False, because dimensions of unequal size (4H rows with "
            f"memory, H without) cannot share weights, got True with kinds={kinds}"
        )
    return tied


def check_init(value: object, kinds: tuple[Activation, ...], bias: bool) -> Init:
    """Return how first weights are drawn: a rule of gated cells, none of a paper."""
    rules = option_checks.init_rules(paper=False, chrono="lstm" in kinds)
    return option_checks.check_init(value, rules, bias)


def check_forget_bias(
    value: object, kinds: tuple[Activation, ...], init: Init, bias: bool
) -> float | None:
    """Return the first bias of the forget gates, None for one like the others."""
    return option_checks.check_forget_bias(
        value, bias=bias, has_forget="lstm" in kinds, chrono=isinstance(init, tuple)
    )


def check_input_sizes(value: object, sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return the width of the input at each of the sides; without any, one in spite."""
    count = len(sides) or 1
    widths: Sequence[object] = [value] * count
    if isinstance(value, Sequence) and not isinstance(value, str):
        widths = tuple(value)
        if len(widths) != count:
            raise ValueError(
                f"input_size: expected one integer or one for each of sides={sides}, "
                f"got {len(widths)}"
            )
    return tuple(_checks.check_size("input_size", width) for width in widths)


def spell_border(config: GridConfig, sizes: Sizes, k: int, last: str) -> str:
    """Write the shape of a border of dimension k, unknown sizes as letters."""
    parts = [
        f"n_{j}" if sizes[j] is None else f"n_{j}={sizes[j]}"
        for j in range(config.dims)
        if j != k
    ]
    return ", ".join([*parts, "B", last])


def take_inputs(config: GridConfig, x: object) -> tuple[Array, ...]:
    """Return the inputs by side, of the right widths and numbers of axes."""
    count = len(config.sides)
    if count == 0:
        if x is not None:
            raise ValueError("x: expected None, because the grid has sides=(), got one")
        return ()
    given: Sequence[object] = [x]
    if count > 1:
        given = tuple(x) if isinstance(x, tuple | list) else ()
        if len(given) != count:
            got = _checks.describe(x)
            got = f"{len(given)} of them" if isinstance(x, tuple | list) else got
            raise TypeError(
                f"x: expected a tuple of {count} arrays, for sides={config.sides}, "
                f"got {got}"
            )
    arrays = []
    for index, k in enumerate(config.sides):
        name = "x" if count == 1 else f"x[{index}]"
        array = _checks.as_array(name, given[index], config.dtype)
        width = config.input_sizes[k]
        if array.ndim != config.dims + 1 or array.shape[-1] != width:
            wanted = spell_border(config, config.sizes, k, f"I={width}")
            raise _checks.shape_error(name, wanted, array.shape)
        arrays.append(array)
    return tuple(arrays)


def take_borders(name: str, config: GridConfig, borders: object) -> tuple[Pair, ...]:
    """Return (h, m) by dimension, contiguous, None for zeros; shapes unchecked."""
    if borders is None:
        return ((None, None),) * config.dims
    if isinstance(borders, np.ndarray) or not isinstance(borders, Sequence):
        got = _checks.describe(borders)
        raise TypeError(f"{name}: expected a sequence of {config.dims}, got {got}")
    entries = check_items(name, borders, config.dims)
    return tuple(
        _take_border(f"{name}[{k}]", config, k, entry)
        for k, entry in enumerate(entries)
    )


def _take_border(name: str, config: GridConfig, k: int, entry: object) -> Pair:
    if entry is None:
        return None, None
    if config.kinds[k] != "lstm":
        return _take_part(name, config, k, entry), None
    parts = tuple(entry) if isinstance(entry, tuple | list) else ()
    if len(parts) != 2:
        got = _checks.describe(entry)
        got = f"{len(parts)} arrays" if isinstance(entry, tuple | list) else got
        raise TypeError(f"{name}: expected the tuple (h, m) or None, got {got}")
    h, m = parts
    return _take_part(f"{name}[0]", config, k, h), _take_part(
        f"{name}[1]", config, k, m
    )


def _take_part(name: str, config: GridConfig, k: int, part: object) -> Array | None:
    if part is None:
        return None
    array = _checks.as_array(name, part, config.dtype)
    if array.ndim != config.dims + 1 or array.shape[-1] != config.hidden_size:
        wanted = spell_border(config, config.sizes, k, f"H={config.hidden_size}")
        raise _checks.shape_error(name, wanted, array.shape)
    return np.ascontiguousarray(array, config.dtype)


def border_arrays(
    name: str, config: GridConfig, borders: Sequence[Pair]
) -> list[tuple[str, int, Array]]:
    """Return what is given of borders: name, dimension and array."""
    found = []
    for k, pair in enumerate(borders):
        for index, part in enumerate(pair):
            if part is not None:
                place = f"[{k}][{index}]" if config.kinds[k] == "lstm" else f"[{k}]"
                found.append((name + place, k, part))
    return found


def find_sizes(
    config: GridConfig, sizes: Sizes, arrays: Sequence[tuple[str, int, Array]]
) -> tuple[tuple[int, ...], int]:
    """Return all sizes and B from what is known and from arrays [the others, B, ...].

    Parameters
    ----------
    config : GridConfig
        The grid.
    sizes : tuple of int or None
        Sizes that the caller has given for this call.
    arrays : sequence of (str, int, ndarray)
        Names, dimensions and arrays at their borders.
    """
    found = list(sizes)
    for k, own in enumerate(config.sizes):
        if own is not None:
            if found[k] is not None and found[k] != own:
                raise ValueError(
                    f"sizes[{k}]: expected {own}, as the grid was made, got {found[k]}"
                )
            found[k] = own
    batch: int | None = None
    for name, k, array in arrays:
        others = [j for j in range(config.dims) if j != k]
        for axis, j in enumerate(others):
            if found[j] is None:
                found[j] = array.shape[axis]
        batch = array.shape[-2] if batch is None else batch
        expected = (*(found[j] for j in others), batch)
        if array.shape[:-1] != expected:
            spelled = [f"n_{j}={found[j]}" for j in others] + [f"B={batch}"]
            last = ", ".join([*spelled, str(array.shape[-1])])
            raise _checks.shape_error(name, last, array.shape)
    if batch is None:
        raise ValueError("borders: expected at least one array, or an input, got none")
    for k, size in enumerate(found):
        if size is None:
            raise ValueError(
                f"sizes[{k}]: expected an integer, because no array tells how many "
                f"points there are along dimension {k}, got None"
            )
    return cast(tuple[int, ...], tuple(found)), batch


def check_grid_lengths(
    lengths: object, sizes: tuple[int, ...], batch: int
) -> Lengths | None:
    """Return lengths [B, N] as a fresh int64 array."""
    if lengths is None:
        return None
    expected = f"B={batch}, N={len(sizes)}"
    given = _checks.own_array(
        "lengths", lengths, f"integers [{expected}]", batch * len(sizes)
    )
    if given.dtype.kind not in "iu" and given.size > 0:
        raise TypeError(
            f"lengths: expected integers [{expected}], got {shorten(given.dtype)}"
        )
    if given.shape != (batch, len(sizes)):
        raise _checks.shape_error("lengths", expected, given.shape)
    checked = given.astype(np.int64, order="C")
    outside = np.argwhere((checked < 0) | (checked > np.array(sizes)))
    if len(outside):
        b, k = outside[0]
        raise ValueError(
            f"lengths[{b}, {k}]: expected 0..n_{k}={sizes[k]}, got {given[b, k]}"
        )
    return checked


def check_gradients(
    config: GridConfig, dends: object, sizes: tuple[int, ...], batch: int
) -> tuple[Pair, ...]:
    """Return the gradients of the far borders, contiguous, None for zeros."""
    pairs = take_borders("dends", config, dends)
    arrays = border_arrays("dends", config, pairs)
    if not arrays:
        raise ValueError("dends: expected at least one array, got none")
    for name, k, array in arrays:
        others = sizes[:k] + sizes[k + 1 :]
        if array.shape[:-1] != (*others, batch):
            spelled = spell_border(config, sizes, k, f"H={config.hidden_size}")
            spelled = spelled.replace("B,", f"B={batch},")
            raise _checks.shape_error(name, spelled, array.shape)
    return pairs
