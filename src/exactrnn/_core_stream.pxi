# One step at a time. Included by _core.pyx.

cdef extern from "<stdatomic.h>" nogil:
    ctypedef struct atomic_flag:
        pass
    enum memory_order: memory_order_acquire, memory_order_release
    bint atomic_flag_test_and_set_explicit(atomic_flag *flag, memory_order order)
    void atomic_flag_clear_explicit(atomic_flag *flag, memory_order order)

cdef object _ndarray = np.ndarray


cdef class Turn:
    """Whose turn it is: at most one thread is inside, others get a RuntimeError.

    For what has a state of its own, in a `with` block; it does not wait.
    """

    cdef atomic_flag taken

    def __cinit__(self, *args, **kwargs):
        self.leave()

    @cython.final
    cdef inline int enter(self) except -1:
        if atomic_flag_test_and_set_explicit(&self.taken, memory_order_acquire):
            raise RuntimeError("stream is in use by another thread")
        return 0

    @cython.final
    cdef inline void leave(self) noexcept:
        atomic_flag_clear_explicit(&self.taken, memory_order_release)

    def take(self):
        """Go inside; raises a RuntimeError if somebody is."""
        self.enter()

    def give(self):
        """Come out."""
        self.leave()

    def __enter__(self):
        self.enter()
        return self

    def __exit__(self, *error):
        self.leave()

    def __reduce__(self):
        _refuse_copy(self)


cdef class AnyStepper(Turn):
    """What is fed one step at a time: state and memory are kept between steps.

    A step takes the turn; who reads or writes `state` and `clock` has to take it
    himself. `clock` is None but for layers that count steps. A kind of stepper says in
    `_run` what a step does; one that a signal handler ends leaves the state as it was.
    """

    cdef readonly tuple state
    cdef readonly object clock
    cdef Py_ssize_t in_bytes, out_bytes
    cdef bint release_gil
    cdef const char *format

    cdef int _run(self, void *x, void *y) except -1:
        """Read one step of input, write its output."""
        raise NotImplementedError

    cdef int _take_sizes(self, xr_dtype dtype, Py_ssize_t values_in,
                         Py_ssize_t values_out) except -1:
        self.format = "f" if dtype == XR_F32 else "d"
        self.in_bytes = values_in * _itemsize(dtype)
        self.out_bytes = values_out * _itemsize(dtype)
        return 0

    def step(self, x, out):
        """Read `x` [B, I], write `out` [B, O], both contiguous; returns `out`."""
        cdef Py_buffer source, target
        if type(x) is not _ndarray or type(out) is not _ndarray:
            # Others may mean something else by their buffer, as a masked array does.
            raise TypeError("x, out: expected arrays")
        PyObject_GetBuffer(x, &source, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        try:
            self._check("x", &source, self.in_bytes)
            PyObject_GetBuffer(
                out, &target, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE
            )
            try:
                self._check("out", &target, self.out_bytes)
                if (<char *> source.buf < <char *> target.buf + target.len
                        and <char *> target.buf < <char *> source.buf + source.len):
                    raise ValueError("out: expected memory of its own, got x's")
                self.enter()
                try:
                    self._run(source.buf, target.buf)
                finally:
                    self.leave()
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)
        return out

    cdef int _check(self, str name, Py_buffer *buffer, Py_ssize_t size) except -1:
        if buffer.format[0] != self.format[0] or buffer.len != size:
            raise ValueError(
                f"{name}: expected {size} bytes of format {self.format.decode()}, "
                f"got {buffer.len} of {buffer.format.decode()}"
            )
        return 0


@cython.final
cdef class Stepper(AnyStepper):
    """Stacked layers one step at a time.

    A layer writes its state only when it is done; several layers, where they are large
    enough to be ended at all, write theirs into `spare`, which changes places with
    `state` at the end.

    `clock` [B] counts the steps of each row for layers of several modules; it starts
    at `clock0`, and can be written to.
    """

    cdef list calls
    cdef tuple spare
    cdef _Memory between
    cdef _View ticks

    def __cinit__(self, tuple packs_per_layer, Py_ssize_t batch_size, clock0=0):
        cdef Packed first = packs_per_layer[0][0]
        cdef const xr_layer *layer = &first.layer
        cdef Py_ssize_t L = len(packs_per_layer), B = batch_size
        cdef Py_ssize_t hand_over = B * xr_padded_units(layer)
        cdef _Call call
        cdef char *memory
        cdef Py_ssize_t work = 0, depth, k
        cdef Py_ssize_t width = xr_state_width(layer, 0)
        self._take_sizes(first.kind, B * layer.I, B * width)
        widths = [xr_state_width(layer, k) for k in range(xr_state_arrays(layer))]
        self.state = tuple(
            np.zeros((L, B, width), dtype=first.dtype) for width in widths
        )
        if layer.modules > 0:
            self.clock = np.full(B, clock0, dtype=np.int64)
            self.ticks = _View(self.clock, sizeof(int64_t), True)
        # Outputs, then states for the layer above, in turn of the layers.
        hand_over *= _itemsize(first.kind)
        self.between = _Memory(2 * (self.out_bytes + hand_over), False)
        memory = <char *> self.between.data
        self.calls = []
        sweep = Sweep(None, self.clock, False, 1, False)
        for depth in range(L):
            call = _Call(packs_per_layer[depth], 1, B, sweep)
            layer = call.problem.layer
            call.problem.x.row = layer.I
            call.problem.x.data = memory + (depth + 1) % 2 * self.out_bytes
            call.problem.y.row = width
            call.problem.y.data = memory + depth % 2 * self.out_bytes
            if (<Packed> packs_per_layer[L - 1][0]).layer.info.takes_lower:
                call.problem.lower = (
                    memory + 2 * self.out_bytes + (depth + 1) % 2 * hand_over
                )
                call.problem.upper = memory + 2 * self.out_bytes + depth % 2 * hand_over
            for k in range(len(widths)):
                call.problem.state_out[k] = call.data(self.state[k][depth], True)
                call.problem.state[k] = call.problem.state_out[k]
            call.take_scratch(False)
            self.calls.append(call)
            work += B * layer.info.w_blocks * layer.H * (width + layer.I)
        self.release_gil = work > KEEP_GIL_WORK
        if self.release_gil and L > 1:
            self._take_spare()

    cdef _take_spare(self):
        cdef _Call call
        self.spare = tuple(np.zeros_like(part) for part in self.state)
        for depth, call in enumerate(self.calls):
            for k, part in enumerate(self.spare):
                call.problem.state_out[k] = call.data(part[depth], True)

    cdef _change_places(self):
        cdef _Call call
        cdef void *written
        for call in self.calls:
            for k in range(len(self.spare)):
                written = call.problem.state_out[k]
                call.problem.state_out[k] = <void *> call.problem.state[k]
                call.problem.state[k] = written
        self.state, self.spare = self.spare, self.state

    cdef int _run(self, void *x, void *y) except -1:
        self._run_layers(x, y)
        self._finish()
        return 0

    cdef int _run_layers(self, void *x, void *y) except -1:
        """Run all layers; with `spare` the state is as before until `_finish`."""
        cdef _Call call = self.calls[0]
        call.problem.x.data = x
        call = self.calls[-1]
        call.problem.y.data = y
        for call in self.calls:
            if self.release_gil:
                call.problem.stop = _begin_call(&call.stop)
                with nogil:
                    xr_forward(&call.problem)
                _end_call(&call.stop)
            else:
                call.problem.stop = NULL
                xr_forward(&call.problem)
        return 0

    cdef int _finish(self) except -1:
        """What ends a step that nobody has ended before."""
        if self.spare is not None:
            self._change_places()
        if self.ticks is not None:
            self._tick()
        return 0

    cdef _tick(self):
        cdef int64_t *clock = <int64_t *> self.ticks.buffer.buf
        cdef Py_ssize_t b
        for b in range(self.ticks.buffer.shape[0]):
            clock[b] += 1
