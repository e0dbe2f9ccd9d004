/* See doze.h. */
#define _GNU_SOURCE
#include "base/doze.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

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
