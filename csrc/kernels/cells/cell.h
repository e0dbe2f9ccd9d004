/* What a cell file provides, and what it is given.
 *
 * The engine (layer/sequence_forward.h, sequence_backward.h) owns time, products,
 * lengths, directions, threads and memory. A cell owns the elementwise mathematics of
 * one step: it is called with some rows of the batch and a range of units, each row as
 * a pointer, and works on whole vectors of units. Rows are padded to Hp, the padding
 * holds finite values that nobody reads, so a cell never looks at H.
 *
 * Where a unit is a memory block, each of its memory cells has its sum and its states,
 * in vectors of their own.
 *
 * Two stages. Forward, stage 0 writes the operands of the second recurrent products,
 * the engine takes these, and stage 1 writes the new states. Back, stage 1 comes first,
 * the engine makes the gradients of the operands, and stage 0 reads them. Both stages
 * of a step see the same rows, and one may leave there what the other needs, unit by
 * unit (where there are more, as in program.c, each next two are like these two, and
 * one without products reads, of all units, what the one before has left):
 *
 *     sums    Stage 0 may leave any values in the places of its own sums, also without
 *             `keep`. In those of stage 1's sums their input products or biases wait
 *             for the recurrent products: stage 0 lets them be.
 *     da      Stage 1 writes da of all its sums, whose products follow at once. It may
 *             write da of stage 0's sums too, for good or as a note to stage 0: nobody
 *             else reads them before that is over. Then every da has its final value
 *             for every unit, flushed; none was zero to begin with.
 *     dstate  Stage 1 finds the gradients of the states after the step, and stage 0
 *             what stage 1 has left. So stage 1 puts the way from dh to h_prev there
 *             (dh * z of a gated unit), and stage 0 adds the ways that lead through
 *             the operands (ds * r of s = r * h_prev).
 *
 * When stage 0 is over, or the only stage, dstate holds
 *
 *     of h and all other states that R or links see, what reaches the state before
 *     the step unit by unit, +0.0 if nothing does: the engine adds the products with
 *     the transposed matrix and flushes the sum;
 *     of any other state (c), the whole gradient, flushed.
 *
 * A cell that projects has H units in stage 0 and O in stage 1. Its stages can hand on
 * nothing unit by unit, so stage 1 leaves dstate of h as it is to be in the end: +0.0.
 * mut1.c and gru_before.c are cells of two stages, jordan.c is one that projects.
 *
 * The twin of a cell file foo.c is src/exactrnn/reference/cells/foo.py: same functions,
 * same order.
 */
#ifndef XR_CELL_H
#define XR_CELL_H

#include "exactrnn.h"
#include "kernels/vec.h"

/* Rows are arrays of pointers, [rows]; every pointed-to row starts at unit 0. */
struct forward_step {
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

struct backward_step {
    ptrdiff_t rows;
    ptrdiff_t begin, end;
    ptrdiff_t Hp;
    const elem *const *sums; /* [S, Hp] as forward left them in the cache */
    const elem *const *prev[XR_MAX_STATES]; /* states before the step */
    const elem *const *next[XR_MAX_STATES]; /* states after it */
    const elem *const *lower;
    const elem *vectors;                /* [V, Hp] */
    elem *const *da;                    /* [S, Hp] out: gradients of the sums */
    elem *const *dstate[XR_MAX_STATES]; /* [Hp] in: gradients of the states after the
                                         * step; out: of those before it (see above) */
    const elem *const *doperand[XR_MAX_OPERANDS]; /* [Hp], for stage 0 */
    elem *const *dlower;                          /* [Hp] out */
    int truncated; /* leave in dstate nothing that goes through per-unit weights; the
                    * engine clears what R or links would see */
    const struct xr_layer *layer;
    const struct xr_cell_info *info;
};

/* The vectors of some rows' units, row by row, as one loop: in a loop over units within
 * one over rows, which a panel ends after a few vectors, the compiler sets up the
 * constants of the activations anew for each row. */
struct vectors {
    ptrdiff_t b, u; /* the row and the first unit of the vector */
    ptrdiff_t rows, begin, end;
};

XR_INLINE struct vectors vectors_of(ptrdiff_t rows, ptrdiff_t begin, ptrdiff_t end)
{
    return (struct vectors){begin < end ? 0 : rows, begin, rows, begin, end};
}

XR_INLINE void next_vector(struct vectors *at)
{
    at->u += VEC_LANES;
    if (at->u >= at->end) {
        at->u = at->begin;
        at->b++;
    }
}

/* `adapt` edits a copy of the info for a layer's options; NULL where there are none. */
struct xr_cell {
    struct xr_cell_info info;
    void (*adapt)(const struct xr_layer *layer, struct xr_cell_info *info);
    void (*point_forward[XR_MAX_STAGES])(const struct forward_step *step);
    void (*point_backward[XR_MAX_STAGES])(const struct backward_step *step);
};

#endif
