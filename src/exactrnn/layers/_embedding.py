"""Embedding: a row of weights for each symbol; `exactrnn.train` has it.

Its twin is in `reference/dense.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _core
from exactrnn._checks import Array, DTypeLike
from exactrnn._checks.arrays import Index, check_floats, check_index
from exactrnn._checks.limits import check_weights
from exactrnn._numeric.random import Seed
from exactrnn._spec.arguments import Arguments, as_size
from exactrnn._spec.dense import DenseSpec
from exactrnn._spec.record import Record
from exactrnn.engine import isa, threads_for_calls
from exactrnn.layers._dense import DenseModule, ModuleCache, ModuleGradients

__all__ = ["Embedding"]


class Embedding(DenseModule):
    """A row of weights for each symbol.

    Parameters
    ----------
    num_embeddings : int
        Number of symbols `V`.
    embedding_dim : int
        Width of a row `E`.
    dtype : str or dtype
        `"float32"` or `"float64"`.
    seed : int, optional
        Seed of the initial weights, uniform with mean 0 and variance 1, that is
        within `sqrt(3)`; a fresh one from the operating system if None.

    Attributes
    ----------
    weight : ndarray, `[V, E]`
        The rows.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import exactrnn as xr
    >>> embedding = xr.train.Embedding(10, 4, seed=0)
    >>> embedding([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    record = Record(
        name="embedding",
        checks={"num_embeddings": as_size, "embedding_dim": as_size},
    )

    num_embeddings: int
    embedding_dim: int
    weight: Array

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _configure(cls, given: Arguments) -> DenseSpec:
        V, E, dtype = (given[n] for n in ("num_embeddings", "embedding_dim", "dtype"))
        sizes = f"num_embeddings={V}, embedding_dim={E}"
        check_weights(sizes, 1, V * E, dtype.itemsize)
        return DenseSpec(("V", "E"), (V, E), bias=False, dtype=dtype)

    @classmethod
    def _draw_weights(cls, spec: DenseSpec, seed: Seed) -> dict[str, Array]:
        return spec.draw(math.sqrt(3.0), seed)

    def __call__(self, index: ArrayLike) -> Array:
        """Return the rows of `index` `[...]` as `[..., E]`.

        Raises
        ------
        TypeError
            If `index` does not hold integers.
        ValueError
            If an integer is outside `0 .. V-1`.
        """
        return self.forward(index)[0]

    def forward(self, index: ArrayLike) -> tuple[Array, ModuleCache]:
        """Return the rows of `index` and what `backward` needs."""
        checked = check_index("index", index, 0, self.num_embeddings)
        version, weights = self._store.now()
        rows: Array = np.take(weights["weight"], checked, axis=0)
        return rows, ModuleCache(self, version, checked)

    def backward(self, cache: ModuleCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of the weights.

        A row's gradient is the long sum (N3, `w = 1`) over that symbol's own
        occurrences, in the storage order of the index (`k = t*B + b`); chunks of
        256 count occurrences of the symbol, not positions.  A symbol that does not
        occur has gradient +0.0.

        Parameters
        ----------
        cache : ModuleCache
            From `forward`.
        dy : array_like, `[..., E]`
            Gradient of the rows that `forward` returned.

        Returns
        -------
        ModuleGradients
            `x` is None, `weights["weight"]` is `[V, E]`.

        Raises
        ------
        TypeError
            If `cache` is no cache or `dy` of another dtype.
        ValueError
            If `cache` is another module's or the weights have changed since, or if
            `dy` has another shape.
        """
        values, weights = self._kept(cache)
        index: Index = values
        shape = (*index.shape, self.embedding_dim)
        checked = check_floats("dy", dy, self.dtype, shape)
        dw: Array = np.zeros_like(weights["weight"])
        _core.embedding_backward(
            index.reshape(-1),
            checked.reshape(-1, self.embedding_dim),
            dw,
            isa(),
            threads_for_calls(),
        )
        return ModuleGradients(None, {"weight": dw})
