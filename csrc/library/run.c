/* A model over whole sequences: layer after layer. */
#include <stdlib.h>
#include <string.h>

#include "base/engine.h"
#include "library/model.h"

/* Memory of one call. Layers write their outputs, and the cell states that the layer
 * above reads, to one of two places in turn. */
struct memory {
    void *output[2], *handed[2], *state, *clock, *scratch;
    size_t scratch_bytes;
};

static void free_memory(struct memory *memory)
{
    for (int i = 0; i < 2; i++) {
        xr_give_memory(memory->output[i]);
        xr_give_memory(memory->handed[i]);
    }
    xr_give_memory(memory->state);
    xr_give_memory(memory->clock);
    xr_give_memory(memory->scratch);
}

static enum xr_status no_memory(void)
{
    return xr_refuse(XR_NO_MEMORY, "no memory for a call of this size");
}

/* Elements of all states of one layer. */
static ptrdiff_t state_elements(const struct xr_model *model, ptrdiff_t B)
{
    const struct xr_layer *layer = &model->parts->layer;
    ptrdiff_t sum = 0;
    for (int k = 0; k < xr_state_arrays(layer); k++) {
        sum += model->directions * B * xr_state_width(layer, k);
    }
    return sum;
}

static enum xr_status make_clock(const struct xr_model *model, const struct xr_run *run,
                                 struct memory *memory)
{
    if (model->parts->layer.modules == 0 || run->clock != NULL) {
        return XR_OK;
    }
    memory->clock = xr_new_memory(run->B, sizeof(int64_t));
    if (memory->clock == NULL) {
        return no_memory();
    }
    for (ptrdiff_t b = 0; b < run->B; b++) {
        ((int64_t *)memory->clock)[b] = model->network.phase;
    }
    return XR_OK;
}

static enum xr_status make_memory(const struct xr_model *model,
                                  const struct xr_run *run, struct memory *memory)
{
    const ptrdiff_t rows = run->T * run->B, outputs = rows * xr_outputs(model);
    const ptrdiff_t handed =
        rows * model->directions * xr_padded_units(&model->parts->layer);
    const int hands_up = model->network.kind->bottom != NULL;
    int is_missing = 0;
    for (int i = 0; i < 2 && i < model->layers - 1; i++) {
        memory->output[i] = xr_new_memory(outputs, model->element);
        is_missing |= memory->output[i] == NULL;
    }
    for (int i = 0; i < 2 && hands_up; i++) {
        memory->handed[i] = xr_new_memory(handed, model->element);
        is_missing |= memory->handed[i] == NULL;
    }
    memory->state = xr_new_memory(state_elements(model, run->B), model->element);
    is_missing |= memory->state == NULL;
    return is_missing ? no_memory() : make_clock(model, run, memory);
}

static enum xr_status fit_scratch(struct memory *memory, struct xr_problem *problem)
{
    const size_t bytes = xr_scratch_bytes(problem, 0);
    if (memory->scratch == NULL || memory->scratch_bytes < bytes) {
        xr_give_memory(memory->scratch);
        memory->scratch = xr_new_memory((ptrdiff_t)bytes, 1);
        memory->scratch_bytes = bytes;
    }
    problem->scratch = memory->scratch;
    return memory->scratch == NULL ? no_memory() : XR_OK;
}

static void set_states(const struct xr_model *model, const struct xr_run *run,
                       ptrdiff_t layer, const struct memory *memory,
                       struct xr_problem *problem)
{
    char *unwanted = memory->state;
    for (int k = 0; k < xr_state_arrays(problem->layer); k++) {
        const ptrdiff_t width = xr_state_width(problem->layer, k);
        const size_t bytes =
            (size_t)(model->directions * run->B * width) * model->element;
        const size_t before = (size_t)layer * bytes;
        const char *from = run->state[k];
        char *to = run->state_out[k];
        problem->state[k] = from == NULL ? NULL : from + before;
        problem->state_out[k] = to == NULL ? unwanted : to + before;
        unwanted += bytes;
    }
}

static struct xr_sequence between(void *data, const struct xr_model *model, ptrdiff_t B)
{
    const ptrdiff_t width = xr_outputs(model);
    return (struct xr_sequence){.data = data, .step = B * width, .row = width};
}

static enum xr_status run_layer(const struct xr_model *model, const struct xr_run *run,
                                ptrdiff_t layer, struct memory *memory)
{
    struct xr_problem problem;
    xr_layer_problem(model, layer, &problem);
    problem.threads = run->threads;
    problem.T = run->T;
    problem.B = run->B;
    problem.lengths = run->lengths;
    problem.clock = run->clock != NULL ? run->clock : memory->clock;
    problem.stop = run->stop;
    problem.x =
        layer == 0 ? run->x : between(memory->output[(layer + 1) % 2], model, run->B);
    problem.y = layer == model->layers - 1
                    ? run->y
                    : between(memory->output[layer % 2], model, run->B);
    problem.lower = layer == 0 ? NULL : memory->handed[(layer + 1) % 2];
    problem.upper = memory->handed[layer % 2];
    set_states(model, run, layer, memory, &problem);
    const enum xr_status status = fit_scratch(memory, &problem);
    if (status != XR_OK) {
        return status;
    }
    xr_forward(&problem);
    return xr_end_of(run->stop);
}

static enum xr_status run_layers(const struct xr_model *model, const struct xr_run *run)
{
    struct memory memory = {.state = NULL};
    enum xr_status status = make_memory(model, run, &memory);
    for (ptrdiff_t layer = 0; layer < model->layers && status == XR_OK; layer++) {
        status = run_layer(model, run, layer, &memory);
    }
    free_memory(&memory);
    return status;
}

/* Checks */

static enum xr_status check_sequence(const char *name, struct xr_sequence sequence,
                                     const struct xr_run *run, size_t element)
{
    const double step = (double)sequence.step, row = (double)sequence.row;
    const double reach = (double)run->T * (step < 0 ? -step : step) +
                         (double)run->B * (row < 0 ? -row : row);
    const enum xr_status status = xr_check_memory(name, sequence.data, element);
    return status == XR_OK ? xr_check_volume(name, reach) : status;
}

static enum xr_status check_states(const struct xr_run *run, int states, size_t element)
{
    enum xr_status status = XR_OK;
    for (int k = 0; k < states && status == XR_OK; k++) {
        status = xr_check_optional("state", run->state[k], element);
        if (status == XR_OK) {
            status = xr_check_optional("state_out", run->state_out[k], element);
        }
    }
    return status;
}

static enum xr_status check_sizes(const struct xr_model *model,
                                  const struct xr_run *run)
{
    enum xr_status status = xr_check_range("T", run->T, 0, PTRDIFF_MAX);
    if (status == XR_OK) {
        status = xr_check_range("B", run->B, 0, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        status = xr_check_threads(run->threads);
    }
    if (status == XR_OK) {
        const double units = (double)xr_padded_units(&model->parts->layer) +
                             (double)model->parts->layer.I + (double)xr_outputs(model);
        const double rows = ((double)run->T + 1) * (double)run->B;
        status = xr_check_volume("T, B", 4 * (double)model->layers * rows * units);
    }
    return status;
}

static enum xr_status check_run(const struct xr_model *model, const struct xr_run *run)
{
    const struct xr_layer *layer = &model->parts->layer;
    enum xr_status status = check_sizes(model, run);
    if (status == XR_OK) {
        status = xr_check_numbers("lengths", run->lengths, run->B, run->T);
    }
    if (status == XR_OK && run->clock != NULL && layer->modules == 0) {
        status = xr_refuse(XR_BAD_ARGUMENT,
                           "clock: expected NULL for a model that counts no steps");
    }
    if (status == XR_OK) {
        status = xr_check_numbers("clock", run->clock, run->B, INT64_C(1) << 62);
    }
    if (status == XR_OK) {
        status = check_sequence("x", run->x, run, model->element);
    }
    if (status == XR_OK) {
        status = check_sequence("y", run->y, run, model->element);
    }
    return status == XR_OK ? check_states(run, xr_state_arrays(layer), model->element)
                           : status;
}

/* Without a step the states stay as they are. */
static void hand_on(const struct xr_model *model, const struct xr_run *run)
{
    const struct xr_layer *layer = &model->parts->layer;
    for (int k = 0; k < xr_state_arrays(layer); k++) {
        const ptrdiff_t width = xr_state_width(layer, k);
        const ptrdiff_t rows = model->layers * model->directions * run->B;
        const size_t bytes = (size_t)(rows * width) * model->element;
        if (run->state_out[k] != NULL && run->state[k] != NULL) {
            memmove(run->state_out[k], run->state[k], bytes);
        } else if (run->state_out[k] != NULL) {
            memset(run->state_out[k], 0, bytes);
        }
    }
}

enum xr_status xr_model_run(const struct xr_model *model, const struct xr_run *run)
{
    struct xr_run own;
    enum xr_status status = xr_check_memory("model", model, sizeof(void *));
    if (status == XR_OK) {
        status = xr_take_struct("run", run, &own, sizeof own);
    }
    if (status != XR_OK) {
        return status;
    }
    own.threads = own.threads == 0 ? xr_max_threads() : own.threads;
    status = check_run(model, &own);
    if (status != XR_OK) {
        return status;
    }
    if (own.T == 0 || own.B == 0) {
        hand_on(model, &own);
        return XR_OK;
    }
    return run_layers(model, &own);
}
