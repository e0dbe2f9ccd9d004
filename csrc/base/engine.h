/* The table that each (instruction set, dtype) fills, and the cells it brings. */
#ifndef XR_ENGINE_H
#define XR_ENGINE_H

#include "base/calls.h"

struct xr_attention_form;
struct xr_attention_weights;
struct xr_ctc_kernels;
struct xr_dense;
struct xr_grid;
struct xr_machine;
struct xr_updates;

struct xr_engine {
    const char *isa;
    size_t element_bytes;
    void (*describe)(struct xr_layer *layer);
    size_t (*packed_bytes)(const struct xr_layer *layer);
    size_t (*packed_backward_bytes)(const struct xr_layer *layer);
    void (*pack)(const struct xr_layer *layer, const struct xr_weights *weights,
                 void *packed, struct xr_stop *stop);
    void (*pack_backward)(const struct xr_layer *layer,
                          const struct xr_weights *weights, void *packed,
                          struct xr_stop *stop);
    size_t (*attention_bytes)(const struct xr_attention_form *form);
    void (*pack_attention)(const struct xr_attention_form *form,
                           const struct xr_attention_weights *weights, void *packed,
                           struct xr_stop *stop);
    size_t (*scratch_bytes)(const struct xr_problem *problem, int backward);
    void (*forward)(const struct xr_problem *problem);
    void (*backward)(const struct xr_problem *problem);
    int (*is_direct)(const struct xr_layer *layer);
    size_t (*direct_bytes)(const struct xr_step *step);
    void (*step_direct)(const struct xr_step *step);
    void (*elementary)(enum xr_function function, const void *const in[3], void *out,
                       ptrdiff_t n, struct xr_stop *stop);
    const struct xr_cell_info *(*cell_info)(int index);
    const struct xr_dense *dense;     /* base/tables.h */
    const struct xr_ctc_kernels *ctc; /* base/tables.h */
    const struct xr_grid *grid;       /* base/tables.h */
    const struct xr_machine *machine; /* base/machine.h */
    const struct xr_updates *updates; /* base/tables.h */
};

#endif
