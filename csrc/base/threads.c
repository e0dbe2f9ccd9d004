/* See threads.h. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/system.h"

static int start_silent(pthread_t *thread, const pthread_attr_t *attributes,
                        void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(thread, attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

/* Held from a trial until the threads it has promised are there. */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void) { pthread_mutex_lock(&starting); }

static void after_fork(void) { pthread_mutex_unlock(&starting); }

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

int xr_start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_mutex_lock(&starting);
    const int exists = start_silent(&thread, NULL, run, argument);
    pthread_mutex_unlock(&starting);
    if (exists) {
        pthread_detach(thread);
    }
    return exists;
}

/* The stack of a region's threads: that of the process's default, or what the
 * environment says, in KiB unless a unit follows. */
static size_t stack_bytes(void)
{
    const char *text = getenv("OMP_STACKSIZE");
    if (text == NULL) {
        text = getenv("GOMP_STACKSIZE");
    }
    if (text == NULL) {
        return 0;
    }
    char *end;
    const unsigned long long number = strtoull(text, &end, 10);
    const char *units = "bkmg";
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    const int shift = unit == NULL ? 10 : 10 * (int)(unit - units);
    return number > SIZE_MAX >> shift ? SIZE_MAX : (size_t)number << shift;
}

static void make_attributes(pthread_attr_t *attributes)
{
    pthread_attr_init(attributes);
    const size_t stack = stack_bytes();
    if (stack > 0) {
        pthread_attr_setstacksize(attributes, stack); /* refused: as libgomp's is */
    }
}

int xr_start_waited(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    make_attributes(&attributes);
    const int exists = start_silent(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return exists;
}

/* A thread of the probe: it is there until the gate opens. */
struct trial {
    pthread_t thread;
    pthread_mutex_t *gate;
    long number; /* the system's */
};

static void *wait_at_gate(void *argument)
{
    struct trial *trial = argument;
    trial->number = xr_thread_number();
    pthread_mutex_lock(trial->gate);
    pthread_mutex_unlock(trial->gate);
    return NULL;
}

/* A thread that was joined still counts for a moment: the kernel tells the joiner first
 * and gives back the place among the user's processes later. */
static void wait_until_gone(long number)
{
    for (int i = 0; i < 100000 && xr_is_thread(number); i++) {
        sched_yield();
    }
}

/* Starts threads that are there all at once, and lets them end. */
static int start_and_end(struct trial *trials, int wanted)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_attr_t attributes;
    make_attributes(&attributes);
    int started = 0;
    pthread_mutex_lock(&gate);
    while (started < wanted) {
        struct trial *trial = &trials[started];
        trial->gate = &gate;
        if (!start_silent(&trial->thread, &attributes, wait_at_gate, trial)) {
            break;
        }
        started++;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++) {
        pthread_join(trials[i].thread, NULL);
    }
    for (int i = 0; i < started; i++) {
        wait_until_gone(trials[i].number);
    }
    pthread_attr_destroy(&attributes);
    return started;
}

/* So many threads are left to the rest of the process. */
enum { SPARE_THREADS = 8 };

int xr_startable(int wanted)
{
    pthread_mutex_lock(&starting);
    const int tried = wanted + SPARE_THREADS;
    struct trial *trials = malloc((size_t)tried * sizeof *trials);
    const int started = trials == NULL ? 0 : start_and_end(trials, tried);
    free(trials);
    return started > SPARE_THREADS ? started - SPARE_THREADS : 0;
}

void xr_started(void) { pthread_mutex_unlock(&starting); }
