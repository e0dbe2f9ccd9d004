/* See masks.h: integers to masks, and room in the cache. No arithmetic on elements. */
#include "base/masks.h"

#include "base/engine.h"
#include "base/sizes.h"

ptrdiff_t xr_lay_masks(const struct xr_problem *problem, ptrdiff_t Hp, ptrdiff_t at,
                       struct xr_mask_layout *layout)
{
    const struct xr_layer *layer = problem->layer;
    const ptrdiff_t one_row = problem->B * Hp, all_rows = problem->T * one_row;
    *layout = (struct xr_mask_layout){{0}, {0}};
    for (int k = 0; xr_has_zones(layer) && k < layer->info.states; k++) {
        if (xr_zone_of(layer, k) != XR_ZONES) {
            layout->proposed[k] = at;
            at += all_rows;
        }
    }
    if (problem->masks == NULL || problem->masks->recurrent == NULL) {
        return at;
    }
    for (int j = 0; j <= layer->info.operands; j++) {
        layout->masked[j] = at;
        at += j == 0 ? all_rows + one_row : all_rows;
    }
    return at;
}

/* Writes one row of units, the numbers of `key` on. */
static void draw_row(const struct xr_mask *mask, uint64_t key, ptrdiff_t at,
                     enum xr_dtype dtype, void *out)
{
    const ptrdiff_t size = mask->units / mask->heads;
    const float below = (float)mask->below, above = (float)mask->above;
    for (ptrdiff_t head = 0; head < mask->heads; head++, at += pad_units(size)) {
        const uint64_t first = (uint64_t)(head * size);
        for (ptrdiff_t u = 0; dtype == XR_F32 && u < size; u++) {
            const uint64_t bits = xr_hash(key, first + (uint64_t)u) >> 11;
            ((float *)out)[at + u] = bits < mask->threshold ? below : above;
        }
        for (ptrdiff_t u = 0; dtype == XR_F64 && u < size; u++) {
            const uint64_t bits = xr_hash(key, first + (uint64_t)u) >> 11;
            ((double *)out)[at + u] =
                bits < mask->threshold ? mask->below : mask->above;
        }
    }
}

void xr_draw_mask(const struct xr_mask *mask, enum xr_dtype dtype, ptrdiff_t width,
                  void *out)
{
    for (ptrdiff_t b = 0; b < mask->rows; b++) {
        const uint64_t row = xr_hash(mask->key, (uint64_t)b);
        for (ptrdiff_t t = 0; t < mask->steps; t++) {
            const uint64_t step = mask->timeless ? row : xr_hash(row, (uint64_t)t);
            draw_row(mask, step, (t * mask->rows + b) * width, dtype, out);
        }
    }
}
