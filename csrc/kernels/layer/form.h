/* What the products of a layer are: which sums see which operand through which part of
 * which matrix, and which units belong together. Derived from xr_cell_info and the
 * layer's modules once, when weights are packed.
 *
 * Modules (clockwork) are sets of units with a period of their own. Inside, each starts
 * at a multiple of XR_UNIT_PAD, so that no vector of units belongs to two of them.
 * Heads are modules too, of period 1, each of which listens to itself alone; their
 * clocks cost nothing, and their matrices are stored without what does not exist.
 * Every other layer is one module of period 1.
 */
#ifndef XR_FORM_H
#define XR_FORM_H

#include "base/program.h"
#include "base/sizes.h"
#include "exactrnn.h"

/* Where the units of a module lie: `at` in rows of the library, `user` in arrays of the
 * caller. */
struct units {
    ptrdiff_t at, user, size;
    int64_t period;
    int is_head;
};

/* What a recurrent product multiplies: state k before the step, or SOURCE_MADE + j, the
 * operand j that stage 0 has made. */
enum { SOURCE_MADE = XR_MAX_STATES };
enum { MAX_RECURRENCES = XR_MAX_CELLS + XR_MAX_HEARD + XR_MAX_OPERANDS + XR_MAX_LINKS };

/* A recurrent product takes row blocks `block` of a matrix, from column `column` on. */
struct recurrence {
    ptrdiff_t source, stage;
    ptrdiff_t target; /* units of its sums: 0, H of them; 1, O of them */
    ptrdiff_t matrix; /* MATRIX_* */
    ptrdiff_t column;
    ptrdiff_t count;
    ptrdiff_t sum[XR_MAX_PRODUCTS], block[XR_MAX_PRODUCTS]; /* by rising block */
};

enum { MATRIX_HH, MATRIX_HR, MATRIX_GATES };
enum { H_UNITS, O_UNITS };

static ptrdiff_t modules_of(const struct xr_layer *layer)
{
    return max_of(xr_heads(layer), max_of(layer->modules, 1));
}

/* Returns the part of n that each head has; there is no division where there is one. */
static ptrdiff_t per_head(ptrdiff_t n, ptrdiff_t heads)
{
    return heads > 1 ? n / heads : n;
}

/* Returns where a head lies. */
static struct units head_units(const struct xr_layer *layer, ptrdiff_t head)
{
    const ptrdiff_t size = layer->H / xr_heads(layer);
    return (struct units){head * pad_units(size), head * size, size, 1, 1};
}

/* Fills units[modules_of(layer)]. */
static void place_units(const struct xr_layer *layer, struct units *units)
{
    const ptrdiff_t heads = xr_heads(layer);
    for (ptrdiff_t m = 0; heads > 1 && m < heads; m++) {
        units[m] = head_units(layer, m);
    }
    if (heads == 1 && layer->modules == 0) {
        units[0] = (struct units){.size = layer->H, .period = 1};
    }
    ptrdiff_t at = 0, user = 0;
    for (ptrdiff_t m = 0; m < layer->modules; m++) {
        const struct xr_module module = layer->module[m];
        units[m] = (struct units){at, user, module.size, module.period, 0};
        at += pad_units(module.size);
        user += module.size;
    }
}

/* A head listens to itself, a module to itself and to the modules that are not
 * faster. */
static int listens_to(const struct units *here, const struct units *there)
{
    return here->is_head ? there->at == here->at : there->period >= here->period;
}

/* Returns the width of the rows that a recurrence multiplies, in the caller's units. */
static ptrdiff_t source_width(const struct xr_layer *layer, ptrdiff_t source)
{
    return source == 0 ? layer->O : layer->H;
}

/* Returns the number of column blocks of R: one for each state that it sees. */
static ptrdiff_t column_blocks(const struct xr_cell_info *info)
{
    return info->cells + info->heard;
}

/* Returns the state that column block `block` of R sees. */
static ptrdiff_t state_seen(const struct xr_cell_info *info, ptrdiff_t block)
{
    return block < info->cells ? block : info->states - column_blocks(info) + block;
}

/* Returns the row length of a recurrence's matrix. */
static ptrdiff_t matrix_columns(const struct xr_layer *layer,
                                const struct recurrence *recurrence)
{
    switch (recurrence->matrix) {
    case MATRIX_HR: return layer->H;
    case MATRIX_GATES: return layer->info.links * layer->H;
    default: return per_head(column_blocks(&layer->info) * layer->O, xr_heads(layer));
    }
}

/* Returns the first column of a recurrence's matrix for the units that it multiplies:
 * each head begins anew. */
static ptrdiff_t matrix_column(const struct recurrence *recurrence,
                               const struct units *from)
{
    return recurrence->column + (from->is_head ? 0 : from->user);
}

/* Finds the sums that multiply an operand with R or with the second matrix. Where there
 * are none, count is 0. */
static struct recurrence find_recurrence(const struct xr_cell_info *info, int operand)
{
    struct recurrence found = {.source = operand ? SOURCE_MADE + operand - 1 : 0};
    for (int block = 0; block < XR_MAX_PRODUCTS; block++) {
        for (int s = 0; s < info->sums; s++) {
            const struct xr_sum *sum = &info->sum[s];
            if (sum->r == block && sum->operand == operand) {
                found.stage = sum->stage;
                found.matrix = sum->matrix == XR_HR ? MATRIX_HR : MATRIX_HH;
                found.target = sum->matrix == XR_HR ? O_UNITS : H_UNITS;
                found.sum[found.count] = s;
                found.block[found.count++] = block;
            }
        }
    }
    return found;
}

/* Finds all recurrent products of a layer, in the order in which chains walk them, and
 * returns their number. */
static ptrdiff_t find_recurrences(const struct xr_layer *layer,
                                  struct recurrence *found)
{
    const struct xr_cell_info *info = &layer->info;
    ptrdiff_t count = 0;
    for (int operand = 0; operand <= info->operands; operand++) {
        const struct recurrence recurrence = find_recurrence(info, operand);
        const ptrdiff_t blocks = operand == 0 ? column_blocks(info) : 1;
        for (ptrdiff_t block = 0; recurrence.count > 0 && block < blocks; block++) {
            found[count] = recurrence;
            found[count].column = block * layer->O;
            if (operand == 0) {
                found[count].source = state_seen(info, block);
            }
            count++;
        }
    }
    for (int from = 0; from < info->links; from++) {
        struct recurrence *link = &found[count++];
        *link = (struct recurrence){.source = info->link[from].state,
                                    .matrix = MATRIX_GATES,
                                    .column = from * layer->H,
                                    .count = info->links};
        for (int to = 0; to < info->links; to++) {
            link->sum[to] = info->link[to].sum;
            link->block[to] = to;
        }
    }
    return count;
}

/* Finds the sums that see x, by rising row block of W, and returns their number. */
static ptrdiff_t find_inputs(const struct xr_cell_info *info, ptrdiff_t *sums)
{
    ptrdiff_t count = 0;
    for (int block = 0; block < info->w_blocks; block++) {
        for (int s = 0; s < info->sums; s++) {
            if (info->sum[s].w == block) {
                sums[count++] = s;
            }
        }
    }
    return count;
}

#endif
