"""Sums over the units of a row, and what layer normalisation makes of them.

A row is one or more values [B, H]; results are [B, n], the same for all units.
A sum over units has 16 parts, each a chain (contract N3): part p takes the units p,
p + 16, ... of the first value, then those of the next; the units of each value are
filled up with +0.0 to a multiple of 16. In the end halves are added: part p to part
p + 8, then p + 4, p + 2, p + 1.

Twin: ``csrc/kernels/cells/moments.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._core import NORM_EPS
from exactrnn.reference.arith import fma

Array = NDArray[np.floating[Any]]

PARTS = 16


def filled(value: Array) -> Array:
    """From [B, H] to [K, B, 16], k ascending, filled up with +0.0."""
    B, H = value.shape
    K = -(-H // PARTS)
    whole = np.zeros((B, K * PARTS), value.dtype)
    whole[:, :H] = value
    return whole.reshape(B, K, PARTS).transpose(1, 0, 2)


def row_sum(values: Sequence[Array], factors: Sequence[Array] | None = None) -> Array:
    """Return the sum of values, or of values times factors, over all units: [B, 1]."""
    parts = np.zeros((len(values[0]), PARTS), values[0].dtype)
    for n, value in enumerate(values):
        if factors is None:
            for part in filled(value):
                parts = parts + part
        else:
            for part, factor in zip(filled(value), filled(factors[n]), strict=True):
                parts = fma(part, factor, parts)
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        parts = parts[:, :half] + parts[:, half:]
    return parts


def moments(*values: Array) -> Array:
    """Return mean, scale and the number of terms of a group of values: [B, 3]."""
    first = values[0]
    count = first.dtype.type(len(values) * first.shape[1])
    mean = row_sum(values) / count
    spread = [value - mean for value in values]
    variance = row_sum(spread, spread) / count
    scale = 1 / np.sqrt(variance + first.dtype.type(NORM_EPS))
    return np.concatenate([mean, scale, np.full_like(mean, count)], axis=1)


def norm(value: Array, found: Array) -> Array:
    """Return a value of a group, normalised by its moments."""
    return (value - found[:, :1]) * found[:, 1:2]


def slopes(found: Array, *graded: Array) -> Array:
    """Return what the gradient of a group needs of its rows: [B, 3].

    Parameters
    ----------
    found : Array
        The group's moments.
    *graded : Array
        Of each value that has one its gradient, its gain and the normalised value.
    """
    d = [g * gain for g, gain in zip(graded[::3], graded[1::3], strict=True)]
    scale, count = found[:, 1:2], found[:, 2:]
    mean_d = row_sum(d) / count
    mean_dn = row_sum(d, graded[2::3]) / count
    return np.concatenate([mean_d, mean_dn, scale], axis=1)


def norm_slope(d: Array, normed: Array, found: Array) -> Array:
    """Return the gradient of a value from that of the normalised one."""
    return fma(-normed, found[:, 1:2], d - found[:, :1]) * found[:, 2:]
