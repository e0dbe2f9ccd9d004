"""What a worker does with a group of sequences: one call, or one for each of them.

If the call of a whole group raises, each of its sequences is tried alone, so that one
that is wrong cannot spoil the others. Errors go back as words.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn import engine
from exactrnn._checks.limits import shorten
from exactrnn.distributed._forms import (
    Form,
    call_rows,
    check_rows_of,
    row_of_output,
    row_of_state,
)
from exactrnn.distributed._frozen import Frozen, thaw

PLAIN: tuple[type[Exception], ...] = (ValueError, TypeError)
"""Errors whose message says all."""


class Whole(NamedTuple):
    """What is wanted of the results of all rows of a group, as the model gave them."""

    y: NDArray[Any] | None
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

    def load(self, frozen: Frozen) -> None:
        """Take the model."""
        self._model = thaw(frozen)

    def run(self, group: list[NDArray[Any]]) -> Outcome:
        """Return the results of sequences ``[T, ...]`` that differ in T at most."""
        threads = self._threads
        with engine.threads(threads) if threads else contextlib.nullcontext():
            try:
                return Whole(*self._kept(*self._call(*stack(group))))
            except Exception:
                return [self._alone(x) for x in group]

    def _call(
        self, x: NDArray[Any], lengths: NDArray[np.int64] | None
    ) -> tuple[NDArray[Any], Any]:
        y, state = call_rows(self._model, self._form, x, lengths)
        check_rows_of(y, state, self._form, len(x))
        return y, state

    def _kept(self, y: NDArray[Any], state: Any) -> tuple[NDArray[Any] | None, Any]:
        wants_y, wants_state = self._wanted
        return y if wants_y else None, state if wants_state else None

    def _alone(self, x: NDArray[Any]) -> Alone:
        try:
            y, state = self._kept(*self._call(*stack([x])))
        except Exception as error:
            return Alone(None, None, _words_of(error))
        return Alone(*cut_row(self._form, y, state, 0, len(x)))


def stack(group: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Return sequences as rows ``[B, T, ...]``, zeros behind them, and their lengths.

    The lengths are None if all are equal.
    """
    steps = [len(x) for x in group]
    longest, first = max(steps), group[0]
    shape = (len(group), longest, *first.shape[1:])
    rows = np.empty(shape, first.dtype.newbyteorder("="))
    for row, (x, count) in enumerate(zip(group, steps, strict=True)):
        rows[row, :count] = x
        rows[row, count:] = 0
    return rows, None if min(steps) == longest else np.array(steps, np.int64)


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
    return [
        Alone(*cut_row(form, outcome.y, outcome.state, row, count))
        for row, count in enumerate(steps)
    ]


def _words_of(error: Exception) -> str:
    kind = type(error).__name__
    plain = isinstance(error, PLAIN) and str(error)
    return shorten(error) if plain else shorten(f"{kind}: {error}")
