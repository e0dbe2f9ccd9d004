"""A checked call of a grid of N dimensions: its inputs, borders, sizes and lengths.

As `_checks`, whose pieces are used: a message names the argument, what was expected and
what came; shapes and ranges raise `ValueError`, kinds and dtypes `TypeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array, Lengths
from exactrnn._checks.limits import shorten
from exactrnn._spec.grid import GridConfig, Pair
from exactrnn._spec.grid_checks import Sizes, check_items, check_sizes


class GridCall(NamedTuple):
    """A checked call of one direction.

    `inputs` [..., B, I] by side with input, zero where a row has no line; `borders` by
    dimension, those with input ignored; `lengths` [B, N].
    """

    inputs: tuple[Array, ...]
    borders: tuple[Pair, ...]
    sizes: tuple[int, ...]
    batch: int
    lengths: Lengths | None


def begin_grid(
    spec: GridConfig, x: object, borders: object, sizes: object, lengths: object
) -> GridCall:
    """Check the arguments of a call."""
    inputs = take_inputs(spec, x)
    pairs = take_borders("borders", spec, borders)
    arrays = border_arrays("borders", spec, pairs)
    for name, k, _ in arrays:
        if k in spec.sides:
            raise ValueError(
                f"{name}: expected None, because the input of side {k} stands at "
                "this border, got an array"
            )
    for index, k in enumerate(spec.sides):
        name = "x" if len(inputs) == 1 else f"x[{index}]"
        arrays.append((name, k, inputs[index]))
    given = check_sizes(sizes, spec.dims)
    found, batch = find_sizes(spec, given, arrays)
    taken = check_grid_lengths(lengths, found, batch)
    padded = tuple(
        _padded(spec.sides[index], part, found, taken)
        for index, part in enumerate(inputs)
    )
    return GridCall(padded, pairs, found, batch, taken)


def _padded(
    side: int, array: Array, sizes: tuple[int, ...], lengths: Lengths | None
) -> Array:
    """Return an input, contiguous, with zeros on lines that a row does not have."""
    array = np.ascontiguousarray(_checks.make_readable(array))
    if lengths is None:
        return array
    mask = line_mask(sizes, lengths, but=side)
    return np.where(mask[..., None], array, array.dtype.type(0))


def line_mask(
    sizes: Sequence[int], lengths: Lengths, but: int = -1
) -> NDArray[np.bool_]:
    """Tell which points each row has: [sizes, B], without dimension `but`."""
    kept = [k for k in range(len(sizes)) if k != but]
    mask = np.ones((*(sizes[k] for k in kept), len(lengths)), np.bool_)
    for axis, k in enumerate(kept):
        places = np.arange(sizes[k])[:, None] < lengths[:, k]
        mask &= places.reshape(
            (1,) * axis + (sizes[k],) + (1,) * (len(kept) - axis - 1) + (len(lengths),)
        )
    return mask


def spell_border(spec: GridConfig, sizes: Sizes, k: int, last: str) -> str:
    """Write the shape of a border of dimension k, unknown sizes as letters."""
    parts = [
        f"n_{j}" if sizes[j] is None else f"n_{j}={sizes[j]}"
        for j in range(spec.dims)
        if j != k
    ]
    return ", ".join([*parts, "B", last])


def take_inputs(spec: GridConfig, x: object) -> tuple[Array, ...]:
    """Return the inputs by side, of the right widths and numbers of axes."""
    count = len(spec.sides)
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
                f"x: expected a tuple of {count} arrays, for sides={spec.sides}, "
                f"got {got}"
            )
    arrays = []
    for index, k in enumerate(spec.sides):
        name = "x" if count == 1 else f"x[{index}]"
        array = _checks.as_array(name, given[index], spec.dtype)
        width = spec.input_sizes[k]
        if array.ndim != spec.dims + 1 or array.shape[-1] != width:
            wanted = spell_border(spec, spec.sizes, k, f"I={width}")
            raise _checks.shape_error(name, wanted, array.shape)
        arrays.append(array)
    return tuple(arrays)


def take_borders(name: str, spec: GridConfig, borders: object) -> tuple[Pair, ...]:
    """Return (h, m) by dimension, contiguous, None for zeros; shapes unchecked."""
    if borders is None:
        return ((None, None),) * spec.dims
    if isinstance(borders, np.ndarray) or not isinstance(borders, Sequence):
        got = _checks.describe(borders)
        raise TypeError(f"{name}: expected a sequence of {spec.dims}, got {got}")
    entries = check_items(name, borders, spec.dims)
    return tuple(
        _take_border(f"{name}[{k}]", spec, k, entry) for k, entry in enumerate(entries)
    )


def _take_border(name: str, spec: GridConfig, k: int, entry: object) -> Pair:
    if entry is None:
        return None, None
    if spec.kinds[k] != "lstm":
        return _take_part(name, spec, k, entry), None
    parts = tuple(entry) if isinstance(entry, tuple | list) else ()
    if len(parts) != 2:
        got = _checks.describe(entry)
        got = f"{len(parts)} arrays" if isinstance(entry, tuple | list) else got
        raise TypeError(f"{name}: expected the tuple (h, m) or None, got {got}")
    h, m = parts
    return _take_part(f"{name}[0]", spec, k, h), _take_part(f"{name}[1]", spec, k, m)


def _take_part(name: str, spec: GridConfig, k: int, part: object) -> Array | None:
    if part is None:
        return None
    array = _checks.as_array(name, part, spec.dtype)
    if array.ndim != spec.dims + 1 or array.shape[-1] != spec.hidden_size:
        wanted = spell_border(spec, spec.sizes, k, f"H={spec.hidden_size}")
        raise _checks.shape_error(name, wanted, array.shape)
    return np.ascontiguousarray(array, spec.dtype)


def border_arrays(
    name: str, spec: GridConfig, borders: Sequence[Pair]
) -> list[tuple[str, int, Array]]:
    """Return what is given of borders: name, dimension and array."""
    found = []
    for k, pair in enumerate(borders):
        for index, part in enumerate(pair):
            if part is not None:
                place = f"[{k}][{index}]" if spec.kinds[k] == "lstm" else f"[{k}]"
                found.append((name + place, k, part))
    return found


def find_sizes(
    spec: GridConfig, sizes: Sizes, arrays: Sequence[tuple[str, int, Array]]
) -> tuple[tuple[int, ...], int]:
    """Return all sizes and B from what is known and from arrays [the others, B, ...].

    Parameters
    ----------
    spec : GridConfig
        The grid.
    sizes : tuple of int or None
        Sizes that the caller has given for this call.
    arrays : sequence of (str, int, ndarray)
        Names, dimensions and arrays at their borders.
    """
    found = list(sizes)
    for k, own in enumerate(spec.sizes):
        if own is not None:
            if found[k] is not None and found[k] != own:
                raise ValueError(
                    f"sizes[{k}]: expected {own}, as the grid was made, got {found[k]}"
                )
            found[k] = own
    batch: int | None = None
    for name, k, array in arrays:
        others = [j for j in range(spec.dims) if j != k]
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
    spec: GridConfig, dends: object, sizes: tuple[int, ...], batch: int
) -> tuple[Pair, ...]:
    """Return the gradients of the far borders, contiguous, None for zeros."""
    pairs = take_borders("dends", spec, dends)
    arrays = border_arrays("dends", spec, pairs)
    if not arrays:
        raise ValueError("dends: expected at least one array, got none")
    for name, k, array in arrays:
        others = sizes[:k] + sizes[k + 1 :]
        if array.shape[:-1] != (*others, batch):
            spelled = spell_border(spec, sizes, k, f"H={spec.hidden_size}")
            spelled = spelled.replace("B,", f"B={batch},")
            raise _checks.shape_error(name, spelled, array.shape)
    return pairs
