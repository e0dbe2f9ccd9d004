"""A step of a few rows straight from a module's weights, without a packed copy.

Whether a packed copy is still one of the weights is seen in their bytes alone
(`_plans.py`), and for a step that comparison is most of the time. So a step without
gradients reads the weights themselves, once (`csrc/kernels/layer/direct.h`), which
makes it right whoever has written to them. The bits are those of every other call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

from exactrnn import _core, engine
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.recurrent import Config
from exactrnn.interop.torch._plans import (
    DTYPES,
    addresses_of,
    is_trusted,
    plan_of,
)


class DirectLayer(NamedTuple):
    """A layer in one direction, and where in the list of all weights its own are.

    `places` are of W, R and their biases, None for a bias that it does not have.
    """

    step: _core.DirectStep
    places: tuple[int | None, ...]


@lru_cache(maxsize=256)
def direct_of(
    line: str, dtype: torch.dtype, isa: str
) -> tuple[tuple[DirectLayer, ...], ...]:
    """Return the layers of a line, by direction; none if one is not stepped so."""
    spec = plan_of(line, dtype).spec
    if spec.counts_steps or spec.leak is not None:
        return ()
    layers = tuple(
        tuple(_make_layer(spec, layer, d, isa) for d in range(spec.directions))
        for layer in range(spec.num_layers)
    )
    possible = all(one.step.possible for directions in layers for one in directions)
    return layers if possible else ()


def _make_layer(spec: Config, layer: int, direction: int, isa: str) -> DirectLayer:
    names = [*spec.weight_shapes]
    roles = spec.weight_groups[layer][direction]
    places = tuple(None if role is None else names.index(role) for role in roles[:4])
    step = _core.DirectStep(
        isa,
        spec.dtype.name,
        spec.cell_of(layer),
        (spec.weight_shapes[str(roles[0])][1], spec.hidden_size),
        tuple(map(with_parameters, spec.activations_of(direction))),
        spec.clip,
        dict(spec.options_of(layer)),
    )
    return DirectLayer(step, places)


def take_step(
    layers: Sequence[Sequence[DirectLayer]],
    x: torch.Tensor,
    state: Sequence[torch.Tensor],
    final: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Write the parts of a state [L*D, B, H] or [B, H] into `final`; return y [B, D*H].

    All tensors are contiguous, of the weights' dtype and of the right shapes; an empty
    `state` is one of zeros. y of a single step is its h, the same tensor.
    """
    *lead, rows, width = final[0].shape
    threads = min(engine.threads_for_calls(), torch.get_num_threads())
    at = addresses_of(weights)
    before = [part.data_ptr() for part in state]
    after = [part.data_ptr() for part in final]
    stride = rows * width * final[0].itemsize
    y = x
    for layer, directions in enumerate(layers):
        source = y.data_ptr()
        for step, places in directions:
            given = tuple([0 if place is None else at[place] for place in places])
            step.run(rows, threads, source, given, tuple(before), tuple(after))
            before = [address + stride for address in before]
            after = [address + stride for address in after]
        if not lead:
            return final[0]
        count = len(directions)
        y = final[0][layer * count]
        if count > 1:
            y = torch.cat((y, final[0][layer * count + 1]), 1)
    return y.clone() if len(directions) == 1 else y


@lru_cache(maxsize=256)
def call_of(line: str, dtype: torch.dtype, isa: str) -> _core.DirectCall | None:
    """Return what does plain calls of a single step; None if there is no such."""
    layers = direct_of(line, dtype, isa) if dtype in DTYPES else ()
    if not layers:
        return None
    [[(step, places)]] = layers
    return _core.DirectCall(step, places, PLAIN, dtype, plan_of(line, dtype).shapes)


def step_at_once(
    line: str,
    x: torch.Tensor,
    state: tuple[torch.Tensor, ...],
    weights: list[torch.Tensor],
) -> list[torch.Tensor] | None:
    """Return the state [B, H] after a step of a single step; None if it is not plain.

    Plain is what needs no thought: all shapes are right, and there is no gradient, no
    other memory, and nobody who looks on.
    """
    call = call_of(line, weights[0].dtype, engine.isa())
    if call is None or is_trusted(line, weights):
        return None
    threads = min(engine.threads_for_calls(), torch.get_num_threads())
    return call(x, state, weights, threads)


PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Tensors that nobody has a class of his own for."""
