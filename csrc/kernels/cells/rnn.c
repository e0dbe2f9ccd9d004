/* Simple recurrent network: J. L. Elman, Finding Structure in Time, Cognitive Science
 * 14(2):179-211, 1990.
 *
 *     a = W x + R h_prev + b        h = tanh(a), relu(a), ... (activations.h)
 *
 * Clockwork networks run it too: which modules take part in a step and what they hear
 * is the engine's business; it calls these functions for their units alone, and the
 * others pass h on and dh back.
 *
 * Options: other activations; a clip of a.
 * Gate order: a alone. The cache holds h, as every cell's; the sums are not kept.
 * Twin: src/exactrnn/reference/cells/rnn.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

enum { A, SUMS };

XR_INLINE void forward_units(const struct forward_step *step, struct activation act)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec a = vec_load(step->sums[b] + A * step->Hp + u);
        vec_store(step->next[0][b] + u, vec_flush(activate(&act, a)));
    }
}

/* Takes tanh as a constant, and any other activation as it comes. */
static void rnn_point_forward(const struct forward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        forward_units(step, plain_activation(XR_TANH));
    } else {
        forward_units(step, layer_activation(step->layer, 0));
    }
}

XR_INLINE void backward_units(const struct backward_step *step, struct activation act)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec h = vec_load(step->next[0][b] + u);
        vec dh = vec_load(step->dstate[0][b] + u);
        vec da;
        if (act.kind == XR_RELU) {
            vec open = vec_select(vec_lt(vec_zero(), h), dh, vec_zero());
            da = inside_clip(&act, h, open);
        } else {
            da = vec_mul(dh, slope(&act, h));
        }
        vec_store(step->da[b] + A * step->Hp + u, vec_flush(da));
        vec_store(step->dstate[0][b] + u, vec_zero());
    }
}

/* da = dh * tanh'(a) = dh * (1 - h*h);  for relu, da = dh where h > 0, else 0, even if
 * dh is infinite. h_prev has no elementwise path: dh starts again at 0. */
static void rnn_point_backward(const struct backward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        backward_units(step, plain_activation(XR_TANH));
    } else {
        backward_units(step, layer_activation(step->layer, 0));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_rnn);
const struct xr_cell XR_NAME(xr_cell_rnn) = {
    .info = {.name = "rnn",
             .w_blocks = 1,
             .r_blocks = 1,
             .states = 1,
             .sums = SUMS,
             .stages = 1,
             .keeps_sums = 0,
             .sum = {[A] = {.name = "a", .w = 0, .r = 0}}},
    .point_forward = {rnn_point_forward},
    .point_backward = {rnn_point_backward},
};
