/* The part of ONNX Runtime's C interface that is used here, in declarations of our own:
 * its wheel brings no headers, and its header has as many lines as our kernels.
 *
 * The interface is a table of functions whose order never changes: new ones are put at
 * its end, and a table of version n starts with those of 1 to n. So a member is known
 * by its place. Places are counted in pointers; `hidden` members are those in between.
 * The assertions below compare each place with the number that it has in the runtime's
 * own list, and tests/interop/test_onnx_accelerate.py calls every member that is named.
 */
#ifndef XR_ONNXRUNTIME_API_H
#define XR_ONNXRUNTIME_API_H

#include <stddef.h>
#include <stdint.h>

/* The first version whose operators may return errors from both of their functions and
 * that a runtime of NumPy 2 has. */
#define ORT_VERSION_WANTED 17

enum ort_error { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum ort_element { ORT_FLOAT = 1, ORT_INT32 = 6, ORT_DOUBLE = 11 };
enum ort_presence { ORT_REQUIRED, ORT_OPTIONAL };

struct ort_status;
struct ort_options;
struct ort_domain;
struct ort_value;
struct ort_shape;
struct ort_info;
struct ort_context;
struct ort_operator;

/* NULL is success; what is not is handed on to the runtime. */
typedef struct ort_status *ort_result;
typedef void (*ort_hidden)(void);

struct ort_api {
    ort_result (*create_status)(enum ort_error code, const char *message);
    ort_hidden hidden_1[25];
    ort_result (*create_domain)(const char *name, struct ort_domain **made);
    ort_result (*add_operator)(struct ort_domain *domain,
                               const struct ort_operator *added);
    ort_result (*add_domain)(struct ort_options *options, struct ort_domain *domain);
    ort_hidden hidden_29[22];
    ort_result (*tensor_data)(struct ort_value *value, void **data);
    ort_hidden hidden_52[9];
    ort_result (*count_dimensions)(const struct ort_shape *shape, size_t *count);
    ort_result (*dimensions)(const struct ort_shape *shape, int64_t *sizes,
                             size_t count);
    ort_hidden hidden_63[2];
    ort_result (*shape_of)(const struct ort_value *value, struct ort_shape **shape);
    ort_hidden hidden_66[19];
    ort_result (*attribute_float)(const struct ort_info *info, const char *name,
                                  float *value);
    ort_result (*attribute_int)(const struct ort_info *info, const char *name,
                                int64_t *value);
    /* `size` is that of `text`, and then that of the value with its final zero. */
    ort_result (*attribute_string)(const struct ort_info *info, const char *name,
                                   char *text, size_t *size);
    ort_hidden hidden_88[2];
    /* NULL where the node has no such input or output. */
    ort_result (*input)(const struct ort_context *context, size_t index,
                        const struct ort_value **value);
    ort_result (*output)(struct ort_context *context, size_t index,
                         const int64_t *sizes, size_t count, struct ort_value **value);
    ort_hidden hidden_92[7];
    void (*release_shape)(struct ort_shape *shape);
    ort_hidden hidden_100[1];
    void (*release_domain)(struct ort_domain *domain);
    ort_hidden hidden_102[60];
    /* `size` is that of `values`, and then that of the attribute. */
    ort_result (*attribute_floats)(const struct ort_info *info, const char *name,
                                   float *values, size_t *size);
    ort_result (*attribute_ints)(const struct ort_info *info, const char *name,
                                 int64_t *values, size_t *size);
    ort_hidden hidden_164[85];
    ort_result (*constant_input)(const struct ort_info *info, size_t index,
                                 int *is_constant, const struct ort_value **value);
    ort_hidden hidden_250[24];
    /* Does items 0 to count - 1 on the session's threads; batches 0: as it likes. */
    ort_result (*parallel_for)(const struct ort_context *context,
                               void (*body)(void *user, size_t item), size_t count,
                               size_t batches, void *user);
};

#define ORT_PLACE(member, number)                                                     \
    _Static_assert(offsetof(struct ort_api, member) == (number) * sizeof(ort_hidden), \
                   "the place of a member in ONNX Runtime's table")
ORT_PLACE(create_status, 0);
ORT_PLACE(create_domain, 26);
ORT_PLACE(add_operator, 27);
ORT_PLACE(add_domain, 28);
ORT_PLACE(tensor_data, 51);
ORT_PLACE(count_dimensions, 61);
ORT_PLACE(dimensions, 62);
ORT_PLACE(shape_of, 65);
ORT_PLACE(attribute_float, 85);
ORT_PLACE(attribute_int, 86);
ORT_PLACE(attribute_string, 87);
ORT_PLACE(input, 90);
ORT_PLACE(output, 91);
ORT_PLACE(release_shape, 99);
ORT_PLACE(release_domain, 101);
ORT_PLACE(attribute_floats, 162);
ORT_PLACE(attribute_ints, 163);
ORT_PLACE(constant_input, 249);
ORT_PLACE(parallel_for, 274);
#undef ORT_PLACE

struct ort_base {
    const struct ort_api *(*api)(uint32_t version); /* NULL: not to be had */
    const char *(*version)(void);
};

/* An operator, as far as version 17 reads it. Members that are NULL are not asked for:
 * with `create` and `compute` in their second form the first one's are not. */
struct ort_operator {
    uint32_t version;
    ort_hidden first_create;
    const char *(*name)(const struct ort_operator *self);
    const char *(*provider)(const struct ort_operator *self);
    enum ort_element (*input_type)(const struct ort_operator *self, size_t index);
    size_t (*count_inputs)(const struct ort_operator *self);
    enum ort_element (*output_type)(const struct ort_operator *self, size_t index);
    size_t (*count_outputs)(const struct ort_operator *self);
    ort_hidden first_compute;
    void (*destroy)(void *kernel);
    enum ort_presence (*input_presence)(const struct ort_operator *self, size_t index);
    enum ort_presence (*output_presence)(const struct ort_operator *self, size_t index);
    int (*input_memory)(const struct ort_operator *self, size_t index);
    int (*least_inputs)(const struct ort_operator *self);
    int (*inputs_are_alike)(const struct ort_operator *self);
    int (*least_outputs)(const struct ort_operator *self);
    int (*outputs_are_alike)(const struct ort_operator *self);
    ort_result (*create)(const struct ort_operator *self, const struct ort_api *api,
                         const struct ort_info *info, void **kernel);
    ort_result (*compute)(void *kernel, struct ort_context *context);
    ort_hidden infer_shapes;
    int (*first_version)(const struct ort_operator *self);
    int (*last_version)(const struct ort_operator *self);
    ort_hidden may_inplace, release_may_inplace;
    ort_hidden aliases, release_aliases;
};

#endif
