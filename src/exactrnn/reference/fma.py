"""The fused multiply-add, emulated exactly in NumPy.

In round-to-odd arithmetic: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly
rounded sums: proved algorithms using rounding to odd", IEEE TC 57(4), 2008.  A sum
rounded to odd keeps in its last bit that something was cut off, so rounding it again
comes out as if that had been the only rounding.

Callers silence NumPy's warnings; ``arith.fma`` is for everybody.

Twin: the emulation in ``csrc/kernels/vec/scalar.h``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
Number: TypeAlias = Array | float


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``a + b`` and its rounding error: together the exact sum."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``a * b`` and its error, for |a|, |b| < 2^990 and |a * b| > 2^-960."""
    splitter = 2.0**27 + 1
    a_high = a * splitter - (a * splitter - a)
    b_high = b * splitter - (b * splitter - b)
    a_low = a - a_high
    b_low = b - b_high
    product = a * b
    return product, (
        (a_high * b_high - product) + a_high * b_low + a_low * b_high
    ) + a_low * b_low


def _add_odd(a: Array, b: Array) -> Array:
    """``a + b`` rounded to odd: where inexact, the neighbour whose last bit is set."""
    total, error = _two_sum(a, b)
    bits = total.view(np.int64)
    inexact = ((error < 0) | (error > 0)) & ((bits & 1) == 0)
    step = np.where((error > 0) == (total > 0), 1, -1)
    return (bits + np.where(inexact, step, 0)).view(np.float64)


def fma_f32(product: Array, c: Array) -> Array:
    """``product + c`` in float64, rounded once to float32; `product` is exact."""
    total = np.add(product, c, dtype=np.float64)
    # Two roundings differ from one only where the first falls on a tie of the second.
    at_tie = (total.view(np.int64) & 0x1FFFFFFF) == 0x10000000
    if at_tie.any() or (np.abs(total) < 2.0**-126).any():
        total = _add_odd(product, np.asarray(c, np.float64))
    return total.astype(np.float32)


def _with_sign(magnitude: Array, sign: Array) -> Array:
    sign_bit = np.iinfo(np.int64).min
    bits = np.abs(magnitude).view(np.int64) | (sign.view(np.int64) & sign_bit)
    return bits.view(np.float64)


def _power(n: NDArray[np.int64]) -> Array:
    return ((n + 1023) << 52).view(np.float64)


def _split(v: Array) -> tuple[Array, NDArray[np.int64]]:
    """``v = mantissa * 2**exponent`` for finite v other than 0, 1 <= |mantissa| < 2."""
    is_small = np.abs(v) < 2.0**-1022
    bits = np.where(is_small, v * 2.0**64, v).view(np.int64)
    exponent = ((bits >> 52) & 2047) - np.where(is_small, 1023 + 64, 1023)
    fraction = bits & ~np.int64(2047 << 52)
    return (fraction | np.int64(1023 << 52)).view(np.float64), exponent


def expand(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """``a*b + c = high + low``, low rounded to odd: high + low rounds as a*b + c."""
    product, product_error = _two_product(a, b)
    part, part_error = _two_sum(c, product_error)
    high, high_error = _two_sum(product, part)
    return high, _add_odd(part_error, high_error)


def _fma_scaled(a: Array, b: Array, c: Array) -> Array:
    """Fma of finite operands other than 0.

    The sum is formed with a*b scaled to about 1, where no step can over- or underflow,
    and scaled back with the one rounding that is due.
    """
    a_mantissa, a_exponent = _split(a)
    b_mantissa, b_exponent = _split(b)
    c_mantissa, c_exponent = _split(c)
    exponent = a_exponent + b_exponent
    ahead = c_exponent - exponent
    only_c = ahead > 160  # a*b is below a quarter of c's last bit
    # Below 2^-160, beyond the last bit of a*b, only the sign of c still matters.
    ahead = np.where(only_c, 0, np.where(ahead < -160, -160, ahead))
    exponent = np.where(only_c, 0, exponent)
    high, low = expand(a_mantissa, b_mantissa, c_mantissa * _power(ahead))
    total = high + low
    # Here exponent >= -1234, since |c| >= 2^-1074, and |total| >= 2^-220 or 0.
    tiny = _power(np.where(exponent < -700, -1022 - exponent, -322))
    subnormal = (np.abs(total) < tiny) & (exponent < -700)
    # Next to +-tiny, the scaled least normal number, one unit in the last place is the
    # scaled least subnormal.
    base = np.where(total < 0, -tiny, tiny)
    shifted, rest = _two_sum(base, high)
    small = _with_sign((shifted + _add_odd(rest, low)) - base, total)
    half = exponent // 2
    scaled = np.where(subnormal, small, total)
    return np.where(only_c, c, scaled * _power(half) * _power(exponent - half))


def _fma_rare(a: Array, b: Array, c: Array) -> Array:
    """Fma of operands that the plain expansion does not suit; 1-d."""
    finite = (a - a == 0) & (b - b == 0)
    c_finite = c - c == 0
    zero = (a == 0) | (b == 0)
    result = a * b + c
    result = np.where(finite & c_finite & (c == 0) & ~zero, a * b, result)
    result = np.where(finite & ~c_finite, c, result)
    scaled = finite & c_finite & ~zero & (c != 0)
    if scaled.any():
        result[scaled] = _fma_scaled(a[scaled], b[scaled], c[scaled])
    return result


def fma_f64(a: Number, b: Number, c: Number) -> Array:
    """Return ``a * b + c`` in float64, rounded once."""
    huge, product = 2.0**990, np.multiply(a, b)
    size = np.abs(product)
    fits = (size > 2.0**-960) & (size < huge)
    fits = fits & (np.abs(a) < huge) & (np.abs(b) < huge) & (np.abs(c) < huge)
    a, b, c = (np.asarray(v, np.float64) for v in (a, b, c))
    high, low = expand(a, b, c)
    result = np.asarray(high + low)
    if not fits.all():
        rare = np.broadcast_to(~fits, result.shape)
        result[rare] = _fma_rare(
            *(np.broadcast_to(v, result.shape)[rare] for v in (a, b, c))
        )
    return result
