"""Weights that all units of a layer share, between the user and the kernels.

The kernels know weights of each unit only: a scalar is a row of equal ones for them,
behind the rows of the weights of each unit. Its gradient is the long sum of that row's,
over the units, which are long sums over steps and rows themselves (contract N3).
"""

from __future__ import annotations

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array


def rows_of(units: Array | None, scalars: Array, size: int) -> Array:
    """Return the rows [V + K, H] of the weights of units and the scalars [K]."""
    above = 0 if units is None else len(units)
    rows = np.empty((above + len(scalars), size), scalars.dtype)
    if units is not None:
        rows[:above] = units
    rows[above:] = scalars[:, None]
    return rows


def totals_of(units: Array | None, scalars: Array, size: int) -> Array:
    """Return rows to which gradients are added: those of scalars begin at +0.0."""
    return rows_of(units, np.zeros_like(scalars), size)


def gradient_of(rows: Array) -> Array:
    """Return the gradients [K] of scalars from those of their rows [K, H]."""
    isa = _core.isas()[0]
    return np.array([_core.long_sum(row, isa) for row in rows], rows.dtype)
