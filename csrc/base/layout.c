/* Where things lie in memory that outlives a call: the same for every instruction set,
 * so that a cache made by one can be read by another and shown as arrays.
 */
#include "base/engine.h"
#include "base/masks.h"
#include "base/program.h"
#include "base/sizes.h"

ptrdiff_t xr_padded_units(const struct xr_layer *layer)
{
    const ptrdiff_t heads = xr_heads(layer);
    if (heads > 1) {
        return heads * pad_units(layer->H / heads);
    }
    ptrdiff_t sum = 0;
    for (ptrdiff_t m = 0; m < layer->modules; m++) {
        sum += pad_units(layer->module[m].size);
    }
    return sum > 0 ? sum : pad_units(max_of(layer->H, layer->O));
}

int xr_state_arrays(const struct xr_layer *layer)
{
    return layer->info.states - 2 * (layer->info.cells - 1);
}

ptrdiff_t xr_state_width(const struct xr_layer *layer, int array)
{
    const ptrdiff_t units = array == 0 ? layer->O : layer->H;
    return array < 2 ? layer->info.cells * units : units;
}

struct xr_cache_layout xr_cache_layout(const struct xr_problem *problem)
{
    const struct xr_layer *layer = problem->layer;
    const struct xr_cell_info *info = &layer->info;
    struct xr_cache_layout at = {.Hp = xr_padded_units(layer)};
    const ptrdiff_t one_row = problem->B * at.Hp;
    const ptrdiff_t all_rows = problem->T * one_row;
    ptrdiff_t end = 0;
    at.sums = end;
    end += info->keeps_sums ? info->sums * all_rows : 0;
    for (int k = 0; k < info->states; k++) {
        at.state[k] = end;
        end += all_rows + one_row;
    }
    for (int j = 0; j < info->operands; j++) {
        at.operand[j] = end;
        end += all_rows;
    }
    if (problem->masks != NULL || xr_has_zones(layer)) {
        struct xr_mask_layout masks;
        end = xr_lay_masks(problem, at.Hp, end, &masks);
    }
    at.direction = end;
    at.bytes = (size_t)(end * problem->directions) * layer->engine->element_bytes;
    return at;
}
