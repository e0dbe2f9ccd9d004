/* Packing: weights once into panels, in the order in which the products read them.
 *
 * A pack starts with a header and tables that say where everything lies, so that a call
 * computes nothing of the kind again.
 *
 *     forward pack:   header | tables | bias [S, Hp] | vectors [V, Hp] | W panels |
 *                     panels of each recurrence, module by module
 *     backward pack:  header | tables | transposed panels of each recurrence | of W
 *
 * Forward panels hold all sums of a unit vector side by side (products.h). Backward
 * panels have one sum and walk k over the gate rows in storage order (contract N3).
 */
#ifndef XR_PACK_H
#define XR_PACK_H

#include <string.h>

#include "base/arena.h"
#include "base/stop.h"
#include "kernels/layer/form.h"
#include "kernels/math/panels.h"

enum { BACKWARD_VECTORS = 6 }; /* of a panel: few, so that units can be split */

/* Operands are runs of segments in the pack's table. */
struct run_of_segments {
    ptrdiff_t first, count;
};

/* A matrix for the units of one module, and what it multiplies. `before` counts the
 * panels of the modules before. */
struct matrix {
    struct panels panels;
    struct run_of_segments operand;
    ptrdiff_t before;
};

/* Both packs. Offsets count elements from its start; matrices are [modules] for each
 * recurrence, those of W follow. All matrices with H units as results have the same
 * panels, and all with O units; `of_units` is one of each kind. */
struct pack {
    ptrdiff_t Hp, Ip, modules, recurrences;
    ptrdiff_t panels[2], of_units[2]; /* H_UNITS, O_UNITS */
    ptrdiff_t units, matrices, segments, bias, vectors;
    struct recurrence recurrence[MAX_RECURRENCES];
};

static const struct units *pack_units_of(const struct pack *pack)
{
    return (const struct units *)((const elem *)pack + pack->units);
}

/* The matrix of a recurrence, or of W for number `recurrences`. */
static const struct matrix *pack_matrix(const struct pack *pack, ptrdiff_t recurrence,
                                        ptrdiff_t module)
{
    const elem *table = (const elem *)pack + pack->matrices;
    return (const struct matrix *)table + recurrence * pack->modules + module;
}

static struct operand pack_operand_of(const struct pack *pack,
                                      struct run_of_segments run)
{
    const elem *table = (const elem *)pack + pack->segments;
    return (struct operand){run.count, (const struct segment *)table + run.first, 0};
}

/* What is being laid out: `pack` is the header, in memory or beside it. */
struct packing {
    const struct xr_layer *layer;
    struct arena arena;
    struct xr_watch *watch; /* NULL where there are no weights */
    struct pack *pack;
    struct units *units;
    struct matrix *matrices;
    struct segment *segments;
    ptrdiff_t segment_count;
};

static ptrdiff_t offset_of(const struct packing *packing, const void *piece)
{
    return piece ? (const elem *)piece - (const elem *)packing->pack : 0;
}

/* Header and tables, of which `segments` is the length of the last. Without memory,
 * when only the size is asked for, `header` stands for the first. */
static struct packing begin_packing(const struct xr_layer *layer, void *memory,
                                    struct pack *header, ptrdiff_t segments)
{
    struct packing packing = {.layer = layer, .arena = {.memory = memory}};
    const ptrdiff_t modules = modules_of(layer);
    struct pack *pack = arena_take(&packing.arena, 1, sizeof *pack);
    packing.pack = pack ? pack : header;
    pack = packing.pack;
    pack->Hp = xr_padded_units(layer);
    pack->Ip = pad_units(layer->I);
    pack->modules = modules;
    pack->recurrences = find_recurrences(layer, pack->recurrence);
    packing.units = arena_take(&packing.arena, modules, sizeof(struct units));
    packing.matrices = arena_take(&packing.arena, (pack->recurrences + 1) * modules,
                                  sizeof(struct matrix));
    packing.segments = arena_take(&packing.arena, segments, sizeof(struct segment));
    if (memory != NULL) {
        place_units(layer, packing.units);
        pack->units = offset_of(&packing, packing.units);
        pack->matrices = offset_of(&packing, packing.matrices);
        pack->segments = offset_of(&packing, packing.segments);
    }
    return packing;
}

static struct units module_units(const struct packing *packing, ptrdiff_t module)
{
    const struct xr_layer *layer = packing->layer;
    if (packing->units != NULL) {
        return packing->units[module];
    }
    return (struct units){.size =
                              layer->modules ? layer->module[module].size : layer->H,
                          .period = layer->modules ? layer->module[module].period : 1};
}

/* Adds a run of elements to the operand that is being written. */
static void add_segment(struct packing *packing, struct run_of_segments *run,
                        ptrdiff_t at, ptrdiff_t length)
{
    if (packing->segments == NULL) {
        return;
    }
    if (run->count == 0) {
        run->first = packing->segment_count;
    }
    struct segment *last = packing->segments + packing->segment_count - 1;
    if (run->count > 0 && last->at + last->length == at) {
        last->length += length;
        return;
    }
    last[1] = (struct segment){at, length};
    packing->segment_count++;
    run->count++;
}

/* Completes panels whose K, unit, vectors, sums and slots are set. */
static void lay_panels(struct packing *packing, struct panels *panels, ptrdiff_t most)
{
    const ptrdiff_t at = (ptrdiff_t)(packing->arena.used / sizeof(elem));
    const ptrdiff_t end = place_panels(panels, most, packing->pack->Hp, at);
    arena_take(&packing->arena, end - at, sizeof(elem));
}

/* Enters a matrix whose panels are placed into the table. */
static void keep_matrix(const struct packing *packing, struct matrix *matrix,
                        ptrdiff_t recurrence, ptrdiff_t module)
{
    if (packing->matrices == NULL) {
        return;
    }
    struct matrix *kept =
        &packing->matrices[recurrence * packing->pack->modules + module];
    matrix->before = module > 0 ? kept[-1].before + kept[-1].panels.count : 0;
    *kept = *matrix;
}

/* Says which matrix shows how the units of a kind lie in panels. */
static void note_panels(const struct packing *packing, ptrdiff_t kind,
                        ptrdiff_t recurrence)
{
    if (packing->matrices != NULL) {
        struct pack *pack = packing->pack;
        const struct matrix *last =
            pack_matrix(pack, recurrence, packing->pack->modules - 1);
        pack->of_units[kind] = recurrence;
        pack->panels[kind] = last->before + last->panels.count;
    }
}

/* A part of a matrix of the caller's: rows `step` elements apart. */
struct block {
    const elem *first;
    ptrdiff_t step, rows, columns;
};

enum { ELEMENT_COST = 4 }; /* of moving an element, in multiplications */

/* A block as sum `j` of forward panels, from row k of theirs on: its rows become lanes,
 * so it is transposed. Units past the last are zero. */
static void pack_units(const struct packing *packing, const struct panels *panels,
                       int j, ptrdiff_t k0, const struct block *block)
{
    elem *pack = (elem *)packing->pack;
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            if (xr_leaves(packing->watch, block->columns * VEC_LANES * ELEMENT_COST)) {
                return;
            }
            const struct column to =
                panel_column(pack, panels, p, (v - first) * panels->sums + j);
            const ptrdiff_t unit = v * VEC_LANES;
            const ptrdiff_t inside = min_of(VEC_LANES, block->rows - unit);
            const elem *from = block->first + unit * block->step;
            for (ptrdiff_t k = 0; k < block->columns; k++) {
                elem *lanes = to.first + (k0 + k) * to.step;
                for (ptrdiff_t lane = 0; lane < inside; lane++) {
                    lanes[lane] = from[lane * block->step + k];
                }
                for (ptrdiff_t lane = inside; lane < VEC_LANES; lane++) {
                    lanes[lane] = 0;
                }
            }
        }
    }
}

/* A block as part of backward panels, from row k on: columns become lanes. Columns past
 * the last are zero. */
static void pack_columns(const struct packing *packing, const struct panels *panels,
                         ptrdiff_t k0, const struct block *block)
{
    elem *pack = (elem *)packing->pack;
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            if (xr_leaves(packing->watch, block->rows * VEC_LANES * ELEMENT_COST)) {
                return;
            }
            const struct column to = panel_column(pack, panels, p, v - first);
            const ptrdiff_t unit = v * VEC_LANES;
            const ptrdiff_t inside = min_of(VEC_LANES, block->columns - unit);
            for (ptrdiff_t k = 0; k < block->rows; k++) {
                const elem *row = block->first + k * block->step + unit;
                vec_store(to.first + (k0 + k) * to.step, vec_load_part(row, inside));
            }
        }
    }
}

/* Row block number g of a recurrence, those of its rows that belong to the units `to`
 * and those of its columns that belong to the units `from`. */
static struct block recurrence_block(const struct xr_layer *layer,
                                     const struct xr_weights *weights,
                                     const struct recurrence *recurrence, ptrdiff_t g,
                                     const struct units *to, const struct units *from)
{
    const void *const matrix[] = {weights->w_hh, weights->w_hr, weights->w_gates};
    const ptrdiff_t step = matrix_columns(layer, recurrence);
    const ptrdiff_t rows = recurrence->target == O_UNITS ? layer->O : layer->H;
    const elem *first = matrix[recurrence->matrix];
    first += (recurrence->block[g] * rows + to->user) * step;
    return (struct block){first + recurrence->column + from->user, step, to->size,
                          from->size};
}

static struct block input_block(const struct xr_layer *layer,
                                const struct xr_weights *weights, ptrdiff_t sum,
                                const struct units *to)
{
    const ptrdiff_t row = layer->info.sum[sum].w * layer->H + to->user;
    const elem *first = (const elem *)weights->w_ih + row * layer->I;
    return (struct block){first, layer->I, to->size, layer->I};
}

/* The units that a recurrence has at either end: a module, or all of another width. */
static struct units target_units(const struct xr_layer *layer,
                                 const struct recurrence *recurrence,
                                 struct units module)
{
    module.size = recurrence->target == O_UNITS ? layer->O : module.size;
    return module;
}

static struct units source_units(const struct xr_layer *layer,
                                 const struct recurrence *recurrence,
                                 struct units module)
{
    const ptrdiff_t width = source_width(layer, recurrence->source);
    module.size = layer->modules ? module.size : width;
    return module;
}

#endif
