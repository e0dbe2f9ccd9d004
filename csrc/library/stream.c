/* A model one step at a time. All memory is there before the first step, which runs the
 * kernels on the calling thread: nothing below xr_stream_step allocates, locks or asks
 * the system (tests/c/test_real_time.py counts).
 */
#include <stdlib.h>
#include <string.h>

#include "base/engine.h"
#include "library/model.h"

struct xr_stream {
    struct xr_model *model;
    ptrdiff_t B;
    size_t x_bytes, y_bytes;
    struct xr_problem *problems; /* of each layer */
    void *state[XR_MAX_STATES];  /* [L, B, width] */
    int64_t *clock;              /* [B], or NULL */
    void *between[2], *handed[2], *scratch;
};

static size_t state_bytes(const struct xr_stream *stream, int k)
{
    const struct xr_model *model = stream->model;
    const ptrdiff_t width = xr_state_width(&model->parts->layer, k);
    return (size_t)(model->layers * stream->B * width) * model->element;
}

static int states_of(const struct xr_stream *stream)
{
    return xr_state_arrays(&stream->model->parts->layer);
}

static void *new_zeros(size_t bytes)
{
    void *memory = xr_new_memory((ptrdiff_t)bytes, 1);
    return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static enum xr_status no_memory(void)
{
    return xr_refuse(XR_NO_MEMORY, "no memory for a stream");
}

static enum xr_status make_memory(struct xr_stream *stream)
{
    const struct xr_model *model = stream->model;
    const struct xr_layer *layer = &model->parts->layer;
    const size_t handed = (size_t)(stream->B * xr_padded_units(layer)) * model->element;
    int is_missing = 0;
    for (int k = 0; k < states_of(stream); k++) {
        stream->state[k] = new_zeros(state_bytes(stream, k));
        is_missing |= stream->state[k] == NULL;
    }
    for (int i = 0; i < 2; i++) {
        stream->between[i] = new_zeros(stream->y_bytes);
        stream->handed[i] = new_zeros(handed);
        is_missing |= stream->between[i] == NULL || stream->handed[i] == NULL;
    }
    if (layer->modules > 0) {
        stream->clock = new_zeros((size_t)stream->B * sizeof(int64_t));
        is_missing |= stream->clock == NULL;
    }
    stream->problems = calloc((size_t)model->layers, sizeof *stream->problems);
    is_missing |= stream->problems == NULL;
    return is_missing ? no_memory() : XR_OK;
}

/* x of the first layer and y of the last are those of each step. */
static void set_problem(struct xr_stream *stream, ptrdiff_t layer)
{
    const struct xr_model *model = stream->model;
    struct xr_problem *problem = &stream->problems[layer];
    const int hands_up = model->network.kind->bottom != NULL;
    xr_layer_problem(model, layer, problem);
    problem->threads = 1;
    problem->T = 1;
    problem->B = stream->B;
    problem->clock = stream->clock;
    problem->x.row = problem->layer->I;
    problem->x.data = stream->between[(layer + 1) % 2];
    problem->y.row = xr_outputs(model);
    problem->y.data = stream->between[layer % 2];
    problem->lower = hands_up ? stream->handed[(layer + 1) % 2] : NULL;
    problem->upper = hands_up ? stream->handed[layer % 2] : NULL;
    for (int k = 0; k < states_of(stream); k++) {
        const size_t bytes = state_bytes(stream, k) / (size_t)model->layers;
        problem->state_out[k] = (char *)stream->state[k] + (size_t)layer * bytes;
        problem->state[k] = problem->state_out[k];
    }
}

static enum xr_status set_problems(struct xr_stream *stream)
{
    size_t most = 0;
    for (ptrdiff_t layer = 0; layer < stream->model->layers; layer++) {
        set_problem(stream, layer);
        const size_t bytes = xr_scratch_bytes(&stream->problems[layer], 0);
        most = bytes > most ? bytes : most;
    }
    stream->scratch = new_zeros(most);
    for (ptrdiff_t layer = 0; layer < stream->model->layers; layer++) {
        stream->problems[layer].scratch = stream->scratch;
    }
    return stream->scratch == NULL ? no_memory() : XR_OK;
}

static enum xr_status check_new(const struct xr_model *model, ptrdiff_t B)
{
    const struct xr_layer *layer = &model->parts->layer;
    enum xr_status status = xr_check_range("B", B, 1, PTRDIFF_MAX);
    if (status == XR_OK) {
        const double units = (double)xr_padded_units(layer) + (double)layer->I +
                             (double)xr_outputs(model);
        status = xr_check_volume("B", 8 * (double)model->layers * (double)B * units);
    }
    if (status == XR_OK && (model->directions == 2 || model->network.reverse)) {
        status = xr_refuse(XR_UNSUPPORTED,
                           "model: expected one direction, which reads forward: this "
                           "one needs whole sequences");
    }
    return status;
}

enum xr_status xr_stream_new(const struct xr_model *model, ptrdiff_t B,
                             struct xr_stream **out)
{
    enum xr_status status = xr_check_memory("stream", out, sizeof(void *));
    if (status == XR_OK) {
        *out = NULL;
        status = xr_check_memory("model", model, sizeof(void *));
    }
    if (status == XR_OK) {
        status = check_new(model, B);
    }
    if (status != XR_OK) {
        return status;
    }
    struct xr_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return no_memory();
    }
    stream->model = (struct xr_model *)model;
    atomic_fetch_add(&stream->model->users, 1);
    stream->B = B;
    stream->x_bytes = (size_t)(B * model->parts->layer.I) * model->element;
    stream->y_bytes = (size_t)(B * xr_outputs(model)) * model->element;
    status = make_memory(stream);
    if (status == XR_OK) {
        status = set_problems(stream);
    }
    if (status != XR_OK) {
        xr_stream_free(stream);
        return status;
    }
    *out = stream;
    return xr_stream_reset(stream);
}

void xr_stream_free(struct xr_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    for (int k = 0; k < XR_MAX_STATES; k++) {
        xr_give_memory(stream->state[k]);
    }
    for (int i = 0; i < 2; i++) {
        xr_give_memory(stream->between[i]);
        xr_give_memory(stream->handed[i]);
    }
    xr_give_memory(stream->clock);
    free(stream->problems);
    xr_give_memory(stream->scratch);
    xr_model_free(stream->model);
    free(stream);
}

static enum xr_status check_step(const struct xr_stream *stream, const void *x,
                                 const void *y)
{
    enum xr_status status = xr_check_memory("stream", stream, sizeof(void *));
    if (status == XR_OK) {
        status = xr_check_memory("x", x, stream->model->element);
    }
    if (status == XR_OK) {
        status = xr_check_memory("y", y, stream->model->element);
    }
    if (status == XR_OK) {
        const uintptr_t from = (uintptr_t)x, to = (uintptr_t)y;
        if (from < to + stream->y_bytes && to < from + stream->x_bytes) {
            status = xr_refuse(XR_BAD_ARGUMENT,
                               "y: expected memory of its own, got that of x");
        }
    }
    return status;
}

enum xr_status xr_stream_step(struct xr_stream *stream, const void *x, void *y)
{
    const enum xr_status status = check_step(stream, x, y);
    if (status != XR_OK) {
        return status;
    }
    const ptrdiff_t layers = stream->model->layers;
    stream->problems[0].x.data = (void *)x;
    stream->problems[layers - 1].y.data = y;
    for (ptrdiff_t layer = 0; layer < layers; layer++) {
        xr_forward(&stream->problems[layer]);
    }
    for (ptrdiff_t b = 0; stream->clock != NULL && b < stream->B; b++) {
        stream->clock[b]++;
    }
    return XR_OK;
}

/* States */

enum xr_status xr_stream_reset(struct xr_stream *stream)
{
    const enum xr_status status = xr_check_memory("stream", stream, sizeof(void *));
    if (status != XR_OK) {
        return status;
    }
    for (int k = 0; k < states_of(stream); k++) {
        memset(stream->state[k], 0, state_bytes(stream, k));
    }
    for (ptrdiff_t b = 0; stream->clock != NULL && b < stream->B; b++) {
        stream->clock[b] = stream->model->network.phase;
    }
    return XR_OK;
}

static enum xr_status check_state(const struct xr_stream *stream, int k,
                                  const void *state)
{
    enum xr_status status = xr_check_memory("stream", stream, sizeof(void *));
    if (status == XR_OK) {
        status = xr_check_range("k", k, 0, states_of(stream) - 1);
    }
    return status == XR_OK ? xr_check_memory("state", state, 1) : status;
}

enum xr_status xr_stream_get_state(const struct xr_stream *stream, int k, void *state)
{
    const enum xr_status status = check_state(stream, k, state);
    if (status == XR_OK) {
        memcpy(state, stream->state[k], state_bytes(stream, k));
    }
    return status;
}

enum xr_status xr_stream_set_state(struct xr_stream *stream, int k, const void *state)
{
    const enum xr_status status = check_state(stream, k, state);
    if (status == XR_OK) {
        memcpy(stream->state[k], state, state_bytes(stream, k));
    }
    return status;
}

static enum xr_status check_clock(const struct xr_stream *stream, const int64_t *clock)
{
    const enum xr_status status = xr_check_memory("stream", stream, sizeof(void *));
    if (status == XR_OK && stream->clock == NULL) {
        return xr_refuse(XR_UNSUPPORTED, "stream: its model counts no steps");
    }
    return status == XR_OK ? xr_check_memory("clock", clock, sizeof *clock) : status;
}

enum xr_status xr_stream_get_clock(const struct xr_stream *stream, int64_t *clock)
{
    const enum xr_status status = check_clock(stream, clock);
    if (status == XR_OK) {
        memcpy(clock, stream->clock, (size_t)stream->B * sizeof *clock);
    }
    return status;
}

enum xr_status xr_stream_set_clock(struct xr_stream *stream, const int64_t *clock)
{
    enum xr_status status = check_clock(stream, clock);
    if (status == XR_OK) {
        status = xr_check_numbers("clock", clock, stream->B, INT64_C(1) << 62);
    }
    if (status == XR_OK) {
        memcpy(stream->clock, clock, (size_t)stream->B * sizeof *clock);
    }
    return status;
}
