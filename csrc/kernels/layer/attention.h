/* What looking at a memory has in common forward and back: sums over rows, keys.
 *
 * The equations stand in the twin, src/exactrnn/reference/attention.py. Vectors run
 * along whatever is independent: along the places s where a sum goes over units, along
 * units where it goes over places. So forward makes the keys of a row of the batch
 * transposed, [K][Sp], and backward turns them into rows, [S][Kp], and has the memory
 * transposed, [M][Sp]. Lanes past S or a row's own length compute what nobody reads, of
 * zeros of ours: the memory there is never read.
 */
#ifndef XR_ATTENTION_H
#define XR_ATTENTION_H

#include "kernels/layer/sequence.h"

enum {
    LOOKS_AT_ONCE = 24, /* rows of the batch whose products are taken together */
    KEYS_AT_ONCE = 16   /* places whose keys are */
};

/* Rows that lie `step` apart, each with a factor. */
struct factored_rows {
    const elem *first;
    ptrdiff_t step, count;
    const elem *factor;
};

static ptrdiff_t memory_length(const struct run *run, ptrdiff_t b)
{
    const int64_t *lengths = run->attention->memory_lengths;
    return lengths ? (ptrdiff_t)lengths[b] : run->attention->S;
}

static const struct attention_pack *attention_pack_of(const struct run *run)
{
    return run->attention->packed;
}

static const elem *packed_row(const struct run *run, ptrdiff_t at)
{
    return (const elem *)run->attention->packed + at;
}

/* Returns the query of row b at step s. */
static const elem *query_row(const struct run *run, ptrdiff_t b, ptrdiff_t s)
{
    return state_row(run, 0, 0, b, looks_after(run) ? s + 1 : s);
}

/* Writes n vectors of the chains over i ascending of factor[i] * row i, from +0.0. */
XR_INLINE void sum_vectors(elem *out, const struct factored_rows *rows, ptrdiff_t at,
                           const int n)
{
    vec s[8];
    const elem *row = rows->first + at;
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        s[j] = vec_zero();
    }
    for (ptrdiff_t i = 0; i < rows->count; i++, row += rows->step) {
        const vec factor = vec_set(rows->factor[i]);
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            s[j] = vec_fma(factor, vec_load(row + j * VEC_LANES), s[j]);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        vec_store(out + at + j * VEC_LANES, s[j]);
    }
}

/* Does so for `width` columns; whole vectors of `out` are written. */
static void sum_rows(elem *out, const struct factored_rows *rows, ptrdiff_t width)
{
    ptrdiff_t at = 0;
    for (; at + 8 * VEC_LANES <= width; at += 8 * VEC_LANES) {
        sum_vectors(out, rows, at, 8);
    }
    for (; at + 4 * VEC_LANES <= width; at += 4 * VEC_LANES) {
        sum_vectors(out, rows, at, 4);
    }
    for (; at + 2 * VEC_LANES <= width; at += 2 * VEC_LANES) {
        sum_vectors(out, rows, at, 2);
    }
    for (; at + VEC_LANES <= width; at += VEC_LANES) {
        sum_vectors(out, rows, at, 1);
    }
    if (at < width) {
        vec s = vec_zero();
        for (ptrdiff_t i = 0; i < rows->count; i++) {
            const elem *row = rows->first + i * rows->step + at;
            s = vec_fma(vec_set(rows->factor[i]), vec_load_part(row, width - at), s);
        }
        vec_store(out + at, s);
    }
}

/* Returns the chain of a[i] * b[i] from +0.0. */
static elem chain_of(const elem *a, const elem *b, ptrdiff_t count)
{
    elem s[VEC_LANES];
    vec sum = vec_zero();
    for (ptrdiff_t i = 0; i < count; i++) {
        sum = vec_fma(vec_set(a[i]), vec_set(b[i]), sum);
    }
    vec_store(s, sum);
    return s[0];
}

/* Takes rows through a matrix of the attention's; `start` as in a product. Returns
 * whether the call is to end. */
static int attention_product(const struct lane *lane, const struct panels *panels,
                             const elem *start, ptrdiff_t rows, const elem *const *a,
                             elem *const *c)
{
    const struct segment all = {0, panels->K};
    const struct product product = {
        .panels = panels,
        .pack = lane->run->attention->packed,
        .operand = {1, &all, 0},
        .start = start,
    };
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        if (watched_panel(&product, p, min_of(p + 1, panels->count - 1), rows, a, c,
                          lane->watch)) {
            return 1;
        }
    }
    return 0;
}

static elem *keys_of(const struct xr_attention *attention, ptrdiff_t b)
{
    return (elem *)attention->keys + b * attention->form.K * pad_units(attention->S);
}

#endif
