/* Rows of x that repeat: embedded symbols, characters as one-hot rows, silence.
 *
 * A chain of a sum runs over x first (contract N3), so rows of x with the same bits
 * leave the same bits where the chain goes on with h. A lane whose rows repeat often
 * multiplies each distinct one once, before its first step, and each step then starts
 * from what is known. Rows are compared bit by bit: -0.0 is not +0.0.
 *
 * Others must not pay for it. So a few columns of some rows are looked at first: unless
 * two are alike there, which real numbers seldom are, that was all.
 */
#ifndef XR_REPEATS_H
#define XR_REPEATS_H

#include <stdint.h>

#include "kernels/layer/sequence.h"

enum {
    REPEAT_COLUMNS = 16,        /* of x at least: a shorter row takes no time */
    REPEAT_ROWS = 512,          /* of x at least */
    REPEAT_BYTES = 1024 * 1024, /* of what is known at most: an L2 holds it */
    REPEAT_SLOTS_LOG = 11,      /* of a table that is never more than half full */
    REPEAT_SLOTS = 1 << REPEAT_SLOTS_LOG,
    MOST_REPEATS = REPEAT_SLOTS / 2,
    TRIED_ROWS = 64,  /* two of them are alike, or no rows are taken to be */
    TRIED_COLUMNS = 2 /* of these, in the middle of a row, before the others */
};

/* The distinct rows of x that a lane has met, `count` of at most `most`. */
struct repeats {
    ptrdiff_t most, count;
    const elem **x;
    elem **sums;     /* [most] rows [S, Hp]: what the chains are after x */
    uint16_t *which; /* [T, B]: the distinct row that a row of x is */
    uint16_t
        *slots; /* [REPEAT_SLOTS]: by hash, one more than a distinct row; 0: none */
};

/* Returns how many distinct rows a lane may have: 0 where no rows are looked for. A
 * clock, heads and a context in x are left to the products that know them. */
static ptrdiff_t most_repeats(const struct run *run)
{
    const ptrdiff_t rows = run->T * run->B;
    const ptrdiff_t bytes = run->sums * run->Hp * (ptrdiff_t)sizeof(elem);
    if (run->ticks || run->modules > 1 || run->attention != NULL ||
        run->info->w_blocks == 0 || run->I < REPEAT_COLUMNS || rows < REPEAT_ROWS) {
        return 0;
    }
    return min_of(min_of(rows / 2, MOST_REPEATS), REPEAT_BYTES / bytes);
}

/* Makes room for what each thread may find. */
static void make_repeats(struct run *run, struct arena *arena)
{
    const ptrdiff_t most = most_repeats(run), row = run->sums * run->Hp;
    if (most == 0) {
        return;
    }
    struct repeats *all = arena_take(arena, run->threads, sizeof *all);
    for (int i = 0; i < run->threads; i++) {
        const struct repeats own = {
            .most = most,
            .x = arena_take(arena, most, sizeof *own.x),
            .sums = arena_take(arena, most, sizeof *own.sums),
            .which = arena_take(arena, run->T * run->B, sizeof *own.which),
            .slots = arena_take(arena, REPEAT_SLOTS, sizeof *own.slots),
        };
        elem *sums = arena_take(arena, most * row, sizeof *sums);
        for (ptrdiff_t k = 0; arena->memory != NULL && k < most; k++) {
            own.sums[k] = sums + k * row;
        }
        if (arena->memory != NULL) {
            all[i] = own;
        }
    }
    run->repeats = all;
}

/* A sum of words times odd numbers, whose upper bits depend on all of them. The lower
 * bits of a word, which are 0 in ones and other small numbers, are mixed first. Words
 * of 32 bits are multiplied by the vector, which AVX2 does not do with longer ones. */
static size_t slot_of(const elem *row, ptrdiff_t columns)
{
    const uint32_t golden = 0x9E3779B1;
    const ptrdiff_t words = columns * (ptrdiff_t)(sizeof(elem) / sizeof golden);
    uint32_t sum = 0, factor = golden;
    for (ptrdiff_t j = 0; j < words; j++, factor += 2 * golden) {
        uint32_t word;
        memcpy(&word, (const char *)row + j * (ptrdiff_t)sizeof word, sizeof word);
        sum += (word ^ word >> 15) * factor;
    }
    return (sum * golden) >> (32 - REPEAT_SLOTS_LOG);
}

/* Returns which distinct row these columns are, a new one if need be; -1 where there
 * is no place for it. */
static ptrdiff_t meet_row(struct repeats *known, const elem *row, ptrdiff_t columns)
{
    const size_t bytes = (size_t)columns * sizeof(elem);
    size_t slot = slot_of(row, columns);
    for (; known->slots[slot] != 0; slot = (slot + 1) % REPEAT_SLOTS) {
        const ptrdiff_t one = known->slots[slot] - 1;
        if (memcmp(known->x[one], row, bytes) == 0) {
            return one;
        }
    }
    if (known->count == known->most) {
        return -1;
    }
    known->x[known->count++] = row;
    known->slots[slot] = (uint16_t)known->count;
    return known->count - 1;
}

/* Columns of x, and at how many rows to look. */
struct view {
    ptrdiff_t column, columns, rows;
};

/* Tells the rows of a lane apart by some columns, step by step. Returns how many were
 * met, or 0 if none of the first ones are alike, or too many differ. */
static ptrdiff_t meet_rows(const struct lane *lane, struct view view,
                           struct repeats *known)
{
    const struct run *run = lane->run;
    const ptrdiff_t steps = lane->rows > 0 ? length_of(run, row_of(lane, 0)) : 0;
    ptrdiff_t met = 0, alive = lane->rows;
    known->count = 0;
    memset(known->slots, 0, REPEAT_SLOTS * sizeof *known->slots);
    for (ptrdiff_t s = 0; s < steps && met < view.rows; s++) {
        alive = rows_alive(lane, alive, s);
        if (xr_leaves(lane->watch, alive * view.columns)) {
            return 0;
        }
        for (ptrdiff_t i = 0; i < alive && met < view.rows; i++) {
            const ptrdiff_t b = row_of(lane, i);
            const ptrdiff_t t = time_of(run, lane->direction, b, s);
            const elem *x = sequence_row(&run->problem->x, t, b) + view.column;
            const ptrdiff_t one = meet_row(known, x, view.columns);
            if (one < 0 || (++met == TRIED_ROWS && known->count == met)) {
                return 0;
            }
            known->which[t * run->B + b] = (uint16_t)one;
        }
    }
    return met;
}

static struct product input_product(const struct pack *pack,
                                    const struct matrix *matrix)
{
    return (struct product){
        .panels = &matrix->panels,
        .pack = (const elem *)pack,
        .operand = pack_operand_of(pack, matrix->operand),
        .start = (const elem *)pack + pack->bias,
    };
}

/* Takes the input products of the distinct rows, for the units of the lane. Returns
 * whether the call is to end. */
static int multiply_repeats(const struct lane *lane, const struct repeats *known)
{
    const struct pack *pack = lane->pack;
    const struct matrix *matrix = pack_matrix(pack, pack->recurrences, 0);
    const struct product product = input_product(pack, matrix);
    const struct range share = lane_panels(lane, matrix, H_UNITS);
    for (ptrdiff_t p = share.begin; p < share.end; p++) {
        if (watched_panel(&product, p, min_of(p + 1, share.end - 1), known->count,
                          known->x, known->sums, lane->watch)) {
            return 1;
        }
    }
    return 0;
}

/* Looks whether the rows of a lane repeat, and if so makes known what they give. */
static const struct repeats *find_repeats(const struct lane *lane, int item)
{
    const struct run *run = lane->run;
    if (run->repeats == NULL) {
        return NULL;
    }
    struct repeats *known = &run->repeats[item];
    const struct view few = {run->I / 2, TRIED_COLUMNS, TRIED_ROWS};
    const struct view all = {0, run->I, run->T * run->B};
    if (meet_rows(lane, few, known) == 0) {
        return NULL;
    }
    const ptrdiff_t met = meet_rows(lane, all, known);
    const int is_worth_it = met > 0 && 2 * known->count <= met;
    return is_worth_it && !multiply_repeats(lane, known) ? known : NULL;
}

/* Returns the row of x at time t of row b; where rows repeat, what it gives. */
static const elem *input_row(const struct lane *lane, ptrdiff_t t, ptrdiff_t b)
{
    const struct repeats *known = lane->repeats;
    return known ? known->sums[known->which[t * lane->run->B + b]]
                 : sequence_row(&lane->run->problem->x, t, b);
}

/* Starts the sums of one panel, for some rows, from what their inputs give. */
static void start_at_known(const struct panels *panels, ptrdiff_t p, ptrdiff_t rows,
                           const elem *const *known, elem *const *sums)
{
    const ptrdiff_t first = panel_first(panels, p);
    const ptrdiff_t vectors = (panel_first(panels, p + 1) - first) * panels->sums;
    const ptrdiff_t unit = panels->unit + first * VEC_LANES;
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t j = 0; j < vectors; j++) {
            const ptrdiff_t at = unit + panels->at[j];
            vec_store(sums[i] + at, vec_load(known[i] + at));
        }
    }
}

#endif
