"""Masks and resets: the steps of a call, cut into episodes that run side by side.

    row 0      a b . c|d e . f|g        . a masked step, | a reset before the step
    episodes   a b c   d e f   g        each without its holes, from a state of its own

An episode is a sequence of its own, in both directions. Episodes run as the rows of
batches, on an engine that knows nothing of them, so that each has the bits that it has
alone (contract N7) and the time taken is that of the steps that are not masked. What is
read is gathered from those steps alone; what comes out is scattered to them, and all
else is zero.

Forward, the initial state enters a row's first episode and the final one is its last
one's; in reverse it is the other way round. Any other episode begins at zero and hands
nothing on, and neither do gradients pass. An episode may be empty, as the last one is
if nothing follows a reset: its state is then the one it began with.

Which episodes run together decides in which order a gradient of weights is summed, so
it is part of the definition:

    group 0          the first episodes of all rows, of row 0, 1, ..., the empty too
    groups 1, 2, ... the others that are not empty, by length: 2^n to 2^(n+1) - 1 steps
                     in one, the longest first; within it by row, then by time

The gradient of weights is the sum of those of the groups, added in this order. Without
resets there is one group, and its order is that of a batch with lengths. The classes of
lengths keep the memory within three times that of the call, however the resets fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, Lengths

Bools: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.intp]
States: TypeAlias = tuple[Array, ...]


class Group(NamedTuple):
    """Episodes that run side by side, as the rows of a batch [T', B'].

    `rows` [B'] are the rows they are from, `lengths` [B'] their steps; `first` and
    `last` [B'] tell which are so in their rows. `active` [T', B'] tells which places
    are steps, and `times` and `owners` [steps] give time and row of each of those.
    """

    rows: Indices
    lengths: Lengths
    first: Bools
    last: Bools
    active: Bools
    times: Indices
    owners: Indices

    def gather(self, array: Array) -> Array:
        """Return the steps of an array [T, B, n] as [T', B', n], zeros in padding."""
        packed = np.zeros((*self.active.shape, array.shape[2]), array.dtype)
        packed[self.active] = array[self.times, self.owners]
        return packed

    def scatter(self, packed: Array, array: Array) -> None:
        """Put the steps of an array [T', B', n] to their places in [T, B, n]."""
        array[self.times, self.owners] = packed[self.active]

    def enters(self, back: Bools) -> Bools:
        """Tell which episodes [len(back), B'] begin at the row's initial state.

        `back` tells which directions read rows from their ends.
        """
        return np.where(back[:, None], self.last, self.first)

    def leaves(self, back: Bools) -> Bools:
        """Tell which episodes [len(back), B'] end with the row's final state."""
        return np.where(back[:, None], self.first, self.last)

    def take(self, states: States | None, where: Bools) -> States | None:
        """Return states [L*D, B', n] from [L*D, B, n], zeros but for some episodes."""
        if states is None:
            return None
        zero = states[0].dtype.type(0)
        return tuple(
            np.ascontiguousarray(np.where(where[..., None], s[:, self.rows], zero))
            for s in states
        )

    def give(self, packed: States, where: Bools, states: States) -> None:
        """Put the states of some episodes to their places in [L*D, B, n]."""
        which, episodes = np.nonzero(where)
        for own, state in zip(packed, states, strict=True):
            state[which, self.rows[episodes]] = own[which, episodes]


@dataclass(frozen=True, slots=True)
class Episodes:
    """All groups of a call of `steps` steps and `rows` rows."""

    steps: int
    rows: int
    groups: tuple[Group, ...]

    def zeros(self, like: Array) -> Array:
        """Return zeros [T, B, n] to put steps of arrays like [T', B', n] into."""
        return np.zeros((self.steps, self.rows, like.shape[2]), like.dtype)

    def collect(self, parts: Sequence[Array]) -> Array:
        """Return [T, B, n] from an array [T', B', n] of each group."""
        whole = self.zeros(parts[0])
        for group, part in zip(self.groups, parts, strict=True):
            group.scatter(part, whole)
        return whole

    def clocks(self, clock: Lengths, phase: int, back: Bools) -> Iterator[Lengths]:
        """Give the clocks [B'] of each group: a row's own, and else the phase.

        There is one clock for both directions; it goes where the first one's state
        does.
        """
        for group in self.groups:
            enters = group.enters(back[:1])[0]
            yield np.where(enters, clock[group.rows], np.int64(phase))

    def moved_clock(self, clock: Lengths, phase: int, back: Bools) -> Lengths:
        """Return the clock [B] after the call."""
        moved = np.full_like(clock, phase)
        for group, own in zip(
            self.groups, self.clocks(clock, phase, back), strict=True
        ):
            leaves = group.leaves(back[:1])[0]
            moved[group.rows[leaves]] = (own + group.lengths)[leaves]
        return moved


def arrange(
    shape: tuple[int, int],
    lengths: Lengths | None,
    mask: Bools | None,
    resets: Bools | None,
) -> tuple[Lengths | None, Episodes | None]:
    """Return the lengths of a call [T, B] and its episodes.

    There are none where lengths say all: no reset within a row, and no step after a
    masked one. A mask that leaves nothing out gives the lengths as they are.
    """
    steps, rows = shape
    times = np.arange(steps)[:, None]
    within = np.broadcast_to(times < (steps if lengths is None else lengths), shape)
    active = within if mask is None else mask & within
    cuts = np.zeros(shape, np.bool_) if resets is None else resets & within
    if not cuts.any():
        counts = np.count_nonzero(active, axis=0).astype(np.int64)
        if bool((active == (times < counts)).all()):
            whole = lengths is None and bool((counts == steps).all())
            return (None if whole else counts), None
    return lengths, Episodes(steps, rows, tuple(_groups(active, cuts)))


def _groups(active: Bools, cuts: Bools) -> Iterator[Group]:
    """Give the groups; `cuts` [T, B] are the resets."""
    B = active.shape[1]
    number = np.cumsum(cuts, axis=0, dtype=np.int64)  # of the episode, by step
    highest = number[-1] if len(number) else np.zeros(B, np.int64)
    owners, times = np.nonzero(active.T)  # by row, then by time
    numbers = number[times, owners]
    is_first = numbers == 0
    lengths = np.bincount(owners[is_first], minlength=B)
    yield _group(
        (np.arange(B), np.zeros(B, np.int64), lengths),
        times[is_first],
        highest,
    )
    times, owners, numbers = (a[~is_first] for a in (times, owners, numbers))
    begins = np.flatnonzero(
        (np.diff(owners, prepend=-1) != 0) | (np.diff(numbers, prepend=-1) != 0)
    )
    lengths = np.diff(begins, append=len(times))
    rows, numbers = owners[begins], numbers[begins]
    classes = np.frexp(lengths.astype(np.float64))[1]
    for size in sorted(set(classes.tolist()), reverse=True):
        own = classes == size
        yield _group(
            (rows[own], numbers[own], lengths[own]),
            times[np.repeat(own, lengths)],
            highest,
        )


def _group(
    episodes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    times: NDArray[Any],
    highest: NDArray[Any],
) -> Group:
    """Return a group of episodes: their rows, their numbers there and their lengths.

    `times` are those of all steps, episode by episode; `highest` [B] is the number of
    each row's last episode.
    """
    rows, numbers, lengths = episodes
    active = np.arange(lengths.max(initial=0))[:, None] < lengths
    first = np.cumsum(lengths) - lengths
    step, episode = np.nonzero(active)  # by step, then by episode, as they are run
    return Group(
        rows.astype(np.intp),
        lengths.astype(np.int64),
        numbers == 0,
        numbers == highest[rows],
        active,
        times[first[episode] + step],
        rows[episode].astype(np.intp),
    )
