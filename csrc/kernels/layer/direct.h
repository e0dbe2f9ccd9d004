/* One time step straight from the caller's weights, which nobody has packed.
 *
 * Who owns weights elsewhere may write to them at any time, so that a pack of them is
 * worth only as much as a comparison of all bytes, which takes longer than a step of a
 * few rows. So here each panel of units is packed some columns at a time, into memory
 * that stays in the L1, multiplied there, and forgotten: weights are read once, and no
 * copy of them is kept. The chains are those of a pack, broken off at the last of the
 * columns and taken up again, so the bits are the same (contract N3).
 *
 * For cells whose step is one stage of products with W and R and then the point
 * function, without anything of single units: see `is_direct`.
 * Twin: as of any step, src/exactrnn/reference/sequence.py.
 */
#ifndef XR_DIRECT_H
#define XR_DIRECT_H

#include "kernels/layer/pack_forward.h"
#include "kernels/layer/sequence.h"

/* So many bytes of a panel, of so many vectors, are packed at a time. The fewer vectors
 * there are, the longer is what is read of each row of the matrix; with 12 as elsewhere
 * 16 rows of 512 units took 1.5 times as long. */
enum { DIRECT_BYTES = 24 * 1024, DIRECT_VECTORS = 6 };

/* A matrix of the caller's: its sums, by rising row block. */
struct direct_matrix {
    const elem *first;
    ptrdiff_t K, count;
    ptrdiff_t slot[XR_MAX_PRODUCTS], block[XR_MAX_PRODUCTS];
    const elem *const *left; /* [B] rows that it multiplies */
};

/* One call. Rows of states and sums are padded to Hp, as in every step. */
struct direct {
    const struct xr_step *step;
    const struct xr_cell *cell;
    struct direct_matrix matrix[2]; /* W, R */
    ptrdiff_t Hp, vectors, panels;
    int threads;
    elem *prev, *next; /* [states, B, Hp] */
    elem *sums;        /* [B, S, Hp] */
    elem *spaces;      /* [threads, DIRECT_BYTES] */
    elem **rows;       /* [1 + 2 * states, B]: sums, states before and after */
    const elem **x;    /* [B] */
};

static int is_direct(const struct xr_layer *layer)
{
    const struct xr_cell_info *info = &layer->info;
    return info->stages == 1 && info->cells == 1 && !info->heard && !info->links &&
           !info->vectors && !info->projects && !info->takes_lower &&
           layer->modules == 0 && xr_heads(layer) == 1 && layer->program == NULL;
}

static ptrdiff_t direct_work(const struct xr_step *step)
{
    const struct xr_layer *layer = step->layer;
    const struct xr_cell_info *info = &layer->info;
    const ptrdiff_t rows = max_of(info->w_blocks, info->r_blocks) * layer->H;
    return work_times(rows * (layer->I + layer->H), step->B + MOVE_WORK);
}

/* Places a call into an arena; without memory it only counts. */
static struct direct make_direct(const struct xr_step *step, const struct xr_cell *cell,
                                 struct arena *arena)
{
    const struct xr_layer *layer = step->layer;
    const ptrdiff_t states = layer->info.states, B = step->B;
    struct direct d = {.step = step,
                       .cell = cell,
                       .Hp = xr_padded_units(layer),
                       .vectors = ceil_div(layer->H, VEC_LANES)};
    d.threads =
        threads_for(direct_work(step), xr_thread_work.call, max_of(1, step->threads));
    d.prev = arena_take(arena, states * B * d.Hp, sizeof(elem));
    d.next = arena_take(arena, states * B * d.Hp, sizeof(elem));
    d.sums = arena_take(arena, B * layer->info.sums * d.Hp, sizeof(elem));
    d.spaces = arena_take(arena, d.threads, DIRECT_BYTES);
    d.rows = arena_take(arena, (1 + 2 * states) * B, sizeof(elem *));
    d.x = arena_take(arena, B, sizeof(elem *));
    return d;
}

static elem **direct_rows(const struct direct *d, ptrdiff_t which)
{
    return d->rows + which * d->step->B;
}

/* Says where all rows lie, and brings the states before the step there. */
static void place_direct_rows(struct direct *d)
{
    const struct xr_step *step = d->step;
    const struct xr_layer *layer = step->layer;
    const ptrdiff_t states = layer->info.states, B = step->B, H = layer->H;
    for (ptrdiff_t b = 0; b < B; b++) {
        d->x[b] = (const elem *)step->x + b * layer->I;
        direct_rows(d, 0)[b] = d->sums + b * layer->info.sums * d->Hp;
        for (ptrdiff_t k = 0; k < states; k++) {
            elem *prev = d->prev + (k * B + b) * d->Hp;
            const elem *state = step->state[k];
            memset(prev, 0, (size_t)d->Hp * sizeof(elem));
            if (state != NULL) {
                memcpy(prev, state + b * H, (size_t)H * sizeof(elem));
            }
            direct_rows(d, 1 + k)[b] = prev;
            direct_rows(d, 1 + states + k)[b] = d->next + (k * B + b) * d->Hp;
        }
    }
}

static void find_direct_matrices(struct direct *d)
{
    const struct xr_layer *layer = d->step->layer;
    const struct xr_cell_info *info = &layer->info;
    struct direct_matrix *w = &d->matrix[0], *r = &d->matrix[1];
    *w = (struct direct_matrix){
        .first = d->step->weights->w_ih, .K = layer->I, .left = d->x};
    w->count = find_inputs(info, w->slot);
    for (ptrdiff_t j = 0; j < w->count; j++) {
        w->block[j] = info->sum[w->slot[j]].w;
    }
    const struct recurrence recurrence = find_recurrence(info, 0);
    *r = (struct direct_matrix){.first = d->step->weights->w_hh,
                                .K = layer->H,
                                .count = recurrence.count,
                                .left = (const elem *const *)direct_rows(d, 1)};
    memcpy(r->slot, recurrence.sum, sizeof r->slot);
    memcpy(r->block, recurrence.block, sizeof r->block);
    const ptrdiff_t most = max_of(1, DIRECT_VECTORS / max_of(w->count, r->count));
    d->panels = ceil_div(d->vectors, most);
}

/* Starts the sums of some units, in all rows, at their biases. */
static void start_direct_sums(const struct direct *d, struct range units)
{
    const struct xr_layer *layer = d->step->layer;
    elem *const *sums = direct_rows(d, 0);
    const size_t bytes = (size_t)(units.end - units.begin) * sizeof(elem);
    const ptrdiff_t end = min_of(units.end, layer->H);
    for (int s = 0; s < layer->info.sums; s++) {
        const struct bias bias =
            find_bias(layer, d->step->weights, &layer->info.sum[s]);
        const ptrdiff_t at = s * d->Hp + units.begin;
        memset(sums[0] + at, 0, bytes);
        copy_bias(&bias, units.begin, end - units.begin, sums[0] + at);
        for (ptrdiff_t b = 1; b < d->step->B; b++) {
            memcpy(sums[b] + at, sums[0] + at, bytes);
        }
    }
}

/* Adds the product of a matrix to the sums of some units. */
static void add_direct(const struct direct *d, const struct direct_matrix *matrix,
                       struct range units, elem *space, struct xr_watch *watch)
{
    const ptrdiff_t H = d->step->layer->H;
    struct panels panels = {.unit = units.begin,
                            .vectors = (units.end - units.begin) / VEC_LANES,
                            .sums = matrix->count};
    memcpy(panels.slot, matrix->slot, sizeof panels.slot);
    const ptrdiff_t column =
        panels.vectors * panels.sums * VEC_LANES * (ptrdiff_t)sizeof(elem);
    panels.K = DIRECT_BYTES / column / VEC_LANES * VEC_LANES;
    place_panels(&panels, panels.vectors, d->Hp, 0);
    for (ptrdiff_t k = 0; k < matrix->K && !watch->leaving; k += panels.K) {
        const ptrdiff_t columns = min_of(matrix->K - k, panels.K);
        for (int j = 0; j < matrix->count; j++) {
            const ptrdiff_t row = matrix->block[j] * H + units.begin;
            const struct matrix_part part = {matrix->first + row * matrix->K + k,
                                             matrix->K, H - units.begin, columns};
            pack_units(space, &panels, j, 0, &part, watch);
        }
        const struct segment segment = {k, columns};
        const struct product product = {
            .panels = &panels, .pack = space, .operand = {1, &segment, 0}};
        product_panel(&product, 0, 0, d->step->B, matrix->left, direct_rows(d, 0));
    }
}

static void direct_panel(const struct direct *d, ptrdiff_t p, elem *space,
                         struct xr_watch *watch)
{
    const struct xr_layer *layer = d->step->layer;
    const struct range units = {p * d->vectors / d->panels * VEC_LANES,
                                (p + 1) * d->vectors / d->panels * VEC_LANES};
    start_direct_sums(d, units);
    for (int m = 0; m < 2; m++) {
        add_direct(d, &d->matrix[m], units, space, watch);
    }
    struct forward_step step = {.rows = d->step->B,
                                .begin = units.begin,
                                .end = units.end,
                                .Hp = d->Hp,
                                .sums = direct_rows(d, 0),
                                .layer = layer,
                                .info = &layer->info};
    for (int k = 0; k < layer->info.states; k++) {
        step.prev[k] = (const elem *const *)direct_rows(d, 1 + k);
        step.next[k] = direct_rows(d, 1 + layer->info.states + k);
    }
    d->cell->point_forward[0](&step);
}

static void direct_item(void *context, ptrdiff_t phase, int item,
                        struct xr_watch *watch)
{
    (void)phase;
    const struct direct *d = context;
    const ptrdiff_t size = DIRECT_BYTES / (ptrdiff_t)sizeof(elem);
    const ptrdiff_t begin = item * d->panels / d->threads;
    const ptrdiff_t end = (item + 1) * d->panels / d->threads;
    for (ptrdiff_t p = begin; p < end && !watch->leaving; p++) {
        direct_panel(d, p, d->spaces + item * size, watch);
    }
}

static size_t direct_bytes(const struct xr_step *step)
{
    struct arena arena = {0};
    make_direct(step, NULL, &arena);
    return arena.used;
}

static void run_direct(const struct xr_step *step, const struct xr_cell *cell)
{
    struct arena arena = {.memory = step->scratch};
    struct direct d = make_direct(step, cell, &arena);
    const ptrdiff_t states = step->layer->info.states, H = step->layer->H;
    place_direct_rows(&d);
    find_direct_matrices(&d);
    d.threads = xr_team_for(direct_work(step), d.threads);
    if (xr_run_phase(d.threads, direct_work(step), direct_item, &d, step->stop)) {
        return;
    }
    for (ptrdiff_t k = 0; k < states; k++) {
        for (ptrdiff_t b = 0; b < step->B; b++) {
            memcpy((elem *)step->state_out[k] + b * H,
                   direct_rows(&d, 1 + states + k)[b], (size_t)H * sizeof(elem));
        }
    }
}

#endif
