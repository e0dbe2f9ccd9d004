/* One call of a node: arrays of the runtime to problems of the engine, and back.
 *
 * A call is done in items: a direction of some rows of the batch, each a problem of the
 * engine with one direction. They write where ONNX wants it, [T, D, B, H] or, with
 * layout 1, [B, T, D, H], as the engine takes any strides. States are [D, B, H] in
 * both, but [B, D, H] with layout 1, which are copied where that is another order.
 *
 * Items are shared by the session's own threads: after a node of the runtime these spin
 * for a while, and threads of ours beside them would wait for a CPU. A single item, one
 * row in one direction, cannot be shared so, and uses the engine's threads. The bits
 * are the same for every number of items, as a row's are for every batch.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/parallel.h"
#include "onnxruntime/kernel.h"

struct call {
    const struct kernel *kernel;
    struct ort_context *context;
    struct tensor in[INPUTS];
    void *out[OUTPUTS];           /* NULL: not wanted */
    struct pack own;              /* weights of this call alone */
    const struct xr_layer *layer; /* of each direction */
    void *const *packed;          /* likewise */
    ptrdiff_t T, B, H, D;

    ptrdiff_t rows, items; /* of an item; of the call */
    int is_shared, item_threads;
    void *y, *before[2], *after[2]; /* where the engine has them, states [D, B, H] */
    int64_t *lengths;
    char *scratch;
    ptrdiff_t scratch_bytes; /* of an item */
};

static ort_result read_input(struct call *call, enum input place)
{
    const struct ort_value *value = NULL;
    ort_result failed = call->kernel->api->input(call->context, place, &value);
    return failed ? failed : read_tensor(call->kernel->api, value, &call->in[place]);
}

static ort_result read_inputs(struct call *call)
{
    const struct kernel *kernel = call->kernel;
    const int is_packed = kernel->packed[0] != NULL;
    const int comes[INPUTS] = {[IN_X] = 1,
                               [IN_W] = !is_packed,
                               [IN_R] = !is_packed,
                               [IN_B] = !is_packed && kernel->has_bias,
                               [IN_LENGTHS] = 1,
                               [IN_H] = 1,
                               [IN_C] = kernel->of->family->states == 2,
                               [IN_P] = !is_packed && kernel->has_peepholes};
    ort_result failed = NULL;
    for (int place = 0; !failed && place < INPUTS; place++) {
        if (comes[place]) failed = read_input(call, (enum input)place);
    }
    return failed;
}

static ort_result take_weights(struct call *call)
{
    const struct kernel *kernel = call->kernel;
    const int is_packed = kernel->packed[0] != NULL;
    ort_result failed = is_packed ? NULL : pack_weights(kernel, call->in, &call->own);
    call->layer = is_packed ? kernel->layer : call->own.layer;
    call->packed = is_packed ? kernel->packed : call->own.packed;
    call->D = kernel->directions;
    call->H = call->layer->H;
    return failed;
}

static ort_result check_state(const struct call *call, const char *name,
                              enum input place)
{
    const int64_t B = call->B, D = call->D;
    const int batch_first = call->kernel->layout;
    if (!call->in[place].data) return NULL;
    return check_shape(call->kernel->api, name, &call->in[place], 3,
                       (int64_t[]){batch_first ? B : D, batch_first ? D : B, call->H});
}

static ort_result check_lengths(const struct call *call)
{
    const struct ort_api *api = call->kernel->api;
    const struct tensor *lengths = &call->in[IN_LENGTHS];
    if (!lengths->data) return NULL;
    ort_result failed =
        check_shape(api, "sequence_lens", lengths, 1, (int64_t[]){call->B});
    if (failed) return failed;
    const int32_t *length = lengths->data;
    for (ptrdiff_t b = 0; b < call->B; b++) {
        if (length[b] < 0 || length[b] > call->T) {
            return failure(api, ORT_INVALID_ARGUMENT,
                           "exactrnn: sequence_lens: expected 0 to %lld, got %d",
                           (long long)call->T, (int)length[b]);
        }
    }
    return NULL;
}

/* Takes T and B from X, and compares all other shapes with them. */
static ort_result check_inputs(struct call *call)
{
    const struct tensor *X = &call->in[IN_X];
    int64_t wanted[] = {-1, -1, call->layer->I};
    if (X->rank == 3) memcpy(wanted, X->shape, 2 * sizeof wanted[0]);
    ort_result failed = check_shape(call->kernel->api, "X", X, 3, wanted);
    if (failed) return failed;
    call->T = (ptrdiff_t)X->shape[call->kernel->layout ? 1 : 0];
    call->B = (ptrdiff_t)X->shape[call->kernel->layout ? 0 : 1];
    failed = check_lengths(call);
    if (!failed) failed = check_state(call, "initial_h", IN_H);
    if (!failed) failed = check_state(call, "initial_c", IN_C);
    return failed;
}

static ort_result make_output(struct call *call, enum output place, size_t rank,
                              const int64_t *shape)
{
    const struct ort_api *api = call->kernel->api;
    struct ort_value *value = NULL;
    ort_result failed = api->output(call->context, place, shape, rank, &value);
    if (failed || !value) return failed;
    return api->tensor_data(value, &call->out[place]);
}

static ort_result make_outputs(struct call *call)
{
    const int64_t T = call->T, B = call->B, H = call->H, D = call->D;
    const int by_batch = call->kernel->layout;
    const int64_t ys[] = {by_batch ? B : T, by_batch ? T : D, by_batch ? D : B, H};
    const int64_t states[] = {by_batch ? B : D, by_batch ? D : B, H};
    ort_result failed = make_output(call, OUT_Y, 4, ys);
    if (!failed) failed = make_output(call, OUT_H, 3, states);
    if (!failed && call->kernel->of->family->states == 2) {
        failed = make_output(call, OUT_C, 3, states);
    }
    return failed;
}

/* Splits the call: as many items as threads are worth their cost. */
static void split(struct call *call)
{
    const struct xr_layer *layer = call->layer;
    const ptrdiff_t step =
        call->D * call->kernel->of->family->gates * layer->H * (layer->I + layer->H);
    const int most = (int)min_of(call->kernel->threads, xr_max_threads());
    const int worth =
        threads_for(work_times(call->T * call->B, step), xr_thread_work.call, most);
    const ptrdiff_t chunks = min_of(ceil_div(worth, call->D), call->B);
    call->rows = ceil_div(call->B, chunks);
    call->items = ceil_div(call->B, call->rows) * call->D;
    call->is_shared = worth > 1 && call->items > 1;
    call->item_threads = call->items == 1 ? most : 1;
}

static void *at(const struct call *call, void *data, ptrdiff_t elements)
{
    return data ? (char *)data + elements * (ptrdiff_t)element_size(call->kernel)
                : NULL;
}

static struct xr_problem problem_of(const struct call *call, ptrdiff_t item)
{
    const ptrdiff_t T = call->T, B = call->B, H = call->H, D = call->D;
    const ptrdiff_t I = call->layer->I;
    const ptrdiff_t d = item % D, first = item / D * call->rows;
    const int by_batch = call->kernel->layout;
    struct xr_problem problem = {.layer = &call->layer[d],
                                 .directions = 1,
                                 .threads = call->item_threads,
                                 .reverse = call->kernel->reverse || d == 1,
                                 .T = T,
                                 .B = min_of(call->rows, B - first),
                                 .packed = {call->packed[d]}};
    problem.x.step = by_batch ? I : B * I;
    problem.x.row = by_batch ? T * I : I;
    problem.y.step = by_batch ? D * H : D * B * H;
    problem.y.row = by_batch ? T * D * H : H;
    void *x = (void *)(uintptr_t)call->in[IN_X].data;
    problem.x.data = at(call, x, first * problem.x.row);
    problem.y.data =
        at(call, call->y, first * problem.y.row + (by_batch ? d * H : d * B * H));
    for (int k = 0; k < call->kernel->of->family->states; k++) {
        problem.state[k] = at(call, call->before[k], (d * B + first) * H);
        problem.state_out[k] = at(call, call->after[k], (d * B + first) * H);
    }
    problem.lengths = call->lengths ? call->lengths + first : NULL;
    problem.scratch = call->scratch + item * call->scratch_bytes;
    return problem;
}

static int moves_states(const struct call *call)
{
    return call->kernel->layout && call->D > 1 && call->B > 1;
}

/* Says where everything lies; what has no place in the runtime's memory takes it from
 * the arena. Without memory the arena counts how much that is. */
static void lay_out(struct call *call, struct arena *arena)
{
    const ptrdiff_t states = call->D * call->B * call->H;
    const size_t size = element_size(call->kernel);
    call->y = call->out[OUT_Y];
    if (!call->y) call->y = arena_take(arena, call->T * states, size);
    for (int k = 0; k < call->kernel->of->family->states; k++) {
        call->before[k] = (void *)(uintptr_t)call->in[IN_H + k].data;
        call->after[k] = call->out[OUT_H + k];
        if (call->before[k] && moves_states(call)) {
            call->before[k] = arena_take(arena, states, size);
        }
        if (!call->after[k] || moves_states(call)) {
            call->after[k] = arena_take(arena, states, size);
        }
    }
    if (call->in[IN_LENGTHS].data) {
        call->lengths = arena_take(arena, call->B, sizeof *call->lengths);
    }
    call->scratch = arena_take(arena, call->items * call->scratch_bytes, 1);
}

/* Copies [n, m, H] to [m, n, H]. */
static void turn(void *to, const void *from, ptrdiff_t n, ptrdiff_t m, size_t bytes)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        for (ptrdiff_t j = 0; j < m; j++) {
            memcpy((char *)to + (size_t)(j * n + i) * bytes,
                   (const char *)from + (size_t)(i * m + j) * bytes, bytes);
        }
    }
}

static void bring_in(struct call *call)
{
    const size_t bytes = (size_t)call->H * element_size(call->kernel);
    for (int k = 0; k < 2 && moves_states(call); k++) {
        if (call->before[k]) {
            turn(call->before[k], call->in[IN_H + k].data, call->B, call->D, bytes);
        }
    }
    const int32_t *length = call->in[IN_LENGTHS].data;
    for (ptrdiff_t b = 0; length && b < call->B; b++) {
        call->lengths[b] = length[b];
    }
}

static void bring_out(struct call *call)
{
    const size_t bytes = (size_t)call->H * element_size(call->kernel);
    for (int k = 0; k < 2 && moves_states(call); k++) {
        if (call->out[OUT_H + k]) {
            turn(call->out[OUT_H + k], call->after[k], call->D, call->B, bytes);
        }
    }
}

static void run_item(void *user, size_t item)
{
    const struct xr_problem problem = problem_of(user, (ptrdiff_t)item);
    xr_forward(&problem);
}

/* Does all items: by the session's threads if the call is worth it. */
static ort_result run_items(struct call *call)
{
    const size_t items = (size_t)call->items;
    if (call->is_shared) {
        return call->kernel->api->parallel_for(call->context, run_item, items, 0, call);
    }
    for (size_t item = 0; item < items; item++) {
        run_item(call, item);
    }
    return NULL;
}

/* Runs a call whose inputs are checked and whose outputs are there. */
static ort_result run(struct call *call)
{
    split(call);
    /* The first item has the most rows. */
    const struct xr_problem first = problem_of(call, 0);
    const ptrdiff_t bytes = (ptrdiff_t)xr_scratch_bytes(&first, 0);
    call->scratch_bytes = ceil_div(bytes, XR_ALIGNMENT) * XR_ALIGNMENT;
    struct arena arena = {0};
    lay_out(call, &arena);
    arena.memory = take_lines(arena.used);
    if (!arena.memory) {
        return failure(call->kernel->api, ORT_FAIL, "exactrnn: no memory for a call");
    }
    arena.used = 0;
    lay_out(call, &arena);
    bring_in(call);
    ort_result failed = run_items(call);
    if (!failed) bring_out(call);
    xr_give_memory(arena.memory);
    return failed;
}

ort_result compute(void *kernel, struct ort_context *context)
{
    struct call call = {.kernel = kernel, .context = context};
    ort_result failed = read_inputs(&call);
    if (!failed) failed = take_weights(&call);
    if (!failed) failed = check_inputs(&call);
    if (!failed) failed = make_outputs(&call);
    if (!failed && call.B > 0) failed = run(&call);
    free_pack(&call.own);
    return failed;
}
