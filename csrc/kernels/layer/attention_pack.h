/* The weights of an attention (base/attention.h), packed:
 *
 *     header | bias of the query's rows [Qp] | v [Kp] | bias of U [Kp] |
 *     panels of [W; w] | of it transposed | of U | of it transposed
 *
 * A bias that is not there is a row of zeros.
 */
#ifndef XR_ATTENTION_PACK_H
#define XR_ATTENTION_PACK_H

#include "base/arena.h"
#include "base/attention.h"
#include "kernels/math/panels.h"

/* Offsets count elements from its start. */
struct attention_pack {
    ptrdiff_t query_bias, score, memory_bias;
    struct panels query, query_back, memory, memory_back;
};

/* Takes the place of a matrix, if it has elements. */
static void lay_matrix(struct arena *arena, struct panels *panels, ptrdiff_t K,
                       ptrdiff_t units)
{
    *panels = (struct panels){.K = K, .vectors = ceil_div(units, VEC_LANES), .sums = 1};
    if (K > 0 && units > 0) {
        const ptrdiff_t at = (ptrdiff_t)(arena->used / sizeof(elem));
        const ptrdiff_t end = place_panels(panels, BACKWARD_VECTORS, 0, at);
        arena_take(arena, end - at, sizeof(elem));
    }
}

static ptrdiff_t lay_row(struct arena *arena, ptrdiff_t units)
{
    const ptrdiff_t at = (ptrdiff_t)(arena->used / sizeof(elem));
    arena_take(arena, pad_units(units), sizeof(elem));
    return at;
}

/* Says where everything lies and returns the bytes. */
static size_t lay_attention(const struct xr_attention_form *form,
                            struct attention_pack *pack)
{
    struct arena arena = {0};
    arena_take(&arena, 1, sizeof *pack);
    pack->query_bias = lay_row(&arena, form->Q);
    pack->score = lay_row(&arena, form->K);
    pack->memory_bias = lay_row(&arena, form->K);
    lay_matrix(&arena, &pack->query, form->H, form->Q);
    lay_matrix(&arena, &pack->query_back, form->Q, form->H);
    const ptrdiff_t keys = form->score == XR_DOT ? 0 : form->K;
    lay_matrix(&arena, &pack->memory, form->M, keys);
    lay_matrix(&arena, &pack->memory_back, keys, form->M);
    return arena.used;
}

static void pack_row(elem *to, const void *from, ptrdiff_t units)
{
    if (from != NULL) {
        memcpy(to, from, (size_t)units * sizeof(elem));
    }
}

static void pack_both_ways(elem *pack, const struct panels *panels,
                           const struct panels *back, const struct matrix_part *part,
                           struct xr_watch *watch)
{
    if (part->first != NULL) {
        pack_units(pack, panels, 0, 0, part, watch);
        pack_columns(pack, back, 0, part, watch);
    }
}

/* Packs into zeroed memory. */
static void pack_attention(const struct xr_attention_form *form,
                           const struct xr_attention_weights *weights, void *memory,
                           struct xr_watch *watch)
{
    struct attention_pack *pack = memory;
    elem *elements = memory;
    lay_attention(form, pack);
    pack_row(elements + pack->query_bias, weights->query_bias, form->Q);
    pack_row(elements + pack->score, weights->score, form->K);
    pack_row(elements + pack->memory_bias, weights->memory_bias, form->K);
    const struct matrix_part query = {weights->query, form->H, form->Q, form->H};
    const struct matrix_part keys = {weights->memory, form->M, form->K, form->M};
    pack_both_ways(elements, &pack->query, &pack->query_back, &query, watch);
    pack_both_ways(elements, &pack->memory, &pack->memory_back, &keys, watch);
}

#endif
