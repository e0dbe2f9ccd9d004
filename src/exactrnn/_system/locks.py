"""Locks that survive a fork: the only place where the package makes one.

A fork copies memory, but of the threads only the one that called it. A lock that
another thread held would stay locked in the child for ever, around something half done.
So a fork waits until it holds every lock of the package, which means that all that they
guard is whole, and both processes let go of them afterwards.

A fork takes the locks in the order in which they were made, in which the library takes
several too: it then goes behind the threads that hold some and meets each once. Where
some thread has another order, both would wait for each other for ever; so a fork is not
patient while it holds locks, but lets go of them, waits for the one that it could not
have, and begins with that. Work under a lock is short: packing, copying or updating the
weights of one layer, drawing masks; no call computes under one.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 0.05
"""Seconds that a fork waits for a lock while it holds others."""

# Held where a lock is made, so that a fork misses none.
_registry = threading.RLock()
_numbers = itertools.count()
_locks: weakref.WeakValueDictionary[int, threading.RLock] = (
    weakref.WeakValueDictionary()
)
_held: list[threading.RLock] = []


def make_lock() -> threading.RLock:
    """Return a re-entrant lock that no forked child finds locked."""
    lock = threading.RLock()
    with _registry:
        _locks[next(_numbers)] = lock
    return lock


class cached_property(functools.cached_property[T]):  # noqa: N801 (as its base)
    """A cached property; a fork may happen while its value is computed.

    That of Python 3.11 holds a lock meanwhile, one for all objects of a class.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        super().__init__(compute)
        if hasattr(self, "lock"):
            self.lock = make_lock()


def _take_all() -> None:
    """Hold every lock of the package, at a time when no other thread holds one."""
    taken: list[threading.RLock] = []
    awaited: threading.RLock | None = _registry
    try:
        while awaited is not None:
            _release(taken)
            awaited.acquire()
            taken.append(awaited)
            awaited = _take_rest(taken)
    except BaseException:
        _release(taken)
        raise
    _held[:] = taken


def _take_rest(taken: list[threading.RLock]) -> threading.RLock | None:
    """Add all locks to `taken`; stop at one that another thread keeps and return it."""
    for lock in itertools.chain((_registry,), _locks.values()):
        if not lock.acquire(timeout=PATIENCE):
            return lock
        taken.append(lock)
    return None


def _release_all() -> None:
    # The list is for the next fork as soon as the registry is free.
    taken = _held.copy()
    _held.clear()
    _release(taken)


def _release(taken: list[threading.RLock]) -> None:
    while taken:
        taken.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_take_all,
        after_in_parent=_release_all,
        after_in_child=_release_all,
    )
