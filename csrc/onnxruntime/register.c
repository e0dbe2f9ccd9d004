/* The operators of this library for ONNX Runtime, and the one symbol that it looks up.
 *
 * They stand in exactrnn._core itself, which the runtime is told to load as a library
 * of operators: so sessions have the same engine and the same settings as all other
 * calls, and a wheel has the kernels once.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "onnxruntime/kernel.h"

static const struct family lstm = {.name = "LSTM",
                                   .gates = 4,
                                   .activations = 3,
                                   .states = 2,
                                   .rows = {0, 2, 3, 1},
                                   .coupled_rows = {0, 3, 1}};
static const struct family gru = {
    .name = "GRU", .gates = 3, .activations = 2, .states = 1, .rows = {1, 0, 2}};
static const struct family rnn = {
    .name = "RNN", .gates = 1, .activations = 1, .states = 1, .rows = {0}};

static const struct recurrent *recurrent_of(const struct ort_operator *self)
{
    return (const struct recurrent *)(const void *)self;
}

static const char *name(const struct ort_operator *self)
{
    return recurrent_of(self)->family->name;
}

/* NULL: the provider of the CPU. */
static const char *provider(const struct ort_operator *self)
{
    (void)self;
    return NULL;
}

static enum ort_element element_of(const struct ort_operator *self)
{
    return recurrent_of(self)->dtype == XR_F32 ? ORT_FLOAT : ORT_DOUBLE;
}

static enum ort_element input_type(const struct ort_operator *self, size_t index)
{
    return index == IN_LENGTHS ? ORT_INT32 : element_of(self);
}

static enum ort_element output_type(const struct ort_operator *self, size_t index)
{
    (void)index;
    return element_of(self);
}

static size_t count_inputs(const struct ort_operator *self)
{
    (void)self;
    return INPUTS;
}

static size_t count_outputs(const struct ort_operator *self)
{
    return 1 + (size_t)recurrent_of(self)->family->states;
}

static enum ort_presence input_presence(const struct ort_operator *self, size_t index)
{
    (void)self;
    return index > IN_R ? ORT_OPTIONAL : ORT_REQUIRED;
}

static enum ort_presence output_presence(const struct ort_operator *self, size_t index)
{
    (void)self, (void)index;
    return ORT_OPTIONAL;
}

/* 0: where the provider has its memory. */
static int input_memory(const struct ort_operator *self, size_t index)
{
    (void)self, (void)index;
    return 0;
}

static int one(const struct ort_operator *self)
{
    (void)self;
    return 1;
}

static int last_version(const struct ort_operator *self)
{
    (void)self;
    return 1;
}

/* All operators and the domain that has them, made once and kept for good, as sessions
 * refer to them. */
struct library {
    struct recurrent operators[3 * XR_DTYPES];
    struct ort_domain *domain;
};

static _Atomic(struct library *) the_library;

static struct ort_operator describe(void)
{
    return (struct ort_operator){.version = ORT_VERSION_WANTED,
                                 .name = name,
                                 .provider = provider,
                                 .input_type = input_type,
                                 .count_inputs = count_inputs,
                                 .output_type = output_type,
                                 .count_outputs = count_outputs,
                                 .destroy = destroy_kernel,
                                 .input_presence = input_presence,
                                 .output_presence = output_presence,
                                 .input_memory = input_memory,
                                 .least_inputs = one,
                                 .inputs_are_alike = one,
                                 .least_outputs = one,
                                 .outputs_are_alike = one,
                                 .create = create_kernel,
                                 .compute = compute,
                                 .first_version = one,
                                 .last_version = last_version};
}

static ort_result fill_library(const struct ort_api *api, struct library *library)
{
    static const struct family *const families[] = {&lstm, &gru, &rnn};
    ort_result failed = api->create_domain("exactrnn", &library->domain);
    for (size_t k = 0; !failed && k < 3 * XR_DTYPES; k++) {
        library->operators[k] =
            (struct recurrent){.base = describe(),
                               .family = families[k / XR_DTYPES],
                               .dtype = (enum xr_dtype)(k % XR_DTYPES)};
        failed = api->add_operator(library->domain, &library->operators[k].base);
    }
    return failed;
}

static void free_library(const struct ort_api *api, struct library *library)
{
    if (library->domain) api->release_domain(library->domain);
    free(library);
}

/* Makes the library; where several threads do, the first one's is kept. */
static ort_result make_library(const struct ort_api *api)
{
    struct library *library = calloc(1, sizeof *library), *none = NULL;
    if (!library) return failure(api, ORT_FAIL, "exactrnn: no memory for operators");
    ort_result failed = fill_library(api, library);
    if (failed || !atomic_compare_exchange_strong(&the_library, &none, library)) {
        free_library(api, library);
    }
    return failed;
}

/* A runtime without the table wanted makes an error by its first one, if it has that;
 * else its session finds that there are no operators. */
static ort_result refuse(const struct ort_base *base)
{
    const struct ort_api *first = base->api(1);
    if (!first) return NULL;
    return failure(first, ORT_FAIL,
                   "exactrnn: expected a runtime with version %d of its C interface "
                   "(1.%d and later), got %s",
                   ORT_VERSION_WANTED, ORT_VERSION_WANTED, base->version());
}

/* ONNX Runtime calls this when it loads a library of operators. */
XR_EXPORTED ort_result RegisterCustomOps(struct ort_options *options,
                                         const struct ort_base *base);

ort_result RegisterCustomOps(struct ort_options *options, const struct ort_base *base)
{
    const struct ort_api *api = base->api(ORT_VERSION_WANTED);
    if (!api) return refuse(base);
    ort_result failed = atomic_load(&the_library) ? NULL : make_library(api);
    return failed ? failed
                  : api->add_domain(options, atomic_load(&the_library)->domain);
}
