/* Leaving a long call early: what struct xr_stop of exactrnn.h asks for.
 *
 * Kernels tell the watch of their thread, between tiles and never inside one, how much
 * they are about to do, in multiplications. Once in about a millisecond that leads to a
 * look: the calling thread reads the clock and, every 20 ms, asks the caller; the other
 * threads read the flag that it sets. A call of less than a million multiplications
 * (about 15 µs on AVX-512) never looks.
 *
 * A thread that is leaving does no more work. It ends its item (jobs.h) early, and all
 * that are begun later at once; then no phase is opened any more. What such an item has
 * left behind is read by nobody but others of the same call, whose results are lost.
 */
#ifndef XR_STOP_H
#define XR_STOP_H

#include <stdatomic.h>

#include "base/calls.h"

/* What a thread knows during one call. */
struct xr_watch {
    struct xr_stop *stop; /* NULL: nobody can end the call */
    int asks;             /* the calling thread: no other one asks the caller */
    int leaving;          /* this thread has seen that the call is to end */
    ptrdiff_t left;       /* work until its next look */
    ptrdiff_t stride;     /* work between two looks */
    int64_t looked;       /* nanoseconds of the last look; 0: none */
    int64_t asked, rest;  /* of the last question, and from it to the next one */
    /* Of the item in hand (jobs.h). */
    _Atomic int64_t *called; /* NULL: it may not be handed on */
    int64_t begun;           /* nanoseconds */
    int goes_on;             /* somebody has begun it before */
    int hands_on;            /* its body has left it to whoever is free */
};

/* The watch of a thread; `asks` is for the calling one. */
struct xr_watch xr_make_watch(struct xr_stop *stop, int asks);

/* Lets a worker's watch look at what ends the call that it helps. */
void xr_watch_stop(struct xr_watch *watch, struct xr_stop *stop);

/* Returns whether the call is to end, and looks it up now. */
int xr_look(struct xr_watch *watch);

/* Asks the caller if it is time to, for a thread that waits for others; and how many
 * nanoseconds it may wait until it asks again. */
void xr_look_idle(struct xr_watch *watch);
int64_t xr_idle_time(const struct xr_watch *watch);

/* Returns the flag itself. */
int xr_stop_seen(const struct xr_watch *watch);
/* Lets the thread do no more work. */
void xr_leave(struct xr_watch *watch);

/* Returns whether the body of the item in hand is to return now, having written down
 * how far it is, since somebody who is free takes it over: see jobs.h. */
int xr_is_called(struct xr_watch *watch);

static inline int xr_hands_on(struct xr_watch *watch)
{
    return watch->called != NULL && xr_is_called(watch);
}

/* Returns whether to leave instead of doing `work` multiplications, or what takes as
 * long. */
static inline int xr_leaves(struct xr_watch *watch, ptrdiff_t work)
{
    watch->left -= work;
    return watch->left < 0 && xr_look(watch);
}

#endif
