"""One layer in one direction, forward and back: the time loop that all cells share.

Elementwise mathematics of a step lives in ``cells/<name>.py``, sums of products and
elementary functions in ``_arith.py``, whole layers in ``reference.py``.

Lengths need no reordering: at time t the rows with t < length are active, in both
directions.  A row that is not active keeps its state, or the gradient of its state,
bit for bit; its output is +0.0, its input and output gradient are never read, and
into the sums over time and batch it brings +0.0 * +0.0.

Twin: ``csrc/kernels/sequence.h`` with ``products.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn._arith import chain, flush, long_sum
from exactrnn.cells._cell import Array, Arrays, Cell, Step, Sum

Weights: TypeAlias = tuple[Array, Array, Array | None, Array | None]


@dataclass(frozen=True)
class Direction:
    """One layer in one direction.

    Parameters
    ----------
    cell : Cell
        From ``exactrnn.cells.CELLS``.
    weights : tuple
        ``w_ih [G*H, I], w_hh [G*H, H], b_ih [G*H], b_hh [G*H]``, the biases None
        where the layer has none; all of one dtype.
    activations : tuple of str
        As in ``cell.activations``.
    reverse : bool
        Whether time runs from each row's last step to its first.
    """

    cell: Cell
    weights: Weights
    activations: tuple[str, ...]
    reverse: bool = False

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.weights[1].shape[0]) // len(self.cell.gates)

    def rows(self, block: int) -> slice:
        """Return the rows of gate number `block` in ``W``, ``R`` and the biases."""
        return slice(block * self.hidden_size, (block + 1) * self.hidden_size)

    def times(self, T: int) -> range:
        """Return the steps in forward's order."""
        return range(T - 1, -1, -1) if self.reverse else range(T)


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
    prev, state : dict
        States before and after each step, by letter.
    slots : dict
        What the cell keeps for backward, by letter (``Cell.slots``).
    """

    direction: Direction
    x: Array
    active: NDArray[np.bool_]
    prev: Arrays
    state: Arrays
    slots: Arrays


def start(direction: Direction, s: Sum) -> Array:
    """Return where a sum starts [H]: the rounded sum of its two biases, or its one."""
    _, w_hh, b_ih, b_hh = direction.weights
    biases = [
        bias[direction.rows(block)]
        for block, bias in ((s.w, b_ih), (s.r, b_hh))
        if block is not None and bias is not None
    ]
    if len(biases) == 2:
        return biases[0] + biases[1]
    return biases[0] if biases else np.zeros(direction.hidden_size, w_hh.dtype)


def sums_over_x(direction: Direction, x: Array) -> Arrays:
    """Start every sum and run it over x: [T, B, H] by letter."""
    T, B, size = x.shape
    H, w_ih = direction.hidden_size, direction.weights[0]
    a = {
        s.name: np.broadcast_to(start(direction, s), (T * B, H))
        for s in direction.cell.sums
    }
    for block, name in direction.cell.w_rows():
        rows = direction.rows(block)
        a[name] = chain(a[name], x.reshape(T * B, size), w_ih[rows])
    return {name: a[name].reshape(T, B, H) for name in a}


def stacked_rows(direction: Direction, stage: int) -> Array:
    """Return the row blocks of ``R`` that a stage uses, in storage order."""
    blocks = [direction.rows(block) for block, _ in direction.cell.r_rows(stage)]
    return np.concatenate([direction.weights[1][block] for block in blocks])


def finish_sums(direction: Direction, stage: int, operand: Array, a: Arrays) -> Arrays:
    """Continue the sums of a stage over its recurrent operand.

    Parameters
    ----------
    direction : Direction
        Cell and weights.
    stage : int
        The stage.
    operand : Array
        What ``R`` is multiplied with, [B, H].
    a : dict
        All sums of this step after x, [B, H] by letter.

    Returns
    -------
    dict
        The finished sums of this stage, [B, H] by letter.
    """
    names = [name for _, name in direction.cell.r_rows(stage)]
    init = np.concatenate([a[name] for name in names], axis=1)
    total = chain(init, operand, stacked_rows(direction, stage))
    finished = dict(zip(names, np.split(total, len(names), axis=1), strict=True))
    return {
        s.name: finished.get(s.name, a[s.name])
        for s in direction.cell.sums
        if s.stage == stage
    }


@np.errstate(all="ignore")
def direction_forward(
    direction: Direction,
    x: Array,
    state: tuple[Array, ...] | None = None,
    lengths: NDArray[np.integer[Any]] | None = None,
) -> tuple[Array, tuple[Array, ...], DirectionCache]:
    """Run one layer in one direction.

    Parameters
    ----------
    direction : Direction
        Cell, weights and which way time runs.
    x : Array
        Input [T, B, I], of the weights' dtype.
    state : tuple of Array, optional
        Initial states [B, H], in the order of ``cell.states``; zeros by default.
    lengths : NDArray, optional
        Integers 0 to T, [B]; all T by default.

    Returns
    -------
    y : Array
        Output [T, B, H], +0.0 past a row's length.
    state : tuple of Array
        States [B, H] at each row's own end.
    cache : DirectionCache
        For `direction_backward`.
    """
    cell = direction.cell
    T, B, _ = x.shape
    H, dtype = direction.hidden_size, x.dtype
    active = active_rows(T, B, lengths)
    x = np.where(active[:, :, None], x, dtype.type(0))
    if state is None:
        state = tuple(np.zeros((B, H), dtype) for _ in cell.states)
    now = dict(zip(cell.states, state, strict=True))

    prev = {name: np.zeros((T, B, H), dtype) for name in cell.states}
    after = {name: np.zeros((T, B, H), dtype) for name in cell.states}
    slots = {name: np.zeros((T, B, H), dtype) for name in cell.slots}
    a = sums_over_x(direction, x)
    for t in direction.times(T):
        step = Step(direction.activations, prev=now)
        for stage, point_forward in enumerate(cell.forward):
            operand = step.prev if stage == 0 else step.slots
            a_t = {name: a[name][t] for name in a}
            step.a.update(
                finish_sums(direction, stage, operand[cell.operands[stage]], a_t)
            )
            point_forward(step)

        rows = active[t]
        for name in cell.slots:
            slots[name][t, rows] = step.slots[name][rows]
        for name in cell.states:
            prev[name][t, rows] = now[name][rows]
            after[name][t, rows] = step.state[name][rows]
        now = {
            name: np.where(rows[:, None], step.state[name], now[name])
            for name in cell.states
        }
    cache = DirectionCache(direction, x, active, prev, after, slots)
    return after[cell.states[0]].copy(), tuple(now.values()), cache


def active_rows(
    T: int, B: int, lengths: NDArray[np.integer[Any]] | None
) -> NDArray[np.bool_]:
    """Tell which rows take part in which step: t < length, [T, B]."""
    if lengths is None:
        return np.ones((T, B), np.bool_)
    return np.arange(T)[:, None] < lengths


def spread_back(direction: Direction, stage: int, init: Array, da: Arrays) -> Array:
    """Gradient of a stage's operand: the chain over the stage's rows of ``R``.

    Parameters
    ----------
    direction : Direction
        Cell and weights.
    stage : int
        The stage.
    init : Array
        Where the chain starts, [B, H].
    da : dict
        Gradients of the sums, [B, H] by letter.

    Returns
    -------
    Array
        ``init + R^T da``, [B, H], not flushed.
    """
    rows = [da[name] for _, name in direction.cell.r_rows(stage)]
    return chain(init, np.concatenate(rows, axis=1), stacked_rows(direction, stage).T)


@np.errstate(all="ignore")
def direction_backward(
    cache: DirectionCache,
    dy: Array | None = None,
    dstate: tuple[Array, ...] | None = None,
    dweights: Weights | None = None,
) -> tuple[Array, tuple[Array, ...], Weights]:
    """Back-propagate through one layer in one direction.

    Parameters
    ----------
    cache : DirectionCache
        From `direction_forward`.
    dy : Array, optional
        Gradient of the output [T, B, H]; None where the output is not used.
    dstate : tuple of Array, optional
        Gradients of the final states [B, H]; zeros by default.
    dweights : tuple, optional
        Gradients to add to, in the order of ``Direction.weights``; zeros by default.

    Returns
    -------
    dx : Array
        Gradient of the input [T, B, I], +0.0 in padding.
    dstate : tuple of Array
        Gradients of the initial states [B, H].
    dweights : tuple
        Gradients of the weights, with the shapes of the weights.
    """
    direction, cell = cache.direction, cache.direction.cell
    T, B, _ = cache.x.shape
    H, dtype = direction.hidden_size, cache.x.dtype
    output = cell.states[0]
    if dstate is None:
        dstate = tuple(np.zeros((B, H), dtype) for _ in cell.states)
    carry = dict(zip(cell.states, dstate, strict=True))

    da = {s.name: np.zeros((T, B, H), dtype) for s in cell.sums}
    for t in reversed(direction.times(T)):
        step = Step(
            direction.activations,
            prev={name: cache.prev[name][t] for name in cell.states},
            state={name: cache.state[name][t] for name in cell.states},
            slots={name: cache.slots[name][t] for name in cell.slots},
            dstate=dict(carry),
        )
        rows = cache.active[t]
        if dy is not None:
            step.dstate[output] = dy[t] + carry[output]
        for stage in reversed(range(cell.stages)):
            cell.backward[stage](step)
            if stage > 0:
                zero = np.zeros((B, H), dtype)
                step.doperand = spread_back(direction, stage, zero, step.da)
        seen = cell.operands[0]
        step.dprev[seen] = flush(spread_back(direction, 0, step.dprev[seen], step.da))

        for s in cell.sums:
            da[s.name][t, rows] = step.da[s.name][rows]
        carry = {
            name: np.where(rows[:, None], step.dprev[name], carry[name])
            for name in cell.states
        }
    dx = input_gradient(cache, da)
    return dx, tuple(carry.values()), weight_gradients(cache, da, dweights)


def input_gradient(cache: DirectionCache, da: Arrays) -> Array:
    """Gradient of x: the chain over the rows of ``W`` in storage order, [T, B, I]."""
    T, B, size = cache.x.shape
    w_ih = cache.direction.weights[0]
    rows = [da[name] for _, name in cache.direction.cell.w_rows()]
    da_rows = np.concatenate(rows, axis=2).reshape(T * B, w_ih.shape[0])
    zero = np.zeros((T * B, size), w_ih.dtype)
    dx = chain(zero, da_rows, w_ih.T).reshape(T, B, size)
    return np.where(cache.active[:, :, None], dx, w_ih.dtype.type(0))


def weight_gradients(
    cache: DirectionCache, da: Arrays, dweights: Weights | None
) -> Weights:
    """Gradients of ``W``, ``R`` and the biases: long sums over k = t*B + b."""
    direction, cell = cache.direction, cache.direction.cell
    T, B, size = cache.x.shape
    H = direction.hidden_size
    if dweights is None:
        totals = [None if w is None else np.zeros_like(w) for w in direction.weights]
    else:
        totals = [None if w is None else w.copy() for w in dweights]
    dw_ih, dw_hh, db_ih, db_hh = totals

    x = cache.x.reshape(T * B, size)
    one = np.ones((T * B, 1), x.dtype)
    for block, name in cell.w_rows():
        rows, da_k = direction.rows(block), da[name].reshape(T * B, H)
        add_long_sum(dw_ih, rows, da_k, x)
        add_long_sum(db_ih, rows, da_k, one)
    kept = cache.prev | cache.slots
    for stage, letter in enumerate(cell.operands):
        operand = kept[letter].reshape(T * B, H)
        for block, name in cell.r_rows(stage):
            rows, da_k = direction.rows(block), da[name].reshape(T * B, H)
            add_long_sum(dw_hh, rows, da_k, operand)
            add_long_sum(db_hh, rows, da_k, one)
    return cast(Weights, tuple(totals))


def add_long_sum(total: Array | None, rows: slice, da: Array, operand: Array) -> None:
    """Add the long sum over k of ``da[k, i] * operand[k, j]`` to rows of `total`."""
    if total is not None:
        block = total[rows]
        init = block.reshape(da.shape[1], operand.shape[1])
        block[...] = long_sum(init, da, operand).reshape(block.shape)
