/* See region.h. Threads of the system's, where there is no OpenMP, and in wheels: a
 * copy of libgomp in a wheel would be one more runtime beside torch's and others'.
 *
 * OMP_NUM_THREADS and OMP_THREAD_LIMIT mean what they mean to OpenMP. A thread that
 * cannot be started is done without.
 */
#include "base/region.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cpus.h"
#include "base/environment.h"
#include "base/threads.h"
#include "base/calls.h"

const char xr_runtime[] = "threads of its own";

/* 0: not read yet. Threads that read at once read the same. */
static atomic_int unchosen, limit;

static int count_cpus(void)
{
    const int cpus = xr_cpus_now();
    return cpus < INT_MAX ? cpus : 1;
}

static int no_limit(void) { return INT_MAX; }

static int read_once(atomic_int *number, const char *variable, int (*none)(void))
{
    int known = atomic_load_explicit(number, memory_order_relaxed);
    if (known == 0) {
        known = xr_number_of(variable, none());
        atomic_store_explicit(number, known, memory_order_relaxed);
    }
    return known;
}

/* The calling thread's wish; 0 before it has one. */
static _Thread_local int wish;

static _Thread_local int is_inside;

int xr_region_threads(void)
{
    return wish > 0 ? wish : read_once(&unchosen, "OMP_NUM_THREADS", count_cpus);
}

void xr_region_wish(int threads) { wish = threads > 0 ? threads : 1; }

int xr_region_limit(void) { return read_once(&limit, "OMP_THREAD_LIMIT", no_limit); }

int xr_in_region(void) { return is_inside; }

struct worker {
    xr_thread thread;
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
        xr_await_end(workers[rank].thread);
    }
    free(workers);
}
