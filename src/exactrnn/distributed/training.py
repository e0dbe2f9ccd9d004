"""What a worker does in training: gradients of its shards, sums of its slice, the step.

Every worker has the model and the optimiser, whole; all do the same steps, so that none
has to be asked for what it alone knows. A worker that is new, or has missed something,
is taught by `load` what the run knows. Each order says at which point of the run it is
meant, and a worker that stands elsewhere refuses it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn import engine
from exactrnn.distributed.engine import EngineError
from exactrnn.distributed.shards import (
    Layout,
    Node,
    Place,
    Shard,
    add_up,
    shard_gradients,
)
from exactrnn.train.averages import Accumulator
from exactrnn.train.clipping import clip_global_norm, global_norm
from exactrnn.train.optimizers import Optimizer


class BehindError(EngineError):
    """A worker has not seen what it would have to know."""


class Known(NamedTuple):
    """What a run knows between two orders; `point` counts what has changed it."""

    point: int
    model: Any
    optimizer: Optimizer
    gathered: Accumulator
    clip: float | None
    generators: Mapping[str, Any]


class Found(NamedTuple):
    """What a worker says of its shards beside the gradients.

    `values` are their parts of the loss, `nodes` the sums that were made of them.
    """

    values: tuple[float, ...]
    nodes: tuple[Node, ...]
    layout: Layout | None
    seconds: float


class Trainer:
    """A worker of a training."""

    def __init__(self, loss: Callable[..., tuple[float, Any]], threads: int) -> None:
        self._loss, self._threads = loss, threads
        self._known: Known | None = None
        self._point = -1

    def load(self, pickled: bytes) -> None:
        """Learn where the run stands: from bytes, for the arrays are to be changed."""
        known: Known = pickle.loads(pickled)
        self._known, self._point = known, known.point

    def _at(self, point: int) -> Known:
        """Return what is known at this point, or raise."""
        if self._known is None or point != self._point:
            raise BehindError(f"a worker stands at {self._point}, the run at {point}")
        return self._known

    def gradients(
        self, point: int, place: Place, shards: Sequence[Shard], slices: int
    ) -> tuple[Any, ...]:
        """Return what was found, and of each slice of the parameters ``[nodes, L]``."""
        begin = time.perf_counter()
        known = self._at(point)
        with engine.threads(self._threads):
            values, layout, tree = shard_gradients(
                known.model, self._loss, shards, place, known.generators
            )
        seconds = time.perf_counter() - begin
        found = Found(tuple(values), tree.nodes, layout, seconds)
        return (found, *_sliced(tree.vectors, slices))

    def add_up(self, *given: Any) -> NDArray[Any]:
        """Return one slice of the batch's gradient.

        Parameters
        ----------
        *given : Found, ndarray, Found, ndarray, ...
            What each worker has found and has of this slice, in the workers' order.
        """
        found, vectors = given[::2], given[1::2]
        return add_up((one.nodes, own) for one, own in zip(found, vectors, strict=True))

    def take(self, point: int, found: Found, *slices: NDArray[Any]) -> None:
        """Add the gradient of a batch to those of the next step."""
        known = self._at(point)
        assert found.layout is not None
        known.gathered.add(found.layout.as_gradients(np.concatenate(slices)))
        self._point += 1

    def step(self, point: int, lr: float) -> None:
        """Do a step of the optimiser."""
        known = self._at(point)
        do_step(known.optimizer, known.gathered.take(), known.clip, lr)
        self._point += 1


def do_step(
    optimizer: Optimizer, gradients: dict[str, Any], clip: float | None, lr: float
) -> None:
    """Clip and step as `fit` does; nothing where the norm is not finite."""
    if clip is None:
        norm = global_norm(gradients)
    else:
        norm = clip_global_norm(gradients, clip)
    if np.isfinite(norm):
        optimizer.lr = lr
        optimizer.step(gradients)


def _sliced(vectors: Sequence[NDArray[Any]], slices: int) -> list[NDArray[Any]]:
    """Return of each slice its part of all vectors; of no vectors slices of none."""
    if not vectors:
        return [np.empty((0, 0))] * slices
    stacked = np.stack(vectors)
    size = stacked.shape[1]
    edges = [size * k // slices for k in range(slices + 1)]
    return [
        np.ascontiguousarray(stacked[:, begin:end]) for begin, end in pairwise(edges)
    ]
