/* The checked functions: right calls give the bits of unchecked ones, wrong ones a
 * status and a message. Ends with 0 if all is as it should be, else says where not.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tables.h"
#include "exactrnn/model.h"

enum { T = 3, B = 2, I = 5, H = 7, GATES = 4, ROOM = 1 << 20 };

static int line;
static const char *expected;

#define XR_AT line = __LINE__

static void fail(const char *what)
{
    fprintf(stderr, "line %d: %s: %s\n", line, what, xr_message());
    exit(1);
}

static void right(enum xr_status status)
{
    if (status != XR_OK) {
        fail("a right call was refused");
    }
}

/* The message begins with the argument's name. */
static void wrong(enum xr_status status, const char *name)
{
    expected = name;
    if (status != XR_BAD_ARGUMENT) {
        fail("a wrong call was not refused");
    }
    if (strncmp(xr_message(), name, strlen(name)) != 0) {
        fail("another argument was blamed");
    }
}

/* Pointers of a struct that a call follows, by their names. */
struct place {
    size_t at;
    const char *name;
};

/* None of them may lead beside an element: 1 is neither NULL nor aligned. */
static void check_crooked(enum xr_status (*call)(const void *), const void *given,
                          size_t bytes, const struct place *places)
{
    const uintptr_t crooked = 1;
    char *copy = malloc(bytes);
    for (; places->name != NULL; places++) {
        memcpy(copy, given, bytes);
        memcpy(copy + places->at, &crooked, sizeof crooked);
        wrong(call(copy), places->name);
    }
    free(copy);
}

static void *memory(void)
{
    void *room = aligned_alloc(XR_ALIGNMENT, ROOM);
    for (size_t i = 0; i < ROOM / sizeof(float); i++) {
        ((float *)room)[i] = (float)((int)(i * 7919 % 201) - 100) / 128;
    }
    return room;
}

static void *clear(void) { return memset(memory(), 0, ROOM); }

/* Layers */

struct parts {
    struct xr_layer layer;
    struct xr_weights weights;
    struct xr_problem problem;
    const struct xr_engine *engine;
};

static struct parts make_parts(void)
{
    struct parts p = {.engine = xr_find_engine(NULL, XR_F32)};
    p.layer = (struct xr_layer){
        .struct_size = sizeof p.layer,
        .engine = p.engine,
        .cell = xr_cell_index("lstm"),
        .I = I,
        .H = H,
        .O = H,
        .activation = {{.kind = XR_SIGMOID}, {.kind = XR_TANH}, {.kind = XR_TANH}}};
    p.weights = (struct xr_weights){
        .w_ih = memory(), .w_hh = memory(), .b_ih = memory(), .b_hh = memory()};
    p.problem = (struct xr_problem){
        .struct_size = sizeof p.problem,
        .directions = 1,
        .threads = 1,
        .T = T,
        .B = B,
        .packed = {memory()},
        .packed_backward = {memory()},
        .x = {.data = memory(), .step = B * I, .row = I},
        .y = {.data = clear(), .step = B * H, .row = H},
        .dy = {.data = memory(), .step = B * H, .row = H},
        .dx = {.data = clear(), .step = B * I, .row = I},
        .state_out = {clear(), clear()},
        .dstate_out = {clear(), clear()},
        .cache = clear(),
        .scratch = clear(),
        .dw = {{.w_ih = clear(), .w_hh = clear(), .b_ih = clear(), .b_hh = clear()}}};
    return p;
}

static void same(const void *one, const void *other, const char *what)
{
    if (memcmp(one, other, ROOM) != 0) {
        fail(what);
    }
}

static void check_right_layer(void)
{
    struct parts p = make_parts(), q = make_parts();
    struct xr_layer_sizes sizes = {.struct_size = sizeof sizes};
    struct xr_cache_layout layout;
    size_t bytes;
    p.problem.layer = &p.layer;
    XR_AT, right(xr_layer_measure(&p.layer, &sizes));
    XR_AT, right(xr_layer_describe(&p.layer));
    if (sizes.states != 2 || sizes.state_width[1] != H || p.layer.info.w_blocks != 4) {
        fail("sizes or description differ");
    }
    p.layer.info.states = 77; /* which nobody reads */
    XR_AT, right(xr_layer_cache(&p.problem, &layout));
    XR_AT, right(xr_layer_scratch(&p.problem, 1, &bytes));
    if (layout.bytes > ROOM || bytes > ROOM || sizes.packed_bytes > ROOM) {
        fail("no room");
    }
    XR_AT,
        right(xr_layer_pack(&p.layer, &p.weights, (void *)p.problem.packed[0], NULL));
    XR_AT, right(xr_layer_pack_backward(&p.layer, &p.weights,
                                        (void *)p.problem.packed_backward[0], NULL));
    XR_AT, right(xr_layer_forward(&p.problem));
    XR_AT, right(xr_layer_backward(&p.problem));
    q.problem.layer = &q.layer;
    xr_describe(&q.layer);
    xr_pack(&q.layer, &q.weights, (void *)q.problem.packed[0], NULL);
    xr_pack_backward(&q.layer, &q.weights, (void *)q.problem.packed_backward[0], NULL);
    xr_forward(&q.problem);
    xr_backward(&q.problem);
    same(p.problem.y.data, q.problem.y.data, "y");
    same(p.problem.state_out[1], q.problem.state_out[1], "c");
    same(p.problem.dx.data, q.problem.dx.data, "dx");
    same(p.problem.dw[0].w_hh, q.problem.dw[0].w_hh, "dw");
    p.problem.T = 0;
    p.problem.state[0] = memory();
    XR_AT, right(xr_layer_forward(&p.problem));
    if (memcmp(p.problem.state[0], p.problem.state_out[0], B * H * 4) != 0) {
        fail("a call without steps changed the state");
    }
}

/* One wrong member of a layer each. */
static void check_wrong_layers(void)
{
    const struct parts p = make_parts();
    struct xr_layer layer;
    const double infinity = 1e300 * 1e300;
    static const struct xr_module modules[2] = {{4, 1}, {4, 2}};
    XR_AT, wrong(xr_layer_describe(NULL), "layer");
    layer = p.layer, layer.struct_size--;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.struct_size");
    layer = p.layer, layer.engine = NULL;
    XR_AT, wrong(xr_layer_describe(&layer), "engine");
    layer = p.layer, layer.engine = (const struct xr_engine *)&p;
    XR_AT, wrong(xr_layer_describe(&layer), "engine");
    layer = p.layer, layer.cell = -1;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.cell");
    layer = p.layer, layer.cell = 99;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.cell");
    layer = p.layer, layer.cell = xr_cell_index("program");
    XR_AT, wrong(xr_layer_describe(&layer), "layer.cell");
    layer = p.layer, layer.I = 0;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.I");
    layer = p.layer, layer.H = PTRDIFF_MAX;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.I, H, O");
    layer = p.layer, layer.O = -1;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.O");
    layer = p.layer, layer.activation[1].kind = (enum xr_activation)99;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.activation.kind");
    layer = p.layer, layer.activation[2].alpha = infinity;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.activation");
    layer = p.layer;
    layer.activation[2] = (struct xr_nonlinearity){XR_ELU, -1, 0};
    XR_AT, wrong(xr_layer_describe(&layer), "layer.activation.alpha");
    layer = p.layer, layer.clip = -1;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.clip");
    layer = p.layer, layer.options.omit = 8;
    XR_AT, wrong(xr_layer_describe(&layer), "options.omit");
    layer = p.layer, layer.options.peepholes = layer.options.omit = XR_GATE_I;
    XR_AT, wrong(xr_layer_describe(&layer), "options.peepholes");
    layer = p.layer, layer.options.cells = 2;
    XR_AT, wrong(xr_layer_describe(&layer), "options.cells");
    layer = p.layer, layer.options.coupled = (enum xr_coupled)3;
    XR_AT, wrong(xr_layer_describe(&layer), "options.coupled");
    layer = p.layer, layer.options.coupled = XR_COUPLED_INPUT;
    layer.options.omit = XR_GATE_F;
    XR_AT, wrong(xr_layer_describe(&layer), "options.coupled");
    layer = p.layer, layer.options.omit = 7, layer.options.full_gate_recurrence = 1;
    XR_AT, wrong(xr_layer_describe(&layer), "options.full_gate_recurrence");
    layer = p.layer, layer.modules = 2, layer.module = modules;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.modules");
    layer.cell = xr_cell_index("rnn");
    XR_AT, wrong(xr_layer_describe(&layer), "layer.module");
    layer.options.omit = 1, layer.modules = 0;
    XR_AT, wrong(xr_layer_describe(&layer), "options");
    layer.options.omit = 0, layer.O = H + 1;
    XR_AT, wrong(xr_layer_describe(&layer), "layer.O");
}

#define XR_PLACE(member) offsetof(struct xr_problem, member)
static const struct place FORWARD[] = {{XR_PLACE(lengths), "lengths"},
                                       {XR_PLACE(clock), "clock"},
                                       {XR_PLACE(packed[0]), "packed"},
                                       {XR_PLACE(x.data), "x"},
                                       {XR_PLACE(y.data), "y"},
                                       {XR_PLACE(state[1]), "state"},
                                       {XR_PLACE(state_out[1]), "state_out"},
                                       {XR_PLACE(upper), "upper"},
                                       {XR_PLACE(cache), "cache"},
                                       {XR_PLACE(scratch), "scratch"},
                                       {0, NULL}};
static const struct place BACKWARD[] = {
    {XR_PLACE(packed[0]), "packed"}, {XR_PLACE(packed_backward[0]), "packed_back"},
    {XR_PLACE(dy.data), "dy"},       {XR_PLACE(dx.data), "dx"},
    {XR_PLACE(dstate[1]), "dstate"}, {XR_PLACE(dstate_out[1]), "dstate_out"},
    {XR_PLACE(dupper), "dupper"},    {XR_PLACE(dw[0].b_hh), "b_hh"},
    {XR_PLACE(cache), "cache"},      {0, NULL}};

static enum xr_status forward(const void *problem) { return xr_layer_forward(problem); }

static enum xr_status backward(const void *problem)
{
    return xr_layer_backward(problem);
}

static void check_wrong_calls(void)
{
    struct parts p = make_parts();
    struct xr_layer second = p.layer;
    const int64_t lengths[B] = {T, T + 1}, clock[B] = {0, -1};
    struct xr_problem problem;
    size_t bytes;
    p.problem.layer = &p.layer;
    XR_AT, wrong(xr_layer_pack(&p.layer, NULL, memory(), NULL), "weights");
    XR_AT, wrong(xr_layer_pack(&p.layer, &p.weights, NULL, NULL), "packed");
    p.weights.vectors = p.weights.w_ih;
    XR_AT,
        wrong(xr_layer_pack(&p.layer, &p.weights, memory(), NULL), "weights.vectors");
    p.weights.vectors = NULL, p.weights.w_hh = NULL;
    XR_AT, wrong(xr_layer_pack(&p.layer, &p.weights, memory(), NULL), "w_hh");
    XR_AT, wrong(xr_layer_forward(NULL), "problem");
    XR_AT, wrong(xr_layer_scratch(&p.problem, 0, NULL), "bytes");
    XR_AT, wrong(xr_layer_cache(&p.problem, NULL), "layout");
    problem = p.problem, problem.struct_size = 0;
    XR_AT, wrong(xr_layer_forward(&problem), "problem.struct_size");
    problem = p.problem, problem.layer = NULL;
    XR_AT, wrong(xr_layer_forward(&problem), "layer");
    problem = p.problem, problem.directions = 3;
    XR_AT, wrong(xr_layer_forward(&problem), "directions");
    problem = p.problem, problem.directions = 2, problem.reverse = 1;
    XR_AT, wrong(xr_layer_forward(&problem), "directions");
    problem = p.problem, problem.threads = 0;
    XR_AT, wrong(xr_layer_forward(&problem), "threads");
    problem = p.problem, problem.T = -1;
    XR_AT, wrong(xr_layer_forward(&problem), "T");
    problem = p.problem, problem.T = problem.B = PTRDIFF_MAX;
    XR_AT, wrong(xr_layer_scratch(&problem, 0, &bytes), "T, B, I, H, O");
    problem = p.problem, problem.lengths = lengths;
    XR_AT, wrong(xr_layer_forward(&problem), "lengths[1]");
    problem = p.problem, problem.clock = clock;
    XR_AT, wrong(xr_layer_forward(&problem), "clock[1]");
    problem = p.problem, problem.packed[0] = (const char *)problem.packed[0] + 4;
    XR_AT, wrong(xr_layer_forward(&problem), "packed");
    problem = p.problem, problem.x.data = NULL;
    XR_AT, wrong(xr_layer_forward(&problem), "x");
    problem = p.problem, problem.x.step = PTRDIFF_MIN;
    XR_AT, wrong(xr_layer_forward(&problem), "x");
    problem = p.problem, problem.y.data = (char *)problem.y.data + 1;
    XR_AT, wrong(xr_layer_forward(&problem), "y");
    problem = p.problem, problem.state_out[1] = NULL;
    XR_AT, wrong(xr_layer_forward(&problem), "state_out");
    problem = p.problem, problem.scratch = NULL;
    XR_AT, wrong(xr_layer_forward(&problem), "scratch");
    problem = p.problem, problem.cache = NULL;
    XR_AT, wrong(xr_layer_backward(&problem), "cache");
    problem = p.problem, problem.packed_backward[0] = NULL;
    XR_AT, wrong(xr_layer_backward(&problem), "packed_backward");
    problem = p.problem, problem.packed[0] = NULL;
    XR_AT, wrong(xr_layer_backward(&problem), "packed");
    problem = p.problem, problem.dstate_out[0] = NULL;
    XR_AT, wrong(xr_layer_backward(&problem), "dstate_out");
    problem = p.problem, problem.dw[0].w_hh = NULL;
    XR_AT, wrong(xr_layer_backward(&problem), "w_hh");
    problem = p.problem, problem.second = &second, second.H = H + 1, second.O = H + 1;
    XR_AT, wrong(xr_layer_forward(&problem), "second");
    second = p.layer, second.zoneout[1] = 0.5;
    XR_AT, wrong(xr_layer_forward(&problem), "second");
    XR_AT, check_crooked(forward, &p.problem, sizeof p.problem, FORWARD);
    XR_AT, check_crooked(backward, &p.problem, sizeof p.problem, BACKWARD);
    problem = p.problem, problem.attention = memory();
    XR_AT, wrong(xr_layer_forward(&problem), "attention");
    XR_AT, wrong(xr_set_threads(0), "threads");
    p.layer.cell = xr_cell_index("depth_gated");
    XR_AT, wrong(xr_layer_forward(&p.problem), "lower");
}

/* Around the layers */

static void check_linear(void)
{
    const struct xr_engine *engine = xr_find_engine("scalar", XR_F32);
    struct xr_linear problem = {.struct_size = sizeof problem,
                                .N = B,
                                .K = I,
                                .O = H,
                                .x = memory(),
                                .w = memory(),
                                .b = memory(),
                                .dy = memory(),
                                .y = clear(),
                                .dw = clear(),
                                .threads = 1,
                                .scratch = memory()};
    struct xr_linear other = problem;
    size_t bytes;
    other.y = clear();
    XR_AT, right(xr_linear_scratch(engine, &problem, &bytes));
    XR_AT, right(xr_linear_forward(engine, &problem));
    XR_AT, right(xr_linear_backward(engine, &problem));
    xr_find_dense("scalar", XR_F32)->linear_forward(&other);
    same(problem.y, other.y, "linear");
    XR_AT, wrong(xr_linear_forward(NULL, &problem), "engine");
    XR_AT, wrong(xr_linear_forward(engine, NULL), "problem");
    problem.K = 0;
    XR_AT, wrong(xr_linear_forward(engine, &problem), "K");
    problem.K = PTRDIFF_MAX;
    XR_AT, wrong(xr_linear_forward(engine, &problem), "sizes");
    problem.K = I, problem.w = NULL;
    XR_AT, wrong(xr_linear_forward(engine, &problem), "w");
    problem.w = other.w, problem.dy = NULL;
    XR_AT, wrong(xr_linear_backward(engine, &problem), "dy");
}

static void check_losses(void)
{
    const struct xr_engine *engine = xr_find_engine(NULL, XR_F32);
    int64_t target[B] = {0, H};
    struct xr_softmax softmax = {.struct_size = sizeof softmax,
                                 .N = B,
                                 .V = H,
                                 .logits = memory(),
                                 .target = target,
                                 .scale = 1,
                                 .loss = clear(),
                                 .threads = 1,
                                 .scratch = memory()};
    XR_AT, wrong(xr_softmax_loss(engine, &softmax), "target[1]");
    target[1] = -1;
    XR_AT, right(xr_softmax_loss(engine, &softmax));
    struct xr_embedding embedding = {.struct_size = sizeof embedding,
                                     .N = B,
                                     .V = H,
                                     .E = I,
                                     .index = target,
                                     .dy = memory(),
                                     .dw = clear(),
                                     .threads = 1,
                                     .scratch = memory()};
    XR_AT, wrong(xr_embedding_backward(engine, &embedding), "index[1]");
    target[1] = 1;
    XR_AT, right(xr_embedding_backward(engine, &embedding));
    int64_t labels[B * 2] = {1, 2, 3, H}, lengths[B] = {T, T}, counts[B] = {2, 2};
    struct xr_ctc ctc = {.struct_size = sizeof ctc,
                         .T = T,
                         .B = B,
                         .K = H,
                         .L = 2,
                         .logits = memory(),
                         .labels = labels,
                         .lengths = lengths,
                         .label_lengths = counts,
                         .loss = clear(),
                         .threads = 1,
                         .scratch = memory()};
    XR_AT, wrong(xr_ctc_loss(engine, &ctc), "labels[1]");
    labels[3] = 1, counts[0] = 3;
    XR_AT, wrong(xr_ctc_loss(engine, &ctc), "label_lengths[0]");
    counts[0] = 2;
    XR_AT, right(xr_ctc_loss(engine, &ctc));
    ctc.blank = H;
    XR_AT, wrong(xr_ctc_loss(engine, &ctc), "blank");
    ctc.K = PTRDIFF_MIN;
    XR_AT, wrong(xr_ctc_loss(engine, &ctc), "K");
    struct xr_update update = {.struct_size = sizeof update, .n = 3, .p = memory()};
    XR_AT, wrong(xr_update_adam(engine, &update), "g");
    update.g = memory(), update.rate = 0.5;
    XR_AT, right(xr_update_sgd(engine, &update));
    XR_AT, right(xr_update_scale(engine, &update));
    XR_AT, wrong(xr_update_adam(engine, &update), "m");
    XR_AT, wrong(xr_update_rmsprop(engine, &update), "v");
    update.m = memory(), update.v = memory(), update.correction = 1.0;
    XR_AT, wrong(xr_update_adam(engine, &update), "keep");
    update.keep = 1.0;
    XR_AT, right(xr_update_adam(engine, &update));
    XR_AT, right(xr_update_rmsprop(engine, &update));
    update.m = (char *)update.m + 1;
    XR_AT, wrong(xr_update_sgd(engine, &update), "m");
    float total = 0;
    XR_AT, right(xr_long_sum(engine, update.p, 3, 0, &total, NULL));
    XR_AT, wrong(xr_long_sum(engine, NULL, 3, 0, &total, NULL), "x");
}

/* Grids */

#define XR_GRID_PLACE(member) offsetof(struct xr_grid_problem, member)
static const struct place GRID[] = {
    {XR_GRID_PLACE(lengths), "lengths"}, {XR_GRID_PLACE(packed), "packed"},
    {XR_GRID_PLACE(h[1]), "h"},          {XR_GRID_PLACE(m[0]), "m"},
    {XR_GRID_PLACE(h_out[1]), "h_out"},  {XR_GRID_PLACE(m_out[0]), "m_out"},
    {XR_GRID_PLACE(m_out[1]), "m_out"},  {XR_GRID_PLACE(cache), "cache"},
    {XR_GRID_PLACE(scratch), "scratch"}, {0, NULL}};
static const struct place GRID_BACKWARD[] = {
    {XR_GRID_PLACE(packed_backward), "packed_backward"},
    {XR_GRID_PLACE(dh[1]), "dh"},
    {XR_GRID_PLACE(dm[0]), "dm"},
    {XR_GRID_PLACE(dh_out[1]), "dh_out"},
    {XR_GRID_PLACE(dm_out[0]), "dm_out"},
    {XR_GRID_PLACE(dw), "dw"},
    {XR_GRID_PLACE(db), "db"},
    {0, NULL}};

static enum xr_status grid_forward(const void *problem)
{
    return xr_grid_forward(xr_find_engine("scalar", XR_F32), problem);
}

static enum xr_status grid_backward(const void *problem)
{
    return xr_grid_backward(xr_find_engine("scalar", XR_F32), problem);
}

static void check_grid(void)
{
    const struct xr_engine *engine = xr_find_engine("scalar", XR_F32);
    struct xr_grid_block block = {
        .struct_size = sizeof block, .N = 2, .memory = {1, 0}, .phase = {0, 1}, .H = 4};
    void *packs[2] = {memory(), memory()}, *ends[2] = {clear(), clear()};
    struct xr_grid_problem problem = {.struct_size = sizeof problem,
                                      .block = &block,
                                      .threads = 1,
                                      .size = {2, 3},
                                      .B = B,
                                      .sets = 1,
                                      .packed = (const void *const *)packs,
                                      .h_out = {ends[0], ends[1]},
                                      .scratch = memory()};
    struct xr_grid_cache layout;
    size_t bytes;
    for (int k = 0; k < 2; k++) {
        XR_AT, right(xr_grid_packed_bytes(engine, &block, k, 0, &bytes));
        XR_AT, right(xr_grid_pack(engine, &block, k, memory(), NULL, packs[k], NULL));
    }
    XR_AT, right(xr_grid_scratch(engine, &problem, 0, &bytes));
    XR_AT, right(xr_grid_cache_layout(engine, &problem, &layout));
    XR_AT, right(xr_grid_forward(engine, &problem));
    void *expected_end = clear();
    struct xr_grid_problem other = problem;
    other.h_out[0] = expected_end;
    xr_find_grid("scalar", XR_F32)->forward(&other);
    same(ends[0], expected_end, "grid");
    XR_AT, wrong(xr_grid_backward(engine, &problem), "cache");
    XR_AT, check_crooked(grid_forward, &problem, sizeof problem, GRID);
    void *gradients[2] = {memory(), memory()};
    other = problem, other.cache = memory(), other.dw = other.db = gradients;
    other.packed_backward = other.packed;
    XR_AT, check_crooked(grid_backward, &other, sizeof other, GRID_BACKWARD);
    other = problem, other.sets = PTRDIFF_MIN;
    XR_AT, wrong(xr_grid_forward(engine, &other), "sets");
    problem.set_step[1] = 1;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "set_step");
    problem.set_step[1] = 0, problem.size[1] = 0;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "size");
    problem.size[1] = 3, packs[1] = NULL;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "packed");
    block.phase[0] = 1;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "block.phase");
    block.phase[0] = 0, block.phase[1] = 2;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "block.phase");
    block.N = 7;
    XR_AT, wrong(xr_grid_forward(engine, &problem), "block.N");
    block.N = 2, block.phase[1] = 0;
    XR_AT, wrong(xr_grid_pack(engine, &block, 2, memory(), NULL, memory(), NULL), "k");
    XR_AT, wrong(xr_grid_pack_side(engine, &block, 0, memory(), NULL, memory(), NULL),
                 "k");
}

/* Calls of more multiplications than can be counted, though their arrays can be, are
 * worth every thread, which wants memory of its own. */
static void check_long_calls(void)
{
    struct parts p = make_parts();
    size_t alone, shared;
    p.layer.I = p.layer.H = p.layer.O = 1024;
    p.problem.layer = &p.layer;
    p.problem.T = p.problem.B = (ptrdiff_t)1 << 20;
    for (int backward = 0; backward < 2; backward++) {
        p.problem.threads = 1;
        XR_AT, right(xr_layer_scratch(&p.problem, backward, &alone));
        p.problem.threads = 4;
        XR_AT, right(xr_layer_scratch(&p.problem, backward, &shared));
        if (shared <= alone) {
            fail("a long call of a layer has one thread");
        }
    }
    struct xr_grid_block block = {
        .struct_size = sizeof block, .N = 2, .memory = {1, 1}, .H = 1024};
    struct xr_grid_problem grid = {.struct_size = sizeof grid,
                                   .block = &block,
                                   .size = {1 << 10, 1 << 10},
                                   .B = 1 << 19,
                                   .sets = 1};
    for (int backward = 0; backward < 2; backward++) {
        grid.threads = 1;
        XR_AT, right(xr_grid_scratch(p.engine, &grid, backward, &alone));
        grid.threads = 4;
        XR_AT, right(xr_grid_scratch(p.engine, &grid, backward, &shared));
        if (shared <= alone) {
            fail("a long call of a grid has one thread");
        }
    }
}

/* Models, but for files: models.c */

static void check_models(void)
{
    struct xr_model *model = NULL;
    struct xr_stream *stream = NULL;
    XR_AT, wrong(xr_model_load(NULL, NULL, &model), "path");
    XR_AT, wrong(xr_model_load("x", NULL, NULL), "model");
    XR_AT, wrong(xr_model_load_bytes(NULL, 3, NULL, &model), "content");
    XR_AT, wrong(xr_model_describe(NULL, NULL), "model");
    XR_AT, wrong(xr_model_run(NULL, NULL), "model");
    XR_AT, wrong(xr_stream_new(NULL, 1, &stream), "model");
    XR_AT, wrong(xr_stream_step(NULL, NULL, NULL), "stream");
    XR_AT, wrong(xr_stream_reset(NULL), "stream");
    if (xr_model_load("/nowhere/at/all", NULL, &model) != XR_CANNOT_READ ||
        strstr(xr_message(), "No such file") == NULL) {
        fail("a file that is not there");
    }
    xr_model_free(NULL);
    xr_stream_free(NULL);
    if (xr_find_engine("none", XR_F32) != NULL || xr_cell_index("none") != -1 ||
        xr_find_engine(NULL, XR_DTYPES) != NULL || xr_isa_at(-1) != NULL ||
        xr_isa_at(INT_MIN) != NULL) {
        fail("unknown names were found");
    }
}

int main(void)
{
    check_right_layer();
    check_wrong_layers();
    check_wrong_calls();
    check_linear();
    check_losses();
    check_grid();
    check_long_calls();
    check_models();
    return 0;
}
