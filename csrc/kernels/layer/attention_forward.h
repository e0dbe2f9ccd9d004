/* Looking at a memory, forward: the keys of a lane's rows once, then a look in each
 * step, whose context goes where the caller has said, as a part of the step's input or
 * beside its output. Twin: look in src/exactrnn/reference/attention.py.
 */
#ifndef XR_ATTENTION_FORWARD_H
#define XR_ATTENTION_FORWARD_H

#include "kernels/layer/attention.h"

/* Memory of an item for one look at a time, and for the products before it. */
struct look_space {
    elem *scores; /* [Sp] */
    elem *sums;   /* [Mp] */
    elem *u;      /* [LOOKS_AT_ONCE, Qp] */
    elem *keys;   /* [KEYS_AT_ONCE, Kp] */
};

static ptrdiff_t look_space_size(const struct xr_attention *attention)
{
    const struct xr_attention_form *form = &attention->form;
    return pad_units(attention->S) + pad_units(form->M) +
           LOOKS_AT_ONCE * pad_units(form->Q) + KEYS_AT_ONCE * pad_units(form->K);
}

static struct look_space look_space_of(const struct lane *lane)
{
    const struct xr_attention *attention = lane->run->attention;
    struct look_space space = {.scores = lane->look_space};
    space.sums = space.scores + pad_units(attention->S);
    space.u = space.sums + pad_units(attention->form.M);
    space.keys = space.u + LOOKS_AT_ONCE * pad_units(attention->form.Q);
    return space;
}

/* Writes the keys of places `first` to `first + count - 1` of row b, each `step` behind
 * the other, in whole vectors. Returns whether the call is to end. */
static int make_keys(const struct lane *lane, ptrdiff_t b, ptrdiff_t first,
                     ptrdiff_t count, elem *keys, ptrdiff_t step)
{
    const struct xr_attention *attention = lane->run->attention;
    const struct attention_pack *pack = attention->packed;
    const elem *rows[KEYS_AT_ONCE];
    elem *to[KEYS_AT_ONCE];
    for (ptrdiff_t i = 0; i < count; i++) {
        rows[i] = sequence_row(&attention->memory, first + i, b);
        to[i] = keys + i * step;
    }
    if (attention->form.score != XR_DOT) {
        const elem *bias = packed_row(lane->run, pack->memory_bias);
        return attention_product(lane, &pack->memory, bias, count, rows, to);
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        memcpy(to[i], rows[i], (size_t)attention->form.M * sizeof(elem));
    }
    return 0;
}

/* Makes the keys of row b, transposed. Returns whether the call is to end. */
static int make_row_keys(const struct lane *lane, ptrdiff_t b)
{
    const struct xr_attention *attention = lane->run->attention;
    const struct look_space space = look_space_of(lane);
    const ptrdiff_t K = attention->form.K, Kp = pad_units(K);
    const ptrdiff_t Sp = pad_units(attention->S);
    const ptrdiff_t length = memory_length(lane->run, b);
    elem *keys = keys_of(attention, b);
    memset(keys, 0, (size_t)(K * Sp) * sizeof(elem));
    for (ptrdiff_t s = 0; s < length; s += KEYS_AT_ONCE) {
        const ptrdiff_t count = min_of(KEYS_AT_ONCE, length - s);
        if (xr_leaves(lane->watch, count * K * MOVE_WORK) ||
            make_keys(lane, b, s, count, space.keys, Kp)) {
            return 1;
        }
        for (ptrdiff_t k = 0; k < K; k++) {
            for (ptrdiff_t i = 0; i < count; i++) {
                keys[k * Sp + s + i] = space.keys[i * Kp + k];
            }
        }
    }
    return 0;
}

/* Returns whether a lane takes the looks of its rows: of those that share their units
 * the first one does. */
static int has_looks(const struct lane *lane)
{
    return lane->run->attention != NULL && lane->panels[H_UNITS].begin == 0;
}

/* Makes the keys of all rows of a lane, unless there are some. */
static void begin_looks(const struct lane *lane)
{
    if (!has_looks(lane) || lane->run->attention->has_keys) {
        return;
    }
    for (ptrdiff_t i = 0; i < lane->rows; i++) {
        if (make_row_keys(lane, row_of(lane, i))) {
            return;
        }
    }
}

/* Writes n vectors of the chains over k of v[k] * tanh(keys[k] + u[k]). */
XR_INLINE void additive_vectors(elem *scores, const struct factored_rows *keys,
                                const elem *u, const int n)
{
    vec s[4];
    const elem *key = keys->first;
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        s[j] = vec_zero();
    }
    for (ptrdiff_t k = 0; k < keys->count; k++, key += keys->step) {
        const vec own = vec_set(u[k]), v = vec_set(keys->factor[k]);
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            const vec z = vec_tanh(vec_add(vec_load(key + j * VEC_LANES), own));
            s[j] = vec_fma(z, v, s[j]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        vec_store(scores + j * VEC_LANES, s[j]);
    }
}

static void additive_scores(elem *scores, struct factored_rows keys, const elem *u,
                            ptrdiff_t width)
{
    ptrdiff_t at = 0;
    for (; at + 4 * VEC_LANES <= width; at += 4 * VEC_LANES) {
        additive_vectors(scores + at, &keys, u, 4);
        keys.first += 4 * VEC_LANES;
    }
    for (; at + 2 * VEC_LANES <= width; at += 2 * VEC_LANES) {
        additive_vectors(scores + at, &keys, u, 2);
        keys.first += 2 * VEC_LANES;
    }
    for (; at < width; at += VEC_LANES) {
        additive_vectors(scores + at, &keys, u, 1);
        keys.first += VEC_LANES;
    }
}

/* Turns the scores of `length` places into their softmax, in whole vectors; zeros
 * follow up to `width`. */
static void softmax_places(elem *scores, ptrdiff_t length, ptrdiff_t width)
{
    elem most = -(elem)XR_INFINITY, total = 0;
    for (ptrdiff_t s = 0; s < length; s++) {
        most = scores[s] > most ? scores[s] : most;
    }
    for (ptrdiff_t s = 0; s < length; s += VEC_LANES) {
        vec_store(scores + s, vec_exp(vec_sub(vec_load(scores + s), vec_set(most))));
    }
    for (ptrdiff_t s = 0; s < length; s++) {
        total += scores[s];
    }
    for (ptrdiff_t s = 0; s < length; s += VEC_LANES) {
        vec_store(scores + s, vec_flush(vec_div(vec_load(scores + s), vec_set(total))));
    }
    for (ptrdiff_t s = length; s < width; s++) {
        scores[s] = 0;
    }
}

/* Multiplies the context with the selector β, which takes the place of its sum. */
static void select_context(elem *context, const elem *sums, elem *beta, ptrdiff_t width)
{
    elem selected[VEC_LANES];
    vec_store(selected, vec_sigmoid(vec_set(*beta)));
    *beta = selected[0];
    for (ptrdiff_t m = 0; m < width; m++) {
        context[m] = *beta * sums[m];
    }
}

/* Takes the look of row b at time t, with the query h and its sums u. */
static void take_look(const struct lane *lane, ptrdiff_t t, ptrdiff_t b, const elem *h,
                      elem *u)
{
    const struct xr_attention *attention = lane->run->attention;
    const struct xr_attention_form *form = &attention->form;
    const struct attention_pack *pack = attention->packed;
    const struct look_space space = look_space_of(lane);
    const ptrdiff_t length = memory_length(lane->run, b), S = attention->S;
    const ptrdiff_t width = ceil_div(length, VEC_LANES) * VEC_LANES;
    const int is_additive = form->score == XR_ADDITIVE;
    const struct factored_rows keys = {
        .first = keys_of(attention, b),
        .step = pad_units(S),
        .count = form->K,
        .factor = is_additive ? packed_row(lane->run, pack->score) : h,
    };
    if (is_additive) {
        additive_scores(space.scores, keys, u, width);
    } else {
        sum_rows(space.scores, &keys, width);
    }
    softmax_places(space.scores, length, pad_units(S));
    const ptrdiff_t row = t * lane->run->B + b;
    memcpy((elem *)attention->alpha + row * S, space.scores, (size_t)S * sizeof(elem));
    const struct factored_rows places = {
        .first = sequence_row(&attention->memory, 0, b),
        .step = attention->memory.step,
        .count = length,
        .factor = space.scores,
    };
    sum_rows(space.sums, &places, form->M);
    const size_t bytes = (size_t)form->M * sizeof(elem);
    elem *context = sequence_row(&attention->context, t, b);
    if (form->selector) {
        select_context(context, space.sums, u + form->Q - 1, form->M);
    } else {
        memcpy(context, space.sums, bytes);
    }
    if (attention->sums != NULL) {
        memcpy((elem *)attention->sums + row * form->M, space.sums, bytes);
    }
}

/* Takes the looks of the rows of a lane that are alive at step s. */
static void take_looks(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const struct xr_attention *attention = run->attention;
    const struct attention_pack *pack = attention->packed;
    const struct look_space space = look_space_of(lane);
    const ptrdiff_t Qp = pad_units(attention->form.Q);
    const ptrdiff_t work = look_work(attention);
    for (ptrdiff_t first = 0; first < alive; first += LOOKS_AT_ONCE) {
        const ptrdiff_t rows = min_of(LOOKS_AT_ONCE, alive - first);
        const elem *h[LOOKS_AT_ONCE];
        elem *u[LOOKS_AT_ONCE];
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t b = row_of(lane, first + i);
            h[i] = query_row(run, b, s);
            u[i] = attention->queries
                       ? (elem *)attention->queries + (s * run->B + b) * Qp
                       : space.u + i * Qp;
        }
        const elem *bias = packed_row(run, pack->query_bias);
        if (attention->form.Q > 0 &&
            attention_product(lane, &pack->query, bias, rows, h, u)) {
            return;
        }
        for (ptrdiff_t i = 0; i < rows; i++) {
            if (xr_leaves(lane->watch, work)) {
                return;
            }
            take_look(lane, s, row_of(lane, first + i), h[i], u[i]);
        }
    }
}

#endif
