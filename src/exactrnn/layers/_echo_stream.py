"""One time step at a time: the stream of an echo state network."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np

from exactrnn import _checks, _core
from exactrnn._checks import Array, ArrayLike, FloatType
from exactrnn.layers._readout import apply_readout
from exactrnn.layers._reservoir import Reservoir
from exactrnn.layers._stream import Stream


class Fitted(Protocol):
    """What a stream needs of its network."""

    input_size: int
    hidden_size: int
    dtype: FloatType
    _layer: Reservoir

    def _fitted(self, what: str) -> tuple[Array, Array]:
        """Return the weights of the readout; `what` needs them."""


class EchoStream:
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

    __slots__ = ("_features", "_network", "_stream", "_turn")

    def __init__(self, network: Fitted, batch_size: int = 1) -> None:
        self._network = network
        self._stream: Stream[Array] = network._layer.stream(batch_size)
        rows = self._stream.batch_size
        width = network.input_size + network.hidden_size
        self._features = np.empty((rows, width), network.dtype)
        self._turn = _core.Turn()  # of the features as well

    def __reduce__(self) -> tuple[Any, ...]:
        # The stream's layer is another than the network's if that was loaded anew.
        parts = (type(self), self._network, self.batch_size)
        with self._turn:
            stream = copy.copy(self._stream)
        return _restore_stream, parts, (stream, getattr(self, "__dict__", None))

    def __setstate__(self, state: tuple[Stream[Array], dict[str, Any] | None]) -> None:
        self._stream, added = state
        if added:  # by a derived class
            self.__dict__.update(added)

    def __repr__(self) -> str:
        return f"<stream of {self._network!r}, B={self.batch_size}>"

    @property
    def batch_size(self) -> int:
        """B, rows that go on side by side."""
        return self._stream.batch_size

    @property
    def state(self) -> Array:
        """A copy of the state [1, B, H]. It can be set."""
        with self._turn:
            return self._stream.state

    @state.setter
    def state(self, state: Array) -> None:
        with self._turn:
            self._stream.state = state

    def reset(self, rows: object = None) -> None:
        """Set the state to zero.

        Parameters
        ----------
        rows : int, array_like of int or mask [B], optional
            The rows of the batch that start anew; all by default.
        """
        with self._turn:
            self._stream.reset(rows)

    def step(self, x: ArrayLike, out: ArrayLike | None = None) -> Array:
        """Go on by one time step.

        Parameters
        ----------
        x : array_like
            Input [B, I], or [I] where B = 1, of the network's dtype.
        out : ndarray, optional
            Where to put the prediction: [B, O], or [O] for an input [I].

        Returns
        -------
        ndarray
            The prediction; `out` if given, else a new array.

        Raises
        ------
        ValueError
            If a shape is wrong, or `out` is read-only; the state is unchanged.
        TypeError
            If something is not an array or not of the network's dtype; likewise.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        network = self._network
        W, b = network._fitted("step")
        given = _checks.check_step(x, network.input_size, network.dtype)
        sizes = {"B": self.batch_size, "O": len(b)}
        if given.ndim == 1:
            del sizes["B"]
        target = None
        if out is not None:
            target = _checks.check_out(out, network.dtype, sizes, ())
        with self._turn:
            y = self._predict(given, W, b).reshape(*sizes.values())
        if target is None:
            return y
        target[...] = y
        return _checks.as_given(out, target)

    def _predict(self, x: Array, W: Array, b: Array) -> Array:
        z, I = self._features, self._network.input_size
        z[:, I:] = self._stream.step(x)
        z[:, :I] = x
        return apply_readout(z, W, b)


def _restore_stream(
    kind: type[EchoStream], network: Fitted, batch_size: int
) -> EchoStream:
    """Make a stream for a copy or a pickle; its own stream is set afterwards."""
    stream = kind.__new__(kind)
    EchoStream.__init__(stream, network, batch_size)
    return stream
