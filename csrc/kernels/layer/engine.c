/* One engine: all kernels of one instruction set and one element type, and the table by
 * which the rest of the library reaches them. Compiled once for each of both.
 */
#include "base/engine.h"

#include "kernels/layer/direct.h"
#include "kernels/layer/pack_backward.h"
#include "kernels/layer/pack_forward.h"
#include "kernels/layer/sequence_backward.h"
#include "kernels/layer/sequence_forward.h"

#define XR_CELL(name) extern const struct xr_cell XR_NAME(xr_cell_##name);
#include "kernels/cells.def"
#undef XR_CELL

static const struct xr_cell *const CELLS[] = {
#define XR_CELL(name) &XR_NAME(xr_cell_##name),
#include "kernels/cells.def"
#undef XR_CELL
};

static const struct xr_cell *cell_of(const struct xr_layer *layer)
{
    return CELLS[layer->cell];
}

static const struct xr_cell_info *cell_info(int index)
{
    const int count = sizeof CELLS / sizeof CELLS[0];
    return index >= 0 && index < count ? &CELLS[index]->info : NULL;
}

static void describe(struct xr_layer *layer)
{
    const struct xr_cell *cell = cell_of(layer);
    layer->info = cell->info;
    layer->info.cells = 1;
    if (cell->adapt != NULL) {
        cell->adapt(layer, &layer->info);
    }
}

static size_t packed_bytes(const struct xr_layer *layer)
{
    return pack_forward(layer, NULL, NULL, NULL);
}

static size_t packed_backward_bytes(const struct xr_layer *layer)
{
    return pack_backward(layer, NULL, NULL, NULL);
}

struct pack_call {
    const struct xr_layer *layer;
    const struct xr_weights *weights;
    void *packed;
    size_t (*pack)(const struct xr_layer *layer, const struct xr_weights *weights,
                   void *memory, struct xr_watch *watch);
};

enum { ZEROS_AT_ONCE = 1 << 20 }; /* bytes: memory that is new takes 1 ns for 2 */

static void clear_memory(char *memory, size_t bytes, struct xr_watch *watch)
{
    for (size_t at = 0; at < bytes && !xr_leaves(watch, ZEROS_AT_ONCE);
         at += ZEROS_AT_ONCE) {
        const size_t left = bytes - at;
        memset(memory + at, 0, left < ZEROS_AT_ONCE ? left : ZEROS_AT_ONCE);
    }
}

/* Packing adds biases, so it too runs in the environment of the contract. */
static void pack_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    (void)phase, (void)item;
    const struct pack_call *call = context;
    clear_memory(call->packed, call->pack(call->layer, NULL, NULL, NULL), watch);
    if (!watch->leaving) {
        call->pack(call->layer, call->weights, call->packed, watch);
    }
}

static void engine_pack(const struct xr_layer *layer, const struct xr_weights *weights,
                        void *packed, struct xr_stop *stop)
{
    struct pack_call call = {layer, weights, packed, pack_forward};
    xr_run_phase(1, 0, pack_body, &call, stop);
}

static void engine_pack_backward(const struct xr_layer *layer,
                                 const struct xr_weights *weights, void *packed,
                                 struct xr_stop *stop)
{
    struct pack_call call = {layer, weights, packed, pack_backward};
    xr_run_phase(1, 0, pack_body, &call, stop);
}

static size_t attention_bytes(const struct xr_attention_form *form)
{
    struct attention_pack header;
    return lay_attention(form, &header);
}

struct attention_call {
    const struct xr_attention_form *form;
    const struct xr_attention_weights *weights;
    void *packed;
};

static void attention_body(void *context, ptrdiff_t phase, int item,
                           struct xr_watch *watch)
{
    (void)phase, (void)item;
    const struct attention_call *call = context;
    clear_memory(call->packed, attention_bytes(call->form), watch);
    if (!watch->leaving) {
        pack_attention(call->form, call->weights, call->packed, watch);
    }
}

static void engine_pack_attention(const struct xr_attention_form *form,
                                  const struct xr_attention_weights *weights,
                                  void *packed, struct xr_stop *stop)
{
    struct attention_call call = {form, weights, packed};
    xr_run_phase(1, 0, attention_body, &call, stop);
}

static size_t scratch_bytes(const struct xr_problem *problem, int backward)
{
    const struct xr_cell *cell = cell_of(problem->layer);
    struct arena arena = {0};
    if (backward) {
        make_backward_run(problem, cell, &arena);
    } else {
        make_forward_run(problem, cell, &arena);
    }
    return arena.used;
}

static void forward(const struct xr_problem *problem)
{
    run_forward(problem, cell_of(problem->layer));
}

static void backward(const struct xr_problem *problem)
{
    run_backward(problem, cell_of(problem->layer));
}

static void step_direct(const struct xr_step *step)
{
    run_direct(step, cell_of(step->layer));
}

static vec function_of(enum xr_function function, vec a, vec b, vec c)
{
    switch (function) {
    case XR_EXP: return vec_exp(a);
    case XR_EXPM1: return vec_expm1(a);
    case XR_LOG: return vec_log(a);
    case XR_SOFTPLUS_OF: return vec_softplus(a);
    case XR_TANH_OF: return vec_tanh(a);
    case XR_SIGMOID_OF: return vec_sigmoid(a);
    case XR_FLUSH: return vec_flush(a);
    case XR_FMA: return vec_fma(a, b, c);
    }
    return a;
}

struct elementary_call {
    enum xr_function function;
    const void *const *in;
    elem *out;
    ptrdiff_t n;
};

enum { ELEMENT_WORK = 32 }; /* of one element, in multiplications */

static void elementary_body(void *context, ptrdiff_t phase, int item,
                            struct xr_watch *watch)
{
    (void)phase, (void)item;
    const struct elementary_call *call = context;
    for (ptrdiff_t k = 0; k < call->n; k += VEC_LANES) {
        if (xr_leaves(watch, VEC_LANES * ELEMENT_WORK)) {
            return;
        }
        const ptrdiff_t inside = min_of(VEC_LANES, call->n - k);
        vec in[3];
        for (int i = 0; i < 3; i++) {
            const elem *array = call->in[i];
            in[i] = array ? vec_load_part(array + k, inside) : vec_zero();
        }
        vec_store_part(call->out + k, inside,
                       function_of(call->function, in[0], in[1], in[2]));
    }
}

static void elementary(enum xr_function function, const void *const in[3], void *out,
                       ptrdiff_t n, struct xr_stop *stop)
{
    struct elementary_call call = {function, in, out, n};
    xr_run_phase(1, 0, elementary_body, &call, stop);
}

#define XR_STRING(name) XR_STRING_OF(name)
#define XR_STRING_OF(name) #name

extern const struct xr_ctc_kernels XR_NAME(xr_ctc);
extern const struct xr_dense XR_NAME(xr_dense);
extern const struct xr_grid XR_NAME(xr_grid);
extern const struct xr_machine XR_NAME(xr_machine);
extern const struct xr_updates XR_NAME(xr_updates);
extern const struct xr_engine XR_NAME(xr_engine);
const struct xr_engine XR_NAME(xr_engine) = {
    .isa = XR_STRING(XR_ISA),
    .element_bytes = sizeof(elem),
    .describe = describe,
    .packed_bytes = packed_bytes,
    .packed_backward_bytes = packed_backward_bytes,
    .pack = engine_pack,
    .pack_backward = engine_pack_backward,
    .attention_bytes = attention_bytes,
    .pack_attention = engine_pack_attention,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .backward = backward,
    .is_direct = is_direct,
    .direct_bytes = direct_bytes,
    .step_direct = step_direct,
    .elementary = elementary,
    .cell_info = cell_info,
    .dense = &XR_NAME(xr_dense),
    .ctc = &XR_NAME(xr_ctc),
    .grid = &XR_NAME(xr_grid),
    .machine = &XR_NAME(xr_machine),
    .updates = &XR_NAME(xr_updates),
};
