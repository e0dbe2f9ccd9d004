"""Checks of the options of grid layers, with their error messages.

As `_checks`, whose pieces are used: a message names the argument, what was expected
and what came; shapes and ranges raise `ValueError`, kinds and dtypes `TypeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from exactrnn import _checks, _core
from exactrnn._checks import FloatType
from exactrnn._checks.limits import quote
from exactrnn._spec import option_checks
from exactrnn._spec.activations import Activation
from exactrnn._spec.grid import OUTPUTS
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
