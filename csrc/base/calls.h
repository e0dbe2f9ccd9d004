/* The engine as the library itself calls it: nothing is checked. Layers, the arithmetic
 * of single elements, threads, and what tests set. The public functions of exactrnn.h
 * check what they are given and come here (csrc/library); Python's checks are its own.
 *
 * Structs need no `struct_size` here, and a layer must have been through xr_describe.
 */
#ifndef XR_CALLS_H
#define XR_CALLS_H

#include "exactrnn.h"

/* Completes a layer whose other members are set: what its cell is with its options. */
void xr_describe(struct xr_layer *layer);
/* The length of internal rows of units: H and O padded; each module is padded too. */
ptrdiff_t xr_padded_units(const struct xr_layer *layer);
/* The caller's arrays of states: how many, and the width of each. The first is h. */
int xr_state_arrays(const struct xr_layer *layer);
ptrdiff_t xr_state_width(const struct xr_layer *layer, int array);

size_t xr_packed_bytes(const struct xr_layer *layer);
size_t xr_packed_backward_bytes(const struct xr_layer *layer);
/* `stop` may be NULL; a pack whose call was ended is not to be used. */
void xr_pack(const struct xr_layer *layer, const struct xr_weights *weights,
             void *packed, struct xr_stop *stop);
void xr_pack_backward(const struct xr_layer *layer, const struct xr_weights *weights,
                      void *packed, struct xr_stop *stop);

struct xr_cache_layout xr_cache_layout(const struct xr_problem *problem);
size_t xr_scratch_bytes(const struct xr_problem *problem, int backward);
void xr_forward(const struct xr_problem *problem);
void xr_backward(const struct xr_problem *problem);

/* A step of one layer in one direction from weights that are not packed, at least one
 * row. Arrays are contiguous: x [B, I], states [B, H] each; state_out may be state. */
struct xr_step {
    const struct xr_layer *layer;
    const struct xr_weights *weights;
    ptrdiff_t B;
    int threads;
    const void *x;
    const void *state[XR_MAX_STATES]; /* NULL: zeros */
    void *state_out[XR_MAX_STATES];
    void *scratch; /* xr_direct_bytes */
    struct xr_stop *stop;
};
/* Whether there is such a step: else pack, and call xr_forward. With more rows than
 * these packing is quicker. */
enum { XR_DIRECT_ROWS = 24 };
int xr_is_direct(const struct xr_layer *layer);
size_t xr_direct_bytes(const struct xr_step *step);
void xr_step_direct(const struct xr_step *step);

/* n elements through one elementary function of the library, for tests and for building
 * on. XR_FMA reads three arrays, the others the first. */
enum xr_function {
    XR_EXP,
    XR_EXPM1,
    XR_LOG,
    XR_SOFTPLUS_OF,
    XR_TANH_OF,
    XR_SIGMOID_OF,
    XR_FLUSH,
    XR_FMA
};
void xr_elementary(const struct xr_engine *engine, enum xr_function function,
                   const void *const in[3], void *out, ptrdiff_t n,
                   struct xr_stop *stop);

/* Threads: see xr_max_threads, which may have noticed that some milliseconds ago, in
 * order to cost nothing; this asks the system. */
int xr_max_threads_now(void);
extern const char xr_runtime[]; /* where threads come from, in words */

/* A number of threads, 1 to XR_MAX_THREADS, and whether somebody has chosen it: what is
 * in force for the calling thread, to be put back later, or is to be. */
struct xr_thread_wish {
    int threads, chosen;
};
struct xr_thread_wish xr_thread_wish(void);
void xr_wish_threads(struct xr_thread_wish wish);

/* The wish that is nobody's: as if the calling thread had never had one. */
struct xr_thread_wish xr_no_thread_wish(void);

/* Lets a number of threads that nobody has chosen follow a quota of CPU time:
 * base/cpus.h. */
int xr_watch_quota(const char *quota, const char *period);

/* Puts the calling thread into the floating-point environment of the contract, for
 * arithmetic outside of the kernels, and returns the one to come back to. */
uint64_t xr_enter_ieee(void);
void xr_leave_ieee(uint64_t caller);

/* Multiplications that make another thread worth its cost: of a whole call, and of a
 * step whose units are split, whose threads then wait for each other. The defaults were
 * measured; tests set 0 to see every split, on a busy machine too. Not to be changed
 * while a call runs. */
struct xr_thread_work {
    ptrdiff_t call, step;
};
extern struct xr_thread_work xr_thread_work;

/* Nanoseconds that each worker sleeps before it joins a call, with each item of one,
 * and at each place where it might hand the item on. They are zero; tests set them to
 * have threads that run at different speeds. */
struct xr_worker_delay {
    int64_t before_seat, in_item, in_part;
};
extern struct xr_worker_delay xr_worker_delay;

/* How often items of shared calls (base/jobs.h) changed hands: begun by a thread whose
 * share they are not, or gone on with by another than had begun them. */
struct xr_hand_overs {
    int64_t taken_over, handed_on;
};
struct xr_hand_overs xr_hand_overs(void);

/* Whether threads exchange their items in each phase, and wherever one can be handed
 * on; tests set it, to see every hand-over. Not to be changed while a call runs. */
extern _Atomic int xr_exchanging;

/* Whether a worker has woken up on the CPU where its call began (sleepers.h); tests set
 * it. */
extern _Atomic int xr_crowded;

/* Multiplications before a call first looks whether it is to end, and nanoseconds
 * between two questions; tests set 0 to have every chance taken. */
struct xr_stop_pace {
    ptrdiff_t work;
    int64_t nanoseconds;
};
extern struct xr_stop_pace xr_stop_pace;

#endif
