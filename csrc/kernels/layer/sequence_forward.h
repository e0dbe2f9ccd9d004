/* The time loop forward, for every cell.
 *
 * The input products of some steps are taken ahead, of all their rows at once (they do
 * not wait for anything); then, step by step, each panel of units continues the chains
 * with the recurrent product and goes to the cell's point function while it is in
 * the L1. Panels are walked back and forth, so that the last ones of a step, still
 * in the L1 or L2, are the first ones of the next.
 *
 * Over 400 lines, as a step is one thread of thought from the rows to the states.
 * Twin: direction_forward in src/exactrnn/reference/sequence.py.
 */
#ifndef XR_SEQUENCE_FORWARD_H
#define XR_SEQUENCE_FORWARD_H

#include "kernels/layer/sequence.h"

/* So many rows, whole tiles, go through product and point function together. */
enum { ROWS_AT_ONCE = 24 };

/* So many bytes may sums taken ahead fill: with one panel they are well inside
 * an L2. */
enum { AHEAD_BYTES = 256 * 1024 };

/* So long, in multiplications, does a row of a step take besides its products. */
enum { ROW_WORK = 256 };

/* The recurrent products of one stage for the units of one module. */
struct stage {
    int number;
    ptrdiff_t count;
    struct product product[MAX_RECURRENCES];
    ptrdiff_t source[MAX_RECURRENCES];
    struct range share; /* of the panels, the same in all products */
    ptrdiff_t work;     /* multiplications of a row in a panel, or what takes as long */
    struct xr_watch *watch;
};

/* What the cell sees of a step, and the lists of rows in it, which each step fills. */
struct forward_frame {
    struct forward_step step;
    elem **sums;
    const elem **prev[XR_MAX_STATES];
    elem **next[XR_MAX_STATES];
    elem **operand[XR_MAX_OPERANDS];
    const elem **lower;
};

/* A lane and where it stands: before this stage of step s, of which rows are alive. The
 * input products of its steps are taken from step s0 on. */
struct forward_lane {
    struct lane lane;
    struct forward_frame frame;
    struct stage *stages;
    ptrdiff_t s, s0, steps, alive;
    int stage;
};

static int sums_go_to_cache(const struct xr_problem *problem)
{
    return problem->cache != NULL && problem->layer->info.keeps_sums;
}

static struct run make_forward_run(const struct xr_problem *problem,
                                   const struct xr_cell *cell, struct arena *arena)
{
    const struct xr_cell_info *info = &problem->layer->info;
    const ptrdiff_t B = problem->B, D = problem->directions;
    const ptrdiff_t row = info->sums * xr_padded_units(problem->layer);
    ptrdiff_t ahead = AHEAD_BYTES / (B * row * (ptrdiff_t)sizeof(elem) + 1);
    ahead = ahead < 1 ? 1 : min_of(ahead, problem->T);
    /* Each row taken ahead has pointers to x and sums; each row of a step to sums, to
     * the states before and after, to operands and to the layer below. */
    const ptrdiff_t pointers =
        2 * ahead * B + (2 + 2 * info->states + info->operands) * B;
    struct run run = make_run(problem, cell, arena, pointers);
    run.ahead = ahead;
    run.stages_per_thread = run.ticks ? run.modules : info->stages;
    run.stages =
        arena_take(arena, run.threads * run.stages_per_thread, sizeof *run.stages);
    run.forward_lanes = arena_take(arena, run.threads, sizeof *run.forward_lanes);
    if (!sums_go_to_cache(problem)) {
        run.ahead_sums = arena_take(arena, D * ahead * B * row, sizeof(elem));
    }
    if (problem->cache == NULL) {
        run.states_buffer =
            arena_take(arena, D * run.states * 2 * B * run.Hp, sizeof(elem));
        run.operands_buffer =
            arena_take(arena, D * info->operands * B * run.Hp, sizeof(elem));
    }
    return run;
}

/* Returns the sums of row b at step s, of those taken ahead from step s0 on. */
static elem *sums_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s,
                      ptrdiff_t s0)
{
    if (run->ahead_sums == NULL) {
        return cached_sums_row(run, direction, b, s);
    }
    const ptrdiff_t which = (direction * run->ahead + s - s0) * run->B + b;
    return run->ahead_sums + which * run->sums * run->Hp;
}

/* Starts the sums that have no input product at their biases. */
static void start_at_bias(const struct lane *lane, ptrdiff_t rows, elem *const *sums)
{
    const struct run *run = lane->run;
    const elem *bias = (const elem *)lane->pack + lane->pack->bias;
    for (int s = 0; s < run->sums; s++) {
        const struct xr_sum *sum = &run->info->sum[s];
        const int kind = sum->matrix == XR_HR ? O_UNITS : H_UNITS;
        const struct range units = lane->units[kind];
        const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
        const ptrdiff_t at = s * run->Hp + units.begin;
        for (ptrdiff_t i = 0; sum->w < 0 && sum->r >= 0 && i < rows; i++) {
            memcpy(sums[i] + at, bias + at, bytes);
        }
    }
}

/* Takes the input products of steps s0 to s1 - 1 for the units of a module, in the rows
 * in which it takes part. */
static void forward_input(const struct lane *lane, ptrdiff_t module, ptrdiff_t s0,
                          ptrdiff_t s1)
{
    const struct run *run = lane->run;
    const struct pack *pack = lane->pack;
    const struct units *units = pack_units_of(pack) + module;
    const ptrdiff_t most = run->ahead * run->B;
    const elem **x = (const elem **)lane->pointers;
    elem **sums = (elem **)(lane->pointers + most);
    ptrdiff_t rows = 0;
    ptrdiff_t alive = lane->rows;
    for (ptrdiff_t s = next_tick(run, units, s0); s < s1;
         s = next_tick(run, units, s + 1)) {
        alive = rows_alive(lane, alive, s);
        for (ptrdiff_t i = 0; i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            const ptrdiff_t t = time_of(run, lane->direction, b, s);
            x[rows] = sequence_row(&run->problem->x, t, b);
            sums[rows] = sums_row(run, lane->direction, b, s, s0);
            rows += run->in_step || takes_part(run, units, b, s);
        }
    }
    const struct matrix *matrix = pack_matrix(pack, pack->recurrences, module);
    const struct product product = {
        .panels = &matrix->panels,
        .pack = (const elem *)pack,
        .operand = pack_operand_of(pack, matrix->operand),
        .start = (const elem *)pack + pack->bias,
    };
    const struct range share = lane_panels(lane, matrix, H_UNITS);
    for (ptrdiff_t p = share.begin; rows > 0 && p < share.end; p++) {
        if (watched_panel(&product, p, min_of(p + 1, share.end - 1), rows, x, sums,
                          lane->watch)) {
            return;
        }
    }
    start_at_bias(lane, rows, sums);
}

/* Copies the lane's units of state k, an h, from padded rows to y. */
static void copy_output(const struct lane *lane, int k, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const elem *h = states_of(run, lane->direction, k);
    const ptrdiff_t column = output_column(run, lane->direction, k);
    for (ptrdiff_t m = 0; m < run->pieces; m++) {
        const struct units units = piece_of(run, lane->pack, m);
        const struct range share = piece_units(lane, m);
        const ptrdiff_t begin = share.begin - units.at;
        const ptrdiff_t end = min_of(share.end - units.at, units.size);
        for (ptrdiff_t i = 0; begin < end && i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            const ptrdiff_t t = time_of(run, lane->direction, b, s);
            const ptrdiff_t row = state_index(run, lane->direction, b, s + 1);
            elem *y = sequence_row(&run->problem->y, t, b) + column;
            memcpy(y + units.user + begin, h + row * run->Hp + share.begin,
                   (size_t)(end - begin) * sizeof(elem));
        }
    }
}

/* Copies state 1 to where the layer above will read it. */
static void copy_upper(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    const struct range units = lane->units[H_UNITS];
    const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
    for (ptrdiff_t i = 0; i < alive; i++) {
        const ptrdiff_t b = row_of(lane, i);
        memcpy(padded_row(run, run->problem->upper, d, b, s) + units.begin,
               state_row(run, d, 1, b, s + 1) + units.begin, bytes);
    }
}

static struct forward_frame make_forward_frame(const struct lane *lane)
{
    const struct run *run = lane->run;
    const void **next_free = lane->pointers + 2 * run->ahead * run->B;
    struct forward_frame frame = {
        .step = {.Hp = run->Hp,
                 .vectors = (const elem *)lane->pack + lane->pack->vectors,
                 .keep = sums_go_to_cache(run->problem),
                 .layer = own_layer(lane),
                 .info = run->info},
    };
    frame.sums = (elem **)next_free;
    frame.step.sums = frame.sums;
    next_free += lane->rows;
    for (int k = 0; k < run->states; k++, next_free += 2 * lane->rows) {
        frame.prev[k] = (const elem **)next_free;
        frame.next[k] = (elem **)next_free + lane->rows;
        frame.step.prev[k] = frame.prev[k];
        frame.step.next[k] = frame.next[k];
    }
    for (int j = 0; j < run->info->operands; j++, next_free += lane->rows) {
        frame.operand[j] = (elem **)next_free;
        frame.step.operand[j] = frame.operand[j];
    }
    if (run->info->takes_lower) {
        frame.lower = (const elem **)next_free;
        frame.step.lower = frame.lower;
    }
    return frame;
}

/* Lists the alive rows in which a module takes part, or without a module all of
 * them. */
static void place_forward_rows(const struct lane *lane, const struct units *module,
                               ptrdiff_t s, ptrdiff_t s0, ptrdiff_t alive,
                               struct forward_frame *frame)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    ptrdiff_t rows = 0;
    for (ptrdiff_t i = 0; i < alive; i++) {
        const ptrdiff_t b = row_of(lane, i);
        if (module != NULL && !takes_part(run, module, b, s)) {
            continue;
        }
        const ptrdiff_t before = state_index(run, d, b, s) * run->Hp;
        const ptrdiff_t after = state_index(run, d, b, s + 1) * run->Hp;
        frame->sums[rows] = sums_row(run, d, b, s, s0);
        for (int k = 0; k < run->states; k++) {
            elem *states = states_of(run, d, k);
            frame->prev[k][rows] = states + before;
            frame->next[k][rows] = states + after;
        }
        for (int j = 0; j < run->info->operands; j++) {
            frame->operand[j][rows] = operand_row(run, d, j, b, s);
        }
        if (frame->lower != NULL) {
            frame->lower[rows] = padded_row(run, run->problem->lower, d, b, s);
        }
        rows++;
    }
    frame->step.rows = rows;
}

/* Returns the `rows` rows of a step from row `first` on. */
static struct forward_step forward_part(const struct forward_step *step,
                                        ptrdiff_t first, ptrdiff_t rows)
{
    struct forward_step part = *step;
    part.rows = rows;
    part.sums += first;
    for (int k = 0; k < XR_MAX_STATES && part.next[k] != NULL; k++) {
        part.prev[k] += first;
        part.next[k] += first;
    }
    for (int j = 0; j < XR_MAX_OPERANDS && part.operand[j] != NULL; j++) {
        part.operand[j] += first;
    }
    part.lower = part.lower ? part.lower + first : NULL;
    return part;
}

/* Fills in what is used of a stage and no more: each call, even of one step, makes its
 * own. */
static void make_stage(const struct lane *lane, int number, ptrdiff_t module,
                       struct stage *stage)
{
    const struct pack *pack = lane->pack;
    stage->number = number;
    stage->count = 0;
    stage->work = ROW_WORK;
    stage->watch = lane->watch;
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        const struct recurrence *recurrence = &pack->recurrence[r];
        if (recurrence->stage == number) {
            const struct matrix *matrix = pack_matrix(pack, r, module);
            stage->source[stage->count] = recurrence->source;
            stage->share = lane_panels(lane, matrix, recurrence->target);
            stage->work += panel_work(&matrix->panels);
            stage->product[stage->count++] = (struct product){
                .panels = &matrix->panels,
                .pack = (const elem *)pack,
                .operand = pack_operand_of(pack, matrix->operand),
            };
        }
    }
}

/* Takes a few rows of one panel of a stage through the products and then through the
 * point function; through neither, if the call is to end. */
static void forward_tile(const struct stage *stage, ptrdiff_t p, ptrdiff_t next,
                         const struct forward_step *part,
                         void (*point)(const struct forward_step *step))
{
    if (xr_leaves(stage->watch, part->rows * stage->work)) {
        return;
    }
    for (ptrdiff_t r = 0; r < stage->count; r++) {
        const ptrdiff_t source = stage->source[r];
        const elem *const *a =
            source < SOURCE_MADE
                ? part->prev[source]
                : (const elem *const *)part->operand[source - SOURCE_MADE];
        product_panel(&stage->product[r], p, next, part->rows, a, part->sums);
    }
    point(part);
}

/* Does the same for any number of rows. */
static void forward_panel(const struct stage *stage, ptrdiff_t p, ptrdiff_t next,
                          const struct forward_step *step,
                          void (*point)(const struct forward_step *step))
{
    if (step->rows <= ROWS_AT_ONCE) {
        forward_tile(stage, p, next, step, point);
        return;
    }
    for (ptrdiff_t i = 0; i < step->rows; i += ROWS_AT_ONCE) {
        const ptrdiff_t rows = min_of(ROWS_AT_ONCE, step->rows - i);
        const struct forward_step part = forward_part(step, i, rows);
        forward_tile(stage, p, next, &part, point);
    }
}

/* Takes a stage panel by panel, on every other step backwards. */
static void forward_stage(const struct stage *stage, struct forward_step *step,
                          const struct xr_cell *cell, int backwards)
{
    const struct panels *panels = stage->product[0].panels;
    const ptrdiff_t begin = stage->share.begin, last = stage->share.end - 1;
    for (ptrdiff_t q = begin; q <= last; q++) {
        const ptrdiff_t after = min_of(q + 1, last);
        const ptrdiff_t p = backwards ? begin + last - q : q;
        const ptrdiff_t next = backwards ? begin + last - after : after;
        step->begin = panels->unit + panel_first(panels, p) * VEC_LANES;
        step->end = panels->unit + panel_first(panels, p + 1) * VEC_LANES;
        forward_panel(stage, p, next, step, cell->point_forward[stage->number]);
    }
}

/* Copies the states before a step to those after it: so a module that takes no part in
 * the step leaves them. */
static void keep_states(const struct lane *lane, const struct forward_frame *frame)
{
    const struct range units = lane->units[H_UNITS];
    const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
    for (int k = 0; k < lane->run->states; k++) {
        for (ptrdiff_t i = 0; i < frame->step.rows; i++) {
            memcpy(frame->next[k][i] + units.begin, frame->prev[k][i] + units.begin,
                   bytes);
        }
    }
}

/* Takes one step of a lane of modules, whose cell has one stage; `stages` has one for
 * each module. Rows in step are the same for each module, so they are placed once. */
static void forward_modules(const struct lane *lane, const struct stage *stages,
                            ptrdiff_t s, ptrdiff_t s0, ptrdiff_t alive,
                            struct forward_frame *frame)
{
    const struct run *run = lane->run;
    const struct units *units = pack_units_of(lane->pack);
    place_forward_rows(lane, NULL, s, s0, alive, frame);
    keep_states(lane, frame);
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        if (next_tick(run, &units[m], s) != s) {
            continue;
        }
        if (!run->in_step) {
            place_forward_rows(lane, &units[m], s, s0, alive, frame);
        }
        if (frame->step.rows > 0) {
            forward_stage(&stages[m], &frame->step, run->cell, (int)(s & 1));
        }
    }
    xr_leaves(lane->watch, alive * ROW_WORK); /* for steps without any module */
}

static void begin_forward_lane(const struct run *run, int item, int direction,
                               struct forward_lane *own)
{
    own->lane = make_lane(run, item, direction, run->problem->packed);
    own->frame = make_forward_frame(&own->lane);
    own->stages = run->stages + item * run->stages_per_thread;
    for (ptrdiff_t k = 0; k < run->stages_per_thread; k++) {
        make_stage(&own->lane, run->ticks ? 0 : (int)k, run->ticks ? k : 0,
                   &own->stages[k]);
    }
    own->alive = own->lane.rows;
    own->steps = own->alive > 0 ? length_of(run, row_of(&own->lane, 0)) : 0;
    own->s = own->s0 = 0;
    own->stage = 0;
}

/* Gives a lane to the thread of this watch. */
static void take_forward_lane(struct forward_lane *own, struct xr_watch *watch)
{
    own->lane.watch = watch;
    for (ptrdiff_t k = 0; k < own->lane.run->stages_per_thread; k++) {
        own->stages[k].watch = watch;
    }
}

static void begin_forward_step(struct forward_lane *own)
{
    const struct lane *lane = &own->lane;
    const struct run *run = lane->run;
    if (own->s == own->s0 || own->s == own->s0 + run->ahead) {
        own->s0 = own->s;
        const ptrdiff_t s1 = min_of(own->s0 + run->ahead, own->steps);
        for (ptrdiff_t m = 0; m < run->modules; m++) {
            forward_input(lane, m, own->s0, s1);
        }
    }
    own->alive = rows_alive(lane, own->alive, own->s);
    if (!run->ticks) {
        place_forward_rows(lane, NULL, own->s, own->s0, own->alive, &own->frame);
    }
}

static void end_forward_step(const struct forward_lane *own)
{
    const struct run *run = own->lane.run;
    for (int k = 0; k < run->info->cells; k++) {
        copy_output(&own->lane, k, own->s, own->alive);
    }
    if (run->problem->upper != NULL) {
        copy_upper(&own->lane, own->s, own->alive);
    }
}

/* Takes a lane through so many stages, or to its end. */
static void forward_stages(struct forward_lane *own, ptrdiff_t stages)
{
    const struct run *run = own->lane.run;
    for (; stages > 0 && own->s < own->steps; stages--) {
        if (own->stage == 0) {
            begin_forward_step(own);
        }
        if (run->ticks) {
            forward_modules(&own->lane, own->stages, own->s, own->s0, own->alive,
                            &own->frame);
        } else {
            forward_stage(&own->stages[own->stage], &own->frame.step, run->cell,
                          (int)(own->s & 1));
        }
        if (own->lane.watch->leaving) {
            return;
        }
        if (++own->stage == run->info->stages) {
            end_forward_step(own);
            own->stage = 0;
            own->s++;
        }
    }
}

/* Writes zeros into y and into the sums of the cache where a row has ended. The lane
 * of the row's first units does so. */
static void forward_padding(const struct lane *lane)
{
    const struct run *run = lane->run;
    for (ptrdiff_t i = 0; i < lane->rows && lane->panels[H_UNITS].begin == 0; i++) {
        const ptrdiff_t b = row_of(lane, i);
        for (ptrdiff_t t = length_of(run, b); t < run->T; t++) {
            if (xr_leaves(lane->watch, xr_state_width(run->layer, 0))) {
                return;
            }
            elem *y = sequence_row(&run->problem->y, t, b);
            memset(y + output_column(run, lane->direction, 0), 0,
                   (size_t)xr_state_width(run->layer, 0) * sizeof(elem));
            if (sums_go_to_cache(run->problem)) {
                const ptrdiff_t size = run->sums * run->Hp;
                elem *sums = cache_of(run, lane->direction) + run->cache_at.sums;
                memset(sums + (t * run->B + b) * size, 0, (size_t)size * sizeof(elem));
            }
        }
    }
}

/* Takes the lanes of an item through their part of a phase: all of it, where units are
 * not split and there is one. */
static void forward_item(void *context, ptrdiff_t phase, int item,
                         struct xr_watch *watch)
{
    const struct run *run = context;
    struct forward_lane *own = &run->forward_lanes[item];
    if (run->split.units > 1 && phase > 0) {
        take_forward_lane(own, watch);
        forward_stages(own, 1);
        return;
    }
    const int turn = item / (run->split.rows * run->split.units);
    for (int d = turn; d < run->directions; d += run->split.directions) {
        begin_forward_lane(run, item, d, own);
        take_forward_lane(own, watch);
        forward_padding(&own->lane);
        forward_stages(own, run->split.units > 1 ? 1 : PTRDIFF_MAX);
    }
}

static void run_forward(const struct xr_problem *problem, const struct xr_cell *cell)
{
    struct arena arena = {.memory = problem->scratch};
    struct run run = make_forward_run(problem, cell, &arena);
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                state_to_row(&run, problem->state, d, k, b,
                             state_row(&run, d, k, b, 0));
            }
        }
    }
    split_run(&run, problem->packed);
    const struct xr_work work = {
        .body = forward_item,
        .context = &run,
        .phases = run.split.units > 1 ? max_of(1, stages_to_meet(&run)) : 1,
        .items = lane_items(&run),
        .is_long = xr_is_long(run.work),
    };
    if (xr_run(&work, run.team, problem->stop)) {
        return;
    }
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                const elem *row = state_row(&run, d, k, b, length_of(&run, b));
                row_to_state(&run, row, d, k, b, problem->state_out);
            }
        }
    }
}

#endif
