/* The forward pack: biases, per-unit weights, W, and the recurrent matrices. */
#ifndef XR_PACK_FORWARD_H
#define XR_PACK_FORWARD_H

#include "kernels/layer/pack.h"

/* Returns how many unit vectors a panel may have. All matrices with results in the same
 * units have panels of the same units, so the one with most sums decides. */
static ptrdiff_t forward_most(const struct pack *pack, ptrdiff_t inputs, ptrdiff_t kind)
{
    ptrdiff_t sums = kind == H_UNITS ? inputs : 1;
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        const struct recurrence *recurrence = &pack->recurrence[r];
        if (recurrence->target == kind && recurrence->count > sums) {
            sums = recurrence->count;
        }
    }
    return PANEL_VECTORS / sums;
}

static void pack_inputs(struct packing *packing, const struct xr_weights *weights,
                        ptrdiff_t module)
{
    const struct xr_layer *layer = packing->layer;
    struct pack *pack = packing->pack;
    const struct units units = module_units(packing, module);
    struct matrix matrix = {.panels = {.K = layer->I,
                                       .unit = units.at,
                                       .vectors = ceil_div(units.size, VEC_LANES)}};
    matrix.panels.sums = find_inputs(&layer->info, matrix.panels.slot);
    lay_panels(packing, &matrix.panels,
               forward_most(pack, matrix.panels.sums, H_UNITS));
    add_segment(packing, &matrix.operand, 0, layer->I);
    keep_matrix(packing, &matrix, pack->recurrences, module);
    for (int j = 0; weights != NULL && j < matrix.panels.sums; j++) {
        const struct matrix_part part =
            input_part(layer, weights, matrix.panels.slot[j], &units);
        pack_units(elements_of(packing), &matrix.panels, j, 0, &part, packing->watch);
    }
}

/* Makes the units that the units of `module` listen to, one after the other, the
 * operand of a matrix. Returns their number. */
static ptrdiff_t add_sources(struct packing *packing, ptrdiff_t recurrence,
                             ptrdiff_t module, struct segment_list *operand)
{
    const struct units here = module_units(packing, module);
    ptrdiff_t length = 0;
    for (ptrdiff_t m = 0; m < packing->pack->modules; m++) {
        const struct units module_there = module_units(packing, m);
        const struct units there = source_units(
            packing->layer, &packing->pack->recurrence[recurrence], module_there);
        if (listens_to(&here, &module_there)) {
            add_segment(packing, operand, there.at, there.size);
            length += there.size;
        }
    }
    return length;
}

static void pack_recurrence(struct packing *packing, const struct xr_weights *weights,
                            ptrdiff_t r, ptrdiff_t module, ptrdiff_t most)
{
    const struct xr_layer *layer = packing->layer;
    const struct recurrence *recurrence = &packing->pack->recurrence[r];
    const struct units listener = module_units(packing, module);
    const struct units units = target_units(layer, recurrence, listener);
    struct matrix matrix = {.panels = {.unit = units.at,
                                       .vectors = ceil_div(units.size, VEC_LANES),
                                       .sums = recurrence->count}};
    memcpy(matrix.panels.slot, recurrence->sum, sizeof recurrence->sum);
    matrix.panels.K = add_sources(packing, r, module, &matrix.operand);
    lay_panels(packing, &matrix.panels, most);
    keep_matrix(packing, &matrix, r, module);
    for (int j = 0; weights != NULL && j < recurrence->count; j++) {
        ptrdiff_t k = 0;
        for (ptrdiff_t m = 0; m < packing->pack->modules; m++) {
            const struct units module_there = module_units(packing, m);
            if (listens_to(&listener, &module_there)) {
                const struct units there =
                    source_units(layer, recurrence, module_there);
                const struct matrix_part part =
                    recurrence_part(layer, weights, recurrence, j, &units, &there);
                pack_units(elements_of(packing), &matrix.panels, j, k, &part,
                           packing->watch);
                k += there.size;
            }
        }
    }
}

/* Where a sum starts: parts that are added, by unit; NULL where there is none. */
struct bias {
    const elem *from_x, *from_h;
};

static struct bias find_bias(const struct xr_layer *layer,
                             const struct xr_weights *weights, const struct xr_sum *sum)
{
    const elem *b_ih = weights->b_ih;
    const elem *b_hh = sum->matrix == XR_HR ? weights->b_hr : weights->b_hh;
    const ptrdiff_t units = sum->matrix == XR_HR ? layer->O : layer->H;
    const int is_alone = sum->bias == XR_BIAS_IH || sum->bias == XR_BIAS_HH;
    if (is_alone) {
        const elem *b = sum->bias == XR_BIAS_IH ? b_ih : b_hh;
        return (struct bias){b != NULL ? b + sum->bias_w * units : NULL, NULL};
    }
    const int w = sum->bias == XR_BIAS_OF_X ? sum->bias_w : sum->w;
    const int from_x = b_ih != NULL && w >= 0 && sum->bias != XR_NO_BIAS;
    const int from_h = b_hh != NULL && sum->r >= 0 && sum->bias != XR_NO_BIAS;
    return (struct bias){from_x ? b_ih + w * units : NULL,
                         from_h ? b_hh + sum->r * units : NULL};
}

/* Writes `count` units of a bias, from unit `first` on, where zeros are. */
static void copy_bias(const struct bias *bias, ptrdiff_t first, ptrdiff_t count,
                      elem *to)
{
    const elem *one = bias->from_x ? bias->from_x : bias->from_h;
    const elem *two = bias->from_x ? bias->from_h : NULL;
    if (one != NULL && count > 0) {
        memcpy(to, one + first, (size_t)count * sizeof(elem));
    }
    for (ptrdiff_t u = 0; two != NULL && u < count; u++) {
        to[u] += two[first + u];
    }
}

static void pack_biases(const struct packing *packing, const struct xr_weights *weights,
                        elem *to)
{
    const struct xr_layer *layer = packing->layer;
    const ptrdiff_t Hp = packing->pack->Hp;
    for (int s = 0; s < layer->info.sums; s++) {
        const struct xr_sum *sum = &layer->info.sum[s];
        const struct bias bias = find_bias(layer, weights, sum);
        for (ptrdiff_t m = 0; m < packing->pack->modules; m++) {
            const struct units units = packing->units[m];
            const ptrdiff_t size = sum->matrix == XR_HR ? layer->O : units.size;
            copy_bias(&bias, units.user, size, to + s * Hp + units.at);
        }
    }
}

static void pack_vectors(const struct packing *packing,
                         const struct xr_weights *weights, elem *vectors)
{
    const ptrdiff_t H = packing->layer->H, Hp = packing->pack->Hp;
    for (int v = 0; v < packing->layer->info.vectors; v++) {
        const elem *from = (const elem *)weights->vectors + v * H;
        for (ptrdiff_t m = 0; m < packing->pack->modules; m++) {
            const struct units units = packing->units[m];
            memcpy(vectors + v * Hp + units.at, from + units.user,
                   (size_t)units.size * sizeof(elem));
        }
    }
}

/* Returns the number of constants, which lie in rows behind the per-unit weights. */
static ptrdiff_t constants_of(const struct xr_layer *layer)
{
    return layer->program ? layer->program->constants : 0;
}

static void pack_constants(const struct packing *packing, elem *rows)
{
    const ptrdiff_t Hp = packing->pack->Hp;
    for (ptrdiff_t k = 0; k < constants_of(packing->layer); k++) {
        for (ptrdiff_t u = 0; u < Hp; u++) {
            rows[k * Hp + u] = (elem)packing->layer->program->constant[k];
        }
    }
}

/* Packs into zeroed memory. Without memory it only counts. Returns the bytes. */
static size_t pack_forward(const struct xr_layer *layer,
                           const struct xr_weights *weights, void *memory,
                           struct xr_watch *watch)
{
    const ptrdiff_t modules = modules_of(layer);
    struct pack header = {0};
    const ptrdiff_t heard = xr_heads(layer) > 1 ? 1 : modules;
    struct packing packing = begin_packing(layer, memory, &header,
                                           modules + MAX_RECURRENCES * modules * heard);
    struct pack *pack = packing.pack;
    packing.watch = watch;
    elem *bias = arena_take(&packing.arena, layer->info.sums * pack->Hp, sizeof(elem));
    const ptrdiff_t constants = constants_of(layer);
    elem *vectors = arena_take(
        &packing.arena, (layer->info.vectors + constants) * pack->Hp, sizeof(elem));
    pack->bias = offset_of(&packing, bias);
    pack->vectors = offset_of(&packing, vectors);
    for (ptrdiff_t m = 0; m < modules; m++) {
        pack_inputs(&packing, weights, m);
    }
    note_panels(&packing, H_UNITS, pack->recurrences);
    note_panels(&packing, O_UNITS, pack->recurrences);
    for (ptrdiff_t r = 0; r < pack->recurrences; r++) {
        const ptrdiff_t kind = pack->recurrence[r].target;
        const ptrdiff_t most = forward_most(pack, layer->info.w_blocks, kind);
        for (ptrdiff_t m = 0; m < modules; m++) {
            pack_recurrence(&packing, weights, r, m, most);
        }
        if (kind == O_UNITS) {
            note_panels(&packing, O_UNITS, r);
        }
    }
    if (weights != NULL) {
        pack_biases(&packing, weights, bias);
        pack_vectors(&packing, weights, vectors);
        pack_constants(&packing, vectors + layer->info.vectors * pack->Hp);
    }
    return packing.arena.used;
}

#endif
