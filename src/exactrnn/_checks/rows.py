"""Checks of rows of a stream's batch: which are meant, and whether they are in use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import check_shape, describe, own_array

Rows = NDArray[np.intp]


def check_rows(rows: object, batch_size: int) -> Rows:
    """Return indices >= 0 of rows of the batch, from an int, several or a mask."""
    expected = f"integers or a mask [B={batch_size}]"
    given = own_array("rows", rows, expected, batch_size)
    if given.dtype == np.bool_:
        check_shape("rows", given, B=batch_size)
        return np.flatnonzero(given)
    if given.shape == (0,):
        return np.zeros(0, np.intp)
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise TypeError(f"rows: expected {expected}, got {describe(given)}")
    indices = np.atleast_1d(given)
    outside = (indices < -batch_size) | (indices >= batch_size)
    if outside.any():
        raise ValueError(
            f"rows: expected {-batch_size}..{batch_size - 1} for B={batch_size}, "
            f"got {indices[outside][0]}"
        )
    return indices.astype(np.intp) % batch_size


def check_used(rows: Rows, used: NDArray[np.bool_]) -> None:
    """Raise unless all these rows are in use."""
    left = rows[~used[rows]]
    if left.size:
        raise ValueError(
            f"rows: expected rows in use, got {left[0]}, which has left or not joined"
        )


def check_distinct(rows: Rows) -> None:
    """Raise if a row is named more than once."""
    found, counts = np.unique(rows, return_counts=True)
    again = found[counts > 1]
    if again.size:
        raise ValueError(f"rows: expected each row once, got {again[0]} again")
