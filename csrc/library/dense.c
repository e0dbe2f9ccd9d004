/* What stands around the layers, checked: the functions of exactrnn/dense.h, ctc.h and
 * update.h on the tables of base/tables.h.
 */
#include "base/engine.h"
#include "base/tables.h"
#include "library/checks.h"

/* Checks of an array that may be missing where it has no element. */
static enum xr_status check_array(const char *name, const void *array, ptrdiff_t count,
                                  size_t alignment)
{
    return count == 0 ? XR_OK : xr_check_memory(name, array, alignment);
}

/* The engine, a struct of `bytes` and three sizes of which none may be less than its
 * least. */
struct sizes {
    const char *name[3];
    ptrdiff_t least[3];
};

static enum xr_status check_sizes(const struct sizes *sizes, const ptrdiff_t value[3],
                                  int threads)
{
    enum xr_status status = xr_check_threads(threads);
    double volume = 1, pair = 0;
    for (int i = 0; i < 3 && status == XR_OK; i++) {
        status = xr_check_range(sizes->name[i], value[i], sizes->least[i], PTRDIFF_MAX);
        pair = pair > (double)value[i] ? pair : (double)value[i];
        volume *= (double)value[i] + XR_UNIT_PAD;
    }
    /* No array has all three sizes; of two, each is at most the largest. */
    const double largest = pair + XR_UNIT_PAD;
    return status == XR_OK
               ? xr_check_volume(
                     "sizes", volume < largest * largest ? volume : largest * largest)
               : status;
}

/* Linear layers */

static enum xr_status take_linear(const struct xr_engine *engine,
                                  const struct xr_linear *given, struct xr_linear *own)
{
    static const struct sizes SIZES = {{"N", "K", "O"}, {0, 1, 1}};
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("problem", given, own, sizeof *own);
    }
    if (status == XR_OK) {
        const ptrdiff_t sizes[3] = {own->N, own->K, own->O};
        status = check_sizes(&SIZES, sizes, own->threads);
    }
    return status;
}

enum xr_status xr_linear_scratch(const struct xr_engine *engine,
                                 const struct xr_linear *problem, size_t *bytes)
{
    struct xr_linear own;
    enum xr_status status = take_linear(engine, problem, &own);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof(size_t));
    }
    if (status == XR_OK) {
        *bytes = engine->dense->linear_scratch(&own);
    }
    return status;
}

static enum xr_status check_linear(const struct xr_engine *engine,
                                   const struct xr_linear *own)
{
    const size_t element = engine->element_bytes;
    enum xr_status status = check_array("x", own->x, own->N, element);
    if (status == XR_OK) {
        status = xr_check_memory("w", own->w, element);
    }
    if (status == XR_OK) {
        status = xr_check_memory("scratch", own->scratch, XR_ALIGNMENT);
    }
    return status;
}

enum xr_status xr_linear_forward(const struct xr_engine *engine,
                                 const struct xr_linear *problem)
{
    struct xr_linear own;
    enum xr_status status = take_linear(engine, problem, &own);
    if (status == XR_OK) {
        status = check_linear(engine, &own);
    }
    if (status == XR_OK) {
        status = xr_check_optional("b", own.b, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = check_array("y", own.y, own.N, engine->element_bytes);
    }
    if (status == XR_OK && own.N > 0) {
        engine->dense->linear_forward(&own);
        status = xr_end_of(own.stop);
    }
    return status;
}

enum xr_status xr_linear_backward(const struct xr_engine *engine,
                                  const struct xr_linear *problem)
{
    struct xr_linear own;
    enum xr_status status = take_linear(engine, problem, &own);
    if (status == XR_OK) {
        status = check_linear(engine, &own);
    }
    if (status == XR_OK) {
        status = check_array("dy", own.dy, own.N, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_optional("dx", own.dx, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("dw", own.dw, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_optional("db", own.db, engine->element_bytes);
    }
    if (status == XR_OK && own.N > 0) {
        engine->dense->linear_backward(&own);
        status = xr_end_of(own.stop);
    }
    return status;
}

/* Softmax */

static enum xr_status take_softmax(const struct xr_engine *engine,
                                   const struct xr_softmax *given,
                                   struct xr_softmax *own)
{
    static const struct sizes SIZES = {{"N", "V", "1"}, {0, 1, 1}};
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("problem", given, own, sizeof *own);
    }
    if (status == XR_OK) {
        const ptrdiff_t sizes[3] = {own->N, own->V, 1};
        status = check_sizes(&SIZES, sizes, own->threads);
    }
    return status;
}

enum xr_status xr_softmax_scratch(const struct xr_engine *engine,
                                  const struct xr_softmax *problem, size_t *bytes)
{
    struct xr_softmax own;
    enum xr_status status = take_softmax(engine, problem, &own);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof(size_t));
    }
    if (status == XR_OK) {
        *bytes = engine->dense->softmax_scratch(&own);
    }
    return status;
}

/* Targets or other indices, of which the least is 0 or -1. */
static enum xr_status check_indices(const char *name, const int64_t *index,
                                    ptrdiff_t count, int64_t least, int64_t end)
{
    enum xr_status status = check_array(name, index, count, sizeof *index);
    for (ptrdiff_t i = 0; i < count && status == XR_OK; i++) {
        if (index[i] < least || index[i] >= end) {
            status = xr_refuse(
                XR_BAD_ARGUMENT, "%s[%td]: expected %lld to %lld, got %lld", name, i,
                (long long)least, (long long)end - 1, (long long)index[i]);
        }
    }
    return status;
}

enum xr_status xr_softmax_loss(const struct xr_engine *engine,
                               const struct xr_softmax *problem)
{
    struct xr_softmax own;
    enum xr_status status = take_softmax(engine, problem, &own);
    if (status == XR_OK) {
        status = check_array("logits", own.logits, own.N, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = check_indices("target", own.target, own.N, -1, own.V);
    }
    if (status == XR_OK) {
        status = check_array("loss", own.loss, own.N, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_optional("dlogits", own.dlogits, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("scratch", own.scratch, XR_ALIGNMENT);
    }
    if (status == XR_OK && own.N > 0) {
        engine->dense->softmax(&own);
        status = xr_end_of(own.stop);
    }
    return status;
}

/* Embeddings */

static enum xr_status take_embedding(const struct xr_engine *engine,
                                     const struct xr_embedding *given,
                                     struct xr_embedding *own)
{
    static const struct sizes SIZES = {{"N", "V", "E"}, {0, 1, 1}};
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("problem", given, own, sizeof *own);
    }
    if (status == XR_OK) {
        const ptrdiff_t sizes[3] = {own->N, own->V, own->E};
        status = check_sizes(&SIZES, sizes, own->threads);
    }
    return status;
}

enum xr_status xr_embedding_scratch(const struct xr_engine *engine,
                                    const struct xr_embedding *problem, size_t *bytes)
{
    struct xr_embedding own;
    enum xr_status status = take_embedding(engine, problem, &own);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof(size_t));
    }
    if (status == XR_OK) {
        *bytes = engine->dense->embedding_scratch(&own);
    }
    return status;
}

enum xr_status xr_embedding_backward(const struct xr_engine *engine,
                                     const struct xr_embedding *problem)
{
    struct xr_embedding own;
    enum xr_status status = take_embedding(engine, problem, &own);
    if (status == XR_OK) {
        status = check_indices("index", own.index, own.N, 0, own.V);
    }
    if (status == XR_OK) {
        status = check_array("dy", own.dy, own.N, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("dw", own.dw, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("scratch", own.scratch, XR_ALIGNMENT);
    }
    if (status == XR_OK && own.N > 0) {
        engine->dense->embedding_backward(&own);
        status = xr_end_of(own.stop);
    }
    return status;
}

enum xr_status xr_long_sum(const struct xr_engine *engine, const void *x, ptrdiff_t n,
                           int squares, void *total, struct xr_stop *stop)
{
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_check_range("n", n, 0, PTRDIFF_MAX / 8);
    }
    if (status == XR_OK) {
        status = check_array("x", x, n, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("total", total, engine->element_bytes);
    }
    if (status == XR_OK) {
        engine->dense->long_sum(x, n, squares, total, stop);
        status = xr_end_of(stop);
    }
    return status;
}

/* Connectionist temporal classification */

static enum xr_status take_ctc(const struct xr_engine *engine,
                               const struct xr_ctc *given, struct xr_ctc *own)
{
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("problem", given, own, sizeof *own);
    }
    const struct {
        const char *name;
        ptrdiff_t value, least, most;
    } sizes[] = {
        {"T", own->T, 0, PTRDIFF_MAX},
        {"B", own->B, 0, PTRDIFF_MAX},
        {"K", own->K, 1, PTRDIFF_MAX},
        {"L", own->L, 0, PTRDIFF_MAX},
        {"blank", own->blank, 0, own->K > 0 ? own->K - 1 : 0},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && status == XR_OK; i++) {
        status = xr_check_range(sizes[i].name, sizes[i].value, sizes[i].least,
                                sizes[i].most);
    }
    if (status == XR_OK) {
        status = xr_check_threads(own->threads);
    }
    if (status == XR_OK) {
        const double columns = (double)own->K + 4 * (double)own->L + XR_UNIT_PAD;
        const double rows = ((double)own->T + 4) * ((double)own->B + XR_UNIT_PAD);
        status = xr_check_volume("T, B, K, L", rows * columns);
    }
    return status;
}

enum xr_status xr_ctc_scratch(const struct xr_engine *engine,
                              const struct xr_ctc *problem, size_t *bytes)
{
    struct xr_ctc own = {.struct_size = 0};
    enum xr_status status = take_ctc(engine, problem, &own);
    if (status == XR_OK) {
        status = xr_check_memory("bytes", bytes, sizeof(size_t));
    }
    if (status == XR_OK) {
        *bytes = engine->ctc->scratch(&own);
    }
    return status;
}

static enum xr_status check_labels(const struct xr_ctc *own)
{
    enum xr_status status =
        check_indices("lengths", own->lengths, own->B, 0, own->T + 1);
    if (status == XR_OK) {
        status =
            check_indices("label_lengths", own->label_lengths, own->B, 0, own->L + 1);
    }
    for (ptrdiff_t b = 0; b < own->B && status == XR_OK; b++) {
        const int64_t *labels = own->labels == NULL ? NULL : own->labels + b * own->L;
        status = check_indices("labels", labels, (ptrdiff_t)own->label_lengths[b], 0,
                               own->K);
    }
    return status;
}

enum xr_status xr_ctc_loss(const struct xr_engine *engine, const struct xr_ctc *problem)
{
    struct xr_ctc own = {.struct_size = 0};
    enum xr_status status = take_ctc(engine, problem, &own);
    if (status == XR_OK) {
        status = check_labels(&own);
    }
    if (status == XR_OK) {
        status =
            check_array("logits", own.logits, own.T * own.B, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = check_array("loss", own.loss, own.B, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_optional("dlogits", own.dlogits, engine->element_bytes);
    }
    if (status == XR_OK) {
        status = xr_check_memory("scratch", own.scratch, XR_ALIGNMENT);
    }
    if (status == XR_OK && own.B > 0) {
        engine->ctc->loss(&own);
        status = xr_end_of(own.stop);
    }
    return status;
}

/* Updates */

/* Which arrays a rule wants beside p. */
enum { WANTS_G = 1, WANTS_M = 2, WANTS_V = 4 };

static enum xr_status take_update(const struct xr_engine *engine,
                                  const struct xr_update *given, struct xr_update *own,
                                  int wants)
{
    enum xr_status status = xr_check_engine(engine);
    if (status == XR_OK) {
        status = xr_take_struct("update", given, own, sizeof *own);
    }
    if (status != XR_OK) {
        return status;
    }
    const size_t element = engine->element_bytes;
    status = xr_check_range("n", own->n, 0, PTRDIFF_MAX / 8);
    if (status == XR_OK) {
        status = check_array("p", own->p, own->n, element);
    }
    if (status == XR_OK) {
        status = check_array("g", own->g, wants & WANTS_G ? own->n : 0, element);
    }
    if (status == XR_OK) {
        status = check_array("m", own->m, wants & WANTS_M ? own->n : 0, element);
    }
    if (status == XR_OK) { /* the velocity, which may be missing */
        status = xr_check_optional("m", own->m, element);
    }
    if (status == XR_OK) {
        status = check_array("v", own->v, wants & WANTS_V ? own->n : 0, element);
    }
    return status;
}

enum xr_status xr_update_scale(const struct xr_engine *engine,
                               const struct xr_update *update)
{
    struct xr_update own;
    const enum xr_status status = take_update(engine, update, &own, WANTS_G);
    if (status == XR_OK) {
        engine->updates->scale(&own);
    }
    return status;
}

enum xr_status xr_update_sgd(const struct xr_engine *engine,
                             const struct xr_update *update)
{
    struct xr_update own;
    const enum xr_status status = take_update(engine, update, &own, WANTS_G);
    if (status == XR_OK) {
        engine->updates->sgd(&own);
    }
    return status;
}

enum xr_status xr_update_adam(const struct xr_engine *engine,
                              const struct xr_update *update)
{
    struct xr_update own;
    const int wants = WANTS_G | WANTS_M | WANTS_V;
    enum xr_status status = take_update(engine, update, &own, wants);
    if (status == XR_OK && !(own.keep > 0)) {
        status = xr_refuse(XR_BAD_ARGUMENT, "keep: expected a number above 0");
    }
    if (status == XR_OK) {
        engine->updates->adam(&own);
    }
    return status;
}

enum xr_status xr_update_rmsprop(const struct xr_engine *engine,
                                 const struct xr_update *update)
{
    struct xr_update own;
    const enum xr_status status = take_update(engine, update, &own, WANTS_G | WANTS_V);
    if (status == XR_OK) {
        engine->updates->rmsprop(&own);
    }
    return status;
}
