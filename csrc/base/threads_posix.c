/* See threads.h: POSIX threads. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/environment.h"
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

XR_AT_LOAD(watch_forks) { pthread_atfork(before_fork, after_fork, after_fork); }

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

static void make_attributes(pthread_attr_t *attributes)
{
    pthread_attr_init(attributes);
    const size_t stack = xr_stack_bytes();
    if (stack > 0) {
        pthread_attr_setstacksize(attributes, stack); /* refused: as libgomp's is */
    }
}

_Static_assert(sizeof(pthread_t) <= sizeof(xr_thread), "a thread has to fit");

int xr_start_waited(xr_thread *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t started;
    make_attributes(&attributes);
    const int exists = start_silent(&started, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    *thread = exists ? (xr_thread)started : 0;
    return exists;
}

void xr_await_end(xr_thread thread) { pthread_join((pthread_t)thread, NULL); }

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
