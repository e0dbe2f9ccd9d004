/* See stop.h.
 *
 * Only the calling thread reads the clock, 20 ns a time, so work is measured first. How
 * much of it passes between two looks follows the clock: an emulated fma takes a
 * thousand times as long as one of AVX-512, and both look about once in a millisecond.
 *
 * Asking Python means taking the GIL, which another Python thread may hold for 5 ms:
 * after an answer that took long the caller is left alone for longer.
 */
#include "base/stop.h"

#include <stdatomic.h>
#include <time.h>

#include "base/parallel.h"

#define MICROSECOND ((int64_t)1000)
#define MILLISECOND (1000 * MICROSECOND)

enum {
    MOST_STRIDE = 1 << 25, /* multiplications; 0.4 ms on AVX-512 */
    LEAST_STRIDE = 1 << 10,
    RESTS_PER_ANSWER = 16, /* the least time between answers, in the time of one, */
    MOST_PACES = 3         /* but no more of the usual time */
};

static const int64_t SHORT_LOOK = 500 * MICROSECOND, LONG_LOOK = 2 * MILLISECOND;

struct xr_stop_pace xr_stop_pace = {.work = 1 << 20, .nanoseconds = 20000000};

static int64_t now_in_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 * MILLISECOND + now.tv_nsec;
}

struct xr_watch xr_make_watch(struct xr_stop *stop, int rank)
{
    struct xr_watch watch = {
        .left = PTRDIFF_MAX,
        .stride = xr_stop_pace.work,
        .rest = xr_stop_pace.nanoseconds,
    };
    if (stop != NULL && stop->wanted != NULL) {
        watch.stop = stop;
        watch.asks = rank == 0;
        watch.left = xr_stop_pace.work;
    }
    return watch;
}

int xr_stop_seen(const struct xr_watch *watch)
{
    return watch->stop != NULL &&
           __atomic_load_n(&watch->stop->stopped, __ATOMIC_RELAXED);
}

void xr_leave(struct xr_watch *watch)
{
    watch->leaving = 1;
    watch->left = -1;
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* The first look starts the clock. */
static void ask_if_due(struct xr_watch *watch, int64_t now)
{
    struct xr_stop *stop = watch->stop;
    watch->asked = watch->asked == 0 ? now : watch->asked;
    if (now - watch->asked < watch->rest) {
        return;
    }
    if (stop->wanted(stop->context)) {
        __atomic_store_n(&stop->stopped, 1, __ATOMIC_RELAXED);
        xr_leave(watch); /* and ask no more: an exception may be set */
    }
    watch->asked = now_in_nanoseconds();
    const int64_t pace = xr_stop_pace.nanoseconds;
    watch->rest =
        clamp(RESTS_PER_ANSWER * (watch->asked - now), pace, MOST_PACES * pace);
}

static void set_stride(struct xr_watch *watch, int64_t now)
{
    const int64_t passed = now - watch->looked;
    if (watch->looked != 0 && passed < SHORT_LOOK && watch->stride < MOST_STRIDE) {
        watch->stride *= 2;
    } else if (watch->looked != 0 && passed > LONG_LOOK &&
               watch->stride > LEAST_STRIDE) {
        watch->stride /= 2;
    }
    watch->looked = now;
}

int xr_look(struct xr_watch *watch)
{
    if (!watch->leaving && watch->asks) {
        const int64_t now = now_in_nanoseconds();
        set_stride(watch, now);
        ask_if_due(watch, now);
    }
    watch->left = watch->stride;
    if (watch->leaving || xr_stop_seen(watch)) {
        xr_leave(watch);
    }
    return watch->leaving;
}

void xr_look_idle(struct xr_watch *watch)
{
    if (watch->asks && !watch->leaving) {
        ask_if_due(watch, now_in_nanoseconds());
    }
}

/* One call: who runs it, and how many have come to the end of their body. */
struct team {
    xr_watched_body *body;
    void *context;
    struct xr_stop *stop;
    atomic_int finished;
};

static void run_member(void *context, int rank, int size)
{
    struct team *team = context;
    struct xr_watch watch = xr_make_watch(team->stop, rank);
    team->body(team->context, rank, size, &watch);
    if (size == 1 || watch.stop == NULL) {
        return;
    }
    if (rank != 0) {
        atomic_fetch_add_explicit(&team->finished, 1, memory_order_relaxed);
        return;
    }
    int turns = 0;
    while (atomic_load_explicit(&team->finished, memory_order_relaxed) < size - 1) {
        xr_wait_a_turn(&turns, &watch);
    }
}

int xr_run_watched(int threads, xr_watched_body *body, void *context,
                   struct xr_stop *stop)
{
    struct team team = {.body = body, .context = context, .stop = stop};
    xr_parallel(threads, run_member, &team);
    return stop != NULL && stop->stopped;
}
