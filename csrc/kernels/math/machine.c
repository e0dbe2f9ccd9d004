/* The fma peak and the bandwidth of reading, as loops over the vocabulary of vec.h.
 *
 * CHAINS independent accumulators hide the latency of the fma (4 cycles, two a cycle:
 * 8 are enough); with their two operands they fit into 16 registers. STREAMS vectors
 * are added up at once for the same reason, one memory operand each, as in a product.
 * Fetching ahead (2 to 32 KiB, into L1 or L2) was measured and gains nothing up to
 * 16 MiB: the hardware sees one stream. Passes go forwards and backwards in turn, so
 * that of an array larger than the L2 a part is found in it: of 3 MiB and an L2 of 2,
 * 57 GB/s instead of 33.
 */
#include "base/machine.h"

#include "base/parallel.h"
#include "kernels/vec.h"

enum { CHAINS = 12, STREAMS = 8, FMAS = 64 };

struct loop {
    const elem *data;
    ptrdiff_t length; /* elements of a thread's part */
    ptrdiff_t rounds;
    int size; /* of the team that came out; each thread has an item */
};

/* Makes the compiler believe that all lanes are needed. */
static void keep(vec value)
{
    elem lanes[VEC_LANES];
    vec_store(lanes, value);
    for (int lane = 0; lane < VEC_LANES; lane++) {
        volatile elem kept = lanes[lane];
        (void)kept;
    }
}

/* s = s/2 + 1 tends to 2 and stays there: no overflow, no subnormal numbers. */
static void fma_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    const struct loop *loop = context;
    (void)phase, (void)item, (void)watch;
    const vec half = vec_set((elem)0.5), one = vec_set((elem)1);
    vec sum[CHAINS];
    for (int c = 0; c < CHAINS; c++) {
        sum[c] = vec_set((elem)c);
    }
    for (ptrdiff_t k = 0; k < loop->rounds * FMAS; k++) {
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = vec_fma(sum[c], half, one);
        }
    }
    for (int c = 0; c < CHAINS; c++) {
        keep(sum[c]);
    }
}

static ptrdiff_t fma_loop(ptrdiff_t rounds, int threads)
{
    struct loop loop = {.rounds = rounds, .size = xr_team(threads)};
    xr_run_phase(loop.size, PTRDIFF_MAX, fma_body, &loop, NULL);
    return 2 * rounds * FMAS * CHAINS * VEC_LANES * loop.size;
}

static void read_body(void *context, ptrdiff_t phase, int item, struct xr_watch *watch)
{
    const struct loop *loop = context;
    (void)phase, (void)item, (void)watch;
    const ptrdiff_t piece = STREAMS * VEC_LANES, pieces = loop->length / piece;
    const elem *data = loop->data + item * loop->length;
    vec sum[STREAMS];
    for (int s = 0; s < STREAMS; s++) {
        sum[s] = vec_zero();
    }
    for (ptrdiff_t pass = 0; pass < 2 * loop->rounds; pass++) {
        const elem *first = pass % 2 ? data + (pieces - 1) * piece : data;
        const ptrdiff_t step = pass % 2 ? -piece : piece;
        for (ptrdiff_t k = 0; k < pieces; k++) {
            for (int s = 0; s < STREAMS; s++) {
                sum[s] = vec_add(sum[s], vec_load(first + k * step + s * VEC_LANES));
            }
        }
    }
    for (int s = 0; s < STREAMS; s++) {
        keep(sum[s]);
    }
}

static ptrdiff_t read_loop(const void *data, ptrdiff_t bytes, ptrdiff_t rounds,
                           int threads)
{
    const ptrdiff_t piece = STREAMS * VEC_LANES;
    const ptrdiff_t elements = bytes / (ptrdiff_t)sizeof(elem);
    struct loop loop = {
        .data = data, .length = elements / threads / piece * piece, .rounds = rounds};
    loop.size = xr_team(threads);
    xr_run_phase(loop.size, PTRDIFF_MAX, read_body, &loop, NULL);
    return 2 * rounds * loop.length * loop.size * (ptrdiff_t)sizeof(elem);
}

extern const struct xr_machine XR_NAME(xr_machine);
const struct xr_machine XR_NAME(xr_machine) = {
    .fma_loop = fma_loop,
    .read_loop = read_loop,
};
