"""Files, read and replaced as a whole; what is no regular file is refused at once.

* `read_whole` copies a file into memory and never maps it: another process that cuts
  the file short makes it a `ValueError`, not a SIGBUS.
* `replace_file` writes beside the target under a name of its own, has the system put
  the data on the disk and renames: whatever happens in between, also a kill or a power
  failure, the target holds its old bytes or its new ones. It keeps what the path names:
  symbolic links are followed, a dangling one too, and mode and owner stay. Other hard
  links go on to name the old file. What a killed process leaves is called
  `.NAME.<16 hexadecimal digits>.part`.
* FIFOs, devices and sockets could wait for ever, or never end: `stat` tells them before
  anything is opened, and what is opened does not wait.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from exactrnn._checks.limits import check_memory, quote, shorten

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}
BYTES = getattr(os, "O_BINARY", 0)
"""Windows would read line ends otherwise."""
TO_READ = os.O_RDONLY | BYTES | getattr(os, "O_NONBLOCK", 0)
"""How a file is opened that may have become one that keeps its readers waiting."""
NAME_MAX = 255
"""Bytes of a name where the file system does not tell."""
NOT_FLUSHED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems answer that cannot flush."""


def kind_of(mode: int) -> str:
    """Return what a file is that is no regular one."""
    return KINDS.get(stat.S_IFMT(mode), "something else")


def check_regular(path: Path, mode: int) -> None:
    """Raise unless a file is a regular one."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"path: expected a regular file, got {kind_of(mode)}: {shorten(path)}"
        )


# Reading


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    ValueError
        If it is no regular file, larger than the memory, or cut short meanwhile.
    OSError
        If it cannot be read.
    """
    given = Path(path)
    if "\0" in str(given):
        raise ValueError(
            f"path: expected a name without null bytes, got {quote(str(given))}"
        )
    check_regular(given, given.stat().st_mode)
    # What is opened may be another file by now: not to wait for it, and to ask again.
    opened = os.open(given, TO_READ)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        check_regular(given, found.st_mode)
        check_memory(f"path: {shorten(given)}", "a file", found.st_size)
        content = file.read(found.st_size)
    if len(content) < found.st_size:
        raise ValueError(
            f"path: expected {found.st_size} bytes, got {len(content)}: "
            f"{shorten(given)} was cut short while it was read"
        )
    return content


# Writing


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Give a file this content, completely or not at all.

    Raises
    ------
    ValueError
        If the path names something that is no regular file.
    OSError
        If the file cannot be written.
    """
    with _new_part(Path(path)) as (file, part, target):
        left = memoryview(content)
        while left:
            left = left[os.write(file.fileno(), left) :]
        _flush(file.fileno())
        file.close()  # Windows renames no open file
        part.replace(target)
    _flush_folder(target.parent)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise as `replace_file` would, as far as can be known before; nothing changes."""
    with _new_part(Path(path)):
        pass


@contextlib.contextmanager
def _new_part(path: Path) -> Iterator[tuple[io.FileIO, Path, Path]]:
    """Give an empty file to write beside the target: open, path, target.

    It is gone afterwards, if it has not become the target. Errors name the target.
    """
    old = _old_file(path)
    target = path.resolve()
    part = _part_of(target)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BYTES
        opened = os.open(part, flags, 0o666 if old is None else 0o600)
        try:
            with io.FileIO(opened, "wb") as file:
                if old is not None and hasattr(os, "fchown"):
                    _keep_owner(opened, old)
                    os.fchmod(opened, stat.S_IMODE(old.st_mode))
                yield file, part, target
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _old_file(path: Path) -> os.stat_result | None:
    """Return what is known of the file to replace, None if there is none."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return None
    check_regular(path, old.st_mode)
    effective = os.access in os.supports_effective_ids  # as opening would judge
    if not os.access(path, os.W_OK, effective_ids=effective):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return old


def _part_of(target: Path) -> Path:
    """Return where the new content goes, within the file system's limit of names."""
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        longest = NAME_MAX
    end = f".{secrets.token_hex(8)}.part"
    begin = os.fsencode(target.name)[: longest - len(end) - 1]
    return target.with_name(f".{begin.decode(errors='ignore')}{end}")


def _keep_owner(opened: int, old: os.stat_result) -> None:
    """Give a new file owner and group of the old one, as far as the system allows."""
    new = os.fstat(opened)
    if old.st_gid != new.st_gid:
        with contextlib.suppress(PermissionError):
            os.fchown(opened, -1, old.st_gid)
    if old.st_uid != new.st_uid:
        with contextlib.suppress(PermissionError):
            os.fchown(opened, old.st_uid, -1)


def _flush(opened: int) -> None:
    """Have the system put a file or a folder on the disk, where it can."""
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in NOT_FLUSHED:
            raise


def _flush_folder(folder: Path) -> None:
    """Have the new name put on the disk; the file is there in any case."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            _flush(opened)
        finally:
            os.close(opened)
