# A reservoir and its readout, one step at a time. Included by _core.pyx.

@cython.final
cdef class EchoStepper(AnyStepper):
    """A layer, and a linear readout of its inputs and outputs, one step at a time.

    The features [x, h] [B, I + H] of a step lie side by side; the layer writes its h
    there. The readout w [O, I + H], b [O] is read at every step.
    """

    cdef readonly tuple readout

    cdef Stepper layer
    cdef _Dense dense
    cdef xr_linear linear
    cdef _View features
    cdef Py_ssize_t rows, row_in, row_features

    def __cinit__(self, tuple packs_per_layer, Py_ssize_t batch_size,
                  tuple readout):
        w, b = readout
        cdef Packed first = packs_per_layer[0][0]
        cdef Py_ssize_t B = batch_size, I = first.layer.I, O = len(b)
        cdef Py_ssize_t itemsize = _itemsize(first.kind)
        cdef _Call top
        features = np.zeros((B, w.shape[1]), first.dtype)
        self._take_sizes(first.kind, B * I, B * O)
        self.layer = Stepper(packs_per_layer, B)
        self.features = _View(features, itemsize, True)
        self.rows, self.row_in = B, I * itemsize
        self.row_features = w.shape[1] * itemsize
        top = self.layer.calls[-1]
        top.problem.y.row = w.shape[1]
        self.dense = _linear(&self.linear, features, w, first.isa, 1)
        self.linear.b = self.dense.data(b, False)
        self.release_gil = self.layer.release_gil or B * w.size > KEEP_GIL_WORK
        self.layer.release_gil = self.release_gil
        if self.release_gil:
            self.layer._take_spare()
        self.readout, self.state = readout, self.layer.state

    cdef int _run(self, void *x, void *y) except -1:
        cdef char *features = <char *> self.features.buffer.buf
        cdef Py_ssize_t b
        for b in range(self.rows):
            memcpy(features + b * self.row_features, <char *> x + b * self.row_in,
                   self.row_in)
        self.layer._run_layers(x, features + self.row_in)
        self.linear.y = y
        if self.release_gil:
            self.linear.stop = _begin_call(&self.dense.stop)
            with nogil:
                self.dense.kernels.linear_forward(&self.linear)
            _end_call(&self.dense.stop)
        else:
            self.linear.stop = NULL
            self.dense.kernels.linear_forward(&self.linear)
        self.layer._finish()
        self.state = self.layer.state
        return 0
