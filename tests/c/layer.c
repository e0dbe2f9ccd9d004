/* One layer, forward and back, through the public C interface alone (see arrays.h).
 *
 *     layer ISA f32|f64 CELL T B I H O D THREADS BARE OPTIONS ACTIVATIONS
 *           DROPS [SIZE PERIOD]...
 *
 *     BARE         1: whatever may be NULL is NULL: lengths, clock, states, dstates
 *     OPTIONS      peepholes, omit, coupled, full_gate_recurrence, clip, cells,
 *                  projects
 *     ACTIVATIONS  three times the kind, an enum xr_activation, alpha, beta; for each
 *                  direction
 *     DROPS        shares of zoneout, of h and of other states, share of recurrent
 *                  dropout, key of the call that draws masks; 0: no masks, the mean
 *     SIZE PERIOD  of each module
 *
 * in    unless bare lengths [B] and clock [B] (int64); for each direction the weights
 *       that the cell has, in the order of struct xr_weights, x [T, B, I], states,
 *       dy, like y, dstates, the states both unless bare; lower and dupper
 *       [D, T, B, H] for a cell that takes a lower state
 * out   y, states, dx, dstates, for each direction the gradients of the weights; upper
 *       and dlower where lower was read
 *
 * Inference, which keeps nothing for backward, must give the y and states of training
 * without masks.
 * Every call comes after others of the same problem that were ended early.
 */
#include <math.h>

#include "arrays.h"
#include "base/masks.h"

enum {
    ROLES = 8,
    FIRST_OPTION = 12,
    FIRST_ACTIVATION = 19,
    FIRST_DROP = 37,
    FIRST_MODULE = 41,
    USES = 3 /* of masks: recurrent dropout, zoneout of h, of other states */
};

struct sizes {
    ptrdiff_t T, B, I, H, D;
    ptrdiff_t Y; /* columns of y */
    size_t element;
    int bare;
};

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

/* Elements of each weight of one direction, 0 for those that the cell lacks. */
static void count_weights(const struct xr_layer *layer, ptrdiff_t count[ROLES])
{
    const struct xr_cell_info *cell = &layer->info;
    const ptrdiff_t W = cell->w_blocks * layer->H, R = cell->r_blocks * layer->H;
    const ptrdiff_t n = cell->links * layer->H;
    int projection_has_bias = 0;
    for (int i = 0; i < cell->sums; i++) {
        const struct xr_sum *sum = &cell->sum[i];
        projection_has_bias |= sum->matrix == XR_HR && sum->bias == XR_OWN_BIAS;
    }
    const ptrdiff_t counts[ROLES] = {W * layer->I,
                                     R * (cell->cells + cell->heard) * layer->O,
                                     W,
                                     R,
                                     cell->projects ? layer->O * layer->H : 0,
                                     projection_has_bias ? layer->O : 0,
                                     cell->vectors * layer->H,
                                     n * n};
    memcpy(count, counts, sizeof counts);
}

/* Weights are packed twice and not kept: only their packed forms are read. */
static void read_weights(struct xr_problem *problem, int d, const struct sizes *n)
{
    const struct xr_layer *layer = problem->layer;
    ptrdiff_t count[ROLES];
    void *w[ROLES], *dw[ROLES];
    count_weights(layer, count);
    for (int role = 0; role < ROLES; role++) {
        w[role] = count[role] ? read_array(count[role], n->element) : NULL;
        dw[role] =
            count[role] ? allocate_zeros((size_t)count[role] * n->element) : NULL;
    }
    struct xr_weights weights = {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]};
    void *packed = allocate(xr_packed_bytes(layer));
    void *packed_backward = allocate(xr_packed_backward_bytes(layer));
    xr_pack(layer, &weights, packed, NULL);
    xr_pack_backward(layer, &weights, packed_backward, NULL);
    problem->packed[d] = packed;
    problem->packed_backward[d] = packed_backward;
    problem->dw[d] =
        (struct xr_gradients){dw[0], dw[1], dw[2], dw[3], dw[4], dw[5], dw[6], dw[7]};
}

static ptrdiff_t state_count(const struct xr_problem *problem, int s)
{
    return problem->directions * problem->B * xr_state_width(problem->layer, s);
}

static ptrdiff_t padded_count(const struct xr_problem *problem, const struct sizes *n)
{
    return n->D * n->T * n->B * xr_padded_units(problem->layer);
}

/* A sequence [D, T, B, H], its rows padded. */
static void *read_padded(const struct xr_problem *problem, const struct sizes *n)
{
    const size_t row = (size_t)n->H * n->element;
    const size_t padded = (size_t)xr_padded_units(problem->layer) * n->element;
    char *array = allocate_zeros((size_t)padded_count(problem, n) * n->element);
    char *packed = read_array(n->D * n->T * n->B * n->H, n->element);
    for (ptrdiff_t k = 0; k < n->D * n->T * n->B; k++) {
        memcpy(array + (size_t)k * padded, packed + (size_t)k * row, row);
    }
    release(packed);
    return array;
}

static void write_padded(const void *array, const struct xr_problem *problem,
                         const struct sizes *n)
{
    const size_t padded = (size_t)xr_padded_units(problem->layer) * n->element;
    for (ptrdiff_t k = 0; k < n->D * n->T * n->B; k++) {
        write_array((const char *)array + (size_t)k * padded, n->H, n->element);
    }
}

static void read_problem(struct xr_problem *problem, const struct sizes *n)
{
    const ptrdiff_t output = n->T * n->B * n->Y, input = n->T * n->B * n->I;
    const struct xr_cell_info *cell = &problem->layer->info;
    const int states = xr_state_arrays(problem->layer);
    problem->lengths = n->bare ? NULL : read_array(n->B, sizeof(int64_t));
    problem->clock = n->bare ? NULL : read_array(n->B, sizeof(int64_t));
    for (int d = 0; d < n->D; d++) {
        read_weights(problem, d, n);
    }
    problem->x = sequence(read_array(input, n->element), n->I, n->B);
    for (int s = 0; s < states; s++) {
        const ptrdiff_t count = state_count(problem, s);
        problem->state[s] = n->bare ? NULL : read_array(count, n->element);
        problem->state_out[s] = allocate((size_t)count * n->element);
    }
    problem->dy = sequence(read_array(output, n->element), n->Y, n->B);
    for (int s = 0; s < states; s++) {
        const ptrdiff_t count = state_count(problem, s);
        problem->dstate[s] = n->bare ? NULL : read_array(count, n->element);
        problem->dstate_out[s] = allocate((size_t)count * n->element);
    }
    problem->y = sequence(allocate((size_t)output * n->element), n->Y, n->B);
    problem->dx = sequence(allocate((size_t)input * n->element), n->I, n->B);
    if (cell->takes_lower) {
        const size_t bytes = (size_t)padded_count(problem, n) * n->element;
        problem->lower = read_padded(problem, n);
        problem->dupper = read_padded(problem, n);
        problem->upper = allocate_zeros(bytes); /* not written past a row's length */
        problem->dlower = allocate_zeros(bytes);
    }
}

static void write_results(const struct xr_problem *problem, const struct sizes *n)
{
    const struct xr_cell_info *cell = &problem->layer->info;
    const int states = xr_state_arrays(problem->layer);
    write_array(problem->y.data, n->T * n->B * n->Y, n->element);
    for (int s = 0; s < states; s++) {
        write_array(problem->state_out[s], state_count(problem, s), n->element);
    }
    write_array(problem->dx.data, n->T * n->B * n->I, n->element);
    for (int s = 0; s < states; s++) {
        write_array(problem->dstate_out[s], state_count(problem, s), n->element);
    }
    ptrdiff_t count[ROLES];
    count_weights(problem->layer, count);
    for (int d = 0; d < n->D; d++) {
        const struct xr_gradients *dw = &problem->dw[d];
        const void *of[ROLES] = {dw->w_ih, dw->w_hh, dw->b_ih,    dw->b_hh,
                                 dw->w_hr, dw->b_hr, dw->vectors, dw->w_gates};
        for (int role = 0; role < ROLES; role++) {
            if (count[role]) {
                write_array(of[role], count[role], n->element);
            }
        }
    }
    if (cell->takes_lower) {
        write_padded(problem->upper, problem, n);
        write_padded(problem->dlower, problem, n);
    }
}

static void expect_same(const void *one, const void *other, size_t bytes)
{
    if (memcmp(one, other, bytes) != 0) {
        fail("inference gives other bits than training");
    }
}

/* The forward call of `training`, without a cache. */
static void check_inference(const struct xr_problem *training, const struct sizes *n)
{
    const size_t output = (size_t)(n->T * n->B * n->Y) * n->element;
    const int states = xr_state_arrays(training->layer);
    struct xr_problem problem = *training;
    problem.cache = NULL;
    problem.y.data = allocate(output);
    for (int s = 0; s < states; s++) {
        problem.state_out[s] = allocate((size_t)state_count(training, s) * n->element);
    }
    problem.scratch = allocate(xr_scratch_bytes(&problem, 0));
    xr_forward(&problem);
    expect_same(problem.y.data, training->y.data, output);
    for (int s = 0; s < states; s++) {
        const size_t bytes = (size_t)state_count(training, s) * n->element;
        expect_same(problem.state_out[s], training->state_out[s], bytes);
    }
}

static void call_forward(void *problem, struct xr_stop *stop)
{
    struct xr_problem ended = *(const struct xr_problem *)problem;
    ended.stop = stop;
    xr_forward(&ended);
}

static void call_backward(void *problem, struct xr_stop *stop)
{
    struct xr_problem ended = *(const struct xr_problem *)problem;
    ended.stop = stop;
    xr_backward(&ended);
}

/* What ended calls have added to the gradients of weights. */
static void clear_gradients(const struct xr_problem *problem, const struct sizes *n)
{
    ptrdiff_t count[ROLES];
    count_weights(problem->layer, count);
    for (int d = 0; d < n->D; d++) {
        const struct xr_gradients *dw = &problem->dw[d];
        void *const of[ROLES] = {dw->w_ih, dw->w_hh, dw->b_ih,    dw->b_hh,
                                 dw->w_hr, dw->b_hr, dw->vectors, dw->w_gates};
        for (int role = 0; role < ROLES; role++) {
            if (count[role]) {
                memset(of[role], 0, (size_t)count[role] * n->element);
            }
        }
    }
}

static void run_problem(struct xr_problem *problem, const struct sizes *n)
{
    problem->cache = allocate(xr_cache_layout(problem).bytes);
    problem->scratch = allocate(xr_scratch_bytes(problem, 0));
    end_at_chances(call_forward, problem);
    xr_forward(problem);
    release(problem->scratch);
    if (problem->masks == NULL) {
        check_inference(problem, n);
    }
    problem->scratch = allocate(xr_scratch_bytes(problem, 1));
    end_at_chances(call_backward, problem);
    clear_gradients(problem, n);
    xr_backward(problem);
}

/* The masks of one use of the first layer, as a call of training draws them. */
static void *draw_masks(const struct xr_problem *problem, enum xr_dtype dtype,
                        uint64_t key, int use, double share)
{
    const ptrdiff_t Hp = xr_padded_units(problem->layer);
    const double scale = 1 / (1 - share);
    struct xr_mask mask = {.threshold = (uint64_t)ceil(ldexp(share, 53)),
                           .below = use == 0 ? 0 : 1,
                           .above = use == 0 ? scale : 0,
                           .steps = use == 0 ? 1 : problem->T,
                           .rows = problem->B,
                           .units = use < 2 ? problem->layer->O : problem->layer->H,
                           .heads = 1,
                           .timeless = use == 0};
    const size_t element = dtype == XR_F32 ? 4 : 8;
    const size_t bytes = (size_t)(mask.steps * mask.rows * Hp) * element;
    char *masks = allocate_zeros((size_t)problem->directions * bytes);
    for (int d = 0; d < problem->directions; d++) {
        mask.key = xr_hash(key, (uint64_t)(d * USES + use));
        xr_draw_mask(&mask, dtype, Hp, masks + (size_t)d * bytes);
    }
    return masks;
}

static void read_masks(struct xr_problem *problem, enum xr_dtype dtype, char **words)
{
    static struct xr_masks masks;
    const uint64_t key = strtoull(words[3], NULL, 10);
    if (key == 0) {
        return;
    }
    masks.recurrent = draw_masks(problem, dtype, key, 0, atof(words[2]));
    for (int zone = 0; zone < XR_ZONES; zone++) {
        masks.zoneout[zone] =
            draw_masks(problem, dtype, key, 1 + zone, atof(words[zone]));
    }
    problem->masks = &masks;
}

static void read_modules(struct xr_layer *layer, int argc, char **argv)
{
    static struct xr_module modules[16];
    layer->module = modules;
    for (int i = FIRST_MODULE; i + 1 < argc; i += 2) {
        modules[layer->modules++] =
            (struct xr_module){.size = atoi(argv[i]), .period = atoi(argv[i + 1])};
    }
}

static void read_activations(struct xr_layer *layer, char **words)
{
    for (int i = 0; i < 3; i++, words += 3) {
        layer->activation[i] = (struct xr_nonlinearity){
            (enum xr_activation)atoi(words[0]), atof(words[1]), atof(words[2])};
    }
}

static struct xr_layer read_layer(int argc, char **argv)
{
    char **option = argv + FIRST_OPTION;
    struct xr_layer layer = {
        .engine = xr_find_engine(argv[1], dtype_of(argv[2])),
        .cell = find_cell(argv[3]),
        .I = atoi(argv[6]),
        .H = atoi(argv[7]),
        .O = atoi(argv[8]),
        .clip = atof(option[4]),
        .zoneout = {atof(argv[FIRST_DROP]), atof(argv[FIRST_DROP + 1])},
        .options = {.peepholes = (unsigned)atoi(option[0]),
                    .omit = (unsigned)atoi(option[1]),
                    .coupled = (enum xr_coupled)atoi(option[2]),
                    .full_gate_recurrence = atoi(option[3]),
                    .cells = atoi(option[5]),
                    .projects = atoi(option[6])},
    };
    if (layer.engine == NULL) {
        fail("this machine does not run that instruction set");
    }
    read_activations(&layer, argv + FIRST_ACTIVATION);
    read_modules(&layer, argc, argv);
    xr_describe(&layer);
    return layer;
}

int main(int argc, char **argv)
{
    if (argc < FIRST_MODULE) {
        fail("arguments are missing: see the head of layer.c");
    }
    use_every_thread(atoi(argv[10]));
    const struct xr_layer layer = read_layer(argc, argv);
    struct sizes n = {.T = atoi(argv[4]),
                      .B = atoi(argv[5]),
                      .I = layer.I,
                      .H = layer.H,
                      .D = atoi(argv[9]),
                      .Y = atoi(argv[9]) * xr_state_width(&layer, 0),
                      .element = element_bytes(argv[2]),
                      .bare = atoi(argv[11])};
    struct xr_layer second = layer;
    read_activations(&second, argv + FIRST_ACTIVATION + 9);
    struct xr_problem problem = {.layer = &layer,
                                 .second = &second,
                                 .directions = (int)n.D,
                                 .threads = atoi(argv[10]),
                                 .T = n.T,
                                 .B = n.B};
    read_problem(&problem, &n);
    read_masks(&problem, dtype_of(argv[2]), argv + FIRST_DROP);
    run_problem(&problem, &n);
    write_results(&problem, &n);
    return 0;
}
