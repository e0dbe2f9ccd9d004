/* A grid forward: wavefront by wavefront, in a block phase by phase.
 *
 * The chain of a dimension starts at its bias and runs over h_1, ..., h_N, each as the
 * phase finds it. A panel of units goes through all of this and its point function
 * while it is in the L1.
 * Twin: grid_forward in src/exactrnn/reference/grid.py.
 */
#ifndef XR_GRID_FORWARD_H
#define XR_GRID_FORWARD_H

#include "kernels/grid/point.h"
#include "kernels/grid/run.h"
#include "kernels/grid/sides.h"

enum {
    GRID_ROWS_AT_ONCE = 24,       /* through product and point function: whole tiles */
    GRID_AHEAD_BYTES = 256 * 1024 /* of sums taken ahead: well inside an L2 */
};

/* Plans which dimensions take the product with h_1 ahead, and for how many wavefronts.
 * It must be the h_1 that came in. */
static void grid_plan_ahead(struct grid_run *run, struct arena *arena)
{
    const struct xr_grid_block *block = run->block;
    const ptrdiff_t row = GRID_GATES * run->Hp, rows = run->widest * run->B;
    ptrdiff_t bytes = 1;
    for (int k = 0; k < run->N && run->N > 1 && run->planes; k++) {
        run->ahead[k] = block->memory[k] && block->phase[0] >= block->phase[k];
        run->any_ahead |= run->ahead[k];
        bytes += run->ahead[k] * rows * row * (ptrdiff_t)sizeof(elem);
    }
    const ptrdiff_t waves = GRID_AHEAD_BYTES / bytes;
    run->ahead_waves = waves < 1 ? 1 : min_of(waves, run->plane_waves);
    for (int k = 0; k < run->N && run->problem->cache == NULL; k++) {
        if (run->ahead[k]) {
            const ptrdiff_t size = run->ahead_waves * rows * row;
            run->ahead_sums[k] = arena_take(arena, size, sizeof(elem));
        }
    }
}

static struct grid_run grid_forward_run(const struct xr_grid_problem *problem,
                                        struct arena *arena)
{
    struct grid_run run = grid_make_run(problem, arena);
    grid_plan_ahead(&run, arena);
    if (problem->cache == NULL) {
        const ptrdiff_t rows = run.threads * GRID_ROWS;
        run.sums = arena_take(arena, rows * GRID_GATES * run.Hp, sizeof(elem));
    }
    return run;
}

static const struct grid_pack *grid_pack_of(const struct grid_lane *lane, int k)
{
    const struct grid_run *run = lane->run;
    return run->problem->packed[lane->rows->set * run->N + k];
}

/* Takes units units[0] to units[1] - 1, in vectors, of the rows from i on through the
 * point function of dimension k. */
static void grid_point_forward(const struct grid_lane *lane, int k, ptrdiff_t i,
                               const ptrdiff_t units[2])
{
    const struct grid_rows *rows = lane->rows;
    const struct xr_grid_block *block = lane->run->block;
    const struct grid_forward_part part = {
        .rows = min_of(GRID_ROWS_AT_ONCE, rows->rows - i),
        .begin = units[0] * VEC_LANES,
        .end = units[1] * VEC_LANES,
        .Hp = lane->run->Hp,
        .sums = rows->sums[k] + i,
        .m_prev = (const elem *const *)rows->m_prev[k] + i,
        .h_next = rows->h_next[k] + i,
        .m_next = rows->m_next[k] + i,
        .activation = block->activation[k],
        .tanh_outside = block->tanh_outside,
    };
    if (block->memory[k]) {
        grid_lstm_forward(&part);
    } else {
        grid_plain_forward(&part);
    }
}

/* Takes the chains of dimension k over the h of dims[0] ... dims[1]-1, for some rows
 * from row i on and panel p. The first starts at the bias, the others go on from where
 * the one before has left the sums. */
static void grid_chains(const struct grid_lane *lane, int k, const int dims[2],
                        ptrdiff_t p, ptrdiff_t i)
{
    const struct grid_rows *rows = lane->rows;
    const struct xr_grid_block *block = lane->run->block;
    const struct grid_pack *pack = grid_pack_of(lane, k);
    const struct segment units_of_h = {0, block->H};
    struct product product = {
        .panels = &pack->panels,
        .operand = {.count = 1, .segment = &units_of_h},
    };
    const ptrdiff_t some = min_of(GRID_ROWS_AT_ONCE, rows->rows - i);
    for (int j = dims[0]; j < dims[1]; j++) {
        if (xr_leaves(lane->watch, some * panel_work(&pack->panels))) {
            return;
        }
        const ptrdiff_t next = min_of(p + (j + 1 == dims[1]), pack->panels.count - 1);
        elem *const *h =
            block->phase[j] < block->phase[k] ? rows->h_next[j] : rows->h_prev[j];
        product.pack = (const elem *)pack + j * pack->slice;
        product.start = j == 0 ? (const elem *)pack + pack->bias : NULL;
        product_panel(&product, p, next, some, (const elem *const *)h + i,
                      rows->sums[k] + i);
    }
}

static void grid_dimension_forward(const struct grid_lane *lane, int k)
{
    const struct grid_run *run = lane->run;
    const struct panels *panels = &grid_pack_of(lane, k)->panels;
    const int dims[2] = {run->ahead[k], run->N};
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t units[2] = {panel_first(panels, p), panel_first(panels, p + 1)};
        for (ptrdiff_t i = 0; i < lane->rows->rows; i += GRID_ROWS_AT_ONCE) {
            grid_chains(lane, k, dims, p, i);
            grid_point_forward(lane, k, i, units);
        }
    }
}

/* Takes the products that are taken ahead, for the rows of a block. */
static void grid_rows_ahead(const struct grid_lane *lane)
{
    const struct grid_run *run = lane->run;
    const int dims[2] = {0, 1};
    for (int k = 0; k < run->N; k++) {
        const ptrdiff_t panels = grid_pack_of(lane, k)->panels.count;
        for (ptrdiff_t p = 0; run->ahead[k] && p < panels; p++) {
            for (ptrdiff_t i = 0; i < lane->rows->rows; i += GRID_ROWS_AT_ONCE) {
                grid_chains(lane, k, dims, p, i);
            }
        }
    }
}

static void grid_rows_forward(const struct grid_lane *lane)
{
    const struct grid_run *run = lane->run;
    for (int phase = 0; phase < run->phases; phase++) {
        for (int k = 0; k < run->N; k++) {
            if (run->block->phase[k] == phase) {
                grid_dimension_forward(lane, k);
            }
        }
    }
}

/* Takes a lane through all wavefronts. */
static void grid_forward_waves(const struct grid_lane *lane)
{
    const struct grid_run *run = lane->run;
    const ptrdiff_t at_once = run->any_ahead ? run->ahead_waves : run->waves;
    for (ptrdiff_t w0 = 0; w0 < run->waves;) {
        const ptrdiff_t plane_end = (w0 / run->plane_waves + 1) * run->plane_waves;
        const ptrdiff_t end = min_of(w0 + at_once, plane_end);
        lane->rows->ahead_from = run->wave[w0];
        if (run->any_ahead && grid_go_through(lane, w0, end, grid_rows_ahead)) {
            return;
        }
        for (; w0 < end; w0++) {
            if (grid_go_through(lane, w0, w0 + 1, grid_rows_forward)) {
                return;
            }
        }
    }
}

/* Takes an item through the borders or one wavefront, where points are shared, or
 * through all. */
static void grid_forward_item(void *context, ptrdiff_t phase, int item,
                              struct xr_watch *watch)
{
    const struct grid_run *run = context;
    const struct grid_lane lane = grid_make_lane(run, item, watch);
    const int by_waves = grid_goes_by_waves(run), has_sides = grid_has_sides(run);
    if (lane.batch_rows == 0) {
        return;
    }
    if (has_sides && phase == 0) {
        grid_make_borders(&lane);
    }
    if (!by_waves) {
        grid_forward_waves(&lane);
    } else if (phase >= has_sides) {
        const ptrdiff_t w = phase - has_sides;
        grid_go_through(&lane, w, w + 1, grid_rows_forward);
    }
}

/* Copies the near borders that no input enters from the caller: h, and m where there is
 * memory. */
static void grid_take_borders(const struct grid_run *run)
{
    const struct xr_grid_problem *problem = run->problem;
    for (int k = 0; k < run->N; k++) {
        const ptrdiff_t rows = problem->side[k].x ? 0 : run->lines[k] * run->B;
        for (ptrdiff_t row = 0; row < rows; row++) {
            const ptrdiff_t line = row / run->B, b = row % run->B;
            elem *h = grid_state_row(run, run->h[k], k, line, 0, b);
            grid_to_row(run, problem->h[k], row, h);
            if (grid_has_memory(run, k)) {
                elem *m = grid_state_row(run, run->m[k], k, line, 0, b);
                grid_to_row(run, problem->m[k], row, m);
            }
        }
    }
}

/* Copies each row's last h and m of every line to the caller, where he wants them, or
 * zeros on lines that the row does not have. */
static void grid_give_borders(const struct grid_run *run)
{
    const struct xr_grid_problem *problem = run->problem;
    for (int k = 0; k < run->N; k++) {
        for (ptrdiff_t row = 0; row < run->lines[k] * run->B; row++) {
            const ptrdiff_t line = row / run->B, b = row % run->B;
            const ptrdiff_t s = grid_length(run, b, k);
            const int has = grid_row_has_line(run, b, k, line);
            const elem *h = grid_state_row(run, run->h[k], k, line, s, b);
            if (problem->h_out[k] != NULL) {
                grid_from_row(run, has ? h : NULL, row, problem->h_out[k]);
            }
            if (problem->m_out[k] != NULL) {
                const elem *m = grid_state_row(run, run->m[k], k, line, s, b);
                grid_from_row(run, has ? m : NULL, row, problem->m_out[k]);
            }
        }
    }
}

static void grid_forward(const struct xr_grid_problem *problem)
{
    struct arena arena = {.memory = problem->scratch};
    struct grid_run run = grid_forward_run(problem, &arena);
    grid_take_borders(&run);
    run.team = xr_team_now(run.threads, run.work);
    const ptrdiff_t phases = run.waves + grid_has_sides(&run);
    const struct xr_work work = {
        .body = grid_forward_item,
        .context = &run,
        .phases = grid_goes_by_waves(&run) ? max_of(1, phases) : 1,
        .items = run.team,
        .multiplications = run.work,
    };
    if (!xr_run(&work, run.team, problem->stop)) {
        grid_give_borders(&run);
    }
}

#endif
