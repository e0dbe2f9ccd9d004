/* The time loop forward, for every cell.
 *
 * With few rows, the input products of some steps are taken ahead, of all their rows
 * at once: they do not wait for anything, and so the weights of x are read once for
 * many rows. With many rows each step takes its own along (stage_forward.h), and its
 * sums are neither stored nor read again. Which it is cannot show in the bits.
 *
 * Over 400 lines, as a step is one thread of thought from the rows to the states.
 * Twin: direction_forward in src/exactrnn/reference/sequence.py.
 */
#ifndef XR_SEQUENCE_FORWARD_H
#define XR_SEQUENCE_FORWARD_H

#include "kernels/layer/attention_forward.h"
#include "kernels/layer/stage_forward.h"
#include "kernels/layer/states.h"
#include "kernels/math/side_by_side.h"

/* So many bytes may sums taken ahead fill: with one panel they are well inside
 * an L2. */
enum { AHEAD_BYTES = 256 * 1024 };

/* With so many rows a step takes x and h together, where they add to the same sums. */
enum { ROWS_TOGETHER = 12 };

/* A lane and where it stands: before this stage of step s, of which rows are alive. The
 * input products of its steps are taken from step s0 on. A look at a memory is a stage
 * too, before the cell's, which are numbered from 0, or after them: lanes that share
 * units meet before what it leaves is read, and before it reads what they leave. */
struct forward_lane {
    struct lane lane;
    struct forward_frame frame;
    struct stage *stages;
    ptrdiff_t s, s0, steps, alive;
    int stage;
};

static int first_stage(const struct run *run) { return looks_before(run) ? -1 : 0; }

static int stages_end(const struct run *run)
{
    return run->info->stages + looks_after(run);
}

/* Returns whether all sums that see x see h too, at the same time. */
static int sees_alike(const struct xr_cell_info *info)
{
    for (int s = 0; s < info->sums; s++) {
        const struct xr_sum *sum = &info->sum[s];
        const int sees_h = sum->r >= 0 && sum->operand == 0 && sum->matrix == XR_HH;
        if ((sum->w >= 0) != sees_h) {
            return 0;
        }
    }
    return 1;
}

/* Returns how many steps' input products are taken at once. Few rows gain by it: the
 * weights of x are read once for many. 0 where the sums of two steps are too many, and
 * where a tile with enough rows goes on from x to h with its sums in registers; and
 * where a part of the input, a context, is not there before the step. */
static ptrdiff_t steps_ahead(const struct xr_problem *problem, ptrdiff_t row)
{
    const struct xr_attention *attention = problem->attention;
    if (attention != NULL && attention->form.query == XR_PREVIOUS) {
        return 0;
    }
    const ptrdiff_t step = problem->B * row * (ptrdiff_t)sizeof(elem);
    const ptrdiff_t ahead = AHEAD_BYTES / (step + 1);
    const int is_one_chain =
        problem->B >= ROWS_TOGETHER && sees_alike(&problem->layer->info);
    return ahead < 2 || is_one_chain ? 0 : min_of(ahead, problem->T);
}

/* Returns whether the sums of a step are needed for one panel and some rows only, so
 * that they can lie in the L1. */
static int sums_stay_near(const struct xr_problem *problem, ptrdiff_t ahead)
{
    return ahead == 0 && problem->layer->info.stages == 1 && !sums_go_to_cache(problem);
}

static struct run make_forward_run(const struct xr_problem *problem,
                                   const struct xr_cell *cell, struct arena *arena)
{
    const struct xr_cell_info *info = &problem->layer->info;
    const ptrdiff_t B = problem->B, D = problem->directions;
    const ptrdiff_t row = info->sums * xr_padded_units(problem->layer);
    const ptrdiff_t ahead = steps_ahead(problem, row);
    /* Each row taken ahead has pointers to x and sums; each row of a step to x, sums,
     * to the states before and after, to operands, also masked, and to the layer
     * below. */
    const ptrdiff_t masked = problem->masks ? 1 + info->operands : 0;
    const ptrdiff_t pointers =
        2 * ahead * B + (3 + 2 * info->states + info->operands + masked) * B;
    struct run run = make_run(problem, cell, arena, pointers);
    run.ahead = ahead;
    run.stages_per_lane = info->stages * run.modules;
    run.stages = arena_take(arena, run.lanes * run.stages_per_lane, sizeof *run.stages);
    run.forward_lanes = arena_take(arena, run.lanes, sizeof *run.forward_lanes);
    make_repeats(&run, arena);
    if (sums_stay_near(problem, ahead)) {
        run.near_size = run.Hp + ROWS_AT_ONCE * near_stride(&run);
        run.near_sums = arena_take(arena, run.lanes * run.near_size, sizeof(elem));
    } else if (!sums_go_to_cache(problem)) {
        run.ahead_sums =
            arena_take(arena, D * max_of(ahead, 1) * B * row, sizeof(elem));
    }
    if (run.attention != NULL) {
        run.look_space_size = look_space_size(run.attention);
        run.look_spaces =
            arena_take(arena, run.threads * run.look_space_size, sizeof(elem));
    }
    if (problem->cache == NULL) {
        run.states_buffer =
            arena_take(arena, D * run.states * 2 * B * run.Hp, sizeof(elem));
        run.operands_buffer =
            arena_take(arena, D * info->operands * B * run.Hp, sizeof(elem));
    }
    if (problem->cache == NULL && run.zones) {
        run.proposals_buffer =
            arena_take(arena, D * run.states * 2 * B * run.Hp, sizeof(elem));
    }
    return run;
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
            x[rows] = input_row(lane, t, b);
            sums[rows] = sums_row(run, lane->direction, b, s, s0);
            rows += run->in_step || takes_part(run, units, b, s);
        }
    }
    const struct matrix *matrix = pack_matrix(pack, pack->recurrences, module);
    const struct product product = input_product(pack, matrix);
    const struct range share = lane_panels(lane, matrix, H_UNITS);
    for (ptrdiff_t p = share.begin; rows > 0 && p < share.end; p++) {
        if (lane->repeats != NULL) {
            start_at_known(&matrix->panels, p, rows, x, sums);
        } else if (watched_panel(&product, p, min_of(p + 1, share.end - 1), rows, x,
                                 sums, lane->watch)) {
            return;
        }
    }
    for (int kind = 0; kind < 2; kind++) {
        start_at_bias(lane, kind, lane->units[kind], rows, sums);
    }
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

/* Modules of a step whose chains, of so many vectors each, are to run side by side. */
struct side_group {
    const struct stage *stage[SIDE_CHAINS];
    struct side_chain chain[SIDE_CHAINS];
    int count, chains;
    ptrdiff_t vectors;
};

/* Takes the modules of a group through the step, and empties it. */
static void run_group(struct side_group *group, struct forward_step *step,
                      void (*point)(const struct forward_step *step))
{
    const int count = group->count;
    run_side_by_side(group->chain, group->chains, group->vectors);
    group->count = group->chains = 0;
    for (int i = 0; i < count; i++) {
        const struct panels *panels = group->stage[i]->panels;
        step->begin = panels->unit;
        step->end = panels->unit + panels->vectors * VEC_LANES;
        point(step);
    }
}

/* Returns how many chains a module has that may go with others': those of one row whose
 * sums the inputs have begun; 0: none may. */
static int sides_of(const struct stage *stage, ptrdiff_t *vectors)
{
    const int is_whole = stage->share.begin == 0 && stage->share.end == 1;
    const int is_begun = !stage->takes_input && stage->count == 1;
    return is_whole && is_begun ? count_sides(stage->panels, vectors) : 0;
}

/* Puts a module into the group, or if it does not belong there takes it alone. */
static void forward_module(const struct stage *stage, struct side_group *group,
                           struct forward_step *step,
                           void (*point)(const struct forward_step *step),
                           int backwards)
{
    ptrdiff_t vectors = 0;
    const int sides = step->rows == 1 ? sides_of(stage, &vectors) : 0;
    if (sides == 0) {
        forward_stage(stage, step, point, backwards);
        return;
    }
    if (group->chains + sides > SIDE_CHAINS || vectors != group->vectors) {
        run_group(group, step, point);
    }
    if (xr_leaves(stage->lane->watch, stage->work)) {
        return;
    }
    group->vectors = vectors;
    group->stage[group->count++] = stage;
    for (int strip = 0; strip < sides; strip++) {
        group->chain[group->chains++] = begin_side(stage->product, strip, vectors,
                                                   stage->left[0][0], step->sums[0]);
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
    struct side_group group;
    group.count = group.chains = 0;
    group.vectors = 0;
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
            forward_module(&stages[m], &group, &frame->step,
                           run->cell->point_forward[0], (int)(s & 1));
        }
        if (!run->in_step) {
            run_group(&group, &frame->step, run->cell->point_forward[0]);
        }
    }
    run_group(&group, &frame->step, run->cell->point_forward[0]);
    xr_leaves(lane->watch, alive * ROW_WORK); /* for steps without any module */
}

static void begin_forward_lane(const struct run *run, int item, int direction,
                               struct xr_watch *watch, struct forward_lane *own)
{
    own->lane = make_lane(run, item, direction, run->problem->packed);
    own->lane.watch = watch;
    own->lane.repeats = find_repeats(&own->lane, item);
    own->frame = make_forward_frame(&own->lane);
    own->stages = run->stages + item * run->stages_per_lane;
    struct stage *stage = own->stages;
    for (int k = 0; k < run->info->stages; k++) {
        for (ptrdiff_t m = 0; m < run->modules; m++) {
            make_stage(&own->lane, k, m, &own->frame, stage++);
        }
    }
    own->alive = own->lane.rows;
    own->steps = own->alive > 0 ? length_of(run, row_of(&own->lane, 0)) : 0;
    own->s = own->s0 = 0;
    own->stage = first_stage(run);
}

static void begin_forward_step(struct forward_lane *own)
{
    const struct lane *lane = &own->lane;
    const struct run *run = lane->run;
    if (own->s == own->s0 || own->s == own->s0 + max_of(run->ahead, 1)) {
        own->s0 = own->s;
        const ptrdiff_t s1 = min_of(own->s0 + run->ahead, own->steps);
        for (ptrdiff_t m = 0; run->ahead > 0 && m < run->modules; m++) {
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
    if (run->zones) {
        mix_states(&own->lane, own->s, own->alive);
    }
    if (run->recurrent_masks != NULL) {
        mask_states(&own->lane, own->s + 1, own->alive);
    }
    for (int k = 0; k < run->info->cells; k++) {
        copy_output(&own->lane, k, own->s, own->alive);
    }
    if (run->problem->upper != NULL) {
        copy_upper(&own->lane, own->s, own->alive);
    }
}

/* Returns whether a step walks its panels from the last one on. */
static int walks_back(const struct run *run, ptrdiff_t s)
{
    const int from_end = run->attention != NULL && run->attention->from_end;
    return (int)(s & 1) ^ from_end;
}

/* Takes a stage of a layer without clocks: head by head, if there are several. A stage
 * without products has its point function alone, which sees all units at once. */
static void forward_heads(struct forward_lane *own)
{
    const struct lane *lane = &own->lane;
    const struct run *run = lane->run;
    const struct stage *stages = &own->stages[own->stage * run->heads];
    const int is_alone = own->stage > 0 && stages[0].count == 0;
    const int waits = is_alone || point_waits(run, own->frame.step.rows);
    void (*const point)(const struct forward_step *) =
        waits ? NULL : run->cell->point_forward[own->stage];
    for (ptrdiff_t head = 0; !is_alone && head < run->heads; head++) {
        forward_stage(&stages[head], &own->frame.step, point, walks_back(run, own->s));
    }
    if (waits && !lane->watch->leaving) {
        forward_whole(lane, own->stage, &own->frame.step);
    }
}

/* Takes a lane through one stage of the cell. */
static void forward_cell(struct forward_lane *own)
{
    if (own->lane.run->ticks) {
        forward_modules(&own->lane, own->stages, own->s, own->s0, own->alive,
                        &own->frame);
    } else {
        forward_heads(own);
    }
}

/* Takes a lane through so many stages, or to its end, or until it is handed on. */
static void forward_stages(struct forward_lane *own, ptrdiff_t stages)
{
    const struct lane *lane = &own->lane;
    const struct run *run = lane->run;
    for (; stages > 0 && own->s < own->steps; stages--) {
        if (own->stage == 0) {
            begin_forward_step(own);
        }
        if (own->stage >= 0 && own->stage < run->info->stages) {
            forward_cell(own);
        } else if (has_looks(lane)) {
            take_looks(lane, own->s, rows_alive(lane, own->alive, own->s));
        }
        if (lane->watch->leaving) {
            return;
        }
        if (run->recurrent_masks != NULL) {
            mask_operands(&own->lane, own->stage + 1, own->s, own->alive);
        }
        if (++own->stage == run->info->stages) {
            end_forward_step(own);
        }
        if (own->stage == stages_end(run)) {
            own->stage = first_stage(run);
            if (++own->s < own->steps && xr_hands_on(lane->watch)) {
                return;
            }
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
 * not split and there is one, unless the item is handed on between two steps. */
static void forward_item(void *context, ptrdiff_t phase, int item,
                         struct xr_watch *watch)
{
    const struct run *run = context;
    struct forward_lane *own = &run->forward_lanes[item];
    const int goes_on = watch->goes_on || phase > 0;
    const int turn = item / (run->split.rows * run->split.units);
    const ptrdiff_t stages = run->split.units > 1 ? 1 : PTRDIFF_MAX;
    int d = turn;
    if (goes_on) {
        own->lane.watch = watch;
        forward_stages(own, stages);
        d = own->lane.direction + run->split.directions;
    }
    for (; d < run->directions && !watch->hands_on; d += run->split.directions) {
        begin_forward_lane(run, item, d, watch, own);
        forward_padding(&own->lane);
        begin_looks(&own->lane);
        forward_stages(own, stages);
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
    mask_first_states(&run);
    split_run(&run, unit_shares(problem->packed));
    const struct xr_work work = {
        .body = forward_item,
        .context = &run,
        .phases = run.split.units > 1 ? max_of(1, stages_to_meet(&run)) : 1,
        .items = lane_items(&run),
        .multiplications = run.work,
        .handing = run.split.units == 1,
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
