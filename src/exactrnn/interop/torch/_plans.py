"""What a torch module computes, as a string, and the weights that it was last run with.

A module is described by a line of JSON, the name of a class of `exactrnn.layers` and
its arguments: the operators of `_operators.py` take it, and an exported program keeps
it. A `Plan` is what such a line means for one dtype.

A plan and the weights of one module have a `ForeignStack`. It is found by the identity
of the first weight and goes when that tensor goes; whether it still holds the weights
is seen in their bytes, so what it is found by need only be right most of the time:
weights that are computed anew for each call (by a parametrization, `functional_call`)
are packed anew for each call.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from exactrnn import layers
from exactrnn._run.foreign import ForeignStack
from exactrnn._spec.recurrent import Config

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
"""What the kernels compute with."""


class Plan(NamedTuple):
    """What is computed: the network without its weights, in one dtype."""

    spec: Config
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype

    @property
    def clock(self) -> bool:
        """Whether the last part of a state is a clock, int64 [B]."""
        return self.spec.counts_steps


def describe(kind: str, arguments: Mapping[str, object]) -> str:
    """Return the line that stands for a network, the same for equal arguments."""
    return json.dumps({"kind": kind, **arguments}, sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    """Return an array among arguments as a list."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected plain values, got {type(value).__name__}")


def network_of(
    line: str, dtype: str = "float32"
) -> tuple[type[Any], Mapping[str, object]]:
    """Return the class that a line names, and all the arguments it stands for."""
    arguments = json.loads(line)
    kind = layers.CLASSES[arguments.pop("kind")]
    return kind, {**arguments, "dtype": dtype}


@lru_cache(maxsize=256)
def plan_of(line: str, dtype: torch.dtype) -> Plan:
    """Return what a line means for one dtype."""
    kind, arguments = network_of(line, DTYPES[dtype])
    spec = kind._configure(kind._given(arguments))
    return Plan(spec, tuple(spec.weight_shapes.values()), dtype)


_stacks: dict[tuple[str, int], tuple[weakref.ref[Any], Plan, ForeignStack]] = {}
"""By line and `id` of the first weight: the plan, and what was last packed for it."""


def stack_of(line: str, plan: Plan, weights: Sequence[torch.Tensor]) -> ForeignStack:
    """Return a stack that has these weights, of the plan's shapes and dtype."""
    key = (line, id(weights[0]))
    found = _stacks.get(key)
    if found is not None and found[1] is plan and found[0]() is weights[0]:
        stack = found[2]
    else:
        stack = ForeignStack(plan.spec, torch.get_num_threads)
        alive = weakref.ref(weights[0], lambda _: _stacks.pop(key, None))
        _stacks[key] = (alive, plan, stack)
    if not stack.store.holds(tuple([weight.data_ptr() for weight in weights])):
        with stack.store.edit() as own:
            for array, weight in zip(own.values(), weights, strict=True):
                torch.from_numpy(array).copy_(weight)
    return stack
