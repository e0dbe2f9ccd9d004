/* vec/scalar.h - the vocabulary of vec.h in plain C: one element, any processor.
 *
 * Where the target has no fma instruction it is emulated exactly: in round-to-odd
 * arithmetic (Boldo & Melquiond, "Emulation of a FMA and correctly rounded sums: proved
 * algorithms using rounding to odd", IEEE TC 57(4), 2008). Rounding to odd keeps in the
 * last bit that something was cut off, so that a second rounding, to two bits fewer or
 * more, comes out as if it had been the only one.
 *
 * Compile with -fno-math-errno, else the square root may call the C library.
 * Contracts stand in vec.h; twin: src/exactrnn/reference/fma.py. */
#ifndef XR_VEC_SCALAR_H
#define XR_VEC_SCALAR_H

#define VEC_REGISTERS 16
#define VEC_LANES 1
typedef elem vec;
typedef int vmask;

XR_INLINE elem_bits scalar_bits_(elem e)
{
    elem_bits bits;
    memcpy(&bits, &e, sizeof bits);
    return bits;
}
XR_INLINE elem scalar_elem_(elem_bits bits)
{
    elem e;
    memcpy(&e, &bits, sizeof e);
    return e;
}
#define SCALAR_SIGN_ ((elem_bits)1 << (8 * sizeof(elem) - 1))
#define SCALAR_FRACTION_ (((elem_bits)1 << ELEM_FRACTION_BITS) - 1)

XR_INLINE vec vec_load(const elem *p) { return *p; }
XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n) { return n > 0 ? *p : (elem)0; }
XR_INLINE void vec_store(elem *p, vec v) { *p = v; }
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    if (n > 0) *p = v;
}
XR_INLINE void vec_turn(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
    (void)to_step, (void)step;
    *to = *p;
}

XR_INLINE vec vec_set(elem e) { return e; }
XR_INLINE vec vec_zero(void) { return (elem)0; }

XR_INLINE vec vec_add(vec a, vec b) { return a + b; }
XR_INLINE vec vec_sub(vec a, vec b) { return a - b; }
XR_INLINE vec vec_mul(vec a, vec b) { return a * b; }
XR_INLINE vec vec_div(vec a, vec b) { return a / b; }

XR_INLINE vec vec_neg(vec v) { return -v; }
XR_INLINE vec vec_abs(vec v) { return scalar_elem_(scalar_bits_(v) & ~SCALAR_SIGN_); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    return scalar_elem_((scalar_bits_(magnitude) & ~SCALAR_SIGN_) |
                        (scalar_bits_(sign) & SCALAR_SIGN_));
}

XR_INLINE vmask vec_lt(vec a, vec b) { return a < b; }
XR_INLINE vmask vec_le(vec a, vec b) { return a <= b; }
XR_INLINE vmask vec_eq(vec a, vec b) { return a == b; }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return mask ? if_true : if_false;
}
XR_INLINE vec vec_min(vec a, vec b) { return a < b ? a : b; }
XR_INLINE vec vec_max(vec a, vec b) { return a > b ? a : b; }

XR_INLINE vec vec_rint(vec v)
{
    return vec_copysign((vec_abs(v) + ELEM_UNIT) - ELEM_UNIT, v);
}
XR_INLINE vec vec_pow2_biased(vec t)
{
    return scalar_elem_(scalar_bits_(t) << ELEM_FRACTION_BITS);
}
XR_INLINE vec vec_exponent(vec v)
{
    return (elem)(scalar_bits_(v) >> ELEM_FRACTION_BITS) - (elem)ELEM_BIAS;
}
XR_INLINE vec vec_mantissa(vec v)
{
    return scalar_elem_((scalar_bits_(v) & SCALAR_FRACTION_) | scalar_bits_((elem)1));
}

/* ---- fma, emulated --------------------------------------------------------------- */

XR_INLINE uint64_t fma_bits_(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* a + b = sum + error, exactly. */
XR_INLINE double fma_two_sum_(double a, double b, double *error)
{
    const double sum = a + b;
    const double b_part = sum - a;
    *error = (a - (sum - b_part)) + (b - b_part);
    return sum;
}

/* a*b = product + error, exactly, for |a|, |b| < 2^990 and |a*b| > 2^-960. */
XR_INLINE double fma_two_product_(double a, double b, double *error)
{
    const double splitter = 0x1.0000002p27;
    const double a_high = a * splitter - (a * splitter - a), a_low = a - a_high;
    const double b_high = b * splitter - (b * splitter - b), b_low = b - b_high;
    const double product = a * b;
    *error =
        ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    return product;
}

/* a + b rounded to odd: where inexact, the neighbour whose last bit is set. No branch:
 * whether a sum is inexact cannot be predicted. */
XR_INLINE double fma_add_odd_(double a, double b)
{
    double error;
    double sum = fma_two_sum_(a, b, &error);
    uint64_t bits = fma_bits_(sum);
    const uint64_t is_inexact = (uint64_t)(error < 0.0) | (uint64_t)(error > 0.0);
    const uint64_t is_inward = (uint64_t)((error > 0.0) != (sum > 0.0));
    const uint64_t step = is_inexact & ~bits & 1;
    bits += step - 2 * (step & is_inward);
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

/* a*b is exact in double. Two roundings of the sum differ from one only where the first
 * falls on a tie of the second: 2^-29 as its last 29 bits, or a subnormal result. */
XR_INLINE float fma_emulated_f32_(float a, float b, float c)
{
    const double product = (double)a * (double)b, sum = product + (double)c;
    const int at_tie = (fma_bits_(sum) & 0x1FFFFFFF) == 0x10000000;
    const int is_small = sum < 0x1p-126 && sum > -0x1p-126;
    return (float)(at_tie || is_small ? fma_add_odd_(product, (double)c) : sum);
}

XR_INLINE double fma_pow2_(int n)
{
    const uint64_t bits = (uint64_t)(n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* v = mantissa * 2^exponent for finite v other than 0, 1 <= |mantissa| < 2. */
XR_INLINE double fma_split_(double v, int *exponent)
{
    const int is_small = v < 0x1p-1022 && v > -0x1p-1022;
    v = is_small ? v * 0x1p64 : v;
    uint64_t bits = fma_bits_(v);
    *exponent = (int)(bits >> 52 & 2047) - (is_small ? 1023 + 64 : 1023);
    bits = (bits & 0x800FFFFFFFFFFFFF) | 0x3FF0000000000000;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* a*b + c = high + low, low rounded to odd, so that high + low rounds as a*b + c. */
XR_INLINE double fma_expand_(double a, double b, double c, double *low)
{
    double product_error, part_error, high_error;
    const double product = fma_two_product_(a, b, &product_error);
    const double part = fma_two_sum_(c, product_error, &part_error);
    const double high = fma_two_sum_(product, part, &high_error);
    *low = fma_add_odd_(part_error, high_error);
    return high;
}

/* For finite operands other than 0: the sum is formed with a*b scaled to about 1, where
 * no step can over- or underflow, and scaled back with the one rounding that is due. */
static inline double fma_scaled_f64_(double a, double b, double c)
{
    int a_exponent, b_exponent, c_exponent;
    a = fma_split_(a, &a_exponent);
    b = fma_split_(b, &b_exponent);
    const double c_mantissa = fma_split_(c, &c_exponent);
    const int exponent = a_exponent + b_exponent, ahead = c_exponent - exponent;
    if (ahead > 160) return c; /* a*b is below a quarter of c's last bit */
    /* Below 2^-160, beyond the last bit of a*b, only the sign of c still matters. */
    c = c_mantissa * fma_pow2_(ahead < -160 ? -160 : ahead);
    double low;
    const double high = fma_expand_(a, b, c, &low), sum = high + low;
    /* Here exponent >= -1234, since |c| >= 2^-1074, and |sum| >= 2^-220 or 0. */
    const double tiny = fma_pow2_(exponent < -700 ? -1022 - exponent : -322);
    double scaled = sum;
    if (sum < tiny && sum > -tiny && exponent < -700) {
        /* Subnormal: next to +-tiny, the scaled least normal number, one unit in the
         * last place is the scaled least subnormal. */
        const double base = sum < 0.0 ? -tiny : tiny;
        double rest;
        const double shifted = fma_two_sum_(base, high, &rest);
        scaled = (shifted + fma_add_odd_(rest, low)) - base;
        if (scaled == 0.0 && sum < 0.0) scaled = -0.0;
    }
    const int half = exponent / 2;
    return scaled * fma_pow2_(half) * fma_pow2_(exponent - half);
}

XR_INLINE int fma_between_(double v, double low, double high)
{
    return (v > low && v < high) || (v < -low && v > -high);
}

/* A function of its own: inlined, it makes cells take five times longer to compile. */
XR_NOINLINE XR_MAY_BE_UNUSED static double fma_emulated_f64_(double a, double b,
                                                             double c)
{
    const double huge = 0x1p990, product = a * b;
    double low;
    if (fma_between_(product, 0x1p-960, huge) && a < huge && a > -huge && b < huge &&
        b > -huge && c < huge && c > -huge) {
        const double high = fma_expand_(a, b, c, &low);
        return high + low;
    }
    if (!(a - a == 0.0 && b - b == 0.0)) return product + c;
    if (!(c - c == 0.0)) return c;
    if (a == 0.0 || b == 0.0) return product + c;
    if (c == 0.0) return product;
    return fma_scaled_f64_(a, b, c);
}

#if defined XR_DTYPE_f32 && defined __FP_FAST_FMAF
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return XR_FMA_F32(a, b, c); }
#elif defined XR_DTYPE_f32
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return fma_emulated_f32_(a, b, c); }
#elif defined __FP_FAST_FMA
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return XR_FMA(a, b, c); }
#else
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return fma_emulated_f64_(a, b, c); }
#endif

#if defined XR_DTYPE_f32
XR_INLINE vec vec_sqrt(vec a) { return XR_SQRT_F32(a); }
#else
XR_INLINE vec vec_sqrt(vec a) { return XR_SQRT(a); }
#endif

#endif
