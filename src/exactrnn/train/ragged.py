"""Sequences of many lengths: side by side in one array, in batches of like length.

What stands in a list, words, sentences, lines of writing, is padded batch by batch: in
batches of like length little is computed for padding. As in `batches` the order of an
epoch is drawn from the seed and the epoch's number alone (contract N9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import as_any_array, check_seed, check_size, describe
from exactrnn._checks.limits import shorten
from exactrnn.train._epochs import Epochs

__all__ = ["RaggedBatches", "pad", "ragged_batches"]


def pad(sequences: Sequence[ArrayLike]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Lay sequences side by side, with zeros behind the end of each.

    Parameters
    ----------
    sequences : sequence of array_like, ``[T_n, ...]`` each
        At least one; they differ in their first axis alone.

    Returns
    -------
    padded : ndarray, ``[T, N, ...]``
        T is the longest; of the dtype that holds all of them.
    lengths : ndarray of int64, ``[N]``
        Steps of each.

    Raises
    ------
    TypeError, ValueError
        If there is no sequence, or they do not fit side by side.

    Examples
    --------
    >>> import exactrnn as xr
    >>> padded, lengths = xr.train.pad([[1, 2, 3], [4]])
    >>> padded.T.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    _count_of("sequences", sequences)
    arrays = [as_any_array(f"sequences[{n}]", own) for n, own in enumerate(sequences)]
    rest = arrays[0].shape[1:]
    for n, array in enumerate(arrays):
        if array.dtype.kind not in "biuf":
            got = shorten(array.dtype)
            raise TypeError(f"sequences[{n}]: expected numbers, got {got}")
        if array.ndim == 0 or array.shape[1:] != rest:
            wanted = ", ".join(["T", *map(str, rest)])
            got = shorten(array.shape)
            raise ValueError(f"sequences[{n}]: expected [{wanted}], got {got}")
    # the list [] has no dtype of its own
    dtype = np.result_type(*([a for a in arrays if a.size] or arrays))
    lengths = np.array([len(array) for array in arrays], np.int64)
    padded = np.zeros((int(lengths.max()), len(arrays), *rest), dtype)
    for n, array in enumerate(arrays):
        padded[: len(array), n] = array
    return padded, lengths


class RaggedBatches(Epochs[Any]):
    """Examples in batches of like length; made by `ragged_batches`.

    A loop over it is an epoch. ``len`` is the number of batches.
    """

    def __init__(
        self,
        examples: Sequence[Any],
        make: Callable[[list[Any]], Any],
        lengths: NDArray[np.int64] | None,
        size: int,
        seed: int | None,
    ) -> None:
        super().__init__(size, seed)
        self._examples = examples
        self._make = make
        self._lengths = lengths

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self._examples)

    def _walk(self, epoch: str) -> Iterator[Any]:
        order = self._shuffled(self.num_examples, "ragged", "examples", epoch)
        if self._lengths is not None:
            order = order[np.argsort(self._lengths[order], kind="stable")]
        for k in self._shuffled(len(self), "ragged", "batches", epoch).tolist():
            rows = order[k * self._size : (k + 1) * self._size].tolist()
            yield self._make([self._examples[n] for n in rows])


def ragged_batches(
    examples: Sequence[Any],
    make: Callable[[list[Any]], Any],
    size: int = 32,
    seed: int | None = None,
    *,
    lengths: ArrayLike | None = None,
) -> RaggedBatches:
    """Cut examples of many lengths into batches, which a function of yours makes.

    Parameters
    ----------
    examples : sequence
        Of whatever `make` takes.
    make : callable
        From a list of examples to a batch: for `fit` ``(x, y)``, ``(x, y, lengths)`` or
        ``(x, y, lengths, weights)``, arrays that `pad` has padded among them.
    size : int
        Examples in a batch; one of them may have fewer.
    seed : int, optional
        Of the order, which is another in every epoch; None keeps that of the examples,
        or of their lengths.
    lengths : array_like of int, ``[N]``, optional
        By which examples are sorted into batches, shortest first; those of equal length
        are mixed, and so are the batches.

    Returns
    -------
    RaggedBatches
        Gives what `make` returns.

    Raises
    ------
    TypeError, ValueError
        If there is no example, `make` is no function, or there are not as many lengths.

    Examples
    --------
    >>> import exactrnn as xr
    >>> words = ["to", "spelling", "be", "sound"]
    >>> data = xr.train.ragged_batches(words, list, 2, lengths=[len(w) for w in words])
    >>> list(data)
    [['to', 'be'], ['sound', 'spelling']]
    """
    count = _count_of("examples", examples)
    if not callable(make):
        raise TypeError(f"make: expected a function, got {describe(make)}")
    sorted_by = None
    if lengths is not None:
        given = as_any_array("lengths", lengths)
        if given.dtype.kind not in "iu":
            raise TypeError(f"lengths: expected integers, got {shorten(given.dtype)}")
        if given.shape != (count,):
            raise ValueError(
                f"lengths: expected [N={count}], got {shorten(given.shape)}"
            )
        sorted_by = given.astype(np.int64)
    chunk, own = check_size("size", size), check_seed(seed)
    return RaggedBatches(examples, make, sorted_by, chunk, own)


def _count_of(name: str, value: object) -> int:
    """Return how many elements a list or the like has, at least one, or raise."""
    try:
        has_places = hasattr(value, "__getitem__") and not isinstance(value, Mapping)
        count = len(value) if has_places else None  # type: ignore[arg-type]
    except TypeError:  # an array of no axis
        count = None
    if count is None:
        raise TypeError(f"{name}: expected a list or the like, got {describe(value)}")
    if count == 0:
        raise ValueError(f"{name}: expected at least one, got none")
    return count
