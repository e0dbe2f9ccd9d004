/* Sleeping on a number until it changes: a futex. A waiting thread spins for some
 * microseconds and then sleeps, as an idle CPU is given to those who can run, among
 * them the thread that is waited for; one that only gives way keeps its CPU busy.
 */
#ifndef XR_DOZE_H
#define XR_DOZE_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while the number is `seen`, for so many nanoseconds at most. It may wake
 * before: who calls it looks again. */
void xr_doze(_Atomic uint32_t *number, uint32_t seen, int64_t most);

/* Wakes some of those who sleep on the number, which has been changed before. */
void xr_wake(_Atomic uint32_t *number, int some);

#endif
