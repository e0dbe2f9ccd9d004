/* Models from files, through exactrnn/model.h alone.
 *
 *     models run FILE T B THREADS LENGTHS STATES
 *
 * in    lengths [B] (int64) if LENGTHS is 1, x [T, B, inputs], if STATES is 1 the
 *       states [L*D, B, width]
 * out   y [T, B, outputs], the states after; where the model can stream and there are
 *       no lengths, y and the states once more, step by step
 *
 *     models read
 *
 * in    files, each after its length (uint64)
 * out   for each a line: the status, and the message
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exactrnn/model.h"

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void expect_ok(enum xr_status status)
{
    if (status != XR_OK) {
        fail(xr_message());
    }
}

static void *take(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memset(memory, 0xff, bytes);
}

static void *read_bytes(size_t bytes)
{
    void *memory = take(bytes);
    if (fread(memory, 1, bytes, stdin) != bytes) {
        fail("input ends early");
    }
    return memory;
}

static void write_bytes(const void *memory, size_t bytes)
{
    if (fwrite(memory, 1, bytes, stdout) != bytes) {
        fail("cannot write");
    }
}

struct call {
    struct xr_model *model;
    struct xr_model_info info;
    struct xr_run run;
    size_t element;
};

static size_t state_bytes(const struct call *call, int k)
{
    const ptrdiff_t rows = call->info.layers * call->info.directions * call->run.B;
    return (size_t)(rows * call->info.state_width[k]) * call->element;
}

static size_t x_bytes(const struct call *call)
{
    return (size_t)(call->run.B * call->info.inputs) * call->element;
}

static size_t y_bytes(const struct call *call)
{
    return (size_t)(call->run.B * call->info.outputs) * call->element;
}

static void run_whole(struct call *call)
{
    const size_t output = (size_t)call->run.T * y_bytes(call);
    call->run.y = (struct xr_sequence){.data = take(output),
                                       .step = call->run.B * call->info.outputs,
                                       .row = call->info.outputs};
    for (int k = 0; k < call->info.states; k++) {
        call->run.state_out[k] = take(state_bytes(call, k));
    }
    expect_ok(xr_model_run(call->model, &call->run));
    write_bytes(call->run.y.data, output);
    for (int k = 0; k < call->info.states; k++) {
        write_bytes(call->run.state_out[k], state_bytes(call, k));
        free(call->run.state_out[k]);
    }
    free(call->run.y.data);
}

/* The model goes before its stream. Its state is put back into another one half-way. */
static struct xr_stream *move_stream(struct call *call, struct xr_stream *from)
{
    struct xr_stream *stream;
    int64_t clock[64];
    expect_ok(xr_stream_new(call->model, call->run.B, &stream));
    for (int k = 0; k < call->info.states; k++) {
        void *state = take(state_bytes(call, k));
        expect_ok(xr_stream_get_state(from, k, state));
        expect_ok(xr_stream_set_state(stream, k, state));
        free(state);
    }
    if (call->info.counts_steps) {
        expect_ok(xr_stream_get_clock(from, clock));
        expect_ok(xr_stream_set_clock(stream, clock));
    } else if (xr_stream_get_clock(from, clock) != XR_UNSUPPORTED) {
        fail("a clock that is none");
    }
    xr_stream_free(from);
    return stream;
}

static void run_steps(struct call *call)
{
    struct xr_stream *stream;
    void *y = take(y_bytes(call));
    expect_ok(xr_stream_new(call->model, call->run.B, &stream));
    expect_ok(xr_stream_step(stream, call->run.x.data, y));
    expect_ok(xr_stream_reset(stream));
    for (int k = 0; k < call->info.states; k++) {
        if (call->run.state[k] != NULL) {
            expect_ok(xr_stream_set_state(stream, k, call->run.state[k]));
        }
    }
    for (ptrdiff_t t = 0; t < call->run.T; t++) {
        if (t == call->run.T / 2) {
            stream = move_stream(call, stream);
            xr_model_free(call->model);
        }
        const char *x = (const char *)call->run.x.data + (size_t)t * x_bytes(call);
        expect_ok(xr_stream_step(stream, x, y));
        write_bytes(y, y_bytes(call));
    }
    for (int k = 0; k < call->info.states; k++) {
        void *state = take(state_bytes(call, k));
        expect_ok(xr_stream_get_state(stream, k, state));
        write_bytes(state, state_bytes(call, k));
        free(state);
    }
    xr_stream_free(stream);
    free(y);
}

static int run_file(char **words)
{
    struct call call = {.info = {.struct_size = sizeof call.info},
                        .run = {.struct_size = sizeof call.run,
                                .T = atoi(words[3]),
                                .B = atoi(words[4]),
                                .threads = atoi(words[5])}};
    expect_ok(xr_model_load(words[2], NULL, &call.model));
    expect_ok(xr_model_describe(call.model, &call.info));
    call.element = call.info.dtype == XR_F32 ? 4 : 8;
    int64_t *lengths = NULL;
    if (atoi(words[6])) {
        lengths = read_bytes((size_t)call.run.B * sizeof *lengths);
    }
    call.run.lengths = lengths;
    call.run.x =
        (struct xr_sequence){.data = read_bytes((size_t)call.run.T * x_bytes(&call)),
                             .step = call.run.B * call.info.inputs,
                             .row = call.info.inputs};
    for (int k = 0; atoi(words[7]) && k < call.info.states; k++) {
        call.run.state[k] = read_bytes(state_bytes(&call, k));
    }
    run_whole(&call);
    if (call.info.can_stream && lengths == NULL) {
        run_steps(&call);
    } else {
        struct xr_stream *stream;
        const enum xr_status status = xr_stream_new(call.model, 1, &stream);
        if ((status == XR_OK) != call.info.can_stream) {
            fail("can_stream is not what xr_stream_new does");
        }
        xr_stream_free(stream);
        xr_model_free(call.model);
    }
    for (int k = 0; k < call.info.states; k++) {
        free((void *)call.run.state[k]);
    }
    free(call.run.x.data);
    free(lengths);
    return 0;
}

static int read_files(void)
{
    uint64_t bytes;
    while (fread(&bytes, sizeof bytes, 1, stdin) == 1) {
        struct xr_model *model;
        void *content = read_bytes((size_t)bytes);
        const enum xr_status status =
            xr_model_load_bytes(content, (size_t)bytes, NULL, &model);
        free(content);
        if ((status == XR_OK) != (model != NULL)) {
            fail("a model without XR_OK, or none with it");
        }
        printf("%d %s\n", (int)status, status == XR_OK ? "" : xr_message());
        xr_model_free(model);
    }
    return 0;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, ""); /* as programs with a window do */
    if (argc == 8 && strcmp(argv[1], "run") == 0) {
        return run_file(argv);
    }
    if (argc == 2 && strcmp(argv[1], "read") == 0) {
        return read_files();
    }
    fail("arguments are missing: see the head of models.c");
    return 1;
}
