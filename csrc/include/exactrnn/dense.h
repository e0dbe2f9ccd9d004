/* What training needs around the cells: linear layers, the softmax cross-entropy, the
 * gradient of an embedding, long sums. library/dense.c checks, kernels/math/dense.c has
 * the code, and src/exactrnn/reference/dense.py is the twin.
 *
 * As in exactrnn.h nothing allocates: `scratch` is as many bytes as the function's
 * companion says, aligned to XR_ALIGNMENT, and arrays are contiguous in storage order.
 * `stop` may be NULL; of a call that was ended every output is undefined.
 * Letters: N rows, K inputs, O outputs, V classes or symbols, E width of an embedding.
 */
#ifndef XR_DENSE_H
#define XR_DENSE_H

#include "exactrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x W^T + b over N rows. Forward reads x, w, b and writes y; backward reads x, w
 * and dy, writes dx where it is not NULL, adds to dw and, where it is not NULL, db. */
struct xr_linear {
    size_t struct_size;
    ptrdiff_t N, K, O;
    const void *x;  /* [N, K] */
    const void *w;  /* [O, K] */
    const void *b;  /* [O] or NULL: sums start at +0.0 */
    const void *dy; /* [N, O] */
    void *y;        /* [N, O] */
    void *dx;       /* [N, K] or NULL */
    void *dw;       /* [O, K] */
    void *db;       /* [O] or NULL */
    int threads;
    void *scratch; /* xr_linear_scratch */
    struct xr_stop *stop;
};

/* The loss of each row and, where dlogits is not NULL, its gradient times `scale`. */
struct xr_softmax {
    size_t struct_size;
    ptrdiff_t N, V;        /* V >= 1 */
    const void *logits;    /* [N, V] */
    const int64_t *target; /* [N], 0..V-1; -1: loss and gradient are +0.0 */
    double scale;          /* a value of the dtype */
    void *loss;            /* [N] */
    void *dlogits;         /* [N, V] or NULL; may be logits */
    int threads;
    void *scratch; /* xr_softmax_scratch */
    struct xr_stop *stop;
};

/* Adds to row v of dw the long sum of the rows of dy whose index is v. */
struct xr_embedding {
    size_t struct_size;
    ptrdiff_t N, V, E;
    const int64_t *index; /* [N], 0..V-1 */
    const void *dy;       /* [N, E] */
    void *dw;             /* [V, E] */
    int threads;
    void *scratch; /* xr_embedding_scratch */
    struct xr_stop *stop;
};

/* The bytes of scratch, and the call, by an engine of xr_find_engine. */
XR_API enum xr_status xr_linear_scratch(const struct xr_engine *engine,
                                        const struct xr_linear *problem, size_t *bytes);
XR_API enum xr_status xr_linear_forward(const struct xr_engine *engine,
                                        const struct xr_linear *problem);
XR_API enum xr_status xr_linear_backward(const struct xr_engine *engine,
                                         const struct xr_linear *problem);
XR_API enum xr_status xr_softmax_scratch(const struct xr_engine *engine,
                                         const struct xr_softmax *problem,
                                         size_t *bytes);
XR_API enum xr_status xr_softmax_loss(const struct xr_engine *engine,
                                      const struct xr_softmax *problem);
XR_API enum xr_status xr_embedding_scratch(const struct xr_engine *engine,
                                           const struct xr_embedding *problem,
                                           size_t *bytes);
XR_API enum xr_status xr_embedding_backward(const struct xr_engine *engine,
                                            const struct xr_embedding *problem);

/* *total = long sum that starts at *total, of x or, with `squares`, of x*x. */
XR_API enum xr_status xr_long_sum(const struct xr_engine *engine, const void *x,
                                  ptrdiff_t n, int squares, void *total,
                                  struct xr_stop *stop);

#ifdef __cplusplus
}
#endif

#endif
