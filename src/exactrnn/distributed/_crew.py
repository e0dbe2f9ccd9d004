"""The workers of a map: groups go to them, outcomes come back, the dead are replaced.

    group -> a worker's lane (one runs, one waits) -> outcome
               | the worker dies
               v
    the group that ran: its sequences one by one, each with a worker for itself; the
    group that waited: once more, as it is

A sequence that is alone with its worker when that dies, twice, is taken for the cause:
its outcome is an error. A sequence that dies of something else needs the same bad luck
twice.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from exactrnn.distributed._forms import Form, with_leaves
from exactrnn.distributed._frozen import Frozen
from exactrnn.distributed._map_worker import (
    Alone,
    MapWorker,
    Outcome,
    Whole,
    results_of,
)
from exactrnn.distributed._pool import Waiting
from exactrnn.distributed._slots import Rows, Slots
from exactrnn.distributed.engine import Engine, WorkerLost
from exactrnn.distributed.local import LocalEngine

DEPTH = 2
"""Groups that a worker has: one that it computes and one that waits."""
MOST_DEATHS = 2
"""Workers that a sequence may have lost when it was alone with them."""


@dataclass(frozen=True)
class Task:
    """A group on its way; `deaths` counts for one that is alone with its worker."""

    group: list[Waiting]
    is_suspect: bool = False
    deaths: int = 0


class Sent(NamedTuple):
    """A task that a worker has, and where its sequences lie, if in shared memory."""

    ref: Any
    task: Task
    rows: Rows | None


@dataclass
class Lane:
    """A worker and what it was sent, in this order."""

    worker: Any
    sent: deque[Sent] = field(default_factory=deque)

    def takes(self, task_is_suspect: bool) -> bool:
        """Tell whether a task can be sent."""
        if task_is_suspect:
            return not self.sent
        return len(self.sent) < DEPTH and not (
            self.sent and self.sent[0].task.is_suspect
        )


class Done(NamedTuple):
    """A group and the result of each of its sequences."""

    group: list[Waiting]
    results: list[Alone]


class Plan(NamedTuple):
    """What a crew is to do.

    Attributes
    ----------
    form : Form
        How the model is called.
    wanted : tuple of two bools
        Whether outputs and states are wanted.
    workers : int
    threads : int or None
        Of each worker; None leaves them as they are.
    largest : int
        Bytes of a group as rows, and of its output.
    """

    form: Form
    wanted: tuple[bool, bool]
    workers: int
    threads: int | None
    largest: int


class Crew:
    """Workers of an engine that run one model.

    Parameters
    ----------
    engine : Engine
    frozen : Frozen
        The model.
    plan : Plan
        What is to be done.
    """

    def __init__(self, engine: Engine, frozen: Frozen, plan: Plan) -> None:
        self._engine, self._form = engine, plan.form
        self._model = engine.put(frozen)
        self._slots: Slots | None = None
        if isinstance(engine, LocalEngine) and hasattr(os, "memfd_create"):
            with suppress(OSError):  # where a limit forbids it they go by value
                self._slots = Slots(plan.workers * DEPTH, plan.largest)
        make = partial(MapWorker, plan.form, plan.wanted, plan.threads)
        self._lanes = [Lane(worker) for worker in engine.place(make, plan.workers)]
        for loaded in [self._load(lane) for lane in self._lanes]:
            engine.fetch(loaded)
        self._again: deque[Task] = deque()

    def dismiss(self) -> None:
        """End the workers."""
        self._engine.dismiss([lane.worker for lane in self._lanes])
        if self._slots is not None:
            self._slots.close()

    def _load(self, lane: Lane) -> Any:
        shared = None if self._slots is None else self._slots.shared
        return self._engine.call(lane.worker, "load", self._model, shared)

    @property
    def wants(self) -> bool:
        """Whether a worker can be sent a group."""
        if self._again:
            return False
        return any(lane.takes(False) for lane in self._lanes)

    @property
    def is_busy(self) -> bool:
        """Whether outcomes are to come."""
        return bool(self._again) or any(lane.sent for lane in self._lanes)

    def send(self, group: list[Waiting]) -> None:
        """Hand a group to the worker that has least to do; one must take it."""
        self._send(Task(group))

    def _send(self, task: Task) -> bool:
        """Hand a task to a worker, if one takes it."""
        lanes = [lane for lane in self._lanes if lane.takes(task.is_suspect)]
        if not lanes:
            return False
        lane = min(lanes, key=lambda lane: len(lane.sent))
        group = [one.x for one in task.group]
        rows = None if self._slots is None else self._slots.lay(group)
        order: tuple[Any, ...] = ("run", group)
        if rows is not None:
            order = ("run_in", rows, [*map(len, group)])
        ref = self._engine.call(lane.worker, *order)
        lane.sent.append(Sent(ref, task, rows))
        return True

    def collect(self, timeout: float | None = None) -> list[Done]:
        """Return what has come; wait for something to come, or so many seconds."""
        refs = [sent.ref for lane in self._lanes for sent in lane.sent]
        if not refs:
            return []
        self._engine.wait(refs, timeout)
        found: list[Done] = []
        for lane in self._lanes:
            found += self._take(lane)
        while self._again and self._send(self._again[0]):
            self._again.popleft()
        return found

    def _take(self, lane: Lane) -> list[Done]:
        """Take what a worker has done; what has ended stands first in its lane."""
        found: list[Done] = []
        while lane.sent:
            first = lane.sent[0]
            ended, _ = self._engine.wait([first.ref], 0.0)
            if not ended:
                break
            try:
                outcome: Outcome = self._engine.fetch(first.ref)
            except WorkerLost:
                return found + self._bury(lane)
            lane.sent.popleft()
            found.append(self._done(first, outcome))
        return found

    def _done(self, sent: Sent, outcome: Outcome) -> Done:
        """Return the results of a group, and let another one have its memory."""
        group = sent.task.group
        if self._slots is not None and isinstance(outcome, Whole):
            outcome = Whole(
                self._read(outcome.y), with_leaves(outcome.state, self._read)
            )
        results = results_of(self._form, outcome, [one.steps for one in group])
        self._give_back(sent)
        return Done(group, results)

    def _read(self, given: Any) -> Any:
        """Return an array that lies in shared memory; all else as it is."""
        if self._slots is not None and isinstance(given, Rows):
            return self._slots.read(given)
        return given

    def _give_back(self, sent: Sent) -> None:
        if self._slots is not None and sent.rows is not None:
            self._slots.give_back(sent.rows)

    def _bury(self, lane: Lane) -> list[Done]:
        """Replace a worker that died; see to what it had."""
        for sent in lane.sent:
            self._give_back(sent)
        first, *others = [sent.task for sent in lane.sent]
        lane.sent.clear()
        lane.worker = self._engine.replace(lane.worker)
        self._engine.fetch(self._load(lane))
        self._again.extend(others)
        if len(first.group) > 1:
            self._again.extend(Task([one], True) for one in first.group)
        elif first.deaths + 1 < MOST_DEATHS:
            self._again.append(Task(first.group, True, first.deaths + 1))
        else:
            words = f"its worker died {MOST_DEATHS} times when it was alone with it"
            return [Done(first.group, [Alone(None, None, words)])]
        return []
