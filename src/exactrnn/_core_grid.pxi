# Grids (csrc/include/exactrnn/grid.h), a part of _core.pyx: arrays to problem structs.
#
# Borders are a pair (h, m) of arrays for each dimension, None for zeros or where there
# is no memory; packed weights of `sets` are by set, then by dimension, those of `sides`
# by dimension with input.

def grid_dims():
    """The largest number of dimensions of a grid."""
    return XR_GRID_DIMS


@cython.final
cdef class GridBlock:
    """What a block of a grid is, without its weights; immutable.

    `inputs` are the widths of the inputs at the near sides, by dimension, None where
    none enters.
    """

    cdef xr_grid_block block
    cdef const xr_grid *kernels
    cdef Py_ssize_t itemsize
    cdef readonly str isa, dtype
    cdef readonly tuple kinds

    def __cinit__(self, str isa, str dtype, Py_ssize_t hidden_size, tuple kinds,
                  tuple phases, bint tanh_outside, tuple inputs=()):
        kind_of = _dtype_of(dtype)
        _engine_of(isa, kind_of)
        self.isa, self.dtype, self.kinds = isa, dtype, kinds
        self.kernels = xr_find_grid(isa.encode(), kind_of)
        self.itemsize = _itemsize(kind_of)
        self.block.N = len(kinds)
        if not 1 <= self.block.N <= XR_GRID_DIMS:
            raise ValueError(f"dims: expected 1..{XR_GRID_DIMS}, got {len(kinds)}")
        for k in range(self.block.N):
            self.block.memory[k] = kinds[k] == "lstm"
            if not self.block.memory[k]:
                self.block.activation[k] = _nonlinearity(kinds[k])
            self.block.phase[k] = phases[k]
        self.block.tanh_outside = tanh_outside
        self.block.H = hidden_size
        for k, width in enumerate(inputs):
            self.block.inputs[k] = width or 0

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridPacked:
    """Packed weights of one dimension of one set, or of its side; immutable."""

    cdef GridBlock block
    cdef int k
    cdef _Memory forward, backward

    @property
    def has_backward(self):
        return self.backward is not None

    def equals(self, GridPacked other not None):
        """Whether both were packed from weights of the same bytes, in the same way."""
        return (
            self.block.kernels == other.block.kernels
            and self.forward.size == other.forward.size
            and memcmp(self.forward.data, other.forward.data, self.forward.size) == 0
        )

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridSweep:
    """How the kernels go through a grid.

    `sizes` of its dimensions, `batch` rows, `set_steps` of the set of weights along
    each dimension, `lengths` int64 [B, N] or None; `keep` says whether backward is to
    follow.
    """

    cdef readonly tuple sizes, set_steps
    cdef readonly Py_ssize_t batch
    cdef readonly object lengths
    cdef readonly int threads
    cdef readonly bint keep

    def __init__(self, tuple sizes, Py_ssize_t batch, tuple set_steps, lengths,
                 int threads, bint keep):
        self.sizes, self.batch, self.set_steps = sizes, batch, set_steps
        self.lengths, self.threads, self.keep = lengths, threads, keep

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridGradients:
    """Where backward of a grid puts its results.

    `dinputs` [the other sizes, B, I] by side, and `dborders`, pairs by dimension, are
    written; `dsets` (dw, db) by set, then dimension, and `dsides` (dw, db) by side are
    added to. An array of `dborders` may be None.
    """

    cdef readonly tuple dinputs, dborders, dsets, dsides

    def __init__(self, tuple dinputs, tuple dborders, tuple dsets, tuple dsides):
        self.dinputs, self.dborders = dinputs, dborders
        self.dsets, self.dsides = dsets, dsides

    def __reduce__(self):
        _refuse_copy(self)


def grid_pack(GridBlock block, int k, w, b, bint backward):
    """Pack w [G*H, N*H] and b [G*H] or None of dimension `k`."""
    cdef const xr_grid *kernels = block.kernels
    cdef _GridPacker packer
    packer.bytes, packer.forward = kernels.packed_bytes, kernels.pack
    packer.backward = kernels.pack_backward
    return _pack_grid(&packer, block, k, w, b, backward)


def grid_pack_side(GridBlock block, int k, w, b, bint backward):
    """Pack w [S*H, I] and b [S*H] or None of the side of dimension `k`."""
    cdef const xr_grid *kernels = block.kernels
    cdef _GridPacker packer
    packer.bytes, packer.forward = kernels.side_bytes, kernels.pack_side
    packer.backward = kernels.pack_side_backward
    return _pack_grid(&packer, block, k, w, b, backward)


cdef struct _GridPacker:
    # The kernels that pack one kind of weights.
    size_t (*bytes)(const xr_grid_block *block, int k, int backward) noexcept nogil
    void (*forward)(const xr_grid_block *block, int k, const void *w, const void *b,
                    void *packed, xr_stop *stop) noexcept nogil
    void (*backward)(const xr_grid_block *block, int k, const void *w, void *packed,
                     xr_stop *stop) noexcept nogil


cdef GridPacked _pack_grid(const _GridPacker *packer, GridBlock block, int k, w, b,
                           bint backward):
    cdef GridPacked packed = GridPacked.__new__(GridPacked)
    packed.block, packed.k = block, k
    cdef _View weights = _View(w, block.itemsize, False)
    cdef _View bias = None if b is None else _View(b, block.itemsize, False)
    cdef const xr_grid_block *of = &block.block
    cdef const void *w_data = _data(weights)
    cdef const void *b_data = _data(bias)
    packed.forward = _Memory(packer.bytes(of, k, False), True)
    if backward:
        packed.backward = _Memory(packer.bytes(of, k, True), True)
    cdef xr_stop stop
    _begin_call(&stop)
    with nogil:
        packer.forward(of, k, w_data, b_data, packed.forward.data, &stop)
        if backward and not stop.stopped:
            packer.backward(of, k, w_data, packed.backward.data, &stop)
    _end_call(&stop)
    return packed


cdef class _GridCall:
    """A grid's problem struct and everything that its pointers need alive."""

    cdef xr_grid_problem problem
    cdef xr_stop stop
    cdef GridBlock block
    cdef list alive
    cdef _Memory scratch

    def __cinit__(self, tuple packs, tuple sides, GridSweep sweep):
        cdef GridPacked packed = packs[0][0]
        cdef Py_ssize_t N = packed.block.block.N, sets = len(packs)
        cdef _Memory table = _Memory(2 * sets * N * sizeof(void *), True)
        cdef const void **pointers = <const void **> table.data
        self.block = packed.block
        self.alive = [packs, sides, table]
        self.problem.block = &self.block.block
        self.problem.stop = _begin_call(&self.stop)
        self.problem.threads = sweep.threads
        self.problem.B, self.problem.sets = sweep.batch, sets
        for k in range(N):
            self.problem.size[k] = sweep.sizes[k]
            self.problem.set_step[k] = sweep.set_steps[k]
        for index in range(sets * N):
            packed = packs[index // N][index % N]
            pointers[index] = packed.forward.data
            if packed.backward is not None:
                pointers[sets * N + index] = packed.backward.data
        self.problem.packed = pointers
        self.problem.packed_backward = pointers + sets * N
        for packed in sides:
            self.problem.side[packed.k].packed = packed.forward.data
            if packed.backward is not None:
                self.problem.side[packed.k].packed_backward = packed.backward.data
        if sweep.lengths is not None:
            view = _View(sweep.lengths, sizeof(int64_t), False)
            self.alive.append(view)
            self.problem.lengths = <const int64_t *> (<_View> view).buffer.buf

    cdef void *data(self, array, bint writable) except? NULL:
        if array is None:
            return NULL
        cdef _View view = _View(array, self.block.itemsize, writable)
        self.alive.append(view)
        return view.buffer.buf

    cdef int take_inputs(self, tuple sides, tuple inputs) except -1:
        cdef GridPacked side
        for side, x in zip(sides, inputs, strict=True):
            self.problem.side[side.k].x = self.data(x, False)
        return 0

    cdef int take_borders(self, tuple borders, tuple ends) except -1:
        for k in range(self.block.block.N):
            self.problem.h[k] = self.data(borders[k][0], False)
            self.problem.m[k] = self.data(borders[k][1], False)
            self.problem.h_out[k] = self.data(ends[k][0], True)
            self.problem.m_out[k] = self.data(ends[k][1], True)
        return 0

    cdef int take_gradients(self, tuple sides, tuple dends,
                            GridGradients wanted) except -1:
        cdef GridPacked side
        cdef Py_ssize_t N = self.block.block.N, count = self.problem.sets * N
        cdef _Memory table = _Memory(2 * count * sizeof(void *), True)
        cdef void **pointers = <void **> table.data
        self.alive.append(table)
        for k in range(N):
            self.problem.dh[k] = self.data(dends[k][0], False)
            self.problem.dm[k] = self.data(dends[k][1], False)
            self.problem.dh_out[k] = self.data(wanted.dborders[k][0], True)
            self.problem.dm_out[k] = self.data(wanted.dborders[k][1], True)
        for side, dx in zip(sides, wanted.dinputs, strict=True):
            self.problem.side[side.k].dx = self.data(dx, True)
        for side, (dw, db) in zip(sides, wanted.dsides, strict=True):
            self.problem.side[side.k].dw = self.data(dw, True)
            self.problem.side[side.k].db = self.data(db, True)
        for index in range(count):
            dw, db = wanted.dsets[index // N][index % N]
            pointers[index] = self.data(dw, True)
            pointers[count + index] = self.data(db, True)
        self.problem.dw = pointers
        self.problem.db = pointers + count
        return 0

    cdef take_scratch(self, bint backward):
        self.scratch = _at_least(
            self.scratch, self.block.kernels.scratch_bytes(&self.problem, backward)
        )
        self.problem.scratch = self.scratch.data

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridCache:
    """What `grid_forward` keeps for `grid_backward`."""

    cdef xr_grid_cache at
    cdef _Memory memory
    cdef GridBlock block
    cdef GridSweep sweep

    cdef object _rows(self, ptrdiff_t first, tuple shape):
        count = 1
        for size in shape:
            count *= size
        memory = memoryview(self.memory).toreadonly()
        flat = np.frombuffer(memory, dtype=self.block.dtype)
        return flat[first : first + count].reshape(shape)

    def states(self, int k):
        """(h, m) of dimension `k`, views [size + 1, sizes of the others, B, H].

        The near border, then the points in turn; m is None without memory.
        """
        sizes, B = self.sweep.sizes, self.sweep.batch
        shape = (sizes[k] + 1, *sizes[:k], *sizes[k + 1 :], B, self.at.Hp)
        H = self.block.block.H
        h = self._rows(self.at.h[k], shape)[..., :H]
        if not self.block.block.memory[k]:
            return h, None
        return h, self._rows(self.at.m[k], shape)[..., :H]

    def gates(self, int k):
        """Gates of dimension `k` by letter, views [sizes, B, H]; {} without memory."""
        if not self.block.block.memory[k]:
            return {}
        shape = (*self.sweep.sizes, self.sweep.batch, 4, self.at.Hp)
        values = self._rows(self.at.gates[k], shape)
        H = self.block.block.H
        return {name: values[..., g, :H] for g, name in enumerate("ifgo")}

    def content(self):
        """What `restore_grid_cache` needs beside packed weights, as plain values."""
        cdef GridSweep sweep = self.sweep
        return {
            "sizes": sweep.sizes, "batch": sweep.batch, "set_steps": sweep.set_steps,
            "lengths": sweep.lengths, "threads": sweep.threads,
            "memory": bytes(self.memory),
        }

    def __reduce__(self):
        _refuse_copy(self)


cdef GridSweep _own_grid_sweep(GridSweep sweep):
    """The same of lengths that nobody else has."""
    return GridSweep(
        sweep.sizes, sweep.batch, sweep.set_steps, _own(sweep.lengths), sweep.threads,
        True,
    )


cdef GridCache _new_grid_cache(GridBlock block, const xr_grid_problem *problem,
                               GridSweep sweep):
    """A cache with memory for what a forward call keeps; `sweep` becomes its own."""
    cdef GridCache cache = GridCache.__new__(GridCache)
    cache.at = block.kernels.cache_layout(problem)
    cache.memory = _Memory(cache.at.bytes, False)
    cache.block, cache.sweep = block, sweep
    return cache


def restore_grid_cache(tuple sets, dict content):
    """A GridCache from its `content` and the packed weights of an equal layer."""
    cdef GridSweep sweep = GridSweep(
        content["sizes"], content["batch"], content["set_steps"], content["lengths"],
        content["threads"], True,
    )
    cdef _GridCall call = _GridCall(sets, (), sweep)
    cdef GridCache cache = _new_grid_cache(
        call.block, &call.problem, _own_grid_sweep(sweep)
    )
    _fill(cache.memory, content["memory"])
    return cache


def grid_forward(tuple sets, tuple sides, GridSweep sweep not None, tuple inputs,
                 tuple borders, tuple ends):
    """Run a grid from its near borders to its far ones; a GridCache to keep, or None.

    `inputs` [the other sizes, B, I] enter at `sides`, whose borders are not read.
    """
    cdef _GridCall call = _GridCall(sets, sides, sweep)
    cdef GridCache cache = None
    call.take_inputs(sides, inputs)
    call.take_borders(borders, ends)
    if sweep.keep:
        cache = _new_grid_cache(call.block, &call.problem, _own_grid_sweep(sweep))
        call.problem.cache = cache.memory.data
    call.take_scratch(False)
    with nogil:
        call.block.kernels.forward(&call.problem)
    _end_call(&call.stop)
    return cache


def grid_backward(tuple sets, tuple sides, GridCache cache not None, tuple inputs,
                  tuple dends, GridGradients wanted not None):
    """Gradients of everything that forward has read, from those of the far borders."""
    cdef _GridCall call = _GridCall(sets, sides, cache.sweep)
    call.problem.cache = cache.memory.data
    call.take_inputs(sides, inputs)
    call.take_gradients(sides, dends, wanted)
    call.take_scratch(True)
    with nogil:
        call.block.kernels.backward(&call.problem)
    _end_call(&call.stop)


cdef double _step_work(const xr_grid_block *block, Py_ssize_t L, Py_ssize_t B):
    """Multiplications of a step in time of a grid of depth and time."""
    cdef double work = B * (2 if block.memory[0] else 1) * block.H * block.inputs[0]
    cdef int k
    for k in range(2):
        work += L * B * (4 if block.memory[k] else 1) * block.H * 2 * block.H
    return work


@cython.final
cdef class GridStepper(AnyStepper):
    """A grid of depth and time, one point in time after the other.

    Dimension 0 is the depth, with an input at its near side; what comes out is the h of
    its far border. Dimension 1 is the time, whose borders are the state (h, m).
    """

    cdef _GridCall call

    def __cinit__(self, tuple sets, GridPacked side not None, GridSweep sweep not None,
                  team=None):
        cdef GridBlock of = side.block
        cdef const xr_grid_block *block = &of.block
        cdef Py_ssize_t L = sweep.sizes[0], B = sweep.batch, H = block.H
        self.arguments, self.team = (sets, side, sweep, team), team
        self.packed_rows = True
        self._take_sizes(
            XR_F32 if of.itemsize == 4 else XR_F64, B, block.inputs[0], H
        )
        self.state = tuple(np.zeros((L, B, H), of.dtype) for _ in "hm")
        self.views = _views(self.state)
        self.call = _GridCall(sets, (side,), sweep)
        borders = ((None, None), self.state)
        self.call.take_borders(borders, borders)
        # Scratch is for a grid with an input: that of a step comes with the step.
        self.call.problem.side[0].x = self.call.problem.h_out[1]
        self._make_fit()
        self.row_work = <Py_ssize_t> _step_work(block, L, 1)
        self._take_rows(B)

    cdef int _take_rows(self, Py_ssize_t count) except -1:
        self.rows = count
        self.release_gil = count * self.row_work > KEEP_GIL_WORK
        return 0

    cdef int _fit(self, int threads) except -1:
        self.call.problem.B, self.call.problem.threads = self.rows, threads
        self.call.take_scratch(False)
        return 0

    cdef int _run(self, void *x, void *y) except -1:
        cdef xr_grid_problem *problem = &self.call.problem
        self._make_fit()
        problem.side[0].x = x
        problem.h_out[0] = y
        if self.release_gil:
            problem.stop = _begin_call(&self.call.stop)
            with nogil:
                self.call.block.kernels.forward(problem)
            _end_call(&self.call.stop)
        else:
            problem.stop = NULL
            self.call.block.kernels.forward(problem)
        return 0
