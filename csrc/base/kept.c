/* See kept.h. glibc decides by two thresholds: pieces from one on are mapped by
 * themselves, and unmapped when freed; as much memory as the other at the end of the
 * heap goes back to the system. It raises the first to the size of the largest mapped
 * piece that was freed, up to 32 MiB, and the second to twice that (mallopt(3)): pieces
 * of that size, it has learnt, come and go. Until then both are 128 KiB, and arrays of
 * a few hundred KiB, the caller's too, are cleared with every call. So that it need not
 * be learnt bit by bit, one piece of nearly the largest size is freed, untouched,
 * before the first large one is handed out.
 *
 * A process that has set a threshold by itself is left alone, by glibc. Other C
 * libraries see a piece come and go.
 */
#include "base/kept.h"

#include <stdatomic.h>
#include <stdlib.h>

#if defined(_WIN32) /* what is aligned is freed by a function of its own */
#include <malloc.h>
void *xr_take_lines(size_t bytes) { return _aligned_malloc(bytes, XR_ALIGNMENT); }
void xr_give_memory(void *memory) { _aligned_free(memory); }
#else
void *xr_take_lines(size_t bytes) { return aligned_alloc(XR_ALIGNMENT, bytes); }
void xr_give_memory(void *memory) { free(memory); }
#endif

static const size_t LARGE = (size_t)1 << 17, LARGEST = ((size_t)1 << 25) - 65536;

void *xr_take_memory(size_t bytes)
{
    static atomic_int has_learnt;
    if (bytes >= LARGE && !atomic_exchange(&has_learnt, 1)) {
        void *volatile piece = malloc(LARGEST); /* or the compiler leaves both out */
        free(piece);
    }
    return xr_take_lines(bytes);
}
