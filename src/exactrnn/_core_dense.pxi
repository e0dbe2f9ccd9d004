# Kernels around the cells: linear layers, losses, embeddings, long sums; loops that
# measure the machine. Included by _core.pyx.


cdef class _Dense:
    """Kernels around the cells for one call, and what its pointers need alive."""

    cdef const xr_dense *kernels
    cdef const xr_machine *machine
    cdef Py_ssize_t itemsize
    cdef list alive
    cdef xr_stop stop

    def __cinit__(self, array, str isa):
        dtype = _dtype_of(array.dtype.name)
        _engine_of(isa, dtype)
        self.kernels = xr_find_dense(isa.encode(), dtype)
        self.machine = xr_find_machine(isa.encode(), dtype)
        self.itemsize = _itemsize(dtype)
        self.alive = []
        _begin_call(&self.stop)

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

    def __reduce__(self):
        _refuse_copy(self)


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
    problem.stop = &dense.stop
    return dense


def linear_forward(x, w, b, y, str isa, int threads):
    """y [N, O] = x [N, K] w [O, K]^T + b [O]."""
    cdef xr_linear problem
    cdef _Dense dense = _linear(&problem, x, w, isa, threads)
    problem.b = dense.data(b, False)
    problem.y = dense.data(y, True)
    with nogil:
        dense.kernels.linear_forward(&problem)
    _end_call(&dense.stop)


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
    _end_call(&dense.stop)


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
    problem.stop = &dense.stop
    with nogil:
        dense.kernels.softmax(&problem)
    _end_call(&dense.stop)


def ctc_loss(logits, tuple labels, loss, dlogits, Py_ssize_t blank, str isa,
             int threads):
    """Loss [B] of logits [T, B, K]; `dlogits` [T, B, K] may be None.

    `labels` is (labels [B, L], lengths [B], label_lengths [B]), judged before.
    """
    cdef _Dense dense = _Dense(logits, isa)
    cdef xr_ctc problem
    cdef const xr_ctc_kernels *kernels = xr_find_ctc(
        isa.encode(), _dtype_of(logits.dtype.name)
    )
    memset(&problem, 0, sizeof(problem))
    problem.T, problem.B, problem.K = logits.shape
    problem.L = labels[0].shape[1]
    problem.blank, problem.threads = blank, threads
    problem.logits = dense.data(logits, False)
    problem.labels = dense.indices(labels[0])
    problem.lengths = dense.indices(labels[1])
    problem.label_lengths = dense.indices(labels[2])
    problem.loss = dense.data(loss, True)
    problem.dlogits = dense.data(dlogits, True)
    problem.scratch = dense.scratch(kernels.scratch(&problem))
    problem.stop = &dense.stop
    with nogil:
        kernels.loss(&problem)
    _end_call(&dense.stop)


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
    problem.stop = &dense.stop
    with nogil:
        dense.kernels.embedding_backward(&problem)
    _end_call(&dense.stop)


def long_sum(x, str isa):
    """The long sum of a 1-d array, from +0.0."""
    return _long_sum(_Dense(x, isa), x, 0.0, False)


def long_sum_squares(x, init, str isa):
    """The long sum of the squares of a 1-d array, from `init`."""
    return _long_sum(_Dense(x, isa), x, init, True)


cdef _long_sum(_Dense dense, x, init, bint squares):
    total = np.array([init], dtype=x.dtype)
    cdef void *out = dense.data(total, True)
    dense.kernels.long_sum(dense.data(x, False), x.shape[0], squares, out, &dense.stop)
    _end_call(&dense.stop)
    return total[0]


def leak_gradient(logit, dalpha, str isa):
    """The gradient of the logit of a learned leak α = σ(logit), from that of α [1, H].

    It is d * (α * (1 - α)), where d is `dalpha` or, for one leak of all units, its
    long sum.
    """
    cdef _Dense dense = _Dense(logit, isa)
    cdef const xr_engine *engine = _engine_of(isa, _dtype_of(logit.dtype.name))
    cdef Py_ssize_t n = logit.shape[0], step = n * dense.itemsize
    gradient = np.empty_like(logit)
    cdef char *out = <char *> dense.data(gradient, True)
    cdef char *alpha = <char *> dense.scratch(5 * step)
    cdef char *one = alpha + step
    cdef char *minus_one = one + step
    cdef char *minus_zero = minus_one + step
    cdef char *d = minus_zero + step
    _set_all(one, n, dense.itemsize, 1.0)
    _set_all(minus_one, n, dense.itemsize, -1.0)
    # As c of a*b + c it leaves a product as it is, the sign of a zero included.
    _set_all(minus_zero, n, dense.itemsize, -0.0)
    if n == 1:
        _set_all(d, n, dense.itemsize, 0.0)
        dense.kernels.long_sum(
            dense.data(dalpha, False), dalpha.shape[1], False, d, &dense.stop
        )
    else:
        d = <char *> dense.data(dalpha, False)
    _elements(engine, XR_SIGMOID_OF, dense.data(logit, False), NULL, NULL, alpha, n)
    _elements(engine, XR_FMA, alpha, minus_one, one, out, n)
    _elements(engine, XR_FMA, alpha, out, minus_zero, out, n)
    _elements(engine, XR_FMA, d, out, minus_zero, out, n)
    _end_call(&dense.stop)
    return gradient


cdef void _set_all(void *to, Py_ssize_t n, Py_ssize_t itemsize, double value) noexcept:
    cdef Py_ssize_t i
    for i in range(n):
        if itemsize == sizeof(float):
            (<float *> to)[i] = <float> value
        else:
            (<double *> to)[i] = value


cdef void _elements(const xr_engine *engine, xr_function function, const void *a,
                    const void *b, const void *c, void *out, Py_ssize_t n) noexcept:
    """A function of few elements, too few to be ended early."""
    cdef const void *read[3]
    read[0], read[1], read[2] = a, b, c
    xr_elementary(engine, function, read, out, n, NULL)


def fma_loop(str isa, str dtype, Py_ssize_t rounds, int threads):
    """Multiply and add in registers; returns the operations done."""
    cdef _Dense dense = _Dense(np.empty(0, dtype), isa)
    return dense.machine.fma_loop(rounds, threads)


def read_loop(x, str isa, Py_ssize_t rounds, int threads):
    """Read a 1-d array over and over; returns the bytes read."""
    cdef _Dense dense = _Dense(x, isa)
    return dense.machine.read_loop(dense.data(x, False), x.nbytes, rounds, threads)
