/* Threads that sleep on a bell, a number that changes, and waking them on CPUs of their
 * own.
 *
 * Some kernels wake a thread on the CPU of whoever wakes it, be others idle, and take
 * milliseconds to think better of it; seen on virtual machines of two CPUs. A call
 * whose worker waits for the caller's CPU is shared with nobody. So once a worker has
 * come to on the CPU where its call began, sleepers are kept from the CPU of whoever
 * wakes them while they are woken. It takes some 1.5 µs for each, and their affinity
 * is afterwards what it was.
 */
#ifndef XR_SLEEPERS_H
#define XR_SLEEPERS_H

#include "base/doze.h"

/* Sleeps and wakes as in doze.h. */
void xr_sleep_on(_Atomic uint32_t *bell, uint32_t seen, int64_t most);
void xr_wake_sleepers(_Atomic uint32_t *bell, int some);

/* Says that a worker runs now, for a call that began on this CPU. */
void xr_note_cpus(int began);

/* In a forked child: nobody sleeps. */
void xr_forget_sleepers(void);

#endif
