/* The time loop forward, for every cell.
 *
 * For each block of steps the input products of all its rows are taken at once (they do
 * not wait for anything); then, step by step, each panel of units continues the chains
 * with the recurrent product and goes to the cell's point function while it is in the
 * nearest cache. Panels are walked back and forth, so that the last ones of a step,
 * still cached, are the first ones of the next.
 * Twin: direction_forward in src/exactrnn/_sequence.py.
 */
#ifndef XR_SEQUENCE_FORWARD_H
#define XR_SEQUENCE_FORWARD_H

#include "sequence.h"

/* Rows that go through product and point function together: whole tiles. */
enum { ROWS_AT_ONCE = 24 };

/* Bytes of sums that a block of steps may fill: with one panel, well inside an L2. */
enum { BLOCK_BYTES = 256 * 1024 };

static int sums_go_to_cache(const struct xr_problem *problem,
                            const struct xr_cell *cell)
{
    return problem->cache != NULL && cell->info.keeps_sums;
}

static struct run make_forward_run(const struct xr_problem *problem,
                                   const struct xr_cell *cell, struct arena *arena)
{
    const ptrdiff_t B = problem->B, D = problem->directions;
    const ptrdiff_t row = cell->info.sums * pad_units(problem->layer->H);
    ptrdiff_t block = BLOCK_BYTES / (B * row * (ptrdiff_t)sizeof(elem) + 1);
    block = block < 1 ? 1 : min_of(block, problem->T);
    /* Of each row of a block x and sums; of a step sums, states before and after,
     * operand. */
    const ptrdiff_t pointers = 2 * block * B + (2 + 2 * cell->info.states) * B;
    struct run run = make_run(problem, cell, arena, pointers);
    run.block = block;
    if (!sums_go_to_cache(problem, cell)) {
        run.block_sums = arena_take(arena, D * block * B * row, sizeof(elem));
    }
    if (problem->cache == NULL) {
        run.states_buffer =
            arena_take(arena, D * run.states * 2 * B * run.Hp, sizeof(elem));
        if (cell->info.stages > 1) {
            run.operand_buffer = arena_take(arena, D * B * run.Hp, sizeof(elem));
        }
    }
    return run;
}

/* The sums of row b at step s of the block that begins at step s0. */
static elem *sums_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s,
                      ptrdiff_t s0)
{
    if (run->block_sums == NULL) {
        return cached_sums_row(run, direction, b, s);
    }
    const ptrdiff_t which = (direction * run->block + s - s0) * run->B + b;
    return run->block_sums + which * run->sums * run->Hp;
}

static const struct forward_pack *forward_pack_of(const struct lane *lane)
{
    return lane->run->problem->packed[lane->direction];
}

/* A sum without an input product starts at its bias. */
static void start_at_bias(const struct lane *lane, ptrdiff_t rows, elem *const *sums)
{
    const struct run *run = lane->run;
    const struct forward_pack *pack = forward_pack_of(lane);
    const elem *bias = (const elem *)pack + pack->bias;
    const ptrdiff_t begin = panel_first(&pack->x, lane->panel) * VEC_LANES;
    const ptrdiff_t end = panel_first(&pack->x, lane->panel_end) * VEC_LANES;
    for (int s = 0; s < run->sums; s++) {
        const ptrdiff_t at = s * run->Hp + begin;
        for (ptrdiff_t i = 0; run->cell->info.sum[s].w < 0 && i < rows; i++) {
            memcpy(sums[i] + at, bias + at, (size_t)(end - begin) * sizeof(elem));
        }
    }
}

/* Input products of steps s0 … s1-1. */
static void forward_input(const struct lane *lane, ptrdiff_t s0, ptrdiff_t s1)
{
    const struct run *run = lane->run;
    const struct forward_pack *pack = forward_pack_of(lane);
    const ptrdiff_t most = run->block * run->B;
    const elem **x = (const elem **)lane->pointers;
    elem **sums = (elem **)(lane->pointers + most);
    ptrdiff_t rows = 0;
    ptrdiff_t alive = lane->rows;
    for (ptrdiff_t s = s0; s < s1; s++) {
        alive = rows_alive(lane, alive, s);
        for (ptrdiff_t i = 0; i < alive; i++, rows++) {
            const ptrdiff_t b = row_of(lane, i);
            const ptrdiff_t t = time_of(run, lane->direction, b, s);
            x[rows] = sequence_row(&run->problem->x, t, b);
            sums[rows] = sums_row(run, lane->direction, b, s, s0);
        }
    }
    const struct product product = {
        .panels = &pack->x,
        .pack = (const elem *)pack,
        .operand = {.segments = 1, .length = run->I},
        .start = (const elem *)pack + pack->bias,
    };
    for (ptrdiff_t p = lane->panel; p < lane->panel_end; p++) {
        product_panel(&product, p, min_of(p + 1, lane->panel_end - 1), rows, x, sums);
    }
    start_at_bias(lane, rows, sums);
}

/* Units of h that belong to the output, from padded rows to y. */
static void copy_output(const struct lane *lane, ptrdiff_t s, ptrdiff_t rows,
                        elem *const *h, const ptrdiff_t units[2])
{
    const struct run *run = lane->run;
    const ptrdiff_t end = min_of(units[1], run->H);
    const size_t bytes = (size_t)(end - units[0]) * sizeof(elem);
    for (ptrdiff_t i = 0; i < rows; i++) {
        const ptrdiff_t b = row_of(lane, i);
        const ptrdiff_t t = time_of(run, lane->direction, b, s);
        elem *y = sequence_row(&run->problem->y, t, b) + lane->direction * run->H;
        memcpy(y + units[0], h[i] + units[0], bytes);
    }
}

/* The rows of a step as the cell sees them: pointers for all alive rows. */
static struct forward_block forward_rows(const struct lane *lane, ptrdiff_t s,
                                         ptrdiff_t s0, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    elem **next_free = (elem **)(lane->pointers + 2 * run->block * run->B);
    struct forward_block block = {
        .rows = alive,
        .Hp = run->Hp,
        .keep = run->problem->cache != NULL && run->cell->info.keeps_sums,
        .layer = run->problem->layer,
    };
    elem **sums = next_free;
    block.sums = sums;
    next_free += alive;
    for (ptrdiff_t i = 0; i < alive; i++) {
        sums[i] = sums_row(run, d, row_of(lane, i), s, s0);
    }
    for (int k = 0; k < run->states; k++) {
        elem *states = states_of(run, d, k);
        elem **prev = next_free, **next = next_free + alive;
        block.prev[k] = (const elem *const *)prev;
        block.next[k] = next;
        next_free += 2 * alive;
        for (ptrdiff_t i = 0; i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            prev[i] = states + state_index(run, d, b, s) * run->Hp;
            next[i] = states + state_index(run, d, b, s + 1) * run->Hp;
        }
    }
    if (run->cell->info.stages > 1) {
        block.operand = next_free;
        for (ptrdiff_t i = 0; i < alive; i++) {
            next_free[i] = operand_row(run, d, row_of(lane, i), s);
        }
    }
    return block;
}

/* `rows` rows of `block` from row `first` on. */
static struct forward_block forward_part(const struct forward_block *block,
                                         ptrdiff_t first, ptrdiff_t rows)
{
    struct forward_block part = *block;
    part.rows = rows;
    part.sums += first;
    for (int k = 0; k < XR_MAX_STATES && part.next[k] != NULL; k++) {
        part.prev[k] += first;
        part.next[k] += first;
    }
    part.operand = part.operand ? part.operand + first : NULL;
    return part;
}

/* One panel of a stage: product, then point function, a few rows at a time. */
static void forward_panel(const struct product *product, ptrdiff_t p, ptrdiff_t next,
                          const struct forward_block *block,
                          void (*point)(const struct forward_block *block), int stage)
{
    for (ptrdiff_t i = 0; i < block->rows; i += ROWS_AT_ONCE) {
        const ptrdiff_t rows = min_of(ROWS_AT_ONCE, block->rows - i);
        const struct forward_block part = forward_part(block, i, rows);
        const elem *const *a =
            stage == 0 ? part.prev[0] : (const elem *const *)part.operand;
        product_panel(product, p, next, rows, a, part.sums);
        point(&part);
    }
}

static void forward_stage(const struct lane *lane, struct forward_block *block,
                          int stage, int backwards)
{
    const struct run *run = lane->run;
    const struct forward_pack *pack = forward_pack_of(lane);
    const struct panels *panels = &pack->r[stage];
    const struct product product = {
        .panels = panels,
        .pack = (const elem *)pack,
        .operand = {.segments = 1, .length = run->H},
    };
    const ptrdiff_t mirror = lane->panel + lane->panel_end - 1;
    for (ptrdiff_t q = lane->panel; q < lane->panel_end; q++) {
        const ptrdiff_t after = min_of(q + 1, lane->panel_end - 1);
        const ptrdiff_t p = backwards ? mirror - q : q;
        const ptrdiff_t next = backwards ? mirror - after : after;
        block->begin = panel_first(panels, p) * VEC_LANES;
        block->end = panel_first(panels, p + 1) * VEC_LANES;
        forward_panel(&product, p, next, block, run->cell->point_forward[stage], stage);
    }
    xr_barrier_wait(lane->barrier, lane->barrier_size);
}

static void forward_lane(const struct lane *lane)
{
    const struct run *run = lane->run;
    const struct panels *panels = &forward_pack_of(lane)->x;
    const ptrdiff_t units[2] = {panel_first(panels, lane->panel) * VEC_LANES,
                                panel_first(panels, lane->panel_end) * VEC_LANES};
    const ptrdiff_t steps = lane->rows > 0 ? length_of(run, row_of(lane, 0)) : 0;
    ptrdiff_t alive = lane->rows;
    for (ptrdiff_t s0 = 0; s0 < steps; s0 += run->block) {
        const ptrdiff_t s1 = min_of(s0 + run->block, steps);
        forward_input(lane, s0, s1);
        for (ptrdiff_t s = s0; s < s1; s++) {
            alive = rows_alive(lane, alive, s);
            struct forward_block block = forward_rows(lane, s, s0, alive);
            for (int stage = 0; stage < run->cell->info.stages; stage++) {
                forward_stage(lane, &block, stage, (int)(s & 1));
            }
            copy_output(lane, s, alive, block.next[0], units);
        }
    }
}

/* Zeros in y and in the gates of the cache where a row has ended, by the thread that
 * owns its first units. */
static void forward_padding(const struct lane *lane)
{
    const struct run *run = lane->run;
    for (ptrdiff_t i = 0; i < lane->rows && lane->panel == 0; i++) {
        const ptrdiff_t b = row_of(lane, i);
        for (ptrdiff_t t = length_of(run, b); t < run->T; t++) {
            elem *y = sequence_row(&run->problem->y, t, b) + lane->direction * run->H;
            memset(y, 0, (size_t)run->H * sizeof(elem));
            if (sums_go_to_cache(run->problem, run->cell)) {
                const ptrdiff_t size = run->sums * run->Hp;
                elem *sums = cache_of(run, lane->direction) + run->cache_at.sums;
                memset(sums + (t * run->B + b) * size, 0, (size_t)size * sizeof(elem));
            }
        }
    }
}

static void forward_thread(void *context, int rank, int size)
{
    const struct run *run = context;
    const ptrdiff_t panels =
        ((const struct forward_pack *)run->problem->packed[0])->x.count;
    const struct split split = split_team(run, size, panels);
    for (int d = 0; d < run->directions; d++) {
        const struct lane lane = make_lane(run, split, rank, d, panels);
        forward_lane(&lane);
        forward_padding(&lane);
    }
}

static void run_forward(const struct xr_problem *problem, const struct xr_cell *cell)
{
    struct arena arena = {.memory = problem->scratch};
    struct run run = make_forward_run(problem, cell, &arena);
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                state_to_row(&run, problem->state[k], d, b,
                             state_row(&run, d, k, b, 0));
            }
        }
    }
    xr_parallel(run.threads, forward_thread, &run);
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                const elem *row = state_row(&run, d, k, b, length_of(&run, b));
                row_to_state(&run, row, d, b, problem->state_out[k]);
            }
        }
    }
}

#endif
