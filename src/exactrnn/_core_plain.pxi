# Whole calls of plain arguments: looked at, run and answered in one go. Included by
# _core.pyx.
#
# An argument is plain if it needs no thought: an array (of no other class) of the
# layer's dtype, native and aligned, of the right shape, its last axis contiguous, and
# all of a state. A call of any others, or with nothing to compute, gets None, and
# nothing has happened: the checks in Python bring it into shape or say what is wrong.
# So no message is made here.
#
# A Plan has what depends on the layer and its weights alone, and never changes; a call
# has everything else to itself. So any number of threads may use one plan.

cdef object _zeros = np.zeros
cdef object _int64 = np.dtype(np.int64)

cdef enum: ROLES = 8
# Gradients of weights that a plain call may add to; each is compared with each.
cdef enum: MOST_TOTALS = 64
# As `_checks.MAX_CLOCK`.
cdef int64_t _MAX_CLOCK = 1LL << 62


cdef struct _Place:
    # Where an array lies; sizes and steps in elements.
    char *data
    int ndim
    Py_ssize_t shape[8]
    Py_ssize_t step[8]


@cython.cdivision(True)
cdef bint _find(object array, char kind, _Place *place) except -1:
    """Note where an array lies, if it is a plain one of that kind of number."""
    cdef Py_buffer buffer
    cdef int axis
    cdef bint plain
    if type(array) is not _ndarray:
        return False
    PyObject_GetBuffer(array, &buffer, PyBUF_FORMAT | PyBUF_STRIDES)
    # A format of one letter says native and aligned, too.
    plain = (
        buffer.ndim <= 8 and buffer.format[0] == kind and buffer.format[1] == 0
    )
    if plain:
        place.data, place.ndim = <char *> buffer.buf, buffer.ndim
        for axis in range(buffer.ndim):
            place.shape[axis] = buffer.shape[axis]
            place.step[axis] = buffer.strides[axis] // buffer.itemsize
            plain = plain and buffer.strides[axis] % buffer.itemsize == 0
    PyBuffer_Release(&buffer)
    return plain


cdef struct _Span:
    # The memory from an array's first element to its last.
    char *begin
    char *end


cdef _Span _span_of(const _Place *place, char kind) noexcept:
    cdef _Span span
    cdef Py_ssize_t itemsize = 4 if kind == b"f"[0] else 8, reach
    cdef int axis
    span.begin = span.end = place.data
    for axis in range(place.ndim):
        reach = (place.shape[axis] - 1) * place.step[axis] * itemsize
        if reach < 0:
            span.begin += reach
        else:
            span.end += reach
    span.end += itemsize
    return span


cdef bint _find_span(object array, char kind, tuple shape, _Span *span) except -1:
    """Note the memory of a plain array; of a contiguous one of that shape, if any."""
    cdef _Place place
    cdef int axis
    if not _find(array, kind, &place):
        return False
    span[0] = _span_of(&place, kind)
    if shape is None:
        return True
    if place.ndim != len(shape) or not _is_whole(&place):
        return False
    for axis in range(place.ndim):
        if place.shape[axis] != <Py_ssize_t> shape[axis]:
            return False
    return True


cdef bint _is_apart(const _Span *spans, Py_ssize_t k) noexcept:
    """Whether span number k shares no memory with those before it."""
    cdef Py_ssize_t other
    for other in range(k):
        if spans[k].begin < spans[other].end and spans[other].begin < spans[k].end:
            return False
    return True


cdef bint _is_whole(const _Place *place) noexcept:
    """Whether an array is contiguous."""
    cdef Py_ssize_t step = 1
    cdef int axis
    for axis in range(place.ndim - 1, -1, -1):
        if place.shape[axis] > 1 and place.step[axis] != step:
            return False
        step *= place.shape[axis]
    return True


cdef char *_address(array) except NULL:
    """The memory of a contiguous array that is new."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_WRITABLE)
    PyBuffer_Release(&buffer)
    return <char *> buffer.buf


cdef char *_kept(array, char kind, Py_ssize_t size) except NULL:
    """The memory of an array in a cache, contiguous and of that size."""
    cdef _Place place
    cdef Py_ssize_t found = 1
    cdef int axis
    cdef bint fits = _find(array, kind, &place) and _is_whole(&place)
    for axis in range(place.ndim if fits else 0):
        found *= place.shape[axis]
    if not fits or found != size:
        raise ValueError("cache: expected contiguous arrays of the layer's dtype")
    return place.data


@cython.final
cdef class _Axes:
    """The axes of a caller's arrays (`_run/layout.py`): -1 for one that is missing.

    `steps` and `rows` are those of a sequence, `planes` and `batched` say which a state
    has before its last one.
    """

    cdef int steps, rows, count
    cdef bint planes, batched

    def __cinit__(self, str axes, tuple state_axes):
        self.steps, self.rows, self.count = axes.find("T"), axes.find("B"), len(axes)
        self.planes, self.batched = "L_D" in state_axes, "B" in state_axes

    cdef bint find_sequence(self, const _Place *place, Py_ssize_t width,
                            xr_sequence *at, ptrdiff_t *T, ptrdiff_t *B) noexcept:
        """Note where a sequence of that width lies, and its T and B."""
        if place.ndim != self.count + 1 or place.shape[self.count] != width:
            return False
        if width > 1 and place.step[self.count] != 1:
            return False
        T[0] = B[0] = 1
        at.data, at.step, at.row = place.data, 0, 0
        if self.steps >= 0:
            T[0], at.step = place.shape[self.steps], place.step[self.steps]
        if self.rows >= 0:
            B[0], at.row = place.shape[self.rows], place.step[self.rows]
        return True

    cdef object new_sequence(self, object dtype, Py_ssize_t T, Py_ssize_t B,
                             Py_ssize_t width, xr_sequence *at):
        """An array for a sequence, and where it lies."""
        cdef tuple shape
        at.step = at.row = width
        if self.count == 2:
            if self.steps == 0:
                shape, at.step = (T, B, width), B * width
            else:
                shape, at.row = (B, T, width), T * width
        elif self.count == 1:
            shape = (max(T, B), width)  # the other one is 1
        else:
            shape = (width,)
        array = _empty(shape, dtype)
        at.data = _address(array)
        return array

    cdef tuple state_shape(self, Py_ssize_t planes, Py_ssize_t B, Py_ssize_t width):
        """The shape of a part of a state."""
        if self.planes and self.batched:
            return (planes, B, width)
        if self.planes:
            return (planes, width)
        if self.batched:
            return (B, width)
        return (width,)

    cdef bint fits_state(self, const _Place *place, Py_ssize_t planes, Py_ssize_t B,
                         Py_ssize_t width) noexcept:
        """Whether a part of a state has that shape."""
        cdef int axis = 0
        if place.ndim != 1 + self.planes + self.batched:
            return False
        if self.planes:
            if place.shape[axis] != planes:
                return False
            axis += 1
        if self.batched:
            if place.shape[axis] != B:
                return False
            axis += 1
        return place.shape[axis] == width


@cython.final
@cython.freelist(8)
cdef class _PlainCall:
    """One call: the problem of the layer that is at work, and what is around it.

    `before` and `after` are the memory of the states of all layers, or of the gradients
    of those after and before; the former is NULL for zeros.
    """

    cdef xr_problem problem
    cdef xr_stop stop
    cdef char *before[XR_MAX_STATES]
    cdef char *after[XR_MAX_STATES]
    cdef _Axes axes
    cdef object layout, y, clock, ticked
    cdef list states

    def __reduce__(self):
        _refuse_copy(self)


cdef int _copy_sequence(const xr_sequence *of, const xr_sequence *to, Py_ssize_t T,
                        Py_ssize_t B, Py_ssize_t width, Py_ssize_t itemsize) noexcept:
    """Copy a sequence [T, B, width]."""
    cdef Py_ssize_t t, b
    if _is_dense(of, T, B, width) and _is_dense(to, T, B, width):
        memcpy(to.data, of.data, T * B * width * itemsize)
        return 0
    for t in range(T):
        for b in range(B):
            memcpy(
                <char *> to.data + (t * to.step + b * to.row) * itemsize,
                <char *> of.data + (t * of.step + b * of.row) * itemsize,
                width * itemsize,
            )
    return 0


cdef bint _is_dense(const xr_sequence *at, Py_ssize_t T, Py_ssize_t B,
                    Py_ssize_t width) noexcept:
    """Whether a sequence lies as [T, B, width] without gaps."""
    return (B == 1 or at.row == width) and (T == 1 or at.step == B * width)


cdef class AnyPlan:
    """What the plain calls of a layer in time have in common.

    `packs` (`_weights.store.Packs`) are the weights, `spec` says what the layer is,
    `layouts` (`_run.layout.Layout`) are those of its callers: with `steps` they get
    states alone. `gradients` are the shapes of the kernels' gradients by name.
    """

    cdef readonly object packs
    cdef tuple layouts, axes, gradients
    cdef object dtype
    cdef char kind
    cdef bint steps, counts_steps
    cdef Py_ssize_t itemsize, I, W, layers, directions
    cdef double work
    cdef int64_t phase
    cdef int states
    cdef Py_ssize_t width[XR_MAX_STATES]

    def __cinit__(self, packs, spec, tuple layouts, bint steps, dict gradients):
        self.packs, self.steps, self.layouts = packs, steps, layouts
        self.axes = tuple([_Axes(one.axes, one.state_axes) for one in layouts])
        self.dtype, self.itemsize = spec.dtype, spec.dtype.itemsize
        self.kind = b"f"[0] if self.itemsize == 4 else b"d"[0]
        self.layers, self.directions = spec.num_layers, spec.directions
        self.I, self.W = spec.input_size, spec.directions * spec.output_size
        self.counts_steps, self.phase = spec.counts_steps, spec.phase
        self.states = len(spec.state_sizes)
        for k in range(self.states):
            self.width[k] = spec.state_sizes[k]
        self.gradients = tuple(gradients.items())

    cdef tuple _run(self, _PlainCall call, copy):
        """Compute output and states; with a `copy` of the input return what to keep."""
        raise NotImplementedError

    def run(self, x, state, int threads):
        """Output and final state, or the latter alone; None for what is not plain."""
        cdef _PlainCall call = self._begin(x, state, threads, 0)
        if call is None:
            return None
        self._run(call, None)
        final = self._answer(call)
        return final if self.steps else (call.y, final)

    def keep(self, x, state, int threads):
        """What `run` gives, the layout and what is kept; None for what is not plain."""
        return self._keep(self._begin(x, state, threads, 0))

    def keep_step(self, x, state, int threads):
        """The same of one step of a layer, whose layouts are the last two."""
        return self._keep(self._begin(x, state, threads, len(self.axes) - 2))

    cdef object _keep(self, _PlainCall call):
        if call is None:
            return None
        kept = self._run(call, self._own_input(call))
        final = self._answer(call)
        return final if self.steps else (call.y, final), call.layout, kept

    cdef _PlainCall _begin(self, x, state, int threads, Py_ssize_t first):
        """A call with its arguments, and arrays for its results.

        Its layout is that with number `first` or the next one.
        """
        cdef _PlainCall call = _PlainCall.__new__(_PlainCall)
        cdef xr_problem *problem = &call.problem
        try:
            if not self._take_input(call, x, first):
                return None
            if not self._take_state(call, state):
                return None
            self._new_states(call)
            call.y = self._new_output(call)
        except (ValueError, BufferError):  # what numbers these are, or how many
            return None
        problem.threads, problem.stop = threads, &call.stop
        return call

    cdef bint _take_input(self, _PlainCall call, x, Py_ssize_t first) except -1:
        cdef xr_problem *problem = &call.problem
        cdef _Place place
        cdef Py_ssize_t index
        if not _find(x, self.kind, &place):
            return False
        for index in range(first, first + 2):
            call.axes = self.axes[index]
            if call.axes.find_sequence(
                &place, self.I, &problem.x, &problem.T, &problem.B
            ):
                call.layout = self.layouts[index]
                return problem.T > 0 and problem.B > 0
        return False

    cdef bint _take_state(self, _PlainCall call, state) except -1:
        """Note the states before, NULL for zeros, and the clock."""
        cdef _Place place
        cdef bint found
        if not self.counts_steps:
            return state is None or self._take_parts(call, state, call.before)
        if state is None:
            self._take_clock(call, NULL)
            return True
        if type(state) is not tuple or len(<tuple> state) != 2:
            return False
        found = (
            self._take_parts(call, (<tuple> state)[0], call.before)
            and _find((<tuple> state)[1], b"l"[0], &place)
            and place.ndim == call.axes.batched
            and (place.ndim == 0 or place.shape[0] == call.problem.B)
        )
        return found and self._take_clock(call, &place)

    cdef bint _take_parts(self, _PlainCall call, state, char **parts) except -1:
        """Note the memory of a state's parts, or of their gradients."""
        cdef _Place place
        cdef int k
        if self.states == 1:
            state = (state,)
        elif type(state) is not tuple or len(<tuple> state) != self.states:
            return False
        for k in range(self.states):
            if not (
                _find((<tuple> state)[k], self.kind, &place)
                and call.axes.fits_state(
                    &place, self.layers * self.directions, call.problem.B, self.width[k]
                )
                and _is_whole(&place)
            ):
                return False
            parts[k] = place.data
        return True

    cdef bint _take_clock(self, _PlainCall call, const _Place *place) except -1:
        """Copy the clock, or begin one, and move it on for the answer."""
        cdef Py_ssize_t b, B = call.problem.B
        call.clock, call.ticked = _empty((B,), _int64), _empty((B,), _int64)
        cdef int64_t *before = <int64_t *> _address(call.clock)
        cdef int64_t *after = <int64_t *> _address(call.ticked)
        for b in range(B):
            before[b] = self.phase
            if place != NULL:
                before[b] = (<int64_t *> place.data)[b * place.step[0] if b else 0]
            if not 0 <= before[b] <= _MAX_CLOCK:
                return False
            after[b] = before[b] + call.problem.T
        call.problem.clock = before
        return True

    cdef int _new_states(self, _PlainCall call) except -1:
        """Make arrays for the states after, or for the gradients of those before."""
        cdef int k
        cdef Py_ssize_t planes = self.layers * self.directions, B = call.problem.B
        call.states = []
        for k in range(self.states):
            part = _empty(call.axes.state_shape(planes, B, self.width[k]), self.dtype)
            call.after[k] = _address(part)
            call.states.append(part)
        return 0

    cdef object _answer(self, _PlainCall call):
        """The states, or their gradients, as the caller has them."""
        if call.ticked is not None:
            clock = call.ticked if call.axes.batched else call.ticked.reshape(())
            return call.states[0], clock
        return call.states[0] if self.states == 1 else tuple(call.states)

    cdef object _new_output(self, _PlainCall call):
        """Where the top layer writes: the caller's, or memory that nobody sees."""
        cdef xr_problem *problem = &call.problem
        cdef _Memory unseen
        if not self.steps:
            return call.axes.new_sequence(
                self.dtype, problem.T, problem.B, self.W, &problem.y
            )
        unseen = _Memory(problem.B * self.W * self.itemsize, False)
        problem.y = xr_sequence(unseen.data, 0, self.W)
        return unseen

    cdef object _own_input(self, _PlainCall call):
        """A contiguous copy [T, B, I] of the input, which is read in its place."""
        cdef xr_problem *problem = &call.problem
        cdef xr_sequence x = problem.x
        copy = self._new_between(&problem.x, problem.T, problem.B, self.I)
        _copy_sequence(&x, &problem.x, problem.T, problem.B, self.I, self.itemsize)
        return copy

    cdef object _new_between(self, xr_sequence *at, Py_ssize_t T, Py_ssize_t B,
                             Py_ssize_t width):
        """An array [T, B, width] of the library's own, and where it lies."""
        array = _empty((T, B, width), self.dtype)
        at.data, at.step, at.row = _address(array), B * width, width
        return array

    cdef bint _take_gradients(self, _PlainCall call, layout, dy, dstate) except -1:
        """Note the gradients of output and final state, NULL for zeros.

        T and B are in the problem.
        """
        cdef xr_problem *problem = &call.problem
        cdef _Place place
        cdef ptrdiff_t T = problem.T, B = problem.B
        call.axes = self._axes_of(layout)
        if dy is None and dstate is None:
            return False
        if dy is not None and not (
            _find(dy, self.kind, &place)
            and call.axes.find_sequence(&place, self.W, &problem.dy, &T, &B)
            and T == problem.T and B == problem.B
        ):
            return False
        return dstate is None or self._take_parts(call, dstate, call.before)

    cdef _Axes _axes_of(self, layout):
        """The axes of one of the plan's layouts, of each of which there is but one."""
        cdef Py_ssize_t index
        for index in range(len(self.layouts)):
            if self.layouts[index] is layout:
                return self.axes[index]
        raise ValueError(f"layout: expected one of {self.layouts}, got {layout}")

    cdef dict _take_totals(self, given, dy, dstate):
        """The gradients of weights to add to; None if not plain.

        Plain are arrays of the shapes that the kernels fill, each of memory of its own.
        """
        cdef _Span spans[MOST_TOTALS + 1]
        cdef Py_ssize_t count = 0
        if type(given) is not dict or len(<dict> given) != len(self.gradients):
            return None
        if len(self.gradients) > MOST_TOTALS:
            return None
        for name, shape in self.gradients:
            total = (<dict> given).get(name)
            if not _find_span(total, self.kind, shape, &spans[count]):
                return None
            if not _is_apart(spans, count):
                return None
            _address(total)  # raises if it is read-only
            count += 1
        for read in (dy, *(dstate if type(dstate) is tuple else (dstate,))):
            if read is None:
                continue
            if not _find_span(read, self.kind, None, &spans[count]):
                return None
            if not _is_apart(spans, count):
                return None
        return given

    cdef dict _new_gradients(self):
        """Zeros for the gradients of all weights, by name."""
        cdef dict weights = {}
        for name, shape in self.gradients:
            weights[name] = _zeros(shape, self.dtype)
        return weights

    cdef bint _is_short(self, _PlainCall call):
        """Whether a call is so short that it keeps the GIL."""
        return <double> call.problem.T * call.problem.B * self.work <= KEEP_GIL_WORK

    def __reduce__(self):
        _refuse_copy(self)


cdef char *_at(char *data, Py_ssize_t first) noexcept:
    """A place in an array, NULL without one."""
    return NULL if data == NULL else data + first


cdef void *_place_of(dict weights, name) except? NULL:
    """The memory of a gradient, NULL for None."""
    return NULL if name is None else _address(weights[name])
