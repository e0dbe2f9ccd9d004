/* A model in memory: layers of the engine with packed weights. */
#ifndef XR_MODEL_PARTS_H
#define XR_MODEL_PARTS_H

#include <stdatomic.h>

#include "base/kept.h"
#include "exactrnn/model.h"
#include "library/network.h"
#include "library/safetensors.h"

struct part {
    struct xr_layer layer;
    void *packed;
};

struct xr_model {
    atomic_int users; /* its owner and its streams */
    const struct xr_engine *engine;
    size_t element;
    int64_t numerics;
    struct network network;
    ptrdiff_t layers;
    int directions;
    struct part *parts; /* [layers, directions] */
};

static inline const struct part *xr_part(const struct xr_model *model, ptrdiff_t layer,
                                         int direction)
{
    return &model->parts[layer * model->directions + direction];
}

/* Memory as the kernels want it, at least one byte of it, NULL where there is none or
 * where so many elements cannot be counted; xr_give_memory frees it. */
void *xr_new_memory(ptrdiff_t count, size_t element);

/* The problem of one layer, but for the call's own sizes and arrays. */
void xr_layer_problem(const struct xr_model *model, ptrdiff_t layer,
                      struct xr_problem *problem);

/* Elements of a step's outputs. */
ptrdiff_t xr_outputs(const struct xr_model *model);

/* Packs the weights of all layers, of which the file must have each and no other. */
enum xr_status xr_pack_model(struct xr_model *model, const struct file *file);

#endif
