"""Arrays that are not in memory: in files that are mapped, or in chunks elsewhere.

`Batches` reads from them what a batch needs. Where other processes train, an array in a
file goes to them as the file's path and where in it which rows lie, and they read it
themselves; so it must be the same file there.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, as_any_array
from exactrnn._checks.arrays import make_plain

CHUNKED = ("shape", "dtype", "ndim", "chunks", "__getitem__")
"""What an array in chunks has, as those of dask, h5py and zarr have it."""


def is_chunked(value: object) -> bool:
    """Tell whether this is read by indices, a part at a time."""
    return not isinstance(value, np.ndarray) and all(
        hasattr(value, name) for name in CHUNKED
    )


def as_examples(name: str, value: Any) -> Any:
    """Return an array, or one in chunks as it is."""
    return value if is_chunked(value) else as_any_array(name, value)


def take_rows(array: Any, chosen: NDArray[np.intp], axis: int) -> Array:
    """Return some rows as an array in memory, in this order."""
    if isinstance(array, np.ndarray):
        return make_plain(np.take(array, chosen, axis))
    # Some read in rising order alone, and all are quickest so.
    order = np.argsort(chosen, kind="stable")
    index = (slice(None),) * axis + (chosen[order],)
    found = np.asarray(array[index])
    return make_plain(np.take(found, np.argsort(order, kind="stable"), axis))


@dataclass(frozen=True)
class FileArray:
    """An array in a file, for any process that has the file.

    Attributes
    ----------
    path : str
    offset : int
        Of its first element, in bytes.
    dtype : dtype
    shape, strides : tuple of int
    state : tuple of int
        Size of the file, and when it was changed.
    """

    path: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    state: tuple[int, int]

    def is_here(self) -> bool:
        """Tell whether this process has the file as it was."""
        return _state_of(self.path) == self.state

    def array(self) -> NDArray[Any]:
        """Return the array, mapped."""
        memory = _mapped(self.path, self.state)
        return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)


@lru_cache(maxsize=64)
def _mapped(path: str, state: tuple[int, int]) -> NDArray[np.uint8]:
    del state  # another one is another file
    return np.memmap(path, np.uint8, "r")


def _state_of(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def as_file(array: Any) -> FileArray | None:
    """Return where an array lies in a file; None if it is in no file or only seems so.

    One that is mapped to be written on, without the file being changed, is in none.
    """
    root, base = array, getattr(array, "base", None)
    while isinstance(base, np.ndarray):
        root, base = base, base.base
    if not isinstance(root, np.memmap) or not isinstance(base, mmap.mmap):
        return None
    if root.mode == "c" or root.filename is None or array.dtype.hasobject:
        return None
    path = str(Path(root.filename).absolute())
    state = _state_of(path)
    if state is None:
        return None
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return FileArray(path, offset, array.dtype, array.shape, array.strides, state)


class FileRows:
    """Some rows of an array in a file: to be read by whoever needs them.

    Parameters
    ----------
    file : FileArray
    chosen : ndarray of int
        Which, in this order.
    axis : int
        Where they lie.
    array : ndarray, optional
        The array itself where it is mapped already; it stays in this process.
    """

    def __init__(
        self,
        file: FileArray,
        chosen: NDArray[np.intp],
        axis: int,
        array: NDArray[Any] | None = None,
    ) -> None:
        self.file, self.chosen, self.axis, self._array = file, chosen, axis, array

    def __reduce__(self) -> tuple[Any, ...]:
        return FileRows, (self.file, self.chosen, self.axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that `read` gives."""
        own = list(self.file.shape)
        own[self.axis] = len(self.chosen)
        return tuple(own)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.file.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements, in the order of the machine."""
        return self.file.dtype.newbyteorder("=")

    def part(self, begin: int, end: int) -> FileRows:
        """Return some of the rows that follow each other."""
        return FileRows(self.file, self.chosen[begin:end], self.axis, self._array)

    def read(self) -> Array:
        """Return the rows as an array in memory."""
        array = self.file.array() if self._array is None else self._array
        return take_rows(array, self.chosen, self.axis)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.read(), dtype)


def read(value: Any) -> Any:
    """Return what is in files as arrays, in a tuple too; all else as it is."""
    if isinstance(value, FileRows):
        return value.read()
    if isinstance(value, tuple) and any(isinstance(one, FileRows) for one in value):
        return tuple([read(one) for one in value])
    return value


def rows_of(
    array: Any, file: FileArray | None, chosen: NDArray[np.intp], axis: int
) -> Any:
    """Return some rows of an array, unread if it lies in a file."""
    if file is None:
        return take_rows(array, chosen, axis)
    return FileRows(file, chosen, axis, array)


def all_here(files: Iterable[FileArray]) -> bool:
    """Tell whether this process has all of these files."""
    return all(file.is_here() for file in files)
