/* Leaky integrator units, the reservoir of an echo state network: H. Jaeger, M.
 * Lukosevicius, D. Popovici, U. Siewert, Neural Networks 20(3):335-352, 2007; the leak
 * outside of the activation, as in M. Lukosevicius, A Practical Guide to Applying Echo
 * State Networks, 2012.
 *
 *     a = W x + R h_prev + b
 *     u = tanh(a), relu(a), ... (activations.h)
 *     h = (1 - alpha) * h_prev + alpha * u           alpha: one leak per unit
 *
 * Options: other activations; a clip of a.
 * Gate order: a alone. The cache holds u in the place of a, and h. l is no sum: it is
 * where the gradient of alpha, which its row of per-unit weights has, is gathered.
 * Twin: src/exactrnn/reference/cells/leaky.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

enum { A, L, SUMS };

XR_INLINE void forward_units(const struct forward_step *step, struct activation act)
{
    const elem *leak = step->vectors;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec alpha = vec_load(leak + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec value = activate(&act, vec_load(sums + A * step->Hp + u));
        vec stays = vec_mul(vec_sub(vec_set((elem)1), alpha), h_prev);
        vec h = vec_fma(alpha, value, stays);
        vec_store(step->next[0][b] + u, vec_flush(h));
        if (step->keep) vec_store(sums + A * step->Hp + u, value);
    }
}

/* Takes tanh as a constant, and any other activation as it comes. */
static void leaky_point_forward(const struct forward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        forward_units(step, plain_activation(XR_TANH));
    } else {
        forward_units(step, layer_activation(step->layer, 0));
    }
}

XR_INLINE void backward_units(const struct backward_step *step, struct activation act)
{
    const ptrdiff_t Hp = step->Hp;
    const elem *leak = step->vectors;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *da = step->da[b];
        vec alpha = vec_load(leak + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec value = vec_load(step->sums[b] + A * Hp + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec dvalue = vec_mul(dh, alpha);
        vec dl = vec_mul(dh, vec_sub(value, h_prev));
        vec stays = vec_sub(vec_set((elem)1), alpha);

        vec_store(da + A * Hp + u, vec_flush(vec_mul(dvalue, slope(&act, value))));
        vec_store(da + L * Hp + u, vec_flush(dl));
        vec_store(step->dstate[0][b] + u, vec_mul(dh, stays));
    }
}

/*     da = dh * alpha * act'(a)           dl = dh * (u - h_prev)
 *     h_prev by the leak:  dh * (1 - alpha)
 */
static void leaky_point_backward(const struct backward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        backward_units(step, plain_activation(XR_TANH));
    } else {
        backward_units(step, layer_activation(step->layer, 0));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_leaky);
const struct xr_cell XR_NAME(xr_cell_leaky) = {
    .info = {.name = "leaky",
             .w_blocks = 1,
             .r_blocks = 1,
             .states = 1,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 1,
             .vectors = 1,
             .sum = {[A] = {.name = "a", .w = 0, .r = 0},
                     [L] = {.name = "l", .w = -1, .r = -1, .bias = XR_NO_BIAS}},
             .vector = {{.sum = L, .factor = XR_ONE}}},
    .point_forward = {leaky_point_forward},
    .point_backward = {leaky_point_backward},
};
