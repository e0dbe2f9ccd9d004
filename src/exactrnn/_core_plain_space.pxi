# Whole calls of plain arguments, of grids of N dimensions. Included by _core.pyx.
#
# Arrays are contiguous here, as those of grids are (csrc/include/exactrnn/grid.h), and
# nobody has told sizes or lengths: the arrays say how large the grid is.

@cython.final
cdef class SpacePlan:
    """What the plain calls of a grid of N dimensions have in common.

    `packs`, `spec` and `gradients` are as AnyPlan's. `part` has the packed weights,
    which calls copy, `size` is -1 for a dimension of any size, `width` that of the
    input at each near side, 0 where none enters.
    """

    cdef readonly object packs
    cdef _GridCall part
    cdef object dtype
    cdef char kind
    cdef Py_ssize_t itemsize, N, H
    cdef ptrdiff_t size[XR_GRID_DIMS]
    cdef tuple sides, gradients, set_names, side_names, set_steps

    def __cinit__(self, packs, spec, dict gradients):
        self.packs, self.gradients = packs, tuple(gradients.items())
        self.dtype, self.itemsize = spec.dtype, spec.dtype.itemsize
        self.kind = b"f"[0] if self.itemsize == 4 else b"d"[0]
        self.N, self.H, self.sides = spec.dims, spec.hidden_size, spec.sides
        self.set_steps, self.set_names = spec.set_steps, tuple(spec.block_names(0))
        self.side_names = tuple(spec.side_names(0))
        for k in range(self.N):
            self.size[k] = -1 if spec.sizes[k] is None else spec.sizes[k]
        sweep = GridSweep((1,) * self.N, 1, self.set_steps, None, 1, False)
        self.part = _GridCall(packs.copies[:-1], packs.copies[-1], sweep)

    def run(self, x, borders, int threads):
        """The far borders; None if the call is not plain."""
        cdef xr_grid_problem problem
        cdef tuple ends = self._begin(&problem, x, borders, threads)
        if ends is not None:
            self._compute(&problem, False)
        return ends

    def keep(self, x, borders, int threads):
        """Those, own inputs, sizes, B and the cache; None if the call is not plain."""
        cdef xr_grid_problem problem
        cdef GridCache cache
        cdef tuple ends, inputs = self._inputs_of(x), sizes
        if inputs is None:
            return None
        inputs = tuple([_own(one) if type(one) is _ndarray else one for one in inputs])
        ends = self._begin(&problem, inputs, borders, threads)
        if ends is None:
            return None
        sizes = tuple([problem.size[k] for k in range(self.N)])
        sweep = GridSweep(sizes, problem.B, self.set_steps, None, threads, True)
        cache = _new_grid_cache(self.part.block, &problem, sweep)
        problem.cache = cache.memory.data
        self._compute(&problem, False)
        return ends, inputs, sizes, problem.B, cache

    def back(self, run, dends):
        """Gradients of inputs, borders and weights; None if the call is not plain.

        `run` (`_run.grid.GridRun`) is what has been kept, without lengths.
        """
        cdef xr_grid_problem problem = self.part.problem
        cdef GridCache cache = run.kept
        cdef GridSweep sweep = cache.sweep
        cdef Py_ssize_t k
        cdef list dinputs = []
        for k in range(self.N):
            problem.size[k] = sweep.sizes[k]
        problem.B, problem.threads = sweep.batch, sweep.threads
        try:
            if not self._take_borders(&problem, dends, problem.dh, problem.dm, False):
                return None
            dborders = self._new_borders(
                &problem, problem.dh_out, problem.dm_out, self.sides
            )
        except (ValueError, BufferError):
            return None
        for k, x in zip(self.sides, run.call.inputs):
            problem.side[k].x = _kept(x, self.kind, x.size)
            dx = _empty(x.shape, self.dtype)
            problem.side[k].dx = _address(dx)
            dinputs.append(dx)
        weights = {name: _zeros(shape, self.dtype) for name, shape in self.gradients}
        problem.cache = cache.memory.data
        table = self._find_gradients(&problem, weights)
        self._compute(&problem, True)
        return tuple(dinputs), dborders, weights

    cdef tuple _inputs_of(self, x):
        """The inputs by side, whatever they are; None if there are not as many."""
        cdef Py_ssize_t count = len(self.sides)
        if type(x) is tuple:
            return x if len(<tuple> x) == count else None
        if count == 0:
            return () if x is None else None
        return (x,) if count == 1 else None

    cdef tuple _begin(self, xr_grid_problem *problem, x, borders, int threads):
        """Put the arguments of a call into a problem; returns arrays for its results.

        None if something is not plain, or there is nothing to compute.
        """
        cdef Py_ssize_t k
        problem[0] = self.part.problem
        problem.B, problem.threads = -1, threads
        for k in range(self.N):
            problem.size[k] = self.size[k]
        try:
            if not self._take_inputs(problem, self._inputs_of(x)):
                return None
            if borders is not None and not self._take_borders(
                problem, borders, problem.h, problem.m, True
            ):
                return None
            if problem.B <= 0:
                return None
            for k in range(self.N):
                if problem.size[k] <= 0:
                    return None
            return self._new_borders(problem, problem.h_out, problem.m_out, ())
        except (ValueError, BufferError):
            return None

    cdef bint _take_inputs(self, xr_grid_problem *problem, tuple inputs) except -1:
        cdef Py_ssize_t index, k
        if inputs is None:
            return False
        for index in range(len(inputs)):
            k = self.sides[index]
            problem.side[k].x = self._border_at(
                problem, inputs[index], k, self.part.block.block.inputs[k]
            )
            if problem.side[k].x == NULL:
                return False
        return True

    cdef bint _take_borders(self, xr_grid_problem *problem, pairs, const void **h,
                            const void **m, bint near) except -1:
        """Note where (h, m) of each dimension lie; some, but at `near` sides none."""
        cdef Py_ssize_t k
        cdef bint some = near
        if type(pairs) not in (tuple, list) or len(pairs) != self.N:
            return False
        for k in range(self.N):
            pair = pairs[k]
            h[k] = m[k] = NULL
            if pair is None:
                continue
            if near and k in self.sides:
                return False
            if not self.part.block.block.memory[k]:
                pair = (pair, None)
            elif type(pair) is not tuple or len(<tuple> pair) != 2:
                return False
            for part, place in ((pair[0], 0), (pair[1], 1)):
                if part is None:
                    continue
                some = True
                (m if place else h)[k] = self._border_at(problem, part, k, self.H)
                if (m if place else h)[k] == NULL:
                    return False
        return some

    cdef char *_border_at(self, xr_grid_problem *problem, array, Py_ssize_t k,
                          Py_ssize_t width) except? NULL:
        """Where a plain array at a border of dimension k lies, else NULL.

        It has to be of the sizes in the problem, and tells those that are still -1.
        """
        cdef _Place place
        cdef Py_ssize_t j, axis = 0
        if not _find(array, self.kind, &place) or not _is_whole(&place):
            return NULL
        if place.ndim != self.N + 1 or place.shape[self.N] != width:
            return NULL
        for j in range(self.N):
            if j != k:
                if problem.size[j] < 0:
                    problem.size[j] = place.shape[axis]
                if problem.size[j] != place.shape[axis]:
                    return NULL
                axis += 1
        if problem.B < 0:
            problem.B = place.shape[axis]
        return place.data if problem.B == place.shape[axis] else NULL

    cdef tuple _new_borders(self, xr_grid_problem *problem, void **h, void **m,
                            tuple but):
        """Arrays for (h, m) of every dimension, as the caller has them.

        None stands for the dimensions in `but`.
        """
        cdef Py_ssize_t k, j
        cdef list borders = []
        for k in range(self.N):
            h[k] = m[k] = NULL
            if k in but:
                borders.append(None)
                continue
            shape = tuple([problem.size[j] for j in range(self.N) if j != k])
            border = _empty((*shape, problem.B, self.H), self.dtype)
            h[k] = _address(border)
            if self.part.block.block.memory[k]:
                border = border, _empty((*shape, problem.B, self.H), self.dtype)
                m[k] = _address((<tuple> border)[1])
            borders.append(border)
        return tuple(borders)

    cdef _Memory _find_gradients(self, xr_grid_problem *problem, dict weights):
        """Put the places of the weights' gradients into the problem."""
        cdef Py_ssize_t count = len(self.set_names) * self.N, index
        cdef _Memory table = _Memory(2 * count * sizeof(void *), True)
        cdef void **places = <void **> table.data
        for index in range(count):
            name, bias = self.set_names[index // self.N][index % self.N]
            places[index] = _address(weights[name])
            places[count + index] = _place_of(weights, bias)
        problem.dw, problem.db = places, places + count
        for k, (name, bias) in zip(self.sides, self.side_names):
            problem.side[k].dw = _address(weights[name])
            problem.side[k].db = _place_of(weights, bias)
        return table

    cdef int _compute(self, xr_grid_problem *problem, bint back) except -1:
        cdef const xr_grid *kernels = self.part.block.kernels
        cdef size_t needed = kernels.scratch_bytes(problem, back)
        cdef _Memory scratch = _Memory(needed, False, True)
        cdef xr_stop stop
        problem.scratch, problem.stop = scratch.data, _begin_call(&stop)
        with nogil:
            if back:
                kernels.backward(problem)
            else:
                kernels.forward(problem)
        return _end_call(&stop)

    def __reduce__(self):
        _refuse_copy(self)
