/* What a runtime of threads has to give: OpenMP's in region_openmp.c, the system's own
 * in region_threads.c, for builds without OpenMP. One of the two is compiled.
 *
 * A region is a function that several threads run at once, the one that opens it among
 * them. The number of threads is a wish of each thread's own, which begins as what
 * OMP_NUM_THREADS says, or the CPUs.
 */
#ifndef XR_REGION_H
#define XR_REGION_H

/* The calling thread's wish, and the most that there may be (OMP_THREAD_LIMIT). */
int xr_region_threads(void);
void xr_region_wish(int threads);
int xr_region_limit(void);

/* Whether the calling thread is inside a parallel region, ours or a user's. */
int xr_in_region(void);

/* Opens a region of so many threads, or of fewer; each calls xr_work_in_region with the
 * number that came out. Returns when all have come back. */
void xr_open_region(int threads);

/* What threads do in the region; parallel.c has it. */
void xr_work_in_region(int rank, int size);

#endif
