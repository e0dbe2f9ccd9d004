/* elementary.h - exp, expm1, log, softplus, tanh, sigmoid; the flush of tiny states;
 * the slopes of tanh and sigmoid (contract N4, N6, N5).
 *
 * Each function is one fixed sequence of the operations of vec.h; the element type only
 * chooses coefficients and limits. No branches, and one division at most. Infinities
 * and NaN as C99's Annex F has them. Largest errors in ulp, measured over all 2^32
 * inputs by benchmarks/elementary_exhaustive.py (of expm1 and softplus all from 2^-26
 * and 2^-40 on in size), bounded by tests/bits/test_elementary.py:
 *
 *                        exp    expm1  log    softplus  tanh   sigmoid
 *   float32              1.031  1.517  0.840  1.021     1.341  1.717
 *   float64 (sampled)    1.001  1.725  0.854  0.952     1.452  1.651
 *
 * Powers of e are taken at r = x - n*log(2), |r| <= log(2)/2, as 1 - v with
 *
 *   v(r) = 1 - exp(-r) = r + r^2 P(r)
 *
 * r comes out of one fma exactly, but for the low part of log(2). This v is monotone as
 * computed: r^2 P(r) is at most 0.07 in size with a relative error below 2.5 half units
 * in the last place, so two of them differ, by rounding, by less than a step of r adds.
 * What sigmoid and tanh do with v keeps order, operation by operation. Only where n
 * changes can the two sides disagree, and there a step of x outweighs it from |x| = 1
 * on; the tests look at all these places.
 *
 * tanh is 1 - 2*sigmoid(-2|x|) from 0.55 on, where it exceeds 1/2, and below that
 * |x| + |x|^3 Q(x^2), where a step of |x| outweighs the roundings of the second term.
 *
 * Coefficients: Sollya 8.0, fpminimax, for the relative error given at each table.
 * Twin: src/exactrnn/reference/arith.py, line by line. */
#ifndef XR_ELEMENTARY_H
#define XR_ELEMENTARY_H

#include "kernels/vec.h"

#define LOG2E XR_EITHER(0x1.715476p+0f, 0x1.71547652b82fep+0)
/* log(2) = high + low. */
#define LN2_HIGH XR_EITHER(0x1.62e43p-1f, 0x1.62e42fefa39efp-1)
#define LN2_LOW XR_EITHER(-0x1.05c61p-29f, 0x1.abc9e3b39803fp-56)
#define SQRT2 XR_EITHER(0x1.6a09e6p+0f, 0x1.6a09e667f3bcdp+0)

/* c[0] + c[1]*x + ... + c[count-1]*x^(count-1): Horner's rule in x^2 over pairs of
 * terms, half as deep as in x. `square` is x*x; `count` is a constant. */
XR_INLINE vec polynomial(vec x, vec square, const elem *c, int count)
{
    const int last = (count - 1) / 2 * 2;
    vec sum = vec_set(c[last]);
    if (last + 1 < count) sum = vec_fma(x, vec_set(c[last + 1]), sum);
#pragma GCC unroll 16
    for (int j = last - 2; j >= 0; j -= 2) {
        const vec pair = vec_fma(x, vec_set(c[j + 1]), vec_set(c[j]));
        sum = vec_fma(square, sum, pair);
    }
    return sum;
}

/* P: (1 - exp(-r) - r)/r^2 for |r| <= 0.3466; exp(-r) to 2^-28.2 and 2^-57.9. */
static const float exp_coefficients_f32[] = {
    -0x1.fffffap-2f, 0x1.555492p-3f, -0x1.555a26p-5f, 0x1.123982p-7f, -0x1.694cb2p-10f,
};
static const double exp_coefficients_f64[] = {
    -0x1.000000000000ap-1,  0x1.55555555554fep-3,   -0x1.55555555506b7p-5,
    0x1.1111111126b32p-7,   -0x1.6c16c18478c0fp-10, 0x1.a01a012ff2f9p-13,
    -0x1.a019995924a11p-16, 0x1.71df18dcc2e0dp-19,  -0x1.28ae030180e81p-22,
    0x1.ad931687b5e45p-26,
};

/* v(r) = 1 - exp(-r) for |r| <= 0.3466, plus lead - r. */
XR_INLINE vec exp_complement(vec r, vec lead)
{
    const elem *c = XR_TYPED(exp_coefficients);
    const vec square = vec_mul(r, r);
    const vec P = polynomial(r, square, c, XR_COUNT(XR_TYPED(exp_coefficients)));
    return vec_fma(square, P, lead);
}

/* x held within [low, high]; a NaN passes. */
XR_INLINE vec clamp(vec x, elem low, elem high)
{
    return vec_max(vec_set(low), vec_min(vec_set(high), x));
}

/* n and v with exp(x) = 2^n * (1 - v); x is neither infinite nor far out of range. */
XR_INLINE vec exp_reduced(vec x, vec *n)
{
    const vec rounder = vec_set(ELEM_ROUNDER);
    *n = vec_sub(vec_fma(x, vec_set(LOG2E), rounder), rounder);
    vec r = vec_fma(*n, vec_set(LN2_HIGH), vec_neg(x));
    r = vec_fma(*n, vec_set(LN2_LOW), r);
    return exp_complement(r, r);
}

/* v * 2^n, where 2^n may lie outside the normal range: two factors, the first of them
 * exact. */
XR_INLINE vec scaled_by_pow2(vec v, vec n)
{
    const vec half = vec_rint(vec_mul(n, vec_set((elem)0.5)));
    return vec_mul(vec_mul(v, vec_pow2(half)), vec_pow2(vec_sub(n, half)));
}

#define EXP_LOW XR_EITHER(-104.0f, -746.0) /* exp rounds to 0 from here down */
#define EXP_HIGH XR_EITHER(89.0f, 710.0)   /* and to infinity from here up */

/* exp(x). Any x: overflow to +inf, gradual underflow to +0.0, exp(+-0) = 1. */
XR_INLINE vec vec_exp(vec x)
{
    vec n;
    const vec v = exp_reduced(clamp(x, EXP_LOW, EXP_HIGH), &n);
    return scaled_by_pow2(vec_sub(vec_set(1), v), n);
}

/* exp(x) - 1. Any x: expm1(+-0) = +-0, -1 from below. With p = 2^(n-1) it is twice
 * (p - 1/2) - p*v: p is finite where 2^n is not. Up to `least`, where the result rounds
 * to x, x is taken itself: half of a subnormal may not exist, its square is slow. */
XR_INLINE vec vec_expm1(vec x)
{
    const elem least = XR_EITHER(0x1p-25f, 0x1p-54);
    const elem low = XR_EITHER(-30.0f, -60.0); /* rounds to -1 from here down */
    const vmask is_tiny = vec_lt(vec_abs(x), vec_set(least));
    const vec a = vec_select(is_tiny, vec_set(1), x);
    vec n;
    const vec v = exp_reduced(clamp(a, low, EXP_HIGH), &n);
    const vec p = vec_pow2(vec_sub(n, vec_set(1)));
    const vec half = vec_fma(vec_neg(p), v, vec_sub(p, vec_set((elem)0.5)));
    return vec_select(is_tiny, x, vec_add(half, half));
}

/* (log((1+s)/(1-s)) - 2s)/s^3 in s^2, for |s| <= 3 - 2*sqrt(2); the logarithm to
 * 2^-35.0 and 2^-59.5. */
static const float log_coefficients_f32[] = {
    0x1.555554p-1f,
    0x1.999bd4p-2f,
    0x1.23f1ap-2f,
    0x1.ec1e46p-3f,
};
static const double log_coefficients_f64[] = {
    0x1.5555555555592p-1, 0x1.999999997ff68p-2, 0x1.24924941dae8ap-2,
    0x1.c71c521a6f892p-3, 0x1.74663b910efb1p-3, 0x1.39a20d7dc4b5fp-3,
    0x1.2f023f0511df5p-3,
};

/* log(x). log(+-0) = -inf, log(+inf) = +inf, NaN for x < 0. The method is fdlibm's:
 * x = m*2^e, f = m - 1, s = f/(2+f), R = O(s^2), log(m) = f - (f^2/2 - s*(f^2/2 + R)).
 */
XR_INLINE vec vec_log(vec x)
{
    const elem *c = XR_TYPED(log_coefficients);
    const vec zero = vec_zero(), one = vec_set(1);
    const vec infinity = vec_set((elem)XR_INFINITY);
    const vmask is_small = vec_lt(x, vec_set(XR_EITHER(0x1p-126f, 0x1p-1022)));
    const vec normal = vec_select(is_small, vec_mul(x, vec_set((elem)0x1p64)), x);
    vec m = vec_mantissa(normal), e = vec_exponent(normal);
    const vmask is_high = vec_lt(vec_set(SQRT2), m);
    m = vec_select(is_high, vec_mul(m, vec_set((elem)0.5)), m);
    e = vec_add(e, vec_select(is_high, one, zero));
    e = vec_sub(e, vec_select(is_small, vec_set(64), zero));

    const vec f = vec_sub(m, one);
    const vec s = vec_div(f, vec_add(f, vec_set(2)));
    const vec z = vec_mul(s, s);
    const vec series =
        polynomial(z, vec_mul(z, z), c, XR_COUNT(XR_TYPED(log_coefficients)));
    const vec R = vec_mul(z, series);
    const vec half_square = vec_mul(vec_mul(f, vec_set((elem)0.5)), f);
    const vec tail = vec_mul(e, vec_set(LN2_LOW));
    const vec small = vec_fma(s, vec_add(half_square, R), tail);
    vec y = vec_sub(f, vec_sub(half_square, small));
    y = vec_fma(e, vec_set(LN2_HIGH), y);

    y = vec_select(vec_lt(x, infinity), y, x);
    y = vec_select(vec_lt(x, zero), vec_set((elem)XR_NAN), y);
    return vec_select(vec_eq(x, zero), vec_neg(infinity), y);
}

/* (tanh(x) - x)/x^3 in x^2, for |x| <= 0.55; tanh to 2^-29.7 and 2^-55.5. */
static const float tanh_coefficients_f32[] = {
    -0x1.55554ap-2f, 0x1.110dp-3f, -0x1.b92358p-5f, 0x1.5918a4p-6f, -0x1.9a79bap-8f,
};
static const double tanh_coefficients_f64[] = {
    -0x1.555555555549ep-2,  0x1.11111111029b4p-3,  -0x1.ba1ba1ad73a21p-5,
    0x1.664f45c32bf77p-6,   -0x1.226ddd4f257c7p-7, 0x1.d6c61e79388bdp-9,
    -0x1.7cf3c45292393p-10, 0x1.2fa2accc0b378p-11, -0x1.b90a8e5af07c1p-13,
    0x1.ac0323be5ec23p-15,
};

/* tanh(x). Any x: odd, monotone, |tanh| <= 1, tanh(+-0) = +-0. */
XR_INLINE vec vec_tanh(vec x)
{
    const elem limit = XR_EITHER(9.5f, 20.0); /* tanh rounds to 1 from here on */
    /* Up to here tanh rounds to x: with x^2 held no product of a state that was not
     * flushed (N6) is subnormal, hence slow. */
    const elem least = XR_EITHER(0x1p-13f, 0x1p-28);
    const elem *c = XR_TYPED(tanh_coefficients);
    const vec a = vec_min(vec_set(limit), vec_abs(x));
    const vec held = vec_max(vec_set(least), a);
    const vec z = vec_mul(held, held);
    const vec Q =
        polynomial(z, vec_mul(z, z), c, XR_COUNT(XR_TYPED(tanh_coefficients)));
    const vec small = vec_fma(vec_mul(a, z), Q, a);

    const vec shift = vec_set(VEC_POW2_BIAS);
    const vec biased = vec_fma(a, vec_set(-2 * LOG2E), shift);
    const vec n = vec_sub(biased, shift);
    const vec r = vec_fma(n, vec_set(-LN2_HIGH), vec_mul(a, vec_set(-2)));
    const vec p = vec_pow2_biased(biased); /* exp(2a) = (1 - v)/p */
    const vec denominator = vec_sub(vec_add(vec_set(1), p), exp_complement(r, r));
    const vec large = vec_fma(vec_set(-2), vec_div(p, denominator), vec_set(1));
    return vec_copysign(vec_select(vec_lt(a, vec_set((elem)0.55)), small, large), x);
}

/* 1/(1 + exp(-x)). Any x: monotone, within [0, 1], 1/2 at 0, gradual underflow. With
 * exp(-x) = (1 - v)/p, p = 2^n, it is p/((1 + p) - v); numerator and denominator are
 * scaled by `unit`, so that p stays normal where the quotient does not. Where 1 + p is
 * rounded, at n = -24 and beyond in float32, `lost` takes what is missing along with r:
 * without it the error would exceed 2 ulp. As 1 + (p - v), with fewer operations, the
 * denominator is not monotone. */
XR_INLINE vec vec_sigmoid(vec x)
{
    const elem low =
        XR_EITHER(-104.0f, -746.0);           /* sigmoid rounds to 0 from here down */
    const elem high = XR_EITHER(32.0f, 40.0); /* and to 1 from here up */
    const elem unit = XR_EITHER(0x1p63f, 0x1p539);
    const vec shift = vec_set(VEC_POW2_BIAS + XR_EITHER(63.0f, 539.0));
    x = clamp(x, low, high);
    const vec biased = vec_fma(x, vec_set(LOG2E), shift);
    const vec n = vec_sub(biased, shift);
    vec r = vec_fma(n, vec_set(-LN2_HIGH), x);
    r = vec_fma(n, vec_set(-LN2_LOW), r);
    const vec p = vec_pow2_biased(biased);
    const vec whole = vec_add(vec_set(unit), p);
    const vec lost = vec_sub(p, vec_sub(whole, vec_set(unit)));
    const vec v = exp_complement(r, vec_fma(lost, vec_set(-1 / unit), r));
    return vec_div(p, vec_fma(v, vec_set(-unit), whole));
}

/* log(1 + exp(x)). Any x: monotone, above 0 and above x but for rounding, gradual
 * underflow. It is max(x, 0) + log(1 + e), e = exp(-|x|); the logarithm as in vec_log,
 * with m = 1 + e or, where that exceeds sqrt(2), half of it. `rest` is what e and then
 * f have lost by rounding: without it the error would exceed 2 ulp below 0. Above 0 the
 * large terms, x and log(2), are added first, and `lost` is what their sum has lost:
 * without it the function would not be monotone. */
XR_INLINE vec vec_softplus(vec x)
{
    const elem *c = XR_TYPED(log_coefficients);
    const vec zero = vec_zero(), one = vec_set(1), half = vec_set((elem)0.5);
    vec n;
    const vec v = exp_reduced(vec_max(vec_set(EXP_LOW), vec_neg(vec_abs(x))), &n);
    const vec power = vec_sub(one, v);
    const vec e = scaled_by_pow2(power, n);
    vec rest = scaled_by_pow2(vec_sub(vec_sub(one, power), v), n);

    const vmask is_high = vec_lt(vec_set(SQRT2 - 1), e);
    const vec halved = vec_fma(e, half, vec_neg(half));
    const vec missing = vec_fma(e, half, vec_neg(vec_add(halved, half)));
    const vec f = vec_select(is_high, halved, e);
    rest = vec_select(is_high, vec_fma(rest, half, missing), rest);

    const vec s = vec_div(f, vec_add(f, vec_set(2)));
    const vec z = vec_mul(s, s);
    const vec series =
        polynomial(z, vec_mul(z, z), c, XR_COUNT(XR_TYPED(log_coefficients)));
    const vec R = vec_mul(z, series);
    const vec half_square = vec_mul(vec_mul(f, half), f);
    /* 1/(1 + f) = (1 - s)/(1 + s), near enough for so small a term. */
    const vec steep = vec_fma(s, vec_fma(s, vec_set(2), vec_set(-2)), one);
    const vec low = vec_select(is_high, vec_set(LN2_LOW), zero);
    const vec small = vec_fma(s, vec_add(half_square, R), vec_fma(rest, steep, low));

    const vec positive = vec_max(x, zero), ln2 = vec_set(LN2_HIGH);
    const vec sum = vec_add(positive, ln2);
    const vec large = vec_select(is_high, sum, positive);
    const vec lost = vec_select(is_high, vec_sub(positive, vec_sub(sum, ln2)), zero);
    const vec t = vec_sub(f, vec_sub(vec_sub(half_square, small), lost));
    return vec_add(large, t);
}

/* v, or +0.0 where |v| < 2^-100 (f32), 2^-900 (f64). A NaN passes. */
XR_INLINE vec vec_flush(vec v)
{
    const vec least = vec_set(XR_EITHER(0x1p-100f, 0x1p-900));
    return vec_select(vec_lt(vec_abs(v), least), vec_zero(), v);
}

/* 1 - y*y: the derivative of tanh from its value. */
XR_INLINE vec tanh_slope(vec y) { return vec_fma(vec_neg(y), y, vec_set((elem)1)); }

/* s*(1 - s): the derivative of the sigmoid from its value. */
XR_INLINE vec sigmoid_slope(vec s) { return vec_mul(s, vec_sub(vec_set((elem)1), s)); }

#endif
