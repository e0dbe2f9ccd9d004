# Grids (csrc/include/exactrnn/grid.h), a part of _core.pyx: arrays to problem structs.
#
# A grid's `shape` is (sizes of its dimensions, batch rows, steps of the set of weights
# along each dimension); borders are a pair (h, m) of arrays for each dimension, None
# for zeros or where there is no memory; packs are by set, then by dimension.

def grid_dims():
    """The largest number of dimensions of a grid."""
    return XR_GRID_DIMS


@cython.final
cdef class GridBlock:
    """What a block of a grid is, without its weights; immutable."""

    cdef xr_grid_block block
    cdef const xr_grid *kernels
    cdef Py_ssize_t itemsize
    cdef readonly str isa, dtype
    cdef readonly tuple kinds

    def __cinit__(self, str isa, str dtype, Py_ssize_t hidden_size, tuple kinds,
                  tuple phases, bint tanh_outside):
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

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridPacked:
    """Packed weights of one dimension of one set; immutable."""

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


def grid_pack(GridBlock block, int k, w, b, bint backward):
    """Pack w [G*H, N*H] and b [G*H] or None of dimension `k`."""
    cdef GridPacked packed = GridPacked.__new__(GridPacked)
    packed.block, packed.k = block, k
    cdef _View weights = _View(w, block.itemsize, False)
    cdef _View bias = None if b is None else _View(b, block.itemsize, False)
    cdef const xr_grid_block *of = &block.block
    cdef const void *w_data = _data(weights)
    cdef const void *b_data = _data(bias)
    packed.forward = _Memory(block.kernels.packed_bytes(of, k, False), True)
    if backward:
        packed.backward = _Memory(block.kernels.packed_bytes(of, k, True), True)
    cdef xr_stop stop
    _begin_call(&stop)
    with nogil:
        block.kernels.pack(of, k, w_data, b_data, packed.forward.data, &stop)
        if backward and not stop.stopped:
            block.kernels.pack_backward(of, k, w_data, packed.backward.data, &stop)
    _end_call(&stop)
    return packed


cdef class _GridCall:
    """A grid's problem struct and everything that its pointers need alive."""

    cdef xr_grid_problem problem
    cdef xr_stop stop
    cdef GridBlock block
    cdef list alive

    def __cinit__(self, tuple packs, tuple shape, lengths, int threads):
        cdef GridPacked packed = packs[0][0]
        cdef Py_ssize_t N = packed.block.block.N, sets = len(packs)
        cdef _Memory table = _Memory(2 * sets * N * sizeof(void *), True)
        cdef void **pointers = <void **> table.data
        self.block = packed.block
        self.alive = [packs, table]
        sizes, rows, steps = shape
        self.problem.block = &self.block.block
        self.problem.stop = _begin_call(&self.stop)
        self.problem.threads = threads
        self.problem.B, self.problem.sets = rows, sets
        for k in range(N):
            self.problem.size[k] = sizes[k]
            self.problem.set_step[k] = steps[k]
        for index in range(sets * N):
            packed = packs[index // N][index % N]
            pointers[index] = packed.forward.data
            if packed.backward is not None:
                pointers[sets * N + index] = packed.backward.data
        self.problem.packed = pointers
        self.problem.packed_backward = pointers + sets * N
        if lengths is not None:
            view = _View(lengths, sizeof(int64_t), False)
            self.alive.append(view)
            self.problem.lengths = <const int64_t *> (<_View> view).buffer.buf

    cdef void *data(self, array, bint writable) except? NULL:
        if array is None:
            return NULL
        cdef _View view = _View(array, self.block.itemsize, writable)
        self.alive.append(view)
        return view.buffer.buf

    cdef int take_borders(self, tuple borders, tuple ends) except -1:
        for k in range(self.block.block.N):
            self.problem.h[k] = self.data(borders[k][0], False)
            self.problem.m[k] = self.data(borders[k][1], False)
            self.problem.h_out[k] = self.data(ends[k][0], True)
            self.problem.m_out[k] = self.data(ends[k][1], True)
        return 0

    cdef int take_gradients(self, tuple dends, tuple dborders,
                            tuple dweights) except -1:
        cdef Py_ssize_t N = self.block.block.N, count = self.problem.sets * N
        cdef _Memory table = _Memory(2 * count * sizeof(void *), True)
        cdef void **pointers = <void **> table.data
        self.alive.append(table)
        for k in range(N):
            self.problem.dh[k] = self.data(dends[k][0], False)
            self.problem.dm[k] = self.data(dends[k][1], False)
            self.problem.dh_out[k] = self.data(dborders[k][0], True)
            self.problem.dm_out[k] = self.data(dborders[k][1], True)
        for index in range(count):
            dw, db = dweights[index // N][index % N]
            pointers[index] = self.data(dw, True)
            pointers[count + index] = self.data(db, True)
        self.problem.dw = pointers
        self.problem.db = pointers + count
        return 0

    cdef take_scratch(self, bint backward):
        memory = _Memory(self.block.kernels.scratch_bytes(&self.problem, backward),
                         False)
        self.alive.append(memory)
        self.problem.scratch = (<_Memory> memory).data

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class GridCache:
    """What `grid_forward` keeps for `grid_backward`."""

    cdef xr_grid_cache at
    cdef _Memory memory
    cdef GridBlock block
    cdef tuple shape
    cdef object lengths
    cdef public int threads

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
        sizes, rows, _ = self.shape
        shape = (sizes[k] + 1, *sizes[:k], *sizes[k + 1 :], rows, self.at.Hp)
        H = self.block.block.H
        h = self._rows(self.at.h[k], shape)[..., :H]
        if not self.block.block.memory[k]:
            return h, None
        return h, self._rows(self.at.m[k], shape)[..., :H]

    def gates(self, int k):
        """Gates of dimension `k` by letter, views [sizes, B, H]; {} without memory."""
        if not self.block.block.memory[k]:
            return {}
        sizes, rows, _ = self.shape
        values = self._rows(self.at.gates[k], (*sizes, rows, 4, self.at.Hp))
        H = self.block.block.H
        return {name: values[..., g, :H] for g, name in enumerate("ifgo")}

    def content(self):
        """What `restore_grid_cache` needs beside packed weights, as plain values."""
        return self.shape, self.lengths, self.threads, bytes(self.memory)

    def __reduce__(self):
        _refuse_copy(self)


cdef GridCache _new_grid_cache(_GridCall call, tuple shape, lengths, int threads):
    """A cache with memory for what a forward call keeps."""
    cdef GridCache cache = GridCache.__new__(GridCache)
    cache.at = call.block.kernels.cache_layout(&call.problem)
    cache.memory = _Memory(cache.at.bytes, False)
    cache.block, cache.shape, cache.threads = call.block, shape, threads
    cache.lengths = None if lengths is None else np.array(lengths)
    return cache


def restore_grid_cache(tuple packs, tuple content):
    """A GridCache from its `content` and the packed weights of an equal layer."""
    shape, lengths, threads, kept = content
    cdef _GridCall call = _GridCall(packs, shape, lengths, threads)
    cdef GridCache cache = _new_grid_cache(call, shape, lengths, threads)
    _fill(cache.memory, kept)
    return cache


def grid_forward(tuple packs, tuple shape, tuple borders, tuple ends, lengths,
                 int threads, bint keep):
    """Run a grid from its near borders to its far ones; a GridCache if `keep`."""
    cdef _GridCall call = _GridCall(packs, shape, lengths, threads)
    cdef GridCache cache = None
    call.take_borders(borders, ends)
    if keep:
        cache = _new_grid_cache(call, shape, lengths, threads)
        call.problem.cache = cache.memory.data
    call.take_scratch(False)
    with nogil:
        call.block.kernels.forward(&call.problem)
    _end_call(&call.stop)
    return cache


def grid_backward(tuple packs, GridCache cache, tuple dends, tuple dborders,
                  tuple dweights):
    """Gradients of the near borders; `dweights` (dw, db) by set, then dimension."""
    cdef _GridCall call = _GridCall(packs, cache.shape, cache.lengths, cache.threads)
    call.problem.cache = cache.memory.data
    call.take_gradients(dends, dborders, dweights)
    call.take_scratch(True)
    with nogil:
        call.block.kernels.backward(&call.problem)
    _end_call(&call.stop)


@cython.final
cdef class GridStepper:
    """One call over and over on the same arrays; nothing is allocated in between."""

    cdef _GridCall call

    def __cinit__(self, tuple packs, tuple shape, tuple borders, tuple ends):
        self.call = _GridCall(packs, shape, None, 1)
        self.call.take_borders(borders, ends)
        self.call.take_scratch(False)

    def run(self):
        """Read the borders, write the ends, which may be the same arrays.

        The ends are as before if the call raises.
        """
        cdef _GridCall call = self.call
        _begin_call(&call.stop)
        with nogil:
            call.block.kernels.forward(&call.problem)
        _end_call(&call.stop)

    def __reduce__(self):
        _refuse_copy(self)
