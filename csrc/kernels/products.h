/* Sums of products (contract N3): one accumulator per output, k ascending.
 *
 * A product makes rows of results from rows of a left operand and a packed matrix:
 *
 *     c[row][slot, unit] = chain(start; k ascending; a[row][k] * M[slot, unit][k])
 *
 * Vectors run along units. The matrix is packed in panels, so that a pass over k reads
 * memory in order and one panel yields all sums of the same units:
 *
 *     panel p:   [K][unit vectors of p][sums][LANES]
 *
 * Rows are given by pointers: any time order, any strides, any subset of a batch.
 * A register block (tile) of m rows x n vectors keeps m*n accumulators; which m and n
 * is used cannot show in the bits.
 *
 * Measured on AVX-512: 6 rows x 4 vectors and 8 x 3 run at 95 % of the fma peak; a
 * single row needs at least 8 vectors side by side to hide the latency of the fma.
 * Twin: chain in src/exactrnn/_arith.py.
 */
#ifndef XR_PRODUCTS_H
#define XR_PRODUCTS_H

#include "cell.h"
#include "elementary.h"

enum {
    TILE_SUMS = VEC_REGISTERS == 32 ? 24 : 12, /* accumulators of a tile */
    TILE_ROWS = 8,
    TILE_VECTORS = 12
};

/* A matrix in panels. Unit vectors are spread evenly over the panels, the first `wider`
 * of which have one more. */
struct panels {
    ptrdiff_t K;
    ptrdiff_t vectors; /* unit vectors of all panels */
    ptrdiff_t count;   /* panels */
    ptrdiff_t narrow, wider;
    int sums;
    int slot[XR_MAX_SUMS]; /* where each sum lies in a row of results */
    ptrdiff_t
        at[TILE_VECTORS]; /* where each vector of a panel lies there, from its first
                                 * unit on */
    ptrdiff_t data;       /* elements from the start of the pack */
};

static ptrdiff_t panel_first(const struct panels *panels, ptrdiff_t p)
{
    return p * panels->narrow + (p < panels->wider ? p : panels->wider);
}

static ptrdiff_t panel_data(const struct panels *panels, ptrdiff_t p)
{
    return panels->data + panel_first(panels, p) * panels->sums * panels->K * VEC_LANES;
}

static ptrdiff_t panels_end(const struct panels *panels)
{
    return panel_data(panels, panels->count);
}

/* The left operand of a product: `segments` runs of `length` elements in each row, so
 * that k walks over gates that lie apart. */
struct operand {
    int segments;
    ptrdiff_t length;
    ptrdiff_t segment[XR_MAX_SUMS];
};

struct tile {
    const elem *const *a; /* [m] rows */
    const struct operand *operand;
    const elem *w; /* first vector of the tile at k = 0 */
    ptrdiff_t w_step;
    elem *const *c;      /* [m] rows */
    ptrdiff_t unit;      /* first unit of the panel */
    const ptrdiff_t *at; /* [n] where the vectors lie in a row of c, from `unit` on */
    const elem *start;   /* a row that every chain starts from; NULL: c itself */
    int flush;           /* store by contract N6 */
    const elem *ahead; /* weights to be had in the L2 soon, `ahead_step` with each k */
    ptrdiff_t ahead_step;
};

XR_INLINE void tile_run(const struct tile *t, const int m, const int n)
{
    vec s[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
        const elem *start = (t->start ? t->start : t->c[i]) + t->unit;
#pragma GCC unroll 12
        for (int j = 0; j < n; j++) {
            s[i][j] = vec_load(start + t->at[j]);
        }
    }
    const elem *w = t->w;
    const elem *ahead = t->ahead;
    for (int g = 0; g < t->operand->segments; g++) {
        const elem *a[TILE_ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            a[i] = t->a[i] + t->operand->segment[g];
        }
        for (ptrdiff_t k = 0; k < t->operand->length; k++, w += t->w_step) {
            vec row[TILE_VECTORS];
            if (m > 1) { /* a single row leaves no time for more loads */
                __builtin_prefetch(ahead, 0, 2);
                ahead += t->ahead_step;
            }
#pragma GCC unroll 12
            for (int j = 0; j < n; j++) {
                row[j] = vec_load(w + j * VEC_LANES);
            }
#pragma GCC unroll 8
            for (int i = 0; i < m; i++) {
                vec left = vec_set(a[i][k]);
#pragma GCC unroll 12
                for (int j = 0; j < n; j++) {
                    s[i][j] = vec_fma(left, row[j], s[i][j]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
        elem *c = t->c[i] + t->unit;
#pragma GCC unroll 12
        for (int j = 0; j < n; j++) {
            vec_store(c + t->at[j], t->flush ? vec_flush(s[i][j]) : s[i][j]);
        }
    }
}

/* A tile of any size that fits into TILE_SUMS; each size is compiled on its own. */
static void tile_any(const struct tile *t, int m, int n)
{
#define SIZE(m, n) ((m) * (TILE_VECTORS + 1) + (n))
#define CASE(m, n)                    \
    case SIZE(m, n):                  \
        if ((m) * (n) <= TILE_SUMS) { \
            tile_run(t, m, n);        \
        }                             \
        return
#define CASES_4(m, n) \
    CASE(m, n);       \
    CASE(m, n + 1);   \
    CASE(m, n + 2);   \
    CASE(m, n + 3)
#define CASES(m)   \
    CASES_4(m, 1); \
    CASES_4(m, 5); \
    CASES_4(m, 9)
    switch (SIZE(m, n)) {
        CASES(1);
        CASES(2);
        CASES(3);
        CASES(4);
        CASES(5);
        CASES(6);
        CASES(7);
        CASES(8);
    }
#undef CASES
#undef CASES_4
#undef CASE
#undef SIZE
}

static ptrdiff_t ceil_div(ptrdiff_t n, ptrdiff_t d) { return (n + d - 1) / d; }

static ptrdiff_t min_of(ptrdiff_t n, ptrdiff_t m) { return n < m ? n : m; }

/* Most rows of a tile: as many as leave 3 accumulators each with 32 registers, or 2
 * with 16, so that a panel passes seldom. */
static ptrdiff_t tile_rows_most(ptrdiff_t vectors)
{
    const ptrdiff_t wide = TILE_SUMS == 24 ? 3 : 2;
    return min_of(TILE_ROWS, TILE_SUMS / min_of(wide, vectors));
}

struct product {
    const struct panels *panels;
    const elem *pack; /* the pack that the panels lie in */
    struct operand operand;
    const elem *start; /* as in a tile */
    int flush;
};

/* One panel of a product for some rows. While its tiles pass, panel `next` is fetched,
 * spread evenly: a panel that comes from the L3 costs its whole latency otherwise. */
static void product_panel(const struct product *product, ptrdiff_t p, ptrdiff_t next,
                          ptrdiff_t rows, const elem *const *a, elem *const *c)
{
    const struct panels *panels = product->panels;
    const ptrdiff_t first = panel_first(panels, p);
    const int vectors = (int)(panel_first(panels, p + 1) - first) * panels->sums;
    struct tile tile = {
        .a = a,
        .operand = &product->operand,
        .w = product->pack + panel_data(panels, p),
        .w_step = vectors * VEC_LANES,
        .c = c,
        .unit = first * VEC_LANES,
        .at = panels->at,
        .start = product->start,
        .flush = product->flush,
        .ahead = product->pack + panel_data(panels, next),
    };
    if (rows == 1) {
        tile_any(&tile, 1, vectors);
        return;
    }
    const ptrdiff_t ahead_size =
        panel_data(panels, next + 1) - panel_data(panels, next);
    const ptrdiff_t tiles = ceil_div(rows, tile_rows_most(vectors));
    for (ptrdiff_t r = 0; r < tiles; r++) {
        const ptrdiff_t row = r * rows / tiles;
        const ptrdiff_t m = (r + 1) * rows / tiles - row;
        const ptrdiff_t chunks = ceil_div(vectors, min_of(TILE_VECTORS, TILE_SUMS / m));
        tile.a = a + row;
        tile.c = c + row;
        tile.ahead_step = ahead_size / (tiles * chunks * panels->K);
        for (ptrdiff_t q = 0; q < chunks; q++) {
            const ptrdiff_t j = q * vectors / chunks;
            tile.w = product->pack + panel_data(panels, p) + j * VEC_LANES;
            tile.at = panels->at + j;
            tile_any(&tile, (int)m, (int)((q + 1) * vectors / chunks - j));
            tile.ahead += tile.ahead_step * panels->K;
        }
    }
}

#endif
