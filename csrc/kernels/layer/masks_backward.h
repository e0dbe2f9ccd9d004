/* Zoneout and recurrent dropout on the way back: masks.h has the way forward.
 *
 * The gradient of a state after a step is parted: what goes through the step, and what
 * goes to the state before it at once. The latter is added, and the sum flushed, when
 * the step is over.
 *
 * A gradient that comes back through R is multiplied with the mask of what R has heard.
 */
#ifndef XR_MASKS_BACKWARD_H
#define XR_MASKS_BACKWARD_H

#include "kernels/layer/gradients.h"

static elem *dkept_row(const struct run *run, int direction, int k, ptrdiff_t b)
{
    return run->dkept + ((direction * run->states + k) * run->B + b) * run->Hp;
}

/* Parts the gradient of some units: `kept` gets what goes to the state before. */
static void part_units(elem *dstate, elem *kept, const elem *mask,
                       struct mean_shares mean, struct range units)
{
    for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
        const vec d = vec_load(dstate + u);
        if (mask != NULL) {
            const vmask is_new = vec_eq(vec_load(mask + u), vec_zero());
            vec_store(kept + u, vec_select(is_new, vec_zero(), d));
            vec_store(dstate + u, vec_select(is_new, d, vec_zero()));
        } else {
            vec_store(kept + u, vec_mul(mean.old, d));
            vec_store(dstate + u, vec_mul(mean.made, d));
        }
    }
}

/* Parts the gradients of the states after step s. */
static void part_gradients(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
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
            part_units(dstate_row(run, d, k, b), dkept_row(run, d, k, b),
                       zone_mask_row(run, d, zone, b, s), mean, units);
        }
    }
}

/* Adds to the gradients of the states before a step what was kept of those after it;
 * not to that of h if errors go back along the cell state alone. */
static void join_gradients(const struct lane *lane, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const int d = lane->direction;
    for (int k = run->problem->truncated ? 1 : 0; k < run->states; k++) {
        const struct range units = lane->units[k == 0 ? O_UNITS : H_UNITS];
        if (xr_zone_of(run->layer, k) == XR_ZONES) {
            continue;
        }
        for (ptrdiff_t i = 0; i < alive; i++) {
            const ptrdiff_t b = row_of(lane, i);
            elem *dstate = dstate_row(run, d, k, b);
            const elem *kept = dkept_row(run, d, k, b);
            for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
                const vec sum = vec_add(vec_load(dstate + u), vec_load(kept + u));
                vec_store(dstate + u, vec_flush(sum));
            }
        }
    }
}

static elem *aside_row(const struct lane *lane, ptrdiff_t i)
{
    const struct run *run = lane->run;
    return run->aside + (lane->direction * run->B + row_of(lane, i)) * run->Hp;
}

/* Puts aside what the cell has left in the gradient of h, before what comes through R
 * is put there. */
static void begin_masked_gradient(const struct lane *lane, ptrdiff_t source,
                                  const struct backward_step *step)
{
    const struct range units = lane->units[O_UNITS];
    const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
    for (ptrdiff_t i = 0; source < SOURCE_MADE && i < step->rows; i++) {
        elem *dh = step->dstate[source][i] + units.begin;
        memcpy(aside_row(lane, i) + units.begin, dh, bytes);
        memset(dh, 0, bytes);
    }
}

/* Masks the gradient that has come back through R: of an operand, or of h, to which is
 * added what was put aside. */
static void end_masked_gradient(const struct lane *lane, ptrdiff_t source,
                                const struct backward_step *step)
{
    const int to_state = source < SOURCE_MADE;
    const struct range units = lane->units[to_state ? O_UNITS : H_UNITS];
    for (ptrdiff_t i = 0; i < step->rows; i++) {
        const elem *mask =
            recurrent_mask_row(lane->run, lane->direction, row_of(lane, i));
        if (!to_state) {
            elem *const operand = (elem *)step->doperand[source - SOURCE_MADE][i];
            multiply_units(operand, operand, mask, units);
            continue;
        }
        elem *dh = step->dstate[source][i];
        const elem *aside = aside_row(lane, i);
        for (ptrdiff_t u = units.begin; u < units.end; u += VEC_LANES) {
            const vec d =
                vec_fma(vec_load(mask + u), vec_load(dh + u), vec_load(aside + u));
            vec_store(dh + u, vec_flush(d));
        }
    }
}

#endif
