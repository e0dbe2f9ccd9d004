/* Gated recurrent unit, reset after the product: K. Cho et al., arXiv 1406.1078 (v1),
 * the form of cuDNN and torch.
 *
 *     r = σ(W_r x + R_r h_prev + b_r)        z = σ(W_z x + R_z h_prev + b_z)
 *     v = R_n h_prev + b_hh_n
 *     n = tanh(W_n x + b_ih_n + r * v)
 *     h = z * h_prev + (1 - z) * n           z keeps: at z = 1, h is h_prev exactly
 *
 * Options: other activations; a clip of what they are given.
 * Gate order: r z n, as torch. The candidate keeps its two products apart, each
 * starting at its own bias, so there are four sums. The cache holds r z n v and h.
 * Twin: src/exactrnn/reference/cells/gru.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

enum { R, Z, N, V, SUMS };

/* In two passes, so that no vector waits for another (as in lstm.c): the first leaves
 * what n is an activation of in the place of its sum. */
XR_INLINE void forward_units(const struct forward_step *step, struct activation gate,
                             struct activation candidate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec r = activate(&gate, vec_load(sums + R * Hp + u));
        vec v = vec_load(sums + V * Hp + u);
        vec an = vec_fma(r, v, vec_load(sums + N * Hp + u));
        vec_store(sums + N * Hp + u, an);
        if (step->keep) vec_store(sums + R * Hp + u, r);
    }
    here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec z = activate(&gate, vec_load(sums + Z * Hp + u));
        vec n = activate(&candidate, vec_load(sums + N * Hp + u));
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec t = vec_sub(vec_set((elem)1), z);
        vec h = vec_fma(z, h_prev, vec_mul(t, n));
        vec_store(step->next[0][b] + u, vec_flush(h));
        if (step->keep) {
            vec_store(sums + Z * Hp + u, z);
            vec_store(sums + N * Hp + u, n);
        }
    }
}

static int has_usual_activations(const struct xr_layer *layer)
{
    return is_plain(layer, 0, XR_SIGMOID) && is_plain(layer, 1, XR_TANH);
}

/* Takes the usual activations as constants, and any others as they come. */
static void gru_point_forward(const struct forward_step *step)
{
    if (has_usual_activations(step->layer)) {
        forward_units(step, plain_activation(XR_SIGMOID), plain_activation(XR_TANH));
    } else {
        forward_units(step, layer_activation(step->layer, 0),
                      layer_activation(step->layer, 1));
    }
}

XR_INLINE void backward_units(const struct backward_step *step, struct activation gate,
                              struct activation candidate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec r = vec_load(sums + R * Hp + u);
        vec z = vec_load(sums + Z * Hp + u);
        vec n = vec_load(sums + N * Hp + u);
        vec v = vec_load(sums + V * Hp + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec t = vec_sub(vec_set((elem)1), z);
        vec dan = vec_flush(vec_mul(vec_mul(dh, t), slope(&candidate, n)));
        vec dar = vec_mul(vec_mul(dan, v), slope(&gate, r));
        vec daz = vec_mul(vec_mul(dh, vec_sub(h_prev, n)), slope(&gate, z));

        vec_store(da + R * Hp + u, vec_flush(dar));
        vec_store(da + Z * Hp + u, vec_flush(daz));
        vec_store(da + N * Hp + u, dan);
        vec_store(da + V * Hp + u, vec_flush(vec_mul(dan, r)));
        vec_store(step->dstate[0][b] + u, vec_mul(dh, z));
    }
}

/*     dan = dh * (1 - z) * (1 - n*n)      daz = dh * (h_prev - n) * z'
 *     dv  = dan * r                       dar = dan * v * r'
 *     h_prev by z:  dh * z
 *     v reaches R_n and b_hh_n, n reaches W_n and b_ih_n
 */
static void gru_point_backward(const struct backward_step *step)
{
    if (has_usual_activations(step->layer)) {
        backward_units(step, plain_activation(XR_SIGMOID), plain_activation(XR_TANH));
    } else {
        backward_units(step, layer_activation(step->layer, 0),
                       layer_activation(step->layer, 1));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_gru);
const struct xr_cell XR_NAME(xr_cell_gru) = {
    .info = {.name = "gru",
             .w_blocks = 3,
             .r_blocks = 3,
             .states = 1,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 1,
             .sum = {[R] = {.name = "r", .w = 0, .r = 0},
                     [Z] = {.name = "z", .w = 1, .r = 1},
                     [N] = {.name = "n", .w = 2, .r = -1},
                     [V] = {.name = "v", .w = -1, .r = 2}}},
    .point_forward = {gru_point_forward},
    .point_backward = {gru_point_backward},
};
