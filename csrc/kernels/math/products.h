/* Sums of products (contract N3): one accumulator per output, k ascending.
 *
 * A product makes rows of results from rows of a left operand and a packed matrix:
 *
 *     c[row][slot, unit] = chain(start; k ascending; a[row][k] * M[slot, unit][k])
 *
 * Vectors run along units. The matrix is packed in panels (panels.h), so that one panel
 * yields all sums of the same units and a pass over k reads memory in order.
 *
 * Rows are given by pointers: any time order, any strides, any subset of a batch.
 * A tile of m rows x n vectors keeps m*n accumulators: 8 rows pass one strip, a single
 * row all strips of a panel side by side, to hide the fma's latency. Which m and n is
 * used cannot show in the bits.
 *
 * With 16 registers a strip is two vectors. Four rows would keep eight accumulators a
 * strip, just as many as the latency asks for, so three strips are halved for them.
 *
 * Measured on AVX-512 (LSTM, T, B, H = 50, 64, 512, forward and back): panels without
 * strips, of which a tile reads 3 vectors of 8, took 14 % longer. A single row is bound
 * by the L2 from H = 128 on; fetching ahead by hand changed nothing there.
 * Twin: chain in src/exactrnn/reference/arith.py.
 */
#ifndef XR_PRODUCTS_H
#define XR_PRODUCTS_H

#include "kernels/math/elementary.h"
#include "kernels/math/panels.h"

enum {
    TILE_SUMS = VEC_REGISTERS == 32 ? 24 : 12, /* accumulators of a tile */
    TILE_ROWS = TILE_SUMS / STRIP,
    TILE_STRIPS = PANEL_VECTORS / STRIP,
    MAX_LEGS = 2,  /* products that a tile's chains go through */
    PAIR_ROWS = 3, /* rows that such tiles have at least: fewer gain nothing by it */
    HALF = 3,      /* vectors of half of three strips */
    HALF_ROWS = 4  /* rows of tiles that take them, and one fewer */
};

/* The left operand of a product: segments of each row, one after the other, so
 * that k walks over gates or units that lie apart. They meet the rows of the matrix
 * from `k` on. */
struct segment {
    ptrdiff_t at, length;
};

struct operand {
    ptrdiff_t count;
    const struct segment *segment;
    ptrdiff_t k;
};

/* A part of a tile's chains: rows times a matrix. */
struct leg {
    const elem *const *a; /* [tiles * m] rows */
    const struct operand *operand;
    const elem *w; /* its first strip; others follow `strip` elements apart */
    ptrdiff_t strip;
    const elem *ahead;    /* weights to be had in the L2 soon: `ahead_step` … */
    ptrdiff_t ahead_tile; /* … of them with each k, so many with each tile */
};

/* A tile, and others below it: so many times m rows, which take the same vectors. */
struct tile {
    struct leg leg[MAX_LEGS];
    ptrdiff_t ahead_step;
    ptrdiff_t tiles;
    elem *const *c;      /* [tiles * m] rows */
    ptrdiff_t unit;      /* first unit of the panel */
    const ptrdiff_t *at; /* [n] where the vectors lie in a row of c, from `unit` on */
    const elem *const *from; /* [tiles * m] rows that the chains start from, if not … */
    const elem *start;       /* … from this one, all of them */
    int flush;               /* store by contract N6 */
};

/* The vectors that strip q has of n: the last strip may be narrower. */
XR_INLINE ptrdiff_t strip_width(const int n, const int q)
{
    return n - q * STRIP < STRIP ? n - q * STRIP : STRIP;
}

/* The chains of m rows and n vectors take `legs` legs, one after the other; then those
 * of the next m rows do. The tiles are one loop, and nothing is looked up between the
 * stores of one: what is done between chains, while a processor still works on the last
 * ones, is 2 to 6 % of the time. */
XR_INLINE void tile_run(const struct tile *t, const int m, const int n, const int legs)
{
    const int flush = t->flush;
    const elem *ahead[MAX_LEGS];
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        ahead[l] = t->leg[l].ahead;
    }
    for (ptrdiff_t r = 0; r < t->tiles * m; r += m) {
        vec s[TILE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            const elem *start = (t->start ? t->start : t->from[r + i]) + t->unit;
#pragma GCC unroll 12
            for (int j = 0; j < n; j++) {
                s[i][j] = vec_load(start + t->at[j]);
            }
        }
#pragma GCC unroll 2
        for (int l = 0; l < legs; l++) {
            const struct leg *leg = &t->leg[l];
            const elem *w[TILE_STRIPS];
#pragma GCC unroll 6
            for (int q = 0; q * STRIP < n; q++) {
                const ptrdiff_t k = leg->operand->k;
                w[q] = leg->w + q * leg->strip + k * strip_width(n, q) * VEC_LANES;
            }
            const elem *soon = ahead[l];
            ahead[l] += leg->ahead_tile;
            for (ptrdiff_t g = 0; g < leg->operand->count; g++) {
                const struct segment segment = leg->operand->segment[g];
                const elem *a[TILE_ROWS];
#pragma GCC unroll 8
                for (int i = 0; i < m; i++) {
                    a[i] = leg->a[r + i] + segment.at;
                }
                for (ptrdiff_t k = 0; k < segment.length; k++) {
                    vec row[PANEL_VECTORS];
                    if (m > 1) { /* a single row leaves no time for more loads */
                        XR_FETCH(soon);
                        soon += t->ahead_step;
                    }
#pragma GCC unroll 12
                    for (int j = 0; j < n; j++) {
                        row[j] = vec_load(w[j / STRIP] + j % STRIP * VEC_LANES);
                    }
#pragma GCC unroll 6
                    for (int q = 0; q * STRIP < n; q++) {
                        w[q] += strip_width(n, q) * VEC_LANES;
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
        }
        if (flush) {
#pragma GCC unroll 8
            for (int i = 0; i < m; i++) {
#pragma GCC unroll 12
                for (int j = 0; j < n; j++) {
                    s[i][j] = vec_flush(s[i][j]);
                }
            }
        }
        elem *c[TILE_ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            c[i] = t->c[r + i] + t->unit;
        }
#pragma GCC unroll 12
        for (int j = 0; j < n; j++) {
            const ptrdiff_t at = t->at[j];
#pragma GCC unroll 8
            for (int i = 0; i < m; i++) {
                vec_store(c[i] + at, s[i][j]);
            }
        }
    }
}

/* A tile of any size that fits into TILE_SUMS; each size is compiled on its own. */
XR_INLINE void tile_sized(const struct tile *t, int m, int n, const int legs)
{
    const int fewest = legs == 1 ? 1 : PAIR_ROWS;
#define SIZE(m, n) ((m) * (PANEL_VECTORS + 1) + (n))
#define CASE(m, n)                                                         \
    case SIZE(m, n):                                                       \
        if ((m) <= TILE_ROWS && (m) * (n) <= TILE_SUMS && (m) >= fewest) { \
            tile_run(t, m, n, legs);                                       \
        }                                                                  \
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

/* With one leg, or with two: code of its own for each, as a loop over legs takes 2 % of
 * a single row's time. */
static void tile_any(const struct tile *t, int m, int n) { tile_sized(t, m, n, 1); }

static inline void tile_pair(const struct tile *t, int m, int n)
{
    tile_sized(t, m, n, MAX_LEGS);
}

struct product {
    const struct panels *panels;
    const elem *pack; /* the pack that the panels lie in */
    struct operand operand;
    const elem *start; /* a row that every chain starts from; NULL: rows of their own */
    int flush;
};

/* Rows that products of the same sums make: a left operand for each product, and what
 * the chains start from, which may be the results themselves. */
struct product_rows {
    ptrdiff_t count;
    const elem *const *a[MAX_LEGS];
    const elem *const *from;
    elem *const *c;
};

/* Takes m rows and n vectors through a tile. */
XR_INLINE void take_tile(const struct tile *tile, int m, int n, const int legs)
{
    if (legs == 1) {
        tile_any(tile, m, n);
    } else {
        tile_pair(tile, m, n);
    }
}

/* The chains of m rows and of half of three strips of two: of both vectors of the first
 * strip and one of the second, or of the other one and both of the third. As a case of
 * tile_run, whose steps from strip to strip are its own, it took 1 to 2 % longer. */
XR_INLINE void half_run(const struct tile *t, const int m, int is_second)
{
    const struct leg *leg = &t->leg[0];
    const ptrdiff_t step = STRIP * VEC_LANES;
    const ptrdiff_t to[HALF] = {0, is_second ? leg->strip - VEC_LANES : VEC_LANES,
                                leg->strip};
    const int flush = t->flush;
    const elem *ahead = leg->ahead;
    for (ptrdiff_t r = 0; r < t->tiles * m; r += m) {
        vec s[HALF_ROWS][HALF];
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            const elem *start = (t->start ? t->start : t->from[r + i]) + t->unit;
#pragma GCC unroll 3
            for (int j = 0; j < HALF; j++) {
                s[i][j] = vec_load(start + t->at[j]);
            }
        }
        const elem *w = leg->w + leg->operand->k * step;
        const elem *soon = ahead;
        ahead += leg->ahead_tile;
        for (ptrdiff_t g = 0; g < leg->operand->count; g++) {
            const struct segment segment = leg->operand->segment[g];
            const elem *a[HALF_ROWS];
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) {
                a[i] = leg->a[r + i] + segment.at;
            }
            for (ptrdiff_t k = 0; k < segment.length; k++) {
                vec row[HALF];
                XR_FETCH(soon);
                soon += t->ahead_step;
#pragma GCC unroll 3
                for (int j = 0; j < HALF; j++) {
                    row[j] = vec_load(w + to[j]);
                }
                w += step;
#pragma GCC unroll 4
                for (int i = 0; i < m; i++) {
                    vec left = vec_set(a[i][k]);
#pragma GCC unroll 3
                    for (int j = 0; j < HALF; j++) {
                        s[i][j] = vec_fma(left, row[j], s[i][j]);
                    }
                }
            }
        }
        elem *c[HALF_ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            c[i] = t->c[r + i] + t->unit;
        }
#pragma GCC unroll 3
        for (int j = 0; j < HALF; j++) {
            const ptrdiff_t at = t->at[j];
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) {
                vec_store(c[i] + at, flush ? vec_flush(s[i][j]) : s[i][j]);
            }
        }
    }
}

static void take_half(const struct tile *tile, int m, int is_second)
{
    if (m == HALF_ROWS) {
        half_run(tile, HALF_ROWS, is_second);
    } else {
        half_run(tile, HALF_ROWS - 1, is_second);
    }
}

/* Says what the legs of a tile with n vectors fetch ahead: the vectors after them, or,
 * if they are the last ones of the panel, the first ones of panel `next`. */
XR_INLINE void place_ahead(struct tile *tile, const struct product *products,
                           const int legs, ptrdiff_t n, int is_last, ptrdiff_t next)
{
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        const struct panels *panels = products[l].panels;
        tile->leg[l].ahead = is_last ? products[l].pack + panel_data(panels, next)
                                     : tile->leg[l].w + n * panels->K * VEC_LANES;
    }
}

/* Says how much the legs of a tile fetch ahead with each k. */
XR_INLINE void step_ahead(struct tile *tile, const struct product *products,
                          const int legs, ptrdiff_t step)
{
    tile->ahead_step = step;
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        tile->leg[l].ahead_tile = step * products[l].panels->K;
    }
}

/* Rows spread evenly over tiles: the first `wider` of these have one more than `m`. */
struct spread {
    ptrdiff_t tiles, wider;
    int m;
};

XR_INLINE struct spread spread_rows(ptrdiff_t rows)
{
    const ptrdiff_t tiles = ceil_div(rows, TILE_ROWS);
    return (struct spread){tiles, rows % tiles, (int)(rows / tiles)};
}

XR_INLINE ptrdiff_t most_rows(const struct spread *spread)
{
    return spread->m + (spread->wider > 0);
}

/* Places tiles at rows: first the wider ones of a spread, then, with `narrow`, the
 * others. Returns how many rows each has. */
XR_INLINE int place_rows(struct tile *tile, const struct product_rows *rows,
                         const int legs, const struct spread *spread, int narrow)
{
    const ptrdiff_t above = narrow ? spread->wider : 0; /* tiles that have passed */
    const ptrdiff_t row = above * (spread->m + 1);
    tile->tiles = narrow ? spread->tiles - above : spread->wider;
    tile->c = rows->c + row;
    tile->from = rows->from + row;
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        tile->leg[l].a = rows->a[l] + row;
        tile->leg[l].ahead += above * tile->leg[l].ahead_tile;
    }
    return spread->m + !narrow;
}

/* All rows pass a tile with n vectors, and its legs go on to the vectors after them. */
XR_INLINE void pass_rows(struct tile *tile, const struct product *products,
                         const int legs, const struct product_rows *rows,
                         const struct spread *spread, ptrdiff_t n)
{
    for (int narrow = 0; narrow < 2; narrow++) {
        const int m = place_rows(tile, rows, legs, spread, narrow);
        if (tile->tiles > 0) take_tile(tile, m, (int)n, legs);
    }
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        tile->leg[l].w += n * products[l].panels->K * VEC_LANES;
    }
    tile->at += n;
}

/* Tells whether rows take strips by halves of three. */
XR_INLINE int takes_halves(const struct spread *spread)
{
    return STRIP == 2 && most_rows(spread) == HALF_ROWS;
}

/* All rows pass every three whole strips of `vectors`, by halves. Returns how many
 * vectors these were; the tile goes on to those after them. */
XR_INLINE ptrdiff_t pass_halves(struct tile *tile, const struct product *product,
                                const struct product_rows *rows,
                                const struct spread *spread, ptrdiff_t vectors,
                                ptrdiff_t next)
{
    const ptrdiff_t K = product->panels->K, both = 2 * HALF;
    struct leg *leg = &tile->leg[0];
    step_ahead(tile, product, 1, HALF * VEC_LANES / spread->tiles);
    for (ptrdiff_t done = 0; done < vectors / both * both; done += HALF) {
        const int is_second = done % both != 0, is_last = done + HALF == vectors;
        leg->ahead = is_last ? product->pack + panel_data(product->panels, next)
                             : leg->w + HALF * K * VEC_LANES;
        for (int narrow = 0; narrow < 2; narrow++) {
            const int m = place_rows(tile, rows, 1, spread, narrow);
            if (tile->tiles > 0) take_half(tile, m, is_second);
        }
        leg->w += leg->strip + (is_second ? leg->strip - VEC_LANES : VEC_LANES);
        tile->at += HALF;
    }
    return vectors / both * both;
}

/* One panel of products of the same sums, as legs of the same tiles, for some rows. All
 * rows pass a few strips before the next ones, which are fetched meanwhile, spread
 * evenly: weights that come from the L3 cost its whole latency otherwise. The last
 * strips of the panel fetch the first of `next`. */
XR_INLINE void take_panel(const struct product *products, const int legs, ptrdiff_t p,
                          ptrdiff_t next, const struct product_rows *rows)
{
    const struct panels *panels = products->panels;
    const ptrdiff_t first = panel_first(panels, p);
    const ptrdiff_t vectors = (panel_first(panels, p + 1) - first) * panels->sums;
    struct tile tile = {
        .c = rows->c,
        .from = rows->from,
        .tiles = 1,
        .unit = panels->unit + first * VEC_LANES,
        .at = panels->at,
        .start = products->start,
        .flush = products->flush,
    };
#pragma GCC unroll 2
    for (int l = 0; l < legs; l++) {
        const struct product *product = &products[l];
        tile.leg[l].a = rows->a[l];
        tile.leg[l].operand = &product->operand;
        tile.leg[l].w = product->pack + panel_data(product->panels, p);
        tile.leg[l].strip = STRIP * product->panels->K * VEC_LANES;
    }
    if (rows->count == 1) {
        take_tile(&tile, 1, (int)vectors, legs);
        return;
    }
    const struct spread spread = spread_rows(rows->count);
    const ptrdiff_t strips = TILE_SUMS / (most_rows(&spread) * STRIP);
    const ptrdiff_t wide = min_of(strips, TILE_STRIPS) * STRIP;
    ptrdiff_t done = 0;
    if (legs == 1 && takes_halves(&spread)) {
        done = pass_halves(&tile, products, rows, &spread, vectors, next);
    }
    step_ahead(&tile, products, legs, wide * VEC_LANES / spread.tiles);
    for (ptrdiff_t j = done; j < vectors; j += wide) {
        const ptrdiff_t n = min_of(wide, vectors - j);
        place_ahead(&tile, products, legs, n, j + n == vectors, next);
        pass_rows(&tile, products, legs, rows, &spread, n);
    }
}

/* One panel of a product for some rows, whose chains start where they say. */
static void product_from(const struct product *product, ptrdiff_t p, ptrdiff_t next,
                         const struct product_rows *rows)
{
    take_panel(product, 1, p, next, rows);
}

/* The same, from the rows of results. */
static void product_panel(const struct product *product, ptrdiff_t p, ptrdiff_t next,
                          ptrdiff_t rows, const elem *const *a, elem *const *c)
{
    const struct product_rows one = {
        .count = rows, .a = {a}, .from = (const elem *const *)c, .c = c};
    product_from(product, p, next, &one);
}

/* One panel of two products of the same sums, whose chains go on from the first product
 * to the second in registers, for PAIR_ROWS rows or more: spread evenly over tiles, as
 * they are, no tile has fewer. */
XR_INLINE void product_pair(const struct product *products, ptrdiff_t p, ptrdiff_t next,
                            const struct product_rows *rows)
{
    take_panel(products, MAX_LEGS, p, next, rows);
}

#endif
