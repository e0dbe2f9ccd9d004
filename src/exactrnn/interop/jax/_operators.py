"""What JAX's transformations make of a call: gradients by hand, rows for `vmap`.

`grad` finds a function with a derivative of its own, whose two halves are calls. `vmap`
finds rules: rows of the mapped axis become rows of the batch where nothing but the
output is wanted and the weights are the same for all, so that it is one call; elsewhere
the calls are made one by one, since gradients of weights are wanted for each of them,
as the bits of each are those of a call by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from exactrnn.interop.jax import _calls
from exactrnn.interop.jax._calls import Tracer
from exactrnn.interop.jax._plans import Plan


@lru_cache(maxsize=256)
def operator_of(plan: Plan) -> Callable[..., Any]:
    """Return the function of (x, lengths, state, weights) that gives y and state."""

    def give(x: Tracer, lengths: Any, state: Any, weights: Any) -> Any:
        y, final, _ = _calls.forward(plan, x, lengths, state, weights, keep=False)
        return y, final

    def keep(x: Tracer, lengths: Any, state: Any, weights: Any) -> Any:
        return _calls.forward(plan, x, lengths, state, weights, keep=True)

    back = partial(_calls.backward, plan)
    mapped = custom_vmap(give)
    mapped.def_vmap(partial(_fold, plan, mapped))
    keep_all, back_all = _one_by_one(keep), _one_by_one(back)
    differentiable: Any = jax.custom_vjp(mapped)

    def go(x: Tracer, lengths: Any, state: Any, weights: Any) -> Any:
        y, final, kept = keep_all(x, lengths, state, weights)
        return (y, final), (kept, lengths, weights, state is None)

    def come_back(kept: Any, grads: Any) -> Any:
        cached, lengths, weights, from_zeros = kept
        dx, dstate, dweights = back_all(cached, lengths, weights, *grads)
        return dx, None, None if from_zeros else dstate, dweights

    differentiable.defvjp(go, come_back)
    operator: Callable[..., Any] = differentiable
    return operator


def _one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose `vmap` makes a call for each row of the mapped axis."""
    mapped: Any = custom_vmap(function)

    def rule(_: int, in_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        results = _map(mapped, in_batched, arguments)
        return results, jax.tree.map(lambda _: True, results)

    mapped.def_vmap(rule)
    found: Callable[..., Any] = mapped
    return found


def _map(function: Callable[..., Any], in_batched: Any, arguments: Any) -> Any:
    """Return the results of a function for each row of those arguments that have it."""
    leaves, tree = jax.tree.flatten(arguments)
    batched = jax.tree.leaves(in_batched)
    moving = [leaf for leaf, moves in zip(leaves, batched, strict=True) if moves]

    def once(row: list[Tracer]) -> Any:
        parts = iter(row)
        own = [
            next(parts) if moves else leaf
            for leaf, moves in zip(leaves, batched, strict=True)
        ]
        return function(*jax.tree.unflatten(tree, own))

    return jax.lax.map(once, moving)


def _fold(
    plan: Plan,
    function: Callable[..., Any],
    size: int,
    in_batched: Any,
    *arguments: Any,
) -> tuple[Any, Any]:
    """Return what a function gives for mapped arguments, as one call if it can be."""
    *_, has_weights = in_batched
    if any(jax.tree.leaves(has_weights)) or not size:
        found = _map(function, in_batched, arguments)
        return found, jax.tree.map(lambda _: True, found)
    rows = 0 if plan.spec.batch_first else 1

    def spread(leaf: Tracer, moves: bool) -> Tracer:
        return leaf if moves else jnp.broadcast_to(leaf, (size, *leaf.shape))

    *given, weights = arguments
    x, lengths, state = jax.tree.map(spread, tuple(given), tuple(in_batched[:3]))
    y, final = function(
        _join(x, rows),
        None if lengths is None else _join(lengths, 0),
        None if state is None else tuple(_join(part, 1) for part in state),
        weights,
    )
    found = _part(y, rows, size), tuple(_part(part, 1, size) for part in final)
    return found, jax.tree.map(lambda _: True, found)


def _join(array: Tracer, axis: int) -> Tracer:
    """Return an array whose first axis has become a part of another, of rows."""
    moved = jnp.moveaxis(array, 0, axis)
    shape = moved.shape
    return moved.reshape(
        *shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]
    )


def _part(array: Tracer, axis: int, size: int) -> Tracer:
    """Return an array whose axis of rows has become two, the outer one first."""
    shape = array.shape
    split = array.reshape(*shape[:axis], size, shape[axis] // size, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis, 0)
