/* Grids, checked: the functions of exactrnn/grid.h on the table of base/tables.h. */
#include "base/engine.h"
#include "base/tables.h"
#include "library/checks.h"

/* Blocks */

/* Phases are 0, or from 1 on without gaps and each only once. */
static enum xr_status check_phases(const struct xr_grid_block *block)
{
    int priorities = 0, seen = 0;
    for (int k = 0; k < block->N; k++) {
        const int phase = block->phase[k];
        if (phase < 0 || phase > block->N || (phase > 0 && (seen >> phase & 1))) {
            return xr_refuse(XR_BAD_ARGUMENT,
                             "block.phase[%d]: expected 0 or a number of its own up to "
                             "N = %d, got %d",
                             k, block->N, phase);
        }
        priorities += phase > 0;
        seen |= phase > 0 ? 1 << phase : 0;
    }
    if (seen != (1 << (priorities + 1)) - 2) {
        return xr_refuse(XR_BAD_ARGUMENT,
                         "block.phase: expected 0 and 1 to %d without gaps",
                         priorities);
    }
    return XR_OK;
}

static enum xr_status check_dimension(const struct xr_engine *engine,
                                      const struct xr_grid_block *block, int k)
{
    enum xr_status status = xr_check_range("block.memory", block->memory[k], 0, 1);
    if (status == XR_OK && !block->memory[k]) {
        status = xr_check_activation("block.activation", block->activation[k], engine);
    }
    if (status == XR_OK) {
        status = xr_check_range("block.inputs", block->inputs[k], 0, PTRDIFF_MAX);
    }
    if (status == XR_OK) {
        const double H = (double)block->H + XR_UNIT_PAD;
        const double columns = block->N * H + (double)block->inputs[k];
        status = xr_check_volume("block.H, inputs", 4 * H * columns);
    }
    return status;
}

static enum xr_status take_block(const struct xr_engine *engine,
                                 const struct xr_grid_block *given,
                                 struct xr_grid_block *own)
{
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("block", given, own, sizeof *own);
    }
    if (status == XR_OK) {
        status = xr_check_range("block.N", own->N, 1, XR_GRID_DIMS);
    }
    if (status == XR_OK) {
        status = xr_check_range("block.H", own->H, 1, PTRDIFF_MAX);
    }
    for (int k = 0; status == XR_OK && k < own->N; k++) {
        status = check_dimension(engine, own, k);
    }
    return status == XR_OK ? check_phases(own) : status;
}

static enum xr_status take_dimension(const struct xr_engine *engine,
                                     const struct xr_grid_block *given,
                                     struct xr_grid_block *own, int k)
{
    const enum xr_status status = take_block(engine, given, own);
    return status == XR_OK ? xr_check_range("k", k, 0, own->N - 1) : status;
}

static enum xr_status take_side(const struct xr_engine *engine,
                                const struct xr_grid_block *given,
                                struct xr_grid_block *own, int k)
{
    const enum xr_status status = take_dimension(engine, given, own, k);
    if (status == XR_OK && own->inputs[k] == 0) {
        return xr_refuse(XR_BAD_ARGUMENT, "k: expected a dimension with inputs, got %d",
                         k);
    }
    return status;
}

/* Packing */

enum xr_status xr_grid_packed_bytes(const struct xr_engine *engine,
                                    const struct xr_grid_block *block, int k,
                                    int backward, size_t *bytes)
{
    struct xr_grid_block own;
    enum xr_status status = take_dimension(engine, block, &own, k);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof *bytes);
    }
    if (status == XR_OK) {
        *bytes = engine->grid->packed_bytes(&own, k, backward);
    }
    return status;
}

static enum xr_status check_weights(const struct xr_engine *engine, const void *w,
                                    const void *b, const void *packed)
{
    enum xr_status status = xr_check_memory("w", w, engine->element_bytes);
    if (status == XR_OK && b != NULL) {
        status = xr_check_memory("b", b, engine->element_bytes);
    }
    return status == XR_OK ? xr_check_memory("packed", packed, XR_ALIGNMENT) : status;
}

enum xr_status xr_grid_pack(const struct xr_engine *engine,
                            const struct xr_grid_block *block, int k, const void *w,
                            const void *b, void *packed, struct xr_stop *stop)
{
    struct xr_grid_block own;
    enum xr_status status = take_dimension(engine, block, &own, k);
    if (status == XR_OK) {
        status = check_weights(engine, w, b, packed);
    }
    if (status == XR_OK) {
        engine->grid->pack(&own, k, w, b, packed, stop);
        status = xr_end_of(stop);
    }
    return status;
}

enum xr_status xr_grid_pack_backward(const struct xr_engine *engine,
                                     const struct xr_grid_block *block, int k,
                                     const void *w, void *packed, struct xr_stop *stop)
{
    struct xr_grid_block own;
    enum xr_status status = take_dimension(engine, block, &own, k);
    if (status == XR_OK) {
        status = check_weights(engine, w, NULL, packed);
    }
    if (status == XR_OK) {
        engine->grid->pack_backward(&own, k, w, packed, stop);
        status = xr_end_of(stop);
    }
    return status;
}

enum xr_status xr_grid_side_bytes(const struct xr_engine *engine,
                                  const struct xr_grid_block *block, int k,
                                  int backward, size_t *bytes)
{
    struct xr_grid_block own;
    enum xr_status status = take_side(engine, block, &own, k);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof *bytes);
    }
    if (status == XR_OK) {
        *bytes = engine->grid->side_bytes(&own, k, backward);
    }
    return status;
}

enum xr_status xr_grid_pack_side(const struct xr_engine *engine,
                                 const struct xr_grid_block *block, int k,
                                 const void *w, const void *b, void *packed,
                                 struct xr_stop *stop)
{
    struct xr_grid_block own;
    enum xr_status status = take_side(engine, block, &own, k);
    if (status == XR_OK) {
        status = check_weights(engine, w, b, packed);
    }
    if (status == XR_OK) {
        engine->grid->pack_side(&own, k, w, b, packed, stop);
        status = xr_end_of(stop);
    }
    return status;
}

enum xr_status xr_grid_pack_side_backward(const struct xr_engine *engine,
                                          const struct xr_grid_block *block, int k,
                                          const void *w, void *packed,
                                          struct xr_stop *stop)
{
    struct xr_grid_block own;
    enum xr_status status = take_side(engine, block, &own, k);
    if (status == XR_OK) {
        status = check_weights(engine, w, NULL, packed);
    }
    if (status == XR_OK) {
        engine->grid->pack_side_backward(&own, k, w, packed, stop);
        status = xr_end_of(stop);
    }
    return status;
}

/* Calls */

struct checked {
    struct xr_grid_problem problem;
    struct xr_grid_block block;
    const struct xr_engine *engine;
};

/* The number of the set of every point is one of those that there are. */
static enum xr_status check_sets(const struct checked *call)
{
    const struct xr_grid_problem *problem = &call->problem;
    enum xr_status status = xr_check_range("sets", problem->sets, 1, PTRDIFF_MAX / 64);
    ptrdiff_t left = status == XR_OK ? problem->sets - 1 : 0;
    for (int k = 0; k < call->block.N && status == XR_OK; k++) {
        const ptrdiff_t points = problem->size[k] - 1;
        const ptrdiff_t most = points > 0 ? left / points : PTRDIFF_MAX;
        status = xr_check_range("set_step", problem->set_step[k], 0, most);
        left -= points > 0 && status == XR_OK ? points * problem->set_step[k] : 0;
    }
    return status;
}

static enum xr_status check_sizes(const struct checked *call)
{
    const struct xr_grid_problem *problem = &call->problem;
    const struct xr_grid_block *block = &call->block;
    enum xr_status status = xr_check_threads(problem->threads);
    double points = 1, inputs = 0;
    if (status == XR_OK) {
        status = xr_check_range("B", problem->B, 0, PTRDIFF_MAX);
    }
    for (int k = 0; k < block->N && status == XR_OK; k++) {
        status = xr_check_range("size", problem->size[k], 1, PTRDIFF_MAX);
        points *= (double)problem->size[k] + 1;
        inputs += (double)block->inputs[k];
    }
    if (status == XR_OK) {
        const double units = (double)block->H + XR_UNIT_PAD;
        const double rows = points * ((double)problem->B + XR_UNIT_PAD);
        status = xr_check_volume("size, B, H", rows * (block->N * units + inputs));
    }
    return status == XR_OK ? check_sets(call) : status;
}

static enum xr_status take_problem(const struct xr_engine *engine,
                                   const struct xr_grid_problem *given,
                                   struct checked *call)
{
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("problem", given, &call->problem, sizeof call->problem);
    }
    if (status == XR_OK) {
        status = take_block(engine, call->problem.block, &call->block);
    }
    if (status == XR_OK) {
        call->problem.block = &call->block;
        call->engine = engine;
        status = check_sizes(call);
    }
    return status;
}

enum xr_status xr_grid_cache_layout(const struct xr_engine *engine,
                                    const struct xr_grid_problem *problem,
                                    struct xr_grid_cache *layout)
{
    struct checked call;
    enum xr_status status = take_problem(engine, problem, &call);
    if (status == XR_OK) {
        status = xr_check_memory("layout", layout, sizeof(ptrdiff_t));
    }
    if (status == XR_OK) {
        *layout = engine->grid->cache_layout(&call.problem);
    }
    return status;
}

enum xr_status xr_grid_scratch(const struct xr_engine *engine,
                               const struct xr_grid_problem *problem, int backward,
                               size_t *bytes)
{
    struct checked call;
    enum xr_status status = take_problem(engine, problem, &call);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof *bytes);
    }
    if (status == XR_OK) {
        *bytes = engine->grid->scratch_bytes(&call.problem, backward);
    }
    return status;
}

static enum xr_status check_lengths(const struct checked *call)
{
    const struct xr_grid_problem *problem = &call->problem;
    enum xr_status status =
        xr_check_optional("lengths", problem->lengths, sizeof(int64_t));
    for (ptrdiff_t b = 0; problem->lengths != NULL && b < problem->B; b++) {
        for (int k = 0; k < call->block.N && status == XR_OK; k++) {
            const int64_t length = problem->lengths[b * call->block.N + k];
            status = xr_check_range("lengths", length, 0, problem->size[k]);
        }
    }
    return status;
}

/* An array [sets, N] of pointers. */
static enum xr_status check_pointers(const char *name, const void *const *pointers,
                                     const struct checked *call, size_t alignment)
{
    const ptrdiff_t count = call->problem.sets * call->block.N;
    enum xr_status status = xr_check_memory(name, pointers, sizeof(void *));
    for (ptrdiff_t i = 0; i < count && status == XR_OK; i++) {
        status = xr_check_memory(name, pointers[i], alignment);
    }
    return status;
}

/* Arrays by two names, of which each may be missing; none of the second may be where
 * there is no memory. */
struct borders {
    const char *name[2];
    const void *const *h, *const *m;
};

static enum xr_status check_borders(const struct checked *call,
                                    const struct borders *borders)
{
    const size_t element = call->engine->element_bytes;
    enum xr_status status = XR_OK;
    for (int k = 0; k < call->block.N && status == XR_OK; k++) {
        const void *m = borders->m[k];
        status = xr_check_optional(borders->name[0], borders->h[k], element);
        if (status == XR_OK && m != NULL && !call->block.memory[k]) {
            status = xr_refuse(XR_BAD_ARGUMENT,
                               "%s[%d]: expected NULL, as the dimension has no memory",
                               borders->name[1], k);
        }
        if (status == XR_OK) {
            status = xr_check_optional(borders->name[1], m, element);
        }
    }
    return status;
}

static enum xr_status check_sides(const struct checked *call, int backward)
{
    const size_t element = call->engine->element_bytes;
    enum xr_status status = XR_OK;
    for (int k = 0; k < call->block.N && status == XR_OK; k++) {
        const struct xr_grid_side *side = &call->problem.side[k];
        if (side->x == NULL) {
            continue;
        }
        status = xr_check_range("block.inputs, with an x", call->block.inputs[k], 1,
                                PTRDIFF_MAX);
        if (status == XR_OK) {
            status = xr_check_memory("side.x", side->x, element);
        }
        if (status == XR_OK) {
            status = xr_check_memory("side.packed", side->packed, XR_ALIGNMENT);
        }
        if (status == XR_OK && backward) {
            status = xr_check_memory("side.packed_backward", side->packed_backward,
                                     XR_ALIGNMENT);
        }
        if (status == XR_OK && backward) {
            status = xr_check_memory("side.dx", side->dx, element);
        }
        if (status == XR_OK && backward) {
            status = xr_check_memory("side.dw", side->dw, element);
        }
        if (status == XR_OK && backward) {
            status = xr_check_optional("side.db", side->db, element);
        }
    }
    return status;
}

static enum xr_status check_call(const struct checked *call, int backward)
{
    const struct xr_grid_problem *problem = &call->problem;
    enum xr_status status = check_lengths(call);
    if (status == XR_OK) {
        status = check_pointers("packed", problem->packed, call, XR_ALIGNMENT);
    }
    if (status == XR_OK) {
        status =
            check_borders(call, &(struct borders){{"h", "m"}, problem->h, problem->m});
    }
    if (status == XR_OK) {
        status = check_sides(call, backward);
    }
    if (status == XR_OK && (backward || problem->cache != NULL)) {
        status = xr_check_memory("cache", problem->cache, XR_ALIGNMENT);
    }
    return status == XR_OK ? xr_check_memory("scratch", problem->scratch, XR_ALIGNMENT)
                           : status;
}

enum xr_status xr_grid_forward(const struct xr_engine *engine,
                               const struct xr_grid_problem *problem)
{
    struct checked call;
    enum xr_status status = take_problem(engine, problem, &call);
    if (status == XR_OK) {
        status = check_call(&call, 0);
    }
    if (status == XR_OK) {
        const void *const *h = (const void *const *)call.problem.h_out;
        const void *const *m = (const void *const *)call.problem.m_out;
        status = check_borders(&call, &(struct borders){{"h_out", "m_out"}, h, m});
    }
    if (status == XR_OK && call.problem.B > 0) {
        engine->grid->forward(&call.problem);
        status = xr_end_of(call.problem.stop);
    }
    return status;
}

static enum xr_status check_backward(const struct checked *call)
{
    const struct xr_grid_problem *problem = &call->problem;
    const size_t element = call->engine->element_bytes;
    enum xr_status status = check_call(call, 1);
    if (status == XR_OK) {
        status = check_pointers("packed_backward", problem->packed_backward, call,
                                XR_ALIGNMENT);
    }
    if (status == XR_OK) {
        status = check_borders(
            call, &(struct borders){{"dh", "dm"}, problem->dh, problem->dm});
    }
    if (status == XR_OK) {
        const void *const *h = (const void *const *)problem->dh_out;
        const void *const *m = (const void *const *)problem->dm_out;
        status = check_borders(call, &(struct borders){{"dh_out", "dm_out"}, h, m});
    }
    if (status == XR_OK) {
        status = check_pointers("dw", (const void *const *)problem->dw, call, element);
    }
    if (status == XR_OK) {
        status = xr_check_memory("db", problem->db, sizeof(void *));
    }
    const ptrdiff_t count = status == XR_OK ? problem->sets * call->block.N : 0;
    for (ptrdiff_t i = 0; i < count && status == XR_OK; i++) {
        status = xr_check_optional("db", problem->db[i], element);
    }
    return status;
}

enum xr_status xr_grid_backward(const struct xr_engine *engine,
                                const struct xr_grid_problem *problem)
{
    struct checked call;
    enum xr_status status = take_problem(engine, problem, &call);
    if (status == XR_OK) {
        status = check_backward(&call);
    }
    if (status == XR_OK && call.problem.B > 0) {
        engine->grid->backward(&call.problem);
        status = xr_end_of(call.problem.stop);
    }
    return status;
}
