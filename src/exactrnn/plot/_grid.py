"""What a picture of a grid of any dimensions shows: one line of points, or one plane.

`plot.grid` is the public function, `plot/_bands.py` draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsIndex, cast

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array
from exactrnn._checks.limits import quote
from exactrnn.layers.grid import GridCache
from exactrnn.plot._bands import (
    Band,
    GridPlace,
    check_units,
    choose_bands,
    meaning_of,
)
from exactrnn.plot._flow import check_index

PLANE_WIDTH = 1.7
"""Inches of a column, and of its height at most, where two dimensions are drawn."""


class GridView:
    """The points of one row that are drawn, and what is drawn of them.

    Parameters
    ----------
    cache : GridCache
        From `GridLSTM.forward`.
    row, at, units, names
        As in `plot.grid`.
    """

    def __init__(
        self,
        cache: GridCache,
        row: SupportsIndex,
        at: Sequence[SupportsIndex | None] | None,
        units: slice | Sequence[int] | None,
        names: Iterable[str] | None,
    ) -> None:
        self.sizes = self.lengths = cache.sizes
        self.row = check_index("row", row, cache.batch_size, "B")
        if cache.lengths is not None:
            self.lengths = tuple(int(n) for n in cache.lengths[self.row])
        if 0 in self.lengths:
            got = f"got {self.row} without"
            raise ValueError(f"row: expected one with points to draw, {got}")
        self.at = self._check_at(at)
        self.over = [k for k, place in enumerate(self.at) if place is None]
        self.units = check_units(units, cache.layer.hidden_size)
        self.count = np.arange(cache.layer.hidden_size)[self.units].size
        known = self._bands(cache)
        dims = [GridPlace(k) for k in range(len(self.sizes))]
        self.bands = choose_bands(known, dims, names, False)
        self.places = [
            place for place in dims if any(place in band.values for band in self.bands)
        ]

    @property
    def is_plane(self) -> bool:
        """Whether points are drawn over two dimensions, and the mean of the units."""
        return len(self.over) == 2

    @property
    def steps(self) -> int:
        """Points from left to right."""
        return self.lengths[self.over[-1]]

    @property
    def title(self) -> str:
        """Say where each dimension went."""
        down = f"d{self.over[0]}" if self.is_plane else "units"
        text = f"d{self.over[-1]} to the right, {down} down"
        fixed = [f"d{k} = {p}" for k, p in enumerate(self.at) if p is not None]
        if self.is_plane:
            fixed.append(f"mean of {self.count} units" if self.count > 1 else "1 unit")
        return "; ".join([text, *fixed])

    def _check_at(self, at: object) -> tuple[int | None, ...]:
        """Return a point for each dimension, None where it is drawn over."""
        N = len(self.sizes)
        if at is None:
            return (None, None)[:N] + tuple(n - 1 for n in self.lengths[2:])
        if not isinstance(at, tuple | list) or len(at) != N:
            got = f"{len(at)}" if isinstance(at, tuple | list) else _checks.describe(at)
            raise ValueError(
                f"at: expected a point or None for each of {N} dimensions, got {got}"
            )
        if sum(place is None for place in at) not in (1, 2):
            got = quote(at)
            raise ValueError(f"at: expected None for one or two dimensions, got {got}")
        return tuple(
            None if place is None else check_index(f"at[{k}]", place, n, f"n_{k}")
            for k, (place, n) in enumerate(zip(at, self.lengths, strict=True))
        )

    def _bands(self, cache: GridCache) -> dict[str, Band]:
        """Return bands by letter: the gates, then m and h."""
        arrays = cache.gates
        for k, border in enumerate(cache.points):
            h, m = border if isinstance(border, tuple) else (border, None)
            arrays |= {f"h_d{k}": h} if m is None else {f"m_d{k}": m, f"h_d{k}": h}
        bands: dict[str, Band] = {}
        for letter in "ifgomh":
            record = cache._owner.record
            title = meaning_of(record, letter)
            band = Band(letter, title, letter in record.gates)
            band.values = {
                GridPlace(k): self._shown(arrays[f"{letter}_d{k}"])
                for k in range(len(self.sizes))
                if f"{letter}_d{k}" in arrays
            }
            if self.is_plane:
                shape = self.lengths[self.over[0]] / self.steps
                band.height = PLANE_WIDTH * min(max(0.2, shape), 1.0)
            bands[letter] = band
        return bands

    def _shown(self, array: Array) -> Array:
        """Return [points to the right, points or units downwards]."""
        index = tuple(
            slice(n) if place is None else place
            for place, n in zip(self.at, self.lengths, strict=True)
        )
        own = array[(*index, self.row)][..., self.units]
        return cast(Array, own.mean(axis=-1).T) if self.is_plane else own
