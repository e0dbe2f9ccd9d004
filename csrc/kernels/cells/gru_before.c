/* Gated recurrent unit, reset before the product: K. Cho et al., arXiv 1406.1078 (v3,
 * the text of EMNLP 2014).
 *
 *     r = σ(W_r x + R_r h_prev + b_r)        z = σ(W_z x + R_z h_prev + b_z)
 *     s = r * h_prev
 *     n = tanh(W_n x + R_n s + b_n)
 *     h = z * h_prev + (1 - z) * n           z keeps: at z = 1, h is h_prev exactly
 *
 * Options: other activations; a clip of what they are given.
 * Gate order: r z n. Two stages: s is the operand of the second product. The cache
 * holds r z n, s and h. Twin: src/exactrnn/reference/cells/gru_before.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

enum { R, Z, N, SUMS };

XR_INLINE void forward_units_0(const struct forward_step *step, struct activation gate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec r = activate(&gate, vec_load(sums + R * Hp + u));
        vec z = activate(&gate, vec_load(sums + Z * Hp + u));
        vec s = vec_mul(r, vec_load(step->prev[0][b] + u));
        vec_store(step->operand[0][b] + u, vec_flush(s));
        vec_store(sums + R * Hp + u, r);
        vec_store(sums + Z * Hp + u, z);
    }
}

/* Takes the usual activation as a constant, and any other as it comes; so do those
 * below. */
static void gru_before_point_forward_0(const struct forward_step *step)
{
    if (is_plain(step->layer, 0, XR_SIGMOID)) {
        forward_units_0(step, plain_activation(XR_SIGMOID));
    } else {
        forward_units_0(step, layer_activation(step->layer, 0));
    }
}

XR_INLINE void forward_units_1(const struct forward_step *step,
                               struct activation candidate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec z = vec_load(sums + Z * Hp + u);
        vec n = activate(&candidate, vec_load(sums + N * Hp + u));
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec t = vec_sub(vec_set((elem)1), z);
        vec h = vec_fma(z, h_prev, vec_mul(t, n));
        vec_store(step->next[0][b] + u, vec_flush(h));
        if (step->keep) vec_store(sums + N * Hp + u, n);
    }
}

static void gru_before_point_forward_1(const struct forward_step *step)
{
    if (is_plain(step->layer, 1, XR_TANH)) {
        forward_units_1(step, plain_activation(XR_TANH));
    } else {
        forward_units_1(step, layer_activation(step->layer, 1));
    }
}

XR_INLINE void backward_units_1(const struct backward_step *step,
                                struct activation gate, struct activation candidate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec z = vec_load(sums + Z * Hp + u);
        vec n = vec_load(sums + N * Hp + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec t = vec_sub(vec_set((elem)1), z);
        vec dan = vec_mul(vec_mul(dh, t), slope(&candidate, n));
        vec daz = vec_mul(vec_mul(dh, vec_sub(h_prev, n)), slope(&gate, z));

        vec_store(da + N * Hp + u, vec_flush(dan));
        vec_store(da + Z * Hp + u, vec_flush(daz));
        vec_store(step->dstate[0][b] + u, vec_mul(dh, z));
    }
}

/*     dan = dh * (1 - z) * (1 - n*n)      daz = dh * (h_prev - n) * z'
 *     h_prev by z:  dh * z                the engine then makes ds = R_n^T dan
 */
static void gru_before_point_backward_1(const struct backward_step *step)
{
    const struct xr_layer *layer = step->layer;
    if (is_plain(layer, 0, XR_SIGMOID) && is_plain(layer, 1, XR_TANH)) {
        backward_units_1(step, plain_activation(XR_SIGMOID), plain_activation(XR_TANH));
    } else {
        backward_units_1(step, layer_activation(layer, 0), layer_activation(layer, 1));
    }
}

XR_INLINE void backward_units_0(const struct backward_step *step,
                                struct activation gate)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec r = vec_load(step->sums[b] + R * Hp + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec ds = vec_load(step->doperand[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec dar = vec_mul(vec_mul(ds, h_prev), slope(&gate, r));
        vec_store(step->da[b] + R * Hp + u, vec_flush(dar));
        vec_store(step->dstate[0][b] + u, vec_fma(ds, r, dh));
    }
}

/*     dar = ds * h_prev * r'              h_prev by s:  ds * r, added to dh * z */
static void gru_before_point_backward_0(const struct backward_step *step)
{
    if (is_plain(step->layer, 0, XR_SIGMOID)) {
        backward_units_0(step, plain_activation(XR_SIGMOID));
    } else {
        backward_units_0(step, layer_activation(step->layer, 0));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_gru_before);
const struct xr_cell XR_NAME(xr_cell_gru_before) = {
    .info = {.name = "gru_before",
             .w_blocks = 3,
             .r_blocks = 3,
             .states = 1,
             .sums = SUMS,
             .stages = 2,
             .operands = 1,
             .keeps_sums = 1,
             .sum = {[R] = {.name = "r", .w = 0, .r = 0},
                     [Z] = {.name = "z", .w = 1, .r = 1},
                     [N] = {.name = "n", .w = 2, .r = 2, .stage = 1, .operand = 1}}},
    .point_forward = {gru_before_point_forward_0, gru_before_point_forward_1},
    .point_backward = {gru_before_point_backward_0, gru_before_point_backward_1},
};
