/* Scaling, gradient descent, Adam and RMSprop on one array, in one pass each. Twin:
 * src/exactrnn/reference/dense.py.
 *
 * Elementwise, so vectors cannot show in the bits; no fma, as contract N9 writes these
 * rules in + - * / sqrt:
 *
 *   scale   p = p*rate
 *   sgd     p = p - g*rate          with momentum: m = m*beta; m = m + g;
 *                                                  p = p - m*rate
 *   adam    p = p*keep
 *           m = m*beta1; m = m + g*rest1            v = v*beta2; v = v + (g*g)*rest2
 *           p = p - (m*rate) / (sqrt(v / correction) + eps)
 *   rmsprop v = v*beta2; v = v + (g*g)*rest2        d = g / (sqrt(v) + eps)
 *           p = p - d*rate          with momentum: m = m*beta1; m = m + d;
 *                                                  p = p - m*rate
 *
 * The last vector is loaded and stored in part; its other lanes hold zeros and compute
 * what nobody reads. One thread: memory bounds a step that reads and writes each array
 * once. D. Kingma, J. Ba, arXiv 1412.6980, eps outside the root; I. Loshchilov,
 * F. Hutter, arXiv 1711.05101, the decay; T. Tieleman, G. Hinton, Lecture 6.5, 2012.
 */
#include "base/tables.h"

#include "base/parallel.h"
#include "kernels/vec.h"

/* The numbers of an update, rounded to the element type. */
struct numbers {
    vec rate, beta1, beta2, rest1, rest2, correction, eps, keep;
};

/* One vector of each array. */
struct lanes {
    vec p, g, m, v;
};

typedef void update_lanes(struct lanes *x, const struct numbers *by, int has_velocity);

static struct numbers numbers_of(const struct xr_update *u)
{
    return (struct numbers){
        .rate = vec_set((elem)u->rate),
        .beta1 = vec_set((elem)u->beta[0]),
        .beta2 = vec_set((elem)u->beta[1]),
        .rest1 = vec_set((elem)u->rest[0]),
        .rest2 = vec_set((elem)u->rest[1]),
        .correction = vec_set((elem)u->correction),
        .eps = vec_set((elem)u->eps),
        .keep = vec_set((elem)u->keep),
    };
}

XR_INLINE void scale_lanes(struct lanes *x, const struct numbers *by, int has_velocity)
{
    (void)has_velocity;
    x->p = vec_mul(x->p, by->rate);
}

XR_INLINE void sgd_lanes(struct lanes *x, const struct numbers *by, int has_velocity)
{
    vec direction = x->g;
    if (has_velocity) {
        x->m = vec_add(vec_mul(x->m, by->beta1), x->g);
        direction = x->m;
    }
    x->p = vec_sub(x->p, vec_mul(direction, by->rate));
}

XR_INLINE vec second_moment(const struct lanes *x, const struct numbers *by)
{
    vec square = vec_mul(vec_mul(x->g, x->g), by->rest2);
    return vec_add(vec_mul(x->v, by->beta2), square);
}

XR_INLINE void adam_lanes(struct lanes *x, const struct numbers *by, int has_velocity)
{
    (void)has_velocity;
    x->p = vec_mul(x->p, by->keep);
    x->m = vec_add(vec_mul(x->m, by->beta1), vec_mul(x->g, by->rest1));
    x->v = second_moment(x, by);
    vec root = vec_add(vec_sqrt(vec_div(x->v, by->correction)), by->eps);
    x->p = vec_sub(x->p, vec_div(vec_mul(x->m, by->rate), root));
}

XR_INLINE void rmsprop_lanes(struct lanes *x, const struct numbers *by,
                             int has_velocity)
{
    x->v = second_moment(x, by);
    vec direction = vec_div(x->g, vec_add(vec_sqrt(x->v), by->eps));
    if (has_velocity) {
        x->m = vec_add(vec_mul(x->m, by->beta1), direction);
        direction = x->m;
    }
    x->p = vec_sub(x->p, vec_mul(direction, by->rate));
}

XR_INLINE vec load_lanes(const elem *from, ptrdiff_t k, ptrdiff_t count)
{
    if (from == NULL) {
        return vec_zero();
    }
    return count >= VEC_LANES ? vec_load(from + k) : vec_load_part(from + k, count);
}

XR_INLINE void store_lanes(elem *to, ptrdiff_t k, ptrdiff_t count, vec value)
{
    if (to == NULL) {
        return;
    }
    if (count >= VEC_LANES) {
        vec_store(to + k, value);
    } else {
        vec_store_part(to + k, count, value);
    }
}

/* `one` is a constant where this is called, so that it is inlined. */
XR_INLINE void update_all(const struct xr_update *u, update_lanes *one)
{
    const struct numbers by = numbers_of(u);
    elem *p = u->p, *m = u->m, *v = u->v;
    const elem *g = u->g;
    for (ptrdiff_t k = 0; k < u->n; k += VEC_LANES) {
        const ptrdiff_t count = u->n - k;
        struct lanes x = {load_lanes(p, k, count), load_lanes(g, k, count),
                          load_lanes(m, k, count), load_lanes(v, k, count)};
        one(&x, &by, m != NULL);
        store_lanes(m, k, count, x.m);
        store_lanes(v, k, count, x.v);
        store_lanes(p, k, count, x.p);
    }
}

static void scale_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    (void)phase, (void)item, (void)watch;
    update_all(context, scale_lanes);
}

static void sgd_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    (void)phase, (void)item, (void)watch;
    update_all(context, sgd_lanes);
}

static void adam_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    (void)phase, (void)item, (void)watch;
    update_all(context, adam_lanes);
}

static void rmsprop_body(void *context, ptrdiff_t phase, int item,
                         struct xr_watch *watch)
{
    (void)phase, (void)item, (void)watch;
    update_all(context, rmsprop_lanes);
}

/* An update is one item, which gives it its floating-point environment. */
static void run(const struct xr_update *update, xr_item_body *body)
{
    struct xr_update own = *update;
    xr_run_phase(1, own.n, body, &own, NULL);
}

static void scale(const struct xr_update *update) { run(update, scale_body); }

static void sgd(const struct xr_update *update) { run(update, sgd_body); }

static void adam(const struct xr_update *update) { run(update, adam_body); }

static void rmsprop(const struct xr_update *update) { run(update, rmsprop_body); }

extern const struct xr_updates XR_NAME(xr_updates);

const struct xr_updates XR_NAME(xr_updates) = {
    .scale = scale,
    .sgd = sgd,
    .adam = adam,
    .rmsprop = rmsprop,
};
