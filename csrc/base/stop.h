/* Leaving a long call early: what struct xr_stop of exactrnn.h asks for.
 *
 * Kernels tell the watch of their thread, between tiles and never inside one, how much
 * they are about to do, in multiplications. Once in about a millisecond that leads to a
 * look: the calling thread reads the clock and, every 20 ms, asks the caller; the other
 * threads read the flag that it sets. A call of less than a million multiplications
 * (about 15 µs on AVX-512) never looks.
 *
 * A thread that is leaving does no more work, but comes to the next barrier as always.
 * Threads that share a barrier leave together, by what the last one to come has read
 * for all of them; whoever has none leaves by itself. So no thread waits for one that
 * has gone, and nobody counts the barriers that are left.
 */
#ifndef XR_STOP_H
#define XR_STOP_H

#include "exactrnn.h"

/* What a thread knows during one call. */
struct xr_watch {
    struct xr_stop *stop; /* NULL: nobody can end the call */
    int asks;             /* the calling thread: no other one asks the caller */
    int leaving;          /* this thread has seen that the call is to end */
    ptrdiff_t left;       /* work until its next look */
    ptrdiff_t stride;     /* work between two looks */
    int64_t looked;       /* nanoseconds of the last look; 0: none */
    int64_t asked, rest;  /* of the last question, and from it to the next one */
};

/* The watch of the thread of this rank; 0 is the calling one. */
struct xr_watch xr_make_watch(struct xr_stop *stop, int rank);

/* Returns whether the call is to end, and looks it up now. */
int xr_look(struct xr_watch *watch);

/* Asks the caller if it is time to. This is for a thread that waits for others. */
void xr_look_idle(struct xr_watch *watch);

/* Returns the flag itself, which a barrier hands on. */
int xr_stop_seen(const struct xr_watch *watch);
/* Lets the thread do no more work. */
void xr_leave(struct xr_watch *watch);

/* Returns whether to leave instead of doing `work` multiplications, or what takes as
 * long. */
static inline int xr_leaves(struct xr_watch *watch, ptrdiff_t work)
{
    watch->left -= work;
    return watch->left < 0 && xr_look(watch);
}

typedef void xr_watched_body(void *context, int rank, int size, struct xr_watch *watch);

/* As xr_parallel (parallel.h), each thread with a watch; `stop` may be NULL. The
 * calling thread goes on asking while it waits for the others. Returns whether the
 * call was ended. */
int xr_run_watched(int threads, xr_watched_body *body, void *context,
                   struct xr_stop *stop);

#endif
