/* The time loop back, for every cell (backpropagation through time).
 *
 * Only the gradient of the previous state has to wait for the step after it. So each
 * step forms dh, calls the cell's point function, which leaves the gradients of the
 * sums in da for the whole sequence, and takes one product with R transposed. Gradients
 * of inputs and weights follow after the loop, over all steps at once (gradients.h).
 *
 * dstates[k][b] holds the gradient of row b's state k: after the step while dh is
 * formed, before the step when its turn is over. Rows come alive at their own last
 * step. Twin: direction_backward in src/exactrnn/_sequence.py.
 */
#ifndef XR_SEQUENCE_BACKWARD_H
#define XR_SEQUENCE_BACKWARD_H

#include "sequence.h"

static const struct backward_pack *backward_pack_of(const struct lane *lane)
{
    return lane->run->problem->packed_backward[lane->direction];
}

static elem *da_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s)
{
    const ptrdiff_t t = time_of(run, direction, b, s);
    return run->da + ((direction * run->T + t) * run->B + b) * run->sums * run->Hp;
}

static elem *dstate_row(const struct run *run, int direction, int k, ptrdiff_t b)
{
    return run->dstates + ((direction * run->states + k) * run->B + b) * run->Hp;
}

static elem *doperand_row(const struct run *run, int direction, ptrdiff_t b)
{
    return run->doperand + (direction * run->B + b) * run->Hp;
}

/* dh += dy for the units of the lane. */
static void add_output_gradient(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive,
                                const struct backward_block *block)
{
    const struct run *run = lane->run;
    if (run->problem->dy.data == NULL) {
        return;
    }
    for (ptrdiff_t i = 0; i < alive; i++) {
        const ptrdiff_t b = row_of(lane, i);
        const ptrdiff_t t = time_of(run, lane->direction, b, s);
        const elem *dy =
            sequence_row(&run->problem->dy, t, b) + lane->direction * run->H;
        elem *dh = block->dstate[0][i];
        for (ptrdiff_t u = block->begin; u < block->end; u += VEC_LANES) {
            const ptrdiff_t left = run->H - u;
            const vec g =
                left < VEC_LANES ? vec_load_part(dy + u, left) : vec_load(dy + u);
            vec_store(dh + u, vec_add(g, vec_load(dh + u)));
        }
    }
}

/* The rows of a step as the cell sees them. */
static struct backward_block backward_rows(const struct lane *lane, ptrdiff_t s,
                                           ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    const struct panels *panels = &backward_pack_of(lane)->r[0];
    struct backward_block block = {
        .rows = alive,
        .begin = panel_first(panels, lane->panel) * VEC_LANES,
        .end = panel_first(panels, lane->panel_end) * VEC_LANES,
        .Hp = run->Hp,
        .layer = run->problem->layer,
    };
    const elem **sums = (const elem **)lane->pointers;
    elem **da = (elem **)lane->pointers + alive;
    const elem **doperand = (const elem **)lane->pointers + 2 * alive;
    block.sums = sums;
    block.da = da;
    block.doperand = doperand;
    for (ptrdiff_t i = 0; i < alive; i++) {
        sums[i] = cached_sums_row(run, d, row_of(lane, i), s);
        da[i] = da_row(run, d, row_of(lane, i), s);
        doperand[i] = doperand_row(run, d, row_of(lane, i));
    }
    const void **next_free = lane->pointers + 3 * alive;
    for (int k = 0; k < run->states; k++, next_free += 3 * alive) {
        const elem **prev = (const elem **)next_free;
        const elem **next = prev + alive;
        elem **dstate = (elem **)next_free + 2 * alive;
        block.prev[k] = prev;
        block.next[k] = next;
        block.dstate[k] = dstate;
        for (ptrdiff_t i = 0; i < alive; i++) {
            prev[i] = state_row(run, d, k, row_of(lane, i), s);
            next[i] = state_row(run, d, k, row_of(lane, i), s + 1);
            dstate[i] = dstate_row(run, d, k, row_of(lane, i));
        }
    }
    return block;
}

/* The recurrent product of a stage, transposed: for stage 0 on top of what the cell
 * left in dh, for stage 1 the gradient of the operand, from zero. */
static void backward_product(const struct lane *lane,
                             const struct backward_block *block, int stage)
{
    const struct run *run = lane->run;
    const struct backward_pack *pack = backward_pack_of(lane);
    const struct product product = {
        .panels = &pack->r[stage],
        .pack = (const elem *)pack,
        .operand = pack->da_r[stage],
        .start = stage == 0 ? NULL : run->zeros,
        .flush = stage == 0,
    };
    elem *const *c = stage == 0 ? block->dstate[0] : (elem *const *)block->doperand;
    xr_barrier_wait(lane->barrier, lane->barrier_size);
    for (ptrdiff_t p = lane->panel; p < lane->panel_end; p++) {
        product_panel(&product, p, min_of(p + 1, lane->panel_end - 1), block->rows,
                      (const elem *const *)block->da, c);
    }
}

static void backward_lane(const struct lane *lane)
{
    const struct run *run = lane->run;
    const ptrdiff_t steps = lane->rows > 0 ? length_of(run, row_of(lane, 0)) : 0;
    for (ptrdiff_t s = steps - 1; s >= 0; s--) {
        const ptrdiff_t alive = rows_alive(lane, lane->rows, s);
        const struct backward_block block = backward_rows(lane, s, alive);
        add_output_gradient(lane, s, alive, &block);
        for (int stage = run->cell->info.stages - 1; stage >= 0; stage--) {
            run->cell->point_backward[stage](&block);
            backward_product(lane, &block, stage);
        }
    }
}

#endif
