/* Long sums over pairs of rows (contract N3), a chunk and a tile at a time:
 * what the weight gradients of cells (layer/gradients.h) and of grids
 * (grid/gradients.h) share.
 */
#ifndef XR_LONG_SUMS_H
#define XR_LONG_SUMS_H

#include "kernels/math/chunk.h"
#include "kernels/math/products.h"

enum {
    OPERAND_VECTORS = 2,
    OPERAND_WIDTH = OPERAND_VECTORS * VEC_LANES,
    TILE_GATES = TILE_SUMS / OPERAND_VECTORS,
    GATE_LINES = 3, /* cache lines that GATE_ROWS rows of a tile fill */
    GATE_ROWS = GATE_LINES * XR_ALIGNMENT / (TILE_GATES * (int)sizeof(elem))
};

/* The rows of one chunk: k from k0 on, padding drawn together to one row of zeros. */
struct chunk {
    ptrdiff_t rows;
    const elem *da[CHUNK];
    const elem *operand[CHUNK];
};

/* Packs the operand of a chunk into panels, the last of which is filled up with
 * zeros. */
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

/* The gate rows that a chunk's left side has: of `count` sums `units` each, one sum's
 * after the other's, from at[sum] on in a row of da. */
struct gates {
    ptrdiff_t count, units;
    ptrdiff_t at[XR_MAX_PRODUCTS];
};

static ptrdiff_t gate_tiles(ptrdiff_t gates) { return ceil_div(gates, TILE_GATES); }

/* Elements from tile to tile: not those of the rows alone, which are a power of two and
 * would put the same rows of all tiles into the same few sets of the L1. */
static ptrdiff_t gate_tile_size(ptrdiff_t rows)
{
    return (ceil_div(rows, GATE_ROWS) + 1) * GATE_ROWS * TILE_GATES;
}

/* Elements of a row of gates that are to be packed: whole tiles and whole vectors. */
static ptrdiff_t gate_row_size(ptrdiff_t gates)
{
    return pad_units(gate_tiles(gates) * TILE_GATES);
}

/* What packing a chunk's left side takes: the tiles, a few rows and the biases. */
struct gate_buffer {
    elem *tiles, *rows, *bias;
};

/* Elements of such a buffer, for chunks of up to CHUNK rows. */
static ptrdiff_t gate_buffer_size(ptrdiff_t gates)
{
    return gate_tiles(gates) * gate_tile_size(CHUNK) +
           (GATE_ROWS + 1) * gate_row_size(gates);
}

static struct gate_buffer make_gate_buffer(elem *memory, ptrdiff_t gates)
{
    struct gate_buffer buffer = {.tiles = memory};
    buffer.rows = buffer.tiles + gate_tiles(gates) * gate_tile_size(CHUNK);
    buffer.bias = buffer.rows + GATE_ROWS * gate_row_size(gates);
    return buffer;
}

/* Copies the gates of some rows of da next to each other. */
static void gather_gates(const elem *const *da, ptrdiff_t rows,
                         const struct gates *gates, elem *to, ptrdiff_t size)
{
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t j = 0; j < gates->count; j++) {
            memcpy(to + i * size + j * gates->units, da[i] + gates->at[j],
                   (size_t)gates->units * sizeof(elem));
        }
    }
}

/* Returns whether the gates of a row lie next to each other, in whole vectors. */
static int lie_together(const struct gates *gates)
{
    int together = gates->units % XR_UNIT_PAD == 0;
    for (ptrdiff_t j = 1; j < gates->count; j++) {
        together &= gates->at[j] == gates->at[j - 1] + gates->units;
    }
    return together;
}

/* Adds some rows to the chains of the biases. */
static void add_gate_rows(elem *bias, const elem *const *from, ptrdiff_t rows,
                          ptrdiff_t size)
{
    for (ptrdiff_t r = 0; r < size; r += VEC_LANES) {
        vec sum = vec_load(bias + r);
        for (ptrdiff_t i = 0; i < rows; i++) {
            sum = vec_add(vec_load(from[i] + r), sum);
        }
        vec_store(bias + r, sum);
    }
}

/* Packs the gate rows of a chunk into tiles, the last of which is filled up with zeros,
 * GATE_ROWS rows at a time: a tile's part of them is whole cache lines, each written
 * once. bias[r] becomes the chain of the chunk. */
static void pack_gates(const struct chunk *chunk, const struct gates *gates,
                       const struct gate_buffer *to)
{
    const ptrdiff_t all = gates->count * gates->units;
    const ptrdiff_t tiles = gate_tiles(all), whole = all / TILE_GATES;
    const ptrdiff_t size = gate_row_size(all);
    const ptrdiff_t tile_size = gate_tile_size(chunk->rows);
    const int together = lie_together(gates);
    memset(to->rows, 0, (size_t)(GATE_ROWS * size) * sizeof(elem));
    memset(to->bias, 0, (size_t)size * sizeof(elem));
    for (ptrdiff_t k = 0; k < chunk->rows; k += GATE_ROWS) {
        const ptrdiff_t rows = min_of(GATE_ROWS, chunk->rows - k);
        const elem *row[GATE_ROWS];
        for (ptrdiff_t i = 0; i < rows; i++) {
            row[i] = together ? chunk->da[k + i] + gates->at[0] : to->rows + i * size;
        }
        if (!together) {
            gather_gates(chunk->da + k, rows, gates, to->rows, size);
        }
        add_gate_rows(to->bias, row, rows, together ? all : size);
        elem *packed = to->tiles + k * TILE_GATES;
        for (ptrdiff_t tile = 0; tile < whole; tile++, packed += tile_size) {
            for (ptrdiff_t i = 0; i < rows; i++) {
                memcpy(packed + i * TILE_GATES, row[i] + tile * TILE_GATES,
                       TILE_GATES * sizeof(elem));
            }
        }
        for (ptrdiff_t i = 0; whole < tiles && i < rows; i++) {
            memset(packed + i * TILE_GATES, 0, TILE_GATES * sizeof(elem));
            memcpy(packed + i * TILE_GATES, row[i] + whole * TILE_GATES,
                   (size_t)(all - whole * TILE_GATES) * sizeof(elem));
        }
    }
}

/* Adds the chains of a row of a tile to its row of dw. */
XR_INLINE void add_chains(elem *dw, const vec *chain, ptrdiff_t inside)
{
#pragma GCC unroll 2
    for (int j = 0; j < OPERAND_VECTORS; j++, dw += VEC_LANES, inside -= VEC_LANES) {
        if (inside >= VEC_LANES) {
            vec_store(dw, vec_add(vec_load(dw), chain[j]));
        } else if (inside > 0) {
            vec_store_part(dw, inside, vec_add(vec_load_part(dw, inside), chain[j]));
        }
    }
}

/* Adds one chunk to `gates` rows of dw, at most `most` of them, with `inside` columns
 * each. */
XR_INLINE void weight_tile_of(const elem *da, const elem *operand, ptrdiff_t rows,
                              elem *const *dw, ptrdiff_t gates, ptrdiff_t inside,
                              const int most)
{
    vec s[TILE_GATES][OPERAND_VECTORS];
    for (ptrdiff_t i = 0; i < min_of(gates, most);
         i++) { /* dw is read when the chains are done */
        XR_FETCH_TO_WRITE(dw[i]);
        XR_FETCH_TO_WRITE(dw[i] + inside - 1);
    }
#pragma GCC unroll 12
    for (int i = 0; i < most; i++) {
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
        for (int i = 0; i < most; i++) {
            vec left = vec_set(da[i]);
#pragma GCC unroll 2
            for (int j = 0; j < OPERAND_VECTORS; j++) {
                s[i][j] = vec_fma(left, right[j], s[i][j]);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < most; i++) {
        if (i < gates) {
            add_chains(dw[i], s[i], inside);
        }
    }
}

/* The same for up to TILE_GATES rows: few of them, as the last ones of 16 or 32 units
 * are, do not take the time of all. */
static void weight_tile(const elem *da, const elem *operand, ptrdiff_t rows,
                        elem *const *dw, ptrdiff_t gates, ptrdiff_t inside)
{
    if (3 * gates <= TILE_GATES) {
        weight_tile_of(da, operand, rows, dw, gates, inside, TILE_GATES / 3);
    } else if (3 * gates <= 2 * TILE_GATES) {
        weight_tile_of(da, operand, rows, dw, gates, inside, TILE_GATES / 3 * 2);
    } else {
        weight_tile_of(da, operand, rows, dw, gates, inside, TILE_GATES);
    }
}

#endif
