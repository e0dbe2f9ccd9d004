"""The arguments of a constructor: each is checked when it is first read, and once.

`CHECKS` says by name how. A check is given the value and all other arguments, and reads
of these what it depends on: so the order comes out by itself, and whoever makes a
config reads checked, plain values. What only one class has, its record checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from exactrnn import _checks
from exactrnn._spec import option_checks
from exactrnn._spec.record import Record

Check: TypeAlias = Callable[[str, object, "Arguments"], object]


class Arguments(Mapping[str, Any]):
    """Arguments by name, checked and made plain.

    Parameters
    ----------
    given : mapping of str to object
        The arguments as they came.
    record : Record
        What the class says.
    """

    def __init__(self, given: Mapping[str, object], record: Record) -> None:
        self.record = record
        self._given = {n: _checks.settle(n, value) for n, value in given.items()}
        self._checked: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._checked:
            value = self._given[name]
            check = self.record.checks.get(name) or CHECKS[name]
            self._checked[name] = check(name, value, self)
        return self._checked[name]

    def __contains__(self, name: object) -> bool:
        return name in self._given

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


def as_size(name: str, value: object, _: Arguments) -> int:
    """Return a number of units, of layers and so on: 1 or more."""
    return _checks.check_size(name, value)


def as_flag(name: str, value: object, _: Arguments) -> bool:
    """Return True or False."""
    return _checks.check_flag(name, value)


def as_nonlinearity(name: str, value: object, given: Arguments) -> object:
    """Return an activation, or those of the two directions."""
    both = given.get("bidirectional", False)
    found = option_checks.check_nonlinearity(name, value, given["dtype"], both)
    return found[0] if len(found) == 1 else found


def as_activations(uses: tuple[str, ...]) -> Check:
    """Return the check of activations in these places, of one direction or both."""

    def check(_: str, value: object, given: Arguments) -> object:
        both = given.get("bidirectional", False)
        return option_checks.check_activations(value, uses, given["dtype"], both)

    return check


def _dtype(_: str, value: object, __: Arguments) -> object:
    return _checks.check_dtype(value)


def _dropout(_: str, value: object, __: Arguments) -> float:
    return _checks.check_dropout(value)


def _recurrent_dropout(name: str, value: object, _: Arguments) -> float:
    return _checks.check_dropout(value, name)


def _zoneout(_: str, value: object, __: Arguments) -> float | tuple[float, float]:
    return option_checks.check_zoneout(value)


def _reverse(_: str, value: object, given: Arguments) -> bool:
    return option_checks.check_reverse(value, given["bidirectional"])


def _clip(_: str, value: object, given: Arguments) -> float | None:
    return option_checks.check_clip(value, given["dtype"])


def _init(_: str, value: object, given: Arguments) -> object:
    record = given.record
    rules = option_checks.init_rules(bool(record.paper), bool(record.keeps))
    init = option_checks.check_init(value, rules, given["bias"])
    _check_rule(init, given)
    return init


def _check_rule(init: object, given: Arguments) -> None:
    """Raise where other arguments take away what a rule of `init` is about."""
    without = None
    if init == "paper" and given.record.paper == "identity":
        first, *more = option_checks.each_direction(given["nonlinearity"])
        if {first, *more} != {"relu"}:
            without = f"with nonlinearity={first!r}"
    elif init == "paper" and not given["bias"]:
        without = "with bias=False"
    elif isinstance(init, tuple) and "f" in given.get("omit", ""):
        without = "without a forget gate"
    if without is not None:
        raise ValueError(f"init: expected another {without}, got {init!r}")


def _forget_bias(_: str, value: object, given: Arguments) -> float | None:
    return option_checks.check_forget_bias(
        value,
        bias=given["bias"],
        has_forget="f" not in given.get("omit", ""),
        chrono=isinstance(given["init"], tuple),
    )


CHECKS: Mapping[str, Check] = {
    "input_size": as_size,
    "hidden_size": as_size,
    "num_layers": as_size,
    "bias": as_flag,
    "batch_first": as_flag,
    "bidirectional": as_flag,
    "reverse": _reverse,
    "dropout": _dropout,
    "recurrent_dropout": _recurrent_dropout,
    "zoneout": _zoneout,
    "dtype": _dtype,
    "init": _init,
    "forget_bias": _forget_bias,
    "clip": _clip,
    "nonlinearity": as_nonlinearity,
}
"""How the arguments that several classes have are checked."""
