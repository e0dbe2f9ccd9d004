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
 *
 * Before 2.38 glibc takes an aligned piece from one with room to spare, so that one of
 * the same size that was freed is too small by some bytes. A plain piece of that size
 * is found there, and lies on a cache line as the one before did.
 *
 * Scratch does not go back to glibc: by the next call arrays have been cut from what
 * was freed. The heap grew with each call then, and its new pages were cleared: 2,800
 * of an attention decoder, forward and back, 3.5 ms of 60. So one piece waits, the
 * largest of those given back.
 */
#include "base/kept.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32) /* what is aligned is freed by a function of its own */
#include <malloc.h>
void *xr_take_lines(size_t bytes) { return _aligned_malloc(bytes, XR_ALIGNMENT); }
void xr_give_memory(void *memory) { _aligned_free(memory); }
static void *take_large(size_t bytes) { return xr_take_lines(bytes); }
#else
void *xr_take_lines(size_t bytes) { return aligned_alloc(XR_ALIGNMENT, bytes); }
void xr_give_memory(void *memory) { free(memory); }

static void *take_large(size_t bytes)
{
    void *again = malloc(bytes);
    if (again != NULL && (uintptr_t)again % XR_ALIGNMENT == 0) {
        return again;
    }
    free(again);
    return xr_take_lines(bytes);
}
#endif

static const size_t LARGE = (size_t)1 << 17, LARGEST = ((size_t)1 << 25) - 65536;

void *xr_take_memory(size_t bytes)
{
    static atomic_int has_learnt;
    if (bytes >= LARGE && !atomic_exchange(&has_learnt, 1)) {
        void *volatile piece = malloc(LARGEST); /* or the compiler leaves both out */
        free(piece);
    }
    return bytes >= LARGE ? take_large(bytes) : xr_take_lines(bytes);
}

/* The beginning of the piece that waits, which holds nothing else. */
struct waiting_piece {
    size_t bytes;
};

static _Atomic(struct waiting_piece *) waiting;

void *xr_take_scratch(size_t *bytes)
{
    struct waiting_piece *piece =
        *bytes >= LARGE ? atomic_exchange(&waiting, NULL) : NULL;
    if (piece != NULL && piece->bytes >= *bytes) {
        *bytes = piece->bytes;
        return piece;
    }
    xr_give_memory(piece);
    return xr_take_memory(*bytes);
}

void xr_give_scratch(void *piece, size_t bytes)
{
    struct waiting_piece *given = piece, *other = NULL;
    if (given != NULL && bytes >= LARGE && bytes <= LARGEST) {
        given->bytes = bytes;
        other = atomic_exchange(&waiting, NULL);
        if (other != NULL && other->bytes > bytes) {
            struct waiting_piece *const larger = other;
            other = given;
            given = larger;
        }
        given = atomic_exchange(&waiting, given); /* another thread's, if any */
    }
    xr_give_memory(given);
    xr_give_memory(other);
}
