/* See parallel.h. The only file that names OpenMP.
 *
 * Fork: libgomp's pool does not survive fork(), and the child's next parallel region
 * would wait for threads that do not exist. A handler marks the child, which from then
 * on runs every body alone; by the contract the bits are the same.
 */
#include "parallel.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "exactrnn.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define FP_DEFAULT 0x1f80u /* all exceptions masked, nearest even, no FTZ, no DAZ */
typedef unsigned int fp_environment;
static fp_environment fp_get(void) { return _mm_getcsr(); }
static void fp_set(fp_environment value) { _mm_setcsr(value); }
static void relax(void) { _mm_pause(); }
#elif defined(__aarch64__)
#define FP_DEFAULT 0u /* FPCR: nearest even, no FZ, no FZ16, no DN */
typedef uint64_t fp_environment;
static fp_environment fp_get(void)
{
    fp_environment value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
static void fp_set(fp_environment value)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(value) : "memory");
}
static void relax(void) { __asm__ volatile("yield" : : : "memory"); }
#else
#include <fenv.h>
#define FP_DEFAULT FE_TONEAREST
typedef int fp_environment;
static fp_environment fp_get(void) { return fegetround(); }
static void fp_set(fp_environment value) { fesetround(value); }
static void relax(void) {}
#endif

static atomic_int pool_started;
static atomic_int forked;

static void after_fork_in_child(void)
{
    if (atomic_load(&pool_started)) {
        atomic_store(&forked, 1);
    }
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static void run_body(xr_body *body, void *context, int rank, int size)
{
    fp_environment caller = fp_get();
    fp_set(FP_DEFAULT);
    body(context, rank, size);
    fp_set(caller);
}

void xr_parallel(int threads, xr_body *body, void *context)
{
    if (threads <= 1 || atomic_load_explicit(&forked, memory_order_relaxed) ||
        omp_in_parallel()) {
        run_body(body, context, 0, 1);
        return;
    }
    atomic_store(&pool_started, 1);
#pragma omp parallel num_threads(threads) default(none) shared(body, context)
    run_body(body, context, omp_get_thread_num(), omp_get_num_threads());
}

/* About 20 µs of pauses: far longer than a step that is balanced, far shorter than a
 * time slice. */
enum { SPINS_BEFORE_YIELD = 500 };

void xr_wait_a_turn(int *turns, struct xr_watch *watch)
{
    if (*turns < SPINS_BEFORE_YIELD) {
        ++*turns;
        relax();
    } else {
        sched_yield();
        xr_look_idle(watch);
    }
}

static int take_answer(const struct xr_barrier *barrier, struct xr_watch *watch)
{
    if (barrier->leave) {
        xr_leave(watch);
    }
    return barrier->leave;
}

int xr_barrier_wait(struct xr_barrier *barrier, int size, struct xr_watch *watch)
{
    if (size == 1) {
        return watch->leaving;
    }
    int round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1 ==
        size) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        barrier->leave = xr_stop_seen(watch);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        return take_answer(barrier, watch);
    }
    int turns = 0;
    while (atomic_load_explicit(&barrier->round, memory_order_acquire) == round) {
        xr_wait_a_turn(&turns, watch);
    }
    return take_answer(barrier, watch);
}

int xr_max_threads(void) { return omp_get_max_threads(); }

void xr_set_threads(int threads) { omp_set_num_threads(threads); }

/* Measured on two cores of a virtual machine, LSTM, one row: a step of H = 128 takes
 * 2.8 µs by one thread and by two, so that a barrier costs about 1.4 µs; at H = 256 two
 * threads are 1.2 to 1.6 times as fast as one. */
struct xr_thread_work xr_thread_work = {.call = 1000000, .step = 90000};
