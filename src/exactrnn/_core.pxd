# The C interface in csrc/include, for Cython.

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t, uint64_t


cdef extern from "base/calls.h" nogil:
    enum: XR_NUMERICS_VERSION
    enum: XR_ALIGNMENT
    enum: XR_MAX_CELLS
    enum: XR_MAX_STATES
    enum: XR_MAX_SUMS
    enum: XR_MAX_PRODUCTS
    enum: XR_MAX_STAGES
    enum: XR_MAX_OPERANDS
    enum: XR_MAX_VECTORS
    enum: XR_ONE
    enum: XR_MAX_DIRECTIONS
    enum: XR_GATE_I
    enum: XR_GATE_F
    enum: XR_GATE_O

    enum xr_dtype: XR_F32, XR_F64
    enum xr_activation:
        XR_TANH, XR_RELU, XR_SIGMOID, XR_HARD_SIGMOID, XR_SOFTSIGN, XR_IDENTITY
        XR_LEAKY_RELU, XR_ELU, XR_SOFTPLUS, XR_SCALED_TANH, XR_THRESHOLDED_RELU
        XR_AFFINE
    enum xr_coupled: XR_NOT_COUPLED, XR_COUPLED_INPUT, XR_COUPLED_FORGET
    enum xr_matrix: XR_HH, XR_HR
    enum xr_bias: XR_OWN_BIAS, XR_NO_BIAS, XR_BIAS_OF_X, XR_BIAS_IH, XR_BIAS_HH
    enum xr_function:
        XR_EXP, XR_EXPM1, XR_LOG, XR_SOFTPLUS_OF, XR_TANH_OF, XR_SIGMOID_OF, XR_FLUSH
        XR_FMA

    struct xr_sum:
        const char *name
        int w, r, stage, operand
        xr_matrix matrix
        xr_bias bias
        int bias_w

    struct xr_vector:
        int sum, factor

    struct xr_cell_info:
        const char *name
        int w_blocks, r_blocks, states, sums, stages, cells, heard, operands
        int keeps_sums, projects, takes_lower, vectors, links
        xr_sum *sum
        xr_vector *vector

    struct xr_options:
        unsigned int peepholes, omit
        xr_coupled coupled
        int full_gate_recurrence, projects, cells

    struct xr_module:
        ptrdiff_t size
        int64_t period

    struct xr_engine:
        pass

    struct xr_program_of "xr_program"

    struct xr_nonlinearity:
        xr_activation kind
        double alpha, beta

    struct xr_layer:
        const xr_engine *engine
        int cell
        ptrdiff_t I, H, O
        xr_nonlinearity activation[3]
        double clip
        xr_options options
        ptrdiff_t modules
        const xr_module *module
        const xr_program_of *program
        xr_cell_info info
        double zoneout[2]

    struct xr_weights:
        const void *w_ih
        const void *w_hh
        const void *b_ih
        const void *b_hh
        const void *w_hr
        const void *b_hr
        const void *vectors
        const void *w_gates

    struct xr_gradients:
        void *w_ih
        void *w_hh
        void *b_ih
        void *b_hh
        void *w_hr
        void *b_hr
        void *vectors
        void *w_gates

    struct xr_sequence:
        void *data
        ptrdiff_t step, row

    struct xr_stop:
        int (*wanted)(void *context) noexcept nogil
        void *context
        int stopped

    struct xr_masks:
        const void *recurrent
        const void *zoneout[2]

    struct xr_problem:
        const xr_layer *layer
        const xr_layer *second
        int directions, threads, reverse
        ptrdiff_t T, B
        const int64_t *lengths
        const int64_t *clock
        const void *packed[2]
        const void *packed_backward[2]
        xr_sequence x, y, dy, dx
        const void *state[10]
        void *state_out[10]
        const void *lower
        void *upper
        void *cache
        const void *dstate[10]
        void *dstate_out[10]
        xr_gradients dw[2]
        const void *dupper
        void *dlower
        int truncated
        const void *attention
        void *scratch
        xr_stop *stop
        const xr_masks *masks

    struct xr_cache_layout_of "xr_cache_layout":
        ptrdiff_t Hp, sums
        ptrdiff_t state[10]
        ptrdiff_t operand[2]
        ptrdiff_t direction
        size_t bytes

    const xr_cell_info *xr_cell_at(int index)
    const char *xr_isa_at(int index)
    const xr_engine *xr_find_engine(const char *isa, xr_dtype dtype)
    void xr_describe(xr_layer *layer)
    ptrdiff_t xr_padded_units(const xr_layer *layer)
    int xr_state_arrays(const xr_layer *layer)
    ptrdiff_t xr_state_width(const xr_layer *layer, int array)
    size_t xr_packed_bytes(const xr_layer *layer)
    size_t xr_packed_backward_bytes(const xr_layer *layer)
    void xr_pack(const xr_layer *layer, const xr_weights *weights, void *packed,
                 xr_stop *stop)
    void xr_pack_backward(const xr_layer *layer, const xr_weights *weights,
                          void *packed, xr_stop *stop)
    xr_cache_layout_of xr_cache_layout(const xr_problem *problem)
    size_t xr_scratch_bytes(const xr_problem *problem, int backward)
    void xr_forward(const xr_problem *problem)
    void xr_backward(const xr_problem *problem)
    struct xr_step_of "xr_step":
        const xr_layer *layer
        const xr_weights *weights
        ptrdiff_t B
        int threads
        const void *x
        const void *state[10]
        void *state_out[10]
        void *scratch
        xr_stop *stop

    enum: XR_DIRECT_ROWS
    bint xr_is_direct(const xr_layer *layer)
    size_t xr_direct_bytes(const xr_step_of *step)
    void xr_step_direct(const xr_step_of *step)
    void xr_elementary(const xr_engine *engine, xr_function function,
                       const void *const *arrays, void *out, ptrdiff_t n,
                       xr_stop *stop)
    const char xr_runtime[]
    enum: XR_MAX_THREADS
    int xr_max_threads()
    int xr_max_threads_now()

    struct xr_thread_wish_of "xr_thread_wish":
        int threads, chosen
    xr_thread_wish_of xr_thread_wish()
    void xr_wish_threads(xr_thread_wish_of wish)
    xr_thread_wish_of xr_no_thread_wish()
    int xr_watch_quota(const char *quota, const char *period)
    uint64_t xr_enter_ieee()
    void xr_leave_ieee(uint64_t caller)

    struct xr_thread_work_of "xr_thread_work":
        ptrdiff_t call, step
    xr_thread_work_of xr_thread_work
    struct xr_worker_delay_of "xr_worker_delay":
        int64_t before_seat, in_item, in_part
    xr_worker_delay_of xr_worker_delay
    struct xr_hand_overs_of "xr_hand_overs":
        int64_t taken_over, handed_on
    xr_hand_overs_of xr_hand_overs()
    int xr_exchanging
    int xr_crowded

    struct xr_stop_pace_of "xr_stop_pace":
        ptrdiff_t work
        int64_t nanoseconds
    xr_stop_pace_of xr_stop_pace


cdef extern from "base/masks.h" nogil:
    struct xr_mask:
        uint64_t key, threshold
        double below, above
        ptrdiff_t steps, rows, units, heads
        int timeless

    void xr_draw_mask(const xr_mask *mask, xr_dtype dtype, ptrdiff_t width, void *out)


cdef extern from "base/program.h" nogil:
    enum: XR_MAX_REGISTERS
    enum: XR_MAX_GROUP
    enum: XR_MAX_MOMENTS
    double XR_NORM_EPS

    struct xr_place:
        unsigned char space, index

    struct xr_operation:
        unsigned char code, flush
        xr_place out
        xr_place in_ "in"[3]

    struct xr_operations_of "xr_operations":
        int count
        const xr_operation *list

    struct xr_moments:
        int of, group, count
        xr_place *x
        xr_place *gain
        xr_place *g

    struct xr_moments_list:
        int count
        const xr_moments *list

    struct xr_program_of "xr_program":
        xr_cell_info info
        int heads, registers, constants
        const double *constant
        xr_operations_of *forward
        xr_operations_of *backward
        xr_moments_list *forward_rows
        xr_moments_list *backward_rows


cdef extern from "base/tables.h" nogil:
    struct xr_linear:
        ptrdiff_t N, K, O
        const void *x
        const void *w
        const void *b
        const void *dy
        void *y
        void *dx
        void *dw
        void *db
        int threads
        void *scratch
        xr_stop *stop

    struct xr_softmax:
        ptrdiff_t N, V
        const void *logits
        const int64_t *target
        double scale
        void *loss
        void *dlogits
        int threads
        void *scratch
        xr_stop *stop

    struct xr_embedding:
        ptrdiff_t N, V, E
        const int64_t *index
        const void *dy
        void *dw
        int threads
        void *scratch
        xr_stop *stop

    struct xr_dense:
        size_t (*linear_scratch)(const xr_linear *problem) noexcept nogil
        void (*linear_forward)(const xr_linear *problem) noexcept nogil
        void (*linear_backward)(const xr_linear *problem) noexcept nogil
        size_t (*softmax_scratch)(const xr_softmax *problem) noexcept nogil
        void (*softmax)(const xr_softmax *problem) noexcept nogil
        size_t (*embedding_scratch)(const xr_embedding *problem) noexcept nogil
        void (*embedding_backward)(const xr_embedding *problem) noexcept nogil
        void (*long_sum)(const void *x, ptrdiff_t n, int squares, void *total,
                         xr_stop *stop) noexcept nogil

    const xr_dense *xr_find_dense(const char *isa, xr_dtype dtype)


cdef extern from "base/attention.h" nogil:
    enum xr_score:
        XR_ADDITIVE, XR_GENERAL, XR_DOT

    enum xr_query:
        XR_PREVIOUS, XR_NEW

    struct xr_attention_form:
        xr_score score
        xr_query query
        int selector
        ptrdiff_t H, M, K, Q

    struct xr_attention_weights:
        const void *query
        const void *query_bias
        const void *memory
        const void *memory_bias
        const void *score

    struct xr_attention_gradients:
        void *query
        void *query_bias
        void *memory
        void *memory_bias
        void *score

    struct xr_attention:
        xr_attention_form form
        const void *packed
        ptrdiff_t S
        xr_sequence memory
        const int64_t *memory_lengths
        void *keys
        int has_keys, from_end
        xr_sequence context
        void *alpha
        void *queries
        void *sums
        const void *dalpha
        xr_sequence dcontext
        xr_sequence dmemory
        xr_attention_gradients dw

    size_t xr_attention_packed_bytes(const xr_engine *engine,
                                     const xr_attention_form *form)
    void xr_pack_attention(const xr_engine *engine, const xr_attention_form *form,
                           const xr_attention_weights *weights, void *packed,
                           xr_stop *stop)


cdef extern from "base/tables.h" nogil:
    struct xr_ctc:
        ptrdiff_t T, B, K, L
        ptrdiff_t blank
        const void *logits
        const int64_t *labels
        const int64_t *lengths
        const int64_t *label_lengths
        void *loss
        void *dlogits
        int threads
        void *scratch
        xr_stop *stop

    struct xr_ctc_kernels:
        size_t (*scratch)(const xr_ctc *problem) noexcept nogil
        void (*loss)(const xr_ctc *problem) noexcept nogil

    const xr_ctc_kernels *xr_find_ctc(const char *isa, xr_dtype dtype)


cdef extern from "base/tables.h" nogil:
    struct xr_update:
        ptrdiff_t n
        void *p
        const void *g
        void *m
        void *v
        double rate
        double beta[2]
        double rest[2]
        double correction, eps
        double keep

    struct xr_updates:
        void (*scale)(const xr_update *update) noexcept nogil
        void (*sgd)(const xr_update *update) noexcept nogil
        void (*adam)(const xr_update *update) noexcept nogil
        void (*rmsprop)(const xr_update *update) noexcept nogil

    const xr_updates *xr_find_updates(const char *isa, xr_dtype dtype)


cdef extern from "base/machine.h" nogil:
    struct xr_machine:
        ptrdiff_t (*fma_loop)(ptrdiff_t rounds, int threads) noexcept nogil
        ptrdiff_t (*read_loop)(const void *data, ptrdiff_t bytes, ptrdiff_t rounds,
                               int threads) noexcept nogil

    const xr_machine *xr_find_machine(const char *isa, xr_dtype dtype)


cdef extern from "base/tables.h" nogil:
    cdef enum: XR_GRID_DIMS

    struct xr_grid_block:
        int N
        int memory[XR_GRID_DIMS]
        xr_nonlinearity activation[XR_GRID_DIMS]
        int phase[XR_GRID_DIMS]
        int tanh_outside
        ptrdiff_t H
        ptrdiff_t inputs[XR_GRID_DIMS]

    struct xr_grid_side:
        const void *x
        const void *packed
        const void *packed_backward
        void *dx
        void *dw
        void *db

    struct xr_grid_problem:
        const xr_grid_block *block
        int threads
        ptrdiff_t size[XR_GRID_DIMS]
        ptrdiff_t B
        const int64_t *lengths
        ptrdiff_t sets
        ptrdiff_t set_step[XR_GRID_DIMS]
        const void *const *packed
        const void *const *packed_backward
        const void *h[XR_GRID_DIMS]
        const void *m[XR_GRID_DIMS]
        xr_grid_side side[XR_GRID_DIMS]
        void *h_out[XR_GRID_DIMS]
        void *m_out[XR_GRID_DIMS]
        void *cache
        const void *dh[XR_GRID_DIMS]
        const void *dm[XR_GRID_DIMS]
        void *dh_out[XR_GRID_DIMS]
        void *dm_out[XR_GRID_DIMS]
        void *const *dw
        void *const *db
        void *scratch
        xr_stop *stop

    struct xr_grid_cache:
        ptrdiff_t Hp
        ptrdiff_t h[XR_GRID_DIMS]
        ptrdiff_t m[XR_GRID_DIMS]
        ptrdiff_t gates[XR_GRID_DIMS]
        size_t bytes

    struct xr_grid:
        size_t (*packed_bytes)(const xr_grid_block *block, int k,
                               int backward) noexcept nogil
        void (*pack)(const xr_grid_block *block, int k, const void *w, const void *b,
                     void *packed, xr_stop *stop) noexcept nogil
        void (*pack_backward)(const xr_grid_block *block, int k, const void *w,
                              void *packed, xr_stop *stop) noexcept nogil
        size_t (*side_bytes)(const xr_grid_block *block, int k,
                             int backward) noexcept nogil
        void (*pack_side)(const xr_grid_block *block, int k, const void *w,
                          const void *b, void *packed, xr_stop *stop) noexcept nogil
        void (*pack_side_backward)(const xr_grid_block *block, int k, const void *w,
                                   void *packed, xr_stop *stop) noexcept nogil
        xr_grid_cache (*cache_layout)(const xr_grid_problem *problem) noexcept nogil
        size_t (*scratch_bytes)(const xr_grid_problem *problem,
                                int backward) noexcept nogil
        void (*forward)(const xr_grid_problem *problem) noexcept nogil
        void (*backward)(const xr_grid_problem *problem) noexcept nogil

    const xr_grid *xr_find_grid(const char *isa, xr_dtype dtype)
