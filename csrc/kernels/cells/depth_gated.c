/* Depth-gated LSTM, an upper layer of a stack whose memory cells are linked: K. Yao, T.
 * Cohn, K. Vylomova, K. Duh, C. Dyer, arXiv 1508.03790. The bottom layer is an LSTM
 * with all peepholes.
 *
 *     a. = W. x + R. h_prev + b.   for i f g o        ad = W_d x + b_d
 *     i = σ(ai + p_i c_prev)    f = σ(af + p_f c_prev)    g = tanh(ag)
 *     d = σ(ad + w_cd c_prev + w_ld lower)            lower: c of the layer below
 *     c = f * c_prev + i * g + d * lower
 *     o = σ(ao + p_o c)
 *     h = o * tanh(c)
 *
 * Row blocks of W: i f g o d, of R: i f g o; rows of per-unit weights: p_i p_f p_o w_cd
 * w_ld. The cache holds i f g o d in the places of their sums, c and h; tanh(c) is
 * computed again. Twin: src/exactrnn/reference/cells/depth_gated.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/elementary.h"

enum { I, F, G, O, D, SUMS };
enum { P_I, P_F, P_O, W_CD, W_LD, VECTORS };

static void depth_gated_point_forward(const struct forward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    const elem *p = step->vectors;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec c_prev = vec_load(step->prev[1][b] + u);
        vec lower = vec_load(step->lower[b] + u);
        vec ai = vec_load(sums + I * Hp + u), af = vec_load(sums + F * Hp + u);
        vec ao = vec_load(sums + O * Hp + u), ad = vec_load(sums + D * Hp + u);
        vec i = vec_sigmoid(vec_fma(vec_load(p + P_I * Hp + u), c_prev, ai));
        vec f = vec_sigmoid(vec_fma(vec_load(p + P_F * Hp + u), c_prev, af));
        vec g = vec_tanh(vec_load(sums + G * Hp + u));
        ad = vec_fma(vec_load(p + W_CD * Hp + u), c_prev, ad);
        vec d = vec_sigmoid(vec_fma(vec_load(p + W_LD * Hp + u), lower, ad));
        vec c = vec_fma(d, lower, vec_fma(f, c_prev, vec_mul(i, g)));
        c = vec_flush(c);
        vec o = vec_sigmoid(vec_fma(vec_load(p + P_O * Hp + u), c, ao));
        vec h = vec_flush(vec_mul(o, vec_tanh(c)));
        vec_store(step->next[0][b] + u, h);
        vec_store(step->next[1][b] + u, c);
        if (step->keep) {
            vec_store(sums + I * Hp + u, i);
            vec_store(sums + F * Hp + u, f);
            vec_store(sums + G * Hp + u, g);
            vec_store(sums + O * Hp + u, o);
            vec_store(sums + D * Hp + u, d);
        }
    }
}

/* With y = tanh(c):
 *     dao = dh * y * o'                    dc += dh * o * (1 - y*y) + p_o * dao
 *     dai = dc * g * i'    daf = dc * c_prev * f'    dag = dc * i * (1 - g*g)
 *     dad = dc * lower * d'
 *     dc_prev = dc * f + p_i * dai + p_f * daf + w_cd * dad
 *     dlower  = dc * d + w_ld * dad        h_prev has no elementwise path
 */
static void depth_gated_point_backward(const struct backward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    const elem *p = step->vectors;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec i = vec_load(sums + I * Hp + u);
        vec f = vec_load(sums + F * Hp + u);
        vec g = vec_load(sums + G * Hp + u);
        vec o = vec_load(sums + O * Hp + u);
        vec d = vec_load(sums + D * Hp + u);
        vec c_prev = vec_load(step->prev[1][b] + u);
        vec lower = vec_load(step->lower[b] + u);
        vec y = vec_tanh(vec_load(step->next[1][b] + u));
        vec dh = vec_load(step->dstate[0][b] + u);
        vec dc = vec_load(step->dstate[1][b] + u);

        vec dao = vec_flush(vec_mul(vec_mul(dh, y), sigmoid_slope(o)));
        dc = vec_fma(vec_mul(dh, o), tanh_slope(y), dc);
        dc = vec_fma(vec_load(p + P_O * Hp + u), dao, dc);
        vec dai = vec_flush(vec_mul(vec_mul(dc, g), sigmoid_slope(i)));
        vec daf = vec_flush(vec_mul(vec_mul(dc, c_prev), sigmoid_slope(f)));
        vec dag = vec_flush(vec_mul(vec_mul(dc, i), tanh_slope(g)));
        vec dad = vec_flush(vec_mul(vec_mul(dc, lower), sigmoid_slope(d)));
        vec dc_prev = vec_fma(vec_load(p + P_I * Hp + u), dai, vec_mul(dc, f));
        dc_prev = vec_fma(vec_load(p + P_F * Hp + u), daf, dc_prev);
        dc_prev = vec_fma(vec_load(p + W_CD * Hp + u), dad, dc_prev);
        vec dlower = vec_fma(vec_load(p + W_LD * Hp + u), dad, vec_mul(dc, d));

        vec_store(da + I * Hp + u, dai);
        vec_store(da + F * Hp + u, daf);
        vec_store(da + G * Hp + u, dag);
        vec_store(da + O * Hp + u, dao);
        vec_store(da + D * Hp + u, dad);
        vec_store(step->dstate[0][b] + u, vec_zero());
        vec_store(step->dstate[1][b] + u, vec_flush(dc_prev));
        vec_store(step->dlower[b] + u, vec_flush(dlower));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_depth_gated);
const struct xr_cell XR_NAME(xr_cell_depth_gated) = {
    .info = {.name = "depth_gated",
             .w_blocks = 5,
             .r_blocks = 4,
             .states = 2,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 1,
             .takes_lower = 1,
             .vectors = VECTORS,
             .sum = {[I] = {.name = "i", .w = 0, .r = 0},
                     [F] = {.name = "f", .w = 1, .r = 1},
                     [G] = {.name = "g", .w = 2, .r = 2},
                     [O] = {.name = "o", .w = 3, .r = 3},
                     [D] = {.name = "d", .w = 4, .r = -1}},
             .vector = {[P_I] = {.sum = I, .factor = XR_PREV_STATE + 1},
                        [P_F] = {.sum = F, .factor = XR_PREV_STATE + 1},
                        [P_O] = {.sum = O, .factor = XR_NEXT_STATE + 1},
                        [W_CD] = {.sum = D, .factor = XR_PREV_STATE + 1},
                        [W_LD] = {.sum = D, .factor = XR_LOWER}}},
    .point_forward = {depth_gated_point_forward},
    .point_backward = {depth_gated_point_backward},
};
