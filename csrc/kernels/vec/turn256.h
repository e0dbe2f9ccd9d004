/* vec/turn256.h - rows become lanes, in registers of 256 bits: for avx2.h, and for
 * avx512.h too, where 16 rows at once would be more than the L1 has ways if they lie a
 * power of two apart (512 units: 12 GB/s instead of 30). */
#ifndef XR_VEC_TURN256_H
#define XR_VEC_TURN256_H

#include <immintrin.h>

#if defined XR_DTYPE_f32

enum { TURN_ROWS_ = 8 };

XR_INLINE __m256 turn_halves_(const elem *p, ptrdiff_t step)
{
    const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_insertf128_ps(low, _mm_loadu_ps(p + step), 1);
}
XR_INLINE __m256 turn_pairs_(__m256 a, __m256 b, const int high)
{
    const __m256d one = _mm256_castps_pd(a), two = _mm256_castps_pd(b);
    return _mm256_castpd_ps(high ? _mm256_unpackhi_pd(one, two)
                                 : _mm256_unpacklo_pd(one, two));
}
/* Four columns of eight rows. */
XR_INLINE void turn_columns_(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
    const __m256 a = turn_halves_(p, 4 * step);
    const __m256 b = turn_halves_(p + step, 4 * step);
    const __m256 c = turn_halves_(p + 2 * step, 4 * step);
    const __m256 d = turn_halves_(p + 3 * step, 4 * step);
    const __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
    const __m256 AB = _mm256_unpackhi_ps(a, b), CD = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(to, turn_pairs_(ab, cd, 0));
    _mm256_storeu_ps(to + to_step, turn_pairs_(ab, cd, 1));
    _mm256_storeu_ps(to + 2 * to_step, turn_pairs_(AB, CD, 0));
    _mm256_storeu_ps(to + 3 * to_step, turn_pairs_(AB, CD, 1));
}

enum { TURN_COLUMNS_ = 4 };

#else

enum { TURN_ROWS_ = 4 };

XR_INLINE __m256d turn_halves_(const elem *p, ptrdiff_t step)
{
    const __m256d low = _mm256_castpd128_pd256(_mm_loadu_pd(p));
    return _mm256_insertf128_pd(low, _mm_loadu_pd(p + step), 1);
}
/* Two columns of four rows. */
XR_INLINE void turn_columns_(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
    const __m256d a = turn_halves_(p, 2 * step);
    const __m256d b = turn_halves_(p + step, 2 * step);
    _mm256_storeu_pd(to, _mm256_unpacklo_pd(a, b));
    _mm256_storeu_pd(to + to_step, _mm256_unpackhi_pd(a, b));
}

enum { TURN_COLUMNS_ = 2 };

#endif

XR_INLINE void vec_turn(elem *to, ptrdiff_t to_step, const elem *p, ptrdiff_t step)
{
#pragma GCC unroll 2
    for (int row = 0; row < VEC_LANES; row += TURN_ROWS_) {
#pragma GCC unroll 4
        for (int k = 0; k < VEC_LANES; k += TURN_COLUMNS_) {
            turn_columns_(to + k * to_step + row, to_step, p + row * step + k, step);
        }
    }
}

#endif
