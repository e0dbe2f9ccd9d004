/* Arguments of Python's constructors, one by one, each from its form in JSON. */
#include <stdlib.h>
#include <string.h>

#include "library/network.h"

enum { SHOWN = 40 };

enum xr_status xr_refuse_value(const char *name, const char *expected,
                               const struct json_value *value)
{
    static const char *const KINDS[] = {"null",     "false",    "true",     "a number",
                                        "a string", "an array", "an object"};
    if (value == NULL) {
        return xr_refuse(XR_BAD_FILE, "not a model file: %s: expected %s, got nothing",
                         name, expected);
    }
    if (value->kind != JSON_NUMBER && value->kind != JSON_STRING) {
        return xr_refuse(XR_BAD_FILE, "not a model file: %s: expected %s, got %s", name,
                         expected, KINDS[value->kind]);
    }
    const int shown = (int)(value->bytes < SHOWN ? value->bytes : SHOWN);
    return xr_refuse(XR_BAD_FILE, "not a model file: %s: expected %s, got %.*s", name,
                     expected, shown, value->text);
}

struct argument {
    const char *name;
    unsigned classes;
    enum xr_status (*read)(struct network *network, const struct json *json,
                           const struct json_value *value);
};

/* Whole numbers and truth values */

static enum xr_status read_whole(const char *name, const struct json_value *value,
                                 int64_t least, int64_t *number)
{
    if (!xr_json_integer(value, number) || *number < least) {
        return xr_refuse_value(name, "a whole number that is large enough", value);
    }
    return XR_OK;
}

static enum xr_status read_flag(const char *name, const struct json_value *value,
                                int *flag)
{
    if (value->kind != JSON_TRUE && value->kind != JSON_FALSE) {
        return xr_refuse_value(name, "true or false", value);
    }
    *flag = value->kind == JSON_TRUE;
    return XR_OK;
}

static enum xr_status read_input_size(struct network *n, const struct json *json,
                                      const struct json_value *value)
{
    (void)json;
    return read_whole("input_size", value, 1, &n->input_size);
}

static enum xr_status read_hidden_size(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    (void)json;
    return read_whole("hidden_size", value, 1, &n->hidden_size);
}

static enum xr_status read_num_layers(struct network *n, const struct json *json,
                                      const struct json_value *value)
{
    (void)json;
    return read_whole("num_layers", value, 1, &n->num_layers);
}

static enum xr_status read_block_size(struct network *n, const struct json *json,
                                      const struct json_value *value)
{
    (void)json;
    const enum xr_status status = read_whole("block_size", value, 1, &n->block_size);
    if (status == XR_OK && n->block_size > XR_MAX_CELLS) {
        return xr_refuse_value("block_size", "at most 4 cells", value);
    }
    return status;
}

static enum xr_status read_phase(struct network *n, const struct json *json,
                                 const struct json_value *value)
{
    (void)json;
    return read_whole("phase", value, 0, &n->phase);
}

static enum xr_status read_proj_size(struct network *n, const struct json *json,
                                     const struct json_value *value)
{
    (void)json;
    const enum xr_status status = read_whole("proj_size", value, 0, &n->output_size);
    n->options.projects = n->output_size > 0;
    return status;
}

static enum xr_status read_output_size(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    (void)json;
    if (value->kind == JSON_NULL) {
        return XR_OK;
    }
    return read_whole("output_size", value, 1, &n->output_size);
}

static enum xr_status read_bias(struct network *n, const struct json *json,
                                const struct json_value *value)
{
    (void)json;
    return read_flag("bias", value, &n->bias);
}

static enum xr_status read_batch_first(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    (void)json;
    return read_flag("batch_first", value, &n->batch_first);
}

static enum xr_status read_bidirectional(struct network *n, const struct json *json,
                                         const struct json_value *value)
{
    (void)json;
    return read_flag("bidirectional", value, &n->bidirectional);
}

static enum xr_status read_reverse(struct network *n, const struct json *json,
                                   const struct json_value *value)
{
    (void)json;
    return read_flag("reverse", value, &n->reverse);
}

static enum xr_status read_learn_leak(struct network *n, const struct json *json,
                                      const struct json_value *value)
{
    (void)json;
    return read_flag("learn_leak", value, &n->learn_leak);
}

static enum xr_status read_gate_recurrence(struct network *n, const struct json *json,
                                           const struct json_value *value)
{
    (void)json;
    return read_flag("full_gate_recurrence", value, &n->options.full_gate_recurrence);
}

static enum xr_status read_reset_after(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    (void)json;
    int is_after = 1;
    const enum xr_status status = read_flag("reset_after", value, &is_after);
    n->resets_before = !is_after;
    return status;
}

/* Words */

static enum xr_status read_dtype(struct network *n, const struct json *json,
                                 const struct json_value *value)
{
    (void)json;
    if (!xr_json_is(value, "float32") && !xr_json_is(value, "float64")) {
        return xr_refuse_value("dtype", "float32 or float64", value);
    }
    n->dtype = xr_json_is(value, "float32") ? XR_F32 : XR_F64;
    return XR_OK;
}

static enum xr_status read_letters(const char *name, const struct json_value *value,
                                   unsigned *gates)
{
    static const char LETTERS[] = "ifo";
    *gates = 0;
    for (size_t i = 0; value->kind == JSON_STRING && i < value->bytes; i++) {
        const char *letter = strchr(LETTERS, value->text[i]);
        const unsigned gate = letter == NULL ? 0 : 1u << (letter - LETTERS);
        if (gate == 0 || value->text[i] == '\0' || (*gates & gate) != 0) {
            return xr_refuse_value(name, "different letters of ifo", value);
        }
        *gates |= gate;
    }
    return value->kind == JSON_STRING
               ? XR_OK
               : xr_refuse_value(name, "different letters of ifo", value);
}

static enum xr_status read_layer_norm(struct network *n, const struct json *json,
                                      const struct json_value *value)
{
    (void)n;
    (void)json;
    int is_chosen = 0;
    const enum xr_status status = read_flag("layer_norm", value, &is_chosen);
    return status == XR_OK && is_chosen
               ? xr_refuse(XR_UNSUPPORTED,
                           "a layer with layer_norm is a model that Python alone reads")
               : status;
}

static enum xr_status read_peepholes(struct network *n, const struct json *json,
                                     const struct json_value *value)
{
    (void)json;
    return read_letters("peepholes", value, &n->options.peepholes);
}

static enum xr_status read_omit(struct network *n, const struct json *json,
                                const struct json_value *value)
{
    (void)json;
    return read_letters("omit", value, &n->options.omit);
}

static enum xr_status read_coupled(struct network *n, const struct json *json,
                                   const struct json_value *value)
{
    (void)json;
    if (value->kind == JSON_NULL) {
        n->options.coupled = XR_NOT_COUPLED;
    } else if (xr_json_is(value, "input")) {
        n->options.coupled = XR_COUPLED_INPUT;
    } else if (xr_json_is(value, "forget")) {
        n->options.coupled = XR_COUPLED_FORGET;
    } else {
        return xr_refuse_value("coupled", "null, input or forget", value);
    }
    return XR_OK;
}

/* Of no use without training; of the right kind all the same. */
static enum xr_status read_init(struct network *n, const struct json *json,
                                const struct json_value *value)
{
    (void)n, (void)json;
    if (value->kind != JSON_STRING && value->kind != JSON_ARRAY) {
        return xr_refuse_value("init", "a rule", value);
    }
    return XR_OK;
}

static enum xr_status read_forget_bias(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    double number;
    (void)n, (void)json;
    if (value->kind != JSON_NULL && !xr_json_number(value, &number)) {
        return xr_refuse_value("forget_bias", "null or a finite number", value);
    }
    return XR_OK;
}

static enum xr_status read_share(const char *name, const struct json_value *value,
                                 double *share)
{
    if (!xr_json_number(value, share) || !(*share >= 0 && *share < 1)) {
        return xr_refuse_value(name, "a number p with 0 <= p < 1", value);
    }
    return XR_OK;
}

static enum xr_status read_dropout(struct network *n, const struct json *json,
                                   const struct json_value *value)
{
    double share;
    (void)n, (void)json;
    return read_share("dropout", value, &share);
}

static enum xr_status read_recurrent_dropout(struct network *n, const struct json *json,
                                             const struct json_value *value)
{
    double share;
    (void)n, (void)json;
    return read_share("recurrent_dropout", value, &share);
}

static enum xr_status read_zoneout(struct network *n, const struct json *json,
                                   const struct json_value *value)
{
    if (value->kind != JSON_ARRAY) {
        const enum xr_status status = read_share("zoneout", value, &n->zoneout[0]);
        n->zoneout[1] = n->zoneout[0];
        return status;
    }
    if (value->count != 2) {
        return xr_refuse_value("zoneout", "a number, or one of h and one of c", value);
    }
    const struct json_value *at = xr_json_first(value);
    const enum xr_status status = read_share("zoneout", at, &n->zoneout[0]);
    return status == XR_OK
               ? read_share("zoneout", xr_json_after(json, at), &n->zoneout[1])
               : status;
}

static enum xr_status read_clip(struct network *n, const struct json *json,
                                const struct json_value *value)
{
    (void)json;
    if (value->kind == JSON_NULL) {
        return XR_OK;
    }
    if (!xr_json_number(value, &n->clip) || !(n->clip > 0)) {
        return xr_refuse_value("clip", "null or a finite number > 0", value);
    }
    return XR_OK;
}

/* Activations */

/* The parameters α, β of each function and what they are by default, in the order of
 * enum xr_activation. */
static const struct {
    const char *name;
    int parameters;
    double usual[2];
} FUNCTIONS[XR_ACTIVATIONS] = {
    [XR_TANH] = {"tanh", 0, {0, 0}},
    [XR_RELU] = {"relu", 0, {0, 0}},
    [XR_SIGMOID] = {"sigmoid", 0, {0, 0}},
    [XR_HARD_SIGMOID] = {"hard_sigmoid", 2, {0.2, 0.5}},
    [XR_SOFTSIGN] = {"softsign", 0, {0, 0}},
    [XR_IDENTITY] = {"identity", 0, {0, 0}},
    [XR_LEAKY_RELU] = {"leaky_relu", 1, {0.01, 0}},
    [XR_ELU] = {"elu", 1, {1, 0}},
    [XR_SOFTPLUS] = {"softplus", 0, {0, 0}},
    [XR_SCALED_TANH] = {"scaled_tanh", 2, {1, 1}},
    [XR_THRESHOLDED_RELU] = {"thresholded_relu", 1, {1, 0}},
    [XR_AFFINE] = {"affine", 2, {1, 0}},
};

static enum xr_status read_activation(const struct json_value *value,
                                      struct xr_nonlinearity *found)
{
    const int is_list = value->kind == JSON_ARRAY && value->count > 0;
    const struct json_value *name = is_list ? xr_json_first(value) : value;
    const ptrdiff_t given = is_list ? value->count - 1 : 0;
    for (int kind = 0; kind < XR_ACTIVATIONS; kind++) {
        if (!xr_json_is(name, FUNCTIONS[kind].name)) {
            continue;
        }
        double number[2] = {FUNCTIONS[kind].usual[0], FUNCTIONS[kind].usual[1]};
        if (given > FUNCTIONS[kind].parameters) {
            return xr_refuse_value(FUNCTIONS[kind].name, "fewer parameters", value);
        }
        for (ptrdiff_t i = 0; i < given; i++) { /* numbers have no children */
            if (!xr_json_number(name + 1 + i, &number[i])) {
                return xr_refuse_value(FUNCTIONS[kind].name, "finite parameters",
                                       name + 1 + i);
            }
        }
        *found =
            (struct xr_nonlinearity){(enum xr_activation)kind, number[0], number[1]};
        return XR_OK;
    }
    return xr_refuse_value("activation", "the name of one", name);
}

/* Of one use: an activation for both directions, or one for each. */
static enum xr_status read_each_direction(struct network *n, const struct json *json,
                                          const struct json_value *value, int use)
{
    const struct json_value *first = xr_json_first(value);
    const int are_two = value->kind == JSON_ARRAY && value->count == 2 &&
                        (first[1].kind == JSON_STRING || first[1].kind == JSON_ARRAY ||
                         first->kind == JSON_ARRAY);
    if (!are_two) {
        n->given[use] = 1;
        return read_activation(value, &n->activation[0][use]);
    }
    n->given[use] = 2;
    const enum xr_status status = read_activation(first, &n->activation[0][use]);
    return status == XR_OK
               ? read_activation(xr_json_after(json, first), &n->activation[1][use])
               : status;
}

static enum xr_status read_nonlinearity(struct network *n, const struct json *json,
                                        const struct json_value *value)
{
    return read_each_direction(n, json, value, 0);
}

static enum xr_status read_output_nonlinearity(struct network *n,
                                               const struct json *json,
                                               const struct json_value *value)
{
    return read_each_direction(n, json, value, 1);
}

static enum xr_status read_activations(struct network *n, const struct json *json,
                                       const struct json_value *value)
{
    const int uses = n->kind->uses;
    if (value->kind != JSON_ARRAY ||
        (value->count != uses && value->count != 2 * uses)) {
        return xr_refuse_value("activations", "as many as the cell has", value);
    }
    const struct json_value *at = xr_json_first(value);
    enum xr_status status = XR_OK;
    for (int i = 0; i < value->count && status == XR_OK; i++) {
        n->given[i % uses] = 1 + i / uses;
        status = read_activation(at, &n->activation[i / uses][i % uses]);
        at = xr_json_after(json, at);
    }
    return status;
}

/* Sequences of numbers */

static enum xr_status read_wholes(const char *name, const struct json *json,
                                  const struct json_value *value, struct numbers *out)
{
    if (value->kind != JSON_ARRAY || value->count == 0) {
        return xr_refuse_value(name, "whole numbers", value);
    }
    out->whole = calloc((size_t)value->count, sizeof *out->whole);
    if (out->whole == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for %td numbers", value->count);
    }
    const struct json_value *at = xr_json_first(value);
    enum xr_status status = XR_OK;
    for (out->count = 0; out->count < value->count && status == XR_OK; out->count++) {
        status = read_whole(name, at, 1, &out->whole[out->count]);
        at = xr_json_after(json, at);
    }
    return status;
}

static enum xr_status read_periods(struct network *n, const struct json *json,
                                   const struct json_value *value)
{
    return read_wholes("periods", json, value, &n->periods);
}

static enum xr_status read_module_sizes(struct network *n, const struct json *json,
                                        const struct json_value *value)
{
    if (value->kind == JSON_NULL) {
        return XR_OK;
    }
    return read_wholes("module_sizes", json, value, &n->module_sizes);
}

static enum xr_status read_leak(struct network *n, const struct json *json,
                                const struct json_value *value)
{
    const int is_list = value->kind == JSON_ARRAY;
    const ptrdiff_t count = is_list ? value->count : 1;
    const struct json_value *at = is_list ? xr_json_first(value) : value;
    n->leaks_differ = is_list;
    n->leaks.real = calloc((size_t)count + 1, sizeof *n->leaks.real);
    if (n->leaks.real == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for %td numbers", count);
    }
    for (n->leaks.count = 0; n->leaks.count < count; n->leaks.count++) {
        if (!xr_json_number(at, &n->leaks.real[n->leaks.count])) {
            return xr_refuse_value("leak", "a number, or one for each unit", at);
        }
        at = is_list ? xr_json_after(json, at) : at;
    }
    return XR_OK;
}

static const struct argument ARGUMENTS[] = {
    {"dtype", OF_ALL, read_dtype},
    {"input_size", OF_ALL, read_input_size},
    {"hidden_size", OF_ALL, read_hidden_size},
    {"bias", OF_ALL, read_bias},
    {"init", OF_ALL, read_init},
    {"num_layers", OF_STACK, read_num_layers},
    {"batch_first", OF_STACK, read_batch_first},
    {"dropout", OF_STACK, read_dropout},
    {"recurrent_dropout", OF_ZONES, read_recurrent_dropout},
    {"zoneout", OF_ZONES, read_zoneout},
    {"bidirectional", OF_STACK, read_bidirectional},
    {"reverse", OF_STACK, read_reverse},
    {"clip", OF_CLIP, read_clip},
    {"nonlinearity", OF_SIMPLE, read_nonlinearity},
    {"forget_bias", OF_FORGET, read_forget_bias},
    {"activations", OF_GATED, read_activations},
    {"proj_size", OF_LSTM, read_proj_size},
    {"peepholes", OF_LSTM, read_peepholes},
    {"coupled", OF_LSTM, read_coupled},
    {"omit", OF_LSTM, read_omit},
    {"full_gate_recurrence", OF_LSTM, read_gate_recurrence},
    {"reset_after", OF_GRU, read_reset_after},
    {"layer_norm", OF_LSTM | OF_GRU, read_layer_norm},
    {"leak", OF_LEAKY, read_leak},
    {"learn_leak", OF_LEAKY, read_learn_leak},
    {"periods", OF_CLOCK, read_periods},
    {"module_sizes", OF_CLOCK, read_module_sizes},
    {"phase", OF_CLOCK, read_phase},
    {"output_size", OF_JORDAN, read_output_size},
    {"output_nonlinearity", OF_JORDAN, read_output_nonlinearity},
    {"block_size", OF_BLOCKS, read_block_size},
};

enum xr_status xr_read_argument(struct network *network, const struct json *json,
                                const struct json_value *name)
{
    for (size_t i = 0; i < sizeof ARGUMENTS / sizeof ARGUMENTS[0]; i++) {
        const struct argument *argument = &ARGUMENTS[i];
        if ((argument->classes & network->kind->arguments) != 0 &&
            xr_json_is(name, argument->name)) {
            return argument->read(network, json, name + 1);
        }
    }
    return xr_refuse_value(network->kind->name, "arguments that it has", name);
}
