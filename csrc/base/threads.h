/* Threads of the C library that stand behind OpenMP where it cannot help itself: in a
 * forked child, and where the system gives no more threads.
 */
#ifndef XR_THREADS_H
#define XR_THREADS_H

/* How many of `wanted` more threads libgomp may be asked for. It ends the process when
 * it cannot start one, so they are tried before, and some more: between the trial and
 * the threads themselves others may start theirs, in this process and elsewhere. Takes
 * about 20 µs a thread. Who else asks in this process waits until these are there: the
 * caller says so by xr_started. */
int xr_startable(int wanted);
void xr_started(void);

/* Whether the calling thread has come through a fork: libgomp may believe in a pool of
 * this thread whose threads the child does not have, and wait for them for ever. */
int xr_came_through_fork(void);

/* The deputy is a thread of a child's own, without such a past, kept as long as the
 * child lives. It is only for the thread that came through the fork, one in a process.
 *
 * Begins errand(argument) on it. Returns 0 if there is none: no thread can be started,
 * or it is on an errand already, of which this call is a part. */
int xr_deputy_begin(void (*errand)(void *argument), void *argument);

/* Waits until the errand is done. */
void xr_deputy_wait(void);

#endif
