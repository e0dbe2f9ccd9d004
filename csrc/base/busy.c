/* See busy.h. The account is of the whole process, as cores are; it is read and written
 * without a lock: of two threads that note something at once, one may be lost.
 */
#include "base/busy.h"

#include <stdatomic.h>

#include "base/clock.h"

/* A loss weighs four times as much as a gain: a time slice is many short calls, and who
 * waits for one of them minds more than who gets the others a little sooner. */
enum { WEIGHT_OF_LOSS = 4 };

static const int64_t LEAST_REST = 4 * MILLISECOND, MOST_REST = 512 * MILLISECOND,
                     MOST_CREDIT = 20 * MILLISECOND, GOOD_CREDIT = 10 * MILLISECOND;

static struct {
    _Atomic int64_t credit; /* at most MOST_CREDIT; none after a rest */
    _Atomic int64_t until;  /* the end of the last rest */
    _Atomic int64_t length; /* of the next rest */
} account = {.credit = 10 * MILLISECOND, .length = 4 * MILLISECOND};

int xr_is_busy(int64_t now)
{
    return now < atomic_load_explicit(&account.until, memory_order_relaxed);
}

static void rest(int64_t now)
{
    const int64_t length = atomic_load_explicit(&account.length, memory_order_relaxed);
    const int64_t twice = length < MOST_REST ? 2 * length : MOST_REST;
    atomic_store_explicit(&account.until, now + length, memory_order_relaxed);
    atomic_store_explicit(&account.length, twice, memory_order_relaxed);
    atomic_store_explicit(&account.credit, 0, memory_order_relaxed);
}

void xr_note_shared(int64_t gained, int64_t lost, int64_t now)
{
    int64_t credit = atomic_load_explicit(&account.credit, memory_order_relaxed);
    credit += gained - WEIGHT_OF_LOSS * lost;
    if (credit < 0) {
        rest(now);
        return;
    }
    if (credit >= GOOD_CREDIT) {
        atomic_store_explicit(&account.length, LEAST_REST, memory_order_relaxed);
    }
    atomic_store_explicit(&account.credit, credit < MOST_CREDIT ? credit : MOST_CREDIT,
                          memory_order_relaxed);
}
