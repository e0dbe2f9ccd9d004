/* vec/avx512.h - the vocabulary of vec.h on AVX-512 F, DQ, BW, VL: 16 floats or 8
 * doubles. Masks are mask registers. Contracts stand in vec.h. */
#ifndef XR_VEC_AVX512_H
#define XR_VEC_AVX512_H

#include <immintrin.h>

#define VEC_REGISTERS 32

#if defined XR_DTYPE_f32

#define VEC_LANES 16
typedef __m512 vec;
typedef __mmask16 vmask;

XR_INLINE vmask vec_first_(ptrdiff_t n)
{
    return _cvtu32_mask16((1u << (unsigned)n) - 1u);
}

XR_INLINE vec vec_load(const elem *p) { return _mm512_loadu_ps(p); }
XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n)
{
    return _mm512_maskz_loadu_ps(vec_first_(n), p);
}
XR_INLINE void vec_store(elem *p, vec v) { _mm512_storeu_ps(p, v); }
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    _mm512_mask_storeu_ps(p, vec_first_(n), v);
}

XR_INLINE vec vec_set(elem e) { return _mm512_set1_ps(e); }
XR_INLINE vec vec_zero(void) { return _mm512_setzero_ps(); }

XR_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return _mm512_sqrt_ps(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

XR_INLINE vec vec_neg(vec v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f)); }
XR_INLINE vec vec_abs(vec v) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    /* 0xE4 picks, bit for bit, `sign` where the mask is set, else `magnitude`. */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_castps_si512(sign), _mm512_castps_si512(magnitude),
        _mm512_castps_si512(_mm512_set1_ps(-0.0f)), 0xE4));
}

XR_INLINE vmask vec_lt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
XR_INLINE vmask vec_le(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
XR_INLINE vmask vec_eq(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return _mm512_mask_blend_ps(mask, if_false, if_true);
}
XR_INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
XR_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }

XR_INLINE vec vec_rint(vec v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
XR_INLINE vec vec_pow2_biased(vec t)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}
XR_INLINE vec vec_exponent(vec v)
{
    const __m512i biased = _mm512_srli_epi32(_mm512_castps_si512(v), 23);
    const __m512i unit = _mm512_castps_si512(_mm512_set1_ps(ELEM_UNIT));
    return _mm512_sub_ps(_mm512_castsi512_ps(_mm512_or_si512(biased, unit)),
                         _mm512_set1_ps(ELEM_UNIT + (elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    const __m512 fraction = _mm512_castsi512_ps(_mm512_set1_epi32(0x007FFFFF));
    return _mm512_or_ps(_mm512_and_ps(v, fraction), _mm512_set1_ps(1.0f));
}

#else

#define VEC_LANES 8
typedef __m512d vec;
typedef __mmask8 vmask;

XR_INLINE vmask vec_first_(ptrdiff_t n)
{
    return _cvtu32_mask8((1u << (unsigned)n) - 1u);
}

XR_INLINE vec vec_load(const elem *p) { return _mm512_loadu_pd(p); }
XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n)
{
    return _mm512_maskz_loadu_pd(vec_first_(n), p);
}
XR_INLINE void vec_store(elem *p, vec v) { _mm512_storeu_pd(p, v); }
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    _mm512_mask_storeu_pd(p, vec_first_(n), v);
}

XR_INLINE vec vec_set(elem e) { return _mm512_set1_pd(e); }
XR_INLINE vec vec_zero(void) { return _mm512_setzero_pd(); }

XR_INLINE vec vec_add(vec a, vec b) { return _mm512_add_pd(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_pd(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_pd(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return _mm512_div_pd(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return _mm512_sqrt_pd(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }

XR_INLINE vec vec_neg(vec v) { return _mm512_xor_pd(v, _mm512_set1_pd(-0.0)); }
XR_INLINE vec vec_abs(vec v) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    /* 0xE4 picks, bit for bit, `sign` where the mask is set, else `magnitude`. */
    return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(
        _mm512_castpd_si512(sign), _mm512_castpd_si512(magnitude),
        _mm512_castpd_si512(_mm512_set1_pd(-0.0)), 0xE4));
}

XR_INLINE vmask vec_lt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
XR_INLINE vmask vec_le(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
XR_INLINE vmask vec_eq(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return _mm512_mask_blend_pd(mask, if_false, if_true);
}
XR_INLINE vec vec_min(vec a, vec b) { return _mm512_min_pd(a, b); }
XR_INLINE vec vec_max(vec a, vec b) { return _mm512_max_pd(a, b); }

XR_INLINE vec vec_rint(vec v)
{
    return _mm512_roundscale_pd(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
XR_INLINE vec vec_pow2_biased(vec t)
{
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(t), 52));
}
XR_INLINE vec vec_exponent(vec v)
{
    const __m512i biased = _mm512_srli_epi64(_mm512_castpd_si512(v), 52);
    const __m512i unit = _mm512_castpd_si512(_mm512_set1_pd(ELEM_UNIT));
    return _mm512_sub_pd(_mm512_castsi512_pd(_mm512_or_si512(biased, unit)),
                         _mm512_set1_pd(ELEM_UNIT + (elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    const __m512d fraction = _mm512_castsi512_pd(_mm512_set1_epi64(0x000FFFFFFFFFFFFF));
    return _mm512_or_pd(_mm512_and_pd(v, fraction), _mm512_set1_pd(1.0));
}

#endif

#include "kernels/vec/turn256.h"

#endif
