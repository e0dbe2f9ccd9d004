"""Where the sequences of a map come from, and what one of them must be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import ARRAY_PROTOCOLS, as_any_array, as_exported, describe
from exactrnn._checks.limits import quote_names, shorten
from exactrnn.train._stored import is_chunked

BAG = ("to_delayed", "npartitions", "map_partitions")
"""What a bag of dask has."""
KEPT = (list, tuple, np.ndarray)
"""Sources whose items are all there at once: what is read needs no copy."""


class SequenceError(ValueError):
    """A sequence of a source that cannot be run.

    Attributes
    ----------
    index : int
        Its place in the source.
    reason : str
        What is wrong with it.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason

    def __str__(self) -> str:
        return f"source[{self.index}]: {self.reason}"


def settled(source: Any) -> Any:
    """Return a source; an array in a form that no loop can go through, as an array."""
    exports = any(hasattr(source, name) for name in (*ARRAY_PROTOCOLS, "__dlpack__"))
    is_odd = isinstance(source, memoryview) or (exports and not _has_items(source))
    return as_exported("source", source) if is_odd else source


def _has_items(source: Any) -> bool:
    return any(hasattr(source, n) for n in ("__iter__", "__getitem__", "iter_rows"))


def iterate(source: Any) -> Iterator[Any]:
    """Return an iterator over a source, or raise.

    A collection of Ray, or any that has its method, is read by ``iter_rows()``, one of
    dask by partitions, an array in chunks by those of its first axis.
    """
    if isinstance(source, str | bytes | bytearray | Mapping | type):
        raise TypeError(
            f"source: expected an iterable of sequences, got {describe(source)}"
        )
    if isinstance(source, np.ndarray) and source.ndim < 2:
        raise ValueError(
            f"source: expected an array [N, T, ...], got {shorten(source.shape)}"
        )
    if callable(getattr(source, "iter_rows", None)):
        return iter(source.iter_rows())
    if is_chunked(source) and source.ndim >= 2:
        return _rows_of_chunks(source)
    if all(hasattr(source, name) for name in BAG) and not hasattr(source, "columns"):
        return (item for part in source.to_delayed() for item in part.compute())
    if hasattr(source, "__iter__"):
        return iter(source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return (source[k] for k in range(len(source)))
    raise TypeError(
        "source: expected an iterable of sequences, or one with len() and indices, got "
        f"{describe(source)}"
    )


def _rows_of_chunks(source: Any) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array in chunks, which is read a chunk at a time."""
    sizes = source.chunks[0] if source.chunks else 1
    steps = sizes if isinstance(sizes, tuple) else itertools.repeat(sizes)
    begin = 0
    for size in steps:
        if begin >= len(source):
            return
        yield from np.asarray(source[begin : begin + size])
        begin += size


def size_of(source: Any) -> int | None:
    """Return how many sequences there are, if the source says it."""
    try:
        return len(source)
    except (TypeError, NotImplementedError, AttributeError):
        return None


class Taker:
    """Makes arrays of what a source gives.

    Parameters
    ----------
    expected : tuple or None
        Dtype and width of a step, as `expected_input` gives them.
    column : str or None
        Which entry of what is a mapping.
    copies : bool
        Whether to copy, because the next item may come in the same memory.
    encode : callable or None
        Makes symbols of a text, where texts are read.
    """

    def __init__(
        self,
        expected: tuple[Any, int | None] | None,
        column: str | None,
        *,
        copies: bool,
        encode: Callable[[str], NDArray[np.int64]] | None = None,
    ) -> None:
        self._expected, self._column, self._copies = expected, column, copies
        self._encode = encode
        self._words = _words_of(expected)
        if encode is not None:
            self._words = f"a text, or {self._words}"

    def take(self, index: int, item: object) -> NDArray[Any]:
        """Return an item as an array ``[T, ...]``.

        Raises
        ------
        SequenceError
            If it is none that the model can read.
        """
        if type(item) is np.ndarray and self._is_plain(item):
            return np.array(item) if self._copies else item.view()
        if isinstance(item, Mapping):
            item = self._entry(index, item)
        try:
            if isinstance(item, str) and self._encode is not None:
                item = self._encode(item)
            array = as_any_array("x", item, self._words)
        except Exception as error:  # whatever a stranger's array does
            raise SequenceError(index, _without_name(error)) from None
        wrong = self._fault_of(array)
        if wrong is not None:
            raise SequenceError(index, f"expected {self._words}, got {wrong}")
        return np.array(array) if self._copies else array

    def _is_plain(self, array: NDArray[Any]) -> bool:
        """Tell at once that an array is right; of some that are right it does not."""
        if self._expected is None or self._expected[1] is None or not len(array):
            return False
        dtype, width = self._expected
        return array.ndim == 2 and array.shape[1] == width and array.dtype == dtype

    def _entry(self, index: int, item: Mapping[Any, Any]) -> object:
        if self._column is None and len(item) == 1:
            return next(iter(item.values()))
        if self._column not in item:
            wanted = "one column" if self._column is None else repr(self._column)
            raise SequenceError(index, f"expected {wanted}, got {quote_names([*item])}")
        return item[self._column]

    def _fault_of(self, array: NDArray[Any]) -> str | None:
        """Return what is wrong with an array, None if nothing is."""
        if array.ndim == 0 or len(array) == 0:
            return _shown(array)
        if self._expected is None:
            return _shown(array) if array.dtype.kind not in "biufc" else None
        dtype, width = self._expected
        same = (
            array.dtype.kind in "iu"
            if width is None
            else array.dtype.newbyteorder("=") == dtype
        )
        fits = array.shape[1:] == (() if width is None else (width,))
        return None if same and fits else _shown(array)


def _words_of(expected: tuple[Any, int | None] | None) -> str:
    """Say what a sequence must be."""
    if expected is None:
        return "numbers [T, ...] with T >= 1"
    dtype, width = expected
    if width is None:
        return "integers [T] with T >= 1"
    return f"{dtype} [T, I={width}] with T >= 1"


def _shown(array: NDArray[Any]) -> str:
    is_thing = array.dtype == object and array.ndim == 0
    return describe(array.item()) if is_thing else describe(array)


def _without_name(error: Exception) -> str:
    """Return what an error says without the argument that it names first."""
    words = str(error).removeprefix("x: ").removeprefix("text: ")
    return shorten(words or type(error).__name__)
