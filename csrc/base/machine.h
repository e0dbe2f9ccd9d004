/* What the machine can do at best: the loops by which benchmarks know its limits.
 *
 * No result of the library depends on them, and no kernel calls them. They are compiled
 * like the kernels, once for each (instruction set, dtype), and run on the same threads
 * in the same floating-point environment, so that a fraction of the limit compares like
 * with like. Who calls them takes the time. kernels/math/machine.c has the
 * code, base/dispatch.c the look-up, src/exactrnn/bench/limit.py what is made of them.
 */
#ifndef XR_MACHINE_H
#define XR_MACHINE_H

#include "base/calls.h"

struct xr_machine {
    /* Multiply-adds that stay in registers. Returns the operations of all threads
     * together, an fma counted as two. */
    ptrdiff_t (*fma_loop)(ptrdiff_t rounds, int threads);
    /* Reads `bytes` at `data` (finite elements, aligned to XR_ALIGNMENT) `rounds` times
     * there and back, every thread a part of its own. Returns the bytes read in all. */
    ptrdiff_t (*read_loop)(const void *data, ptrdiff_t bytes, ptrdiff_t rounds,
                           int threads);
};

/* NULL where the name is unknown or this machine cannot run it. */
const struct xr_machine *xr_find_machine(const char *isa, enum xr_dtype dtype);

#endif
