/* exactrnn: recurrent cells for the CPU, the same bits on every instruction set, thread
 * count and batch size. The public C interface, and the only header that Cython reads.
 *
 * One call works on one layer in one or two directions. Letters: T time steps, B batch
 * rows, I inputs, H hidden units, G gates (row blocks of the weight matrices), D
 * directions (0 forward, 1 reverse). Arrays hold elements of the layer's dtype.
 *
 * Nothing here allocates: the caller asks for sizes and brings the memory, which need
 * not be aligned beyond its element, but for `packed`, `cache` and `scratch` (64
 * bytes). No pointer is kept after a call. Calls may run at once in several threads of
 * the caller's as long as they do not share what they write.
 */
#ifndef EXACTRNN_H
#define EXACTRNN_H

#include <stddef.h>
#include <stdint.h>

#define XR_NUMERICS_VERSION 1
#define XR_ALIGNMENT 64
#define XR_UNIT_BLOCK 16 /* internal rows of units are padded to a multiple of this */

enum { XR_MAX_STATES = 4, XR_MAX_SUMS = 8, XR_MAX_STAGES = 2, XR_MAX_DIRECTIONS = 2 };

enum xr_dtype { XR_F32, XR_F64, XR_DTYPES };

enum xr_activation { XR_TANH, XR_RELU, XR_SIGMOID, XR_ACTIVATIONS };

/* A pre-activation of a cell: which row block of W [G*H, I] and of R [G*H, H] it sums,
 * -1 for none, and the stage in which its recurrent product is taken. Stage 0
 * multiplies R with h_prev, stage 1 with the operand that stage 0 has made. */
struct xr_sum {
    const char *name;
    int w, r, stage;
};

/* What a cell is, the same on every instruction set. The order of `sum` is the order in
 * which the values of a step lie in the cache. State 0 is h, the output. */
struct xr_cell_info {
    const char *name;
    int gates, states, sums, stages;
    int keeps_sums; /* backward needs the values that lie in the places of the sums */
    struct xr_sum sum[XR_MAX_SUMS];
};

struct xr_engine;

/* A layer in one direction, without its weights. */
struct xr_layer {
    const struct xr_engine *engine; /* instruction set and dtype: xr_find_engine */
    int cell;                       /* index into xr_cell_at */
    ptrdiff_t I, H;
    enum xr_activation activation[3];
};

/* Weights or their gradients: W [G*H, I], R [G*H, H], b_ih and b_hh [G*H] or NULL, each
 * contiguous. */
struct xr_weights {
    const void *w_ih, *w_hh, *b_ih, *b_hh;
};

struct xr_gradients {
    void *w_ih, *w_hh, *b_ih, *b_hh;
};

/* Time-major with any strides, counted in elements; the last axis is contiguous. */
struct xr_sequence {
    void *data;
    ptrdiff_t step, row; /* from t to t+1, from b to b+1 */
};

/* One call. `forward` reads x and state, writes y, state_out and (if not NULL) cache;
 * `backward` reads x, dy, dstate and cache, writes dx and dstate_out, and adds to dw.
 * States are [D, B, H], contiguous; NULL stands for zeros. state_out may be state. */
struct xr_problem {
    const struct xr_layer *layer;
    int directions, threads;
    ptrdiff_t T, B;
    const int64_t *lengths;                         /* [B], 0..T each, or NULL: all T */
    const void *packed[XR_MAX_DIRECTIONS];          /* by xr_pack */
    const void *packed_backward[XR_MAX_DIRECTIONS]; /* by xr_pack_backward */
    struct xr_sequence x;                           /* [T, B, I] */

    struct xr_sequence y; /* [T, B, D*H] */
    const void *state[XR_MAX_STATES];
    void *state_out[XR_MAX_STATES];
    void *cache; /* xr_cache_layout().bytes; NULL: inference */

    struct xr_sequence dy; /* [T, B, D*H]; data NULL: zeros */
    const void *dstate[XR_MAX_STATES];
    struct xr_sequence dx; /* [T, B, I] */
    void *dstate_out[XR_MAX_STATES];
    struct xr_gradients dw[XR_MAX_DIRECTIONS];

    void *scratch; /* xr_scratch_bytes */
};

/* Where things lie in the cache of one direction, in elements; direction d starts at
 * d * direction. Hp is H padded to XR_UNIT_BLOCK. */
struct xr_cache_layout {
    ptrdiff_t Hp;
    ptrdiff_t sums;                 /* [T, B, S, Hp] if the cell keeps them */
    ptrdiff_t state[XR_MAX_STATES]; /* [T + 1, B, Hp] each; the initial ones are last */
    ptrdiff_t operand;              /* [T, B, Hp] for two-stage cells */
    ptrdiff_t direction;
    size_t bytes; /* of all directions */
};

/* Cells: NULL past the last. Instruction sets that this machine runs, best first. */
const struct xr_cell_info *xr_cell_at(int index);
const char *xr_isa_at(int index);
/* NULL where the name is unknown or this machine cannot run it. */
const struct xr_engine *xr_find_engine(const char *isa, enum xr_dtype dtype);

size_t xr_packed_bytes(const struct xr_layer *layer);
size_t xr_packed_backward_bytes(const struct xr_layer *layer);
void xr_pack(const struct xr_layer *layer, const struct xr_weights *weights,
             void *packed);
void xr_pack_backward(const struct xr_layer *layer, const struct xr_weights *weights,
                      void *packed);

struct xr_cache_layout xr_cache_layout(const struct xr_problem *problem);
size_t xr_scratch_bytes(const struct xr_problem *problem, int backward);
void xr_forward(const struct xr_problem *problem);
void xr_backward(const struct xr_problem *problem);

/* n elements through one elementary function of the library, for tests and for building
 * on. XR_FMA reads three arrays, the others the first. */
enum xr_function { XR_EXP, XR_LOG, XR_TANH_OF, XR_SIGMOID_OF, XR_FLUSH, XR_FMA };
void xr_elementary(const struct xr_engine *engine, enum xr_function function,
                   const void *const in[3], void *out, ptrdiff_t n);

/* Threads: what OpenMP would give the calling thread, and a wish for it. */
int xr_max_threads(void);
void xr_set_threads(int threads);

/* Multiplications that make another thread worth its cost: of a whole call, and of a
 * step whose units are split, which then needs a barrier. The defaults were measured;
 * tests set 0 to see every split. Not to be changed while a call runs. */
struct xr_thread_work {
    ptrdiff_t call, step;
};
extern struct xr_thread_work xr_thread_work;

#endif
