/* activations.c - the activations that few ask for, and their slopes: called for each
 * vector, while those that many ask for are inlined (activations.h, which defines them
 * all). Compiled once for each instruction set and element type.
 *
 * Twin: seldom_value and seldom_slope in src/exactrnn/reference/activations.py. */
#include "kernels/math/activations.h"

vec XR_NAME(xr_seldom_value)(enum xr_activation kind, vec a, elem alpha, elem beta)
{
    const vec zero = vec_zero(), times = vec_set(alpha);
    const vmask is_low = vec_le(a, zero);
    switch (kind) {
    case XR_LEAKY_RELU: return vec_select(is_low, vec_mul(times, a), a);
    case XR_ELU: return vec_select(is_low, vec_mul(times, vec_expm1(a)), a);
    case XR_SOFTPLUS: return vec_softplus(a);
    case XR_SCALED_TANH: return vec_mul(times, vec_tanh(vec_mul(vec_set(beta), a)));
    case XR_THRESHOLDED_RELU: return vec_select(vec_le(a, times), zero, a);
    default: return vec_fma(times, a, vec_set(beta)); /* affine */
    }
}

vec XR_NAME(xr_seldom_slope)(enum xr_activation kind, vec y, elem alpha, elem beta)
{
    const vec zero = vec_zero(), one = vec_set((elem)1), times = vec_set(alpha);
    const vmask is_high = vec_lt(zero, y);
    switch (kind) {
    case XR_LEAKY_RELU: return vec_select(is_high, one, times);
    case XR_ELU: return vec_select(is_high, one, vec_add(y, times));
    case XR_SOFTPLUS: return vec_neg(vec_expm1(vec_neg(y)));
    case XR_SCALED_TANH: {
        const vec t = vec_div(y, times);
        return vec_mul(vec_mul(times, tanh_slope(t)), vec_set(beta));
    }
    case XR_THRESHOLDED_RELU: return vec_select(vec_eq(y, zero), zero, one);
    default: return times; /* affine */
    }
}
