/* A model that Python has saved, as a filter: steps of numbers in and out.
 *
 *     stream MODEL < input > output        one row of 32-bit (or 64-bit) floats a step
 *
 * Everything is made before the first step. A step itself allocates nothing, takes no
 * lock and makes no system call, so that it may stand in an audio callback or a control
 * loop; its result has the same bits as that of exactrnn in Python on any machine.
 *
 *     cc stream.c $(pkg-config --cflags --libs exactrnn) -o stream
 */
#include <stdio.h>
#include <stdlib.h>

#include <exactrnn/model.h>

static int fail(const char *what)
{
    fprintf(stderr, "stream: %s\n", what);
    return EXIT_FAILURE;
}

/* Steps until the input ends; x and y are a row of each. */
static int run(struct xr_stream *stream, const struct xr_model_info *info, void *x,
               void *y)
{
    const size_t element = info->dtype == XR_F32 ? sizeof(float) : sizeof(double);
    const size_t inputs = (size_t)info->inputs, outputs = (size_t)info->outputs;
    while (fread(x, element, inputs, stdin) == inputs) {
        if (xr_stream_step(stream, x, y) != XR_OK) {
            return fail(xr_message());
        }
        if (fwrite(y, element, outputs, stdout) != outputs) {
            return fail("cannot write");
        }
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : fail("cannot write");
}

int main(int argc, char **argv)
{
    struct xr_model *model;
    struct xr_stream *stream;
    struct xr_model_info info;
    if (argc != 2) {
        return fail("expected the name of a model file");
    }
    info.struct_size = sizeof info;
    if (xr_model_load(argv[1], NULL, &model) != XR_OK ||
        xr_model_describe(model, &info) != XR_OK ||
        xr_stream_new(model, 1, &stream) != XR_OK) {
        return fail(xr_message());
    }
    void *x = calloc((size_t)info.inputs, sizeof(double));
    void *y = calloc((size_t)info.outputs, sizeof(double));
    const int status =
        x == NULL || y == NULL ? fail("out of memory") : run(stream, &info, x, y);
    free(x);
    free(y);
    xr_stream_free(stream);
    xr_model_free(model);
    return status;
}
