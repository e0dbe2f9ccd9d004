/* The kernels around the cells, one after the other (see arrays.h, exactrnn/dense.h).
 *
 *     dense ISA f32|f64 N K O THREADS
 *
 * in    x [N, K], w [O, K], b [O], dy [N, O], target [N] and index [N] (int64), labels
 *       [3, 4], lengths [3] and label_lengths [3] (int64)
 * out   y [N, O], dx [N, K], dw [O, K] and db [O] of the linear layer; loss [N] and
 *       dlogits [N, O] of logits dy, scaled by 1/2; the gradient [O, K] of an embedding
 *       by rows x; the long sums of x and of its squares; p, m and v [N, K] that each
 *       rule of exactrnn/update.h makes of p = g = x and of m = v = 0; loss [3] and
 *       dlogits [N / 3, 3, O] of exactrnn/ctc.h, of the first rows of dy
 */
#include "arrays.h"
#include "base/tables.h"

struct call {
    const struct xr_dense *kernels;
    const struct xr_updates *updates;
    const struct xr_ctc_kernels *ctc;
    size_t element;
    ptrdiff_t N, K, O;
    int threads;
    void *x, *w, *b, *dy;
    int64_t *target, *index, *labels, *lengths, *label_lengths;
};

static void run_linear(const struct call *call)
{
    const ptrdiff_t N = call->N, K = call->K, O = call->O;
    const size_t element = call->element;
    struct xr_linear problem = {.N = N,
                                .K = K,
                                .O = O,
                                .x = call->x,
                                .w = call->w,
                                .b = call->b,
                                .dy = call->dy,
                                .y = allocate((size_t)(N * O) * element),
                                .dx = allocate((size_t)(N * K) * element),
                                .dw = allocate_zeros((size_t)(O * K) * element),
                                .db = allocate_zeros((size_t)O * element),
                                .threads = call->threads};
    problem.scratch = allocate(call->kernels->linear_scratch(&problem));
    call->kernels->linear_forward(&problem);
    call->kernels->linear_backward(&problem);
    write_array(problem.y, N * O, element);
    write_array(problem.dx, N * K, element);
    write_array(problem.dw, O * K, element);
    write_array(problem.db, O, element);
}

static void run_softmax(const struct call *call)
{
    const ptrdiff_t N = call->N, V = call->O;
    struct xr_softmax problem = {.N = N,
                                 .V = V,
                                 .logits = call->dy,
                                 .target = call->target,
                                 .scale = 0.5,
                                 .loss = allocate((size_t)N * call->element),
                                 .dlogits = allocate((size_t)(N * V) * call->element),
                                 .threads = call->threads};
    problem.scratch = allocate(call->kernels->softmax_scratch(&problem));
    call->kernels->softmax(&problem);
    write_array(problem.loss, N, call->element);
    write_array(problem.dlogits, N * V, call->element);
}

static void run_embedding(const struct call *call)
{
    const ptrdiff_t V = call->O, E = call->K;
    struct xr_embedding problem = {.N = call->N,
                                   .V = V,
                                   .E = E,
                                   .index = call->index,
                                   .dy = call->x,
                                   .dw =
                                       allocate_zeros((size_t)(V * E) * call->element),
                                   .threads = call->threads};
    problem.scratch = allocate(call->kernels->embedding_scratch(&problem));
    call->kernels->embedding_backward(&problem);
    write_array(problem.dw, V * E, call->element);
}

static void run_long_sums(const struct call *call)
{
    for (int squares = 0; squares < 2; squares++) {
        void *total = allocate_zeros(call->element);
        call->kernels->long_sum(call->x, call->N * call->K, squares, total, NULL);
        write_array(total, 1, call->element);
    }
}

static void run_update(const struct call *call,
                       void (*rule)(const struct xr_update *update))
{
    const ptrdiff_t n = call->N * call->K;
    const size_t bytes = (size_t)n * call->element;
    struct xr_update update = {.n = n,
                               .p = allocate(bytes),
                               .g = call->x,
                               .m = allocate_zeros(bytes),
                               .v = allocate_zeros(bytes),
                               .rate = 0.5,
                               .beta = {0.5, 0.25},
                               .rest = {0.5, 0.75},
                               .correction = 0.75,
                               .eps = 0.125,
                               .keep = 0.5};
    memcpy(update.p, call->x, bytes);
    rule(&update);
    write_array(update.p, n, call->element);
    write_array(update.m, n, call->element);
    write_array(update.v, n, call->element);
}

enum { ROWS = 3, LABELS = 4 };

static void run_ctc(const struct call *call)
{
    const ptrdiff_t T = call->N / ROWS, K = call->O;
    const size_t element = call->element, steps = (size_t)(T * ROWS * K);
    struct xr_ctc problem = {.T = T,
                             .B = ROWS,
                             .K = K,
                             .L = LABELS,
                             .blank = 0,
                             .logits = allocate(steps * element),
                             .labels = call->labels,
                             .lengths = call->lengths,
                             .label_lengths = call->label_lengths,
                             .loss = allocate(ROWS * element),
                             .dlogits = allocate(steps * element),
                             .threads = call->threads};
    memcpy((void *)problem.logits, call->dy, steps * element);
    problem.scratch = allocate(call->ctc->scratch(&problem));
    call->ctc->loss(&problem);
    write_array(problem.loss, ROWS, element);
    write_array(problem.dlogits, T * ROWS * K, element);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fail("arguments are missing: see the head of dense.c");
    }
    struct call call = {.kernels = xr_find_dense(argv[1], dtype_of(argv[2])),
                        .updates = xr_find_updates(argv[1], dtype_of(argv[2])),
                        .ctc = xr_find_ctc(argv[1], dtype_of(argv[2])),
                        .element = element_bytes(argv[2]),
                        .N = atoi(argv[3]),
                        .K = atoi(argv[4]),
                        .O = atoi(argv[5]),
                        .threads = atoi(argv[6])};
    if (call.kernels == NULL) {
        fail("this machine does not run that instruction set");
    }
    use_every_thread(call.threads);
    call.x = read_array(call.N * call.K, call.element);
    call.w = read_array(call.O * call.K, call.element);
    call.b = read_array(call.O, call.element);
    call.dy = read_array(call.N * call.O, call.element);
    call.target = read_array(call.N, sizeof(int64_t));
    call.index = read_array(call.N, sizeof(int64_t));
    call.labels = read_array(ROWS * LABELS, sizeof(int64_t));
    call.lengths = read_array(ROWS, sizeof(int64_t));
    call.label_lengths = read_array(ROWS, sizeof(int64_t));
    run_linear(&call);
    run_softmax(&call);
    run_embedding(&call);
    run_long_sums(&call);
    run_update(&call, call.updates->scale);
    run_update(&call, call.updates->sgd);
    run_update(&call, call.updates->adam);
    run_update(&call, call.updates->rmsprop);
    run_ctc(&call);
    return 0;
}
