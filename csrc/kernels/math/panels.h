/* Matrices as panels, in the order in which products read them: where everything lies,
 * and how weights get there.
 *
 * One panel yields all sums of the same units. Its vectors lie in strips, so that a
 * pass over k reads memory in order:
 *
 *     panel p:   [strip][K][STRIP * LANES]     vector j = unit vector * sums + sum
 *                                              lies in strip j / STRIP
 *
 * Unit vectors are spread evenly over the panels, the first `wider` of which have one
 * more. A transposed matrix, for the way back, has one sum: its k are gate rows.
 */
#ifndef XR_PANELS_H
#define XR_PANELS_H

#include "base/sizes.h"
#include "base/stop.h"
#include "exactrnn.h"
#include "kernels/vec.h"

enum {
    PANEL_VECTORS = 12,                  /* of a panel, at most */
    STRIP = VEC_REGISTERS == 32 ? 3 : 2, /* vectors */
    BACKWARD_VECTORS = 6, /* of a transposed panel: enough for a single row, and few, so
                           * that units can be split */
    MOVE_WORK = 4         /* of an element that is packed, in multiplications */
};

struct panels {
    ptrdiff_t K;
    ptrdiff_t unit;    /* where the units of the first panel lie in a row of results */
    ptrdiff_t vectors; /* unit vectors of all panels */
    ptrdiff_t count;   /* panels */
    ptrdiff_t narrow, wider;
    ptrdiff_t sums;
    ptrdiff_t slot[XR_MAX_PRODUCTS]; /* where each sum lies in a row of results */
    ptrdiff_t at[PANEL_VECTORS]; /* where each vector of a panel lies there, from its
                                  * first unit on */
    ptrdiff_t data;              /* elements from the start of the pack */
};

/* The first unit vector of panel p. */
static ptrdiff_t panel_first(const struct panels *panels, ptrdiff_t p)
{
    return p * panels->narrow + min_of(p, panels->wider);
}

static ptrdiff_t panel_data(const struct panels *panels, ptrdiff_t p)
{
    return panels->data + panel_first(panels, p) * panels->sums * panels->K * VEC_LANES;
}

static ptrdiff_t panels_end(const struct panels *panels)
{
    return panel_data(panels, panels->count);
}

/* Multiplications of a product for one row and one panel, at most. */
static ptrdiff_t panel_work(const struct panels *panels)
{
    return panels->K * PANEL_VECTORS * VEC_LANES;
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
    for (ptrdiff_t j = 0, sum = 0, unit = 0; j < PANEL_VECTORS; j++) {
        panels->at[j] = panels->slot[sum] * Hp + unit;
        if (++sum == panels->sums) {
            sum = 0, unit += VEC_LANES;
        }
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

/* A part of a matrix of the caller's, whose rows lie `step` elements apart. */
struct matrix_part {
    const elem *first;
    ptrdiff_t step, rows, columns;
};

/* Packs columns `begin` to `end` of some rows, `inside` of them, as lanes of a vector;
 * lanes past the last row are zero. */
static void pack_lanes(struct column to, const struct matrix_part *part, ptrdiff_t unit,
                       ptrdiff_t begin, ptrdiff_t end)
{
    const elem *from = part->first + unit * part->step;
    const ptrdiff_t inside = min_of(VEC_LANES, part->rows - unit);
    for (ptrdiff_t k = begin; k < end; k++) {
        elem *lanes = to.first + k * to.step;
        for (ptrdiff_t lane = 0; lane < inside; lane++) {
            lanes[lane] = from[lane * part->step + k];
        }
        for (ptrdiff_t lane = inside; lane < VEC_LANES; lane++) {
            lanes[lane] = 0;
        }
    }
}

/* Packs all columns of the rows from `unit` on as lanes of a vector, in squares where
 * there are so many rows and columns. */
static void pack_rows(struct column to, const struct matrix_part *part, ptrdiff_t unit)
{
    const elem *from = part->first + unit * part->step;
    const int is_whole = part->rows - unit >= VEC_LANES;
    const ptrdiff_t squares = is_whole ? part->columns / VEC_LANES : 0;
    for (ptrdiff_t k = 0; k < squares * VEC_LANES; k += VEC_LANES) {
        vec_turn(to.first + k * to.step, to.step, from + k, part->step);
    }
    pack_lanes(to, part, unit, squares * VEC_LANES, part->columns);
}

/* Packs a part as sum `j` of panels, from their row k0 on. Its rows become lanes, so it
 * is transposed. Units past the last are zero. */
static void pack_units(elem *pack, const struct panels *panels, int j, ptrdiff_t k0,
                       const struct matrix_part *part, struct xr_watch *watch)
{
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            if (xr_leaves(watch, part->columns * VEC_LANES * MOVE_WORK)) {
                return;
            }
            struct column to =
                panel_column(pack, panels, p, (v - first) * panels->sums + j);
            to.first += k0 * to.step;
            pack_rows(to, part, v * VEC_LANES);
        }
    }
}

/* Packs a part into transposed panels, from their row k0 on: its columns become lanes.
 * Columns past the last are zero. */
static void pack_columns(elem *pack, const struct panels *panels, ptrdiff_t k0,
                         const struct matrix_part *part, struct xr_watch *watch)
{
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        const ptrdiff_t first = panel_first(panels, p);
        for (ptrdiff_t v = first; v < panel_first(panels, p + 1); v++) {
            if (xr_leaves(watch, part->rows * VEC_LANES * MOVE_WORK)) {
                return;
            }
            const struct column to = panel_column(pack, panels, p, v - first);
            const ptrdiff_t unit = v * VEC_LANES;
            const ptrdiff_t inside = min_of(VEC_LANES, part->columns - unit);
            for (ptrdiff_t k = 0; k < part->rows; k++) {
                const elem *row = part->first + k * part->step + unit;
                vec_store(to.first + (k0 + k) * to.step, vec_load_part(row, inside));
            }
        }
    }
}

#endif
