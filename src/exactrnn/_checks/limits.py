"""How long a message may be, and how large what a caller or a file asks for.

Everything in a message that comes from outside passes `quote`, `shorten` or
`list_names`: a message is at most a screenful, and an object whose `repr` is long, or
raises, cannot make it otherwise.

What is refused as absurd, before anything is allocated or listed:

* an integer of more than 64 bits, but for seeds; a size above `MAX_SIZE`, which no
  address space holds;
* weights, states or rows of a benchmark of more bytes than this machine has memory, RAM
  and swap together. Less than that may still be too much at the moment: that is a
  `MemoryError` of whoever allocates;
* more than `MAX_ARRAYS` arrays of weights: each is small then, and what is around them,
  names and lists, would take the time and the memory.
"""

from __future__ import annotations

import functools
import os
import reprlib
from collections.abc import Collection
from itertools import islice
from pathlib import Path

MAX_SIZE = 2**47
"""Elements along an axis; as bytes the address space of a process on x86-64."""
MAX_ARRAYS = 2**16
"""Arrays of weights of a module: 16,384 layers of an LSTM."""
MAX_BITS = 64
"""Bits of an integer that is no seed."""

LONGEST_VALUE = 80
LONGEST_TEXT = 1000
MOST_NAMES = 12
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


# Messages


class _Quoting(reprlib.Repr):
    """`repr`, cut before it is made where that is possible."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = LONGEST_VALUE

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        """Write an integer, or how long it is: Python writes 4300 digits at most."""
        bits = x.bit_length()
        return repr(x) if bits <= 2 * MAX_BITS else f"an integer of {bits} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002
        """Write the beginning of bytes."""
        return repr(x[:LONGEST_VALUE])

    repr_bytearray = repr_bytes


_quoting = _Quoting()


def quote(value: object) -> str:
    """Return the `repr` of a value from outside, at most `LONGEST_VALUE` long."""
    try:
        text = _quoting.repr(value)
    except Exception:  # whatever a stranger's class does
        text = type(value).__name__
    return shorten(text, LONGEST_VALUE)


def shorten(text: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text from outside, the middle of a long one left out."""
    written = str(text)
    if len(written) <= longest:
        return written
    half = (longest - 3) // 2
    return f"{written[:half]}...{written[-half:]}"


def list_names(names: Collection[object]) -> str:
    """Write names that this package has made, the first of many."""
    shown = [shorten(name, LONGEST_VALUE) for name in islice(names, MOST_NAMES)]
    more = len(names) - len(shown)
    return ", ".join([*shown, f"... ({more} more)"] if more else shown)


def quote_names(names: Collection[object]) -> str:
    """Write names from outside in quotes, the first of many."""
    given = [*names]
    return list_names([*map(quote, given[:MOST_NAMES]), *given[MOST_NAMES:]])


# Sizes


@functools.cache
def memory_size() -> int:
    """Return the bytes of memory of this machine, RAM and swap."""
    try:
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such question on this system
        return MAX_SIZE
    if pages <= 0:
        return MAX_SIZE
    return pages * page + _swap_size()


def _swap_size() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(x.split()[1]) << 10 for x in lines if x.startswith("SwapTotal"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def spell_bytes(count: int) -> str:
    """Write a number of bytes with the unit that keeps it short."""
    power = min((max(count, 1).bit_length() - 1) // 10, len(UNITS) - 1)
    return f"{count / 1024**power:.4g} {UNITS[power]}"


def check_memory(sizes: str, what: str, count: int) -> None:
    """Raise if `what` takes more bytes than there is memory; `sizes` names the cause.

    Parameters
    ----------
    sizes : str
        Arguments as in ``hidden_size=5``, to begin the message.
    what : str
        What would be allocated.
    count : int
        Bytes.
    """
    limit = memory_size()
    if count > limit:
        raise ValueError(
            f"{sizes}: expected {what} of at most {spell_bytes(limit)}, the memory of "
            f"this machine, got {spell_bytes(count)}"
        )


def check_weights(sizes: str, arrays: int, elements: int, itemsize: int) -> None:
    """Raise if weights are absurdly many or large; nothing is listed before this."""
    if arrays > MAX_ARRAYS:
        raise ValueError(
            f"{sizes}: expected at most {MAX_ARRAYS} arrays of weights, got {arrays}"
        )
    check_memory(sizes, "weights", elements * itemsize)
