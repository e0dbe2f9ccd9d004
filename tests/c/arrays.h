/* What the programs of tests/helpers/c_programs.py share: numbers from standard input,
 * results to standard output, both raw arrays in this machine's bytes.
 *
 * Every array is as long as asked and no byte longer, so that an address sanitizer sees
 * the first one past its end; memory to be written is filled with NaN, so that what is
 * read before it is written shows in the results.
 */
#ifndef ARRAYS_H
#define ARRAYS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/calls.h"

static inline void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#include <malloc.h>
static inline void *aligned(size_t bytes)
{
    return _aligned_malloc(bytes, XR_ALIGNMENT);
}
static inline void release(void *memory) { _aligned_free(memory); }
/* Has a stream bring bytes as they are. */
static inline void bring_bytes(FILE *stream) { _setmode(_fileno(stream), _O_BINARY); }
#else
static inline void *aligned(size_t bytes)
{
    void *memory;
    return posix_memalign(&memory, XR_ALIGNMENT, bytes) == 0 ? memory : NULL;
}
static inline void release(void *memory) { free(memory); }
static inline void bring_bytes(FILE *stream) { (void)stream; }
#endif

static inline void *allocate_filled(size_t bytes, int byte)
{
    void *memory = aligned(bytes ? bytes : 1);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memset(memory, byte, bytes);
}

static inline void *allocate(size_t bytes) { return allocate_filled(bytes, 0xff); }

static inline void *allocate_zeros(size_t bytes) { return allocate_filled(bytes, 0); }

static inline void *read_array(ptrdiff_t count, size_t element)
{
    void *array = allocate((size_t)count * element);
    bring_bytes(stdin);
    if (fread(array, element, (size_t)count, stdin) != (size_t)count) {
        fail("input ends early");
    }
    return array;
}

static inline void write_array(const void *array, ptrdiff_t count, size_t element)
{
    bring_bytes(stdout);
    if (fwrite(array, element, (size_t)count, stdout) != (size_t)count) {
        fail("cannot write");
    }
}

static inline enum xr_dtype dtype_of(const char *name)
{
    return strcmp(name, "f32") == 0 ? XR_F32 : XR_F64;
}

static inline size_t element_bytes(const char *name)
{
    return dtype_of(name) == XR_F32 ? 4 : 8;
}

/* Calls of any size use all threads they are given, of which three or more exchange
 * their items at every chance. */
static inline void use_every_thread(int threads)
{
    xr_thread_work = (struct xr_thread_work){.call = 0, .step = 0};
    xr_exchanging = threads >= 3;
}

/* The answer of struct xr_stop: `asked` counts down to the 1. */
static inline int answer_at_last(void *asked) { return --*(ptrdiff_t *)asked == 0; }

/* Runs call(problem, stop), ended at its chance 1, 2, 4, 8, ..., until one is not. */
static inline void end_at_chances(void (*call)(void *problem, struct xr_stop *stop),
                                  void *problem)
{
    const struct xr_stop_pace before = xr_stop_pace;
    xr_stop_pace = (struct xr_stop_pace){.work = 0, .nanoseconds = 0};
    struct xr_stop stop = {.stopped = 1};
    for (ptrdiff_t last = 1; stop.stopped; last *= 2) {
        ptrdiff_t asked = last;
        stop = (struct xr_stop){.wanted = answer_at_last, .context = &asked};
        call(problem, &stop);
    }
    xr_stop_pace = before;
}

#endif
