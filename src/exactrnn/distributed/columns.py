"""A column of a dataset of Ray, read by indices.

A dataset of Ray has an order and no index: its blocks are in the stores of the
cluster's machines, and a batch whose examples are a function of seed, epoch and index
needs rows of several. This process gets the blocks that a batch needs, and keeps the
last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import describe
from exactrnn._checks.limits import quote, quote_names, shorten

__all__ = ["RayColumn"]

KEPT = 8
"""Blocks that are held."""


class RayColumn:
    """A column of a dataset of Ray as an array in chunks, for `exactrnn.train.batches`.

    Examples lie in its first axis: ``axes=(0, 0)``, for layers with ``batch_first``.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Its blocks are made once, and stay in Ray's stores.
    name : str
        Which column: arrays of one shape, or numbers.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    ndim : int
    chunks : tuple of tuple of int
        Rows of each block.

    Raises
    ------
    TypeError
        If it is no dataset.
    ValueError
        If there is no such column, or its entries differ in shape.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        if not all(hasattr(dataset, n) for n in ("materialize", "columns")):
            raise TypeError(
                f"dataset: expected one of ray.data, got {describe(dataset)}"
            )
        names = dataset.columns()
        if name not in names:
            raise ValueError(
                f"name: expected one of {quote_names(names)}, got {quote(name)}"
            )
        import ray

        blocks = dataset.materialize().to_numpy_refs(column=name)
        form = ray.remote(num_cpus=0)(_form_of)
        forms = ray.get([form.remote(block) for block in blocks])
        kept = [k for k, (shape, _) in enumerate(forms) if shape[0]]
        inner = {(shape[1:], dtype) for shape, dtype in (forms[k] for k in kept)}
        if len(inner) != 1 or next(iter(inner))[1].hasobject:
            raise ValueError(
                f"name: expected entries of {quote(name)} of one shape and dtype, got "
                f"{shorten(sorted(map(str, inner)))}"
            )
        [(rest, self.dtype)] = inner
        sizes = tuple(forms[k][0][0] for k in kept)
        self.shape: tuple[int, ...] = (sum(sizes), *rest)
        self.ndim = len(self.shape)
        self.chunks = (sizes, *((size,) for size in rest))
        self._name = name
        self._starts = np.cumsum([0, *sizes])
        own = [blocks[k] for k in kept]
        self._block: Callable[[int], NDArray[Any]] = lru_cache(KEPT)(
            lambda k: np.asarray(ray.get(own[k]))
        )

    def __repr__(self) -> str:
        form = f"{self.dtype}, {len(self.chunks[0])} blocks"
        return f"<RayColumn {self._name!r}: {self.shape}, {form}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Return rows ``[n, ...]`` by an array of their numbers."""
        rows = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        if isinstance(rows, tuple):
            raise ValueError(
                "axes: expected 0 for a column of Ray, whose rows are first"
            )
        chosen = np.asarray(rows)
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        blocks = np.searchsorted(self._starts, chosen, "right") - 1
        for k in np.unique(blocks):
            own = blocks == k
            found[own] = self._block(int(k))[chosen[own] - self._starts[k]]
        return found


def _form_of(block: NDArray[Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of a block, where it lies."""
    array = np.asarray(block)
    return array.shape, array.dtype
