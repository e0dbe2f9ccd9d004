/* See region.h. The only file that names OpenMP.
 *
 * What libgomp does to a process that is not ready for it is kept away:
 *
 * - Its threads do not survive fork(), and regions belong to the thread that begins
 *   them: a deputy begins the only one, and a child has one of its own (pool.h).
 * - It ends the process if it cannot start a thread: the deputy tries before.
 * - It binds threads that begin regions to CPUs if OMP_PROC_BIND is set: the deputy and
 *   the workers are the library's, but callers are not.
 *
 * It keeps a number for each thread, which other users of it may choose as well:
 * threadpoolctl, for one.
 */
#include "base/region.h"

#include <omp.h>

#include "base/calls.h"

const char xr_runtime[] = "OpenMP";

int xr_region_threads(void) { return omp_get_max_threads(); }

void xr_region_wish(int threads) { omp_set_num_threads(threads); }

int xr_region_limit(void) { return omp_get_thread_limit(); }

int xr_in_region(void) { return omp_in_parallel(); }

void xr_open_region(int threads)
{
#pragma omp parallel num_threads(threads)
    xr_work_in_region(omp_get_thread_num(), omp_get_num_threads());
}
