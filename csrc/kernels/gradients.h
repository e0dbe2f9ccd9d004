/* Gradients of inputs and weights, after the time loop.
 *
 * Inputs: a product of all rows of da with W transposed, direction by direction.
 *
 * Weights: long sums (contract N3) over k = t*B + b in chunks of 256,
 *
 *     dW[row, column] += sum of chunks ( chain over k of da[k][row] * x[k][column] )
 *
 * A chunk of the right operand is packed into panels once, a tile of gate rows of da
 * beside it, and the register block of products.h runs over both. Padded steps count as
 * +0.0 * +0.0, whose only effect is to turn a -0.0 into +0.0, so that one row of zeros
 * stands for a whole gap and ragged batches cost what they hold.
 * Twin: long_sum in src/exactrnn/_arith.py.
 */
#ifndef XR_GRADIENTS_H
#define XR_GRADIENTS_H

#include "sequence_backward.h"

enum {
    CHUNK = 256,
    PANEL_VECTORS = TILE_SUMS / 6, /* right operand; 6 gate rows beside it */
    GATE_ROWS = 6,
    INPUT_ROWS = 48 /* rows of dx that are formed together */
};

/* What a weight gradient multiplies da with. */
enum operand_kind { OPERAND_X, OPERAND_H_PREV, OPERAND_STAGE, OPERAND_KINDS };

/* The row blocks of dW or dR that share an operand: H rows x columns for each sum. */
struct weight_job {
    int direction;
    enum operand_kind kind;
    ptrdiff_t columns;
    int count;
    int sum[XR_MAX_SUMS];
    elem *dw[XR_MAX_SUMS]; /* the first row of each block */
};

static struct weight_job make_weight_job(const struct run *run, int direction,
                                         enum operand_kind kind)
{
    const struct xr_gradients *dw = &run->problem->dw[direction];
    struct weight_job job = {
        .direction = direction,
        .kind = kind,
        .columns = kind == OPERAND_X ? run->I : run->H,
    };
    for (int s = 0; s < run->sums; s++) {
        const struct xr_sum *sum = &run->cell->info.sum[s];
        const int takes_r =
            sum->r >= 0 && (sum->stage == 0) == (kind == OPERAND_H_PREV);
        const int gate = kind == OPERAND_X ? sum->w : takes_r ? sum->r : -1;
        if (gate >= 0) {
            elem *first = kind == OPERAND_X ? dw->w_ih : dw->w_hh;
            job.sum[job.count] = s;
            job.dw[job.count++] = first + gate * run->H * job.columns;
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

/* [panel][row][PANEL_VECTORS * LANES], the last panel filled up with zeros. */
static void pack_operand(const struct chunk *chunk, ptrdiff_t columns, elem *packed)
{
    const ptrdiff_t width = PANEL_VECTORS * VEC_LANES;
    for (ptrdiff_t first = 0; first < columns; first += width) {
        const ptrdiff_t inside = min_of(width, columns - first);
        for (ptrdiff_t row = 0; row < chunk->rows; row++, packed += width) {
            memcpy(packed, chunk->operand[row] + first, (size_t)inside * sizeof(elem));
            memset(packed + inside, 0, (size_t)(width - inside) * sizeof(elem));
        }
    }
}

/* dw [m, width] of one chunk is added to m rows of the total. */
XR_INLINE void weight_tile(const elem *da, const elem *operand, ptrdiff_t rows,
                           elem *total, ptrdiff_t stride, ptrdiff_t inside, const int m)
{
    const int n = PANEL_VECTORS;
    vec s[GATE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            s[i][j] = vec_zero();
        }
    }
    for (ptrdiff_t k = 0; k < rows; k++, da += GATE_ROWS, operand += n * VEC_LANES) {
        vec right[PANEL_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            right[j] = vec_load(operand + j * VEC_LANES);
        }
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            vec left = vec_set(da[i]);
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) {
                s[i][j] = vec_fma(left, right[j], s[i][j]);
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            const ptrdiff_t left = inside - j * VEC_LANES;
            elem *to = total + i * stride + j * VEC_LANES;
            if (left >= VEC_LANES) {
                vec_store(to, vec_add(vec_load(to), s[i][j]));
            } else if (left > 0) {
                vec_store_part(to, left, vec_add(vec_load_part(to, left), s[i][j]));
            }
        }
    }
}

/* One tile of gate rows, over all columns. `da` is [rows, GATE_ROWS]. */
static void weight_rows(elem *dw, ptrdiff_t columns, const struct chunk *chunk,
                        const elem *da, const elem *packed, ptrdiff_t m)
{
    const ptrdiff_t width = PANEL_VECTORS * VEC_LANES;
    const ptrdiff_t rows = chunk->rows;
    for (ptrdiff_t first = 0; first < columns; first += width) {
        const elem *operand = packed + first * rows;
        elem *total = dw + first;
        const ptrdiff_t inside = min_of(width, columns - first);
        switch (m) {
        case 1: weight_tile(da, operand, rows, total, columns, inside, 1); break;
        case 2: weight_tile(da, operand, rows, total, columns, inside, 2); break;
        case 3: weight_tile(da, operand, rows, total, columns, inside, 3); break;
        case 4: weight_tile(da, operand, rows, total, columns, inside, 4); break;
        case 5: weight_tile(da, operand, rows, total, columns, inside, 5); break;
        case 6: weight_tile(da, operand, rows, total, columns, inside, 6); break;
        }
    }
}

/* Elements of thread buffer: a packed chunk of the widest operand, and a tile of da. */
static ptrdiff_t weight_buffer_size(const struct run *run)
{
    const ptrdiff_t width = PANEL_VECTORS * VEC_LANES;
    const ptrdiff_t widest = run->I > run->H ? run->I : run->H;
    return CHUNK * (ceil_div(widest, width) * width + GATE_ROWS);
}

/* Gate rows of units begin … end-1 of every block of a job. */
static void weight_units(const struct run *run, const struct weight_job *job,
                         ptrdiff_t begin, ptrdiff_t end, elem *buffer)
{
    struct chunk chunk;
    elem *da = buffer;
    elem *packed = buffer + CHUNK * GATE_ROWS;
    const ptrdiff_t tiles = ceil_div(end - begin, GATE_ROWS);
    for (ptrdiff_t k0 = 0; k0 < run->T * run->B; k0 += CHUNK) {
        gather_chunk(run, job->direction, job->kind, k0, &chunk);
        pack_operand(&chunk, job->columns, packed);
        for (ptrdiff_t tile = 0; tile < job->count * tiles; tile++) {
            const ptrdiff_t j = tile / tiles;
            const ptrdiff_t unit = begin + tile % tiles * GATE_ROWS;
            const ptrdiff_t m = min_of(GATE_ROWS, end - unit);
            const ptrdiff_t at = job->sum[j] * run->Hp + unit;
            for (ptrdiff_t row = 0; row < chunk.rows; row++) {
                for (ptrdiff_t i = 0; i < m; i++) {
                    da[row * GATE_ROWS + i] = chunk.da[row][at + i];
                }
            }
            elem *dw = job->dw[j] + unit * job->columns;
            weight_rows(dw, job->columns, &chunk, da, packed, m);
        }
    }
}

/* The bias gradients of one vector of units of a sum: a long sum with w = 1. A sum that
 * takes both products gives the same gradient to both biases. */
static void bias_vector(const struct run *run, int direction, int sum, ptrdiff_t unit)
{
    const struct xr_sum *place = &run->cell->info.sum[sum];
    const struct xr_gradients *dw = &run->problem->dw[direction];
    elem *into[2] = {
        place->w >= 0 && dw->b_ih ? (elem *)dw->b_ih + place->w * run->H + unit : NULL,
        place->r >= 0 && dw->b_hh ? (elem *)dw->b_hh + place->r * run->H + unit : NULL,
    };
    const ptrdiff_t inside = min_of(VEC_LANES, run->H - unit);
    struct chunk chunk;
    for (ptrdiff_t k0 = 0; k0 < run->T * run->B; k0 += CHUNK) {
        gather_chunk(run, direction, OPERAND_X, k0, &chunk);
        vec s = vec_zero();
        for (ptrdiff_t row = 0; row < chunk.rows; row++) {
            s = vec_add(vec_load(chunk.da[row] + sum * run->Hp + unit), s);
        }
        for (int i = 0; i < 2; i++) {
            if (into[i] != NULL) {
                const vec total = vec_load_part(into[i], inside);
                vec_store_part(into[i], inside, vec_add(total, s));
            }
        }
    }
}

/* This thread's share of all weight and bias gradients: a run of gate rows. */
static void weight_gradients(const struct run *run, int rank, int size, elem *buffer)
{
    const ptrdiff_t begin = rank * run->H / size, end = (rank + 1) * run->H / size;
    for (int d = 0; d < run->directions; d++) {
        for (int kind = 0; kind < OPERAND_KINDS; kind++) {
            const struct weight_job job =
                make_weight_job(run, d, (enum operand_kind)kind);
            if (job.count > 0 && end > begin) {
                weight_units(run, &job, begin, end, buffer);
            }
        }
    }
    for (int d = 0; d < run->directions; d++) {
        for (int s = 0; s < run->sums; s++) {
            const ptrdiff_t vectors = ceil_div(run->H, VEC_LANES);
            for (ptrdiff_t v = rank * vectors / size; v < (rank + 1) * vectors / size;
                 v++) {
                bias_vector(run, d, s, v * VEC_LANES);
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
