/* Preloaded: the C library's allocations, of which one that is chosen fails.
 *
 * Only those of the thread that armed it count, so that others are left alone.
 */
#include <errno.h>
#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static _Thread_local long countdown; /* 0: not armed, or fired */

/* The allocation number `number` from here on fails, 0 for none. */
void fail_allocation(long number) { countdown = number; }

/* Whether the chosen one is still to come. */
int is_armed(void) { return countdown != 0; }

static int fails(void)
{
    if (countdown == 0 || --countdown != 0) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails() ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}
