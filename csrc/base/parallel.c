/* See parallel.h. */
#include "base/parallel.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/busy.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/cpus.h"
#include "base/pool.h"
#include "base/processor.h"
#include "base/region.h"
#include "base/system.h"

/* What the runtime gives a thread for which nobody has chosen a number, and whether
 * that is the user's own word, OMP_NUM_THREADS. A number beyond all machines is
 * nobody's. */
static int unchosen_threads;
static int is_claimed;

XR_AT_LOAD(read_claim)
{
    const char *claim = getenv("OMP_NUM_THREADS");
    unchosen_threads = xr_region_threads();
    is_claimed = claim != NULL && unchosen_threads <= XR_MAX_THREADS &&
                 strtol(claim, NULL, 10) == unchosen_threads;
}

/* Whether the calling thread's number was chosen by xr_wish_threads. The runtime keeps
 * the number itself, so that OpenMP's functions and threadpoolctl may choose it too. */
static _Thread_local int is_chosen;

struct xr_thread_wish xr_thread_wish(void)
{
    return (struct xr_thread_wish){xr_region_threads(), is_chosen};
}

void xr_wish_threads(struct xr_thread_wish wish)
{
    xr_region_wish(wish.threads);
    is_chosen = wish.chosen;
}

struct xr_thread_wish xr_no_thread_wish(void)
{
    return (struct xr_thread_wish){unchosen_threads, 0};
}

static int nobody_chose(void)
{
    return !is_chosen && !is_claimed && xr_region_threads() == unchosen_threads;
}

static int max_threads(int (*cpus)(void))
{
    const ptrdiff_t most = min_of(XR_MAX_THREADS, xr_region_limit());
    const ptrdiff_t number = min_of(xr_region_threads(), most);
    return (int)(nobody_chose() ? min_of(number, cpus()) : number);
}

int xr_max_threads(void) { return max_threads(xr_cpus_lately); }

int xr_max_threads_now(void) { return max_threads(xr_cpus_now); }

void xr_work_in_region(int rank, int size)
{
    fp_set(FP_DEFAULT);
    xr_work_in_pool(rank, size);
}

int xr_team(int threads)
{
    return threads <= 1 || xr_in_region() ? 1 : 1 + xr_workers(threads - 1);
}

enum { LONG_CALL = 500000000 };

static int is_long(ptrdiff_t multiplications) { return multiplications >= LONG_CALL; }

int xr_team_now(int threads, ptrdiff_t multiplications)
{
    const int may_rest =
        threads > 1 && xr_thread_work.call > 0 && !is_long(multiplications);
    return may_rest && xr_is_busy(now_in_nanoseconds()) ? 1 : xr_team(threads);
}

int xr_team_for(ptrdiff_t multiplications, int threads)
{
    const int worth = threads_for(multiplications, xr_thread_work.call, threads);
    return xr_team_now(worth, multiplications);
}

static void run_alone(const struct xr_work *work, struct xr_watch *watch)
{
    for (ptrdiff_t phase = 0; phase < work->phases; phase++) {
        for (int item = 0; item < work->items && !watch->leaving; item++) {
            work->body(work->context, phase, item, watch);
        }
    }
}

/* The calling thread's preemptions, as it knew them last. */
static _Thread_local long preemptions;

/* What interrupts last on a machine that has cores to spare; a time slice is longer. */
static const int64_t SHORT_WAIT = MILLISECOND / 2, SHORT_CALL = 2 * MILLISECOND;

/* Where no worker has come, shares were done one after the other, each of which may
 * have read all weights, which costs about a quarter of the time. Where the calling
 * thread itself was off its core for long, another one wanted it: as much is lost. */
static void note_sharing(const struct xr_sharing *sharing, int64_t begin)
{
    const int64_t now = now_in_nanoseconds(), took = now - begin;
    const long before = preemptions;
    int64_t gained = 0, lost = max_of(0, sharing->lost - SHORT_WAIT);
    preemptions = xr_preemptions();
    if (!sharing->helped) {
        lost = took / 4;
    } else if (preemptions != before) {
        lost = max_of(lost, (took - SHORT_CALL) / 4);
    } else {
        gained = took - sharing->lost;
    }
    xr_note_shared(gained, lost, now);
}

static int run_shared(const struct xr_work *work, int team, struct xr_watch *watch)
{
    struct xr_sharing sharing = {0};
    const int64_t begin = now_in_nanoseconds();
    const int was_shared = xr_share(work, team, watch, &sharing);
    if (was_shared && !is_long(work->multiplications)) {
        note_sharing(&sharing, begin);
    }
    return was_shared;
}

int xr_run(const struct xr_work *work, int team, struct xr_stop *stop)
{
    const fp_environment caller = fp_get();
    struct xr_watch watch = xr_make_watch(stop, 1);
    fp_set(FP_DEFAULT);
    team = (int)min_of(team, work->items);
    if (team == 1 || !run_shared(work, team, &watch)) {
        run_alone(work, &watch);
    }
    fp_set(caller);
    return stop != NULL && stop->stopped;
}

int xr_run_phase(int team, ptrdiff_t multiplications, xr_item_body *body, void *context,
                 struct xr_stop *stop)
{
    const struct xr_work work = {body, context, 1, team, multiplications, 0};
    return xr_run(&work, team, stop);
}

uint64_t xr_enter_ieee(void)
{
    fp_environment caller = fp_get();
    fp_set(FP_DEFAULT);
    return (uint64_t)caller;
}

void xr_leave_ieee(uint64_t caller) { fp_set((fp_environment)caller); }

/* Measured on two cores of a virtual machine, LSTM, one row: a step of H = 128 takes
 * 2.8 µs by one thread and by two, so that a phase costs about 1.4 µs; at H = 256 two
 * threads are 1.2 to 1.6 times as fast as one. */
struct xr_thread_work xr_thread_work = {.call = 1000000, .step = 90000};
