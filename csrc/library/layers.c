/* Layers, checked: the functions of exactrnn.h on those of base/calls.h. */
#include <string.h>

#include "base/engine.h"
#include "library/checks.h"

/* A call of the caller's: copies of his structs, as this library knows them. */
struct checked {
    struct xr_problem problem;
    struct xr_layer layer, second;
    size_t element;
};

enum xr_status xr_set_threads(int threads)
{
    const enum xr_status status = xr_check_threads(threads);
    if (status == XR_OK) {
        xr_wish_threads((struct xr_thread_wish){threads, 1});
    }
    return status;
}

enum xr_status xr_layer_describe(struct xr_layer *layer)
{
    struct xr_layer own;
    const enum xr_status status = xr_take_layer("layer", layer, &own);
    if (status == XR_OK) {
        layer->info = own.info;
    }
    return status;
}

enum xr_status xr_layer_measure(const struct xr_layer *layer,
                                struct xr_layer_sizes *sizes)
{
    struct xr_layer own;
    struct xr_layer_sizes found;
    enum xr_status status = xr_take_struct("sizes", sizes, &found, sizeof found);
    if (status == XR_OK) {
        status = xr_take_layer("layer", layer, &own);
    }
    if (status != XR_OK) {
        return status;
    }
    found.padded_units = xr_padded_units(&own);
    found.states = xr_state_arrays(&own);
    for (int k = 0; k < found.states; k++) {
        found.state_width[k] = xr_state_width(&own, k);
    }
    found.packed_bytes = xr_packed_bytes(&own);
    found.packed_backward_bytes = xr_packed_backward_bytes(&own);
    *sizes = found;
    return XR_OK;
}

/* Packing */

static enum xr_status check_weight(const char *name, const void *weight, int is_there,
                                   size_t element)
{
    if (!is_there && weight == NULL) {
        return XR_OK;
    }
    if (!is_there) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "weights.%s: expected NULL, which this layer lacks", name);
    }
    return xr_check_memory(name, weight, element);
}

static enum xr_status check_weights(const struct xr_layer *layer,
                                    const struct xr_weights *weights)
{
    const struct xr_cell_info *info = &layer->info;
    const struct {
        const char *name;
        const void *weight;
        int is_there;
    } all[] = {
        {"w_ih", weights->w_ih, info->w_blocks > 0},
        {"w_hh", weights->w_hh, info->r_blocks > 0},
        {"b_ih", weights->b_ih, weights->b_ih != NULL && info->w_blocks > 0},
        {"b_hh", weights->b_hh, weights->b_hh != NULL && info->r_blocks > 0},
        {"w_hr", weights->w_hr, info->projects},
        {"b_hr", weights->b_hr, weights->b_hr != NULL && info->projects},
        {"vectors", weights->vectors, info->vectors > 0},
        {"w_gates", weights->w_gates, info->links > 0},
    };
    enum xr_status status = XR_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && status == XR_OK; i++) {
        status = check_weight(all[i].name, all[i].weight, all[i].is_there,
                              layer->engine->element_bytes);
    }
    return status;
}

static enum xr_status check_pack(const struct xr_layer *layer, struct xr_layer *own,
                                 const struct xr_weights *weights, void *packed)
{
    enum xr_status status = xr_take_layer("layer", layer, own);
    if (status == XR_OK) {
        status = xr_check_memory("weights", weights, sizeof(void *));
    }
    if (status == XR_OK) {
        status = check_weights(own, weights);
    }
    if (status == XR_OK) {
        status = xr_check_memory("packed", packed, XR_ALIGNMENT);
    }
    return status;
}

enum xr_status xr_layer_pack(const struct xr_layer *layer,
                             const struct xr_weights *weights, void *packed,
                             struct xr_stop *stop)
{
    struct xr_layer own;
    const enum xr_status status = check_pack(layer, &own, weights, packed);
    if (status != XR_OK) {
        return status;
    }
    xr_pack(&own, weights, packed, stop);
    return xr_end_of(stop);
}

enum xr_status xr_layer_pack_backward(const struct xr_layer *layer,
                                      const struct xr_weights *weights, void *packed,
                                      struct xr_stop *stop)
{
    struct xr_layer own;
    const enum xr_status status = check_pack(layer, &own, weights, packed);
    if (status != XR_OK) {
        return status;
    }
    xr_pack_backward(&own, weights, packed, stop);
    return xr_end_of(stop);
}

/* Calls */

static enum xr_status take_second(struct checked *call)
{
    const struct xr_layer *layer = &call->layer, *second = &call->second;
    enum xr_status status =
        xr_take_layer("second", call->problem.second, &call->second);
    if (status != XR_OK) {
        return status;
    }
    if (layer->engine != second->engine || layer->cell != second->cell ||
        layer->I != second->I || layer->H != second->H || layer->O != second->O ||
        layer->clip != second->clip || layer->modules != second->modules ||
        layer->module != second->module || layer->zoneout[0] != second->zoneout[0] ||
        layer->zoneout[1] != second->zoneout[1] ||
        memcmp(&layer->options, &second->options, sizeof layer->options) != 0) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "second: expected a layer that differs from `layer` in its "
                         "activations alone");
    }
    call->problem.second = second;
    return XR_OK;
}

static enum xr_status check_sizes(const struct checked *call)
{
    const struct xr_problem *problem = &call->problem;
    enum xr_status status =
        xr_check_range("directions", problem->directions, 1, XR_MAX_DIRECTIONS);
    if (status == XR_OK && problem->reverse) {
        status = xr_check_range("directions, with reverse", problem->directions, 1, 1);
    }
    if (status == XR_OK) {
        status = xr_check_threads(problem->threads);
    }
    if (status == XR_OK) {
        status = xr_check_range("T", problem->T, 0, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        status = xr_check_range("B", problem->B, 0, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        const double rows = ((double)problem->T + 1) * (double)problem->B;
        const double units =
            (double)(xr_padded_units(&call->layer) + call->layer.I) + XR_UNIT_PAD;
        status = xr_check_volume("T, B, I, H, O", 4 * rows * units);
    }
    return status;
}

/* What all calls have: the layers, the sizes. */
static enum xr_status take_problem(const struct xr_problem *given, struct checked *call)
{
    enum xr_status status =
        xr_take_struct("problem", given, &call->problem, sizeof call->problem);
    if (status == XR_OK) {
        status = xr_take_layer("layer", call->problem.layer, &call->layer);
        call->problem.layer = &call->layer;
    }
    if (status == XR_OK && call->problem.second != NULL) {
        status = take_second(call);
    }
    if (status == XR_OK && call->problem.attention != NULL) {
        status = xr_refuse(XR_BAD_ARGUMENT, "attention: expected NULL, got another");
    }
    if (status == XR_OK && call->problem.masks != NULL) {
        status = xr_refuse(XR_BAD_ARGUMENT, "masks: expected NULL, got another");
    }
    if (status == XR_OK) {
        call->element = call->layer.engine->element_bytes;
        status = check_sizes(call);
    }
    return status;
}

enum xr_status xr_layer_cache(const struct xr_problem *problem,
                              struct xr_cache_layout *layout)
{
    struct checked call;
    enum xr_status status = take_problem(problem, &call);
    if (status == XR_OK) {
        status = xr_check_memory("layout", layout, sizeof(ptrdiff_t));
    }
    if (status == XR_OK) {
        *layout = xr_cache_layout(&call.problem);
    }
    return status;
}

enum xr_status xr_layer_scratch(const struct xr_problem *problem, int backward,
                                size_t *bytes)
{
    struct checked call;
    enum xr_status status = take_problem(problem, &call);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof(size_t));
    }
    if (status == XR_OK) {
        *bytes = xr_scratch_bytes(&call.problem, backward);
    }
    return status;
}

static enum xr_status check_sequence(const char *name, struct xr_sequence sequence,
                                     const struct checked *call)
{
    const double step = (double)sequence.step, row = (double)sequence.row;
    const double reach = (double)call->problem.T * (step < 0 ? -step : step) +
                         (double)call->problem.B * (row < 0 ? -row : row);
    const enum xr_status status = xr_check_memory(name, sequence.data, call->element);
    return status == XR_OK ? xr_check_volume(name, reach) : status;
}

/* Arrays of states, of which any may be missing. */
static enum xr_status check_states(const char *name, const void *const *states,
                                   const struct checked *call)
{
    enum xr_status status = XR_OK;
    for (int k = 0; k < xr_state_arrays(&call->layer) && status == XR_OK; k++) {
        status = xr_check_optional(name, states[k], call->element);
    }
    return status;
}

/* What both ways read: backward finds the units of a state in `packed`. */
static enum xr_status check_rows(const struct checked *call)
{
    const struct xr_problem *problem = &call->problem;
    const int64_t most_clock = INT64_C(1) << 62;
    enum xr_status status =
        xr_check_numbers("lengths", problem->lengths, problem->B, problem->T);
    if (status == XR_OK) {
        status = xr_check_numbers("clock", problem->clock, problem->B, most_clock);
    }
    for (int d = 0; d < problem->directions && status == XR_OK; d++) {
        status = xr_check_memory("packed", problem->packed[d], XR_ALIGNMENT);
    }
    if (status == XR_OK) {
        status = check_sequence("x", problem->x, call);
    }
    if (status == XR_OK && problem->layer->info.takes_lower) {
        status = xr_check_memory("lower", problem->lower, call->element);
    }
    if (status == XR_OK) {
        status = xr_check_memory("scratch", problem->scratch, XR_ALIGNMENT);
    }
    return status;
}

static enum xr_status check_forward(const struct checked *call)
{
    const struct xr_problem *problem = &call->problem;
    enum xr_status status = check_rows(call);
    if (status == XR_OK) {
        status = check_sequence("y", problem->y, call);
    }
    if (status == XR_OK) {
        status = check_states("state", problem->state, call);
    }
    if (status == XR_OK) {
        status = xr_check_optional("upper", problem->upper, call->element);
    }
    for (int k = 0; k < xr_state_arrays(problem->layer) && status == XR_OK; k++) {
        status = xr_check_memory("state_out", problem->state_out[k], call->element);
    }
    if (status == XR_OK) {
        status = xr_check_optional("cache", problem->cache, XR_ALIGNMENT);
    }
    return status;
}

/* A gradient for each weight that the layer has; those of biases may be missing. */
static enum xr_status check_gradients(const struct checked *call)
{
    enum xr_status status = XR_OK;
    if (call->problem.dw[0].w_ih == NULL) {
        return XR_OK;
    }
    for (int d = 0; d < call->problem.directions && status == XR_OK; d++) {
        const struct xr_gradients *dw = &call->problem.dw[d];
        const struct xr_weights same = {.w_ih = dw->w_ih,
                                        .w_hh = dw->w_hh,
                                        .b_ih = dw->b_ih,
                                        .b_hh = dw->b_hh,
                                        .w_hr = dw->w_hr,
                                        .b_hr = dw->b_hr,
                                        .vectors = dw->vectors,
                                        .w_gates = dw->w_gates};
        status = check_weights(&call->layer, &same);
    }
    return status;
}

static enum xr_status check_backward(const struct checked *call)
{
    const struct xr_problem *problem = &call->problem;
    enum xr_status status = check_rows(call);
    for (int d = 0; d < problem->directions && status == XR_OK; d++) {
        status = xr_check_memory("packed_backward", problem->packed_backward[d],
                                 XR_ALIGNMENT);
    }
    if (status == XR_OK && problem->dy.data != NULL) {
        status = check_sequence("dy", problem->dy, call);
    }
    if (status == XR_OK && problem->dx.data != NULL) {
        status = check_sequence("dx", problem->dx, call);
    }
    if (status == XR_OK) {
        status = check_states("dstate", problem->dstate, call);
    }
    if (status == XR_OK) {
        status = xr_check_optional("dupper", problem->dupper, call->element);
    }
    for (int k = 0; k < xr_state_arrays(problem->layer) && status == XR_OK; k++) {
        status = xr_check_memory("dstate_out", problem->dstate_out[k], call->element);
    }
    if (status == XR_OK && problem->layer->info.takes_lower) {
        status = xr_check_memory("dlower", problem->dlower, call->element);
    }
    if (status == XR_OK) {
        status = xr_check_memory("cache", problem->cache, XR_ALIGNMENT);
    }
    return status == XR_OK ? check_gradients(call) : status;
}

/* Without a step the states stay as they are. */
static void hand_on(const struct checked *call, const void *const from[XR_MAX_STATES],
                    void *const to[XR_MAX_STATES])
{
    const struct xr_problem *problem = &call->problem;
    for (int k = 0; k < xr_state_arrays(problem->layer); k++) {
        const ptrdiff_t width = xr_state_width(problem->layer, k);
        const size_t bytes =
            (size_t)(problem->directions * problem->B * width) * call->element;
        if (from[k] == NULL) {
            memset(to[k], 0, bytes);
        } else {
            memmove(to[k], from[k], bytes);
        }
    }
}

static int has_steps(const struct xr_problem *problem)
{
    return problem->T > 0 && problem->B > 0;
}

enum xr_status xr_layer_forward(const struct xr_problem *problem)
{
    struct checked call;
    enum xr_status status = take_problem(problem, &call);
    if (status == XR_OK) {
        status = check_forward(&call);
    }
    if (status != XR_OK) {
        return status;
    }
    if (!has_steps(&call.problem)) {
        hand_on(&call, call.problem.state, call.problem.state_out);
        return XR_OK;
    }
    xr_forward(&call.problem);
    return xr_end_of(call.problem.stop);
}

enum xr_status xr_layer_backward(const struct xr_problem *problem)
{
    struct checked call;
    enum xr_status status = take_problem(problem, &call);
    if (status == XR_OK) {
        status = check_backward(&call);
    }
    if (status != XR_OK) {
        return status;
    }
    if (!has_steps(&call.problem)) {
        hand_on(&call, call.problem.dstate, call.problem.dstate_out);
        return XR_OK;
    }
    xr_backward(&call.problem);
    return xr_end_of(call.problem.stop);
}
