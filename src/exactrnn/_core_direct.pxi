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
        self.modules = _make_layer(&self.layer, engine, cell, activations, clip,
                                   options)
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
        cdef xr_step_of step
        cdef size_t given[4]
        cdef size_t address
        cdef int k
        for k in range(4):
            given[k] = weights[k]
        step.B, step.threads, step.x = rows, threads, <void *> x
        for k in range(self.states):
            address = state[k] if state else 0
            step.state[k] = <void *> address
            address = state_out[k]
            step.state_out[k] = <void *> address
        self.take(&step, given)

    cdef int take(self, xr_step_of *step, size_t *weights) except -1:
        cdef xr_weights given = xr_weights(
            <void *> weights[0], <void *> weights[1], <void *> weights[2],
            <void *> weights[3], NULL, NULL, NULL, NULL,
        )
        cdef xr_stop stop
        step.layer, step.weights = &self.layer, &given
        cdef _Memory scratch = _Memory(xr_direct_bytes(step), False)
        step.scratch, step.stop = scratch.data, _begin_call(&stop)
        if self.layer.H * (self.layer.I + self.layer.H) * step.B < _DIRECT_ALONE:
            xr_step_direct(step)
        else:
            with nogil:
                xr_step_direct(step)
        return _end_call(&stop)

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class DirectCall:
    """A single step of another library's tensors, if they are plain.

    `kinds` are the classes of tensors that are, `dtype` and `shapes` the weights' own.
    """

    cdef DirectStep step
    cdef object kind, other_kind, dtype
    cdef tuple shapes
    cdef int places[4]

    def __init__(self, DirectStep step not None, tuple places, tuple kinds, dtype,
                 tuple shapes):
        self.step = step
        self.kind, self.other_kind = kinds
        self.dtype, self.shapes = dtype, shapes
        for k in range(4):
            self.places[k] = -1 if places[k] is None else places[k]

    def __call__(self, x, tuple state, list weights, int threads):
        """Return the parts of the next state [B, H]; None if something is not plain.

        Plain are contiguous tensors in the CPU's memory with the right dtype and shape.
        """
        cdef xr_step_of step
        cdef size_t at[4]
        cdef size_t given[4]
        cdef Py_ssize_t rows, k
        cdef Py_ssize_t count = len(weights)
        if count != len(self.shapes):
            return None
        for k in range(count):
            at[k] = self.address(weights[k], self.shapes[k])
            if at[k] == 0:
                return None
        for k in range(4):
            given[k] = at[self.places[k]] if self.places[k] >= 0 else 0
        shape = x.shape
        if len(shape) != 2 or shape[1] != self.step.layer.I:
            return None
        rows = shape[0]
        if not 0 < rows <= XR_DIRECT_ROWS:
            return None
        step.B, step.threads = rows, threads
        step.x = <void *> self.address(x, shape)
        if step.x == NULL:
            return None
        shape = (rows, self.step.layer.H)
        for k in range(self.step.states):
            step.state[k] = NULL
            if state:
                step.state[k] = <void *> self.address(state[k], shape)
                if step.state[k] == NULL:
                    return None
        final = [x.new_empty(shape) for k in range(self.step.states)]
        for k in range(self.step.states):
            step.state_out[k] = <void *> <size_t> final[k].data_ptr()
        self.step.take(&step, given)
        return final

    cdef size_t address(self, tensor, shape) except? 0:
        """Where a tensor lies; 0 if it is not plain."""
        kind = type(tensor)
        if (
            (kind is self.kind or kind is self.other_kind)
            and tensor.dtype is self.dtype
            and tensor.shape == shape
            and tensor.is_cpu
            and tensor.is_contiguous()
            and not tensor.is_neg()
        ):
            return tensor.data_ptr()
        return 0

    def __reduce__(self):
        _refuse_copy(self)
