/* Time that passes, in nanoseconds: it never goes back. */
#ifndef XR_CLOCK_H
#define XR_CLOCK_H

#include <stdint.h>
#include <time.h>

#define MICROSECOND ((int64_t)1000)
#define MILLISECOND (1000 * MICROSECOND)

#if defined(_WIN32)
int64_t now_in_nanoseconds(void);
#else
static inline int64_t now_in_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 * MILLISECOND + now.tv_nsec;
}
#endif

#endif
