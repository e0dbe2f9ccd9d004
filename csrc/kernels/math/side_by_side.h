/* Chains of several products at once, for a single row of modules that are narrow.
 *
 * A chain waits for the last multiply-add at every k, and a module of 16 units is one
 * vector, hence one chain. Modules that take part in the same step know nothing of each
 * other, so their chains run side by side in registers. They are of unequal length:
 * when one ends, all sums go back to memory, which rounds nothing, and the others go
 * on.
 */
#ifndef XR_SIDE_BY_SIDE_H
#define XR_SIDE_BY_SIDE_H

#include "kernels/math/products.h"

enum { SIDE_CHAINS = 4, SIDE_VECTORS = STRIP < 2 ? STRIP : 2 };

/* A chain of some vectors: the rest of the operand's segments, from `a` on, of which
 * `left` elements are in this one. */
struct side_chain {
    const elem *row, *a, *w;
    elem *c;
    const struct segment *segment;
    ptrdiff_t segments, left;
};

static void enter_segment(struct side_chain *chain)
{
    if (chain->segments > 0) {
        chain->a = chain->row + chain->segment->at;
        chain->left = chain->segment->length;
    }
}

/* Returns how many chains of `*vectors` each some panels come to: 0 where they are more
 * than one panel, or its strips are too wide or unequal. */
static int count_sides(const struct panels *panels, ptrdiff_t *vectors)
{
    const ptrdiff_t all = panels->vectors;
    const int strips = STRIP <= 2 && all == 2 * SIDE_VECTORS ? 2 : 1;
    *vectors = all / strips;
    const int is_narrow = panels->count == 1 && panels->sums == 1;
    return is_narrow && *vectors <= SIDE_VECTORS ? strips : 0;
}

/* Begins the chain of so many vectors that is a strip of a product. */
static struct side_chain begin_side(const struct product *product, int strip,
                                    ptrdiff_t vectors, const elem *row, elem *c)
{
    const struct panels *panels = product->panels;
    const ptrdiff_t k = strip * panels->K + product->operand.k;
    struct side_chain chain = {
        .row = row,
        .w = product->pack + panel_data(panels, 0) + k * vectors * VEC_LANES,
        .c = c + panels->unit + panels->at[strip * vectors],
        .segment = product->operand.segment,
        .segments = product->operand.count,
    };
    enter_segment(&chain);
    return chain;
}

/* Takes chains on until one of them ends. */
XR_INLINE void run_sides(struct side_chain *chain, const int count, const int n)
{
    vec s[SIDE_CHAINS][SIDE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < count * n; i++) {
        s[i / n][i % n] = vec_load(chain[i / n].c + i % n * VEC_LANES);
    }
    for (int ends = 0; !ends;) {
        ptrdiff_t length = chain[0].left;
        for (int i = 1; i < count; i++) {
            length = min_of(length, chain[i].left);
        }
        for (ptrdiff_t k = 0; k < length; k++) {
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) {
                const vec left = vec_set(chain[i].a[k]);
                const elem *w = chain[i].w + k * n * VEC_LANES;
#pragma GCC unroll 2
                for (int j = 0; j < n; j++) {
                    s[i][j] = vec_fma(left, vec_load(w + j * VEC_LANES), s[i][j]);
                }
            }
        }
        for (int i = 0; i < count; i++) {
            chain[i].a += length;
            chain[i].w += length * n * VEC_LANES;
            chain[i].left -= length;
            if (chain[i].left == 0) {
                chain[i].segment++;
                chain[i].segments--;
                enter_segment(&chain[i]);
            }
            ends |= chain[i].segments == 0;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count * n; i++) {
        vec_store(chain[i / n].c + i % n * VEC_LANES, s[i / n][i % n]);
    }
}

static void run_some_sides(struct side_chain *chain, int count, ptrdiff_t vectors)
{
    switch (2 * count + (vectors > 1)) {
    case 2: run_sides(chain, 1, 1); return;
    case 3: run_sides(chain, 1, SIDE_VECTORS); return;
    case 4: run_sides(chain, 2, 1); return;
    case 5: run_sides(chain, 2, SIDE_VECTORS); return;
    case 6: run_sides(chain, 3, 1); return;
    case 7: run_sides(chain, 3, SIDE_VECTORS); return;
    case 8: run_sides(chain, 4, 1); return;
    case 9: run_sides(chain, 4, SIDE_VECTORS); return;
    }
}

/* Takes up to SIDE_CHAINS chains of so many vectors each to their ends. */
static void run_side_by_side(struct side_chain *chain, int count, ptrdiff_t vectors)
{
    while (count > 0) {
        run_some_sides(chain, count, vectors);
        int open = 0;
        for (int i = 0; i < count; i++) {
            if (chain[i].segments > 0) {
                chain[open++] = chain[i];
            }
        }
        count = open;
    }
}

#endif
