"""From the source to the results in order: what is read when, and what is kept.

    source -> pool -> crew -> ready -> whoever iterates
       ^                                  |
       +---- reads as long as there is ---+
             memory left

Everything happens in the thread that iterates, and only while it asks for a result:
whoever takes results slowly stops the reading, too. A sequence counts for the memory,
with the size that its result will have, from when it is read until its result is handed
out. How large results are is learnt from the first ones; until then there is a sequence
for each worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from exactrnn.distributed._crew import Crew, Done
from exactrnn.distributed._forms import Form, leaves
from exactrnn.distributed._map_worker import Alone
from exactrnn.distributed._pool import Pool, Waiting
from exactrnn.distributed._sources import SequenceError, Taker

OVERHEAD = 512
"""Bytes that a sequence takes in any case: objects of Python."""
MOST_IN_GROUP = 1024
"""Sequences in a group: more are no faster."""
LARGEST_GROUP = 1 << 22
"""Bytes of a group, results included: it is computed in milliseconds at the least."""
AHEAD = 4
"""Groups from which the next one is chosen, by length."""
PATIENCE = 0.05
"""Seconds that an idle worker waits for the source to fill its group."""
SLOW = 0.01
"""Seconds that a source takes for a sequence before nothing waits for the next one."""
PULSE = 2e-3
"""Seconds between looks at what the workers have done."""
READS = 2
"""Sequences read for each result that is handed out: more than one, to get ahead."""


class Limits(NamedTuple):
    """How much is where.

    Attributes
    ----------
    memory : int
        Bytes of all that was read and not handed out.
    group : int
        Bytes of a group.
    first : int
        Sequences that are read before the size of a result is known.
    """

    memory: int
    group: int
    first: int


def limits_of(memory: int, workers: int) -> Limits:
    """Return the limits for so many workers: each has a group, and one that waits."""
    share = memory // (3 * max(workers, 1) + AHEAD)
    return Limits(memory, max(min(share, LARGEST_GROUP), 1), max(workers, 1))


class Flow:
    """One way through a source.

    Parameters
    ----------
    items : iterator
        Of the source.
    taker : Taker
        Makes arrays of its items.
    form : Form
        How the model is called.
    limits : Limits
    """

    def __init__(
        self, items: Iterator[Any], taker: Taker, form: Form, limits: Limits
    ) -> None:
        self._items: Iterator[Any] | None = items
        self._taker, self._form, self._limits = taker, form, limits
        self._pool = Pool(limits.group, ragged=form.ragged)
        self._ready: dict[int, Alone | SequenceError] = {}
        self._sizes: dict[int, int] = {}
        self._failure: BaseException | None = None
        self._read = self._next = 0
        self._held = 0
        self._per_step = self._per_sequence = 0.0
        self._is_sized = False
        self._looked = self._idle_since = 0.0
        self._is_slow = False

    @property
    def held(self) -> int:
        """Bytes that count for the memory now."""
        return self._held

    def results(
        self, begin: Callable[[], Crew]
    ) -> Iterator[tuple[int, Alone | SequenceError]]:
        """Yield the result of each sequence, in order, then what the source raised.

        Parameters
        ----------
        begin : callable
            Makes the crew, when it is first needed.
        """
        crew: Crew | None = None
        while True:
            if crew is None and len(self._pool):
                crew = begin()
            if crew is not None:
                self._look(crew)
            if self._next in self._ready:
                self._get_ahead(crew)
                yield self._hand_out()
            elif not self._advance(crew):
                break
        if self._failure is not None:
            raise self._failure

    def _look(self, crew: Crew) -> None:
        """Take what the workers have done, from time to time."""
        now = time.monotonic()
        if self._is_slow or now - self._looked > PULSE:
            self._looked = now
            self._settle(crew.collect(0.0))

    def _get_ahead(self, crew: Crew | None) -> None:
        """Keep the workers busy while somebody is busy with results."""
        for _ in range(READS):
            if self._may_read() and not self._is_slow:
                self._read_one()
        if crew is not None:
            while self._may_send(crew):
                crew.send(self._pool.take(MOST_IN_GROUP))

    def _advance(self, crew: Crew | None) -> bool:
        """Do one thing that brings the next result nearer; False if none is left."""
        if crew is not None and self._may_send(crew):
            crew.send(self._pool.take(MOST_IN_GROUP))
        elif self._may_read():
            self._read_one()
        elif crew is not None and crew.is_busy:
            self._settle(crew.collect())
        else:
            return False
        return True

    def _hand_out(self) -> tuple[int, Alone | SequenceError]:
        index = self._next
        self._next += 1
        self._held -= self._sizes.pop(index)
        return index, self._ready.pop(index)

    # Reading

    def _may_read(self) -> bool:
        if self._items is None:
            return False
        if not self._held:
            return True
        waiting = self._read - self._next
        return self._held < self._limits.memory and (
            self._is_sized or waiting < self._limits.first
        )

    def _read_one(self) -> None:
        """Read an item; what the source raises is raised when its turn has come."""
        assert self._items is not None
        begin = time.monotonic()
        try:
            item = next(self._items)
        except StopIteration:
            self._items = None
            return
        except Exception as error:
            self._items, self._failure = None, error
            return
        self._is_slow = time.monotonic() - begin > SLOW
        index = self._read
        self._read += 1
        try:
            x = self._taker.take(index, item)
        except SequenceError as error:
            self._ready[index] = error
            size = OVERHEAD
        else:
            size = self._size_of(x)
            self._pool.add(Waiting(index, x, size))
        self._sizes[index] = size
        self._held += size

    def _size_of(self, x: Any) -> int:
        result = self._per_step * len(x) + self._per_sequence
        return OVERHEAD + int(x.nbytes) + int(result)

    # Sending and receiving

    def _may_send(self, crew: Crew) -> bool:
        """Tell whether a group should go to a worker now."""
        if not len(self._pool) or not crew.wants:
            self._idle_since = 0.0
            return False
        is_full = self._pool.size >= AHEAD * self._limits.group
        if is_full or self._is_slow or not self._may_read():
            return True
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        return now - self._idle_since > PATIENCE

    def _settle(self, done: list[Done]) -> None:
        """Put the results of groups in their places."""
        for group, results in done:
            for one, result in zip(group, results, strict=True):
                self._ready[one.index] = (
                    result
                    if result.error is None
                    else SequenceError(one.index, result.error)
                )
            self._learn(group, results)

    def _learn(self, group: list[Waiting], results: list[Alone]) -> None:
        """Note how large results are, by the first that there is."""
        found = next(
            (p for p in zip(group, results, strict=True) if not p[1].error), None
        )
        if found is None:
            return
        sequence, result = found
        output = 0 if result.y is None else result.y.nbytes
        rest = sum(leaf.nbytes for leaf in leaves(result.state))
        if self._form.has_time:
            self._per_step = max(self._per_step, output / sequence.steps)
        else:
            rest += output
        self._per_sequence = max(self._per_sequence, rest)
        self._is_sized = True
