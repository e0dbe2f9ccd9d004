/* Linear layers, softmax cross-entropy, the gradient of an embedding, long sums: the
 * parts of training that are not a cell. Twin: src/exactrnn/reference/dense.py.
 *
 * Vectors run along independent outputs, threads split outputs, every output has one
 * accumulator (contract N3). A sum of bare values is a chain with w = 1, and
 * fma(a, 1, s) is a + s. Padded lanes compute what nobody reads.
 *
 * The linear layer's three products are one tile with different strides:
 *
 *   forward     y[n,o]  = b[o] + sum over k of x[n,k]  * w[o,k]     panel of w^T
 *   backward    dx[n,k] =        sum over o of dy[n,o] * w[o,k]     panel of w
 *               dw[o,k] =   long sum over n of dy[n,o] * x[n,k]     panel of x
 *
 * A panel holds TILE_WIDTH columns of the right factor, [k][TILE_WIDTH], zero-padded,
 * copied to each item's scratch: it stays in L1 while all rows pass, and strides that
 * are powers of two do no harm there. 6 rows by 2 vectors are 12 accumulators: enough
 * to hide the latency of fma, few enough for the 16 registers of AVX2. (The cells'
 * product, products.h, has rows by pointer and whole vectors; this one has strides and
 * edges.)
 *
 * Over 400 lines because the four share the tile, the row sums, the transposition and
 * one descriptor.
 */
#include "base/tables.h"

#include "base/parallel.h"
#include "kernels/math/chunk.h"
#include "kernels/math/softmax.h"

enum { TILE_ROWS = 6, TILE_WIDTH = 2 * VEC_LANES, ROWS_PER_LOOK = 16 * TILE_ROWS };

/* Returns where part `item` of `size` of n things begins, if they stay in whole
 * grains. */
static ptrdiff_t part_begin(ptrdiff_t n, ptrdiff_t grain, int item, int size)
{
    return min_of(n, ceil_div(n, grain) * item / size * grain);
}

/* The left factor a[r, k], the panel of the right one, where sums start and end. */
struct tile {
    const elem *a;
    ptrdiff_t a_row, a_k;
    const elem *panel; /* [K][TILE_WIDTH] */
    ptrdiff_t K;
    elem init[TILE_WIDTH];
    elem *out;
    ptrdiff_t out_row, width; /* width <= TILE_WIDTH columns are written */
    int add;                  /* out = out + sum instead of out = sum */
};

static void tile_store(const struct tile *tile, elem *out, vec sum, ptrdiff_t n)
{
    if (n >= VEC_LANES) {
        vec_store(out, tile->add ? vec_add(vec_load(out), sum) : sum);
    } else if (n > 0) {
        vec total = tile->add ? vec_add(vec_load_part(out, n), sum) : sum;
        vec_store_part(out, n, total);
    }
}

XR_INLINE void tile_rows(const struct tile *tile, ptrdiff_t first, const int rows)
{
    vec sum[TILE_ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = vec_load(tile->init);
        sum[r][1] = vec_load(tile->init + VEC_LANES);
    }
    const elem *a = tile->a + first * tile->a_row;
    const elem *panel = tile->panel;
    for (ptrdiff_t k = 0; k < tile->K; k++) {
        vec left = vec_load(panel);
        vec right = vec_load(panel + VEC_LANES);
        for (int r = 0; r < rows; r++) {
            vec factor = vec_set(a[r * tile->a_row]);
            sum[r][0] = vec_fma(factor, left, sum[r][0]);
            sum[r][1] = vec_fma(factor, right, sum[r][1]);
        }
        a += tile->a_k;
        panel += TILE_WIDTH;
    }
    elem *out = tile->out + first * tile->out_row;
    for (int r = 0; r < rows; r++) {
        tile_store(tile, out + r * tile->out_row, sum[r][0], tile->width);
        tile_store(tile, out + r * tile->out_row + VEC_LANES, sum[r][1],
                   tile->width - VEC_LANES);
    }
}

/* Takes rows begin..end of one panel's columns. Their number is a constant in each
 * case, so that the case unrolls. */
static void tile_part(const struct tile *tile, ptrdiff_t begin, ptrdiff_t end)
{
    ptrdiff_t r = begin;
    for (; r + TILE_ROWS <= end; r += TILE_ROWS) {
        tile_rows(tile, r, TILE_ROWS);
    }
    for (; r + 2 <= end; r += 2) {
        tile_rows(tile, r, 2);
    }
    if (r < end) {
        tile_rows(tile, r, 1);
    }
}

/* Does the same for any number of rows, or for none of a panel that was filled. Returns
 * whether the call is to end. */
static int tile_column(const struct tile *tile, ptrdiff_t begin, ptrdiff_t end,
                       struct xr_watch *watch)
{
    if (xr_leaves(watch, tile->K * TILE_WIDTH)) { /* of the panel */
        return 1;
    }
    for (ptrdiff_t r = begin; r < end; r += ROWS_PER_LOOK) {
        const ptrdiff_t last = min_of(r + ROWS_PER_LOOK, end);
        if (xr_leaves(watch, (last - r) * tile->K * TILE_WIDTH)) {
            return 1;
        }
        tile_part(tile, r, last);
    }
    return 0;
}

/* panel[k, j] = source[k * k_step + j * j_step] for j < width, else 0. */
static void fill_panel(elem *panel, const elem *source, ptrdiff_t K, ptrdiff_t k_step,
                       ptrdiff_t j_step, ptrdiff_t width)
{
    for (ptrdiff_t k = 0; k < K; k++) {
        for (ptrdiff_t j = 0; j < width; j++) {
            panel[k * TILE_WIDTH + j] = source[k * k_step + j * j_step];
        }
        for (ptrdiff_t j = width; j < TILE_WIDTH; j++) {
            panel[k * TILE_WIDTH + j] = 0;
        }
    }
}

static ptrdiff_t panel_size(const struct xr_linear *p)
{
    return max_of(max_of(p->K, p->O), CHUNK) * TILE_WIDTH;
}

static size_t linear_scratch(const struct xr_linear *p)
{
    return (size_t)panel_size(p) * (size_t)p->threads * sizeof(elem);
}

static elem *own_panel(const struct xr_linear *p, int item)
{
    return (elem *)p->scratch + panel_size(p) * item;
}

static void linear_forward_body(void *context, ptrdiff_t phase, int item,
                                struct xr_watch *watch)
{
    const struct xr_linear *p = context;
    (void)phase;
    const int size = p->threads;
    ptrdiff_t begin = part_begin(p->N, TILE_ROWS, item, size);
    ptrdiff_t end = part_begin(p->N, TILE_ROWS, item + 1, size);
    elem *panel = own_panel(p, item);
    struct tile tile = {.a = p->x, .a_row = p->K, .a_k = 1, .panel = panel, .K = p->K};
    tile.out_row = p->O;
    for (ptrdiff_t o = 0; o < p->O; o += TILE_WIDTH) {
        tile.width = min_of(TILE_WIDTH, p->O - o);
        tile.out = (elem *)p->y + o;
        for (ptrdiff_t j = 0; j < tile.width; j++) {
            tile.init[j] = p->b ? ((const elem *)p->b)[o + j] : 0;
        }
        fill_panel(panel, (const elem *)p->w + o * p->K, p->K, 1, p->K, tile.width);
        if (tile_column(&tile, begin, end, watch)) {
            return;
        }
    }
}

static void linear_forward(const struct xr_linear *p)
{
    struct xr_linear problem = *p;
    const ptrdiff_t work = work_times(p->N * p->K, p->O);
    problem.threads = xr_team_for(work, p->threads);
    xr_run_phase(problem.threads, work, linear_forward_body, &problem, p->stop);
}

static void linear_input_gradient(const struct xr_linear *p, int item, int size,
                                  struct xr_watch *watch)
{
    ptrdiff_t begin = part_begin(p->N, TILE_ROWS, item, size);
    ptrdiff_t end = part_begin(p->N, TILE_ROWS, item + 1, size);
    elem *panel = own_panel(p, item);
    struct tile tile = {.a = p->dy, .a_row = p->O, .a_k = 1, .panel = panel, .K = p->O};
    tile.out_row = p->K;
    for (ptrdiff_t k = 0; k < p->K; k += TILE_WIDTH) {
        tile.width = min_of(TILE_WIDTH, p->K - k);
        tile.out = (elem *)p->dx + k;
        fill_panel(panel, (const elem *)p->w + k, p->O, p->K, 1, tile.width);
        if (tile_column(&tile, begin, end, watch)) {
            return;
        }
    }
}

static void linear_weight_gradient(const struct xr_linear *p, ptrdiff_t begin,
                                   ptrdiff_t end, elem *panel, struct xr_watch *watch)
{
    struct tile tile = {.a_row = 1, .a_k = p->O, .panel = panel, .add = 1};
    tile.out_row = p->K;
    for (ptrdiff_t k = 0; k < p->K; k += TILE_WIDTH) {
        tile.width = min_of(TILE_WIDTH, p->K - k);
        tile.out = (elem *)p->dw + k;
        for (ptrdiff_t n = 0; n < p->N; n += CHUNK) {
            tile.K = min_of(CHUNK, p->N - n);
            tile.a = (const elem *)p->dy + n * p->O;
            fill_panel(panel, (const elem *)p->x + n * p->K + k, tile.K, p->K, 1,
                       tile.width);
            if (tile_column(&tile, begin, end, watch)) {
                return;
            }
        }
    }
}

/* total[j] += long sum over the rows that `row` names, or all, of column j of dy. */
static void sum_rows(elem *total, const elem *dy, ptrdiff_t dy_row, const int64_t *row,
                     ptrdiff_t count, ptrdiff_t columns, struct xr_watch *watch)
{
    for (ptrdiff_t j = 0; j < columns; j += VEC_LANES) {
        ptrdiff_t lanes = min_of(VEC_LANES, columns - j);
        vec sum = vec_load_part(total + j, lanes);
        for (ptrdiff_t first = 0; first < count; first += CHUNK) {
            ptrdiff_t end = min_of(first + CHUNK, count);
            if (first > 0 && xr_leaves(watch, CHUNK * VEC_LANES)) {
                return;
            }
            vec part = vec_zero();
            for (ptrdiff_t i = first; i < end; i++) {
                const elem *term = dy + (row ? row[i] : i) * dy_row + j;
                part = vec_add(part, vec_load_part(term, lanes));
            }
            sum = vec_add(sum, part);
        }
        vec_store_part(total + j, lanes, sum);
    }
}

static void linear_backward_body(void *context, ptrdiff_t phase, int item,
                                 struct xr_watch *watch)
{
    const struct xr_linear *p = context;
    (void)phase;
    const int size = p->threads;
    ptrdiff_t begin = part_begin(p->O, TILE_ROWS, item, size);
    ptrdiff_t end = part_begin(p->O, TILE_ROWS, item + 1, size);
    if (p->dx) {
        linear_input_gradient(p, item, size, watch);
    }
    linear_weight_gradient(p, begin, end, own_panel(p, item), watch);
    if (p->db && begin < end) {
        const elem *dy = (const elem *)p->dy + begin;
        sum_rows((elem *)p->db + begin, dy, p->O, NULL, p->N, end - begin, watch);
    }
}

static void linear_backward(const struct xr_linear *p)
{
    struct xr_linear problem = *p;
    const ptrdiff_t work = work_times(p->N * p->K, p->O);
    problem.threads = xr_team_for(work, p->threads);
    xr_run_phase(problem.threads, work, linear_backward_body, &problem, p->stop);
}

/* Softmax works on VEC_LANES rows at once, transposed to [V][VEC_LANES] in the item's
 * scratch, so that the sums over v run down the lanes. */
static size_t softmax_scratch(const struct xr_softmax *p)
{
    return (size_t)(p->V * VEC_LANES * p->threads) * sizeof(elem);
}

static void softmax_gradient(const struct xr_softmax *p, elem *lanes, ptrdiff_t first,
                             ptrdiff_t count, vec s)
{
    for (ptrdiff_t v = 0; v < p->V; v++) {
        elem *e = lanes + v * VEC_LANES;
        vec_store(e, vec_div(vec_load(e), s));
    }
    const elem scale = (elem)p->scale;
    for (ptrdiff_t r = 0; r < count; r++) {
        elem *row = (elem *)p->dlogits + (first + r) * p->V;
        int64_t target = p->target[first + r];
        for (ptrdiff_t v = 0; v < p->V; v++) {
            row[v] = target < 0 ? 0 : lanes[v * VEC_LANES + r] * scale;
        }
        if (target >= 0) {
            row[target] = (lanes[target * VEC_LANES + r] - 1) * scale;
        }
    }
}

static void softmax_body(void *context, ptrdiff_t phase, int item,
                         struct xr_watch *watch)
{
    const struct xr_softmax *p = context;
    (void)phase;
    const int size = p->threads;
    ptrdiff_t end = part_begin(p->N, VEC_LANES, item + 1, size);
    elem *lanes = (elem *)p->scratch + p->V * VEC_LANES * item;
    ptrdiff_t n = part_begin(p->N, VEC_LANES, item, size);
    for (; n < end; n += VEC_LANES) {
        elem offset[VEC_LANES];
        ptrdiff_t count = min_of(VEC_LANES, end - n);
        const elem *logits = (const elem *)p->logits + n * p->V;
        if (xr_leaves(watch, p->V * VEC_LANES * EXP_WORK)) {
            return;
        }
        transpose_rows(lanes, logits, count, p->V, p->V);
        vec s = softmax_lanes(lanes, p->V, offset);
        for (ptrdiff_t r = 0; r < count; r++) {
            int64_t target = p->target[n + r];
            elem own = target < 0 ? 0 : logits[r * p->V + target];
            ((elem *)p->loss)[n + r] = target < 0 ? 0 : offset[r] - own;
        }
        if (p->dlogits) {
            softmax_gradient(p, lanes, n, count, s);
        }
    }
}

static void softmax(const struct xr_softmax *p)
{
    struct xr_softmax problem = *p;
    const ptrdiff_t work = work_times(p->N * p->V, EXP_WORK);
    problem.threads = xr_team_for(work, p->threads);
    xr_run_phase(problem.threads, work, softmax_body, &problem, p->stop);
}

/* Rows of dy are sorted by symbol, stably: the rows of v stand in `order` from start[v]
 * on and before start[v+1]. */
static size_t embedding_scratch(const struct xr_embedding *p)
{
    return (size_t)(p->V + 2 + p->N) * sizeof(int64_t);
}

enum { SORTED_PER_LOOK = 1024, SORT_WORK = 16 * SORTED_PER_LOOK };

static int sort_leaves(struct xr_watch *watch, ptrdiff_t n)
{
    return n % SORTED_PER_LOOK == 0 && xr_leaves(watch, SORT_WORK);
}

static void sort_by_symbol(const struct xr_embedding *p, struct xr_watch *watch)
{
    int64_t *start = p->scratch; /* [V + 2]; one ahead while the order is filled */
    int64_t *order = start + p->V + 2;
    for (ptrdiff_t v = 0; v < p->V + 2; v++) {
        start[v] = 0;
    }
    for (ptrdiff_t n = 0; n < p->N && !sort_leaves(watch, n); n++) {
        start[p->index[n] + 2]++;
    }
    for (ptrdiff_t v = 1; v < p->V + 2; v++) {
        start[v] += start[v - 1];
    }
    for (ptrdiff_t n = 0; n < p->N && !sort_leaves(watch, n); n++) {
        order[start[p->index[n] + 1]++] = n;
    }
}

/* An item has the symbols whose first row falls into its share of the rows. */
static void embedding_body(void *context, ptrdiff_t phase, int item,
                           struct xr_watch *watch)
{
    const struct xr_embedding *p = context;
    (void)phase;
    const int size = p->threads;
    const int64_t *start = p->scratch;
    const int64_t *order = start + p->V + 2;
    int64_t begin = p->N * item / size, end = p->N * (item + 1) / size;
    for (ptrdiff_t v = 0; v < p->V; v++) {
        ptrdiff_t count = (ptrdiff_t)(start[v + 1] - start[v]);
        if (count > 0 && begin <= start[v] && start[v] < end) {
            elem *row = (elem *)p->dw + v * p->E;
            if (xr_leaves(watch, min_of(count, CHUNK) * p->E)) {
                return;
            }
            sum_rows(row, p->dy, p->E, order + start[v], count, p->E, watch);
        }
    }
}

static void embedding_backward(const struct xr_embedding *p)
{
    struct xr_embedding problem = *p;
    struct xr_watch watch = xr_make_watch(p->stop, 1);
    sort_by_symbol(p, &watch);
    const ptrdiff_t work = p->N * p->E;
    problem.threads = xr_team_for(work, p->threads);
    if (!watch.leaving) {
        xr_run_phase(problem.threads, work, embedding_body, &problem, p->stop);
    }
}

struct sum_job {
    const elem *x;
    ptrdiff_t n;
    int squares;
    elem total;
};

/* The chains of `count` chunks of `length` terms each, side by side in the lanes, added
 * to the total in their order. */
static void sum_chunks(struct sum_job *job, const elem *x, ptrdiff_t count,
                       ptrdiff_t length)
{
    elem lanes[CHUNK * VEC_LANES], part[VEC_LANES];
    transpose_rows(lanes, x, count, CHUNK, length);
    vec sum = vec_zero();
    for (ptrdiff_t k = 0; k < length; k++) {
        vec term = vec_load(lanes + k * VEC_LANES);
        sum = job->squares ? vec_fma(term, term, sum) : vec_add(sum, term);
    }
    vec_store(part, sum);
    for (ptrdiff_t r = 0; r < count; r++) {
        job->total += part[r];
    }
}

static void long_sum_body(void *context, ptrdiff_t phase, int item,
                          struct xr_watch *watch)
{
    struct sum_job *job = context;
    (void)phase, (void)item;
    ptrdiff_t k = 0;
    while (job->n - k >= CHUNK) {
        if (xr_leaves(watch, CHUNK * VEC_LANES)) {
            return;
        }
        ptrdiff_t count = min_of(VEC_LANES, (job->n - k) / CHUNK);
        sum_chunks(job, job->x + k, count, CHUNK);
        k += count * CHUNK;
    }
    if (k < job->n) {
        sum_chunks(job, job->x + k, 1, job->n - k);
    }
}

static void long_sum(const void *x, ptrdiff_t n, int squares, void *total,
                     struct xr_stop *stop)
{
    struct sum_job job = {.x = x, .n = n, .squares = squares, .total = *(elem *)total};
    xr_run_phase(1, n, long_sum_body, &job, stop);
    *(elem *)total = job.total;
}

extern const struct xr_dense XR_NAME(xr_dense);

const struct xr_dense XR_NAME(xr_dense) = {
    .linear_scratch = linear_scratch,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .softmax_scratch = softmax_scratch,
    .softmax = softmax,
    .embedding_scratch = embedding_scratch,
    .embedding_backward = embedding_backward,
    .long_sum = long_sum,
};
