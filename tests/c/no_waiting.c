/* Linked with --wrap=xr_share: a thread for each item takes it in all phases, and
 * nobody waits for the others between them. A thread sanitizer must say so.
 */
#include <pthread.h>

#include "base/jobs.h"

enum { MOST_MEMBERS = 8 };

struct member {
    const struct xr_work *work;
    int item;
    pthread_t thread;
};

int __wrap_xr_share(const struct xr_work *work, int team, struct xr_watch *watch,
                    struct xr_sharing *sharing);

static void *run_member(void *argument)
{
    const struct member *member = argument;
    const struct xr_work *work = member->work;
    struct xr_watch watch = xr_make_watch(NULL, 0);
    for (ptrdiff_t phase = 0; phase < work->phases; phase++) {
        work->body(work->context, phase, member->item, &watch);
    }
    return NULL;
}

int __wrap_xr_share(const struct xr_work *work, int team, struct xr_watch *watch,
                    struct xr_sharing *sharing)
{
    struct member members[MOST_MEMBERS];
    (void)team, (void)watch, (void)sharing;
    for (int i = 0; i < work->items; i++) {
        members[i] = (struct member){.work = work, .item = i};
        pthread_create(&members[i].thread, NULL, run_member, &members[i]);
    }
    for (int i = 0; i < work->items; i++) {
        pthread_join(members[i].thread, NULL);
    }
    return 1;
}
