/* The CPUs that the system lets this process use, asked for anew: they change while it
 * runs.
 */
#ifndef XR_CPUS_H
#define XR_CPUS_H

/* Those that the calling thread may run on, and no more than its control groups give
 * time for; INT_MAX where the system does not say. The first asks for affinity in each
 * call (0.3 µs) and for quotas once a second; the second does so when the system's
 * coarse clock has moved, every few milliseconds. */
int xr_cpus_now(void);
int xr_cpus_lately(void);

/* Takes a quota into account: a file "quota period" in microseconds (cgroup v2;
 * `period` is NULL), or a file for each number (v1). Anything but two positive numbers
 * is no limit. Returns 0 if no more quotas can be watched. Not while a call runs. */
int xr_watch_quota(const char *quota, const char *period);

#endif
