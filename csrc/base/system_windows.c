/* See system.h, doze.h, clock.h and threads.h: Windows 8 and newer. There are no forks,
 * no signals that a thread could be given, and no limit of threads that it would help
 * to try before.
 */
#define WIN32_LEAN_AND_MEAN
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0602
#endif
#include "base/system.h"

#include <limits.h>
#include <process.h>
#include <stdlib.h>
#include <windows.h>

#include "base/clock.h"
#include "base/doze.h"
#include "base/environment.h"
#include "base/threads.h"

/* Sleeping */

void xr_doze(_Atomic uint32_t *number, uint32_t seen, int64_t most)
{
    const int64_t longest = INFINITE - 1, wanted = most / MILLISECOND + 1;
    const int64_t wait = wanted < longest ? wanted : longest;
    WaitOnAddress((volatile void *)number, &seen, sizeof seen, (DWORD)wait);
}

void xr_wake(_Atomic uint32_t *number, int some)
{
    if (some == 1) {
        WakeByAddressSingle((void *)number);
    } else {
        WakeByAddressAll((void *)number);
    }
}

/* Clocks */

int64_t now_in_nanoseconds(void)
{
    static const int64_t second = 1000 * MILLISECOND;
    LARGE_INTEGER count, rate; /* ten million a second, on all machines of today */
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    const int64_t whole = count.QuadPart / rate.QuadPart;
    return whole * second + count.QuadPart % rate.QuadPart * second / rate.QuadPart;
}

struct timespec xr_coarse_clock(void)
{
    const uint64_t passed = GetTickCount64(); /* milliseconds, some at a time */
    return (struct timespec){.tv_sec = (time_t)(passed / 1000),
                             .tv_nsec = (long)(passed % 1000 * MILLISECOND)};
}

/* Processors and threads */

long xr_preemptions(void) { return 0; }

/* Those of the group that the process is in: of 64 at most. */
int xr_affinity_cpus(void)
{
    DWORD_PTR own, all;
    int cpus = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all) || own == 0) {
        return INT_MAX; /* it is in several groups */
    }
    for (; own != 0; own &= own - 1) {
        cpus++;
    }
    return cpus;
}

long xr_thread_number(void) { return 0; }

int xr_is_thread(long number)
{
    (void)number;
    return 0;
}

int xr_cpu(void) { return -1; }

int xr_keep_from(long number, int cpu)
{
    (void)number, (void)cpu;
    return 0;
}

void xr_let_to(long number, int cpu) { (void)number, (void)cpu; }

void xr_watch_forks(void (*in_child)(void)) { (void)in_child; }

struct start {
    void *(*run)(void *);
    void *argument;
};

static unsigned __stdcall begin(void *argument)
{
    const struct start start = *(struct start *)argument;
    free(argument);
    start.run(start.argument);
    return 0;
}

int xr_start_waited(xr_thread *thread, void *(*run)(void *), void *argument)
{
    struct start *start = malloc(sizeof *start);
    const size_t stack = xr_stack_bytes();
    *thread = 0;
    if (start == NULL) {
        return 0;
    }
    *start = (struct start){run, argument};
    *thread = _beginthreadex(NULL, stack < UINT_MAX ? (unsigned)stack : UINT_MAX, begin,
                             start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (*thread == 0) {
        free(start);
    }
    return *thread != 0;
}

void xr_await_end(xr_thread thread)
{
    WaitForSingleObject((HANDLE)thread, INFINITE);
    CloseHandle((HANDLE)thread);
}

int xr_start_thread(void *(*run)(void *), void *argument)
{
    xr_thread thread;
    const int exists = xr_start_waited(&thread, run, argument);
    if (exists) {
        CloseHandle((HANDLE)thread);
    }
    return exists;
}

int xr_startable(int wanted) { return wanted; }

void xr_started(void) {}

/* Memory */

int xr_offer_pages(void *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    return 0;
}

/* Files */

FILE *xr_open_text(const char *path) { return fopen(path, "rN"); }
