"""The workers of a training: a batch's gradient by them, and the steps that they do.

A step on W workers:

    gradients   each worker computes its shards and adds what is its own of the tree
    add         of more than `FAN` workers: neighbours add what they have in groups,
                each member of a group a slice of the parameters
    add_up      worker j gets slice j of what is left from all, and adds the rest
    take        each worker gets the slices, and has the batch's whole gradient
    step        each does the optimiser's step: all know the same

By the groups this process makes a number of orders that grows with W, and not with its
square. Which worker adds what does not show: the tree is that of the shards.

Whoever has a team does the last two as well. So it always knows where the run stands,
and can teach a worker that takes the place of a lost one: a lost worker costs the batch
it was lost in, which is done again.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn.distributed.engine import Engine, EngineError, Ref, Worker, WorkerLost
from exactrnn.distributed.shards import (
    Layout,
    Node,
    Place,
    Shard,
    bounds,
    edges,
    merged_nodes,
    nodes_of,
    owners,
)
from exactrnn.distributed.training import BehindError, Found, Known, Trainer

FAN = 8
"""Slices of the parameters, and workers whose sums are added at a time, at most."""
MOST_LOSSES = 10
"""How often a batch is begun anew before it is given up."""


class Done(NamedTuple):
    """A batch.

    Attributes
    ----------
    values : list of float
        What each shard adds to its loss.
    layout : Layout
    vector : ndarray
        Its gradient.
    states : dict of int to state
        By the numbers of the shards; empty if none are carried.
    seconds : tuple of float
        What each worker needed for its shards.
    received : tuple of int
        Bytes of gradients that each worker got from others.
    lost : int
        How often the batch was begun anew.
    """

    values: list[float]
    layout: Layout
    vector: NDArray[Any]
    states: dict[int, Any]
    seconds: tuple[float, ...]
    received: tuple[int, ...]
    lost: int


class _Part(NamedTuple):
    """Sums of the tree, slice by slice: which they are, who has each slice."""

    nodes: tuple[Node, ...]
    holders: tuple[int, ...]
    slices: tuple[Ref, ...]


class _Move(NamedTuple):
    """So many sums of a slice go to a worker."""

    worker: int
    slice: int
    sums: int


class Team:
    """Workers that know what a training knows.

    Parameters
    ----------
    engine : Engine
    make : callable
        Makes a `Trainer`.
    count, shards : int
        Workers; and into how many shards batches are cut, at least as many.
    teach : callable
        Returns what the training knows, from the point that it is given: for workers
        that know nothing.
    """

    def __init__(
        self,
        engine: Engine,
        make: partial[Trainer],
        count: int,
        shards: int,
        teach: Callable[[int], Known],
    ) -> None:
        self._engine, self._teach_from = engine, teach
        self._owned = owners(shards, count)
        self._slices = min(count, FAN)
        self._point, self._are_taught, self._have_files = 0, False, False
        self._unanswered: list[Ref] = []
        self._workers: list[Worker] = engine.place(make, count)

    def dismiss(self) -> None:
        """End the workers."""
        self._engine.dismiss(self._workers)

    def forget(self) -> None:
        """Have all be taught anew before the next batch."""
        self._are_taught = False

    def gradient(self, shards: list[Shard], place: Place) -> Done:
        """Return a batch's gradient; the workers have it too.

        Raises
        ------
        EngineError
            If it lost a worker again and again.
        """
        for lost in range(MOST_LOSSES):
            try:
                if not self._are_taught:
                    self._look_for_errors()
                    self._teach()
                return self._exchange(shards, place, lost)
            except (WorkerLost, BehindError) as error:
                last, self._are_taught = error, False
        raise EngineError(
            f"workers: batch {place.batch} of epoch {place.epoch} lost one "
            f"{MOST_LOSSES} times, at last: {last}"
        )

    def step(self, lr: float) -> None:
        """Have the workers do a step with what they gathered."""
        self._unanswered += [
            self._engine.call(worker, "step", self._point, lr)
            for worker in self._workers
        ]
        self._point += 1

    def _look_for_errors(self) -> None:
        """Raise what an order without an answer has raised but for losses.

        A worker that could not do one stands behind at the next batch.
        """
        orders, self._unanswered = self._unanswered, []
        for ref in orders:
            with suppress(WorkerLost, BehindError):
                self._engine.fetch(ref)

    def _teach(self) -> None:
        """Replace the workers that are lost, and tell all where the run stands."""
        known = self._teach_from(self._point)
        for k, worker in enumerate(self._workers):
            if not self._engine.alive(worker):
                self._workers[k] = self._engine.replace(worker)
        ref = self._engine.put(pickle.dumps(known, 5))
        taught = [self._engine.call(w, "load", ref) for w in self._workers]
        have = [self._engine.fetch(one) for one in taught]
        self._have_files = all(have)
        self._are_taught = True

    def _exchange(self, shards: list[Shard], place: Place, lost: int) -> Done:
        """Do one batch."""
        call, fetch = self._engine.call, self._engine.fetch
        found_refs, state_refs, parts = self._ask(shards, place)
        moves: list[_Move] = []
        while len(parts) > FAN:
            spans = bounds(len(parts), -(-len(parts) // FAN))
            parts = [self._add("add", parts[a:b], moves) for a, b in spans]
        whole = self._add("add_up", parts, moves)
        orders = [
            call(worker, "take", self._point, found_refs[0], *whole.slices)
            for worker in self._workers
        ]
        found: list[Found] = [fetch(ref) for ref in found_refs]
        states: dict[int, Any] = {}
        for ref in state_refs:
            states |= fetch(ref) or {}
        vector = np.concatenate([fetch(ref) for ref in whole.slices])
        self._unanswered = orders
        self._point += 1
        layout = found[0].layout
        assert layout is not None
        return Done(
            [value for one in found for value in one.values],
            layout,
            vector,
            states,
            tuple(one.seconds for one in found),
            self._received(moves, whole.holders, vector),
            lost,
        )

    def _ask(
        self, shards: list[Shard], place: Place
    ) -> tuple[list[Ref], list[Ref], list[_Part]]:
        """Have each worker compute its shards; return what it says, states and sums."""
        if not self._have_files:  # as on another machine: they get the rows
            shards = [shard.read() for shard in shards]
        found, states, parts = [], [], []
        returns = 2 + self._slices
        for k, worker in enumerate(self._workers):
            numbers = self._owned[k]
            numbers = range(numbers.start, min(numbers.stop, len(shards)))
            own = [shards[n] for n in numbers]
            order = self._point, place, own, self._slices
            one, state, *sums = self._engine.call(
                worker, "gradients", *order, returns=returns
            )
            found.append(one)
            states.append(state)
            holders = (k,) * self._slices
            parts.append(_Part(_nodes_of(numbers), holders, tuple(sums)))
        return found, states, parts

    def _add(self, method: str, parts: list[_Part], moves: list[_Move]) -> _Part:
        """Have neighbouring parts added, each slice by one of those who have it."""
        nodes = tuple(part.nodes for part in parts)
        holders, slices = [], []
        for j in range(self._slices):
            adder = parts[j % len(parts)].holders[j]
            given = [part.slices[j] for part in parts]
            slices.append(
                self._engine.call(self._workers[adder], method, nodes, *given)
            )
            holders.append(adder)
            moves += [
                _Move(adder, j, len(part.nodes))
                for part in parts
                if part.holders[j] != adder
            ]
        return _Part(_merged_nodes(nodes), tuple(holders), tuple(slices))

    def _received(
        self, moves: Sequence[_Move], holders: Sequence[int], vector: NDArray[Any]
    ) -> tuple[int, ...]:
        """Return the bytes that each worker got: sums of slices, and the result's."""
        sizes = [
            end - begin for begin, end in pairwise(edges(vector.size, self._slices))
        ]
        got = [vector.size] * len(self._workers)
        for j, holder in enumerate(holders):
            got[holder] -= sizes[j]
        for move in moves:
            got[move.worker] += move.sums * sizes[move.slice]
        return tuple(count * vector.itemsize for count in got)


_nodes_of = lru_cache(maxsize=4096)(nodes_of)
_merged_nodes = lru_cache(maxsize=4096)(merged_nodes)
