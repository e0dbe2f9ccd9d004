# One step at a time. Included by _core.pyx.

cdef extern from "<stdatomic.h>" nogil:
    ctypedef struct atomic_flag:
        pass
    enum memory_order: memory_order_acquire, memory_order_release
    bint atomic_flag_test_and_set_explicit(atomic_flag *flag, memory_order order)
    void atomic_flag_clear_explicit(atomic_flag *flag, memory_order order)

cdef object _ndarray = np.ndarray
cdef object _empty = np.empty


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


cdef _Memory _at_least(_Memory memory, size_t size):
    """Memory of that size: the same again if it has it already."""
    if memory is not None and <size_t> memory.size >= size:
        return memory
    return _Memory(size, False)


cdef class AnyStepper(Turn):
    """What is fed one step at a time: state and memory are kept between steps.

    A step takes the turn; who reads or writes `state`, `clock` and `used` has to take
    it himself. `clock` is None but for layers that count steps. A kind of stepper says
    in `_run` what a step does; one that a signal handler ends leaves the state as it
    was.

    A step of chosen rows is done by `part`, another stepper made of the same
    `arguments`: it takes their states side by side, does a step of so many rows, and
    only then do they go back. `used` [B] says which rows are in use; where one is not,
    no step is of all rows.

    Calls share the work of a step that is worth it (`row_work`, multiplications of a
    row) among as many threads as `team` answers.
    """

    cdef readonly tuple state
    cdef readonly object clock, used
    cdef readonly bint complete
    cdef tuple arguments, views
    cdef object team
    cdef str dtype
    cdef _View ticks, use
    cdef _Memory chosen, seen
    cdef int64_t visit
    cdef AnyStepper part
    # Rows there are, rows of a step, those that scratch was made for.
    cdef Py_ssize_t places, rows, fitted_rows
    cdef int fitted_threads
    cdef xr_thread_work_of fitted_limits
    cdef Py_ssize_t width, in_row, out_row, row_work
    cdef bint release_gil
    cdef bint packed_rows  # layers follow each other without a gap, of few rows too
    cdef const char *format

    cdef int _run(self, void *x, void *y) except -1:
        """Read one step of input, write its output."""
        raise NotImplementedError

    cdef int _take_rows(self, Py_ssize_t count) except -1:
        """Let the next steps be of so many rows, at most as many as there are."""
        raise NotImplementedError

    cdef int _fit(self, int threads) except -1:
        """Make scratch, and what is told to the kernels, for `rows` and threads."""
        raise NotImplementedError

    cdef int _take_sizes(self, xr_dtype dtype, Py_ssize_t places, Py_ssize_t values_in,
                         Py_ssize_t values_out) except -1:
        self.format = "f" if dtype == XR_F32 else "d"
        self.dtype = "float32" if dtype == XR_F32 else "float64"
        self.places = self.rows = places
        self.width = values_out
        self.in_row = values_in * _itemsize(dtype)
        self.out_row = values_out * _itemsize(dtype)
        self.used = np.ones(places, dtype=np.bool_)
        self.use = _View(self.used, 1, True)
        self.complete = True
        return 0

    def mark(self, rows, bint in_use):
        """Note whether rows are in use."""
        self.used[rows] = in_use
        self.complete = self.used.all()

    def step(self, x, out):
        """Read `x` [B, I], write `out` [B, O], both contiguous; returns `out`."""
        if not self.complete:
            raise ValueError("rows: expected those in use, got all")
        self._step(x, out, NULL, self.places)
        return out

    def step_rows(self, x, out, rows):
        """Do a step of some rows [A], of intp: `x` [A, I], `out` [A, O] or None."""
        cdef Py_buffer chosen
        if type(rows) is not _ndarray:
            raise TypeError("rows: expected an array")
        PyObject_GetBuffer(rows, &chosen, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        try:
            if (chosen.ndim != 1 or chosen.itemsize != sizeof(Py_ssize_t)
                    or chosen.format[0] not in b"lq"):
                raise TypeError("rows: expected integers of the size of a pointer")
            if out is None:
                out = _empty((chosen.shape[0], self.width), self.dtype)
            self._step(x, out, <const Py_ssize_t *> chosen.buf, chosen.shape[0])
        finally:
            PyBuffer_Release(&chosen)
        return out

    @cython.final
    cdef inline int _step(self, x, out, const Py_ssize_t *rows,
                          Py_ssize_t count) except -1:
        cdef Py_buffer source, target
        if type(x) is not _ndarray or type(out) is not _ndarray:
            # Others may mean something else by their buffer, as a masked array does.
            raise TypeError("x, out: expected arrays")
        PyObject_GetBuffer(x, &source, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        try:
            self._check("x", &source, count, self.in_row)
            PyObject_GetBuffer(
                out, &target, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE
            )
            try:
                self._check("out", &target, count, self.out_row)
                if (<char *> source.buf < <char *> target.buf + target.len
                        and <char *> target.buf < <char *> source.buf + source.len):
                    raise ValueError("out: expected memory of its own, got x's")
                self.enter()
                try:
                    if rows == NULL:
                        self._run(source.buf, target.buf)
                    else:
                        self._check_shapes(&source, &target, count)
                        self._run_rows(source.buf, target.buf, rows, count)
                finally:
                    self.leave()
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)
        return 0

    @cython.final
    cdef inline int _check(self, str name, Py_buffer *buffer, Py_ssize_t count,
                           Py_ssize_t row) except -1:
        if buffer.format[0] != self.format[0] or buffer.len != count * row:
            raise ValueError(
                f"{name}: expected {count * row} bytes of format "
                f"{self.format.decode()}, got {buffer.len} of {buffer.format.decode()}"
            )
        return 0

    @cython.final
    cdef int _check_shapes(self, Py_buffer *x, Py_buffer *out,
                           Py_ssize_t count) except -1:
        """Whose shapes nobody has looked at: [A, I] and [A, O]."""
        if (x.ndim != 2 or x.shape[0] != count
                or x.shape[1] * x.itemsize != self.in_row
                or out.ndim != 2 or out.shape[0] != count
                or out.shape[1] * out.itemsize != self.out_row):
            raise ValueError("x, out: expected a row for each of rows")
        return 0

    @cython.final
    cdef int _run_rows(self, void *x, void *y, const Py_ssize_t *rows,
                       Py_ssize_t count) except -1:
        cdef AnyStepper part
        self._choose(rows, count)
        if count == 0:
            return 0
        if self.part is None:
            self.part = type(self)(*self.arguments)
        part = self.part
        if part.rows != count:
            part._take_rows(count)
        self._hand_rows(part, count, False)
        part._run(x, y)
        self._hand_rows(part, count, True)
        return 0

    @cython.final
    cdef int _choose(self, const Py_ssize_t *rows, Py_ssize_t count) except -1:
        """Copy rows to `chosen`, where nobody changes them, if they can be stepped."""
        cdef const char *use = <const char *> self.use.buffer.buf
        cdef Py_ssize_t *chosen
        cdef int64_t *seen
        cdef Py_ssize_t i, row
        if self.seen is None:
            self.chosen = _Memory(self.places * sizeof(Py_ssize_t), False)
            self.seen = _Memory(self.places * sizeof(int64_t), True)
        chosen, seen = <Py_ssize_t *> self.chosen.data, <int64_t *> self.seen.data
        self.visit += 1
        for i in range(count):
            row = rows[i]
            if (row < 0 or row >= self.places or not use[row]
                    or seen[row] == self.visit):
                raise ValueError("rows: expected distinct rows that are in use")
            seen[row] = self.visit
            chosen[i] = row
        return 0

    @cython.final
    cdef int _hand_rows(self, AnyStepper part, Py_ssize_t count, bint back) except -1:
        """Copy the states of the chosen rows to the first ones of `part`, or back."""
        cdef const Py_ssize_t *chosen = <const Py_ssize_t *> self.chosen.data
        cdef Py_buffer *whole
        cdef Py_buffer *few
        cdef int64_t *clock
        cdef int64_t *part_clock
        cdef Py_ssize_t k, layer, row
        for k in range(len(self.views)):
            whole = &(<_View> self.views[k]).buffer
            few = &(<_View> part.views[k]).buffer
            row = whole.shape[2] * whole.itemsize
            for layer in range(whole.shape[0]):
                _copy_rows(
                    <char *> whole.buf + layer * self.places * row,
                    <char *> few.buf
                    + layer * (count if part.packed_rows else part.places) * row,
                    row, chosen, count, back,
                )
        if self.ticks is not None:
            clock = <int64_t *> self.ticks.buffer.buf
            part_clock = <int64_t *> part.ticks.buffer.buf
            _copy_rows(<char *> clock, <char *> part_clock, sizeof(int64_t), chosen,
                       count, back)
        return 0

    @cython.final
    cdef inline int _make_fit(self) except -1:
        """Ask how many threads the step may use, and fit to that and its rows."""
        cdef int threads = 1
        if (self.rows * self.row_work >= 2 * xr_thread_work.call
                and self.team is not None):
            threads = self.team()
        if (self.fitted_rows != self.rows or self.fitted_threads != threads
                or (threads > 1 and self._limits_changed())):
            self.fitted_rows = 0  # until all is
            self._fit(threads)
            self.fitted_rows, self.fitted_threads = self.rows, threads
            self.fitted_limits = xr_thread_work
        return 0

    @cython.final
    cdef bint _limits_changed(self) noexcept:
        """Whether work is worth other numbers of threads than it was (tests do it)."""
        return (self.fitted_limits.call != xr_thread_work.call
                or self.fitted_limits.step != xr_thread_work.step)


cdef tuple _views(tuple arrays):
    return tuple([_View(array, array.itemsize, True) for array in arrays])


cdef void _copy_rows(char *whole, char *few, Py_ssize_t size, const Py_ssize_t *chosen,
                     Py_ssize_t count, bint back) noexcept:
    """Copy the chosen rows of `whole` to the first ones of `few`, or back."""
    cdef Py_ssize_t i
    for i in range(count):
        if back:
            memcpy(whole + chosen[i] * size, few + i * size, size)
        else:
            memcpy(few + i * size, whole + chosen[i] * size, size)


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
    cdef tuple spare, spare_views
    cdef _Memory between

    def __cinit__(self, tuple packs_per_layer, Py_ssize_t batch_size, clock0=0,
                  team=None):
        cdef Packed first = packs_per_layer[0][0]
        cdef const xr_layer *layer = &first.layer
        cdef Py_ssize_t L = len(packs_per_layer), B = batch_size
        cdef Py_ssize_t hand_over = B * xr_padded_units(layer)
        cdef _Call call
        cdef char *memory
        cdef Py_ssize_t depth, k, out_bytes
        cdef Py_ssize_t width = xr_state_width(layer, 0)
        self.arguments, self.team = (packs_per_layer, batch_size, clock0, team), team
        self._take_sizes(first.kind, B, layer.I, width)
        out_bytes = B * self.out_row
        widths = [xr_state_width(layer, k) for k in range(xr_state_arrays(layer))]
        self.state = tuple(
            np.zeros((L, B, width), dtype=first.dtype) for width in widths
        )
        self.views = _views(self.state)
        if layer.modules > 0:
            self.clock = np.full(B, clock0, dtype=np.int64)
            self.ticks = _View(self.clock, sizeof(int64_t), True)
        # Outputs, then states for the layer above, in turn of the layers.
        hand_over *= _itemsize(first.kind)
        self.between = _Memory(2 * (out_bytes + hand_over), False)
        memory = <char *> self.between.data
        self.calls = []
        sweep = Sweep(None, self.clock, False, 1, False)
        for depth in range(L):
            call = _Call(packs_per_layer[depth], 1, B, sweep)
            layer = call.problem.layer
            call.problem.x.row = layer.I
            call.problem.x.data = memory + (depth + 1) % 2 * out_bytes
            call.problem.y.row = width
            call.problem.y.data = memory + depth % 2 * out_bytes
            if (<Packed> packs_per_layer[L - 1][0]).layer.info.takes_lower:
                call.problem.lower = (
                    memory + 2 * out_bytes + (depth + 1) % 2 * hand_over
                )
                call.problem.upper = memory + 2 * out_bytes + depth % 2 * hand_over
            for k in range(len(widths)):
                call.problem.state_out[k] = call.data(self.state[k][depth], True)
                call.problem.state[k] = call.problem.state_out[k]
            self.calls.append(call)
            self.row_work += layer.info.w_blocks * layer.H * (width + layer.I)
        self._make_fit()
        self.release_gil = B * self.row_work > KEEP_GIL_WORK
        if self.release_gil and L > 1:
            self._take_spare()

    cdef _take_spare(self):
        cdef _Call call
        self.spare = tuple(np.zeros_like(part) for part in self.state)
        self.spare_views = _views(self.spare)
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
        self.views, self.spare_views = self.spare_views, self.views

    cdef int _take_rows(self, Py_ssize_t count) except -1:
        self.rows = count
        self.release_gil = count * self.row_work > KEEP_GIL_WORK
        return 0

    cdef int _fit(self, int threads) except -1:
        cdef _Call call
        for call in self.calls:
            call.problem.B, call.problem.threads = self.rows, threads
            call.scratch = _at_least(
                call.scratch, xr_scratch_bytes(&call.problem, False)
            )
            call.problem.scratch = call.scratch.data
        return 0

    cdef int _run(self, void *x, void *y) except -1:
        self._run_layers(x, y)
        self._finish()
        return 0

    cdef int _run_layers(self, void *x, void *y) except -1:
        """Run all layers; with `spare` the state is as before until `_finish`."""
        cdef _Call call = self.calls[0]
        self._make_fit()
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
        for b in range(self.rows):
            clock[b] += 1
