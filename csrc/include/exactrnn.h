/* exactrnn: recurrent cells for the CPU, the same bits on every instruction set, thread
 * count and batch size. The public C interface, for C11 and C++17: here layers, in
 * exactrnn/model.h models that Python saved, in the other headers grids and what stands
 * around the cells.
 *
 * One call works on one layer in one or two directions. Letters: T time steps, B batch
 * rows, I inputs, H hidden units, O width of the output (H, but for cells that
 * project), D directions (0 forward, 1 reverse). Arrays hold elements of the layer's
 * dtype.
 *
 * Nothing here allocates: the caller asks for sizes and brings the memory, which need
 * not be aligned beyond its element, but for `packed`, `cache` and `scratch` (64
 * bytes). No pointer is kept after a call. Calls may run at once in several threads of
 * the caller's as long as they do not share what they write.
 *
 * Every function that can fail returns an enum xr_status and has done nothing unless
 * that is XR_OK or XR_STOPPED; xr_message() then says which argument was wrong, what
 * was expected and what came. What no library can see is the caller's word: that
 * pointers lead to as much memory as the sizes say, and packs to what a pack function
 * wrote for this layer.
 *
 * A struct that begins with `struct_size` wants sizeof of itself there, so that a later
 * library, whose struct may be longer, can take what is missing as zeros. Structs
 * without it never change.
 */
#ifndef EXACTRNN_H
#define EXACTRNN_H

#include <stddef.h>
#include <stdint.h>

#ifndef XR_API
#define XR_API /* the library's own build makes these symbols, and no others, visible */
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define XR_VERSION_MAJOR 0
#define XR_VERSION_MINOR 1
#define XR_VERSION_PATCH 0
#define XR_NUMERICS_VERSION 1
#define XR_ALIGNMENT 64
#define XR_UNIT_PAD 16 /* internal rows of units are padded to a multiple of this */

enum {
    XR_MAX_CELLS = 4,
    XR_MAX_HEARD = 2,
    XR_MAX_STATES = 2 * XR_MAX_CELLS + XR_MAX_HEARD,
    XR_MAX_SUMS = 32,     /* of them in a step, with places for other values */
    XR_MAX_PRODUCTS = 12, /* row blocks of W, or of R */
    XR_MAX_STAGES = 6,
    XR_MAX_OPERANDS = 4,
    XR_MAX_VECTORS = 20,
    XR_MAX_LINKS = 3,
    XR_MAX_DIRECTIONS = 2
};

enum xr_status {
    XR_OK,
    XR_BAD_ARGUMENT,
    XR_BAD_FILE,    /* not a model file, damaged, or one that no model can have */
    XR_UNSUPPORTED, /* right, but not something that this function does */
    XR_CANNOT_READ, /* the system gave no file or no bytes */
    XR_NO_MEMORY,
    XR_STOPPED /* ended early, as `stop` wanted */
};

enum xr_dtype { XR_F32, XR_F64, XR_DTYPES };

enum xr_activation {
    XR_TANH,
    XR_RELU,
    XR_SIGMOID,
    XR_HARD_SIGMOID,
    XR_SOFTSIGN,
    XR_IDENTITY,
    XR_LEAKY_RELU,
    XR_ELU,
    XR_SOFTPLUS,
    XR_SCALED_TANH,
    XR_THRESHOLDED_RELU,
    XR_AFFINE,
    XR_ACTIVATIONS
};

/* An activation with its parameters, as kernels/math/activations.h defines them: all
 * those that the function has must be set. */
struct xr_nonlinearity {
    enum xr_activation kind;
    double alpha, beta;
};

/* The recurrent matrix of a sum: R, or the second one of a cell that projects. */
enum xr_matrix { XR_HH, XR_HR };

/* Where a sum starts: at the biases of its row blocks, at zero, at b_hh of its own
 * block and b_ih of block `bias_w`, which is another sum's, or at block `bias_w` of one
 * of the two alone, which need not have as many blocks as W and R. */
enum xr_bias { XR_OWN_BIAS, XR_NO_BIAS, XR_BIAS_OF_X, XR_BIAS_IH, XR_BIAS_HH };

/* A pre-activation of a cell: which row block of W [.., I] and of its recurrent matrix
 * it sums, -1 for none, and what the latter is multiplied with: h_prev (operand 0), or
 * the operand (1, 2, …) that an earlier stage has made. A sum without both is a place
 * for values that backward needs. */
struct xr_sum {
    const char *name;
    int w, r;
    int stage, operand;
    enum xr_matrix matrix;
    enum xr_bias bias;
    int bias_w;
};

/* What the gradient of a sum is multiplied with to give that of a per-unit weight. */
enum xr_factor {
    XR_ONE,
    XR_LOWER,
    XR_PREV_STATE,                                /* + k */
    XR_NEXT_STATE = XR_PREV_STATE + XR_MAX_STATES /* + k */
};

/* A weight of every unit: a row of `vectors` [V, H]. */
struct xr_vector {
    int sum, factor;
};

/* Full gate recurrence: `sum` also sees the previous `state` of every link, through
 * w_gates [n*H, n*H], whose row and column blocks are the links. */
struct xr_link {
    int sum, state;
};

/* What a cell is, the same on every instruction set. The order of `sum` is the order in
 * which the values of a step lie in the cache. State 0 is h, the output.
 *
 * A unit may be a memory block of several cells that share its gates: it then has as
 * many states h, from 0 on, followed by as many states c. R has a column block for each
 * h, and for each of the last states that are `heard` besides. */
struct xr_cell_info {
    const char *name;
    int w_blocks, r_blocks; /* row blocks of W and of R */
    int states, sums, stages;
    int cells;       /* of a unit; written by the library */
    int heard;       /* states that R sees besides h */
    int operands;    /* made by all stages but the last */
    int keeps_sums;  /* backward needs the values that lie in the places of the sums */
    int projects;    /* the sums of stage 1 have O units, by the matrix XR_HR */
    int takes_lower; /* reads a state of the layer below, unit by unit */
    int vectors, links;
    struct xr_sum sum[XR_MAX_SUMS];
    struct xr_vector vector[XR_MAX_VECTORS];
    struct xr_link link[XR_MAX_LINKS];
};

enum { XR_GATE_I = 1, XR_GATE_F = 2, XR_GATE_O = 4 };
enum xr_coupled { XR_NOT_COUPLED, XR_COUPLED_INPUT, XR_COUPLED_FORGET };

/* What an LSTM may be asked for; zeros ask for nothing. */
struct xr_options {
    unsigned peepholes, omit; /* gates */
    enum xr_coupled coupled;
    int full_gate_recurrence;
    int projects; /* also where O is H; another O does in any case */
    int cells;    /* of a memory block */
};

/* Units that take part in steps whose number is a multiple of the period. */
struct xr_module {
    ptrdiff_t size;
    int64_t period;
};

struct xr_engine;
struct xr_attention;
struct xr_masks;
struct xr_program;

/* A layer in one direction, without its weights. `info` is written by the library, for
 * the caller to read: xr_layer_describe. */
struct xr_layer {
    size_t struct_size;
    const struct xr_engine *engine; /* instruction set and dtype: xr_find_engine */
    int cell;                       /* xr_cell_index */
    ptrdiff_t I, H, O;
    struct xr_nonlinearity activation[3];
    double clip; /* of pre-activations; 0: none */
    struct xr_options options;
    ptrdiff_t modules; /* 0: all units take part in every step */
    const struct xr_module *module;
    const struct xr_program *program; /* the library's own; NULL */
    struct xr_cell_info info;
    double zoneout[2]; /* 0 <= p < 1, of h and of other states but gates: instead of a
                        * new state there is p * old + (1 - p) * new; 0: the new one */
};

/* Weights of a layer in one direction or their gradients, each contiguous, NULL where
 * the layer has none: W [w_blocks*H, I], R [r_blocks*H, O] (for memory blocks with as
 * many columns O as it sees states), their biases, the matrix [O, H] and bias [O] of a
 * cell that projects, per-unit weights [V, H], gates to gates [n*H, n*H]. */
struct xr_weights {
    const void *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *b_hr, *vectors, *w_gates;
};

struct xr_gradients {
    void *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *b_hr, *vectors, *w_gates;
};

/* Time-major with any strides, counted in elements; the last axis is contiguous. */
struct xr_sequence {
    void *data;
    ptrdiff_t step, row; /* from t to t+1, from b to b+1 */
};

/* A way to end a long call early. About every 20 ms the thread that made the call asks
 * `wanted`; once the answer is not 0, all threads leave and `stopped` is set: states
 * are as before, what else was to be written is undefined. The caller clears `stopped`
 * before each call. If `wanted` forks the process and returns in the child too, a call
 * that other threads share is ended there: they are not in the child. */
struct xr_stop {
    int (*wanted)(void *context); /* NULL: never */
    void *context;
    int stopped;
};

/* One call. `forward` reads x and state, writes y, state_out and (if not NULL) cache;
 * `backward` reads x, dy, dstate and cache, writes dx and dstate_out, and adds to dw.
 * States are xr_state_arrays contiguous arrays [D, B, xr_state_width]; NULL stands for
 * zeros. state_out may be state. The n cells of memory blocks lie side by side, n*O
 * wide: first those that are number 0 of their block.
 *
 * Layers whose cell takes a state of the layer below get it, and give their own to the
 * one above, as sequences [D, T, B, Hp] that are padded to xr_padded_units. */
struct xr_problem {
    size_t struct_size;
    const struct xr_layer *layer;
    const struct xr_layer *second; /* that of direction 1, where its activations are
                                    * others; NULL: `layer` for both */
    int directions, threads;
    int reverse; /* direction 0 too reads each row from its end; then the only one */
    ptrdiff_t T, B;
    const int64_t *lengths;                         /* [B], 0..T each, or NULL: all T */
    const int64_t *clock;                           /* [B], steps before, or NULL: 0 */
    const void *packed[XR_MAX_DIRECTIONS];          /* by xr_layer_pack; always read */
    const void *packed_backward[XR_MAX_DIRECTIONS]; /* by xr_layer_pack_backward */
    struct xr_sequence x;                           /* [T, B, I] */

    struct xr_sequence y; /* [T, B, D*n*O], of n cells in a unit */
    const void *state[XR_MAX_STATES];
    void *state_out[XR_MAX_STATES];
    const void *lower; /* state 1 of the layer below */
    void *upper;       /* state 1 of this layer, written for the one above */
    void *cache;       /* xr_cache_layout().bytes; NULL: inference */

    struct xr_sequence dy; /* as y; data NULL: zeros */
    const void *dstate[XR_MAX_STATES];
    struct xr_sequence dx; /* [T, B, I]; data NULL: not wanted */
    void *dstate_out[XR_MAX_STATES];
    /* The first one's w_ih NULL: none wanted. */
    struct xr_gradients dw[XR_MAX_DIRECTIONS];
    const void *dupper; /* gradient of `upper`, or NULL */
    void *dlower;       /* gradient of `lower`, written */
    int truncated;      /* no gradient goes back through a recurrent matrix */

    const struct xr_attention *attention; /* the library's own; NULL */

    void *scratch;        /* xr_scratch_bytes */
    struct xr_stop *stop; /* NULL: the call cannot be ended */

    const struct xr_masks *masks; /* the library's own; NULL */
};

/* Where things lie in the cache of one direction, in elements; direction d starts at
 * d * direction. Hp is xr_padded_units. */
struct xr_cache_layout {
    ptrdiff_t Hp;
    ptrdiff_t sums;                     /* [T, B, S, Hp] if the cell keeps them */
    ptrdiff_t state[XR_MAX_STATES];     /* [T + 1, B, Hp]; the initial ones are last */
    ptrdiff_t operand[XR_MAX_OPERANDS]; /* [T, B, Hp] */
    ptrdiff_t direction;
    size_t bytes; /* of all directions */
};

/* The library that is linked, "0.1.0"; XR_VERSION_... is that of this header. */
XR_API const char *xr_version(void);

/* What went wrong in the last call of this thread that did not return XR_OK. */
XR_API const char *xr_message(void);

/* Cells: NULL past the last, and -1 for an unknown name. Instruction sets that this
 * machine runs, best first, NULL past the last. */
XR_API const struct xr_cell_info *xr_cell_at(int index);
XR_API int xr_cell_index(const char *name);
XR_API const char *xr_isa_at(int index);
/* NULL where the name is unknown or this machine cannot run it; by the name NULL the
 * best that there is. */
XR_API const struct xr_engine *xr_find_engine(const char *isa, enum xr_dtype dtype);

/* Writes into layer->info what its cell is with its options. The functions below ask
 * for nothing of `info`. */
XR_API enum xr_status xr_layer_describe(struct xr_layer *layer);

/* The length of internal rows of units (H and O padded; each module is padded too), how
 * many arrays of states there are, and the width of each. The first is h. */
struct xr_layer_sizes {
    size_t struct_size;
    ptrdiff_t padded_units;
    int states;
    ptrdiff_t state_width[XR_MAX_STATES];
    size_t packed_bytes, packed_backward_bytes;
};
XR_API enum xr_status xr_layer_measure(const struct xr_layer *layer,
                                       struct xr_layer_sizes *sizes);

/* `stop` may be NULL; a pack whose call was ended is not to be used. */
XR_API enum xr_status xr_layer_pack(const struct xr_layer *layer,
                                    const struct xr_weights *weights, void *packed,
                                    struct xr_stop *stop);
XR_API enum xr_status xr_layer_pack_backward(const struct xr_layer *layer,
                                             const struct xr_weights *weights,
                                             void *packed, struct xr_stop *stop);

/* Of `problem` its layers, directions, threads, T and B are read alone. */
XR_API enum xr_status xr_layer_cache(const struct xr_problem *problem,
                                     struct xr_cache_layout *layout);
XR_API enum xr_status xr_layer_scratch(const struct xr_problem *problem, int backward,
                                       size_t *bytes);
XR_API enum xr_status xr_layer_forward(const struct xr_problem *problem);
XR_API enum xr_status xr_layer_backward(const struct xr_problem *problem);

/* Threads: how many are in force for the calling thread. They were chosen for it (by
 * xr_set_threads, OpenMP's own functions, OMP_NUM_THREADS), or they are the CPUs that
 * there were when the library was loaded, without those taken away since: by affinity
 * or by quotas of control groups. It may have noticed that some milliseconds ago, in
 * order to cost nothing. */
enum { XR_MAX_THREADS = 1024 };
XR_API int xr_max_threads(void);
/* Chooses a number for the calling thread, 1 to XR_MAX_THREADS. */
XR_API enum xr_status xr_set_threads(int threads);

#ifdef __cplusplus
}
#endif

#endif
