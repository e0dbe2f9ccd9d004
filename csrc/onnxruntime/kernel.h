/* A node of ours in a session: what its attributes and weights have become.
 *
 * Everything that may fail returns ONNX Runtime's status, NULL for success; whoever
 * gets another hands it on at once. A kernel is not changed after it is made, so that
 * several calls may use it at the same time.
 */
#ifndef XR_ONNXRUNTIME_KERNEL_H
#define XR_ONNXRUNTIME_KERNEL_H

#include "base/compiler.h"
#include "base/kept.h"
#include "base/sizes.h"
#include "exactrnn.h"
#include "onnxruntime/api.h"

/* The places of a node's inputs and outputs, which are those of ONNX's operators. */
enum input { IN_X, IN_W, IN_R, IN_B, IN_LENGTHS, IN_H, IN_C, IN_P, INPUTS };
enum output { OUT_Y, OUT_H, OUT_C, OUTPUTS };

enum { MAX_GATES = 4, MAX_ACTIVATIONS = 3, MAX_RANK = 4 };

/* What the three operators differ in. `rows` are the gates of this library's order, by
 * their places in ONNX's; without the coupled gate f, `coupled_rows`. */
struct family {
    const char *name;
    int gates, activations, states;
    int rows[MAX_GATES], coupled_rows[MAX_GATES];
};

/* An operator with one type of elements. The runtime knows its first member. */
struct recurrent {
    struct ort_operator base;
    const struct family *family;
    enum xr_dtype dtype;
};

struct tensor {
    const void *data;
    size_t rank;
    int64_t shape[MAX_RANK];
};

struct kernel {
    const struct ort_api *api;
    const struct recurrent *of;
    int directions, reverse, layout, threads;
    int coupled, has_bias, has_peepholes;
    struct xr_layer layer[XR_MAX_DIRECTIONS]; /* I, H as the weights say, if packed */
    void *packed[XR_MAX_DIRECTIONS];          /* NULL: weights come with each call */
};

/* The weights of a call or of a session, and what they are packed to. */
struct pack {
    struct xr_layer layer[XR_MAX_DIRECTIONS];
    void *packed[XR_MAX_DIRECTIONS];
};

size_t element_size(const struct kernel *kernel);

/* A status with a message, as printf makes it. */
XR_FORMAT(3, 4)
ort_result failure(const struct ort_api *api, enum ort_error code, const char *format,
                   ...);

/* Sets `text` to the shape as [2, 3]; returns it. */
enum { SHAPE_TEXT = 128 };
const char *shape_text(char text[SHAPE_TEXT], size_t rank, const int64_t *shape);

/* Memory on the lines of a cache, or NULL. */
void *take_lines(size_t bytes);

/* Reads data and shape of a value; no value is one without data. */
ort_result read_tensor(const struct ort_api *api, const struct ort_value *value,
                       struct tensor *tensor);

/* Raises unless a tensor has this shape, in which -1 is any size but 0. */
ort_result check_shape(const struct ort_api *api, const char *name,
                       const struct tensor *tensor, size_t rank, const int64_t *shape);

/* Packs weights [D, G*H, ...] in ONNX's order; tensors are by their places as inputs.
 * The caller frees what is packed. */
ort_result pack_weights(const struct kernel *kernel, const struct tensor *inputs,
                        struct pack *pack);
void free_pack(struct pack *pack);

/* The functions of a kernel that the runtime calls. */
ort_result create_kernel(const struct ort_operator *self, const struct ort_api *api,
                         const struct ort_info *info, void **made);
ort_result compute(void *kernel, struct ort_context *context);
void destroy_kernel(void *kernel);

#endif
