/* Threads and the floating-point environment: how a call's work is run.
 *
 * Items run in the environment of the numerics contract (round to nearest even, gradual
 * underflow, no exceptions taken), whatever the caller's thread had set, which gets its
 * own back.
 */
#ifndef XR_PARALLEL_H
#define XR_PARALLEL_H

#include "base/jobs.h"
#include "base/sizes.h"
#include "base/stop.h"

/* How many threads some multiplications are worth: each is to have `least` of them at
 * least, and there are at most `most`. */
static inline int threads_for(ptrdiff_t work, ptrdiff_t least, ptrdiff_t most)
{
    const ptrdiff_t worth = least > 0 ? work / least : most;
    return (int)max_of(1, min_of(worth, most));
}

/* Returns how many threads there are for a call that is worth `threads`, the calling
 * one among them: fewer where no more can be started, and one inside a parallel region.
 * The second function returns one, too, while the machine is busy (busy.h), unless the
 * call of so many multiplications is long: about 10 ms by one thread of AVX-512, so
 * that sharing it pays even if one of them has to give way for a time slice. */
int xr_team(int threads);
int xr_team_now(int threads, ptrdiff_t multiplications);

/* Returns how many of `threads` share a call of some multiplications now. */
int xr_team_for(ptrdiff_t multiplications, int threads);

/* Does the work, by a team if it is greater than one; `stop` may be NULL. Returns
 * whether the call was ended early. */
int xr_run(const struct xr_work *work, int team, struct xr_stop *stop);

/* Does the same with one phase of an item for each of the team, which come to so many
 * multiplications. */
int xr_run_phase(int team, ptrdiff_t multiplications, xr_item_body *body, void *context,
                 struct xr_stop *stop);

#endif
