"""Values on their way between processes of one machine.

What is small goes through the pipe itself. What is not is written to a file, in memory
where the system has such files, and read where it lies: however many processes want
it, it is there once. Arrays that were read so cannot be written to.

The folder belongs to one engine and goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MEMORY = Path("/dev/shm")
LEAST_FREE = 1 << 28
"""Bytes that the memory's folder must have free to be used."""
INLINE = 1 << 14
"""Bytes up to which a value goes through the pipe: less than a pipe holds."""
ALIGNMENT = 64


class Packed(NamedTuple):
    """A value as bytes: all of them in `head`, or in a file.

    `spans` are where the pickle and the memory of each array lie in the file.
    """

    head: bytes
    path: str | None = None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + sum(end - begin for begin, end in self.spans)


def make_folder() -> Path:
    """Return a new folder, in memory if the system has room for it there."""
    place: Path | None = MEMORY
    try:
        if shutil.disk_usage(MEMORY).free < LEAST_FREE or not os.access(
            MEMORY, os.W_OK
        ):
            place = None
    except OSError:
        place = None
    return Path(tempfile.mkdtemp(prefix="exactrnn-", dir=place))


def pickled(
    what: str,
    value: object,
    buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
) -> bytes:
    """Return a value as bytes that another process can read.

    Raises
    ------
    TypeError
        If it cannot be pickled; `what` says in the message which value it is.
    """
    try:
        return pickle.dumps(value, 5, buffer_callback=buffer_callback)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            f"{what}: expected what another process can be sent (functions of a "
            f"module, no lambda), got {type(value).__name__}: {error}"
        ) from error


def remove_folder(folder: Path, owner: int) -> None:
    """Remove a folder if this process owns it: a forked one does not."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


class Store:
    """Writes values for others to read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def pack(self, what: str, value: object) -> Packed:
        """Return a value as bytes that another process can read.

        Raises
        ------
        TypeError
            If it cannot be pickled; `what` says in the message which value it is.
        OSError
            If there is no room for it.
        """
        buffers: list[pickle.PickleBuffer] = []
        head = pickled(what, value, buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        if len(head) + sum(part.nbytes for part in raw) <= INLINE:
            return Packed(pickle.dumps(value, 5) if raw else head)
        try:
            return self._write(self._folder, [memoryview(head), *raw])
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # In memory there is no room; the disk may have some.
            return self._write(Path(tempfile.gettempdir()), [memoryview(head), *raw])

    def _write(self, folder: Path, parts: list[memoryview]) -> Packed:
        name = f"{self._folder.name}-{os.getpid()}-{next(self._numbers)}"
        path, spans = folder / name, []
        try:
            with path.open("xb") as file:
                for part in parts:
                    begin = -(-file.tell() // ALIGNMENT) * ALIGNMENT
                    file.seek(begin)
                    file.write(part)
                    spans.append((begin, begin + part.nbytes))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Packed(b"", str(path), tuple(spans))


def unpack(packed: Packed) -> Any:
    """Return the value; its arrays lie in the file's memory."""
    if packed.path is None:
        return pickle.loads(packed.head)
    with Path(packed.path).open("rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head, *buffers = (memory[begin:end] for begin, end in packed.spans)
    return pickle.loads(head, buffers=buffers)


def discard(packed: Packed, owner: int) -> None:
    """Remove the file if this process owns it; who has read it keeps its memory."""
    if packed.path is not None and os.getpid() == owner:
        with contextlib.suppress(OSError):
            Path(packed.path).unlink(missing_ok=True)
