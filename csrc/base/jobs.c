/* See jobs.h. Jobs lie in static memory and each has turns that never come again: a
 * turn is a phase of one call. A worker that comes late, even after the call is over,
 * finds its turn gone by and touches nothing of the call:
 *
 * - An item is claimed by writing the turn into its claim, which only grows.
 * - A turn goes by when all its items are done. So a claim of the present turn keeps
 *   the turn, and with it the call, until the item is done; a claim of a turn that has
 *   gone by is seen by looking at the turn again, and worth nothing.
 * - An item that is handed on is not done, so its turn stays. Its claim goes on
 *   growing: a count beside the turn, odd while the item is free. If nobody takes it,
 *   who has laid it down takes it back.
 * - What a call is stands in the job before its first turn begins, and changes only
 *   when its last one has gone by.
 */
#include "base/jobs.h"

#include <limits.h>
#include <stdatomic.h>

#include "base/busy.h"
#include "base/claims.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/doze.h"
#include "base/processor.h"
#include "base/sleepers.h"
#include "base/system.h"

enum {
    JOBS = 16, /* calls that share their work at once */
    SEAT_BITS = 16,
    /* About 40 µs of waiting for the next phase before one sleeps: far longer than a
     * step that is balanced, far shorter than a time slice. */
    SPINS_IN_JOB = 1000,
    SPINS_FOR_OTHERS = 25,   /* about 1 µs */
    SPINS_FOR_A_TAKER = 2500 /* about 100 µs: who sleeps takes 50 to wake */
};

/* Who waits for less calls for nothing. */
static const int64_t LEAST_PATIENCE = 40 * MICROSECOND;

struct job {
    /* What the call is: written while nobody takes part. */
    _Alignas(CACHE_LINE) _Atomic(const void *) owner; /* NULL: no call has taken it */
    _Atomic(xr_item_body *) body;
    _Atomic(void *) context;
    _Atomic(struct xr_stop *) stop;
    _Atomic int64_t first, last; /* turns; the call is over when `last` has gone by */
    _Atomic int64_t handed_from; /* from this turn on items are handed on */
    atomic_int items, team;
    atomic_int cpu;         /* where the call began */
    _Atomic uint64_t seats; /* the first turn, and how many workers take part in it */
    /* How far it is. */
    _Alignas(CACHE_LINE) _Atomic int64_t turn;
    atomic_int done;       /* items of this turn, on the line that is handed on then */
    atomic_int dozing;     /* who sleep until the next turn, */
    _Atomic uint32_t bell; /* on this number */
    atomic_int laid_down;  /* items that wait for a taker */
    /* A call for an item: one that was begun before this time. 0: nobody calls. */
    _Alignas(CACHE_LINE) _Atomic int64_t called;
    /* What came of it. */
    atomic_int helped;
    atomic_int stalled; /* a worker was off its core while the caller slept */
    int64_t waited;     /* nanoseconds that the caller has slept; its own */
    int is_orphaned;    /* its workers were left behind in a fork; the caller's own */
    struct claim claim[XR_MAX_THREADS];
};

static struct job jobs[JOBS];

/* The items from one on and before another. */
struct items {
    int begin, end;
};

/* A thread's part in a job. */
struct seat {
    int number;
    struct items own;
    struct items first; /* it takes these first: its own, but in some tests */
    int others_lag;     /* they have not kept up with the turn before */
    int64_t longest;    /* nanoseconds of this turn's longest item; 0: none yet */
    int has_given;      /* it has handed one on, and calls for none */
};

/* Rung when there is a new job: idle workers wait for it. */
static struct {
    _Alignas(CACHE_LINE) _Atomic uint32_t bell;
    atomic_int sleeping, dismissed;
} idle;

struct xr_worker_delay xr_worker_delay;

_Atomic int xr_exchanging;

static void delay(int64_t nanoseconds)
{
    const int64_t end = nanoseconds > 0 ? now_in_nanoseconds() + nanoseconds : 0;
    for (int64_t left = nanoseconds; left > 0; left = end - now_in_nanoseconds()) {
        _Atomic uint32_t nobodys = 0;
        xr_doze(&nobodys, 0, left);
    }
}

/* Takes an item. Whoever looks at a turn that has gone by may have read what belongs to
 * another call. */
static int claim_item(struct job *job, int item, int64_t turn, const struct seat *seat,
                      int *goes_on)
{
    if (!take_claim(&job->claim[item], turn, seat->number, goes_on)) {
        return 0;
    }
    atomic_fetch_sub(&job->laid_down, *goes_on);
    return atomic_load(&job->turn) == turn;
}

static void ring(struct job *job)
{
    if (atomic_load(&job->dozing) > 0) {
        atomic_fetch_add(&job->bell, 1);
        xr_wake_sleepers(&job->bell, INT_MAX);
    }
}

static int is_called_since(_Atomic int64_t *called, int64_t begun)
{
    return atomic_load_explicit(called, memory_order_relaxed) > begun;
}

int xr_is_called(struct xr_watch *watch)
{
    if (!watch->asks) {
        delay(xr_worker_delay.in_part);
    }
    watch->hands_on = exchanges() || is_called_since(watch->called, watch->begun);
    return watch->hands_on;
}

/* Whether a call goes on, and workers have come to it, who stay to its end. */
static int has_workers(struct job *job)
{
    const uint64_t taken = atomic_load(&job->seats) & ((1u << SEAT_BITS) - 1);
    return taken > 0 && atomic_load(&job->turn) <= atomic_load(&job->last);
}

/* Whether an item in hand is to be laid down: somebody calls, whom nobody else has
 * answered, or tests want it. */
static int answers_call(struct job *job, int64_t begun)
{
    if (exchanges()) {
        return has_workers(job);
    }
    int64_t called = atomic_load(&job->called);
    return called > begun && atomic_compare_exchange_strong(&job->called, &called, 0);
}

/* Answers a call by laying down an item in hand. Returns whether another thread has
 * taken it; where tests have items exchanged, one will. */
static int hand_on(struct job *job, int item, int64_t turn, const struct seat *seat,
                   int64_t begun)
{
    struct claim *claim = &job->claim[item];
    if (!can_be_laid_down(claim, turn) || !answers_call(job, begun)) {
        return 0;
    }
    int64_t own = lay_down(claim, seat->number);
    atomic_fetch_add(&job->laid_down, 1);
    ring(job);
    if (exchanges()) {
        return 1;
    }
    for (int spins = 0; spins < SPINS_FOR_A_TAKER; spins++) {
        relax();
        if (atomic_load_explicit(&claim->value, memory_order_relaxed) != own) {
            return 1;
        }
    }
    const int is_back = atomic_compare_exchange_strong(&claim->value, &own, own + 1);
    atomic_fetch_sub(&job->laid_down, is_back);
    return !is_back;
}

static void open_next(struct job *job, int64_t turn, const struct xr_watch *watch)
{
    const int64_t last = atomic_load_explicit(&job->last, memory_order_relaxed);
    atomic_store_explicit(&job->done, 0, memory_order_relaxed);
    atomic_store_explicit(&job->called, 0, memory_order_relaxed);
    atomic_store(&job->turn, xr_stop_seen(watch) ? last + 1 : turn + 1);
    ring(job);
}

/* The worker's preemptions when it took its seat. */
static _Thread_local long preemptions;

static void note_stall(struct job *job)
{
    if (xr_preemptions() != preemptions) {
        atomic_store_explicit(&job->stalled, 1, memory_order_relaxed);
    }
}

static void run_body(struct job *job, int64_t turn, int item, struct xr_watch *watch)
{
    const int64_t first = atomic_load_explicit(&job->first, memory_order_relaxed);
    xr_item_body *body = atomic_load_explicit(&job->body, memory_order_relaxed);
    void *context = atomic_load_explicit(&job->context, memory_order_relaxed);
    watch->hands_on = 0;
    if (xr_stop_seen(watch)) {
        xr_leave(watch);
    }
    if (!watch->leaving) {
        body(context, turn - first, item, watch);
    }
    if (!watch->asks && atomic_load_explicit(&job->dozing, memory_order_relaxed) > 0) {
        note_stall(job);
    }
}

/* Executes an item that can be handed on. Returns whether it is done. */
static int execute_in_parts(struct job *job, int64_t turn, int item, struct seat *seat,
                            struct xr_watch *watch)
{
    watch->called = &job->called;
    const int64_t begin = watch->begun = now_in_nanoseconds();
    run_body(job, turn, item, watch);
    while (watch->hands_on) {
        if (hand_on(job, item, turn, seat, watch->begun)) {
            seat->has_given = 1;
            return 0;
        }
        watch->goes_on = 1;
        watch->begun = now_in_nanoseconds();
        run_body(job, turn, item, watch);
    }
    seat->longest = max_of(seat->longest, now_in_nanoseconds() - begin);
    return 1;
}

/* Executes a claimed item, and opens the next turn if it was the last of this one. */
static void execute(struct job *job, int64_t turn, int item, struct seat *seat,
                    struct xr_watch *watch)
{
    const int items = atomic_load_explicit(&job->items, memory_order_relaxed);
    xr_watch_stop(watch, atomic_load_explicit(&job->stop, memory_order_relaxed));
    if (turn < atomic_load_explicit(&job->handed_from, memory_order_relaxed)) {
        watch->called = NULL;
        run_body(job, turn, item, watch);
    } else if (!execute_in_parts(job, turn, item, seat, watch)) {
        return;
    }
    if (atomic_fetch_add(&job->done, 1) + 1 == items) {
        open_next(job, turn, watch);
    }
}

/* Written once: who waits reads this line. */
static void note_help(struct job *job)
{
    if (!atomic_load_explicit(&job->helped, memory_order_relaxed)) {
        atomic_store_explicit(&job->helped, 1, memory_order_relaxed);
    }
}

/* Executes those of some items that nobody has begun or that were laid down; returns
 * how many. */
static int take_items(struct job *job, int64_t turn, struct items some,
                      struct seat *seat, struct xr_watch *watch)
{
    int taken = 0;
    for (int item = some.begin; item < some.end; item++) {
        if (claim_item(job, item, turn, seat, &watch->goes_on)) {
            const int is_own = item >= seat->own.begin && item < seat->own.end;
            count_move(&job->claim[item], is_own, watch->goes_on);
            if (!watch->asks) {
                delay(xr_worker_delay.in_item);
                note_help(job);
            }
            execute(job, turn, item, seat, watch);
            taken++;
        }
    }
    return taken;
}

/* Executes such items of the shares of others: of those behind this one first, so that
 * not all fall upon the same one. */
static int take_from_others(struct job *job, int64_t turn, struct seat *seat,
                            struct xr_watch *watch)
{
    const int items = atomic_load_explicit(&job->items, memory_order_relaxed);
    const struct items behind = {seat->first.end, items};
    const struct items before = {0, seat->first.begin};
    return take_items(job, turn, behind, seat, watch) +
           take_items(job, turn, before, seat, watch);
}

static struct items own_items(struct job *job, int seat)
{
    const ptrdiff_t items = atomic_load_explicit(&job->items, memory_order_relaxed);
    const int team = atomic_load_explicit(&job->team, memory_order_relaxed);
    /* Of a call that has come since, the seat may be none. */
    return (struct items){(int)min_of(items, seat * items / team),
                          (int)min_of(items, (seat + 1) * items / team)};
}

static int may_call(const struct seat *seat)
{
    return seat->longest > 0 && !seat->has_given;
}

/* Calls for an item if it is time to. Returns for how long nothing is to be done. */
static int64_t call_for_item(struct job *job, const struct seat *seat, int64_t since)
{
    if (!may_call(seat)) {
        return INT64_MAX;
    }
    const int64_t patience = max_of(LEAST_PATIENCE, seat->longest / 8);
    const int64_t now = now_in_nanoseconds(), left = since + patience - now;
    if (left > 0) {
        return left;
    }
    atomic_store(&job->called, now - seat->longest - patience);
    return patience;
}

/* Whether an item is laid down that this seat may take. */
static int finds_item(struct job *job, int64_t turn, const struct seat *seat)
{
    const int items = atomic_load_explicit(&job->items, memory_order_relaxed);
    int found = 0;
    for (int item = 0; exchanges() && item < items; item++) {
        struct claim *claim = &job->claim[item];
        found |= is_laid_down(claim, atomic_load(&claim->value), turn, seat->number);
    }
    return found || (may_call(seat) && atomic_load(&job->laid_down) > 0);
}

/* Sleeps until the next turn begins or an item is laid down. The calling thread goes on
 * asking whether the call is to end. */
static int64_t doze_until_next(struct job *job, int64_t turn, const struct seat *seat,
                               struct xr_watch *watch)
{
    int64_t now;
    const int64_t begin = now_in_nanoseconds();
    atomic_fetch_add(&job->dozing, 1);
    for (;;) {
        const uint32_t seen = atomic_load(&job->bell);
        now = atomic_load(&job->turn);
        if (now != turn || finds_item(job, turn, seat)) {
            break;
        }
        if (watch->asks) {
            xr_look_idle(watch);
        }
        const int64_t rest = call_for_item(job, seat, begin);
        xr_sleep_on(&job->bell, seen, min_of(rest, xr_idle_time(watch)));
    }
    atomic_fetch_sub(&job->dozing, 1);
    if (watch->asks) {
        job->waited += now_in_nanoseconds() - begin;
    }
    return now;
}

static int64_t spin_until_next(struct job *job, int64_t turn, int spins)
{
    int64_t now = atomic_load_explicit(&job->turn, memory_order_acquire);
    for (; now == turn && spins > 0; spins--) {
        relax();
        now = atomic_load_explicit(&job->turn, memory_order_acquire);
    }
    return now;
}

/* Takes part until the turn is over. Where others have kept up with the turn before,
 * they are given a moment to begin theirs and to end it: looking at their claims, which
 * their cores have just written, costs more than a short item. Returns the next one. */
static int64_t take_turn(struct job *job, int64_t turn, struct seat *seat,
                         struct xr_watch *watch)
{
    int spins = seat->others_lag ? 0 : SPINS_FOR_OTHERS;
    seat->longest = seat->has_given = 0;
    if (exchanges()) { /* each turn another's share comes first */
        const int team = atomic_load_explicit(&job->team, memory_order_relaxed);
        seat->first = own_items(job, (int)((seat->number + turn) % team));
        spins = SPINS_FOR_A_TAKER;
    }
    take_items(job, turn, seat->first, seat, watch);
    int64_t now = spin_until_next(job, turn, spins);
    if (now == turn) {
        seat->others_lag = take_from_others(job, turn, seat, watch) > 0;
        now = spin_until_next(job, turn, SPINS_IN_JOB);
    }
    while (now == turn) {
        now = doze_until_next(job, turn, seat, watch);
        if (now == turn) {
            take_items(job, turn, seat->first, seat, watch);
            take_from_others(job, turn, seat, watch);
            now = spin_until_next(job, turn, SPINS_IN_JOB);
        }
    }
    return now;
}

static void take_part(struct job *job, int64_t last, int number, struct xr_watch *watch)
{
    struct seat seat = {.number = number, .own = own_items(job, number)};
    int64_t turn = atomic_load_explicit(&job->turn, memory_order_acquire);
    seat.first = seat.own;
    while (turn <= last) {
        turn = take_turn(job, turn, &seat, watch);
    }
}

/* Its address is the calling thread's mark. */
static _Thread_local char own_mark;

static struct job *find_place(void)
{
    for (int i = 0; i < JOBS; i++) {
        const void *nobody = NULL;
        if (atomic_compare_exchange_strong(&jobs[i].owner, &nobody, &own_mark)) {
            return &jobs[i];
        }
    }
    return NULL;
}

static int64_t post(struct job *job, const struct xr_work *work, int team,
                    const struct xr_watch *watch)
{
    const int64_t turn = atomic_load_explicit(&job->turn, memory_order_relaxed);
    const int64_t first = turn > 0 ? turn : 1;
    const int64_t last = first + work->phases - 1;
    atomic_store_explicit(&job->body, work->body, memory_order_relaxed);
    atomic_store_explicit(&job->context, work->context, memory_order_relaxed);
    atomic_store_explicit(&job->stop, watch->stop, memory_order_relaxed);
    atomic_store_explicit(&job->items, work->items, memory_order_relaxed);
    atomic_store_explicit(&job->team, team, memory_order_relaxed);
    atomic_store_explicit(&job->cpu, xr_cpu(), memory_order_relaxed);
    atomic_store_explicit(&job->helped, 0, memory_order_relaxed);
    atomic_store_explicit(&job->stalled, 0, memory_order_relaxed);
    job->waited = 0;
    job->is_orphaned = 0;
    atomic_store_explicit(&job->handed_from, last + 1 - work->handing,
                          memory_order_relaxed);
    atomic_store_explicit(&job->called, 0, memory_order_relaxed);
    atomic_store_explicit(&job->first, first, memory_order_relaxed);
    atomic_store(&job->turn, first);
    atomic_store(&job->seats, (uint64_t)first << SEAT_BITS);
    atomic_store(&job->last, last);
    atomic_fetch_add(&idle.bell, 1);
    if (atomic_load(&idle.sleeping) > 0) {
        xr_wake_sleepers(&idle.bell, team - 1);
    }
    return last;
}

/* What is counted of a turn, where some of those who count are gone. */
static void clear_counts(struct job *job)
{
    atomic_store(&job->done, 0);
    atomic_store(&job->dozing, 0);
    atomic_store(&job->laid_down, 0);
}

int xr_share(const struct xr_work *work, int team, struct xr_watch *watch,
             struct xr_sharing *sharing)
{
    struct job *job = find_place();
    if (job == NULL) {
        return 0;
    }
    xr_look_idle(watch); /* this starts the clock of the questions */
    const int64_t last = post(job, work, team, watch);
    for (int waits = exchanges() ? 100 : 0; waits > 0 && !has_workers(job); waits--) {
        delay(atomic_load(&job->turn) <= last ? MILLISECOND : 0); /* or all is done */
    }
    take_part(job, last, 0, watch);
    sharing->helped = atomic_load_explicit(&job->helped, memory_order_relaxed);
    const int stalled = atomic_load_explicit(&job->stalled, memory_order_relaxed);
    sharing->lost = stalled ? job->waited : 0;
    if (job->is_orphaned) {
        clear_counts(job);
    }
    atomic_store(&job->owner, NULL);
    return 1;
}

/* Returns whether a call goes on and has a seat left, and what `last` and `seats` say
 * of it: the seats are read first, and if another call comes they are others. */
static int has_seat(struct job *job, uint64_t *seats, int64_t *last)
{
    *seats = atomic_load(&job->seats);
    *last = atomic_load(&job->last);
    const int taken = (int)(*seats & ((1u << SEAT_BITS) - 1));
    return atomic_load(&job->turn) <= *last && taken + 1 < atomic_load(&job->team);
}

static void serve(struct job *job)
{
    uint64_t seats;
    int64_t last;
    if (!has_seat(job, &seats, &last)) {
        return;
    }
    delay(xr_worker_delay.before_seat);
    xr_note_cpus(atomic_load_explicit(&job->cpu, memory_order_relaxed));
    while (has_seat(job, &seats, &last)) {
        if (atomic_compare_exchange_strong(&job->seats, &seats, seats + 1)) {
            const int seat = (int)(seats & ((1u << SEAT_BITS) - 1)) + 1;
            struct xr_watch watch = xr_make_watch(NULL, 0);
            preemptions = xr_preemptions();
            take_part(job, last, seat, &watch);
            return;
        }
    }
}

static void sleep_until_rung(uint32_t seen)
{
    atomic_fetch_add(&idle.sleeping, 1);
    if (atomic_load(&idle.bell) == seen) {
        xr_sleep_on(&idle.bell, seen, 1000 * 1000 * MILLISECOND);
    }
    atomic_fetch_sub(&idle.sleeping, 1);
}

void xr_serve_jobs(int turns)
{
    while (!atomic_load(&idle.dismissed)) {
        const uint32_t seen = atomic_load(&idle.bell);
        for (int i = 0; i < JOBS; i++) {
            serve(&jobs[i]);
        }
        int spins = 0;
        while (atomic_load_explicit(&idle.bell, memory_order_relaxed) == seen &&
               spins < turns) {
            relax();
            spins++;
        }
        if (spins == turns) {
            sleep_until_rung(seen);
        }
    }
}

void xr_dismiss_workers(int dismissed)
{
    atomic_store(&idle.dismissed, dismissed);
    atomic_fetch_add(&idle.bell, 1);
    xr_wake_sleepers(&idle.bell, INT_MAX);
}

/* Lets the turn go by, and no other come. */
static void end_turns(struct job *job)
{
    const int64_t turn = atomic_load(&job->turn);
    atomic_store(&job->last, turn);
    atomic_store(&job->turn, turn + 1);
}

/* Ends a call of this thread's, forked by who was asked whether it is to end: what its
 * workers had begun nobody ends. Where nobody is asked, nobody forks. */
static void orphan(struct job *job)
{
    struct xr_stop *stop = atomic_load(&job->stop);
    if (stop != NULL && has_workers(job)) {
        XR_WRITE_SHARED(&stop->stopped, 1);
        job->is_orphaned = 1;
        end_turns(job);
    }
}

void xr_forget_jobs(void)
{
    for (int i = 0; i < JOBS; i++) {
        struct job *job = &jobs[i];
        if (atomic_load(&job->owner) == &own_mark) {
            orphan(job);
        } else {
            end_turns(job);
            clear_counts(job);
            atomic_store(&job->owner, NULL);
        }
    }
    xr_forget_sleepers();
    atomic_store(&idle.sleeping, 0);
    atomic_store(&idle.dismissed, 0);
}

struct xr_hand_overs xr_hand_overs(void)
{
    struct xr_hand_overs all = {0};
    for (int i = 0; i < JOBS * XR_MAX_THREADS; i++) {
        add_moves(&all, &jobs[i / XR_MAX_THREADS].claim[i % XR_MAX_THREADS]);
    }
    return all;
}
