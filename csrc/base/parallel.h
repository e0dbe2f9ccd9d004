/* Threads and the floating-point environment: the one door to OpenMP.
 *
 * A body runs in every thread of a team in the environment of the numerics contract
 * (round to nearest even, gradual underflow, no exceptions taken), whatever the
 * caller's thread or the pool's threads had set, and each thread's environment is put
 * back.
 */
#ifndef XR_PARALLEL_H
#define XR_PARALLEL_H

#include <stdatomic.h>

#include "base/sizes.h"
#include "base/stop.h"

/* How many threads some multiplications are worth: each is to have `least` of them at
 * least, and there are at most `most`. */
static inline int threads_for(ptrdiff_t work, ptrdiff_t least, ptrdiff_t most)
{
    const ptrdiff_t worth = least > 0 ? work / least : most;
    return (int)max_of(1, min_of(worth, most));
}

typedef void xr_body(void *context, int rank, int size);

/* Runs body(context, rank, size) on a team of at most `threads`, of which the caller is
 * rank 0; `size` is the team that came out, smaller where no more threads can be
 * started. With one thread and inside another parallel region the caller runs it alone.
 * */
void xr_parallel(int threads, xr_body *body, void *context);

/* A barrier among `size` threads of a team, zero-initialised. Spins, and gives way to
 * other work of the machine after a while. A size of one costs nothing. Padded so that
 * neighbours in an array do not share a cache line. */
struct xr_barrier {
    atomic_int arrived;
    atomic_int round;
    int leave; /* the last one to come writes it before the others go on */
    char pad[64 - 2 * sizeof(atomic_int) - sizeof(int)];
};

/* Returns whether the call is to end: the same answer to all who have waited. */
int xr_barrier_wait(struct xr_barrier *barrier, int size, struct xr_watch *watch);

/* Pauses for a moment. Who waits calls it in a loop, with `turns` at 0 at first. */
void xr_wait_a_turn(int *turns, struct xr_watch *watch);

#endif
