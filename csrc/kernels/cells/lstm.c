/* Long short-term memory with a forget gate, no peepholes: S. Hochreiter, J.
 * Schmidhuber, Neural Computation 9(8):1735-1780, 1997; F. Gers, J. Schmidhuber, F.
 * Cummins, Learning to Forget, Neural Computation 12(10):2451-2471, 2000.
 *
 *     a. = W. x + R. h_prev + b.
 *     i = σ(ai)    f = σ(af)    g = tanh(ag)    o = σ(ao)
 *     c = f * c_prev + i * g
 *     h = o * tanh(c)
 *
 * Gate order: i f g o, as torch. The cache holds i f g o in the places of their sums, c
 * and h; tanh(c) is computed again, which costs less than reading it.
 * Twin: src/exactrnn/cells/lstm.py.
 */
#include "../cell.h"
#include "../elementary.h"

enum { I, F, G, O, SUMS };

static void lstm_point_forward(const struct forward_block *block)
{
    const ptrdiff_t Hp = block->Hp;
    for (ptrdiff_t b = 0; b < block->rows; b++) {
        elem *sums = block->sums[b];
        for (ptrdiff_t u = block->begin; u < block->end; u += VEC_LANES) {
            vec i = vec_sigmoid(vec_load(sums + I * Hp + u));
            vec f = vec_sigmoid(vec_load(sums + F * Hp + u));
            vec g = vec_tanh(vec_load(sums + G * Hp + u));
            vec o = vec_sigmoid(vec_load(sums + O * Hp + u));
            vec c_prev = vec_load(block->prev[1][b] + u);
            vec c = vec_flush(vec_fma(f, c_prev, vec_mul(i, g)));
            vec h = vec_flush(vec_mul(o, vec_tanh(c)));
            vec_store(block->next[0][b] + u, h);
            vec_store(block->next[1][b] + u, c);
            if (block->keep) {
                vec_store(sums + I * Hp + u, i);
                vec_store(sums + F * Hp + u, f);
                vec_store(sums + G * Hp + u, g);
                vec_store(sums + O * Hp + u, o);
            }
        }
    }
}

/* With y = tanh(c):
 *     dao = dh * y * o'                    dc += dh * o * (1 - y*y)
 *     dai = dc * g * i'    daf = dc * c_prev * f'    dag = dc * i * (1 - g*g)
 *     dc_prev = dc * f     h_prev has no elementwise path
 */
static void lstm_point_backward(const struct backward_block *block)
{
    const ptrdiff_t Hp = block->Hp;
    for (ptrdiff_t b = 0; b < block->rows; b++) {
        const elem *sums = block->sums[b];
        elem *da = block->da[b];
        for (ptrdiff_t u = block->begin; u < block->end; u += VEC_LANES) {
            vec i = vec_load(sums + I * Hp + u);
            vec f = vec_load(sums + F * Hp + u);
            vec g = vec_load(sums + G * Hp + u);
            vec o = vec_load(sums + O * Hp + u);
            vec c_prev = vec_load(block->prev[1][b] + u);
            vec y = vec_tanh(vec_load(block->next[1][b] + u));
            vec dh = vec_load(block->dstate[0][b] + u);
            vec dc = vec_load(block->dstate[1][b] + u);

            vec dao = vec_mul(vec_mul(dh, y), sigmoid_slope(o));
            dc = vec_fma(vec_mul(dh, o), tanh_slope(y), dc);
            vec dai = vec_mul(vec_mul(dc, g), sigmoid_slope(i));
            vec daf = vec_mul(vec_mul(dc, c_prev), sigmoid_slope(f));
            vec dag = vec_mul(vec_mul(dc, i), tanh_slope(g));

            vec_store(da + I * Hp + u, vec_flush(dai));
            vec_store(da + F * Hp + u, vec_flush(daf));
            vec_store(da + G * Hp + u, vec_flush(dag));
            vec_store(da + O * Hp + u, vec_flush(dao));
            vec_store(block->dstate[0][b] + u, vec_zero());
            vec_store(block->dstate[1][b] + u, vec_flush(vec_mul(dc, f)));
        }
    }
}

extern const struct xr_cell XR_NAME(xr_cell_lstm);
const struct xr_cell XR_NAME(xr_cell_lstm) = {
    .info = {.name = "lstm",
             .gates = 4,
             .states = 2,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 1,
             .sum = {[I] = {"i", 0, 0, 0},
                     [F] = {"f", 1, 1, 0},
                     [G] = {"g", 2, 2, 0},
                     [O] = {"o", 3, 3, 0}}},
    .point_forward = {lstm_point_forward},
    .point_backward = {lstm_point_backward},
};
