/* See network.h: classes, and what their arguments mean together. */
#include "library/network.h"

#include <stdlib.h>
#include <string.h>

enum {
    LAYER = OF_ALL | OF_STACK,
    ZONED = LAYER | OF_ZONES,
    SIMPLE = OF_CLIP | OF_SIMPLE,
    LSTM = OF_CLIP | OF_FORGET | OF_GATED | OF_LSTM,
    GRU = OF_CLIP | OF_GATED | OF_GRU
};

#define XR_LSTM_USES \
    3, { XR_SIGMOID, XR_TANH, XR_TANH }
#define XR_GRU_USES \
    2, { XR_SIGMOID, XR_TANH }

static const struct kind KINDS[] = {
    {"RNN", "rnn", ZONED | SIMPLE, 1, {XR_TANH}, NULL},
    {"RNNCell", "rnn", OF_ALL | SIMPLE, 1, {XR_TANH}, NULL},
    {"LeakyRNN", "leaky", ZONED | SIMPLE | OF_LEAKY, 1, {XR_TANH}, NULL},
    {"ClockworkRNN", "rnn", LAYER | SIMPLE | OF_CLOCK, 1, {XR_TANH}, NULL},
    {"JordanRNN", "jordan", ZONED | SIMPLE | OF_JORDAN, 2, {XR_TANH, XR_TANH}, NULL},
    {"GRU", "gru", ZONED | GRU, XR_GRU_USES, NULL},
    {"GRUCell", "gru", OF_ALL | GRU, XR_GRU_USES, NULL},
    {"MUT1", "mut1", ZONED, XR_GRU_USES, NULL},
    {"MUT2", "mut2", ZONED, XR_GRU_USES, NULL},
    {"MUT3", "mut3", ZONED, XR_GRU_USES, NULL},
    {"LSTM", "lstm", ZONED | LSTM, XR_LSTM_USES, NULL},
    {"LSTMCell", "lstm", OF_ALL | LSTM, XR_LSTM_USES, NULL},
    {"LSTM1997", "lstm_1997", LAYER | OF_BLOCKS, 0, {XR_TANH}, NULL},
    {"DepthGatedLSTM", "depth_gated", ZONED | OF_FORGET, XR_LSTM_USES, "lstm"},
};

static const char *const OTHER_CLASSES[] = {
    "AttentionDecoder", "EchoState", "Embedding", "GridLSTM",
    "LanguageModel",    "Layer",     "Linear",    "TimeDepthGridLSTM",
};

static enum xr_status refuse(const char *reason)
{
    return xr_refuse(XR_BAD_FILE, "not a model file: %s", reason);
}

static enum xr_status find_kind(const struct json_value *name, const struct kind **kind)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (xr_json_is(name, KINDS[i].name)) {
            *kind = &KINDS[i];
            return XR_OK;
        }
    }
    for (size_t i = 0; i < sizeof OTHER_CLASSES / sizeof OTHER_CLASSES[0]; i++) {
        if (xr_json_is(name, OTHER_CLASSES[i])) {
            return xr_refuse(XR_UNSUPPORTED, "a %s is a model that Python alone reads",
                             OTHER_CLASSES[i]);
        }
    }
    return xr_refuse_value("class", "a recurrent network of this version", name);
}

/* Arguments together */

static enum xr_status check_stack(const struct network *network, ptrdiff_t arrays)
{
    if (network->input_size == 0 || network->hidden_size == 0) {
        return refuse("input_size or hidden_size is missing");
    }
    if (network->num_layers > arrays) { /* before anything is listed by layer */
        return refuse("it has fewer arrays than layers");
    }
    if (network->reverse && network->bidirectional) {
        return refuse("reverse and bidirectional exclude each other");
    }
    if (network->hidden_size % network->block_size != 0) {
        return refuse("block_size does not divide hidden_size");
    }
    if (network->clip != 0 && network->dtype == XR_F32 && (float)network->clip == 0) {
        return refuse("clip is 0 as a float32");
    }
    for (int k = 0; k < USES; k++) {
        if (network->given[k] > xr_directions(network)) {
            return refuse("it gives activations of a direction that it lacks");
        }
    }
    return XR_OK;
}

static void set_defaults(struct network *network)
{
    *network = (struct network){.kind = network->kind,
                                .dtype = XR_F32,
                                .num_layers = 1,
                                .block_size = 1,
                                .bias = 1};
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        for (int k = 0; k < USES; k++) {
            network->activation[d][k].kind = network->kind->activation[k];
        }
    }
}

/* What an argument that was not given, or a smaller one, stands for. */
static void derive(struct network *network)
{
    for (int k = 0; k < USES; k++) {
        if (network->given[k] == 1) {
            network->activation[1][k] = network->activation[0][k];
        }
    }
    if (network->kind->arguments & OF_JORDAN) {
        network->options.projects = 1;
    }
    if (network->kind->arguments & OF_BLOCKS) {
        network->options.cells = (int)network->block_size;
    }
    if (network->output_size == 0) {
        network->output_size = network->hidden_size;
    }
}

/* α as the engine sees it must be in (0, 1], and below 1 where it is learned. */
static enum xr_status check_leaks(const struct network *network)
{
    const ptrdiff_t count = network->leaks.count;
    if (network->leaks_differ && count != network->hidden_size) {
        return refuse("leak has another length than there are units");
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        const double given = network->leaks.real[i];
        const double leak = network->dtype == XR_F32 ? (double)(float)given : given;
        if (!(leak > 0 && leak <= 1) || (network->learn_leak && leak == 1)) {
            return refuse("leak is not in (0, 1], or is learned and 1");
        }
    }
    return XR_OK;
}

/* The modules that get one unit more where sizes are not given and do not come out
 * even: the fastest, of equals the first. */
static int gets_more(const struct network *network, ptrdiff_t module, int64_t left)
{
    const int64_t *period = network->periods.whole;
    int64_t faster = 0;
    for (ptrdiff_t m = 0; m < network->periods.count; m++) {
        faster +=
            period[m] < period[module] || (period[m] == period[module] && m < module);
    }
    return faster < left;
}

static enum xr_status make_modules(struct network *network)
{
    const struct numbers *periods = &network->periods, *sizes = &network->module_sizes;
    const ptrdiff_t count = periods->count;
    if (count == 0 || count > network->hidden_size || count > 1 << 16) {
        return refuse("periods are missing, or more than there are units");
    }
    if (sizes->count != 0 && sizes->count != count) {
        return refuse("module_sizes has another length than periods");
    }
    network->modules = malloc((size_t)count * sizeof *network->modules);
    if (network->modules == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for %td modules", count);
    }
    const int64_t each = network->hidden_size / count,
                  left = network->hidden_size % count;
    for (ptrdiff_t m = 0; m < count; m++) {
        const int64_t size =
            sizes->count != 0 ? sizes->whole[m] : each + gets_more(network, m, left);
        network->modules[m] = (struct xr_module){size, periods->whole[m]};
    }
    return XR_OK;
}

static enum xr_status read_arguments(struct network *network, const struct json *json,
                                     const struct json_value *arguments)
{
    if (arguments == NULL || arguments->kind != JSON_OBJECT) {
        return refuse("it has no arguments");
    }
    const struct json_value *name = xr_json_first(arguments);
    enum xr_status status = XR_OK;
    for (ptrdiff_t i = 0; i < arguments->count && status == XR_OK; i++) {
        status = xr_read_argument(network, json, name);
        name = xr_json_after(json, name + 1);
    }
    return status;
}

enum xr_status xr_network_read(struct network *network, const struct json *json,
                               ptrdiff_t arrays)
{
    const struct json_value *whole = json->values;
    *network = (struct network){0};
    if (xr_json_member(json, whole, "parts") != NULL) {
        return xr_refuse(XR_UNSUPPORTED,
                         "a model of several parts is one that Python alone reads");
    }
    enum xr_status status =
        find_kind(xr_json_member(json, whole, "class"), &network->kind);
    if (status != XR_OK) {
        return status;
    }
    set_defaults(network);
    status = read_arguments(network, json, xr_json_member(json, whole, "arguments"));
    if (status == XR_OK) {
        status = check_stack(network, arrays);
    }
    if (status == XR_OK && (network->kind->arguments & OF_LEAKY)) {
        status = check_leaks(network);
    }
    if (status == XR_OK && (network->kind->arguments & OF_CLOCK)) {
        status = make_modules(network);
    }
    if (status == XR_OK) {
        derive(network);
    }
    return status;
}

void xr_network_free(struct network *network)
{
    free(network->leaks.real);
    free(network->periods.whole);
    free(network->module_sizes.whole);
    free(network->modules);
    *network = (struct network){0};
}

/* What the engine is told */

static const char *cell_of(const struct network *network, ptrdiff_t layer)
{
    if (layer == 0 && network->kind->bottom != NULL) {
        return network->kind->bottom;
    }
    return network->resets_before ? "gru_before" : network->kind->cell;
}

static ptrdiff_t inputs_of(const struct network *network, ptrdiff_t layer)
{
    const int64_t below = xr_directions(network) * network->output_size;
    return (ptrdiff_t)(layer == 0 ? network->input_size : below);
}

enum xr_status xr_network_layer(const struct network *network,
                                const struct xr_engine *engine, ptrdiff_t layer,
                                int direction, struct xr_layer *out)
{
    const int64_t most = INT64_C(1) << 40; /* so that products below do not overflow */
    if (network->output_size > most || network->hidden_size > most) {
        return refuse("its sizes are beyond all memory");
    }
    struct xr_layer own = {.struct_size = sizeof own,
                           .engine = engine,
                           .cell = xr_cell_index(cell_of(network, layer)),
                           .I = inputs_of(network, layer),
                           .H = (ptrdiff_t)xr_units(network),
                           .O = (ptrdiff_t)network->output_size,
                           .clip = network->clip,
                           .zoneout = {network->zoneout[0], network->zoneout[1]},
                           .options = network->options,
                           .modules = network->periods.count,
                           .module = network->modules};
    if (network->kind->arguments & OF_BLOCKS) {
        own.O = own.H;
    }
    if (layer == 0 && network->kind->bottom != NULL) {
        own.options.peepholes = XR_GATE_I | XR_GATE_F | XR_GATE_O;
    }
    memcpy(own.activation, network->activation[direction], sizeof own.activation);
    enum xr_status status = xr_take_layer("layer", &own, out);
    return status == XR_BAD_ARGUMENT ? XR_BAD_FILE : status;
}
