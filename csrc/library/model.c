/* Models: from a file to packs, and runs over whole sequences. */
#include "library/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/engine.h"
#include "library/entry.h"

/* Reading */

static enum xr_status refuse_read(const char *path)
{
    return xr_refuse(XR_CANNOT_READ, "path: cannot read %.200s: %s", path,
                     strerror(errno));
}

/* Returns all of a file, whose size no system call is asked for: it may be a pipe. */
static enum xr_status read_all(FILE *stream, const char *path, char **content,
                               size_t *bytes)
{
    size_t room = 1 << 16;
    *content = NULL;
    *bytes = 0;
    for (;;) {
        char *more = realloc(*content, room);
        if (more == NULL) {
            return xr_refuse(XR_NO_MEMORY, "no memory for %zu bytes of a file", room);
        }
        *content = more;
        *bytes += fread(*content + *bytes, 1, room - *bytes, stream);
        if (*bytes < room) {
            return ferror(stream) ? refuse_read(path) : XR_OK;
        }
        room *= 2;
    }
}

static enum xr_status read_path(const char *path, char **content, size_t *bytes)
{
    *content = NULL;
    if (path == NULL) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "path: expected the name of a file, got NULL");
    }
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        return refuse_read(path);
    }
    const enum xr_status status = read_all(stream, path, content, bytes);
    fclose(stream);
    return status;
}

/* Making */

static enum xr_status make_parts(struct xr_model *model, const struct file *file,
                                 const char *isa)
{
    model->engine = xr_find_engine(isa, model->network.dtype);
    if (model->engine == NULL) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "options.isa: expected one of xr_isa_at, got %.40s", isa);
    }
    model->element = model->engine->element_bytes;
    model->layers = (ptrdiff_t)model->network.num_layers;
    model->directions = xr_directions(&model->network);
    const size_t count = (size_t)(model->layers * model->directions);
    model->parts = calloc(count, sizeof *model->parts);
    if (model->parts == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for %zu layers", count);
    }
    return xr_pack_model(model, file);
}

static enum xr_status read_description(struct xr_model *model, const struct file *file)
{
    struct json json;
    enum xr_status status = xr_entry_read(file, &json);
    if (status != XR_OK) {
        return status;
    }
    const struct json_value *numerics = xr_json_member(&json, json.values, "numerics");
    status = xr_network_read(&model->network, &json, file->count);
    if (status == XR_OK && !xr_json_integer(numerics, &model->numerics)) {
        status = xr_refuse_value("numerics", "a whole number", numerics);
    }
    xr_json_free(&json);
    return status;
}

static enum xr_status make_model(const struct file *file, const char *isa,
                                 struct xr_model **out)
{
    struct xr_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for a model");
    }
    model->users = 1;
    const uint64_t caller = xr_enter_ieee();
    enum xr_status status = read_description(model, file);
    if (status == XR_OK) {
        status = make_parts(model, file, isa);
    }
    xr_leave_ieee(caller);
    if (status != XR_OK) {
        xr_model_free(model);
        return status;
    }
    *out = model;
    return XR_OK;
}

enum xr_status xr_model_load_bytes(const void *content, size_t bytes,
                                   const struct xr_model_options *options,
                                   struct xr_model **model)
{
    struct xr_model_options own = {.isa = NULL};
    struct file file;
    enum xr_status status = xr_check_memory("model", model, sizeof(void *));
    if (status == XR_OK) {
        *model = NULL;
        status = xr_check_memory("content", content, 1);
    }
    if (status == XR_OK && options != NULL) {
        status = xr_take_struct("options", options, &own, sizeof own);
    }
    if (status == XR_OK) {
        status = xr_file_open(&file, content, bytes);
    }
    if (status == XR_OK) {
        status = make_model(&file, own.isa, model);
        xr_file_close(&file);
    }
    return status;
}

enum xr_status xr_model_load(const char *path, const struct xr_model_options *options,
                             struct xr_model **model)
{
    char *content = NULL;
    size_t bytes = 0;
    enum xr_status status = xr_check_memory("model", model, sizeof(void *));
    if (status == XR_OK) {
        *model = NULL;
        status = read_path(path, &content, &bytes);
    }
    if (status == XR_OK) {
        status = xr_model_load_bytes(content, bytes, options, model);
    }
    free(content);
    return status;
}

void xr_model_free(struct xr_model *model)
{
    if (model == NULL || atomic_fetch_sub(&model->users, 1) > 1) {
        return;
    }
    const ptrdiff_t count =
        model->parts == NULL ? 0 : model->layers * model->directions;
    for (ptrdiff_t i = 0; i < count; i++) {
        xr_give_memory(model->parts[i].packed);
    }
    free(model->parts);
    xr_network_free(&model->network);
    free(model);
}

/* Facts */

ptrdiff_t xr_outputs(const struct xr_model *model)
{
    return model->directions * xr_state_width(&model->parts->layer, 0);
}

enum xr_status xr_model_describe(const struct xr_model *model,
                                 struct xr_model_info *info)
{
    struct xr_model_info found;
    enum xr_status status = xr_check_memory("model", model, sizeof(void *));
    if (status == XR_OK) {
        status = xr_take_struct("info", info, &found, sizeof found);
    }
    if (status != XR_OK) {
        return status;
    }
    const struct network *network = &model->network;
    const struct xr_layer *layer = &model->parts->layer;
    found = (struct xr_model_info){
        .struct_size = sizeof found,
        .class_name = network->kind->name,
        .isa = model->engine->isa,
        .dtype = network->dtype,
        .inputs = layer->I,
        .outputs = xr_outputs(model),
        .layers = model->layers,
        .directions = model->directions,
        .batch_first = network->batch_first,
        .can_stream = model->directions == 1 && !network->reverse,
        .counts_steps = layer->modules > 0,
        .first_clock = network->phase,
        .states = xr_state_arrays(layer),
        .numerics = model->numerics,
    };
    for (int k = 0; k < found.states; k++) {
        found.state_width[k] = xr_state_width(layer, k);
    }
    *info = found;
    return XR_OK;
}

void xr_layer_problem(const struct xr_model *model, ptrdiff_t layer,
                      struct xr_problem *problem)
{
    *problem = (struct xr_problem){.struct_size = sizeof *problem,
                                   .layer = &xr_part(model, layer, 0)->layer,
                                   .directions = model->directions,
                                   .reverse = model->network.reverse};
    for (int d = 0; d < model->directions; d++) {
        problem->packed[d] = xr_part(model, layer, d)->packed;
        problem->second = &xr_part(model, layer, d)->layer;
    }
}
