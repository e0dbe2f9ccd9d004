/* Weights from a file into packs: names and shapes, as src/exactrnn/_spec/recurrent.py
 * lists them. Connections of a clockwork network that do not exist, which Python
 * clears, the kernels do not read.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/engine.h"
#include "library/model.h"

enum { NAME_BYTES = 96 };

struct loading {
    const struct xr_model *model;
    const struct file *file;
    char suffix[NAME_BYTES / 2];
    ptrdiff_t used; /* arrays of the file */
    enum xr_status status;
};

/* A weight of one layer: what it is called, its shape (columns 0: of one axis), and
 * whether it is there. */
struct wanted {
    const char *kind;
    int64_t rows, columns;
    int is_there;
};

void *xr_new_memory(ptrdiff_t count, size_t element)
{
    const size_t most = (PTRDIFF_MAX - 2 * XR_ALIGNMENT) / element;
    if (count < 0 || (size_t)count > most) {
        return NULL;
    }
    const size_t bytes = (size_t)count * element;
    return xr_take_lines((bytes / XR_ALIGNMENT + 1) * XR_ALIGNMENT);
}

static enum xr_status no_memory(void)
{
    return xr_refuse(XR_NO_MEMORY, "no memory for the weights of a model");
}

/* The file's elements are little-endian. */
static void copy_elements(void *out, const struct file_array *array)
{
    memcpy(out, array->data, array->bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    char *at = out;
    for (size_t i = 0; i < array->bytes; i += array->element_bytes) {
        for (size_t k = 0; k < array->element_bytes / 2; k++) {
            const char byte = at[i + k];
            at[i + k] = at[i + array->element_bytes - 1 - k];
            at[i + array->element_bytes - 1 - k] = byte;
        }
    }
#endif
}

static int has_shape(const struct file_array *array, const struct wanted *wanted)
{
    const int axes = wanted->columns == 0 ? 1 : 2;
    return array->axes == axes && array->shape[0] == wanted->rows &&
           (axes == 1 || array->shape[1] == wanted->columns);
}

/* Returns a copy of a weight, NULL where the layer lacks it or something is wrong. */
static void *take_weight(struct loading *loading, const struct wanted *wanted)
{
    char name[NAME_BYTES];
    if (!wanted->is_there || loading->status != XR_OK) {
        return NULL;
    }
    snprintf(name, sizeof name, "%s%s", wanted->kind, loading->suffix);
    const struct file_array *array = xr_file_array(loading->file, name);
    if (array == NULL || !array->is_float ||
        array->element_bytes != loading->model->element || !has_shape(array, wanted)) {
        loading->status =
            xr_refuse(XR_BAD_FILE,
                      "not a model file: %s: expected an array %lld x %lld of the "
                      "model's dtype, got %s",
                      name, (long long)wanted->rows, (long long)wanted->columns,
                      array == NULL ? "none" : "another");
        return NULL;
    }
    void *copy = xr_new_memory((ptrdiff_t)array->bytes, 1);
    if (copy == NULL) {
        loading->status = no_memory();
        return NULL;
    }
    copy_elements(copy, array);
    loading->used++;
    return copy;
}

static void set_element(void *array, ptrdiff_t at, size_t element, double value)
{
    if (element == sizeof(float)) {
        ((float *)array)[at] = (float)value;
    } else {
        ((double *)array)[at] = value;
    }
}

/* Makes σ of the logits, one or one for each unit, in their place. */
static void logits_to_leaks(const struct xr_engine *engine, void *logits,
                            ptrdiff_t count)
{
    const void *const in[3] = {logits, NULL, NULL};
    xr_elementary(engine, XR_SIGMOID_OF, in, logits, count, NULL);
}

/* α of every unit, of the weight if there is one, else as the arguments say. */
static void *take_leaks(struct loading *loading)
{
    const struct xr_model *model = loading->model;
    const struct network *network = &model->network;
    const ptrdiff_t H = (ptrdiff_t)network->hidden_size;
    const ptrdiff_t count = network->leaks_differ ? H : 1;
    const size_t element = model->element;
    const struct wanted wanted = {"leak_logit", count, 0, network->learn_leak};
    void *logits = take_weight(loading, &wanted);
    char *leaks = loading->status == XR_OK ? xr_new_memory(H, element) : NULL;
    if (leaks == NULL) {
        loading->status = loading->status == XR_OK ? no_memory() : loading->status;
        xr_give_memory(logits);
        return NULL;
    }
    if (logits != NULL) {
        logits_to_leaks(model->engine, logits, count);
    }
    for (ptrdiff_t i = 0; i < H; i++) {
        const size_t from = network->leaks_differ ? (size_t)i : 0;
        if (logits != NULL) {
            memcpy(leaks + (size_t)i * element, (char *)logits + from * element,
                   element);
        } else {
            const int is_given = network->leaks.count > 0;
            set_element(leaks, i, element, is_given ? network->leaks.real[from] : 1);
        }
    }
    xr_give_memory(logits);
    return leaks;
}

enum { W_IH, W_HH, B_IH, B_HH, W_HR, B_HR, VECTORS, W_GATES, ROLES };

static void take_weights(struct loading *loading, const struct xr_layer *layer,
                         void *weights[ROLES])
{
    const struct network *network = &loading->model->network;
    const struct xr_cell_info *info = &layer->info;
    const unsigned kind = network->kind->arguments;
    const int is_jordan = (kind & OF_JORDAN) != 0, is_leaky = (kind & OF_LEAKY) != 0;
    const int64_t H = layer->H, O = network->output_size, n = info->links * H;
    const int64_t W = info->w_blocks * H, R = info->r_blocks * H;
    const int has_second = network->bias && !(kind & OF_BLOCKS);
    const struct wanted wanted[ROLES] = {
        [W_IH] = {"weight_ih", W, layer->I, 1},
        [W_HH] = {"weight_hh", R, O + info->heard * H, 1},
        [B_IH] = {"bias_ih", W, 0, network->bias},
        [B_HH] = {"bias_hh", R, 0, has_second},
        [W_HR] = {is_jordan ? "weight_ho" : "weight_hr", O, H, info->projects},
        [B_HR] = {"bias_ho", O, 0, is_jordan && network->bias},
        [VECTORS] = {"weight_peephole", info->vectors, network->hidden_size,
                     info->vectors > 0 && !is_leaky},
        [W_GATES] = {"weight_gates", n, n, n > 0},
    };
    for (int role = 0; role < ROLES; role++) {
        weights[role] = role == VECTORS && is_leaky
                            ? take_leaks(loading)
                            : take_weight(loading, &wanted[role]);
    }
}

static void pack_part(struct loading *loading, struct part *part)
{
    void *w[ROLES] = {NULL};
    take_weights(loading, &part->layer, w);
    if (loading->status == XR_OK) {
        const struct xr_weights weights = {.w_ih = w[W_IH],
                                           .w_hh = w[W_HH],
                                           .b_ih = w[B_IH],
                                           .b_hh = w[B_HH],
                                           .w_hr = w[W_HR],
                                           .b_hr = w[B_HR],
                                           .vectors = w[VECTORS],
                                           .w_gates = w[W_GATES]};
        part->packed = xr_new_memory((ptrdiff_t)xr_packed_bytes(&part->layer), 1);
        if (part->packed == NULL) {
            loading->status = no_memory();
        } else {
            xr_pack(&part->layer, &weights, part->packed, NULL);
        }
    }
    for (int role = 0; role < ROLES; role++) {
        xr_give_memory(w[role]);
    }
}

static void name_part(struct loading *loading, ptrdiff_t layer, int direction)
{
    if (loading->model->network.kind->arguments & OF_STACK) {
        snprintf(loading->suffix, sizeof loading->suffix, "_l%td%s", layer,
                 direction ? "_reverse" : "");
    }
}

enum xr_status xr_pack_model(struct xr_model *model, const struct file *file)
{
    struct loading loading = {.model = model, .file = file};
    for (ptrdiff_t layer = 0; layer < model->layers; layer++) {
        for (int d = 0; d < model->directions && loading.status == XR_OK; d++) {
            struct part *part = &model->parts[layer * model->directions + d];
            loading.status = xr_network_layer(&model->network, model->engine, layer, d,
                                              &part->layer);
            if (loading.status == XR_OK) {
                name_part(&loading, layer, d);
                pack_part(&loading, part);
            }
        }
    }
    if (loading.status == XR_OK && loading.used != file->count) {
        return xr_refuse(XR_BAD_FILE, "not a model file: expected %td arrays, got %td",
                         loading.used, file->count);
    }
    return loading.status;
}
