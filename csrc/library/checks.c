/* See checks.h; here are the checks that all functions share, and the message. */
#include "library/checks.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/engine.h"

enum { MESSAGE_BYTES = 400 };

static _Thread_local char message[MESSAGE_BYTES];

/* 2^54 elements of 8 bytes: beyond that sizes are refused, so that what the engine
 * keeps beside them (padding, gates, states: not 64 times as much) can be counted. */
static const double MOST_ELEMENTS = 1.8e16;

#define XR_TEXT_OF(number) #number
#define XR_TEXT(number) XR_TEXT_OF(number)

const char *xr_version(void)
{
    return XR_TEXT(XR_VERSION_MAJOR) "." XR_TEXT(XR_VERSION_MINOR) "." XR_TEXT(
        XR_VERSION_PATCH);
}

const char *xr_message(void) { return message; }

enum xr_status xr_refuse(enum xr_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return status;
}

enum xr_status xr_take_struct(const char *name, const void *given, void *own,
                              size_t bytes)
{
    size_t size;
    if (given == NULL) {
        return xr_refuse(XR_BAD_ARGUMENT, "%s: expected a struct, got NULL", name);
    }
    memcpy(&size, given, sizeof size);
    if (size != bytes) {
        return xr_refuse(
            XR_BAD_ARGUMENT,
            "%s.struct_size: expected sizeof of the struct, %zu in version %s of "
            "the library, got %zu",
            name, bytes, xr_version(), size);
    }
    memcpy(own, given, bytes);
    return XR_OK;
}

enum xr_status xr_check_engine(const struct xr_engine *engine)
{
    for (int i = 0; xr_isa_at(i) != NULL; i++) {
        for (int dtype = 0; dtype < XR_DTYPES; dtype++) {
            if (xr_find_engine(xr_isa_at(i), (enum xr_dtype)dtype) == engine) {
                return XR_OK;
            }
        }
    }
    return xr_refuse(XR_BAD_ARGUMENT,
                     "engine: expected one that xr_find_engine has given, got %s",
                     engine == NULL ? "NULL" : "something else");
}

enum xr_status xr_check_memory(const char *name, const void *memory, size_t alignment)
{
    if (memory == NULL) {
        return xr_refuse(XR_BAD_ARGUMENT, "%s: expected memory, got NULL", name);
    }
    if ((uintptr_t)memory % alignment != 0) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "%s: expected memory aligned to %zu bytes, got %p", name,
                         alignment, memory);
    }
    return XR_OK;
}

enum xr_status xr_check_optional(const char *name, const void *memory, size_t alignment)
{
    return memory == NULL ? XR_OK : xr_check_memory(name, memory, alignment);
}

enum xr_status xr_check_range(const char *name, int64_t value, int64_t least,
                              int64_t most)
{
    if (value < least || value > most) {
        return xr_refuse(XR_BAD_ARGUMENT, "%s: expected %lld to %lld, got %lld", name,
                         (long long)least, (long long)most, (long long)value);
    }
    return XR_OK;
}

enum xr_status xr_check_numbers(const char *name, const int64_t *values,
                                ptrdiff_t count, int64_t most)
{
    enum xr_status status = xr_check_optional(name, values, sizeof *values);
    const ptrdiff_t given = values == NULL ? 0 : count;
    for (ptrdiff_t i = 0; i < given && status == XR_OK; i++) {
        if (values[i] < 0 || values[i] > most) {
            status = xr_refuse(XR_BAD_ARGUMENT, "%s[%td]: expected 0 to %lld, got %lld",
                               name, i, (long long)most, (long long)values[i]);
        }
    }
    return status;
}

enum xr_status xr_check_threads(int threads)
{
    return xr_check_range("threads", threads, 1, XR_MAX_THREADS);
}

enum xr_status xr_check_volume(const char *sizes, double elements)
{
    if (!(elements <= MOST_ELEMENTS)) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "%s: expected sizes of an array that fits into memory, got "
                         "%.3g elements",
                         sizes, elements);
    }
    return XR_OK;
}

static int is_number(double value, const struct xr_engine *engine)
{
    const double most = engine->element_bytes == sizeof(float) ? FLT_MAX : DBL_MAX;
    return value >= -most && value <= most;
}

static int has_known_slope(struct xr_nonlinearity chosen,
                           const struct xr_engine *engine)
{
    switch (chosen.kind) {
    case XR_LEAKY_RELU:
    case XR_ELU:
    case XR_THRESHOLDED_RELU: return chosen.alpha >= 0;
    case XR_SCALED_TANH:
        return engine->element_bytes == sizeof(float) ? (float)chosen.alpha != 0
                                                      : chosen.alpha != 0;
    default: return 1;
    }
}

enum xr_status xr_check_activation(const char *name, struct xr_nonlinearity chosen,
                                   const struct xr_engine *engine)
{
    if ((int)chosen.kind < 0 || chosen.kind >= XR_ACTIVATIONS) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "%s.kind: expected an enum xr_activation, got %d", name,
                         (int)chosen.kind);
    }
    if (!is_number(chosen.alpha, engine) || !is_number(chosen.beta, engine)) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "%s: expected finite alpha and beta, got %g and %g", name,
                         chosen.alpha, chosen.beta);
    }
    if (!has_known_slope(chosen, engine)) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "%s.alpha: expected one that leaves the slope known, got %g",
                         name, chosen.alpha);
    }
    return XR_OK;
}

static int is_cell(const struct xr_layer *layer, const char *name)
{
    return strcmp(xr_cell_at(layer->cell)->name, name) == 0;
}

static enum xr_status check_gates(const struct xr_options *options)
{
    const unsigned all = XR_GATE_I | XR_GATE_F | XR_GATE_O;
    const unsigned both = XR_GATE_I | XR_GATE_F;
    unsigned absent = options->omit;
    absent |= options->coupled == XR_COUPLED_INPUT ? XR_GATE_F : 0;
    absent |= options->coupled == XR_COUPLED_FORGET ? XR_GATE_I : 0;
    if ((options->omit & ~all) != 0) {
        return xr_refuse(XR_BAD_ARGUMENT, "options.omit: expected gates, got %#x",
                         options->omit);
    }
    if ((options->peepholes & ~all) != 0 || (options->peepholes & absent) != 0) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "options.peepholes: expected gates that are there (%#x), got "
                         "%#x",
                         all & ~absent, options->peepholes);
    }
    if (options->coupled != XR_NOT_COUPLED && (options->omit & both) != 0) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "options.coupled: expected XR_NOT_COUPLED without both gates, "
                         "got %d",
                         (int)options->coupled);
    }
    if (options->full_gate_recurrence && options->omit == all) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "options.full_gate_recurrence: expected 0 without gates, got "
                         "%d",
                         options->full_gate_recurrence);
    }
    return XR_OK;
}

static enum xr_status check_options(const struct xr_layer *layer)
{
    const struct xr_options *options = &layer->options;
    const int is_lstm = is_cell(layer, "lstm");
    const int projects = is_lstm || is_cell(layer, "jordan");
    const int cells = is_cell(layer, "lstm_1997") ? XR_MAX_CELLS : 0;
    const unsigned gates = options->peepholes | options->omit;
    if (!is_lstm && (gates || options->coupled || options->full_gate_recurrence)) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "options: expected gates to be chosen for an lstm alone, got "
                         "some for cell %s",
                         xr_cell_at(layer->cell)->name);
    }
    enum xr_status status = xr_check_range("options.cells", options->cells, 0, cells);
    if (status == XR_OK) {
        status = xr_check_range("options.projects", options->projects, 0, projects);
    }
    if (status == XR_OK) {
        status = xr_check_range("options.coupled", (int)options->coupled, 0,
                                XR_COUPLED_FORGET);
    }
    if (status == XR_OK && layer->O != layer->H && !projects) {
        status = xr_refuse(XR_BAD_ARGUMENT, "layer.O: expected H = %td, got %td",
                           layer->H, layer->O);
    }
    return status == XR_OK ? check_gates(options) : status;
}

static enum xr_status check_modules(const struct xr_layer *layer)
{
    const int64_t most = is_cell(layer, "rnn") ? layer->H : 0;
    const int64_t most_period = INT64_C(1) << 62;
    ptrdiff_t units = 0;
    enum xr_status status = xr_check_range("layer.modules", layer->modules, 0, most);
    if (status == XR_OK && layer->modules > 0) {
        status = xr_check_memory("layer.module", layer->module, sizeof(int64_t));
    }
    for (ptrdiff_t m = 0; status == XR_OK && m < layer->modules; m++) {
        const struct xr_module module = layer->module[m];
        status = xr_check_range("layer.module[].size", module.size, 1, layer->H);
        if (status == XR_OK) {
            status =
                xr_check_range("layer.module[].period", module.period, 1, most_period);
            units += module.size;
        }
    }
    if (status == XR_OK && layer->modules > 0 && units != layer->H) {
        status = xr_refuse(XR_BAD_ARGUMENT,
                           "layer.module: expected sizes that add up to H = %td, got "
                           "%td",
                           layer->H, units);
    }
    return status;
}

static enum xr_status check_zoneout(const struct xr_layer *layer)
{
    const double *share = layer->zoneout;
    if (share[0] == 0 && share[1] == 0) {
        return XR_OK;
    }
    if (!(share[0] >= 0 && share[0] < 1 && share[1] >= 0 && share[1] < 1)) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "layer.zoneout: expected two numbers p with 0 <= p < 1, got "
                         "%g and %g",
                         share[0], share[1]);
    }
    if (layer->modules > 0 || is_cell(layer, "lstm_1997")) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "layer.zoneout: expected 0 for units with clocks and for "
                         "memory blocks, got %g and %g",
                         share[0], share[1]);
    }
    return XR_OK;
}

static int count_cells(void)
{
    int count = 0;
    while (xr_cell_at(count) != NULL) {
        count++;
    }
    return count;
}

static enum xr_status check_widths(const struct xr_layer *layer)
{
    const double H = (double)layer->H + XR_UNIT_PAD, O = (double)layer->O;
    enum xr_status status = xr_check_range("layer.I", layer->I, 1, PTRDIFF_MAX);
    if (status == XR_OK) {
        status = xr_check_range("layer.H", layer->H, 1, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        status = xr_check_range("layer.O", layer->O, 1, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        const double columns = (double)layer->I + XR_MAX_CELLS * (O + H);
        status = xr_check_volume("layer.I, H, O", XR_MAX_PRODUCTS * (H + O) * columns);
    }
    return status;
}

enum xr_status xr_take_layer(const char *name, const struct xr_layer *given,
                             struct xr_layer *own)
{
    enum xr_status status = xr_take_struct(name, given, own, sizeof *own);
    if (status == XR_OK) {
        status = xr_check_engine(own->engine);
    }
    if (status == XR_OK) {
        status = xr_check_range("layer.cell", own->cell, 0, count_cells() - 1);
    }
    if (status == XR_OK && (is_cell(own, "program") || own->program != NULL)) {
        status = xr_refuse(XR_BAD_ARGUMENT,
                           "layer.cell: expected one that is no program, which only "
                           "Python can make, got %d",
                           own->cell);
    }
    if (status == XR_OK) {
        status = check_widths(own);
    }
    for (int k = 0; k < 3 && status == XR_OK; k++) {
        status =
            xr_check_activation("layer.activation", own->activation[k], own->engine);
    }
    if (status == XR_OK && !(own->clip >= 0 && is_number(own->clip, own->engine))) {
        status = xr_refuse(XR_BAD_ARGUMENT,
                           "layer.clip: expected 0 for none or a finite number > 0, "
                           "got %g",
                           own->clip);
    }
    if (status == XR_OK) {
        status = check_options(own);
    }
    if (status == XR_OK) {
        status = check_modules(own);
    }
    if (status == XR_OK) {
        status = check_zoneout(own);
    }
    if (status == XR_OK) {
        xr_describe(own);
    }
    return status;
}
