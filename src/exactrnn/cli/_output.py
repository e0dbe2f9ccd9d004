"""What the commands print, and what becomes of it where nobody can read it.

A reader that goes away, a full disk behind standard output or one that is closed end
the printing and nothing else: `say` notes the first failure and is silent from then on.
`main` makes of it one line and an exit status, but for a reader that has gone, as with
`| head`, which is no error. Characters that a terminal does not know are shown as `?`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from exactrnn._checks.limits import shorten


class _Output:
    """Standard output, and why it can no longer be written to."""

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def write(self, text: str) -> None:
        """Write and flush, or note why not."""
        if self.failure is not None:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except ValueError:  # what Python says of a closed file
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
        except OSError as error:
            self.failure = error
            _silence(sys.stdout)


_output = _Output()


def say(text: str = "", end: str = "\n") -> None:
    """Print a text at once, if there is anybody to read it."""
    _output.write(text + end)


COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1"}


def on_terminal() -> bool:
    """Tell whether what is said is read on a terminal."""
    with contextlib.suppress(AttributeError, ValueError):  # closed
        return sys.stdout.isatty()
    return False


def colour(text: str, name: str) -> str:
    """Return a text in a colour; as it is where there is no terminal, or NO_COLOR."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not on_terminal():
        return text
    return f"\x1b[{COLOURS[name]}m{text}\x1b[0m"


def is_read() -> bool:
    """Tell whether what is said still arrives."""
    return _output.failure is None


def complain(text: str) -> None:
    """Print one line on standard error, if that is possible."""
    line = " ".join(shorten(text).split())
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def failure() -> str | None:
    """Return why standard output failed; None if it did not, or its reader has gone."""
    if _output.failure is None or isinstance(_output.failure, BrokenPipeError):
        return None
    return _output.failure.strerror or type(_output.failure).__name__


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Make the standard streams take whatever a command writes, for a while."""
    _output.failure = None
    before = sys.stdout, sys.stderr
    # Python has None for a stream that was closed, and the next file that is opened
    # would get its number. Writing into this one fails as writing into a closed one.
    if sys.stdout is None:
        sys.stdout = _open_null(os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = _open_null(os.O_WRONLY)
    with _replacing(sys.stdout), _replacing(sys.stderr):
        try:
            yield
        finally:
            _settle(sys.stderr)
            sys.stdout, sys.stderr = before


def _open_null(mode: int) -> TextIO:
    return os.fdopen(os.open(os.devnull, mode), "w", encoding="utf-8")


@contextlib.contextmanager
def _replacing(stream: TextIO) -> Iterator[None]:
    """Have a stream write `?` for characters that it cannot write."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors=before)


def _settle(stream: TextIO) -> None:
    """Give up what a stream has not been able to write: Python would try it again."""
    try:
        stream.flush()
    except OSError:
        _silence(stream)
    except ValueError:  # it is closed
        pass


def _silence(stream: TextIO) -> None:
    """Lead a stream nowhere: what is in its buffer would fail once more at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
