/* Looking at a memory, back: from the gradient of a context to those of the query, the
 * memory and the weights. Twin: _AttentionBack in src/exactrnn/reference/attention.py.
 *
 * The gradients of a row's keys and places are long sums over the steps in the order
 * in which they are walked: `part` is the chunk's chain, added to `total` every CHUNK
 * steps of the row and at its end; there is no `total` where no row can have so many.
 */
#ifndef XR_ATTENTION_BACKWARD_H
#define XR_ATTENTION_BACKWARD_H

#include "kernels/layer/attention.h"
#include "kernels/layer/gradients.h"

enum { PLACES_AT_ONCE = 32 }; /* that go back through tanh */

/* Memory of an item for the looks of some rows. */
struct back_space {
    elem *alpha, *dalpha; /* [Sp] */
    elem *dc;             /* [Mp] */
    elem *dinput;         /* [LOOKS_AT_ONCE, Ip] */
    elem *dh;             /* [LOOKS_AT_ONCE, Hp] */
};

static ptrdiff_t back_space_size(const struct run *run)
{
    const struct xr_attention *attention = run->attention;
    return 2 * pad_units(attention->S) + pad_units(attention->form.M) +
           LOOKS_AT_ONCE * (pad_units(run->I) + run->Hp);
}

static struct back_space back_space_of(const struct lane *lane)
{
    const struct xr_attention *attention = lane->run->attention;
    const ptrdiff_t Sp = pad_units(attention->S);
    struct back_space space = {.alpha = lane->look_space};
    space.dalpha = space.alpha + Sp;
    space.dc = space.dalpha + Sp;
    space.dinput = space.dc + pad_units(attention->form.M);
    space.dh = space.dinput + LOOKS_AT_ONCE * pad_units(lane->run->I);
    return space;
}

/* One row of the batch: its part of what all looks back share. */
struct row_sums {
    ptrdiff_t b, length;
    const elem *keys;    /* [S, Kp] */
    const elem *columns; /* [M, Sp], the memory transposed */
    elem *dkeys, *drows; /* [S, Kp], [S, Mp]: the parts */
    elem *dkeys_total, *drows_total;
};

/* Takes the memory of a backward run's looks. */
static struct look_sums make_look_sums(const struct xr_attention *attention,
                                       struct arena *arena, ptrdiff_t T, ptrdiff_t B)
{
    const struct xr_attention_form *form = &attention->form;
    const ptrdiff_t S = attention->S, Sp = pad_units(S);
    const ptrdiff_t keys = B * S * pad_units(form->K),
                    rows = B * S * pad_units(form->M);
    const ptrdiff_t more = T > CHUNK;
    struct look_sums sums = {
        .keys = arena_take(arena, keys, sizeof(elem)),
        .columns = arena_take(arena, B * form->M * Sp, sizeof(elem)),
        .dkeys = arena_take(arena, keys, sizeof(elem)),
        .drows = arena_take(arena, rows, sizeof(elem)),
        .du = arena_take(arena, T * B * pad_units(form->Q), sizeof(elem)),
        .dv = arena_take(arena, T * B * pad_units(form->K), sizeof(elem)),
    };
    sums.dkeys_total = arena_take(arena, more * keys, sizeof(elem));
    sums.drows_total = arena_take(arena, more * rows, sizeof(elem));
    return sums;
}

static struct row_sums row_sums_of(const struct run *run, ptrdiff_t b)
{
    const struct xr_attention *attention = run->attention;
    const struct look_sums *sums = &run->look_sums;
    const ptrdiff_t S = attention->S;
    const ptrdiff_t keys = b * S * pad_units(attention->form.K);
    const ptrdiff_t rows = b * S * pad_units(attention->form.M);
    const int more = run->T > CHUNK;
    return (struct row_sums){
        .b = b,
        .length = memory_length(run, b),
        .keys = sums->keys + keys,
        .columns = sums->columns + b * attention->form.M * pad_units(S),
        .dkeys = sums->dkeys + keys,
        .drows = sums->drows + rows,
        .dkeys_total = more ? sums->dkeys_total + keys : NULL,
        .drows_total = more ? sums->drows_total + rows : NULL,
    };
}

/* Turns the keys of forward into rows and the memory's rows into columns, and makes
 * zeros where sums begin. Returns whether the call is to end. */
static int begin_row_back(const struct lane *lane, const struct row_sums *row)
{
    const struct xr_attention *attention = lane->run->attention;
    const ptrdiff_t M = attention->form.M, Mp = pad_units(M);
    const ptrdiff_t K = attention->form.K, Kp = pad_units(K);
    const ptrdiff_t Sp = pad_units(attention->S);
    const elem *found = keys_of(attention, row->b);
    elem *keys = (elem *)row->keys, *columns = (elem *)row->columns;
    memset(columns, 0, (size_t)(M * Sp) * sizeof(elem));
    for (ptrdiff_t s = 0; s < row->length; s++) {
        if (xr_leaves(lane->watch, (M + Kp) * MOVE_WORK)) {
            return 1;
        }
        memset(keys + s * Kp, 0, (size_t)Kp * sizeof(elem));
        for (ptrdiff_t k = 0; k < K; k++) {
            keys[s * Kp + k] = found[k * Sp + s];
        }
        const elem *place = sequence_row(&attention->memory, s, row->b);
        for (ptrdiff_t m = 0; m < M; m++) {
            columns[m * Sp + s] = place[m];
        }
    }
    const size_t dkeys = (size_t)(row->length * Kp) * sizeof(elem);
    const size_t drows = (size_t)(row->length * Mp) * sizeof(elem);
    memset(row->dkeys, 0, dkeys);
    memset(row->drows, 0, drows);
    if (row->dkeys_total != NULL) {
        memset(row->dkeys_total, 0, dkeys);
        memset(row->drows_total, 0, drows);
    }
    return 0;
}

static void begin_looks_back(const struct lane *lane)
{
    for (ptrdiff_t i = 0; lane->run->attention != NULL && i < lane->rows; i++) {
        const struct row_sums row = row_sums_of(lane->run, row_of(lane, i));
        if (begin_row_back(lane, &row)) {
            return;
        }
    }
}

/* Adds the chains of a chunk to the totals, +0.0 where there are none, and leaves the
 * sum in the totals or in the chains. */
static void fold_part(elem *part, elem *total, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i += VEC_LANES) {
        const vec before = total ? vec_load(total + i) : vec_zero();
        vec_store((total ? total : part) + i, vec_add(before, vec_load(part + i)));
    }
}

/* Ends the chunks of a row that has so many steps behind it. */
static void end_chunk(const struct run *run, const struct row_sums *row,
                      ptrdiff_t walked)
{
    const struct xr_attention_form *form = &run->attention->form;
    const ptrdiff_t keys = row->length * pad_units(form->K);
    const ptrdiff_t rows = row->length * pad_units(form->M);
    if (walked > 0 && walked % CHUNK == 0) {
        fold_part(row->dkeys, row->dkeys_total, keys);
        fold_part(row->drows, row->drows_total, rows);
        memset(row->dkeys, 0, (size_t)keys * sizeof(elem));
        memset(row->drows, 0, (size_t)rows * sizeof(elem));
    }
}

/* Adds to each row i of an array factor[i] times a vector, in whole vectors. */
static void add_outer(elem *rows, ptrdiff_t step, ptrdiff_t count, const elem *factor,
                      const elem *vector)
{
    for (ptrdiff_t i = 0; i < count; i++, rows += step) {
        const vec own = vec_set(factor[i]);
        for (ptrdiff_t j = 0; j < step; j += VEC_LANES) {
            vec_store(rows + j, vec_fma(own, vec_load(vector + j), vec_load(rows + j)));
        }
    }
}

/* Goes back through the selector: dc becomes the gradient of the sum of places. Returns
 * that of the selector's sum. */
static elem selector_back(elem *dc, const elem *sums, elem beta, ptrdiff_t M)
{
    elem da[VEC_LANES];
    const elem dbeta = chain_of(sums, dc, M);
    const elem slope = beta * (1 - beta);
    vec_store(da, vec_flush(vec_set(dbeta * slope)));
    for (ptrdiff_t m = 0; m < M; m++) {
        dc[m] *= beta;
    }
    return da[0];
}

/* Makes dz, in the place of dalpha, of a row at time t, from dc. */
static void score_gradient(const struct lane *lane, const struct row_sums *row,
                           ptrdiff_t t)
{
    const struct run *run = lane->run;
    const struct xr_attention *attention = run->attention;
    const struct back_space space = back_space_of(lane);
    const ptrdiff_t S = attention->S, at = (t * run->B + row->b) * S;
    const struct factored_rows columns = {row->columns, pad_units(S), attention->form.M,
                                          space.dc};
    memset(space.alpha, 0, (size_t)pad_units(S) * sizeof(elem));
    memcpy(space.alpha, (const elem *)attention->alpha + at, (size_t)S * sizeof(elem));
    sum_rows(space.dalpha, &columns, ceil_div(row->length, VEC_LANES) * VEC_LANES);
    for (ptrdiff_t s = 0; attention->dalpha != NULL && s < row->length; s++) {
        space.dalpha[s] += ((const elem *)attention->dalpha + at)[s];
    }
    const vec total = vec_set(chain_of(space.alpha, space.dalpha, row->length));
    for (ptrdiff_t s = 0; s < row->length; s += VEC_LANES) {
        const vec apart = vec_sub(vec_load(space.dalpha + s), total);
        vec_store(space.dalpha + s,
                  vec_flush(vec_mul(vec_load(space.alpha + s), apart)));
    }
}

/* What a vector of units leaves over the places: chains of du and dv. */
struct unit_sums {
    vec u, v;
};

/* Takes dz of some places back through tanh, for the units of one vector from k on:
 * adds to their dkeys and to the chains. All tanh come first: a processor has too few
 * operations under way to see past the end of one that more hangs on (on AVX2 it takes
 * a tenth longer). */
XR_INLINE struct unit_sums places_back(const struct factored_rows *keys, elem *dkeys,
                                       vec u, vec score, struct unit_sums sums)
{
    elem q[PLACES_AT_ONCE * VEC_LANES];
    const ptrdiff_t step = keys->step;
    for (ptrdiff_t i = 0; i < keys->count; i++) {
        const vec key = vec_load(keys->first + i * step);
        vec_store(q + i * VEC_LANES, vec_tanh(vec_add(key, u)));
    }
    for (ptrdiff_t i = 0; i < keys->count; i++) {
        const vec d = vec_set(keys->factor[i]), own = vec_load(q + i * VEC_LANES);
        const vec dp = vec_mul(vec_mul(d, score), tanh_slope(own));
        sums.u = vec_add(sums.u, dp);
        sums.v = vec_fma(d, own, sums.v);
        vec_store(dkeys + i * step, vec_add(vec_load(dkeys + i * step), dp));
    }
    return sums;
}

/* Takes dz of a row back through tanh: adds to dkeys, writes du and dv. */
static void additive_back(const struct row_sums *row, const elem *dz, const elem *u,
                          const elem *score, elem *du, elem *dv, ptrdiff_t Kp)
{
    for (ptrdiff_t k = 0; k < Kp; k += VEC_LANES) {
        const vec own = vec_load(u + k), v = vec_load(score + k);
        struct unit_sums sums = {vec_zero(), vec_zero()};
        for (ptrdiff_t s = 0; s < row->length; s += PLACES_AT_ONCE) {
            const ptrdiff_t at = s * Kp + k;
            const struct factored_rows keys = {
                row->keys + at, Kp, min_of(PLACES_AT_ONCE, row->length - s), dz + s};
            sums = places_back(&keys, row->dkeys + at, own, v, sums);
        }
        vec_store(du + k, vec_flush(sums.u));
        vec_store(dv + k, sums.v);
    }
}

/* Takes the look of a row at time t back, from dc, and begins its dh. */
static void take_look_back(const struct lane *lane, const struct row_sums *row,
                           ptrdiff_t t, elem *dh)
{
    const struct run *run = lane->run;
    const struct xr_attention *attention = run->attention;
    const struct xr_attention_form *form = &attention->form;
    const struct back_space space = back_space_of(lane);
    const ptrdiff_t at = t * run->B + row->b;
    const ptrdiff_t Qp = pad_units(form->Q), Kp = pad_units(form->K);
    const elem *u = (const elem *)attention->queries + at * Qp;
    elem *du = run->look_sums.du + at * Qp, *dv = run->look_sums.dv + at * Kp;
    elem da_beta = 0;
    if (form->selector) {
        const elem *sums = (const elem *)attention->sums + at * form->M;
        da_beta = selector_back(space.dc, sums, u[form->Q - 1], form->M);
    }
    score_gradient(lane, row, t);
    end_chunk(run, row, length_of(run, row->b) - 1 - t);
    add_outer(row->drows, pad_units(form->M), row->length, space.alpha, space.dc);
    if (form->score == XR_ADDITIVE) {
        const elem *score = packed_row(run, attention_pack_of(run)->score);
        additive_back(row, space.dalpha, u, score, du, dv, Kp);
    } else {
        const struct factored_rows keys = {row->keys, Kp, row->length, space.dalpha};
        add_outer(row->dkeys, Kp, row->length, space.dalpha, query_row(run, row->b, t));
        sum_rows(dh, &keys, Kp);
    }
    if (form->selector) {
        du[form->Q - 1] = da_beta;
    }
}

/* Makes the gradients of the inputs of some rows at time t, and writes dx, which is
 * their first part. */
static int input_back(const struct lane *lane, ptrdiff_t t, ptrdiff_t first,
                      ptrdiff_t rows, elem *dinput)
{
    const struct run *run = lane->run;
    const struct matrix *matrix = pack_matrix(lane->pack, lane->pack->recurrences, 0);
    const ptrdiff_t Ip = pad_units(run->I), own = run->I - run->attention->form.M;
    const struct product product = {
        .panels = &matrix->panels,
        .pack = (const elem *)lane->pack,
        .operand = pack_operand_of(lane->pack, matrix->operand),
        .start = run->zeros,
    };
    const elem *da[LOOKS_AT_ONCE];
    elem *c[LOOKS_AT_ONCE];
    for (ptrdiff_t i = 0; i < rows; i++) {
        const ptrdiff_t at = t * run->B + row_of(lane, first + i);
        da[i] = run->da + at * run->sums * run->Hp;
        c[i] = dinput + i * Ip;
    }
    for (ptrdiff_t p = 0; p < matrix->panels.count; p++) {
        if (watched_panel(&product, p, min_of(p + 1, matrix->panels.count - 1), rows,
                          da, c, lane->watch)) {
            return 1;
        }
    }
    for (ptrdiff_t i = 0; run->problem->dx.data != NULL && i < rows; i++) {
        elem *dx = sequence_row(&run->problem->dx, t, row_of(lane, first + i));
        memcpy(dx, c[i], (size_t)own * sizeof(elem));
    }
    return 0;
}

/* Puts together the gradient of a context: `own`, from the input that it was, or NULL,
 * and what the caller has given. */
static void place_dc(const struct lane *lane, ptrdiff_t t, ptrdiff_t b, const elem *own)
{
    const struct xr_attention *attention = lane->run->attention;
    const ptrdiff_t M = attention->form.M;
    elem *dc = back_space_of(lane).dc;
    memset(dc, 0, (size_t)pad_units(M) * sizeof(elem));
    if (own != NULL) {
        memcpy(dc, own, (size_t)M * sizeof(elem));
    }
    if (attention->dcontext.data == NULL) {
        return;
    }
    const elem *given = sequence_row(&attention->dcontext, t, b);
    for (ptrdiff_t m = 0; m < M; m++) {
        dc[m] = own ? dc[m] + given[m] : given[m];
    }
}

/* Adds the gradients of some rows' queries, from the parts in dh on, to those of h. */
static void query_back(const struct lane *lane, ptrdiff_t t, ptrdiff_t first,
                       ptrdiff_t rows, elem *dh)
{
    const struct run *run = lane->run;
    const struct xr_attention_form *form = &run->attention->form;
    const struct attention_pack *pack = attention_pack_of(run);
    const elem *du[LOOKS_AT_ONCE];
    elem *c[LOOKS_AT_ONCE];
    for (ptrdiff_t i = 0; i < rows; i++) {
        const ptrdiff_t at = t * run->B + row_of(lane, first + i);
        du[i] = run->look_sums.du + at * pad_units(form->Q);
        c[i] = dh + i * run->Hp;
    }
    const elem *start = form->score == XR_ADDITIVE ? run->zeros : NULL;
    if (form->Q > 0 && attention_product(lane, &pack->query_back, start, rows, du, c)) {
        return;
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        elem *state = dstate_row(run, 0, 0, row_of(lane, first + i));
        for (ptrdiff_t u = 0; u < run->Hp; u += VEC_LANES) {
            vec_store(state + u,
                      vec_flush(vec_add(vec_load(state + u), vec_load(c[i] + u))));
        }
    }
}

/* Takes the looks of all alive rows of a lane at step s back. */
static void take_looks_back(const struct lane *lane, ptrdiff_t s, ptrdiff_t alive)
{
    const struct run *run = lane->run;
    const struct back_space space = back_space_of(lane);
    const ptrdiff_t work = work_times(2, look_work(run->attention));
    const ptrdiff_t before = run->I - run->attention->form.M;
    for (ptrdiff_t first = 0; first < alive; first += LOOKS_AT_ONCE) {
        const ptrdiff_t rows = min_of(LOOKS_AT_ONCE, alive - first);
        if (looks_before(run) && input_back(lane, s, first, rows, space.dinput)) {
            return;
        }
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t b = row_of(lane, first + i);
            const struct row_sums row = row_sums_of(run, b);
            const elem *own = space.dinput + i * pad_units(run->I) + before;
            if (xr_leaves(lane->watch, work)) {
                return;
            }
            place_dc(lane, s, b, looks_before(run) ? own : NULL);
            take_look_back(lane, &row, s, space.dh + i * run->Hp);
        }
        query_back(lane, s, first, rows, space.dh);
    }
}

/* Ends the sums of a row and writes the gradients of its places. */
static int end_row_back(const struct lane *lane, struct row_sums *row)
{
    const struct xr_attention *attention = lane->run->attention;
    const struct xr_attention_form *form = &attention->form;
    const ptrdiff_t Kp = pad_units(form->K), Mp = pad_units(form->M);
    fold_part(row->dkeys, row->dkeys_total, row->length * Kp);
    fold_part(row->drows, row->drows_total, row->length * Mp);
    elem *dkeys = row->dkeys_total ? row->dkeys_total : row->dkeys;
    elem *drows = row->drows_total ? row->drows_total : row->drows;
    for (ptrdiff_t s = 0; s < row->length; s += KEYS_AT_ONCE) {
        const ptrdiff_t count = min_of(KEYS_AT_ONCE, row->length - s);
        const elem *a[KEYS_AT_ONCE];
        elem *c[KEYS_AT_ONCE];
        for (ptrdiff_t i = 0; i < count; i++) {
            a[i] = dkeys + (s + i) * Kp;
            c[i] = drows + (s + i) * Mp;
        }
        const struct panels *panels = &attention_pack_of(lane->run)->memory_back;
        if (form->score == XR_DOT) {
            fold_part(dkeys + s * Kp, drows + s * Mp, count * Mp);
        } else if (attention_product(lane, panels, NULL, count, a, c)) {
            return 1;
        }
        for (ptrdiff_t i = 0; i < count; i++) {
            memcpy(sequence_row(&attention->dmemory, s + i, row->b), c[i],
                   (size_t)form->M * sizeof(elem));
        }
    }
    return 0;
}

static void end_looks_back(const struct lane *lane)
{
    for (ptrdiff_t i = 0; lane->run->attention != NULL && i < lane->rows; i++) {
        struct row_sums row = row_sums_of(lane->run, row_of(lane, i));
        if (lane->watch->leaving || end_row_back(lane, &row)) {
            return;
        }
    }
}

/* A gradient of weights: gate rows times operands, both of `rows` k's. */
enum look_weight { OF_QUERY, OF_SCORE, OF_MEMORY };

static ptrdiff_t look_gates_most(const struct xr_attention *attention)
{
    return max_of(attention->form.Q, attention->form.K);
}

static ptrdiff_t look_buffer_size(const struct run *run)
{
    return weight_buffer_size(look_gates_most(run->attention),
                              max_of(run->H, run->attention->form.M));
}

/* Points a row of a chunk to what is multiplied: step or place `n` of row b. Returns
 * whether there is such a row. */
static int place_look_row(const struct run *run, enum look_weight of, ptrdiff_t n,
                          ptrdiff_t b, struct chunk *chunk)
{
    const struct xr_attention *attention = run->attention;
    const struct look_sums *sums = &run->look_sums;
    const ptrdiff_t Kp = pad_units(attention->form.K), at = n * run->B + b;
    if (of == OF_MEMORY) {
        const elem *dkeys = run->T > CHUNK ? sums->dkeys_total : sums->dkeys;
        chunk->da[chunk->rows] = dkeys + (b * attention->S + n) * Kp;
        chunk->operand[chunk->rows] = sequence_row(&attention->memory, n, b);
        return n < memory_length(run, b);
    }
    chunk->da[chunk->rows] = of == OF_SCORE
                                 ? sums->dv + at * Kp
                                 : sums->du + at * pad_units(attention->form.Q);
    chunk->operand[chunk->rows] = query_row(run, b, n);
    return n < length_of(run, b);
}

/* Points the rows of a chunk, k from k0 on, padding drawn together to one row of
 * zeros. */
static void gather_looks(const struct run *run, enum look_weight of, ptrdiff_t k0,
                         ptrdiff_t end, struct chunk *chunk)
{
    int in_gap = 0;
    chunk->rows = 0;
    for (ptrdiff_t k = k0; k < min_of(k0 + CHUNK, end); k++) {
        if (place_look_row(run, of, k / run->B, k % run->B, chunk)) {
            in_gap = 0;
        } else if (in_gap) {
            continue;
        } else {
            in_gap = 1;
            chunk->da[chunk->rows] = chunk->operand[chunk->rows] = run->zeros;
        }
        chunk->rows++;
    }
}

/* Adds an item's share, some gate rows, of one gradient. */
static void look_gradient(const struct run *run, enum look_weight of,
                          const struct weight_job *job, elem *memory,
                          struct xr_watch *watch)
{
    struct chunk chunk;
    struct weight_buffer buffer =
        make_weight_buffer(memory, look_gates_most(run->attention));
    const ptrdiff_t steps = of == OF_MEMORY ? run->attention->S : run->T;
    for (ptrdiff_t k0 = 0; job->units > 0 && k0 < steps * run->B; k0 += CHUNK) {
        if (xr_leaves(watch, CHUNK * job->units)) {
            return;
        }
        gather_looks(run, of, k0, steps * run->B, &chunk);
        pack_operand(&chunk, job->columns, buffer.operand);
        buffer.packed.count = 0;
        pack_job_gates(run, job, &chunk, &buffer);
        weight_products(job, chunk.rows, &buffer, watch);
        add_bias(job->db[0][0], buffer.gates.bias, job->units);
    }
}

/* Adds an item's share of the gradients of an attention's weights. */
static void look_gradients(const struct run *run, int item, int size, elem *buffer,
                           struct xr_watch *watch)
{
    const struct xr_attention *attention = run->attention;
    const struct xr_attention_form *form = &attention->form;
    const struct xr_attention_gradients *dw = &attention->dw;
    const ptrdiff_t Q0 = item * form->Q / size, Q1 = (item + 1) * form->Q / size;
    const ptrdiff_t K0 = item * form->K / size, K1 = (item + 1) * form->K / size;
    if (dw->query != NULL) {
        const struct weight_job job = {
            .begin = Q0,
            .units = Q1 - Q0,
            .columns = run->H,
            .step = run->H,
            .count = 1,
            .dw = {offset(dw->query, Q0 * run->H)},
            .db = {{offset(dw->query_bias, Q0)}},
        };
        look_gradient(run, OF_QUERY, &job, buffer, watch);
    }
    if (dw->score != NULL) {
        const struct weight_job job = {
            .begin = K0, .units = K1 - K0, .count = 1, .db = {{offset(dw->score, K0)}}};
        look_gradient(run, OF_SCORE, &job, buffer, watch);
    }
    if (dw->memory != NULL) {
        const struct weight_job job = {
            .begin = K0,
            .units = K1 - K0,
            .columns = form->M,
            .step = form->M,
            .count = 1,
            .dw = {offset(dw->memory, K0 * form->M)},
            .db = {{offset(dw->memory_bias, K0)}},
        };
        look_gradient(run, OF_MEMORY, &job, buffer, watch);
    }
}

#endif
