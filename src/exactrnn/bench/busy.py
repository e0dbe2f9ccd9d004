"""Busy processes beside a measurement: what a shared machine does to calls.

A process spins until its standard input ends. That is a pipe whose other end this
process alone holds, so it ends however this process does, SIGKILL included. Each has a
session of its own: Ctrl-C in a terminal reaches this process only, which ends them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

MOST_BUSY = 64

PROGRAM = """\
import os, select
os.write(1, b"!")
while not select.select([0], [], [], 0)[0]:
    for _ in range(20_000):
        pass
"""


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Run `count` processes that spin, on the cores that this process is kept on.

    Parameters
    ----------
    count : int
        How many, at most `MOST_BUSY`.

    Yields
    ------
    list of int
        Their process ids; all of them are spinning by then.

    Raises
    ------
    ValueError
        If there are too many, or fewer than none.
    ChildProcessError
        If one could not begin.
    """
    check_busy(count)
    with contextlib.ExitStack() as ends:
        processes = [begin_spinning(ends) for _ in range(count)]
        for process in processes:
            assert process.stdout is not None
            if process.stdout.read(1) != b"!":
                raise ChildProcessError("busy: a process could not begin to spin")
        yield [process.pid for process in processes]


def check_busy(count: int) -> None:
    """Raise unless so many busy processes may be run."""
    if not 0 <= count <= MOST_BUSY:
        raise ValueError(f"--busy: expected 0 to {MOST_BUSY} processes, got {count}")


def begin_spinning(ends: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    """Begin one process, which `ends` will end."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    ends.callback(end_spinning, process)
    return process


def end_spinning(process: subprocess.Popen[bytes]) -> None:
    """End one process and wait until it is gone."""
    process.kill()
    with process:  # closes the pipes and waits
        pass
