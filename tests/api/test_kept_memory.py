"""Calls that repeat find the pages of their memory again: new ones are cleared."""

import numpy as np
import pytest

import exactrnn as xr

resource = pytest.importorskip("resource", reason="counts page faults, as Unix does")

PAGES = 250
"""A fifth of the scratch of one `backward` below."""


def pages_of(call, repeats):
    """Return how many pages the process was given while a call was repeated."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_repeated_backward_has_no_new_pages(cell):
    """Whatever is made between two of them, of the sizes that training makes."""
    T, S, B, H = 30, 30, 16, 128
    draw = np.random.default_rng(0).standard_normal
    decoder = xr.AttentionDecoder(cell, H, H, H, seed=0)
    x, memory = draw((T, B, H), np.float32), draw((S, B, H), np.float32)
    kept = []

    def backward():
        y, _, cache = decoder.forward(x, memory)
        kept[:] = [y, cache, decoder.backward(cache, y)]

    with xr.threads(1):
        pages_of(backward, 4)
        assert pages_of(backward, 5) < PAGES
