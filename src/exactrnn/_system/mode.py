"""The mode in which NumPy computes for the library: never the caller's.

Kernels put the floating-point environment right themselves (csrc/base/parallel.c).
NumPy computes in what the caller's thread has set, and any library may set a rounding
mode or flush-to-zero behind the user's back; `np.errstate(all="raise")` would stop an
operation half-way. Both would show in results, so arithmetic outside of kernels runs
inside `ieee_mode`. No mode is kept across a `yield` to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from exactrnn import _core


@contextmanager
def ieee_mode() -> Iterator[None]:
    """Compute as contract N1 says, by the NumPy of this thread, and without warnings.

    For a `with` statement, or to decorate a function.
    """
    with np.errstate(all="ignore"), _core.Ieee():
        yield
