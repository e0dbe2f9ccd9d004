"""The shortest time that the machine allows for a row.

A row's products cannot take less than their operations at the fma peak, nor less than
reading their weights once for every step. Both rates are measured in the rounds of the
row itself, by the loops of `csrc/kernels/math/machine.c` on the row's instruction set,
dtype and threads, and the best of the rounds counts. The bandwidth is that of reading
memory of the weights' size over and over, so it is that of the L1, L2 or L3 with them.

Elementwise mathematics, reading x and writing y are not in the limit. On a machine that
others use too, a time may come out below it: the loops have had a slower moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array
from exactrnn.bench.rows import Row

LEAST_BYTES = 8192
ALIGNMENT = 64

MEASURED_SECONDS = 5e-4
"""Least duration of one call of a loop: what a call costs must not show."""

FITTING_CALLS = 3


@dataclass(frozen=True)
class Probe:
    """A loop that is timed like a library: `run()` does `work` operations or bytes."""

    run: Callable[[], object]
    work: int


def make_probes(row: Row, threads: int) -> dict[str, Probe]:
    """Return the loops for a row's fma peak and read bandwidth."""
    isa = engine.isa()
    data = aligned_ones(max(LEAST_BYTES, resident_bytes(row)), row.dtype)
    return {
        "peak": fit_probe(lambda n: _core.fma_loop(isa, row.dtype, n, threads)),
        "read": fit_probe(lambda n: _core.read_loop(data, isa, n, threads)),
    }


def fit_probe(loop: Callable[[int], int]) -> Probe:
    """Return the loop with as many rounds as take long enough.

    The shortest of some calls counts: one in which threads have to be woken first says
    nothing about the rounds.
    """
    rounds = 1
    while True:
        work, seconds = 0, []
        for _ in range(FITTING_CALLS):
            start = time.perf_counter()
            work = loop(rounds)
            seconds.append(time.perf_counter() - start)
        if min(seconds) >= MEASURED_SECONDS:
            return Probe(partial(loop, rounds), work)
        rounds *= 2


def aligned_ones(size: int, dtype: str) -> Array:
    """Return about `size` bytes of ones, aligned as weights are.

    Not zeros: memory that was never written is one page, over and over.
    """
    itemsize = np.dtype(dtype).itemsize
    memory = np.ones((size + ALIGNMENT) // itemsize, dtype)
    first = -memory.ctypes.data % ALIGNMENT // itemsize
    return memory[first : first + size // itemsize]


def resident_bytes(row: Row) -> int:
    """Return the bytes of the weights that are read over and over.

    Those of one layer's R in a sequence; all weights where every call is one step.
    """
    if row.T == 1:
        return round(row.itemsize * sum(w + r for w, r in row.matrices()))
    return round(row.itemsize * max(r for _, r in row.matrices()))


def limit_seconds(row: Row, peak: float, bandwidth: float) -> float:
    """Return the limit of a row.

    Parameters
    ----------
    row : Row
        What is computed.
    peak : float
        Floating-point operations a second, of all threads.
    bandwidth : float
        Bytes a second, of all threads.

    Returns
    -------
    float
        Seconds.
    """
    active = row.active
    backward = row.goes_back

    def product(rows: float, elements: float) -> float:
        """Return the time of `rows` rows times a matrix that is read once."""
        return max(2 * rows * elements / peak, row.itemsize * elements / bandwidth)

    seconds = 0.0
    for w, r in row.matrices():
        steps = sum(product(rows, r) for rows in active.tolist())
        whole = product(active.sum(), w)
        # Backward: dh step by step; dx, dW and dR each as one product over all steps.
        seconds += steps + whole
        if backward:
            seconds += steps + 2 * whole + product(active.sum(), r)
    return seconds
