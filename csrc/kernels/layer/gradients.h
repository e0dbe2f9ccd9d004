/* Gradients of inputs and weights, after the time loop.
 *
 * Inputs: a product of all rows of da with W transposed, direction by direction.
 *
 * Weights: long sums (contract N3) over k = t*B + b in chunks of 256,
 *
 *     dW[row, column] += sum of chunks ( chain over k of da[k][row] * x[k][column] )
 *
 * Of each chunk both sides are packed, and a tile runs over both:
 *
 *     operand   [panel][k][OPERAND_VECTORS * LANES]    from x, h_prev or the stage
 *     da        [tile][k][TILE_GATES]                  gate rows of all sums in turn
 *
 * The operand's panels are narrow, so that one stays in the L1 while all gate rows
 * pass. Jobs of one chunk follow each other, and one whose gate rows are those of the
 * job before (W and R of an LSTM) finds them packed. The bias gradients, long sums with
 * w = 1, are taken along while da is packed.
 * Padded steps count as +0.0 * +0.0, whose only effect is to turn a -0.0 into +0.0, so
 * that one row of zeros stands for a whole gap and ragged batches cost what they hold.
 * Twin: long_sum in src/exactrnn/reference/arith.py.
 */
#ifndef XR_GRADIENTS_H
#define XR_GRADIENTS_H

#include "kernels/layer/masks.h"
#include "kernels/math/long_sums.h"

enum { INPUT_ROWS = 48 }; /* rows of dx that are formed together */

/* A weight gradient multiplies da with x, or with what a recurrence multiplies. */
enum { SOURCE_X = SOURCE_MADE + XR_MAX_OPERANDS };

/* Row blocks of a matrix's gradient that share an operand: of each sum the gate rows of
 * some units, `units` in number, and `columns` columns. */
struct weight_job {
    int direction;
    ptrdiff_t source;
    int is_masked; /* what it multiplies with: masks.h */
    const struct units *module;
    ptrdiff_t begin, units;    /* in a row of da */
    ptrdiff_t column, columns; /* of the operand, in its rows */
    ptrdiff_t step;            /* from row to row of the matrix */
    int count;
    ptrdiff_t sum[XR_MAX_PRODUCTS];
    elem *dw[XR_MAX_PRODUCTS];    /* [units, columns], rows `step` apart */
    elem *db[XR_MAX_PRODUCTS][2]; /* [units], or NULL */
};

static elem *dstate_row(const struct run *run, int direction, int k, ptrdiff_t b)
{
    return run->dstates + ((direction * run->states + k) * run->B + b) * run->Hp;
}

static elem *offset(void *array, ptrdiff_t at)
{
    return array ? (elem *)array + at : NULL;
}

/* Returns those units of a module that lie between `begin` and `end` of the caller's
 * units, which are an item's share. */
static struct units item_share(struct units module, ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t last = min_of(end, module.user + module.size);
    const ptrdiff_t first = max_of(begin, module.user);
    module.at += first - module.user;
    module.user = first;
    module.size = max_of(last - first, 0);
    return module;
}

/* Describes the gradient of W for the units `to`. */
static struct weight_job make_input_job(const struct run *run, int direction,
                                        const struct units *module, struct units to)
{
    const struct xr_gradients *dw = &run->problem->dw[direction];
    struct weight_job job = {
        .direction = direction,
        .source = SOURCE_X,
        .module = module,
        .begin = to.at,
        .units = to.size,
        .columns = run->I,
        .step = run->I,
    };
    job.count = (int)find_inputs(run->info, job.sum);
    for (int j = 0; j < job.count; j++) {
        const struct xr_sum *sum = &run->info->sum[job.sum[j]];
        const ptrdiff_t row = sum->w * run->H + to.user;
        job.dw[j] = offset(dw->w_ih, row * job.step);
        if (sum->bias == XR_OWN_BIAS) {
            job.db[j][0] = offset(dw->b_ih, row);
        } else if (sum->bias == XR_BIAS_IH) {
            job.db[j][0] = offset(dw->b_ih, sum->bias_w * run->H + to.user);
        }
    }
    return job;
}

/* Describes the gradient of a recurrent matrix for the rows of ends[0] and the columns
 * of ends[1]. That of the biases goes with the first job of some rows, hence with the
 * first columns. */
static struct weight_job make_job(const struct run *run, int direction,
                                  const struct recurrence *recurrence,
                                  const struct units *module,
                                  const struct units ends[2])
{
    const struct xr_gradients *dw = &run->problem->dw[direction];
    void *const matrix[] = {dw->w_hh, dw->w_hr, dw->w_gates};
    void *const bias[] = {dw->b_hh, dw->b_hr, NULL};
    const ptrdiff_t rows = recurrence->target == O_UNITS ? run->O : run->H;
    const struct units to = ends[0], from = ends[1];
    struct weight_job job = {
        .direction = direction,
        .source = recurrence->source,
        .is_masked = run->recurrent_masks != NULL && hears_masked(recurrence),
        .module = module,
        .begin = to.at,
        .units = to.size,
        .column = from.at,
        .columns = from.size,
        .step = matrix_columns(run->layer, recurrence),
        .count = (int)recurrence->count,
    };
    for (int j = 0; j < job.count; j++) {
        const struct xr_sum *sum = &run->info->sum[recurrence->sum[j]];
        const ptrdiff_t row = recurrence->block[j] * rows + to.user;
        job.sum[j] = recurrence->sum[j];
        job.dw[j] = offset(matrix[recurrence->matrix],
                           row * job.step + matrix_column(recurrence, &from));
        if (recurrence->column > 0) {
            continue;
        }
        if (sum->bias == XR_OWN_BIAS || sum->bias == XR_BIAS_OF_X) {
            job.db[j][0] = offset(bias[recurrence->matrix], row);
        }
        if (sum->bias == XR_BIAS_HH) {
            job.db[j][0] = offset(dw->b_hh, sum->bias_w * run->H + to.user);
        }
        if (sum->bias == XR_BIAS_OF_X) {
            job.db[j][1] = offset(dw->b_ih, sum->bias_w * run->H + to.user);
        }
    }
    return job;
}

/* Returns what a job multiplies da with at time t of row b. */
static const elem *operand_of(const struct run *run, const struct weight_job *job,
                              ptrdiff_t t, ptrdiff_t b)
{
    const int d = job->direction;
    const ptrdiff_t s = time_of(run, d, b, t);
    if (job->source == SOURCE_X) {
        return sequence_row(&run->problem->x, t, b);
    }
    if (job->is_masked) {
        return masked_row(run, d, masked_index(job->source), b, s) + job->column;
    }
    if (job->source < SOURCE_MADE) {
        return state_row(run, d, (int)job->source, b, s) + job->column;
    }
    return operand_row(run, d, (int)job->source - SOURCE_MADE, b, s) + job->column;
}

/* A module's steps in one direction; `s` is the last one asked for and `ticks` what it
 * was told: rows in step have the same answer, which costs a division. */
struct ticks {
    const struct run *run;
    const struct units *module;
    int direction, ticks;
    ptrdiff_t s;
};

static struct ticks ticks_of(const struct run *run, const struct units *module,
                             int direction)
{
    return (struct ticks){run, module, direction, 0, -1};
}

/* Returns whether the module takes part at time t of row b. */
static int counts(struct ticks *ticks, ptrdiff_t t, ptrdiff_t b)
{
    const struct run *run = ticks->run;
    const ptrdiff_t s = time_of(run, ticks->direction, b, t);
    if (t >= length_of(run, b)) {
        return 0;
    }
    if (s != ticks->s || !run->in_step) {
        ticks->s = s;
        ticks->ticks = takes_part(run, ticks->module, b, s);
    }
    return ticks->ticks;
}

/* Points the rows of a chunk, k from k0 on, to da and to the operand. */
static void gather_chunk(const struct run *run, const struct weight_job *job,
                         ptrdiff_t k0, struct chunk *chunk)
{
    struct ticks ticks = ticks_of(run, job->module, job->direction);
    const ptrdiff_t k1 = min_of(k0 + CHUNK, run->T * run->B);
    ptrdiff_t t = k0 / run->B, b = k0 % run->B;
    int in_gap = 0;
    chunk->rows = 0;
    for (ptrdiff_t k = k0; k < k1; k++, b++) {
        if (b == run->B) {
            b = 0;
            t++;
        }
        const int gap = !counts(&ticks, t, b);
        if (gap && in_gap) {
            continue;
        }
        const ptrdiff_t row = job->direction * run->T * run->B + k;
        in_gap = gap;
        chunk->da[chunk->rows] = gap ? run->zeros : run->da + row * run->sums * run->Hp;
        chunk->operand[chunk->rows] = gap ? run->zeros : operand_of(run, job, t, b);
        chunk->rows++;
    }
}

/* The memory of an item, and what lies in it: the gate rows of one chunk and, while
 * they are multiplied, one operand's. */
struct weight_buffer {
    struct gate_buffer gates;
    elem *operand;
    struct gates packed; /* none: count is 0 */
    const struct units *module;
};

/* Multiplies the two sides of a chunk, which are packed: each panel of the operand
 * meets all tiles. */
static void weight_products(const struct weight_job *job, ptrdiff_t rows,
                            const struct weight_buffer *buffer, struct xr_watch *watch)
{
    const ptrdiff_t gates = job->count * job->units;
    for (ptrdiff_t first = 0; first < job->columns; first += OPERAND_WIDTH) {
        if (xr_leaves(watch, gates * OPERAND_WIDTH * rows)) {
            return;
        }
        const ptrdiff_t inside = min_of(OPERAND_WIDTH, job->columns - first);
        const elem *tile = buffer->gates.tiles;
        ptrdiff_t j = 0, unit = 0; /* of gate row r */
        for (ptrdiff_t r = 0; r < gates; r += TILE_GATES) {
            elem *dw[TILE_GATES] = {NULL};
            const ptrdiff_t m = min_of(TILE_GATES, gates - r);
            for (ptrdiff_t i = 0; i < m; i++) {
                dw[i] = job->dw[j] + unit * job->step + first;
                if (++unit == job->units) {
                    unit = 0;
                    j++;
                }
            }
            weight_tile(tile, buffer->operand + first * rows, rows, dw, m, inside);
            tile += gate_tile_size(rows);
        }
    }
}

/* Returns the elements of a buffer for so many gates and columns, at most. */
static ptrdiff_t weight_buffer_size(ptrdiff_t gates, ptrdiff_t columns)
{
    const ptrdiff_t panels = ceil_div(columns, OPERAND_WIDTH);
    return gate_buffer_size(gates) + CHUNK * panels * OPERAND_WIDTH;
}

static struct weight_buffer make_weight_buffer(elem *memory, ptrdiff_t gates)
{
    return (struct weight_buffer){
        .gates = make_gate_buffer(memory, gates),
        .operand = memory + gate_buffer_size(gates),
    };
}

static void add_bias(elem *db, const elem *chain, ptrdiff_t units)
{
    for (ptrdiff_t u = 0; db != NULL && u < units; u++) {
        db[u] += chain[u];
    }
}

/* Packs the gate rows of a job's chunk, unless the job before has done so. */
static void pack_job_gates(const struct run *run, const struct weight_job *job,
                           const struct chunk *chunk, struct weight_buffer *buffer)
{
    struct gates gates = {.count = job->count, .units = job->units};
    for (int j = 0; j < job->count; j++) {
        gates.at[j] = job->sum[j] * run->Hp + job->begin;
    }
    if (buffer->module != job->module ||
        memcmp(&buffer->packed, &gates, sizeof gates) != 0) {
        pack_gates(chunk, &gates, &buffer->gates);
        buffer->packed = gates;
        buffer->module = job->module;
    }
}

/* Adds one chunk, k from k0 on, to what a job is about. */
static void run_weight_job(const struct run *run, const struct weight_job *job,
                           ptrdiff_t k0, struct weight_buffer *buffer,
                           struct xr_watch *watch)
{
    struct chunk chunk;
    const elem *bias = buffer->gates.bias;
    if (xr_leaves(watch, CHUNK)) {
        return;
    }
    gather_chunk(run, job, k0, &chunk);
    pack_operand(&chunk, job->columns, buffer->operand);
    pack_job_gates(run, job, &chunk, buffer);
    weight_products(job, chunk.rows, buffer, watch);
    for (int j = 0; j < job->count; j++) {
        add_bias(job->db[j][0], bias + j * job->units, job->units);
        add_bias(job->db[j][1], bias + j * job->units, job->units);
    }
}

/* An item's share of the weight gradients of a direction: one chunk of them, k from k0
 * on, and of the rows of each matrix part `item` of `size`. */
struct weight_share {
    int direction, item, size;
    ptrdiff_t k0;
};

static struct range share_of(const struct weight_share *share, ptrdiff_t rows)
{
    return (struct range){share->item * rows / share->size,
                          (share->item + 1) * rows / share->size};
}

/* Adds a share of the gradient of a recurrent matrix, for each module from the modules
 * that it listens to. Modules whose units are next to each other are one job. */
static void recurrence_gradients(const struct run *run,
                                 const struct weight_share *share,
                                 const struct recurrence *recurrence,
                                 struct weight_buffer *buffer, struct xr_watch *watch)
{
    const struct pack *pack = run->problem->packed_backward[share->direction];
    const struct units *units = pack_units_of(pack);
    const struct range part =
        share_of(share, recurrence->target == O_UNITS ? run->O : run->H);
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        const struct units own = target_units(run->layer, recurrence, units[m]);
        int first = 1;
        for (ptrdiff_t there = 0; there < run->modules; there++) {
            struct units ends[2] = {item_share(own, part.begin, part.end),
                                    source_units(run->layer, recurrence, units[there])};
            if (ends[0].size == 0 || !listens_to(&units[m], &units[there])) {
                continue;
            }
            while (there + 1 < run->modules &&
                   listens_to(&units[m], &units[there + 1]) &&
                   ends[1].at + ends[1].size == units[there + 1].at) {
                ends[1].size += units[++there].size;
            }
            struct weight_job job =
                make_job(run, share->direction, recurrence, &units[m], ends);
            if (!first) {
                memset(job.db, 0, sizeof job.db);
            }
            first = 0;
            run_weight_job(run, &job, share->k0, buffer, watch);
        }
    }
}

/* Adds a share of the gradients of W and of all recurrent matrices. */
static void matrix_gradients(const struct run *run, const struct weight_share *share,
                             struct weight_buffer *buffer, struct xr_watch *watch)
{
    const struct pack *pack = run->problem->packed_backward[share->direction];
    const struct units *units = pack_units_of(pack);
    const struct range part = share_of(share, run->H);
    buffer->packed.count = 0;
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        struct units all = units[m];
        while (!run->ticks && m + 1 < run->modules &&
               all.at + all.size == units[m + 1].at) {
            all.size += units[++m].size;
        }
        const struct units to = item_share(all, part.begin, part.end);
        const struct weight_job job =
            make_input_job(run, share->direction, &units[m], to);
        if (job.units > 0) {
            run_weight_job(run, &job, share->k0, buffer, watch);
        }
    }
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        recurrence_gradients(run, share, &pack->recurrence[r], buffer, watch);
    }
}

/* Returns what da is multiplied with at time t of row b for a per-unit weight. */
static const elem *factor_of(const struct run *run, int direction, int factor,
                             ptrdiff_t t, ptrdiff_t b)
{
    const ptrdiff_t s = time_of(run, direction, b, t);
    if (factor == XR_LOWER) {
        return padded_row(run, run->problem->lower, direction, b, s);
    }
    return factor >= XR_NEXT_STATE
               ? proposed_row(run, direction, factor - XR_NEXT_STATE, b, s)
               : state_row(run, direction, factor - XR_PREV_STATE, b, s);
}

/* Writes into `chain` the chain of da times its factor over one chunk, in whole vectors
 * of units. */
static void vector_chain(const struct run *run, int direction, int v, ptrdiff_t k0,
                         struct range units, elem *chain)
{
    const struct xr_vector *vector = &run->info->vector[v];
    const ptrdiff_t k1 = min_of(k0 + CHUNK, run->T * run->B);
    memset(chain + units.begin, 0, (size_t)(units.end - units.begin) * sizeof(elem));
    for (ptrdiff_t k = k0; k < k1; k++) {
        const ptrdiff_t t = k / run->B, b = k % run->B;
        const int gap = t >= length_of(run, b);
        const ptrdiff_t row = direction * run->T * run->B + k;
        const elem *da =
            gap ? run->zeros : run->da + (row * run->sums + vector->sum) * run->Hp;
        const elem *factor = gap || vector->factor == XR_ONE
                                 ? run->zeros
                                 : factor_of(run, direction, vector->factor, t, b);
        for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
            const vec sum = vec_load(chain + u), d = vec_load(da + u);
            vec_store(chain + u, vector->factor == XR_ONE
                                     ? vec_add(d, sum)
                                     : vec_fma(d, vec_load(factor + u), sum));
        }
    }
}

/* Adds the gradients of per-unit weights for some units: long sums of da times their
 * factor, unit by unit. */
static void vector_gradients_of(const struct run *run, int direction,
                                const struct units *own, elem *chain,
                                struct xr_watch *watch)
{
    const struct range units = {own->at / VEC_LANES * VEC_LANES,
                                ceil_div(own->at + own->size, VEC_LANES) * VEC_LANES};
    elem *dvectors = run->problem->dw[direction].vectors;
    for (int v = 0; dvectors != NULL && v < run->info->vectors; v++) {
        for (ptrdiff_t k0 = 0; k0 < run->T * run->B; k0 += CHUNK) {
            if (xr_leaves(watch, CHUNK * (units.end - units.begin))) {
                return;
            }
            vector_chain(run, direction, v, k0, units, chain);
            add_bias(dvectors + v * run->H + own->user, chain + own->at, own->size);
        }
    }
}

/* Adds an item's share of them. */
static void vector_gradients(const struct run *run, int direction, int item, int size,
                             elem *chain, struct xr_watch *watch)
{
    const ptrdiff_t begin = item * run->H / size, end = (item + 1) * run->H / size;
    const struct units *units = pack_units_of(run->problem->packed_backward[direction]);
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        const struct units own = item_share(units[m], begin, end);
        if (own.size > 0) {
            vector_gradients_of(run, direction, &own, chain, watch);
        }
    }
}

/* How far an item's share of the gradients is. */
struct gradient_place {
    ptrdiff_t input;            /* the next k of dx */
    struct weight_share weight; /* the next chunk */
};

/* Adds an item's share of all gradients of weights, the rows of some units, to its end
 * or until it is handed on. */
static void weight_gradients(const struct run *run, struct weight_share *share,
                             elem *memory, struct xr_watch *watch)
{
    struct weight_buffer buffer = make_weight_buffer(memory, run->sums * run->Hp);
    for (; share->direction < run->directions; share->direction++, share->k0 = 0) {
        while (share->k0 < run->T * run->B && !watch->leaving) {
            matrix_gradients(run, share, &buffer, watch);
            share->k0 += CHUNK;
            if (share->k0 < run->T * run->B && xr_hands_on(watch)) {
                return;
            }
        }
        vector_gradients(run, share->direction, share->item, share->size, memory,
                         watch);
    }
}

/* A row of the batch at one time. */
struct time_row {
    ptrdiff_t t, b;
};

/* Takes the part of dx that comes from one module, for those of some rows in which the
 * module takes part, and adds it to what is in the buffer if there are several. */
static void input_module(const struct run *run, int direction, ptrdiff_t module,
                         const struct time_row *waiting, ptrdiff_t rows, elem *buffer,
                         ptrdiff_t gate_rows, struct xr_watch *watch)
{
    const struct pack *pack = run->problem->packed_backward[direction];
    const struct units *units = pack_units_of(pack) + module;
    const struct matrix *matrix = pack_matrix(pack, pack->recurrences, 0);
    const elem *da[INPUT_ROWS];
    elem *c[INPUT_ROWS];
    struct product product = {
        .panels = &matrix->panels,
        .pack = (const elem *)pack,
        .operand = pack_operand_of(
            pack, pack_matrix(pack, pack->recurrences, module)->operand),
        .start = run->ticks ? NULL : run->zeros,
    };
    product.operand.k = gate_rows;
    struct ticks ticks = ticks_of(run, units, direction);
    ptrdiff_t count = 0;
    for (ptrdiff_t i = 0; i < rows; i++) {
        const ptrdiff_t t = waiting[i].t, b = waiting[i].b;
        const ptrdiff_t record = (direction * run->T + t) * run->B + b;
        da[count] = run->da + record * run->sums * run->Hp;
        c[count] = buffer + i * pack->Ip;
        count += counts(&ticks, t, b);
    }
    for (ptrdiff_t p = 0; count > 0 && p < matrix->panels.count; p++) {
        if (watched_panel(&product, p, min_of(p + 1, matrix->panels.count - 1), count,
                          da, c, watch)) {
            return;
        }
    }
}

/* Writes dx of some rows: from both directions, forward first. */
static void input_rows(const struct run *run, const struct time_row *waiting,
                       ptrdiff_t rows, elem *buffer, struct xr_watch *watch)
{
    const ptrdiff_t Ip = pad_units(run->I);
    for (int d = 0; d < run->directions; d++) {
        const struct pack *pack = run->problem->packed_backward[d];
        elem *dx = buffer + d * INPUT_ROWS * Ip;
        ptrdiff_t gate_rows = 0;
        if (run->ticks) {
            memset(dx, 0, (size_t)(rows * Ip) * sizeof(elem));
        }
        for (ptrdiff_t m = 0; m < run->modules; m += run->heads) {
            input_module(run, d, m, waiting, rows, dx, gate_rows, watch);
            gate_rows += pack_units_of(pack)[m].size;
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        elem *dx = sequence_row(&run->problem->dx, waiting[i].t, waiting[i].b);
        const elem *first = buffer + i * Ip;
        memcpy(dx, first, (size_t)run->I * sizeof(elem));
        if (run->directions == 2) {
            const elem *second = first + INPUT_ROWS * Ip;
            for (ptrdiff_t j = 0; j < run->I; j++) {
                dx[j] += second[j];
            }
        }
    }
}

/* Writes an item's share of dx, which is a range of k, to its end or until it is handed
 * on; +0.0 behind the end of a row. */
static void input_gradients(const struct run *run, struct gradient_place *place,
                            elem *buffer, struct xr_watch *watch)
{
    struct time_row waiting[INPUT_ROWS];
    ptrdiff_t rows = 0;
    const struct weight_share *share = &place->weight;
    const ptrdiff_t end = share_of(share, run->T * run->B).end;
    for (ptrdiff_t k = place->input; k < end; k++) {
        const ptrdiff_t t = k / run->B, b = k % run->B;
        if (xr_leaves(watch, run->I)) {
            return;
        }
        if (t < length_of(run, b)) {
            waiting[rows++] = (struct time_row){t, b};
        } else {
            elem *dx = sequence_row(&run->problem->dx, t, b);
            memset(dx, 0, (size_t)run->I * sizeof(elem));
        }
        if (rows == INPUT_ROWS || (k + 1 == end && rows > 0)) {
            input_rows(run, waiting, rows, buffer, watch);
            rows = 0;
            place->input = k + 1;
            if (k + 1 < end && xr_hands_on(watch)) {
                return;
            }
        }
    }
    place->input = end;
}

static ptrdiff_t input_buffer_size(const struct run *run)
{
    return run->directions * INPUT_ROWS * pad_units(run->I);
}

#endif
