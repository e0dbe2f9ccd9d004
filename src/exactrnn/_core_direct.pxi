# A time step from weights that others own and nobody has packed. Included by _core.pyx.

DIRECT_ROWS = XR_DIRECT_ROWS
cdef Py_ssize_t _DIRECT_ALONE = 1 << 17  # multiplications that keep the GIL


@cython.final
cdef class DirectStep:
    """A step of one layer in one direction, whose weights are given with each call.

    `possible` tells whether there is such a step of this layer. Arguments are those of
    `pack`, with sizes in the place of weights.
    """

    cdef xr_layer layer
    cdef _Memory modules
    cdef Program program
    cdef int states
    cdef readonly bint possible

    def __init__(self, str isa, str dtype, str cell, tuple sizes, tuple activations,
                 clip, options):
        cdef const xr_engine *engine = _engine_of(isa, _dtype_of(dtype))
        self.modules = _make_layer(&self.layer, engine, cell, activations, clip, options)
        self.program = (options or {}).get("program")
        self.layer.I, self.layer.H = sizes
        if self.layer.O == 0:
            self.layer.O = self.layer.H
        self.states = self.layer.info.states
        self.possible = xr_is_direct(&self.layer)

    def run(self, Py_ssize_t rows, int threads, size_t x, tuple weights, tuple state,
            tuple state_out):
        """Do a step of some rows, at least one; all else are addresses.

        `weights` are w_ih, w_hh, b_ih, b_hh, 0 where there is none; no `state` is one
        of zeros. Memory is contiguous and not looked at.
        """
        cdef size_t w_ih, w_hh, b_ih, b_hh, address
        w_ih, w_hh, b_ih, b_hh = weights
        cdef xr_weights given = xr_weights(
            <void *> w_ih, <void *> w_hh, <void *> b_ih, <void *> b_hh,
            NULL, NULL, NULL, NULL,
        )
        cdef xr_step_of step
        cdef xr_stop stop
        cdef int k
        step.layer, step.weights = &self.layer, &given
        step.B, step.threads, step.x = rows, threads, <void *> x
        for k in range(self.states):
            step.state[k] = NULL
            if state:
                address = state[k]
                step.state[k] = <void *> address
            address = state_out[k]
            step.state_out[k] = <void *> address
        cdef _Memory scratch = _Memory(xr_direct_bytes(&step), False)
        step.scratch, step.stop = scratch.data, _begin_call(&stop)
        if self.layer.H * (self.layer.I + self.layer.H) * rows < _DIRECT_ALONE:
            xr_step_direct(&step)
        else:
            with nogil:
                xr_step_direct(&step)
        _end_call(&stop)

    def __reduce__(self):
        _refuse_copy(self)
