"""One time step at a time: a layer's stream, with the state kept inside.

`step` is the hot path: one lookup that the packed weights are still the layer's, one
that the shapes are right, then the kernels, which judge dtype and layout themselves.
Only what they refuse comes to the checks, which either bring it into shape or say what
is wrong with it.

A row is a place that is in use or not (`stepper.used`): `leave` gives places free and
`join` takes them again, so that the index of a row never changes. The state of a free
place is that of a new row. A step of some rows is the stepper's:
`_core.AnyStepper.step_rows`.

Whoever reads or writes the state takes the turn of the stepper that holds it
(`_core.Turn`), a step does so by itself; so two threads never meet in a state. Copies
and pickles are made from layer, number of rows, those that have left, and state.

Of its length half are docstrings: a stream is one class to its users.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, ArrayLike, Lengths
from exactrnn._checks.limits import check_memory
from exactrnn._checks.rows import Rows, check_distinct, check_rows, check_used

if TYPE_CHECKING:
    from exactrnn._weights.store import Packs
    from exactrnn.layers._module import RecurrentModule

__all__ = ["Stream"]

S = TypeVar("S", bound=Array | tuple[NDArray[Any], ...])
RowsLike: TypeAlias = int | Sequence[int] | Sequence[bool] | NDArray[Any]


class Stream(Generic[S]):
    """A layer that is fed one time step at a time; made by `layer.stream()`.

    The bits are those of the whole sequence in one call. Dropout does not act. A change
    of the layer's weights acts from the next step on. One stream belongs to one Python
    thread at a time, a second one gets a `RuntimeError`; a layer may have many.
    `copy.copy` gives a stream of its own on the same layer with an equal state,
    `copy.deepcopy` and `pickle` take the layer along.

    Rows can be sessions that come, pause and go: `step(x, rows=...)` is a step of those
    that have input, `join` adds rows, `leave` gives them free for the next ones to
    join. A row keeps its index as long as it is in use, and has the bits that it would
    have alone, whatever the company. A new stream has all its rows in use; one that is
    to start empty lets them leave.

    Parameters
    ----------
    layer : RecurrentLayer
        A layer of one direction, forward in time.
    batch_size : int
        B, rows that go on side by side.

    Raises
    ------
    ValueError, TypeError
        If the layer reads rows from their ends, or `batch_size` is not an integer of
        at least 1, or so large that no memory of this machine holds the states.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> stream = xr.LSTM(3, 4, seed=1).stream(batch_size=2)
    >>> y = stream.step(np.ones((2, 3), np.float32))
    >>> h, c = stream.state
    >>> y.shape, h.shape
    ((2, 4), (1, 2, 4))
    >>> stream.reset(rows=[1])
    >>> stream.state[0][0, 1].tolist()
    [0.0, 0.0, 0.0, 0.0]

    Row 0 goes, a new one takes its place, and steps alone:

    >>> stream.leave(0)
    >>> stream.rows
    array([1])
    >>> [row] = stream.join()
    >>> y = stream.step(np.ones((1, 3), np.float32), rows=[row])
    >>> int(row), y.shape
    (0, (1, 4))
    """

    __slots__ = (
        "_batch",
        "_dtype",
        "_layer",
        "_letter",
        "_packs",
        "_row_bytes",
        "_shapes",
        "_spec",
        "_stepper",
        "_store",
    )

    def __init__(self, layer: RecurrentModule[S], batch_size: int = 1) -> None:
        _checks.check_one_way("stream", layer)
        rows = _checks.check_size("batch_size", batch_size)
        self._layer: RecurrentModule[S] = layer
        self._spec = spec = layer._stack.spec
        width = sum(size for _, _, size in spec.state_parts)
        self._row_bytes = spec.num_layers * width * layer.dtype.itemsize
        check_memory(f"batch_size={rows}", "states", rows * self._row_bytes)
        self._store = layer._stack.store
        self._dtype = layer.dtype
        self._set_output(rows, spec.output_letter, layer.output_size)
        self._packs = self._store.packs(engine.isa())
        self._stepper = self._new_stepper(self._packs, rows)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._stepper as stepper:
            state, left = self._copy_state(stepper), np.flatnonzero(~stepper.used)
            parts: tuple[Any, ...] = (type(self), self._layer, len(stepper.used))
        if left.size:
            parts = (*parts, left)
        return _restore_stream, parts, (state, getattr(self, "__dict__", None))

    def __setstate__(self, state: tuple[S, dict[str, Any] | None]) -> None:
        self.state, added = state
        if added:  # by a derived class
            self.__dict__.update(added)

    def __repr__(self) -> str:
        return f"<stream of {self._layer!r}, {self._sizes()}>"

    def _sizes(self) -> str:
        used = "" if self._stepper.complete else f", {len(self.rows)} in use"
        return f"B={self.batch_size}{used}"

    def _set_output(self, rows: int, letter: str, width: int) -> None:
        """Note the output's shape, and the letter of its width in messages."""
        inputs = self._layer.input_size
        self._letter, self._batch = letter, (rows, width)
        # Shape of the output by shape of the input.
        shapes: dict[tuple[int, ...], tuple[int, ...]] = {(rows, inputs): self._batch}
        if rows == 1:
            shapes[inputs,] = (width,)
        self._shapes = shapes

    @property
    def batch_size(self) -> int:
        """B, the places for rows that go on side by side, in use or free."""
        return self._batch[0]

    @property
    def rows(self) -> Rows:
        """The rows in use, a new array of indices that rise."""
        return np.flatnonzero(self._stepper.used)

    def step(
        self,
        x: ArrayLike,
        out: ArrayLike | None = None,
        rows: RowsLike | None = None,  # keyword-only it would cost each call 40 ns
    ) -> Array:
        """Go on by one time step, with all rows or some.

        Parameters
        ----------
        x : array_like
            Input [B, I], or [I] where B = 1, of the layer's dtype. A row for each of
            those that go on, [A, I], if these are not all B.
        out : ndarray, optional
            Where to put the output: [B, H], or [H] for an input [I], apart from `x`;
            O wide from cells whose output is; [A, H] for A rows.
            With it nothing is allocated. If a signal handler ends the step (Ctrl-C),
            what it holds is undefined; the state is unchanged.
        rows : int, array_like of int or mask [B], optional
            The rows that go on, in the order of `x`, each once; a mask means those
            where it is true, in their order. All others keep state and clock. By
            default all rows in use go on, in the order of `stream.rows`. An array of
            `numpy.intp`, such as `join` returns, is taken at once.

        Returns
        -------
        ndarray
            The top layer's output; `out` if given, else a new array.

        Raises
        ------
        ValueError
            If a shape is wrong, `out` is read-only or overlaps `x`, or a row is not
            there, not in use or named twice; the state is unchanged.
        TypeError
            If something is not an array or not of the layer's dtype; likewise.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        if self._store.fresh.get(engine._active) is not self._packs:
            self._renew()
        # Whatever the arguments are: the kernels refuse what is no fitting array.
        given: Any = x
        result: Any = out
        try:
            if rows is not None:
                return self._stepper.step_rows(given, result, cast(Rows, rows))
            shape = self._shapes[given.shape]
            if result is None:
                result = np.empty(shape, self._dtype)
            elif result.shape != shape:
                return self._step_checked(x, out, None)
            return self._stepper.step(given, result)
        except (TypeError, ValueError, KeyError, BufferError, AttributeError):
            return self._step_checked(x, out, rows)

    def join(self, n: int = 1) -> Rows:
        """Add rows, with a state of zeros and a clock at its phase.

        They take free places, the first ones first. If there are too few, the stream
        grows: `batch_size` by what is lacking, or by a half if that is more, so that
        rows that join one by one cost no more each than many at once.

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
        ValueError, TypeError
            If `n` is not an integer of at least 1, or so large that no memory of this
            machine holds the states; nothing has joined.
        RuntimeError
            If another thread is inside this stream; likewise.

        Examples
        --------
        >>> import exactrnn as xr
        >>> stream = xr.GRU(3, 4, seed=1).stream(batch_size=4)
        >>> stream.leave([1, 2])
        >>> stream.join().tolist(), stream.join(2).tolist(), stream.batch_size
        ([1], [2, 4], 6)
        """
        count = _checks.check_size("n", n)
        while True:
            with self._stepper as stepper:
                free = np.flatnonzero(~stepper.used)[:count]
                if len(free) == count:
                    stepper.mark(free, True)
                    return free
            self._grow(count - len(free))

    def leave(self, rows: RowsLike) -> None:
        """Give the places of rows free; the other rows keep their indices.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            The rows that go.

        Raises
        ------
        ValueError, TypeError
            If a row is not there or not in use, or `rows` is something else; nobody
            has left.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        which = check_rows(rows, self._batch[0])
        with self._stepper as stepper:
            check_used(which, stepper.used)
            self._clear(stepper, which)
            stepper.mark(which, False)

    @property
    def state(self) -> S:
        """A copy of the state: `h` [L, B, H], or the tuple. It can be set.

        It has all places; free ones are zero, and what is set for them is not read.
        """
        with self._stepper as stepper:
            return self._copy_state(stepper)

    @state.setter
    def state(self, state: S) -> None:
        parts, clock = self._check_state(state, self._batch[0])
        with self._stepper as stepper:
            used = stepper.used
            which = np.flatnonzero(used)
            if clock is not None:
                clock = clock[used]
            _set_state(stepper, which, [part[:, used] for part in parts], clock)

    def state_of(self, rows: RowsLike) -> S:
        """Return a copy of the state of some rows.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            A rows in use; an integer means A = 1.

        Returns
        -------
        ndarray or tuple of ndarray
            As `state`, with A in the place of B, in the order of `rows`.

        Raises
        ------
        ValueError, TypeError
            If a row is not there or not in use, or `rows` is something else.
        RuntimeError
            If another thread is inside this stream.

        Examples
        --------
        A session moves to another stream, perhaps of another process:

        >>> import exactrnn as xr
        >>> layer = xr.LSTM(3, 4, seed=1)
        >>> here, there = layer.stream(5), layer.stream(2)
        >>> session = here.state_of(3)
        >>> here.leave(3)
        >>> [row] = there.join()
        >>> there.set_state(row, session)
        """
        which = check_rows(rows, self._batch[0])
        with self._stepper as stepper:
            check_used(which, stepper.used)
            return self._copy_state(stepper, which)

    def set_state(self, rows: RowsLike, state: S) -> None:
        """Set the state of some rows; the others are as they were.

        Parameters
        ----------
        rows : int, array_like of int or mask [B]
            A rows in use, each once.
        state : array_like or tuple of array_like
            As `state_of` returns it, with A in the place of B.

        Raises
        ------
        ValueError, TypeError
            If a row is not there, not in use or named twice, or `state` is not that
            of A rows; no state has changed.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        which = check_rows(rows, self._batch[0])
        check_distinct(which)
        parts, clock = self._check_state(state, len(which), "A")
        with self._stepper as stepper:
            check_used(which, stepper.used)
            _set_state(stepper, which, parts, clock)

    def reset(self, rows: RowsLike | None = None) -> None:
        """Set the state to zero, and a clock to its phase.

        Parameters
        ----------
        rows : int, array_like of int or mask [B], optional
            The rows of the batch that start anew; all by default.

        Raises
        ------
        ValueError, TypeError
            If a row is not there or not in use, or `rows` is something else.
        """
        which: Any = slice(None)
        if rows is not None:
            which = check_rows(rows, self._batch[0])
        with self._stepper as stepper:
            if rows is not None:
                check_used(which, stepper.used)
            self._clear(stepper, which)

    def _clear(self, stepper: _core.AnyStepper, rows: Rows | slice) -> None:
        """Let rows start anew; the caller has the turn."""
        for part in stepper.state:
            part[:, rows] = 0
        if stepper.clock is not None:
            stepper.clock[rows] = self._spec.phase

    def _copy_state(
        self, stepper: _core.AnyStepper, rows: Rows | slice = slice(None)
    ) -> S:
        """Return a copy of the state of some rows; the caller has the turn."""
        parts = tuple(part[:, rows].copy() for part in stepper.state)
        if stepper.clock is not None:
            return cast(S, (*parts, stepper.clock[rows].copy()))
        return cast(S, parts if len(parts) > 1 else parts[0])

    def _check_state(
        self, state: object, rows: int, letter: str = "B"
    ) -> tuple[tuple[Array, ...], Lengths | None]:
        """Return the parts of a state of so many rows, and their clocks."""
        spec, given, name, ticks, clock = self._spec, state, "state", None, None
        if spec.counts_steps:
            given, ticks = _checks.check_parts("state", state, ("h", "clock"))
            name = "state[0]"
        lead = {"L": spec.num_layers, letter: rows}
        parts = _checks.check_state(name, given, spec.state_parts, self._dtype, lead)
        if spec.counts_steps:
            clock = _checks.check_clock("state[1]", ticks, rows, batched=True)
        return parts, clock

    def _new_stepper(self, packs: Packs, places: int) -> _core.AnyStepper:
        return self._layer._stack.new_stepper(packs, places)

    def _renew(self) -> None:
        """Take over changed weights, or another instruction set, with the state."""
        packs = self._store.packs(engine.isa())
        if packs is not self._packs:
            self._replace_stepper(packs, self._batch[0])

    def _grow(self, lacking: int) -> None:
        """Make places for so many rows more, free ones."""
        places = self._batch[0] + max(lacking, self._batch[0] // 2)
        check_memory(f"n={lacking}", "states", places * self._row_bytes)
        self._replace_stepper(self._packs, places)
        self._set_output(places, self._letter, self._batch[1])

    def _replace_stepper(self, packs: Packs, places: int) -> None:
        """Go on with a new stepper, from the state of the one before."""
        before, stepper = self._stepper, self._new_stepper(packs, places)
        before.take()  # and keep: a thread that still holds it must not step it
        try:
            had = np.arange(len(before.used))
            _set_state(stepper, had, before.state, before.clock)
            stepper.mark(had[~before.used], False)
            stepper.mark(np.arange(len(had), places), False)
            self._stepper, self._packs = stepper, packs
        except BaseException:
            before.give()
            raise

    def _step_checked(self, x: object, out: object, rows: object) -> Array:
        """Do a step with arrays that the kernels cannot take, or say why not."""
        given = _checks.as_array("x", x, self._dtype)
        stepper, which = self._stepper, None
        if rows is not None or not stepper.complete:
            asked = stepper.used if rows is None else rows
            which = check_rows(asked, self._batch[0])
            check_used(which, stepper.used)
            check_distinct(which)
        letter, count = ("B", self._batch[0]) if which is None else ("A", len(which))
        lead = {} if given.ndim == 1 and count == 1 else {letter: count}
        width = self._layer.input_size
        _checks.check_shape("x", given, **lead, I=width)
        sizes = {**lead, self._letter: self._batch[1]}
        result = np.empty((count, self._batch[1]), self._dtype)
        target = result.reshape(tuple(sizes.values()))
        if out is not None:
            target = _checks.check_out(out, self._dtype, sizes, (given,))
        inputs = np.ascontiguousarray(_checks.make_readable(given))
        if which is None:
            stepper.step(inputs, result)
        else:
            stepper.step_rows(inputs.reshape(count, width), result, which)
        if out is not None:
            target[...] = result.reshape(target.shape)
        return _checks.as_given(out, target)


def _restore_stream(
    kind: type[Stream[S]],
    layer: RecurrentModule[S],
    batch_size: int,
    left: Rows | tuple[()] = (),
) -> Stream[S]:
    """Make a stream for a copy or a pickle; its state is set afterwards."""
    stream = kind.__new__(kind)
    Stream.__init__(stream, layer, batch_size)
    stream.leave(left)
    return stream


def _set_state(
    stepper: _core.AnyStepper,
    rows: Rows,
    parts: Sequence[Array],
    clock: Lengths | None,
) -> None:
    """Copy the state of some rows, and their clocks where there are some."""
    for own, part in zip(stepper.state, parts, strict=True):
        own[:, rows] = part
    if stepper.clock is not None and clock is not None:
        stepper.clock[rows] = clock
