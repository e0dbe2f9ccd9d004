/* Packing: weights go into panels once, in the order in which the products read them.
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
#include "kernels/layer/form.h"
#include "kernels/math/products.h"

/* Operands are lists of segments in the pack's table. */
struct segment_list {
    ptrdiff_t first, count;
};

/* A matrix for the units of one module, and what it multiplies. `before` counts the
 * panels of the modules before. */
struct matrix {
    struct panels panels;
    struct segment_list operand;
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

/* Returns the matrix of a recurrence; number `recurrences` is that of W, the one after
 * it has no rows (pack_backward.h). */
static const struct matrix *pack_matrix(const struct pack *pack, ptrdiff_t recurrence,
                                        ptrdiff_t module)
{
    const elem *table = (const elem *)pack + pack->matrices;
    return (const struct matrix *)table + recurrence * pack->modules + module;
}

static struct operand pack_operand_of(const struct pack *pack, struct segment_list list)
{
    const elem *table = (const elem *)pack + pack->segments;
    return (struct operand){list.count, (const struct segment *)table + list.first, 0};
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

static elem *elements_of(const struct packing *packing)
{
    return (elem *)packing->pack;
}

static ptrdiff_t offset_of(const struct packing *packing, const void *piece)
{
    return piece ? (const elem *)piece - (const elem *)packing->pack : 0;
}

/* Lays out header and tables; `segments` is the length of the last table. Without
 * memory, when only the size is asked for, `header` stands for the one in the pack. */
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
    packing.matrices = arena_take(&packing.arena, (pack->recurrences + 2) * modules,
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
    if (xr_heads(layer) > 1) {
        return head_units(layer, module);
    }
    return (struct units){.size =
                              layer->modules ? layer->module[module].size : layer->H,
                          .period = layer->modules ? layer->module[module].period : 1};
}

/* Adds `length` elements to the operand that is being written: to its last segment, if
 * they follow on it. */
static void add_segment(struct packing *packing, struct segment_list *list,
                        ptrdiff_t at, ptrdiff_t length)
{
    if (packing->segments == NULL) {
        return;
    }
    if (list->count == 0) {
        list->first = packing->segment_count;
    }
    struct segment *last = packing->segments + packing->segment_count - 1;
    if (list->count > 0 && last->at + last->length == at) {
        last->length += length;
        return;
    }
    last[1] = (struct segment){at, length};
    packing->segment_count++;
    list->count++;
}

/* Completes panels whose K, unit, vectors, sums and slots are set, and takes their
 * place in the pack. */
static void lay_panels(struct packing *packing, struct panels *panels, ptrdiff_t most)
{
    const ptrdiff_t at = (ptrdiff_t)(packing->arena.used / sizeof(elem));
    const ptrdiff_t end = place_panels(panels, most, packing->pack->Hp, at);
    arena_take(&packing->arena, end - at, sizeof(elem));
}

/* Enters a matrix, whose panels are placed, into the table. */
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

/* Returns the part of row block number g of a recurrence whose rows belong to the units
 * `to` and whose columns belong to the units `from`. */
static struct matrix_part recurrence_part(const struct xr_layer *layer,
                                          const struct xr_weights *weights,
                                          const struct recurrence *recurrence,
                                          ptrdiff_t g, const struct units *to,
                                          const struct units *from)
{
    const void *const matrix[] = {weights->w_hh, weights->w_hr, weights->w_gates};
    const ptrdiff_t step = matrix_columns(layer, recurrence);
    const ptrdiff_t rows = recurrence->target == O_UNITS ? layer->O : layer->H;
    const elem *first = matrix[recurrence->matrix];
    first += (recurrence->block[g] * rows + to->user) * step;
    return (struct matrix_part){first + matrix_column(recurrence, from), step, to->size,
                                from->size};
}

static struct matrix_part input_part(const struct xr_layer *layer,
                                     const struct xr_weights *weights, ptrdiff_t sum,
                                     const struct units *to)
{
    const ptrdiff_t row = layer->info.sum[sum].w * layer->H + to->user;
    const elem *first = (const elem *)weights->w_ih + row * layer->I;
    return (struct matrix_part){first, layer->I, to->size, layer->I};
}

/* Returns the units whose sums a recurrence adds to: a module's, or all O of them. */
static struct units target_units(const struct xr_layer *layer,
                                 const struct recurrence *recurrence,
                                 struct units module)
{
    module.size = recurrence->target == O_UNITS ? layer->O : module.size;
    return module;
}

/* Returns the units that a recurrence multiplies: a module's, or all of the
 * source's. */
static struct units source_units(const struct xr_layer *layer,
                                 const struct recurrence *recurrence,
                                 struct units module)
{
    const ptrdiff_t width = source_width(layer, recurrence->source);
    module.size = modules_of(layer) > 1 ? module.size : width;
    return module;
}

#endif
