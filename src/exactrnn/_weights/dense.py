"""Weights of dense layers: what kernels read are plain copies of them.

A call computes with a copy that nobody else can write to, taken anew when the weights
may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn._weights.store import Packs, ParameterStore


class _Copied:
    """A copy of one weight, as kernels read it; immutable."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight.copy()

    def equals(self, other: _Copied) -> bool:
        """Tell whether both are of the same bytes."""
        size = f"u{self.weight.itemsize}"
        return np.array_equal(self.weight.view(size), other.weight.view(size))


class DenseStore(ParameterStore):
    """Owner of the weights of a dense layer: its packed copies are plain ones.

    They are the same for every instruction set.
    """

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        copies: Any = tuple(_Copied(weight) for weight in weights.values())
        return Packs(isa, self._version, backward, (copies,))

    def now(self) -> tuple[int, dict[str, Array]]:
        """Return the version of the weights and arrays by name, to be read alone."""
        packs: Any = self.packs("any", backward=True)
        copies = (copy.weight for copy in packs.copies[0])
        return packs.version, dict(zip(self.names, copies, strict=True))
