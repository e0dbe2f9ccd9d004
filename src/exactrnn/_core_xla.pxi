# Layers as XLA calls them: csrc/xla/handlers.h. Included by _core.pyx.

from cpython.pycapsule cimport PyCapsule_New

cdef extern from "xla/handlers.h" nogil:
    struct xla_frame
    struct xla_error
    enum: XR_XLA_FORM
    enum xr_xla_number:
        XR_XLA_FORM_OF, XR_XLA_UNITS, XR_XLA_OUTPUTS, XR_XLA_PEEPHOLES, XR_XLA_OMIT
        XR_XLA_COUPLED, XR_XLA_LINKED, XR_XLA_PROJECTS, XR_XLA_CELLS
        XR_XLA_DIRECTIONS, XR_XLA_REVERSE, XR_XLA_BATCH_FIRST, XR_XLA_THREADS
        XR_XLA_WEIGHTS, XR_XLA_PARTS, XR_XLA_KINDS
    enum: XR_XLA_LENGTHS, XR_XLA_STATES, XR_XLA_LOWER, XR_XLA_UPPER, XR_XLA_CACHE
    xla_error *xr_xla_forward(xla_frame *frame)
    xla_error *xr_xla_backward(xla_frame *frame)

_XLA_PARTS = {
    "lengths": XR_XLA_LENGTHS, "states": XR_XLA_STATES, "lower": XR_XLA_LOWER,
    "upper": XR_XLA_UPPER, "cache": XR_XLA_CACHE,
}


def xla_handlers():
    """The functions that XLA is to call, by name, as capsules."""
    return {
        "forward": PyCapsule_New(<void *> xr_xla_forward, NULL, NULL),
        "backward": PyCapsule_New(<void *> xr_xla_backward, NULL, NULL),
    }


def xla_layer(str cell, Py_ssize_t units, tuple activations, clip, options):
    """The attributes `numbers` and `reals` of a layer, as lists.

    `activations` are those of each direction, as `_nonlinearity` takes them. What is
    about a call, and no layer, `xla_call` fills in.
    """
    cdef xr_layer layer
    cdef xr_nonlinearity found
    memset(&layer, 0, sizeof(layer))
    layer.engine = _engine_of(isas()[0], XR_F32)
    layer.H = units
    _modules = _describe(&layer, cell, options)
    numbers = [0] * XR_XLA_KINDS
    reals = [0.0 if clip is None else clip]
    numbers[XR_XLA_FORM_OF], numbers[XR_XLA_UNITS] = XR_XLA_FORM, units
    numbers[XR_XLA_OUTPUTS] = layer.O
    numbers[XR_XLA_PEEPHOLES] = layer.options.peepholes
    numbers[XR_XLA_OMIT] = layer.options.omit
    numbers[XR_XLA_COUPLED] = layer.options.coupled
    numbers[XR_XLA_LINKED] = layer.options.full_gate_recurrence
    numbers[XR_XLA_PROJECTS] = layer.options.projects
    numbers[XR_XLA_CELLS] = layer.options.cells
    numbers[XR_XLA_DIRECTIONS] = len(activations)
    for directed in activations:
        kinds, pairs = [0, 0, 0], [0.0] * 6
        for k, activation in enumerate(directed):
            found = _nonlinearity(activation)
            kinds[k], pairs[2 * k], pairs[2 * k + 1] = (
                found.kind, found.alpha, found.beta
            )
        numbers += kinds
        reals += pairs
    return numbers, reals


def xla_call(list numbers, bint reverse, bint batch_first, int threads, roles, parts):
    """`numbers` of a layer with what a call adds: roles of weights, names of parts."""
    found = list(numbers)
    found[XR_XLA_REVERSE], found[XR_XLA_BATCH_FIRST] = reverse, batch_first
    found[XR_XLA_THREADS] = threads
    found[XR_XLA_WEIGHTS] = sum(1 << role for role in roles)
    found[XR_XLA_PARTS] = sum(_XLA_PARTS[part] for part in parts)
    return found
