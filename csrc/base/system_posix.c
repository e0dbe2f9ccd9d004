/* See system.h and doze.h. All who sleep do so on one condition: whoever is woken looks
 * whether it was meant, as doze.h has it. Processors of a process cannot be asked for,
 * nor what a thread has lost: calls are shared as if the machine were idle.
 */
#define _GNU_SOURCE
#include "base/system.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/doze.h"

static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* A child has one thread: nobody sleeps, and nobody holds the lock. */
static void after_fork_in_child(void)
{
    pthread_mutex_init(&asleep, NULL);
    pthread_cond_init(&changed, NULL);
}

XR_AT_LOAD(watch_forks) { pthread_atfork(NULL, NULL, after_fork_in_child); }

static struct timespec time_in(int64_t nanoseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    const int64_t sum = time.tv_nsec + nanoseconds;
    time.tv_sec += (time_t)(sum / (1000 * MILLISECOND));
    time.tv_nsec = (long)(sum % (1000 * MILLISECOND));
    return time;
}

void xr_doze(_Atomic uint32_t *number, uint32_t seen, int64_t most)
{
    const struct timespec end = time_in(most);
    pthread_mutex_lock(&asleep);
    if (atomic_load(number) == seen) {
        pthread_cond_timedwait(&changed, &asleep, &end);
    }
    pthread_mutex_unlock(&asleep);
}

void xr_wake(_Atomic uint32_t *number, int some)
{
    (void)number, (void)some;
    pthread_mutex_lock(&asleep);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&asleep);
}

long xr_preemptions(void) { return 0; }

int xr_affinity_cpus(void)
{
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus > 0 && cpus < INT_MAX ? (int)cpus : INT_MAX;
}

struct timespec xr_coarse_clock(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    now.tv_nsec -= now.tv_nsec % (long)(4 * MILLISECOND);
    return now;
}

long xr_thread_number(void) { return 0; }

int xr_is_thread(long number)
{
    (void)number;
    return 0;
}

int xr_cpu(void) { return -1; }

int xr_keep_from(long number, int cpu)
{
    (void)number, (void)cpu;
    return 0;
}

void xr_let_to(long number, int cpu) { (void)number, (void)cpu; }

void xr_watch_forks(void (*in_child)(void)) { pthread_atfork(NULL, NULL, in_child); }

int xr_offer_pages(void *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    return 0;
}

FILE *xr_open_text(const char *path) { return fopen(path, "re"); }
