"""What a worker does with a group of sequences: one call, or one for each of them.

If the call of a whole group raises, each of its sequences is tried alone, so that one
that is wrong cannot spoil the others. Errors go back as words.
"""

from __future__ import annotations

import mmap
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn import engine
from exactrnn._checks.limits import shorten
from exactrnn.distributed._forms import (
    Form,
    call_rows,
    out_shape,
    row_of_output,
    row_of_state,
    with_leaves,
)
from exactrnn.distributed._frozen import Frozen, thaw
from exactrnn.distributed._slots import Rows, SharedMemory, array_at, fill

PLAIN: tuple[type[Exception], ...] = (ValueError, TypeError)
"""Errors whose message says all."""


class Whole(NamedTuple):
    """What is wanted of the results of all rows of a group, as the model gave them.

    The output and the arrays of a state may lie in shared memory.
    """

    y: NDArray[Any] | Rows | None
    state: Any


class Alone(NamedTuple):
    """The result of one sequence, or why there is none."""

    y: NDArray[Any] | None
    state: Any
    error: str | None = None


Outcome = Whole | list[Alone]


class MapWorker:
    """Has a model, and runs it over groups.

    Parameters
    ----------
    form : Form
        How the model is called.
    wanted : tuple of two bools
        Whether outputs and states are to be returned.
    threads : int or None
        Of each call; None leaves them as they are.
    """

    def __init__(
        self, form: Form, wanted: tuple[bool, bool], threads: int | None
    ) -> None:
        self._form, self._wanted, self._threads = form, wanted, threads
        self._model: Any = None
        self._memory: mmap.mmap | None = None

    def load(self, frozen: Frozen, shared: SharedMemory | None) -> None:
        """Take the model, and the memory in which groups come."""
        self._model = thaw(frozen)
        self._memory = None if shared is None else shared.mapped()

    def run(self, group: list[NDArray[Any]]) -> Outcome:
        """Return the results of sequences ``[T, ...]`` that differ in T at most."""
        first, longest = group[0], max(map(len, group))
        shape = (len(group), longest, *first.shape[1:])
        x = np.empty(shape, first.dtype.newbyteorder("="))
        fill(x, group)
        return self._run(x, [*map(len, group)], None)

    def run_in(self, rows: Rows, steps: list[int]) -> Outcome:
        """Do the same for sequences of these lengths in shared memory."""
        return self._run(self._array_at(rows), steps, rows)

    def _run(self, x: NDArray[Any], steps: list[int], rows: Rows | None) -> Outcome:
        with engine.threads(self._threads) if self._threads else nullcontext():
            try:
                return self._together(x, steps, rows)
            except Exception:
                return [
                    self._alone(one[None, :T]) for one, T in zip(x, steps, strict=True)
                ]

    def _together(self, x: NDArray[Any], steps: list[int], rows: Rows | None) -> Whole:
        """Return the results of one call; the output behind the input if it fits."""
        lengths = None if min(steps) == x.shape[1] else np.array(steps, np.int64)
        shape = out_shape(self._model, self._form, x)
        place = rows.behind(shape, x.dtype) if rows and shape else None
        out = None if place is None else self._array_at(place)
        y, state = self._call(x, lengths, out)
        if rows is None:
            return Whole(y, state)
        if y is not None and place is None:
            place = self._put(y, rows)
        given = y if y is None or place is None else place
        # One leaf lies behind the other; what has no room goes by value.
        last = place or rows

        def put(leaf: Any) -> Any:
            nonlocal last
            found = self._put(leaf, last) if isinstance(leaf, np.ndarray) else None
            last = found or last
            return leaf if found is None else found

        return Whole(given, with_leaves(state, put))

    def _put(self, array: NDArray[Any], rows: Rows) -> Rows | None:
        """Put an array behind another one in the shared memory, if it has room."""
        if array.dtype.hasobject:
            return None
        place = rows.behind(array.shape, array.dtype)
        if place is not None:
            self._array_at(place)[...] = array
        return place

    def _array_at(self, rows: Rows) -> NDArray[Any]:
        assert self._memory is not None
        return array_at(self._memory, rows)

    def _alone(self, x: NDArray[Any]) -> Alone:
        """Return the result of the only row of `x`, or why there is none."""
        try:
            y, state = self._call(x, None, None)
        except Exception as error:
            return Alone(None, None, _words_of(error))
        return Alone(*cut_row(self._form, y, state, 0, x.shape[1]))

    def _call(
        self,
        x: NDArray[Any],
        lengths: NDArray[np.int64] | None,
        out: NDArray[Any] | None,
    ) -> tuple[NDArray[Any] | None, Any]:
        """Return what is wanted of what the model gives, the output rows first."""
        y, state = call_rows(self._model, self._form, x, lengths, out)
        wants_y, wants_state = self._wanted
        return y if wants_y else None, state if wants_state else None


def cut_row(
    form: Form, y: NDArray[Any] | None, state: Any, row: int, steps: int
) -> tuple[NDArray[Any] | None, Any]:
    """Return the output and the state of one row, in memory of their own."""
    own = None if y is None else row_of_output(y, form, row, steps)
    return own, row_of_state(state, row)


def results_of(form: Form, outcome: Outcome, steps: list[int]) -> list[Alone]:
    """Return the result of each sequence of a group, of these lengths."""
    if isinstance(outcome, list):
        return outcome
    y, state = outcome
    assert not isinstance(y, Rows)
    return [
        Alone(*cut_row(form, y, state, row, count)) for row, count in enumerate(steps)
    ]


def _words_of(error: Exception) -> str:
    kind = type(error).__name__
    plain = isinstance(error, PLAIN) and str(error)
    return shorten(error) if plain else shorten(f"{kind}: {error}")
