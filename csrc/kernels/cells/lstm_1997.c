/* Long short-term memory as it was first: S. Hochreiter, J. Schmidhuber, Neural
 * Computation 9(8):1735-1780, 1997. A unit is a memory block: some cells that share an
 * input gate and an output gate. The whole layer is connected, gates too: each sum sees
 * what all cells and all gates were in the step before.
 *
 *     a. = W. x + R. [h_prev, i_prev, o_prev] + b.
 *     i = σ(ai)    o = σ(ao)
 *     and for each cell k of the block
 *     g_k = 4 σ(ag_k) - 2 = 2 tanh(ag_k / 2)
 *     c_k = c_prev_k + i * g_k
 *     h_k = o * (2 σ(c_k) - 1) = o * tanh(c_k / 2)
 *
 * Both are computed in the form with tanh, which keeps small values exact to the last
 * bits where 2σ - 1 cancels.
 *
 * Gate order: i o g_0 g_1 …. States: all h, all c, i, o. The cache holds i o g in the
 * places of their sums, and the states.
 * Twin: src/exactrnn/reference/cells/lstm_1997.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/elementary.h"

enum { I, O, G };

/* The number of cells in a unit, and the numbers of the first c, of i and of o among
 * the states. */
struct places {
    int cells, c, i, o;
};

static struct places places_of(const struct xr_cell_info *info)
{
    const int cells = info->cells;
    return (struct places){cells, cells, 2 * cells, 2 * cells + 1};
}

static void lstm_1997_point_forward(const struct forward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    const struct places at = places_of(step->info);
    const vec half = vec_set((elem)0.5), two = vec_set((elem)2);
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec i = vec_sigmoid(vec_load(sums + I * Hp + u));
        vec o = vec_sigmoid(vec_load(sums + O * Hp + u));
        for (int k = 0; k < at.cells; k++) {
            elem *sum = sums + (G + k) * Hp + u;
            vec c_prev = vec_load(step->prev[at.c + k][b] + u);
            vec g = vec_mul(two, vec_tanh(vec_mul(half, vec_load(sum))));
            vec c = vec_flush(vec_fma(i, g, c_prev));
            vec h = vec_mul(o, vec_tanh(vec_mul(half, c)));
            vec_store(step->next[at.c + k][b] + u, c);
            vec_store(step->next[k][b] + u, vec_flush(h));
            if (step->keep) vec_store(sum, g);
        }
        vec_store(step->next[at.i][b] + u, vec_flush(i));
        vec_store(step->next[at.o][b] + u, vec_flush(o));
        if (step->keep) {
            vec_store(sums + I * Hp + u, i);
            vec_store(sums + O * Hp + u, o);
        }
    }
}

/* With y_k = tanh(c_k / 2); di and do start at what the next step sends back:
 *     do += dh_k * y_k                 dc_k += dh_k * o * (1 - y_k*y_k) / 2
 *     di += dc_k * g_k                 dag_k = dc_k * i * (1 - (g_k/2)^2)
 *     dai = di * i'    dao = do * o'   dc_prev_k = dc_k
 *     h_prev, i_prev, o_prev have no elementwise path
 */
static void lstm_1997_point_backward(const struct backward_step *step)
{
    const ptrdiff_t Hp = step->Hp;
    const struct places at = places_of(step->info);
    const vec half = vec_set((elem)0.5);
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec i = vec_load(sums + I * Hp + u);
        vec o = vec_load(sums + O * Hp + u);
        vec di = vec_load(step->dstate[at.i][b] + u);
        vec dO = vec_load(step->dstate[at.o][b] + u);
        for (int k = 0; k < at.cells; k++) {
            elem *dc_row = step->dstate[at.c + k][b] + u;
            vec g = vec_load(sums + (G + k) * Hp + u);
            vec c = vec_load(step->next[at.c + k][b] + u);
            vec y = vec_tanh(vec_mul(half, c));
            vec dh = vec_load(step->dstate[k][b] + u);
            vec slope = vec_mul(half, tanh_slope(y));
            vec dc = vec_fma(vec_mul(dh, o), slope, vec_load(dc_row));
            dO = vec_fma(dh, y, dO);
            di = vec_fma(dc, g, di);
            vec dag = vec_mul(vec_mul(dc, i), tanh_slope(vec_mul(half, g)));
            vec_store(da + (G + k) * Hp + u, vec_flush(dag));
            vec_store(dc_row, vec_flush(dc));
            vec_store(step->dstate[k][b] + u, vec_zero());
        }
        vec_store(da + I * Hp + u, vec_flush(vec_mul(di, sigmoid_slope(i))));
        vec_store(da + O * Hp + u, vec_flush(vec_mul(dO, sigmoid_slope(o))));
        vec_store(step->dstate[at.i][b] + u, vec_zero());
        vec_store(step->dstate[at.o][b] + u, vec_zero());
    }
}

static void lstm_1997_adapt(const struct xr_layer *layer, struct xr_cell_info *info)
{
    const int cells = layer->options.cells > 0 ? layer->options.cells : 1;
    info->cells = cells;
    info->states = 2 * cells + 2;
    info->sums = info->w_blocks = info->r_blocks = G + cells;
    for (int k = 0; k < cells; k++) {
        info->sum[G + k] = (struct xr_sum){.name = "g", .w = G + k, .r = G + k};
    }
}

extern const struct xr_cell XR_NAME(xr_cell_lstm_1997);
const struct xr_cell XR_NAME(xr_cell_lstm_1997) = {
    .info = {.name = "lstm_1997",
             .heard = 2,
             .stages = 1,
             .keeps_sums = 1,
             .sum = {[I] = {.name = "i", .w = I, .r = I},
                     [O] = {.name = "o", .w = O, .r = O}}},
    .adapt = lstm_1997_adapt,
    .point_forward = {lstm_1997_point_forward},
    .point_backward = {lstm_1997_point_backward},
};
