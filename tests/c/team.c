/* The region of csrc/base/parallel.c on threads that a sanitizer understands: what gcc
 * makes of its OpenMP, on threads of the C library. gcc's own libgomp is not compiled
 * with the sanitizer, which sees none of its waiting. Linked in the place of libgomp.
 */
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

enum { MAX_TEAM = 16 };

struct member {
    void (*body)(void *);
    void *data;
    int rank, size;
    pthread_t thread;
};

static _Thread_local const struct member *self;

static void *run_member(void *member)
{
    self = member;
    self->body(self->data);
    self = NULL;
    return NULL;
}

void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags)
{
    struct member team[MAX_TEAM];
    const int size = threads < MAX_TEAM ? (int)threads : MAX_TEAM;
    (void)flags;
    for (int rank = 0; rank < size; rank++) {
        team[rank] =
            (struct member){.body = body, .data = data, .rank = rank, .size = size};
    }
    for (int rank = 1; rank < size; rank++) {
        if (pthread_create(&team[rank].thread, NULL, run_member, &team[rank]) != 0) {
            abort();
        }
    }
    run_member(&team[0]);
    for (int rank = 1; rank < size; rank++) {
        pthread_join(team[rank].thread, NULL);
    }
}

int omp_get_thread_num(void) { return self ? self->rank : 0; }

int omp_get_num_threads(void) { return self ? self->size : 1; }

int omp_in_parallel(void) { return self && self->size > 1; }

int omp_get_max_threads(void) { return 1; }

int omp_get_num_procs(void) { return 1; }

int omp_get_num_places(void) { return 0; }

int omp_get_thread_limit(void) { return MAX_TEAM; }

void omp_set_num_threads(int threads) { (void)threads; }
