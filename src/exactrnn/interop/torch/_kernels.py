"""What the operators do on real memory: the kernels, between tensors in and out.

A state is h, then c and so on, [L*D, B, width] each, or [B, width] of a single step; of
a layer with a clock the clock, int64 [B], is its last part. What `forward` returns, and
`backward` is given again:

    the output              but for a single step, whose output is its state
    the final state
    the sequence            [T, B, I], where the rows of a packed one lie, and lengths:
                            of a packed sequence alone
    what the run has kept   as `_run/foreign.py` hands it out
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from exactrnn import _core, engine
from exactrnn._checks import Array
from exactrnn._run import foreign
from exactrnn._run.dropout import Drawn
from exactrnn._run.protocol import Call
from exactrnn._run.stack import Wanted
from exactrnn.interop.torch._direct import direct_of, take_step
from exactrnn.interop.torch._frames import (
    Counts,
    Frame,
    Ragged,
    array_of,
    compact,
    gapless,
    ragged_of,
)
from exactrnn.interop.torch._plans import Plan, is_trusted, packed_of, plan_of

Tensors: TypeAlias = Sequence[torch.Tensor]


class Flags(NamedTuple):
    """What `backward` has to know of the call, and which gradients are wanted."""

    batch_first: bool
    packed: bool
    dropped: bool
    x: bool
    weights: bool


def forward(
    x: torch.Tensor,
    state: Tensors,
    weights: Tensors,
    batch_sizes: torch.Tensor | None,
    masks: Tensors,
    line: str,
    batch_first: bool,
    keep: bool,
) -> list[torch.Tensor]:
    """Return what a call gives, and with `keep` what `backward` needs of it."""
    plan = plan_of(line, weights[0].dtype)
    weights = ready(weights, plan)
    steps, rows = lead_of(plan, x, batch_first)
    if steps == 1 and batch_sizes is None and not keep:
        found = step_direct(plan, line, x, state, weights, rows)
        if found is not None:
            return found
    packed = packed_of(line, plan, weights)
    packed.follow(weights)
    stack = packed.stack
    ragged = None if batch_sizes is None else ragged_of(batch_sizes, len(x))
    frame = Frame(not plan.spec.suffixed, batch_first, ragged)
    sequence = frame.inward(array_of(x))
    steps, rows, _ = sequence.shape
    parts, clock = take_state(plan, state)
    call = Call(sequence, parts, frame.lengths, clock)
    width = plan.spec.directions * plan.spec.output_size
    y = frame.new(steps, rows, width, plan.spec.dtype)
    kept: list[Any] = []
    if keep:
        final, run = stack.keep(call, y, Drawn(tuple(take_masks(ragged, masks))))
        kept = foreign.hand_out(run)
        if ragged is not None:
            kept = [sequence, ragged.places, ragged.lengths, *kept]
    else:
        final = stack.run(call, y)
    results = give_state(plan, final)
    if not frame.step:
        results.insert(0, frame.outward(y))
    if clock is not None:
        results.append(clock + (steps if ragged is None else ragged.lengths))
    return tensors_of([*results, *kept])


def lead_of(plan: Plan, x: torch.Tensor, batch_first: bool) -> tuple[int, int]:
    """Return T and B of an input that is not packed."""
    if not plan.spec.suffixed:
        return 1, x.shape[0]
    return (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])


def step_direct(
    plan: Plan, line: str, x: torch.Tensor, state: Tensors, weights: Tensors, rows: int
) -> list[torch.Tensor] | None:
    """Return what `forward` gives for a step of some rows; None if there is no such."""
    spec = plan.spec
    layers = direct_of(line, plan.dtype, engine.isa())
    if not layers or not 0 < rows <= _core.DIRECT_ROWS or is_trusted(line, weights):
        return None
    lead = (spec.num_layers * spec.directions, rows) if spec.suffixed else (rows,)
    final = [x.new_empty((*lead, width)) for width in spec.state_sizes]
    top = take_step(layers, gapless(x), [*map(gapless, state)], final, weights)
    if not spec.suffixed:
        return final
    return [top.reshape(*x.shape[:-1], -1), *final]


def backward(
    grads: Sequence[torch.Tensor | None],
    sequence: torch.Tensor,
    weights: Tensors,
    kept: Tensors,
    line: str,
    flags: Sequence[bool],
) -> list[torch.Tensor]:
    """Return the gradients of x, of the initial state and of the weights.

    Those of x and of the weights are left out where they are not wanted. `grads` are of
    the output, None for zeros, and of the parts of the final state. `sequence` is the
    input, of a packed one what `forward` has spread out; `kept` begins with the clock
    and the dropout masks, if there are any.
    """
    plan, asked = plan_of(line, weights[0].dtype), Flags(*flags)
    weights = ready(weights, plan)
    packed = packed_of(line, plan, weights)
    packed.recall(weights)
    first = plan.clock + (plan.spec.num_layers - 1) * asked.dropped
    clock = compact(kept[0]) if plan.clock else None
    arrays = [array_of(tensor) for tensor in kept[first:]]
    x, ragged = array_of(sequence), None
    if asked.packed:
        places, lengths, *arrays = arrays
        ragged = Ragged(places, lengths, (x.shape[0], x.shape[1]))
    masks = take_masks(ragged, kept[plan.clock : first])
    frame = Frame(not plan.spec.suffixed, asked.batch_first, ragged)
    x = x if asked.packed else frame.inward(x)
    dy, dstate = (None, grads) if frame.step else (grads[0], grads[1:])
    began = foreign.Began(x, frame.lengths, clock, tuple(masks))
    dx, dbegin, dweights = packed.stack.run_back(
        foreign.take_in(packed.stack, began, arrays),
        None if dy is None else frame.inward(array_of(dy)),
        take_gradients(plan, dstate, x.shape[1]),
        wanted=Wanted(asked.x, asked.weights),
    )
    results = [*give_state(plan, dbegin), *dweights.values()]
    if asked.x:
        results.insert(0, frame.outward(dx))
    return tensors_of(results)


def ready(weights: Tensors, plan: Plan) -> Tensors:
    """Return weights of the plan's shapes and dtype, contiguous each."""
    dtype, plain = plan.dtype, True
    for weight, shape in zip(weights, plan.shapes, strict=True):
        if weight.dtype is not dtype or weight.shape != shape:
            raise RuntimeError(
                f"weights: expected {list(plan.shapes)} of {plan.dtype}, got "
                f"{[tuple(w.shape) for w in weights]} of {weight.dtype}"
            )
        plain = plain and weight.is_contiguous() and not weight.is_neg()
    if plain:
        return weights
    return [gapless(weight) for weight in weights]


def take_state(
    plan: Plan, state: Tensors
) -> tuple[tuple[Array, ...] | None, Counts | None]:
    """Return the parts of an initial state, None for zeros, and the clock."""
    parts: list[Any] = [compact(part) for part in state]
    clock = parts.pop() if plan.clock else None
    if not plan.spec.suffixed:
        parts = [part[None] for part in parts]
    return tuple(parts) or None, clock


def take_masks(ragged: Ragged | None, masks: Tensors) -> list[Array]:
    """Return dropout masks [T, B, n], zeros where a packed sequence has nothing."""
    arrays = [array_of(mask) for mask in masks]
    if ragged is None:
        return arrays
    return [ragged.spread(array, np.zeros) for array in arrays]


def take_gradients(
    plan: Plan, dstate: Sequence[torch.Tensor | None], rows: int
) -> tuple[Array, ...] | None:
    """Return the gradients of all parts of the final state, None if there is none."""
    if all(part is None for part in dstate):
        return None
    spec = plan.spec
    lead = (spec.num_layers * spec.directions, rows)
    return tuple(
        np.zeros((*lead, width), spec.dtype)
        if part is None
        else compact(part).reshape(*lead, width)
        for part, width in zip(dstate, spec.state_sizes, strict=False)
    )


def give_state(plan: Plan, parts: Iterable[Array]) -> list[Any]:
    """Return the parts of a state, or their gradients, as the caller has them."""
    return list(parts) if plan.spec.suffixed else [part[0] for part in parts]


def tensors_of(arrays: Iterable[Array]) -> list[torch.Tensor]:
    """Return tensors of the arrays' memory."""
    return [torch.from_numpy(array) for array in arrays]
