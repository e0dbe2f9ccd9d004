/* A grid back: wavefronts and phases in reverse.
 *
 * dh[k] and dm[k] hold, for each line, the gradient of the state behind the point whose
 * turn it is; when its turn is over, of the state before it. Within a block
 *
 *     phase by phase, the last first, for each dimension k of the phase
 *         dh'_k += sum over the dimensions that have read h'_k, k ascending
 *         point function: da_k, dm_k
 *     for each dimension k
 *         dh_k = sum over the dimensions that have read h_k, k ascending
 *
 * Each of these sums is one chain over the gate rows of the dimensions that read, one
 * after the other in storage order; it starts at what the next point or the far border
 * has left in dh'_k, or at +0.0, and is flushed at its end (contract N3, N6).
 * Twin: grid_backward in src/exactrnn/reference/grid.py.
 */
#ifndef XR_GRID_BACKWARD_H
#define XR_GRID_BACKWARD_H

#include "kernels/grid/point.h"
#include "kernels/grid/run.h"

/* Returns whether dimension `reader` takes the new h'_k of its own block, or the old
 * h_k. */
static int grid_reads_new(const struct xr_grid_block *block, int reader, int k)
{
    return block->phase[k] < block->phase[reader];
}

/* Lets dh[k] go on over the gate rows of `reader`, from +0.0 if that is the first. */
static void grid_back_product(const struct grid_lane *lane, int reader, int k,
                              int is_first, int is_last)
{
    const struct grid_run *run = lane->run;
    const struct grid_rows *rows = lane->rows;
    const struct grid_pack *pack =
        run->problem->packed_backward[rows->set * run->N + reader];
    const struct panels panels = grid_slice(pack, k);
    const struct product product = {
        .panels = &panels,
        .pack = (const elem *)pack,
        .operand = {.count = pack->gates, .segment = pack->da},
        .start = is_first ? run->zeros : NULL,
        .flush = is_last,
    };
    for (ptrdiff_t p = 0; p < panels.count; p++) {
        if (xr_leaves(lane->watch, rows->rows * panel_work(&panels))) {
            return;
        }
        product_panel(&product, p, min_of(p + 1, panels.count - 1), rows->rows,
                      (const elem *const *)rows->da[reader], rows->dh[k]);
    }
}

/* Takes the chain of dh'_k (`new`), or that of dh_k, over all that have read it. */
static void grid_back_chain(const struct grid_lane *lane, int k, int new)
{
    const struct xr_grid_block *block = lane->run->block;
    int last = -1, is_first = !new;
    for (int reader = 0; reader < block->N; reader++) {
        last = grid_reads_new(block, reader, k) == new ? reader : last;
    }
    for (int reader = 0; reader <= last; reader++) {
        if (grid_reads_new(block, reader, k) == new) {
            grid_back_product(lane, reader, k, is_first, reader == last);
            is_first = 0;
        }
    }
}

static void grid_point_backward(const struct grid_lane *lane, int k)
{
    const struct grid_rows *rows = lane->rows;
    const struct xr_grid_block *block = lane->run->block;
    const struct grid_backward_part part = {
        .rows = rows->rows,
        .begin = 0,
        .end = ceil_div(block->H, VEC_LANES) * VEC_LANES,
        .Hp = lane->run->Hp,
        .gates = (const elem *const *)rows->sums[k],
        .m_prev = (const elem *const *)rows->m_prev[k],
        .h_next = (const elem *const *)rows->h_next[k],
        .m_next = (const elem *const *)rows->m_next[k],
        .dh = rows->dh[k],
        .dm = rows->dm[k],
        .da = rows->da[k],
        .activation = block->activation[k],
        .tanh_outside = block->tanh_outside,
    };
    if (block->memory[k]) {
        grid_lstm_backward(&part);
    } else {
        grid_plain_backward(&part);
    }
}

/* Returns whether the gradients of h_1 are left for the end of a plane, where they are
 * taken for all its points at once. */
static int grid_waits(const struct grid_run *run) { return run->planes && run->N > 1; }

static void grid_rows_backward(const struct grid_lane *lane)
{
    const struct grid_run *run = lane->run;
    for (int phase = run->phases - 1; phase >= 0; phase--) {
        for (int k = 0; k < run->N; k++) {
            if (run->block->phase[k] == phase) {
                grid_back_chain(lane, k, 1);
                grid_point_backward(lane, k);
            }
        }
    }
    for (int k = grid_waits(run); k < run->N; k++) {
        grid_back_chain(lane, k, 0);
    }
}

/* Takes the gradients of h_1 for which the plane before is waiting. */
static void grid_rows_behind(const struct grid_lane *lane)
{
    grid_back_chain(lane, 0, 0);
}

/* Takes an item through one wavefront, the last one first, where points are shared, or
 * through all. */
static void grid_backward_waves(const struct grid_run *run, ptrdiff_t phase, int item,
                                struct xr_watch *watch)
{
    const struct grid_lane lane = grid_make_lane(run, item, watch);
    const int by_waves = grid_goes_by_waves(run);
    const ptrdiff_t first = run->waves - 1 - phase;
    const ptrdiff_t end = by_waves ? first - 1 : -1;
    for (ptrdiff_t w = first; lane.batch_rows > 0 && w > end; w--) {
        if (grid_go_through(&lane, w, w + 1, grid_rows_backward)) {
            return;
        }
        if (grid_waits(run) && w % run->plane_waves == 0 &&
            grid_go_through(&lane, w, w + run->plane_waves, grid_rows_behind)) {
            return;
        }
    }
}

/* Copies the gradients of the far borders from the caller, or +0.0 on lines that a row
 * lacks. */
static void grid_take_gradients(const struct grid_run *run)
{
    const struct xr_grid_problem *problem = run->problem;
    for (int k = 0; k < run->N; k++) {
        for (ptrdiff_t row = 0; row < run->lines[k] * run->B; row++) {
            const int has = grid_row_has_line(run, row % run->B, k, row / run->B);
            const void *dh = has ? problem->dh[k] : NULL;
            grid_to_row(run, dh, row, run->dh[k] + row * run->Hp);
            if (grid_has_memory(run, k)) {
                const void *dm = has ? problem->dm[k] : NULL;
                grid_to_row(run, dm, row, run->dm[k] + row * run->Hp);
            }
        }
    }
}

/* Copies the gradients of the near borders to the caller, where he wants them. */
static void grid_give_gradients(const struct grid_run *run)
{
    const struct xr_grid_problem *problem = run->problem;
    for (int k = 0; k < run->N; k++) {
        for (ptrdiff_t row = 0; row < run->lines[k] * run->B; row++) {
            if (problem->dh_out[k] != NULL) {
                grid_from_row(run, run->dh[k] + row * run->Hp, row, problem->dh_out[k]);
            }
            if (problem->dm_out[k] != NULL) {
                grid_from_row(run, run->dm[k] + row * run->Hp, row, problem->dm_out[k]);
            }
        }
    }
}

#endif
