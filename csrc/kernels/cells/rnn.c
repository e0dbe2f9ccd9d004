/* Simple recurrent network: J. L. Elman, Finding Structure in Time, Cognitive Science
 * 14(2):179-211, 1990.
 *
 *     a = W x + R h_prev + b        h = tanh(a)  or  relu(a)
 *
 * Gate order: a alone. The cache holds h, as every cell's; the sums are not kept.
 * Twin: src/exactrnn/cells/rnn.py.
 */
#include "../cell.h"
#include "../elementary.h"

enum { A, SUMS };

/* NaN passes: only what is known to be at most 0 is replaced. */
XR_INLINE vec relu(vec a) { return vec_select(vec_le(a, vec_zero()), vec_zero(), a); }

static void rnn_point_forward(const struct forward_block *block)
{
    const int is_relu = block->layer->activation[0] == XR_RELU;
    for (ptrdiff_t b = 0; b < block->rows; b++) {
        for (ptrdiff_t u = block->begin; u < block->end; u += VEC_LANES) {
            vec a = vec_load(block->sums[b] + A * block->Hp + u);
            vec h = is_relu ? relu(a) : vec_tanh(a);
            vec_store(block->next[0][b] + u, vec_flush(h));
        }
    }
}

/* da = dh * tanh'(a) = dh * (1 - h*h);  for relu, da = dh where h > 0, else 0.
 * h_prev has no elementwise path: dh starts again at 0. */
static void rnn_point_backward(const struct backward_block *block)
{
    const int is_relu = block->layer->activation[0] == XR_RELU;
    for (ptrdiff_t b = 0; b < block->rows; b++) {
        for (ptrdiff_t u = block->begin; u < block->end; u += VEC_LANES) {
            vec h = vec_load(block->next[0][b] + u);
            vec dh = vec_load(block->dstate[0][b] + u);
            vec da = is_relu ? vec_select(vec_lt(vec_zero(), h), dh, vec_zero())
                             : vec_mul(dh, tanh_slope(h));
            vec_store(block->da[b] + A * block->Hp + u, vec_flush(da));
            vec_store(block->dstate[0][b] + u, vec_zero());
        }
    }
}

extern const struct xr_cell XR_NAME(xr_cell_rnn);
const struct xr_cell XR_NAME(xr_cell_rnn) = {
    .info = {.name = "rnn",
             .gates = 1,
             .states = 1,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 0,
             .sum = {[A] = {"a", 0, 0, 0}}},
    .point_forward = {rnn_point_forward},
    .point_backward = {rnn_point_backward},
};
