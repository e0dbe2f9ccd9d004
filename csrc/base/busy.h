/* Whether the machine has the cores that a call would share its work among.
 *
 * Sharing is kept account of. It gains about the time of a call that a worker has
 * helped with. It loses what the calling thread has waited for a worker that the system
 * had taken off its core inside an item, and some of the time of a call to which no
 * worker has come, or whose calling thread was itself taken off its core for long. Once
 * it has lost more than it has gained, calls run in one thread for some milliseconds,
 * and for twice as long each time that the next attempt ends so, up to half a second.
 * Single losses cost nothing. No bit depends on any of this.
 */
#ifndef XR_BUSY_H
#define XR_BUSY_H

#include <stdint.h>

/* Whether calls run in one thread for now. */
int xr_is_busy(int64_t now);

/* Notes what sharing a call has gained and lost, in nanoseconds, and the time. */
void xr_note_shared(int64_t gained, int64_t lost, int64_t now);

#endif
