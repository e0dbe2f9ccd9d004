/* States between the caller's arrays and padded rows: where each lies in either, and
 * the pieces of a row of h.
 */
#ifndef XR_STATES_H
#define XR_STATES_H

#include "kernels/layer/sequence.h"

/* Returns piece m of h: the units of a module, or all O of them. */
static struct units piece_of(const struct run *run, const struct pack *pack,
                             ptrdiff_t m)
{
    struct units units = pack_units_of(pack)[m];
    units.size = run->pieces == 1 ? run->O : units.size;
    return units;
}

/* Returns where state k, an h, of a direction begins in a row of the output. */
static ptrdiff_t output_column(const struct run *run, int direction, int k)
{
    return (direction * run->info->cells + k) * run->O;
}

/* Where state k of row b is in the caller's arrays [D, B, width], in which the cells of
 * a unit lie side by side: which array, where it begins there, and how many units it
 * has. */
struct state_place {
    int array;
    ptrdiff_t at, units;
};

static struct state_place place_state(const struct run *run, int direction, int k,
                                      ptrdiff_t b)
{
    const int cells = run->info->cells;
    const int array = k < cells ? 0 : k < 2 * cells ? 1 : k - 2 * cells + 2;
    const int of_unit = array < 2 ? cells : 1, cell = array < 2 ? k - array * cells : 0;
    const ptrdiff_t units = array == 0 ? run->O : run->H;
    const ptrdiff_t row = (direction * run->B + b) * of_unit;
    return (struct state_place){array, (row + cell) * units, units};
}

/* Copies a state of the caller's to a padded row. A missing state is zero. */
static void state_to_row(const struct run *run, const void *const *states,
                         int direction, int k, ptrdiff_t b, elem *row)
{
    const struct state_place place = place_state(run, direction, k, b);
    memset(row, 0, (size_t)run->Hp * sizeof(elem));
    const elem *from = states[place.array];
    const struct pack *pack = run->problem->packed[direction];
    for (ptrdiff_t m = 0; from != NULL && m < run->modules; m++) {
        const struct units units = pack_units_of(pack)[m];
        const ptrdiff_t size = run->modules > 1 ? units.size : place.units;
        memcpy(row + units.at, from + place.at + units.user,
               (size_t)size * sizeof(elem));
    }
}

/* Copies a padded row to a state of the caller's. */
static void row_to_state(const struct run *run, const elem *row, int direction, int k,
                         ptrdiff_t b, void *const *states)
{
    const struct state_place place = place_state(run, direction, k, b);
    elem *to = (elem *)states[place.array] + place.at;
    const struct pack *pack = run->problem->packed[direction];
    for (ptrdiff_t m = 0; m < run->modules; m++) {
        const struct units units = pack_units_of(pack)[m];
        const ptrdiff_t size = run->modules > 1 ? units.size : place.units;
        memcpy(to + units.user, row + units.at, (size_t)size * sizeof(elem));
    }
}

#endif
