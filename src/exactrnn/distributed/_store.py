"""Values on their way between processes of one machine.

What is small goes through the pipe itself. What is not is written to a file, in memory
where the system has such files, and read where it lies: however many processes want
it, it is there once. Arrays that were read so cannot be written to.

The folder belongs to one engine and goes with it, as does a second one on the disk,
for what memory has no room for.
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

from exactrnn._checks.limits import spell_bytes

MEMORY = Path("/dev/shm")
LEAST_FREE = 1 << 28
"""Bytes that the memory's folder must have free to be used."""
INLINE = 1 << 14
"""Bytes up to which a value goes through the pipe: less than a pipe holds."""
ALIGNMENT = 64
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What systems answer that have no room."""


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


def spare_of(folder: Path) -> Path:
    """Return where values go for which there is no room in an engine's folder."""
    return Path(tempfile.gettempdir()) / folder.name


def erase(folder: Path) -> None:
    """Remove an engine's folder, and the one on the disk."""
    for place in {folder, spare_of(folder)}:
        shutil.rmtree(place, ignore_errors=True)


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
        erase(folder)


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
        parts = [memoryview(head), *raw]
        places = [*dict.fromkeys((self._folder, spare_of(self._folder)))]
        for place in places:
            try:
                if place != self._folder:
                    _make_own(place)
                return self._write(place, parts)
            except OSError as error:
                if error.errno not in FULL:
                    raise
        size = spell_bytes(sum(part.nbytes for part in parts))
        where = " or ".join(str(place.parent) for place in places)
        raise OSError(
            errno.ENOSPC, f"{what}: expected room for {size} in {where}, got too little"
        )

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


def _make_own(folder: Path) -> None:
    """Make a folder unless it is there, and raise if it is another user's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


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
