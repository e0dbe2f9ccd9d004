"""Reading the text that `exactrnn lm` learns: a file, a pipe, or standard input."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from exactrnn._checks.limits import memory_size, shorten, spell_bytes
from exactrnn._system.files import kind_of
from exactrnn.cli._arguments import CommandError

STANDARD_INPUT = "-"
BYTES_PER_CHARACTER = 16
"""Of memory: the text, its code points, its places in the alphabet, and copies."""
CHUNK = 2**20


def default_text() -> tuple[str, str]:
    """Return the documentation topics that CPython ships, and what to call them."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CommandError(
            "this Python comes without its documentation: give --text FILE"
        ) from None
    return "".join(topics[name] for name in sorted(topics)), "CPython's topics"


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a file, or of standard input for `-`, and what to call it."""
    name = "standard input" if str(path) == STANDARD_INPUT else shorten(path)
    try:
        with _open(path) as file:
            content = _read(file, name)
        text = content.decode("utf-8")
    except OSError as error:
        raise CommandError(f"--text: {name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"--text: {name}: not UTF-8 at byte {error.start}") from None
    except ValueError as error:  # a name that no file can have
        raise CommandError(f"--text: {name}: {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n"), name


def _open(path: Path) -> BinaryIO:
    """Open a text; devices, which may never end, are refused before."""
    if str(path) != STANDARD_INPUT:
        _check_kind(path.stat().st_mode, shorten(path))
        return path.open("rb")
    if sys.stdin is None:
        raise CommandError("--text: standard input: it is closed")
    number = sys.stdin.fileno()
    if not os.isatty(number):
        _check_kind(os.fstat(number).st_mode, "standard input")
    return os.fdopen(number, "rb", closefd=False)


def _check_kind(mode: int, name: str) -> None:
    """Raise unless it is something that ends: a file, a pipe, a socket to read from."""
    if stat.S_ISDIR(mode):
        raise CommandError(f"--text: {name}: Is a directory")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        kind = kind_of(mode)
        raise CommandError(f"--text: {name}: expected a file or a pipe, got {kind}")


def _read(file: BinaryIO, name: str) -> bytes:
    """Return what there is, if the memory can hold what is made of it."""
    most = memory_size() // BYTES_PER_CHARACTER
    found = bytearray()
    while part := file.read(CHUNK):
        found += part
        if len(found) > most:
            raise CommandError(
                f"--text: {name}: expected at most {spell_bytes(most)}, a sixteenth of "
                "this machine's memory, got more"
            )
    return bytes(found)
