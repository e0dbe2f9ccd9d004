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

#include "base/clock.h"
#include "base/compiler.h"

enum {
    MOST_STRIDE = 1 << 25, /* multiplications; 0.4 ms on AVX-512 */
    LEAST_STRIDE = 1 << 10,
    RESTS_PER_ANSWER = 16, /* the least time between answers, in the time of one, */
    MOST_PACES = 3         /* but no more of the usual time */
};

static const int64_t SHORT_LOOK = 500 * MICROSECOND, LONG_LOOK = 2 * MILLISECOND;

struct xr_stop_pace xr_stop_pace = {.work = 1 << 20, .nanoseconds = 20000000};

struct xr_watch xr_make_watch(struct xr_stop *stop, int asks)
{
    struct xr_watch watch = {.asks = asks, .left = PTRDIFF_MAX};
    if (stop != NULL && stop->wanted != NULL) {
        xr_watch_stop(&watch, stop);
    }
    return watch;
}

void xr_watch_stop(struct xr_watch *watch, struct xr_stop *stop)
{
    if (watch->stop != stop) {
        watch->stop = stop;
        watch->left = watch->stride = xr_stop_pace.work;
        watch->rest = xr_stop_pace.nanoseconds;
    }
}

int xr_stop_seen(const struct xr_watch *watch)
{
    return watch->stop != NULL && XR_READ_SHARED(&watch->stop->stopped);
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
        XR_WRITE_SHARED(&stop->stopped, 1);
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
    if (!watch->leaving && watch->asks && watch->stop != NULL) {
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
    if (watch->asks && !watch->leaving && watch->stop != NULL) {
        ask_if_due(watch, now_in_nanoseconds());
    }
}

int64_t xr_idle_time(const struct xr_watch *watch)
{
    const int64_t pace = watch->asks ? xr_stop_pace.nanoseconds : MILLISECOND * 1000;
    return pace > 50 * MICROSECOND ? pace : 50 * MICROSECOND;
}
