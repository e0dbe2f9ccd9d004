/* The part of XLA's foreign-function interface that is used here, in declarations of
 * our own: a wheel that has been built without jax then works with it.
 *
 * A handler gets a frame: arguments and results as buffers in memory of XLA's,
 * attributes by name, a stage and a table of functions. It is also called to say which
 * version of the interface it was written for; the question is a frame with an
 * extension. The assertions below compare places with those that XLA has on machines of
 * 64 bits; tests/interop/test_jax_calls.py makes calls.
 *
 * Source: the C interface of OpenXLA's ffi, version 0.3, whose header jaxlib ships.
 */
#ifndef XR_XLA_FFI_H
#define XR_XLA_FFI_H

#include <stddef.h>
#include <stdint.h>

enum { XLA_MAJOR = 0, XLA_MINOR = 3 };
enum xla_stage { XLA_INSTANTIATE, XLA_PREPARE, XLA_INITIALIZE, XLA_EXECUTE };
enum xla_dtype {
    XLA_INVALID = 0,
    XLA_S32 = 4,
    XLA_S64 = 5,
    XLA_U8 = 6,
    XLA_F32 = 11,
    XLA_F64 = 12
};
enum xla_code {
    XLA_INVALID_ARGUMENT = 3,
    XLA_RESOURCE_EXHAUSTED = 8,
    XLA_FAILED_PRECONDITION = 9
};
enum xla_attribute { XLA_ARRAY = 1, XLA_STRING = 4 };
enum { XLA_METADATA = 1 };

struct xla_error;
struct xla_api;

struct xla_extension {
    size_t size;
    int kind;
    struct xla_extension *next;
};

struct xla_version {
    size_t size;
    struct xla_extension *extension;
    int major, minor;
};

struct xla_metadata {
    size_t size;
    struct xla_version version;
    uint32_t traits;
};

/* The extension of kind XLA_METADATA. */
struct xla_question {
    struct xla_extension head;
    struct xla_metadata *answer;
};

struct xla_buffer {
    size_t size;
    struct xla_extension *extension;
    enum xla_dtype dtype;
    void *data;
    int64_t rank;
    const int64_t *dims;
};

struct xla_buffers {
    size_t size;
    struct xla_extension *extension;
    int64_t count;
    const int *kinds;
    struct xla_buffer **buffer;
};

struct xla_text {
    const char *start;
    size_t length;
};

struct xla_array {
    enum xla_dtype dtype;
    size_t count;
    const void *data;
};

struct xla_attributes {
    size_t size;
    struct xla_extension *extension;
    int64_t count;
    const enum xla_attribute *kinds;
    struct xla_text **names;
    void **values;
};

struct xla_frame {
    size_t size;
    struct xla_extension *extension;
    const struct xla_api *api;
    void *context;
    enum xla_stage stage;
    struct xla_buffers arguments, results;
    struct xla_attributes attributes;
    void *future;
};

struct xla_complaint {
    size_t size;
    struct xla_extension *extension;
    const char *message;
    enum xla_code code;
};

struct xla_api {
    size_t size;
    struct xla_extension *extension;
    struct xla_version version;
    const void *internal;
    struct xla_error *(*create_error)(struct xla_complaint *complaint);
};

_Static_assert(sizeof(void *) != 8 || (offsetof(struct xla_buffer, dims) == 40 &&
                                       offsetof(struct xla_frame, arguments) == 40 &&
                                       offsetof(struct xla_frame, results) == 80 &&
                                       offsetof(struct xla_frame, attributes) == 120 &&
                                       offsetof(struct xla_frame, future) == 168 &&
                                       offsetof(struct xla_question, answer) == 24 &&
                                       offsetof(struct xla_metadata, traits) == 32 &&
                                       offsetof(struct xla_api, create_error) == 48),
               "places of members in XLA's interface 0.3");

#endif
