"""One step of an LSTM that an exporter has taken apart, put together again.

torch's exporter writes an `LSTMCell` as two products, a Split and elementwise nodes:

    a = Gemm(x, W, b_ih) + Gemm(h, R, b_hh)      i, f, g, o = Split(a)
    c' = Sigmoid(f) * c + Sigmoid(i) * Tanh(g)   h' = Sigmoid(o) * Tanh(c')

It becomes an LSTM node of one step if nothing else reads what is between, the weights
are constant and no other step's, and the shapes that onnx infers say that x, h and c
have the same rows, so that nothing is broadcast. The names of h' and c' stay. All other
forms are left, as a cell that is unrolled over many steps: its weights would be packed
for each of them.
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
from exactrnn.interop.onnx._words import OPERATORS, STANDARD, reorder

USUAL = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
"""A Gemm's attributes where they are not given."""
WANTED = USUAL | {"transB": 1}
"""Those of a linear layer."""


@dataclass(frozen=True)
class Step:
    """A step that was found: its nodes, inputs, weights, and the names of its results.

    `inputs` are x, h and c.
    """

    nodes: tuple[Any, ...]
    inputs: tuple[str, str, str]
    weights: dict[str, Array]
    results: tuple[str, str]

    @property
    def shared(self) -> set[str]:
        """The names of what the two products read beside x and h."""
        return {name for op in self.nodes[:2] for name in op.input[1:]}


class _Uses:
    """Who reads a name in a graph, and the rows of what it is."""

    def __init__(self, scope: Scope, inferred: Scope) -> None:
        self.scope = scope
        self.readers: dict[str, list[Any]] = {}
        for op in scope.graph.node:
            for name in op.input:
                self.readers.setdefault(name, []).append(op)
        self.outside = {end.name for end in scope.graph.output} | _read_within(scope)
        self.shapes: dict[str, Any] = {}
        around: Scope | None = inferred
        while around is not None:
            for given in (*around.graph.value_info, *around.graph.input):
                self.shapes[given.name] = given.type.tensor_type.shape.dim
            around = around.around

    def only(self, name: str, kind: str) -> Any:
        """Return the node that reads a name, if it is the only one and of this kind."""
        found = self.readers.get(name, [])
        if name in self.outside or len(found) != 1:
            return None
        fits = found[0].op_type == kind and found[0].domain in STANDARD
        return found[0] if fits else None

    def maker(self, name: str, kind: str) -> Any:
        """Return the node of this kind that makes a name here, or None."""
        op = self.scope.makers.get(name)
        fits = op is not None and op.op_type == kind and op.domain in STANDARD
        return op if fits else None

    def rows(self, name: str) -> tuple[Any, Any] | None:
        """Return rows and columns of a matrix, as far as the file says them."""
        dims = self.shapes.get(name, ())
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


def find_steps(scope: Scope, inferred: Scope, constants: Constants) -> Iterator[Step]:
    """Yield the steps of a graph; `inferred` is the same one with shapes."""
    uses = _Uses(scope, inferred)
    for op in scope.graph.node:
        if op.op_type == "Split" and op.domain in STANDARD and len(op.output) == 4:
            step = _read_step(op, uses, constants)
            if step is not None:
                yield step


def _read_step(split: Any, uses: _Uses, constants: Constants) -> Step | None:
    """Return the step around a Split, None if it is another thing."""
    gates = _read_gates(split, uses)
    sums = uses.maker(split.input[0], "Add")
    if gates is None or sums is None or uses.only(sums.output[0], "Split") is None:
        return None
    nodes, (c, h_out, c_out) = gates
    products = [uses.maker(name, "Gemm") for name in sums.input]
    if any(p is None or uses.only(p.output[0], "Add") is None for p in products):
        return None
    try:
        sides = [_read_product(product, uses, constants) for product in products]
    except RefusedError:  # what is not constant
        return None
    if any(side is None for side in sides):
        return None
    return _assemble((*products, sums, split, *nodes), sides, (c, h_out, c_out), uses)


def _read_gates(
    split: Any, uses: _Uses
) -> tuple[list[Any], tuple[str, str, str]] | None:
    """Return the elementwise nodes after a Split, and the names of c, h' and c'."""
    kinds = ("Sigmoid", "Sigmoid", "Tanh", "Sigmoid")
    gates = [uses.only(*pair) for pair in zip(split.output, kinds, strict=True)]
    if None in gates:
        return None
    products = [uses.only(gate.output[0], "Mul") for gate in gates]
    if None in products:
        return None
    (_, f, _, o), (entry, kept, same, out) = gates, products
    last = uses.only(kept.output[0], "Add")
    if (
        last is None
        or entry.output != same.output
        or {*last.input}
        != {
            entry.output[0],
            kept.output[0],
        }
    ):
        return None
    [c], [squashed] = _others(kept, f), _others(out, o)
    tanh = uses.maker(squashed, "Tanh")
    if tanh is None or [*tanh.input] != [*last.output] or c == last.output[0]:
        return None
    if uses.only(squashed, "Mul") is None or uses.only(entry.output[0], "Add") is None:
        return None
    nodes = [*gates, entry, kept, last, tanh, out]
    return nodes, (c, out.output[0], last.output[0])


def _others(op: Any, one: Any) -> list[str]:
    """Return the inputs of a product but the one that a node makes."""
    return [name for name in op.input if name != one.output[0]]


def _read_product(
    op: Any, uses: _Uses, constants: Constants
) -> tuple[str, Array, Array] | None:
    """Return the input, the weights and the bias of a linear layer."""
    given = {a.name: a.f if a.type == 1 else a.i for a in op.attribute}
    if USUAL | given != WANTED or len(op.input) != 3:
        return None
    weight = constants.find(uses.scope, op.input[1])
    bias = constants.find(uses.scope, op.input[2])
    fits = weight.ndim == 2 and bias.shape == weight.shape[:1]
    return (op.input[0], weight, bias) if fits else None


def _assemble(
    nodes: tuple[Any, ...],
    sides: list[Any],
    names: tuple[str, str, str],
    uses: _Uses,
) -> Step | None:
    """Return a step if all shapes fit; of the two products the one of h has H columns.

    Where both have, the order of a sum of two does not matter.
    """
    c, h_out, c_out = names
    H, rest = divmod(sides[0][1].shape[0], 4)
    sides = sorted(sides, key=lambda side: side[1].shape[1] == H)
    (x, W, b_ih), (h, R, b_hh) = sides
    if rest or R.shape != (4 * H, H) or W.shape[0] != 4 * H or W.dtype != np.float32:
        return None
    if {a.dtype for a in (W, R, b_ih, b_hh)} != {W.dtype} or not _is_even(nodes, H):
        return None
    shapes = [uses.rows(name) for name in (x, h, c)]
    rows = {shape[0] for shape in shapes if shape}
    if None in shapes or None in rows or shapes[2] != (*rows, H):
        return None
    gates = OPERATORS["LSTM"]
    turned = [reorder(a, gates.rows, gates.gates) for a in (W, R, b_ih, b_hh)]
    weights = {"W": turned[0], "R": turned[1], "B": np.concatenate(turned[2:])}
    return Step(nodes, (x, h, c), weights, (h_out, c_out))


def _is_even(nodes: tuple[Any, ...], H: int) -> bool:
    """Tell whether the Split has four parts of H columns."""
    split = nodes[3]
    given = {a.name: [*a.ints] or a.i for a in split.attribute}
    parts = given.get("split", [H] * 4)
    axis = given.get("axis", 0)
    return len(split.input) == 1 and axis in (1, -1) and parts == [H] * 4


def replace_step(graph: Any, step: Step, name: str, opset: int) -> None:
    """Put an LSTM node of this name in the place of a step's nodes.

    Arrays get an axis in front, of one step or one direction, and lose it again.
    """
    onnx = import_onnx()
    make, as_tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    stored = {f"{name}_{letter}": array[None] for letter, array in step.weights.items()}
    wide = [f"{name}_{k}" for k in range(3)]
    ends = [f"{name}_h", f"{name}_c"]
    inputs = [wide[0], *stored, "", *wide[1:]]
    H = step.weights["R"].shape[1]
    axes, given = ([], {"axes": [0]}) if opset < 13 else ([f"{name}_axis"], {})
    stored |= {axis: np.zeros(1, np.int64) for axis in axes}
    graph.initializer.extend(as_tensor(array, key) for key, array in stored.items())
    made = [
        make("Unsqueeze", [old, *axes], [new], f"{new}_in", **given)
        for old, new in zip(step.inputs, wide, strict=True)
    ]
    made.append(make("LSTM", inputs, ["", *ends], name, hidden_size=H))
    made += [
        make("Squeeze", [end, *axes], [result], f"{end}_out", **given)
        for end, result in zip(ends, step.results, strict=True)
    ]
    _exchange(graph, step, made)


def _exchange(graph: Any, step: Step, new: list[Any]) -> None:
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
    """Make one node of each step of an LSTM that is found in a model, in place."""
    graphs = [scope.graph for scope in find_scopes(source.model)]
    if not any(_may_hold_a_step(graph) for graph in graphs):
        return
    model, names = source.model, Names(source.model)
    inferred = import_onnx().shape_inference.infer_shapes(model, data_prop=True)
    constants = Constants(source, opset)
    pairs = zip(find_scopes(model), find_scopes(inferred), strict=True)
    found = [
        (scope.graph, step)
        for scope, shaped in pairs
        for step in find_steps(scope, shaped, constants)
    ]
    shared = Counter(name for _, step in found for name in step.shared)
    for graph, step in found:
        if all(shared[name] == 1 for name in step.shared):
            replace_step(graph, step, names.make(f"{step.results[0]}_lstm"), opset)


def _may_hold_a_step(graph: Any) -> bool:
    """Tell whether a graph has what a step begins with."""
    kinds = {op.op_type for op in graph.node}
    parts = any(op.op_type == "Split" and len(op.output) == 4 for op in graph.node)
    return parts and {"Gemm", "Sigmoid", "Tanh"} <= kinds
