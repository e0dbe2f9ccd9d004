/* The time loop back, for every cell (backpropagation through time).
 *
 * Only the gradient of the previous state has to wait for the step after it. So each
 * step forms dh, calls the cell's point function, which leaves the gradients of the
 * sums in da for the whole sequence, and takes one product with R transposed. Gradients
 * of inputs and weights follow after the loop, over all steps at once (gradients.h).
 *
 * dstates[k][b] holds the gradient of row b's state k: after the step while dh is
 * formed, before the step when its turn is over. Rows come alive at their own last
 * step.
 *
 * Over 400 lines, as sequence_forward.h is: the two are read side by side.
 * Twin: direction_backward in src/exactrnn/reference/sequence_backward.py.
 */
#ifndef XR_SEQUENCE_BACKWARD_H
#define XR_SEQUENCE_BACKWARD_H

#include "kernels/layer/attention_backward.h"
#include "kernels/layer/gradients.h"
#include "kernels/layer/masks_backward.h"
#include "kernels/layer/states.h"

/* What the cell sees of a step, and the lists of rows in it, which each step fills. */
struct backward_frame {
    struct backward_step step;
    const elem **sums, **lower;
    elem **da, **dlower;
    const elem **prev[XR_MAX_STATES], **next[XR_MAX_STATES];
    elem **dstate[XR_MAX_STATES];
    const elem **doperand[XR_MAX_OPERANDS];
};

/* A lane and where it stands: before a stage of step s, of which rows are alive, or
 * between its point function and its products. */
struct backward_lane {
    struct lane lane;
    struct backward_frame frame;
    ptrdiff_t s, alive;
    int stage, is_between;
};

static struct run make_backward_run(const struct xr_problem *problem,
                                    const struct xr_cell *cell, struct arena *arena)
{
    const struct xr_cell_info *info = &problem->layer->info;
    const ptrdiff_t B = problem->B, D = problem->directions;
    const ptrdiff_t pointers = (4 + 3 * info->states + info->operands) * B;
    struct run run = make_run(problem, cell, arena, pointers);
    const ptrdiff_t da_row_size = run.sums * run.Hp;
    ptrdiff_t widest = max_of(da_row_size, pad_units(run.I));
    run.da = arena_take(arena, D * run.T * B * da_row_size, sizeof(elem));
    run.dstates = arena_take(arena, D * run.states * B * run.Hp, sizeof(elem));
    run.doperands = arena_take(arena, D * info->operands * B * run.Hp, sizeof(elem));
    if (run.zones) {
        run.dkept = arena_take(arena, D * run.states * B * run.Hp, sizeof(elem));
    }
    if (run.recurrent_masks != NULL) {
        run.aside = arena_take(arena, D * B * run.Hp, sizeof(elem));
    }
    if (run.attention != NULL) {
        const struct xr_attention_form *form = &run.attention->form;
        widest = max_of(widest, pad_units(max_of(form->Q, max_of(form->K, form->M))));
        run.look_sums = make_look_sums(run.attention, arena, run.T, B);
        run.look_space_size = back_space_size(&run);
        run.look_spaces =
            arena_take(arena, run.threads * run.look_space_size, sizeof(elem));
    }
    run.zeros = arena_take(arena, widest, sizeof(elem));
    run.thread_buffer_size =
        max_of(weight_buffer_size(da_row_size, max_of(run.I, run.Hp)),
               input_buffer_size(&run));
    if (run.attention != NULL) {
        run.thread_buffer_size = max_of(run.thread_buffer_size, look_buffer_size(&run));
    }
    run.thread_buffers =
        arena_take(arena, run.threads * run.thread_buffer_size, sizeof(elem));
    run.backward_lanes = arena_take(arena, run.threads, sizeof *run.backward_lanes);
    run.places = arena_take(arena, run.threads, sizeof *run.places);
    if (arena->memory != NULL) {
        memset(run.zeros, 0, (size_t)widest * sizeof(elem));
    }
    return run;
}

static elem *da_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s)
{
    const ptrdiff_t t = time_of(run, direction, b, s);
    return run->da + ((direction * run->T + t) * run->B + b) * run->sums * run->Hp;
}

static elem *doperand_row(const struct run *run, int direction, int j, ptrdiff_t b)
{
    const int which = direction * run->info->operands + j;
    return run->doperands + (which * run->B + b) * run->Hp;
}

/* Adds `from` to `to` in whole vectors of units; `inside` units of `from` may be
 * read. */
static void add_units(elem *to, const elem *from, ptrdiff_t units, ptrdiff_t inside)
{
    for (ptrdiff_t u = 0; u < units; u += VEC_LANES) {
        const ptrdiff_t left = inside - u;
        const vec g = left < VEC_LANES ? vec_load_part(from + u, left > 0 ? left : 0)
                                       : vec_load(from + u);
        vec_store(to + u, vec_add(g, vec_load(to + u)));
    }
}

/* Adds dy to the gradient of state k, an h, for the units of the lane. */
static void add_output_gradient(const struct lane *lane, int k, ptrdiff_t s,
                                ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    const ptrdiff_t column = output_column(run, d, k);
    for (ptrdiff_t m = 0; run->problem->dy.data != NULL && m < run->pieces; m++) {
        const struct units units = piece_of(run, lane->pack, m);
        const struct range share = piece_units(lane, m);
        const ptrdiff_t first = share.begin - units.at;
        for (ptrdiff_t i = 0; share.begin < share.end && i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            const ptrdiff_t t = time_of(run, d, b, s);
            const elem *dy = sequence_row(&run->problem->dy, t, b) + column;
            add_units(dstate_row(run, d, k, b) + share.begin, dy + units.user + first,
                      share.end - share.begin, units.size - first);
        }
    }
}

/* Adds to the gradient of state 1 what the layer above has left for it. */
static void add_upper_gradient(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    const struct range share = lane->units[H_UNITS];
    const ptrdiff_t units = share.end - share.begin;
    for (ptrdiff_t i = 0; run->problem->dupper != NULL && i < alive; i++) {
        const ptrdiff_t b = row_of(lane, i);
        add_units(dstate_row(run, d, 1, b) + share.begin,
                  padded_row(run, run->problem->dupper, d, b, s) + share.begin, units,
                  units);
    }
}

static struct backward_frame make_backward_frame(const struct lane *lane)
{
    const struct run *run = lane->run;
    const struct pack *forward = run->problem->packed[lane->direction];
    const ptrdiff_t rows = lane->rows;
    const void **next_free = lane->pointers + 4 * rows;
    struct backward_frame frame = {
        .step = {.Hp = run->Hp,
                 .vectors = (const elem *)forward + forward->vectors,
                 .truncated = run->problem->truncated,
                 .layer = own_layer(lane),
                 .info = run->info},
        .sums = (const elem **)lane->pointers,
        .lower = (const elem **)lane->pointers + rows,
        .da = (elem **)lane->pointers + 2 * rows,
        .dlower = (elem **)lane->pointers + 3 * rows,
    };
    frame.step.sums = frame.sums;
    frame.step.lower = frame.lower;
    frame.step.da = frame.da;
    frame.step.dlower = frame.dlower;
    for (int k = 0; k < run->states; k++, next_free += 3 * rows) {
        frame.prev[k] = (const elem **)next_free;
        frame.next[k] = (const elem **)next_free + rows;
        frame.dstate[k] = (elem **)next_free + 2 * rows;
        frame.step.prev[k] = frame.prev[k];
        frame.step.next[k] = frame.next[k];
        frame.step.dstate[k] = frame.dstate[k];
    }
    for (int j = 0; j < run->info->operands; j++, next_free += rows) {
        frame.doperand[j] = (const elem **)next_free;
        frame.step.doperand[j] = frame.doperand[j];
    }
    return frame;
}

/* Lists the alive rows in which a module takes part, or without a module all of
 * them. */
static void place_backward_rows(const struct lane *lane, const struct units *module,
                                ptrdiff_t s, ptrdiff_t alive,
                                struct backward_frame *frame)
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
        frame->sums[rows] = cached_sums_row(run, d, b, s);
        frame->da[rows] = da_row(run, d, b, s);
        for (int k = 0; k < run->states; k++) {
            const elem *states = states_of(run, d, k);
            frame->prev[k][rows] = states + before;
            frame->next[k][rows] =
                (run->zones ? proposals_of(run, d, k) : states) + after;
            frame->dstate[k][rows] = dstate_row(run, d, k, b);
        }
        for (int j = 0; j < run->info->operands; j++) {
            frame->doperand[j][rows] = doperand_row(run, d, j, b);
        }
        if (run->info->takes_lower) {
            frame->lower[rows] = padded_row(run, run->problem->lower, d, b, s);
            frame->dlower[rows] = padded_row(run, run->problem->dlower, d, b, s);
        }
        rows++;
    }
    frame->step.rows = rows;
}

/* Modules next to each other, and `k`, the row of the panels at which their gate rows
 * begin. */
struct listeners {
    ptrdiff_t first, count, k;
};

/* Takes gradients through a recurrent matrix, transposed, from some modules to one that
 * they listen to. A state's gradient is added to what the cell has left there, an
 * operand's starts at zero. */
static void backward_product(const struct lane *lane, const struct backward_step *step,
                             ptrdiff_t r, const struct listeners *from, ptrdiff_t to)
{
    const struct pack *pack = lane->pack;
    const ptrdiff_t source = pack->recurrence[r].source;
    const int to_state = source < SOURCE_MADE;
    const struct matrix *matrix = pack_matrix(pack, r, to);
    struct segment_list gates = pack_matrix(pack, r, from->first)->operand;
    for (ptrdiff_t m = 1; m < from->count; m++) {
        gates.count += pack_matrix(pack, r, from->first + m)->operand.count;
    }
    struct product product = {
        .panels = &matrix->panels,
        .pack = (const elem *)pack,
        .operand = pack_operand_of(pack, gates),
        .start = to_state ? NULL : lane->run->zeros,
        .flush = to_state && !lane->run->ticks && lane->run->recurrent_masks == NULL,
    };
    product.operand.k = from->k;
    elem *const *c = to_state ? step->dstate[source]
                              : (elem *const *)step->doperand[source - SOURCE_MADE];
    const ptrdiff_t kind = source == 0 ? O_UNITS : H_UNITS;
    const struct range share = lane_panels(lane, matrix, kind);
    for (ptrdiff_t p = share.begin; p < share.end; p++) {
        if (watched_panel(&product, p, min_of(p + 1, share.end - 1), step->rows,
                          (const elem *const *)step->da, c, lane->watch)) {
            return;
        }
    }
}

/* Sets to zero the gradient of a state, when nothing is to go back through a matrix. */
static void cut_gradient(const struct lane *lane, const struct backward_step *step,
                         ptrdiff_t source)
{
    const struct range share = lane->units[source == 0 ? O_UNITS : H_UNITS];
    for (ptrdiff_t i = 0; i < step->rows; i++) {
        memset(step->dstate[source][i] + share.begin, 0,
               (size_t)(share.end - share.begin) * sizeof(elem));
    }
}

/* Takes the recurrent products of one stage of a layer without clocks. */
static void backward_products(const struct lane *lane, const struct backward_step *step,
                              int stage)
{
    const struct pack *pack = lane->pack;
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        const struct recurrence *recurrence = &pack->recurrence[r];
        if (recurrence->stage != stage) {
            continue;
        }
        if (step->truncated && recurrence->source < SOURCE_MADE) {
            cut_gradient(lane, step, recurrence->source);
            continue;
        }
        const int is_masked =
            lane->run->recurrent_masks != NULL && hears_masked(recurrence);
        if (is_masked) {
            begin_masked_gradient(lane, recurrence->source, step);
        }
        for (ptrdiff_t head = 0; head < lane->run->heads; head++) {
            const struct listeners itself = {.first = head, .count = 1};
            backward_product(lane, step, r, &itself, head);
        }
        if (is_masked) {
            end_masked_gradient(lane, recurrence->source, step);
        }
    }
}

/* Takes the point function of a stage, for all units of the lane. */
static void backward_point(const struct lane *lane, int stage,
                           struct backward_step *step)
{
    const struct run *run = lane->run;
    const int kind = stage > 0 && run->info->projects ? O_UNITS : H_UNITS;
    for (ptrdiff_t m = 0; m < run->pieces; m++) {
        const struct range units =
            run->pieces == 1 ? lane->units[kind] : lane->modules[m].units;
        step->begin = units.begin;
        step->end = units.end;
        run->cell->point_backward[stage](step);
    }
}

/* Flushes the gradient of h where the chains of all modules end (contract N6). */
static void flush_state(const struct lane *lane, ptrdiff_t alive)
{
    const struct range share = lane->units[H_UNITS];
    for (ptrdiff_t i = 0; i < alive; i++) {
        elem *dh = dstate_row(lane->run, lane->direction, 0, row_of(lane, i));
        for (ptrdiff_t u = share.begin; u < share.end; u += VEC_LANES) {
            vec_store(dh + u, vec_flush(vec_load(dh + u)));
        }
    }
}

/* Lists the rows of a step in which a module takes part. Rows in step are listed
 * already: it takes part in all of them or in none. */
static void place_module_rows(const struct lane *lane, ptrdiff_t m, ptrdiff_t s,
                              ptrdiff_t alive, struct backward_frame *frame)
{
    if (!lane->run->in_step) {
        const struct units *units = pack_units_of(lane->pack) + m;
        place_backward_rows(lane, units, s, alive, frame);
    } else {
        frame->step.rows = lane->modules[m].ticks ? alive : 0;
    }
}

/* Returns whether two modules go back to a third one in the same product. */
static int go_together(const struct lane *lane, ptrdiff_t m, ptrdiff_t next,
                       ptrdiff_t to)
{
    const struct units *units = pack_units_of(lane->pack);
    return lane->run->in_step && lane->modules[next].ticks == lane->modules[m].ticks &&
           listens_to(&units[next], &units[to]);
}

/* Adds to the gradient of what module `to` was before a step, from all modules that
 * listen to it and take part. Rows in step are the same for modules next to each other,
 * which go back in one product. */
static void backward_module(const struct lane *lane, ptrdiff_t to, ptrdiff_t s,
                            ptrdiff_t alive, struct backward_frame *frame)
{
    const struct units *units = pack_units_of(lane->pack);
    const ptrdiff_t modules = lane->run->modules;
    struct listeners from = {.k = 0};
    for (ptrdiff_t m = 0, next; m < modules; m = next) {
        next = m + 1;
        if (!listens_to(&units[m], &units[to])) {
            continue;
        }
        ptrdiff_t gate_rows = units[m].size;
        for (; next < modules && go_together(lane, m, next, to); next++) {
            gate_rows += units[next].size;
        }
        from.first = m;
        from.count = next - m;
        place_module_rows(lane, m, s, alive, frame);
        if (frame->step.rows > 0) {
            backward_product(lane, &frame->step, 0, &from, to);
        }
        from.k += gate_rows;
    }
}

/* Takes the point function of all modules of a lane. */
static void backward_module_points(const struct lane *lane, ptrdiff_t s,
                                   ptrdiff_t alive, struct backward_frame *frame)
{
    const struct run *run = lane->run;
    const struct units *units = pack_units_of(lane->pack);
    place_backward_rows(lane, NULL, s, alive, frame);
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        lane->modules[m].ticks = next_tick(run, &units[m], s) == s;
        place_module_rows(lane, m, s, alive, frame);
        frame->step.begin = lane->modules[m].units.begin;
        frame->step.end = lane->modules[m].units.end;
        if (frame->step.rows > 0) {
            run->cell->point_backward[0](&frame->step);
        }
    }
}

/* Gives each module of a lane its gradient from its listeners. */
static void backward_module_products(const struct lane *lane, ptrdiff_t s,
                                     ptrdiff_t alive, struct backward_frame *frame)
{
    for (ptrdiff_t m = 0; m < lane->run->modules; m++) {
        backward_module(lane, m, s, alive, frame);
    }
    flush_state(lane, alive);
}

static void begin_backward_lane(const struct run *run, int item, int direction,
                                struct backward_lane *own)
{
    own->lane = make_lane(run, item, direction, run->problem->packed_backward);
    own->frame = make_backward_frame(&own->lane);
    own->s = own->lane.rows > 0 ? length_of(run, row_of(&own->lane, 0)) - 1 : -1;
    own->stage = run->info->stages - 1;
    own->is_between = 0;
}

static void begin_backward_step(struct backward_lane *own)
{
    const struct lane *lane = &own->lane;
    const struct run *run = lane->run;
    own->alive = rows_alive(lane, lane->rows, own->s);
    for (int k = 0; k < run->info->cells; k++) {
        add_output_gradient(lane, k, own->s, own->alive);
    }
    add_upper_gradient(lane, own->s, own->alive);
    if (run->zones) {
        part_gradients(lane, own->s, own->alive);
    }
    if (looks_after(run)) {
        take_looks_back(lane, own->s, own->alive);
    }
    xr_leaves(lane->watch, own->alive * run->H); /* for steps without any product */
    if (!run->ticks) {
        place_backward_rows(lane, NULL, own->s, own->alive, &own->frame);
    }
}

static void backward_points(struct backward_lane *own)
{
    if (own->stage == own->lane.run->info->stages - 1) {
        begin_backward_step(own);
    }
    if (own->lane.run->ticks) {
        backward_module_points(&own->lane, own->s, own->alive, &own->frame);
    } else {
        backward_point(&own->lane, own->stage, &own->frame.step);
    }
    own->is_between = 1;
}

static void backward_stage_products(struct backward_lane *own)
{
    if (own->lane.run->ticks) {
        backward_module_products(&own->lane, own->s, own->alive, &own->frame);
    } else {
        backward_products(&own->lane, &own->frame.step, own->stage);
    }
    own->is_between = 0;
    if (--own->stage < 0) {
        if (own->lane.run->zones) {
            join_gradients(&own->lane, own->alive);
        }
        if (looks_before(own->lane.run)) {
            take_looks_back(&own->lane, own->s, own->alive);
        }
        own->stage = own->lane.run->info->stages - 1;
        own->s--;
    }
}

/* Takes a lane through so many point functions, or to its end, or until it is handed
 * on: each but the first comes after the products of the one before, which read what
 * all lanes have left. */
static void backward_stages(struct backward_lane *own, ptrdiff_t stages)
{
    for (; stages > 0; stages--) {
        if (own->is_between) {
            backward_stage_products(own);
            const int ends_step = own->stage == own->lane.run->info->stages - 1;
            if (ends_step && own->s >= 0 && xr_hands_on(own->lane.watch)) {
                return;
            }
        }
        if (own->s < 0 || own->lane.watch->leaving) {
            return;
        }
        backward_points(own);
    }
}

/* Takes a lane through its part of a phase, and to its end. */
static void go_back(struct backward_lane *own, struct xr_watch *watch)
{
    own->lane.watch = watch;
    backward_stages(own, own->lane.run->split.units > 1 ? 1 : PTRDIFF_MAX);
    if (!watch->hands_on) {
        end_looks_back(&own->lane);
    }
}

/* Takes the lanes of an item through their part of a phase: all of it, where units are
 * not split, unless the item is handed on between two steps. */
static void backward_lanes(const struct run *run, ptrdiff_t phase, int item,
                           struct xr_watch *watch)
{
    struct backward_lane *own = &run->backward_lanes[item];
    int d = item / (run->split.rows * run->split.units);
    if (watch->goes_on || phase > 0) {
        go_back(own, watch);
        d = own->lane.direction + run->split.directions;
    }
    for (; d < run->directions && !watch->hands_on; d += run->split.directions) {
        begin_backward_lane(run, item, d, own);
        own->lane.watch = watch;
        begin_looks_back(&own->lane);
        go_back(own, watch);
    }
}

static struct gradient_place gradients_begin(const struct run *run, int item)
{
    const struct weight_share share = {.item = item, .size = run->team};
    return (struct gradient_place){share_of(&share, run->T * run->B).begin, share};
}

/* The last phase is that of the gradients of inputs and weights, shared anew. */
static void backward_item(void *context, ptrdiff_t phase, int item,
                          struct xr_watch *watch)
{
    const struct run *run = context;
    if (phase < run->loop_phases) {
        if (item < lane_items(run)) {
            backward_lanes(run, phase, item, watch);
        }
        return;
    }
    elem *buffer = run->thread_buffers + item * run->thread_buffer_size;
    struct gradient_place *place = &run->places[item];
    if (!watch->goes_on) {
        *place = gradients_begin(run, item);
    }
    if (run->problem->dx.data != NULL && !looks_before(run)) {
        input_gradients(run, place, buffer, watch);
    }
    if (run->problem->dw[0].w_ih != NULL && !watch->hands_on) {
        weight_gradients(run, &place->weight, buffer, watch);
    }
    if (watch->hands_on) {
        return;
    }
    if (run->attention != NULL && run->problem->dw[0].w_ih != NULL) {
        look_gradients(run, item, run->team, buffer, watch);
    }
}

static void run_backward(const struct xr_problem *problem, const struct xr_cell *cell)
{
    struct arena arena = {.memory = problem->scratch};
    struct run run = make_backward_run(problem, cell, &arena);
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                state_to_row(&run, problem->dstate, d, k, b, dstate_row(&run, d, k, b));
            }
        }
    }
    /* A look back ends in products of whole rows, so units stay together. */
    split_run(&run, run.attention ? 1 : unit_shares(problem->packed_backward));
    run.loop_phases = run.split.units > 1 ? stages_to_meet(&run) + 1 : 1;
    const struct xr_work work = {
        .body = backward_item,
        .context = &run,
        .phases = run.loop_phases + 1,
        .items = run.team,
        .multiplications = run.work,
        .handing = run.split.units > 1 ? 1 : 2,
    };
    if (xr_run(&work, run.team, problem->stop)) {
        return;
    }
    for (int d = 0; d < run.directions; d++) {
        for (int k = 0; k < run.states; k++) {
            for (ptrdiff_t b = 0; b < run.B; b++) {
                row_to_state(&run, dstate_row(&run, d, k, b), d, k, b,
                             problem->dstate_out);
            }
        }
    }
}

#endif
