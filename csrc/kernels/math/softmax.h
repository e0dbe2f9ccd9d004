/* The softmax of VEC_LANES rows at once, transposed to [columns][VEC_LANES], so that
 * its sums run down the lanes in their order: what the cross-entropy (dense.c) and CTC
 * (ctc.c) share. Twin: softmax_xent in src/exactrnn/reference/dense.py.
 */
#ifndef XR_SOFTMAX_H
#define XR_SOFTMAX_H

#include "kernels/math/elementary.h"

enum {
    EXP_WORK = 16 /* multiplications that an exponential and its row's share cost */
};

/* Lanes beyond `count` rows are zero. */
static void transpose_rows(elem *lanes, const elem *rows, ptrdiff_t count,
                           ptrdiff_t row_step, ptrdiff_t columns)
{
    for (ptrdiff_t r = 0; r < count; r++) {
        for (ptrdiff_t v = 0; v < columns; v++) {
            lanes[v * VEC_LANES + r] = rows[r * row_step + v];
        }
    }
    for (ptrdiff_t r = count; r < VEC_LANES; r++) {
        for (ptrdiff_t v = 0; v < columns; v++) {
            lanes[v * VEC_LANES + r] = 0;
        }
    }
}

/* Turns logits [V][VEC_LANES] into e = exp(logit - m), m being the largest of a lane,
 * and `offset` into log(s) + m. Returns s, the sum of e. */
static vec softmax_lanes(elem *lanes, ptrdiff_t V, elem *offset)
{
    vec m = vec_load(lanes);
    for (ptrdiff_t v = 1; v < V; v++) {
        m = vec_max(vec_load(lanes + v * VEC_LANES), m);
    }
    vec s = vec_zero();
    for (ptrdiff_t v = 0; v < V; v++) {
        vec e = vec_exp(vec_sub(vec_load(lanes + v * VEC_LANES), m));
        vec_store(lanes + v * VEC_LANES, e);
        s = vec_add(s, e);
    }
    vec_store(offset, vec_add(vec_log(s), m));
    return s;
}

#endif
