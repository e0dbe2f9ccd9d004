"""For `cimport`: saved models in C, exactrnn/model.h, as Cython sees them.

The functions are those of the C library, which a module that calls them is linked with;
the headers lie in `exactrnn.get_include()`. docs/c.md has an example. A call that does
not return XR_OK leaves one line in xr_message().
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

cdef extern from "exactrnn.h" nogil:
    int XR_MAX_STATES

    ctypedef enum xr_status "enum xr_status":
        XR_OK
        XR_BAD_ARGUMENT
        XR_BAD_FILE
        XR_UNSUPPORTED
        XR_CANNOT_READ
        XR_NO_MEMORY
        XR_STOPPED

    ctypedef enum xr_dtype "enum xr_dtype":
        XR_F32
        XR_F64

    struct xr_sequence:
        void *data
        ptrdiff_t step, row

    struct xr_stop:
        int (*wanted)(void *context) noexcept
        void *context
        int stopped

    const char *xr_version()
    const char *xr_message()
    const char *xr_isa_at(int index)
    int xr_max_threads()
    xr_status xr_set_threads(int threads)

cdef extern from "exactrnn/model.h" nogil:
    struct xr_model:
        pass

    struct xr_stream:
        pass

    struct xr_model_options:
        size_t struct_size
        const char *isa

    struct xr_model_info:
        size_t struct_size
        const char *class_name
        const char *isa
        xr_dtype dtype
        ptrdiff_t inputs, outputs, layers, directions
        int batch_first, can_stream, counts_steps
        int64_t first_clock
        int states
        ptrdiff_t *state_width  # [states]
        int64_t numerics

    struct xr_run:
        size_t struct_size
        ptrdiff_t T, B
        int threads
        const int64_t *lengths
        const int64_t *clock
        xr_sequence x, y
        const void **state  # [states], as state_out
        void **state_out
        xr_stop *stop

    xr_status xr_model_load(
        const char *path, const xr_model_options *options, xr_model **model
    )
    xr_status xr_model_load_bytes(
        const void *content,
        size_t bytes,
        const xr_model_options *options,
        xr_model **model,
    )
    void xr_model_free(xr_model *model)
    xr_status xr_model_describe(const xr_model *model, xr_model_info *info)
    xr_status xr_model_run(const xr_model *model, const xr_run *run)

    xr_status xr_stream_new(const xr_model *model, ptrdiff_t B, xr_stream **stream)
    void xr_stream_free(xr_stream *stream)
    xr_status xr_stream_step(xr_stream *stream, const void *x, void *y)
    xr_status xr_stream_reset(xr_stream *stream)
    xr_status xr_stream_get_state(const xr_stream *stream, int k, void *state)
    xr_status xr_stream_set_state(xr_stream *stream, int k, const void *state)
    xr_status xr_stream_get_clock(const xr_stream *stream, int64_t *clock)
    xr_status xr_stream_set_clock(xr_stream *stream, const int64_t *clock)
