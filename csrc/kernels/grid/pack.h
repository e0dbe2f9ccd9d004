/* Packing for grids: the weights of one dimension of one set, in panels.
 *
 *     forward pack:   header | bias [G, Hp] | panels of h_1 | ... | of h_N
 *     backward pack:  header | panels of h_1, transposed | ... | of h_N
 *
 * The h_j of a block lie in different rows of memory. Each has panels of its own, all
 * of one size, `slice` elements apart. Forward its product takes up the chain of the
 * one before; back it is a gradient of its own, with k over the gate rows in storage
 * order (contract N3). Products fetch ahead the strips that follow (products.h): as a
 * part of panels over all h_j, each fetched weights of the others, and 16 rows of 256
 * units in two layers took 18 % longer, a single row of 128 some 4 % less.
 */
#ifndef XR_GRID_PACK_H
#define XR_GRID_PACK_H

#include <string.h>

#include "exactrnn/grid.h"
#include "kernels/math/products.h"

enum {
    GRID_HEADER_BYTES = 512,
    GRID_GATES = 4 /* of a dimension with memory */
};

struct grid_pack {
    ptrdiff_t Hp, bias, slice, end;
    struct panels panels; /* of h_1 */
    int gates;
    struct segment da[GRID_GATES]; /* backward: gate rows in a row of da */
};

_Static_assert(sizeof(struct grid_pack) <= GRID_HEADER_BYTES, "header");

static int grid_gates(const struct xr_grid_block *block, int k)
{
    return block->memory[k] ? GRID_GATES : 1;
}

/* Places so many panels of one size, from element `at` of the pack on. */
static void grid_place_slices(struct grid_pack *pack, int slices, ptrdiff_t most,
                              ptrdiff_t at)
{
    const ptrdiff_t line = XR_ALIGNMENT / (ptrdiff_t)sizeof(elem);
    const ptrdiff_t end = place_panels(&pack->panels, most, pack->Hp, at);
    pack->slice = ceil_div(end - pack->panels.data, line) * line;
    pack->end = pack->panels.data + slices * pack->slice;
}

static struct grid_pack grid_forward_layout(const struct xr_grid_block *block, int k)
{
    const int G = grid_gates(block, k);
    struct grid_pack pack = {.Hp = pad_units(block->H), .gates = G};
    pack.bias = GRID_HEADER_BYTES / (ptrdiff_t)sizeof(elem);
    pack.panels = (struct panels){
        .K = block->H, .vectors = ceil_div(block->H, VEC_LANES), .sums = G};
    for (int g = 0; g < G; g++) {
        pack.panels.slot[g] = g;
    }
    grid_place_slices(&pack, block->N, PANEL_VECTORS / G, pack.bias + G * pack.Hp);
    return pack;
}

static struct grid_pack grid_backward_layout(const struct xr_grid_block *block, int k)
{
    const int G = grid_gates(block, k);
    struct grid_pack pack = {.Hp = pad_units(block->H), .gates = G};
    pack.panels = (struct panels){
        .K = G * block->H, .vectors = ceil_div(block->H, VEC_LANES), .sums = 1};
    for (int g = 0; g < G; g++) {
        pack.da[g] = (struct segment){g * pack.Hp, block->H};
    }
    grid_place_slices(&pack, block->N, BACKWARD_VECTORS,
                      GRID_HEADER_BYTES / (ptrdiff_t)sizeof(elem));
    return pack;
}

/* Returns the panels of h_j, or of a state of a side. */
static struct panels grid_slice(const struct grid_pack *pack, int j)
{
    struct panels panels = pack->panels;
    panels.data += j * pack->slice;
    return panels;
}

static void grid_pack_forward(const struct xr_grid_block *block, int k, const void *w,
                              const void *b, void *packed, struct xr_stop *stop)
{
    struct xr_watch watch = xr_make_watch(stop, 1);
    const struct grid_pack at = grid_forward_layout(block, k);
    const ptrdiff_t H = block->H, columns = block->N * H;
    elem *pack = packed;
    memset(packed, 0, GRID_HEADER_BYTES);
    memcpy(packed, &at, sizeof at);
    memset(pack + at.bias, 0, (size_t)(at.gates * at.Hp) * sizeof(elem));
    for (int g = 0; g < at.gates; g++) {
        for (int j = 0; j < block->N; j++) {
            const struct panels panels = grid_slice(&at, j);
            const struct matrix_part part = {
                .first = (const elem *)w + g * H * columns + j * H,
                .step = columns,
                .rows = H,
                .columns = H,
            };
            pack_units(pack, &panels, g, 0, &part, &watch);
        }
        if (b != NULL) {
            memcpy(pack + at.bias + g * at.Hp, (const elem *)b + g * H,
                   (size_t)H * sizeof(elem));
        }
    }
}

static void grid_pack_backward(const struct xr_grid_block *block, int k, const void *w,
                               void *packed, struct xr_stop *stop)
{
    struct xr_watch watch = xr_make_watch(stop, 1);
    const struct grid_pack at = grid_backward_layout(block, k);
    memset(packed, 0, GRID_HEADER_BYTES);
    memcpy(packed, &at, sizeof at);
    for (int j = 0; j < block->N; j++) {
        const struct panels panels = grid_slice(&at, j);
        const struct matrix_part part = {
            .first = (const elem *)w + j * block->H,
            .step = block->N * block->H,
            .rows = at.gates * block->H,
            .columns = block->H,
        };
        pack_columns(packed, &panels, 0, &part, &watch);
    }
}

static size_t grid_packed_bytes(const struct xr_grid_block *block, int k, int backward)
{
    const struct grid_pack pack =
        backward ? grid_backward_layout(block, k) : grid_forward_layout(block, k);
    return (size_t)pack.end * sizeof(elem);
}

#endif
