"""One time step at a time: the stream of an echo state network.

It is a stream of the reservoir whose stepper (`_core.EchoStepper`) applies the readout
in the same step. The stepper knows which readout it has, so that a new one is seen by
one comparison.
"""

from __future__ import annotations

from typing import Any, Protocol

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, ArrayLike
from exactrnn._checks.rows import Rows
from exactrnn._weights.store import Packs
from exactrnn.layers._reservoir import Reservoir
from exactrnn.layers._stream import RowsLike, Stream


class Fitted(Protocol):
    """What a stream needs of its network."""

    _layer: Reservoir
    _readout: tuple[Array, Array] | None

    def _fitted(self, what: str) -> tuple[Array, Array]:
        """Return the weights of the readout; `what` needs them."""


class EchoStream(Stream[Array]):
    """A fitted network that is fed one time step at a time; made by `stream()`.

    The bits are those of `predict` over the whole sequence. A readout that is fitted
    anew acts from the next step on; a reservoir that is loaded anew does not. Threads,
    copies and pickles as of a `Stream`.

    Parameters
    ----------
    network : EchoState
        With a readout.
    batch_size : int
        B, rows that go on side by side.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x = np.sin(np.arange(60, dtype=np.float32))[:, None]
    >>> network = xr.EchoState(1, 20, seed=1).fit(x[:-1], x[1:])
    >>> stream = network.stream()
    >>> y = [stream.step(x_t) for x_t in x]
    >>> bool((np.stack(y) == network.predict(x)[0]).all())
    True
    """

    __slots__ = ("_network",)

    _stepper: _core.EchoStepper

    def __init__(self, network: Fitted, batch_size: int = 1) -> None:
        self._begin(network, network._layer, batch_size)

    def _begin(self, network: Fitted, layer: Reservoir, batch_size: int) -> None:
        self._network = network
        super().__init__(layer, batch_size)
        self._set_output(self.batch_size, "O", len(self._stepper.readout[1]))

    def __reduce__(self) -> tuple[Any, ...]:
        # The stream's layer is another than the network's if that was loaded anew.
        _, (kind, layer, *rows), state = super().__reduce__()
        return _restore_stream, (kind, self._network, layer, *rows), state

    def __repr__(self) -> str:
        return f"<stream of {self._network!r}, {self._sizes()}>"

    def step(
        self,
        x: ArrayLike,
        out: ArrayLike | None = None,
        rows: RowsLike | None = None,  # keyword-only it would cost each call 40 ns
    ) -> Array:
        """Go on by one time step.

        Parameters
        ----------
        x : array_like
            Input [B, I], or [I] where B = 1, of the network's dtype.
        out : ndarray, optional
            Where to put the prediction: [B, O], or [O] for an input [I]; it may be `x`.
        rows : int, array_like of int or mask [B], optional
            The rows that go on, as in `Stream.step`.

        Returns
        -------
        ndarray
            The prediction; `out` if given, else a new array.

        Raises
        ------
        ValueError
            If a shape is wrong, `out` is read-only, or a row is not in use or named
            twice; the state is unchanged.
        TypeError
            If something is not an array or not of the network's dtype; likewise.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        if self._network._readout is not self._stepper.readout:
            self._take_readout()
        return Stream.step(self, x, out, rows)  # super() costs 0.1 µs

    def _take_readout(self) -> None:
        """Go on with the readout that the network has now."""
        self._network._fitted("step")
        self._replace_stepper(self._packs, self.batch_size)
        self._set_output(self.batch_size, "O", len(self._stepper.readout[1]))

    def _new_stepper(self, packs: Packs, places: int) -> _core.EchoStepper:
        readout, team = self._network._fitted("step"), engine.threads_for_calls
        return _core.EchoStepper(packs.copies, places, readout, team)

    def _step_checked(self, x: object, out: object, rows: object) -> Array:
        """Do a step with arrays that the kernels cannot take, or say why not."""
        given = _checks.check_step(x, self._layer.input_size, self._dtype)
        return super()._step_checked(given.copy(), out, rows)  # apart from `out`


def _restore_stream(
    kind: type[EchoStream],
    network: Fitted,
    layer: Reservoir,
    batch_size: int,
    left: Rows | tuple[()] = (),
) -> EchoStream:
    """Make a stream for a copy or a pickle; its state is set afterwards."""
    stream = kind.__new__(kind)
    stream._begin(network, layer, batch_size)
    stream.leave(left)
    return stream
