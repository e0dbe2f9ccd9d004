/* Weight gradients of a grid and of its sides, after the wavefronts.
 *
 * dW of a dimension of a set is a long sum (contract N3) over k = points of the set in
 * lexicographic order, then batch rows; a point that a row does not have counts as
 * +0.0 * +0.0, as padding does in layer/gradients.h. Where dimensions or sets have one
 * gradient together, their long sums follow one another in it, sets first to last, in a
 * set dimensions first to last.
 *
 * dW of a side is likewise a long sum over k = lines of its dimension, then rows.
 * Twins: weight_gradients in src/exactrnn/reference/grid.py, linear_backward in
 * dense.py.
 */
#ifndef XR_GRID_GRADIENTS_H
#define XR_GRID_GRADIENTS_H

#include "kernels/grid/backward.h"
#include "kernels/grid/sides.h"
#include "kernels/math/long_sums.h"

/* The gate rows of `units` units of dimension k of a set, from unit `begin` on; or the
 * rows of these units for one state of a side, which has one "gate". */
struct grid_job {
    int k, gates;
    ptrdiff_t set, begin, units;
    elem *dw, *db; /* of the whole dimension; db may be NULL */
};

/* An item's buffers: one chunk of both sides. */
struct grid_buffer {
    struct gate_buffer gates;
    elem *operand;
};

static ptrdiff_t grid_buffer_size(const struct grid_run *run)
{
    const ptrdiff_t operand = ceil_div(run->H, OPERAND_WIDTH) * OPERAND_WIDTH;
    return gate_buffer_size(GRID_GATES * run->H) + CHUNK * operand;
}

static struct grid_buffer grid_buffer_of(const struct grid_run *run, int item)
{
    elem *memory = run->thread_buffers + item * run->thread_buffer_size;
    return (struct grid_buffer){
        .gates = make_gate_buffer(memory, GRID_GATES * run->H),
        .operand = memory + gate_buffer_size(GRID_GATES * run->H),
    };
}

/* Points the rows of a chunk to da of the job's dimension and to the h_slice that it
 * has read. */
static void grid_gather_chunk(const struct grid_run *run, const struct grid_job *job,
                              ptrdiff_t k0, int slice, struct chunk *chunk)
{
    const ptrdiff_t first = run->set[job->set];
    const ptrdiff_t count = (run->set[job->set + 1] - first) * run->B;
    const ptrdiff_t k1 = min_of(k0 + CHUNK, count);
    const int new = grid_reads_new(run->block, job->k, slice);
    struct grid_point point = {.number = -1};
    int in_gap = 0;
    chunk->rows = 0;
    for (ptrdiff_t k = k0; k < k1; k++) {
        const ptrdiff_t number = run->by_set[first + k / run->B], b = k % run->B;
        if (number != point.number) {
            point = grid_point_of(run, number);
        }
        const int padded = !grid_row_has(run, b, &point);
        if (padded && in_gap) {
            continue;
        }
        in_gap = padded;
        const ptrdiff_t row = (number * run->B + b) * job->gates * run->Hp;
        const elem *h = grid_state_row(run, run->h[slice], slice, point.line[slice],
                                       point.at[slice] + new, b);
        chunk->da[chunk->rows] = padded ? run->zeros : run->da[job->k] + row;
        chunk->operand[chunk->rows++] = padded ? run->zeros : h;
    }
}

/* Packs the gate rows of a job's chunk. */
static void grid_pack_gates(const struct grid_run *run, const struct grid_job *job,
                            const struct chunk *chunk, const struct gate_buffer *to)
{
    struct gates gates = {.count = job->gates, .units = job->units};
    for (ptrdiff_t g = 0; g < gates.count; g++) {
        gates.at[g] = g * run->Hp + job->begin;
    }
    pack_gates(chunk, &gates, to);
}

/* Multiplies the two sides of a chunk of a slice, which are packed: each panel of h
 * meets all tiles. */
static void grid_weight_products(const struct grid_run *run, const struct grid_job *job,
                                 ptrdiff_t rows, int slice,
                                 const struct grid_buffer *from, struct xr_watch *watch)
{
    const ptrdiff_t gates = job->gates * job->units, columns = run->N * run->H;
    const ptrdiff_t tile_size = gate_tile_size(rows);
    for (ptrdiff_t first = 0; first < run->H; first += OPERAND_WIDTH) {
        const ptrdiff_t inside = min_of(OPERAND_WIDTH, run->H - first);
        if (xr_leaves(watch, gates * OPERAND_WIDTH * rows)) {
            return;
        }
        for (ptrdiff_t r = 0; r < gates; r += TILE_GATES) {
            elem *dw[TILE_GATES] = {NULL};
            const ptrdiff_t m = min_of(TILE_GATES, gates - r);
            for (ptrdiff_t i = 0; i < m; i++) {
                const ptrdiff_t g = (r + i) / job->units, u = (r + i) % job->units;
                const ptrdiff_t row = g * run->H + job->begin + u;
                dw[i] = job->dw + row * columns + slice * run->H + first;
            }
            const elem *tile = from->gates.tiles + r / TILE_GATES * tile_size;
            weight_tile(tile, from->operand + first * rows, rows, dw, m, inside);
        }
    }
}

static void grid_run_job(const struct grid_run *run, const struct grid_job *job,
                         const struct grid_buffer *buffer, struct xr_watch *watch)
{
    const ptrdiff_t points = run->set[job->set + 1] - run->set[job->set];
    struct chunk chunk;
    for (ptrdiff_t k0 = 0; k0 < points * run->B; k0 += CHUNK) {
        for (int slice = 0; slice < run->N; slice++) {
            if (xr_leaves(watch, CHUNK)) {
                return;
            }
            grid_gather_chunk(run, job, k0, slice, &chunk);
            if (slice == 0) {
                grid_pack_gates(run, job, &chunk, &buffer->gates);
            }
            pack_operand(&chunk, run->H, buffer->operand);
            grid_weight_products(run, job, chunk.rows, slice, buffer, watch);
        }
        for (ptrdiff_t r = 0; job->db != NULL && r < job->gates * job->units; r++) {
            const ptrdiff_t g = r / job->units, u = r % job->units;
            job->db[g * run->H + job->begin + u] += buffer->gates.bias[r];
        }
    }
}

/* Adds an item's share of all weight and bias gradients: the gate rows of some
 * units. */
static void grid_weight_gradients(const struct grid_run *run, int item,
                                  struct xr_watch *watch)
{
    const struct grid_buffer buffer = grid_buffer_of(run, item);
    const ptrdiff_t begin = item * run->H / run->team;
    const ptrdiff_t end = (item + 1) * run->H / run->team;
    for (ptrdiff_t set = 0; set < run->problem->sets && begin < end; set++) {
        for (int k = 0; k < run->N; k++) {
            const struct grid_job job = {
                .k = k,
                .gates = grid_gates(run->block, k),
                .set = set,
                .begin = begin,
                .units = end - begin,
                .dw = run->problem->dw[set * run->N + k],
                .db = run->problem->db[set * run->N + k],
            };
            grid_run_job(run, &job, &buffer, watch);
        }
    }
}

/* Points the rows of a chunk to the gradients of a state of the near border, and to
 * x. */
static void grid_gather_side(const struct grid_run *run, const struct grid_job *job,
                             ptrdiff_t row, const elem *gradients, struct chunk *chunk)
{
    const int k = job->k;
    const elem *x = run->problem->side[k].x;
    const ptrdiff_t end = min_of(row + CHUNK, run->lines[k] * run->B);
    int in_gap = 0;
    chunk->rows = 0;
    for (; row < end; row++) {
        const int padded = !grid_row_has_line(run, row % run->B, k, row / run->B);
        if (padded && in_gap) {
            continue;
        }
        in_gap = padded;
        chunk->da[chunk->rows] = padded ? run->zeros : gradients + row * run->Hp;
        chunk->operand[chunk->rows++] =
            padded ? run->zeros : x + row * run->block->inputs[k];
    }
}

/* Multiplies the two sides of a chunk, OPERAND_WIDTH values of x at a time. */
static void grid_side_weights(const struct grid_run *run, const struct grid_job *job,
                              struct chunk *chunk, const struct grid_buffer *buffer,
                              struct xr_watch *watch)
{
    const ptrdiff_t I = run->block->inputs[job->k];
    const ptrdiff_t tile_size = gate_tile_size(chunk->rows);
    for (ptrdiff_t first = 0; first < I; first += OPERAND_WIDTH) {
        const ptrdiff_t inside = min_of(OPERAND_WIDTH, I - first);
        if (xr_leaves(watch, (job->units + 1) * OPERAND_WIDTH * chunk->rows)) {
            return;
        }
        pack_operand(chunk, inside, buffer->operand);
        for (ptrdiff_t r = 0; r < job->units; r += TILE_GATES) {
            elem *dw[TILE_GATES] = {NULL};
            const ptrdiff_t m = min_of(TILE_GATES, job->units - r);
            for (ptrdiff_t i = 0; i < m; i++) {
                dw[i] = job->dw + (job->begin + r + i) * I + first;
            }
            const elem *tile = buffer->gates.tiles + r / TILE_GATES * tile_size;
            weight_tile(tile, buffer->operand, chunk->rows, dw, m, inside);
        }
        for (ptrdiff_t k = 0; k < chunk->rows; k++) {
            chunk->operand[k] += inside;
        }
    }
}

static void grid_run_side_job(const struct grid_run *run, const struct grid_job *job,
                              const elem *gradients, const struct grid_buffer *buffer,
                              struct xr_watch *watch)
{
    struct chunk chunk;
    for (ptrdiff_t row = 0; row < run->lines[job->k] * run->B; row += CHUNK) {
        if (xr_leaves(watch, CHUNK)) {
            return;
        }
        grid_gather_side(run, job, row, gradients, &chunk);
        grid_pack_gates(run, job, &chunk, &buffer->gates);
        grid_side_weights(run, job, &chunk, buffer, watch);
        for (ptrdiff_t u = 0; job->db != NULL && u < job->units; u++) {
            job->db[job->begin + u] += buffer->gates.bias[u];
        }
    }
}

/* Does an item's share of the weight gradients of all sides: the rows of some
 * units. */
static void grid_side_gradients(const struct grid_run *run, int item,
                                struct xr_watch *watch)
{
    const struct grid_buffer buffer = grid_buffer_of(run, item);
    const ptrdiff_t begin = item * run->H / run->team;
    const ptrdiff_t end = (item + 1) * run->H / run->team;
    for (int k = 0; k < run->N && begin < end; k++) {
        const struct xr_grid_side *side = &run->problem->side[k];
        const ptrdiff_t block = run->H * run->block->inputs[k];
        for (int s = 0; side->x != NULL && s < grid_states(run->block, k); s++) {
            const struct grid_job job = {
                .k = k,
                .gates = 1,
                .begin = begin,
                .units = end - begin,
                .dw = (elem *)side->dw + s * block,
                .db = side->db ? (elem *)side->db + s * run->H : NULL,
            };
            const elem *gradients = s == 0 ? run->dh[k] : run->dm[k];
            grid_run_side_job(run, &job, gradients, &buffer, watch);
        }
    }
}

#endif
