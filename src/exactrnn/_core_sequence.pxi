# Layers over whole sequences. Included by _core.pyx.

@cython.final
cdef class Sweep:
    """How the kernels go through the rows of a batch, for all layers of a call.

    `lengths` and `clock` are int64 [B] or None, `reverse` says whether rows are read
    from their ends, `keep` whether backward is to follow.
    """

    cdef readonly object lengths, clock
    cdef readonly bint reverse, keep
    cdef readonly int threads

    def __init__(self, lengths, clock, bint reverse, int threads, bint keep):
        self.lengths, self.clock, self.reverse = lengths, clock, reverse
        self.threads, self.keep = threads, keep

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GradientsIn:
    """What backward of a layer starts from, each None for zeros.

    Of the output, of the states after the last step, and of the cell states that the
    layer above has read.
    """

    cdef readonly object dy, dupper
    cdef readonly tuple dstate

    def __init__(self, dy, tuple dstate, dupper):
        self.dy, self.dstate, self.dupper = dy, dstate, dupper

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GradientsOut:
    """Where backward of a layer puts its results.

    `dx`, `dstate` of the states before the first step, and `dlower` of the cell states
    of the layer below, or None, are written; `dweights`, by direction in the order of
    `pack`, are added to. `dx` None, and `dweights` of None alone: not wanted.
    """

    cdef readonly object dx, dlower
    cdef readonly tuple dstate, dweights

    def __init__(self, dx, tuple dstate, dlower, tuple dweights):
        self.dx, self.dstate = dx, dstate
        self.dlower, self.dweights = dlower, dweights

    def __reduce__(self):
        _refuse_copy(self)


cdef class _Call:
    """A problem struct and everything that its pointers need alive."""

    cdef xr_problem problem
    cdef xr_stop stop
    cdef xr_masks masks
    cdef Py_ssize_t itemsize
    cdef list alive
    cdef _Memory scratch

    def __cinit__(self, tuple packs, Py_ssize_t T, Py_ssize_t B, Sweep sweep):
        cdef Packed packed = packs[0]
        self.alive = [packs]
        self.itemsize = _itemsize(packed.kind)
        self.problem.layer = &packed.layer
        if len(packs) == 2:
            self.problem.second = &(<Packed> packs[1]).layer
        self.problem.directions = len(packs)
        self.problem.threads = sweep.threads
        self.problem.reverse = sweep.reverse
        self.problem.T, self.problem.B = T, B
        self.problem.stop = _begin_call(&self.stop)
        for d in range(len(packs)):
            packed = packs[d]
            self.problem.packed[d] = packed.forward.data
            if packed.backward is not None:
                self.problem.packed_backward[d] = packed.backward.data
        self.problem.lengths = self.counts(sweep.lengths)
        self.problem.clock = self.counts(sweep.clock)

    cdef const int64_t *counts(self, array) except? NULL:
        """The memory of an int64 array [B], NULL for None."""
        if array is None:
            return NULL
        cdef _View view = _View(array, sizeof(int64_t), False)
        self.alive.append(view)
        return <const int64_t *> view.buffer.buf

    cdef _View hold(self, array, bint writable):
        cdef _View view = _View(array, self.itemsize, writable)
        self.alive.append(view)
        return view

    cdef void *data(self, array, bint writable) except? NULL:
        return _data(None if array is None else self.hold(array, writable))

    cdef take_masks(self, tuple masks):
        """Let the call drop what a layer's masks say; None for no masks."""
        if masks is None:
            return
        recurrent, of_h, of_cells = masks
        self.masks.recurrent = self.data(recurrent, False)
        self.masks.zoneout[0] = self.data(of_h, False)
        self.masks.zoneout[1] = self.data(of_cells, False)
        self.problem.masks = &self.masks

    cdef take_scratch(self, bint backward):
        self.scratch = _Memory(xr_scratch_bytes(&self.problem, backward), False, True)
        self.problem.scratch = self.scratch.data

    def __reduce__(self):
        _refuse_copy(self)


def _side_by_side(parts):
    """One array from those of the cells of a block; a view of the only one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


@cython.final
cdef class LayerCache:
    """What forward kept of one layer for backward, all directions.

    `masks` are those that `forward` was given.
    """

    cdef _Memory memory
    cdef xr_cache_layout_of at
    cdef Packed packed
    cdef Py_ssize_t T, B
    cdef Sweep sweep
    cdef readonly tuple masks

    def gates(self, int direction):
        """Values kept in the places of the sums, by name: [T, B, H]."""
        cdef xr_cell_info *info = &self.packed.layer.info
        if not info.keeps_sums:
            return {}
        shape = (self.T, self.B, info.sums, self.at.Hp)
        units = self._units(self.packed.layer.H)
        rows = self._array(direction, self.at.sums, shape)[..., units]
        parts = {}
        own = self.packed.layer.program != NULL
        for s in range(info.sums):
            if info.sum[s].name[0] == b"%":
                continue
            has_product = max(info.sum[s].w, info.sum[s].r) >= 0
            if info.sum[s].matrix == XR_HH and (own or has_product):
                parts.setdefault(info.sum[s].name.decode(), []).append(rows[:, :, s])
        return {name: _side_by_side(cells) for name, cells in parts.items()}

    def states(self, int direction):
        """States after each step, in the cell's order: arrays [T, B, width]."""
        cdef xr_layer *layer = &self.packed.layer
        cdef int array, first = 0
        shape = (self.T, self.B, self.at.Hp)
        found = []
        for array in range(xr_state_arrays(layer)):
            cells = layer.info.cells if array < 2 else 1
            units = self._units(xr_state_width(layer, array) // cells)
            found.append(_side_by_side([
                self._array(direction, self.at.state[k], shape)[..., units]
                for k in range(first, first + cells)
            ]))
            first += cells
        return tuple(found)

    cdef _units(self, Py_ssize_t width):
        """Where the caller's units lie in a row."""
        cdef xr_layer *layer = &self.packed.layer
        heads = 1 if layer.program == NULL else layer.program.heads
        if layer.modules == 0 and heads == 1:
            return slice(width)
        sizes = [layer.module[m].size for m in range(layer.modules)]
        sizes = sizes or [layer.H // heads] * heads
        begins = np.cumsum([0] + [padded(size) for size in sizes[:-1]])
        return np.concatenate(
            [begin + np.arange(size) for begin, size in zip(begins, sizes)]
        )

    cdef _array(self, int direction, Py_ssize_t first, shape):
        first += direction * self.at.direction
        memory = memoryview(self.memory).toreadonly()
        flat = np.frombuffer(memory, dtype=self.packed.dtype)[first:]
        return flat[: np.prod(shape)].reshape(shape)

    def content(self):
        """What `restore_cache` needs beside packed weights, as plain values."""
        cdef Sweep sweep = self.sweep
        return {
            "T": self.T, "B": self.B, "lengths": sweep.lengths, "clock": sweep.clock,
            "reverse": sweep.reverse, "threads": sweep.threads,
            "memory": bytes(self.memory), "masks": self.masks,
        }

    def buffer(self):
        """The memory of the cache, to be kept by somebody else: see `view_cache`."""
        return memoryview(self.memory)

    def __reduce__(self):
        _refuse_copy(self)


cdef _own(array):
    """A copy of an array, or None."""
    return None if array is None else np.array(array)


cdef Sweep _own_sweep(Sweep sweep):
    """The same of arrays that nobody else has."""
    return Sweep(
        _own(sweep.lengths), _own(sweep.clock), sweep.reverse, sweep.threads, True
    )


cdef LayerCache _new_cache(const xr_problem *problem, Packed packed, Sweep sweep,
                           _Memory memory=None):
    """A cache with memory for what a forward call keeps, new if none is given.

    `sweep` becomes its own.
    """
    cdef LayerCache cache = LayerCache.__new__(LayerCache)
    cache.at = xr_cache_layout(problem)
    cache.memory = _Memory(cache.at.bytes, False) if memory is None else memory
    cache.packed, cache.sweep = packed, sweep
    cache.T, cache.B = problem.T, problem.B
    return cache


def restore_cache(tuple packs, dict content):
    """A LayerCache from its `content` and the packed weights of an equal layer."""
    cdef Sweep sweep = Sweep(
        content["lengths"], content["clock"], content["reverse"], content["threads"],
        True,
    )
    cdef _Call call = _Call(packs, content["T"], content["B"], sweep)
    call.take_masks(content["masks"])
    cdef LayerCache cache = _new_cache(&call.problem, packs[0], _own_sweep(sweep))
    cache.masks = content["masks"]
    _fill(cache.memory, content["memory"])
    return cache


def view_cache(tuple packs, Py_ssize_t T, Py_ssize_t B, Sweep sweep not None, memory):
    """A LayerCache over memory that holds what the `buffer` of another held.

    It is read where it lies if it is aligned as the kernels want it, else copied.
    """
    cdef _View view = _View(memory, 1, False)
    cdef _Call call = _Call(packs, T, B, sweep)
    cdef LayerCache cache = _new_cache(
        &call.problem, packs[0], _own_sweep(sweep), _hold(view)
    )
    if cache.memory.size < <Py_ssize_t> cache.at.bytes:
        raise ValueError(
            f"cache: expected {cache.at.bytes} bytes for this call, "
            f"got {cache.memory.size}"
        )
    return cache


def cache_bytes(str cell, str dtype, Py_ssize_t H, options, sizes):
    """Bytes of the `buffer` of a cache; `sizes` are T, B and the directions."""
    cdef xr_problem problem
    cdef xr_layer layer
    memset(&problem, 0, sizeof(problem))
    memset(&layer, 0, sizeof(layer))
    layer.engine = _engine_of(isas()[0], _dtype_of(dtype))
    layer.H = H
    _modules = _describe(&layer, cell, options)
    problem.layer = &layer
    problem.T, problem.B, problem.directions = sizes
    return xr_cache_layout(&problem).bytes


cdef int _fill(_Memory memory, bytes content) except -1:
    if len(content) != memory.size:
        raise ValueError(
            f"cache: expected {memory.size} bytes for this layer, got {len(content)}"
        )
    memcpy(memory.data, <const char *> content, memory.size)
    return 0


def draw_mask(out, uint64_t key, uint64_t threshold, tuple values, bint timeless,
              heads):
    """Fill the units of a mask [T, B, Hp], or [1, B, Hp] for all steps: `timeless`.

    `values` are what a unit gets whose 53 bits are below `threshold`, and any other;
    `heads` are the number of units of a row, and of heads among which they are.
    """
    cdef _View view = _View(out, out.itemsize, True)
    cdef xr_mask mask
    cdef xr_dtype dtype = _dtype_of(out.dtype.name)
    mask.key, mask.threshold = key, threshold
    mask.below, mask.above = values
    mask.timeless = timeless
    mask.steps, mask.rows = view.buffer.shape[0], view.buffer.shape[1]
    mask.units, mask.heads = heads
    with nogil:
        xr_draw_mask(&mask, dtype, view.buffer.shape[2], view.buffer.buf)


def forward(tuple packs, Sweep sweep not None, x, y, tuple state, tuple state_out,
            tuple cells=(None, None), tuple masks=None):
    """One layer over a whole sequence; returns a LayerCache to keep, or None.

    `state` are the states before, None for zeros, `state_out` those after; `cells` are
    the cell states of the layer below, and where to put this layer's for the one above.
    `masks` are those of what R multiplies [D, B, Hp] and of zoneout, of h and of cell
    states [D, T, B, Hp], contiguous, each or all None; they need a cache.
    """
    cdef _View xs = _View(x, _itemsize((<Packed> packs[0]).kind), False)
    cdef Py_ssize_t T = xs.buffer.shape[0], B = xs.buffer.shape[1]
    cdef _Call call = _Call(packs, T, B, sweep)
    cdef xr_problem *problem = &call.problem
    problem.x = _sequence(xs)
    problem.y = _sequence(call.hold(y, True))
    problem.lower = call.data(cells[0], False)
    problem.upper = call.data(cells[1], True)
    for k in range(len(state_out)):
        problem.state[k] = call.data(None if state is None else state[k], False)
        problem.state_out[k] = call.data(state_out[k], True)
    cdef LayerCache cache = None
    if sweep.keep:
        call.take_masks(masks)
        cache = _new_cache(problem, packs[0], _own_sweep(sweep))
        cache.masks = masks
        problem.cache = cache.memory.data
    call.take_scratch(False)
    with nogil:
        xr_forward(problem)
    _end_call(&call.stop)
    return cache


def backward(tuple packs, LayerCache cache, x, lower, GradientsIn given not None,
             GradientsOut wanted not None, bint truncated=False):
    """Gradients of one layer, from those of its results to those of what it has read.

    `x` and `lower` are what forward has read.
    """
    cdef _Call call = _Call(packs, cache.T, cache.B, cache.sweep)
    cdef xr_problem *problem = &call.problem
    call.take_masks(cache.masks)
    problem.cache = cache.memory.data
    problem.truncated = truncated
    problem.lower = call.data(lower, False)
    problem.dupper = call.data(given.dupper, False)
    problem.dlower = call.data(wanted.dlower, True)
    problem.x = _sequence(call.hold(x, False))
    if wanted.dx is not None:
        problem.dx = _sequence(call.hold(wanted.dx, True))
    if given.dy is not None:
        problem.dy = _sequence(call.hold(given.dy, False))
    for k, part in enumerate(wanted.dstate):
        dstate = None if given.dstate is None else given.dstate[k]
        problem.dstate[k] = call.data(dstate, False)
        problem.dstate_out[k] = call.data(part, True)
    for d, dw in enumerate(wanted.dweights):
        problem.dw[d] = xr_gradients(
            call.data(dw[0], True), call.data(dw[1], True),
            call.data(dw[2], True), call.data(dw[3], True),
            call.data(dw[4], True), call.data(dw[5], True),
            call.data(dw[6], True), call.data(dw[7], True),
        )
    call.take_scratch(True)
    with nogil:
        xr_backward(problem)
    _end_call(&call.stop)
