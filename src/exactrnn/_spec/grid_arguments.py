"""How the arguments of grids are checked, as `arguments.CHECKS` does those of all."""

from __future__ import annotations

from collections.abc import Mapping

from exactrnn import _checks
from exactrnn._spec import grid_checks
from exactrnn._spec.activations import Activation
from exactrnn._spec.arguments import Arguments, Check, as_flag
from exactrnn._spec.rules import Init

PRIORITIES = {"depth": (0,), "time": (1,), "none": ()}
"""Priority dimensions of a grid of depth and time, by the name of the argument."""


def kinds_of(given: Arguments) -> tuple[Activation, ...]:
    """Return the kind of each dimension."""
    found: tuple[Activation, ...] = given.get("kinds") or (given["depth"], "lstm")
    return found


def _output(_: str, value: object, __: Arguments) -> str:
    return grid_checks.check_output(value)


def _tied(_: str, value: object, given: Arguments) -> bool:
    return grid_checks.check_tied(value, kinds_of(given))


def _init(_: str, value: object, given: Arguments) -> Init:
    return grid_checks.check_init(value, kinds_of(given), given["bias"])


def _forget_bias(_: str, value: object, given: Arguments) -> float | None:
    return grid_checks.check_forget_bias(
        value, kinds_of(given), given["init"], given["bias"]
    )


def _depth(name: str, value: object, given: Arguments) -> Activation:
    return grid_checks.check_kind(name, value, given["dtype"])


def _priority(name: str, value: object, _: Arguments) -> str:
    return _checks.check_choice(name, value, tuple(PRIORITIES))


def _dims(_: str, value: object, __: Arguments) -> int:
    return grid_checks.check_dims(value)


def _sides(name: str, value: object, given: Arguments) -> tuple[int, ...]:
    if value is None:
        return (given["dims"] - 1,)
    found = grid_checks.check_dimensions(name, value, given["dims"])
    return tuple(sorted(found))


def _dimensions(name: str, value: object, given: Arguments) -> tuple[int, ...]:
    return grid_checks.check_dimensions(name, value, given["dims"])


def _kinds(_: str, value: object, given: Arguments) -> tuple[Activation, ...]:
    return grid_checks.check_kinds(value, given["dims"], given["dtype"])


def _input_size(_: str, value: object, given: Arguments) -> tuple[int, ...]:
    return grid_checks.check_input_sizes(value, given["sides"])


def _sizes(_: str, value: object, given: Arguments) -> tuple[int | None, ...]:
    return grid_checks.check_sizes(value, given["dims"])


def _shared(_: str, value: object, given: Arguments) -> tuple[bool, ...]:
    return grid_checks.check_shared(value, given["sizes"])


BLOCK_CHECKS: Mapping[str, Check] = {
    "output": _output,
    "tied": _tied,
    "init": _init,
    "forget_bias": _forget_bias,
}
TIME_DEPTH_CHECKS: Mapping[str, Check] = {
    **BLOCK_CHECKS,
    "depth": _depth,
    "priority": _priority,
    "shared": as_flag,
}
GRID_CHECKS: Mapping[str, Check] = {
    **BLOCK_CHECKS,
    "dims": _dims,
    "sides": _sides,
    "kinds": _kinds,
    "priority": _dimensions,
    "input_size": _input_size,
    "sizes": _sizes,
    "shared": _shared,
}
