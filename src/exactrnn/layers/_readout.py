"""The readout of an echo state network: ridge regression with defined bits.

Of N rows of features z [N, K] and targets y [N, O] it finds W [O, K] and b [O] that
make least

    Σ_n |y_n - W z_n - b|² + λ Σ W²

b is not penalised. That is the least squares problem of the stacked system

    [1     z  ] [b']   [y]
    [0  √λ · 1] [W'] = [0]

whose triangle is built block by block of rows by Householder's reflections
(`_algebra.absorb_rows`), beginning with that of the penalty, so that nothing is held
but K² numbers and one block. Everything is in float64, whatever the dtype of the
network, by chains and long sums of the kernels (contracts N2 and N3).

Normal equations would take about as long, but their error grows with the square of
the condition number: with λ = 1e-12 and 60 units on a sine two digits of the readout
were left, with 1e-14 none. Here the error grows with the number itself. Where that is
above MAX_CONDITION the numbers given do not say what the readout is, and the fit is
refused.

Source: A. Hoerl, R. Kennard, "Ridge Regression", Technometrics 12(1), 1970; Å. Björck,
"Numerical Methods for Least Squares Problems", SIAM 1996, chapters 2 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from exactrnn import _core, engine
from exactrnn._checks import Array
from exactrnn._numeric.algebra import absorb_rows, solve_triangle, triangle_condition

ROWS = 2048
"""Rows that are held in float64 at once. Other numbers give other bits."""
MAX_CONDITION = 2.0**44
"""Of the stacked system with columns of norm 1; float64 has 53 bits."""
NOT_FINITE = "x, y: expected finite numbers in the rows that are used"


class Samples:
    """The rows that a fit is to use: features [x, h] and targets, some at a time.

    Parameters
    ----------
    parts : tuple of ndarray
        Arrays [T, B, width] whose rows are put side by side; the last are targets.
    used : ndarray of bool
        [T, B], which rows count; in the order of time, then of the batch.
    """

    def __init__(self, parts: tuple[Array, ...], used: NDArray[np.bool_]) -> None:
        self._parts = [part.reshape(used.size, part.shape[-1]) for part in parts]
        self._rows = np.flatnonzero(used)
        self.size = self._rows.size
        self.targets = parts[-1].shape[-1]
        self.features = sum(part.shape[-1] for part in parts) - self.targets

    def blocks(self) -> Iterator[Array]:
        """Give the columns [1 + K + O, n] of 1, z and y in float64, n at most ROWS.

        Raises
        ------
        ValueError
            If a number in a row that is used is not finite.
        """
        for start in range(0, self.size, ROWS):
            rows = self._rows[start : start + ROWS]
            block = np.ones((1 + self.features + self.targets, len(rows)))
            columns = [part[rows].T for part in self._parts]
            np.concatenate(columns, axis=0, out=block[1:])
            if not np.isfinite(block).all():
                raise ValueError(NOT_FINITE)
            yield block


@np.errstate(all="ignore")
def fit_readout(samples: Samples, ridge: float) -> tuple[Array, Array]:
    """Return W [O, K] and b [O] in float64.

    Raises
    ------
    ValueError
        If a number is not finite, or the penalty too small for these features.
    """
    K = samples.features + 1
    R = np.zeros((K, K + samples.targets))
    R[np.arange(1, K), np.arange(1, K)] = math.sqrt(ridge)
    for block in samples.blocks():
        absorb_rows(R, block)
    if not np.isfinite(R).all():
        raise ValueError(NOT_FINITE)
    condition = triangle_condition(R[:, :K])
    if condition > MAX_CONDITION:
        raise ValueError(
            f"ridge: expected more than {ridge}, with which the equations of the "
            f"readout have a condition number of about {condition:.0e}, above "
            f"{MAX_CONDITION:.0e}"
        )
    solution = solve_triangle(R[:, :K], R[:, K:])
    return np.ascontiguousarray(solution[1:].T), solution[0]


def apply_readout(z: Array, W: Array, b: Array) -> Array:
    """Return y [N, O] of features z [N, K]: chains over K that start at b."""
    y = np.empty((len(z), len(b)), z.dtype)
    _core.linear_forward(z, W, b, y, engine.isa(), engine.threads_for_calls())
    return y
