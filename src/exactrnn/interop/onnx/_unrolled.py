"""Cells that an exporter has taken apart, as torch's does with its single steps.

An LSTM's step is then Gemm, Add, Split, Sigmoid, Tanh, Mul and Add; a loop over time is
as many of these as it has steps, all with the same weights. Here the steps are found by
their whole pattern, and those of one cell are put together:

    a = x W^T + b + h R^T + d       i, f, g, o = Split(a)        LSTM
    c' = Sigmoid(f) * c + Sigmoid(i) * Tanh(g)
    h' = Sigmoid(o) * Tanh(c')

    a = x W^T + b,  v = h R^T + d   two Splits into r, z, n      GRU
    n = Tanh(a_n + Sigmoid(a_r + v_r) * v_n)
    h' = (h - n) * Sigmoid(a_z + v_z) + n

Gates stand in torch's order, which is ours. Of an LSTM's two products one reads h, and
nothing in a step says which. It is the one that reads the h' of the step whose c' is
read as c; or else names tell, which end as in torch; or else widths, where they differ.
Where none of them tells, the cell is not taken. A simple network's step, Tanh of a sum,
is no pattern by itself, and is not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.limits import quote
from exactrnn.interop.onnx._files import RefusedError
from exactrnn.interop.onnx._graph import Constants, Scope
from exactrnn.interop.onnx._words import OPERATORS, STANDARD

Place: TypeAlias = tuple[Scope, str]
"""A constant: the graph that has it, and its name."""


class _NoMatchError(Exception):
    """The nodes are no step of a cell."""


@dataclass(frozen=True)
class Product:
    """A product with a constant matrix: what it reads, and where its weights are."""

    reads: str
    weight: Place
    bias: Place | None
    turned: bool
    """Whether the matrix is stored as [O, I]."""

    def matrix(self, constants: Constants) -> Array:
        """Return the matrix [O, I]."""
        array = constants.find(*self.weight)
        return array if self.turned else array.T

    def identity(self, constants: Constants) -> tuple[Any, ...]:
        """Return what products of one cell have in common.

        Exporters store a bias anew for each step, so its numbers count.
        """
        bias = None if self.bias is None else constants.find(*self.bias).tobytes()
        return self.weight, self.turned, bias


@dataclass(frozen=True)
class Step:
    """One step of a cell: what it reads, and the names of h' and of c'."""

    kind: str
    products: tuple[Product, Product]
    """Of x and of h; of an LSTM in the file's order, until it is clear."""
    gives: tuple[str, ...]
    c: str = ""
    """The name of the c that an LSTM's step reads."""

    def identity(self, constants: Constants) -> tuple[Any, ...]:
        """Return what steps of one cell have in common, an LSTM's in either order."""
        of_x, of_h = (product.identity(constants) for product in self.products)
        pair = (of_x, of_h) if self.kind == "GRU" else frozenset((of_x, of_h))
        return self.kind, pair


@dataclass(frozen=True)
class Cell:
    """A cell with all its steps in a graph."""

    kind: str
    scope: Scope
    constants: Constants
    of_x: Product
    of_h: Product
    steps: tuple[Step, ...]
    name: str = ""

    @property
    def own_name(self) -> str:
        """Torch's name of the module, or the name of what the first step gives."""
        stored = self.of_x.weight[1]
        module = stored.removesuffix("weight_ih").rstrip(".")
        return module if module and module != stored else self.steps[0].gives[0]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all that its steps give."""
        return tuple(name for step in self.steps for name in step.gives)

    def title(self) -> str:
        """Return what it is and its name, for messages."""
        return f"{self.kind} {quote(self.name)}"

    def weights(self) -> dict[str, Array]:
        """Return the weights as a layer of one direction has them, by name."""
        found = {}
        for part, product in (("ih", self.of_x), ("hh", self.of_h)):
            found[f"weight_{part}_l0"] = product.matrix(self.constants)
            if product.bias is not None:
                bias = self.constants.find(*product.bias)
                found[f"bias_{part}_l0"] = bias.reshape(-1)
        return found

    def fits(self) -> bool:
        """Tell whether the weights are such as a cell of this kind has."""
        shapes = {name: array.shape for name, array in self.weights().items()}
        rows, *width = shapes.pop("weight_hh_l0")
        first, *read = shapes.pop("weight_ih_l0")
        G = len(OPERATORS[self.kind].gates)
        square = len(width) == len(read) == 1 and first == rows == G * width[0]
        return square and {*shapes.values()} <= {(rows,)} and len(shapes) != 1


def find_cells(
    scopes: Sequence[Scope], constants: Constants, either_order: bool = False
) -> list[Cell]:
    """Return the cells of all graphs that are clear, each with all its steps.

    With `either_order` also those where nothing tells x from h: for a sum of both
    products it does not matter.
    """
    found = []
    for scope in scopes:
        groups: dict[Any, list[Step]] = {}
        for step in _Finder(scope, constants).steps():
            groups.setdefault(step.identity(constants), []).append(step)
        for steps in groups.values():
            products = _ordered(steps, constants)
            if products is None and either_order:
                products = steps[0].products
            if products is not None:
                cell = Cell(steps[0].kind, scope, constants, *products, tuple(steps))
                found += [cell] if cell.fits() else []
    return found


# Which product reads h


def _ordered(
    steps: Sequence[Step], constants: Constants
) -> tuple[Product, Product] | None:
    """Return the products of x and of h of a cell's first step, None if unclear."""
    first, second = steps[0].products
    if steps[0].kind == "GRU":
        return first, second
    weight = _by_chain(steps) or _by_names(steps[0]) or _by_width(steps[0], constants)
    if weight is None:
        return None
    return (second, first) if weight == first.weight else (first, second)


def _by_chain(steps: Sequence[Step]) -> Place | None:
    """Return the weights of h by the steps: h and c come from the same one."""
    before = {step.gives[1]: step.gives[0] for step in steps}
    found = {
        product.weight
        for step in steps
        for product in step.products
        if product.reads == before.get(step.c)
    }
    return found.pop() if len(found) == 1 else None


def _by_names(step: Step) -> Place | None:
    """Return the weights of h by names that end as torch's."""
    named = {product.weight[1][-9:]: product.weight for product in step.products}
    return named["weight_hh"] if {*named} == {"weight_ih", "weight_hh"} else None


def _by_width(step: Step, constants: Constants) -> Place | None:
    """Return the weights of h by their width, if it is that of a gate."""
    matrices = [product.matrix(constants) for product in step.products]
    square = [
        product.weight
        for product, matrix in zip(step.products, matrices, strict=True)
        if matrix.ndim == 2 and matrix.shape[0] == 4 * matrix.shape[1]
    ]
    return square[0] if len(square) == 1 else None


# Patterns


class _Finder:
    """The steps in one graph."""

    def __init__(self, scope: Scope, constants: Constants) -> None:
        self._scope, self._constants = scope, constants
        self._users: dict[str, list[Any]] = {}
        for op in scope.graph.node:
            for name in dict.fromkeys(op.input):
                self._users.setdefault(name, []).append(op)

    def steps(self) -> Iterator[Step]:
        """Yield the steps, in the order of the nodes."""
        matches = {4: self._lstm, 3: self._gru}
        for op in self._scope.graph.node:
            match = matches.get(len(op.output)) if op.op_type == "Split" else None
            if match is not None:
                try:
                    yield match(op)
                except _NoMatchError:
                    continue

    def _lstm(self, split: Any) -> Step:
        """Return the step whose gates a node splits."""
        i, f, g, o = self._gates(split)
        i, f, o = (self._user("Sigmoid", gate) for gate in (i, f, o))
        g = self._user("Tanh", g)
        kept, new = self._user("Mul", f), self._user("Mul", i, g)
        c = self._user("Add", kept, new)
        h = self._user("Mul", o, self._user("Tanh", c))
        first, second = self._terms(self._maker("Add", split.input[0]))
        products = (self._product(first), self._product(second))
        return Step("LSTM", products, (h, c), self._other("Mul", f))

    def _gru(self, split: Any) -> Step:
        """Return the step whose recurrent product a node splits."""
        v_r, v_z, v_n = self._gates(split)
        r = self._user("Sigmoid", self._user("Add", v_r))
        z = self._user("Sigmoid", self._user("Add", v_z))
        summed = self._user("Add", self._user("Mul", r, v_n))
        n = self._user("Tanh", summed)
        gates = [self._other("Add", v) for v in (v_r, v_z)]
        gates.append(self._other("Add", self._user("Mul", r, v_n)))
        ahead = self._scope.makers.get(gates[0])
        if ahead is None or ahead.op_type != "Split":
            raise _NoMatchError
        if self._gates(ahead) != gates:
            raise _NoMatchError
        of_x = self._product(ahead.input[0])
        of_h = self._product(split.input[0])
        away = self._user("Sub", of_h.reads, n)
        if [*self._scope.makers[away].input] != [of_h.reads, n]:
            raise _NoMatchError
        h = self._user("Add", self._user("Mul", away, z), n)
        return Step("GRU", (of_x, of_h), (h,))

    # Nodes

    def _gates(self, split: Any) -> list[str]:
        """Return the outputs of a Split into equal parts of the last of two axes."""
        values = {given.name: given for given in split.attribute}
        axis = values["axis"].i if "axis" in values else 0
        if axis not in (1, -1) or not all(split.output) or not _is_standard(split):
            raise _NoMatchError
        sizes = [*values["split"].ints] if "split" in values else []
        if len(split.input) > 1 and split.input[1]:
            sizes = [*self._find(split.input[1])]
        if len({*sizes}) > 1:
            raise _NoMatchError
        return [*split.output]

    def _user(self, kind: str, *names: str) -> str:
        """Return the output of the only node of a kind that reads these names."""
        found = [
            op
            for op in self._users.get(names[0], ())
            if op.op_type == kind and _is_standard(op) and {*names} <= {*op.input}
        ]
        if len(found) != 1 or len(found[0].output) != 1:
            raise _NoMatchError
        return str(found[0].output[0])

    def _other(self, kind: str, name: str) -> str:
        """Return what else the only user of a kind reads."""
        op = self._maker(kind, self._user(kind, name))
        first, second = self._terms(op)
        return second if first == name else first

    def _maker(self, kind: str, name: str) -> Any:
        """Return the node of a kind that makes a name."""
        op = self._scope.makers.get(name)
        if op is None or op.op_type != kind or not _is_standard(op):
            raise _NoMatchError
        return op

    def _terms(self, op: Any) -> tuple[str, str]:
        """Return what a node of two inputs reads."""
        if len(op.input) != 2:
            raise _NoMatchError
        return str(op.input[0]), str(op.input[1])

    def _product(self, name: str) -> Product:
        """Return the product with a constant matrix that a name is."""
        op = self._scope.makers.get(name)
        if op is None or not _is_standard(op):
            raise _NoMatchError
        if op.op_type == "Gemm":
            return self._gemm(op)
        bias = None
        if op.op_type == "Add":
            name, other = self._terms(op)
            if self._is_constant(name):
                name, other = other, name
            bias = self._place(other)
            op = self._maker("MatMul", name)
        if op.op_type != "MatMul":
            raise _NoMatchError
        return Product(op.input[0], self._place(op.input[1]), bias, False)

    def _gemm(self, op: Any) -> Product:
        """Return the product that a Gemm is, if it scales nothing."""
        values = {given.name: given for given in op.attribute}
        scales = [values[n].f for n in ("alpha", "beta") if n in values]
        turns = {n: bool(values[n].i) for n in ("transA", "transB") if n in values}
        if any(scale != 1 for scale in scales) or turns.get("transA"):
            raise _NoMatchError
        bias = self._place(op.input[2]) if len(op.input) > 2 and op.input[2] else None
        weight = self._place(op.input[1])
        return Product(op.input[0], weight, bias, turns.get("transB", False))

    def _place(self, name: str) -> Place:
        """Return where a constant is."""
        owner = self._scope.owner(name)
        if owner is None or not self._is_constant(name):
            raise _NoMatchError
        return owner, name

    def _is_constant(self, name: str) -> bool:
        """Tell whether a name has a value."""
        try:
            self._constants.find(self._scope, name)
        except RefusedError:
            return False
        return True

    def _find(self, name: str) -> Array:
        """Return a constant."""
        if not self._is_constant(name):
            raise _NoMatchError
        return np.asarray(self._constants.find(self._scope, name))


def _is_standard(op: Any) -> bool:
    """Tell whether a node is one of ONNX's own operators."""
    return op.domain in STANDARD
