/* A cell as a program, which the cell "program" runs: what a definition of
 * the caller's own comes to. Each stage of a step, forward and back, is a list of
 * operations on rows of units; operations run in their order, each on all units.
 *
 * Operands lie where a cell finds its data (kernels/cells/cell.h) or in registers,
 * which begin undefined in every stage. Who makes a program answers for it: the
 * kernels look at no index again.
 */
#ifndef XR_PROGRAM_H
#define XR_PROGRAM_H

#include "base/calls.h"

/* Elements of all registers of a block of rows and units together: with so many
 * registers as XR_MAX_REGISTERS one vector of each still fits. */
enum {
    XR_BLOCK_ELEMENTS = 2048,
    XR_MAX_REGISTERS = 64,
    XR_MAX_GROUP = 8,   /* values that are normalised together */
    XR_MAX_MOMENTS = 24 /* of a row in a stage, with slopes */
};

/* What an operation makes of its inputs a, b, c. A truth is 1 or 0. */
enum xr_code {
    XR_OP_COPY,
    XR_OP_ADD,
    XR_OP_SUB,
    XR_OP_MUL,
    XR_OP_DIV,
    XR_OP_FMA, /* a*b + c */
    XR_OP_MIX, /* a*b + (1 - a)*c: fma(a, b, (1 - a)*c) */
    XR_OP_NEG,
    XR_OP_ABS,
    XR_OP_SQRT,
    XR_OP_MIN,
    XR_OP_MAX,
    XR_OP_LT,
    XR_OP_LE,
    XR_OP_EQ,
    XR_OP_WHERE, /* b where a is not 0, else c */
    XR_OP_EXP,
    XR_OP_EXPM1,
    XR_OP_LOG,
    XR_OP_SOFTPLUS,
    XR_OP_TANH,
    XR_OP_SIGMOID,
    XR_OP_RELU,
    XR_OP_TANH_SLOPE,    /* 1 - a*a */
    XR_OP_SIGMOID_SLOPE, /* a*(1 - a) */
    XR_OP_NORM,          /* (a - mean) * scale, with the moments b of the row */
    XR_OP_NORM_SLOPE,    /* ((a - mean_d) - b*mean_dn) * scale, with the slopes c */
    XR_OP_CODES
};

/* Where a row of an operand lies; `index` counts what there are several of. */
enum xr_space {
    XR_IN_REGISTER,
    XR_IN_SUM,     /* the place of a sum */
    XR_IN_PREV,    /* a state before the step */
    XR_IN_NEXT,    /* after it */
    XR_IN_OPERAND, /* forward */
    XR_IN_VECTOR,  /* per-unit weights, and after them the constants */
    XR_IN_DA,
    XR_IN_DSTATE,
    XR_IN_DOPERAND,
    XR_IN_ROW /* numbers of the row, the same for all units: see below */
};

struct xr_place {
    unsigned char space, index;
};

/* Inputs that a code does not have repeat the first. */
struct xr_operation {
    unsigned char code, flush; /* the result by contract N6 */
    struct xr_place out, in[3];
};

struct xr_operations {
    int count;
    const struct xr_operation *list;
};

/* Numbers of a row that all its units have a part in. They are found before a stage
 * begins, from what earlier stages have left in the rows (kernels/cells/moments.h):
 *
 *     moments    mean and scale = 1/sqrt(variance + XR_NORM_EPS) of `group` values of
 *                H units each, of which `count` = `group` are listed in x
 *     slopes     of the moments number `of`: mean_d and mean_dn, the sums of
 *                d = gain*g and of d times the normalised x over the `count` values
 *                that have a gradient g, divided by group * H; and the scale again
 */
struct xr_moments {
    int of; /* -1: moments */
    int group, count;
    struct xr_place x[XR_MAX_GROUP], gain[XR_MAX_GROUP], g[XR_MAX_GROUP];
};

#define XR_NORM_EPS 1e-5

struct xr_moments_list {
    int count;
    const struct xr_moments *list;
};

/* `info` is as of any cell; `vectors` in it does not count the constants. */
struct xr_program {
    struct xr_cell_info info;
    int heads; /* equal groups of units that recurrent products do not mix: 1 or more,
                * each row block of R is [H, H / heads] */
    int registers, constants;
    const double *constant;
    struct xr_operations forward[XR_MAX_STAGES], backward[XR_MAX_STAGES];
    struct xr_moments_list forward_rows[XR_MAX_STAGES], backward_rows[XR_MAX_STAGES];
};

/* Returns the number of heads of a layer; only programs have several. */
static inline ptrdiff_t xr_heads(const struct xr_layer *layer)
{
    return layer->program ? layer->program->heads : 1;
}

#endif
