/* One stage of a step forward: its products and the point function after them, panel by
 * panel, for some rows of the batch.
 *
 * A stage takes each panel of units through the recurrent products and to the cell's
 * point function while its sums are in the L1. Where the input products were not taken
 * ahead, stage 0 takes them too, before the recurrent ones: then the sums of a few rows
 * of one panel are all that is needed at a time, and they stay near, in a buffer of the
 * thread's that is used over and over, unless a second stage or backward reads them.
 * Where x and h add to the same sums, as in the LSTM, these stay in registers from x
 * to h.
 *
 * A program looks up what to do once for each operation and call: where a step's sums
 * are few enough to stay in the L1 altogether, it waits for all of them, and is called
 * once.
 *
 * Panels are walked back and forth, so that the last ones of a step, still in the L1 or
 * L2, are the first ones of the next.
 */
#ifndef XR_STAGE_FORWARD_H
#define XR_STAGE_FORWARD_H

#include "kernels/layer/masks.h"
#include "kernels/layer/repeats.h"

/* So many rows, whole tiles, go through product and point function together. */
enum { ROWS_AT_ONCE = 24 };

/* So long, in multiplications, does a row of a step take besides its products. */
enum { ROW_WORK = 256 };

/* The products of one stage for the units of one module. */
struct stage {
    int number;
    int takes_input; /* has the input product, and starts sums without one */
    int knows_input; /* its input product is known: rows of x repeat */
    const struct panels *panels; /* of its units, the same in all products */
    ptrdiff_t count;
    struct product product[1 + MAX_RECURRENCES];
    /* The rows that each product multiplies, and if it and the next one are a pair,
     * which adds to the same sums. */
    const elem *const *left[1 + MAX_RECURRENCES];
    int is_pair[1 + MAX_RECURRENCES];
    struct range share; /* of the panels, the same in all products */
    ptrdiff_t work;     /* multiplications of a row in a panel, or what takes as long */
    const struct lane *lane;
    elem **near_rows; /* list of the sums' rows, if these stay near; or NULL */
};

static int sums_go_to_cache(const struct xr_problem *problem)
{
    return problem->cache != NULL && problem->layer->info.keeps_sums;
}

/* Rows of sums that stay near each other lie so far apart that they share no set of the
 * L1: only one panel of each is in use. */
static ptrdiff_t near_stride(const struct run *run)
{
    return run->sums * run->Hp + 3 * XR_ALIGNMENT / (ptrdiff_t)sizeof(elem);
}

/* Returns the sums of row b at step s, of those taken ahead from step s0 on. */
static elem *sums_row(const struct run *run, int direction, ptrdiff_t b, ptrdiff_t s,
                      ptrdiff_t s0)
{
    if (run->ahead_sums == NULL) {
        return cached_sums_row(run, direction, b, s);
    }
    const ptrdiff_t steps = max_of(run->ahead, 1);
    const ptrdiff_t which = (direction * steps + s - s0) * run->B + b;
    return run->ahead_sums + which * run->sums * run->Hp;
}

/* Starts the sums of a kind of units that have no input product at their biases. */
static void start_at_bias(const struct lane *lane, ptrdiff_t kind, struct range units,
                          ptrdiff_t rows, elem *const *sums)
{
    const struct run *run = lane->run;
    const elem *bias = (const elem *)lane->pack + lane->pack->bias;
    for (int s = 0; s < run->sums; s++) {
        const struct xr_sum *sum = &run->info->sum[s];
        const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
        const ptrdiff_t at = s * run->Hp + units.begin;
        const int is_wanted = (sum->matrix == XR_HR ? O_UNITS : H_UNITS) == kind;
        for (ptrdiff_t i = 0; is_wanted && sum->w < 0 && sum->r >= 0 && i < rows; i++) {
            memcpy(sums[i] + at, bias + at, bytes);
        }
    }
}

/* What the cell sees of a step, and the lists of rows in it, which each step fills. */
struct forward_frame {
    struct forward_step step;
    const elem **x; /* where a step takes its own input products */
    elem **sums;
    const elem **prev[XR_MAX_STATES];
    elem **next[XR_MAX_STATES];
    elem **operand[XR_MAX_OPERANDS];
    const elem **lower;
    const elem **masked[1 + XR_MAX_OPERANDS]; /* h, operands; NULL without masks */
};

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
    frame.x = (const elem **)next_free;
    next_free += lane->rows;
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
        next_free += lane->rows;
    }
    for (int j = 0; run->recurrent_masks != NULL && j <= run->info->operands; j++) {
        frame.masked[j] = (const elem **)next_free;
        next_free += lane->rows;
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
        if (run->ahead == 0) {
            const ptrdiff_t t = time_of(run, d, b, s);
            frame->x[rows] = input_row(lane, t, b);
        }
        if (run->near_sums == NULL) {
            frame->sums[rows] = sums_row(run, d, b, s, s0);
        }
        for (int k = 0; k < run->states; k++) {
            elem *states = states_of(run, d, k);
            frame->prev[k][rows] = states + before;
            frame->next[k][rows] =
                (run->zones ? proposals_of(run, d, k) : states) + after;
        }
        for (int j = 0; j < run->info->operands; j++) {
            frame->operand[j][rows] = operand_row(run, d, j, b, s);
        }
        for (int j = 0; run->recurrent_masks != NULL && j <= run->info->operands; j++) {
            frame->masked[j][rows] = masked_row(run, d, j, b, s);
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

static void add_product(struct stage *stage, const elem *const *left,
                        struct product product)
{
    stage->left[stage->count] = left;
    stage->product[stage->count++] = product;
    stage->work += panel_work(product.panels);
}

/* Returns the rows that a recurrence multiplies. */
static const elem *const *source_rows(const struct forward_frame *frame,
                                      const struct recurrence *recurrence)
{
    const ptrdiff_t source = recurrence->source;
    if (frame->masked[0] != NULL && hears_masked(recurrence)) {
        return frame->masked[masked_index(source)];
    }
    return source < SOURCE_MADE
               ? frame->prev[source]
               : (const elem *const *)frame->operand[source - SOURCE_MADE];
}

static int add_to_same(const struct panels *a, const struct panels *b)
{
    const size_t bytes = (size_t)a->sums * sizeof *a->slot;
    return a->sums == b->sums && memcmp(a->slot, b->slot, bytes) == 0;
}

/* Finds the products of a stage that add to the same sums as the next one. */
static void find_pairs(struct stage *stage)
{
    for (ptrdiff_t r = 0; r < stage->count; r++) {
        const struct product *product = &stage->product[r];
        stage->is_pair[r] = (r == 0 || !stage->is_pair[r - 1]) &&
                            r + 1 < stage->count &&
                            add_to_same(product[0].panels, product[1].panels);
    }
}

/* Fills in what is used of a stage and no more: each call, even of one step, makes its
 * own. */
static void make_stage(const struct lane *lane, int number, ptrdiff_t module,
                       const struct forward_frame *frame, struct stage *stage)
{
    const struct pack *pack = lane->pack;
    stage->number = number;
    stage->takes_input = lane->run->ahead == 0;
    stage->knows_input = lane->repeats != NULL && number == 0;
    stage->count = 0;
    stage->work = ROW_WORK;
    stage->lane = lane;
    stage->near_rows = lane->near_sums ? frame->sums : NULL;
    const struct matrix *inputs = pack_matrix(pack, pack->recurrences, module);
    stage->panels = &inputs->panels;
    stage->share = lane_panels(lane, inputs, H_UNITS);
    if (stage->takes_input && number == 0) {
        add_product(stage, frame->x, input_product(pack, inputs));
    }
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        const struct recurrence *recurrence = &pack->recurrence[r];
        if (recurrence->stage == number) {
            const struct matrix *matrix = pack_matrix(pack, r, module);
            stage->panels = &matrix->panels;
            stage->share = lane_panels(lane, matrix, recurrence->target);
            add_product(stage, source_rows(frame, recurrence),
                        (struct product){
                            .panels = &matrix->panels,
                            .pack = (const elem *)pack,
                            .operand = pack_operand_of(pack, matrix->operand),
                        });
        }
    }
    if (stage->takes_input) {
        find_pairs(stage);
    }
}

/* Takes a few rows of one panel, from row `first` of the step on, through the products
 * of a stage. */
static void take_products(const struct stage *stage, ptrdiff_t p, ptrdiff_t next,
                          const struct forward_step *part, ptrdiff_t first)
{
    for (ptrdiff_t r = 0; r < stage->count; r++) {
        const elem *const *a = stage->left[r] + first;
        product_panel(&stage->product[r], p, next, part->rows, a, part->sums);
    }
}

/* Does so where they take their inputs along. */
XR_NOINLINE static void take_products_and_input(const struct stage *stage, ptrdiff_t p,
                                                ptrdiff_t next,
                                                const struct forward_step *part,
                                                ptrdiff_t first)
{
    const struct range units = {part->begin, part->end};
    start_at_bias(stage->lane, stage->number == 0 ? H_UNITS : O_UNITS, units,
                  part->rows, part->sums);
    for (ptrdiff_t r = 0; r < stage->count; r++) {
        const struct product *product = &stage->product[r];
        const elem *const *a = stage->left[r] + first;
        struct product_rows rows = {
            part->rows, {a}, (const elem *const *)part->sums, part->sums};
        const int is_known = r == 0 && stage->knows_input;
        if (is_known && stage->is_pair[r]) {
            rows.from = a;
            rows.a[0] = stage->left[++r] + first;
            product_from(product + 1, p, next, &rows);
        } else if (is_known) {
            start_at_known(product->panels, p, part->rows, a, part->sums);
        } else if (stage->is_pair[r] && part->rows >= PAIR_ROWS) {
            rows.a[1] = stage->left[++r] + first;
            product_pair(product, p, next, &rows);
        } else {
            product_from(product, p, next, &rows);
        }
    }
}

/* Takes a few rows of one panel of a stage, from row `first` of the step on, through
 * the products and then through the point function, if it does not wait; through
 * neither, if the call is to end. */
static void forward_tile(const struct stage *stage, ptrdiff_t p, ptrdiff_t next,
                         const struct forward_step *part, ptrdiff_t first,
                         void (*point)(const struct forward_step *step))
{
    if (xr_leaves(stage->lane->watch, part->rows * stage->work)) {
        return;
    }
    if (stage->takes_input) {
        take_products_and_input(stage, p, next, part, first);
    } else {
        take_products(stage, p, next, part, first);
    }
    if (point != NULL) {
        point(part);
    }
}

/* So many bytes of sums stay in the L1 until all of them are there. */
enum { WAITING_BYTES = 16 * 1024 };

/* Returns whether the point function of a step waits for all panels. Sums that stay
 * near then have a place for each unit, so there are no more rows than these have. */
static int point_waits(const struct run *run, ptrdiff_t rows)
{
    const ptrdiff_t bytes = rows * run->sums * run->Hp * (ptrdiff_t)sizeof(elem);
    return run->layer->program != NULL && rows <= ROWS_AT_ONCE &&
           bytes <= WAITING_BYTES;
}

/* Lays the sums of a panel that begins with unit `begin` into the lane's few rows, one
 * tile's over the other's. */
static void place_near_sums(const struct stage *stage, ptrdiff_t rows, ptrdiff_t begin)
{
    const struct run *run = stage->lane->run;
    elem *const first = stage->lane->near_sums + run->Hp - begin;
    for (ptrdiff_t i = 0; i < rows; i++) {
        stage->near_rows[i] = first + i % ROWS_AT_ONCE * near_stride(run);
    }
}

/* Does the same for any number of rows, in parts of whole tiles that are as even as the
 * tiles are. */
static void forward_panel(const struct stage *stage, ptrdiff_t p, ptrdiff_t next,
                          const struct forward_step *step,
                          void (*point)(const struct forward_step *step))
{
    if (stage->near_rows != NULL) {
        place_near_sums(stage, step->rows, point == NULL ? 0 : step->begin);
    }
    if (step->rows <= ROWS_AT_ONCE) {
        forward_tile(stage, p, next, step, 0, point);
        return;
    }
    const struct spread spread = spread_rows(step->rows);
    const ptrdiff_t parts = ceil_div(spread.tiles, ROWS_AT_ONCE / TILE_ROWS);
    for (ptrdiff_t q = 0, i = 0; q < parts; q++) {
        const ptrdiff_t tiles = (q + 1) * spread.tiles / parts;
        const ptrdiff_t rows = tiles * spread.m + min_of(tiles, spread.wider) - i;
        const struct forward_step part = forward_part(step, i, rows);
        forward_tile(stage, p, next, &part, i, point);
        i += rows;
    }
}

/* Takes the point function of a stage for all units of the lane at once. */
static void forward_whole(const struct lane *lane, int stage, struct forward_step *step)
{
    const struct run *run = lane->run;
    for (ptrdiff_t m = 0; m < run->pieces; m++) {
        const struct range units =
            run->pieces == 1 ? lane->units[H_UNITS] : lane->modules[m].units;
        step->begin = units.begin;
        step->end = units.end;
        if (units.begin < units.end &&
            !xr_leaves(lane->watch, step->rows * (units.end - units.begin))) {
            run->cell->point_forward[stage](step);
        }
    }
}

/* Takes a stage panel by panel, on every other step backwards. Without `point` it takes
 * the products alone. */
static void forward_stage(const struct stage *stage, struct forward_step *step,
                          void (*point)(const struct forward_step *step), int backwards)
{
    const struct panels *panels = stage->panels;
    const ptrdiff_t begin = stage->share.begin, last = stage->share.end - 1;
    for (ptrdiff_t q = begin; q <= last; q++) {
        const ptrdiff_t after = min_of(q + 1, last);
        const ptrdiff_t p = backwards ? begin + last - q : q;
        const ptrdiff_t next = backwards ? begin + last - after : after;
        step->begin = panels->unit + panel_first(panels, p) * VEC_LANES;
        step->end = panels->unit + panel_first(panels, p + 1) * VEC_LANES;
        forward_panel(stage, p, next, step, point);
    }
}

#endif
