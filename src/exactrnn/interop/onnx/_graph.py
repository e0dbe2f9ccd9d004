"""The recurrent nodes of a model, and what is constant in it, whatever graph it is in.

Nodes such as If and Loop hold graphs of their own. A name that such a graph does not
make is the one of the graph around it: `Scope` follows that. Weights may be stored
(initializers), be the value of a Constant node, or be made of such by nodes that only
arrange numbers, as torch's exporter reorders gates by Slice and Concat. These are run
by the reference implementation of the package onnx. What is made of a graph's inputs is
not constant.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.limits import quote, shorten
from exactrnn.interop.onnx._files import RefusedError, Source, import_onnx
from exactrnn.interop.onnx._words import (
    CONTRIBUTED,
    FIRST_OPSET,
    OPERATORS,
    QUANTISED,
    STANDARD,
    VERSIONS,
)

FOLDED = frozenset(
    {
        *("Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"),
        *("Slice", "Split", "Gather", "Concat", "Cast", "DequantizeLinear"),
    }
)
"""Operators that arrange numbers, or change their type."""
INTEGERS = {"int8": 0, "uint8": 0, "int32": 0, "int16": 21, "uint16": 21}
"""Types that DequantizeLinear reads, and the opsets that brought them to it."""
OLDEST_DEFINED = {"DequantizeLinear": 19}
"""Opsets before which the reference implementation lacks an operator.

What it does with the arguments of an older one is the same.
"""
SMALL = 2**24
MOST_EXPANSION = 100
"""Folding may make SMALL bytes, and so many times what the model holds."""
DEEPEST = 100
"""Nodes on top of each other between a stored tensor and a weight."""
WIDEST = 8
"""Bytes of a number, at most."""
FIRST_WITH_DEFAULTS = 4
"""The version of the format since which stored tensors may be defaults of inputs."""


Named = TypeVar("Named", bound=Any)
"""A dataclass of what is found in a graph, which has a name."""


class NotConstantError(RefusedError):
    """What a file does not fix: it depends on the inputs of a graph."""


class Scope:
    """A graph, and the one around it."""

    def __init__(self, graph: Any, place: str, around: Scope | None) -> None:
        self.graph, self.place, self.around = graph, place, around
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: op for op in graph.node for name in op.output if name}
        self.others = {given.name for given in graph.input}
        self.others |= {sparse.values.name for sparse in graph.sparse_initializer}

    def owner(self, name: str) -> Scope | None:
        """Return the graph that makes a name, from this one outwards."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.stored or name in scope.makers or name in scope.others:
                return scope
            scope = scope.around
        return None


class Constants:
    """The constants of a model, each computed once.

    Since version 4 of the format a stored tensor that is an input of its graph, too, is
    the default of that input. It is a constant with `defaults` alone: a session may be
    given another.
    """

    def __init__(self, source: Source, opset: int, *, defaults: bool) -> None:
        self._source, self._opset = source, opset
        self._defaults = defaults or source.model.ir_version < FIRST_WITH_DEFAULTS
        self._known: dict[tuple[Scope, str], Array] = {}
        self._made = 0

    def find(self, scope: Scope, name: str, depth: int = 0) -> Array:
        """Return the value of a name; raise a NotConstantError if it has none."""
        owner = scope.owner(name)
        if owner is None:
            raise NotConstantError("nothing makes it")
        if (owner, name) not in self._known:
            self._compute(owner, name, depth)
        return self._known[owner, name]

    def _compute(self, owner: Scope, name: str, depth: int) -> None:
        """Have the value of a name known, and those made along with it."""
        if name in owner.stored and (self._defaults or name not in owner.others):
            self._known[owner, name] = self._source.read(owner.stored[name])
            return
        op = owner.makers.get(name)
        if op is None:
            raise NotConstantError("it is an input of the graph")
        if op.op_type == "Constant" and op.domain in STANDARD:
            self._known[owner, name] = self._value_of(op)
            return
        foldable = op.op_type in FOLDED and op.domain in STANDARD
        if not foldable or depth > DEEPEST:
            raise NotConstantError(f"it is computed by {title(op)}")
        inputs = {n: self.find(owner, n, depth + 1) for n in op.input if n}
        self._charge(op, [*inputs.values()])
        if op.op_type == "DequantizeLinear":
            self._check_integers(op, inputs[op.input[0]])
        self._known |= {
            (owner, n): np.asarray(value) for n, value in self._run(op, inputs).items()
        }

    def _value_of(self, op: Any) -> Array:
        """Return what a Constant node holds."""
        [given] = op.attribute
        if given.name == "value":
            return self._source.read(given.t)
        numbers = {
            "value_float": (np.float32, given.f),
            "value_floats": (np.float32, [*given.floats]),
            "value_int": (np.int64, given.i),
            "value_ints": (np.int64, [*given.ints]),
        }
        if given.name not in numbers:
            raise NotConstantError(f"it is the {quote(given.name)} of {title(op)}")
        dtype, value = numbers[given.name]
        return np.array(value, dtype)

    def _charge(self, op: Any, inputs: list[Array]) -> None:
        """Raise before nodes make far more of a file than is in it."""
        size = sum(array.nbytes for array in inputs)
        if op.op_type in ("Cast", "DequantizeLinear"):
            size = inputs[0].size * WIDEST
        if op.op_type == "Gather":
            size = inputs[0].nbytes * max(1, inputs[1].size)
        self._made += size
        if self._made > SMALL + MOST_EXPANSION * self._source.stored:
            raise RefusedError(
                f"{title(op)}: the model makes {self._made} bytes of constants of the "
                f"{self._source.stored} that it holds"
            )

    def _check_integers(self, op: Any, given: Array) -> None:
        """Raise for a type that the operator has not in the model's opset.

        The evaluator has one definition for several opsets.
        """
        known = [name for name, first in INTEGERS.items() if self._opset >= first]
        if given.dtype.name not in known:
            raise RefusedError(
                f"{title(op)}: expected {', '.join(known)} in opset {self._opset}, got "
                f"{given.dtype}"
            )

    def _run(self, op: Any, inputs: dict[str, Array]) -> dict[str, Any]:
        """Run a node by its definition in the model's opset; return what it gives.

        It stands in a graph, since the evaluator takes a node alone to be of the newest
        opset; and its domain is written as the evaluator knows it.
        """
        from onnx.reference import ReferenceEvaluator

        onnx, names = import_onnx(), [name for name in op.output if name]
        plain = onnx.NodeProto()
        plain.CopyFrom(op)
        plain.domain = ""
        opset = max(self._opset, OLDEST_DEFINED.get(op.op_type, 0))
        ends = [[onnx.ValueInfoProto(name=n) for n in side] for side in (inputs, names)]
        graph = onnx.helper.make_graph([plain], "folded", *ends)
        with np.errstate(all="ignore"):
            made = ReferenceEvaluator(graph, opsets={"": opset}).run(None, inputs)
        return dict(zip(names, made, strict=True))


@dataclass(frozen=True)
class Node:
    """A recurrent node: what it is, where it is, and the constants around it."""

    op: Any
    scope: Scope
    constants: Constants
    name: str = ""

    @property
    def own_name(self) -> str:
        """Its name in the file, or that of its first output if it has none."""
        return _own_name(self.op)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return tuple(self.op.output)

    @property
    def kind(self) -> str:
        """The operator that it is, also where its weights are quantised."""
        return "LSTM" if self.is_quantised else str(self.op.op_type)

    @property
    def is_quantised(self) -> bool:
        """Whether its weights are integers with a scale."""
        return bool(self.op.op_type == QUANTISED)

    def title(self) -> str:
        """Return operator and name, for messages."""
        return f"{self.op.op_type} {quote(self.name)}"

    def refused(self, attribute: str, value: object, expected: str) -> RefusedError:
        """Return the error for an attribute that is not had here."""
        got = quote(value)
        return RefusedError(
            f"{self.title()}: {attribute}: expected {expected}, got {got}"
        )

    def has(self, place: int) -> bool:
        """Tell whether the node has an input in this place."""
        return place < len(self.op.input) and bool(self.op.input[place])

    def find(self, place: int) -> Array:
        """Return the constant that is the input in this place."""
        return self.constants.find(self.scope, self.op.input[place])


def title(op: Any) -> str:
    """Return operator and name of any node, for messages."""
    name = op.name or next(iter(op.output), "")
    return f"{shorten(op.op_type, 40)} {quote(name)}"


def find_scopes(model: Any) -> list[Scope]:
    """Return the graphs of a model, those in nodes of others too."""
    return [*_walk(Scope(model.graph, "", None))]


def _walk(scope: Scope) -> Iterator[Scope]:
    """Yield a graph, and those in its nodes."""
    yield scope
    for op in scope.graph.node:
        for given in op.attribute:
            inner = [given.g] if given.HasField("g") else [*given.graphs]
            place = f"{scope.place}{_own_name(op)}.{given.name}/"
            for graph in inner:
                yield from _walk(Scope(graph, place, scope))


def find_nodes(scopes: Sequence[Scope], constants: Constants) -> list[Node]:
    """Return the recurrent nodes of graphs."""
    return [
        Node(op, scope, constants)
        for scope in scopes
        for op in scope.graph.node
        if _is_recurrent(op)
    ]


def name_all(found: Sequence[Named]) -> list[Named]:
    """Return what was found with names, each of which is there once.

    Where several are called the same, what is around them says which.
    """
    counts = Counter(item.own_name for item in found)
    own = {name for name, count in counts.items() if count == 1}
    taken, named = set[str](), list[Named]()
    for item in found:
        name = wanted = item.own_name
        if counts[name] > 1:
            name = wanted = f"{item.scope.place}{name}"
            numbers = itertools.count(2)
            while name in taken or name in own:
                name = f"{wanted} ({next(numbers)})"
        taken.add(name)
        named.append(replace(item, name=name))
    return named


def _own_name(op: Any) -> str:
    """Return a node's name, or that of its first output."""
    return str(op.name or next((name for name in op.output if name), ""))


def _is_recurrent(op: Any) -> bool:
    """Tell whether a node is one of those that are taken."""
    if op.domain == CONTRIBUTED:
        return bool(op.op_type == QUANTISED)
    return op.op_type in OPERATORS and op.domain in STANDARD


def check_opset(model: Any, onnx: Any) -> int:
    """Return the version of ONNX's operators, which must be one that is known here."""
    given = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    version, newest = max(given, default=FIRST_OPSET), onnx.defs.onnx_opset_version()
    known = FIRST_OPSET <= version <= newest
    if not (known and _since(onnx, version) in VERSIONS):
        raise RefusedError(f"opset: expected {FIRST_OPSET} to {newest}, got {version}")
    return int(version)


def _since(onnx: Any, version: int) -> int:
    """Return the opset in which the operators got the form that they have in one."""
    schemas = [onnx.defs.get_schema(kind, version) for kind in OPERATORS]
    return max(int(schema.since_version) for schema in schemas)
