"""One time step at a time: a layer's stream, with the state kept inside.

`step` is the hot path: one lookup that the packed weights are still the layer's, one
that the shapes are right, then the kernels, which judge dtype and layout themselves.
Only what they refuse comes to the checks, which either bring it into shape or say what
is wrong with it.

Whoever reads or writes the state takes the turn of the stepper that holds it
(`_core.Turn`), a step does so by itself; so two threads never meet in a state. Copies
and pickles are made from layer, number of rows and state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, ArrayLike, Lengths
from exactrnn._checks.limits import check_memory

if TYPE_CHECKING:
    from exactrnn._weights.store import Packs
    from exactrnn.layers._module import RecurrentModule

__all__ = ["Stream"]

S = TypeVar("S", bound=Array | tuple[NDArray[Any], ...])


class Stream(Generic[S]):
    """A layer that is fed one time step at a time; made by `layer.stream()`.

    The bits are those of the whole sequence in one call. Dropout does not act. A change
    of the layer's weights acts from the next step on. One stream belongs to one Python
    thread at a time, a second one gets a `RuntimeError`; a layer may have many.
    `copy.copy` gives a stream of its own on the same layer with an equal state,
    `copy.deepcopy` and `pickle` take the layer along.

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
    """

    __slots__ = (
        "_batch",
        "_dtype",
        "_layer",
        "_letter",
        "_packs",
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
        values = rows * spec.num_layers * width
        itemsize = layer.dtype.itemsize
        check_memory(f"batch_size={rows}", "states", values * itemsize)
        self._store = layer._stack.store
        self._dtype = layer.dtype
        self._set_output(rows, spec.output_letter, layer.output_size)
        self._packs = self._store.packs(engine.isa())
        self._stepper = self._new_stepper(self._packs)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (type(self), self._layer, self.batch_size)
        return _restore_stream, parts, (self.state, getattr(self, "__dict__", None))

    def __setstate__(self, state: tuple[S, dict[str, Any] | None]) -> None:
        self.state, added = state
        if added:  # by a derived class
            self.__dict__.update(added)

    def __repr__(self) -> str:
        return f"<stream of {self._layer!r}, B={self.batch_size}>"

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
        """B, rows that go on side by side."""
        return self._batch[0]

    def step(self, x: ArrayLike, out: ArrayLike | None = None) -> Array:
        """Go on by one time step.

        Parameters
        ----------
        x : array_like
            Input [B, I], or [I] where B = 1, of the layer's dtype.
        out : ndarray, optional
            Where to put the output: [B, H], or [H] for an input [I], apart from `x`;
            O wide from cells whose output is.
            With it nothing is allocated. If a signal handler ends the step (Ctrl-C),
            what it holds is undefined; the state is unchanged.

        Returns
        -------
        ndarray
            The top layer's output; `out` if given, else a new array.

        Raises
        ------
        ValueError
            If a shape is wrong, or `out` is read-only or overlaps `x`; the state is
            unchanged.
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
            shape = self._shapes[given.shape]
            if result is None:
                result = np.empty(shape, self._dtype)
            elif result.shape != shape:
                return self._step_checked(x, out)
            return self._stepper.step(given, result)
        except (TypeError, ValueError, KeyError, BufferError, AttributeError):
            return self._step_checked(x, out)

    @property
    def state(self) -> S:
        """A copy of the state: `h` [L, B, H], or the tuple. It can be set."""
        with self._stepper as stepper:
            parts = tuple(part.copy() for part in stepper.state)
            if stepper.clock is not None:
                return cast(S, (*parts, stepper.clock.copy()))
        return cast(S, parts if len(parts) > 1 else parts[0])

    @state.setter
    def state(self, state: S) -> None:
        spec, rows = self._spec, self._batch[0]
        given, name, ticks, clock = cast(object, state), "state", None, None
        if spec.counts_steps:
            given, ticks = _checks.check_parts("state", state, ("h", "clock"))
            name = "state[0]"
        lead = {"L": spec.num_layers, "B": rows}
        parts = _checks.check_state(name, given, spec.state_parts, self._dtype, lead)
        if spec.counts_steps:
            clock = _checks.check_clock("state[1]", ticks, rows, batched=True)
        with self._stepper as stepper:
            _set_state(stepper, parts, clock)

    def reset(self, rows: object = None) -> None:
        """Set the state to zero, and a clock to its phase.

        Parameters
        ----------
        rows : int, array_like of int or mask [B], optional
            The rows of the batch that start anew; all by default.

        Raises
        ------
        ValueError, TypeError
            If a row is not there or `rows` is something else.
        """
        which: Any = slice(None)
        if rows is not None:
            which = _checks.check_rows(rows, self._batch[0])
        with self._stepper as stepper:
            for part in stepper.state:
                part[:, which] = 0
            if stepper.clock is not None:
                stepper.clock[which] = self._spec.phase

    def _new_stepper(self, packs: Packs) -> _core.AnyStepper:
        return self._layer._stack.new_stepper(packs, self._batch[0])

    def _renew(self) -> None:
        """Take over changed weights, or another instruction set, with the state."""
        packs = self._store.packs(engine.isa())
        if packs is not self._packs:
            self._replace_stepper(packs)

    def _replace_stepper(self, packs: Packs) -> None:
        """Go on with a new stepper, from the state of the one before."""
        before, stepper = self._stepper, self._new_stepper(packs)
        before.take()  # and keep: a thread that still holds it must not step it
        try:
            _set_state(stepper, before.state, before.clock)
            self._stepper, self._packs = stepper, packs
        except BaseException:
            before.give()
            raise

    def _step_checked(self, x: object, out: object) -> Array:
        """Do a step with arrays that the kernels cannot take, or say why not."""
        given = _checks.as_array("x", x, self._dtype)
        width = self._layer.input_size
        one_row = given.ndim == 1 and self._batch[0] == 1
        if one_row:
            _checks.check_shape("x", given, I=width)
        else:
            _checks.check_shape("x", given, B=self._batch[0], I=width)
        sizes = {"B": self._batch[0], self._letter: self._batch[1]}
        if one_row:
            del sizes["B"]
        result = np.empty(tuple(sizes.values()), self._dtype)
        target = result
        if out is not None:
            target = _checks.check_out(out, self._dtype, sizes, (given,))
        self._stepper.step(np.ascontiguousarray(_checks.make_readable(given)), result)
        if out is not None:
            target[...] = result
        return _checks.as_given(out, target)


def _restore_stream(
    kind: type[Stream[S]], layer: RecurrentModule[S], batch_size: int
) -> Stream[S]:
    """Make a stream for a copy or a pickle; its state is set afterwards."""
    stream = kind.__new__(kind)
    Stream.__init__(stream, layer, batch_size)
    return stream


def _set_state(
    stepper: _core.AnyStepper, parts: Sequence[Array], clock: Lengths | None
) -> None:
    """Copy a state, and the clocks of all rows where there are some."""
    for own, part in zip(stepper.state, parts, strict=True):
        own[...] = part
    if stepper.clock is not None and clock is not None:
        stepper.clock[...] = clock
