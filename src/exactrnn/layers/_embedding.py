"""Embedding: a row of weights for each symbol; `exactrnn.train` has it.

Its twin is in `reference/dense.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn import _core
from exactrnn._checks import Array, DTypeLike
from exactrnn._checks.arrays import Index, check_floats, check_index
from exactrnn._checks.limits import check_weights
from exactrnn._numeric.random import Seed
from exactrnn._run.dropout import MaskSource, drop, is_dropping
from exactrnn._spec.arguments import Arguments, as_size
from exactrnn._spec.dense import DenseSpec
from exactrnn._spec.record import Record
from exactrnn._weights.first import draw_mask
from exactrnn.engine import isa, threads_for_calls
from exactrnn.layers._dense import (
    DenseModule,
    ModuleCache,
    ModuleGradients,
    restore_cache,
)
from exactrnn.layers._named import Weight

__all__ = ["Embedding"]


class EmbeddingCache(ModuleCache):
    """What `forward` keeps with dropout: also what each symbol was multiplied by."""

    __slots__ = ("mask",)

    def __init__(
        self, owner: DenseModule, version: int, values: NDArray[Any], mask: Array
    ) -> None:
        super().__init__(owner, version, values)
        self.mask = mask

    def __reduce__(self) -> tuple[Any, ...]:
        _, parts = super().__reduce__()
        return restore_cache, (*parts, self.mask)

    def __copy__(self) -> ModuleCache:
        return type(self)(self._owner, self._version, self._input, self.mask)


class Embedding(DenseModule):
    """A row of weights for each symbol.

    Parameters
    ----------
    num_embeddings : int
        Number of symbols `V`.
    embedding_dim : int
        Width of a row `E`.
    dropout : float
        Share of the symbols that a call of `forward` takes out, wherever they occur,
        0 <= p < 1: their rows are zeros, those of the others are multiplied by
        ``1 / (1 - p)`` (Y. Gal, Z. Ghahramani, arXiv 1512.05287; S. Merity, N. Keskar,
        R. Socher, arXiv 1708.02182).
    dtype : str or dtype
        `"float32"` or `"float64"`.
    seed : int, optional
        Of the initial weights, uniform with mean 0 and variance 1, that is within
        `sqrt(3)`, and of dropout; a fresh one from the operating system if None.

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
    dropout: float
    weight: Weight

    _masks: MaskSource

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dropout: float = 0.0,
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

    def _assemble(
        self,
        spec: Any,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        super()._assemble(spec, given, weights, generator)
        self.__dict__["_masks"] = MaskSource(generator)

    def _generator_state(self) -> dict[str, Any] | None:
        return self._masks.generator_state() if self.dropout else None

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        self._masks.set_generator_state(state)

    def __call__(self, index: ArrayLike) -> Array:
        """Return the rows of `index` `[...]` as `[..., E]`: for inference.

        Raises
        ------
        TypeError
            If `index` does not hold integers.
        ValueError
            If an integer is outside `0 .. V-1`.
        """
        return self._look_up(index)[0]

    def forward(self, index: ArrayLike) -> tuple[Array, ModuleCache]:
        """Return the rows of `index`, with dropout, and what `backward` needs."""
        if not is_dropping(self.dropout):
            rows, version, checked = self._look_up(index)
            return rows, ModuleCache(self, version, checked)
        shape, dtype = (self.num_embeddings, 1), self.dtype

        def draw(generator: np.random.PCG64) -> Array:
            return draw_mask(shape, self.dropout, dtype, generator)

        with self._masks.drawing(draw) as mask:
            rows, version, checked = self._look_up(index)
            dropped = drop(rows, np.take(mask, checked, axis=0))
            return dropped, EmbeddingCache(self, version, checked, mask)

    def _look_up(self, index: ArrayLike) -> tuple[Array, int, Index]:
        """Return rows, the version of the weights that they are of, and their index."""
        checked = check_index("index", index, 0, self.num_embeddings)
        version, weights = self._store.now()
        return np.take(weights["weight"], checked, axis=0), version, checked

    def backward(self, cache: ModuleCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of the weights.

        A row's gradient is the long sum (N3, `w = 1`) over that symbol's own
        occurrences, in the storage order of the index (`k = t*B + b`); chunks of
        256 count occurrences of the symbol, not positions.  A symbol that does not
        occur has gradient +0.0.  With dropout it is then multiplied by what the rows
        of its symbol were.

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
        if isinstance(cache, EmbeddingCache):
            dw = drop(dw, cache.mask)
        return ModuleGradients(None, {"weight": dw})
