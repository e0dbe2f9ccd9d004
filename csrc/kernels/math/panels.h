/* Matrices as panels: where everything lies (products.h says what they are for). */
#ifndef XR_PANELS_H
#define XR_PANELS_H

#include "kernels/math/products.h"

static ptrdiff_t pad_units(ptrdiff_t n)
{
    return ceil_div(n, XR_UNIT_BLOCK) * XR_UNIT_BLOCK;
}

/* Completes panels whose K, unit, vectors, sums and slots are set: at most `most` unit
 * vectors each, from element `at` of the pack on, on a cache line. Hp is the length of
 * a slot. Returns where they end. */
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

#endif
