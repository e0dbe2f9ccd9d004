# What optimisers do to arrays, whole or not at all, and the floating-point environment
# for arithmetic in Python. Included by _core.pyx.

cdef enum xr_rule: XR_SCALE, XR_SGD, XR_ADAM, XR_RMSPROP

_RULES = {"scale": XR_SCALE, "sgd": XR_SGD, "adam": XR_ADAM, "rmsprop": XR_RMSPROP}


@cython.final
cdef class Ieee:
    """In a `with`: this thread rounds to nearest, keeps subnormals, takes no traps."""

    cdef uint64_t caller

    def __enter__(self):
        self.caller = xr_enter_ieee()

    def __exit__(self, *error):
        xr_leave_ieee(self.caller)


cdef class _Update:
    """One array to be updated, and the views that its pointers need alive."""

    cdef xr_update problem
    cdef const xr_updates *kernels
    cdef Py_ssize_t itemsize
    cdef tuple views

    def __cinit__(self, tuple arrays, tuple numbers, str isa):
        """`arrays` are 1-d, of one length and dtype: p, g, m, v, each but p or None."""
        cdef double beta1, beta2
        cdef xr_dtype dtype = XR_F32 if arrays[0].itemsize == 4 else XR_F64
        _engine_of(isa, dtype)
        self.kernels = xr_find_updates(isa.encode(), dtype)
        self.itemsize = _itemsize(dtype)
        p, g, m, v = arrays
        p, g = self.view(p, True), self.view(g, False)
        m, v = self.view(m, True), self.view(v, True)
        self.views = (p, g, m, v)
        self.problem.n = (<_View> p).buffer.shape[0]
        self.problem.p, self.problem.g = _data(p), _data(g)
        self.problem.m, self.problem.v = _data(m), _data(v)
        for view in self.views:
            if view and (<_View> view).buffer.shape[0] != self.problem.n:
                raise ValueError("arrays differ in length")
        self.problem.rate, (beta1, beta2), correction, eps, keep = numbers
        self.problem.beta[0], self.problem.beta[1] = beta1, beta2
        self.problem.rest[0], self.problem.rest[1] = 1 - beta1, 1 - beta2
        self.problem.correction, self.problem.eps = correction, eps
        self.problem.keep = keep

    cdef _View view(self, array, bint writable):
        return None if array is None else _View(array, self.itemsize, writable)

    cdef void run(self, xr_rule rule) noexcept:
        with nogil:
            if rule == XR_SCALE:
                self.kernels.scale(&self.problem)
            elif rule == XR_SGD:
                self.kernels.sgd(&self.problem)
            elif rule == XR_ADAM:
                self.kernels.adam(&self.problem)
            else:
                self.kernels.rmsprop(&self.problem)


def update(str rule, tuple arrays, tuple numbers, str isa, list holder=None,
           state=None):
    """Update arrays (p, g, m, v) by a rule, all of them, and put `state` in `holder`.

    `numbers` are rate, (beta1, beta2), correction, eps and keep, for each entry of
    `arrays`. All is made ready first, and from the first array written to the state put
    nothing can raise: no object is made and no signal looked at, so that a caller sees
    the whole update or none of it.
    """
    cdef xr_rule kind = _RULES[rule]
    if len(numbers) != len(arrays):
        raise ValueError("numbers: expected those of each entry of arrays")
    cdef list updates = [
        _Update(own, by, isa) for own, by in zip(arrays, numbers, strict=True)
    ]
    cdef _Update one
    if holder is not None and len(holder) != 1:
        raise ValueError("holder: expected a list of one")
    for one in updates:
        one.run(kind)
    if holder is not None:
        holder[0] = state
