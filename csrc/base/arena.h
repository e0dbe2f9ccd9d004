/* Memory that is handed out piece by piece, each on a cache line. */
#ifndef XR_ARENA_H
#define XR_ARENA_H

#include "base/calls.h"

/* An arena without memory only counts the bytes that it would hand out. */
struct arena {
    char *memory;
    size_t used;
};

static void *arena_take(struct arena *arena, ptrdiff_t count, size_t size)
{
    void *piece = arena->memory ? arena->memory + arena->used : NULL;
    const size_t bytes = (size_t)count * size;
    arena->used += (bytes + XR_ALIGNMENT - 1) / XR_ALIGNMENT * XR_ALIGNMENT;
    return piece;
}

#endif
