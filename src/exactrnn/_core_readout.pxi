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
    cdef Py_ssize_t row_in, row_features, readout_work
    cdef _Memory scratch

    def __cinit__(self, tuple packs_per_layer, Py_ssize_t batch_size,
                  tuple readout, team=None):
        w, b = readout
        cdef Packed first = packs_per_layer[0][0]
        cdef Py_ssize_t B = batch_size, I = first.layer.I, O = len(b)
        cdef Py_ssize_t itemsize = _itemsize(first.kind)
        cdef _Call top
        features = np.zeros((B, w.shape[1]), first.dtype)
        self.arguments = (packs_per_layer, batch_size, readout, team)
        self.team = team
        self._take_sizes(first.kind, B, I, O)
        self.layer = Stepper(packs_per_layer, B, 0, team)
        self.features = _View(features, itemsize, True)
        self.row_in = I * itemsize
        self.row_features = w.shape[1] * itemsize
        top = self.layer.calls[-1]
        top.problem.y.row = w.shape[1]
        self.dense = _linear(&self.linear, features, w, first.isa, 1)
        self.linear.b = self.dense.data(b, False)
        self.row_work, self.readout_work = self.layer.row_work + w.size, w.size
        self.fitted_rows, self.fitted_threads = B, 1
        self._take_rows(B)
        if self.release_gil:
            self.layer._take_spare()
        self.readout, self.state = readout, self.layer.state
        self.views = self.layer.views

    cdef int _take_rows(self, Py_ssize_t count) except -1:
        self.rows = count
        self.layer._take_rows(count)
        # Both or none: the layer must wait with its states for the readout.
        self.release_gil = (
            self.layer.release_gil or count * self.readout_work > KEEP_GIL_WORK
        )
        self.layer.release_gil = self.release_gil
        return 0

    cdef int _fit(self, int threads) except -1:
        self.linear.N, self.linear.threads = self.rows, threads
        self.scratch = _at_least(
            self.scratch, self.dense.kernels.linear_scratch(&self.linear)
        )
        self.linear.scratch = self.scratch.data
        return 0

    cdef int _run(self, void *x, void *y) except -1:
        cdef char *features = <char *> self.features.buffer.buf
        cdef Py_ssize_t b
        self._make_fit()
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
        self.state, self.views = self.layer.state, self.layer.views
        return 0
