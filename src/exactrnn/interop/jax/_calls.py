"""Stacks of layers as calls of XLA: what goes in and out of `csrc/xla/handlers.h`.

Arrays are in the caller's layout, batch or time first; states are [L*D, B, width]. Of a
call to go back later is kept, for each layer: its cache of bytes, what it has read, and
the cell states that it has handed up.

Instruction set and number of threads are those of the moment when a function is traced;
neither changes a bit. If nobody has chosen a number of threads, XLA's thread asks for
its own when it calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from exactrnn import _core, engine
from exactrnn.interop.jax._plans import LayerPlan, Plan

Tracer: TypeAlias = Any
"""An array of JAX or what stands for one."""
Weights: TypeAlias = Mapping[str, Tracer]

for _name, _capsule in _core.xla_handlers().items():
    jax.ffi.register_ffi_target(f"exactrnn_{_name}", _capsule, platform="cpu")


class Kept(NamedTuple):
    """What one layer keeps."""

    cache: Tracer
    x: Tracer
    cells: Tracer


def forward(
    plan: Plan,
    x: Tracer,
    lengths: Tracer | None,
    state: Sequence[Tracer] | None,
    weights: Weights,
    keep: bool,
) -> tuple[Tracer, tuple[Tracer, ...], tuple[Kept, ...]]:
    """Return the output, the final states, and with `keep` what `backward` needs."""
    finals, kept, lower = [], [], None
    for layer, own in enumerate(plan.layers):
        before = None if state is None else _at(plan, layer, state)
        arguments = {"lengths": lengths, "lower": lower, "states": before}
        T, B = _sizes(plan, x)
        y, *found = _call(
            plan,
            own,
            "forward",
            [x, *_flat(arguments), *_weights_of(plan, own, weights)],
            [
                _sequence(plan, T, B, plan.spec.directions * plan.spec.output_size),
                *_states(plan, B),
                *([_cells(plan, T, B)] if own.hands_up else []),
                *([_cache(own, T, B)] if keep else []),
            ],
            _parts(own, lengths, before, keep),
        )
        count = len(plan.spec.state_sizes)
        finals.append(found[:count])
        rest = found[count:]
        upper = rest[0] if own.hands_up else None
        if keep:
            kept.append(Kept(rest[-1], x, upper))
        x, lower = y, upper
    ends = [jnp.concatenate(parts) for parts in zip(*finals, strict=True)]
    return x, tuple(ends), tuple(kept)


def backward(
    plan: Plan,
    kept: Sequence[Kept],
    lengths: Tracer | None,
    weights: Weights,
    dy: Tracer,
    dstate: Sequence[Tracer],
) -> tuple[Tracer, tuple[Tracer, ...], dict[str, Tracer]]:
    """Return the gradients of the input, of the initial states and of the weights."""
    begins, dweights, dupper = [], dict[str, Tracer](), None
    for layer, own in reversed([*enumerate(plan.layers)]):
        cache, x, _ = kept[layer]
        lower = kept[layer - 1].cells if own.takes_lower else None
        T, B = _sizes(plan, x)
        given = _weights_of(plan, own, weights)
        dstates = _at(plan, layer, dstate)
        dx, *found = _call(
            plan,
            own,
            "backward",
            [
                *(x, *_flat({"lengths": lengths, "lower": lower})),
                *(cache, dy, *dstates, *_flat({"dupper": dupper}), *given),
            ],
            [
                _sequence(plan, T, B, x.shape[-1]),
                *_states(plan, B),
                *([_cells(plan, T, B)] if own.takes_lower else []),
                *(jax.ShapeDtypeStruct(w.shape, w.dtype) for w in given),
            ],
            _parts(own, lengths, dstates, True),
        )
        count = len(plan.spec.state_sizes)
        begins.append(found[:count])
        dupper = found[count] if own.takes_lower else None
        names = [name for by_role in own.names for name in by_role]
        grads = zip(names, found[count + own.takes_lower :], strict=True)
        dweights.update((name, dw) for name, dw in grads if name is not None)
        dy = dx
    dbegin = [jnp.concatenate(parts) for parts in zip(*begins[::-1], strict=True)]
    return dy, tuple(dbegin), dweights


def axes_of(*arguments: Any) -> frozenset[str]:
    """Return the axes of a `shard_map` along which any of some arrays varies."""
    types = [jax.typeof(leaf) for leaf in jax.tree.leaves(arguments)]
    return frozenset[str]().union(*(found.manual_axis_type.varying for found in types))


def spread(arguments: Any) -> Any:
    """Return arrays that vary along the same axes of a `shard_map`, none elsewhere.

    What is the same on all devices, as weights are, becomes each device's own here, so
    that its gradient is added up over them.
    """
    axes = axes_of(arguments)
    return jax.tree.map(lambda leaf: _vary(leaf, axes), arguments)


def _vary(array: Tracer, axes: frozenset[str]) -> Tracer:
    """Return an array that varies along these axes."""
    missing = axes - axes_of(array)
    return jax.lax.pcast(array, tuple(missing), to="varying") if missing else array


def _call(
    plan: Plan,
    own: LayerPlan,
    name: str,
    arguments: Sequence[Tracer],
    results: Sequence[jax.ShapeDtypeStruct],
    parts: Sequence[str],
) -> Sequence[Tracer]:
    """Return what a handler makes of these arguments."""
    spec = plan.spec
    engine.threads_for_calls()  # which takes over what another thread has chosen
    number, chosen = _core.thread_wish()
    threads = number if chosen else 0
    numbers = _core.xla_call(
        own.numbers, spec.reverse, spec.batch_first, threads, own.roles, parts
    )
    found: Sequence[Tracer] = jax.ffi.ffi_call(f"exactrnn_{name}", results)(
        *arguments,
        cell=own.cell,
        isa=engine.isa(),
        numbers=np.array(numbers, np.int64),
        reals=np.array(own.reals, np.float64),
    )
    axes = axes_of(*arguments)
    return [_vary(result, axes) for result in found]


def _parts(
    own: LayerPlan, lengths: Tracer | None, states: object, keep: bool
) -> list[str]:
    """Return the names of the parts that a call has."""
    there = {
        "lengths": lengths is not None,
        "states": states is not None,
        "lower": own.takes_lower,
        "upper": own.hands_up,
        "cache": keep,
    }
    return [name for name, has in there.items() if has]


def _flat(arguments: Mapping[str, Any]) -> list[Tracer]:
    """Return the arrays among arguments, some of which are None or several."""
    return [leaf for value in arguments.values() for leaf in jax.tree.leaves(value)]


def _weights_of(plan: Plan, own: LayerPlan, weights: Weights) -> list[Tracer]:
    """Return the weights of a layer in the order of a call."""
    return [
        jnp.asarray(plan.leak) if name is None else weights[name]
        for by_role in own.names
        for name in by_role
    ]


def _at(plan: Plan, layer: int, state: Sequence[Tracer]) -> list[Tracer]:
    """Return the states [D, B, width] of one layer."""
    D = plan.spec.directions
    return [part[layer * D : (layer + 1) * D] for part in state]


def _sizes(plan: Plan, x: Tracer) -> tuple[int, int]:
    """Return T and B of a sequence."""
    first, second = x.shape[:2]
    return (second, first) if plan.spec.batch_first else (first, second)


def _sequence(plan: Plan, T: int, B: int, width: int) -> jax.ShapeDtypeStruct:
    axes = (B, T, width) if plan.spec.batch_first else (T, B, width)
    return jax.ShapeDtypeStruct(axes, plan.spec.dtype)


def _states(plan: Plan, B: int) -> list[jax.ShapeDtypeStruct]:
    D, dtype = plan.spec.directions, plan.spec.dtype
    return [jax.ShapeDtypeStruct((D, B, n), dtype) for n in plan.spec.state_sizes]


def _cells(plan: Plan, T: int, B: int) -> jax.ShapeDtypeStruct:
    shape = (plan.spec.directions, T, B, _core.padded(plan.spec.hidden_size))
    return jax.ShapeDtypeStruct(shape, plan.spec.dtype)


def _cache(own: LayerPlan, T: int, B: int) -> jax.ShapeDtypeStruct:
    step, row = own.cache_bytes
    return jax.ShapeDtypeStruct((step * T * B + row * B,), np.uint8)
