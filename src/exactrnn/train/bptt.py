"""Truncated backpropagation through time over long streams.

R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of
recurrent network trajectories", Neural Computation 2(4):490-501, 1990.  Their
BPTT(h; h') runs, every h' steps, a backward pass over the last h steps.  Here h' is
`length` and h is `depth`; with both equal it is the usual training in chunks.

The traps, and what is done: the forward state is carried from chunk to chunk and never
reset; with h > h' only the losses of the newest h' steps are injected, so that none
counts twice; and stream k stays in batch row k.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import Array, as_any_array, check_one_way, check_size
from exactrnn._checks.arrays import check_floats

__all__ = ["Chunk", "StreamChunk", "stream_batches", "truncated_bptt"]


class StreamChunk(NamedTuple):
    """Neighbouring steps of all streams: each input and the symbol that follows it."""

    inputs: NDArray[Any]
    targets: NDArray[Any]


def stream_batches(
    sequence: ArrayLike, batch_size: int, length: int
) -> Iterator[StreamChunk]:
    """Cut one long sequence into parallel streams and walk them in chunks.

    With ``S = (N - 1) // batch_size``, stream ``b`` has the inputs ``b*S .. (b+1)*S-1``
    and stays in batch row ``b`` of every chunk, so that a state carried from chunk to
    chunk belongs to it.  The last chunk may be shorter; up to ``batch_size`` symbols at
    the end of the sequence are not used.

    Parameters
    ----------
    sequence : array_like, ``[N, ...]``
        The sequence.
    batch_size : int
        Number of streams.
    length : int
        Steps per chunk.

    Yields
    ------
    StreamChunk
        ``inputs`` and ``targets``, views of `sequence`, ``[T, batch_size, ...]``.

    Raises
    ------
    ValueError
        If the sequence is too short to give every stream one step.

    Examples
    --------
    >>> import exactrnn as xr
    >>> for chunk in xr.train.stream_batches(range(9), batch_size=2, length=3):
    ...     print(chunk.inputs.T.tolist(), chunk.targets.T.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """
    check_size("batch_size", batch_size)
    check_size("length", length)
    array = as_any_array("sequence", sequence)
    size = (array.shape[0] - 1) // batch_size if array.ndim else 0
    if size < 1:
        raise ValueError(
            f"sequence: expected [N, ...] with N > batch_size={batch_size}, "
            f"got {array.shape}"
        )
    return _walk(array, batch_size, size, length)


def _walk(
    array: NDArray[Any], batch_size: int, size: int, length: int
) -> Iterator[StreamChunk]:
    shape = (batch_size, size, *array.shape[1:])
    inputs = array[: batch_size * size].reshape(shape).swapaxes(0, 1)
    targets = array[1 : batch_size * size + 1].reshape(shape).swapaxes(0, 1)
    for start in range(0, size, length):
        steps = slice(start, start + length)
        yield StreamChunk(inputs[steps], targets[steps])


class Chunk:
    """One stretch of `truncated_bptt`: its output and the way back through it.

    Attributes
    ----------
    start, stop : int
        The steps of the long sequence that `y` belongs to.
    y : ndarray, ``[stop - start, B, H]``
        The layer's output for these steps (``[B, T, H]`` with ``batch_first``).
    state : tuple of ndarray or ndarray
        The layer's state after the last of them.
    """

    def __init__(
        self, layer: Any, window: tuple[Any, Any, Any], start: int, axis: int
    ) -> None:
        output, self.state, self._cache = window
        self._layer = layer
        self._axis = axis
        self._shape: tuple[int, ...] = output.shape
        self._skipped = 0
        self.start = start
        self.stop = start + output.shape[axis]
        self.y: Array = output

    def __repr__(self) -> str:
        return f"<chunk of {self._layer!r}, steps {self.start} to {self.stop}>"

    def _leave_out(self, steps: int) -> None:
        """Keep the first `steps` of the window for the way back alone."""
        self._skipped = steps
        self.start += steps
        self.y = self.y[self._newest()]

    def _newest(self) -> tuple[slice, ...]:
        """Return where in the window the steps of `y` are."""
        steps = [slice(None)] * len(self._shape)
        steps[self._axis] = slice(self._skipped, None)
        return tuple(steps)

    def backward(self, dy: ArrayLike) -> Any:
        """Return the layer's gradients for `dy`, the gradient of `y`.

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape than `y`, or if the layer's weights have
            been changed since this chunk was yielded.
        """
        shape = list(self._shape)
        shape[self._axis] -= self._skipped
        checked = check_floats("dy", dy, self._layer.dtype, tuple(shape))
        if self._skipped:
            whole: Array = np.zeros(self._shape, checked.dtype)
            whole[self._newest()] = checked
            checked = whole
        return self._layer.backward(self._cache, checked)


def truncated_bptt(
    layer: Any,
    x: ArrayLike,
    *,
    length: int,
    depth: int | None = None,
    state: Any = None,
) -> Iterator[Chunk]:
    """Run a layer over a long sequence, stopping every `length` steps to learn.

    The state is carried through all of `x`.  With a `depth` above `length` the last
    `depth` steps are run again from the state carried to their start, with the weights
    of the moment, and the gradient of the newest `length` outputs flows through all of
    them.  With `depth` at least ``T`` no gradient is cut off.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        The layer, of one direction; change its weights between two chunks as you like.
    x : array_like, ``[T, B, I]``
        The streams, one per batch row (``[B, T, I]`` with ``batch_first``).
    length : int
        Steps from one update to the next, h'.
    depth : int, optional
        Steps that gradients flow back, h: a multiple of `length`, which is its
        default.
    state : tuple of ndarray or ndarray, optional
        State to begin with; zeros by default.

    Yields
    ------
    Chunk
        With ``y``, ``start``, ``stop``, ``state`` and ``backward(dy)``.

    Raises
    ------
    TypeError
        If `x` is not of the layer's dtype.
    ValueError
        If `depth` is not a multiple of `length`, or the layer reads rows from their
        ends.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LSTM(1, 8, seed=0)
    >>> optimizer = xr.train.Adam(layer, lr=0.01)
    >>> x = np.zeros((100, 4, 1), np.float32)
    >>> target = np.full((100, 4, 8), 0.5, np.float32)
    >>> losses = []
    >>> for chunk in xr.train.truncated_bptt(layer, x, length=20):
    ...     wanted = target[chunk.start : chunk.stop]
    ...     loss, dy = xr.train.mean_squared_error(chunk.y, wanted)
    ...     optimizer.step(chunk.backward(dy).weights)
    ...     losses.append(loss)
    >>> len(losses), losses[-1] < losses[0]
    (5, True)
    """
    check_one_way("layer", layer)
    check_size("length", length)
    depth = length if depth is None else check_size("depth", depth)
    if depth % length:
        raise ValueError(f"depth: expected a multiple of length={length}, got {depth}")
    checked = check_floats("x", x, getattr(layer, "dtype", None))
    if checked.ndim not in (2, 3):
        raise ValueError(f"x: expected [T, B, I] or [T, I], got {checked.shape}")
    return _learn_in_chunks(layer, checked, length, depth, state)


def _learn_in_chunks(
    layer: Any, x: NDArray[Any], length: int, depth: int, state: Any
) -> Iterator[Chunk]:
    axis = 1 if getattr(layer, "batch_first", False) and x.ndim == 3 else 0
    window_states = deque([state], maxlen=depth // length)
    for start in range(0, x.shape[axis], length):
        first = start - (len(window_states) - 1) * length
        steps = [slice(None)] * x.ndim
        steps[axis] = slice(first, start + length)
        window = layer.forward(x[tuple(steps)], window_states[0])
        chunk = Chunk(layer, window, first, axis)
        if start > first:
            chunk._leave_out(start - first)
        window_states.append(chunk.state)
        yield chunk
