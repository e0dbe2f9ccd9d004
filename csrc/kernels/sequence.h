/* What the forward and the backward time loop share: the run of one call, its rows in
 * order of length, the split of work among threads, and where the rows of a step lie.
 *
 * Steps and time: step s of row b is time t = s forward, t = length - 1 - s in reverse,
 * so that a reverse row starts at its own last element. Rows are sorted by falling
 * length; the rows alive at step s are then the first ones of every list.
 *
 * Threads split outputs only: first the rows of the batch (no barrier), then
 * directions, then hidden units (a barrier after each stage of a step). A lane is one
 * thread's share of one direction.
 */
#ifndef XR_SEQUENCE_H
#define XR_SEQUENCE_H

#include "../parallel.h"
#include "pack.h"

/* Scratch memory, handed out piece by piece. Without memory it only counts. */
struct arena {
    char *memory;
    size_t used;
};

static void *arena_take(struct arena *arena, ptrdiff_t count, size_t size)
{
    void *piece = arena->memory ? arena->memory + arena->used : NULL;
    const size_t bytes = (size_t)count * size;
    arena->used += (bytes + XR_ALIGNMENT - 1) / XR_ALIGNMENT * XR_ALIGNMENT;
    return piece;
}

/* One call: what all its threads read, and scratch that they share. */
struct run {
    const struct xr_problem *problem;
    const struct xr_cell *cell;
    struct xr_cache_layout cache_at;
    ptrdiff_t T, B, I, H, Hp;
    int directions, states, sums;
    int threads;            /* as many as the call is worth, of those it may have */
    const ptrdiff_t *order; /* [B] rows by falling length */
    struct xr_barrier *barriers;
    const void **pointers; /* [threads, pointers_per_thread] */
    ptrdiff_t pointers_per_thread;
    /* forward */
    ptrdiff_t block;      /* steps whose input products are taken at once */
    elem *block_sums;     /* [D, block, B, S, Hp] unless they go to the cache */
    elem *states_buffer;  /* [D, states, 2, B, Hp] without a cache */
    elem *operand_buffer; /* [D, B, Hp] likewise, for two stages */
    /* backward */
    elem *da;             /* [D, T, B, S, Hp] */
    elem *dstates;        /* [D, states, B, Hp] */
    elem *doperand;       /* [D, B, Hp] */
    elem *zeros;          /* a row that is zero wherever it may be read */
    elem *thread_buffers; /* [threads, thread_buffer_size] */
    ptrdiff_t thread_buffer_size;
};

/* How many threads work on what; the product of the three is at most the team. */
struct split {
    int rows, directions, units;
};

struct lane {
    const struct run *run;
    int direction;
    ptrdiff_t group, groups; /* rows order[group], order[group + groups], … */
    ptrdiff_t rows;
    ptrdiff_t panel, panel_end;
    struct xr_barrier *barrier;
    int barrier_size;
    const void **pointers;
};

static ptrdiff_t length_of(const struct run *run, ptrdiff_t b)
{
    const int64_t *lengths = run->problem->lengths;
    return lengths ? (ptrdiff_t)lengths[b] : run->T;
}

static ptrdiff_t time_of(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s)
{
    return direction == 0 ? s : length_of(run, b) - 1 - s;
}

static ptrdiff_t row_of(const struct lane *lane, ptrdiff_t i)
{
    return lane->run->order[lane->group + i * lane->groups];
}

/* The rows of a lane that are longer than s; `most` is the answer for an earlier s. */
static ptrdiff_t rows_alive(const struct lane *lane, ptrdiff_t most, ptrdiff_t s)
{
    while (most > 0 && length_of(lane->run, row_of(lane, most - 1)) <= s) {
        most--;
    }
    return most;
}

/* Rows of states lie in one order for all states of a direction: with a cache by time,
 * the initial ones last; without one in two sets, used in turn. The index of row b
 * before step s (after step s - 1). */
static ptrdiff_t state_index(const struct run *run, int direction, ptrdiff_t b,
                             ptrdiff_t s)
{
    if (run->problem->cache == NULL) {
        return (s & 1) * run->B + b;
    }
    const ptrdiff_t t = s == 0 ? run->T : time_of(run, direction, b, s - 1);
    return t * run->B + b;
}

/* The index of row b at step s among rows that exist once for each step. */
static ptrdiff_t step_index(const struct run *run, int direction, ptrdiff_t b,
                            ptrdiff_t s)
{
    return time_of(run, direction, b, s) * run->B + b;
}

static elem *cache_of(const struct run *run, int direction)
{
    return (elem *)run->problem->cache + direction * run->cache_at.direction;
}

static elem *states_of(const struct run *run, int direction, int k)
{
    if (run->problem->cache == NULL) {
        return run->states_buffer +
               (direction * run->states + k) * 2 * run->B * run->Hp;
    }
    return cache_of(run, direction) + run->cache_at.state[k];
}

static elem *state_row(const struct run *run, int direction, int k, ptrdiff_t b,
                       ptrdiff_t s)
{
    return states_of(run, direction, k) + state_index(run, direction, b, s) * run->Hp;
}

static elem *operand_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s)
{
    if (run->problem->cache == NULL) {
        return run->operand_buffer + (direction * run->B + b) * run->Hp;
    }
    return cache_of(run, direction) + run->cache_at.operand +
           step_index(run, direction, b, s) * run->Hp;
}

/* The sums of row b at step s in the cache. */
static elem *cached_sums_row(const struct run *run, int direction, ptrdiff_t b,
                             ptrdiff_t s)
{
    return cache_of(run, direction) + run->cache_at.sums +
           step_index(run, direction, b, s) * run->sums * run->Hp;
}

/* A row of a user's sequence. */
static elem *sequence_row(const struct xr_sequence *sequence, ptrdiff_t t, ptrdiff_t b)
{
    return (elem *)sequence->data + t * sequence->step + b * sequence->row;
}

/* order <- rows by falling length, equal lengths in order; counting sort. */
static void sort_rows(const struct run *run, ptrdiff_t *order, ptrdiff_t *count)
{
    memset(count, 0, (size_t)(run->T + 1) * sizeof *count);
    for (ptrdiff_t b = 0; b < run->B; b++) {
        count[run->T - length_of(run, b)]++;
    }
    ptrdiff_t before = 0;
    for (ptrdiff_t n = 0; n <= run->T; n++) {
        const ptrdiff_t here = count[n];
        count[n] = before;
        before += here;
    }
    for (ptrdiff_t b = 0; b < run->B; b++) {
        order[count[run->T - length_of(run, b)]++] = b;
    }
}

/* How many threads, at most `most`, some multiplications are worth. */
static int threads_for(ptrdiff_t work, ptrdiff_t least, ptrdiff_t most)
{
    const ptrdiff_t worth = least > 0 ? work / least : most;
    return (int)(worth < 1 ? 1 : min_of(worth, most));
}

static int threads_for_call(const struct run *run)
{
    const ptrdiff_t step = run->cell->info.gates * run->H * (run->H + run->I);
    const ptrdiff_t work = run->directions * run->T * run->B * step;
    return threads_for(work, xr_thread_work.call, run->problem->threads);
}

/* Rows, then directions, neither of which needs a barrier; what is left of the team
 * shares units as far as a step pays for its barriers. Giving units out before single
 * rows, so that no thread reads all weights for few rows, was tried: at T, B, H = 100,
 * 8, 128 two threads took 1597 µs, by rows 930. */
static struct split split_team(const struct run *run, int team, ptrdiff_t panels)
{
    struct split split = {.rows = run->B > 0 ? (int)min_of(team, run->B) : 1};
    split.directions = (int)min_of(team / split.rows, run->directions);
    const ptrdiff_t left = team / (split.rows * split.directions);
    const ptrdiff_t step = run->cell->info.gates * run->H * run->H;
    split.units = threads_for(step, xr_thread_work.step, min_of(left, panels));
    return split;
}

/* The share of thread `rank` of one direction; no rows where it has none. */
static struct lane make_lane(const struct run *run, struct split split, int rank,
                             int direction, ptrdiff_t panels)
{
    const int unit = rank % split.units;
    const int group = rank / split.units % split.rows;
    const int turn = rank / (split.units * split.rows);
    struct lane lane = {
        .run = run,
        .direction = direction,
        .group = group,
        .groups = split.rows,
        .panel = unit * panels / split.units,
        .panel_end = (unit + 1) * panels / split.units,
        .barrier = &run->barriers[direction * split.rows + group],
        .barrier_size = split.units,
        .pointers = run->pointers + rank * run->pointers_per_thread,
    };
    if (turn < split.directions && direction % split.directions == turn) {
        lane.rows = ceil_div(run->B - group, split.rows);
    }
    return lane;
}

/* User states [D, B, H] to padded rows, and back; a missing state is zero. */
static void state_to_row(const struct run *run, const void *state, int direction,
                         ptrdiff_t b, elem *row)
{
    const size_t bytes = (size_t)run->H * sizeof(elem);
    memset(row + run->H, 0, (size_t)(run->Hp - run->H) * sizeof(elem));
    if (state == NULL) {
        memset(row, 0, bytes);
    } else {
        memcpy(row, (const elem *)state + (direction * run->B + b) * run->H, bytes);
    }
}

static void row_to_state(const struct run *run, const elem *row, int direction,
                         ptrdiff_t b, void *state)
{
    memcpy((elem *)state + (direction * run->B + b) * run->H, row,
           (size_t)run->H * sizeof(elem));
}

/* What forward and backward runs have in common; takes its pieces from the arena. */
static struct run make_run(const struct xr_problem *problem, const struct xr_cell *cell,
                           struct arena *arena, ptrdiff_t pointers_per_thread)
{
    struct run run = {
        .problem = problem,
        .cell = cell,
        .cache_at = xr_cache_layout(problem),
        .T = problem->T,
        .B = problem->B,
        .I = problem->layer->I,
        .H = problem->layer->H,
        .Hp = pad_units(problem->layer->H),
        .directions = problem->directions,
        .states = cell->info.states,
        .sums = cell->info.sums,
        .pointers_per_thread = pointers_per_thread,
    };
    run.threads = threads_for_call(&run);
    const ptrdiff_t barriers = run.directions * (run.threads + 1);
    ptrdiff_t *order = arena_take(arena, run.B, sizeof *order);
    ptrdiff_t *count = arena_take(arena, run.T + 1, sizeof *count);
    run.barriers = arena_take(arena, barriers, sizeof *run.barriers);
    run.pointers =
        arena_take(arena, run.threads * pointers_per_thread, sizeof *run.pointers);
    if (arena->memory != NULL) {
        sort_rows(&run, order, count);
        memset(run.barriers, 0, (size_t)barriers * sizeof *run.barriers);
    }
    run.order = order;
    return run;
}

#endif
