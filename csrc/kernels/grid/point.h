/* The elementwise mathematics of one dimension of a block, forward and back.
 *
 * As a cell's point functions (cells/cell.h): some rows, a range of units, whole
 * vectors, each row a pointer. The sums of a dimension with memory lie i f g o in a row
 * [4, Hp], its gates are kept in their places; without memory the sum lies where h'
 * will.
 * Twin: src/exactrnn/reference/grid.py, point_forward and point_backward.
 */
#ifndef XR_GRID_POINT_H
#define XR_GRID_POINT_H

#include "exactrnn/grid.h"
#include "kernels/math/activations.h"

enum { GRID_I, GRID_F, GRID_G, GRID_O };

/* Rows are arrays of pointers, [rows]; m_* and gates without memory are not read. */
struct grid_forward_part {
    ptrdiff_t rows, begin, end, Hp;
    elem *const *sums; /* [4, Hp] in: sums, out: gates; without memory h_next */
    const elem *const *m_prev;
    elem *const *h_next, *const *m_next;
    struct xr_nonlinearity activation;
    int tanh_outside;
};

struct grid_backward_part {
    ptrdiff_t rows, begin, end, Hp;
    const elem *const *gates;
    const elem *const *m_prev, *const *h_next, *const *m_next;
    elem *const *dh; /* gradient of h_next */
    elem *const *dm; /* in: of m_next, out: of m_prev */
    elem *const *da; /* [4, Hp], or [Hp] without memory */
    struct xr_nonlinearity activation;
    int tanh_outside;
};

static void grid_plain_forward(const struct grid_forward_part *part)
{
    const struct activation of = free_activation(part->activation);
    for (ptrdiff_t r = 0; r < part->rows; r++) {
        elem *h = part->h_next[r];
        for (ptrdiff_t u = part->begin; u < part->end; u += VEC_LANES) {
            const vec a = vec_load(part->sums[r] + u);
            vec_store(h + u, vec_flush(activate(&of, a)));
        }
    }
}

static void grid_lstm_forward(const struct grid_forward_part *part)
{
    const ptrdiff_t Hp = part->Hp;
    for (ptrdiff_t r = 0; r < part->rows; r++) {
        elem *sums = part->sums[r];
        for (ptrdiff_t u = part->begin; u < part->end; u += VEC_LANES) {
            vec i = vec_sigmoid(vec_load(sums + GRID_I * Hp + u));
            vec f = vec_sigmoid(vec_load(sums + GRID_F * Hp + u));
            vec g = vec_tanh(vec_load(sums + GRID_G * Hp + u));
            vec o = vec_sigmoid(vec_load(sums + GRID_O * Hp + u));
            vec m_prev = vec_load(part->m_prev[r] + u);
            vec m = vec_flush(vec_fma(f, m_prev, vec_mul(i, g)));
            vec h =
                part->tanh_outside ? vec_tanh(vec_mul(o, m)) : vec_mul(o, vec_tanh(m));
            vec_store(part->h_next[r] + u, vec_flush(h));
            vec_store(part->m_next[r] + u, m);
            vec_store(sums + GRID_I * Hp + u, i);
            vec_store(sums + GRID_F * Hp + u, f);
            vec_store(sums + GRID_G * Hp + u, g);
            vec_store(sums + GRID_O * Hp + u, o);
        }
    }
}

static void grid_plain_backward(const struct grid_backward_part *part)
{
    const struct activation of = free_activation(part->activation);
    for (ptrdiff_t r = 0; r < part->rows; r++) {
        const elem *h = part->h_next[r];
        for (ptrdiff_t u = part->begin; u < part->end; u += VEC_LANES) {
            const vec dh = vec_load(part->dh[r] + u);
            const vec da = vec_mul(dh, slope(&of, vec_load(h + u)));
            vec_store(part->da[r] + u, vec_flush(da));
        }
    }
}

/* h' = tanh(o * m'), y = h':    s = dh' * (1-y*y)  do = s * m'     dm' += s * o
 * h' = o * y, y = tanh(m'):                        do = dh' * y    dm' += dh' * o * y'
 * and then, either way,
 *     dai = dm' * g * i'    daf = dm' * m_prev * f'    dag = dm' * i * (1 - g*g)
 *     dao = do * o'         dm_prev = dm' * f
 */
static void grid_lstm_backward(const struct grid_backward_part *part)
{
    const ptrdiff_t Hp = part->Hp;
    for (ptrdiff_t r = 0; r < part->rows; r++) {
        const elem *gates = part->gates[r];
        elem *da = part->da[r];
        for (ptrdiff_t u = part->begin; u < part->end; u += VEC_LANES) {
            vec i = vec_load(gates + GRID_I * Hp + u);
            vec f = vec_load(gates + GRID_F * Hp + u);
            vec g = vec_load(gates + GRID_G * Hp + u);
            vec o = vec_load(gates + GRID_O * Hp + u);
            vec m_prev = vec_load(part->m_prev[r] + u);
            vec m = vec_load(part->m_next[r] + u);
            vec dh = vec_load(part->dh[r] + u);
            vec dm = vec_load(part->dm[r] + u);

            vec dout;
            if (part->tanh_outside) {
                vec s = vec_mul(dh, tanh_slope(vec_load(part->h_next[r] + u)));
                dout = vec_mul(s, m);
                dm = vec_fma(s, o, dm);
            } else {
                vec y = vec_tanh(m);
                dout = vec_mul(dh, y);
                dm = vec_fma(vec_mul(dh, o), tanh_slope(y), dm);
            }
            vec dao = vec_mul(dout, sigmoid_slope(o));
            vec dai = vec_mul(vec_mul(dm, g), sigmoid_slope(i));
            vec daf = vec_mul(vec_mul(dm, m_prev), sigmoid_slope(f));
            vec dag = vec_mul(vec_mul(dm, i), tanh_slope(g));

            vec_store(da + GRID_I * Hp + u, vec_flush(dai));
            vec_store(da + GRID_F * Hp + u, vec_flush(daf));
            vec_store(da + GRID_G * Hp + u, vec_flush(dag));
            vec_store(da + GRID_O * Hp + u, vec_flush(dao));
            vec_store(part->dm[r] + u, vec_flush(vec_mul(dm, f)));
        }
    }
}

#endif
