"""The readout of an echo state network: ridge regression with defined bits.

Of N rows of features z [N, K] and targets y [N, O] it finds W [O, K] and b [O] that
make least

    Σ_n |y_n - W z_n - b|² + λ Σ W²

b is not penalised: with the means z̄ and ȳ taken off, W (Z'Z + λ 1) = Y'Z in centred
rows, and b = ȳ - W z̄. Everything is in float64, whatever the dtype of the network:
means and products are long sums over the rows (contract N3), the normal equations are
solved by Cholesky's method.

Source: A. Hoerl, R. Kennard, "Ridge Regression", Technometrics 12(1), 1970.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from exactrnn import _core, engine
from exactrnn._algebra import add_products, cholesky, cholesky_solve, product
from exactrnn._checks import Array

ROWS = 4096
"""Rows that are held in float64 at once; a multiple of the long sum's chunk."""


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
        """Give the rows [n, K + O] in float64, at most ROWS at once."""
        for start in range(0, self.size, ROWS):
            rows = self._rows[start : start + ROWS]
            yield np.concatenate(
                [part[rows] for part in self._parts], axis=1, dtype=np.float64
            )


def fit_readout(samples: Samples, ridge: float) -> tuple[Array, Array]:
    """Return W [O, K] and b [O] in float64.

    Raises
    ------
    ValueError
        If a number is not finite, or without a penalty the features are dependent.
    """
    K = samples.features
    means, moments = _moments(samples)
    if not np.isfinite(moments).all():
        raise ValueError("x, y: expected finite numbers in the rows that are used")
    moments[np.arange(K), np.arange(K)] += ridge
    try:
        L = cholesky(moments[:K])
    except ValueError as error:
        raise ValueError(
            f"ridge: expected more than {ridge}, with which the equations of the "
            f"readout are singular ({error})"
        ) from None
    W = cholesky_solve(L, moments[K:])
    b = means[K:] - product(W, means[None, :K])[:, 0]
    return W, b


@np.errstate(all="ignore")
def _moments(samples: Samples) -> tuple[Array, Array]:
    """Return the means [K + O], and the sums of centred products with features.

    Only the first K columns are features. What is not finite shows in the sums.
    """
    K, width = samples.features, samples.features + samples.targets
    sums = np.zeros((width, 1))
    for block in samples.blocks():
        add_products(sums, block, np.ones((len(block), 1)))
    means = sums[:, 0] / samples.size
    moments = np.zeros((width, K))
    for block in samples.blocks():
        centred = block - means
        add_products(moments, centred, np.ascontiguousarray(centred[:, :K]))
    return means, moments


def apply_readout(z: Array, W: Array, b: Array) -> Array:
    """Return y [N, O] of features z [N, K]: chains over K that start at b."""
    y = np.empty((len(z), len(b)), z.dtype)
    _core.linear_forward(z, W, b, y, engine.isa(), engine.get_num_threads())
    return y
