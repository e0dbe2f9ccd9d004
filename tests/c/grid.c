/* One grid, forward and back (see arrays.h and exactrnn/grid.h).
 *
 *     grid ISA f32|f64 H B THREADS TANH_OUTSIDE TIED RAGGED SETS [DIMENSION]...
 *
 *     TIED       1: all dimensions of a set have the weights of the first
 *     DIMENSION  six numbers: SIZE SET_STEP PHASE MEMORY ACTIVATION INPUTS
 *
 * in    lengths [B, N] (int64) if ragged; for each set and dimension (if tied, each
 *       set) w and b; for each dimension with inputs w, b and x; for each dimension h
 *       and m, then for each dh and dm
 * out   for each dimension h_out and m_out; for each without inputs dh_out and dm_out;
 *       dw and db as the weights were read; for each dimension with inputs dx, dw, db
 *
 * Without a cache, as in inference, the far borders must be the same. Every call comes
 * after others of the same problem that were ended early.
 */
#include "arrays.h"
#include "base/tables.h"

enum { FIRST_DIMENSION = 10, DIMENSION_WORDS = 6, MAX_SETS = 16 };

struct call {
    const struct xr_grid *kernels;
    size_t element;
    int tied, ragged;
    struct xr_grid_block block;
    struct xr_grid_problem problem;
    const void *packed[MAX_SETS * XR_GRID_DIMS];
    const void *packed_backward[MAX_SETS * XR_GRID_DIMS];
    void *dw[MAX_SETS * XR_GRID_DIMS], *db[MAX_SETS * XR_GRID_DIMS];
};

static void read_words(struct call *call, int argc, char **argv)
{
    struct xr_grid_block *block = &call->block;
    struct xr_grid_problem *problem = &call->problem;
    call->kernels = xr_find_grid(argv[1], dtype_of(argv[2]));
    if (call->kernels == NULL) {
        fail("this machine does not run that instruction set");
    }
    call->element = element_bytes(argv[2]);
    block->H = atoi(argv[3]);
    problem->block = block;
    problem->B = atoi(argv[4]);
    problem->threads = atoi(argv[5]);
    block->tanh_outside = atoi(argv[6]);
    call->tied = atoi(argv[7]);
    call->ragged = atoi(argv[8]);
    problem->sets = atoi(argv[9]);
    block->N = (argc - FIRST_DIMENSION) / DIMENSION_WORDS;
    if (block->N < 1 || block->N > XR_GRID_DIMS || problem->sets > MAX_SETS) {
        fail("arguments: see the head of grid.c");
    }
    for (int k = 0; k < block->N; k++) {
        char **word = argv + FIRST_DIMENSION + k * DIMENSION_WORDS;
        problem->size[k] = atoi(word[0]);
        problem->set_step[k] = atoi(word[1]);
        block->phase[k] = atoi(word[2]);
        block->memory[k] = atoi(word[3]);
        block->activation[k].kind = (enum xr_activation)atoi(word[4]);
        block->inputs[k] = atoi(word[5]);
    }
}

static ptrdiff_t rows_of(const struct call *call, int k)
{
    return (call->block.memory[k] ? 4 : 1) * call->block.H;
}

static ptrdiff_t weight_count(const struct call *call, int k)
{
    return rows_of(call, k) * call->block.N * call->block.H;
}

static void read_weights(struct call *call, ptrdiff_t at, int k)
{
    const struct xr_grid *kernels = call->kernels;
    const ptrdiff_t count = weight_count(call, k), rows = rows_of(call, k);
    void *w = read_array(count, call->element);
    void *b = read_array(rows, call->element);
    void *packed = allocate_zeros(kernels->packed_bytes(&call->block, k, 0));
    void *packed_backward = allocate_zeros(kernels->packed_bytes(&call->block, k, 1));
    kernels->pack(&call->block, k, w, b, packed, NULL);
    kernels->pack_backward(&call->block, k, w, packed_backward, NULL);
    release(w);
    release(b);
    call->packed[at] = packed;
    call->packed_backward[at] = packed_backward;
    call->dw[at] = allocate_zeros((size_t)count * call->element);
    call->db[at] = allocate_zeros((size_t)rows * call->element);
}

static void read_sets(struct call *call)
{
    const int N = call->block.N;
    for (ptrdiff_t at = 0; at < call->problem.sets * N; at++) {
        const int k = (int)(at % N);
        if (k == 0 || !call->tied) {
            read_weights(call, at, k);
            continue;
        }
        call->packed[at] = call->packed[at - k];
        call->packed_backward[at] = call->packed_backward[at - k];
        call->dw[at] = call->dw[at - k];
        call->db[at] = call->db[at - k];
    }
    call->problem.packed = call->packed;
    call->problem.packed_backward = call->packed_backward;
    call->problem.dw = call->dw;
    call->problem.db = call->db;
}

static ptrdiff_t border_count(const struct call *call, int k)
{
    ptrdiff_t count = call->problem.B * call->block.H;
    for (int j = 0; j < call->block.N; j++) {
        count *= j == k ? 1 : call->problem.size[j];
    }
    return count;
}

/* Rows of the weights of a side. */
static ptrdiff_t side_rows(const struct call *call, int k)
{
    return (call->block.memory[k] ? 2 : 1) * call->block.H;
}

static ptrdiff_t input_count(const struct call *call, int k)
{
    return border_count(call, k) / call->block.H * call->block.inputs[k];
}

static void read_side(struct call *call, int k)
{
    const struct xr_grid *kernels = call->kernels;
    const ptrdiff_t rows = side_rows(call, k), I = call->block.inputs[k];
    void *w = read_array(rows * I, call->element);
    void *b = read_array(rows, call->element);
    void *packed = allocate(kernels->side_bytes(&call->block, k, 0));
    void *packed_backward = allocate(kernels->side_bytes(&call->block, k, 1));
    kernels->pack_side(&call->block, k, w, b, packed, NULL);
    kernels->pack_side_backward(&call->block, k, w, packed_backward, NULL);
    release(w);
    release(b);
    call->problem.side[k] = (struct xr_grid_side){
        .x = read_array(input_count(call, k), call->element),
        .packed = packed,
        .packed_backward = packed_backward,
        .dx = allocate((size_t)input_count(call, k) * call->element),
        .dw = allocate_zeros((size_t)(rows * I) * call->element),
        .db = allocate_zeros((size_t)rows * call->element),
    };
}

static void write_side(const struct call *call, int k)
{
    const struct xr_grid_side *side = &call->problem.side[k];
    const ptrdiff_t rows = side_rows(call, k);
    write_array(side->dx, input_count(call, k), call->element);
    write_array(side->dw, rows * call->block.inputs[k], call->element);
    write_array(side->db, rows, call->element);
}

static void read_borders(const struct call *call, const void **h, const void **m)
{
    for (int k = 0; k < call->block.N; k++) {
        const ptrdiff_t count = border_count(call, k);
        h[k] = read_array(count, call->element);
        m[k] = call->block.memory[k] ? read_array(count, call->element) : NULL;
    }
}

static void new_borders(const struct call *call, void **h, void **m)
{
    for (int k = 0; k < call->block.N; k++) {
        const size_t bytes = (size_t)border_count(call, k) * call->element;
        h[k] = allocate(bytes);
        m[k] = call->block.memory[k] ? allocate(bytes) : NULL;
    }
}

/* Of those that are NULL nothing. */
static void write_borders(const struct call *call, void *const *h, void *const *m)
{
    for (int k = 0; k < call->block.N; k++) {
        if (h[k] != NULL) {
            write_array(h[k], border_count(call, k), call->element);
        }
        if (m[k] != NULL) {
            write_array(m[k], border_count(call, k), call->element);
        }
    }
}

static void check_inference(const struct call *call)
{
    struct xr_grid_problem problem = call->problem;
    problem.cache = NULL;
    new_borders(call, problem.h_out, problem.m_out);
    problem.scratch = allocate(call->kernels->scratch_bytes(&problem, 0));
    call->kernels->forward(&problem);
    for (int k = 0; k < call->block.N; k++) {
        const size_t bytes = (size_t)border_count(call, k) * call->element;
        const void *m = problem.m_out[k];
        if (memcmp(problem.h_out[k], call->problem.h_out[k], bytes) != 0 ||
            (m != NULL && memcmp(m, call->problem.m_out[k], bytes) != 0)) {
            fail("inference gives other bits than training");
        }
    }
}

static void call_forward(void *call, struct xr_stop *stop)
{
    struct xr_grid_problem ended = ((const struct call *)call)->problem;
    ended.stop = stop;
    ((const struct call *)call)->kernels->forward(&ended);
}

static void call_backward(void *call, struct xr_stop *stop)
{
    struct xr_grid_problem ended = ((const struct call *)call)->problem;
    ended.stop = stop;
    ((const struct call *)call)->kernels->backward(&ended);
}

/* What ended calls have added to the gradients of weights. */
static void clear_gradients(const struct call *call)
{
    for (ptrdiff_t at = 0; at < call->problem.sets * call->block.N; at++) {
        const int k = (int)(at % call->block.N);
        memset(call->dw[at], 0, (size_t)weight_count(call, k) * call->element);
        memset(call->db[at], 0, (size_t)rows_of(call, k) * call->element);
    }
    for (int k = 0; k < call->block.N; k++) {
        const struct xr_grid_side *side = &call->problem.side[k];
        if (side->x != NULL) {
            const size_t rows = (size_t)side_rows(call, k);
            memset(side->dw, 0, rows * (size_t)call->block.inputs[k] * call->element);
            memset(side->db, 0, rows * call->element);
        }
    }
}

static void run_call(struct call *call)
{
    const struct xr_grid *kernels = call->kernels;
    struct xr_grid_problem *problem = &call->problem;
    problem->cache = allocate(kernels->cache_layout(problem).bytes);
    problem->scratch = allocate(kernels->scratch_bytes(problem, 0));
    end_at_chances(call_forward, call);
    kernels->forward(problem);
    release(problem->scratch);
    check_inference(call);
    problem->scratch = allocate(kernels->scratch_bytes(problem, 1));
    end_at_chances(call_backward, call);
    clear_gradients(call);
    kernels->backward(problem);
}

int main(int argc, char **argv)
{
    if (argc < FIRST_DIMENSION) {
        fail("arguments are missing: see the head of grid.c");
    }
    static struct call call;
    struct xr_grid_problem *problem = &call.problem;
    read_words(&call, argc, argv);
    use_every_thread(problem->threads);
    if (call.ragged) {
        problem->lengths = read_array(problem->B * call.block.N, sizeof(int64_t));
    }
    read_sets(&call);
    for (int k = 0; k < call.block.N; k++) {
        if (call.block.inputs[k] > 0) {
            read_side(&call, k);
        }
    }
    read_borders(&call, problem->h, problem->m);
    read_borders(&call, problem->dh, problem->dm);
    new_borders(&call, problem->h_out, problem->m_out);
    new_borders(&call, problem->dh_out, problem->dm_out);
    for (int k = 0; k < call.block.N; k++) {
        if (call.block.inputs[k] > 0) {
            problem->dh_out[k] = problem->dm_out[k] = NULL;
        }
    }
    run_call(&call);
    write_borders(&call, problem->h_out, problem->m_out);
    write_borders(&call, problem->dh_out, problem->dm_out);
    for (ptrdiff_t at = 0; at < problem->sets * call.block.N; at++) {
        const int k = (int)(at % call.block.N);
        if (k == 0 || !call.tied) {
            write_array(call.dw[at], weight_count(&call, k), call.element);
            write_array(call.db[at], rows_of(&call, k), call.element);
        }
    }
    for (int k = 0; k < call.block.N; k++) {
        if (call.block.inputs[k] > 0) {
            write_side(&call, k);
        }
    }
    return 0;
}
