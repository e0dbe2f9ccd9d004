/* Items of shared work (jobs.c): who has one, and how often they changed hands. */
#ifndef XR_CLAIMS_H
#define XR_CLAIMS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/calls.h"

enum { CACHE_LINE = 64, HAND_BITS = 8 };

/* A turn, and behind it how often the item was laid down and taken; which seat has laid
 * it down last; and of all calls, how often it was begun by a thread whose share it is
 * not, and gone on with by another than had begun it. Whoever has the item counts that,
 * on a line that is its own anyway. */
struct claim {
    _Alignas(CACHE_LINE) _Atomic int64_t value;
    atomic_int giver;
    _Atomic int64_t taken_over, handed_on;
};

static inline int exchanges(void)
{
    return atomic_load_explicit(&xr_exchanging, memory_order_relaxed);
}

/* Whether `seen` says that an item of this turn was laid down, for a seat to take:
 * where tests have items exchanged, none comes back to who has laid it down. */
static inline int is_laid_down(struct claim *claim, int64_t seen, int64_t turn,
                               int seat)
{
    return seen >> HAND_BITS == turn && seen % 2 == 1 &&
           !(exchanges() && atomic_load(&claim->giver) == seat);
}

/* Takes an item of this turn that nobody has begun, or that was laid down: `goes_on`
 * says which. Returns whether it did. */
static inline int take_claim(struct claim *claim, int64_t turn, int seat, int *goes_on)
{
    const int64_t fresh = turn << HAND_BITS;
    int64_t seen = atomic_load_explicit(&claim->value, memory_order_relaxed);
    while (seen < fresh || is_laid_down(claim, seen, turn, seat)) {
        *goes_on = seen >= fresh;
        if (atomic_compare_exchange_weak(&claim->value, &seen,
                                         *goes_on ? seen + 1 : fresh)) {
            return 1;
        }
    }
    return 0;
}

static inline int can_be_laid_down(struct claim *claim, int64_t turn)
{
    const int64_t own = atomic_load_explicit(&claim->value, memory_order_relaxed);
    return (own + 2) >> HAND_BITS == turn;
}

/* Lays an item in hand down. Returns what its claim is until somebody takes it. */
static inline int64_t lay_down(struct claim *claim, int seat)
{
    const int64_t own = atomic_load_explicit(&claim->value, memory_order_relaxed);
    atomic_store(&claim->giver, seat);
    atomic_store(&claim->value, own + 1);
    return own + 1;
}

/* Counts an item that was taken, if it is not of the seat's own share or goes on. */
static inline void count_move(struct claim *claim, int is_own, int goes_on)
{
    if (goes_on || !is_own) {
        _Atomic int64_t *moves = goes_on ? &claim->handed_on : &claim->taken_over;
        const int64_t before = atomic_load_explicit(moves, memory_order_relaxed);
        atomic_store_explicit(moves, before + 1, memory_order_relaxed);
    }
}

static inline void add_moves(struct xr_hand_overs *all, struct claim *claim)
{
    all->taken_over += atomic_load_explicit(&claim->taken_over, memory_order_relaxed);
    all->handed_on += atomic_load_explicit(&claim->handed_on, memory_order_relaxed);
}

#endif
