# Programs: what a cell from its equations runs. Included by _core.pyx.

_CODES = {
    name: code
    for code, name in enumerate((
        "copy", "add", "sub", "mul", "div", "fma", "mix", "neg", "abs", "sqrt", "min",
        "max", "lt", "le", "eq", "where", "exp", "expm1", "log", "softplus", "tanh",
        "sigmoid", "relu", "tanh_slope", "sigmoid_slope", "norm", "norm_slope",
    ))
}
_SPACES = {
    name: space
    for space, name in enumerate((
        "register", "sum", "prev", "next", "operand", "vector", "da", "dstate",
        "doperand", "row",
    ))
}
_BIASES = {"none": XR_NO_BIAS, "ih": XR_BIAS_IH, "hh": XR_BIAS_HH}


def program_limits():
    """The most that a program may have of each."""
    return {
        "sums": XR_MAX_SUMS, "stages": XR_MAX_STAGES, "operands": XR_MAX_OPERANDS,
        "vectors": XR_MAX_VECTORS, "states": XR_MAX_STATES,
        "registers": XR_MAX_REGISTERS, "products": XR_MAX_PRODUCTS,
        "group": XR_MAX_GROUP, "moments": XR_MAX_MOMENTS,
    }


NORM_EPS = XR_NORM_EPS


@cython.final
cdef class Program:
    """The operations of a cell, immutable.

    `sums` are (name, w, r, stage, operand, bias), w and r None for none, bias a kind
    and a block; `vectors` are the sums whose da are their gradients. `forward` and
    `backward` hold by stage what it needs of rows, (of, group, x, gain, g) each, and
    operations (code, flush, out, inputs), places being (space, index).
    """

    cdef xr_program_of program
    cdef list alive

    def __cinit__(self, dict counts, tuple sums, tuple vectors, tuple constants,
                  tuple forward, tuple backward):
        cdef xr_cell_info *info = &self.program.info
        self.alive = []
        info.name = self._text("program")
        info.states, info.stages = counts["states"], len(forward)
        info.cells, info.sums, info.vectors = 1, len(sums), len(vectors)
        info.w_blocks, info.r_blocks = counts["w_blocks"], counts["r_blocks"]
        info.operands, info.keeps_sums = counts["operands"], counts["keeps_sums"]
        limits = (
            (len(sums), XR_MAX_SUMS), (len(forward), XR_MAX_STAGES),
            (info.operands, XR_MAX_OPERANDS), (len(vectors), XR_MAX_VECTORS),
            (info.states, XR_MAX_STATES), (counts["registers"], XR_MAX_REGISTERS),
        )
        if any(count > most for count, most in limits):
            raise ValueError(f"program: too large, {limits}")
        for s, (name, w, r, stage, operand, bias) in enumerate(sums):
            info.sum[s].name = self._text(name)
            info.sum[s].w = -1 if w is None else w
            info.sum[s].r = -1 if r is None else r
            info.sum[s].stage, info.sum[s].operand = stage, operand
            info.sum[s].bias, info.sum[s].bias_w = _BIASES[bias[0]], bias[1]
        for v, s in enumerate(vectors):
            info.vector[v].sum, info.vector[v].factor = s, XR_ONE
        cdef _Memory memory = _Memory(len(constants) * sizeof(double), False)
        for k, constant in enumerate(constants):
            (<double *> memory.data)[k] = constant
        self.alive.append(memory)
        self.program.constant = <double *> memory.data
        self.program.constants = len(constants)
        self.program.heads = counts["heads"]
        self.program.registers = counts["registers"]
        for stage in range(len(forward)):
            self.program.forward_rows[stage] = self._moments(forward[stage][0])
            self.program.forward[stage] = self._operations(forward[stage][1])
            self.program.backward_rows[stage] = self._moments(backward[stage][0])
            self.program.backward[stage] = self._operations(backward[stage][1])

    cdef const char *_text(self, str text) except NULL:
        cdef bytes encoded = text.encode()
        self.alive.append(encoded)
        return encoded

    cdef xr_operations_of _operations(self, tuple operations) except *:
        cdef _Memory memory = _Memory(len(operations) * sizeof(xr_operation), False)
        cdef xr_operation *list_ = <xr_operation *> memory.data
        self.alive.append(memory)
        for k, (code, flush, out, inputs) in enumerate(operations):
            list_[k].code, list_[k].flush = _CODES[code], flush
            list_[k].out = self._place(out)
            for i in range(3):
                list_[k].in_[i] = self._place(inputs[i if i < len(inputs) else 0])
        return xr_operations_of(len(operations), list_)

    cdef xr_moments_list _moments(self, tuple wanted) except *:
        cdef _Memory memory = _Memory(len(wanted) * sizeof(xr_moments), False)
        cdef xr_moments *list_ = <xr_moments *> memory.data
        self.alive.append(memory)
        if len(wanted) > XR_MAX_MOMENTS:
            raise ValueError(f"program: too many moments, {len(wanted)}")
        for k, (of, group, x, gain, g) in enumerate(wanted):
            list_[k].of, list_[k].group, list_[k].count = of, group, len(x)
            if group > XR_MAX_GROUP or (of < 0) != (len(gain) == 0):
                raise ValueError(f"program: no moments, {wanted[k]}")
            for j in range(len(x)):
                list_[k].x[j] = self._place(x[j])
                if of >= 0:
                    list_[k].gain[j], list_[k].g[j] = (
                        self._place(gain[j]), self._place(g[j])
                    )
        return xr_moments_list(len(wanted), list_)

    cdef xr_place _place(self, tuple place) except *:
        space, index = place
        return xr_place(_SPACES[space], index)

    def __reduce__(self):
        _refuse_copy(self)
