/* The points of a grid: coordinates, lines, wavefronts, sets of weights; and the run of
 * one call, which all of this belongs to.
 *
 * Points whose coordinates have the same sum, a wavefront, do not wait for each other.
 * Threads that share the points of a batch row go through the wavefronts of the grid. A
 * thread that has its batch rows to itself goes plane by plane along dimension 0 and
 * through the wavefronts of each plane: what the plane before has handed on is known
 * for all of its points, so that its products, half of the work in two dimensions, are
 * taken for many points at once; and where planes differ in their weights, as layers
 * do, one plane's stay in the cache.
 */
#ifndef XR_GRID_GEOMETRY_H
#define XR_GRID_GEOMETRY_H

#include "base/parallel.h"
#include "kernels/grid/pack.h"

/* So many rows stay together while all weights of a block pass. */
enum { GRID_ROWS = 48 };

struct grid_run {
    const struct xr_grid_problem *problem;
    const struct xr_grid_block *block;
    struct xr_grid_cache at;
    int N, phases, threads, planes; /* whether to go plane by plane */
    int team;                       /* as many threads as share the call */
    ptrdiff_t work;                 /* multiplications */
    ptrdiff_t H, Hp, B, points, waves;
    ptrdiff_t widest;      /* no wavefront has more points */
    ptrdiff_t plane_waves; /* wavefronts of a plane, or of the whole grid */
    ptrdiff_t lines[XR_GRID_DIMS];
    const ptrdiff_t *order;  /* [P] points by wavefront, in it by set */
    const ptrdiff_t *wave;   /* [waves + 1] where each begins in `order` */
    const ptrdiff_t *by_set; /* [P] points by set, in it lexicographic */
    const ptrdiff_t *set;    /* [sets + 1] where each begins in `by_set` */
    struct grid_rows *rows;  /* [threads] */
    elem *h[XR_GRID_DIMS], *m[XR_GRID_DIMS], *gates[XR_GRID_DIMS];
    elem *sums;              /* forward, [threads, GRID_ROWS, 4, Hp] without a cache */
    int any_ahead;           /* whether some dimension goes ahead */
    int ahead[XR_GRID_DIMS]; /* whether dimension k takes its first product ahead */
    ptrdiff_t ahead_waves;   /* for so many wavefronts at once */
    elem *ahead_sums[XR_GRID_DIMS]; /* [points of these, B, 4, Hp], likewise */
    /* Of the backward pass alone. */
    elem *da[XR_GRID_DIMS];                    /* [P, B, G, Hp] */
    elem *dh[XR_GRID_DIMS], *dm[XR_GRID_DIMS]; /* [lines, B, Hp] */
    elem *zeros;
    elem *thread_buffers; /* [threads, thread_buffer_size] */
    ptrdiff_t thread_buffer_size;
    ptrdiff_t loop_phases; /* of the wavefronts; the one of the gradients follows */
};

/* Some rows of a wavefront with the same weights. */
struct grid_rows {
    ptrdiff_t rows, set;
    ptrdiff_t ahead_from; /* place in `order` where the wavefronts taken ahead begin */
    elem *h_prev[XR_GRID_DIMS][GRID_ROWS], *h_next[XR_GRID_DIMS][GRID_ROWS];
    elem *m_prev[XR_GRID_DIMS][GRID_ROWS], *m_next[XR_GRID_DIMS][GRID_ROWS];
    elem *sums[XR_GRID_DIMS][GRID_ROWS]; /* or the gates */
    elem *da[XR_GRID_DIMS][GRID_ROWS];
    elem *dh[XR_GRID_DIMS][GRID_ROWS], *dm[XR_GRID_DIMS][GRID_ROWS];
};

/* One point: its coordinates and its line in every dimension. */
struct grid_point {
    ptrdiff_t number, set, sum;
    ptrdiff_t at[XR_GRID_DIMS], line[XR_GRID_DIMS];
};

static struct grid_point grid_point_of(const struct grid_run *run, ptrdiff_t number)
{
    struct grid_point point = {.number = number};
    ptrdiff_t rest = number;
    for (int k = run->N - 1; k >= 0; k--) {
        point.at[k] = rest % run->problem->size[k];
        rest /= run->problem->size[k];
        point.sum += point.at[k];
        point.set += point.at[k] * run->problem->set_step[k];
    }
    for (int k = 0; k < run->N; k++) {
        for (int j = 0; j < run->N; j++) {
            if (j != k) {
                point.line[k] = point.line[k] * run->problem->size[j] + point.at[j];
            }
        }
    }
    return point;
}

static ptrdiff_t grid_length(const struct grid_run *run, ptrdiff_t b, int k)
{
    const int64_t *lengths = run->problem->lengths;
    return lengths ? (ptrdiff_t)lengths[b * run->N + k] : run->problem->size[k];
}

static int grid_row_has(const struct grid_run *run, ptrdiff_t b,
                        const struct grid_point *point)
{
    for (int k = 0; k < run->N; k++) {
        if (point->at[k] >= grid_length(run, b, k)) {
            return 0;
        }
    }
    return 1;
}

/* Returns whether row b has points on a line of dimension k, or would if it were
 * longer. */
static int grid_row_has_line(const struct grid_run *run, ptrdiff_t b, int k,
                             ptrdiff_t line)
{
    for (int j = run->N - 1; j >= 0; j--) {
        if (j != k) {
            if (line % run->problem->size[j] >= grid_length(run, b, j)) {
                return 0;
            }
            line /= run->problem->size[j];
        }
    }
    return 1;
}

static void grid_count_points(struct grid_run *run)
{
    const ptrdiff_t *size = run->problem->size;
    run->points = 1;
    run->phases = 1;
    for (int k = 0; k < run->N; k++) {
        run->points *= size[k];
        run->phases += run->block->phase[k] > 0;
        run->lines[k] = 1;
        for (int j = 0; j < run->N; j++) {
            run->lines[k] *= j == k ? 1 : size[j];
        }
    }
}

/* Of a wavefront no two points differ in one coordinate alone. */
static void grid_count_waves(struct grid_run *run)
{
    const ptrdiff_t *size = run->problem->size;
    const int first = run->planes ? 1 : 0;
    ptrdiff_t longest = 1;
    run->plane_waves = 1;
    for (int k = first; k < run->N; k++) {
        run->plane_waves += size[k] - 1;
        longest = max_of(longest, size[k]);
    }
    run->widest = (run->planes ? run->lines[0] : run->points) / longest;
    run->waves = run->plane_waves * (run->planes ? size[0] : 1);
    run->waves = run->points == 0 ? 0 : run->waves;
}

static ptrdiff_t grid_wave_of(const struct grid_run *run, ptrdiff_t number)
{
    const struct grid_point point = grid_point_of(run, number);
    return point.sum + (run->planes ? point.at[0] * (run->plane_waves - 1) : 0);
}

/* Sorts points by wavefront and by set, as run->order and run->by_set say. Both are
 * counting sorts. */
static void grid_sort_points(const struct grid_run *run, ptrdiff_t *memory)
{
    ptrdiff_t *order = memory, *by_set = order + run->points;
    ptrdiff_t *wave = by_set + run->points, *set = wave + run->waves + 1;
    memset(wave, 0, (size_t)(run->waves + run->problem->sets + 2) * sizeof *wave);
    for (ptrdiff_t p = 0; p < run->points; p++) {
        wave[grid_wave_of(run, p) + 1]++;
        set[grid_point_of(run, p).set + 1]++;
    }
    for (ptrdiff_t w = 0; w < run->waves; w++) {
        wave[w + 1] += wave[w];
    }
    for (ptrdiff_t s = 0; s < run->problem->sets; s++) {
        set[s + 1] += set[s];
    }
    for (ptrdiff_t p = 0; p < run->points; p++) {
        by_set[set[grid_point_of(run, p).set]++] = p;
    }
    for (ptrdiff_t i = 0; i < run->points; i++) {
        order[wave[grid_wave_of(run, by_set[i])]++] = by_set[i];
    }
    /* Each start has moved on to the next one. */
    memmove(wave + 1, wave, (size_t)run->waves * sizeof *wave);
    memmove(set + 1, set, (size_t)run->problem->sets * sizeof *set);
    wave[0] = 0;
    set[0] = 0;
}

#endif
