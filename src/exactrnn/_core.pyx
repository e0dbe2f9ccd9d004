# cython: language_level=3
"""Arrays to C problem structs: no arithmetic here, and no checks of shapes.

Callers have validated every argument (`_checks`); what is verified again here is
what would crash otherwise: item sizes and contiguity, by the buffer protocol itself.
Each call brings its own memory, so any number of threads may be inside at once; the GIL
is released around every kernel that is worth it. A call that a signal handler has ended
raises what the handler has raised (_core_stop.pxi).
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE,
    PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import os
import threading

import numpy as np

cdef extern from "base/kept.h" nogil:
    void *xr_take_memory(size_t bytes)
    void *xr_take_scratch(size_t *bytes)
    void xr_give_scratch(void *piece, size_t bytes)
    void xr_give_memory(void *memory)
    const size_t XR_MAPPED

# Below this many multiplications a step keeps the GIL: giving it up costs more.
cdef enum: KEEP_GIL_WORK = 300000
# The same of bytes that are compared.
cdef enum: KEEP_GIL_BYTES = 65536


cdef class _Memory:
    """Aligned memory that can be viewed by NumPy; `is_scratch` of one call alone."""

    cdef void *data
    cdef Py_ssize_t size
    cdef size_t taken  # that lie there: more where it had waited
    cdef bint may_wait

    def __cinit__(self, size_t size, bint zeroed, bint is_scratch=False):
        cdef size_t rounded = (size + XR_ALIGNMENT - 1) // XR_ALIGNMENT * XR_ALIGNMENT
        if rounded < size:
            raise MemoryError
        self.taken = max(rounded, <size_t> XR_ALIGNMENT)
        self.may_wait = is_scratch or rounded > XR_MAPPED
        if self.may_wait:
            self.data = xr_take_scratch(&self.taken)
        else:
            self.data = xr_take_memory(self.taken)
        if self.data == NULL:
            raise MemoryError(f"could not allocate {size} bytes")
        self.size = <Py_ssize_t> rounded
        if zeroed:
            memset(self.data, 0, rounded)

    def __dealloc__(self):
        if self.may_wait:
            xr_give_scratch(self.data, self.taken)
        else:
            xr_give_memory(self.data)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 0, flags)

    def __reduce__(self):
        _refuse_copy(self)


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

    def __reduce__(self):
        _refuse_copy(self)


@cython.final
cdef class _Held(_Memory):
    """Memory of somebody else, to be read where it lies."""

    cdef _View view
    cdef bint borrowed

    def __dealloc__(self):
        if self.borrowed:
            self.data = NULL  # which is not ours to free


cdef _Memory _hold(_View view):
    """The memory of a view; a copy of it where the kernels want it better aligned."""
    cdef bint aligned = <size_t> view.buffer.buf % XR_ALIGNMENT == 0
    cdef _Held held = _Held(0 if aligned else view.buffer.len, False)
    if aligned:
        xr_give_memory(held.data)
        held.data, held.view, held.borrowed = view.buffer.buf, view, True
    else:
        memcpy(held.data, view.buffer.buf, view.buffer.len)
    held.size = view.buffer.len
    return held


cdef void *_data(_View view) noexcept:
    """The memory of a view, NULL for None."""
    if view is None:
        return NULL
    return view.buffer.buf


def _refuse_copy(thing):
    """Raise the error of a copy or pickle of an object that lives in its owner."""
    raise TypeError(
        f"{type(thing).__name__}: expected a copy of the layer, stream or cache that "
        "it is a part of; by itself it cannot be copied or pickled"
    )


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


include "_core_stop.pxi"
include "_core_program.pxi"


_ACTIVATIONS = {
    "tanh": XR_TANH, "relu": XR_RELU, "sigmoid": XR_SIGMOID,
    "hard_sigmoid": XR_HARD_SIGMOID, "softsign": XR_SOFTSIGN, "identity": XR_IDENTITY,
    "leaky_relu": XR_LEAKY_RELU, "elu": XR_ELU, "softplus": XR_SOFTPLUS,
    "scaled_tanh": XR_SCALED_TANH, "thresholded_relu": XR_THRESHOLDED_RELU,
    "affine": XR_AFFINE,
}


cdef xr_nonlinearity _nonlinearity(tuple activation) except *:
    """From (name, alpha, beta), 0 for what the function has not."""
    name, alpha, beta = activation
    return xr_nonlinearity(_ACTIVATIONS[name], alpha, beta)


def activation_kinds():
    """The numbers of the activations in the C interface, by their names."""
    return dict(_ACTIVATIONS)


_GATES = {"i": XR_GATE_I, "f": XR_GATE_F, "o": XR_GATE_O}
_COUPLED = {
    None: XR_NOT_COUPLED, "input": XR_COUPLED_INPUT, "forget": XR_COUPLED_FORGET,
}
_FUNCTIONS = {
    "exp": XR_EXP, "expm1": XR_EXPM1, "log": XR_LOG, "softplus": XR_SOFTPLUS_OF,
    "tanh": XR_TANH_OF, "sigmoid": XR_SIGMOID_OF, "flush": XR_FLUSH,
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


cdef _Memory _describe(xr_layer *layer, str cell, options):
    """Complete a layer from its cell and options; returns what it points into.

    But for the program among the options: who keeps the layer keeps that.
    """
    cdef dict wanted = dict(options or {})
    layer.cell = _cell_index(cell)
    layer.O = wanted.get("output_size") or layer.H
    layer.options.peepholes = sum(_GATES[g] for g in wanted.get("peepholes", ""))
    layer.options.omit = sum(_GATES[g] for g in wanted.get("omit", ""))
    layer.options.coupled = _COUPLED[wanted.get("coupled")]
    layer.options.full_gate_recurrence = wanted.get("full_gate_recurrence", False)
    layer.options.projects = wanted.get("output_size") is not None
    layer.options.cells = wanted.get("cells", 0)
    layer.zoneout[0], layer.zoneout[1] = wanted.get("zoneout", (0.0, 0.0))
    cdef tuple modules = tuple(wanted.get("modules", ()))
    cdef _Memory memory = _Memory(len(modules) * sizeof(xr_module), False)
    cdef xr_module *module = <xr_module *> memory.data
    for m, (size, period) in enumerate(modules):
        module[m] = xr_module(size, period)
    layer.modules, layer.module = len(modules), module
    cdef Program program = wanted.get("program")
    layer.program = NULL if program is None else &program.program
    xr_describe(layer)
    return memory


def cell_info(str cell, options=None):
    """What a cell is with some options; its sums as (name, w, r, stage)."""
    cdef xr_layer layer
    memset(&layer, 0, sizeof(layer))
    layer.engine = _engine_of(isas()[0], XR_F32)
    _modules = _describe(&layer, cell, options)
    cdef xr_cell_info *info = &layer.info
    sums = []
    for s in range(info.sums):
        w, r = (None if k < 0 else k for k in (info.sum[s].w, info.sum[s].r))
        sums.append((info.sum[s].name.decode(), w, r, info.sum[s].stage))
    return {
        "w_blocks": info.w_blocks, "r_blocks": info.r_blocks, "states": info.states,
        "stages": info.stages, "cells": info.cells, "heard": info.heard,
        "sums": tuple(sums),
        "keeps_sums": bool(info.keeps_sums), "vectors": info.vectors,
        "links": info.links, "projects": bool(info.projects),
        "takes_lower": bool(info.takes_lower),
    }


def max_cells():
    """The most cells that a memory block may have."""
    return XR_MAX_CELLS


def padded(Py_ssize_t units):
    """The length of a padded row of that many units."""
    cdef xr_layer layer
    memset(&layer, 0, sizeof(layer))
    layer.H = units
    return xr_padded_units(&layer)


@cython.final
cdef class Packed:
    """Packed weights of one layer in one direction; immutable."""

    cdef xr_layer layer
    cdef xr_dtype kind
    cdef _Memory forward, backward, modules
    cdef Program program
    cdef readonly str isa, dtype, cell

    @property
    def input_size(self):
        return self.layer.I

    @property
    def hidden_size(self):
        return self.layer.H

    @property
    def output_size(self):
        return self.layer.O

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

    def __reduce__(self):
        _refuse_copy(self)


def same_bytes(one, other):
    """Whether two C-contiguous arrays of one size and item size hold the same bytes."""
    cdef _View first = _View(one, one.itemsize, False)
    cdef _View second = _View(other, one.itemsize, False)
    cdef Py_ssize_t size = first.buffer.len
    cdef bint same = size == second.buffer.len
    if same:
        with nogil:
            same = memcmp(first.buffer.buf, second.buffer.buf, size) == 0
    return same


def same_at(tuple arrays, tuple addresses):
    """Whether each C-contiguous array holds the bytes that are at an address."""
    cdef _View view
    cdef const void *other
    cdef bint same = True
    for array, address in zip(arrays, addresses, strict=True):
        view = _View(array, array.itemsize, False)
        other = <const void *> <size_t> address
        if view.buffer.len < KEEP_GIL_BYTES:
            same = memcmp(view.buffer.buf, other, view.buffer.len) == 0
        else:
            with nogil:
                same = memcmp(view.buffer.buf, other, view.buffer.len) == 0
        if not same:
            break
    return same


cdef _Memory _make_layer(xr_layer *layer, const xr_engine *engine, str cell,
                         tuple activations, clip, options):
    """Fill in all of a zeroed layer but sizes; returns the memory of its modules."""
    layer.engine = engine
    layer.clip = 0.0 if clip is None else clip
    for index, activation in enumerate(activations):
        layer.activation[index] = _nonlinearity(activation)
    return _describe(layer, cell, options)


def pack(str isa, str dtype, str cell, tuple weights, tuple activations, clip,
         options, bint backward):
    """Pack weights (w_ih, w_hh, b_ih, b_hh, w_hr, b_hr, vectors, w_gates) or None.

    `activations` are as `_nonlinearity` takes them.
    """
    cdef Packed packed = Packed.__new__(Packed)
    packed.isa, packed.dtype, packed.cell = isa, dtype, cell
    packed.kind = _dtype_of(dtype)
    packed.modules = _make_layer(&packed.layer, _engine_of(isa, packed.kind), cell,
                                 activations, clip, options)
    packed.program = (options or {}).get("program")
    cdef Py_ssize_t itemsize = _itemsize(packed.kind)
    views = [None if a is None else _View(a, itemsize, False) for a in weights]
    cdef _View w_ih = views[0]
    cdef xr_weights from_ = xr_weights(
        _data(views[0]), _data(views[1]), _data(views[2]), _data(views[3]),
        _data(views[4]), _data(views[5]), _data(views[6]), _data(views[7]),
    )
    packed.layer.I = w_ih.buffer.shape[1]
    packed.layer.H = w_ih.buffer.shape[0] // packed.layer.info.w_blocks
    if packed.layer.O == 0:
        packed.layer.O = packed.layer.H
    packed.forward = _Memory(xr_packed_bytes(&packed.layer), False)
    if backward:
        packed.backward = _Memory(xr_packed_backward_bytes(&packed.layer), False)
    cdef xr_stop stop
    _begin_call(&stop)
    with nogil:
        xr_pack(&packed.layer, &from_, packed.forward.data, &stop)
        if backward and not stop.stopped:
            xr_pack_backward(&packed.layer, &from_, packed.backward.data, &stop)
    _end_call(&stop)
    return packed


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
    cdef xr_stop stop
    _begin_call(&stop)
    with nogil:
        xr_elementary(engine, function, pointers, target.buffer.buf,
                      target.buffer.shape[0], &stop)
    _end_call(&stop)


include "_core_sequence.pxi"
include "_core_direct.pxi"
include "_core_attention.pxi"
include "_core_threads.pxi"
include "_core_stream.pxi"
include "_core_plain.pxi"
include "_core_plain_layers.pxi"
include "_core_dense.pxi"
include "_core_readout.pxi"
include "_core_looking.pxi"
include "_core_update.pxi"
include "_core_grid.pxi"
include "_core_plain_grid.pxi"
include "_core_plain_space.pxi"
include "_core_xla.pxi"
