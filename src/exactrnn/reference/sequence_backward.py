"""One layer in one direction, backward: back-propagation through time for all cells.

The steps run in the opposite order of forward's, and each from its last stage to its
first; what the cell's point functions leave is then spread over the matrices, block by
block (``direction.py``).  Gradients of weights are long sums after the loop.

Twin: ``csrc/kernels/layer/sequence.h`` with ``products.h``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrnn.reference.arith import CHUNK, chain, flush, fma, long_sum
from exactrnn.reference.cells._cell import Array, Arrays, Step
from exactrnn.reference.direction import Bools, Direction, Weights
from exactrnn.reference.masks import NO_MASKS, DirectionMasks, part_all
from exactrnn.reference.sequence import DirectionCache, flat, new_step


class DirectionGradients(NamedTuple):
    """What `direction_backward` returns.

    Parameters
    ----------
    x : Array
        Gradient of the input [T, B, I], +0.0 in padding.
    state : tuple of Array
        Gradients of the initial states, [B, O] and [B, H].
    weights : Weights
        Gradients of the weights, with the shapes of the weights.
    lower : Array or None
        Gradient of the cell state of the layer below, [T, B, H], +0.0 in padding;
        None for cells that take none.
    """

    x: Array
    state: tuple[Array, ...]
    weights: Weights
    lower: Array | None


@np.errstate(all="ignore")
def direction_backward(
    cache: DirectionCache,
    dy: Array | None = None,
    dstate: tuple[Array, ...] | None = None,
    dweights: Weights | None = None,
    *,
    dcells: Array | None = None,
    truncated: bool = False,
) -> DirectionGradients:
    """Back-propagate through one layer in one direction.

    Parameters
    ----------
    cache : DirectionCache
        From `direction_forward`.
    dy : Array, optional
        Gradient of the output [T, B, O]; None where the output is not used.
    dstate : tuple of Array, optional
        Gradients of the final states, [B, O] and [B, H]; zeros by default.
    dweights : Weights, optional
        Gradients to add to; zeros by default.
    dcells : Array, optional
        Gradient of the cell state c of every step [T, B, H], where a layer above took
        it as its ``lower``.
    truncated : bool
        Whether errors go back in time along the cell state alone, as in the LSTM of
        1997: nothing comes back through the output state or the links.

    Returns
    -------
    DirectionGradients
        Of input, initial states, weights, and the cell state of the layer below.
    """
    direction, cell = cache.direction, cache.direction.cell
    T, B, _ = cache.x.shape
    H, dtype = direction.hidden_size, direction.dtype
    if dstate is None:
        widths = [direction.state_width(name) for name in cell.states]
        dstate = tuple(np.zeros((B, width), dtype) for width in widths)
    carry = dict(zip(cell.states, dstate, strict=True))

    da = {s.name: np.zeros((T, B, direction.width(s)), dtype) for s in cell.sums}
    dlower = np.zeros((T, B, H), dtype) if cell.takes_lower else None
    for t in reversed(direction.times(T)):
        step = cached_step(cache, t, carry)
        step.truncated = truncated
        if dy is not None:
            step.dstate[direction.output] = dy[t] + carry[direction.output]
        if dcells is not None:
            step.dstate["c"] = carry["c"] + dcells[t]
        kept = part_all(direction, cache.masks, t, step.dstate)
        step_backward(direction, step, cache.ticks[t], cache.masks)
        for name, past in kept.items():
            if not (truncated and name == direction.output):
                step.dprev[name] = flush(step.dprev[name] + past)

        rows, takes_part = cache.active[t], direction.units_of(cache.ticks[t])
        for s in cell.sums:
            da[s.name][t] = np.where(takes_part, step.da[s.name], dtype.type(0))
        if dlower is not None:
            dlower[t, rows] = step.dlower[rows]
        carry = {
            name: np.where(rows[:, None], step.dprev[name], carry[name])
            for name in cell.states
        }
    return DirectionGradients(
        input_gradient(cache, da),
        tuple(carry.values()),
        weight_gradients(cache, da, dweights),
        dlower,
    )


def cached_step(cache: DirectionCache, t: int, carry: Arrays) -> Step:
    """Return step t as forward left it, with the gradients that came back to it."""
    step = new_step(cache.direction, {name: cache.prev[name][t] for name in carry})
    step.state = {name: cache.proposed[name][t] for name in carry}
    step.slots = {name: slot[t] for name, slot in cache.slots.items()}
    step.dstate = dict(carry)
    if cache.lower is not None:
        step.lower = cache.lower[t]
    return step


def step_backward(
    direction: Direction, step: Step, ticks: Bools, masks: DirectionMasks = NO_MASKS
) -> None:
    """Fill `da` and `dprev` of one step: the stages, then the recurrent matrices.

    Parameters
    ----------
    direction : Direction
        Cell and weights.
    step : Step
        From `cached_step`, `dstate` complete.
    ticks : NDArray
        Which modules take part, [B, modules].
    masks : DirectionMasks, optional
        What was dropped.
    """
    cell = direction.cell
    for stage in reversed(range(cell.stages)):
        cell.backward[stage](step)
        for letter in cell.operands:
            if any(s.operand == letter and s.stage == stage for s in cell.sums):
                operand, zero = f"slot:{letter}", np.zeros_like(step.slots[letter])
                doperand = spread_back(direction, operand, zero, step.da, ticks)
                (block, *_) = direction.blocks_of(operand)
                step.doperands[letter] = masks.heard(block, doperand)
    for name in cell.states:
        operand = f"prev:{name}"
        if not direction.blocks_of(operand):
            continue
        (block, *_) = direction.blocks_of(operand)
        if step.truncated:
            step.dprev[name] = np.zeros_like(step.prev[name])
        elif masks.recurrent is not None and block.matrix == "w_hh":
            zero = np.zeros_like(step.dprev[name])
            total = spread_back(direction, operand, zero, step.da, ticks)
            step.dprev[name] = flush(fma(masks.recurrent, total, step.dprev[name]))
        else:
            takes_part = direction.units_of(ticks)
            init = np.where(takes_part, step.dprev[name], step.dstate[name])
            total = spread_back(direction, operand, init, step.da, ticks)
            step.dprev[name] = flush(total)


def spread_back(
    direction: Direction, operand: str, init: Array, da: Arrays, ticks: Bools
) -> Array:
    """Gradient of an operand: the chain over the rows of its blocks.

    Parameters
    ----------
    direction : Direction
        Cell and weights.
    operand : str
        As in `Block`.
    init : Array
        Where the chain starts, [B, ...].
    da : dict
        Gradients of the sums, [B, H] by letter.
    ticks : NDArray
        Which modules take part, [B, modules]; the rows of others are passed over.

    Returns
    -------
    Array
        Like `init`, not flushed.
    """
    total = init.copy()
    for block in direction.blocks_of(operand):
        seen = total[:, block.fields]
        da_rows = da[block.sum.name][:, block.units]
        longer = chain(seen, da_rows, direction.entries(block).T)
        seen[...] = np.where(ticks[:, block.module, None], longer, seen)
    return total


def input_gradient(cache: DirectionCache, da: Arrays) -> Array:
    """Gradient of x: the chain over the rows of ``W`` in storage order, [T, B, I]."""
    da_k = {name: flat(da[name]) for name in da}
    zero = np.zeros_like(flat(cache.x))
    dx = spread_back(cache.direction, "x", zero, da_k, flat(cache.ticks))
    return dx.reshape(cache.x.shape)


def weight_gradients(
    cache: DirectionCache, da: Arrays, dweights: Weights | None
) -> Weights:
    """Gradients of all weights: long sums over k = t*B + b."""
    direction = cache.direction
    begin = np.zeros_like if dweights is None else np.copy
    given = direction.weights if dweights is None else dweights
    totals = Weights.of(None if w is None else begin(w) for w in given)
    da_k = {name: flat(da[name]) for name in da}

    for block in (*direction.input_blocks, *direction.recurrent_blocks):
        fields = cache.read_by(block)[:, :, block.fields]
        ticks = cache.ticks[:, :, block.module, None]
        operand = np.where(ticks, fields, direction.dtype.type(0))
        total = direction.entries(block, totals)
        part = da_k[block.sum.name][:, block.units]
        total[...] = long_sum(total, part, flat(operand))
    for s in direction.cell.sums:
        one = np.ones((len(da_k[s.name]), 1), direction.dtype)
        for name, rows in direction.bias_rows(s):
            if (bias := getattr(totals, name)) is not None:
                bias[rows] = long_sum(bias[rows, None], da_k[s.name], one)[:, 0]
    if totals.vectors is not None:
        add_vector_gradients(cache, da_k, totals.vectors)
    return totals


def add_vector_gradients(cache: DirectionCache, da: Arrays, totals: Array) -> None:
    """Add the long sum over k of ``da[k, u] * factor[k, u]`` to each vector's row."""
    for row, vector in enumerate(cache.direction.cell.vectors):
        da_k = da[vector.sum]
        factor = np.ones_like(da_k)
        if vector.factor != "one":
            factor = flat(cache.kept(vector.factor))
        for first in range(0, len(da_k), CHUNK):
            part = np.zeros_like(totals[row])
            for k in range(first, min(first + CHUNK, len(da_k))):
                part = fma(da_k[k], factor[k], part)
            totals[row] = totals[row] + part
