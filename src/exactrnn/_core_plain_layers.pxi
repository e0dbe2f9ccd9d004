# Whole calls of plain arguments, of stacked layers. Included by _core.pyx.

@cython.final
cdef class Plan(AnyPlan):
    """That of stacked layers; what is kept are by layer inputs, caches and cell states.

    `copies` are the packed weights by layer, `names` those of the gradients by layer,
    direction and role.
    """

    cdef tuple copies, names
    cdef bint reverse, hands_cells_up
    cdef Py_ssize_t padded

    def __cinit__(self, packs, spec, *_):
        cdef const xr_layer *layer
        self.copies, self.names = packs.copies, spec.weight_groups
        self.reverse, self.hands_cells_up = spec.reverse, spec.hands_cells_up
        for directions in self.copies:
            layer = &(<Packed> directions[0]).layer
            self.work += layer.info.w_blocks * layer.H * (layer.I + layer.O)
        self.work *= self.directions
        self.padded = xr_padded_units(layer)

    cdef tuple _run(self, _PlainCall call, copy):
        cdef xr_problem *problem = &call.problem
        cdef list inputs = [copy], kept = [], cells = []
        problem.directions, problem.reverse = self.directions, self.reverse
        if copy is None:
            self._run_layers(call, None, inputs, kept, cells)
            return None
        sweep = Sweep(None, call.clock, self.reverse, problem.threads, True)
        self._run_layers(call, sweep, inputs, kept, cells)
        return tuple(inputs), tuple(kept), tuple(cells)

    cdef int _run_layers(self, _PlainCall call, Sweep sweep, list inputs, list kept,
                         list cells) except -1:
        """Run all layers; with `sweep` add to the lists what is kept."""
        cdef xr_problem *problem = &call.problem
        cdef xr_sequence y = problem.y
        cdef Py_ssize_t layer, T = problem.T, B = problem.B
        cdef LayerCache cache
        cdef _Memory scratch
        target = between = upper = lower = None
        for layer in range(self.layers):
            self._set_layer(call, layer, False)
            problem.y, between = y, target
            problem.lower, problem.upper = problem.upper, NULL
            lower, upper = upper, None
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
            scratch = None  # that of the last layer goes before the next comes
            scratch = _Memory(xr_scratch_bytes(problem, False), False, True)
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
        _begin_call(&call.stop)
        if self._is_short(call):
            kernel(&call.problem)
        else:
            with nogil:
                kernel(&call.problem)
        return _end_call(&call.stop)

    def back(self, run, layout, dy, dstate, bint truncated, totals=None):
        """Gradients of input, initial state and weights; None for what is not plain.

        `run` (`_run.stack.StackRun`) is what has been kept, without dropout; the
        gradients of weights are added to `totals`.
        """
        cdef _PlainCall call = _PlainCall.__new__(_PlainCall)
        cdef xr_problem *problem = &call.problem
        cdef LayerCache cache = run.kept[0]
        cdef Sweep sweep = cache.sweep
        problem.T, problem.B = cache.T, cache.B
        try:
            if not self._take_gradients(call, layout, dy, dstate):
                return None
            if totals is not None:
                weights = self._take_totals(totals, dy, dstate)
                if weights is None:
                    return None
        except (ValueError, BufferError):
            return None
        if totals is None:
            weights = self._new_gradients()
        problem.lengths = _counts(sweep.lengths, cache.B)
        problem.clock = _counts(sweep.clock, cache.B)
        problem.threads, problem.stop = sweep.threads, &call.stop
        problem.directions, problem.reverse = self.directions, sweep.reverse
        problem.truncated = truncated
        self._new_states(call)
        dx = self._back_layers(call, run.inputs, run.kept, run.cells, weights)
        return dx, self._answer(call), weights

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
            scratch = None  # that of the last layer goes before the next comes
            scratch = _Memory(xr_scratch_bytes(problem, True), False, True)
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
                places[role] = _place_of(weights, name)
        return 0


cdef const int64_t *_counts(array, Py_ssize_t B) except? NULL:
    """The memory of an int64 array [B] in a cache, NULL for None."""
    return NULL if array is None else <const int64_t *> _kept(array, b"l"[0], B)
