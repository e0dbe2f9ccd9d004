"""What a worker does in training: gradients of its shards, sums of a slice, the step.

Every worker has the model and the optimiser, whole; all do the same steps, so that none
has to be asked for what it alone knows. A worker that is new, or has missed something,
is taught by `load` what the run knows. Each order says at which point of the run it is
meant, and a worker that stands elsewhere refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn import engine
from exactrnn.distributed.engine import EngineError, unpickled
from exactrnn.distributed.shards import (
    Layout,
    Node,
    Place,
    Shard,
    States,
    TreeSum,
    edges,
    merged,
    shard_gradients,
)
from exactrnn.train._stored import FileArray, all_here
from exactrnn.train.averages import Accumulator
from exactrnn.train.clipping import clip_global_norm, global_norm
from exactrnn.train.optimizers import Optimizer


class BehindError(EngineError):
    """A worker has not seen what it would have to know."""


class Known(NamedTuple):
    """What a run knows between two orders; `point` counts what has changed it.

    `states` are those with which the shards go on: None if none are carried. `files`
    are what shards are read from.
    """

    point: int
    model: Any
    optimizer: Optimizer
    gathered: Accumulator
    clip: float | None
    generators: Mapping[str, Any]
    states: States
    files: tuple[FileArray, ...] = ()


class Found(NamedTuple):
    """What a worker says of its shards beside the gradients.

    `values` are their parts of the loss.
    """

    values: tuple[float, ...]
    layout: Layout | None
    seconds: float


Sums: TypeAlias = Sequence[tuple[Node, ...]]
"""Which sums of the tree each of several workers has."""


class Trainer:
    """A worker of a training."""

    def __init__(self, loss: Callable[..., tuple[float, Any]], threads: int) -> None:
        self._loss, self._threads = loss, threads
        self._known: Known | None = None
        self._point = -1
        self._states: States = None
        self._after: States = None

    def load(self, pickled: bytes) -> bool:
        """Learn where the run stands: from bytes, for the arrays are to be changed.

        Returns whether all files are here that shards are read from.
        """
        known: Known = unpickled(pickled)
        self._known, self._point = known, known.point
        self._states = known.states
        return all_here(known.files)

    def _at(self, point: int) -> Known:
        """Return what is known at this point, or raise."""
        if self._known is None or point != self._point:
            raise BehindError(f"a worker stands at {self._point}, the run at {point}")
        return self._known

    def gradients(
        self, point: int, place: Place, shards: Sequence[Shard], slices: int
    ) -> tuple[Any, ...]:
        """Return what was found, states, and of each slice its sums ``[nodes, L]``.

        States are those with which the shards go on, for whoever teaches another
        worker; this one has them here when the batch is done.
        """
        begin = time.perf_counter()
        known = self._at(point)
        shards = [shard.read() for shard in shards]
        before = None
        if known.states is not None:
            before = self._states if place.batch else {}
        with engine.threads(self._threads):
            own = shard_gradients(
                known.model, self._loss, shards, place, known.generators, before
            )
        self._after = own.states
        seconds = time.perf_counter() - begin
        found = Found(tuple(own.values), own.layout, seconds)
        return (found, own.states, *_sliced(own.tree.vectors, slices))

    def add(self, sums: Sums, *vectors: NDArray[Any]) -> NDArray[Any]:
        """Return what several workers' sums of one slice leave, ``[nodes, L]``."""
        return _stacked(self._merged(sums, vectors).vectors)

    def add_up(self, sums: Sums, *vectors: NDArray[Any]) -> NDArray[Any]:
        """Return one slice of the batch's gradient, of all sums that are left.

        Parameters
        ----------
        sums : sequence of tuple of Node
            Which each of those has that the next arguments are of.
        *vectors : ndarray, ``[nodes, L]``
            In the order of the shards.
        """
        return self._merged(sums, vectors).total()

    @staticmethod
    def _merged(sums: Sums, vectors: Sequence[NDArray[Any]]) -> TreeSum:
        return merged(zip(sums, vectors, strict=True))

    def take(self, point: int, found: Found, *slices: NDArray[Any]) -> None:
        """Add the gradient of a batch to those of the next step."""
        known = self._at(point)
        assert found.layout is not None
        known.gathered.add(found.layout.as_gradients(np.concatenate(slices)))
        self._states = self._after
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


def _stacked(vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return vectors as rows; of no shards there are none."""
    return np.stack(vectors) if vectors else np.empty((0, 0))


def _sliced(vectors: Sequence[NDArray[Any]], slices: int) -> list[NDArray[Any]]:
    """Return of each slice its part of all vectors."""
    stacked = _stacked(vectors)
    spans = pairwise(edges(stacked.shape[1], slices))
    return [np.ascontiguousarray(stacked[:, begin:end]) for begin, end in spans]
