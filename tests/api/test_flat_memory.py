"""Calls that are repeated for days: none keeps memory, nor one that raises.

What malloc and Python have handed out is counted before and after, to the byte, so a
few dozen repetitions show a leak of a few bytes a call.
"""

import ctypes
import gc
import sys

import numpy as np
import pytest
from fuzzed import CASES, Source

REPEATS = 40
WARM_UP = 4
SLACK = 4
"""Bytes a call that may stay."""


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks"
    _fields_ = [(name, ctypes.c_size_t) for name in (*_names.split(), "keepcost")]


def malloc_info():
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is None:
        pytest.skip("counts memory with mallinfo2, which glibc has from 2.33 on")
    function.restype = _MallocInfo
    return function()


@pytest.fixture(autouse=True, scope="module")
def _only_new_objects_are_searched():
    """Let each collection pass over what other tests have left: it may be a million."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def memory_in_use():
    """Return bytes handed out by malloc, and blocks by Python's own allocator."""
    gc.collect()
    info = malloc_info()
    return info.uordblks + info.hblkhd, sys.getallocatedblocks()


def growth_of(call, repeats):
    for _ in range(WARM_UP):
        call()
    before = memory_in_use()
    for _ in range(repeats):
        call()
    return [after - was for after, was in zip(memory_in_use(), before, strict=True)]


def assert_flat(call, repeats):
    """Raise if memory grows with the number of calls.

    Free lists and caches of Python's grow by fits and starts, up to some hundred
    objects in a thousand calls, so what looks like a leak is asked again with more
    calls: a true one grows with them.
    """
    for factor in (1, 5, 25, 125):
        count = factor * repeats
        grown, blocks = growth_of(call, count)
        if grown <= SLACK * count and blocks <= count // 4:
            return
    raise AssertionError(
        f"{grown / count:.1f} bytes, {blocks / count:.2f} objects a call"
    )


def case_of(name):
    return CASES[name](Source(5, np.dtype("float32")))


def refused(case):
    """Return a call with a wrong argument, which raises late or early."""
    name = next(iter(case.arguments))

    def call():
        with pytest.raises((TypeError, ValueError)):
            case.make(**{**case.arguments, name: object()})

    return call


@pytest.mark.parametrize("name", CASES)
def test_a_call_keeps_no_memory(name):
    case = case_of(name)
    assert_flat(lambda: case.make(**case.arguments), REPEATS)


@pytest.mark.parametrize("name", CASES)
def test_a_call_that_raises_keeps_no_memory(name):
    assert_flat(refused(case_of(name)), REPEATS)


def test_a_leak_is_seen():
    kept = []
    with pytest.raises(AssertionError, match="objects a call"):
        assert_flat(lambda: kept.append(np.zeros(100)), REPEATS)


@pytest.mark.deep
@pytest.mark.parametrize("name", CASES)
def test_a_hundred_thousand_calls_keep_no_memory(name):
    case = case_of(name)
    assert_flat(lambda: case.make(**case.arguments), 100_000)
