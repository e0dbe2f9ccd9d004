/* One call of a node: arrays of the runtime to a problem of the engine, and back.
 *
 * ONNX has an axis for the directions in front of the batch, [T, D, B, H], where the
 * engine has them side by side in a row, [T, B, D*H]. These are the same memory where
 * one of D and B is 1, and with layout 1, whose output is [B, T, D, H]. Else the output
 * is computed aside and copied. States are [D, B, H] in both, but [B, D, H] with layout
 * 1.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "onnxruntime/kernel.h"

struct call {
    const struct kernel *kernel;
    struct ort_context *context;
    struct tensor in[INPUTS];
    void *out[OUTPUTS]; /* NULL: not wanted */
    struct pack own;    /* weights of this call alone */
    struct xr_problem problem;
    ptrdiff_t H;

    int moves_y, moves_states;  /* other memory orders than the engine's */
    void *y;                    /* where the engine writes it */
    void *before[2], *after[2]; /* states, likewise */
    int64_t *lengths;
};

static ort_result read_input(struct call *call, enum input place)
{
    const struct ort_value *value = NULL;
    ort_result failed = call->kernel->api->input(call->context, place, &value);
    return failed ? failed : read_tensor(call->kernel->api, value, &call->in[place]);
}

static ort_result read_inputs(struct call *call)
{
    const int comes[INPUTS] = {[IN_X] = 1,
                               [IN_W] = !call->kernel->packed[0],
                               [IN_R] = !call->kernel->packed[0],
                               [IN_B] = !call->kernel->packed[0],
                               [IN_LENGTHS] = 1,
                               [IN_H] = 1,
                               [IN_C] = call->kernel->of->family->states == 2,
                               [IN_P] = call->kernel->has_peepholes &&
                                        !call->kernel->packed[0]};
    ort_result failed = NULL;
    for (int place = 0; !failed && place < INPUTS; place++) {
        if (comes[place]) failed = read_input(call, (enum input)place);
    }
    return failed;
}

/* Has the layers and their packed weights in the problem. */
static ort_result take_weights(struct call *call)
{
    const struct kernel *kernel = call->kernel;
    const int is_packed = kernel->packed[0] != NULL;
    ort_result failed = is_packed ? NULL : pack_weights(kernel, call->in, &call->own);
    if (failed) return failed;
    const struct xr_layer *layer = is_packed ? kernel->layer : call->own.layer;
    call->H = layer->H;
    call->problem.layer = layer;
    call->problem.second = kernel->directions == 2 ? layer + 1 : NULL;
    call->problem.directions = kernel->directions;
    call->problem.reverse = kernel->reverse;
    for (int d = 0; d < kernel->directions; d++) {
        call->problem.packed[d] = is_packed ? kernel->packed[d] : call->own.packed[d];
    }
    return NULL;
}

static ort_result check_state(const struct call *call, const char *name,
                              enum input place)
{
    const int64_t B = call->problem.B, D = call->kernel->directions;
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
        check_shape(api, "sequence_lens", lengths, 1, (int64_t[]){call->problem.B});
    if (failed) return failed;
    const int32_t *length = lengths->data;
    for (ptrdiff_t b = 0; b < call->problem.B; b++) {
        if (length[b] < 0 || length[b] > call->problem.T) {
            return failure(api, ORT_INVALID_ARGUMENT,
                           "exactrnn: sequence_lens: expected 0 to %lld, got %d",
                           (long long)call->problem.T, (int)length[b]);
        }
    }
    return NULL;
}

/* Takes T and B from X, and compares all other shapes with them. */
static ort_result check_inputs(struct call *call)
{
    const struct ort_api *api = call->kernel->api;
    const struct tensor *X = &call->in[IN_X];
    const int64_t I = call->problem.layer->I;
    int64_t wanted[] = {0, 0, I};
    if (X->rank == 3) memcpy(wanted, X->shape, 2 * sizeof wanted[0]);
    ort_result failed = check_shape(api, "X", X, 3, wanted);
    if (failed) return failed;
    call->problem.T = (ptrdiff_t)X->shape[call->kernel->layout ? 1 : 0];
    call->problem.B = (ptrdiff_t)X->shape[call->kernel->layout ? 0 : 1];
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
    const int64_t T = call->problem.T, B = call->problem.B, H = call->H;
    const int64_t D = call->kernel->directions;
    const int batch_first = call->kernel->layout;
    const int64_t ys[] = {batch_first ? B : T, batch_first ? T : D, batch_first ? D : B,
                          H};
    const int64_t states[] = {batch_first ? B : D, batch_first ? D : B, H};
    ort_result failed = make_output(call, OUT_Y, 4, ys);
    if (!failed) failed = make_output(call, OUT_H, 3, states);
    if (!failed && call->kernel->of->family->states == 2) {
        failed = make_output(call, OUT_C, 3, states);
    }
    return failed;
}

/* Says where everything lies; what has no place in the runtime's memory takes it from
 * the arena. Without memory the arena counts how much that is. */
static void lay_out(struct call *call, struct arena *arena)
{
    const struct kernel *kernel = call->kernel;
    struct xr_problem *problem = &call->problem;
    const ptrdiff_t T = problem->T, B = problem->B, D = problem->directions;
    const ptrdiff_t states = D * B * call->H;
    const size_t size = element_size(kernel);
    call->moves_y = D > 1 && B > 1 && !kernel->layout;
    call->moves_states = D > 1 && B > 1 && kernel->layout;
    const int is_aside = call->moves_y || !call->out[OUT_Y];
    call->y = is_aside ? arena_take(arena, T * states, size) : call->out[OUT_Y];
    for (int k = 0; k < kernel->of->family->states; k++) {
        const void *given = call->in[IN_H + k].data;
        const int is_moved = given && call->moves_states;
        call->before[k] = is_moved ? arena_take(arena, states, size) : NULL;
        problem->state[k] = is_moved ? call->before[k] : given;
        void *wanted = call->out[OUT_H + k];
        const int stays = wanted && !call->moves_states;
        call->after[k] = stays ? wanted : arena_take(arena, states, size);
        problem->state_out[k] = call->after[k];
    }
    if (call->in[IN_LENGTHS].data) {
        call->lengths = arena_take(arena, B, sizeof *call->lengths);
        problem->lengths = call->lengths;
    }
    const ptrdiff_t I = problem->layer->I, row = D * call->H;
    const int by_batch = kernel->layout;
    problem->x = (struct xr_sequence){(void *)(uintptr_t)call->in[IN_X].data,
                                      by_batch ? I : B * I, by_batch ? T * I : I};
    problem->y = (struct xr_sequence){call->y, by_batch ? row : B * row,
                                      by_batch ? T * row : row};
    problem->scratch = arena_take(arena, (ptrdiff_t)xr_scratch_bytes(problem, 0), 1);
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
    const ptrdiff_t B = call->problem.B, D = call->problem.directions;
    const size_t bytes = (size_t)call->H * element_size(call->kernel);
    for (int k = 0; k < 2; k++) {
        if (call->before[k]) {
            turn(call->before[k], call->in[IN_H + k].data, B, D, bytes);
        }
    }
    const int32_t *length = call->in[IN_LENGTHS].data;
    for (ptrdiff_t b = 0; length && b < B; b++) {
        call->lengths[b] = length[b];
    }
}

static void bring_out(struct call *call)
{
    const ptrdiff_t B = call->problem.B, D = call->problem.directions;
    const size_t bytes = (size_t)call->H * element_size(call->kernel);
    const size_t step = (size_t)(B * D) * bytes;
    for (ptrdiff_t t = 0; call->moves_y && call->out[OUT_Y] && t < call->problem.T;
         t++) {
        const size_t at = (size_t)t * step;
        turn((char *)call->out[OUT_Y] + at, (const char *)call->y + at, B, D, bytes);
    }
    for (int k = 0; call->moves_states && k < 2; k++) {
        if (call->out[OUT_H + k]) {
            turn(call->out[OUT_H + k], call->after[k], D, B, bytes);
        }
    }
}

/* Runs a call whose inputs are checked and whose outputs are there. */
static ort_result run(struct call *call)
{
    struct arena arena = {0};
    call->problem.threads = (int)min_of(call->kernel->threads, xr_max_threads());
    lay_out(call, &arena);
    arena.memory = take_lines(arena.used);
    if (!arena.memory) {
        return failure(call->kernel->api, ORT_FAIL, "exactrnn: no memory for a call");
    }
    arena.used = 0;
    lay_out(call, &arena);
    bring_in(call);
    xr_forward(&call->problem);
    bring_out(call);
    free(arena.memory);
    return NULL;
}

ort_result compute(void *kernel, struct ort_context *context)
{
    struct call call = {.kernel = kernel, .context = context};
    ort_result failed = read_inputs(&call);
    if (!failed) failed = take_weights(&call);
    if (!failed) failed = check_inputs(&call);
    if (!failed) failed = make_outputs(&call);
    if (!failed && call.problem.B > 0) failed = run(&call);
    free_pack(&call.own);
    return failed;
}
