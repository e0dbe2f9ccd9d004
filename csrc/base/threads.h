/* Threads of the library's own: the deputy, and how many more the system gives. */
#ifndef XR_THREADS_H
#define XR_THREADS_H

#include <stdint.h>

/* The system's word for a thread. */
typedef uintptr_t xr_thread;

/* Starts a thread that no signal reaches: those are for the threads of the program,
 * theirs are the handlers. Nobody waits for its end. Returns whether there is one. */
int xr_start_thread(void *(*run)(void *), void *argument);

/* Starts one whose end is waited for, by xr_await_end; its stack is as OMP_STACKSIZE has
 * it. Returns whether there is one. */
int xr_start_waited(xr_thread *thread, void *(*run)(void *), void *argument);
void xr_await_end(xr_thread thread);

/* How many of `wanted` more threads a region may be asked for. libgomp ends the
 * process when it cannot start one, so they are tried before, and some more: between
 * the trial and the threads themselves others may start theirs, in this process and
 * elsewhere. Takes about 20 µs a thread. Who else asks in this process, and who forks,
 * waits until these are there: the caller says so by xr_started. */
int xr_startable(int wanted);
void xr_started(void);

#endif
