"""Uniform numbers with defined bits, drawn as the layers draw their weights.

See ``exactrnn/_init.py``: raw integers of PCG64, turned into floats by exact steps.
"""

from __future__ import annotations

import math

import numpy as np

from exactrnn._checks import FloatType
from exactrnn._init import make_generator
from exactrnn.train._checks import FloatArray

FRACTION_BITS = {"float32": 24, "float64": 53}


class UniformSource:
    """Uniform numbers from one seeded generator, in the order they are asked for."""

    def __init__(self, seed: int | None) -> None:
        self._generator = make_generator(seed)

    def unit(self, shape: tuple[int, ...], dtype: FloatType) -> FloatArray:
        """Return ``u`` in [0, 1): the top 24 or 53 bits of 64."""
        bits = FRACTION_BITS[dtype.name]
        raw = self._generator.random_raw(math.prod(shape))
        unit = (raw >> np.uint64(64 - bits)).astype(dtype) * dtype.type(2.0**-bits)
        return np.asarray(unit).reshape(shape)

    def symmetric(
        self, shape: tuple[int, ...], bound: float, dtype: FloatType
    ) -> FloatArray:
        """Return ``(2u - 1) * bound``, with `bound` rounded to `dtype`."""
        unit = self.unit(shape, dtype)
        return np.asarray((2 * unit - 1) * dtype.type(bound))
