"""One layer in one direction, forward: the time loop that all cells share.

Elementwise mathematics of a step lives in ``cells/<name>.py``, sums of products and
elementary functions in ``arith.py``, the weights' layout in ``direction.py``,
backward in ``sequence_backward.py``, whole layers in ``layers.py``.

Lengths need no reordering: at time t the rows with t < length are active, in both
directions.  A row that is not active keeps its state, or the gradient of its state,
bit for bit; its output is +0.0, its input and output gradient are never read, and
into the sums over time and batch it brings +0.0 * +0.0.

In a clockwork layer the units of an active row take part when their module ticks;
those that do not keep their state too, which is their output.

Twin: ``csrc/kernels/layer/sequence.h`` with ``products.h``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn.reference.arith import chain
from exactrnn.reference.cells._cell import Array, Arrays, Step, Sum
from exactrnn.reference.direction import Block, Bools, Clock, Direction, Product
from exactrnn.reference.masks import NO_MASKS, DirectionMasks, mix, shares


@dataclass(frozen=True)
class DirectionCache:
    """What `direction_forward` keeps: arrays [T, B, H] by letter, +0.0 in padding.

    Parameters
    ----------
    direction : Direction
        What was run.
    x : Array
        The input [T, B, I], +0.0 in padding.
    active : NDArray
        Which rows take part in which step, booleans [T, B].
    ticks : NDArray
        Which modules of them do, booleans [T, B, modules].
    prev, state : dict
        States before and after each step, by letter.
    slots : dict
        What the cell keeps for backward, by letter (``Cell.slots``).
    lower : Array, optional
        The cell state of the layer below, +0.0 in padding.
    proposed : dict
        States after each step before zoneout: `state` itself where there is none.
    masks : DirectionMasks
        What was dropped.
    """

    direction: Direction
    x: Array
    active: Bools
    ticks: Bools
    prev: Arrays
    state: Arrays
    slots: Arrays
    lower: Array | None
    proposed: Arrays
    masks: DirectionMasks

    def read_by(self, block: Block) -> Array:
        """Return what a block was multiplied with, [T, B, ...]."""
        return self.masks.heard(block, self.kept(block.operand))

    def kept(self, name: str) -> Array:
        """Return what products are made with, [T, B, ...].

        Parameters
        ----------
        name : str
            ``"x"``, ``"lower"``, or a letter after where to look for it: ``"prev:h"``,
            ``"next:c"``, ``"slot:s"``.
        """
        if name == "x":
            return self.x
        if name == "lower":
            assert self.lower is not None
            return self.lower
        place, _, letter = name.partition(":")
        places = {"prev": self.prev, "next": self.proposed, "slot": self.slots}
        return places[place][letter]


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """From [T, B, n] to [T*B, n]: steps and rows as one axis, k = t*B + b."""
    T, B, n = array.shape
    return array.reshape(T * B, n)


def start(direction: Direction, s: Sum) -> Array:
    """Return where a sum starts: the rounded sum of its two biases, or its one."""
    biases = [
        bias[rows]
        for name, rows in direction.bias_rows(s)
        if (bias := getattr(direction.weights, name)) is not None
    ]
    if len(biases) == 2:
        return np.asarray(biases[0] + biases[1])
    return biases[0] if biases else np.zeros(direction.width(s), direction.dtype)


def sums_over_x(direction: Direction, x: Array) -> Arrays:
    """Start every sum and run it over x: [T, B, H] by letter."""
    T, B, _ = x.shape
    a = {s.name: np.tile(start(direction, s), (T * B, 1)) for s in direction.cell.sums}
    for product in direction.products(direction.input_blocks):
        continue_sums(product, flat(x), a)
    return {name: a[name].reshape(T, B, a[name].shape[1]) for name in a}


def continue_sums(product: Product, operand: Array, a: Arrays) -> None:
    """Run sums on over the fields of an operand that a product sees, in place.

    Parameters
    ----------
    product : Product
        What to multiply with.
    operand : Array
        The operand, whole, [B, ...].
    a : dict
        The sums so far, [B, H] by letter.
    """
    parts = [a[block.sum.name][:, block.units] for block in product.blocks]
    fields = product.blocks[0].fields
    total = chain(np.concatenate(parts, axis=1), operand[:, fields], product.entries)
    first = 0
    for part in parts:
        part[...] = total[:, first : first + part.shape[1]]
        first += part.shape[1]


def finish_sums(
    products: Iterable[Product],
    step: Step,
    a: Arrays,
    masks: DirectionMasks = NO_MASKS,
) -> None:
    """Run the sums of a stage on over their recurrent operands, in place."""
    for product in products:
        block = product.blocks[0]
        place, _, letter = block.operand.partition(":")
        values = step.prev if place == "prev" else step.slots
        continue_sums(product, masks.heard(block, values[letter]), a)


@np.errstate(all="ignore")
def direction_forward(
    direction: Direction,
    x: Array,
    state: tuple[Array, ...] | None = None,
    lengths: NDArray[np.integer[Any]] | None = None,
    clock: Clock | None = None,
    lower: Array | None = None,
    masks: DirectionMasks = NO_MASKS,
) -> tuple[Array, tuple[Array, ...], DirectionCache]:
    """Run one layer in one direction.

    Parameters
    ----------
    direction : Direction
        Cell, weights and which way time runs.
    x : Array
        Input [T, B, I], of the weights' dtype.
    state : tuple of Array, optional
        Initial states [B, H], the first [B, O], in the order of ``cell.states``; zeros
        by default.
    lengths : NDArray, optional
        Integers 0 to T, [B]; all T by default.
    clock : NDArray, optional
        The steps that each row has behind it, [B], for modules; none by default.
    lower : Array, optional
        The cell state of the layer below, [T, B, H], for cells that take it.
    masks : DirectionMasks, optional
        Of recurrent dropout and zoneout; without them the mean of zoneout.

    Returns
    -------
    y : Array
        Output [T, B, O], +0.0 past a row's length.
    state : tuple of Array
        States at each row's own end, shaped like the initial ones.
    cache : DirectionCache
        For `direction_backward`.
    """
    cell, dtype = direction.cell, direction.dtype
    T, B, _ = x.shape
    widths = {name: direction.state_width(name) for name in cell.states}
    active = active_rows(T, B, lengths)
    ticks = direction.ticks(active, clock)
    x = np.where(active[:, :, None], x, dtype.type(0))
    if lower is not None:
        lower = np.where(active[:, :, None], lower, dtype.type(0))
    if state is None:
        state = tuple(np.zeros((B, widths[name]), dtype) for name in cell.states)
    now = dict(zip(cell.states, state, strict=True))

    prev = {name: np.zeros((T, B, widths[name]), dtype) for name in cell.states}
    after = {name: np.zeros((T, B, widths[name]), dtype) for name in cell.states}
    zones = shares(direction)
    proposed = after | {name: np.zeros_like(after[name]) for name in zones}
    slots = {
        name: np.zeros((T, B, direction.slot_width(name)), dtype) for name in cell.slots
    }
    stages = [
        direction.products(b for b in direction.recurrent_blocks if b.sum.stage == n)
        for n in range(cell.stages)
    ]
    a = sums_over_x(direction, x)
    for t in direction.times(T):
        step = new_step(direction, now)
        if lower is not None:
            step.lower = lower[t]
        a_t = {name: a[name][t] for name in a}
        for stage, point_forward in enumerate(cell.forward):
            finish_sums(stages[stage], step, a_t, masks)
            step.a.update({s.name: a_t[s.name] for s in cell.sums if s.stage == stage})
            point_forward(step)

        rows = active[t]
        takes_part = direction.units_of(ticks[t])
        for name in cell.slots:
            slots[name][t, rows] = step.slots[name][rows]
        for name, share in zones.items():
            proposed[name][t, rows] = step.state[name][rows]
            stays = masks.stays.get(name)
            own = None if stays is None else stays[t]
            step.state[name] = mix(share, own, now[name], step.state[name])
        for name in cell.states:
            state_t = np.where(takes_part, step.state[name], now[name])
            prev[name][t, rows] = now[name][rows]
            after[name][t, rows] = state_t[rows]
            now[name] = state_t
    cache = DirectionCache(
        direction, x, active, ticks, prev, after, slots, lower, proposed, masks
    )
    return after[direction.output].copy(), tuple(now.values()), cache


def new_step(direction: Direction, prev: Arrays) -> Step:
    """Return a step with all that a layer says once for all steps."""
    return Step(
        direction.activations,
        prev=dict(prev),
        vectors=direction.vectors(),
        clip=direction.clip,
        options=direction.options,
    )


def active_rows(T: int, B: int, lengths: NDArray[np.integer[Any]] | None) -> Bools:
    """Tell which rows take part in which step: t < length, [T, B]."""
    if lengths is None:
        return np.ones((T, B), np.bool_)
    return np.arange(T)[:, None] < lengths
