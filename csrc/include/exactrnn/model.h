/* Models that Python has saved (exactrnn.save), read and run without it: whole
 * sequences, or a stream of single steps that is fit for a real-time thread.
 *
 * Read are recurrent layers of every class, RNN to DepthGatedLSTM, and RNNCell and its
 * kin; not layer_norm, cells from their equations, grids, attention, echo state
 * networks, Linear, Embedding and files of several parts (XR_UNSUPPORTED). A file is
 * checked as exactrnn.load checks it, its checksum included, and may come from
 * anywhere.
 *
 * Letters as in exactrnn.h; L layers. Arrays hold elements of the model's dtype. A
 * model does not change and may be used by any number of threads at once; a stream has
 * a state, and belongs to one thread at a time.
 */
#ifndef XR_MODEL_H
#define XR_MODEL_H

#include "exactrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xr_model;
struct xr_stream;

/* How a model is read. NULL in the place of the struct: all as it comes. */
struct xr_model_options {
    size_t struct_size;
    const char *isa; /* NULL: the best; the bits are the same */
};

/* Reads a file, or its content, and packs the weights. *model is NULL unless the status
 * is XR_OK. Locale and floating-point mode of the caller do not matter. */
XR_API enum xr_status xr_model_load(const char *path,
                                    const struct xr_model_options *options,
                                    struct xr_model **model);
XR_API enum xr_status xr_model_load_bytes(const void *content, size_t bytes,
                                          const struct xr_model_options *options,
                                          struct xr_model **model);

/* NULL is taken. Streams go on with their model, which goes with the last of them. */
XR_API void xr_model_free(struct xr_model *model);

struct xr_model_info {
    size_t struct_size;
    const char *class_name; /* in Python: "LSTM"; valid as long as the model */
    const char *isa;
    enum xr_dtype dtype;
    ptrdiff_t inputs, outputs; /* of a step: I, and the width of y */
    ptrdiff_t layers, directions;
    int batch_first;     /* what Python expects; xr_run takes any strides */
    int can_stream;      /* one direction, which reads forward */
    int counts_steps;    /* its state has a clock besides: a clockwork network */
    int64_t first_clock; /* what that shows at first */
    int states;          /* arrays of states; the first is h */
    ptrdiff_t state_width[XR_MAX_STATES];
    int64_t numerics; /* XR_NUMERICS_VERSION of the library that wrote the file: results
                       * of another may differ in bits */
};
XR_API enum xr_status xr_model_describe(const struct xr_model *model,
                                        struct xr_model_info *info);

/* Whole sequences. State k is [L*D, B, state_width[k]], contiguous; in a bidirectional
 * model layer 0 forward, layer 0 reverse, layer 1 forward, ... The call allocates what
 * it needs and gives it back. */
struct xr_run {
    size_t struct_size;
    ptrdiff_t T, B;
    int threads;                      /* 0: xr_max_threads() */
    const int64_t *lengths;           /* [B], 0..T each, or NULL: all T */
    const int64_t *clock;             /* [B], of a model that counts steps, or NULL:
                                           * first_clock; the caller adds the lengths */
    struct xr_sequence x, y;          /* [T, B, inputs] and [T, B, outputs] */
    const void *state[XR_MAX_STATES]; /* NULL: zeros */
    void *state_out[XR_MAX_STATES];   /* NULL: not wanted; may be state */
    struct xr_stop *stop;             /* NULL: the call cannot be ended */
};
XR_API enum xr_status xr_model_run(const struct xr_model *model,
                                   const struct xr_run *run);

/* A stream of B rows, all at zero. XR_UNSUPPORTED where the model cannot stream. */
XR_API enum xr_status xr_stream_new(const struct xr_model *model, ptrdiff_t B,
                                    struct xr_stream **stream);
XR_API void xr_stream_free(struct xr_stream *stream);

/* One step: reads x [B, inputs], writes y [B, outputs], both contiguous and apart. On
 * the calling thread alone: it allocates nothing, takes no lock, makes no system call
 * and takes as long at any value, NaN and denormals included. */
XR_API enum xr_status xr_stream_step(struct xr_stream *stream, const void *x, void *y);

/* Back to zeros; and the state of number k [L, B, state_width[k]] as a copy, to be put
 * back later. The clock [B]
 * is that of a model that counts steps; other models have none (XR_UNSUPPORTED). */
XR_API enum xr_status xr_stream_reset(struct xr_stream *stream);
XR_API enum xr_status xr_stream_get_state(const struct xr_stream *stream, int k,
                                          void *state);
XR_API enum xr_status xr_stream_set_state(struct xr_stream *stream, int k,
                                          const void *state);
XR_API enum xr_status xr_stream_get_clock(const struct xr_stream *stream,
                                          int64_t *clock);
XR_API enum xr_status xr_stream_set_clock(struct xr_stream *stream,
                                          const int64_t *clock);

#ifdef __cplusplus
}
#endif

#endif
