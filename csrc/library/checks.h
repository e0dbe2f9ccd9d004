/* Checks of what a C program hands over, and the message that says what was wrong.
 *
 * Every check returns XR_OK or has written the message, which names the argument, what
 * was expected and what came. Checks of one call stand one after the other, each under
 * `if (status == XR_OK)`, so that the first one that fails is the one reported.
 */
#ifndef XR_CHECKS_H
#define XR_CHECKS_H

#include "base/calls.h"
#include "base/compiler.h"
#include "base/sizes.h"

/* Writes the message of this thread, as printf does, and returns `status`. */
XR_FORMAT(2, 3)
enum xr_status xr_refuse(enum xr_status status, const char *format, ...);

/* Copies a struct that begins with its `struct_size` into this library's own. */
enum xr_status xr_take_struct(const char *name, const void *given, void *own,
                              size_t bytes);

enum xr_status xr_check_engine(const struct xr_engine *engine);
enum xr_status xr_check_memory(const char *name, const void *memory, size_t alignment);
/* As xr_check_memory; NULL is right too. */
enum xr_status xr_check_optional(const char *name, const void *memory,
                                 size_t alignment);
enum xr_status xr_check_range(const char *name, int64_t value, int64_t least,
                              int64_t most);
/* Numbers 0..most; NULL is right too. */
enum xr_status xr_check_numbers(const char *name, const int64_t *values,
                                ptrdiff_t count, int64_t most);
enum xr_status xr_check_threads(int threads);

/* Whether as many elements, with all that is kept beside them, can be counted at all:
 * `elements` is a product of sizes that was taken in floating point. */
enum xr_status xr_check_volume(const char *sizes, double elements);

/* An activation whose parameters are numbers of the engine's dtype and leave its slope
 * known. */
enum xr_status xr_check_activation(const char *name, struct xr_nonlinearity chosen,
                                   const struct xr_engine *engine);

/* Copies a layer, checks all of it and writes `info`. */
enum xr_status xr_take_layer(const char *name, const struct xr_layer *given,
                             struct xr_layer *own);

/* What a call returns that could be ended early. */
static inline enum xr_status xr_end_of(const struct xr_stop *stop)
{
    return stop != NULL && stop->stopped ? XR_STOPPED : XR_OK;
}

#endif
