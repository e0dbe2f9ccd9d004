/* Values of the runtime: tensors, their shapes, and messages about them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "onnxruntime/kernel.h"

size_t element_size(const struct kernel *kernel)
{
    return kernel->of->dtype == XR_F32 ? sizeof(float) : sizeof(double);
}

ort_result failure(const struct ort_api *api, enum ort_error code, const char *format,
                   ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return api->create_status(code, message);
}

const char *shape_text(char text[SHAPE_TEXT], size_t rank, const int64_t *shape)
{
    int used = snprintf(text, SHAPE_TEXT, "[");
    for (size_t axis = 0; axis < rank && axis < MAX_RANK; axis++) {
        const char *comma = axis ? ", " : "";
        used += snprintf(text + used, SHAPE_TEXT - (size_t)used, "%s%lld", comma,
                         (long long)shape[axis]);
    }
    snprintf(text + used, SHAPE_TEXT - (size_t)used, rank > MAX_RANK ? ", ...]" : "]");
    return text;
}

void *take_lines(size_t bytes)
{
    const size_t lines = bytes / XR_ALIGNMENT + 1;
    return xr_take_lines(lines * XR_ALIGNMENT);
}

static ort_result read_shape(const struct ort_api *api, const struct ort_shape *shape,
                             struct tensor *tensor)
{
    ort_result failed = api->count_dimensions(shape, &tensor->rank);
    if (failed) return failed;
    const size_t known = tensor->rank < MAX_RANK ? tensor->rank : MAX_RANK;
    return api->dimensions(shape, tensor->shape, known);
}

ort_result read_tensor(const struct ort_api *api, const struct ort_value *value,
                       struct tensor *tensor)
{
    *tensor = (struct tensor){0};
    if (!value) return NULL;
    struct ort_shape *shape = NULL;
    ort_result failed = api->shape_of(value, &shape);
    if (failed) return failed;
    failed = read_shape(api, shape, tensor);
    api->release_shape(shape);
    if (failed) return failed;
    /* The runtime has one function for data that are read and data that are written. */
    void *data = NULL;
    failed = api->tensor_data((struct ort_value *)(uintptr_t)value, &data);
    /* An empty tensor may have no memory; NULL is for an input that is not there. */
    tensor->data = data ? data : "";
    return failed;
}

ort_result check_shape(const struct ort_api *api, const char *name,
                       const struct tensor *tensor, size_t rank, const int64_t *shape)
{
    int fits = tensor->rank == rank;
    for (size_t axis = 0; fits && axis < rank; axis++) {
        const int64_t size = tensor->shape[axis];
        fits = shape[axis] < 0 ? size > 0 : size == shape[axis];
    }
    if (fits) return NULL;
    char wanted[SHAPE_TEXT], got[SHAPE_TEXT];
    return failure(api, ORT_INVALID_ARGUMENT,
                   "exactrnn: %s: expected %s (-1: any size), got %s", name,
                   shape_text(wanted, rank, shape),
                   shape_text(got, tensor->rank, tensor->shape));
}
