/* A layer that looks at a memory in each step: the attention of a recurrent decoder.
 *
 * Letters besides those of exactrnn.h: S places of the memory, M its width, K that of a
 * key (A units of an additive attention, else H), Q rows of the product with the query:
 * those of W, if the attention is additive, and the selector's w, if there is one. Sp
 * is S padded to XR_UNIT_PAD.
 */
#ifndef XR_LOOK_H
#define XR_LOOK_H

#include "base/calls.h"

enum xr_score { XR_ADDITIVE, XR_GENERAL, XR_DOT };

/* Which state asks: that before the step, whose gates then see the context, or that
 * after it. */
enum xr_query { XR_PREVIOUS, XR_NEW };

struct xr_attention_form {
    enum xr_score score;
    enum xr_query query;
    int selector; /* the context is multiplied by a number of its own */
    ptrdiff_t H, M, K, Q;
};

/* Contiguous, NULL where there are none: [W; w] [Q, H] and a bias [Q] for each row; U
 * [K, M] but for dot products; its bias [K] and v [K] of an additive attention. */
struct xr_attention_weights {
    const void *query, *query_bias, *memory, *memory_bias, *score;
};

struct xr_attention_gradients {
    void *query, *query_bias, *memory, *memory_bias, *score;
};

/* What a problem of one direction and no modules has besides. With the query
 * XR_PREVIOUS the layer's input is x and behind it the context: the call writes that
 * part of problem->x, and dx is the gradient of x alone, [T, B, I - M], of the steps
 * there are. */
struct xr_attention {
    struct xr_attention_form form;
    const void *packed; /* by xr_pack_attention */
    ptrdiff_t S;
    struct xr_sequence memory;     /* [S, B, M] */
    const int64_t *memory_lengths; /* [B], 0..S each, or NULL: all S */
    void *keys;                    /* [B, K, Sp]: of the memory, read by backward too */
    int has_keys;                  /* made before, or to be made by forward */
    int from_end; /* forward walks its panels from the last one on at even steps, not
                   * at odd ones: a stream does so in turns, to begin with those that
                   * its step before has left in the caches */

    /* Written by forward and read by backward, but for steps that a row lacks. */
    struct xr_sequence context; /* [T, B, M], as it goes on */
    void *alpha;                /* [T, B, S] */
    void *queries;              /* [T, B, Qp], Q padded as S; with a cache */
    void *sums;                 /* [T, B, M] contexts before the selector; likewise */

    const void *dalpha;               /* [T, B, S] or NULL: zeros */
    struct xr_sequence dcontext;      /* [T, B, M]; data NULL: zeros */
    struct xr_sequence dmemory;       /* [S, B, M], zeroed by the caller */
    struct xr_attention_gradients dw; /* added to, if the layer's are wanted */
};

size_t xr_attention_packed_bytes(const struct xr_engine *engine,
                                 const struct xr_attention_form *form);
void xr_pack_attention(const struct xr_engine *engine,
                       const struct xr_attention_form *form,
                       const struct xr_attention_weights *weights, void *packed,
                       struct xr_stop *stop);

#endif
