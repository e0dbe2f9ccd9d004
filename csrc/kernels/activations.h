/* activations.h - the activations that a layer may choose from, with clipping, and
 * their slopes.
 *
 *     sigmoid       1 / (1 + exp(-a))           y * (1 - y)
 *     hard_sigmoid  0.2 * a + 0.5 in [0, 1]     0.2 inside, 0 at the limits and beyond
 *     tanh          tanh(a)                     1 - y*y
 *     relu          a where positive, else 0    1 where y > 0, else 0
 *     softsign      a / (1 + |a|)               (1 - |y|)^2
 *     identity      a                           1
 *
 * A slope is computed from the value y, which is what a cell keeps. With a clip, a is
 * limited to [-clip, clip] beforehand; the slope is then 0 where the limit was reached,
 * which y tells too. NaN passes each of them.
 *
 * A cell describes its activations once per call and applies them in its loop. Where
 * the description is a constant, as in a layer without options, the compiler leaves
 * only the arithmetic of the one activation; else the loop has branches that always go
 * the same way.
 *
 * Twin: src/exactrnn/_activations.py. */
#ifndef XR_ACTIVATIONS_H
#define XR_ACTIVATIONS_H

#include "cell.h"
#include "elementary.h"

struct activation {
    enum xr_activation kind;
    int is_clipped;
    elem clip;
    vec least, most; /* the values at -clip and clip */
};

/* NaN passes: only what is known to be at most 0 is replaced. */
XR_INLINE vec relu(vec a) { return vec_select(vec_le(a, vec_zero()), vec_zero(), a); }

XR_INLINE vec unlimited(enum xr_activation kind, vec a)
{
    if (kind == XR_SIGMOID) return vec_sigmoid(a);
    if (kind == XR_TANH) return vec_tanh(a);
    if (kind == XR_RELU) return relu(a);
    if (kind == XR_HARD_SIGMOID) {
        const vec line = vec_fma(vec_set((elem)0.2), a, vec_set((elem)0.5));
        return clamp(line, (elem)0, (elem)1);
    }
    if (kind == XR_SOFTSIGN) {
        return vec_div(a, vec_add(vec_set((elem)1), vec_abs(a)));
    }
    return a;
}

XR_INLINE vec unlimited_slope(enum xr_activation kind, vec y)
{
    const vec zero = vec_zero(), one = vec_set((elem)1);
    if (kind == XR_SIGMOID) return sigmoid_slope(y);
    if (kind == XR_TANH) return tanh_slope(y);
    if (kind == XR_RELU) return vec_select(vec_lt(zero, y), one, zero);
    if (kind == XR_HARD_SIGMOID) {
        const vec below = vec_select(vec_lt(y, one), vec_set((elem)0.2), zero);
        return vec_select(vec_lt(zero, y), below, zero);
    }
    if (kind == XR_SOFTSIGN) {
        const vec t = vec_sub(one, vec_abs(y));
        return vec_mul(t, t);
    }
    return one;
}

/* `clip` is 0 where there is none. What a caller does not use of the limits' values is
 * not computed. */
XR_INLINE struct activation describe_activation(enum xr_activation kind, double clip)
{
    struct activation of = {.kind = kind, .is_clipped = clip > 0, .clip = (elem)clip};
    of.least = of.most = vec_zero();
    if (of.is_clipped) {
        of.least = unlimited(kind, vec_set(-of.clip));
        of.most = unlimited(kind, vec_set(of.clip));
    }
    return of;
}

/* The layer's activation number k, and whether it is this one without a clip. */
XR_INLINE struct activation layer_activation(const struct xr_layer *layer, int k)
{
    return describe_activation(layer->activation[k], layer->clip);
}

XR_INLINE int is_plain(const struct xr_layer *layer, int k, enum xr_activation kind)
{
    return layer->activation[k] == kind && !(layer->clip > 0);
}

XR_INLINE vec activate(const struct activation *of, vec a)
{
    if (of->is_clipped) a = clamp(a, -of->clip, of->clip);
    return unlimited(of->kind, a);
}

XR_INLINE vec slope(const struct activation *of, vec y)
{
    const vec steep = unlimited_slope(of->kind, y);
    if (!of->is_clipped) return steep;
    const vec inside = vec_select(vec_le(of->most, y), vec_zero(), steep);
    return vec_select(vec_le(y, of->least), vec_zero(), inside);
}

#endif
