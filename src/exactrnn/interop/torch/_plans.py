"""What a torch module computes, as a string, and the weights that it was last run with.

A module is described by a line of JSON, the name of a class of `exactrnn.layers` and
its arguments: the operators of `_operators.py` take it, and an exported program keeps
it. A `Plan` is what such a line means for one dtype.

The weights of one module have a `ForeignStack`, in a `Packed`. It is found by the
identity of all of these tensors and goes when one of them goes; whether it still has
the weights is seen in their bytes at every call. Weights that are computed anew for
each call (by a parametrization, by `functional_call`) are packed anew for each call.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

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


class Packed:
    """The weights of one module as they were last seen, and the stack that has them.

    Parameters
    ----------
    plan : Plan
        What they are of.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stack = ForeignStack(plan.spec, torch.get_num_threads)
        self.trusted = 0
        self._seen: tuple[int, ...] = ()
        self._versions: list[int] = []

    def begin_trust(self) -> None:
        """Compare at the next call once more, and then no longer."""
        self._seen = ()
        self.trusted += 1

    def follow(self, weights: Sequence[torch.Tensor]) -> None:
        """See to it that the stack has these weights, of the plan's shapes."""
        addresses = tuple(addresses_of(weights))
        if self.trusted:
            versions = versions_of(weights)
            if self._seen == addresses and self._versions == versions:
                return
            self._versions = versions
        if not self.stack.store.holds(addresses):
            with self.stack.store.edit() as own:
                for array, weight in zip(own.values(), weights, strict=True):
                    torch.from_numpy(array).copy_(weight)
        self._seen = addresses

    def recall(self, weights: Sequence[torch.Tensor]) -> None:
        """Do what `follow` does, but as of the last call if that had these weights.

        Gradients are of the weights that forward has read: what was written since is
        not looked for. torch raises for writes that it has seen.
        """
        if self._seen != tuple(addresses_of(weights)):
            self.follow(weights)


def addresses_of(weights: Sequence[torch.Tensor]) -> list[int]:
    """Return where contiguous weights lie in the CPU's memory."""
    addresses = [weight.data_ptr() for weight in weights]
    if 0 in addresses:
        place = addresses.index(0)
        shape, device = tuple(weights[place].shape), weights[place].device
        raise RuntimeError(
            f"weights: expected memory of the CPU, got none: weight {place}, {shape} "
            f"on {device}, has shape alone (to_empty, or load_state_dict with "
            "assign=True, gives it memory), or its memory was taken away"
        )
    return addresses


def versions_of(weights: Sequence[torch.Tensor]) -> list[int]:
    """Return torch's counts of the writes that it has seen, where it counts them."""
    return [-1 if w.is_inference() else w._version for w in weights]


_packed: dict[tuple[Any, ...], tuple[list[weakref.ref[Any]], Packed]] = {}
"""By line and `id` of each weight: these weights, and what was packed for them."""


def packed_of(line: str, plan: Plan, weights: Sequence[torch.Tensor]) -> Packed:
    """Return where these weights are packed, as they were last seen."""
    key = (line, *map(id, weights))
    found = _packed.get(key)
    if found is not None and found[1].plan is plan:
        return found[1]
    packed = Packed(plan)

    def forget(_: object) -> None:
        _packed.pop(key, None)

    _packed[key] = [weakref.ref(weight, forget) for weight in weights], packed
    return packed


def is_trusted(line: str, weights: Sequence[torch.Tensor]) -> bool:
    """Tell whether these weights are packed and nobody has to compare them."""
    if not _trusting:
        return False
    found = _packed.get((line, *map(id, weights)))
    return found is not None and found[1].trusted > 0


_trusting: list[None] = []
"""One entry for each block of `trusting` that is open, in any thread."""


@contextmanager
def trusting(modules: Iterable[tuple[str, Sequence[torch.Tensor]]]) -> Iterator[None]:
    """Compare the weights of some modules once, and then only if torch saw a write.

    The modules are given by line and weights.
    """
    held = []
    _trusting.append(None)
    try:
        for line, weights in modules:
            if weights[0].dtype not in DTYPES:
                continue
            packed = packed_of(line, plan_of(line, weights[0].dtype), weights)
            packed.begin_trust()
            held.append(packed)
        yield
    finally:
        _trusting.pop()
        for packed in held:
            packed.trusted -= 1
