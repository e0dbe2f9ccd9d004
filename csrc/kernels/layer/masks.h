/* Zoneout and recurrent dropout in the time loop, for every cell that may have them:
 * none of it is the cells' own.
 *
 *     proposals   what a point function makes of a step's states. With zoneout units of
 *                 the old states take their place, or in the mean a part of them:
 *                 the states after the step. They lie apart, for backward and for
 *                 lanes that still read whole rows of them.
 *     masked      what R multiplies, h before the step or an operand, times the row's
 *                 mask, the same in all steps. Point functions see it as it was.
 *
 * All of it goes unit by unit, in whole vectors: a lane takes its own share where it
 * lies. Twin: src/exactrnn/reference/masks.py; what is drawn is in base/masks.h.
 */
#ifndef XR_LAYER_MASKS_H
#define XR_LAYER_MASKS_H

#include "base/masks.h"
#include "kernels/layer/sequence.h"
#include "kernels/math/elementary.h"

/* How much of a state stays, in the mean, and what becomes of the rest. */
struct mean_shares {
    vec old, made;
};

static struct mean_shares mean_shares_of(const struct xr_layer *layer, int zone)
{
    const vec old = vec_set((elem)layer->zoneout[zone]);
    return (struct mean_shares){old, vec_sub(vec_set((elem)1), old)};
}

/* Returns the mask of row b at step s, NULL for the mean. */
static const elem *zone_mask_row(const struct run *run, int direction, int zone,
                                 ptrdiff_t b, ptrdiff_t s)
{
    const struct xr_masks *masks = run->problem->masks;
    const void *mask = masks ? masks->zoneout[zone] : NULL;
    return mask ? padded_row(run, mask, direction, b, s) : NULL;
}

static const elem *recurrent_mask_row(const struct run *run, int direction, ptrdiff_t b)
{
    return run->recurrent_masks + (direction * run->B + b) * run->Hp;
}

/* Returns where the rows of state k after each step are as point functions make
 * them. */
static elem *proposals_of(const struct run *run, int direction, int k)
{
    const ptrdiff_t at = run->mask_at.proposed[k];
    if (at == 0) {
        return states_of(run, direction, k);
    }
    if (run->problem->cache == NULL) {
        return run->proposals_buffer +
               (direction * run->states + k) * 2 * run->B * run->Hp;
    }
    return cache_of(run, direction) + at;
}

static elem *proposed_row(const struct run *run, int direction, int k, ptrdiff_t b,
                          ptrdiff_t s)
{
    return proposals_of(run, direction, k) +
           state_index(run, direction, b, s + 1) * run->Hp;
}

/* Returns whether a recurrence is one with R, whose operand is masked. */
static int hears_masked(const struct recurrence *recurrence)
{
    return recurrence->matrix == MATRIX_HH;
}

/* Returns the number of a source among those that are masked: h, then operands. */
static ptrdiff_t masked_index(ptrdiff_t source)
{
    return source < SOURCE_MADE ? 0 : 1 + source - SOURCE_MADE;
}

/* Returns the row of a masked source before step s, or of an operand in it. */
static elem *masked_row(const struct run *run, int direction, ptrdiff_t index,
                        ptrdiff_t b, ptrdiff_t s)
{
    const ptrdiff_t row = index == 0 ? state_index(run, direction, b, s)
                                     : step_index(run, direction, b, s);
    return cache_of(run, direction) + run->mask_at.masked[index] + row * run->Hp;
}

static void multiply_units(elem *to, const elem *from, const elem *mask,
                           struct range units)
{
    for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
        vec_store(to + u, vec_mul(vec_load(from + u), vec_load(mask + u)));
    }
}

/* Masks h as it is before step s. */
static void mask_states(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    for (ptrdiff_t i = 0; i < alive; i++) {
        const ptrdiff_t b = row_of(lane, i);
        multiply_units(masked_row(run, d, 0, b, s), state_row(run, d, 0, b, s),
                       recurrent_mask_row(run, d, b), lane->units[O_UNITS]);
    }
}

/* Masks the initial h of all rows. */
static void mask_first_states(const struct run *run)
{
    const struct range all = {0, run->Hp};
    for (int d = 0; run->recurrent_masks != NULL && d < run->directions; d++) {
        for (ptrdiff_t b = 0; b < run->B; b++) {
            multiply_units(masked_row(run, d, 0, b, 0), state_row(run, d, 0, b, 0),
                           recurrent_mask_row(run, d, b), all);
        }
    }
}

/* Masks the operands that stage `stage` of step s multiplies with R. */
static void mask_operands(const struct lane *lane, int stage, ptrdiff_t s,
                          ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    for (ptrdiff_t r = 0; r < lane->pack->recurrences; r++) {
        const struct recurrence *recurrence = &lane->pack->recurrence[r];
        if (recurrence->stage != stage || recurrence->source < SOURCE_MADE ||
            !hears_masked(recurrence)) {
            continue;
        }
        const int j = (int)(recurrence->source - SOURCE_MADE);
        for (ptrdiff_t i = 0; i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            multiply_units(masked_row(run, d, 1 + j, b, s),
                           operand_row(run, d, j, b, s), recurrent_mask_row(run, d, b),
                           lane->units[H_UNITS]);
        }
    }
}

/* Makes the states of some units after a step: `made` where they are new, `prev` where
 * the mask says that they stay, or the mean of both. */
static void mix_units(elem *next, const elem *prev, const elem *made, const elem *mask,
                      struct mean_shares mean, struct range units)
{
    for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
        const vec old = vec_load(prev + u), new = vec_load(made + u);
        if (mask != NULL) {
            const vmask is_new = vec_eq(vec_load(mask + u), vec_zero());
            vec_store(next + u, vec_select(is_new, new, old));
        } else {
            vec_store(next + u,
                      vec_flush(vec_fma(mean.old, old, vec_mul(mean.made, new))));
        }
    }
}

/* Makes the states after step s of what point functions have proposed. */
static void mix_states(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    for (int k = 0; k < run->states; k++) {
        const int zone = xr_zone_of(run->layer, k);
        if (zone == XR_ZONES) {
            continue;
        }
        const struct mean_shares mean = mean_shares_of(run->layer, zone);
        const struct range units = lane->units[k == 0 ? O_UNITS : H_UNITS];
        for (ptrdiff_t i = 0; i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            mix_units(state_row(run, d, k, b, s + 1), state_row(run, d, k, b, s),
                      proposed_row(run, d, k, b, s), zone_mask_row(run, d, zone, b, s),
                      mean, units);
        }
    }
}

#endif
