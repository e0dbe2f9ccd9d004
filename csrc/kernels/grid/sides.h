/* Inputs at the near sides of a grid: packs of their weights, the borders made from
 * them, and their gradients.
 *
 *     h = W_h x + b_h          m = W_m x + b_m where there is memory
 *
 *     forward pack:   header | bias [S, Hp] | panels of h | of m
 *     backward pack:  header | panels of h, transposed | of m
 *
 * S = 2 states where there is memory, else 1. The bits are those of a linear layer
 * (contract N3): forward a chain over x that starts at the bias; back one from +0.0
 * over the rows of W, h before m; neither is flushed. h and m lie in different rows of
 * memory, so that each has panels of its own.
 *
 * The rows of a side are pairs (line, batch row) in storage order. Forward an item
 * makes those of its own batch rows; back the rows are split anew, in the phase of the
 * gradients of weights.
 * Twin: linear_forward, linear_backward in src/exactrnn/reference/dense.py.
 */
#ifndef XR_GRID_SIDES_H
#define XR_GRID_SIDES_H

#include "kernels/grid/run.h"

/* States along dimension k. */
static int grid_states(const struct xr_grid_block *block, int k)
{
    return block->memory[k] ? 2 : 1;
}

static struct grid_pack grid_side_layout(const struct xr_grid_block *block, int k,
                                         int backward)
{
    const int S = grid_states(block, k);
    const ptrdiff_t I = block->inputs[k], units = backward ? I : block->H;
    struct grid_pack pack = {.Hp = pad_units(block->H), .gates = S};
    pack.bias = GRID_HEADER_BYTES / (ptrdiff_t)sizeof(elem);
    pack.panels = (struct panels){
        .K = backward ? block->H : I,
        .vectors = ceil_div(units, VEC_LANES),
        .sums = 1,
    };
    const ptrdiff_t biases = backward ? 0 : S * pack.Hp;
    grid_place_slices(&pack, S, BACKWARD_VECTORS, pack.bias + biases);
    return pack;
}

static size_t grid_side_bytes(const struct xr_grid_block *block, int k, int backward)
{
    return (size_t)grid_side_layout(block, k, backward).end * sizeof(elem);
}

static void grid_pack_side(const struct xr_grid_block *block, int k, const void *w,
                           const void *b, void *packed, struct xr_stop *stop)
{
    struct xr_watch watch = xr_make_watch(stop, 1);
    const struct grid_pack at = grid_side_layout(block, k, 0);
    const ptrdiff_t H = block->H, I = block->inputs[k];
    elem *pack = packed;
    memset(packed, 0, GRID_HEADER_BYTES);
    memcpy(packed, &at, sizeof at);
    memset(pack + at.bias, 0, (size_t)(at.gates * at.Hp) * sizeof(elem));
    for (int s = 0; s < at.gates; s++) {
        const struct panels panels = grid_slice(&at, s);
        const struct matrix_part part = {
            .first = (const elem *)w + s * H * I,
            .step = I,
            .rows = H,
            .columns = I,
        };
        pack_units(pack, &panels, 0, 0, &part, &watch);
        if (b != NULL) {
            memcpy(pack + at.bias + s * at.Hp, (const elem *)b + s * H,
                   (size_t)H * sizeof(elem));
        }
    }
}

static void grid_pack_side_backward(const struct xr_grid_block *block, int k,
                                    const void *w, void *packed, struct xr_stop *stop)
{
    struct xr_watch watch = xr_make_watch(stop, 1);
    const struct grid_pack at = grid_side_layout(block, k, 1);
    const ptrdiff_t I = block->inputs[k];
    memset(packed, 0, GRID_HEADER_BYTES);
    memcpy(packed, &at, sizeof at);
    for (int s = 0; s < at.gates; s++) {
        const struct panels panels = grid_slice(&at, s);
        const struct matrix_part part = {
            .first = (const elem *)w + s * block->H * I,
            .step = I,
            .rows = block->H,
            .columns = I,
        };
        pack_columns(packed, &panels, 0, &part, &watch);
    }
}

/* Rows of a side for a product with each state's panels: what is read and what is
 * written, for each state where they differ. */
struct side_rows {
    ptrdiff_t rows;
    const elem *from[2][GRID_ROWS];
    elem *to[2][GRID_ROWS];
};

/* Multiplies with all panels of state s. */
static void grid_side_product(const struct product *product,
                              const struct side_rows *rows, int s,
                              struct xr_watch *watch)
{
    const struct panels *panels = product->panels;
    for (ptrdiff_t p = 0; p < panels->count; p++) {
        if (xr_leaves(watch, rows->rows * panel_work(panels))) {
            return;
        }
        product_panel(product, p, min_of(p + 1, panels->count - 1), rows->rows,
                      rows->from[s], rows->to[s]);
    }
}

/* Makes some rows of the near border of dimension k. */
static void grid_border_rows(const struct grid_lane *lane, int k,
                             const struct side_rows *rows)
{
    const struct xr_grid_block *block = lane->run->block;
    const struct grid_pack *pack = lane->run->problem->side[k].packed;
    const struct segment values = {0, block->inputs[k]};
    for (int s = 0; s < grid_states(block, k); s++) {
        const struct panels panels = grid_slice(pack, s);
        const struct product product = {
            .panels = &panels,
            .pack = (const elem *)pack,
            .operand = {.count = 1, .segment = &values},
            .start = (const elem *)pack + pack->bias + s * pack->Hp,
        };
        grid_side_product(&product, rows, s, lane->watch);
    }
}

/* Makes the near border of dimension k from its input, for this lane's rows; zeros on
 * lines that a row does not have. */
static void grid_make_border(const struct grid_lane *lane, int k)
{
    const struct grid_run *run = lane->run;
    const ptrdiff_t pairs = run->lines[k] * lane->batch_rows;
    const ptrdiff_t last = (lane->member + 1) * pairs / lane->members;
    const elem *x = run->problem->side[k].x;
    struct side_rows rows = {.rows = 0};
    for (ptrdiff_t i = lane->member * pairs / lane->members; i < last; i++) {
        const ptrdiff_t line = i / lane->batch_rows;
        const ptrdiff_t b = lane->group + i % lane->batch_rows * lane->groups;
        const ptrdiff_t r = rows.rows;
        rows.to[0][r] = grid_state_row(run, run->h[k], k, line, 0, b);
        if (grid_has_memory(run, k)) {
            rows.to[1][r] = grid_state_row(run, run->m[k], k, line, 0, b);
        }
        if (!grid_row_has_line(run, b, k, line)) {
            for (int s = 0; s < grid_states(run->block, k); s++) {
                memset(rows.to[s][r], 0, (size_t)run->Hp * sizeof(elem));
            }
            continue;
        }
        rows.from[0][r] = rows.from[1][r] =
            x + (line * run->B + b) * run->block->inputs[k];
        rows.rows++;
        if (rows.rows == GRID_ROWS) {
            grid_border_rows(lane, k, &rows);
            rows.rows = 0;
        }
    }
    if (rows.rows > 0) {
        grid_border_rows(lane, k, &rows);
    }
}

static int grid_has_sides(const struct grid_run *run)
{
    int any = 0;
    for (int k = 0; k < run->N; k++) {
        any |= run->problem->side[k].x != NULL;
    }
    return any;
}

/* Makes the near borders of all dimensions with input. */
static void grid_make_borders(const struct grid_lane *lane)
{
    for (int k = 0; k < lane->run->N; k++) {
        if (lane->run->problem->side[k].x != NULL) {
            grid_make_border(lane, k);
        }
    }
}

/* Returns the length of the longest padded row of dx. */
static ptrdiff_t grid_widest_input(const struct grid_run *run)
{
    ptrdiff_t widest = 0;
    for (int k = 0; k < run->N; k++) {
        if (run->problem->side[k].x != NULL) {
            widest = max_of(widest, pad_units(run->block->inputs[k]));
        }
    }
    return widest;
}

/* Writes dx of some rows of dimension k, padded. */
static void grid_input_rows(const struct grid_run *run, int k,
                            const struct side_rows *rows, struct xr_watch *watch)
{
    const struct grid_pack *pack = run->problem->side[k].packed_backward;
    const struct segment units = {0, run->H};
    for (int s = 0; s < grid_states(run->block, k); s++) {
        const struct panels panels = grid_slice(pack, s);
        const struct product product = {
            .panels = &panels,
            .pack = (const elem *)pack,
            .operand = {.count = 1, .segment = &units},
            .start = s == 0 ? run->zeros : NULL,
        };
        grid_side_product(&product, rows, s, watch);
    }
}

/* Writes dx of dimension k for the rows from bounds[0] on and before bounds[1], at most
 * GRID_ROWS of them. */
static void grid_input_block(const struct grid_run *run, int k,
                             const ptrdiff_t bounds[2], elem *buffer,
                             struct xr_watch *watch)
{
    const ptrdiff_t I = run->block->inputs[k];
    elem *dx = run->problem->side[k].dx;
    elem *target[GRID_ROWS];
    struct side_rows rows = {.rows = 0};
    for (ptrdiff_t row = bounds[0]; row < bounds[1]; row++) {
        if (!grid_row_has_line(run, row % run->B, k, row / run->B)) {
            memset(dx + row * I, 0, (size_t)I * sizeof(elem));
            continue;
        }
        const ptrdiff_t r = rows.rows++;
        target[r] = dx + row * I;
        rows.to[0][r] = rows.to[1][r] = buffer + r * pad_units(I);
        rows.from[0][r] = run->dh[k] + row * run->Hp;
        rows.from[1][r] = run->dm[k] ? run->dm[k] + row * run->Hp : NULL;
    }
    if (rows.rows > 0) {
        grid_input_rows(run, k, &rows, watch);
    }
    for (ptrdiff_t r = 0; r < rows.rows; r++) {
        memcpy(target[r], rows.to[0][r], (size_t)I * sizeof(elem));
    }
}

/* Does an item's share of the gradients of all inputs. */
static void grid_input_gradients(const struct grid_run *run, int item,
                                 struct xr_watch *watch)
{
    const int size = run->team;
    elem *buffer = run->thread_buffers + item * run->thread_buffer_size;
    for (int k = 0; k < run->N; k++) {
        if (run->problem->side[k].x == NULL) {
            continue;
        }
        const ptrdiff_t rows = run->lines[k] * run->B;
        const ptrdiff_t first = item * rows / size, last = (item + 1) * rows / size;
        for (ptrdiff_t row = first; row < last; row += GRID_ROWS) {
            if (xr_leaves(watch, 1)) {
                return;
            }
            const ptrdiff_t bounds[2] = {row, min_of(row + GRID_ROWS, last)};
            grid_input_block(run, k, bounds, buffer, watch);
        }
    }
}

#endif
