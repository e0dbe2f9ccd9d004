/* The tables of kernels that each (instruction set, dtype) fills, around the layers,
 * and the look-up. As the library itself calls them: nothing is checked, and structs
 * need no `struct_size`. kernels/ has the code, base/dispatch.c the look-up.
 */
#ifndef XR_TABLES_H
#define XR_TABLES_H

#include "base/calls.h"
#include "exactrnn/ctc.h"
#include "exactrnn/dense.h"
#include "exactrnn/grid.h"
#include "exactrnn/update.h"

struct xr_dense {
    size_t (*linear_scratch)(const struct xr_linear *problem);
    void (*linear_forward)(const struct xr_linear *problem);
    void (*linear_backward)(const struct xr_linear *problem);
    size_t (*softmax_scratch)(const struct xr_softmax *problem);
    void (*softmax)(const struct xr_softmax *problem);
    size_t (*embedding_scratch)(const struct xr_embedding *problem);
    void (*embedding_backward)(const struct xr_embedding *problem);
    /* *total = long sum that starts at *total, of x or, with `squares`, of x*x. */
    void (*long_sum)(const void *x, ptrdiff_t n, int squares, void *total,
                     struct xr_stop *stop);
};

struct xr_ctc_kernels {
    size_t (*scratch)(const struct xr_ctc *problem);
    void (*loss)(const struct xr_ctc *problem);
};

struct xr_updates {
    void (*scale)(const struct xr_update *update);
    void (*sgd)(const struct xr_update *update);
    void (*adam)(const struct xr_update *update);
    void (*rmsprop)(const struct xr_update *update);
};

struct xr_grid {
    /* One dimension of one set: w [G*H, N*H] and b [G*H] or NULL, rows i f g o (G = 4)
     * or α's alone (G = 1), columns h_1 ... h_N. */
    size_t (*packed_bytes)(const struct xr_grid_block *block, int k, int backward);
    void (*pack)(const struct xr_grid_block *block, int k, const void *w, const void *b,
                 void *packed, struct xr_stop *stop);
    void (*pack_backward)(const struct xr_grid_block *block, int k, const void *w,
                          void *packed, struct xr_stop *stop);
    /* The side of dimension k: w [S*H, I] and b [S*H] or NULL, rows h, then m where
     * there is memory (S = 2, else 1). */
    size_t (*side_bytes)(const struct xr_grid_block *block, int k, int backward);
    void (*pack_side)(const struct xr_grid_block *block, int k, const void *w,
                      const void *b, void *packed, struct xr_stop *stop);
    void (*pack_side_backward)(const struct xr_grid_block *block, int k, const void *w,
                               void *packed, struct xr_stop *stop);
    struct xr_grid_cache (*cache_layout)(const struct xr_grid_problem *problem);
    size_t (*scratch_bytes)(const struct xr_grid_problem *problem, int backward);
    void (*forward)(const struct xr_grid_problem *problem);
    void (*backward)(const struct xr_grid_problem *problem);
};

/* NULL where the name is unknown or this machine cannot run it. */
const struct xr_dense *xr_find_dense(const char *isa, enum xr_dtype dtype);
const struct xr_ctc_kernels *xr_find_ctc(const char *isa, enum xr_dtype dtype);
const struct xr_updates *xr_find_updates(const char *isa, enum xr_dtype dtype);
const struct xr_grid *xr_find_grid(const char *isa, enum xr_dtype dtype);

#endif
