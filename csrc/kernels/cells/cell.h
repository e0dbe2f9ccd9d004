/* What a cell file provides, and what it is given.
 *
 * The engine (sequence_forward.h, sequence_backward.h) owns time, products, lengths,
 * directions, threads and memory. A cell owns the elementwise mathematics of one step:
 * it is called with a block of batch rows and a range of units, each row as a pointer,
 * and works on whole vectors of units. Rows are padded to Hp, the padding holds finite
 * values that nobody reads, so a cell never looks at H.
 *
 * A cell with two stages is called once for each: stage 0 forward writes the operands
 * of the second recurrent products, stage 1 the new states; backward runs them in
 * reverse, with the gradients of the operands computed in between. A cell that projects
 * has H units in stage 0 and O in stage 1. Where a unit is a block of several cells,
 * each has its sum and its states, in vectors of their own.
 *
 * The twin of a cell file foo.c is src/exactrnn/reference/cells/foo.py: same functions,
 * same order.
 */
#ifndef XR_CELL_H
#define XR_CELL_H

#include "exactrnn.h"
#include "kernels/vec.h"

/* Rows are arrays of pointers, [rows]; every pointed-to row starts at unit 0. */
struct forward_block {
    ptrdiff_t rows;
    ptrdiff_t begin, end; /* units, multiples of VEC_LANES */
    ptrdiff_t Hp;         /* from one sum of a row to the next */
    elem *const *sums;    /* [S, Hp]: in, pre-activations; out, if `keep`, the cache */
    const elem *const *prev[XR_MAX_STATES]; /* [Hp] each */
    elem *const *next[XR_MAX_STATES];       /* [Hp] each, never prev */
    elem *const *operand[XR_MAX_OPERANDS];  /* [Hp] each, out in stage 0 */
    const elem *const *lower;               /* [Hp], if the cell takes it */
    const elem *vectors;                    /* [V, Hp] */
    int keep;
    const struct xr_layer *layer;
    const struct xr_cell_info *info; /* of the layer with its options */
};

struct backward_block {
    ptrdiff_t rows;
    ptrdiff_t begin, end;
    ptrdiff_t Hp;
    const elem *const *sums; /* [S, Hp] as forward left them in the cache */
    const elem *const *prev[XR_MAX_STATES]; /* states before the step */
    const elem *const *next[XR_MAX_STATES]; /* states after it */
    const elem *const *lower;
    const elem *vectors;                /* [V, Hp] */
    elem *const *da;                    /* [S, Hp] out: gradients of the sums */
    elem *const *dstate[XR_MAX_STATES]; /* [Hp] in: gradient of the states after the
                                         * step; out: of those before it. For h only
                                         * its elementwise part, on which the engine
                                         * continues with R transposed, and for the
                                         * states of links likewise. */
    const elem *const *doperand[XR_MAX_OPERANDS]; /* [Hp], for stage 0 */
    elem *const *dlower;                          /* [Hp] out */
    int truncated; /* write into dstate no path through per-unit weights */
    const struct xr_layer *layer;
    const struct xr_cell_info *info;
};

/* `adapt` edits a copy of the info for a layer's options; NULL where there are none. */
struct xr_cell {
    struct xr_cell_info info;
    void (*adapt)(const struct xr_layer *layer, struct xr_cell_info *info);
    void (*point_forward[XR_MAX_STAGES])(const struct forward_block *block);
    void (*point_backward[XR_MAX_STAGES])(const struct backward_block *block);
};

/* 1 - y*y: the derivative of tanh from its value. */
XR_INLINE vec tanh_slope(vec y) { return vec_fma(vec_neg(y), y, vec_set((elem)1)); }

/* s*(1 - s): the derivative of the sigmoid from its value. */
XR_INLINE vec sigmoid_slope(vec s) { return vec_mul(s, vec_sub(vec_set((elem)1), s)); }

#endif
