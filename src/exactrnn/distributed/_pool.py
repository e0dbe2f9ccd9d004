"""Sequences that were read and wait for a worker: groups of them, by length.

A group begins with the sequence that waits longest, so that results never wait for one
that is passed over for ever, and grows by those nearest in length, as long as it stays
within its limit and little of it is padding. Which sequences share a group is free: by
the contract a row has the same bits in any batch.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

MOST_PADDING = 0.25
"""Share of a group that may be padding: it costs memory and copying, no computing."""

Kind = tuple[str, tuple[int, ...]]
"""What the sequences of a group have in common: dtype, and sizes but for the steps."""


@dataclass(slots=True)
class Waiting:
    """A sequence that was read.

    Attributes
    ----------
    index : int
        Its place in the source.
    x : ndarray, ``[T, ...]``
    size : int
        Bytes that it counts for, its result included.
    """

    index: int
    x: NDArray[Any]
    size: int

    @property
    def steps(self) -> int:
        """Its length T."""
        return len(self.x)

    @property
    def kind(self) -> Kind:
        """What it must have in common with its group."""
        return self.x.dtype.str, self.x.shape[1:]


class Pool:
    """Waiting sequences; `take` makes a group of some.

    Parameters
    ----------
    limit : int
        Bytes of a group, but for padding; a sequence alone may have more.
    ragged : bool
        Whether lengths in a group may differ.

    Attributes
    ----------
    size : int
        Bytes of all that waits.
    """

    def __init__(self, limit: int, *, ragged: bool) -> None:
        self._limit = limit
        self._padding = MOST_PADDING if ragged else 0.0
        self._waiting: dict[int, Waiting] = {}
        self._order: deque[int] = deque()
        self._by_length: dict[Kind, list[tuple[int, int]]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sequence: Waiting) -> None:
        """Take in a sequence; their indices come in rising order."""
        self._waiting[sequence.index] = sequence
        self._order.append(sequence.index)
        self.size += sequence.size
        same = self._by_length.setdefault(sequence.kind, [])
        insort(same, (sequence.steps, sequence.index))

    def take(self, most: int) -> list[Waiting]:
        """Return a group of at most so many sequences, which leave; the oldest first.

        The pool must not be empty.
        """
        while self._order[0] not in self._waiting:
            self._order.popleft()
        oldest = self._waiting[self._order[0]]
        same = self._by_length[oldest.kind]
        begin = bisect_left(same, (oldest.steps, oldest.index))
        begin, end = self._grow(same, begin, most)
        group = sorted(index for _, index in same[begin:end])
        del same[begin:end]
        if not same:
            del self._by_length[oldest.kind]
        taken = [self._waiting.pop(index) for index in group]
        self.size -= sum(one.size for one in taken)
        return taken

    def _grow(
        self, same: list[tuple[int, int]], begin: int, most: int
    ) -> tuple[int, int]:
        """Return the bounds of a group around one sequence, sorted by length."""
        end = begin + 1
        size = self._waiting[same[begin][1]].size
        steps = same[begin][0]
        while end - begin < most:
            shorter = steps - same[begin - 1][0] if begin else None
            longer = same[end][0] - steps if end < len(same) else None
            if shorter is None and longer is None:
                break
            goes_down = longer is None or (shorter is not None and shorter < longer)
            place = begin - 1 if goes_down else end
            size += self._waiting[same[place][1]].size
            least, longest = same[min(place, begin)][0], same[max(place, end - 1)][0]
            if size > self._limit or longest - least > self._padding * longest:
                break
            begin, end = min(place, begin), max(place + 1, end)
        return begin, end
