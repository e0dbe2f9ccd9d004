/* Whole numbers that sizes and shares are made of. */
#ifndef XR_SIZES_H
#define XR_SIZES_H

#include "base/calls.h"

static inline ptrdiff_t min_of(ptrdiff_t n, ptrdiff_t m) { return n < m ? n : m; }

static inline ptrdiff_t max_of(ptrdiff_t n, ptrdiff_t m) { return n > m ? n : m; }

static inline ptrdiff_t ceil_div(ptrdiff_t n, ptrdiff_t d) { return (n + d - 1) / d; }

/* The length of the row in which n units lie inside. */
static inline ptrdiff_t pad_units(ptrdiff_t n)
{
    return ceil_div(n, XR_UNIT_PAD) * XR_UNIT_PAD;
}

#endif
