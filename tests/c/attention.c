/* A layer that looks at a memory, forward and back, through the public C interface (see
 * arrays.h, base/attention.h).
 *
 *     attention ISA f32|f64 CELL SCORE QUERY SELECTOR T B S I H M K THREADS
 *
 *     SCORE, QUERY  an enum xr_score, an enum xr_query
 *     SELECTOR      1: there is one
 *     K             width of a key
 *
 * in    lengths [B] and memory_lengths [B] (int64); of the cell w_ih, w_hh, b_ih, b_hh,
 *       of the attention those that there are in the order of struct
 *       xr_attention_weights; x [T, B, I], memory [S, B, M], dy [T, B, H], dcontext
 *       [T, B, M], dalpha [T, B, S]
 * out   y, contexts, alpha, dx, dmemory, the gradients of the weights in their order
 *
 * Every call comes after others of the same problem that were ended early. A first one
 * without a cache must give the y of the one with it.
 */
#include "arrays.h"
#include "base/attention.h"

enum { CELL_ROLES = 4, OWN_ROLES = 5 };

struct sizes {
    ptrdiff_t T, B, S, I, H, M, columns; /* of the cell's input */
    size_t element;
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

static void *zeros(const struct sizes *n, ptrdiff_t count)
{
    return allocate_zeros((size_t)count * n->element);
}

static void read_cell(struct xr_problem *problem, const struct sizes *n,
                      ptrdiff_t count[CELL_ROLES])
{
    const struct xr_layer *layer = problem->layer;
    const ptrdiff_t W = layer->info.w_blocks * n->H, R = layer->info.r_blocks * n->H;
    const ptrdiff_t counts[CELL_ROLES] = {W * n->columns, R * n->H, W, R};
    void *w[CELL_ROLES];
    for (int k = 0; k < CELL_ROLES; k++) {
        count[k] = counts[k];
        w[k] = read_array(counts[k], n->element);
    }
    const struct xr_weights weights = {w[0], w[1], w[2], w[3], NULL, NULL, NULL, NULL};
    void *packed = allocate(xr_packed_bytes(layer));
    void *back = allocate(xr_packed_backward_bytes(layer));
    xr_pack(layer, &weights, packed, NULL);
    xr_pack_backward(layer, &weights, back, NULL);
    problem->packed[0] = packed;
    problem->packed_backward[0] = back;
}

static void read_attention(struct xr_attention *attention,
                           const struct xr_engine *engine, size_t element,
                           ptrdiff_t count[OWN_ROLES])
{
    const struct xr_attention_form *form = &attention->form;
    const int is_additive = form->score == XR_ADDITIVE;
    const ptrdiff_t counts[OWN_ROLES] = {
        form->Q * form->H, form->Q, form->score == XR_DOT ? 0 : form->K * form->M,
        is_additive ? form->K : 0, is_additive ? form->K : 0};
    void *w[OWN_ROLES];
    for (int k = 0; k < OWN_ROLES; k++) {
        count[k] = counts[k];
        w[k] = counts[k] ? read_array(counts[k], element) : NULL;
    }
    const struct xr_attention_weights weights = {w[0], w[1], w[2], w[3], w[4]};
    void *packed = allocate(xr_attention_packed_bytes(engine, form));
    xr_pack_attention(engine, form, &weights, packed, NULL);
    attention->packed = packed;
}

/* Gives x its place in the cell's input, whose contexts are not written yet. */
static void *spread_inputs(const struct sizes *n, const void *x)
{
    const size_t row = (size_t)n->I * n->element;
    char *inputs = zeros(n, n->T * n->B * n->columns); /* of steps that a row lacks */
    for (ptrdiff_t k = 0; k < n->T * n->B; k++) {
        memcpy(inputs + (size_t)(k * n->columns) * n->element,
               (const char *)x + (size_t)k * row, row);
    }
    return inputs;
}

static void run_one_way(void *context, struct xr_stop *stop)
{
    struct xr_problem *problem = context;
    problem->stop = stop;
    xr_forward(problem);
}

static void run_back(void *context, struct xr_stop *stop)
{
    struct xr_problem *problem = context;
    problem->stop = stop;
    xr_backward(problem);
}

static void take_scratch(struct xr_problem *problem, int backward)
{
    problem->scratch = allocate(xr_scratch_bytes(problem, backward));
}

/* Runs forward with a cache, and without one, whose y must be the same. */
static void run_forward_twice(struct xr_problem *problem,
                              struct xr_attention *attention, const struct sizes *n)
{
    const size_t bytes = (size_t)(n->T * n->B * n->H) * n->element;
    const ptrdiff_t Qp = (attention->form.Q + XR_UNIT_PAD - 1) / XR_UNIT_PAD;
    void *first = problem->y.data;
    take_scratch(problem, 0);
    end_at_chances(run_one_way, problem);
    problem->cache = allocate(xr_cache_layout(problem).bytes);
    attention->queries = zeros(n, n->T * n->B * Qp * XR_UNIT_PAD);
    attention->sums = zeros(n, n->T * n->B * n->M);
    problem->y = sequence(allocate(bytes), n->H, n->B);
    take_scratch(problem, 0);
    end_at_chances(run_one_way, problem);
    if (memcmp(first, problem->y.data, bytes) != 0) {
        fail("inference gives another y");
    }
}

/* Gradients of weights are added to, so only the last call's are to be there. */
static void run_backward_once(struct xr_problem *problem,
                              struct xr_attention *attention, const struct sizes *n,
                              const ptrdiff_t *cell, const ptrdiff_t *own)
{
    take_scratch(problem, 1);
    attention->dmemory = sequence(zeros(n, n->S * n->B * n->M), n->M, n->B);
    problem->dx = sequence(zeros(n, n->T * n->B * n->I), n->I, n->B);
    problem->dw[0].w_ih = NULL;
    end_at_chances(run_back, problem);
    problem->dw[0] = (struct xr_gradients){.w_ih = zeros(n, cell[0]),
                                           .w_hh = zeros(n, cell[1]),
                                           .b_ih = zeros(n, cell[2]),
                                           .b_hh = zeros(n, cell[3])};
    attention->dw =
        (struct xr_attention_gradients){.query = own[0] ? zeros(n, own[0]) : NULL,
                                        .query_bias = own[1] ? zeros(n, own[1]) : NULL,
                                        .memory = own[2] ? zeros(n, own[2]) : NULL,
                                        .memory_bias = own[3] ? zeros(n, own[3]) : NULL,
                                        .score = own[4] ? zeros(n, own[4]) : NULL};
    run_back(problem, NULL);
}

static void write_contexts(const struct xr_attention *attention, const struct sizes *n)
{
    for (ptrdiff_t k = 0; k < n->T * n->B; k++) {
        const struct xr_sequence *context = &attention->context;
        const ptrdiff_t at = k / n->B * context->step + k % n->B * context->row;
        write_array((const char *)context->data + (size_t)at * n->element, n->M,
                    n->element);
    }
}

int main(int argc, char **argv)
{
    if (argc != 15) {
        fail("arguments are missing: see the head of attention.c");
    }
    ptrdiff_t word[15] = {0};
    for (int k = 4; k < argc; k++) {
        word[k] = atoi(argv[k]);
    }
    struct sizes n = {word[7],  word[8],  word[9], word[10],
                      word[11], word[12], 0,       element_bytes(argv[2])};
    const int is_additive = word[4] == XR_ADDITIVE;
    struct xr_attention attention = {
        .form = {.score = (enum xr_score)word[4],
                 .query = (enum xr_query)word[5],
                 .selector = (int)word[6],
                 .H = n.H,
                 .M = n.M,
                 .K = word[13],
                 .Q = (is_additive ? word[13] : 0) + word[6]},
        .S = n.S};
    const int looks_before = attention.form.query == XR_PREVIOUS;
    n.columns = n.I + (looks_before ? n.M : 0);
    struct xr_layer layer = {.engine = xr_find_engine(argv[1], dtype_of(argv[2])),
                             .cell = find_cell(argv[3]),
                             .I = n.columns,
                             .H = n.H,
                             .O = n.H};
    if (layer.engine == NULL) {
        fail("this machine does not run that instruction set");
    }
    layer.activation[0].kind = XR_SIGMOID; /* the others are tanh, which is 0 */
    xr_describe(&layer);
    use_every_thread((int)word[14]);
    struct xr_problem problem = {.layer = &layer,
                                 .directions = 1,
                                 .threads = (int)word[14],
                                 .T = n.T,
                                 .B = n.B,
                                 .attention = &attention};
    problem.lengths = read_array(n.B, sizeof(int64_t));
    attention.memory_lengths = read_array(n.B, sizeof(int64_t));
    ptrdiff_t cell[CELL_ROLES], own[OWN_ROLES];
    read_cell(&problem, &n, cell);
    read_attention(&attention, layer.engine, n.element, own);
    void *x = read_array(n.T * n.B * n.I, n.element);
    attention.memory = sequence(read_array(n.S * n.B * n.M, n.element), n.M, n.B);
    problem.dy = sequence(read_array(n.T * n.B * n.H, n.element), n.H, n.B);
    attention.dcontext = sequence(read_array(n.T * n.B * n.M, n.element), n.M, n.B);
    attention.dalpha = read_array(n.T * n.B * n.S, n.element);

    problem.x = sequence(spread_inputs(&n, x), n.columns, n.B);
    attention.context = sequence(zeros(&n, n.T * n.B * n.M), n.M, n.B);
    if (looks_before) {
        attention.context = problem.x;
        attention.context.data = (char *)problem.x.data + (size_t)n.I * n.element;
    }
    attention.alpha = zeros(&n, n.T * n.B * n.S);
    const ptrdiff_t padded = (n.S + XR_UNIT_PAD - 1) / XR_UNIT_PAD * XR_UNIT_PAD;
    attention.keys = allocate((size_t)(n.B * word[13] * padded) * n.element);
    problem.y = sequence(zeros(&n, n.T * n.B * n.H), n.H, n.B);
    for (int k = 0; k < xr_state_arrays(&layer); k++) {
        problem.state_out[k] = zeros(&n, n.B * n.H);
        problem.dstate_out[k] = zeros(&n, n.B * n.H);
    }
    run_forward_twice(&problem, &attention, &n);
    run_backward_once(&problem, &attention, &n, cell, own);

    write_array(problem.y.data, n.T * n.B * n.H, n.element);
    write_contexts(&attention, &n);
    write_array(attention.alpha, n.T * n.B * n.S, n.element);
    write_array(problem.dx.data, n.T * n.B * n.I, n.element);
    write_array(attention.dmemory.data, n.S * n.B * n.M, n.element);
    const struct xr_gradients *dw = &problem.dw[0];
    void *const cells[CELL_ROLES] = {dw->w_ih, dw->w_hh, dw->b_ih, dw->b_hh};
    for (int k = 0; k < CELL_ROLES; k++) {
        write_array(cells[k], cell[k], n.element);
    }
    void *const owns[OWN_ROLES] = {attention.dw.query, attention.dw.query_bias,
                                   attention.dw.memory, attention.dw.memory_bias,
                                   attention.dw.score};
    for (int k = 0; k < OWN_ROLES; k++) {
        write_array(owns[k] ? owns[k] : "", own[k], n.element);
    }
    return 0;
}
