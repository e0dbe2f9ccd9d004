/* vec/avx2.h - the vocabulary of vec.h on AVX2 with FMA: 8 floats or 4 doubles.
 * A mask is a vector whose lanes have all bits set or none. Contracts: see vec.h. */
#ifndef XR_VEC_AVX2_H
#define XR_VEC_AVX2_H

#include <immintrin.h>

#define VEC_REGISTERS 16

#if defined XR_DTYPE_f32

#define VEC_LANES 8
typedef __m256 vec;
typedef __m256 vmask;

XR_INLINE __m256i vec_first_(ptrdiff_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

XR_INLINE vec vec_load(const elem *p) { return _mm256_loadu_ps(p); }
XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n)
{
    return _mm256_maskload_ps(p, vec_first_(n));
}
XR_INLINE void vec_store(elem *p, vec v) { _mm256_storeu_ps(p, v); }
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    _mm256_maskstore_ps(p, vec_first_(n), v);
}

XR_INLINE vec vec_set(elem e) { return _mm256_set1_ps(e); }
XR_INLINE vec vec_zero(void) { return _mm256_setzero_ps(); }

XR_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return _mm256_sqrt_ps(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

XR_INLINE vec vec_neg(vec v) { return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)); }
XR_INLINE vec vec_abs(vec v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    return _mm256_or_ps(vec_abs(magnitude), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}

XR_INLINE vmask vec_lt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
XR_INLINE vmask vec_le(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
XR_INLINE vmask vec_eq(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return _mm256_blendv_ps(if_false, if_true, mask);
}
XR_INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
XR_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }

XR_INLINE vec vec_rint(vec v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
XR_INLINE vec vec_pow2_biased(vec t)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}
XR_INLINE vec vec_exponent(vec v)
{
    const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(v), 23);
    const __m256i unit = _mm256_castps_si256(_mm256_set1_ps(ELEM_UNIT));
    return _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(biased, unit)),
                         _mm256_set1_ps(ELEM_UNIT + (elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    const __m256 fraction = _mm256_castsi256_ps(_mm256_set1_epi32(0x007FFFFF));
    return _mm256_or_ps(_mm256_and_ps(v, fraction), _mm256_set1_ps(1.0f));
}

#else

#define VEC_LANES 4
typedef __m256d vec;
typedef __m256d vmask;

XR_INLINE __m256i vec_first_(ptrdiff_t n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n),
                              _mm256_setr_epi64x(0, 1, 2, 3));
}

XR_INLINE vec vec_load(const elem *p) { return _mm256_loadu_pd(p); }
XR_INLINE vec vec_load_part(const elem *p, ptrdiff_t n)
{
    return _mm256_maskload_pd(p, vec_first_(n));
}
XR_INLINE void vec_store(elem *p, vec v) { _mm256_storeu_pd(p, v); }
XR_INLINE void vec_store_part(elem *p, ptrdiff_t n, vec v)
{
    _mm256_maskstore_pd(p, vec_first_(n), v);
}

XR_INLINE vec vec_set(elem e) { return _mm256_set1_pd(e); }
XR_INLINE vec vec_zero(void) { return _mm256_setzero_pd(); }

XR_INLINE vec vec_add(vec a, vec b) { return _mm256_add_pd(a, b); }
XR_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_pd(a, b); }
XR_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_pd(a, b); }
XR_INLINE vec vec_div(vec a, vec b) { return _mm256_div_pd(a, b); }
XR_INLINE vec vec_sqrt(vec a) { return _mm256_sqrt_pd(a); }
XR_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }

XR_INLINE vec vec_neg(vec v) { return _mm256_xor_pd(v, _mm256_set1_pd(-0.0)); }
XR_INLINE vec vec_abs(vec v) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), v); }
XR_INLINE vec vec_copysign(vec magnitude, vec sign)
{
    return _mm256_or_pd(vec_abs(magnitude), _mm256_and_pd(sign, _mm256_set1_pd(-0.0)));
}

XR_INLINE vmask vec_lt(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
XR_INLINE vmask vec_le(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
XR_INLINE vmask vec_eq(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
XR_INLINE vec vec_select(vmask mask, vec if_true, vec if_false)
{
    return _mm256_blendv_pd(if_false, if_true, mask);
}
XR_INLINE vec vec_min(vec a, vec b) { return _mm256_min_pd(a, b); }
XR_INLINE vec vec_max(vec a, vec b) { return _mm256_max_pd(a, b); }

XR_INLINE vec vec_rint(vec v)
{
    return _mm256_round_pd(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
XR_INLINE vec vec_pow2_biased(vec t)
{
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(t), 52));
}
XR_INLINE vec vec_exponent(vec v)
{
    const __m256i biased = _mm256_srli_epi64(_mm256_castpd_si256(v), 52);
    const __m256i unit = _mm256_castpd_si256(_mm256_set1_pd(ELEM_UNIT));
    return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(biased, unit)),
                         _mm256_set1_pd(ELEM_UNIT + (elem)ELEM_BIAS));
}
XR_INLINE vec vec_mantissa(vec v)
{
    const __m256d fraction =
        _mm256_castsi256_pd(_mm256_set1_epi64x(0x000FFFFFFFFFFFFF));
    return _mm256_or_pd(_mm256_and_pd(v, fraction), _mm256_set1_pd(1.0));
}

#endif

#include "kernels/vec/turn256.h"

#endif
