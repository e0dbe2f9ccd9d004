/* What the description in a model file says: class and arguments, as Python's
 * constructors take them, checked and turned into what the engine is told.
 *
 * The twin is src/exactrnn/_spec: a class has its line in network.c, an argument its
 * line in arguments.c; tests/c/test_models.py goes through all of them.
 */
#ifndef XR_NETWORK_H
#define XR_NETWORK_H

#include "library/checks.h"
#include "library/json.h"

/* Which arguments a class has, by groups. */
enum {
    OF_ALL = 1,       /* sizes, bias, dtype, init */
    OF_STACK = 2,     /* layers, directions, dropout, order of axes */
    OF_CLIP = 4,      /* clip */
    OF_SIMPLE = 8,    /* nonlinearity */
    OF_FORGET = 16,   /* forget_bias */
    OF_GATED = 32,    /* activations */
    OF_LSTM = 64,     /* gates, projection */
    OF_GRU = 128,     /* reset_after */
    OF_LEAKY = 256,   /* leaks */
    OF_CLOCK = 512,   /* periods */
    OF_JORDAN = 1024, /* output_size, output_nonlinearity */
    OF_BLOCKS = 2048, /* block_size */
    OF_ZONES = 4096   /* recurrent_dropout, zoneout */
};

enum { USES = 3 }; /* the most activations of a cell */

struct kind {
    const char *name, *cell;
    unsigned arguments;
    int uses;                            /* activations that are read or fixed */
    enum xr_activation activation[USES]; /* by default, or fixed */
    const char *bottom;                  /* cell of the first layer, or NULL */
};

/* A sequence of numbers that a file gave. */
struct numbers {
    int64_t *whole;
    double *real;
    ptrdiff_t count;
};

struct network {
    const struct kind *kind;
    enum xr_dtype dtype;
    int64_t input_size, hidden_size, num_layers, output_size, block_size;
    int bias, batch_first, bidirectional, reverse, resets_before;
    int learn_leak, leaks_differ; /* the latter: one for each unit */
    double clip;
    double zoneout[2]; /* of h, of other states */
    struct xr_options options;
    struct xr_nonlinearity activation[XR_MAX_DIRECTIONS][USES];
    int given[USES]; /* activations that the file gives: 1 for both directions, 2 */
    struct numbers leaks, periods, module_sizes;
    struct xr_module *modules;
    int64_t phase;
};

/* Reads the description of a whole file. What was allocated is freed by
 * xr_network_free, whatever the status was. `arrays` are in the file. */
enum xr_status xr_network_read(struct network *network, const struct json *json,
                               ptrdiff_t arrays);
void xr_network_free(struct network *network);

/* Reads one argument of a class that has it: arguments.c. */
enum xr_status xr_read_argument(struct network *network, const struct json *json,
                                const struct json_value *name);

/* Writes a message that shows a value of a description. */
enum xr_status xr_refuse_value(const char *name, const char *expected,
                               const struct json_value *value);

/* The engine's layer number `layer` in one direction, checked and described. */
enum xr_status xr_network_layer(const struct network *network,
                                const struct xr_engine *engine, ptrdiff_t layer,
                                int direction, struct xr_layer *out);

static inline int xr_directions(const struct network *network)
{
    return 1 + network->bidirectional;
}

/* H as the engine has it: memory blocks, where there are any. */
static inline int64_t xr_units(const struct network *network)
{
    return network->hidden_size / network->block_size;
}

#endif
