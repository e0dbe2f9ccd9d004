/* Connectionist temporal classification: A. Graves, S. Fernández, F. Gomez, J.
 * Schmidhuber, ICML 2006, the loss and its gradient at the logits. Twin:
 * src/exactrnn/reference/ctc.py.
 *
 * The labels l of a row are read with a blank before, between and behind them,
 *
 *     l' = blank l1 blank l2 ... blank           S = 2n + 1 places
 *
 * and y_t(s) is the log-probability of symbol l'(s) at time t. In logs, with
 * lse(a, b, c) = log(exp(a) + exp(b) + exp(c)) summed in that order:
 *
 *     α_t(s) = y_t(s) + lse(α_{t-1}(s), α_{t-1}(s-1), α_{t-1}(s-2) + skip(s))
 *     z_t(s) = y_t(s) + β_t(s)
 *     β_t(s) = lse(z_{t+1}(s), z_{t+1}(s+1), z_{t+1}(s+2) + skip(s+2))
 *     log p  = lse(α_T(S-1), α_T(S-2), -inf)     loss = 0 - log p
 *     γ_t(s) = exp((α_t(s) + β_t(s)) - log p)
 *     dlogits_t(k) = softmax_t(k) - sum of γ_t(s) over s ascending with l'(s) = k
 *
 * skip(s) is 0 where a path may leave out the blank before s, between two labels that
 * differ, else -inf. β has no y of its own time, so that α + β counts each y once.
 * Before the first step α is 0 in place 0; behind the last one β is 0 in the last two
 * places; everything else, and what lies outside the places, is -inf.
 *
 * Vectors run along the places, threads split rows, and each sum has its own order
 * (contract N3): a row has the bits that it has alone.
 */
#include "base/tables.h"

#include <string.h>

#include "base/parallel.h"
#include "kernels/math/softmax.h"

enum {
    MARGIN = 2, /* places before the first and behind the last, which are -inf */
    PLACE_WORK = 6 * EXP_WORK /* multiplications that a place of one time costs */
};

static const elem MINUS_INFINITY = -(elem)XR_INFINITY;

/* Scratch of one item; rows of places have `stride` elements and point to place 0. */
struct space {
    ptrdiff_t stride;
    elem *lanes;     /* [K][VEC_LANES] */
    elem *sums;      /* [K] */
    elem *skip;      /* a row */
    elem *beta, *z;  /* rows of one time */
    elem *gamma;     /* likewise */
    elem *y, *alpha; /* [T] and [T + 1] rows; α of time t is row t + 1 */
};

/* One row of the batch. */
struct row {
    const struct xr_ctc *p;
    ptrdiff_t b, T, places;
    const int64_t *labels;
    struct space space;
    struct xr_watch *watch;
};

static ptrdiff_t padded_places(const struct xr_ctc *p)
{
    return ceil_div(2 * p->L + 1, VEC_LANES) * VEC_LANES + 2 * MARGIN;
}

static ptrdiff_t space_size(const struct xr_ctc *p)
{
    return p->K * (VEC_LANES + 1) + (2 * p->T + 5) * padded_places(p);
}

static size_t ctc_scratch(const struct xr_ctc *p)
{
    return (size_t)(space_size(p) * p->threads) * sizeof(elem);
}

static struct space space_of(const struct xr_ctc *p, int item)
{
    const ptrdiff_t stride = padded_places(p);
    elem *const lanes = (elem *)p->scratch + item * space_size(p);
    elem *const sums = lanes + p->K * VEC_LANES;
    elem *const rows = sums + p->K + MARGIN;
    return (struct space){
        .stride = stride,
        .lanes = lanes,
        .sums = sums,
        .skip = rows,
        .beta = rows + stride,
        .z = rows + 2 * stride,
        .gamma = rows + 3 * stride,
        .y = rows + 4 * stride,
        .alpha = rows + (4 + p->T) * stride,
    };
}

static void clear_places(const struct space *space, elem *places)
{
    for (ptrdiff_t s = -MARGIN; s < space->stride - MARGIN; s++) {
        places[s] = MINUS_INFINITY;
    }
}

static ptrdiff_t symbol_at(const struct row *row, ptrdiff_t s)
{
    return s % 2 == 0 ? row->p->blank : (ptrdiff_t)row->labels[s / 2];
}

static void place_skips(const struct row *row)
{
    clear_places(&row->space, row->space.skip);
    for (ptrdiff_t s = 3; s < row->places; s += 2) {
        if (row->labels[s / 2] != row->labels[s / 2 - 1]) {
            row->space.skip[s] = 0;
        }
    }
}

static ptrdiff_t at_time(const struct row *row, ptrdiff_t t)
{
    return (t * row->p->B + row->b) * row->p->K;
}

/* Writes y of `count` times from t on and, where it is wanted, their softmax. */
static void emit(const struct row *row, ptrdiff_t t, ptrdiff_t count)
{
    const struct xr_ctc *p = row->p;
    const struct space *space = &row->space;
    const elem *logits = (const elem *)p->logits + at_time(row, t);
    elem offset[VEC_LANES];
    transpose_rows(space->lanes, logits, count, p->B * p->K, p->K);
    const vec s = softmax_lanes(space->lanes, p->K, offset);
    for (ptrdiff_t i = 0; i < count; i++) {
        const elem *own = logits + i * p->B * p->K;
        elem *y = space->y + (t + i) * space->stride;
        clear_places(space, y);
        for (ptrdiff_t place = 0; place < row->places; place++) {
            y[place] = own[symbol_at(row, place)] - offset[i];
        }
    }
    for (ptrdiff_t k = 0; p->dlogits && k < p->K; k++) {
        elem *e = space->lanes + k * VEC_LANES;
        vec_store(e, vec_div(vec_load(e), s));
        for (ptrdiff_t i = 0; i < count; i++) {
            ((elem *)p->dlogits)[at_time(row, t + i) + k] = e[i];
        }
    }
}

/* log(exp(a) + exp(b) + exp(c)); -inf of three that are -inf. */
XR_INLINE vec log_add(vec a, vec b, vec c)
{
    const vec most = vec_max(vec_max(a, b), c);
    const vmask is_none = vec_eq(most, vec_set(MINUS_INFINITY));
    const vec shift = vec_select(is_none, vec_zero(), most);
    const vec two = vec_add(vec_exp(vec_sub(a, shift)), vec_exp(vec_sub(b, shift)));
    const vec sum = vec_add(two, vec_exp(vec_sub(c, shift)));
    return vec_add(vec_log(sum), shift);
}

static void step_alpha(const struct row *row, ptrdiff_t t)
{
    const struct space *space = &row->space;
    const elem *before = space->alpha + t * space->stride;
    const elem *y = space->y + t * space->stride;
    elem *after = space->alpha + (t + 1) * space->stride;
    clear_places(space, after);
    for (ptrdiff_t s = 0; s < row->places; s += VEC_LANES) {
        const vec leap = vec_add(vec_load(before + s - 2), vec_load(space->skip + s));
        const vec sum = log_add(vec_load(before + s), vec_load(before + s - 1), leap);
        vec_store(after + s, vec_add(vec_load(y + s), sum));
    }
}

static elem log_probability(const struct row *row)
{
    const elem *last = row->space.alpha + row->T * row->space.stride + row->places;
    const vec none = vec_set(MINUS_INFINITY);
    elem result[VEC_LANES];
    vec_store(result, log_add(vec_set(last[-1]), vec_set(last[-2]), none));
    return result[0];
}

/* Takes β one time back, from t to t - 1, and leaves the posteriors of t in gamma. */
static void step_beta(const struct row *row, ptrdiff_t t, elem log_p)
{
    const struct space *space = &row->space;
    const elem *y = space->y + t * space->stride;
    const elem *alpha = space->alpha + (t + 1) * space->stride;
    elem *beta = space->beta, *z = space->z;
    for (ptrdiff_t s = 0; s < row->places; s += VEC_LANES) {
        const vec b = vec_load(beta + s);
        const vec both = vec_add(vec_load(alpha + s), b);
        vec_store(space->gamma + s, vec_exp(vec_sub(both, vec_set(log_p))));
        vec_store(z + s, vec_add(vec_load(y + s), b));
    }
    for (ptrdiff_t s = 0; s < row->places; s += VEC_LANES) {
        const vec leap = vec_add(vec_load(z + s + 2), vec_load(space->skip + s + 2));
        vec_store(beta + s, log_add(vec_load(z + s), vec_load(z + s + 1), leap));
    }
}

/* Takes the posteriors of time t from the softmax in dlogits. */
static void subtract_posteriors(const struct row *row, ptrdiff_t t)
{
    const struct xr_ctc *p = row->p;
    elem *sums = row->space.sums;
    elem *dlogits = (elem *)p->dlogits + at_time(row, t);
    memset(sums, 0, (size_t)p->K * sizeof(elem));
    for (ptrdiff_t s = 0; s < row->places; s++) {
        sums[symbol_at(row, s)] += row->space.gamma[s];
    }
    for (ptrdiff_t k = 0; k < p->K; k++) {
        dlogits[k] -= sums[k];
    }
}

static void clear_gradient(const struct row *row, ptrdiff_t t)
{
    elem *dlogits = (elem *)row->p->dlogits + at_time(row, t);
    memset(dlogits, 0, (size_t)row->p->K * sizeof(elem));
}

static void run_forward(const struct row *row)
{
    const struct space *space = &row->space;
    place_skips(row);
    clear_places(space, space->alpha);
    space->alpha[0] = 0;
    for (ptrdiff_t t = 0; t < row->T; t++) {
        const ptrdiff_t emitted = row->p->K * EXP_WORK + row->places * PLACE_WORK;
        if (xr_leaves(row->watch, emitted)) {
            return;
        }
        if (t % VEC_LANES == 0) {
            emit(row, t, min_of(VEC_LANES, row->T - t));
        }
        step_alpha(row, t);
    }
}

static void run_backward(const struct row *row, elem log_p)
{
    const struct space *space = &row->space;
    clear_places(space, space->beta);
    clear_places(space, space->z);
    for (ptrdiff_t s = max_of(row->places - 2, 0); s < row->places; s++) {
        space->beta[s] = 0;
    }
    for (ptrdiff_t t = row->T - 1; t >= 0; t--) {
        if (xr_leaves(row->watch, row->places * PLACE_WORK)) {
            return;
        }
        step_beta(row, t, log_p);
        subtract_posteriors(row, t);
    }
}

static void run_row(const struct row *row)
{
    const struct xr_ctc *p = row->p;
    run_forward(row);
    if (row->watch->leaving) {
        return;
    }
    const elem log_p = log_probability(row);
    const int is_spelled = log_p != MINUS_INFINITY;
    ((elem *)p->loss)[row->b] = 0 - log_p;
    if (p->dlogits && is_spelled) {
        run_backward(row, log_p);
    }
    for (ptrdiff_t t = is_spelled ? row->T : 0; p->dlogits && t < p->T; t++) {
        clear_gradient(row, t);
    }
}

static void ctc_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    const struct xr_ctc *p = context;
    (void)phase;
    for (ptrdiff_t b = item; b < p->B && !watch->leaving; b += p->threads) {
        const struct row row = {
            .p = p,
            .b = b,
            .T = (ptrdiff_t)p->lengths[b],
            .places = 2 * (ptrdiff_t)p->label_lengths[b] + 1,
            .labels = p->labels + b * p->L,
            .space = space_of(p, item),
            .watch = watch,
        };
        run_row(&row);
    }
}

static void ctc_loss(const struct xr_ctc *p)
{
    struct xr_ctc problem = *p;
    const ptrdiff_t places = 2 * p->L + 1;
    const ptrdiff_t row =
        work_plus(work_times(p->K, EXP_WORK), work_times(places, PLACE_WORK));
    const ptrdiff_t work = work_times(p->T * p->B, row);
    problem.threads = xr_team_for(work, (int)max_of(1, min_of(p->threads, p->B)));
    xr_run_phase(problem.threads, work, ctc_body, &problem, p->stop);
}

extern const struct xr_ctc_kernels XR_NAME(xr_ctc);

const struct xr_ctc_kernels XR_NAME(xr_ctc) = {
    .scratch = ctc_scratch,
    .loss = ctc_loss,
};
