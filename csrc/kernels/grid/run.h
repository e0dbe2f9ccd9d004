/* What the two passes over a grid share: where the rows of a point lie, the split among
 * threads, and how a wavefront is gone through.
 *
 * A wavefront is a step of the grid: its rows are pairs (point, batch row), given to
 * the products by pointer, those with the same weights together.
 *
 * h and m along dimension k lie by line and step: step s of a line is the state before
 * its point s, so that step 0 is the near border. With a cache all steps are kept,
 * without one two sets, used in turn: a line has one point in a wavefront.
 *
 * Threads split outputs only: first the rows of the batch, which never wait for each
 * other, then the pairs of a wavefront, which is then a phase (base/jobs.h).
 */
#ifndef XR_GRID_RUN_H
#define XR_GRID_RUN_H

#include "base/arena.h"
#include "kernels/grid/geometry.h"

/* Returns a row of h or m of dimension k, at step s of a line. */
static elem *grid_state_row(const struct grid_run *run, elem *states, int k,
                            ptrdiff_t line, ptrdiff_t s, ptrdiff_t b)
{
    const ptrdiff_t step = run->problem->cache ? s : s & 1;
    return states + ((step * run->lines[k] + line) * run->B + b) * run->Hp;
}

static int grid_has_memory(const struct grid_run *run, int k)
{
    return run->block->memory[k];
}

static struct xr_grid_cache grid_cache_layout(const struct xr_grid_problem *problem)
{
    const struct xr_grid_block *block = problem->block;
    struct xr_grid_cache at = {.Hp = pad_units(block->H)};
    ptrdiff_t end = 0, points = 1;
    for (int k = 0; k < block->N; k++) {
        points *= problem->size[k];
    }
    for (int k = 0; k < block->N; k++) {
        ptrdiff_t rows = problem->size[k] + 1;
        for (int j = 0; j < block->N; j++) {
            rows *= j == k ? 1 : problem->size[j];
        }
        at.h[k] = end;
        end += rows * problem->B * at.Hp;
        at.m[k] = end;
        at.gates[k] = end;
        if (block->memory[k]) {
            at.gates[k] += rows * problem->B * at.Hp;
            end = at.gates[k] + points * problem->B * GRID_GATES * at.Hp;
        }
    }
    at.bytes = (size_t)end * sizeof(elem);
    return at;
}

/* Returns the multiplications of all dimensions of a block, for one row. */
static ptrdiff_t grid_block_work(const struct grid_run *run)
{
    ptrdiff_t gates = 0;
    for (int k = 0; k < run->N; k++) {
        gates += grid_gates(run->block, k);
    }
    return work_times(gates * run->H, run->H * run->N);
}

/* Multiplications of all linear maps of inputs. */
static ptrdiff_t grid_side_work(const struct grid_run *run)
{
    ptrdiff_t work = 0;
    for (int k = 0; k < run->N; k++) {
        if (run->problem->side[k].x != NULL) {
            const ptrdiff_t rows = (run->block->memory[k] ? 2 : 1) * run->H;
            work = work_plus(work, work_times(run->lines[k] * run->B,
                                              work_times(rows, run->block->inputs[k])));
        }
    }
    return work;
}

static void grid_place_cache(struct grid_run *run, struct arena *arena)
{
    for (int k = 0; k < run->N; k++) {
        elem *cache = run->problem->cache;
        if (cache != NULL) {
            run->h[k] = cache + run->at.h[k];
            run->m[k] = cache + run->at.m[k];
            run->gates[k] = cache + run->at.gates[k];
        } else {
            const ptrdiff_t size = 2 * run->lines[k] * run->B * run->Hp;
            run->h[k] = arena_take(arena, size, sizeof(elem));
            if (grid_has_memory(run, k)) {
                run->m[k] = arena_take(arena, size, sizeof(elem));
            }
        }
    }
}

static ptrdiff_t grid_groups(const struct grid_run *run, int team)
{
    return run->B > 0 ? min_of(team, run->B) : 1;
}

/* Returns how many of a team share the points of a group of batch rows. */
static int grid_members(const struct grid_run *run, int team)
{
    const ptrdiff_t most = min_of(team / grid_groups(run, team), run->widest);
    const ptrdiff_t all = work_times(run->points, grid_block_work(run));
    const ptrdiff_t work = run->waves > 0 ? all / run->waves : 0;
    return run->planes ? 1 : threads_for(work, xr_thread_work.step, most);
}

/* Returns whether several threads are to share the points of a batch row. They wait for
 * the one with most points, and take no product ahead, which costs about half as much
 * again. */
static int grid_shares_points(const struct grid_run *run)
{
    const int members = grid_members(run, run->threads);
    const ptrdiff_t turns = run->waves * ceil_div(run->widest, members);
    return members > 1 && (xr_thread_work.step <= 0 || 3 * turns < 2 * run->points);
}

/* Makes what forward and backward runs have in common. Its memory comes from the
 * arena. */
static struct grid_run grid_make_run(const struct xr_grid_problem *problem,
                                     struct arena *arena)
{
    struct grid_run run = {
        .problem = problem,
        .block = problem->block,
        .at = grid_cache_layout(problem),
        .N = problem->block->N,
        .H = problem->block->H,
        .Hp = pad_units(problem->block->H),
        .B = problem->B,
    };
    grid_count_points(&run);
    const ptrdiff_t points = work_times(run.points * run.B, grid_block_work(&run));
    run.work = work_plus(points, grid_side_work(&run));
    run.threads = threads_for(run.work, xr_thread_work.call, problem->threads);
    grid_count_waves(&run);
    run.planes = !grid_shares_points(&run);
    grid_count_waves(&run);
    const ptrdiff_t starts = run.waves + problem->sets + 2;
    ptrdiff_t *sorted = arena_take(arena, 2 * run.points + starts, sizeof *sorted);
    run.rows = arena_take(arena, run.threads, sizeof *run.rows);
    grid_place_cache(&run, arena);
    run.order = sorted;
    run.by_set = sorted + run.points;
    run.wave = run.by_set + run.points;
    run.set = run.wave + run.waves + 1;
    if (arena->memory != NULL) {
        grid_sort_points(&run, sorted);
    }
    return run;
}

/* An item's share: one of `members` on the pairs of a group of batch rows. */
struct grid_lane {
    const struct grid_run *run;
    ptrdiff_t group, groups, batch_rows; /* no rows where it has no share */
    int item, member, members;
    struct grid_rows *rows;
    struct xr_watch *watch;
};

static struct grid_lane grid_make_lane(const struct grid_run *run, int item,
                                       struct xr_watch *watch)
{
    const ptrdiff_t groups = grid_groups(run, run->team);
    const int members = grid_members(run, run->team);
    struct grid_lane lane = {
        .run = run,
        .group = item / members,
        .groups = groups,
        .item = item,
        .member = item % members,
        .members = members,
        .rows = &run->rows[item],
        .watch = watch,
    };
    if (lane.group < groups) {
        lane.batch_rows = ceil_div(run->B - lane.group, groups);
    }
    return lane;
}

/* Returns whether the points of a batch row are shared, wavefront by wavefront. */
static int grid_goes_by_waves(const struct grid_run *run)
{
    return grid_members(run, run->team) > 1;
}

/* Returns where the sums of dimension k, or its gates, are for row r, which is that of
 * the point at a place in `order`. */
static elem *grid_sums_row(const struct grid_lane *lane, ptrdiff_t place, int k,
                           ptrdiff_t b, ptrdiff_t r)
{
    const struct grid_run *run = lane->run;
    const ptrdiff_t size = GRID_GATES * run->Hp;
    if (!grid_has_memory(run, k)) {
        return lane->rows->h_next[k][r];
    }
    if (run->problem->cache != NULL) {
        return run->gates[k] + (run->order[place] * run->B + b) * size;
    }
    if (run->ahead[k]) {
        place -= lane->rows->ahead_from;
        return run->ahead_sums[k] + (place * run->B + b) * size;
    }
    return run->sums + (lane->item * GRID_ROWS + r) * size;
}

/* Fills in the pointers of row r that backward alone needs. */
static void grid_add_gradients(const struct grid_lane *lane,
                               const struct grid_point *point, ptrdiff_t b, ptrdiff_t r)
{
    const struct grid_run *run = lane->run;
    struct grid_rows *rows = lane->rows;
    const ptrdiff_t row = point->number * run->B + b;
    for (int k = 0; k < run->N; k++) {
        const ptrdiff_t end = (point->line[k] * run->B + b) * run->Hp;
        rows->da[k][r] = run->da[k] + row * grid_gates(run->block, k) * run->Hp;
        rows->dh[k][r] = run->dh[k] + end;
        rows->dm[k][r] = run->dm[k] ? run->dm[k] + end : NULL;
    }
}

/* One more row: batch row b at a point, which has this place in `order`. */
static void grid_add_row(const struct grid_lane *lane, const struct grid_point *point,
                         ptrdiff_t place, ptrdiff_t b)
{
    const struct grid_run *run = lane->run;
    struct grid_rows *rows = lane->rows;
    const ptrdiff_t r = rows->rows++;
    rows->set = point->set;
    for (int k = 0; k < run->N; k++) {
        const ptrdiff_t line = point->line[k], s = point->at[k];
        rows->h_prev[k][r] = grid_state_row(run, run->h[k], k, line, s, b);
        rows->h_next[k][r] = grid_state_row(run, run->h[k], k, line, s + 1, b);
        rows->sums[k][r] = grid_sums_row(lane, place, k, b, r);
        if (grid_has_memory(run, k)) {
            rows->m_prev[k][r] = grid_state_row(run, run->m[k], k, line, s, b);
            rows->m_next[k][r] = grid_state_row(run, run->m[k], k, line, s + 1, b);
        }
    }
    if (run->zeros != NULL) {
        grid_add_gradients(lane, point, b, r);
    }
}

/* Goes through this lane's rows of the wavefronts from w on and before `end`, all at
 * once: one block of rows with the same weights after the other. Returns whether to
 * leave. */
static int grid_go_through(const struct grid_lane *lane, ptrdiff_t w, ptrdiff_t end,
                           void (*rows_of_block)(const struct grid_lane *lane))
{
    const struct grid_run *run = lane->run;
    struct grid_rows *rows = lane->rows;
    const ptrdiff_t pairs = (run->wave[end] - run->wave[w]) * lane->batch_rows;
    const ptrdiff_t last = (lane->member + 1) * pairs / lane->members;
    struct grid_point point = {.number = -1};
    rows->rows = 0;
    for (ptrdiff_t i = lane->member * pairs / lane->members; i < last; i++) {
        if (xr_leaves(lane->watch, 1)) {
            break;
        }
        const ptrdiff_t place = run->wave[w] + i / lane->batch_rows;
        const ptrdiff_t b = lane->group + i % lane->batch_rows * lane->groups;
        if (run->order[place] != point.number) {
            point = grid_point_of(run, run->order[place]);
        }
        if (rows->rows == GRID_ROWS || (rows->rows > 0 && rows->set != point.set)) {
            rows_of_block(lane);
            rows->rows = 0;
        }
        if (grid_row_has(run, b, &point)) {
            grid_add_row(lane, &point, place, b);
        }
    }
    if (rows->rows > 0) {
        rows_of_block(lane);
    }
    return lane->watch->leaving;
}

/* Copies a row of the caller's arrays [lines, B, H] to a padded one; NULL stands for
 * zeros. */
static void grid_to_row(const struct grid_run *run, const void *source, ptrdiff_t row,
                        elem *to)
{
    const size_t bytes = (size_t)run->H * sizeof(elem);
    memset(to + run->H, 0, (size_t)(run->Hp - run->H) * sizeof(elem));
    if (source == NULL) {
        memset(to, 0, bytes);
    } else {
        memcpy(to, (const elem *)source + row * run->H, bytes);
    }
}

/* Copies a padded row to one of the caller's; NULL stands for zeros. */
static void grid_from_row(const struct grid_run *run, const elem *from, ptrdiff_t row,
                          void *target)
{
    elem *to = (elem *)target + row * run->H;
    const size_t bytes = (size_t)run->H * sizeof(elem);
    if (from == NULL) {
        memset(to, 0, bytes);
    } else {
        memcpy(to, from, bytes);
    }
}

#endif
