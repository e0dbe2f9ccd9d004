/* activations.h - the activations that a layer may choose from, with clipping, and
 * their slopes.
 *
 *     sigmoid           1 / (1 + exp(-a))          y * (1 - y)
 *     hard_sigmoid      α*a + β in [0, 1]          α inside, 0 at the limits and beyond
 *     tanh              tanh(a)                    1 - y*y
 *     relu              a where positive, else 0   1 where y > 0, else 0
 *     softsign          a / (1 + |a|)              (1 - |y|)^2
 *     identity          a                          1
 *     leaky_relu        a where positive, else α*a           1 where y > 0, else α
 *     elu               a where positive, else α*(exp(a)-1)  1 where y > 0, else y + α
 *     softplus          log(1 + exp(a))            1 - exp(-y)
 *     scaled_tanh       α * tanh(β*a)              α * (1 - (y/α)^2) * β
 *     thresholded_relu  a where a > α, else 0      1 where y != 0, else 0
 *     affine            α*a + β                    α
 *
 * A slope is computed from the value y, which is what a cell keeps. So of the functions
 * with two branches y must tell which one it was: α is at least 0 there; scaled_tanh
 * divides by its α, which is not 0. With a clip, a is limited to [-clip, clip]
 * beforehand; the slope is then 0 where the limit was reached, which y tells too. NaN
 * passes each of them.
 *
 * A cell describes its activations once per call and applies them in its loop. Where
 * the description is a constant, as in a layer without options, the compiler leaves
 * only the arithmetic of the one activation; else the loop has branches that always go
 * the same way. From leaky_relu on they are functions of their own (activations.c),
 * called for each vector: there are a dozen places where they would be inlined.
 *
 * Twin: src/exactrnn/reference/activations.py. */
#ifndef XR_ACTIVATIONS_H
#define XR_ACTIVATIONS_H

#include "exactrnn.h"
#include "kernels/math/elementary.h"

struct activation {
    enum xr_activation kind;
    elem alpha, beta; /* 0 where the function has none */
    int is_clipped;
    elem clip;
    vec least, most; /* the values at -clip and clip, in order */
};

/* A NaN passes: only what is known to be at most 0 is replaced. */
XR_INLINE vec relu(vec a) { return vec_select(vec_le(a, vec_zero()), vec_zero(), a); }

/* The functions from leaky_relu on and their slopes; they stand in activations.c. */
vec XR_NAME(xr_seldom_value)(enum xr_activation kind, vec a, elem alpha, elem beta);
vec XR_NAME(xr_seldom_slope)(enum xr_activation kind, vec y, elem alpha, elem beta);

XR_INLINE vec unlimited(const struct activation *of, vec a)
{
    const enum xr_activation kind = of->kind;
    if (kind == XR_SIGMOID) return vec_sigmoid(a);
    if (kind == XR_TANH) return vec_tanh(a);
    if (kind == XR_RELU) return relu(a);
    if (kind == XR_HARD_SIGMOID) {
        const vec line = vec_fma(vec_set(of->alpha), a, vec_set(of->beta));
        return clamp(line, (elem)0, (elem)1);
    }
    if (kind == XR_SOFTSIGN) {
        return vec_div(a, vec_add(vec_set((elem)1), vec_abs(a)));
    }
    if (kind == XR_IDENTITY) return a;
    return XR_NAME(xr_seldom_value)(kind, a, of->alpha, of->beta);
}

XR_INLINE vec unlimited_slope(const struct activation *of, vec y)
{
    const vec zero = vec_zero(), one = vec_set((elem)1);
    const enum xr_activation kind = of->kind;
    if (kind == XR_SIGMOID) return sigmoid_slope(y);
    if (kind == XR_TANH) return tanh_slope(y);
    if (kind == XR_RELU) return vec_select(vec_lt(zero, y), one, zero);
    if (kind == XR_HARD_SIGMOID) {
        const vec below = vec_select(vec_lt(y, one), vec_set(of->alpha), zero);
        return vec_select(vec_lt(zero, y), below, zero);
    }
    if (kind == XR_SOFTSIGN) {
        const vec t = vec_sub(one, vec_abs(y));
        return vec_mul(t, t);
    }
    if (kind == XR_IDENTITY) return one;
    return XR_NAME(xr_seldom_slope)(kind, y, of->alpha, of->beta);
}

/* Returns an activation without parameters and without a clip. It is filled member by
 * member, as an initialiser clears the struct as a whole, which gcc 12 then keeps in
 * memory, so that its members are no constants any more. */
XR_INLINE struct activation plain_activation(enum xr_activation kind)
{
    struct activation of;
    of.kind = kind;
    of.alpha = of.beta = of.clip = (elem)0;
    of.is_clipped = 0;
    of.least = of.most = vec_zero();
    return of;
}

/* Returns an activation with its parameters and without a clip. */
XR_INLINE struct activation free_activation(struct xr_nonlinearity chosen)
{
    struct activation of = plain_activation(chosen.kind);
    of.alpha = (elem)chosen.alpha;
    of.beta = (elem)chosen.beta;
    return of;
}

/* Returns the layer's activation number k with its clip. Where the function falls, the
 * value at clip is the least. */
XR_INLINE struct activation layer_activation(const struct xr_layer *layer, int k)
{
    struct activation of = free_activation(layer->activation[k]);
    of.is_clipped = layer->clip > 0;
    of.clip = (elem)layer->clip;
    if (of.is_clipped) {
        const vec first = unlimited(&of, vec_set(-of.clip));
        const vec last = unlimited(&of, vec_set(of.clip));
        of.least = vec_min(first, last);
        of.most = vec_max(first, last);
    }
    return of;
}

/* Returns whether the layer's activation number k is this one without a clip. */
XR_INLINE int is_plain(const struct xr_layer *layer, int k, enum xr_activation kind)
{
    return layer->activation[k].kind == kind && !(layer->clip > 0);
}

XR_INLINE vec activate(const struct activation *of, vec a)
{
    if (of->is_clipped) a = clamp(a, -of->clip, of->clip);
    return unlimited(of, a);
}

/* Returns `open`, or 0 where the limit was reached. */
XR_INLINE vec inside_clip(const struct activation *of, vec y, vec open)
{
    if (!of->is_clipped) return open;
    const vec inside = vec_select(vec_le(of->most, y), vec_zero(), open);
    return vec_select(vec_le(y, of->least), vec_zero(), inside);
}

XR_INLINE vec slope(const struct activation *of, vec y)
{
    return inside_clip(of, y, unlimited_slope(of, y));
}

#endif
