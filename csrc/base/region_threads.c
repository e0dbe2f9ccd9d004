/* See region.h. Threads of the system's, where there is no OpenMP, and in wheels: a
 * copy of libgomp in a wheel would be one more runtime beside torch's and others'.
 *
 * OMP_NUM_THREADS and OMP_THREAD_LIMIT mean what they mean to OpenMP. A thread that
 * cannot be started is done without.
 */
#define _GNU_SOURCE
#include "base/region.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cpus.h"
#include "base/threads.h"
#include "base/calls.h"

const char xr_runtime[] = "threads of its own";

/* The first number of a list such as "4,2"; `none` if it is not one above 0. */
static int number_of(const char *variable, int none)
{
    const char *text = getenv(variable);
    if (text == NULL) {
        return none;
    }
    char *end;
    const long number = strtol(text, &end, 10);
    const int is_one = end != text && (*end == '\0' || *end == ',' || *end == ' ');
    return is_one && number > 0 && number <= INT_MAX ? (int)number : none;
}

static int unchosen, limit;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_environment(void)
{
    const int cpus = xr_cpus_now();
    unchosen = number_of("OMP_NUM_THREADS", cpus < INT_MAX ? cpus : 1);
    limit = number_of("OMP_THREAD_LIMIT", INT_MAX);
}

/* The calling thread's wish; 0 before it has one. */
static _Thread_local int wish;

static _Thread_local int is_inside;

int xr_region_threads(void)
{
    pthread_once(&once, read_environment);
    return wish > 0 ? wish : unchosen;
}

void xr_region_wish(int threads) { wish = threads > 0 ? threads : 1; }

int xr_region_limit(void)
{
    pthread_once(&once, read_environment);
    return limit;
}

int xr_in_region(void) { return is_inside; }

struct worker {
    pthread_t thread;
    int rank;
};

static void *run_worker(void *argument)
{
    const struct worker *worker = argument;
    is_inside = 1;
    xr_work_in_region(worker->rank, 0); /* only the first thread needs the size */
    return NULL;
}

void xr_open_region(int threads)
{
    struct worker *workers = malloc((size_t)threads * sizeof *workers);
    int size = 1;
    while (workers != NULL && size < threads) {
        workers[size].rank = size;
        if (!xr_start_waited(&workers[size].thread, run_worker, &workers[size])) {
            break;
        }
        size++;
    }
    is_inside = 1;
    xr_work_in_region(0, size);
    is_inside = 0;
    for (int rank = 1; rank < size; rank++) {
        pthread_join(workers[rank].thread, NULL);
    }
    free(workers);
}
