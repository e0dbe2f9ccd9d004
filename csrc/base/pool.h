/* The workers: threads of one long-lived region (region.h), which a deputy holds open.
 *
 *     caller                      deputy, a thread of the library's own
 *     shares its work (jobs.h)    region [ deputy | worker | worker ]
 *
 * No caller begins a region or waits for the end of one, so what libgomp knows of the
 * callers' threads never matters: neither a pool that was lost in a fork nor its
 * binding of threads to CPUs. A child has no workers until it asks for some.
 */
#ifndef XR_POOL_H
#define XR_POOL_H

/* Returns how many workers there are, of so many wanted. More are started where there
 * are too few, which is waited for; but not while others wait, and not for the same
 * number twice a second if the system does not give them. */
int xr_workers(int wanted);

/* What each thread of the region does until it is dismissed: rank 0 is the deputy, and
 * knows how many there are. */
void xr_work_in_pool(int rank, int size);

#endif
