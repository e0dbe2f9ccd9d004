/* Packing: weights once into panels, in the order in which the products read them.
 *
 * A pack starts with a header that says where everything lies, so that a call computes
 * nothing of the kind again.
 *
 *     forward pack:   header | bias [S, Hp] | W panels | R panels, stage by stage
 *     backward pack:  header | R^T panels, stage by stage | W^T panels
 *
 * Forward panels hold all sums of a unit vector side by side (products.h). Backward
 * panels have one sum and walk k over the gate rows in storage order (contract N3).
 */
#ifndef XR_PACK_H
#define XR_PACK_H

#include <string.h>

#include "products.h"

enum {
    HEADER_BYTES = 2048,
    BACKWARD_VECTORS =
        6 /* of a panel: fewer than forward, so that units can be split */
};

struct forward_pack {
    ptrdiff_t Hp;
    ptrdiff_t bias;
    struct panels x, r[XR_MAX_STAGES]; /* count of panels is the same in all */
    ptrdiff_t end;
};

struct backward_pack {
    ptrdiff_t Hp, Ip;
    struct panels x, r[XR_MAX_STAGES];
    struct operand da_x, da_r[XR_MAX_STAGES]; /* gate rows in a row of da */
    ptrdiff_t end;
};

_Static_assert(sizeof(struct forward_pack) <= HEADER_BYTES, "header");
_Static_assert(sizeof(struct backward_pack) <= HEADER_BYTES, "header");

static ptrdiff_t pad_units(ptrdiff_t n)
{
    return ceil_div(n, XR_UNIT_BLOCK) * XR_UNIT_BLOCK;
}

/* Completes panels whose K, vectors, sums and slots are set: at most `most` unit
 * vectors each, from element `at` of the pack on, on a cache line. Hp is the length of
 * a slot. */
static ptrdiff_t place_panels(struct panels *panels, ptrdiff_t most, ptrdiff_t Hp,
                              ptrdiff_t at)
{
    const ptrdiff_t line = XR_ALIGNMENT / (ptrdiff_t)sizeof(elem);
    panels->data = ceil_div(at, line) * line;
    panels->count = ceil_div(panels->vectors, most);
    panels->narrow = panels->vectors / panels->count;
    panels->wider = panels->vectors % panels->count;
    for (int j = 0; j < TILE_VECTORS; j++) {
        panels->at[j] =
            panels->slot[j % panels->sums] * Hp + j / panels->sums * VEC_LANES;
    }
    return panels_end(panels);
}

static struct forward_pack forward_pack_layout(const struct xr_layer *layer,
                                               const struct xr_cell_info *cell)
{
    struct forward_pack at = {.Hp = pad_units(layer->H)};
    const ptrdiff_t vectors = ceil_div(layer->H, VEC_LANES);
    const ptrdiff_t most = TILE_VECTORS / cell->gates;
    at.bias = HEADER_BYTES / (ptrdiff_t)sizeof(elem);
    at.end = at.bias + cell->sums * at.Hp;
    at.x = (struct panels){.K = layer->I, .vectors = vectors};
    for (int s = 0; s < cell->sums; s++) {
        if (cell->sum[s].w >= 0) {
            at.x.slot[at.x.sums++] = s;
        }
    }
    at.end = place_panels(&at.x, most, at.Hp, at.end);
    for (int stage = 0; stage < cell->stages; stage++) {
        struct panels *r = &at.r[stage];
        *r = (struct panels){.K = layer->H, .vectors = vectors};
        for (int s = 0; s < cell->sums; s++) {
            if (cell->sum[s].r >= 0 && cell->sum[s].stage == stage) {
                r->slot[r->sums++] = s;
            }
        }
        at.end = place_panels(r, most, at.Hp, at.end);
    }
    return at;
}

/* The sums whose gradients meet row block 0, 1, … of W or R, as runs of a row of da. */
static struct operand gate_rows(const struct xr_layer *layer,
                                const struct xr_cell_info *cell, int recurrent,
                                int stage)
{
    struct operand rows = {.length = layer->H};
    for (int gate = 0; gate < cell->gates; gate++) {
        for (int s = 0; s < cell->sums; s++) {
            const struct xr_sum *sum = &cell->sum[s];
            if (recurrent ? sum->r == gate && sum->stage == stage : sum->w == gate) {
                rows.segment[rows.segments++] = s * pad_units(layer->H);
            }
        }
    }
    return rows;
}

static struct backward_pack backward_pack_layout(const struct xr_layer *layer,
                                                 const struct xr_cell_info *cell)
{
    struct backward_pack at = {.Hp = pad_units(layer->H), .Ip = pad_units(layer->I)};
    at.end = HEADER_BYTES / (ptrdiff_t)sizeof(elem);
    for (int stage = 0; stage < cell->stages; stage++) {
        at.da_r[stage] = gate_rows(layer, cell, 1, stage);
        at.r[stage] = (struct panels){.K = at.da_r[stage].segments * layer->H,
                                      .vectors = ceil_div(layer->H, VEC_LANES),
                                      .sums = 1};
        at.end = place_panels(&at.r[stage], BACKWARD_VECTORS, at.Hp, at.end);
    }
    at.da_x = gate_rows(layer, cell, 0, 0);
    at.x = (struct panels){.K = at.da_x.segments * layer->H,
                           .vectors = ceil_div(layer->I, VEC_LANES),
                           .sums = 1};
    at.end = place_panels(&at.x, BACKWARD_VECTORS, at.Ip, at.end);
    return at;
}

/* Where vector j of a panel begins at k = 0, and how far it is from k to k + 1. */
struct column {
    elem *first;
    ptrdiff_t step;
};

static struct column panel_column(elem *pack, const struct panels *panels, ptrdiff_t p,
                                  ptrdiff_t j)
{
    const ptrdiff_t units = panel_first(panels, p + 1) - panel_first(panels, p);
    const ptrdiff_t strip = j / STRIP * STRIP;
    const ptrdiff_t width = min_of(STRIP, units * panels->sums - strip);
    elem *first = pack + panel_data(panels, p) + strip * panels->K * VEC_LANES;
    return (struct column){first + (j - strip) * VEC_LANES, width * VEC_LANES};
}

/* One row block [H, K] of a matrix, as sum `j` of forward panels: units become lanes,
 * so the block is transposed. Units past H are zero. */
static void pack_units(elem *pack, const struct panels *panels, int j,
                       const elem *block, ptrdiff_t H)
{
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            const struct column to =
                panel_column(pack, panels, p, (v - first) * panels->sums + j);
            const ptrdiff_t unit = v * VEC_LANES;
            const ptrdiff_t inside = min_of(VEC_LANES, H - unit);
            for (ptrdiff_t k = 0; k < panels->K; k++) {
                for (ptrdiff_t lane = 0; lane < inside; lane++) {
                    to.first[k * to.step + lane] = block[(unit + lane) * panels->K + k];
                }
                for (ptrdiff_t lane = inside; lane < VEC_LANES; lane++) {
                    to.first[k * to.step + lane] = 0;
                }
            }
        }
    }
}

/* Row blocks [H, columns] of a matrix in turn, as backward panels: columns become
 * lanes. Columns past the last are zero. */
static void pack_columns(elem *pack, const struct panels *panels,
                         const elem *const *block, ptrdiff_t H, ptrdiff_t columns)
{
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            const struct column to = panel_column(pack, panels, p, v - first);
            const ptrdiff_t unit = v * VEC_LANES;
            const ptrdiff_t inside = min_of(VEC_LANES, columns - unit);
            for (ptrdiff_t k = 0; k < panels->K; k++) {
                const elem *row = block[k / H] + k % H * columns + unit;
                vec_store(to.first + k * to.step, vec_load_part(row, inside));
            }
        }
    }
}

/* b_ih + b_hh, or the one of the product that the sum takes part in. */
static void pack_bias(elem *bias, const struct xr_sum *sum,
                      const struct xr_weights *weights, ptrdiff_t H, ptrdiff_t Hp)
{
    const elem *b_ih = weights->b_ih, *b_hh = weights->b_hh;
    for (ptrdiff_t u = 0; u < Hp; u++) {
        elem b = 0;
        if (u < H && b_ih != NULL) {
            b = sum->r < 0   ? b_ih[sum->w * H + u]
                : sum->w < 0 ? b_hh[sum->r * H + u]
                             : b_ih[sum->w * H + u] + b_hh[sum->r * H + u];
        }
        bias[u] = b;
    }
}

static void pack_forward(const struct xr_layer *layer, const struct xr_cell_info *cell,
                         const struct xr_weights *weights, void *memory)
{
    const struct forward_pack at = forward_pack_layout(layer, cell);
    const ptrdiff_t H = layer->H;
    elem *pack = memory;
    memset(memory, 0, HEADER_BYTES);
    memcpy(memory, &at, sizeof at);
    for (int s = 0; s < cell->sums; s++) {
        pack_bias(pack + at.bias + s * at.Hp, &cell->sum[s], weights, H, at.Hp);
    }
    for (int j = 0; j < at.x.sums; j++) {
        const elem *w = weights->w_ih;
        pack_units(pack, &at.x, j, w + cell->sum[at.x.slot[j]].w * H * layer->I, H);
    }
    for (int stage = 0; stage < cell->stages; stage++) {
        for (int j = 0; j < at.r[stage].sums; j++) {
            const elem *r = weights->w_hh;
            pack_units(pack, &at.r[stage], j,
                       r + cell->sum[at.r[stage].slot[j]].r * H * H, H);
        }
    }
}

static void pack_backward(const struct xr_layer *layer, const struct xr_cell_info *cell,
                          const struct xr_weights *weights, void *memory)
{
    const struct backward_pack at = backward_pack_layout(layer, cell);
    const ptrdiff_t H = layer->H, I = layer->I;
    const elem *block[XR_MAX_SUMS];
    elem *pack = memory;
    memset(memory, 0, HEADER_BYTES);
    memcpy(memory, &at, sizeof at);
    for (int stage = 0; stage < cell->stages; stage++) {
        for (int g = 0; g < at.da_r[stage].segments; g++) {
            const ptrdiff_t s = at.da_r[stage].segment[g] / at.Hp;
            block[g] = (const elem *)weights->w_hh + cell->sum[s].r * H * H;
        }
        pack_columns(pack, &at.r[stage], block, H, H);
    }
    for (int g = 0; g < at.da_x.segments; g++) {
        const ptrdiff_t s = at.da_x.segment[g] / at.Hp;
        block[g] = (const elem *)weights->w_ih + cell->sum[s].w * H * I;
    }
    pack_columns(pack, &at.x, block, H, I);
}

#endif
