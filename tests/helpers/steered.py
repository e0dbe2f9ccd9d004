"""Operands that steer a fused multiply-add into its difficult places, and the truth.

Uniform random operands find nothing: an emulation that rounds twice where the result is
subnormal, or on a tie, passes millions of them. Here the product's exponent is near a
limit of the format, or of the emulation; the addend lies within a few binades of the
product, cancels it to within a unit, or reaches just into or beyond its last bit;
significands have few bits, so that ties come up; and sums lie a hair beside a tie.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Format:
    dtype: type
    bits: type
    fraction_bits: int
    bias: int

    @property
    def least_exponent(self):
        return 1 - self.bias

    @property
    def least_power(self):
        """The exponent of the smallest subnormal number."""
        return self.least_exponent - self.fraction_bits


FORMATS = {
    "float32": Format(np.float32, np.uint32, 23, 127),
    "float64": Format(np.float64, np.uint64, 52, 1023),
}


def significands(rng, of, count):
    """Return fractions as integers: random, or with only their first or last bits."""
    fraction = rng.integers(0, 1 << of.fraction_bits, count, dtype=np.uint64)
    cut = rng.integers(0, of.fraction_bits + 1, count).astype(np.uint64)
    one = np.uint64(1)
    kind = rng.integers(0, 5, count)
    fraction = np.where(kind <= 1, fraction >> cut << cut, fraction)
    fraction = np.where(kind == 2, fraction & ((one << cut) - one), fraction)
    full = np.uint64((1 << of.fraction_bits) - 1)
    return np.where(kind == 3, full >> cut << cut, fraction)


def numbers(rng, of, exponents):
    """Return numbers of either sign with the given exponents, subnormal ones too."""
    count = len(exponents)
    fraction = significands(rng, of, count)
    biased = np.clip(exponents + of.bias, -of.fraction_bits, 2 * of.bias)
    shift = np.where(biased < 1, 1 - biased, 0).astype(np.uint64)
    subnormal = (fraction | np.uint64(1 << of.fraction_bits)) >> shift
    normal = np.maximum(biased, 1).astype(np.uint64) << np.uint64(of.fraction_bits)
    sign = rng.integers(0, 2, count).astype(np.uint64)
    sign = sign << np.uint64(8 * np.dtype(of.bits).itemsize - 1)
    bits = sign | np.where(biased < 1, subnormal, normal | fraction)
    return bits.astype(of.bits).view(of.dtype)


def products_near(rng, of, first, last, count):
    """Return triples whose product has an exponent in [first, last]."""
    least, most, width = of.least_exponent, of.bias, of.fraction_bits
    product = rng.integers(first, last + 1, count)
    a = rng.integers(max(least - width, product.min() - most), most + 1, count)
    a = np.where(rng.random(count) < 0.7, product // 2 + a % 7, a)
    b = np.clip(product - a, least - width, most)
    apart = rng.integers(-2 * width - 8, 2 * width + 9, count)
    apart = np.where(rng.random(count) < 0.5, rng.integers(-3, 4, count), apart)
    c = np.clip(a + b + apart, least - width, most)
    a, b, c = (numbers(rng, of, exponents) for exponents in (a, b, c))
    with np.errstate(all="ignore"):
        cancelling = -(a * b)
    step = rng.integers(0, 3, count).astype(of.bits) - of.bits(1)
    cancelling = (cancelling.view(of.bits) + step).view(of.dtype)
    return a, b, np.where(rng.random(count) < 0.3, cancelling, c)


def almost_ties(rng, of, count):
    """Return triples a hair beside the middle between two results, or in the middle.

    The product is half a unit in the last place of c, or half the smallest subnormal,
    times 1 - u*u: with u below 2^-15, or 2^-27, only many more bits than twice the
    significand's tell it from half a unit. u is 0 in a part of them.
    """
    width, most = of.fraction_bits, of.bias
    u = rng.integers(0, 1 << (width // 3), count) * 2.0**-width
    u[rng.random(count) < 0.1] = 0
    c_exponent = rng.integers(of.least_power, most, count)
    least = rng.random(count) < 0.5
    c_exponent[least] = rng.integers(of.least_power, of.least_exponent + 3, least.sum())
    half = np.maximum(c_exponent, of.least_exponent) - width - 1
    a_exponent = half // 2 + rng.integers(-9, 10, count)
    a = np.ldexp((1 + u).astype(of.dtype), a_exponent)
    b = np.ldexp((1 - u).astype(of.dtype), half - a_exponent)
    sign = rng.choice([-1, 1], (2, count)).astype(of.dtype)
    return sign[0] * a, sign[1] * b, numbers(rng, of, c_exponent)


def special_triples(of):
    """Return every triple of zeros, infinities, NaN and the ends of the range."""
    info = np.finfo(of.dtype)
    values = [0.0, 1.0, np.inf, info.max, info.tiny, info.smallest_subnormal, 1.5]
    values = np.array([*values, *(-v for v in values), np.nan], of.dtype)
    return tuple(v.ravel() for v in np.meshgrid(values, values, values))


def steered_triples(dtype, count, seed=0):
    """Return arrays a, b, c of `count` steered triples and some special ones."""
    of = FORMATS[dtype]
    rng = np.random.default_rng(seed)
    least, most, width = of.least_exponent, of.bias, of.fraction_bits
    ranges = (
        (least - width - 4, least + 6),  # subnormal results and their ties
        (least - 2 * width - 10, least - width),  # products below everything
        (least + width - 10, least + 2 * width + 10),  # inexact last bits of products
        (most - 3, most + 3),  # overflow
        (-5, 5),
    )
    part = count // (len(ranges) + 1)
    groups = [products_near(rng, of, *ends, part) for ends in ranges]
    groups += [almost_ties(rng, of, part), special_triples(of)]
    return tuple(np.concatenate(column) for column in zip(*groups, strict=True))


def rounded(exact, of):
    """Return a Fraction other than 0 rounded to nearest, ties to even, as a float."""
    size, sign = abs(exact), 1.0 if exact > 0 else -1.0
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, of.least_exponent) - of.fraction_bits)
    nearest = round(size / unit) * unit
    if nearest >= Fraction(2) ** (of.bias + 1):
        return sign * math.inf
    return sign * float(nearest)


def exact_fma(a, b, c, of):
    """Return a*b + c of three Python floats in a format, by rational arithmetic."""
    if math.isnan(a + b) or math.isnan(c) or math.isinf(a) or math.isinf(b):
        return a * b + c
    if math.isinf(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    return rounded(exact, of)


def exact_fmas(a, b, c):
    """Return `exact_fma` of each triple, in the dtype of the arrays."""
    of = FORMATS[a.dtype.name]
    triples = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    return np.array([exact_fma(*triple, of) for triple in triples], a.dtype)
