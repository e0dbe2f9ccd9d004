"""Data in the form that training takes: batches of examples, windows of a series.

The order of an epoch is drawn from the seed and the epoch's number alone (contract N9):
by raw integers of PCG64, sorted, so that a run that is resumed sees what it would have
seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import (
    Array,
    check_integer,
    check_lengths,
    check_seed,
    check_size,
    describe,
)
from exactrnn._checks.arrays import check_floats
from exactrnn.train._epochs import Epochs
from exactrnn.train._stored import FileArray, as_examples, as_file, rows_of

__all__ = ["Batch", "Batches", "batches", "windows"]


class Batch(NamedTuple):
    """Some of the examples.

    Attributes
    ----------
    x : ndarray, or tuple of ndarray
        Inputs: a tuple if there are several.
    y : ndarray
        Targets.
    lengths : ndarray of int or None
        Steps of each row.
    weights : ndarray or None
        How much each row counts.
    """

    x: Any
    y: NDArray[Any]
    lengths: NDArray[np.int64] | None = None
    weights: Array | None = None


class _Examples(NamedTuple):
    """What is cut: inputs and targets, each with the axis of the examples."""

    inputs: list[tuple[Any, int]]
    targets: tuple[Any, int]
    lengths: NDArray[np.int64] | None
    weights: Array | None
    is_one: bool

    @property
    def files(self) -> list[FileArray | None]:
        """Where inputs and targets lie, as far as they lie in files."""
        return [as_file(array) for array, _ in (*self.inputs, self.targets)]

    def rows(
        self, chosen: NDArray[np.intp], files: Sequence[FileArray | None] | None = None
    ) -> Batch:
        """Return some as a batch, in this order; what lies in `files` is unread."""
        arrays = (*self.inputs, self.targets)
        own = [None] * len(arrays) if files is None else files
        *x, y = [
            rows_of(array, file, chosen, axis)
            for (array, axis), file in zip(arrays, own, strict=True)
        ]
        return Batch(
            x[0] if self.is_one else tuple(x),
            y,
            None if self.lengths is None else self.lengths[chosen],
            None if self.weights is None else self.weights[chosen],
        )


class Batches(Epochs[Batch]):
    """Examples in batches, in another order in every epoch; made by `batches`.

    A loop over it is an epoch. ``len`` is the number of batches.
    """

    def __init__(self, examples: _Examples, size: int, seed: int | None) -> None:
        super().__init__(size, seed)
        self._examples = examples

    @property
    def axes(self) -> tuple[int | tuple[int, ...], int]:
        """Where the examples lie in x, or in each array of it, and in y."""
        places = tuple(place for _, place in self._examples.inputs)
        own = places[0] if self._examples.is_one else places
        return own, self._examples.targets[1]

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        array, axis = self._examples.targets
        return int(array.shape[axis])

    def _walk(self, epoch: str) -> Iterator[Batch]:
        yield from map(self._examples.rows, self._orders(epoch))

    def _orders(self, epoch: str) -> Iterator[NDArray[np.intp]]:
        """Yield which examples each batch of an epoch has."""
        order = self._shuffled(self.num_examples, "batches", epoch)
        for begin in range(0, len(order), self._size):
            yield order[begin : begin + self._size]

    def _unread(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; what lies in files is `FileRows`."""
        files = self._examples.files
        for chosen in self._orders(str(number)):
            yield self._examples.rows(chosen, files)

    def _files(self) -> tuple[FileArray, ...]:
        """Return the files in which the examples lie."""
        return tuple(file for file in self._examples.files if file is not None)


def batches(
    x: Any,
    y: ArrayLike,
    size: int = 32,
    seed: int | None = None,
    *,
    axes: tuple[int | tuple[int, ...], int] = (1, 1),
    lengths: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Batches:
    """Cut examples into batches.

    Parameters
    ----------
    x, y : array_like
        Inputs and targets, with the examples along the axes that `axes` says. Of files
        that are mapped, and of arrays in chunks, as those of dask, h5py and zarr, what
        a batch has is read.
    size : int
        Examples in a batch; the last one may have fewer.
    seed : int, optional
        Of the order, which is another in every epoch; None keeps that of the examples.
    axes : tuple of two ints
        Where the examples lie in `x` and in `y`: ``(1, 1)`` for a sequence of answers
        to each ``[T, N, ...]``, ``(1, 0)`` for one answer to a sequence, ``(0, 0)`` for
        layers that have ``batch_first``. With several ints in the place of the first,
        `x` is as many arrays: ``((1, 0, 1), 1)`` for sources ``[S, N]``, their lengths
        ``[N]``, and what a decoder reads ``[T, N]``.
    lengths : array_like of int, ``[N]``, optional
        Steps of each sequence: of `x`, or where that is several arrays, of `y`.
    weights : array_like, ``[N]``, optional
        How much each example counts, for losses that have one number for a row.

    Returns
    -------
    Batches
        Gives a `Batch` of ``x``, ``y``, ``lengths`` and ``weights`` at a time; ``x`` is
        a tuple if it is several arrays.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not have equally many examples, at least one.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x, y = np.arange(10.0).reshape(2, 5, 1), np.arange(5)
    >>> data = xr.train.batches(x, y, size=2, seed=0, axes=(1, 0))
    >>> len(data), [batch.y.tolist() for batch in data]
    (3, [[2, 4], [0, 1], [3]])
    """
    own, other = _check_pair(axes)
    inputs = _take_inputs(x, own)
    targets = _placed("y", as_examples("y", y), "axes[1]", other)
    count = targets[0].shape[targets[1]]
    for array, place in inputs:
        if array.shape[place] != count or count == 0:
            raise ValueError(
                "y: expected as many examples as x has, at least one, got "
                f"{array.shape[place]} in axis {place} of x {array.shape} and {count} "
                f"in axis {targets[1]} of y {targets[0].shape}"
            )
    is_one = not isinstance(own, tuple | list)
    sizes, amounts = None, None
    if lengths is not None:
        steps = _steps_of("x", *inputs[0]) if is_one else _steps_of("y", *targets)
        sizes = check_lengths(lengths, steps, count, batched=True)
    if weights is not None:
        amounts = check_floats("weights", weights, shape=(count,))
    examples = _Examples(inputs, targets, sizes, amounts, is_one)
    return Batches(examples, check_size("size", size), check_seed(seed))


def _check_pair(axes: object) -> tuple[object, object]:
    if not isinstance(axes, tuple | list) or len(axes) != 2:
        raise TypeError(f"axes: expected two integers, got {axes!r}")
    return axes[0], axes[1]


def _take_inputs(x: Any, axes: object) -> list[tuple[Any, int]]:
    """Return the arrays of inputs, each with the axis of the examples."""
    if not isinstance(axes, tuple | list):
        return [_placed("x", as_examples("x", x), "axes[0]", axes)]
    if not isinstance(x, tuple | list) or len(x) != len(axes) or not axes:
        got = len(x) if isinstance(x, tuple | list) else describe(x)
        wanted = len(axes) or "at least one"
        raise ValueError(f"x: expected {wanted} arrays, as axes[0] has, got {got}")
    return [
        _placed(f"x[{k}]", as_examples(f"x[{k}]", array), f"axes[0][{k}]", axis)
        for k, (array, axis) in enumerate(zip(x, axes, strict=True))
    ]


def _placed(name: str, array: Any, label: str, axis: object) -> tuple[Any, int]:
    """Return an array with an axis of it, counted from the front."""
    number = check_integer(label, axis)
    if not -array.ndim <= number < array.ndim:
        raise ValueError(
            f"{label}: expected an axis of {name} {array.shape}, got {number}"
        )
    return array, number % array.ndim


def _steps_of(name: str, array: NDArray[Any], place: int) -> int:
    """Return the steps of sequences."""
    if array.ndim < 2:
        raise ValueError(
            f"lengths: expected None where {name} has no steps, {array.shape}"
        )
    return int(array.shape[0 if place else 1])


def windows(
    series: ArrayLike,
    length: int,
    horizon: int = 1,
    *,
    stride: int = 1,
    target: int | None = None,
) -> tuple[Array, Array]:
    """Cut one long series into inputs and what follows each of them.

    Window ``n`` reads the steps ``n*stride .. n*stride + length - 1``; its target is
    the `horizon` steps after them.

    Parameters
    ----------
    series : array_like, ``[S]`` or ``[S, I]``
        Of float32 or float64.
    length : int
        T, steps that are read.
    horizon : int
        P, steps that are to be foretold.
    stride : int
        Steps from one window to the next.
    target : int, optional
        Which of the I values is foretold; all of them if not given.

    Returns
    -------
    x : ndarray, ``[T, N, I]``
        Copies.
    y : ndarray, ``[N, P]``, or ``[N, P, I]`` for a series of several values
        What follows: ``axes=(1, 0)`` of `batches`.

    Raises
    ------
    TypeError, ValueError
        If the series has another form or is too short for a window.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x, y = xr.train.windows(np.arange(6.0), length=3, horizon=2)
    >>> x[:, :, 0].T.tolist(), y.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    values = check_floats("series", series)
    T, P = check_size("length", length), check_size("horizon", horizon)
    step = check_size("stride", stride)
    if values.ndim not in (1, 2) or values.shape[0] < T + P:
        raise ValueError(
            f"series: expected [S] or [S, I] with S >= length + horizon = {T + P}, got "
            f"{values.shape}"
        )
    wide = values if values.ndim == 2 else values[:, None]
    starts = np.arange(0, values.shape[0] - T - P + 1, step)
    x = np.ascontiguousarray(wide[starts + np.arange(T)[:, None]])
    y = wide[starts[:, None] + T + np.arange(P)]
    if target is not None:
        column = check_integer("target", target)
        if not 0 <= column < wide.shape[1]:
            raise ValueError(
                f"target: expected 0..{wide.shape[1] - 1} for I={wide.shape[1]}, got "
                f"{column}"
            )
        return x, np.ascontiguousarray(y[..., column])
    return x, np.ascontiguousarray(y[..., 0] if values.ndim == 1 else y)
