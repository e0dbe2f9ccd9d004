/* vec/neon.h - the vocabulary of vec.h on aarch64 Advanced SIMD: 4 floats or 2 doubles.
 * There are no masked loads and stores: a part goes through a whole vector on the
 * stack. min and max are compare and select, because FMIN and FMAX treat NaN and zeros
 * otherwise. Contracts stand in vec.h. */
#ifndef XR_VEC_NEON_H
#define XR_VEC_NEON_H

#include <arm_neon.h>

#define VEC_REGISTERS 32

#if defined XR_DTYPE_f32

#define VEC_LANES 4
typedef float32x4_t vec;
typedef uint32x4_t vmask;

XR_INLINE vec vec_load(const elem *p) { return vld1q_f32(p); }
XR_INLINE void vec_store(elem *p, vec v) { vst1q_f32(p, v); }
XR_INLINE vec vec_pairs_(vec a, vec b, const int high)
{
    const float64x2_t one = vreinterpretq_f64_f32(a), two = vreinterpretq_f64_f32(b);
    return vreinterpretq_f32_f64(high ? vzip2q_f64(one, two) : vzip1q_f64(one, two));
}
XR_INLINE void vec_turn(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
    const vec a = vec_load(p), b = vec_load(p + step);
    const vec c = vec_load(p + 2 * step), d = vec_load(p + 3 * step);
    const vec ab = vzip1q_f32(a, b), cd = vzip1q_f32(c, d);
    const vec AB = vzip2q_f32(a, b), CD = vzip2q_f32(c, d);
    vec_store(to, vec_pairs_(ab, cd, 0));
    vec_store(to + to_step, vec_pairs_(ab, cd, 1));
    vec_store(to + 2 * to_step, vec_pairs_(AB, CD, 0));
    vec_store(to + 3 * to_step, vec_pairs_(AB, CD, 1));
}

XR_INLINE vec vec_set(elem e) { return vdupq_n_f32(e); }
XR_INLINE vec vec_zero(void) { return vdupq_n_f32(0.0f); }

XR_INLINE vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return vsubq_f32(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return vdivq_f32(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return vsqrtq_f32(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

XR_INLINE vec vec_neg(vec v) { return vnegq_f32(v); }
XR_INLINE vec vec_abs(vec v) { return vabsq_f32(v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude);
}

XR_INLINE vmask vec_lt(vec a, vec b) { return vcltq_f32(a, b); }
XR_INLINE vmask vec_le(vec a, vec b) { return vcleq_f32(a, b); }
XR_INLINE vmask vec_eq(vec a, vec b) { return vceqq_f32(a, b); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return vbslq_f32(mask, if_true, if_false);
}

XR_INLINE vec vec_rint(vec v) { return vrndnq_f32(v); }
XR_INLINE vec vec_pow2_biased(vec t)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23));
}
XR_INLINE vec vec_exponent(vec v)
{
    const uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(v), 23);
    return vsubq_f32(vcvtq_f32_u32(biased), vdupq_n_f32((elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    return vbslq_f32(vdupq_n_u32(0x007FFFFFu), v, vdupq_n_f32(1.0f));
}

#else

#define VEC_LANES 2
typedef float64x2_t vec;
typedef uint64x2_t vmask;

XR_INLINE vec vec_load(const elem *p) { return vld1q_f64(p); }
XR_INLINE void vec_store(elem *p, vec v) { vst1q_f64(p, v); }
XR_INLINE void vec_turn(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
    const vec a = vec_load(p), b = vec_load(p + step);
    vec_store(to, vzip1q_f64(a, b));
    vec_store(to + to_step, vzip2q_f64(a, b));
}

XR_INLINE vec vec_set(elem e) { return vdupq_n_f64(e); }
XR_INLINE vec vec_zero(void) { return vdupq_n_f64(0.0); }

XR_INLINE vec vec_add(vec a, vec b) { return vaddq_f64(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return vsubq_f64(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return vmulq_f64(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return vdivq_f64(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return vsqrtq_f64(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }

XR_INLINE vec vec_neg(vec v) { return vnegq_f64(v); }
XR_INLINE vec vec_abs(vec v) { return vabsq_f64(v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    return vbslq_f64(vdupq_n_u64(0x8000000000000000u), sign, magnitude);
}

XR_INLINE vmask vec_lt(vec a, vec b) { return vcltq_f64(a, b); }
XR_INLINE vmask vec_le(vec a, vec b) { return vcleq_f64(a, b); }
XR_INLINE vmask vec_eq(vec a, vec b) { return vceqq_f64(a, b); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return vbslq_f64(mask, if_true, if_false);
}

XR_INLINE vec vec_rint(vec v) { return vrndnq_f64(v); }
XR_INLINE vec vec_pow2_biased(vec t)
{
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(t), 52));
}
XR_INLINE vec vec_exponent(vec v)
{
    const uint64x2_t biased = vshrq_n_u64(vreinterpretq_u64_f64(v), 52);
    return vsubq_f64(vcvtq_f64_u64(biased), vdupq_n_f64((elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    return vbslq_f64(vdupq_n_u64(0x000FFFFFFFFFFFFFu), v, vdupq_n_f64(1.0));
}

#endif

XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n)
{
    elem whole[VEC_LANES] = {0};
    for (ptrdiff_t lane = 0; lane < n; lane++)
        whole[lane] = p[lane];
    return vec_load(whole);
}
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    elem whole[VEC_LANES];
    vec_store(whole, v);
    for (ptrdiff_t lane = 0; lane < n; lane++)
        p[lane] = whole[lane];
}

XR_INLINE vec vec_min(vec a, vec b) { return vec_select(vec_lt(a, b), a, b); }
XR_INLINE vec vec_max(vec a, vec b) { return vec_select(vec_lt(b, a), a, b); }

#endif
