/* Layers as XLA calls them: what JAX registers as targets of its custom calls.
 *
 * A call is one layer over a whole sequence, in one or two directions; stacks are made
 * by the caller. All that the layer is comes as attributes, plain values, so that a
 * compiled program can be kept on disk and run by another process:
 *
 *     cell, isa     names; another instruction set is taken where this one is not there
 *     numbers       int64, by enum xr_xla_number, then a kind for each activation
 *     reals         float64: clip, then α and β of each activation
 *
 * Activations are three for each direction. Buffers, those of `parts` alone where it
 * names them, T and B in either order:
 *
 *     forward   x [T, B, I]  lengths [B]  lower  states [D, B, width]  weights
 *          ->   y [T, B, D*n*O]  states  upper  cache
 *     backward  x  lengths  lower  cache  dy  dstates  dupper  weights
 *          ->   dx  dstates  dlower  dweights
 *
 * Weights are those of each direction whose bit is set in XR_XLA_WEIGHTS, in the order
 * of struct xr_weights. Lengths are int32 or int64. Sizes and element types of all
 * buffers are compared with what the layer asks for before anything is read.
 */
#ifndef XR_XLA_HANDLERS_H
#define XR_XLA_HANDLERS_H

enum { XR_XLA_FORM = 1 }; /* to be raised when the meaning of a number changes */

enum xr_xla_number {
    XR_XLA_FORM_OF,
    XR_XLA_UNITS,
    XR_XLA_OUTPUTS,
    XR_XLA_PEEPHOLES,
    XR_XLA_OMIT,
    XR_XLA_COUPLED,
    XR_XLA_LINKED,
    XR_XLA_PROJECTS,
    XR_XLA_CELLS,
    XR_XLA_DIRECTIONS,
    XR_XLA_REVERSE,
    XR_XLA_BATCH_FIRST,
    XR_XLA_THREADS, /* 0: as many as the calling thread may use */
    XR_XLA_WEIGHTS,
    XR_XLA_PARTS,
    XR_XLA_KINDS
};

enum xr_xla_part {
    XR_XLA_LENGTHS = 1,
    XR_XLA_STATES = 2,
    XR_XLA_LOWER = 4,
    XR_XLA_UPPER = 8,
    XR_XLA_CACHE = 16
};

struct xla_frame;
struct xla_error;

struct xla_error *xr_xla_forward(struct xla_frame *frame);
struct xla_error *xr_xla_backward(struct xla_frame *frame);

#endif
