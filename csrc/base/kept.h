/* Memory of calls. The pages of a large piece stay with the process when it is freed,
 * to be had again by the next call: those that go back to the system come back cleared,
 * which may take as long as what is computed in them (LSTM, T, B, H = 100, 8, 64,
 * forward and back: 2.9 ms instead of 1.8).
 */
#ifndef XR_KEPT_H
#define XR_KEPT_H

#include "exactrnn.h"

/* Returns memory on a cache line, with anything in it, or NULL; xr_give_memory
 * frees it. `bytes` are a multiple of XR_ALIGNMENT. */
void *xr_take_memory(size_t bytes);
void xr_give_memory(void *memory);

/* Does the same for who decides by itself what the process keeps: one allocation, and
 * no other. */
void *xr_take_lines(size_t bytes);

/* From this size on a piece is mapped by itself, see kept.c. */
static const size_t XR_MAPPED = ((size_t)1 << 25) - 65536;

/* Scratch of one call, or any piece that is mapped: the same, of `*bytes` or more,
 * which becomes what there is. It is given back with that number, and may then wait for
 * the next call, of any thread: one piece below XR_MAPPED does, and three above, of up
 * to 128 MiB, whose pages the system may have. `piece` may be NULL. */
void *xr_take_scratch(size_t *bytes);
void xr_give_scratch(void *piece, size_t bytes);

#endif
