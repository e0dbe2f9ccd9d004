/* Variables of the environment, which mean what they mean to OpenMP. */
#ifndef XR_ENVIRONMENT_H
#define XR_ENVIRONMENT_H

#include <stddef.h>

/* The first number of a list such as "4,2"; `none` if it is not one above 0. */
int xr_number_of(const char *variable, int none);

/* The stack of threads: OMP_STACKSIZE, in KiB unless a unit follows; 0 for the system's
 * own size. */
size_t xr_stack_bytes(void);

/* Whether threads that wait are to sleep at once: OMP_WAIT_POLICY=passive. */
int xr_waits_asleep(void);

#endif
