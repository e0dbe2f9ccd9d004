/* See cpus.h. */
#include "base/cpus.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/system.h"

/* A process's own control group and those around it. */
enum { MAX_QUOTAS = 16 };

static struct {
    char *quota, *period; /* without period: it is in the file of the quota */
} watched[MAX_QUOTAS];
static int watched_count;

/* A copy of a text, which may be NULL. */
static char *copy_text(const char *text)
{
    const size_t bytes = text == NULL ? 0 : strlen(text) + 1;
    char *copy = text == NULL ? NULL : malloc(bytes);
    return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

int xr_watch_quota(const char *quota, const char *period)
{
    if (watched_count == MAX_QUOTAS) {
        return 0;
    }
    char *copies[2] = {copy_text(quota), copy_text(period)};
    if (copies[0] == NULL || (copies[1] == NULL && period != NULL)) {
        free(copies[0]);
        return 0;
    }
    watched[watched_count].quota = copies[0];
    watched[watched_count].period = copies[1];
    watched_count++;
    return 1;
}

static int read_numbers(const char *path, long long numbers[2])
{
    FILE *file = xr_open_text(path);
    if (file == NULL) {
        return 0;
    }
    const int found = fscanf(file, "%lld %lld", &numbers[0], &numbers[1]);
    fclose(file);
    return found;
}

/* CPUs that one quota is worth, rounded up: what a program of one and a half CPUs gains
 * from the second thread, it does not lose by waiting. */
static int cpus_of_quota(int index)
{
    long long numbers[2] = {0, 0};
    int found = read_numbers(watched[index].quota, numbers);
    if (watched[index].period != NULL) {
        long long period[2] = {0, 0};
        found += read_numbers(watched[index].period, period);
        numbers[1] = period[0];
    }
    if (found < 2 || numbers[0] <= 0 || numbers[1] <= 0) {
        return INT_MAX;
    }
    const long long cpus = (numbers[0] - 1) / numbers[1] + 1;
    return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

static int read_quotas(void)
{
    int least = INT_MAX;
    for (int i = 0; i < watched_count; i++) {
        const int cpus = cpus_of_quota(i);
        least = cpus < least ? cpus : least;
    }
    return least;
}

/* Threads that come here at once read the same files. */
static int quota_cpus(long long second)
{
    static atomic_llong read_at = -1;
    static atomic_int cpus = INT_MAX;
    if (watched_count > 0 &&
        atomic_load_explicit(&read_at, memory_order_relaxed) != second) {
        atomic_store(&cpus, read_quotas());
        atomic_store(&read_at, second);
    }
    return atomic_load_explicit(&cpus, memory_order_relaxed);
}

static int cpus_at(struct timespec now)
{
    const int affinity = xr_affinity_cpus(), quota = quota_cpus(now.tv_sec);
    return affinity < quota ? affinity : quota;
}

int xr_cpus_now(void) { return cpus_at(xr_coarse_clock()); }

int xr_cpus_lately(void)
{
    static _Thread_local struct timespec asked_at = {.tv_nsec = -1};
    static _Thread_local int cpus;
    const struct timespec now = xr_coarse_clock();
    if (now.tv_nsec != asked_at.tv_nsec || now.tv_sec != asked_at.tv_sec) {
        cpus = cpus_at(now);
        asked_at = now;
    }
    return cpus;
}
