/* See parallel.h. The only file that names OpenMP.
 *
 * What libgomp does to a process that is not ready for it is kept away here:
 *
 * - Its pool of threads does not survive fork(), and the child's next parallel region
 *   would wait for threads that do not exist, whoever had made the parent's (torch has
 *   the same libgomp). A pool belongs to the thread that begins regions. So in a child
 *   the thread that came through the fork begins none: it is rank 0 of the team, and
 *   the others are a region of its deputy (threads.h), which has no past.
 *
 *       parent, or a new thread of a child      the thread that came through a fork
 *       caller: region [0 | 1 | 2 | 3]          caller: 0    deputy: region [1 | 2 | 3]
 *
 * - It ends the process if it cannot start a thread: `grow_team` asks before.
 * - It binds a thread to one CPU when that begins its first region, if OMP_PROC_BIND is
 *   set: the threads of the team are the library's, but the caller is not.
 */
#include "base/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/cpus.h"
#include "base/threads.h"
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

/* What OpenMP gives a thread for which nobody has chosen a number, and whether that is
 * the user's own word, OMP_NUM_THREADS. A number beyond all machines is nobody's. */
static int unchosen_threads;
static int is_claimed;

__attribute__((constructor)) static void read_claim(void)
{
    const char *claim = getenv("OMP_NUM_THREADS");
    unchosen_threads = omp_get_max_threads();
    is_claimed = claim != NULL && unchosen_threads <= XR_MAX_THREADS &&
                 strtol(claim, NULL, 10) == unchosen_threads;
}

/* Whether the calling thread's number was chosen by xr_wish_threads. OpenMP keeps the
 * number itself, so that its own functions and threadpoolctl may choose it too. */
static _Thread_local int is_chosen;

struct xr_thread_wish xr_thread_wish(void)
{
    return (struct xr_thread_wish){omp_get_max_threads(), is_chosen};
}

void xr_wish_threads(struct xr_thread_wish wish)
{
    omp_set_num_threads(wish.threads);
    is_chosen = wish.chosen;
}

static int nobody_chose(void)
{
    return !is_chosen && !is_claimed && omp_get_max_threads() == unchosen_threads;
}

static int max_threads(int (*cpus)(void))
{
    const ptrdiff_t most = min_of(XR_MAX_THREADS, omp_get_thread_limit());
    const ptrdiff_t number = min_of(omp_get_max_threads(), most);
    return (int)(nobody_chose() ? min_of(number, cpus()) : number);
}

int xr_max_threads(void) { return max_threads(xr_cpus_lately); }

int xr_max_threads_now(void) { return max_threads(xr_cpus_now); }

static void run_body(xr_body *body, void *context, int rank, int size)
{
    fp_environment caller = fp_get();
    fp_set(FP_DEFAULT);
    body(context, rank, size);
    fp_set(caller);
}

/* The body of a call and its team. */
struct team {
    xr_body *body;
    void *context;
    int threads;
    int first;       /* rank of the region's master: 1 where the deputy is that */
    int asked;       /* for more threads, which are to be started */
    atomic_int size; /* 0 until the team is complete */
};

/* Threads that libgomp keeps for the regions of this thread, itself among them: as many
 * as the last one had. */
static _Thread_local int pool_size = 1;

/* The answer to the last question for more, good for a second: a thread whose calls are
 * large and small in turn has its pool grown for each large one. */
static _Thread_local struct {
    time_t at;
    int wanted, allowed;
} growth;

static int grow_team(struct team *team)
{
    const int wanted = team->threads - team->first;
    int threads = wanted;
    if (wanted > pool_size) {
        const time_t now = time(NULL);
        team->asked = now != growth.at || wanted > growth.wanted;
        if (team->asked) {
            growth.at = now;
            growth.wanted = wanted;
            growth.allowed = pool_size + xr_startable(wanted - pool_size);
        }
        threads = (int)min_of(wanted, max_of(growth.allowed, pool_size));
    }
    pool_size = threads;
    return threads;
}

static void run_member(struct team *team)
{
    const int rank = team->first + omp_get_thread_num();
    const int size = team->first + omp_get_num_threads();
    if (rank == team->first) { /* libgomp's threads are there before their master */
        if (team->asked) {
            xr_started();
        }
        atomic_store_explicit(&team->size, size, memory_order_release);
    }
    run_body(team->body, team->context, rank, size);
}

static void run_region(void *of_team)
{
    struct team *team = of_team;
    const int threads = grow_team(team);
#pragma omp parallel num_threads(threads) default(none) shared(team)
    run_member(team);
}

static void run_unbound_region(void *of_team)
{
    const int binds = pool_size == 1 && omp_get_num_places() > 0;
    if (binds) {
        xr_keep_affinity(run_region, of_team);
    } else {
        run_region(of_team);
    }
}

/* Runs the whole team, the caller as rank 0; returns 0, having done nothing, if there
 * is no deputy. */
static int run_beside_deputy(struct team *team)
{
    team->first = 1;
    if (!xr_deputy_begin(run_unbound_region, team)) {
        return 0;
    }
    int size;
    while ((size = atomic_load_explicit(&team->size, memory_order_acquire)) == 0) {
        sched_yield();
    }
    run_body(team->body, team->context, 0, size);
    xr_deputy_wait();
    return 1;
}

void xr_parallel(int threads, xr_body *body, void *context)
{
    struct team team = {.body = body, .context = context, .threads = threads};
    if (threads > 1 && xr_came_through_fork()) {
        if (run_beside_deputy(&team)) {
            return;
        }
    } else if (threads > 1 && !omp_in_parallel()) {
        run_unbound_region(&team);
        return;
    }
    run_body(body, context, 0, 1);
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

uint64_t xr_enter_ieee(void)
{
    fp_environment caller = fp_get();
    fp_set(FP_DEFAULT);
    return (uint64_t)caller;
}

void xr_leave_ieee(uint64_t caller) { fp_set((fp_environment)caller); }

/* Measured on two cores of a virtual machine, LSTM, one row: a step of H = 128 takes
 * 2.8 µs by one thread and by two, so that a barrier costs about 1.4 µs; at H = 256 two
 * threads are 1.2 to 1.6 times as fast as one. */
struct xr_thread_work xr_thread_work = {.call = 1000000, .step = 90000};
