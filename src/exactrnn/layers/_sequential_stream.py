"""One time step at a time through parts one after the other.

Recurrent parts keep their state in streams of their own; what has none is called with
the rows of the step. All streams have the same rows, so that a session has one index
in the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from exactrnn._checks import Array
from exactrnn._checks.rows import Rows

__all__ = ["SequentialStream"]

Call = Callable[[Any], Any]


class Pass(NamedTuple):
    """What a step does with one part: it steps a stream, or calls what has no state."""

    stream: Any
    call: Call | None


class Chain:
    """Calls one after the other.

    Parameters
    ----------
    calls : sequence of callables
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = list(calls)

    def __call__(self, x: Any) -> Any:
        """Return what the last one makes of it."""
        for call in self._calls:
            x = call(x)
        return x


class SequentialStream:
    """A `Sequential` that is fed one step at a time; made by `model.stream()`.

    The bits are those of the whole sequence in one call; behind `Last` they are those
    of a sequence that ends here. Dropout does not act, a change of weights acts from
    the next step on. Rows can be sessions, as in a layer's stream. One stream belongs
    to one Python thread at a time. `copy.copy` gives a stream of its own on the same
    model with an equal state, `copy.deepcopy` and `pickle` take the model along.

    Parameters
    ----------
    model : Sequential
        What is fed, for its name.
    passes : sequence
        What a step does with each part.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> model = xr.train.Sequential(
    ...     xr.train.Embedding(5, 4), xr.GRU(4, 8), xr.train.Linear(8, 5), seed=0
    ... )
    >>> symbols = np.array([[3, 1], [0, 2], [4, 4]])  # [T, B]
    >>> stream = model.stream(batch_size=2)
    >>> steps = [stream.step(symbol) for symbol in symbols]
    >>> bool((np.stack(steps) == model(symbols)[0]).all())
    True
    """

    def __init__(self, model: Any, passes: Sequence[Pass]) -> None:
        self._model = model
        self._passes = list(passes)

    def __copy__(self) -> SequentialStream:
        passes = [Pass(copy(stream), call) for stream, call in self._passes]
        return type(self)(self._model, passes)

    def __repr__(self) -> str:
        parts = ", ".join(self._model.parts)
        return f"<stream of {type(self._model).__name__} of {parts}, {self._sizes()}>"

    def _sizes(self) -> str:
        sizes: str = self._streams[0]._sizes()
        return sizes

    @property
    def _streams(self) -> list[Any]:
        """The streams of the parts that have a state, at least one."""
        return [stream for stream, _ in self._passes if stream is not None]

    @property
    def batch_size(self) -> int:
        """B, the places for rows that go on side by side, in use or free."""
        size: int = self._streams[0].batch_size
        return size

    @property
    def rows(self) -> Rows:
        """The rows in use, a new array of indices that rise."""
        rows: Rows = self._streams[0].rows
        return rows

    def step(self, x: ArrayLike, rows: Any = None) -> Array:
        """Go on by one time step, with all rows or some.

        Parameters
        ----------
        x : array_like
            What the first part reads, without its time: ``[B, I]``, or ``[B]`` symbols
            of an `Embedding`. A row for each of those that go on.
        rows : int, array_like of int or mask [B], optional
            The rows that go on, as in a layer's stream; by default all in use.

        Returns
        -------
        ndarray
            Of the last part, a row for each that went on.

        Raises
        ------
        TypeError, ValueError
            If `x` is not what the first part reads, or a row is not there; the state is
            unchanged.
        RuntimeError
            If another thread is inside this stream.
        """
        value: Any = x
        for stream, call in self._passes:
            if stream is not None:
                value = stream.step(value, rows=rows)
            elif call is not None:
                value = call(value)
        return np.asarray(value)

    @property
    def state(self) -> Any:
        """A copy of the state, as a call of the model returns it. It can be set."""
        return _joined([stream.state for stream in self._streams])

    @state.setter
    def state(self, state: Any) -> None:
        self._set(lambda stream, own: setattr(stream, "state", own), state)

    def state_of(self, rows: Any) -> Any:
        """Return a copy of the state of some rows.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            A rows in use.

        Returns
        -------
        state or tuple of states
            As `state`, with A in the place of B.

        Raises
        ------
        TypeError, ValueError
            If a row is not there or not in use.
        """
        return _joined([stream.state_of(rows) for stream in self._streams])

    def set_state(self, rows: Any, state: Any) -> None:
        """Set the state of some rows; the others are as they were.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            A rows in use, each once.
        state : state or tuple of states
            As `state_of` returns it.

        Raises
        ------
        TypeError, ValueError
            If a row or the state is not as described; no state has changed.
        """
        self._set(lambda stream, own: stream.set_state(rows, own), state)

    def _set(self, change: Callable[[Any, Any], None], state: Any) -> None:
        """Set the states of all streams, or of none."""
        streams = self._streams
        own = self._model._split(state) if state is not None else [None] * len(streams)
        before = [stream.state for stream in streams]
        try:
            for stream, part in zip(streams, own, strict=True):
                change(stream, part)
        except BaseException:
            for stream, part in zip(streams, before, strict=True):
                stream.state = part
            raise

    def reset(self, rows: Any = None) -> None:
        """Set the state to zero, and clocks to their phases.

        Parameters
        ----------
        rows : int, array_like of int or mask [B], optional
            The rows that start anew; all by default.

        Raises
        ------
        TypeError, ValueError
            If a row is not there or not in use.
        """
        for stream in self._streams:
            stream.reset(rows)

    def join(self, n: int = 1) -> Rows:
        """Add rows, with a state of zeros; as `join` of a layer's stream.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        ndarray
            Their indices [n], which rise.

        Raises
        ------
        TypeError, ValueError
            If `n` is not an integer of at least 1, or too large for this machine;
            nothing has joined.
        """
        first, *others = self._streams
        rows: Rows = first.join(n)
        joined = [first]
        try:
            for stream in others:
                stream.join(n)
                joined.append(stream)
        except BaseException:
            for stream in joined:
                stream.leave(rows)
            raise
        return rows

    def leave(self, rows: Any) -> None:
        """Give the places of rows free; the other rows keep their indices.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            The rows that go.

        Raises
        ------
        TypeError, ValueError
            If a row is not there or not in use; nobody has left.
        """
        for stream in self._streams:
            stream.leave(rows)


def _joined(states: list[Any]) -> Any:
    return tuple(states) if len(states) > 1 else states[0]
