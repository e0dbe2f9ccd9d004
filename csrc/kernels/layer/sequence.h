/* What the forward and the backward time loop share: the run of one call, its rows in
 * order of length, the split of work among threads, and where the rows of a step lie.
 *
 * Steps and time: step s of row b is time t = s forward, t = length - 1 - s in reverse,
 * so that a reverse row starts at its own last element. Rows are sorted by falling
 * length; the rows alive at step s are then the first ones of every list.
 *
 * Threads split outputs only: first the rows of the batch, then directions, then
 * hidden units. A lane is a share of one direction, and an item (base/jobs.h) one lane
 * or, if directions are not split, one after the other. Lanes of other rows or
 * directions know nothing of each other; those of units meet after each stage of a
 * step, where a phase ends, and stand there until somebody takes their next item.
 */
#ifndef XR_SEQUENCE_H
#define XR_SEQUENCE_H

#include "base/masks.h"
#include "base/parallel.h"
#include "kernels/cells/cell.h"
#include "kernels/layer/attention_pack.h"
#include "kernels/layer/pack.h"

/* How many threads work on what; the product of the three is at most the team. */
struct split {
    int rows, directions, units;
};

enum { TANH_WORK = 16 }; /* multiplications that take as long as a tanh */

/* What the looks at a memory leave for each other on the way back
 * (attention_backward.h): keys [B, S, Kp], the memory transposed [B, M, Sp], sums of
 * gradients of both in two parts, and of the query's products [T, B, Qp] and of v
 * [T, B, Kp]. */
struct look_sums {
    elem *keys, *columns;
    elem *dkeys, *drows, *dkeys_total, *drows_total;
    elem *du, *dv;
};

/* One call: what all its threads read, and scratch that they share. */
struct run {
    const struct xr_problem *problem;
    const struct xr_layer *layer;
    const struct xr_cell_info *info;
    const struct xr_cell *cell;
    struct xr_cache_layout cache_at;
    ptrdiff_t T, B, I, H, O, Hp, modules;
    ptrdiff_t pieces; /* of a row of h that lie in it as in the caller's arrays: one, or
                       * each module where there is padding between them */
    int ticks;        /* the units have clocks, even if they are one module */
    ptrdiff_t heads;  /* modules without clocks: 1 where there are none */
    int in_step;      /* all rows have the same clock */
    int directions, states, sums;
    int threads;            /* as many as the call is worth, of those it may have: as
                             * many items have memory of their own below */
    int team;               /* as many as share it */
    ptrdiff_t work;         /* multiplications of the products forward */
    const ptrdiff_t *order; /* [B] rows by falling length */
    struct split split;
    const void **pointers; /* [threads, pointers_per_thread] */
    ptrdiff_t pointers_per_thread;
    struct lane_module *lane_modules; /* [threads, modules] */
    int zones; /* zoneout: old states stay, in part or here and there */
    const elem *recurrent_masks;          /* [D, B, Hp] or NULL */
    struct xr_mask_layout mask_at;        /* in the cache */
    const struct xr_attention *attention; /* NULL: none */
    elem *look_spaces;                    /* [threads, look_space_size] */
    ptrdiff_t look_space_size;
    /* Of the forward pass alone. */
    ptrdiff_t ahead;  /* steps whose input products are taken at once; 0: none, each
                       * step takes its own along with the recurrent ones */
    elem *ahead_sums; /* [D, ahead or 1, B, S, Hp] unless they go elsewhere */
    elem *near_sums;  /* [threads, near_size]: of a few rows of one panel */
    ptrdiff_t near_size;
    elem *states_buffer;     /* [D, states, 2, B, Hp] without a cache */
    elem *operands_buffer;   /* [D, operands, B, Hp] likewise */
    elem *proposals_buffer;  /* [D, states, 2, B, Hp] likewise, with zoneout */
    struct repeats *repeats; /* [threads]; NULL: none are looked for */
    struct stage *stages; /* [threads, stages_per_thread]: of a layer, or of modules */
    ptrdiff_t stages_per_thread;
    struct forward_lane *forward_lanes; /* [threads] */
    /* Of the backward pass alone. */
    struct look_sums look_sums;
    elem *da;             /* [D, T, B, S, Hp] */
    elem *dstates;        /* [D, states, B, Hp] */
    elem *doperands;      /* [D, operands, B, Hp] */
    elem *dkept;          /* [D, states, B, Hp] with zoneout: masks.h */
    elem *aside;          /* [D, B, Hp] with recurrent masks */
    elem *zeros;          /* a row that is zero wherever it may be read */
    elem *thread_buffers; /* [threads, thread_buffer_size] */
    ptrdiff_t thread_buffer_size;
    ptrdiff_t loop_phases; /* of the time loop; the one of the gradients follows */
    struct gradient_place *places;        /* [threads] */
    struct backward_lane *backward_lanes; /* [threads] */
};

struct range {
    ptrdiff_t begin, end;
};

/* What a lane has of a module: units, and in a backward step whether it takes part. */
struct lane_module {
    struct range units;
    int ticks;
};

struct lane {
    const struct run *run;
    const struct pack *pack;
    int direction;
    ptrdiff_t group, groups; /* rows order[group], order[group + groups], … */
    ptrdiff_t rows;
    struct range panels[2]; /* its share of the panels of H and of O units */
    struct range units[2];  /* the same in units, from the first one to the last */
    struct lane_module *modules;
    struct xr_watch *watch; /* of the thread that has it now */
    const void **pointers;
    elem *near_sums;               /* [near_size] or NULL */
    const struct repeats *repeats; /* forward, rows of x that repeat; or NULL */
    elem *look_space;              /* [look_space_size] or NULL */
};

/* Returns the layer of the lane's direction, whose activations may be its own. */
static const struct xr_layer *own_layer(const struct lane *lane)
{
    const struct xr_problem *problem = lane->run->problem;
    const int is_second = lane->direction == 1 && problem->second != NULL;
    return is_second ? problem->second : problem->layer;
}

/* Returns whether the layer's input is x with the context behind it. */
static int looks_before(const struct run *run)
{
    return run->attention != NULL && run->attention->form.query == XR_PREVIOUS;
}

static int looks_after(const struct run *run)
{
    return run->attention != NULL && run->attention->form.query == XR_NEW;
}

static ptrdiff_t length_of(const struct run *run, ptrdiff_t b)
{
    const int64_t *lengths = run->problem->lengths;
    return lengths ? (ptrdiff_t)lengths[b] : run->T;
}

/* Returns whether a direction reads each row from its end. */
static int runs_back(const struct run *run, int direction)
{
    return direction == 1 || run->problem->reverse;
}

/* Returns the time of step s, or the step of time s, which is the same function. */
static ptrdiff_t time_of(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s)
{
    return runs_back(run, direction) ? length_of(run, b) - 1 - s : s;
}

static ptrdiff_t row_of(const struct lane *lane, ptrdiff_t i)
{
    return lane->run->order[lane->group + i * lane->groups];
}

/* Returns how many rows of a lane are longer than s; `most` is the answer for an
 * earlier s. */
static ptrdiff_t rows_alive(const struct lane *lane, ptrdiff_t most, ptrdiff_t s)
{
    while (most > 0 && length_of(lane->run, row_of(lane, most - 1)) <= s) {
        most--;
    }
    return most;
}

/* Returns the index of row b among the rows of states before step s (after step s - 1).
 * They lie in one order for all states of a direction: with a cache by time, the
 * initial ones last; without one in two sets, used in turn. */
static ptrdiff_t state_index(const struct run *run, int direction, ptrdiff_t b,
                             ptrdiff_t s)
{
    if (run->problem->cache == NULL) {
        return (s & 1) * run->B + b;
    }
    const ptrdiff_t t = s == 0 ? run->T : time_of(run, direction, b, s - 1);
    return t * run->B + b;
}

/* Returns the index of row b at step s among rows that exist once for each step. */
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

/* Returns a row of operand j, which stage 0 makes. */
static elem *operand_row(const struct run *run, int direction, int j, ptrdiff_t b,
                         ptrdiff_t s)
{
    if (run->problem->cache == NULL) {
        const int which = direction * run->info->operands + j;
        return run->operands_buffer + (which * run->B + b) * run->Hp;
    }
    return cache_of(run, direction) + run->cache_at.operand[j] +
           step_index(run, direction, b, s) * run->Hp;
}

/* Returns a row of a padded sequence [D, T, B, Hp], which layers hand to each other. */
static elem *padded_row(const struct run *run, const void *sequence, int direction,
                        ptrdiff_t b, ptrdiff_t s)
{
    const ptrdiff_t row = step_index(run, direction, b, s);
    return (elem *)sequence + (direction * run->T * run->B + row) * run->Hp;
}

/* Returns whether a module takes part in step s of row b: whether the row's clock,
 * which counts its steps, is a multiple of the module's period. */
static int takes_part(const struct run *run, const struct units *units, ptrdiff_t b,
                      ptrdiff_t s)
{
    const int64_t *clock = run->problem->clock;
    return units->period == 1 || ((clock ? clock[b] : 0) + s) % units->period == 0;
}

/* Returns the first step from s on in which a module may take part in some row, or T or
 * more if there is none. */
static ptrdiff_t next_tick(const struct run *run, const struct units *units,
                           ptrdiff_t s)
{
    if (units->period == 1 || !run->in_step) {
        return s;
    }
    const int64_t *clock = run->problem->clock;
    const int64_t over = ((clock ? clock[0] : 0) + s) % units->period;
    const int64_t wait = over == 0 ? 0 : units->period - over;
    return s + (wait < run->T ? (ptrdiff_t)wait : run->T);
}

/* Returns the sums of row b at step s, which lie in the cache. */
static elem *cached_sums_row(const struct run *run, int direction, ptrdiff_t b,
                             ptrdiff_t s)
{
    return cache_of(run, direction) + run->cache_at.sums +
           step_index(run, direction, b, s) * run->sums * run->Hp;
}

/* Returns a row of a sequence of the caller's. */
static elem *sequence_row(const struct xr_sequence *sequence, ptrdiff_t t, ptrdiff_t b)
{
    return (elem *)sequence->data + t * sequence->step + b * sequence->row;
}

/* Fills `order` with the rows by falling length, those of equal length in their own
 * order. It is a counting sort; `count` has T + 1 places. */
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

/* Multiplications that a look takes, or what takes as long. */
static ptrdiff_t look_work(const struct xr_attention *attention)
{
    const struct xr_attention_form *form = &attention->form;
    const ptrdiff_t key = form->score == XR_ADDITIVE ? TANH_WORK * form->K : form->K;
    return work_plus(form->Q * form->H, work_times(attention->S, key + form->M));
}

static ptrdiff_t work_of_call(const struct run *run)
{
    const ptrdiff_t seen = per_head(column_blocks(run->info) * run->O, run->heads);
    const ptrdiff_t looks = run->attention ? look_work(run->attention) : 0;
    const ptrdiff_t step = work_times(run->info->w_blocks * run->H, seen + run->I);
    return work_times(run->directions * run->T * run->B, work_plus(step, looks));
}

/* Multiplications of a row in a step that lanes of units share: with a context among
 * the inputs, these are not taken ahead. */
static ptrdiff_t shared_work(const struct run *run)
{
    const ptrdiff_t seen = per_head(column_blocks(run->info) * run->O, run->heads);
    const ptrdiff_t inputs = looks_before(run) ? run->info->w_blocks * run->I : 0;
    return work_times(run->H, run->info->r_blocks * seen + inputs);
}

/* Splits a team by rows, then by directions, neither of which ever wait. What is left
 * of it shares units, in up to `shares`, as far as a step pays for its waiting. Giving
 * units out before single rows, so that no thread reads all weights for few rows, was
 * tried: at T, B, H = 100, 8, 128 two threads took 1597 µs, by rows 930. */
static struct split split_team(const struct run *run, int team, ptrdiff_t shares)
{
    struct split split = {.rows = run->B > 0 ? (int)min_of(team, run->B) : 1};
    split.directions = (int)min_of(team / split.rows, run->directions);
    const ptrdiff_t left = team / (split.rows * split.directions);
    split.units =
        threads_for(shared_work(run), xr_thread_work.step, min_of(left, shares));
    return split;
}

enum { ROWS_PER_LOOK = 960 }; /* whole tiles of any size */

/* Takes one panel of a product, as products.h does, for any number of rows. Returns
 * whether the call is to end. */
static int watched_panel(const struct product *product, ptrdiff_t p, ptrdiff_t next,
                         ptrdiff_t rows, const elem *const *a, elem *const *c,
                         struct xr_watch *watch)
{
    for (ptrdiff_t i = 0; i < rows; i += ROWS_PER_LOOK) {
        const ptrdiff_t part = min_of(ROWS_PER_LOOK, rows - i);
        if (xr_leaves(watch, part * panel_work(product->panels))) {
            return 1;
        }
        product_panel(product, p, next, part, a + i, c + i);
    }
    return 0;
}

/* Returns the lane's share of a matrix's panels. */
static struct range lane_panels(const struct lane *lane, const struct matrix *matrix,
                                ptrdiff_t kind)
{
    const struct range share = lane->panels[kind];
    const ptrdiff_t begin = share.begin - matrix->before;
    return (struct range){max_of(begin, 0),
                          min_of(share.end - matrix->before, matrix->panels.count)};
}

/* Returns the lane's share of a module's units, as they lie in rows. */
static struct range module_share(const struct lane *lane, ptrdiff_t module,
                                 ptrdiff_t kind)
{
    const struct matrix *matrix =
        pack_matrix(lane->pack, lane->pack->of_units[kind], module);
    const struct panels *panels = &matrix->panels;
    const struct range share = lane_panels(lane, matrix, kind);
    if (share.begin >= share.end) {
        return (struct range){0, 0};
    }
    return (struct range){panels->unit + panel_first(panels, share.begin) * VEC_LANES,
                          panels->unit + panel_first(panels, share.end) * VEC_LANES};
}

/* Fills in the lane's units, and those of its modules, whose layers have O = H. */
static void share_units(struct lane *lane)
{
    for (int kind = 0; kind < 2; kind++) {
        lane->units[kind] = module_share(lane, 0, kind);
    }
    const ptrdiff_t modules = lane->run->modules;
    for (ptrdiff_t m = 0; (lane->run->ticks || modules > 1) && m < modules; m++) {
        const struct range units = module_share(lane, m, H_UNITS);
        struct range *all = &lane->units[H_UNITS];
        lane->modules[m].units = units;
        if (units.begin < units.end) {
            all->begin = all->begin < all->end ? all->begin : units.begin;
            all->end = units.end;
        }
        lane->units[O_UNITS] = *all;
    }
}

/* Returns the lane's share of piece m of a row of h. */
static struct range piece_units(const struct lane *lane, ptrdiff_t m)
{
    return lane->run->pieces == 1 ? lane->units[O_UNITS] : lane->modules[m].units;
}

/* Finds out who shares a call, whose units go to `shares` lanes at most. */
static void split_run(struct run *run, ptrdiff_t shares)
{
    run->team = xr_team_now(run->threads, run->work);
    run->split = split_team(run, run->team, shares);
}

/* Returns in how many shares the units of a call can be that reads these packs. */
static ptrdiff_t unit_shares(const void *const *packs)
{
    return ((const struct pack *)packs[0])->panels[H_UNITS];
}

/* Returns after how many stages of steps, a look being one, the lanes of units have met
 * for the last time. */
static ptrdiff_t stages_to_meet(const struct run *run)
{
    const ptrdiff_t stages = run->info->stages + (run->attention != NULL);
    return run->B > 0 ? length_of(run, run->order[0]) * stages : 0;
}

/* Returns how many items a phase of the time loop has. */
static int lane_items(const struct run *run)
{
    return run->split.rows * run->split.directions * run->split.units;
}

/* Returns the share that an item has of one direction: no rows where it has none. */
static struct lane make_lane(const struct run *run, int item, int direction,
                             const void *const *packs)
{
    const struct split split = run->split;
    const int unit = item % split.units;
    const int group = item / split.units % split.rows;
    const int turn = item / (split.units * split.rows);
    struct lane lane = {
        .run = run,
        .pack = packs[direction],
        .direction = direction,
        .group = group,
        .groups = split.rows,
        .pointers = run->pointers + item * run->pointers_per_thread,
        .modules = run->lane_modules + item * run->modules,
        .near_sums = run->near_sums ? run->near_sums + item * run->near_size : NULL,
        .look_space =
            run->look_spaces ? run->look_spaces + item * run->look_space_size : NULL,
    };
    for (int kind = 0; kind < 2; kind++) {
        const ptrdiff_t panels = lane.pack->panels[kind];
        lane.panels[kind].begin = unit * panels / split.units;
        lane.panels[kind].end = (unit + 1) * panels / split.units;
    }
    share_units(&lane);
    if (turn < split.directions && direction % split.directions == turn) {
        lane.rows = ceil_div(run->B - group, split.rows);
    }
    return lane;
}

/* Returns whether all rows have the same clock. */
static int rows_in_step(const struct xr_problem *problem)
{
    const int64_t *clock = problem->clock;
    for (ptrdiff_t b = 1; clock != NULL && b < problem->B; b++) {
        if (clock[b] != clock[0]) {
            return 0;
        }
    }
    return 1;
}

/* Returns in how many pieces a row of h lies: see struct run. */
static ptrdiff_t pieces_of(const struct xr_layer *layer)
{
    const ptrdiff_t heads = xr_heads(layer);
    if (heads > 1 && layer->H / heads % XR_UNIT_PAD != 0) {
        return heads;
    }
    for (ptrdiff_t m = 0; m < layer->modules - 1; m++) {
        if (layer->module[m].size % XR_UNIT_PAD != 0) {
            return layer->modules;
        }
    }
    return 1;
}

/* Makes what forward and backward runs have in common. Its memory comes from the
 * arena. */
static struct run make_run(const struct xr_problem *problem, const struct xr_cell *cell,
                           struct arena *arena, ptrdiff_t pointers_per_thread)
{
    struct run run = {
        .problem = problem,
        .layer = problem->layer,
        .info = &problem->layer->info,
        .cell = cell,
        .cache_at = xr_cache_layout(problem),
        .T = problem->T,
        .B = problem->B,
        .I = problem->layer->I,
        .H = problem->layer->H,
        .O = problem->layer->O,
        .Hp = xr_padded_units(problem->layer),
        .modules = modules_of(problem->layer),
        .pieces = pieces_of(problem->layer),
        .ticks = problem->layer->modules > 0,
        .heads = xr_heads(problem->layer),
        .directions = problem->directions,
        .states = problem->layer->info.states,
        .sums = problem->layer->info.sums,
        .pointers_per_thread = pointers_per_thread,
        .attention = problem->attention,
    };
    run.zones = xr_has_zones(problem->layer);
    if (run.zones || problem->masks != NULL) {
        const ptrdiff_t size = xr_lay_masks(problem, run.Hp, 0, &run.mask_at);
        xr_lay_masks(problem, run.Hp, run.cache_at.direction - size, &run.mask_at);
        run.recurrent_masks = problem->masks ? problem->masks->recurrent : NULL;
    }
    run.work = work_of_call(&run);
    run.threads = threads_for(run.work, xr_thread_work.call, problem->threads);
    ptrdiff_t *order = arena_take(arena, run.B, sizeof *order);
    ptrdiff_t *count = arena_take(arena, run.T + 1, sizeof *count);
    run.pointers =
        arena_take(arena, run.threads * pointers_per_thread, sizeof *run.pointers);
    run.lane_modules =
        arena_take(arena, run.threads * run.modules, sizeof *run.lane_modules);
    if (arena->memory != NULL) {
        sort_rows(&run, order, count);
        run.in_step = rows_in_step(problem);
    }
    run.order = order;
    return run;
}

#endif
