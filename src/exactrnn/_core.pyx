# cython: language_level=3
"""Arrays to C problem structs: no arithmetic here, and no checks of shapes.

Callers have validated every argument (`_checks.py`); what is verified again here is
what would crash otherwise: item sizes and contiguity, by the buffer protocol itself.
Each call brings its own memory, so any number of threads may be inside at once; the GIL
is released around every kernel that is worth it.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE,
    PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memset

import numpy as np

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

# Below this many multiplications a step keeps the GIL: giving it up costs more.
cdef enum: KEEP_GIL_WORK = 300000


cdef class _Memory:
    """Aligned memory that can be viewed by NumPy."""

    cdef void *data
    cdef Py_ssize_t size

    def __cinit__(self, size_t size, bint zeroed):
        cdef size_t rounded = (size + XR_ALIGNMENT - 1) // XR_ALIGNMENT * XR_ALIGNMENT
        if rounded < size:
            raise MemoryError
        self.data = aligned_alloc(XR_ALIGNMENT, rounded if rounded else XR_ALIGNMENT)
        if self.data == NULL:
            raise MemoryError(f"could not allocate {size} bytes")
        self.size = <Py_ssize_t> rounded
        if zeroed:
            memset(self.data, 0, rounded)

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 0, flags)


cdef class _View:
    """A held buffer of an array: any strides, but the last axis contiguous."""

    cdef Py_buffer buffer
    cdef bint held

    def __cinit__(self, array, Py_ssize_t itemsize, bint writable):
        PyObject_GetBuffer(
            array, &self.buffer, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0)
        )
        self.held = True
        cdef int last = self.buffer.ndim - 1
        if self.buffer.itemsize != itemsize or (
            last >= 0
            and self.buffer.shape[last] > 1
            and self.buffer.strides[last] != itemsize
        ):
            raise ValueError("array has another element type, or gaps in its last axis")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)

    cdef Py_ssize_t stride(self, int axis):
        return self.buffer.strides[axis] // self.buffer.itemsize


cdef void *_data(_View view) noexcept:
    """The memory of a view, NULL for None."""
    if view is None:
        return NULL
    return view.buffer.buf


cdef xr_sequence _sequence(_View view):
    return xr_sequence(view.buffer.buf, view.stride(0), view.stride(1))


cdef Py_ssize_t _itemsize(xr_dtype dtype):
    return 4 if dtype == XR_F32 else 8


cdef xr_dtype _dtype_of(str name) except *:
    if name == "float32":
        return XR_F32
    if name == "float64":
        return XR_F64
    raise TypeError(f"dtype: expected float32 or float64, got {name}")


cdef const xr_engine *_engine_of(str isa, xr_dtype dtype) except NULL:
    cdef const xr_engine *engine = xr_find_engine(isa.encode(), dtype)
    if engine == NULL:
        raise ValueError(f"isa: expected one of {isas()}, got {isa!r}")
    return engine


cdef int _cell_index(str name) except -1:
    if name not in cells():
        raise ValueError(f"cell: expected one of {cells()}, got {name!r}")
    return cells().index(name)


_ACTIVATIONS = {"tanh": XR_TANH, "relu": XR_RELU, "sigmoid": XR_SIGMOID}
_FUNCTIONS = {
    "exp": XR_EXP, "log": XR_LOG, "tanh": XR_TANH_OF, "sigmoid": XR_SIGMOID_OF,
    "flush": XR_FLUSH,
}


def numerics_version():
    return XR_NUMERICS_VERSION


def isas():
    """Instruction sets that this machine runs, best first."""
    names = []
    while xr_isa_at(len(names)) != NULL:
        names.append(xr_isa_at(len(names)).decode())
    return tuple(names)


def cells():
    """Names of the cells, in the order of cells.def."""
    names = []
    while xr_cell_at(len(names)) != NULL:
        names.append(xr_cell_at(len(names)).name.decode())
    return tuple(names)


def cell_info(str cell):
    """What a cell is: gates, states, stages, and its sums as (name, w, r, stage)."""
    cdef const xr_cell_info *info = xr_cell_at(_cell_index(cell))
    sums = []
    for s in range(info.sums):
        w, r = (None if k < 0 else k for k in (info.sum[s].w, info.sum[s].r))
        sums.append((info.sum[s].name.decode(), w, r, info.sum[s].stage))
    return {
        "gates": info.gates, "states": info.states, "stages": info.stages,
        "sums": tuple(sums), "keeps_sums": bool(info.keeps_sums),
    }


def max_threads():
    """Threads that OpenMP would give a region of the calling thread."""
    return xr_max_threads()


def set_threads(int threads):
    """Wish for that many in regions of the calling thread."""
    xr_set_threads(threads)


def thread_work(limits=None):
    """Multiplications (of a call, of a step) worth another thread; sets `limits`."""
    before = (xr_thread_work.call, xr_thread_work.step)
    if limits is not None:
        xr_thread_work.call, xr_thread_work.step = limits
    return before


@cython.final
cdef class Packed:
    """Packed weights of one layer in one direction; immutable."""

    cdef xr_layer layer
    cdef xr_dtype kind
    cdef _Memory forward, backward
    cdef readonly str isa, dtype, cell

    @property
    def input_size(self):
        return self.layer.I

    @property
    def hidden_size(self):
        return self.layer.H

    @property
    def has_backward(self):
        return self.backward is not None

    def equals(self, Packed other not None):
        """Whether both were packed from weights of the same bytes, in the same way."""
        return (
            self.layer.engine == other.layer.engine
            and self.layer.cell == other.layer.cell
            and self.forward.size == other.forward.size
            and memcmp(self.forward.data, other.forward.data, self.forward.size) == 0
        )


def pack(str isa, str dtype, str cell, tuple weights, tuple activations, clip,
         bint backward):
    """Pack `weights`, (w_ih, w_hh, b_ih, b_hh), the biases or None."""
    cdef Packed packed = Packed.__new__(Packed)
    packed.isa, packed.dtype, packed.cell = isa, dtype, cell
    packed.kind = _dtype_of(dtype)
    packed.layer.engine = _engine_of(isa, packed.kind)
    packed.layer.cell = _cell_index(cell)
    if clip is not None:
        raise ValueError(f"clip: expected None, got {clip!r}")
    for index, name in enumerate(activations):
        packed.layer.activation[index] = _ACTIVATIONS[name]
    cdef Py_ssize_t itemsize = _itemsize(packed.kind)
    views = [None if a is None else _View(a, itemsize, False) for a in weights]
    cdef _View w_ih = views[0], w_hh = views[1], b_ih = views[2], b_hh = views[3]
    cdef xr_weights from_ = xr_weights(
        _data(w_ih), _data(w_hh), _data(b_ih), _data(b_hh)
    )
    packed.layer.I = w_ih.buffer.shape[1]
    packed.layer.H = w_hh.buffer.shape[1]
    packed.forward = _Memory(xr_packed_bytes(&packed.layer), True)
    if backward:
        packed.backward = _Memory(xr_packed_backward_bytes(&packed.layer), True)
    with nogil:
        xr_pack(&packed.layer, &from_, packed.forward.data)
        if backward:
            xr_pack_backward(&packed.layer, &from_, packed.backward.data)
    return packed


cdef class _Call:
    """A problem struct and everything that its pointers need alive."""

    cdef xr_problem problem
    cdef Py_ssize_t itemsize
    cdef list alive

    def __cinit__(self, tuple packs, Py_ssize_t T, Py_ssize_t B, lengths, int threads):
        cdef Packed packed = packs[0]
        self.alive = [packs]
        self.itemsize = _itemsize(packed.kind)
        self.problem.layer = &packed.layer
        self.problem.directions = len(packs)
        self.problem.threads = threads
        self.problem.T, self.problem.B = T, B
        for d in range(len(packs)):
            packed = packs[d]
            self.problem.packed[d] = packed.forward.data
            if packed.backward is not None:
                self.problem.packed_backward[d] = packed.backward.data
        if lengths is not None:
            view = _View(lengths, sizeof(int64_t), False)
            self.alive.append(view)
            self.problem.lengths = <const int64_t *> (<_View> view).buffer.buf

    cdef _View hold(self, array, bint writable):
        cdef _View view = _View(array, self.itemsize, writable)
        self.alive.append(view)
        return view

    cdef void *data(self, array, bint writable) except? NULL:
        return _data(None if array is None else self.hold(array, writable))

    cdef take_scratch(self, bint backward):
        memory = _Memory(xr_scratch_bytes(&self.problem, backward), False)
        self.alive.append(memory)
        self.problem.scratch = (<_Memory> memory).data


@cython.final
cdef class LayerCache:
    """What forward kept of one layer for backward, all directions."""

    cdef _Memory memory
    cdef xr_cache_layout_of at
    cdef Py_ssize_t T, B, H
    cdef int directions, cell
    cdef object lengths
    cdef str dtype
    cdef public int threads

    def gates(self, int direction):
        """Values kept in the places of the sums, by name: views [T, B, H]."""
        cdef const xr_cell_info *info = xr_cell_at(self.cell)
        if not info.keeps_sums:
            return {}
        shape = (self.T, self.B, info.sums, self.at.Hp)
        first = direction * self.at.direction + self.at.sums
        flat = np.frombuffer(self.memory, dtype=self.dtype)[first:]
        rows = flat[: self.T * self.B * info.sums * self.at.Hp].reshape(shape)
        return {
            info.sum[s].name.decode(): rows[:, :, s, : self.H] for s in range(info.sums)
        }


def forward(tuple packs, x, y, state, tuple state_out, lengths, int threads, bint keep):
    """One layer over a whole sequence; returns a LayerCache if `keep`, else None."""
    cdef _View xs = _View(x, _itemsize((<Packed> packs[0]).kind), False)
    cdef Py_ssize_t T = xs.buffer.shape[0], B = xs.buffer.shape[1]
    cdef _Call call = _Call(packs, T, B, lengths, threads)
    cdef xr_problem *problem = &call.problem
    problem.x = _sequence(xs)
    problem.y = _sequence(call.hold(y, True))
    for k in range(len(state_out)):
        problem.state[k] = call.data(None if state is None else state[k], False)
        problem.state_out[k] = call.data(state_out[k], True)
    cdef LayerCache cache = None
    if keep:
        cache = LayerCache.__new__(LayerCache)
        cache.at = xr_cache_layout(problem)
        cache.memory = _Memory(cache.at.bytes, False)
        cache.T, cache.B, cache.H = T, B, problem.layer.H
        cache.directions, cache.cell = problem.directions, problem.layer.cell
        cache.lengths = None if lengths is None else np.array(lengths)
        cache.dtype = (<Packed> packs[0]).dtype
        cache.threads = threads
        problem.cache = cache.memory.data
    call.take_scratch(False)
    with nogil:
        xr_forward(problem)
    return cache


def backward(tuple packs, LayerCache cache, x, dy, dstate, dx, tuple dstate_out,
             tuple dweights):
    """Gradients of one layer; `dweights` per direction (w_ih, w_hh, b_ih, b_hh)."""
    cdef _Call call = _Call(packs, cache.T, cache.B, cache.lengths, cache.threads)
    cdef xr_problem *problem = &call.problem
    problem.cache = cache.memory.data
    problem.x = _sequence(call.hold(x, False))
    problem.dx = _sequence(call.hold(dx, True))
    if dy is not None:
        problem.dy = _sequence(call.hold(dy, False))
    for k in range(len(dstate_out)):
        problem.dstate[k] = call.data(None if dstate is None else dstate[k], False)
        problem.dstate_out[k] = call.data(dstate_out[k], True)
    for d, (w_ih, w_hh, b_ih, b_hh) in enumerate(dweights):
        problem.dw[d] = xr_gradients(
            call.data(w_ih, True), call.data(w_hh, True),
            call.data(b_ih, True), call.data(b_hh, True),
        )
    call.take_scratch(True)
    with nogil:
        xr_backward(problem)


@cython.final
cdef class Stepper:
    """Stacked layers one step at a time; state and memory are kept between steps."""

    cdef list calls
    cdef readonly tuple state
    cdef _Memory between
    cdef Py_ssize_t in_bytes, out_bytes, itemsize
    cdef bint release_gil
    cdef const char *format

    def __cinit__(self, tuple packs_per_layer, Py_ssize_t batch_size):
        cdef Packed first = packs_per_layer[0][0]
        cdef Py_ssize_t L = len(packs_per_layer), B = batch_size, H = first.layer.H
        cdef const xr_cell_info *info = xr_cell_at(first.layer.cell)
        cdef _Call call
        cdef char *even
        cdef char *odd
        cdef Py_ssize_t work = 0
        self.itemsize = _itemsize(first.kind)
        self.format = "f" if first.kind == XR_F32 else "d"
        self.in_bytes = B * first.layer.I * self.itemsize
        self.out_bytes = B * H * self.itemsize
        self.state = tuple(
            np.zeros((L, B, H), dtype=first.dtype) for _ in range(info.states)
        )
        self.between = _Memory(2 * self.out_bytes, False)
        even = <char *> self.between.data
        odd = even + self.out_bytes
        self.calls = []
        for layer, packs in enumerate(packs_per_layer):
            call = _Call(packs, 1, B, None, 1)
            call.problem.x.row = call.problem.layer.I
            call.problem.x.data = odd if layer % 2 == 0 else even
            call.problem.y.row = H
            call.problem.y.data = even if layer % 2 == 0 else odd
            for k in range(info.states):
                call.problem.state_out[k] = call.data(self.state[k][layer], True)
                call.problem.state[k] = call.problem.state_out[k]
            call.take_scratch(False)
            self.calls.append(call)
            work += B * info.gates * H * (H + call.problem.layer.I)
        self.release_gil = work > KEEP_GIL_WORK

    cdef _run(self, void *x, void *y):
        cdef _Call call = self.calls[0]
        call.problem.x.data = x
        call = self.calls[-1]
        call.problem.y.data = y
        for call in self.calls:
            if self.release_gil:
                with nogil:
                    xr_forward(&call.problem)
            else:
                xr_forward(&call.problem)

    def step(self, x, out):
        """Read `x` [B, I], write `out` [B, H], both contiguous; returns `out`."""
        cdef Py_buffer source, target
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
                self._run(source.buf, target.buf)
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


def elementary(str name, x, out, str isa):
    """`name` of each element of `x` into `out`, both 1-d."""
    _apply(_FUNCTIONS[name], (x,), out, isa)


def fma(a, b, c, out, str isa):
    """a*b + c with one rounding, element by element, 1-d."""
    _apply(XR_FMA, (a, b, c), out, isa)


cdef _apply(xr_function function, tuple arrays, out, str isa):
    dtype = _dtype_of(out.dtype.name)
    cdef const xr_engine *engine = _engine_of(isa, dtype)
    cdef const void *pointers[3]
    cdef _View target = _View(out, _itemsize(dtype), True)
    views = [_View(a, _itemsize(dtype), False) for a in arrays]
    for i in range(3):
        pointers[i] = _data(views[i] if i < len(views) else None)
    with nogil:
        xr_elementary(engine, function, pointers, target.buffer.buf,
                      target.buffer.shape[0])


cdef class _Dense:
    """Kernels around the cells for one call, and what its pointers need alive."""

    cdef const xr_dense *kernels
    cdef const xr_machine *machine
    cdef Py_ssize_t itemsize
    cdef list alive

    def __cinit__(self, array, str isa):
        dtype = _dtype_of(array.dtype.name)
        _engine_of(isa, dtype)
        self.kernels = xr_find_dense(isa.encode(), dtype)
        self.machine = xr_find_machine(isa.encode(), dtype)
        self.itemsize = _itemsize(dtype)
        self.alive = []

    cdef void *data(self, array, bint writable) except? NULL:
        if array is None:
            return NULL
        view = _View(array, self.itemsize, writable)
        self.alive.append(view)
        return (<_View> view).buffer.buf

    cdef const int64_t *indices(self, array) except? NULL:
        view = _View(array, sizeof(int64_t), False)
        self.alive.append(view)
        return <const int64_t *> (<_View> view).buffer.buf

    cdef void *scratch(self, size_t size) except NULL:
        memory = _Memory(size, False)
        self.alive.append(memory)
        return (<_Memory> memory).data


cdef _Dense _linear(xr_linear *problem, x, w, str isa, int threads):
    """What both directions of a linear layer read: x [N, K] and w [O, K]."""
    cdef _Dense dense = _Dense(x, isa)
    memset(problem, 0, sizeof(xr_linear))
    problem.N, problem.K = x.shape
    problem.O = w.shape[0]
    problem.x = dense.data(x, False)
    problem.w = dense.data(w, False)
    problem.threads = threads
    problem.scratch = dense.scratch(dense.kernels.linear_scratch(problem))
    return dense


def linear_forward(x, w, b, y, str isa, int threads):
    """y [N, O] = x [N, K] w [O, K]^T + b [O]."""
    cdef xr_linear problem
    cdef _Dense dense = _linear(&problem, x, w, isa, threads)
    problem.b = dense.data(b, False)
    problem.y = dense.data(y, True)
    with nogil:
        dense.kernels.linear_forward(&problem)


def linear_backward(x, w, dy, dx, dw, db, str isa, int threads):
    """dx [N, K] written, dw [O, K] and db [O] added to; dx and db may be None."""
    cdef xr_linear problem
    cdef _Dense dense = _linear(&problem, x, w, isa, threads)
    problem.dy = dense.data(dy, False)
    problem.dx = dense.data(dx, True)
    problem.dw = dense.data(dw, True)
    problem.db = dense.data(db, True)
    with nogil:
        dense.kernels.linear_backward(&problem)


def softmax_xent(logits, target, loss, dlogits, double scale, str isa, int threads):
    """Loss [N] of logits [N, V] and targets [N], and the gradient times `scale`."""
    cdef _Dense dense = _Dense(logits, isa)
    cdef xr_softmax problem
    memset(&problem, 0, sizeof(problem))
    problem.N, problem.V = logits.shape
    problem.logits = dense.data(logits, False)
    problem.target = dense.indices(target)
    problem.loss = dense.data(loss, True)
    problem.dlogits = dense.data(dlogits, True)
    problem.scale, problem.threads = scale, threads
    problem.scratch = dense.scratch(dense.kernels.softmax_scratch(&problem))
    with nogil:
        dense.kernels.softmax(&problem)


def embedding_backward(index, dy, dw, str isa, int threads):
    """Adds to row v of dw [V, E] the long sum of the rows of dy [N, E] with index v."""
    cdef _Dense dense = _Dense(dy, isa)
    cdef xr_embedding problem
    memset(&problem, 0, sizeof(problem))
    problem.N, problem.E = dy.shape
    problem.V = dw.shape[0]
    problem.index = dense.indices(index)
    problem.dy = dense.data(dy, False)
    problem.dw = dense.data(dw, True)
    problem.threads = threads
    problem.scratch = dense.scratch(dense.kernels.embedding_scratch(&problem))
    with nogil:
        dense.kernels.embedding_backward(&problem)


def long_sum(x, str isa):
    """The long sum of a 1-d array, from +0.0."""
    return _long_sum(_Dense(x, isa), x, 0.0, False)


def long_sum_squares(x, init, str isa):
    """The long sum of the squares of a 1-d array, from `init`."""
    return _long_sum(_Dense(x, isa), x, init, True)


cdef _long_sum(_Dense dense, x, init, bint squares):
    total = np.array([init], dtype=x.dtype)
    cdef void *out = dense.data(total, True)
    dense.kernels.long_sum(dense.data(x, False), x.shape[0], squares, out)
    return total[0]


def fma_loop(str isa, str dtype, Py_ssize_t rounds, int threads):
    """Multiply and add in registers; returns the operations done."""
    cdef _Dense dense = _Dense(np.empty(0, dtype), isa)
    return dense.machine.fma_loop(rounds, threads)


def read_loop(x, str isa, Py_ssize_t rounds, int threads):
    """Read a 1-d array over and over; returns the bytes read."""
    cdef _Dense dense = _Dense(x, isa)
    return dense.machine.read_loop(dense.data(x, False), x.nbytes, rounds, threads)
