/* Grid LSTM: N. Kalchbrenner, I. Danihelka, A. Graves, Grid Long Short-Term Memory,
 * ICLR 2016, arXiv 1507.01526. library/grids.c checks, kernels/grid/grid.c has the
 * code, and src/exactrnn/reference/grid.py is the twin.
 *
 * A grid of N dimensions has a block at every point. Along each dimension k a block
 * takes (h_k, m_k) from the point before, or from the border, and hands on h'_k, m'_k:
 *
 *     Hc = [h_1; ...; h_N]            a_ = W_k_ Hc + b_k_,   _ in i f g o
 *     i = σ(ai)   f = σ(af)   g = tanh(ag)   o = σ(ao)
 *     m'_k = f * m_k + i * g          h'_k = tanh(o * m'_k)  or  o * tanh(m'_k)
 *
 * (the paper's u is our i). A dimension without memory has h'_k = α(W_k Hc + b_k).
 * Dimensions of phase 0 all read the h that came in; those of phase 1, 2, ..., the
 * priority dimensions, come after them in this order, and read h'_j instead of h_j
 * wherever phase j is less than their own.
 *
 * Where an input x enters at the near side of dimension k, a linear map of it is the
 * near border: h_k = W_h x + b_h and, where there is memory, m_k = W_m x + b_m.
 *
 * Letters: N dimensions, H units, B batch rows, P points in lexicographic order, the
 * last coordinate fastest. A line of dimension k is the points that differ in
 * coordinate k alone; lines are numbered as the points of the grid without dimension k.
 * A set is the weights of a block, one set for all points or several: see `set_step`.
 *
 * As in exactrnn.h nothing allocates; arrays are contiguous in storage order.
 */
#ifndef XR_GRID_H
#define XR_GRID_H

#include "exactrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { XR_GRID_DIMS = 6 };

struct xr_grid_block {
    size_t struct_size;
    int N;
    int memory[XR_GRID_DIMS];
    struct xr_nonlinearity activation[XR_GRID_DIMS]; /* α, without memory */
    int phase[XR_GRID_DIMS]; /* 0, or a number of its own from 1 on without gaps */
    int tanh_outside;        /* h' = tanh(o * m') instead of o * tanh(m') */
    ptrdiff_t H;
    ptrdiff_t inputs[XR_GRID_DIMS]; /* I, values of the input at the near side of each
                                     * dimension; 0 where none enters */
};

/* The input at the near side of a dimension, in one call. On lines that a row does not
 * have x is not read, and dx is +0.0. Gradients are for backward, which adds to dw and
 * db and reads x as forward did. */
struct xr_grid_side {
    const void *x; /* [lines of the dimension, B, I]; NULL: none enters */
    const void *packed, *packed_backward; /* by pack_side and pack_side_backward */
    void *dx;
    void *dw, *db; /* as w and b of pack_side; db may be NULL */
};

/* One call. `forward` reads h and m, writes h_out and m_out and (if not NULL) cache;
 * `backward` reads dh, dm, cache, writes dh_out and dm_out, and adds to dw and db. */
struct xr_grid_problem {
    size_t struct_size;
    const struct xr_grid_block *block;
    int threads;
    ptrdiff_t size[XR_GRID_DIMS], B;
    const int64_t *lengths; /* [B, N], 0..size each, or NULL: row b has the points whose
                             * coordinates all lie below its lengths */

    /* Point p has the weights of set sum over k of p_k * set_step[k]. */
    ptrdiff_t sets, set_step[XR_GRID_DIMS];
    const void *const *packed;          /* [sets, N], by pack; may be equal */
    const void *const *packed_backward; /* [sets, N], by pack_backward */

    /* [lines of dimension k, B, H]; m is NULL where there is no memory. At the near
     * borders NULL is zeros; where an input enters they are not read. */
    const void *h[XR_GRID_DIMS], *m[XR_GRID_DIMS];
    struct xr_grid_side side[XR_GRID_DIMS];
    void *h_out[XR_GRID_DIMS], *m_out[XR_GRID_DIMS]; /* NULL: not wanted */
    void *cache; /* cache_layout().bytes; NULL: inference */

    const void *dh[XR_GRID_DIMS], *dm[XR_GRID_DIMS];   /* of h_out and m_out */
    void *dh_out[XR_GRID_DIMS], *dm_out[XR_GRID_DIMS]; /* NULL: not wanted */
    void *const *dw; /* [sets, N], each as w of pack; may be equal: sets one after the
                      * other, of a set dimension after dimension */
    void *const *db; /* likewise as b, of which any may be NULL */

    void *scratch;        /* scratch_bytes */
    struct xr_stop *stop; /* NULL: the call cannot be ended */
};

/* Where things lie in the cache, in elements. Hp is H padded to XR_UNIT_PAD. */
struct xr_grid_cache {
    ptrdiff_t Hp;
    ptrdiff_t h[XR_GRID_DIMS], m[XR_GRID_DIMS]; /* [size + 1, lines, B, Hp]: the near
                                                 * border, then the points in turn */
    ptrdiff_t gates[XR_GRID_DIMS]; /* [P, B, 4, Hp] where there is memory */
    size_t bytes;
};

/* Packing one dimension of one set: w [G*H, N*H] and b [G*H] or NULL, rows i f g o
 * (G = 4) or α's alone (G = 1), columns h_1 ... h_N. By an engine of xr_find_engine. */
XR_API enum xr_status xr_grid_packed_bytes(const struct xr_engine *engine,
                                           const struct xr_grid_block *block, int k,
                                           int backward, size_t *bytes);
XR_API enum xr_status xr_grid_pack(const struct xr_engine *engine,
                                   const struct xr_grid_block *block, int k,
                                   const void *w, const void *b, void *packed,
                                   struct xr_stop *stop);
XR_API enum xr_status xr_grid_pack_backward(const struct xr_engine *engine,
                                            const struct xr_grid_block *block, int k,
                                            const void *w, void *packed,
                                            struct xr_stop *stop);

/* The side of dimension k: w [S*H, I] and b [S*H] or NULL, rows h, then m where there
 * is memory (S = 2, else 1). */
XR_API enum xr_status xr_grid_side_bytes(const struct xr_engine *engine,
                                         const struct xr_grid_block *block, int k,
                                         int backward, size_t *bytes);
XR_API enum xr_status xr_grid_pack_side(const struct xr_engine *engine,
                                        const struct xr_grid_block *block, int k,
                                        const void *w, const void *b, void *packed,
                                        struct xr_stop *stop);
XR_API enum xr_status xr_grid_pack_side_backward(const struct xr_engine *engine,
                                                 const struct xr_grid_block *block,
                                                 int k, const void *w, void *packed,
                                                 struct xr_stop *stop);

/* Of `problem` its block, threads, sizes and sets are read alone. */
XR_API enum xr_status xr_grid_cache_layout(const struct xr_engine *engine,
                                           const struct xr_grid_problem *problem,
                                           struct xr_grid_cache *layout);
XR_API enum xr_status xr_grid_scratch(const struct xr_engine *engine,
                                      const struct xr_grid_problem *problem,
                                      int backward, size_t *bytes);
XR_API enum xr_status xr_grid_forward(const struct xr_engine *engine,
                                      const struct xr_grid_problem *problem);
XR_API enum xr_status xr_grid_backward(const struct xr_engine *engine,
                                       const struct xr_grid_problem *problem);

#ifdef __cplusplus
}
#endif

#endif
