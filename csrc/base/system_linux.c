/* See system.h and doze.h. */
#define _GNU_SOURCE
#include "base/system.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/doze.h"

void xr_doze(_Atomic uint32_t *number, uint32_t seen, int64_t most)
{
    const struct timespec time = {.tv_sec = (time_t)(most / (1000 * MILLISECOND)),
                                  .tv_nsec = (long)(most % (1000 * MILLISECOND))};
    syscall(SYS_futex, number, FUTEX_WAIT_PRIVATE, seen, &time, NULL, 0);
}

void xr_wake(_Atomic uint32_t *number, int some)
{
    syscall(SYS_futex, number, FUTEX_WAKE_PRIVATE, some, NULL, NULL, 0);
}

long xr_preemptions(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

int xr_affinity_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return INT_MAX; /* more CPUs than the set has room for */
    }
    return CPU_COUNT(&set);
}

struct timespec xr_coarse_clock(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* without a system call */
    return now;
}

long xr_thread_number(void) { return syscall(SYS_gettid); }

int xr_is_thread(long number) { return syscall(SYS_tgkill, getpid(), number, 0) == 0; }

int xr_cpu(void) { return sched_getcpu(); }

int xr_keep_from(long number, int cpu)
{
    cpu_set_t set;
    if (sched_getaffinity((pid_t)number, sizeof set, &set) != 0) {
        return 0;
    }
    if (!CPU_ISSET((size_t)cpu, &set)) {
        return 0;
    }
    CPU_CLR((size_t)cpu, &set);
    return CPU_COUNT(&set) > 0 &&
           sched_setaffinity((pid_t)number, sizeof set, &set) == 0;
}

void xr_let_to(long number, int cpu)
{
    cpu_set_t set;
    if (sched_getaffinity((pid_t)number, sizeof set, &set) == 0) {
        CPU_SET((size_t)cpu, &set);
        sched_setaffinity((pid_t)number, sizeof set, &set);
    }
}

void xr_watch_forks(void (*in_child)(void)) { pthread_atfork(NULL, NULL, in_child); }

int xr_offer_pages(void *memory, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)memory + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)memory + bytes) / page * page;
    return end > begin && madvise((void *)begin, end - begin, MADV_FREE) == 0;
}

FILE *xr_open_text(const char *path) { return fopen(path, "re"); }
