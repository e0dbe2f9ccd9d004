"""One step of an LSTM or GRU that an exporter has taken apart, put together again.

torch's exporter writes an `LSTMCell` or a `GRUCell` as two products, Splits and
elementwise nodes (`_unrolled.py` has the patterns). It becomes a node of one step if
nothing else reads what is between, the weights are constant, float32 and no other
step's, and the shapes that onnx infers say that x, h and c have the same rows, so that
nothing is broadcast. The names of h' and c' stay. All other forms are left, as a cell
that is unrolled over many steps: its weights would be packed for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn.interop.onnx._edit import Names
from exactrnn.interop.onnx._files import RefusedError, Source, import_onnx
from exactrnn.interop.onnx._graph import Constants, Scope, find_scopes
from exactrnn.interop.onnx._unrolled import Cell, find_cells
from exactrnn.interop.onnx._words import OPERATORS, reorder


@dataclass(frozen=True)
class Joined:
    """A step that was found: its nodes, inputs, weights, and the names of its results.

    `inputs` are x, h and, of an LSTM, c; `stored` names what its weights are made of.
    """

    kind: str
    nodes: tuple[Any, ...]
    inputs: tuple[str, ...]
    weights: dict[str, Array]
    results: tuple[str, ...]
    stored: frozenset[str]


class _Shapes:
    """The rows of what a graph and those around it read and make."""

    def __init__(self, inferred: Scope) -> None:
        self._known: dict[str, Any] = {}
        around: Scope | None = inferred
        while around is not None:
            for given in (*around.graph.value_info, *around.graph.input):
                self._known.setdefault(given.name, given.type.tensor_type.shape.dim)
            around = around.around

    def rows(self, name: str) -> tuple[Any, Any] | None:
        """Return rows and columns of a matrix, as far as the file says them."""
        dims = self._known.get(name, ())
        if len(dims) != 2:
            return None
        rows, columns = (dim.dim_param or dim.dim_value or None for dim in dims)
        return rows, columns


def _read_within(scope: Scope) -> set[str]:
    """Return names that graphs within a graph read."""
    found = set[str]()
    for op in scope.graph.node:
        for given in op.attribute:
            for graph in [given.g] if given.HasField("g") else given.graphs:
                inner = Scope(graph, "", scope)
                found |= {name for each in graph.node for name in each.input}
                found |= {end.name for end in graph.output} | _read_within(inner)
    return found


def find_steps(scope: Scope, inferred: Scope, constants: Constants) -> Iterator[Joined]:
    """Yield the steps of a graph; `inferred` is the same one with shapes."""
    cells = find_cells([scope], constants, either_order=True)
    found = [_read_step(cell, constants) for cell in cells if len(cell.steps) == 1]
    if not found:
        return
    shapes = _Shapes(inferred)
    seen = {end.name for end in scope.graph.output} | _read_within(scope)
    for step in found:
        if _is_closed(step, scope, seen) and _is_even(step, shapes):
            yield step


def _read_step(cell: Cell, constants: Constants) -> Joined:
    """Return the only step of a cell, with its weights as a node of ONNX has them."""
    [step] = cell.steps
    inputs = (cell.of_x.reads, cell.of_h.reads, *([step.c] if step.c else []))
    gates = OPERATORS[cell.kind]
    turned = {n: reorder(a, gates.rows, gates.gates) for n, a in cell.weights().items()}
    weights = {"W": turned["weight_ih_l0"], "R": turned["weight_hh_l0"]}
    if "bias_ih_l0" in turned:
        both = (turned["bias_ih_l0"], turned["bias_hh_l0"])
        weights["B"] = np.concatenate(both)
    nodes = _nodes_between(cell.scope, inputs, step.gives, constants)
    places = [
        place
        for product in (cell.of_x, cell.of_h)
        for place in (product.weight, product.bias)
    ]
    stored = frozenset(place[1] for place in places if place is not None)
    return Joined(cell.kind, tuple(nodes), inputs, weights, step.gives, stored)


def _nodes_between(
    scope: Scope,
    inputs: tuple[str, ...],
    results: tuple[str, ...],
    constants: Constants,
) -> list[Any]:
    """Return the nodes that make results of inputs and constants."""
    found, left = dict[int, Any](), [*results]
    while left:
        name = left.pop()
        op = scope.makers.get(name)
        if op is None or name in inputs or id(op) in found:
            continue
        if name not in results and _is_constant(scope, name, constants):
            continue
        found[id(op)] = op
        left += op.input
    return [op for op in scope.graph.node if id(op) in found]


def _is_constant(scope: Scope, name: str, constants: Constants) -> bool:
    """Tell whether a name has a value."""
    try:
        constants.find(scope, name)
    except RefusedError:
        return False
    return True


def _is_closed(step: Joined, scope: Scope, seen: set[str]) -> bool:
    """Tell whether nobody else reads what is between inputs and results.

    `seen` are names that are read outside of the graph's own nodes.
    """
    own = {id(op) for op in step.nodes}
    made = {name for op in step.nodes for name in op.output} - {*step.results}
    others = (op for op in scope.graph.node if id(op) not in own)
    return made.isdisjoint(seen) and all(made.isdisjoint(op.input) for op in others)


def _is_even(step: Joined, shapes: _Shapes) -> bool:
    """Tell whether x, h and c are known to have the same rows, and all are float32."""
    H = step.weights["R"].shape[1]
    found = [shapes.rows(name) for name in step.inputs]
    rows = {shape[0] for shape in found if shape}
    known = None not in found and None not in rows and len(rows) == 1
    widths = {shape[1] for shape in found[1:] if shape}
    floats = {array.dtype for array in step.weights.values()} == {np.dtype("f4")}
    return known and widths == {H} and floats


def replace_step(graph: Any, step: Joined, name: str, opset: int) -> None:
    """Put a recurrent node of this name in the place of a step's nodes.

    Arrays get an axis in front, of one step or one direction, and lose it again.
    """
    onnx = import_onnx()
    make, as_tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    stored = {f"{name}_{letter}": array[None] for letter, array in step.weights.items()}
    wide = [f"{name}_{k}" for k in range(len(step.inputs))]
    ends = [f"{name}_{state}" for state in OPERATORS[step.kind].states]
    given_bias = [] if "B" in step.weights else [""]
    inputs = [wide[0], *stored, *given_bias, "", *wide[1:]]
    H = step.weights["R"].shape[1]
    axes, given = ([], {"axes": [0]}) if opset < 13 else ([f"{name}_axis"], {})
    stored |= {axis: np.zeros(1, np.int64) for axis in axes}
    graph.initializer.extend(as_tensor(array, key) for key, array in stored.items())
    made = [
        make("Unsqueeze", [old, *axes], [new], f"{new}_in", **given)
        for old, new in zip(step.inputs, wide, strict=True)
    ]
    own = {"linear_before_reset": 1} if step.kind == "GRU" else {}
    made.append(make(step.kind, inputs, ["", *ends], name, hidden_size=H, **own))
    made += [
        make("Squeeze", [end, *axes], [result], f"{end}_out", **given)
        for end, result in zip(ends, step.results, strict=True)
    ]
    _exchange(graph, step, made)


def _exchange(graph: Any, step: Joined, new: list[Any]) -> None:
    """Put nodes in the place of a step's: behind those that make what it reads."""
    gone = {op.output[0] for op in step.nodes}
    place = 0
    for k, op in enumerate(graph.node):
        if {*op.output} & {*step.inputs}:
            place = k + 1
    before, after = [*graph.node[:place]], [*graph.node[place:]]
    nodes = [op for op in before if gone.isdisjoint(op.output)] + new
    nodes += [op for op in after if gone.isdisjoint(op.output)]
    copies = [type(op).FromString(op.SerializeToString()) for op in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def join_steps(source: Source, opset: int) -> None:
    """Make one node of each step that is found in a model, in place."""
    graphs = [scope.graph for scope in find_scopes(source.model)]
    if not any(_may_hold_a_step(graph) for graph in graphs):
        return
    model, names = source.model, Names(source.model)
    inferred = import_onnx().shape_inference.infer_shapes(model, data_prop=True)
    constants = Constants(source, opset, defaults=False)
    pairs = zip(find_scopes(model), find_scopes(inferred), strict=True)
    found = [
        (scope.graph, step)
        for scope, shaped in pairs
        for step in find_steps(scope, shaped, constants)
    ]
    shared = Counter(name for _, step in found for name in step.stored)
    for graph, step in found:
        if all(shared[name] == 1 for name in step.stored):
            name = names.make(f"{step.results[0]}_{step.kind.lower()}")
            replace_step(graph, step, name, opset)


def _may_hold_a_step(graph: Any) -> bool:
    """Tell whether a graph has what a step begins with."""
    kinds = {op.op_type for op in graph.node}
    parts = any(op.op_type == "Split" and len(op.output) in (3, 4) for op in graph.node)
    return parts and {"Sigmoid", "Tanh"} <= kinds and not kinds.isdisjoint(PRODUCTS)


PRODUCTS = ("Gemm", "MatMul")
"""Nodes that a linear layer may be made of."""
