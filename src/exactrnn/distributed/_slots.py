"""Memory that this process and its workers share, for groups on their way.

A worker has as many slots as groups. A group is laid into one as rows, the worker reads
it there and puts the results behind it:

    | x [B, T, ...], zeros behind sequences | y as the model gave it | state |   slot

What does not fit, and workers of other machines, get their groups by value. Against
that, which writes a new file for every group, slots save half of what this process does
(LSTM of 128 units, one worker: 0.30 of a core, by slots 0.17). The memory has a name in
no folder and is gone with the last process that has it.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes at multiples of which an array begins: a line of the cache."""


class Rows(NamedTuple):
    """Where an array lies in the shared memory.

    Attributes
    ----------
    begin, end : int
        Bytes that are free for it, and for what is put behind it.
    shape : tuple of int
    dtype : str
    """

    begin: int
    end: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def behind(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Rows | None:
        """Return the place for an array behind this one, None if it does not fit."""
        begin = -(-(self.begin + self.nbytes) // ALIGNMENT) * ALIGNMENT
        found = Rows(begin, self.end, shape, dtype.str)
        return found if begin + found.nbytes <= self.end else None


class SharedMemory(NamedTuple):
    """How a worker finds the memory."""

    path: str
    size: int

    def mapped(self) -> mmap.mmap:
        """Map it, to read and write."""
        opened = os.open(self.path, os.O_RDWR)
        try:
            return mmap.mmap(opened, self.size)
        finally:
            os.close(opened)


class Slots:
    """The memory, and which slots of it are free.

    Parameters
    ----------
    count : int
        Slots.
    size : int
        Bytes of each.

    Raises
    ------
    OSError, AttributeError
        If the system has no such memory.
    """

    def __init__(self, count: int, size: int) -> None:
        self._size = -(-size // ALIGNMENT) * ALIGNMENT
        self._file = os.fdopen(os.memfd_create("exactrnn-groups"), "r+b", buffering=0)
        whole = self._size * count
        self._file.truncate(whole)
        self._memory = mmap.mmap(self._file.fileno(), whole)
        self._free = [*range(0, whole, self._size)]
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        self.shared = SharedMemory(path, whole)

    def lay(self, group: list[NDArray[Any]]) -> Rows | None:
        """Put sequences into a slot as rows; None if none is free or large enough."""
        first, longest = group[0], max(map(len, group))
        dtype = first.dtype.newbyteorder("=")
        if dtype.hasobject or not self._free:
            return None
        begin = self._free[-1]
        shape = (len(group), longest, *first.shape[1:])
        rows = Rows(begin, begin + self._size, shape, dtype.str)
        if rows.nbytes > self._size:
            return None
        self._free.pop()
        fill(array_at(self._memory, rows), group)
        return rows

    def read(self, rows: Rows) -> NDArray[Any]:
        """Return the array that lies there, until the slot is given back."""
        return array_at(self._memory, rows)

    def give_back(self, rows: Rows) -> None:
        """Let another group have the slot."""
        self._free.append(rows.end - self._size)

    def close(self) -> None:
        """Let go of the memory; what was read must not be used any more."""
        self._file.close()


def array_at(memory: mmap.mmap, rows: Rows) -> NDArray[Any]:
    """Return an array in mapped memory."""
    return np.ndarray(rows.shape, rows.dtype, memory, rows.begin)


def fill(rows: NDArray[Any], group: list[NDArray[Any]]) -> None:
    """Put sequences into rows ``[B, T, ...]``, zeros behind them."""
    for row, x in zip(rows, group, strict=True):
        row[: len(x)] = x
        row[len(x) :] = 0
