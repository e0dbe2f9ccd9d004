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
    TILE_GATES = TILE_SUMS / OPERAND_VECTORS
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

/* Packs row k of the `rows` gate rows of a chunk into tiles, and adds it to the chains
 * of the biases. */
static void pack_gate_row(const elem *row, ptrdiff_t k, ptrdiff_t rows, ptrdiff_t tiles,
                          elem *packed, elem *bias)
{
    for (ptrdiff_t r = 0; r < tiles * TILE_GATES; r++) {
        bias[r] = row[r] + bias[r];
    }
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        memcpy(packed + (tile * rows + k) * TILE_GATES, row + tile * TILE_GATES,
               TILE_GATES * sizeof(elem));
    }
}

/* Adds one chunk to `gates` rows of dw, of which there are at most `most`, with
 * `inside` columns each. */
XR_INLINE void weight_tile_of(const elem *da, const elem *operand, ptrdiff_t rows,
                              elem *const *dw, ptrdiff_t gates, ptrdiff_t inside,
                              const int most)
{
    vec s[TILE_GATES][OPERAND_VECTORS];
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
    elem chains[TILE_GATES][OPERAND_WIDTH];
#pragma GCC unroll 12
    for (int i = 0; i < most; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < OPERAND_VECTORS; j++) {
            vec_store(chains[i] + j * VEC_LANES, s[i][j]);
        }
    }
    for (ptrdiff_t i = 0; i < min_of(gates, most); i++) {
        for (ptrdiff_t j = 0; j < inside; j++) {
            dw[i][j] += chains[i][j];
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
