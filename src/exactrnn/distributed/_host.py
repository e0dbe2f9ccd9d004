"""What runs in a worker's process and does what it is sent through a pipe.

It ends when it is told to, or when the process ends that has begun it. Then nobody else
can remove the files that the two exchanged.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from exactrnn.distributed._store import Packed, Store, erase, unpack
from exactrnn.distributed.engine import as_tuple, own_versions, unpickled

PATIENCE = 5.0
"""Seconds after the end of the pipe in which the other process has ended too, if so."""


class Order(NamedTuple):
    """A call on its way to a worker."""

    number: int
    method: str
    args: tuple[Packed, ...]
    returns: int


class Answer(NamedTuple):
    """What came of it: values, or an error."""

    number: int
    values: tuple[Packed, ...]
    error: Packed | None = None


@contextlib.contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back in this thread, and until `serve` in a process begun meanwhile.

    A worker that Ctrl-C met as it began would write a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe: Connection, folder: Path, make: bytes) -> None:
    """Be a process that makes a worker and does its calls until the pipe ends."""
    # Ctrl-C goes to all processes of a terminal; what becomes of it the first decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if not answer(pipe, folder, make):
        parent = multiprocessing.parent_process()
        if parent is not None and wait([parent.sentinel], PATIENCE):
            erase(folder)


def answer(pipe: Connection, folder: Path, make: bytes) -> bool:
    """Make a worker and do its calls until the pipe ends; False if it broke."""
    store = Store(folder)
    try:
        pipe.send(tuple(own_versions()))
        try:
            worker = unpickled(make)()
        except Exception as error:
            pipe.send(_failed(store, 0, error))
            return True
        pipe.send(Answer(0, ()))
        while (order := pipe.recv()) is not None:
            pipe.send(_do(worker, store, order))
    except (EOFError, OSError):
        return False
    return True


def _do(worker: Any, store: Store, order: Order) -> Answer:
    """Return the answer to one order."""
    number, method, args, returns = order
    try:
        found = getattr(worker, method)(*map(unpack, args))
        values = as_tuple(found, method, returns)
        return Answer(number, tuple(store.pack(method, value) for value in values))
    except Exception as error:
        return _failed(store, number, error)


def _failed(store: Store, number: int, error: Exception) -> Answer:
    """Return an error as an answer: itself, or what it says if it cannot travel."""
    try:
        packed = store.pack("error", error)
        unpack(packed)
    except Exception:
        packed = store.pack("error", RuntimeError(f"{type(error).__name__}: {error}"))
    return Answer(number, (), packed)
