/* From names to kernels: the table [instruction set][dtype] of what was built and what
 * this machine runs, and the public functions, which only look up and pass on.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "base/engine.h"
#include "base/attention.h"
#include "base/machine.h"
#include "base/tables.h"

/* A line of isas.def that was not built for this processor has no engine: its symbol
 * has nothing behind it. */
#define XR_ISA_LINE(isa)                                      \
    XR_PERHAPS(const struct xr_engine, xr_engine_##isa##_f32) \
    XR_PERHAPS(const struct xr_engine, xr_engine_##isa##_f64)
#include "kernels/isas.def"
#undef XR_ISA_LINE

#if defined(XR_AS_MSVC)
const char xr_not_linked = 0;
#endif

struct line {
    const char *isa;
    int (*runs_here)(void);
    const struct xr_engine *engine[XR_DTYPES];
};

static const struct line LINES[] = {
#define XR_ISA_LINE(isa) \
    {#isa, xr_cpu_has_##isa, {&xr_engine_##isa##_f32, &xr_engine_##isa##_f64}},
#include "kernels/isas.def"
#undef XR_ISA_LINE
};

enum { LINE_COUNT = sizeof LINES / sizeof LINES[0] };

/* Asked once, at load time: CPUID takes microseconds in a virtual machine. */
static int usable_line[LINE_COUNT];

XR_AT_LOAD(detect)
{
    for (int i = 0; i < LINE_COUNT; i++) {
        usable_line[i] = XR_IS_LINKED(LINES[i].engine[XR_F32]) && LINES[i].runs_here();
    }
}

const char *xr_isa_at(int index)
{
    for (int i = 0; i < LINE_COUNT; i++) {
        if (usable_line[i] && index == 0) {
            return LINES[i].isa;
        }
        index -= index > 0 && usable_line[i];
    }
    return NULL;
}

const struct xr_engine *xr_find_engine(const char *isa, enum xr_dtype dtype)
{
    if ((int)dtype < 0 || dtype >= XR_DTYPES) {
        return NULL;
    }
    for (int i = 0; i < LINE_COUNT; i++) {
        if (usable_line[i] && (isa == NULL || strcmp(LINES[i].isa, isa) == 0)) {
            return LINES[i].engine[dtype];
        }
    }
    return NULL;
}

const struct xr_cell_info *xr_cell_at(int index)
{
    return xr_find_engine(xr_isa_at(0), XR_F32)->cell_info(index);
}

int xr_cell_index(const char *name)
{
    for (int i = 0; name != NULL && xr_cell_at(i) != NULL; i++) {
        if (strcmp(xr_cell_at(i)->name, name) == 0) {
            return i;
        }
    }
    return -1;
}

void xr_describe(struct xr_layer *layer) { layer->engine->describe(layer); }

size_t xr_packed_bytes(const struct xr_layer *layer)
{
    return layer->engine->packed_bytes(layer);
}

size_t xr_packed_backward_bytes(const struct xr_layer *layer)
{
    return layer->engine->packed_backward_bytes(layer);
}

void xr_pack(const struct xr_layer *layer, const struct xr_weights *weights,
             void *packed, struct xr_stop *stop)
{
    layer->engine->pack(layer, weights, packed, stop);
}

void xr_pack_backward(const struct xr_layer *layer, const struct xr_weights *weights,
                      void *packed, struct xr_stop *stop)
{
    layer->engine->pack_backward(layer, weights, packed, stop);
}

int xr_is_direct(const struct xr_layer *layer)
{
    return layer->engine->is_direct(layer);
}

size_t xr_direct_bytes(const struct xr_step *step)
{
    return step->layer->engine->direct_bytes(step);
}

void xr_step_direct(const struct xr_step *step)
{
    step->layer->engine->step_direct(step);
}

size_t xr_attention_packed_bytes(const struct xr_engine *engine,
                                 const struct xr_attention_form *form)
{
    return engine->attention_bytes(form);
}

void xr_pack_attention(const struct xr_engine *engine,
                       const struct xr_attention_form *form,
                       const struct xr_attention_weights *weights, void *packed,
                       struct xr_stop *stop)
{
    engine->pack_attention(form, weights, packed, stop);
}

size_t xr_scratch_bytes(const struct xr_problem *problem, int backward)
{
    return problem->layer->engine->scratch_bytes(problem, backward);
}

void xr_forward(const struct xr_problem *problem)
{
    problem->layer->engine->forward(problem);
}

void xr_backward(const struct xr_problem *problem)
{
    problem->layer->engine->backward(problem);
}

void xr_elementary(const struct xr_engine *engine, enum xr_function function,
                   const void *const in[3], void *out, ptrdiff_t n,
                   struct xr_stop *stop)
{
    engine->elementary(function, in, out, n, stop);
}

const struct xr_dense *xr_find_dense(const char *isa, enum xr_dtype dtype)
{
    const struct xr_engine *engine = xr_find_engine(isa, dtype);
    return engine ? engine->dense : NULL;
}

const struct xr_ctc_kernels *xr_find_ctc(const char *isa, enum xr_dtype dtype)
{
    const struct xr_engine *engine = xr_find_engine(isa, dtype);
    return engine ? engine->ctc : NULL;
}

const struct xr_grid *xr_find_grid(const char *isa, enum xr_dtype dtype)
{
    const struct xr_engine *engine = xr_find_engine(isa, dtype);
    return engine ? engine->grid : NULL;
}

const struct xr_machine *xr_find_machine(const char *isa, enum xr_dtype dtype)
{
    const struct xr_engine *engine = xr_find_engine(isa, dtype);
    return engine ? engine->machine : NULL;
}

const struct xr_updates *xr_find_updates(const char *isa, enum xr_dtype dtype)
{
    const struct xr_engine *engine = xr_find_engine(isa, dtype);
    return engine ? engine->updates : NULL;
}
