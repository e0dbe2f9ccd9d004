"""A training of a language model whose streams are cut into shards.

A shard is some streams, the same ones in every chunk, so the state that is carried from
chunk to chunk stays with whoever has the shard. This process has it too, as it has all
that the run knows: the run file is that of no workers, and goes on with any number.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from exactrnn._checks import check_size
from exactrnn._checks.arrays import Index
from exactrnn._checks.naming import check_names
from exactrnn.distributed._team import Team
from exactrnn.distributed.engine import Engine
from exactrnn.distributed.fitting import (
    check_engine,
    check_threads,
    check_workers,
    placed,
    remark_on,
    whole,
)
from exactrnn.distributed.shards import (
    Place,
    Shard,
    States,
    cut,
    joined_states,
    rows_of_states,
    shard_gradients,
)
from exactrnn.distributed.training import Known, Trainer
from exactrnn.io import Source
from exactrnn.train import Accumulator, Batch, softmax_cross_entropy
from exactrnn.train._lm_training import Plan, Training
from exactrnn.train.bptt import StreamChunk

OPTIONS = ("workers", "shards", "engine", "threads")


class Workers(NamedTuple):
    """How many there are, by which engine, with how many threads each."""

    number: int
    engine: Engine | str
    threads: int


def shared_training(
    model: Any, sequence: Index, plan: Plan, **options: Any
) -> Training:
    """Return the steps of a training by workers, or by shards in this process.

    Parameters
    ----------
    model, sequence, plan
        As for `Training`.
    **options
        ``workers`` (0), ``shards`` (8), ``engine`` and ``threads`` (1), as for `fit`.
    """
    check_names("workers", {*OPTIONS, *options}, OPTIONS)
    shards = check_size("shards", options.get("shards", 8))
    threads = check_threads(options.get("threads", 1))
    engine = check_engine(options.get("engine"))
    count = check_workers(options.get("workers", 0), shards)
    if not count:
        return ShardedTraining(model, sequence, plan, shards)
    workers = Workers(count, engine, threads)
    return SpreadTraining(model, sequence, plan, shards, workers)


class ShardedTraining(Training):
    """A training whose streams are cut into shards, in this process alone."""

    def __init__(self, model: Any, sequence: Index, plan: Plan, shards: int) -> None:
        super().__init__(model, sequence, plan)
        self._shards = shards
        self._states: States = {}

    def _fixed(self) -> dict[str, Any]:
        return {**super()._fixed(), "shards": self._shards}

    def _find(self, chunk: StreamChunk, state: Any) -> tuple[float, Any, Any]:
        shards, place = self._begin_chunk(chunk, state)
        found = shard_gradients(
            self._model, softmax_cross_entropy, shards, place, {}, self._states
        )
        loss, gradients = whole(found.values, found.layout, found.tree.total())
        return loss, gradients, joined_states(found.states or {})

    def _begin_chunk(self, chunk: StreamChunk, state: Any) -> tuple[list[Shard], Place]:
        """Return the shards of a chunk, and know the states with which they begin."""
        rows = self._plan.batch_size
        self._states = {}
        if state is not None:
            self._states = rows_of_states(state, rows, self._shards)
        # A model of this kind draws no random numbers: where a chunk stands is no
        # matter, but for the first of a way through the text, which begins at zeros.
        place = Place(0, 0 if state is None else self._step)
        return cut(Batch(chunk.inputs, chunk.targets), self._shards), place


class SpreadTraining(ShardedTraining):
    """The same on workers, which are placed when they are first needed."""

    def __init__(
        self,
        model: Any,
        sequence: Index,
        plan: Plan,
        shards: int,
        workers: Workers,
    ) -> None:
        super().__init__(model, sequence, plan, shards)
        self._make = partial(Trainer, softmax_cross_entropy, workers.threads)
        self._engine, self._count = workers.engine, workers.number
        self._team: Team | None = None
        self._until = ExitStack()

    def _known(self, point: int) -> Known:
        """Return what the workers must know."""
        return Known(
            point,
            self._model,
            self._optimizer,
            Accumulator(),
            self._plan.clip,
            {},
            self._states,
        )

    def _find(self, chunk: StreamChunk, state: Any) -> tuple[float, Any, Any]:
        if self._team is None:
            sizes = self._count, self._shards
            begun = placed(self._engine, self._make, sizes, self._known)
            self._team = self._until.enter_context(begun)
        done = self._team.gradient(*self._begin_chunk(chunk, state))
        self._remark = remark_on(done.seconds)
        loss, gradients = whole(done.values, done.layout, done.vector)
        return loss, gradients, joined_states(done.states)

    def _tell(self) -> None:
        assert self._team is not None
        self._team.step(self._optimizer.lr)

    def load(self, path: Source) -> None:
        """Go on from a file, of any number of workers."""
        super().load(path)
        if self._team is not None:
            self._team.forget()

    def close(self) -> None:
        """End the workers; others are placed if the training goes on."""
        self._team = None
        self._until.close()
