"""What a cell computes in a step, as data: a list of nodes and which are new states.

A node is a tuple of its operation and its arguments; those that are nodes are numbers
of earlier ones, so that there are no cycles:

    ("W", name)         a row block of the matrix that x is multiplied with
    ("R", name, node)   one of the matrix that a value of the step is multiplied with
    ("b", name)         the bias of the sum of that name
    ("v", name)         a weight of each unit; ("v", name, text) with its first value
    ("scalar", name, text)      a weight of all units, with its first value
    ("moments", node, ...)      of each row over the units of all these values
    ("norm", node, m, v)        one of them normalised by the moments m, times v
    ("prev", state)     a state before the step
    ("const", text)     a number, as `float.hex` writes it
    (function, ...)     of `FUNCTIONS`, on as many nodes

With heads, groups of units that R does not mix, each row block of R has a square block
of each on its diagonal.

`Definition.data` is the same as plain lists, which files hold; what comes from there is
checked here, node by node, and cannot make anything run for long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from exactrnn import _core
from exactrnn._checks import describe
from exactrnn._checks.limits import quote

Node: TypeAlias = tuple[Any, ...]

VERSION = 1
VERSION_OF_HEADS = 2
"""That of a definition with heads, which versions before would run without."""
VERSION_OF_ROWS = 3
"""That of one with scalars, first values or layer normalisation."""
VERSIONS = (VERSION, VERSION_OF_HEADS, VERSION_OF_ROWS)
MOST_NODES = 400
MOST_HEADS = 64
MOST_GROUP = _core.program_limits()["group"]
MOST_STATES = _core.program_limits()["states"]
LARGEST = float.fromhex("0x1.fffffep+127")
"""Of constants: the largest number of float32."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
OF_NAMES = "of at most 31 letters (A to Z, a to z), digits and _, a letter first"
"""What names are, as the end of what was expected."""

FUNCTIONS: Mapping[str, int] = {
    **dict.fromkeys(("neg", "abs", "sqrt", "exp", "expm1", "log", "softplus"), 1),
    **dict.fromkeys(("tanh", "sigmoid", "relu", "stop"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div", "min", "max", "lt", "le", "eq"), 2),
    **dict.fromkeys(("fma", "mix", "where"), 3),
}
"""How many nodes each function takes."""
NAMED = ("W", "R", "b", "v", "scalar")
OTHERS: Mapping[str, tuple[int, ...]] = {
    "W": (1,),
    "R": (2,),
    "b": (1,),
    "v": (1, 2),
    "prev": (1,),
    "const": (1,),
    "scalar": (2,),
    "norm": (3,),
    "moments": tuple(range(1, MOST_GROUP + 1)),
}
"""How many arguments all other nodes have."""
GAIN, BIAS = "gain_", "bias_"
"""What the names of layer normalisation's weights begin with."""
ROW_KINDS = ("scalar", "norm", "moments")


class Data(dict[str, Any]):
    """A definition as plain values, which shows itself by its name."""

    def __repr__(self) -> str:
        return f"{self.get('name')}()"


@dataclass(frozen=True)
class Definition:
    """The equations of a cell.

    Parameters
    ----------
    name : str
        What the cell is called.
    states : tuple of str
        What is carried from step to step; the first is the output.
    nodes : tuple of tuple
        As the head of this file says.
    outputs : tuple of int
        The node that each state is after the step.
    lines : tuple of str
        Where the user has written each node, for messages; empty for what was read.
    num_heads : int
        The number of heads.
    """

    name: str
    states: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    lines: tuple[str, ...] = field(default=(), compare=False)
    num_heads: int = 1

    @property
    def data(self) -> Data:
        """The definition as plain values."""
        data = Data(
            version=VERSION,
            name=self.name,
            states=list(self.states),
            nodes=[list(node) for node in self.nodes],
            outputs=list(self.outputs),
        )
        if self.num_heads > 1:
            data.update(version=VERSION_OF_HEADS, num_heads=self.num_heads)
        if any(n[0] in ROW_KINDS or (n[0] == "v" and n[2:]) for n in self.nodes):
            data.update(version=VERSION_OF_ROWS)
        return data

    @property
    def result_line(self) -> str:
        """Where the output is made, for what no other node is to blame for."""
        return self.line(self.outputs[0])

    def line(self, node: int) -> str:
        """Return where a node was written, as the end of a message."""
        return f" ({self.lines[node]})" if self.lines else f" (node {node})"


def inputs_of(node: Node) -> tuple[int, ...]:
    """Return the nodes that a node is made of."""
    if node[0] == "R":
        return (node[2],)
    return node[1:] if node[0] in (*FUNCTIONS, "norm", "moments") else ()


def from_data(data: object) -> Definition:
    """Return the definition that plain values describe.

    Raises
    ------
    ValueError, TypeError
        If they describe none.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"cell: expected a Cell or its data, got {describe(data)}")
    version = data.get("version")
    if type(version) is not int or version not in VERSIONS:
        listed = ", ".join(map(str, VERSIONS))
        raise ValueError(f"cell: expected a version of {listed}, got {quote(version)}")
    lists = {key: data.get(key) for key in ("states", "nodes", "outputs")}
    for key, value in lists.items():
        if not isinstance(value, list | tuple):
            raise ValueError(f"cell: expected a list of {key}, got {describe(value)}")
    definition = Definition(
        data.get("name"),  # type: ignore[arg-type] # checked next
        tuple(lists["states"] or ()),
        tuple(_plain_nodes(lists["nodes"] or ())),
        tuple(lists["outputs"] or ()),
        num_heads=data.get("num_heads", 1) if version >= VERSION_OF_HEADS else 1,
    )
    check(definition)
    return definition


def _plain_nodes(nodes: Any) -> Iterator[Node]:
    for number, node in enumerate(nodes):
        if number >= MOST_NODES:
            raise ValueError(f"cell: expected at most {MOST_NODES} nodes, got more")
        if not isinstance(node, list | tuple) or not node:
            raise ValueError(f"cell: expected a list for a node, got {describe(node)}")
        yield tuple(node)


def check(definition: Definition) -> None:
    """Raise unless a definition is well formed."""
    _check_name("name", definition.name)
    states = definition.states
    for state in states:
        _check_name("state", state)
    check_states(states)
    heads: object = definition.num_heads
    if type(heads) is not int or not 1 <= heads <= MOST_HEADS:
        raise ValueError(
            f"num_heads: expected a whole number of 1 to {MOST_HEADS}, "
            f"got {quote(heads)}"
        )
    if len(definition.nodes) > MOST_NODES:
        raise ValueError(f"cell: expected at most {MOST_NODES} nodes, got more")
    for number, node in enumerate(definition.nodes):
        _check_node(definition, number, node)
    if len(definition.outputs) != len(states):
        raise ValueError(
            f"cell: expected a new value of each of the states {', '.join(states)}, "
            f"got {len(definition.outputs)}"
        )
    for output in definition.outputs:
        _check_number("output", output, len(definition.nodes))
        if definition.nodes[output][0] == "moments":
            raise ValueError(f"cell: expected a value for a state, got node {output}")


def check_states(states: tuple[str, ...]) -> None:
    """Raise unless there are states, not too many, and each another one."""
    if not 1 <= len(states) <= MOST_STATES or len({*states}) < len(states):
        raise ValueError(
            f"cell: expected 1 to {MOST_STATES} different states, got {quote(states)}"
        )


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"cell: expected a {what} {OF_NAMES}, got {quote(name)}")


def _check_number(what: str, number: object, below: int) -> None:
    if type(number) is not int or not 0 <= number < below:
        raise ValueError(
            f"cell: expected an {what} that is an earlier node, got {quote(number)}"
        )


def _check_node(definition: Definition, number: int, node: Node) -> None:
    kind, *arguments = node
    sizes = OTHERS.get(kind) if isinstance(kind, str) else None
    if sizes is None and isinstance(kind, str):
        sizes = (FUNCTIONS.get(kind, -1),)
    if sizes is None or len(arguments) not in sizes:
        raise ValueError(f"cell: node {number} is none: {quote(list(node))}")
    if kind in NAMED:
        _check_name(f"name for {kind}", arguments[0])
    if kind == "prev" and arguments[0] not in definition.states:
        raise ValueError(f"cell: expected a state, got {quote(arguments[0])}")
    if kind in ("const", "v", "scalar"):
        for text in arguments[int(kind != "const") :]:
            _check_constant(text)
    for argument in inputs_of(node):
        _check_number("argument", argument, number)
    if kind == "norm":
        _check_norm(definition, number, node)
        return
    rows = [a for a in inputs_of(node) if definition.nodes[a][0] == "moments"]
    if rows or (kind == "moments" and len({*arguments}) < len(arguments)):
        raise ValueError(f"cell: node {number} is none: {quote(list(node))}")


def _check_norm(definition: Definition, number: int, node: Node) -> None:
    """Raise unless a value is normalised by moments that it is in, for the one time."""
    nodes, (_, value, moments, gain) = definition.nodes, node
    of = nodes[moments]
    again = any(n[0] == "norm" and n[1:3] == node[1:3] for n in nodes[:number])
    if of[0] != "moments" or value not in of[1:] or nodes[gain][0] != "v" or again:
        raise ValueError(f"cell: node {number} is none: {quote(list(node))}")


def _check_constant(text: object) -> None:
    try:
        value = float.fromhex(text)  # type: ignore[arg-type] # which raises for others
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"cell: expected a constant, got {quote(text)}") from None
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"cell: expected a constant of float32, got {value!r}")
