"""Calls whose threads exchange their work at every chance, and whether they did."""

import contextlib

from bits import SPLITS

import exactrnn as xr
from exactrnn import _core

TRIES = 30
"""A call goes on alone where no worker comes in 0.1 s: others may be busy here."""


@contextlib.contextmanager
def every_hand_over(threads, split="by units"):
    """Share calls of any size among so many threads, which exchange what they do."""
    work, exchanged = _core.thread_work(SPLITS[split]), _core.exchanging(True)
    try:
        with xr.threads(threads):
            yield
    finally:
        _core.exchanging(exchanged)
        _core.thread_work(work)


def moves_of(call):
    """Return what a call returns, and how many of its items changed hands.

    They are two numbers: begun by another thread, gone on with by another one.
    """
    before = _core.hand_overs()
    result = call()
    after = _core.hand_overs()
    return result, tuple(b - a for a, b in zip(before, after, strict=True))


def exchanged_result(call, check, *, handed_on):
    """Check what a call returns until its items have changed hands; return it.

    With `handed_on` some of them have to be handed on in the middle.
    """
    for _ in range(TRIES):
        result, (taken_over, gone_on_with) = moves_of(call)
        check(result)
        if gone_on_with if handed_on else taken_over:
            return result
    raise AssertionError(f"nothing has changed hands in {TRIES} calls")
