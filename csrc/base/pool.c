/* See pool.h. */
#include "base/pool.h"

#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/doze.h"
#include "base/environment.h"
#include "base/jobs.h"
#include "base/region.h"
#include "base/system.h"
#include "base/threads.h"

enum { IDLE_SPINS = 2500 }; /* about 100 µs: Python between two calls takes less */

/* That a caller waits for workers which do not come. */
static const int64_t LONGEST_WAIT = 1000 * MILLISECOND,
                     HOUR = 3600 * 1000 * MILLISECOND;

static struct {
    atomic_int size;                   /* workers in the region */
    atomic_int wanted;                 /* by who has asked last */
    atomic_int asked;                  /* and has not been answered yet */
    _Atomic uint32_t called, answered; /* how often, but for what was heard */
    int exists;                        /* the deputy */
    int promised;                      /* threads were tried, and are to be started */
    time_t at;                         /* of the last question */
} pool;

/* Set by the caller that asks; no other waits for it. */
static atomic_flag growing = ATOMIC_FLAG_INIT;

/* A child has nothing of this; nor is anybody there who asks. */
static void after_fork_in_child(void)
{
    atomic_flag_clear(&growing);
    atomic_store(&pool.size, 0);
    atomic_store(&pool.wanted, 0);
    atomic_store(&pool.asked, 0);
    atomic_store(&pool.called, 0);
    atomic_store(&pool.answered, 0);
    pool.exists = 0;
    xr_forget_jobs();
}

XR_AT_LOAD(watch_forks) { xr_watch_forks(after_fork_in_child); }

static void call(_Atomic uint32_t *bell)
{
    atomic_fetch_add(bell, 1);
    xr_wake(bell, 1);
}

/* Whether the bell has rung; what was heard counts no more. */
static int hears(_Atomic uint32_t *bell)
{
    uint32_t rung = atomic_load(bell);
    while (rung > 0) {
        if (atomic_compare_exchange_weak(bell, &rung, rung - 1)) {
            return 1;
        }
    }
    return 0;
}

/* Waits for a bell, for so many nanoseconds at most. */
static void wait_for(_Atomic uint32_t *bell, int64_t most)
{
    const int64_t end = now_in_nanoseconds() + most;
    for (int64_t left = most; left > 0 && !hears(bell);
         left = end - now_in_nanoseconds()) {
        xr_doze(bell, 0, left);
    }
}

static int idle_spins(void) { return xr_waits_asleep() ? 0 : IDLE_SPINS; }

void xr_work_in_pool(int rank, int size)
{
    if (rank == 0) { /* the others are there before the deputy comes here */
        if (pool.promised) {
            xr_started();
        }
        atomic_store(&pool.size, size);
        atomic_store(&pool.asked, 0);
        call(&pool.answered);
    }
    xr_serve_jobs(idle_spins());
}

static void *run_deputy(void *unused)
{
    for (;;) {
        while (!hears(&pool.called)) {
            xr_doze(&pool.called, 0, HOUR);
        }
        const int size = atomic_load(&pool.size), there = size > 0 ? size : 1;
        const int more = atomic_load(&pool.wanted) - there;
        pool.promised = more > 0;
        xr_dismiss_workers(0);
        xr_open_region(there + (more > 0 ? xr_startable(more) : 0));
    }
    return unused;
}

static int ensure_deputy(void)
{
    if (!pool.exists) {
        pool.exists = xr_start_thread(run_deputy, NULL);
    }
    return pool.exists;
}

/* Closes the region that is there, and lets the deputy open a larger one. */
static void grow(int wanted)
{
    pool.at = time(NULL);
    atomic_store(&pool.wanted, wanted);
    if (!ensure_deputy()) {
        return;
    }
    atomic_store(&pool.answered, 0); /* to a question that nobody waited for */
    atomic_store(&pool.asked, 1);
    xr_dismiss_workers(1);
    call(&pool.called);
    wait_for(&pool.answered, LONGEST_WAIT);
}

static int is_refused(int wanted)
{
    return wanted <= atomic_load(&pool.wanted) && time(NULL) == pool.at;
}

int xr_workers(int wanted)
{
    int size = atomic_load_explicit(&pool.size, memory_order_acquire);
    if (size < wanted && !atomic_flag_test_and_set(&growing)) {
        if (atomic_load(&pool.size) < wanted && !atomic_load(&pool.asked) &&
            !is_refused(wanted)) {
            grow(wanted);
        }
        atomic_flag_clear(&growing);
        size = atomic_load_explicit(&pool.size, memory_order_acquire);
    }
    return size < wanted ? size : wanted;
}
