/* Gradients of inputs and weights, after the time loop.
 *
 * Inputs: a product of all rows of da with W transposed, direction by direction.
 *
 * Weights: long sums (contract N3) over k = t*B + b in chunks of 256,
 *
 *     dW[row, column] += sum of chunks ( chain over k of da[k][row] * x[k][column] )
 *
 * Of each chunk both sides are packed, and a register block runs over both:
 *
 *     operand   [panel][k][OPERAND_VECTORS * LANES]    from x, h_prev or the stage
 *     da        [tile][k][TILE_GATES]                  gate rows of all sums in turn
 *
 * The operand's panels are narrow, so that one stays in the L1 while all gate rows
 * pass; the bias gradients, long sums with w = 1, are taken along while da is packed.
 * Padded steps count as +0.0 * +0.0, whose only effect is to turn a -0.0 into +0.0, so
 * that one row of zeros stands for a whole gap and ragged batches cost what they hold.
 * Twin: long_sum in src/exactrnn/_arith.py.
 */
#ifndef XR_GRADIENTS_H
#define XR_GRADIENTS_H

#include "sequence_backward.h"

enum {
    CHUNK = 256,
    OPERAND_VECTORS = 2,
    OPERAND_WIDTH = OPERAND_VECTORS * VEC_LANES,
    TILE_GATES = TILE_SUMS / OPERAND_VECTORS,
    INPUT_ROWS = 48 /* rows of dx that are formed together */
};

/* What a weight gradient multiplies da with. */
enum operand_kind { OPERAND_X, OPERAND_H_PREV, OPERAND_STAGE, OPERAND_KINDS };

/* The row blocks of dW or dR that share an operand: of each sum the gate rows of units
 * begin … end-1, `units` in number. */
struct weight_job {
    int direction;
    enum operand_kind kind;
    ptrdiff_t begin, units, columns;
    int count;
    int sum[XR_MAX_SUMS];
    elem *dw[XR_MAX_SUMS]; /* [units, columns] */
    elem *db[XR_MAX_SUMS]; /* [units], or NULL */
};

static struct weight_job make_weight_job(const struct run *run, int direction,
                                         enum operand_kind kind, ptrdiff_t begin,
                                         ptrdiff_t end)
{
    const struct xr_gradients *dw = &run->problem->dw[direction];
    elem *matrix = kind == OPERAND_X ? dw->w_ih : dw->w_hh;
    elem *bias = kind == OPERAND_X ? dw->b_ih : dw->b_hh;
    struct weight_job job = {
        .direction = direction,
        .kind = kind,
        .begin = begin,
        .units = end - begin,
        .columns = kind == OPERAND_X ? run->I : run->H,
    };
    for (int s = 0; s < run->sums; s++) {
        const struct xr_sum *sum = &run->cell->info.sum[s];
        const int takes_r =
            sum->r >= 0 && (sum->stage == 0) == (kind == OPERAND_H_PREV);
        const int gate = kind == OPERAND_X ? sum->w : takes_r ? sum->r : -1;
        if (gate >= 0) {
            const ptrdiff_t row = gate * run->H + begin;
            job.sum[job.count] = s;
            job.dw[job.count] = matrix + row * job.columns;
            job.db[job.count++] = bias ? bias + row : NULL;
        }
    }
    return job;
}

static const elem *operand_of(const struct run *run, int direction,
                              enum operand_kind kind, ptrdiff_t t, ptrdiff_t b)
{
    const ptrdiff_t s = direction == 0 ? t : length_of(run, b) - 1 - t;
    switch (kind) {
    case OPERAND_X: return sequence_row(&run->problem->x, t, b);
    case OPERAND_H_PREV: return state_row(run, direction, 0, b, s);
    default: return operand_row(run, direction, b, s);
    }
}

/* The rows of one chunk: k from k0 on, padding drawn together to one row of zeros. */
struct chunk {
    ptrdiff_t rows;
    const elem *da[CHUNK];
    const elem *operand[CHUNK];
};

static void gather_chunk(const struct run *run, int direction, enum operand_kind kind,
                         ptrdiff_t k0, struct chunk *chunk)
{
    const ptrdiff_t k1 = min_of(k0 + CHUNK, run->T * run->B);
    int in_gap = 0;
    chunk->rows = 0;
    for (ptrdiff_t k = k0; k < k1; k++) {
        const ptrdiff_t t = k / run->B, b = k % run->B;
        const int padded = t >= length_of(run, b);
        if (padded && in_gap) {
            continue;
        }
        const ptrdiff_t base = (direction * run->T * run->B + k) * run->sums * run->Hp;
        in_gap = padded;
        chunk->da[chunk->rows] = padded ? run->zeros : run->da + base;
        chunk->operand[chunk->rows] =
            padded ? run->zeros : operand_of(run, direction, kind, t, b);
        chunk->rows++;
    }
}

/* The last panel is filled up with zeros. */
static void pack_operand(const struct chunk *chunk, ptrdiff_t columns, elem *packed)
{
    for (ptrdiff_t first = 0; first < columns; first += OPERAND_WIDTH) {
        const ptrdiff_t inside = min_of(OPERAND_WIDTH, columns - first);
        for (ptrdiff_t k = 0; k < chunk->rows; k++, packed += OPERAND_WIDTH) {
            const elem *from = chunk->operand[k] + first;
            for (int j = 0; j < OPERAND_VECTORS; j++) {
                const ptrdiff_t left = inside - j * VEC_LANES;
                const vec v = left >= VEC_LANES ? vec_load(from + j * VEC_LANES)
                              : left > 0 ? vec_load_part(from + j * VEC_LANES, left)
                                         : vec_zero();
                vec_store(packed + j * VEC_LANES, v);
            }
        }
    }
}

/* The gate rows of a job in tiles, the last one filled up with zeros; `row`, as long as
 * all tiles, holds them for one k. bias[r] becomes the chain of the chunk. */
static void pack_gates(const struct run *run, const struct weight_job *job,
                       const struct chunk *chunk, elem *packed, elem *row, elem *bias)
{
    const ptrdiff_t tiles = ceil_div(job->count * job->units, TILE_GATES);
    memset(row, 0, (size_t)(tiles * TILE_GATES) * sizeof(elem));
    memset(bias, 0, (size_t)(tiles * TILE_GATES) * sizeof(elem));
    for (ptrdiff_t k = 0; k < chunk->rows; k++) {
        for (int j = 0; j < job->count; j++) {
            memcpy(row + j * job->units,
                   chunk->da[k] + job->sum[j] * run->Hp + job->begin,
                   (size_t)job->units * sizeof(elem));
        }
        for (ptrdiff_t r = 0; r < tiles * TILE_GATES; r++) {
            bias[r] = row[r] + bias[r];
        }
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            memcpy(packed + (tile * chunk->rows + k) * TILE_GATES,
                   row + tile * TILE_GATES, TILE_GATES * sizeof(elem));
        }
    }
}

/* Adds one chunk to `gates` rows of dw, `inside` columns each. */
static void weight_tile(const elem *da, const elem *operand, ptrdiff_t rows,
                        elem *const *dw, ptrdiff_t gates, ptrdiff_t inside)
{
    vec s[TILE_GATES][OPERAND_VECTORS];
#pragma GCC unroll 12
    for (int i = 0; i < TILE_GATES; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < OPERAND_VECTORS; j++) {
            s[i][j] = vec_zero();
        }
    }
    for (ptrdiff_t k = 0; k < rows; k++, da += TILE_GATES, operand += OPERAND_WIDTH) {
        vec right[OPERAND_VECTORS];
#pragma GCC unroll 2
        for (int j = 0; j < OPERAND_VECTORS; j++) {
            right[j] = vec_load(operand + j * VEC_LANES);
        }
#pragma GCC unroll 12
        for (int i = 0; i < TILE_GATES; i++) {
            vec left = vec_set(da[i]);
#pragma GCC unroll 2
            for (int j = 0; j < OPERAND_VECTORS; j++) {
                s[i][j] = vec_fma(left, right[j], s[i][j]);
            }
        }
    }
    elem chains[TILE_GATES][OPERAND_WIDTH];
#pragma GCC unroll 12
    for (int i = 0; i < TILE_GATES; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < OPERAND_VECTORS; j++) {
            vec_store(chains[i] + j * VEC_LANES, s[i][j]);
        }
    }
    for (ptrdiff_t i = 0; i < gates; i++) {
        for (ptrdiff_t j = 0; j < inside; j++) {
            dw[i][j] += chains[i][j];
        }
    }
}

/* One chunk of a job, both sides packed: each panel of the operand meets all tiles. */
static void weight_products(const struct weight_job *job, ptrdiff_t rows,
                            const elem *da, const elem *operand)
{
    const ptrdiff_t gates = job->count * job->units;
    for (ptrdiff_t first = 0; first < job->columns; first += OPERAND_WIDTH) {
        const ptrdiff_t inside = min_of(OPERAND_WIDTH, job->columns - first);
        for (ptrdiff_t r = 0; r < gates; r += TILE_GATES) {
            elem *dw[TILE_GATES];
            const ptrdiff_t m = min_of(TILE_GATES, gates - r);
            for (ptrdiff_t i = 0; i < m; i++) {
                const ptrdiff_t j = (r + i) / job->units, unit = (r + i) % job->units;
                dw[i] = job->dw[j] + unit * job->columns + first;
            }
            weight_tile(da + r * rows, operand + first * rows, rows, dw, m, inside);
        }
    }
}

static ptrdiff_t gates_most(const struct run *run)
{
    return ceil_div(run->sums * run->H, TILE_GATES) * TILE_GATES;
}

/* Elements of thread buffer: a chunk of both sides, a row of da and one of biases. */
static ptrdiff_t weight_buffer_size(const struct run *run)
{
    const ptrdiff_t widest = run->I > run->H ? run->I : run->H;
    const ptrdiff_t panels = ceil_div(widest, OPERAND_WIDTH);
    return CHUNK * (panels * OPERAND_WIDTH + gates_most(run)) + 2 * gates_most(run);
}

static void run_weight_job(const struct run *run, const struct weight_job *job,
                           elem *buffer)
{
    struct chunk chunk;
    elem *row = buffer;
    elem *bias = row + gates_most(run);
    elem *da = bias + gates_most(run);
    elem *operand = da + CHUNK * gates_most(run);
    for (ptrdiff_t k0 = 0; k0 < run->T * run->B; k0 += CHUNK) {
        gather_chunk(run, job->direction, job->kind, k0, &chunk);
        pack_operand(&chunk, job->columns, operand);
        pack_gates(run, job, &chunk, da, row, bias);
        weight_products(job, chunk.rows, da, operand);
        for (int j = 0; j < job->count; j++) {
            for (ptrdiff_t u = 0; job->db[j] != NULL && u < job->units; u++) {
                job->db[j][u] += bias[j * job->units + u];
            }
        }
    }
}

/* This thread's share of all weight and bias gradients: the gate rows of some units. */
static void weight_gradients(const struct run *run, int rank, int size, elem *buffer)
{
    const ptrdiff_t begin = rank * run->H / size, end = (rank + 1) * run->H / size;
    for (int d = 0; d < run->directions; d++) {
        for (int kind = 0; kind < OPERAND_KINDS; kind++) {
            const struct weight_job job =
                make_weight_job(run, d, (enum operand_kind)kind, begin, end);
            if (job.count > 0 && job.units > 0) {
                run_weight_job(run, &job, buffer);
            }
        }
    }
}

/* dx of some rows, k = t*B + b. */
static void input_rows(const struct run *run, const ptrdiff_t *k, ptrdiff_t rows,
                       elem *buffer)
{
    const elem *da[INPUT_ROWS];
    elem *c[INPUT_ROWS];
    for (int d = 0; d < run->directions; d++) {
        const struct backward_pack *pack = run->problem->packed_backward[d];
        const struct product product = {
            .panels = &pack->x,
            .pack = (const elem *)pack,
            .operand = pack->da_x,
            .start = run->zeros,
        };
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t record = d * run->T * run->B + k[i];
            da[i] = run->da + record * run->sums * run->Hp;
            c[i] = buffer + (d * INPUT_ROWS + i) * pack->Ip;
        }
        for (ptrdiff_t p = 0; p < pack->x.count; p++) {
            product_panel(&product, p, min_of(p + 1, pack->x.count - 1), rows, da, c);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        elem *dx = sequence_row(&run->problem->dx, k[i] / run->B, k[i] % run->B);
        const elem *first = buffer + i * pad_units(run->I);
        memcpy(dx, first, (size_t)run->I * sizeof(elem));
        if (run->directions == 2) {
            const elem *second = first + INPUT_ROWS * pad_units(run->I);
            for (ptrdiff_t j = 0; j < run->I; j++) {
                dx[j] += second[j];
            }
        }
    }
}

/* This thread's share of dx: a run of k. */
static void input_gradients(const struct run *run, int rank, int size, elem *buffer)
{
    ptrdiff_t waiting[INPUT_ROWS];
    ptrdiff_t rows = 0;
    const ptrdiff_t end = (rank + 1) * (run->T * run->B) / size;
    for (ptrdiff_t k = rank * (run->T * run->B) / size; k < end; k++) {
        if (k / run->B < length_of(run, k % run->B)) {
            waiting[rows++] = k;
        } else {
            elem *dx = sequence_row(&run->problem->dx, k / run->B, k % run->B);
            memset(dx, 0, (size_t)run->I * sizeof(elem));
        }
        if (rows == INPUT_ROWS || (k + 1 == end && rows > 0)) {
            input_rows(run, waiting, rows, buffer);
            rows = 0;
        }
    }
}

static ptrdiff_t input_buffer_size(const struct run *run)
{
    return run->directions * INPUT_ROWS * pad_units(run->I);
}

#endif
