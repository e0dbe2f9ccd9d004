"""Random numbers with defined bits: raw integers of PCG64, made floats by exact steps.

Contract N9. The generator is PCG64 over `SeedSequence(seed)`, read as raw 64-bit
integers; every function says how many it takes:

    unit        float32:  u = (raw >> 40) * 2**-24    float64:  u = (raw >> 11) * 2**-53
    symmetric   (2*u - 1) * bound, in the dtype

    normal      Marsaglia's polar method in float64: of two raw integers
                u = 2*u_1 - 1,  v = 2*u_2 - 1,  s = u*u + v*v
                and where 0 < s < 1 the numbers u*q, v*q with q = sqrt((-2*log(s)) / s)

`log` is the library's own (contract N4), with the same bits on every instruction set.
Source: G. Marsaglia, T. Bray, "A Convenient Method for Generating Normal Variables",
SIAM Review 6(3), 1964.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array, FloatType

_FRACTION_BITS = {"float32": 24, "float64": 53}
FLOAT64 = cast(FloatType, np.dtype("float64"))


def make_generator(seed: int | None) -> np.random.PCG64:
    """Return the generator of a layer; None takes a seed from the system."""
    return np.random.PCG64(np.random.SeedSequence(seed))


def unit(shape: tuple[int, ...], dtype: FloatType, generator: np.random.PCG64) -> Array:
    """Return numbers in [0, 1) in storage order, one raw integer each."""
    bits = _FRACTION_BITS[dtype.name]
    raw = generator.random_raw(math.prod(shape))
    uniform = (raw >> np.uint64(64 - bits)).astype(dtype) * dtype.type(2.0**-bits)
    return np.asarray(uniform).reshape(shape)


def symmetric(
    shape: tuple[int, ...], bound: float, dtype: FloatType, generator: np.random.PCG64
) -> Array:
    """Return numbers in [-bound, bound) in storage order, one raw integer each."""
    return np.asarray((2 * unit(shape, dtype, generator) - 1) * dtype.type(bound))


def normal(shape: tuple[int, ...], generator: np.random.PCG64) -> Array:
    """Return float64 numbers of mean 0 and variance 1, in storage order.

    Raw integers are taken in pairs until there are enough numbers; a pair outside the
    circle is passed over, and of an odd count the last pair gives its first alone.
    """
    missing = -(-math.prod(shape) // 2)
    found: list[Array] = [np.empty((0, 2))]
    while missing:
        found.append(_polar(symmetric((missing, 2), 1.0, FLOAT64, generator)))
        missing -= len(found[-1])
    return np.concatenate(found).reshape(-1)[: math.prod(shape)].reshape(shape)


def _polar(pairs: Array) -> Array:
    """Return two independent normal numbers for each pair inside the circle."""
    s = pairs[:, 0] * pairs[:, 0] + pairs[:, 1] * pairs[:, 1]
    inside = (s > 0) & (s < 1)
    pairs, s = pairs[inside], s[inside]
    return pairs * np.sqrt((-2 * elementary("log", s)) / s)[:, None]


def elementary(name: str, x: Array) -> Array:
    """Return `exp` or `log` of each number: the library's own."""
    out = np.empty_like(x)
    _core.elementary(name, x, out, engine.isa())
    return out
