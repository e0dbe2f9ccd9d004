/* Linked with --wrap=xr_scratch_bytes: kernels get less memory than they use, and an
 * address sanitizer must say so.
 */
#include "base/calls.h"

size_t __real_xr_scratch_bytes(const struct xr_problem *problem, int backward);
size_t __wrap_xr_scratch_bytes(const struct xr_problem *problem, int backward);

size_t __wrap_xr_scratch_bytes(const struct xr_problem *problem, int backward)
{
    return __real_xr_scratch_bytes(problem, backward) / 2;
}
