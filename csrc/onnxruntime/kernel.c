/* What a node becomes when its session is made: attributes read, weights packed. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "onnxruntime/kernel.h"

/* Which row blocks of ONNX's weights are this library's, in its order. */
static const int *rows_of(const struct kernel *kernel, int *count)
{
    const struct family *family = kernel->of->family;
    *count = family->gates - (kernel->coupled ? 1 : 0);
    return kernel->coupled ? family->coupled_rows : family->rows;
}

/* Weights in this library's order of one direction, which xr_pack reads. */
struct rows {
    char *w, *r, *b_ih, *b_hh, *p;
};

static struct rows take_rows(const struct kernel *kernel, const struct xr_layer *layer,
                             struct arena *arena)
{
    const size_t size = element_size(kernel);
    int count;
    rows_of(kernel, &count);
    struct rows rows = {0};
    rows.w = arena_take(arena, count * layer->H * layer->I, size);
    rows.r = arena_take(arena, count * layer->H * layer->H, size);
    if (kernel->has_bias) {
        rows.b_ih = arena_take(arena, count * layer->H, size);
        rows.b_hh = arena_take(arena, count * layer->H, size);
    }
    if (kernel->has_peepholes) rows.p = arena_take(arena, count * layer->H, size);
    return rows;
}

/* Copies blocks of so many bytes; `from` has them in ONNX's order. */
static void copy_blocks(char *to, const char *from, const int *order, int count,
                        size_t bytes)
{
    for (int k = 0; k < count; k++) {
        memcpy(to + (size_t)k * bytes, from + (size_t)order[k] * bytes, bytes);
    }
}

static const char *part(const struct kernel *kernel, const struct tensor *tensor,
                        ptrdiff_t elements)
{
    return (const char *)tensor->data + (size_t)elements * element_size(kernel);
}

static void fill_rows(const struct kernel *kernel, const struct xr_layer *layer,
                      const struct tensor *inputs, int d, struct rows *rows)
{
    /* Peepholes are i o f there, and here those that are computed of i f o. */
    static const int peepholes[] = {0, 2, 1}, coupled_peepholes[] = {0, 1};
    const ptrdiff_t G = kernel->of->family->gates, H = layer->H, I = layer->I;
    const size_t unit = (size_t)H * element_size(kernel);
    int count;
    const int *order = rows_of(kernel, &count);
    copy_blocks(rows->w, part(kernel, &inputs[IN_W], d * G * H * I), order, count,
                unit * (size_t)I);
    copy_blocks(rows->r, part(kernel, &inputs[IN_R], d * G * H * H), order, count,
                unit * (size_t)H);
    if (rows->b_ih) {
        const char *b = part(kernel, &inputs[IN_B], d * 2 * G * H);
        copy_blocks(rows->b_ih, b, order, count, unit);
        copy_blocks(rows->b_hh, b + (size_t)G * unit, order, count, unit);
    }
    if (rows->p) {
        copy_blocks(rows->p, part(kernel, &inputs[IN_P], d * 3 * H),
                    kernel->coupled ? coupled_peepholes : peepholes, count - 1, unit);
    }
}

/* Packs one direction; returns whether there was memory for it. */
static int pack_direction(const struct kernel *kernel, const struct tensor *inputs,
                          int d, struct pack *pack)
{
    const struct xr_layer *layer = &pack->layer[d];
    struct arena arena = {0};
    take_rows(kernel, layer, &arena);
    arena.memory = take_lines(arena.used);
    pack->packed[d] = take_lines(xr_packed_bytes(layer));
    const int has_memory = arena.memory && pack->packed[d];
    if (has_memory) {
        arena.used = 0;
        struct rows rows = take_rows(kernel, layer, &arena);
        fill_rows(kernel, layer, inputs, d, &rows);
        const struct xr_weights weights = {.w_ih = rows.w,
                                           .w_hh = rows.r,
                                           .b_ih = rows.b_ih,
                                           .b_hh = rows.b_hh,
                                           .vectors = rows.p};
        xr_pack(layer, &weights, pack->packed[d], NULL);
    }
    xr_give_memory(arena.memory);
    return has_memory;
}

static ort_result check_weights(const struct kernel *kernel,
                                const struct tensor *inputs)
{
    const struct ort_api *api = kernel->api;
    const int64_t D = kernel->directions, G = kernel->of->family->gates;
    const struct tensor *R = &inputs[IN_R];
    ort_result failed = check_shape(api, "R", R, 3, (int64_t[]){D, -1, -1});
    if (failed) return failed;
    const int64_t H = R->shape[2];
    failed = check_shape(api, "R", R, 3, (int64_t[]){D, G * H, H});
    if (!failed) {
        failed = check_shape(api, "W", &inputs[IN_W], 3, (int64_t[]){D, G * H, -1});
    }
    if (!failed && kernel->has_bias) {
        failed = check_shape(api, "B", &inputs[IN_B], 2, (int64_t[]){D, 2 * G * H});
    }
    if (!failed && kernel->has_peepholes) {
        failed = check_shape(api, "P", &inputs[IN_P], 2, (int64_t[]){D, 3 * H});
    }
    return failed;
}

ort_result pack_weights(const struct kernel *kernel, const struct tensor *inputs,
                        struct pack *pack)
{
    ort_result failed = check_weights(kernel, inputs);
    for (int d = 0; !failed && d < kernel->directions; d++) {
        struct xr_layer *layer = &pack->layer[d];
        *layer = kernel->layer[d];
        layer->I = (ptrdiff_t)inputs[IN_W].shape[2];
        layer->H = layer->O = (ptrdiff_t)inputs[IN_R].shape[2];
        xr_describe(layer);
        if (!pack_direction(kernel, inputs, d, pack)) {
            failed = failure(kernel->api, ORT_FAIL, "exactrnn: no memory for weights");
        }
    }
    if (failed) free_pack(pack);
    return failed;
}

void free_pack(struct pack *pack)
{
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        xr_give_memory(pack->packed[d]);
        pack->packed[d] = NULL;
    }
}

/* Attributes */

static ort_result read_int(const struct kernel *kernel, const struct ort_info *info,
                           const char *name, int *value)
{
    int64_t wide = 0;
    ort_result failed = kernel->api->attribute_int(info, name, &wide);
    *value = (int)wide;
    return failed;
}

static double double_of(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Each activation is three numbers: its kind, and the bits of α and β. */
static ort_result read_activations(struct kernel *kernel, const struct ort_info *info)
{
    int64_t numbers[XR_MAX_DIRECTIONS * MAX_ACTIVATIONS * 3];
    size_t size = sizeof numbers / sizeof numbers[0];
    ort_result failed =
        kernel->api->attribute_ints(info, "activations", numbers, &size);
    if (failed) return failed;
    const int each = kernel->of->family->activations;
    if (size != (size_t)(3 * each * kernel->directions)) {
        return failure(kernel->api, ORT_INVALID_ARGUMENT,
                       "exactrnn: activations: expected %d numbers, got %zu",
                       3 * each * kernel->directions, size);
    }
    const int64_t *number = numbers;
    for (int d = 0; d < kernel->directions; d++) {
        for (int k = 0; k < each; k++, number += 3) {
            if (number[0] < 0 || number[0] >= XR_ACTIVATIONS) {
                return failure(kernel->api, ORT_INVALID_ARGUMENT,
                               "exactrnn: activations: no such kind");
            }
            kernel->layer[d].activation[k] =
                (struct xr_nonlinearity){(enum xr_activation)number[0],
                                         double_of(number[1]), double_of(number[2])};
        }
    }
    return NULL;
}

static ort_result find_engine(struct kernel *kernel, const struct ort_info *info)
{
    char isa[32];
    size_t size = sizeof isa;
    ort_result failed = kernel->api->attribute_string(info, "isa", isa, &size);
    if (failed) return failed;
    const struct xr_engine *engine = xr_find_engine(isa, kernel->of->dtype);
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        kernel->layer[d].engine = engine;
    }
    if (engine) return NULL;
    return failure(kernel->api, ORT_INVALID_ARGUMENT,
                   "exactrnn: isa: this machine does not run %s", isa);
}

static ort_result find_cell(struct kernel *kernel, const struct ort_info *info)
{
    char cell[32];
    size_t size = sizeof cell;
    ort_result failed = kernel->api->attribute_string(info, "cell", cell, &size);
    if (failed) return failed;
    int found = 0;
    while (xr_cell_at(found) && strcmp(xr_cell_at(found)->name, cell) != 0) {
        found++;
    }
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        kernel->layer[d].cell = found;
    }
    if (xr_cell_at(found)) return NULL;
    return failure(kernel->api, ORT_INVALID_ARGUMENT, "exactrnn: cell: no %s", cell);
}

static ort_result read_numbers(struct kernel *kernel, const struct ort_info *info)
{
    const struct {
        const char *name;
        int *value;
    } numbers[] = {
        {"directions", &kernel->directions},
        {"reverse", &kernel->reverse},
        {"layout", &kernel->layout},
        {"threads", &kernel->threads},
        {"coupled", &kernel->coupled},
        {"has_bias", &kernel->has_bias},
        {"has_peepholes", &kernel->has_peepholes},
    };
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        ort_result failed = read_int(kernel, info, numbers[k].name, numbers[k].value);
        if (failed) return failed;
    }
    const int is_known = kernel->directions == 1 || kernel->directions == 2;
    if (is_known && kernel->threads >= 1) return NULL;
    return failure(kernel->api, ORT_INVALID_ARGUMENT,
                   "exactrnn: expected 1 or 2 directions and some threads, got %d, %d",
                   kernel->directions, kernel->threads);
}

static void set_options(struct kernel *kernel, float clip)
{
    const unsigned gates =
        kernel->coupled ? XR_GATE_I | XR_GATE_O : XR_GATE_I | XR_GATE_F | XR_GATE_O;
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        struct xr_layer *layer = &kernel->layer[d];
        layer->clip = (double)clip;
        layer->options.peepholes = kernel->has_peepholes ? gates : 0;
        layer->options.coupled = kernel->coupled ? XR_COUPLED_INPUT : XR_NOT_COUPLED;
    }
}

static ort_result read_attributes(struct kernel *kernel, const struct ort_info *info)
{
    float clip = 0;
    ort_result failed = read_numbers(kernel, info);
    if (!failed) failed = read_activations(kernel, info);
    if (!failed) failed = find_engine(kernel, info);
    if (!failed) failed = find_cell(kernel, info);
    if (!failed) failed = kernel->api->attribute_float(info, "clip", &clip);
    if (!failed) set_options(kernel, clip);
    return failed;
}

/* Reads the weights that are constant; says whether all of them are. */
static ort_result find_constants(const struct kernel *kernel,
                                 const struct ort_info *info, struct tensor *inputs,
                                 int *are_constant)
{
    const int wanted[INPUTS] = {[IN_W] = 1,
                                [IN_R] = 1,
                                [IN_B] = kernel->has_bias,
                                [IN_P] = kernel->has_peepholes};
    *are_constant = 1;
    for (size_t place = 0; place < INPUTS; place++) {
        const struct ort_value *value = NULL;
        int is_constant = 0;
        if (!wanted[place]) continue;
        ort_result failed =
            kernel->api->constant_input(info, place, &is_constant, &value);
        if (!failed && is_constant) {
            failed = read_tensor(kernel->api, value, &inputs[place]);
        }
        if (failed) return failed;
        *are_constant = *are_constant && is_constant;
    }
    return NULL;
}

static ort_result fill_kernel(struct kernel *kernel, const struct ort_info *info)
{
    ort_result failed = read_attributes(kernel, info);
    if (failed) return failed;
    struct tensor inputs[INPUTS] = {0};
    int are_constant = 0;
    failed = find_constants(kernel, info, inputs, &are_constant);
    if (failed || !are_constant) return failed;
    struct pack pack = {0};
    failed = pack_weights(kernel, inputs, &pack);
    if (failed) return failed;
    memcpy(kernel->layer, pack.layer, sizeof pack.layer);
    memcpy(kernel->packed, pack.packed, sizeof pack.packed);
    return NULL;
}

ort_result create_kernel(const struct ort_operator *self, const struct ort_api *api,
                         const struct ort_info *info, void **made)
{
    struct kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel) return failure(api, ORT_FAIL, "exactrnn: no memory for a node");
    kernel->api = api;
    kernel->of = (const struct recurrent *)(const void *)self;
    ort_result failed = fill_kernel(kernel, info);
    if (failed) {
        destroy_kernel(kernel);
    } else {
        *made = kernel;
    }
    return failed;
}

void destroy_kernel(void *kernel)
{
    struct kernel *made = kernel;
    for (int d = 0; d < XR_MAX_DIRECTIONS; d++) {
        xr_give_memory(made->packed[d]);
    }
    free(made);
}
