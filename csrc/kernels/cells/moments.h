/* Numbers of a row over all its units: the moments of layer normalisation, and what its
 * gradient needs of them (base/program.h).
 *
 * A sum over units is a chain for each place in a vector of SUM_PARTS units (contract
 * N3): part p takes the units p, p + SUM_PARTS, ... of the first value, then those of
 * the next; the units of each value are filled up with +0.0 to a whole number of
 * parts. In the end halves are added, part p to part p + 8, then p + 4, p + 2, p + 1.
 * So vectors of any length take the same sums, and what the chains of one place add is
 * never another place's.
 *
 *     mean = sum(x) / N        variance = sum((x - mean)^2) / N
 *     scale = 1 / sqrt(variance + eps)          n = (x - mean) * scale
 *     mean_d = sum(d) / N      mean_dn = sum(d * n) / N,    d = g * gain
 *
 * Twin: the functions of these names in src/exactrnn/reference/moments.py.
 */
#ifndef XR_MOMENTS_H
#define XR_MOMENTS_H

#include "base/program.h"
#include "kernels/vec.h"

enum { SUM_PARTS = XR_UNIT_PAD, SUM_VECTORS = SUM_PARTS / VEC_LANES };

/* What is known of a row: of moments mean and scale, of slopes mean_d, mean_dn and
 * scale. */
enum { ROW_NUMBERS = 3 };

/* The chains of a sum. */
struct parts {
    vec chain[SUM_VECTORS];
};

static struct parts no_parts(void)
{
    struct parts parts;
    for (int j = 0; j < SUM_VECTORS; j++) {
        parts.chain[j] = vec_zero();
    }
    return parts;
}

/* Returns the sum of the chains. */
static elem sum_of(const struct parts *parts)
{
    elem part[SUM_PARTS];
    for (int j = 0; j < SUM_VECTORS; j++) {
        vec_store(part + j * VEC_LANES, parts->chain[j]);
    }
    for (int half = SUM_PARTS / 2; half > 0; half /= 2) {
        for (int p = 0; p < half; p++) {
            part[p] = part[p] + part[p + half];
        }
    }
    return part[0];
}

/* Returns the first n lanes of a vector, +0.0 in the others. */
XR_INLINE vec first_lanes(vec v, ptrdiff_t n)
{
    elem lanes[VEC_LANES];
    vec_store(lanes, v);
    return vec_load_part(lanes, n);
}

/* Returns how many lanes from unit u on are units of H. */
XR_INLINE ptrdiff_t lanes_inside(ptrdiff_t u, ptrdiff_t H)
{
    const ptrdiff_t left = H - u;
    return left <= 0 ? 0 : left < VEC_LANES ? left : VEC_LANES;
}

XR_INLINE vec load_inside(const elem *row, ptrdiff_t u, ptrdiff_t H)
{
    const ptrdiff_t inside = lanes_inside(u, H);
    return inside == VEC_LANES ? vec_load(row + u) : vec_load_part(row + u, inside);
}

static void add_values(struct parts *sum, const elem *x, ptrdiff_t H)
{
    for (ptrdiff_t u = 0; u < H; u += SUM_PARTS) {
        for (int j = 0; j < SUM_VECTORS; j++) {
            const vec v = load_inside(x, u + j * VEC_LANES, H);
            sum->chain[j] = vec_add(sum->chain[j], v);
        }
    }
}

static void add_squares(struct parts *sum, const elem *x, elem mean, ptrdiff_t H)
{
    for (ptrdiff_t u = 0; u < H; u += SUM_PARTS) {
        for (int j = 0; j < SUM_VECTORS; j++) {
            const ptrdiff_t at = u + j * VEC_LANES, inside = lanes_inside(at, H);
            vec e = vec_sub(load_inside(x, at, H), vec_set(mean));
            e = inside == VEC_LANES ? e : first_lanes(e, inside);
            sum->chain[j] = vec_fma(e, e, sum->chain[j]);
        }
    }
}

/* The rows of one value that has a gradient. */
struct graded {
    const elem *x, *gain, *g;
};

/* Adds d to sums[0] and d * n to sums[1]. */
static void add_slopes(struct parts *sums, const struct graded *row,
                       const elem *moments, ptrdiff_t H)
{
    const vec mean = vec_set(moments[0]), scale = vec_set(moments[1]);
    for (ptrdiff_t u = 0; u < H; u += SUM_PARTS) {
        for (int j = 0; j < SUM_VECTORS; j++) {
            const ptrdiff_t at = u + j * VEC_LANES, inside = lanes_inside(at, H);
            const vec g = load_inside(row->g, at, H);
            vec d = vec_mul(g, load_inside(row->gain, at, H));
            vec n = vec_mul(vec_sub(load_inside(row->x, at, H), mean), scale);
            if (inside < VEC_LANES) {
                d = first_lanes(d, inside);
                n = first_lanes(n, inside);
            }
            sums[0].chain[j] = vec_add(sums[0].chain[j], d);
            sums[1].chain[j] = vec_fma(d, n, sums[1].chain[j]);
        }
    }
}

static elem scale_of(elem variance)
{
    const vec raised = vec_set(variance + (elem)XR_NORM_EPS);
    elem lanes[VEC_LANES];
    vec_store(lanes, vec_div(vec_set((elem)1), vec_sqrt(raised)));
    return lanes[0];
}

/* Fills in mean and scale of `group` values. */
static void find_moments(const elem *const *x, int group, ptrdiff_t H, elem *numbers)
{
    const elem count = (elem)(group * H);
    struct parts sum = no_parts(), squares = no_parts();
    for (int k = 0; k < group; k++) {
        add_values(&sum, x[k], H);
    }
    numbers[0] = sum_of(&sum) / count;
    for (int k = 0; k < group; k++) {
        add_squares(&squares, x[k], numbers[0], H);
    }
    numbers[1] = scale_of(sum_of(&squares) / count);
}

/* Fills in the slopes of a group of which so many values have a gradient. */
static void find_slopes(const struct graded *rows, int graded, int group, ptrdiff_t H,
                        const elem *moments, elem *numbers)
{
    const elem count = (elem)(group * H);
    struct parts sums[2] = {no_parts(), no_parts()};
    for (int k = 0; k < graded; k++) {
        add_slopes(sums, &rows[k], moments, H);
    }
    numbers[0] = sum_of(&sums[0]) / count;
    numbers[1] = sum_of(&sums[1]) / count;
    numbers[2] = moments[1];
}

#endif
