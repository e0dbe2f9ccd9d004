"""Uniform numbers with defined bits, from the plain stream of a seed.

The numbers are those of ``_numeric/random.py``; a source holds the generator.  No
module draws from a plain stream: these are the inputs of the published cases.
"""

from __future__ import annotations

from exactrnn._checks import Array, FloatType, check_seed
from exactrnn._numeric import random


class UniformSource:
    """Uniform numbers from one seeded generator, in the order they are asked for."""

    def __init__(self, seed: int | None) -> None:
        self._generator = random.make_generator(check_seed(seed))

    def unit(self, shape: tuple[int, ...], dtype: FloatType) -> Array:
        """Return ``u`` in [0, 1): the top 24 or 53 bits of 64."""
        return random.unit(shape, dtype, self._generator)

    def symmetric(
        self, shape: tuple[int, ...], bound: float, dtype: FloatType
    ) -> Array:
        """Return ``(2u - 1) * bound``, with `bound` rounded to `dtype`."""
        return random.symmetric(shape, bound, dtype, self._generator)
