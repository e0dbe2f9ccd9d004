/* Layers as XLA calls them: from buffers and attributes to struct xr_problem.
 *
 * Weights are packed in every call: they are results of other computations as a rule,
 * and nothing may be kept from one call to the next but by the caller. A single step of
 * a few rows does without. All memory that a call needs beside XLA's it allocates and
 * frees itself.
 *
 * Errors are noted in the call and looked at once, before the engine runs; what follows
 * the first one sees NULL and does nothing.
 */
#include "xla/handlers.h"
#include "xla/ffi.h"
#include "base/kept.h"
#include "base/calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACTIVATIONS = 3, MAX_OWNED = 8, MESSAGE = 160, ROLES = 8 };

struct call {
    const struct xla_frame *frame;
    const int64_t *number;
    const double *real;
    struct xr_layer layer[XR_MAX_DIRECTIONS];
    struct xr_problem problem;
    enum xla_dtype dtype;
    size_t itemsize;
    int64_t taken, made; /* arguments and results so far */
    void *owned[MAX_OWNED];
    int owns;
    enum xla_code code;
    char message[MESSAGE]; /* "": nothing is wrong */
};

static void complain(struct call *call, enum xla_code code, const char *message)
{
    if (call->message[0]) return;
    call->code = code;
    snprintf(call->message, MESSAGE, "exactrnn: %s", message);
}

static int is_wrong(const struct call *call) { return call->message[0] != 0; }

static int has(const struct call *call, enum xr_xla_part part)
{
    return (call->number[XR_XLA_PARTS] & part) != 0;
}

/* Memory of the call's own, on a cache line; NULL is noted. */
static void *own(struct call *call, size_t bytes)
{
    const size_t rounded = (bytes / XR_ALIGNMENT + 1) * XR_ALIGNMENT;
    void *memory = is_wrong(call) ? NULL : xr_take_lines(rounded);
    if (memory == NULL) {
        complain(call, XLA_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    call->owned[call->owns++] = memory;
    return memory;
}

/* Attributes */

static const void *find(const struct xla_frame *frame, const char *name,
                        enum xla_attribute kind)
{
    const struct xla_attributes *all = &frame->attributes;
    for (int64_t k = 0; k < all->count; k++) {
        const struct xla_text *found = all->names[k];
        if (found->length == strlen(name) &&
            memcmp(found->start, name, found->length) == 0) {
            return all->kinds[k] == kind ? all->values[k] : NULL;
        }
    }
    return NULL;
}

static int equals(const struct xla_text *text, const char *name)
{
    return strlen(name) == text->length && memcmp(text->start, name, text->length) == 0;
}

/* The engine of the instruction set that is named, or the best there is. */
static const struct xr_engine *engine_of(const struct xla_text *isa,
                                         enum xr_dtype dtype)
{
    const char *chosen = xr_isa_at(0);
    for (int k = 0; xr_isa_at(k) != NULL; k++) {
        if (equals(isa, xr_isa_at(k))) chosen = xr_isa_at(k);
    }
    return xr_find_engine(chosen, dtype);
}

static int cell_of(const struct xla_text *name)
{
    for (int k = 0; xr_cell_at(k) != NULL; k++) {
        if (equals(name, xr_cell_at(k)->name)) return k;
    }
    return -1;
}

static void set_layer(struct call *call, int direction, int cell, ptrdiff_t I,
                      const struct xr_engine *engine)
{
    const int64_t *n = call->number;
    struct xr_layer *layer = &call->layer[direction];
    layer->engine = engine;
    layer->cell = cell;
    layer->I = I;
    layer->H = (ptrdiff_t)n[XR_XLA_UNITS];
    layer->O = (ptrdiff_t)n[XR_XLA_OUTPUTS];
    layer->clip = call->real[0];
    layer->options = (struct xr_options){
        .peepholes = (unsigned)n[XR_XLA_PEEPHOLES],
        .omit = (unsigned)n[XR_XLA_OMIT],
        .coupled = (enum xr_coupled)n[XR_XLA_COUPLED],
        .full_gate_recurrence = (int)n[XR_XLA_LINKED],
        .projects = (int)n[XR_XLA_PROJECTS],
        .cells = (int)n[XR_XLA_CELLS],
    };
    for (int k = 0; k < ACTIVATIONS; k++) {
        const int place = direction * ACTIVATIONS + k;
        layer->activation[k] = (struct xr_nonlinearity){
            .kind = (enum xr_activation)n[XR_XLA_KINDS + place],
            .alpha = call->real[1 + 2 * place],
            .beta = call->real[2 + 2 * place],
        };
    }
    xr_describe(layer);
}

/* Reads all attributes; the layers and what of the problem follows from them. */
static void read_attributes(struct call *call)
{
    const struct xla_text *isa = find(call->frame, "isa", XLA_STRING);
    const struct xla_text *cell = find(call->frame, "cell", XLA_STRING);
    const struct xla_array *numbers = find(call->frame, "numbers", XLA_ARRAY);
    const struct xla_array *reals = find(call->frame, "reals", XLA_ARRAY);
    const int64_t D = numbers != NULL && numbers->count > XR_XLA_KINDS
                          ? ((const int64_t *)numbers->data)[XR_XLA_DIRECTIONS]
                          : 0;
    if (isa == NULL || cell == NULL || reals == NULL || D < 1 ||
        D > XR_MAX_DIRECTIONS || numbers->dtype != XLA_S64 || reals->dtype != XLA_F64 ||
        numbers->count != (size_t)(XR_XLA_KINDS + ACTIVATIONS * D) ||
        reals->count != (size_t)(1 + 2 * ACTIVATIONS * D) ||
        ((const int64_t *)numbers->data)[XR_XLA_FORM_OF] != XR_XLA_FORM ||
        cell_of(cell) < 0) {
        complain(call, XLA_FAILED_PRECONDITION,
                 "expected a program compiled with this version, got another's");
        return;
    }
    call->number = numbers->data;
    call->real = reals->data;
    const struct xla_buffers *given = &call->frame->arguments;
    const struct xla_buffer *x = given->count > 0 ? given->buffer[0] : NULL;
    if (x == NULL || x->rank != 3 || (x->dtype != XLA_F32 && x->dtype != XLA_F64)) {
        complain(call, XLA_INVALID_ARGUMENT, "x: expected three axes of floats");
        return;
    }
    call->dtype = x->dtype;
    call->itemsize = x->dtype == XLA_F32 ? sizeof(float) : sizeof(double);
    const struct xr_engine *engine =
        engine_of(isa, x->dtype == XLA_F32 ? XR_F32 : XR_F64);
    for (int d = 0; d < D; d++) {
        set_layer(call, d, cell_of(cell), (ptrdiff_t)x->dims[2], engine);
    }
    struct xr_problem *problem = &call->problem;
    const int rows_first = call->number[XR_XLA_BATCH_FIRST] != 0;
    problem->layer = &call->layer[0];
    problem->second = D == 2 ? &call->layer[1] : NULL;
    problem->directions = (int)D;
    problem->reverse = (int)call->number[XR_XLA_REVERSE];
    problem->T = (ptrdiff_t)x->dims[rows_first];
    problem->B = (ptrdiff_t)x->dims[!rows_first];
    const int64_t threads = call->number[XR_XLA_THREADS];
    problem->threads = threads > 0 ? (int)threads : xr_max_threads();
}

/* Buffers */

static int64_t elements_of(const struct xla_buffer *buffer)
{
    int64_t count = 1;
    for (int64_t k = 0; k < buffer->rank; k++) {
        count *= buffer->dims[k];
    }
    return count;
}

/* The memory of the next buffer of a list; one of another size or type is noted. */
static void *next(struct call *call, const struct xla_buffers *from, int64_t *place,
                  enum xla_dtype dtype, size_t count)
{
    if (is_wrong(call)) return NULL;
    const struct xla_buffer *buffer =
        *place < from->count ? from->buffer[*place] : NULL;
    if (buffer == NULL || buffer->dtype != dtype ||
        (size_t)elements_of(buffer) != count) {
        const char *list = from == &call->frame->results ? "result" : "argument";
        char text[MESSAGE / 2];
        snprintf(text, sizeof text, "%s %d: expected %zu elements of type %d", list,
                 (int)*place, count, (int)dtype);
        complain(call, XLA_INVALID_ARGUMENT, text);
        return NULL;
    }
    ++*place;
    return buffer->data;
}

static void *take(struct call *call, ptrdiff_t count)
{
    return next(call, &call->frame->arguments, &call->taken, call->dtype,
                (size_t)count);
}

static void *make(struct call *call, ptrdiff_t count)
{
    return next(call, &call->frame->results, &call->made, call->dtype, (size_t)count);
}

static struct xr_sequence sequence(const struct call *call, void *data, ptrdiff_t width)
{
    if (call->number[XR_XLA_BATCH_FIRST]) {
        return (struct xr_sequence){data, width, call->problem.T * width};
    }
    return (struct xr_sequence){data, call->problem.B * width, width};
}

static ptrdiff_t points(const struct call *call)
{
    return call->problem.T * call->problem.B;
}

static ptrdiff_t input_width(const struct call *call) { return call->layer[0].I; }

static ptrdiff_t output_width(const struct call *call)
{
    const struct xr_layer *layer = &call->layer[0];
    return call->problem.directions * layer->info.cells * layer->O;
}

static ptrdiff_t cells_between(const struct call *call)
{
    return call->problem.directions * points(call) * xr_padded_units(&call->layer[0]);
}

static ptrdiff_t state_size(const struct call *call, int array)
{
    return call->problem.directions * call->problem.B *
           xr_state_width(&call->layer[0], array);
}

/* The lengths as int64, each compared with T. */
static void take_lengths(struct call *call)
{
    if (is_wrong(call) || !has(call, XR_XLA_LENGTHS)) return;
    const struct xla_buffers *given = &call->frame->arguments;
    const ptrdiff_t T = call->problem.T, B = call->problem.B;
    const enum xla_dtype dtype =
        call->taken < given->count && given->buffer[call->taken]->dtype == XLA_S32
            ? XLA_S32
            : XLA_S64;
    const void *from = next(call, given, &call->taken, dtype, (size_t)B);
    int64_t *lengths = own(call, (size_t)B * sizeof *lengths);
    if (lengths == NULL) return;
    for (ptrdiff_t b = 0; b < B; b++) {
        lengths[b] =
            dtype == XLA_S32 ? ((const int32_t *)from)[b] : ((const int64_t *)from)[b];
        if (lengths[b] < 0 || lengths[b] > T) {
            char text[MESSAGE / 2];
            snprintf(text, sizeof text, "lengths[%td]: expected 0..T=%td, got %lld", b,
                     T, (long long)lengths[b]);
            complain(call, XLA_INVALID_ARGUMENT, text);
            return;
        }
    }
    call->problem.lengths = lengths;
}

static ptrdiff_t weight_size(const struct xr_layer *layer, int role)
{
    const struct xr_cell_info *info = &layer->info;
    const ptrdiff_t H = layer->H, O = layer->O, linked = info->links * H;
    const ptrdiff_t columns = info->cells * O + info->heard * H;
    const ptrdiff_t sizes[ROLES] = {info->w_blocks * H * layer->I,
                                    info->r_blocks * H * columns,
                                    info->w_blocks * H,
                                    info->r_blocks * H,
                                    O * H,
                                    O,
                                    info->vectors * H,
                                    linked * linked};
    return sizes[role];
}

/* Takes the weights of a direction, or makes their gradients, which begin as zeros. */
static void each_weight(struct call *call, int direction, int gradients,
                        void *found[ROLES])
{
    for (int role = 0; role < ROLES && !is_wrong(call); role++) {
        const ptrdiff_t size = weight_size(&call->layer[direction], role);
        found[role] = NULL;
        if (!(call->number[XR_XLA_WEIGHTS] >> role & 1)) continue;
        found[role] = gradients ? make(call, size) : take(call, size);
        if (gradients && found[role] != NULL) {
            memset(found[role], 0, (size_t)size * call->itemsize);
        }
    }
}

/* Takes the weights of all directions. */
static void take_weights(struct call *call, struct xr_weights *weights)
{
    for (int d = 0; d < call->problem.directions; d++) {
        void *w[ROLES] = {NULL};
        each_weight(call, d, 0, w);
        weights[d] =
            (struct xr_weights){w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]};
    }
}

/* Packs all weights; `backward` in both ways. */
static void pack_weights(struct call *call, const struct xr_weights *all, int backward)
{
    struct xr_problem *problem = &call->problem;
    for (int d = 0; d < problem->directions && !is_wrong(call); d++) {
        const struct xr_layer *layer = &call->layer[d];
        const struct xr_weights weights = all[d];
        void *packed = own(call, xr_packed_bytes(layer));
        if (packed == NULL) return;
        xr_pack(layer, &weights, packed, NULL);
        problem->packed[d] = packed;
        if (!backward) continue;
        packed = own(call, xr_packed_backward_bytes(layer));
        if (packed == NULL) return;
        xr_pack_backward(layer, &weights, packed, NULL);
        problem->packed_backward[d] = packed;
    }
}

/* Memory for a cache that lies on a cache line: the buffer's own if it does. */
static void *align_cache(struct call *call, void *buffer, size_t bytes)
{
    if ((uintptr_t)buffer % XR_ALIGNMENT == 0) return buffer;
    return own(call, bytes);
}

static void take_scratch(struct call *call, int backward)
{
    if (is_wrong(call)) return;
    call->problem.scratch = own(call, xr_scratch_bytes(&call->problem, backward));
}

/* Whether nothing was wrong and all buffers have been used. */
static int is_complete(struct call *call)
{
    if (call->taken != call->frame->arguments.count ||
        call->made != call->frame->results.count) {
        complain(call, XLA_INVALID_ARGUMENT, "expected fewer buffers");
    }
    return !is_wrong(call);
}

/* A step from weights that are not packed */

static int is_direct(const struct call *call)
{
    const struct xr_problem *problem = &call->problem;
    return problem->T == 1 && problem->B > 0 && problem->B <= XR_DIRECT_ROWS &&
           !has(call, XR_XLA_LENGTHS) && !has(call, XR_XLA_LOWER) &&
           !has(call, XR_XLA_UPPER) && !has(call, XR_XLA_CACHE) &&
           xr_is_direct(problem->layer);
}

/* The step in one direction; its scratch is as large as that in the other. */
static struct xr_step direct_step(const struct call *call,
                                  const struct xr_weights *weights, int direction)
{
    const struct xr_problem *problem = &call->problem;
    struct xr_step step = {.layer = &call->layer[direction],
                           .weights = &weights[direction],
                           .B = problem->B,
                           .threads = problem->threads,
                           .x = problem->x.data,
                           .scratch = problem->scratch};
    const size_t bytes = (size_t)problem->B * (size_t)step.layer->H * call->itemsize;
    for (int k = 0; k < xr_state_arrays(step.layer); k++) {
        const char *from = problem->state[k];
        step.state[k] = from ? from + (size_t)direction * bytes : NULL;
        step.state_out[k] = (char *)problem->state_out[k] + (size_t)direction * bytes;
    }
    return step;
}

static void run_direct(const struct call *call, const struct xr_weights *weights)
{
    const struct xr_problem *problem = &call->problem;
    const size_t D = (size_t)problem->directions;
    for (size_t d = 0; d < D; d++) {
        const struct xr_step step = direct_step(call, weights, (int)d);
        const size_t row = (size_t)step.layer->H * call->itemsize;
        xr_step_direct(&step);
        for (size_t b = 0; b < (size_t)step.B; b++) {
            memcpy((char *)problem->y.data + (b * D + d) * row,
                   (const char *)step.state_out[0] + b * row, row);
        }
    }
}

/* The two calls */

static void run_forward(struct call *call)
{
    struct xr_problem *problem = &call->problem;
    const int states = xr_state_arrays(&call->layer[0]);
    const ptrdiff_t I = input_width(call), Y = output_width(call);
    problem->x = sequence(call, take(call, points(call) * I), I);
    take_lengths(call);
    if (has(call, XR_XLA_LOWER)) problem->lower = take(call, cells_between(call));
    for (int k = 0; k < states && has(call, XR_XLA_STATES); k++) {
        problem->state[k] = take(call, state_size(call, k));
    }
    struct xr_weights weights[XR_MAX_DIRECTIONS];
    take_weights(call, weights);
    const int direct = !is_wrong(call) && is_direct(call);
    if (!direct) pack_weights(call, weights, 0);
    problem->y = sequence(call, make(call, points(call) * Y), Y);
    for (int k = 0; k < states; k++) {
        problem->state_out[k] = make(call, state_size(call, k));
    }
    if (has(call, XR_XLA_UPPER)) problem->upper = make(call, cells_between(call));
    const size_t bytes = xr_cache_layout(problem).bytes;
    void *cache = NULL;
    if (has(call, XR_XLA_CACHE)) {
        cache = next(call, &call->frame->results, &call->made, XLA_U8, bytes);
        problem->cache = align_cache(call, cache, bytes);
    }
    if (direct) {
        const struct xr_step step = direct_step(call, weights, 0);
        problem->scratch = own(call, xr_direct_bytes(&step));
    } else {
        take_scratch(call, 0);
    }
    if (!is_complete(call)) return;
    if (direct) {
        run_direct(call, weights);
        return;
    }
    xr_forward(problem);
    if (problem->cache != cache) memcpy(cache, problem->cache, bytes);
}

static void run_backward(struct call *call)
{
    struct xr_problem *problem = &call->problem;
    const int states = xr_state_arrays(&call->layer[0]);
    const ptrdiff_t I = input_width(call), Y = output_width(call);
    problem->x = sequence(call, take(call, points(call) * I), I);
    take_lengths(call);
    if (has(call, XR_XLA_LOWER)) problem->lower = take(call, cells_between(call));
    const size_t bytes = xr_cache_layout(problem).bytes;
    void *cache = next(call, &call->frame->arguments, &call->taken, XLA_U8, bytes);
    problem->cache = align_cache(call, cache, bytes);
    problem->dy = sequence(call, take(call, points(call) * Y), Y);
    for (int k = 0; k < states; k++) {
        problem->dstate[k] = take(call, state_size(call, k));
    }
    if (has(call, XR_XLA_UPPER)) problem->dupper = take(call, cells_between(call));
    struct xr_weights weights[XR_MAX_DIRECTIONS];
    take_weights(call, weights);
    pack_weights(call, weights, 1);
    problem->dx = sequence(call, make(call, points(call) * I), I);
    for (int k = 0; k < states; k++) {
        problem->dstate_out[k] = make(call, state_size(call, k));
    }
    if (has(call, XR_XLA_LOWER)) problem->dlower = make(call, cells_between(call));
    for (int d = 0; d < problem->directions; d++) {
        void *w[ROLES] = {NULL};
        each_weight(call, d, 1, w);
        problem->dw[d] =
            (struct xr_gradients){w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]};
    }
    take_scratch(call, 1);
    if (!is_complete(call)) return;
    if (problem->cache != cache) memcpy(problem->cache, cache, bytes);
    xr_backward(problem);
}

/* Says which interface this is, if that is what was asked. */
static int answers(const struct xla_frame *frame)
{
    const struct xla_extension *extension = frame->extension;
    if (extension == NULL || extension->kind != XLA_METADATA) return 0;
    struct xla_metadata *answer = ((const struct xla_question *)extension)->answer;
    answer->version.major = XLA_MAJOR;
    answer->version.minor = XLA_MINOR;
    answer->traits = 0;
    return 1;
}

static struct xla_error *handle(struct xla_frame *frame, void (*run)(struct call *))
{
    if (answers(frame) || frame->stage != XLA_EXECUTE) return NULL;
    struct call call = {.frame = frame};
    read_attributes(&call);
    if (!is_wrong(&call)) run(&call);
    while (call.owns > 0) {
        xr_give_memory(call.owned[--call.owns]);
    }
    if (!is_wrong(&call)) return NULL;
    struct xla_complaint complaint = {
        .size = sizeof complaint, .message = call.message, .code = call.code};
    return frame->api->create_error(&complaint);
}

struct xla_error *xr_xla_forward(struct xla_frame *frame)
{
    return handle(frame, run_forward);
}

struct xla_error *xr_xla_backward(struct xla_frame *frame)
{
    return handle(frame, run_backward);
}
