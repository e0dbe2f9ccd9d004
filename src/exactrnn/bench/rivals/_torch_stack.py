"""Layers of the steps in `_torch_steps.py`: the loop over time, directions, depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from exactrnn.bench.rivals._torch_definition import Defined
from exactrnn.bench.rivals._torch_normed import NormedGRU, NormedLSTM
from exactrnn.bench.rivals._torch_steps import (
    CLASSES,
    LSTM,
    Cell,
    DepthGated,
    GRUBefore,
    State,
)


def unroll(
    cell: Cell,
    x: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    lower: Any = None,
) -> tuple[list[State], State]:
    """Run a cell over a sequence.

    Parameters
    ----------
    cell : Cell
        One layer in one direction.
    x : Tensor
        Input [T, B, I].
    state : tuple of Tensor, optional
        Initial state; zeros by default.
    lengths : Tensor, optional
        Steps of each row; beyond them the state stays.
    reverse : bool
        Whether each row runs from its end to its start.
    lower : sequence of Tensor, optional
        c of the layer below for each step, for a depth-gated layer.

    Returns
    -------
    states : list of tuple of Tensor
        The state after each step, in the order of time.
    state : tuple of Tensor
        The last state.
    """
    sums = cell.project(x).unbind(0)
    given = zip(sums) if lower is None else zip(sums, lower, strict=True)
    steps = list(enumerate(given))
    state = cell.zeros(x.shape[1]) if state is None else state
    states: list[State] = [()] * len(steps)
    for t, (a, *more) in reversed(steps) if reverse else steps:
        after = cell.step(a, state, *more)
        if lengths is not None:
            runs = t < lengths
            after = tuple(
                torch.where(runs[:, None] if new.ndim > 1 else runs, new, old)
                for new, old in zip(after, state, strict=True)
            )
        states[t] = state = after
    return states, state


def run_stack(
    cells: Sequence[Sequence[Cell]],
    x: Any,
    state: State | None = None,
    lengths: Any = None,
) -> tuple[Any, State]:
    """Run layers of one or two directions each: [layer][direction].

    Returns the output [T, B, D*O], zero beyond a row's length, and the final state,
    each array [L*D, B, ...] but for a clock, [B].
    """
    final: list[State] = []
    lower: list[Any] = [None, None]
    for directions in cells:
        outputs = []
        for d, cell in enumerate(directions):
            start = None
            if state is not None:
                start = tuple(s[len(final)] if s.ndim > 1 else s for s in state)
            gated = isinstance(cell, DepthGated)
            states, last = unroll(
                cell,
                x,
                start,
                lengths=lengths,
                reverse=d == 1,
                lower=lower[d] if gated else None,
            )
            lower[d] = [after[-1] for after in states]
            outputs.append(torch.stack([after[0] for after in states]))
            final.append(last)
        x = torch.cat(outputs, -1)
        if lengths is not None:
            runs = torch.arange(len(x))[:, None] < lengths
            x = torch.where(runs[..., None], x, 0.0)
    parts = zip(*final, strict=True)
    return x, tuple(torch.stack(p) if p[0].ndim > 1 else p[0] for p in parts)


def make_cells(
    name: str,
    weights: Mapping[str, Any],
    options: Mapping[str, Any],
    size: tuple[int, int] = (1, 1),
) -> list[list[Cell]]:
    """Return the cells of a layer of this name: [layer][direction], as `size` says."""
    layers, directions = size
    return [
        [make_cell(name, weights, options, (layer, d)) for d in range(directions)]
        for layer in range(layers)
    ]


def make_cell(
    name: str,
    weights: Mapping[str, Any],
    options: Mapping[str, Any],
    place: tuple[int, int],
) -> Cell:
    """Return the cell of one layer and direction."""
    layer, direction = place
    suffix = f"_l{layer}{'_reverse' * direction}"
    own = {k.removesuffix(suffix): w for k, w in weights.items() if k.endswith(suffix)}
    if name == "Layer":
        return Defined(own, options)
    if options.get("layer_norm"):
        return {"LSTM": NormedLSTM, "GRU": NormedGRU}[name](own, options)
    if name == "DepthGatedLSTM" and layer == 0:
        return LSTM(own, {"peepholes": "ifo"})
    if name == "GRU" and not options.get("reset_after", True):
        return GRUBefore(own, options)
    return CLASSES[name](own, options)
