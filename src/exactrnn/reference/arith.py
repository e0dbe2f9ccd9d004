"""Arithmetic of the numerics contract in NumPy: the same bits as the kernels.

The twin of ``csrc/kernels/vec.h`` (the vocabulary), of `exp`, `expm1`, `log`,
`softplus`, `tanh`, `sigmoid`, `flush` (``csrc/kernels/math/elementary.h``) and of the
sums of products, line by line and in the same letters; one file, because each part
leans on the one before.  The dtype, float32 or float64, is that of the arrays given;
Python numbers take it on.  No function warns, whatever it is given.

Only what NumPy itself reproduces everywhere is used: elementwise ``+ - * /``, ``sqrt``,
``rint`` and ``abs``, comparisons, ``where``, casts and integer views.  There is no fma
among these; it is emulated in ``fma.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn.reference.fma import fma_f32, fma_f64

Array: TypeAlias = NDArray[np.floating[Any]]
Number: TypeAlias = Array | float

CHUNK = 256
"""Terms of a long sum that are added up before they join the total (contract N3)."""

_quiet = np.errstate(all="ignore")


def _hex(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in text.split())


@dataclass(frozen=True)
class _Format:
    """What depends on the dtype: layout, coefficients, limits (see elementary.h)."""

    dtype: type[np.floating[Any]]
    integer: type[np.signedinteger[Any]]
    fraction_bits: int
    bias: int
    log2e: float
    ln2_high: float
    ln2_low: float
    sqrt2: float
    exp_coefficients: tuple[float, ...]
    exp_limits: tuple[float, float]
    expm1_least: float
    expm1_low: float
    log_coefficients: tuple[float, ...]
    tanh_coefficients: tuple[float, ...]
    tanh_limits: tuple[float, float]
    tanh_join: float
    sigmoid_limits: tuple[float, float]
    sigmoid_unit: int
    least_kept: float

    @property
    def rounder(self) -> float:
        return 1.5 * 2.0**self.fraction_bits

    @property
    def pow2_bias(self) -> float:
        return self.rounder + self.bias


_F32 = _Format(
    dtype=np.float32,
    integer=np.int32,
    fraction_bits=23,
    bias=127,
    log2e=float.fromhex("0x1.715476p+0"),
    ln2_high=float.fromhex("0x1.62e43p-1"),
    ln2_low=float.fromhex("-0x1.05c61p-29"),
    sqrt2=float.fromhex("0x1.6a09e6p+0"),
    exp_coefficients=_hex(
        "-0x1.fffffap-2 0x1.555492p-3 -0x1.555a26p-5 0x1.123982p-7 -0x1.694cb2p-10"
    ),
    exp_limits=(-104.0, 89.0),
    expm1_least=2.0**-25,
    expm1_low=-30.0,
    log_coefficients=_hex("0x1.555554p-1 0x1.999bd4p-2 0x1.23f1ap-2 0x1.ec1e46p-3"),
    tanh_coefficients=_hex(
        "-0x1.55554ap-2 0x1.110dp-3 -0x1.b92358p-5 0x1.5918a4p-6 -0x1.9a79bap-8"
    ),
    tanh_limits=(2.0**-13, 9.5),
    tanh_join=float(np.float32(0.55)),
    sigmoid_limits=(-104.0, 32.0),
    sigmoid_unit=63,
    least_kept=2.0**-100,
)

_F64 = _Format(
    dtype=np.float64,
    integer=np.int64,
    fraction_bits=52,
    bias=1023,
    log2e=float.fromhex("0x1.71547652b82fep+0"),
    ln2_high=float.fromhex("0x1.62e42fefa39efp-1"),
    ln2_low=float.fromhex("0x1.abc9e3b39803fp-56"),
    sqrt2=float.fromhex("0x1.6a09e667f3bcdp+0"),
    exp_coefficients=_hex(
        "-0x1.000000000000ap-1 0x1.55555555554fep-3 -0x1.55555555506b7p-5"
        " 0x1.1111111126b32p-7 -0x1.6c16c18478c0fp-10 0x1.a01a012ff2f9p-13"
        " -0x1.a019995924a11p-16 0x1.71df18dcc2e0dp-19 -0x1.28ae030180e81p-22"
        " 0x1.ad931687b5e45p-26"
    ),
    exp_limits=(-746.0, 710.0),
    expm1_least=2.0**-54,
    expm1_low=-60.0,
    log_coefficients=_hex(
        "0x1.5555555555592p-1 0x1.999999997ff68p-2 0x1.24924941dae8ap-2"
        " 0x1.c71c521a6f892p-3 0x1.74663b910efb1p-3 0x1.39a20d7dc4b5fp-3"
        " 0x1.2f023f0511df5p-3"
    ),
    tanh_coefficients=_hex(
        "-0x1.555555555549ep-2 0x1.11111111029b4p-3 -0x1.ba1ba1ad73a21p-5"
        " 0x1.664f45c32bf77p-6 -0x1.226ddd4f257c7p-7 0x1.d6c61e79388bdp-9"
        " -0x1.7cf3c45292393p-10 0x1.2fa2accc0b378p-11 -0x1.b90a8e5af07c1p-13"
        " 0x1.ac0323be5ec23p-15"
    ),
    tanh_limits=(2.0**-28, 20.0),
    tanh_join=0.55,
    sigmoid_limits=(-746.0, 40.0),
    sigmoid_unit=539,
    least_kept=2.0**-900,
)


def _format(*operands: Number) -> _Format:
    dtype = np.result_type(*operands)
    if dtype == np.float32:
        return _F32
    if dtype == np.float64:
        return _F64
    raise TypeError(f"expected float32 or float64, got {dtype}")


# ---- vec.h: the vocabulary --------------------------------------------------------


def _copysign(magnitude: Array, sign: Array) -> Array:
    of = _format(magnitude)
    sign_bit = np.iinfo(of.integer).min
    bits = np.abs(magnitude).view(of.integer) | (sign.view(of.integer) & sign_bit)
    copied: Array = bits.view(of.dtype)
    return copied


def _min(a: Number, b: Array) -> Array:
    return np.where(a < b, a, b).astype(b.dtype, copy=False)


def _max(a: Number, b: Array) -> Array:
    return np.where(a > b, a, b).astype(b.dtype, copy=False)


def _pow2_biased(t: Array) -> Array:
    of = _format(t)
    return (t.view(of.integer) << of.fraction_bits).view(of.dtype)


def _pow2(n: Array) -> Array:
    return _pow2_biased(n + _format(n).pow2_bias)


def _exponent(v: Array) -> Array:
    of = _format(v)
    return (v.view(of.integer) >> of.fraction_bits).astype(of.dtype) - of.bias


def _mantissa(v: Array) -> Array:
    of = _format(v)
    fraction = (1 << of.fraction_bits) - 1
    one = of.bias << of.fraction_bits
    return ((v.view(of.integer) & fraction) | one).view(of.dtype)


# ---- vec.h: the fused multiply-add ------------------------------------------------


@_quiet
def fma(a: Number, b: Number, c: Number) -> Array:
    """Return ``a * b + c``, rounded once.

    Parameters
    ----------
    a, b, c : Array or float
        Broadcast against each other; at least one float32 or float64 array.

    Returns
    -------
    Array
        Of the operands' dtype.

    Raises
    ------
    TypeError
        The operands are neither float32 nor float64.

    Examples
    --------
    >>> x = np.float32(1 + 2.0**-23)
    >>> float(x * x - x * x), float(fma(x, x, -x * x)) == 2.0**-46
    (0.0, True)
    """
    if _format(a, b, c) is _F64:
        return fma_f64(a, b, c)
    return fma_f32(np.multiply(a, b, dtype=np.float64), np.asarray(c))


# ---- products.h: sums of products -------------------------------------------------


@_quiet
def chain(init: Array, x: Array, w: Array) -> Array:
    """Return the chains over k of ``x[m, k] * w[n, k]`` from ``init[m, n]``.

    Parameters
    ----------
    init : Array
        Starting values [M, N], or what broadcasts to that.
    x : Array
        First operands [M, K].
    w : Array
        Second operands [N, K].

    Returns
    -------
    Array
        [M, N]: one fma per k, in ascending order (contract N3).

    Examples
    --------
    >>> chain(np.zeros((1, 1)), np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([[11.]])
    """
    total = np.array(np.broadcast_to(init, (len(x), len(w))))
    if _format(init, x, w) is _F64:
        for k in range(x.shape[1]):
            total = fma_f64(x[:, k, None], w[:, k], total)
        return total
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    for k in range(x.shape[1]):
        total = fma_f32(wide_x[:, k, None] * wide_w[:, k], total)
    return total


@_quiet
def long_sum(init: Array, a: Array, w: Array) -> Array:
    """Return the long sums over k of ``a[k, m] * w[k, n]`` from ``init[m, n]``.

    Parameters
    ----------
    init : Array
        Starting values [M, N], or what broadcasts to that.
    a : Array
        First operands [K, M].
    w : Array
        Second operands [K, N].

    Returns
    -------
    Array
        [M, N]: chains of `CHUNK` terms from +0.0, added in ascending order (N3).

    Examples
    --------
    >>> ones = np.ones((1000, 1), np.float32)
    >>> long_sum(np.zeros((1, 1), np.float32), ones, ones)
    array([[1000.]], dtype=float32)
    """
    total = np.array(np.broadcast_to(init, (a.shape[1], w.shape[1])))
    for first in range(0, len(a), CHUNK):
        part = slice(first, first + CHUNK)
        total = total + chain(np.zeros_like(total), a[part].T, w[part].T)
    return total


# ---- elementary.h -----------------------------------------------------------------


def _polynomial(x: Array, square: Array, c: tuple[float, ...]) -> Array:
    last = (len(c) - 1) // 2 * 2
    total: Number = c[last]
    if last + 1 < len(c):
        total = fma(x, c[last + 1], total)
    for j in range(last - 2, -1, -2):
        pair = fma(x, c[j + 1], c[j])
        total = fma(square, total, pair)
    return np.asarray(total)


def _exp_complement(r: Array, lead: Array) -> Array:
    """``1 - exp(-r)`` for |r| <= 0.3466, plus ``lead - r``."""
    square = r * r
    P = _polynomial(r, square, _format(r).exp_coefficients)
    return fma(square, P, lead)


def clamp(x: Array, low: float, high: float) -> Array:
    """Return `x` held within [low, high]; NaN passes."""
    return _max(low, _min(high, x))


def _exp_reduced(x: Array) -> tuple[Array, Array]:
    """``n`` and ``v`` with ``exp(x) == 2**n * (1 - v)``."""
    of = _format(x)
    n = fma(x, of.log2e, of.rounder) - of.rounder
    r = fma(n, of.ln2_high, -x)
    r = fma(n, of.ln2_low, r)
    return n, _exp_complement(r, r)


def _scaled_by_pow2(v: Array, n: Array) -> Array:
    """``v * 2**n``, where 2^n may lie outside the normal range."""
    half = np.rint(n * 0.5)
    return v * _pow2(half) * _pow2(n - half)


@_quiet
def exp(x: Array) -> Array:
    """Return ``exp(x)`` to 1.1 ulp.

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.  ``exp(0) == 1``, overflow gives infinity.

    Examples
    --------
    >>> exp(np.array([0.0, -np.inf, np.inf]))
    array([ 1.,  0., inf])
    """
    n, v = _exp_reduced(clamp(np.asarray(x), *_format(x).exp_limits))
    return _scaled_by_pow2(1 - v, n)


@_quiet
def expm1(x: Array) -> Array:
    """Return ``exp(x) - 1`` to 1.8 ulp; monotone, -1 at least.

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.  Zeros keep their sign.

    Examples
    --------
    >>> expm1(np.array([-np.inf, -0.0, 1e-20, np.inf]))
    array([-1.e+00, -0.e+00,  1.e-20,     inf])
    """
    of = _format(x)
    x = np.asarray(x)
    is_tiny = np.abs(x) < of.expm1_least
    a = np.where(is_tiny, of.dtype(1), x)
    n, v = _exp_reduced(clamp(a, of.expm1_low, of.exp_limits[1]))
    p = _pow2(n - 1)
    half = fma(-p, v, p - 0.5)
    return np.where(is_tiny, x, half + half)


@_quiet
def log(x: Array) -> Array:
    """Return the natural logarithm to 1 ulp.

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.  ``log(0) == -inf``; NaN below 0.

    Examples
    --------
    >>> log(np.array([1.0, 0.0, np.inf]))
    array([  0., -inf,  inf])
    """
    of = _format(x)
    x = np.asarray(x)
    is_small = x < 2.0 ** (1 - of.bias)
    normal = np.where(is_small, x * 2.0**64, x)
    m = _mantissa(normal)
    e = _exponent(normal)
    is_high = m > of.sqrt2
    m = np.where(is_high, m * 0.5, m)
    e = np.where(is_high, e + 1, e)
    e = np.where(is_small, e - 64, e)

    f = m - 1
    s = f / (f + 2)
    z = s * s
    R = z * _polynomial(z, z * z, of.log_coefficients)
    half_square = f * 0.5 * f
    tail = e * of.ln2_low
    small = fma(s, half_square + R, tail)
    y: Array = f - (half_square - small)
    y = fma(e, of.ln2_high, y)

    y = np.where(x < np.inf, y, x)
    y = np.where(x < 0, of.dtype(np.nan), y)
    return np.where(x == 0, of.dtype(-np.inf), y)


@_quiet
def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent to 1.4 ulp; odd, monotone, at most 1 in size.

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> tanh(np.array([-np.inf, -0.0, 0.5]))
    array([-1.        , -0.        ,  0.46211716])
    """
    of = _format(x)
    x = np.asarray(x)
    least, limit = of.tanh_limits
    a = _min(limit, np.abs(x))
    held = _max(least, a)
    z = held * held
    Q = _polynomial(z, z * z, of.tanh_coefficients)
    small = fma(a * z, Q, a)

    shift = of.pow2_bias
    biased = fma(a, -2 * of.log2e, shift)
    n = biased - shift
    r = fma(n, -of.ln2_high, a * -2)
    p = _pow2_biased(biased)
    denominator = (1 + p) - _exp_complement(r, r)
    large = fma(-2, p / denominator, 1)
    return _copysign(np.where(a < of.tanh_join, small, large), x)


@_quiet
def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))`` to 1.8 ulp; monotone, within [0, 1].

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> sigmoid(np.array([-np.inf, 0.0, np.inf]))
    array([0. , 0.5, 1. ])
    """
    of = _format(x)
    unit = 2.0**of.sigmoid_unit
    shift = of.pow2_bias + of.sigmoid_unit
    x = clamp(np.asarray(x), *of.sigmoid_limits)
    biased = fma(x, of.log2e, shift)
    n = biased - shift
    r = fma(n, -of.ln2_high, x)
    r = fma(n, -of.ln2_low, r)
    p = _pow2_biased(biased)
    whole = p + unit
    lost = p - (whole - unit)
    v = _exp_complement(r, fma(lost, -1 / unit, r))
    return p / fma(v, -unit, whole)


@_quiet
def softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))`` to 1.1 ulp; monotone, at least 0.

    Parameters
    ----------
    x : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> softplus(np.array([-np.inf, 0.0, 50.0]))
    array([ 0.        ,  0.69314718, 50.        ])
    """
    of = _format(x)
    x = np.asarray(x)
    n, v = _exp_reduced(_max(of.exp_limits[0], -np.abs(x)))
    power = 1 - v
    e = _scaled_by_pow2(power, n)
    rest = _scaled_by_pow2((1 - power) - v, n)

    is_high = e > of.sqrt2 - 1
    halved = fma(e, 0.5, -0.5)
    missing = fma(e, 0.5, -(halved + 0.5))
    f = np.where(is_high, halved, e)
    rest = np.where(is_high, fma(rest, 0.5, missing), rest)

    s = f / (f + 2)
    z = s * s
    R = z * _polynomial(z, z * z, of.log_coefficients)
    half_square = f * 0.5 * f
    steep = fma(s, fma(s, 2, -2), 1)
    low = np.where(is_high, of.dtype(of.ln2_low), of.dtype(0))
    small = fma(s, half_square + R, fma(rest, steep, low))

    positive, ln2 = np.where(x > 0, x, of.dtype(0)), of.dtype(of.ln2_high)
    total = positive + ln2
    large = np.where(is_high, total, positive)
    lost = np.where(is_high, positive - (total - ln2), of.dtype(0))
    t = f - ((half_square - small) - lost)
    result: Array = large + t
    return result


@_quiet
def flush(v: Array) -> Array:
    """Return `v`, with +0.0 in place of what is too small to be kept (contract N6).

    Parameters
    ----------
    v : Array
        Any float32 or float64 numbers, of any shape.

    Returns
    -------
    Array
        `v` where its size is at least 2^-100 (float32) or 2^-900 (float64), or NaN.

    Examples
    --------
    >>> flush(np.array([-1e-300, 1e-3]))
    array([0.   , 0.001])
    """
    of = _format(v)
    return np.where(np.abs(v) < of.least_kept, of.dtype(0), v)
