/* Where things lie in memory that outlives a call: the same for every instruction set,
 * so that a cache made by one can be read by another and shown as arrays.
 */
#include "engine.h"

static ptrdiff_t pad(ptrdiff_t n)
{
    return (n + XR_UNIT_BLOCK - 1) / XR_UNIT_BLOCK * XR_UNIT_BLOCK;
}

struct xr_cache_layout xr_cache_layout(const struct xr_problem *problem)
{
    const struct xr_layer *layer = problem->layer;
    const struct xr_cell_info *cell = layer->engine->cell_info(layer->cell);
    struct xr_cache_layout at = {.Hp = pad(layer->H)};
    ptrdiff_t one_row = problem->B * at.Hp;
    ptrdiff_t all_rows = problem->T * one_row;
    ptrdiff_t end = 0;
    at.sums = end;
    end += cell->keeps_sums ? cell->sums * all_rows : 0;
    for (int k = 0; k < cell->states; k++) {
        at.state[k] = end;
        end += all_rows + one_row;
    }
    at.operand = end;
    end += cell->stages > 1 ? all_rows : 0;
    at.direction = end;
    at.bytes = (size_t)(end * problem->directions) * layer->engine->element_bytes;
    return at;
}
