/* The backward pack: the recurrent matrices and W, transposed.
 *
 * Row k of a panel is a gate row: for each module in turn its rows of all sums. A
 * product may begin at any module's rows, so that those of a module that did not take
 * part in a step are passed over.
 */
#ifndef XR_PACK_BACKWARD_H
#define XR_PACK_BACKWARD_H

#include "kernels/layer/pack.h"

/* Adds the gradient of a sum that belongs to some units to the operand of a matrix. It
 * lies in a row of da. */
static void add_gate(struct packing *packing, struct segment_list *list, ptrdiff_t sum,
                     const struct units *units)
{
    add_segment(packing, list, sum * packing->pack->Hp + units->at, units->size);
}

/* Packs the matrix that takes gradients of a recurrence's sums to one module of its
 * source. */
static void transpose_recurrence(struct packing *packing,
                                 const struct xr_weights *weights, ptrdiff_t r,
                                 ptrdiff_t module)
{
    const struct xr_layer *layer = packing->layer;
    const struct recurrence *recurrence = &packing->pack->recurrence[r];
    const struct units heard = module_units(packing, module);
    const struct units source = source_units(layer, recurrence, heard);
    const struct units own = target_units(layer, recurrence, heard);
    struct matrix matrix = {.panels = {.unit = source.at,
                                       .vectors = ceil_div(source.size, VEC_LANES),
                                       .sums = 1}};
    for (ptrdiff_t g = 0; g < recurrence->count; g++) {
        add_gate(packing, &matrix.operand, recurrence->sum[g], &own);
    }
    for (ptrdiff_t m = 0; m < packing->pack->modules; m++) {
        const struct units listener = module_units(packing, m);
        if (listens_to(&listener, &heard)) {
            matrix.panels.K +=
                recurrence->count * target_units(layer, recurrence, listener).size;
        }
    }
    lay_panels(packing, &matrix.panels, BACKWARD_VECTORS);
    keep_matrix(packing, &matrix, r, module);
    ptrdiff_t k = 0;
    for (ptrdiff_t m = 0; weights != NULL && m < packing->pack->modules; m++) {
        const struct units listener = module_units(packing, m);
        const struct units target = target_units(layer, recurrence, listener);
        for (int g = 0; listens_to(&listener, &heard) && g < recurrence->count; g++) {
            const struct matrix_part part =
                recurrence_part(layer, weights, recurrence, g, &target, &source);
            pack_columns(elements_of(packing), &matrix.panels, k, &part,
                         packing->watch);
            k += target.size;
        }
    }
}

/* Packs the gate rows of W that belong to a sum of some units, from row `k` of the
 * panels on, and adds them to the operand. Returns the row after them. */
static ptrdiff_t transpose_gate(struct packing *packing,
                                const struct xr_weights *weights, ptrdiff_t sum,
                                const struct units *units, struct matrix *matrix,
                                ptrdiff_t k)
{
    add_gate(packing, &matrix->operand, sum, units);
    if (weights != NULL) {
        const struct matrix_part part = input_part(packing->layer, weights, sum, units);
        pack_columns(elements_of(packing), &matrix->panels, k, &part, packing->watch);
    }
    return k + units->size;
}

/* Packs W transposed: one set of panels for all modules, and for each the operand that
 * its gate rows are. Heads, which all take part in every step, have one operand: sum by
 * sum, as W is stored. */
static void transpose_inputs(struct packing *packing, const struct xr_weights *weights)
{
    const struct xr_layer *layer = packing->layer;
    const ptrdiff_t modules = packing->pack->modules,
                    number = packing->pack->recurrences;
    ptrdiff_t sums[XR_MAX_PRODUCTS];
    const ptrdiff_t count = find_inputs(&layer->info, sums);
    struct matrix matrix = {.panels = {.K = count * layer->H,
                                       .vectors = ceil_div(layer->I, VEC_LANES),
                                       .sums = 1}};
    lay_panels(packing, &matrix.panels, BACKWARD_VECTORS);
    const ptrdiff_t together = xr_heads(layer);
    ptrdiff_t k = 0;
    for (ptrdiff_t first = 0; first < modules; first += together) {
        matrix.operand = (struct segment_list){0};
        for (ptrdiff_t g = 0; g < count; g++) {
            for (ptrdiff_t m = first; m < first + together; m++) {
                const struct units units = module_units(packing, m);
                k = transpose_gate(packing, weights, sums[g], &units, &matrix, k);
            }
        }
        keep_matrix(packing, &matrix, number, first);
    }
}

/* Enters a matrix without rows, by which the units of a layer lie in panels that has no
 * recurrent matrix. */
static void place_units_alone(struct packing *packing)
{
    const ptrdiff_t H = packing->layer->H, number = packing->pack->recurrences + 1;
    struct matrix matrix = {.panels = {.vectors = ceil_div(H, VEC_LANES), .sums = 1}};
    lay_panels(packing, &matrix.panels, BACKWARD_VECTORS);
    keep_matrix(packing, &matrix, number, 0);
    note_panels(packing, H_UNITS, number);
    note_panels(packing, O_UNITS, number);
}

/* Packs into zeroed memory. Without memory it only counts. Returns the bytes. */
static size_t pack_backward(const struct xr_layer *layer,
                            const struct xr_weights *weights, void *memory,
                            struct xr_watch *watch)
{
    const ptrdiff_t modules = modules_of(layer);
    struct pack header = {0};
    struct packing packing = begin_packing(
        layer, memory, &header, (MAX_RECURRENCES + 1) * modules * XR_MAX_PRODUCTS);
    struct pack *pack = packing.pack;
    packing.watch = watch;
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        for (ptrdiff_t m = 0; m < modules; m++) {
            transpose_recurrence(&packing, weights, r, m);
        }
        const int takes_h = pack->recurrence[r].source == 0;
        if (r == 0 || !takes_h) {
            note_panels(&packing, H_UNITS, r);
        }
        if (r == 0 || takes_h) { /* where nothing takes h, O is H */
            note_panels(&packing, O_UNITS, r);
        }
    }
    transpose_inputs(&packing, weights);
    if (pack->recurrences == 0) {
        place_units_alone(&packing);
    }
    return packing.arena.used;
}

#endif
