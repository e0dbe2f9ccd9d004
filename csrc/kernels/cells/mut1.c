/* MUT1, a gated unit found by search: R. Jozefowicz, W. Zaremba, I. Sutskever, An
 * Empirical Exploration of Recurrent Network Architectures, ICML 2015, PMLR 37; x in
 * its candidate is projected.
 *
 *     r = σ(W_r x + R_r h_prev + b_r)        z = σ(W_z x + b_z)
 *     s = r * h_prev
 *     n = tanh(R_n s + b_n + tanh(W_n x))
 *     h = (1 - z) * h_prev + z * n           z writes: at z = 0, h is h_prev exactly
 *
 * Row blocks of W: r z n, of R: r n. Two stages: s is the operand of the second
 * product. The candidate's two products are sums of their own: X is that of x, which
 * has no bias. The cache holds r z n, tanh(W_n x) in the place of X, s and h.
 * Twin: src/exactrnn/reference/cells/mut1.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/elementary.h"

enum { R, Z, X, N, SUMS };

static void mut1_point_forward_0(const struct forward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec r = vec_sigmoid(vec_load(sums + R * Hp + u));
        vec z = vec_sigmoid(vec_load(sums + Z * Hp + u));
        vec x = vec_tanh(vec_load(sums + X * Hp + u));
        vec s = vec_mul(r, vec_load(step->prev[0][b] + u));
        vec_store(step->operand[0][b] + u, vec_flush(s));
        vec_store(sums + R * Hp + u, r);
        vec_store(sums + Z * Hp + u, z);
        vec_store(sums + X * Hp + u, x);
    }
}

static void mut1_point_forward_1(const struct forward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec z = vec_load(sums + Z * Hp + u);
        vec x = vec_load(sums + X * Hp + u);
        vec n = vec_tanh(vec_add(vec_load(sums + N * Hp + u), x));
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec t = vec_sub(vec_set((elem)1), z);
        vec h = vec_fma(z, n, vec_mul(t, h_prev));
        vec_store(step->next[0][b] + u, vec_flush(h));
        if (step->keep) vec_store(sums + N * Hp + u, n);
    }
}

/*     dan = dh * z * (1 - n*n)            daz = dh * (n - h_prev) * z'
 *     dax = dan * (1 - x*x)
 *     h_prev by z:  dh * (1 - z)          the engine then makes ds = R_n^T dan
 */
static void mut1_point_backward_1(const struct backward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec z = vec_load(sums + Z * Hp + u);
        vec n = vec_load(sums + N * Hp + u);
        vec x = vec_load(sums + X * Hp + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec t = vec_sub(vec_set((elem)1), z);
        vec dan = vec_flush(vec_mul(vec_mul(dh, z), tanh_slope(n)));
        vec dax = vec_mul(dan, tanh_slope(x));
        vec daz = vec_mul(vec_mul(dh, vec_sub(n, h_prev)), vec_mul(z, t));

        vec_store(da + N * Hp + u, dan);
        vec_store(da + X * Hp + u, vec_flush(dax));
        vec_store(da + Z * Hp + u, vec_flush(daz));
        vec_store(step->dstate[0][b] + u, vec_mul(dh, t));
    }
}

/*     dar = ds * h_prev * r'              h_prev by s:  ds * r, added to dh * (1-z) */
static void mut1_point_backward_0(const struct backward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec r = vec_load(step->sums[b] + R * Hp + u);
        vec h_prev = vec_load(step->prev[0][b] + u);
        vec ds = vec_load(step->doperand[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);

        vec dar = vec_mul(vec_mul(ds, h_prev), sigmoid_slope(r));
        vec_store(step->da[b] + R * Hp + u, vec_flush(dar));
        vec_store(step->dstate[0][b] + u, vec_fma(ds, r, dh));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_mut1);
const struct xr_cell XR_NAME(xr_cell_mut1) = {
    .info = {.name = "mut1",
             .w_blocks = 3,
             .r_blocks = 2,
             .states = 1,
             .sums = SUMS,
             .stages = 2,
             .operands = 1,
             .keeps_sums = 1,
             .sum = {[R] = {.name = "r", .w = 0, .r = 0},
                     [Z] = {.name = "z", .w = 1, .r = -1},
                     [X] = {.name = "x", .w = 2, .r = -1, .bias = XR_NO_BIAS},
                     [N] = {.name = "n",
                            .w = -1,
                            .r = 1,
                            .stage = 1,
                            .operand = 1,
                            .bias = XR_BIAS_OF_X,
                            .bias_w = 2}}},
    .point_forward = {mut1_point_forward_0, mut1_point_forward_1},
    .point_backward = {mut1_point_backward_0, mut1_point_backward_1},
};
