# Whole calls of plain arguments, of grids of depth and time. Included by _core.pyx.
#
# As in GridStepper dimension 0 is the depth, with the input at its near border and the
# output at its far one, and dimension 1 the time, whose borders are the states (h, m).
# A direction is a grid of its own; one that reads rows from their ends finds its
# sequences turned round.

@cython.final
cdef class GridPlan(AnyPlan):
    """What the plain calls of a grid of depth and time have in common.

    `parts` has by direction a problem with the packed weights, which calls copy,
    `names` those of the gradients of its sets and its side. What is kept are the input
    and, by direction, the same in its order and the cache.
    """

    cdef tuple parts, names, back_first, set_steps
    cdef Py_ssize_t H

    def __cinit__(self, packs, spec, *_):
        cdef _GridCall part
        cdef Py_ssize_t count = spec.sets + 1
        cdef list parts = []
        self.H, self.set_steps = spec.hidden_size, spec.set_steps
        size = GridSweep((self.layers, 1), 1, self.set_steps, None, 1, False)
        for d in range(self.directions):
            own = packs.copies[d * count : (d + 1) * count]
            parts.append(_GridCall(own[:-1], own[-1], size))
        self.parts = tuple(parts)
        self.back_first = tuple([spec.runs_back(d) for d in range(self.directions)])
        self.names = tuple([
            (tuple(spec.block_names(d)), spec.side_names(d)[0])
            for d in range(self.directions)
        ])
        part = self.parts[0]
        self.work = self.directions * _step_work(&part.block.block, self.layers, 1)

    cdef tuple _run(self, _PlainCall call, copy):
        cdef list kept = []
        cdef Py_ssize_t d
        for d in range(self.directions):
            kept.append(self._run_direction(call, d, copy))
        return copy, tuple(kept)

    cdef object _run_direction(self, _PlainCall call, Py_ssize_t d, copy):
        """Run the grid of one direction; returns what is kept of it, None for none."""
        cdef xr_problem *whole = &call.problem
        cdef _GridCall part = self.parts[d]
        cdef xr_grid_problem problem
        cdef xr_sequence x = self._turned(call, &whole.x, d, 0)
        cdef xr_sequence y = self._turned(call, &whole.y, d, self.H)
        cdef xr_sequence far = y
        cdef GridCache cache = None
        cdef char *states[2]
        self._begin_direction(call, part, &problem)
        turned = self._gather(call, &x, self.I)
        between = self._find_dense(call, &far, self.H)
        before = self._find_states(call, d, call.before, states)
        problem.h[1], problem.m[1] = states[0], states[1]
        self._copy_states(call, d, call.before, states, True)
        after = self._find_states(call, d, call.after, states)
        problem.h_out[1], problem.m_out[1] = states[0], states[1]
        problem.side[0].x, problem.h_out[0] = x.data, far.data
        if copy is not None:
            size = (self.layers, whole.T)
            sweep = GridSweep(
                size, whole.B, self.set_steps, None, whole.threads, True
            )
            cache = _new_grid_cache(part.block, &problem, sweep)
            problem.cache = cache.memory.data
        self._compute(call, part, &problem, False)
        if far.data != y.data:
            _copy_sequence(&far, &y, whole.T, whole.B, self.H, self.itemsize)
        self._copy_states(call, d, call.after, states, False)
        return (copy if turned is None else turned), cache

    cdef int _begin_direction(self, _PlainCall call, _GridCall part,
                              xr_grid_problem *problem) noexcept:
        problem[0] = part.problem
        problem.size[1], problem.B = call.problem.T, call.problem.B
        problem.threads, problem.stop = call.problem.threads, &call.stop
        return 0

    cdef int _compute(self, _PlainCall call, _GridCall part, xr_grid_problem *problem,
                      bint back) except -1:
        cdef const xr_grid *kernels = part.block.kernels
        cdef size_t needed = kernels.scratch_bytes(problem, back)
        cdef _Memory scratch = _Memory(needed, False, True)
        cdef void (*kernel)(const xr_grid_problem *) noexcept nogil
        kernel = kernels.backward if back else kernels.forward
        problem.scratch = scratch.data
        _begin_call(&call.stop)
        if self._is_short(call):
            kernel(problem)
        else:
            with nogil:
                kernel(problem)
        return _end_call(&call.stop)

    # Sequences, in the order of a direction

    cdef xr_sequence _turned(self, _PlainCall call, const xr_sequence *at, Py_ssize_t d,
                             Py_ssize_t width):
        """Where a direction finds its part of that width, 0 for the whole."""
        cdef xr_sequence own = at[0]
        cdef Py_ssize_t first = d * width
        if own.data != NULL and self.back_first[d]:
            first += (call.problem.T - 1) * own.step
            own.step = -own.step
        if own.data != NULL:
            own.data = <char *> own.data + first * self.itemsize
        return own

    cdef object _find_dense(self, _PlainCall call, xr_sequence *at, Py_ssize_t width):
        """Go on with memory without gaps where a sequence has some; returns it."""
        if _is_dense(at, call.problem.T, call.problem.B, width):
            return None
        return self._new_between(at, call.problem.T, call.problem.B, width)

    cdef object _gather(self, _PlainCall call, xr_sequence *at, Py_ssize_t width):
        """The same with the values."""
        cdef xr_sequence given = at[0]
        cdef Py_ssize_t T = call.problem.T, B = call.problem.B
        copy = self._find_dense(call, at, width)
        if copy is not None:
            _copy_sequence(&given, at, T, B, width, self.itemsize)
        return copy

    # States, those of a direction together

    cdef _Memory _find_states(self, _PlainCall call, Py_ssize_t d, char **whole,
                              char **own):
        """Note where a direction has its states; returns memory for those of two."""
        cdef Py_ssize_t size = self.layers * call.problem.B * self.H * self.itemsize
        cdef _Memory memory
        own[0], own[1] = whole[0], whole[1]
        if self.directions == 1 or whole[0] == NULL:
            return None
        memory = _Memory(2 * size, False)
        own[0] = <char *> memory.data
        own[1] = own[0] + size
        return memory

    cdef int _copy_states(self, _PlainCall call, Py_ssize_t d, char **whole, char **own,
                          bint inward) noexcept:
        """Copy the states of a direction to its memory, or from there."""
        cdef Py_ssize_t size = call.problem.B * self.H * self.itemsize, layer, k
        cdef char *theirs
        if own[0] == whole[0]:
            return 0
        for k in range(2):
            for layer in range(self.layers):
                theirs = whole[k] + (layer * self.directions + d) * size
                if inward:
                    memcpy(own[k] + layer * size, theirs, size)
                else:
                    memcpy(theirs, own[k] + layer * size, size)
        return 0

    # Back

    def back(self, run, layout, dy, dstate, totals=None):
        """Gradients of input, initial state and weights; None for what is not plain.

        `run` (`_run.time_depth.TimeDepthRun`) is what has been kept, without dropout
        and lengths; the gradients of weights are added to `totals`.
        """
        cdef _PlainCall call = _PlainCall.__new__(_PlainCall)
        cdef GridSweep sweep = (<GridCache> run.runs[0][0].kept).sweep
        cdef Py_ssize_t d
        cdef list found = []
        call.problem.T, call.problem.B = sweep.sizes[1], sweep.batch
        call.problem.threads = sweep.threads
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
        self._new_states(call)
        for d in range(self.directions):
            part = run.runs[d][0]
            found.append(
                self._back_direction(call, d, part.call.inputs[0], part.kept, weights)
            )
        dx = found[0] if self.directions == 1 else found[0] + found[1]
        return dx, self._answer(call), weights

    cdef object _back_direction(self, _PlainCall call, Py_ssize_t d, x, GridCache cache,
                                dict weights):
        """Go back through the grid of one direction; returns the input's gradient."""
        cdef xr_problem *whole = &call.problem
        cdef _GridCall part = self.parts[d]
        cdef xr_grid_problem problem
        cdef Py_ssize_t T = whole.T, B = whole.B
        cdef xr_sequence dy = self._turned(call, &whole.dy, d, self.H), dx, near
        cdef char *states[2]
        self._begin_direction(call, part, &problem)
        result = call.axes.new_sequence(self.dtype, T, B, self.I, &whole.dx)
        dx = near = self._turned(call, &whole.dx, d, 0)
        between = self._find_dense(call, &near, self.I)
        turned = None if dy.data == NULL else self._gather(call, &dy, self.H)
        problem.side[0].x = _kept(x, self.kind, T * B * self.I)
        problem.side[0].dx, problem.dh[0] = near.data, dy.data
        before = self._find_states(call, d, call.before, states)
        problem.dh[1], problem.dm[1] = states[0], states[1]
        self._copy_states(call, d, call.before, states, True)
        after = self._find_states(call, d, call.after, states)
        problem.dh_out[1], problem.dm_out[1] = states[0], states[1]
        problem.cache = cache.memory.data
        table = self._find_gradients(d, &problem, weights)
        self._compute(call, part, &problem, True)
        if near.data != dx.data:
            _copy_sequence(&near, &dx, T, B, self.I, self.itemsize)
        self._copy_states(call, d, call.after, states, False)
        return result

    cdef _Memory _find_gradients(self, Py_ssize_t d, xr_grid_problem *problem,
                                 dict weights):
        """Put the places of the weights' gradients into the problem."""
        cdef tuple sets = self.names[d][0], pair
        cdef Py_ssize_t count = 2 * len(sets), index
        cdef _Memory table = _Memory(2 * count * sizeof(void *), True)
        cdef void **places = <void **> table.data
        for index in range(count):
            pair = sets[index // 2][index % 2]
            places[index] = _address(weights[pair[0]])
            places[count + index] = _place_of(weights, pair[1])
        problem.dw, problem.db = places, places + count
        pair = self.names[d][1]
        problem.side[0].dw = _address(weights[pair[0]])
        problem.side[0].db = _place_of(weights, pair[1])
        return table
