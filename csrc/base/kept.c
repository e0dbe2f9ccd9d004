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
 *
 * Pieces that are mapped by themselves for all that glibc learns wait too, caches of
 * large batches among them: LSTM with layer normalisation, T, B, H = 100, 16, 256,
 * forward and back, took 91 ms instead of 71 with new pages. What waits is offered to
 * the system, which takes it when memory is short. Nothing waits where that cannot be.
 */
#include "base/kept.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/system.h"

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

static const size_t LARGE = (size_t)1 << 17, MOST_WAITING = (size_t)1 << 27;
enum { MAPPED_PIECES = 3 };

/* The beginning of a piece that waits, which holds nothing else. */
struct waiting_piece {
    size_t bytes;
};

typedef _Atomic(struct waiting_piece *) waiting_place;

static waiting_place waiting, mapped[MAPPED_PIECES];

/* Frees all that waits, for who finds no memory. */
static void give_waiting(void)
{
    xr_give_memory(atomic_exchange(&waiting, NULL));
    for (int i = 0; i < MAPPED_PIECES; i++) {
        xr_give_memory(atomic_exchange(&mapped[i], NULL));
    }
}

static void *take_new(size_t bytes)
{
    return bytes >= LARGE ? take_large(bytes) : xr_take_lines(bytes);
}

void *xr_take_memory(size_t bytes)
{
    static atomic_int has_learnt;
    if (bytes >= LARGE && !atomic_exchange(&has_learnt, 1)) {
        void *volatile piece = malloc(XR_MAPPED); /* or the compiler leaves both out */
        free(piece);
    }
    void *memory = take_new(bytes);
    if (memory == NULL) {
        give_waiting();
        memory = take_new(bytes);
    }
    return memory;
}

/* Lets a piece wait in a place that is empty. */
static int wait_at(waiting_place *place, struct waiting_piece *piece)
{
    struct waiting_piece *none = NULL;
    return atomic_compare_exchange_strong(place, &none, piece);
}

/* Returns a piece that waits of `bytes` to twice as much, or NULL. */
static struct waiting_piece *take_mapped(size_t bytes)
{
    for (int i = 0; i < MAPPED_PIECES; i++) {
        struct waiting_piece *const piece = atomic_exchange(&mapped[i], NULL);
        if (piece != NULL && piece->bytes >= bytes && piece->bytes / 2 <= bytes) {
            return piece;
        }
        if (piece != NULL && !wait_at(&mapped[i], piece)) {
            xr_give_memory(piece); /* another thread's waits there now */
        }
    }
    return NULL;
}

/* Returns the piece that waits if it is large enough; if not, it waits no longer. */
static struct waiting_piece *take_waiting(size_t bytes)
{
    struct waiting_piece *const piece = atomic_exchange(&waiting, NULL);
    if (piece != NULL && piece->bytes < bytes) {
        xr_give_memory(piece);
        return NULL;
    }
    return piece;
}

void *xr_take_scratch(size_t *bytes)
{
    struct waiting_piece *const piece = *bytes > XR_MAPPED ? take_mapped(*bytes)
                                        : *bytes >= LARGE  ? take_waiting(*bytes)
                                                           : NULL;
    if (piece != NULL) {
        *bytes = piece->bytes;
        return piece;
    }
    return xr_take_memory(*bytes);
}

/* Puts a piece where one may wait, instead of another in turn if all places are
 * taken; frees what has no place. */
static void give_mapped(struct waiting_piece *piece)
{
    static atomic_uint turn;
    if (!xr_offer_pages(piece + 1, piece->bytes - sizeof *piece)) {
        xr_give_memory(piece);
        return;
    }
    for (int i = 0; i < MAPPED_PIECES; i++) {
        if (wait_at(&mapped[i], piece)) {
            return;
        }
    }
    const unsigned place = atomic_fetch_add(&turn, 1) % MAPPED_PIECES;
    xr_give_memory(atomic_exchange(&mapped[place], piece));
}

/* The same of scratch below XR_MAPPED: the largest waits. */
static void give_larger(struct waiting_piece *piece)
{
    struct waiting_piece *other = atomic_exchange(&waiting, NULL);
    if (other != NULL && other->bytes > piece->bytes) {
        struct waiting_piece *const larger = other;
        other = piece;
        piece = larger;
    }
    xr_give_memory(atomic_exchange(&waiting, piece)); /* another thread's, if any */
    xr_give_memory(other);
}

void xr_give_scratch(void *piece, size_t bytes)
{
    struct waiting_piece *const given = piece;
    if (given == NULL || bytes < LARGE || bytes > MOST_WAITING) {
        xr_give_memory(piece);
        return;
    }
    given->bytes = bytes;
    if (bytes > XR_MAPPED) {
        give_mapped(given);
    } else {
        give_larger(given);
    }
}
