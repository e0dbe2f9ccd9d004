"""The front end: a class with `step`, which is called once, on symbols.

`Cell` is what users derive from. `step` is given a `Step`, whose methods make symbols,
and symbols are numbers to the user: they are added, multiplied, compared. What they
write down is a `Definition`.

Equal nodes are one node, so that writing `1 - f` twice costs nothing.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from exactrnn._checks import describe
from exactrnn._checks.limits import quote, shorten
from exactrnn._graph.definition import (
    BIAS,
    GAIN,
    LARGEST,
    MOST_GROUP,
    MOST_NODES,
    NAME,
    OF_NAMES,
    Definition,
    Node,
    check_states,
    from_data,
)
from exactrnn._graph.definition import check as check_definition
from exactrnn._graph.values import (
    REAL,
    Symbol,
    Value,
    checks_calls,
    refuse,
    users_line,
)


@checks_calls
class Step:
    """What `Cell.step` is given: states before the step, weights, functions.

    Each state is an attribute by its name, its value before the step.
    """

    def __init__(self, states: tuple[str, ...]) -> None:
        self._states = states
        self._nodes: dict[Node, int] = {}
        self._lines: list[str] = []
        self._end = ""  # the line of the method, as soon as that has returned

    def __getattr__(self, name: str) -> Symbol:
        if name in self.__dict__.get("_states", ()):
            return self._node(("prev", name))
        states = ", ".join(self.__dict__.get("_states", ()))
        raise AttributeError(
            f"step: expected a state ({states}) or a method of a step, "
            f"got {shorten(name)} ({users_line()})"
        )

    # Weights

    def W(self, name: str) -> Symbol:  # noqa: N802 (the papers' letter)
        """Return a row block of W times the input x.

        Parameters
        ----------
        name : str
            What the block is called; each is used once.

        Returns
        -------
        Symbol
            The product. Where blocks, products and a bias of one name are added, that
            is one sum of products.
        """
        return self._node(("W", self._name(name)))

    def R(self, name: str, value: object) -> Symbol:  # noqa: N802 (as above)
        """Return a row block of R times a value of the step.

        Parameters
        ----------
        name : str
            What the block is called; each is used once.
        value : Symbol
            A state before the step, or what the step has made.

        Returns
        -------
        Symbol
            The product.
        """
        if not isinstance(value, Symbol):  # as a number is not
            refuse(f"R: expected a value of the step, got {describe(value)}")
        return self._node(("R", self._name(name), self._number(value)))

    def b(self, name: str) -> Symbol:
        """Return the bias of the sum of this name, to be added to W or R of it."""
        return self._node(("b", self._name(name)))

    def v(self, name: str, first: float | None = None) -> Symbol:
        """Return a weight of each unit [H], such as a peephole.

        Parameters
        ----------
        name : str
            What it is called; named again it is the same one.
        first : float, optional
            Its first value, for all units; by default it is drawn.

        Returns
        -------
        Symbol
            The weight.
        """
        own = () if first is None else (self._text("first", first),)
        return self._weight("v", (self._name(name), *own))

    def scalar(self, name: str, first: float) -> Symbol:
        """Return a weight that all units of a layer and direction share.

        Parameters
        ----------
        name : str
            What it is called; named again it is the same one.
        first : float
            Its first value.

        Returns
        -------
        Symbol
            The weight.
        """
        own = self._text("first", first)
        return self._weight("scalar", (self._name(name), own))

    # Rows

    def layer_norm(self, values: Any, name: Any, bias: bool = True) -> Any:
        """Normalise each row over its units (Ba, Kiros, Hinton, arXiv 1607.06450).

        Parameters
        ----------
        values : Symbol or tuple of Symbol
            A value, or several that are normalised together: the mean and the variance
            are those of all units of all of them.
        name : str or tuple of str
            What its weights are called, one name for each value: `gain_name` and, with
            `bias`, `bias_name`, weights of each unit; first 1 and 0.
        bias : bool
            Whether there is a bias.

        Returns
        -------
        Symbol or tuple of Symbol
            gain * (value - mean) / sqrt(variance + 1e-5) + bias, of each value.
        """
        alone = isinstance(values, Symbol)
        own = (values,) if alone else self._several("values", values)
        names = (name,) if isinstance(name, str) else self._several("name", name)
        if len(names) != len(own):
            refuse(f"layer_norm: expected a name for each value, got {len(names)}")
        numbers = []
        for value in own:
            if not isinstance(value, Symbol):  # as a number is not
                refuse(
                    f"layer_norm: expected values of the step, got {describe(value)}"
                )
            numbers.append(self._number(value))
        if not 1 <= len(numbers) <= MOST_GROUP or len({*numbers}) < len(numbers):
            refuse(
                f"layer_norm: expected 1 to {MOST_GROUP} different values, "
                f"got {len(numbers)}"
            )
        moments = self._node(("moments", *numbers))._number
        found = [
            self._normed(number, moments, self._name(each), bias)
            for number, each in zip(numbers, names, strict=True)
        ]
        return found[0] if alone else tuple(found)

    def _several(self, what: str, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, tuple | list):
            refuse(f"layer_norm: expected a tuple of {what}, got {describe(given)}")
        return tuple(given)

    def _normed(self, number: int, moments: int, name: str, bias: bool) -> Symbol:
        known = [n for n in self._nodes if n[:3] == ("norm", number, moments)]
        gain = self.v(GAIN + name, 1.0)
        if known and known[0][3] != gain._number:
            refuse("layer_norm: expected a value to be normalised once by a group")
        normed = self._node(("norm", number, moments, gain._number))
        return normed + self.v(BIAS + name, 0.0) if bias else normed

    # Functions

    def fma(self, a: Value, b: Value, c: Value) -> Symbol:
        """Return a*b + c, rounded once."""
        return self._make("fma", a, b, c)

    def mix(self, gate: Value, a: Value, b: Value) -> Symbol:
        """Return gate*a + (1 - gate)*b, as fma(gate, a, (1 - gate)*b)."""
        return self._make("mix", gate, a, b)

    def sigmoid(self, a: Value) -> Symbol:
        """Return 1/(1 + exp(-a))."""
        return self._make("sigmoid", a)

    def tanh(self, a: Value) -> Symbol:
        """Return tanh(a)."""
        return self._make("tanh", a)

    def relu(self, a: Value) -> Symbol:
        """Return a where it is positive, else 0."""
        return self._make("relu", a)

    def exp(self, a: Value) -> Symbol:
        """Return e to the power of a."""
        return self._make("exp", a)

    def expm1(self, a: Value) -> Symbol:
        """Return exp(a) - 1."""
        return self._make("expm1", a)

    def log(self, a: Value) -> Symbol:
        """Return the natural logarithm of a."""
        return self._make("log", a)

    def softplus(self, a: Value) -> Symbol:
        """Return log(1 + exp(a))."""
        return self._make("softplus", a)

    def sqrt(self, a: Value) -> Symbol:
        """Return the square root of a."""
        return self._make("sqrt", a)

    def abs(self, a: Value) -> Symbol:
        """Return the size of a; its gradient at 0 is 1."""
        return self._make("abs", a)

    def min(self, a: Value, b: Value) -> Symbol:
        """Return a where a < b, else b, which then has the gradient."""
        return self._make("min", a, b)

    def max(self, a: Value, b: Value) -> Symbol:
        """Return a where a > b, else b, which then has the gradient."""
        return self._make("max", a, b)

    def equal(self, a: Value, b: Value) -> Symbol:
        """Return 1 where a and b are equal, else 0."""
        return self._make("eq", a, b)

    def where(self, condition: Value, a: Value, b: Value) -> Symbol:
        """Return a where the condition is not 0, else b."""
        return self._make("where", condition, a, b)

    def hard_sigmoid(self, a: Value, alpha: float = 0.2, beta: float = 0.5) -> Symbol:
        """Return alpha*a + beta, limited to [0, 1]."""
        return self.max(0.0, self.min(1.0, self.fma(alpha, a, beta)))

    def softsign(self, a: Value) -> Symbol:
        """Return a/(1 + |a|)."""
        return self._make("div", a, 1.0 + self.abs(a))

    def stop(self, a: Value) -> Symbol:
        """Return a, as a constant to the gradient."""
        return self._make("stop", a)

    # How it is written down

    def _weight(self, kind: str, own: tuple[str, ...]) -> Symbol:
        """Return a weight, which has one kind and one first value."""
        for node in self._nodes:
            same = node[:2] == (kind, own[0])
            if node[0] in ("v", "scalar") and node[1] == own[0] and not same:
                refuse(f"expected one weight {own[0]!r}, got another kind of it")
            if same and node != (kind, *own):
                refuse(f"expected one first value of {own[0]!r}, got another")
        return self._node((kind, *own))

    def _text(self, name: str, value: object) -> str:
        """Return a number as nodes have it."""
        if isinstance(value, bool) or not isinstance(value, REAL):
            refuse(f"{name}: expected a number, got {describe(value)}")
        plain: Any = value.item() if isinstance(value, np.number) else value
        number = float(min(max(plain, -2 * LARGEST), 2 * LARGEST))
        if not abs(number) <= LARGEST:
            got = shorten(value)
            refuse(f"expected a finite number of float32, got {got}", self._end)
        return number.hex()

    def _make(self, function: str, *values: Value) -> Symbol:
        return self._node((function, *map(self._number, values)))

    def _node(self, node: Node) -> Symbol:
        number = self._nodes.get(node)
        if number is None:
            number = len(self._lines)
            if number == MOST_NODES:
                raise ValueError(
                    f"step: expected at most {MOST_NODES} different values "
                    f"({self._end or users_line()})"
                )
            self._nodes[node] = number
            self._lines.append(self._end or users_line())
        return Symbol(self, number)

    def _number(self, value: object) -> int:
        """Return the node of a symbol or number."""
        if isinstance(value, Symbol):
            if value._step is not self:
                refuse("a value of another step was used", self._end)
            return value._number
        if isinstance(value, bool) or not isinstance(value, REAL):
            got = describe(value)
            refuse(f"expected a number or a value of the step, got {got}", self._end)
        return self._node(("const", self._text("constant", value)))._number

    def _name(self, name: object) -> str:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            refuse(f"expected a name {OF_NAMES}, got {describe(name)}")
        return name


class Cell:
    """A recurrent cell from its equations: derive from it, and say what a step does.

    `states` names what is carried from step to step; the first is the output. `step` is
    called once, on symbols, and returns the new states; what it writes down is run by
    `exactrnn.Layer`.

    Attributes
    ----------
    states : tuple of str
        The names; attributes of `s` in `step`.
    num_heads : int
        Groups of units, equal in size and next to each other, that products with R do
        not mix: R is block-diagonal, and each of its row blocks [H, H / num_heads].

    Raises
    ------
    ValueError, TypeError
        By `definition`, if a step cannot be written down; with the line that says so.

    Notes
    -----
    `s.W("f") + s.R("f", s.h) + s.b("f")` is one sum of products: it starts at the bias
    and runs over x and then over h. All of it has one name, that of the row blocks of
    the weights. Everything else is computed unit by unit, each operation rounded as it
    is written.

    Examples
    --------
    The minimal gated unit of Zhou et al., arXiv 1603.09420:

    >>> import exactrnn as xr
    >>> class MGU(xr.Cell):
    ...     states = ("h",)
    ...
    ...     def step(self, s):
    ...         f = s.sigmoid(s.W("f") + s.R("f", s.h) + s.b("f"))
    ...         n = s.tanh(s.W("n") + s.R("n", f * s.h) + s.b("n"))
    ...         return s.mix(f, n, s.h)
    >>> MGU().definition.states
    ('h',)
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    num_heads: int = 1

    def __repr__(self) -> str:
        own = vars(self).items()
        shown = [f"{name}={value!r}" for name, value in own if name[0] != "_"]
        return f"{type(self).__name__}({', '.join(shown)})"

    def step(self, s: Step) -> Any:
        """Return the new states, from what `s` gives: to be defined.

        Parameters
        ----------
        s : Step
            States before the step, weights and functions.

        Returns
        -------
        Symbol or tuple of Symbol
            The new value of each state, in the order of `states`.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method step")

    @property
    def definition(self) -> Definition:
        """What `step` writes down, as data."""
        states, name = self._states(), type(self).__name__
        if not NAME.fullmatch(name):
            raise ValueError(
                f"cell: expected a class with a name {OF_NAMES}, got {quote(name)} "
                f"({self._line_of_step()})"
            )
        step = Step(states)
        self._check_arguments()
        made = self.step(step)
        results = made if isinstance(made, tuple | list) else (made,)
        if len(results) != len(states):
            raise ValueError(
                f"step: expected a new value of each of the states "
                f"{', '.join(states)}, got {len(results)} ({self._line_of_step()})"
            )
        for result in results:
            if not isinstance(result, Symbol | REAL):
                raise TypeError(
                    f"step: expected to return values of the step, got "
                    f"{describe(result)} ({self._line_of_step()})"
                )
        step._end = self._line_of_step()
        heads: Any = self.num_heads
        outputs = tuple(map(step._number, results))
        definition = Definition(
            name,
            states,
            tuple(step._nodes),
            outputs,
            tuple(step._lines),
            int(heads) if isinstance(heads, np.integer) else heads,
        )
        check_definition(definition)
        return definition

    def _check_arguments(self) -> None:
        """Raise unless `step` takes the symbols, and needs no more."""
        method: Any = self.step
        came = describe(method)
        if callable(method):
            signature = inspect.signature(method)
            try:
                signature.bind(None)
            except TypeError:
                came = f"step({', '.join(['self', *signature.parameters])})"
            else:
                return
        raise TypeError(
            f"step: expected step(self, s), got {came} ({self._line_of_step()})"
        )

    def _line_of_step(self) -> str:
        code = getattr(self.step, "__code__", None)
        if code is None:
            return type(self).__name__
        line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
        where = f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
        return f"{where}: {shorten(line)}" if line else where

    def _states(self) -> tuple[str, ...]:
        states: object = self.states
        if isinstance(states, str) or not isinstance(states, tuple | list):
            raise TypeError(
                f"states: expected a tuple of names, got {describe(states)}"
            )
        for name in states:
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ValueError(
                    f"states: expected names {OF_NAMES}, got {quote(name)}"
                )
            if hasattr(Step, name):
                raise ValueError(
                    "states: expected names that a step does not have already, "
                    f"got {quote(name)}"
                )
        check_states(tuple(states))
        return tuple(states)


def definition_of(given: Cell | type[Cell] | Mapping[str, Any]) -> Definition:
    """Return the definition of a cell, of its class, or of what is one as data.

    Raises
    ------
    ValueError, TypeError
        If there is none.
    """
    if isinstance(given, type) and issubclass(given, Cell):
        given = given()
    return given.definition if isinstance(given, Cell) else from_data(given)
