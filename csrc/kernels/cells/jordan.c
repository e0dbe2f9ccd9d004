/* Jordan network, the output fed back: M. I. Jordan, Attractor dynamics and parallelism
 * in a connectionist sequential machine, Proceedings of the 8th Annual Conference of
 * the Cognitive Science Society, 531-546, 1986.
 *
 *     s = act(W x + R y_prev + b)            the hidden units, H
 *     y = out(V s + b_ho)                    the output, O; act, out: activations.h
 *
 * Options: other activations; a clip of what act and out are given.
 * Gate order: a alone. Two stages: s is the operand of V. The state is y. The cache
 * holds act(a) in the place of a, s, which is the same flushed, and y.
 * Twin: src/exactrnn/reference/cells/jordan.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

enum { A, Y, SUMS };

XR_INLINE void forward_units_0(const struct forward_step *step, struct activation act)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec hidden = activate(&act, vec_load(sums + A * step->Hp + u));
        vec_store(step->operand[0][b] + u, vec_flush(hidden));
        if (step->keep) vec_store(sums + A * step->Hp + u, hidden);
    }
}

/* Takes tanh as a constant, and any other activation as it comes; so do those below. */
static void jordan_point_forward_0(const struct forward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        forward_units_0(step, plain_activation(XR_TANH));
    } else {
        forward_units_0(step, layer_activation(step->layer, 0));
    }
}

XR_INLINE void forward_units_1(const struct forward_step *step, struct activation out)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec a = vec_load(step->sums[b] + Y * step->Hp + u);
        vec_store(step->next[0][b] + u, vec_flush(activate(&out, a)));
    }
}

static void jordan_point_forward_1(const struct forward_step *step)
{
    if (is_plain(step->layer, 1, XR_TANH)) {
        forward_units_1(step, plain_activation(XR_TANH));
    } else {
        forward_units_1(step, layer_activation(step->layer, 1));
    }
}

XR_INLINE void backward_units_1(const struct backward_step *step, struct activation out)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec y = vec_load(step->next[0][b] + u);
        vec dy = vec_load(step->dstate[0][b] + u);
        vec day = vec_mul(dy, slope(&out, y));
        vec_store(step->da[b] + Y * step->Hp + u, vec_flush(day));
        vec_store(step->dstate[0][b] + u, vec_zero());
    }
}

/* day = dy * out'(ay). y_prev has no elementwise path: dy starts again at 0. The engine
 * then makes ds = V^T day. */
static void jordan_point_backward_1(const struct backward_step *step)
{
    if (is_plain(step->layer, 1, XR_TANH)) {
        backward_units_1(step, plain_activation(XR_TANH));
    } else {
        backward_units_1(step, layer_activation(step->layer, 1));
    }
}

XR_INLINE void backward_units_0(const struct backward_step *step, struct activation act)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec hidden = vec_load(step->sums[b] + A * step->Hp + u);
        vec ds = vec_load(step->doperand[0][b] + u);
        vec da = vec_mul(ds, slope(&act, hidden));
        vec_store(step->da[b] + A * step->Hp + u, vec_flush(da));
    }
}

/* da = ds * act'(a) */
static void jordan_point_backward_0(const struct backward_step *step)
{
    if (is_plain(step->layer, 0, XR_TANH)) {
        backward_units_0(step, plain_activation(XR_TANH));
    } else {
        backward_units_0(step, layer_activation(step->layer, 0));
    }
}

extern const struct xr_cell XR_NAME(xr_cell_jordan);
const struct xr_cell XR_NAME(xr_cell_jordan) = {
    .info = {.name = "jordan",
             .w_blocks = 1,
             .r_blocks = 1,
             .states = 1,
             .sums = SUMS,
             .stages = 2,
             .operands = 1,
             .keeps_sums = 1,
             .projects = 1,
             .sum = {[A] = {.name = "a", .w = 0, .r = 0},
                     [Y] = {.name = "y",
                            .w = -1,
                            .r = 0,
                            .stage = 1,
                            .operand = 1,
                            .matrix = XR_HR}}},
    .point_forward = {jordan_point_forward_0, jordan_point_forward_1},
    .point_backward = {jordan_point_backward_0, jordan_point_backward_1},
};
