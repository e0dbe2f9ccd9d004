/* Whole numbers that sizes and shares are made of. */
#ifndef XR_SIZES_H
#define XR_SIZES_H

#include "base/calls.h"

static inline ptrdiff_t min_of(ptrdiff_t n, ptrdiff_t m) { return n < m ? n : m; }

static inline ptrdiff_t max_of(ptrdiff_t n, ptrdiff_t m) { return n > m ? n : m; }

/* The product and the sum of counts of work, at most PTRDIFF_MAX: sizes whose arrays
 * can be counted may come to more multiplications than that. */
static inline ptrdiff_t work_times(ptrdiff_t n, ptrdiff_t m)
{
    const ptrdiff_t small = (ptrdiff_t)1 << (4 * sizeof n - 1);
    if (n < small && m < small) { /* as nearly always: no division */
        return n * m;
    }
    return m > 0 && n > PTRDIFF_MAX / m ? PTRDIFF_MAX : n * m;
}

static inline ptrdiff_t work_plus(ptrdiff_t n, ptrdiff_t m)
{
    return n > PTRDIFF_MAX - m ? PTRDIFF_MAX : n + m;
}

static inline ptrdiff_t ceil_div(ptrdiff_t n, ptrdiff_t d) { return (n + d - 1) / d; }

/* The length of the row in which n units lie inside. */
static inline ptrdiff_t pad_units(ptrdiff_t n)
{
    return ceil_div(n, XR_UNIT_PAD) * XR_UNIT_PAD;
}

#endif
