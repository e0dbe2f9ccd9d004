"""One layer in one direction: its cell, its weights, and where the weights stand.

Every weight matrix is a set of rectangular blocks.  A block takes some fields of one
operand to some units of one sum, and everything the engine does with a matrix, it does
block by block:

    forward     sum[units]      the chain goes on over  operand[fields]
    backward    operand[fields] the chain goes on over  da[units]
    gradient    block           the long sum of         da[units] * operand[fields]

So a gate is a block, a link from gate to gate is one, and in a clockwork layer there is
one for each pair of modules that is connected, and one for each head.

Letters: H units, O the width of the output state, which is H but for cells that
project; n gates that are linked.

Twin: ``csrc/kernels/math/products.h``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._spec.activations import Activation
from exactrnn._system.locks import cached_property
from exactrnn.reference.cells._cell import Array, Cell, Options, Sum

Bools: TypeAlias = NDArray[np.bool_]
Clock: TypeAlias = NDArray[np.int64]


class Weights(NamedTuple):
    """The weights of one layer in one direction, or their gradients; None if absent.

    Parameters
    ----------
    w_ih, w_hh : Array
        ``W`` and ``R``: a row block [H, I] of each of ``Cell.gates``, and a row block
        [H, O] of each of ``Cell.recurrent_gates``; as high as the gate has values, and
        wider by H for each state that is ``Cell.heard``.
    b_ih, b_hh : Array
        A bias for each row of them.
    w_hr, b_hr : Array
        The matrix that projects, [O, H], and its bias [O].
    vectors : Array
        Weights of one per unit [V, H], in the order of ``Cell.vectors``.
    w_gates : Array
        The links [n*H, n*H]; rows receive, columns send, in the order of
        ``Cell.links``.
    """

    w_ih: Array
    w_hh: Array | None = None
    b_ih: Array | None = None
    b_hh: Array | None = None
    w_hr: Array | None = None
    b_hr: Array | None = None
    vectors: Array | None = None
    w_gates: Array | None = None

    @classmethod
    def of(cls, roles: Iterable[Array | None]) -> Weights:
        """Return weights given in order; the first is never absent."""
        w_ih, *others = roles
        assert w_ih is not None
        return cls(w_ih, *others)


class ClockModule(NamedTuple):
    """Neighbouring units with a clock of their own, and the steps between its ticks."""

    units: slice
    period: int


class Block(NamedTuple):
    """A rectangle of a weight matrix, as the head of this file explains.

    Parameters
    ----------
    matrix : str
        The matrix: a field of `Weights`.
    rows, columns : slice
        Where in the matrix.
    sum, units : Sum, slice
        What it is multiplied for; `module` is the number of the units' module.
    operand, fields : str, slice
        What it is multiplied with: ``"x"``, ``"prev:h"``, ``"slot:s"``.
    """

    matrix: str
    rows: slice
    columns: slice
    sum: Sum
    units: slice
    module: int
    operand: str
    fields: slice


class Product(NamedTuple):
    """Blocks that see the same fields of one operand, and their entries stacked."""

    blocks: tuple[Block, ...]
    entries: Array


@dataclass(frozen=True)
class Direction:
    """One layer in one direction.

    Parameters
    ----------
    cell : Cell
        From ``exactrnn.reference.cells.CELLS``, adapted to the options.
    weights : Weights
        All of one dtype.
    activations : tuple of str or tuple
        One for each of ``cell.activations``.
    reverse : bool
        Whether time runs from each row's last step to its first.
    clip : float, optional
        Limit of the pre-activations' size.
    options : Mapping
        The layer's options; ``"modules"``, pairs (size, period), are read here.
    """

    cell: Cell
    weights: Weights
    activations: tuple[Activation, ...]
    reverse: bool = False
    clip: float | None = None
    options: Options = field(default_factory=dict)

    @property
    def hidden_size(self) -> int:
        """H."""
        blocks = 0
        for gate in self.cell.gates:
            blocks += self.cell.values(gate)
        return int(self.weights.w_ih.shape[0]) // blocks

    @property
    def output_size(self) -> int:
        """O."""
        if self.weights.w_hh is None:
            return self.hidden_size
        columns = int(self.weights.w_hh.shape[1]) * self.num_heads
        return columns - len(self.cell.heard) * self.hidden_size

    @property
    def num_heads(self) -> int:
        """The number of groups of units that products with R do not mix."""
        compiled = self.options.get("compiled")
        return 1 if compiled is None else int(compiled.form.num_heads)

    @property
    def output(self) -> str:
        """The letter of the output state."""
        return self.cell.states[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return self.weights.w_ih.dtype

    def width(self, s: Sum) -> int:
        """Return how many elements a sum has."""
        return self.output_size if s.matrix == "hr" else self.slot_width(s.name)

    def state_width(self, name: str) -> int:
        """Return how many elements a state has: O for the output."""
        return self.output_size if name == self.output else self.slot_width(name)

    def slot_width(self, name: str) -> int:
        """Return how many elements the units have under this letter."""
        return self.hidden_size * self.cell.values(name)

    def vectors(self) -> dict[str, Array]:
        """Return the per-unit weights [H] by letter."""
        rows = self.weights.vectors
        if rows is None:
            return {}
        names = [vector.name for vector in self.cell.vectors]
        return dict(zip(names, rows, strict=True))

    def times(self, T: int) -> range:
        """Return the steps in forward's order."""
        return range(T - 1, -1, -1) if self.reverse else range(T)

    # Biases

    def bias_rows(self, s: Sum) -> list[tuple[str, slice]]:
        """Return the biases that a sum starts at: fields of `Weights`, and rows."""
        if s.bias == "none":
            return []
        if s.matrix == "hr":
            return [("b_hr", slice(0, self.output_size))]
        w, r = s.w, s.r
        if isinstance(s.bias, tuple):
            kind, block = s.bias
            w = None if kind == "hh" else block
            r = {"x": s.r, "ih": None, "hh": block}[kind]
        H = self.hidden_size
        return [
            (name, slice(block * H, block * H + self.width(s)))
            for name, block in (("b_ih", w), ("b_hh", r))
            if block is not None
        ]

    # Clocks

    @cached_property
    def modules(self) -> tuple[ClockModule, ...]:
        """The modules in storage order; all units are one but in clockwork layers."""
        modules, first = [], 0
        for size, period in self.options.get("modules") or ((self.hidden_size, 1),):
            modules.append(ClockModule(slice(first, first + size), period))
            first += size
        return tuple(modules)

    def ticks(self, active: Bools, clock: Clock | None) -> Bools:
        """Tell which modules take part in which step.

        Parameters
        ----------
        active : NDArray
            Which rows take part, [T, B].
        clock : NDArray, optional
            The steps that each row has behind it, [B]; none by default.

        Returns
        -------
        NDArray
            [T, B, modules]: whether the clock of an active row is a multiple of the
            module's period.  A row's clock counts its own steps, in forward's order.
        """
        T, B = active.shape
        steps = np.broadcast_to(np.arange(T, dtype=np.int64)[:, None], (T, B))
        if self.reverse:
            steps = np.count_nonzero(active, axis=0) - 1 - steps
        if clock is not None:
            steps = steps + clock
        periods = np.array([module.period for module in self.modules], np.int64)
        ticks: Bools = (steps[:, :, None] % periods == 0) & active[:, :, None]
        return ticks

    def units_of(self, ticks: Bools) -> Bools:
        """From modules [..., modules] to their units [..., H], or [..., 1] for all."""
        if len(self.modules) == 1:
            return ticks
        sizes = [module.units.stop - module.units.start for module in self.modules]
        return np.repeat(ticks, sizes, axis=-1)

    # Blocks

    def entries(self, block: Block, weights: Weights | None = None) -> Array:
        """Return the block of these weights, or of `weights`: a view."""
        matrix = getattr(weights or self.weights, block.matrix)
        entries: Array = matrix[block.rows, block.columns]
        return entries

    @cached_property
    def input_blocks(self) -> tuple[Block, ...]:
        """The blocks of ``W``, in storage order."""
        every = slice(0, int(self.weights.w_ih.shape[1]))
        return tuple(
            Block(
                matrix="w_ih",
                rows=moved(units, (s.w or 0) * self.hidden_size),
                columns=every,
                sum=s,
                units=units,
                module=module,
                operand="x",
                fields=every,
            )
            for s in self.cell.sums_by_row("w")
            for module, units in enumerate(self._parts(s))
        )

    def _parts(self, s: Sum) -> list[slice]:
        """Return the units of a sum that belong to each module."""
        if len(self.modules) == 1:
            return [slice(0, self.width(s))]
        return [module.units for module in self.modules]

    @cached_property
    def recurrent_blocks(self) -> tuple[Block, ...]:
        """The blocks of all recurrent matrices, each matrix in storage order."""
        sums = [s for name in ("hh", "hr") for s in self.cell.sums_by_row("r", name)]
        blocks = [
            Block(
                matrix=f"w_{s.matrix}",
                rows=moved(units, (s.r or 0) * self.hidden_size),
                columns=moved(fields, column - self._head_of(fields)),
                sum=s,
                units=units,
                module=module,
                operand=operand,
                fields=fields,
            )
            for s in sums
            for operand, column in self._operands(s)
            for module, units, fields in self._connections(s, operand)
        ]
        return (*blocks, *self._links())

    def _operands(self, s: Sum) -> list[tuple[str, int]]:
        """Return what a sum's recurrent matrix sees, each from which column on."""
        if s.operand:
            return [(f"slot:{s.operand}", 0)]
        heard, O, H = self.cell.heard, self.output_size, self.hidden_size
        others = [(f"prev:{name}", O + k * H) for k, name in enumerate(heard)]
        return [(f"prev:{self.output}", 0), *others]

    def _connections(self, s: Sum, operand: str) -> list[tuple[int, slice, slice]]:
        """Return which fields of an operand each module of a sum sees.

        Heads see themselves, modules themselves and those that tick as slowly or more
        slowly.
        """
        if self.num_heads > 1:
            size = self.hidden_size // self.num_heads
            heads = [slice(k, k + size) for k in range(0, self.hidden_size, size)]
            return [(0, units, units) for units in heads]
        if len(self.modules) == 1:
            is_output = operand == f"prev:{self.output}"
            fields = self.output_size if is_output else self.hidden_size
            return [(0, slice(0, self.width(s)), slice(0, fields))]
        return [
            (module, to.units, source.units)
            for module, to in enumerate(self.modules)
            for source in self.modules
            if source.period >= to.period
        ]

    def _head_of(self, fields: slice) -> int:
        """Return the first field of a head, whose columns begin anew; else 0."""
        return int(fields.start) if self.num_heads > 1 else 0

    def _links(self) -> list[Block]:
        """Return the blocks of the matrix of links."""
        H, every = self.hidden_size, slice(0, self.hidden_size)
        sums = {s.name: s for s in self.cell.sums}
        return [
            Block(
                matrix="w_gates",
                rows=moved(every, row * H),
                columns=moved(every, column * H),
                sum=sums[name],
                units=every,
                module=0,
                operand=f"prev:{state}",
                fields=every,
            )
            for row, (name, _) in enumerate(self.cell.links)
            for column, (_, state) in enumerate(self.cell.links)
        ]

    def blocks_of(self, operand: str) -> tuple[Block, ...]:
        """Return the blocks that see an operand, in storage order."""
        blocks = (*self.input_blocks, *self.recurrent_blocks)
        return tuple(block for block in blocks if block.operand == operand)

    def products(self, blocks: Iterable[Block]) -> list[Product]:
        """Put blocks that see the same fields together, in the order of a sum's chain.

        The chain of a sum goes through the matrices in the order of `Weights`, and
        through each by columns; each head has the same ones.
        """

        def place(block: Block) -> tuple[int, int, int, str]:
            return (
                Weights._fields.index(block.matrix),
                block.columns.start,
                block.fields.start,
                block.operand,
            )

        groups = [
            tuple(group) for _, group in groupby(sorted(blocks, key=place), key=place)
        ]
        return [
            Product(group, np.concatenate([self.entries(block) for block in group]))
            for group in groups
        ]


def moved(part: slice, by: int) -> slice:
    """Return a slice that begins and ends so much later."""
    return slice(part.start + by, part.stop + by)
