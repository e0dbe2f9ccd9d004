"""Files, read and replaced as a whole; what is no regular file is refused at once.

* `read_whole` copies a file into memory and never maps it: another process that cuts
  the file short makes it a `ValueError`, not a SIGBUS.
* `replace_file` writes beside the target under a name of its own, has the system put
  the data on the disk and renames: whatever happens in between, also a kill or a power
  failure, the target holds its old bytes or its new ones. It keeps what the path names:
  symbolic links are followed, a dangling one too, and mode and owner stay. Other hard
  links go on to name the old file. What a killed process leaves is called
  `.NAME.<16 hexadecimal digits>.part`; whoever writes that file next takes it away. One
  that is being written is locked, which tells it from those of dead processes.
* FIFOs, devices and sockets could wait for ever, or never end: `stat` tells them before
  anything is opened, and what is opened does not wait.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exactrnn._checks.limits import check_memory, quote, shorten

try:
    import fcntl
except ImportError:  # Windows
    LOCKS: Any = None
else:
    LOCKS = fcntl

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
TO_WRITE = os.O_WRONLY | BYTES
TO_LOCK = TO_WRITE | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
"""How what may be left is opened: some file systems lock what is written alone."""
NAME_MAX = 255
"""Bytes of a name where the file system does not tell."""
DIGITS = 16
"""Of the name under which new content is written."""
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
        _take_away_dead(target, part)
        left = memoryview(content)
        while left:
            left = left[os.write(file.fileno(), left) :]
        _flush(file.fileno())
        if LOCKS is None:
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
    try:
        part, opened = _open_part(target, 0o666 if old is None else 0o600)
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


def _open_part(target: Path, mode: int) -> tuple[Path, int]:
    """Make a file beside the target and lock it; return its path, and it open."""
    begin = _begin_of_parts(target)
    while True:
        part = target.with_name(f"{begin}{secrets.token_hex(DIGITS // 2)}.part")
        opened = os.open(part, TO_WRITE | os.O_CREAT | os.O_EXCL, mode)
        if _is_kept(opened):
            return part, opened
        os.close(opened)


def _is_kept(opened: int) -> bool:
    """Lock a file; tell whether nobody has taken it away in the moment before."""
    if LOCKS is None:
        return True
    try:
        LOCKS.flock(opened, LOCKS.LOCK_EX | LOCKS.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nobody takes anything away
        return True
    return os.fstat(opened).st_nlink > 0


def _begin_of_parts(target: Path) -> str:
    """Return how names of new content begin, within the file system's limit."""
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        longest = NAME_MAX
    begin = os.fsencode(target.name)[: longest - DIGITS - len("...part")]
    return f".{begin.decode(errors='ignore')}."


def _take_away_dead(target: Path, own: Path) -> None:
    """Remove what killed processes have left that wrote the target, where possible."""
    begin = re.escape(_begin_of_parts(target))
    left = re.compile(f"{begin}[0-9a-f]{{{DIGITS}}}\\.part")
    with contextlib.suppress(OSError), os.scandir(target.parent) as found:
        names = {entry.name for entry in found if left.fullmatch(entry.name)}
        for name in names - {own.name}:
            with contextlib.suppress(OSError):
                _remove_unlocked(target.with_name(name))


def _remove_unlocked(path: Path) -> None:
    """Remove a file that nobody writes; raise an OSError where that is not known."""
    if LOCKS is None:
        path.unlink()  # Windows removes no open file
        return
    opened = os.open(path, TO_LOCK)
    try:
        if stat.S_ISREG(os.fstat(opened).st_mode):
            LOCKS.flock(opened, LOCKS.LOCK_EX | LOCKS.LOCK_NB)
            path.unlink()
    finally:
        os.close(opened)


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
