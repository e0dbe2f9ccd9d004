"""Numbers to mean 0 and deviation 1, and back, with defined bits.

Sums are long sums (contract N3) in float64, all else is elementwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from exactrnn import _core
from exactrnn._checks import Array, FloatType
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa


class Scaling(NamedTuple):
    """What is taken off the values of a column, and what they are divided by.

    Attributes
    ----------
    mean, deviation : ndarray of float64, ``[I]``
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def none(cls, width: int) -> Self:
        """Return the scaling that leaves numbers as they are."""
        return cls(np.zeros(width), np.ones(width))

    @classmethod
    @ieee_mode()
    def of(cls, values: Array) -> Self:
        """Return the scaling of the columns of ``[S, I]``."""
        columns = [np.ascontiguousarray(c, np.float64) for c in values.T]
        means = [_mean(column) for column in columns]
        spreads = [
            _mean((c - m) * (c - m)) for c, m in zip(columns, means, strict=True)
        ]
        return cls(np.array(means), _or_one(np.sqrt(np.array(spreads))))

    @classmethod
    @ieee_mode()
    def of_changes(cls, changes: Array) -> Self:
        """Return the scaling of the columns of ``[S, I]`` that leaves 0 where it is."""
        columns = [np.ascontiguousarray(c, np.float64) for c in changes.T]
        roots = np.sqrt(np.array([_mean(column * column) for column in columns]))
        return cls(np.zeros(len(columns)), _or_one(roots))

    def take(self, columns: Any) -> Scaling:
        """Return the scaling of some columns."""
        return Scaling(self.mean[columns], self.deviation[columns])

    @ieee_mode()
    def apply(self, name: str, values: Array, dtype: FloatType) -> Array:
        """Return ``[..., I]`` scaled, or raise for what `dtype` does not hold."""
        scaled = values
        if self.mean.any() or (self.deviation != 1).any():
            scaled = (np.asarray(values, np.float64) - self.mean) / self.deviation
        scaled = scaled.astype(dtype)
        if not np.isfinite(scaled).all():
            raise ValueError(
                f"Input {name} contains infinity or a value too large for "
                f"{dtype!r}; scale it, or take dtype='float64'"
            )
        return scaled

    @ieee_mode()
    def undo(self, values: Array) -> NDArray[np.float64]:
        """Return ``[..., I]`` in the units of the data."""
        return np.asarray(values, np.float64) * self.deviation + self.mean


def _mean(column: NDArray[np.float64]) -> float:
    return float(_core.long_sum(column, isa())) / len(column)


def _or_one(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for a column that is constant, or whose spread no number holds."""
    usable = (deviation > 0) & np.isfinite(deviation)
    return np.where(usable, deviation, 1.0)
