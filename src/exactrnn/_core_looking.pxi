# A layer that looks at a memory, one step at a time. Included by _core.pyx.

@cython.final
cdef class LookStepper(AnyStepper):
    """A layer that looks at a memory [S, B, M] of its own, one step at a time.

    Its first step makes the keys. What a step leaves is written into `after` and
    `alpha_after`, which change places with `state` and `alpha` [1, B, S] when it is
    done. An output [B, H+M] has the context behind h.
    """

    cdef readonly object alpha
    cdef object alpha_after
    cdef tuple after, views_after
    cdef _View alpha_view, alpha_view_after
    cdef _Call call
    cdef xr_attention attention
    cdef Py_ssize_t context_row  # bytes of a context that goes into the output, or 0

    def __cinit__(self, tuple packs, PackedAttention packed not None, memory,
                  memory_lengths, bint joined, team=None):
        cdef Packed cell = packs[0]
        cdef const xr_layer *layer = &cell.layer
        cdef Py_ssize_t S = memory.shape[0], B = memory.shape[1], M = packed.form.M
        cdef bint is_input = packed.form.query == XR_PREVIOUS
        inputs = np.zeros((1, B, layer.I), cell.dtype)
        context = inputs[..., layer.I - M:]
        if not is_input:
            context = np.zeros((1, B, M), cell.dtype)
        self.team = team
        self._take_sizes(cell.kind, B, layer.I - M * is_input,
                         layer.H + M * joined)
        self.context_row = M * joined * _itemsize(cell.kind)
        self.row_work = _look_work(layer, &packed.form, S)
        self.call = _Call(packs, 1, B, Sweep(None, None, False, 1, False))
        self.call.problem.x = _sequence(self.call.hold(inputs, True))
        self.call.problem.y.row = self.width
        self._take_states([xr_state_width(layer, k)
                           for k in range(xr_state_arrays(layer))], cell.dtype)
        self.alpha = np.zeros((1, B, S), cell.dtype)
        self.alpha_after = np.zeros_like(self.alpha)
        self.alpha_view, self.alpha_view_after = _views((self.alpha, self.alpha_after))
        keys = np.empty((B, packed.form.K, padded(S)), cell.dtype)
        found = (context, self.alpha_after, None, None)
        _take_looks(self.call, &self.attention, packed,
                    Looks(memory, memory_lengths, keys, False, found))

    cdef int _take_states(self, list widths, dtype) except -1:
        self.state = tuple([np.zeros((1, self.places, n), dtype) for n in widths])
        self.after = tuple([np.zeros_like(part) for part in self.state])
        self.views, self.views_after = _views(self.state), _views(self.after)
        return 0

    def step_rows(self, x, out, rows):
        """Refuse to: each row has a memory, at which none but itself looks."""
        raise TypeError("rows: expected None, as each row has a memory of its own")

    cdef int _take_rows(self, Py_ssize_t count) except -1:
        self.rows = count
        return 0

    cdef int _fit(self, int threads) except -1:
        self.call.problem.threads = threads
        self.call.scratch = _at_least(
            self.call.scratch, xr_scratch_bytes(&self.call.problem, False)
        )
        self.call.problem.scratch = self.call.scratch.data
        return 0

    cdef int _run(self, void *x, void *y) except -1:
        cdef xr_problem *problem = &self.call.problem
        self._make_fit()
        self._place(x, y)
        problem.stop = _begin_call(&self.call.stop)
        with nogil:
            xr_forward(problem)
        _end_call(&self.call.stop)
        self._join_context(<char *> y)
        self._change_places()
        return 0

    cdef int _place(self, const void *x, void *y) except -1:
        """Say what the step reads and writes."""
        cdef xr_problem *problem = &self.call.problem
        cdef Py_ssize_t itemsize = self.call.itemsize, b
        cdef char *inputs = <char *> problem.x.data
        for b in range(self.rows):
            memcpy(inputs + b * problem.x.row * itemsize,
                   <const char *> x + b * self.in_row, self.in_row)
        for k in range(len(self.views)):
            problem.state[k] = (<_View> self.views[k]).buffer.buf
            problem.state_out[k] = (<_View> self.views_after[k]).buffer.buf
        self.attention.alpha = self.alpha_view_after.buffer.buf
        problem.y.data = y
        return 0

    cdef int _join_context(self, char *y) except -1:
        cdef Py_ssize_t itemsize = self.call.itemsize, b
        cdef const char *context = <const char *> self.attention.context.data
        for b in range(self.rows if self.context_row > 0 else 0):
            memcpy(y + (b + 1) * self.out_row - self.context_row,
                   context + b * self.attention.context.row * itemsize,
                   self.context_row)
        return 0

    cdef int _change_places(self) except -1:
        """What ends a step that nobody has ended before."""
        self.state, self.after = self.after, self.state
        self.views, self.views_after = self.views_after, self.views
        self.alpha, self.alpha_after = self.alpha_after, self.alpha
        self.alpha_view, self.alpha_view_after = self.alpha_view_after, self.alpha_view
        self.attention.has_keys = True
        self.attention.from_end = not self.attention.from_end
        return 0


cdef Py_ssize_t _look_work(const xr_layer *layer, const xr_attention_form *form,
                           Py_ssize_t S) noexcept:
    """Multiplications of a row in a step; a tanh takes as long as 16 of them."""
    cdef Py_ssize_t key = form.K * (16 if form.score == XR_ADDITIVE else 1)
    return (layer.info.w_blocks * layer.H * (layer.H + layer.I) + form.Q * form.H
            + S * (key + form.M))
