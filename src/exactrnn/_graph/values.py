"""Values of a step that is being written down: symbols, and what is refused of them.

Symbols are numbers to the user: they are added, multiplied, compared. What they cannot
do is a `TypeError` that shows the user's own line.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias, TypeVar

import numpy as np

from exactrnn._checks import describe
from exactrnn._checks.limits import shorten

Value: TypeAlias = "Symbol | float"

OURS = (__name__, "exactrnn._graph.symbols")
"""The modules whose lines are none of the user's."""
REAL = int | float | np.integer | np.floating
"""What numbers are, but for bool."""
OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
"""What a number of NumPy's asks for, by name, when a symbol stands to its right."""


def users_line() -> str:
    """Return the user's line that is being run, and where it stands."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in OURS:
        frame = frame.f_back
    path, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(path, number).strip()
    where = f"{Path(path).name}, line {number}"
    return f"{where}: {shorten(text)}" if text else where


class Maker(Protocol):
    """What writes symbols down: a step."""

    def _make(self, function: str, *values: Value) -> Symbol: ...


class Symbol:
    """A value of a step that is being written down.

    It is added, subtracted, multiplied, divided and compared with symbols and numbers;
    a comparison is 1 where it holds, else 0.
    """

    __slots__ = ("_number", "_step")

    def __init__(self, step: Maker, number: int) -> None:
        self._step, self._number = step, number

    def __add__(self, other: Value) -> Symbol:
        return self._step._make("add", self, other)

    def __radd__(self, other: Value) -> Symbol:
        return self._step._make("add", other, self)

    def __sub__(self, other: Value) -> Symbol:
        return self._step._make("sub", self, other)

    def __rsub__(self, other: Value) -> Symbol:
        return self._step._make("sub", other, self)

    def __mul__(self, other: Value) -> Symbol:
        return self._step._make("mul", self, other)

    def __rmul__(self, other: Value) -> Symbol:
        return self._step._make("mul", other, self)

    def __truediv__(self, other: Value) -> Symbol:
        return self._step._make("div", self, other)

    def __rtruediv__(self, other: Value) -> Symbol:
        return self._step._make("div", other, self)

    def __neg__(self) -> Symbol:
        return self._step._make("neg", self)

    def __abs__(self) -> Symbol:
        return self._step._make("abs", self)

    def __lt__(self, other: Value) -> Symbol:
        return self._step._make("lt", self, other)

    def __le__(self, other: Value) -> Symbol:
        return self._step._make("le", self, other)

    def __gt__(self, other: Value) -> Symbol:
        return self._step._make("lt", other, self)

    def __ge__(self, other: Value) -> Symbol:
        return self._step._make("le", other, self)

    def __pos__(self) -> Symbol:
        return self

    def __eq__(self, other: object) -> Any:
        refuse("a symbol has no value yet to compare; s.equal(a, b) is 1 where it is")

    def __ne__(self, other: object) -> Any:
        refuse("a symbol has no value yet to compare; use 1 - s.equal(a, b)")

    def __hash__(self) -> int:  # noqa: PLE0309 (it raises)
        refuse("a symbol has no value yet to be found by, in a dict or set")

    def __bool__(self) -> bool:  # noqa: PLE0304 (it raises)
        refuse(
            "what a step does cannot depend on its values by if, while, and, or; "
            "s.where(condition, a, b) chooses unit by unit"
        )

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, **options: object
    ) -> Any:
        """Do what a number of NumPy's asks for; refuse arrays and functions."""
        own = OPERATORS.get(ufunc.__name__)
        plain = [v[()] if isinstance(v, np.ndarray) else v for v in inputs]
        numbers = all(isinstance(v, Symbol | np.number) for v in plain)
        if own is None or not numbers or options or method != "__call__":
            _refuse_function(f"NumPy's {ufunc.__name__}")
        return own(*(v if isinstance(v, Symbol) else float(v) for v in plain))

    def __array_function__(self, function: Any, *_: object) -> Any:
        _refuse_function(f"NumPy's {function.__name__}")

    @classmethod
    def __torch_function__(cls, function: Any, *_: object) -> Any:
        _refuse_function(f"torch's {getattr(function, '__name__', 'function')}")

    def __repr__(self) -> str:
        return f"<symbol {self._number} of a step>"

    if not TYPE_CHECKING:  # which refuses them by itself

        def __and__(self, _: object = None) -> Any:
            refuse("truths are 1 and 0: write a * b, s.max(a, b), 1 - a")

        __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = __and__

        def __iter__(self) -> Any:
            refuse("a symbol has no elements: it stands for all units")

        __next__ = __reversed__ = __len__ = __iter__

        def __getitem__(self, *_: object) -> Any:
            refuse("a symbol has no elements: it stands for all units")

        __setitem__ = __delitem__ = __contains__ = __getitem__

        def __matmul__(self, _: object) -> Any:
            refuse("values of a step are multiplied unit by unit; s.R is the matrix")

        __rmatmul__ = __matmul__

        def __float__(self) -> float:
            refuse("a symbol has no value yet: use functions of the step, as s.tanh(a)")

        def __int__(self, *_: object) -> Any:
            self.__float__()

        __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = __int__

        def __format__(self, how: str) -> str:
            return repr(self) if not how else str(self.__float__())

        def __call__(self, *_: object, **__: object) -> Any:
            refuse("a symbol is a value, no function: is there a sign missing?")

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"step: a symbol has no {shorten(name)}: it is added, multiplied and "
                f"given to functions of the step, unit by unit ({users_line()})"
            )

        def __pow__(self, *_: object) -> Any:
            refuse("there is no power: write a * a, or s.exp(b * s.log(a))")

        __rpow__ = __pow__

        def __floordiv__(self, _: object) -> Any:
            refuse("there is no rounding, no rest and no shift of a value")

        __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = __floordiv__
        __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __floordiv__


def refuse(why: str, line: str = "") -> NoReturn:
    """Raise with the user's line, by default the one that is being run."""
    raise TypeError(f"step: {why} ({line or users_line()})")


Class = TypeVar("Class", bound=type)


def checks_calls(kind: Class) -> Class:
    """Have the methods of a class refuse arguments that they do not take, by a line."""
    for name, method in [*vars(kind).items()]:
        if inspect.isfunction(method) and name[0] != "_":
            setattr(kind, name, _checked(method))
    return kind


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method whose arguments are counted and named before it is called."""
    name, signature = method.__name__, inspect.signature(method)
    taken = ", ".join(_spelled(each) for each in [*signature.parameters.values()][1:])

    @functools.wraps(method)
    def called(*given: Any, **options: Any) -> Any:
        try:
            signature.bind(*given, **options)
        except TypeError:
            came = ", ".join(
                [*map(_described, given[1:])]
                + [f"{key}={_described(value)}" for key, value in options.items()]
            )
            refuse(f"{name}: expected s.{name}({taken}), got s.{name}({came})")
        return method(*given, **options)

    return called


def _spelled(parameter: inspect.Parameter) -> str:
    """Return how an argument is written in a call, with its default."""
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r}"


def _described(value: object) -> str:
    return "a value" if isinstance(value, Symbol) else describe(value)


def _refuse_function(got: str) -> NoReturn:
    refuse(
        "expected a number or a function of the step, as s.tanh, got "
        f"{got}: a symbol has no value yet"
    )
