/* Zoneout and recurrent dropout of a layer: the masks that training draws, how they are
 * drawn, and where the cache keeps what comes of them (contract N9).
 *
 * A bit of a mask is a function of a key, which each call of training has, and of the
 * numbers of layer, direction, use, row, step and unit: a counter, hashed. So a row's
 * masks depend neither on the other rows nor on how long the call is. Twin:
 * src/exactrnn/reference/masks.py.
 */
#ifndef XR_MASKS_H
#define XR_MASKS_H

#include "exactrnn.h"

/* Which states have a share of their own: h, and all others but gates. */
enum { XR_ZONE_H, XR_ZONE_CELLS, XR_ZONES };

/* Rows of units as the engine has them. NULL: no recurrent dropout; of zoneout the
 * mean, as in inference. */
struct xr_masks {
    const void *recurrent; /* [D, B, Hp]: factors of what R multiplies */
    const void
        *zoneout[XR_ZONES]; /* [D, T, B, Hp]: not 0 where a unit stays as it was */
};

/* Where a direction's cache keeps what point functions have made, before old states
 * were put in its place, and what R has multiplied, h first and then the operands. */
struct xr_mask_layout {
    ptrdiff_t proposed[XR_MAX_STATES];     /* [T, B, Hp]; 0 without zoneout */
    ptrdiff_t masked[1 + XR_MAX_OPERANDS]; /* [T, B, Hp], of h [T + 1, B, Hp] */
};

static inline int xr_has_zones(const struct xr_layer *layer)
{
    return layer->zoneout[XR_ZONE_H] != 0 || layer->zoneout[XR_ZONE_CELLS] != 0;
}

/* Returns which share state k has; XR_ZONES: none, as a gate that is a state. */
static inline int xr_zone_of(const struct xr_layer *layer, int k)
{
    for (int link = 0; link < layer->info.links; link++) {
        if (layer->info.link[link].state == k) {
            return XR_ZONES;
        }
    }
    const int zone = k == 0 ? XR_ZONE_H : XR_ZONE_CELLS;
    return layer->zoneout[zone] != 0 ? zone : XR_ZONES;
}

/* Lays that out from element `at` of a direction's cache on and returns where it ends;
 * nothing for a layer without zoneout in a call without masks. */
ptrdiff_t xr_lay_masks(const struct xr_problem *problem, ptrdiff_t Hp, ptrdiff_t at,
                       struct xr_mask_layout *layout);

/* A mask of `rows` rows, for each of `steps` steps; of one step that stands for all if
 * the mask is `timeless`: `below` where the bits of a unit, 53, are less than
 * `threshold`, else `above`. */
struct xr_mask {
    uint64_t key, threshold;
    double below, above;
    ptrdiff_t steps, rows, units, heads;
    int timeless;
};

/* Writes [steps, rows, width], `width` as the engine pads rows; what is not of a
 * unit is left as it is. */
void xr_draw_mask(const struct xr_mask *mask, enum xr_dtype dtype, ptrdiff_t width,
                  void *out);

/* Returns 64 bits for number n of a key: SplitMix64 (G. Steele, D. Lea, C. Flood,
 * OOPSLA 2014), whose n-th output is a hash of n. */
static inline uint64_t xr_hash(uint64_t key, uint64_t n)
{
    uint64_t z = key + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
