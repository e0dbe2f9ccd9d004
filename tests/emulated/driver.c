/* One layer, forward and back, through the public C interface alone: numbers from
 * standard input, results to standard output, both raw arrays in this machine's bytes.
 *
 *     driver ISA f32|f64 CELL T B I H D THREADS
 *
 * in    lengths [B] (int64), for each direction w_ih w_hh b_ih b_hh,
 *       x [T, B, I], states [D, B, H] each, dy [T, B, D*H], dstates
 * out   y, states, dx, dstates, for each direction the gradients of the weights
 *
 * test_emulated.py builds it for other processors and compares every bit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exactrnn.h"

struct sizes {
    ptrdiff_t T, B, I, H, D;
    size_t element;
};

static void fail(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    exit(1);
}

static void *allocate(size_t bytes)
{
    size_t blocks = bytes / XR_ALIGNMENT + 1;
    void *memory = aligned_alloc(XR_ALIGNMENT, blocks * XR_ALIGNMENT);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memset(memory, 0, blocks * XR_ALIGNMENT);
}

static void *read_array(ptrdiff_t count, size_t element)
{
    void *array = allocate((size_t)count * element);
    if (fread(array, element, (size_t)count, stdin) != (size_t)count) {
        fail("input ends early");
    }
    return array;
}

static void write_array(const void *array, ptrdiff_t count, size_t element)
{
    if (fwrite(array, element, (size_t)count, stdout) != (size_t)count) {
        fail("cannot write");
    }
}

static struct xr_sequence sequence(void *data, ptrdiff_t width, ptrdiff_t B)
{
    return (struct xr_sequence){.data = data, .step = B * width, .row = width};
}

static int find_cell(const char *name)
{
    for (int i = 0; xr_cell_at(i) != NULL; i++) {
        if (strcmp(xr_cell_at(i)->name, name) == 0) {
            return i;
        }
    }
    fail("unknown cell");
    return -1;
}

/* Weights are packed twice and not kept: only their packed forms are read. */
static void read_weights(struct xr_problem *problem, int d, const struct sizes *n)
{
    const struct xr_layer *layer = problem->layer;
    const ptrdiff_t rows = xr_cell_at(layer->cell)->gates * n->H;
    struct xr_weights weights = {.w_ih = read_array(rows * n->I, n->element),
                                 .w_hh = read_array(rows * n->H, n->element),
                                 .b_ih = read_array(rows, n->element),
                                 .b_hh = read_array(rows, n->element)};
    void *packed = allocate(xr_packed_bytes(layer));
    void *packed_backward = allocate(xr_packed_backward_bytes(layer));
    xr_pack(layer, &weights, packed);
    xr_pack_backward(layer, &weights, packed_backward);
    problem->packed[d] = packed;
    problem->packed_backward[d] = packed_backward;
    problem->dw[d] =
        (struct xr_gradients){.w_ih = allocate((size_t)(rows * n->I) * n->element),
                              .w_hh = allocate((size_t)(rows * n->H) * n->element),
                              .b_ih = allocate((size_t)rows * n->element),
                              .b_hh = allocate((size_t)rows * n->element)};
}

static void read_problem(struct xr_problem *problem, const struct sizes *n)
{
    const ptrdiff_t state = n->D * n->B * n->H, output = n->T * state;
    const ptrdiff_t input = n->T * n->B * n->I;
    const int states = xr_cell_at(problem->layer->cell)->states;
    problem->lengths = read_array(n->B, sizeof(int64_t));
    for (int d = 0; d < n->D; d++) {
        read_weights(problem, d, n);
    }
    problem->x = sequence(read_array(input, n->element), n->I, n->B);
    for (int s = 0; s < states; s++) {
        problem->state[s] = read_array(state, n->element);
        problem->state_out[s] = allocate((size_t)state * n->element);
    }
    problem->dy = sequence(read_array(output, n->element), n->D * n->H, n->B);
    for (int s = 0; s < states; s++) {
        problem->dstate[s] = read_array(state, n->element);
        problem->dstate_out[s] = allocate((size_t)state * n->element);
    }
    problem->y = sequence(allocate((size_t)output * n->element), n->D * n->H, n->B);
    problem->dx = sequence(allocate((size_t)input * n->element), n->I, n->B);
}

static void write_results(const struct xr_problem *problem, const struct sizes *n)
{
    const ptrdiff_t state = n->D * n->B * n->H;
    const struct xr_cell_info *cell = xr_cell_at(problem->layer->cell);
    const ptrdiff_t rows = cell->gates * n->H;
    write_array(problem->y.data, n->T * state, n->element);
    for (int s = 0; s < cell->states; s++) {
        write_array(problem->state_out[s], state, n->element);
    }
    write_array(problem->dx.data, n->T * n->B * n->I, n->element);
    for (int s = 0; s < cell->states; s++) {
        write_array(problem->dstate_out[s], state, n->element);
    }
    for (int d = 0; d < n->D; d++) {
        write_array(problem->dw[d].w_ih, rows * n->I, n->element);
        write_array(problem->dw[d].w_hh, rows * n->H, n->element);
        write_array(problem->dw[d].b_ih, rows, n->element);
        write_array(problem->dw[d].b_hh, rows, n->element);
    }
}

static void run_problem(struct xr_problem *problem)
{
    problem->cache = allocate(xr_cache_layout(problem).bytes);
    problem->scratch = allocate(xr_scratch_bytes(problem, 0));
    xr_forward(problem);
    free(problem->scratch);
    problem->scratch = allocate(xr_scratch_bytes(problem, 1));
    xr_backward(problem);
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fail("expected ISA f32|f64 CELL T B I H D THREADS");
    }
    const int is_f32 = strcmp(argv[2], "f32") == 0;
    struct xr_layer layer = {.engine =
                                 xr_find_engine(argv[1], is_f32 ? XR_F32 : XR_F64),
                             .cell = find_cell(argv[3]),
                             .I = atoi(argv[6]),
                             .H = atoi(argv[7])};
    if (layer.engine == NULL) {
        fail("this machine does not run that instruction set");
    }
    struct sizes n = {.T = atoi(argv[4]),
                      .B = atoi(argv[5]),
                      .I = layer.I,
                      .H = layer.H,
                      .D = atoi(argv[8]),
                      .element = is_f32 ? sizeof(float) : sizeof(double)};
    struct xr_problem problem = {.layer = &layer,
                                 .directions = (int)n.D,
                                 .threads = atoi(argv[9]),
                                 .T = n.T,
                                 .B = n.B};
    read_problem(&problem, &n);
    run_problem(&problem);
    write_results(&problem, &n);
    return 0;
}
