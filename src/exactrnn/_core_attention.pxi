# A layer that looks at a memory in each step. Included by _core.pyx.

_SCORES = {"additive": XR_ADDITIVE, "general": XR_GENERAL, "dot": XR_DOT}
_QUERIES = {"previous": XR_PREVIOUS, "new": XR_NEW}


@cython.final
cdef class PackedAttention:
    """Packed weights of an attention; immutable."""

    cdef xr_attention_form form
    cdef const xr_engine *engine
    cdef _Memory memory

    def equals(self, PackedAttention other not None):
        """Whether both were packed from weights of the same bytes, in the same way."""
        return (
            self.engine == other.engine
            and self.memory.size == other.memory.size
            and memcmp(self.memory.data, other.memory.data, self.memory.size) == 0
        )

    def __reduce__(self):
        _refuse_copy(self)


def pack_attention(str isa, str dtype, dict form, tuple weights):
    """Pack weights (query, query_bias, memory, memory_bias, score) or None.

    `form` has score, query, selector and the sizes H, M, K, Q.
    """
    cdef PackedAttention packed = PackedAttention.__new__(PackedAttention)
    cdef xr_dtype kind = _dtype_of(dtype)
    packed.engine = _engine_of(isa, kind)
    packed.form.score = _SCORES[form["score"]]
    packed.form.query = _QUERIES[form["query"]]
    packed.form.selector = form["selector"]
    packed.form.H, packed.form.M = form["H"], form["M"]
    packed.form.K, packed.form.Q = form["K"], form["Q"]
    views = [None if a is None else _View(a, _itemsize(kind), False) for a in weights]
    cdef xr_attention_weights from_ = xr_attention_weights(
        _data(views[0]), _data(views[1]), _data(views[2]), _data(views[3]),
        _data(views[4]),
    )
    packed.memory = _Memory(
        xr_attention_packed_bytes(packed.engine, &packed.form), False
    )
    cdef xr_stop stop
    _begin_call(&stop)
    with nogil:
        xr_pack_attention(packed.engine, &packed.form, &from_, packed.memory.data,
                          &stop)
    _end_call(&stop)
    return packed


@cython.final
cdef class Looks:
    """The memory of a call, and what its looks leave.

    `memory` [S, B, M], `memory_lengths` int64 [B] or None, `keys` [B, K, Sp] and
    whether they are made, as for backward they are; `context` [T, B, M], `alpha`
    [T, B, S], and where backward follows `queries` [T, B, Qp] and `sums` [T, B, M],
    else None.
    """

    cdef readonly object memory, memory_lengths, keys, context, alpha, queries, sums
    cdef readonly bint has_keys

    def __init__(self, memory, memory_lengths, keys, bint has_keys, tuple found):
        self.memory, self.memory_lengths = memory, memory_lengths
        self.keys, self.has_keys = keys, has_keys
        self.context, self.alpha, self.queries, self.sums = found

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class LookGradients:
    """What backward of looks starts from, each None for zeros, and its results.

    `dalpha` [T, B, S] and `dcontext` [T, B, M]; `dmemory` [S, B, M], zeros, is written,
    `dweights`, in the order of `pack_attention`, are added to.
    """

    cdef readonly object dalpha, dcontext, dmemory
    cdef readonly tuple dweights

    def __init__(self, dalpha, dcontext, dmemory, tuple dweights):
        self.dalpha, self.dcontext = dalpha, dcontext
        self.dmemory, self.dweights = dmemory, dweights

    def __reduce__(self):
        _refuse_copy(self)


cdef int _take_looks(_Call call, xr_attention *attention, PackedAttention packed,
                     Looks looks) except -1:
    """Fill in what both passes read."""
    memset(attention, 0, sizeof(attention[0]))
    attention.form = packed.form
    attention.packed = packed.memory.data
    attention.S = looks.memory.shape[0]
    attention.memory = _sequence(call.hold(looks.memory, False))
    attention.memory_lengths = call.counts(looks.memory_lengths)
    attention.context = _sequence(call.hold(looks.context, True))
    attention.alpha = call.data(looks.alpha, True)
    attention.queries = call.data(looks.queries, True)
    attention.sums = call.data(looks.sums, True)
    attention.keys = call.data(looks.keys, True)
    attention.has_keys = looks.has_keys
    call.problem.attention = attention
    return 0


def look_forward(tuple packs, PackedAttention packed not None, Sweep sweep not None,
                 Looks looks not None, x, y, tuple states):
    """What `forward` does, for a layer that looks at a memory in each step.

    `states` are the states before, None for zeros, and those after.
    """
    cdef _Call call = _Call(packs, x.shape[0], x.shape[1], sweep)
    cdef xr_problem *problem = &call.problem
    cdef xr_attention attention
    _take_looks(call, &attention, packed, looks)
    problem.x = _sequence(call.hold(x, False))
    problem.y = _sequence(call.hold(y, True))
    before, after = states
    for k in range(len(after)):
        problem.state[k] = call.data(None if before is None else before[k], False)
        problem.state_out[k] = call.data(after[k], True)
    cdef LayerCache cache = None
    if sweep.keep:
        cache = _new_cache(problem, packs[0], _own_sweep(sweep))
        problem.cache = cache.memory.data
    call.take_scratch(False)
    with nogil:
        xr_forward(problem)
    _end_call(&call.stop)
    return cache


def look_backward(tuple packs, tuple kept, x, Looks looks not None,
                  GradientsIn given not None, GradientsOut wanted not None,
                  LookGradients more not None):
    """What `backward` does for it; `kept` are its cache and its PackedAttention."""
    cdef LayerCache cache = kept[0]
    cdef _Call call = _Call(packs, cache.T, cache.B, cache.sweep)
    cdef xr_problem *problem = &call.problem
    cdef xr_attention attention
    _take_looks(call, &attention, kept[1], looks)
    attention.dalpha = call.data(more.dalpha, False)
    if more.dcontext is not None:
        attention.dcontext = _sequence(call.hold(more.dcontext, False))
    attention.dmemory = _sequence(call.hold(more.dmemory, True))
    dw = more.dweights
    attention.dw = xr_attention_gradients(
        call.data(dw[0], True), call.data(dw[1], True), call.data(dw[2], True),
        call.data(dw[3], True), call.data(dw[4], True),
    )
    problem.cache = cache.memory.data
    problem.x = _sequence(call.hold(x, False))
    problem.dx = _sequence(call.hold(wanted.dx, True))
    if given.dy is not None:
        problem.dy = _sequence(call.hold(given.dy, False))
    for k, part in enumerate(wanted.dstate):
        dstate = None if given.dstate is None else given.dstate[k]
        problem.dstate[k] = call.data(dstate, False)
        problem.dstate_out[k] = call.data(part, True)
    dw = wanted.dweights[0]
    problem.dw[0] = xr_gradients(
        call.data(dw[0], True), call.data(dw[1], True), call.data(dw[2], True),
        call.data(dw[3], True), call.data(dw[4], True), call.data(dw[5], True),
        call.data(dw[6], True), call.data(dw[7], True),
    )
    call.take_scratch(True)
    with nogil:
        xr_backward(problem)
    _end_call(&call.stop)
