/* Work that a call shares with workers: phases of items, claimed one by one.
 *
 * Any thread that takes part executes any item, each is executed once, and whoever
 * ends the last one of a phase opens the next. So the calling thread can do all of it
 * alone, and waits for nothing but items that somebody has begun: a worker that the
 * system lets wait costs nothing, and one that is slow leaves the rest to the others.
 * Each prefers a share of its own, the same in each phase, so that the weights of its
 * items stay in its caches.
 *
 * A long item can be handed on before its end. Whoever has nothing left to do, and has
 * waited for an eighth of the time that its own item took, calls for one that was begun
 * so long ago that its core must be slower, or its item larger. The body of such an
 * item looks for calls now and then, never before it has come further (xr_hands_on of
 * stop.h), writes down how far it is and returns; another thread, or the same if none
 * comes, begins it anew with `goes_on` set. Who has handed an item on calls for none in
 * the same phase, so that none goes back and forth. On a machine whose threads keep
 * pace nobody calls.
 *
 * What an item writes no other item of its phase touches; what it reads from others is
 * of phases before. Bits do not depend on who executes what.
 */
#ifndef XR_JOBS_H
#define XR_JOBS_H

#include <stdint.h>

#include "base/sizes.h"
#include "base/stop.h"

/* Executes an item. Scratch memory belongs to the item, not to a thread. */
typedef void xr_item_body(void *context, ptrdiff_t phase, int item,
                          struct xr_watch *watch);

struct xr_work {
    xr_item_body *body;
    void *context;
    ptrdiff_t phases;          /* at least one */
    int items;                 /* of each phase, at most XR_MAX_THREADS */
    ptrdiff_t multiplications; /* or what takes as long, all in all */
    ptrdiff_t handing;         /* of so many of the last phases items are handed on */
};

/* What came of sharing a call. */
struct xr_sharing {
    int helped;   /* a worker has executed an item */
    int64_t lost; /* nanoseconds of waiting for a worker that was off its core */
};

/* Shares the work with up to team - 1 workers, the calling thread being one of the
 * team, and returns when all of it is done or, if the call is to end, no item is being
 * executed. Returns 0, having done nothing, if too many calls share theirs already. */
int xr_share(const struct xr_work *work, int team, struct xr_watch *watch,
             struct xr_sharing *sharing);

/* A worker: takes part in what is shared, until it is dismissed. It spins for so many
 * turns when there is nothing to do, then sleeps. */
void xr_serve_jobs(int turns);

/* Lets all workers return from xr_serve_jobs when they have finished their jobs, or
 * take part in jobs again. */
void xr_dismiss_workers(int dismissed);

/* In a forked child: no worker is there, and no call goes on but one of this thread to
 * which none had come. Others of this thread are ended as by their `stop`. */
void xr_forget_jobs(void);

#endif
