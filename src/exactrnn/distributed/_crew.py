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

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exactrnn.distributed._frozen import Frozen
from exactrnn.distributed._map_worker import Alone, Outcome
from exactrnn.distributed._pool import Waiting
from exactrnn.distributed.engine import Engine, WorkerLost

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


@dataclass
class Lane:
    """A worker and what it was sent, in this order."""

    worker: Any
    sent: deque[tuple[Any, Task]] = field(default_factory=deque)

    def takes(self, task_is_suspect: bool) -> bool:
        """Tell whether a task can be sent."""
        if task_is_suspect:
            return not self.sent
        return len(self.sent) < DEPTH and not (self.sent and self.sent[0][1].is_suspect)


class Done(NamedTuple):
    """A group and what came of it."""

    group: list[Waiting]
    outcome: Outcome


class Crew:
    """Workers of an engine that run one model.

    Parameters
    ----------
    engine : Engine
    make : callable
        Makes a `MapWorker`.
    frozen : Frozen
        Its model.
    count : int
        Workers.
    """

    def __init__(
        self,
        engine: Engine,
        make: Callable[[], Any],
        frozen: Frozen,
        count: int,
    ) -> None:
        self._engine = engine
        self._model = engine.put(frozen)
        self._lanes = [Lane(worker) for worker in engine.place(make, count)]
        for loaded in [self._load(lane) for lane in self._lanes]:
            engine.fetch(loaded)
        self._again: deque[Task] = deque()

    def dismiss(self) -> None:
        """End the workers."""
        self._engine.dismiss([lane.worker for lane in self._lanes])

    def _load(self, lane: Lane) -> Any:
        return self._engine.call(lane.worker, "load", self._model)

    @property
    def wants(self) -> bool:
        """Whether a worker can be sent a group."""
        return not self._again and any(lane.takes(False) for lane in self._lanes)

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
        ref = self._engine.call(lane.worker, "run", [one.x for one in task.group])
        lane.sent.append((ref, task))
        return True

    def collect(self, timeout: float | None = None) -> list[Done]:
        """Return what has come; wait for something to come, or so many seconds."""
        refs = [ref for lane in self._lanes for ref, _ in lane.sent]
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
            ref, task = lane.sent[0]
            ended, _ = self._engine.wait([ref], 0.0)
            if not ended:
                break
            try:
                outcome: Outcome = self._engine.fetch(ref)
            except WorkerLost:
                return found + self._bury(lane)
            lane.sent.popleft()
            found.append(Done(task.group, outcome))
        return found

    def _bury(self, lane: Lane) -> list[Done]:
        """Replace a worker that died; see to what it had."""
        (_, first), *others = lane.sent
        lane.sent.clear()
        lane.worker = self._engine.replace(lane.worker)
        self._engine.fetch(self._load(lane))
        self._again.extend(task for _, task in others)
        if len(first.group) > 1:
            self._again.extend(Task([one], True) for one in first.group)
        elif first.deaths + 1 < MOST_DEATHS:
            self._again.append(Task(first.group, True, first.deaths + 1))
        else:
            words = f"its worker died {MOST_DEATHS} times when it was alone with it"
            return [Done(first.group, [Alone(None, None, words)])]
        return []
