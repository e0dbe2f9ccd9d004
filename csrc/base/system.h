/* What systems do each in a way of their own: system_linux.c, system_windows.c, and
 * system_posix.c for others that have POSIX threads, among them macOS. doze.h, clock.h
 * and threads.h are the rest of it.
 */
#ifndef XR_SYSTEM_H
#define XR_SYSTEM_H

#include <stdio.h>
#include <time.h>

/* How often the system has taken the calling thread off its core; 0 where it does not
 * tell threads apart. Takes about 0.3 µs. */
long xr_preemptions(void);

/* CPUs that the calling thread may run on; INT_MAX where the system does not say. */
int xr_affinity_cpus(void);

/* A clock that goes in steps of some milliseconds, and is cheap to read. */
struct timespec xr_coarse_clock(void);

/* The system's number of the calling thread, 0 if it has none, and whether a thread of
 * this process with that number is still there. */
long xr_thread_number(void);
int xr_is_thread(long number);

/* The CPU on which the calling thread runs, in a few nanoseconds; -1 where the system
 * does not say, or has no way to keep a thread from one. */
int xr_cpu(void);

/* Keeps a thread of this process from a CPU on which it may run, if there are others;
 * returns whether it does. The second function lets it there again. */
int xr_keep_from(long number, int cpu);
void xr_let_to(long number, int cpu);

/* Has a function called in every child that is forked. */
void xr_watch_forks(void (*in_child)(void));

/* Lets the system have the pages of memory whose content nobody needs, when it wants
 * them; until then they are there for who writes to them again. Returns 0 where it
 * cannot take them so. */
int xr_offer_pages(void *memory, size_t bytes);

/* Opens a file to read, which programs that are started meanwhile do not inherit. */
FILE *xr_open_text(const char *path);

#endif
