/* vec.h - the vector vocabulary: the only arithmetic a kernel may use.
 *
 * One header per instruction set in vec/ defines the operations below, for the element
 * type this translation unit is compiled for. The rest of csrc/kernels/ is written in
 * them alone, so the same source means the same bits on every instruction set: each
 * operation is one of contract N2, rounds once, to nearest even, and never mixes lanes.
 * A new instruction set is one more header and one more line at the `#if` below.
 *
 * Every kernels file is compiled with -DXR_ISA=avx2 -DXR_ISA_avx2 (avx512, neon, scalar
 * alike) and -DXR_DTYPE=f32 -DXR_DTYPE_f32 (or f64).
 *
 * Types      elem               float or double
 *            vec                VEC_LANES elements in a register
 *            vmask              one truth value per lane
 * Memory     vec_load(p)        no alignment needed, here and below
 *            vec_load_part(p,n) 0 <= n <= VEC_LANES: lanes from n on are +0.0 and the
 *                               memory behind them is not touched
 *            vec_store(p,v)     p[lane] = v
 *            vec_store_part(p,n,v)   only the first n lanes are written
 *            vec_turn(to,to_step,p,step)   a square of memory, turned: its rows become
 *                               lanes, to[k * to_step + lane] = p[lane * step + k]
 * Values     vec_set(e)         e in every lane        vec_zero()  +0.0
 * Rounded    vec_add sub mul div (a,b)     vec_sqrt(a)     vec_fma(a,b,c) = a*b + c
 * Signs      vec_neg(v)  vec_abs(v)  vec_copysign(magnitude, sign)   also of zeros, NaN
 * Compare    vec_lt le eq (a,b)            false where an operand is NaN
 *            vec_select(mask, if_true, if_false)
 *            vec_min(a,b) = a < b ? a : b  vec_max(a,b) = a > b ? a : b
 *                               the second operand where they are equal or one is NaN
 * Integers   vec_rint(v)        nearest, ties to even, sign of zero kept;
 *                               |v| < 2^22 (f32), 2^51 (f64), or a NaN
 *            vec_pow2_biased(t) 2^n for t = VEC_POW2_BIAS + n, 2^n normal: a shift. For
 *                               any other t some value, no trap
 *            vec_exponent(v), vec_mantissa(v)   e and 1 <= m < 2 of a normal v = m*2^e,
 *                               v > 0 (all others: some value)
 *
 * The NumPy twin of this file is src/exactrnn/reference/arith.py. */
#ifndef XR_VEC_H
#define XR_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#define XR_PASTE2_(stem, a) stem##_##a
#define XR_PASTE2(stem, a) XR_PASTE2_(stem, a)
#define XR_PASTE3_(stem, a, b) stem##_##a##_##b
#define XR_PASTE3(stem, a, b) XR_PASTE3_(stem, a, b)

/* The exported name of a descriptor: XR_NAME(stem) is stem_avx2_f32. */
#define XR_NAME(stem) XR_PASTE3(stem, XR_ISA, XR_DTYPE)
/* A table that exists for both element types: XR_TYPED(stem) is stem_f32, stem_f64. */
#define XR_TYPED(stem) XR_PASTE2(stem, XR_DTYPE)
#define XR_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* An element, the unsigned integer of its size, its fraction bits and bias; and
 * XR_EITHER(a, b), the one of two constants that is meant for the element type. */
#if defined XR_DTYPE_f32
#define XR_EITHER(f32, f64) (f32)
typedef float elem;
typedef uint32_t elem_bits;
enum { ELEM_FRACTION_BITS = 23, ELEM_BIAS = 127 };
#elif defined XR_DTYPE_f64
#define XR_EITHER(f32, f64) (f64)
typedef double elem;
typedef uint64_t elem_bits;
enum { ELEM_FRACTION_BITS = 52, ELEM_BIAS = 1023 };
#else
#error "no element type: compile with -DXR_DTYPE=f32 -DXR_DTYPE_f32, or f64"
#endif

/* 2^23 or 2^52, from where neighbouring elements lie 1 apart, and 1.5 times it. */
#define ELEM_UNIT ((elem)((elem_bits)1 << ELEM_FRACTION_BITS))
#define ELEM_ROUNDER ((elem)1.5 * ELEM_UNIT)
/* The low bits of ROUNDER + bias + n are n's biased exponent: see vec_pow2_biased. */
#define VEC_POW2_BIAS (ELEM_ROUNDER + (elem)ELEM_BIAS)

#if defined XR_ISA_avx512
#include "kernels/vec/avx512.h"
#elif defined XR_ISA_avx2
#include "kernels/vec/avx2.h"
#elif defined XR_ISA_neon
#include "kernels/vec/neon.h"
#elif defined XR_ISA_scalar
#include "kernels/vec/scalar.h"
#else
#error "no instruction set: compile with -DXR_ISA=scalar -DXR_ISA_scalar, or another"
#endif

/* 2^n for an integral n whose power is a normal number. */
XR_INLINE vec vec_pow2(vec n)
{
    return vec_pow2_biased(vec_add(n, vec_set(VEC_POW2_BIAS)));
}

#endif
