/* See sleepers.h. Of more threads than there are beds some are woken as the kernel has
 * it.
 */
#include "base/sleepers.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/calls.h"
#include "base/system.h"

enum { BEDS = 64 };

struct bed {
    _Atomic(_Atomic uint32_t *) bell; /* NULL: nobody sleeps here */
    _Atomic long sleeper;             /* the thread's number */
};

static struct bed beds[BEDS];

/* One thread at a time takes CPUs from sleepers and gives them back. */
static atomic_int is_taken;

static _Thread_local long own_number;

atomic_int xr_crowded;

static struct bed *lie_down(_Atomic uint32_t *bell)
{
    if (own_number == 0) {
        own_number = xr_thread_number();
    }
    for (int i = 0; own_number > 0 && i < BEDS; i++) {
        _Atomic uint32_t *nobodys = NULL;
        if (atomic_compare_exchange_strong(&beds[i].bell, &nobodys, bell)) {
            atomic_store(&beds[i].sleeper, own_number);
            return &beds[i];
        }
    }
    return NULL;
}

static void get_up(struct bed *bed)
{
    if (bed != NULL) {
        atomic_store(&bed->sleeper, 0);
        atomic_store(&bed->bell, NULL);
    }
}

void xr_sleep_on(_Atomic uint32_t *bell, uint32_t seen, int64_t most)
{
    struct bed *bed = lie_down(bell);
    xr_doze(bell, seen, most);
    get_up(bed);
}

/* Wakes some who sleep on a bell, none of them on the calling thread's CPU. */
static void wake_elsewhere(_Atomic uint32_t *bell, int some)
{
    long kept[BEDS];
    int count = 0;
    const int cpu = xr_cpu();
    for (int i = 0; cpu >= 0 && i < BEDS; i++) {
        const long sleeper = atomic_load(&beds[i].sleeper);
        if (atomic_load(&beds[i].bell) == bell && sleeper != 0 &&
            xr_keep_from(sleeper, cpu)) {
            kept[count++] = sleeper;
        }
    }
    xr_wake(bell, some);
    while (count > 0) {
        xr_let_to(kept[--count], cpu);
    }
}

void xr_wake_sleepers(_Atomic uint32_t *bell, int some)
{
    int nobody = 0;
    if (!atomic_load_explicit(&xr_crowded, memory_order_relaxed) ||
        !atomic_compare_exchange_strong(&is_taken, &nobody, 1)) {
        xr_wake(bell, some);
        return;
    }
    wake_elsewhere(bell, some);
    atomic_store(&is_taken, 0);
}

void xr_note_cpus(int began)
{
    const int cpu = xr_cpu();
    if (cpu >= 0 && cpu == began) {
        atomic_store_explicit(&xr_crowded, 1, memory_order_relaxed);
    }
}

void xr_forget_sleepers(void)
{
    own_number = 0;
    for (int i = 0; i < BEDS; i++) {
        get_up(&beds[i]);
    }
    atomic_store(&is_taken, 0);
}
