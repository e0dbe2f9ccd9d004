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

cdef object _empty = np.empty
cdef object _zeros = np.zeros
cdef object _int64 = np.dtype(np.int64)

cdef enum: ROLES = 8
# As `_checks.MAX_CLOCK`.
cdef int64_t _MAX_CLOCK = 1LL << 62


cdef struct _Place:
    # Where an array lies; sizes and steps in elements.
    char *data
    int ndim
    Py_ssize_t shape[4]
    Py_ssize_t step[4]


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
        buffer.ndim <= 4 and buffer.format[0] == kind and buffer.format[1] == 0
    )
    if plain:
        place.data, place.ndim = <char *> buffer.buf, buffer.ndim
        for axis in range(buffer.ndim):
            place.shape[axis] = buffer.shape[axis]
            place.step[axis] = buffer.strides[axis] // buffer.itemsize
            plain = plain and buffer.strides[axis] % buffer.itemsize == 0
    PyBuffer_Release(&buffer)
    return plain


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

    `before` and `after` are the memory of states, or of their gradients, of all layers;
    `after` is NULL where nothing is given.
    """

    cdef xr_problem problem
    cdef xr_stop stop
    cdef char *before[XR_MAX_STATES]
    cdef char *after[XR_MAX_STATES]
    cdef _Axes axes
    cdef object layout, clock, ticked
    cdef list states

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class Plan:
    """What the plain calls of a stack of layers have in common.

    `packs` (`_weights.store.Packs`) are the weights, `spec` says what the layer is,
    `layouts` (`_run.layout.Layout`) are those of its callers: with `steps` they get
    states alone. `gradients` are the shapes of the kernels' gradients by name.
    """

    cdef readonly object packs
    cdef tuple copies, layouts, axes, names, gradients
    cdef object dtype
    cdef char kind
    cdef bint steps, reverse, counts_steps, hands_cells_up
    cdef Py_ssize_t itemsize, I, W, layers, directions, padded, work
    cdef int64_t phase
    cdef int states
    cdef Py_ssize_t width[XR_MAX_STATES]

    def __cinit__(self, packs, spec, tuple layouts, bint steps, dict gradients):
        self.packs, self.copies, self.steps = packs, packs.copies, steps
        self.layouts = layouts
        self.axes = tuple([_Axes(one.axes, one.state_axes) for one in layouts])
        self.dtype = spec.dtype
        self.kind = b"f"[0] if spec.dtype.itemsize == 4 else b"d"[0]
        self.itemsize, self.I = spec.dtype.itemsize, spec.input_size
        self.layers, self.directions = spec.num_layers, spec.directions
        self.W = spec.directions * spec.output_size
        self.reverse, self.hands_cells_up = spec.reverse, spec.hands_cells_up
        self.counts_steps, self.phase = spec.counts_steps, spec.phase
        self.states = len(spec.state_sizes)
        for k in range(self.states):
            self.width[k] = spec.state_sizes[k]
        self.names, self.gradients = spec.weight_groups, tuple(gradients.items())
        self._measure()

    cdef int _measure(self) except -1:
        """Note the multiplications of a row in one step, and how wide cells lie."""
        cdef const xr_layer *layer
        for packs in self.copies:
            layer = &(<Packed> packs[0]).layer
            self.work += (
                self.directions * layer.info.w_blocks * layer.H * (layer.I + layer.O)
            )
        self.padded = xr_padded_units(layer)

    def run(self, x, state, int threads):
        """Output and final state, or the latter alone; None for what is not plain."""
        cdef _PlainCall call = self._begin(x, state, threads)
        if call is None:
            return None
        y = self._new_output(call)
        self._run_layers(call, None, [], [], [])
        final = self._answer(call)
        return final if self.steps else (y, final)

    def keep(self, x, state, int threads):
        """What `run` gives, the layout and what is kept; None for what is not plain.

        Kept are by layer the inputs, the caches and the cell states handed up.
        """
        cdef _PlainCall call = self._begin(x, state, threads)
        cdef list inputs, kept = [], cells = []
        if call is None:
            return None
        inputs = [self._own_input(call)]
        y = self._new_output(call)
        sweep = Sweep(None, call.clock, self.reverse, threads, True)
        self._run_layers(call, sweep, inputs, kept, cells)
        final = self._answer(call)
        result = final if self.steps else (y, final)
        return result, call.layout, tuple(inputs), tuple(kept), tuple(cells)

    cdef _PlainCall _begin(self, x, state, int threads):
        """A call with its arguments, and arrays for its final states."""
        cdef _PlainCall call = _PlainCall.__new__(_PlainCall)
        cdef xr_problem *problem = &call.problem
        try:
            if not self._take_input(call, x) or not self._take_state(call, state):
                return None
            self._new_states(call, call.problem.B)
        except (ValueError, BufferError):  # what numbers these are, or how many
            return None
        problem.directions, problem.threads = self.directions, threads
        problem.reverse = self.reverse
        problem.stop = &call.stop
        return call

    cdef bint _take_input(self, _PlainCall call, x) except -1:
        cdef xr_problem *problem = &call.problem
        cdef _Place place
        cdef Py_ssize_t index
        if not _find(x, self.kind, &place):
            return False
        for index in range(len(self.axes)):
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

    cdef int _new_states(self, _PlainCall call, Py_ssize_t B) except -1:
        """Make arrays for the states after, or for the gradients of those before."""
        cdef int k
        cdef Py_ssize_t planes = self.layers * self.directions
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
        cdef xr_sequence of = problem.x
        cdef Py_ssize_t t, b, T = problem.T, B = problem.B, I = self.I
        cdef size_t size = self.itemsize
        copy = self._new_between(&problem.x, T, B, I)
        cdef char *to = <char *> problem.x.data
        if (B == 1 or of.row == I) and (T == 1 or of.step == B * I):
            memcpy(to, of.data, T * B * I * size)
            return copy
        for t in range(T):
            for b in range(B):
                memcpy(
                    to + (t * B + b) * I * size,
                    <char *> of.data + (t * of.step + b * of.row) * <Py_ssize_t> size,
                    I * size,
                )
        return copy

    cdef object _new_between(self, xr_sequence *at, Py_ssize_t T, Py_ssize_t B,
                             Py_ssize_t width):
        """An array [T, B, width] of the library's own, and where it lies."""
        array = _empty((T, B, width), self.dtype)
        at.data, at.step, at.row = _address(array), B * width, width
        return array

    cdef int _run_layers(self, _PlainCall call, Sweep sweep, list inputs, list kept,
                         list cells) except -1:
        """Run all layers; with `sweep` add to the lists what `keep` gives."""
        cdef xr_problem *problem = &call.problem
        cdef xr_sequence y = problem.y
        cdef Py_ssize_t layer, T = problem.T, B = problem.B
        cdef LayerCache cache
        cdef _Memory scratch
        target = between = upper = lower = None
        for layer in range(self.layers):
            self._set_layer(call, layer, False)
            problem.y, between = y, target
            problem.lower, problem.upper, lower, upper = problem.upper, NULL, upper, None
            if layer < self.layers - 1:
                target = self._new_between(&problem.y, T, B, self.W)
                if self.hands_cells_up:
                    shape = (self.directions, T, B, self.padded)
                    upper = _empty(shape, self.dtype)
                    problem.upper = _address(upper)
            if sweep is not None:
                cache = _new_cache(problem, self.copies[layer][0], sweep)
                problem.cache = cache.memory.data
                kept.append(cache)
                cells.append(upper)
                if layer < self.layers - 1:
                    inputs.append(target)
            scratch = _Memory(xr_scratch_bytes(problem, False), False)
            problem.scratch = scratch.data
            self._compute(call, xr_forward)
            problem.x = problem.y
        return 0

    cdef int _set_layer(self, _PlainCall call, Py_ssize_t layer, bint back) except -1:
        """Put the weights of a layer and its part of the states into the problem."""
        cdef xr_problem *problem = &call.problem
        cdef tuple packs = self.copies[layer]
        cdef Packed packed
        cdef Py_ssize_t d, first
        cdef int k
        for d in range(self.directions):
            packed = packs[d]
            problem.packed[d] = packed.forward.data
            if packed.backward is not None:
                problem.packed_backward[d] = packed.backward.data
        problem.second = &packed.layer if self.directions == 2 else NULL
        problem.layer = &(<Packed> packs[0]).layer
        for k in range(self.states):
            first = layer * self.directions * problem.B * self.width[k] * self.itemsize
            if back:
                problem.dstate_out[k] = call.after[k] + first
                problem.dstate[k] = _at(call.before[k], first)
            else:
                problem.state_out[k] = call.after[k] + first
                problem.state[k] = _at(call.before[k], first)
        return 0

    cdef int _compute(self, _PlainCall call,
                      void (*kernel)(const xr_problem *) noexcept nogil) except -1:
        cdef double steps = <double> call.problem.T * call.problem.B
        _begin_call(&call.stop)
        if steps * self.work <= KEEP_GIL_WORK:
            kernel(&call.problem)
        else:
            with nogil:
                kernel(&call.problem)
        return _end_call(&call.stop)

    def back(self, run, layout, dy, dstate, bint truncated):
        """Gradients of input, initial state and weights; None for what is not plain.

        `run` (`_run.stack.StackRun`) is what has been kept, without dropout.
        """
        cdef _PlainCall call = _PlainCall.__new__(_PlainCall)
        cdef dict weights = {}
        try:
            if not self._take_gradients(call, run.kept[0], layout, dy, dstate):
                return None
            self._new_states(call, call.problem.B)
        except (ValueError, BufferError):
            return None
        for name, shape in self.gradients:
            weights[name] = _zeros(shape, self.dtype)
        call.problem.truncated = truncated
        dx = self._back_layers(call, run.inputs, run.kept, run.cells, weights)
        return dx, self._answer(call), weights

    cdef bint _take_gradients(self, _PlainCall call, LayerCache cache, layout, dy,
                              dstate) except -1:
        """Note the gradients of output and final state, NULL for zeros."""
        cdef xr_problem *problem = &call.problem
        cdef Sweep sweep = cache.sweep
        cdef _Place place
        cdef ptrdiff_t T = cache.T, B = cache.B
        call.axes = self.axes[self.layouts.index(layout)]
        if dy is None and dstate is None:
            return False
        if dy is not None and not (
            _find(dy, self.kind, &place)
            and call.axes.find_sequence(&place, self.W, &problem.dy, &T, &B)
            and T == cache.T and B == cache.B
        ):
            return False
        problem.T, problem.B = T, B
        problem.directions, problem.threads = self.directions, sweep.threads
        problem.reverse, problem.stop = sweep.reverse, &call.stop
        problem.lengths = _counts(sweep.lengths, B)
        problem.clock = _counts(sweep.clock, B)
        return dstate is None or self._take_parts(call, dstate, call.before)

    cdef object _back_layers(self, _PlainCall call, tuple inputs, tuple kept,
                             tuple cells, dict weights):
        """Go back through all layers; returns the gradient of the input."""
        cdef xr_problem *problem = &call.problem
        cdef Py_ssize_t layer, T = problem.T, B = problem.B
        cdef LayerCache cache
        cdef _Memory scratch
        dx = above = lower = dlower = dupper = None
        for layer in range(self.layers - 1, -1, -1):
            self._set_layer(call, layer, True)
            cache, above = kept[layer], dx
            problem.cache = cache.memory.data
            width = self.W if layer else self.I
            problem.x.data = _kept(inputs[layer], self.kind, T * B * width)
            problem.x.step, problem.x.row = B * width, width
            if layer:
                dx = self._new_between(&problem.dx, T, B, width)
            else:
                dx = call.axes.new_sequence(self.dtype, T, B, width, &problem.dx)
            problem.dupper, dupper = problem.dlower, dlower
            problem.lower = problem.dlower = NULL
            if layer and cells[layer - 1] is not None:
                dlower = np.empty_like(cells[layer - 1])
                problem.lower = _kept(
                    cells[layer - 1], self.kind, self.directions * T * B * self.padded
                )
                problem.dlower = _address(dlower)
            self._set_gradients(problem, self.names[layer], weights)
            scratch = _Memory(xr_scratch_bytes(problem, True), False)
            problem.scratch = scratch.data
            self._compute(call, xr_backward)
            problem.dy = problem.dx
        return dx

    cdef int _set_gradients(self, xr_problem *problem, tuple names,
                            dict weights) except -1:
        """Put the places of the weights' gradients into the problem."""
        cdef void **places
        cdef Py_ssize_t d, role
        for d in range(self.directions):
            places = <void **> &problem.dw[d]
            for role in range(ROLES):
                name = (<tuple> names[d])[role]
                places[role] = NULL if name is None else _address(weights[name])
        return 0

    def __reduce__(self):
        _refuse_copy(self)


cdef char *_at(char *data, Py_ssize_t first) noexcept:
    """A place in an array, NULL without one."""
    return NULL if data == NULL else data + first


cdef const int64_t *_counts(array, Py_ssize_t B) except? NULL:
    """The memory of an int64 array [B] in a cache, NULL for None."""
    return NULL if array is None else <const int64_t *> _kept(array, b"l"[0], B)
