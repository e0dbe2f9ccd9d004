/* What a step of a stream asks of the system: nothing.
 *
 *     real_time MODEL STEPS COUNT|LOCKED|STARVE [allocate|lock|ask]
 *
 * COUNT counts the allocations and the locks of STEPS steps and prints both numbers.
 * LOCKED gives up every system call but reading, writing and leaving before the steps
 * (seccomp's strict mode, in which the kernel kills who makes another), and writes "ok"
 * after them. STARVE lets each allocation of a load, a stream and a call fail in turn,
 * and prints how many there are; each must be reported. The last word plants a fault
 * into each step, which must be seen.
 */
#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exactrnn/model.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

static long allocations, locks;
static long failing; /* the number of the allocation that fails, 0 for none */

static int fails(void) { return ++allocations == failing; }

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

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return locks++, __real_pthread_mutex_lock(mutex);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void plant(const char *fault)
{
    if (strcmp(fault, "allocate") == 0) {
        void *volatile memory = malloc(16);
        free(memory);
    } else if (strcmp(fault, "lock") == 0) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    } else if (strcmp(fault, "ask") == 0) {
        (void)getppid();
    }
}

/* Everything that allocates, once; returns the first status that is not XR_OK. */
static enum xr_status try_all(const void *content, size_t bytes)
{
    static double x[4096], y[4096];
    struct xr_model *model;
    struct xr_stream *stream = NULL;
    struct xr_run run = {.struct_size = sizeof run,
                         .T = 2,
                         .B = 1,
                         .threads = 1,
                         .x = {.data = x, .step = 8, .row = 8},
                         .y = {.data = y, .step = 512, .row = 512}};
    enum xr_status status = xr_model_load_bytes(content, bytes, NULL, &model);
    if (status == XR_OK) {
        status = xr_stream_new(model, 1, &stream);
    }
    if (status == XR_OK) {
        status = xr_model_run(model, &run);
    }
    xr_stream_free(stream);
    xr_model_free(model);
    return status;
}

static int starve(const char *path)
{
    static char content[1 << 24];
    FILE *file = fopen(path, "rb");
    const size_t bytes = file == NULL ? 0 : fread(content, 1, sizeof content, file);
    enum xr_status status = XR_NO_MEMORY;
    for (failing = 1; status != XR_OK; failing++) {
        allocations = 0;
        status = try_all(content, bytes);
        if (status != XR_OK && status != XR_NO_MEMORY) {
            fprintf(stderr, "allocation %ld: %s\n", failing, xr_message());
            return 1;
        }
        if (status == XR_OK && allocations >= failing) {
            fprintf(stderr, "allocation %ld failed unseen\n", failing);
            return 1;
        }
    }
    printf("%ld\n", failing - 2);
    return 0;
}

int main(int argc, char **argv)
{
    struct xr_model *model;
    struct xr_stream *stream;
    struct xr_model_info info = {.struct_size = sizeof info};
    static double x[512], y[512];
    const char *fault = argc > 4 ? argv[4] : "";
    if (strcmp(argv[3], "STARVE") == 0) {
        return starve(argv[1]);
    }
    if (xr_model_load(argv[1], NULL, &model) != XR_OK ||
        xr_model_describe(model, &info) != XR_OK ||
        xr_stream_new(model, 1, &stream) != XR_OK) {
        fprintf(stderr, "%s\n", xr_message());
        return 1;
    }
    const int is_locked = strcmp(argv[3], "LOCKED") == 0;
    const int steps = atoi(argv[2]);
    allocations = locks = 0;
    if (is_locked && prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        return 77; /* not to be had here */
    }
    for (int step = 0; step < steps; step++) {
        x[step % 8] = step;
        if (xr_stream_step(stream, x, y) != XR_OK) {
            syscall(SYS_exit, 1);
        }
        plant(fault);
    }
    if (is_locked) {
        (void)!write(1, "ok\n", 3);
        syscall(SYS_exit, 0);
    }
    const long made = allocations, taken = locks;
    printf("%ld %ld\n", made, taken);
    return 0;
}
