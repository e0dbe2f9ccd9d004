"""Random numbers with defined bits: raw integers of PCG64, made floats by exact steps.

Contract N9. The generator is PCG64 over a `SeedSequence`, read as raw 64-bit integers;
every function says how many it takes:

    unit        float32:  u = (raw >> 40) * 2**-24    float64:  u = (raw >> 11) * 2**-53
    symmetric   (2*u - 1) * bound, in the dtype

    normal      Marsaglia's polar method in float64: of two raw integers
                u = 2*u_1 - 1,  v = 2*u_2 - 1,  s = u*u + v*v
                and where 0 < s < 1 the numbers u*q, v*q with q = sqrt((-2*log(s)) / s)

Every use of a seed has a stream of its own, so that one seed given to a linear layer
and to an LSTM, or to both matrices of an LSTM, never gives the same numbers twice. The
spawn key of the `SeedSequence` is the first 16 bytes, as four little-endian uint32, of
the SHA-256 of the names of the use, such as "LSTM/weight_ih_l0" or "LSTM/dropout".

`log` is the library's own (contract N4), with the same bits on every instruction set.
Source: G. Marsaglia, T. Bray, "A Convenient Method for Generating Normal Variables",
SIAM Review 6(3), 1964.
"""

from __future__ import annotations

import hashlib
import math
from typing import cast

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array, FloatType

_FRACTION_BITS = {"float32": 24, "float64": 53}
_64_BITS = 2**64 - 1
FLOAT64 = cast(FloatType, np.dtype("float64"))


def make_generator(seed: int | None, *names: str) -> np.random.PCG64:
    """Return a generator for the use of `seed` that `names` say.

    Without a name it is the seed's plain stream; None takes a seed from the system.
    """
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=_words_of(names)))


def _words_of(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return 128 bits that stand for names, as integers of 32; none for no name."""
    if not names:
        return ()
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return tuple(np.frombuffer(digest[:16], "<u4").tolist())


class Seed:
    """The seed of one module: a stream of numbers for each of its names.

    Parameters
    ----------
    seed : int or None
        None takes one from the system; it is the same for all streams.
    kind : str
        Which module it is, as `kind_of` says.
    """

    def __init__(self, seed: int | None, kind: str) -> None:
        self._entropy = cast(int, np.random.SeedSequence(seed).entropy)
        self._kind = kind

    def stream(self, *names: str) -> np.random.PCG64:
        """Return the generator of one weight, or of another use, from its start."""
        return make_generator(self._entropy, self._kind, *names)

    def of_parts(self, count: int) -> list[int]:
        """Return seeds for the modules that a module is made of."""
        drawn = np.random.SeedSequence(self._entropy).generate_state(count)
        return [int(seed) for seed in drawn]


def kind_of(module: type) -> str:
    """Return the name of the library's class that `module` is or is derived from."""
    own = __name__.partition(".")[0]
    names = [c.__name__ for c in module.__mro__ if c.__module__.split(".")[0] == own]
    return names[0] if names else module.__name__


def hashed(key: int, n: int) -> int:
    """Return 64 bits for number n of a key: the n-th output of SplitMix64.

    The kernels' masks are made of the same (csrc/base/masks.h).
    """
    z = (key + (n + 1) * 0x9E3779B97F4A7C15) & _64_BITS
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _64_BITS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _64_BITS
    return z ^ (z >> 31)


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
    """Return `exp`, `log` or a like function of each number: the library's own."""
    flat = x.ravel()
    out = np.empty_like(flat)
    _core.elementary(name, flat, out, engine.isa())
    return out.reshape(x.shape)
