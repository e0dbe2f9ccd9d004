"""Strange arguments: what a caller may hand in where an array or a number belongs.

Two kinds. `LAYOUTS` hold the same values in another place, order or type of object: a
call that takes arrays must give the same bits for them. `STRANGERS` are anything else:
a call raises an exception that names the argument, or, where it takes what came, does
with it what it does with a plain copy of the same values.
"""

import collections
import ctypes

import numpy as np

try:
    import torch
except ImportError:
    torch = None

HUGE = 2**31


# The same values, lying otherwise


def in_fortran_order(array):
    return np.asfortranarray(array)


def backwards(array):
    return np.ascontiguousarray(array[::-1])[::-1] if array.ndim else array


def with_gaps(array):
    wide = np.full((*array.shape, 2), 7, array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder("S"))


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class Derived(np.ndarray):
    """An array of a class of the caller's."""


def derived(array):
    return array.copy().view(Derived)


class Converts:
    """An object that gives itself as an array, always the same one."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


class Exports:
    """An object that hands over its memory by DLPack alone."""

    def __init__(self, array):
        self.array = np.ascontiguousarray(array)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def as_memoryview(array):
    return memoryview(np.ascontiguousarray(array))


def as_tensor(array):
    return Converts(array) if torch is None else torch.tensor(array)


LAYOUTS = (
    in_fortran_order,
    backwards,
    with_gaps,
    byte_swapped,
    read_only,
    misaligned,
    derived,
    Converts,
    Exports,
    as_memoryview,
    as_tensor,
)


# Other values, kinds and shapes


class Liar:
    """An object whose second answer is another one: a shape, a dtype, a length."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.asked = 0

    def __array__(self, dtype=None, copy=None):
        self.asked += 1
        if self.asked == 1:
            return self.array.copy()
        return np.full((1000003,), 1e9).astype(self.array.dtype)

    def __len__(self):
        self.asked += 1
        return len(self.array) if self.asked == 1 else 1000003


class Raises:
    """An object that cannot be an array, a number or anything else."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("not today")

    def __index__(self):
        raise RuntimeError("not today")

    def __float__(self):
        raise RuntimeError("not today")

    def __len__(self):
        raise RuntimeError("not today")


def endless(array):
    """Return an array of many gigabytes, of which one element lies in memory."""
    return np.broadcast_to(array.reshape(-1)[:1], (HUGE, *array.shape[1:]))


def one_row_repeated(array):
    return np.broadcast_to(array[:1], array.shape)


def tangled(array):
    """Return an array whose elements lie over each other."""
    flat = np.resize(array.reshape(-1), 2 * array.size + 1).astype(array.dtype)
    steps = [array.itemsize] * array.ndim
    return np.lib.stride_tricks.as_strided(flat, array.shape, steps)


def other_float(array):
    return array.astype("f4" if array.dtype == np.float64 else "f8")


ARRAY_STRANGERS = {
    "other float": other_float,
    "half": lambda a: a.astype("f2"),
    "integers": lambda a: a.astype("i8"),
    "small integers": lambda a: a.astype("i1"),
    "unsigned": lambda a: a.astype("u8"),
    "flags": lambda a: a.astype(bool),
    "complex": lambda a: a.astype("c8"),
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype("U8"),
    "records": lambda a: np.zeros(a.shape, [("a", "f4")]),
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "masked": lambda a: np.ma.masked_array(a, a > 0),
    "an axis more": lambda a: a[None],
    "an axis at the end": lambda a: a[..., None],
    "an axis less": lambda a: a[0] if a.ndim and len(a) else a,
    "flat": lambda a: a.reshape(-1),
    "one element": lambda a: a.reshape(-1)[:1],
    "a number": lambda a: a.reshape(-1)[0] if a.size else a,
    "no axis": lambda a: a.reshape(-1)[:1].reshape(()) if a.size else a,
    "one longer": lambda a: np.concatenate([a, a[:1]]) if a.ndim else a,
    "one shorter": lambda a: a[:-1] if a.ndim else a,
    "wider": lambda a: np.concatenate([a, a], axis=-1) if a.ndim else a,
    "empty": lambda a: a[:0] if a.ndim else a,
    "empty at the end": lambda a: a[..., :0] if a.ndim else a,
    "endless": lambda a: endless(a) if a.ndim and a.size else a,
    "repeated": lambda a: one_row_repeated(a) if a.ndim and a.size else a,
    "tangled": lambda a: tangled(a) if a.size else a,
    "list": lambda a: a.tolist(),
    "ragged": lambda _: [[1.0], [1.0, 2.0]],
    "transposed": lambda a: a.T,
    "negative": lambda a: -a - a.dtype.type(1),
    "large": lambda a: a * a.dtype.type(0) + a.dtype.type(2**30),
    "nan": lambda a: a * a.dtype.type(0) + np.float32("nan"),
    "inf": lambda a: a + np.float32("inf"),
    "tiny": lambda a: a * a.dtype.type(1e-30) * a.dtype.type(1e-12),
    "liar": Liar,
    "tuple of it": lambda a: (a,),
    "tuple of two": lambda a: (a, a),
    "dict of it": lambda a: {"x": a},
    "bytes": lambda a: a.tobytes(),
    "ctypes": lambda a: (ctypes.c_float * a.size)(),
    "its method": lambda a: a.copy,
    "its class": type,
}

NUMBERS = {
    "none": None,
    "true": True,
    "zero": 0,
    "one": 1,
    "two": 2,
    "minus one": -1,
    "half a number": 0.5,
    "minus zero": -0.0,
    "nan": float("nan"),
    "inf": float("inf"),
    "past int": HUGE,
    "past long": 2**63,
    "below long": -(2**63) - 1,
    "past everything": 10**400,
    "largest float": 1.7e308,
    "word": "tanh",
    "nothing": "",
    "long word": "ü" * 100_000,
    "zero byte": "a\0b",
    "surrogate": "\ud800",
    "bytes": b"f4",
    "empty tuple": (),
    "nested": ((((),),),),
    "many": tuple(range(10_000)),
    "list": [1, 2],
    "dict": {"a": 1},
    "counter": collections.Counter("abc"),
    "ellipsis": ...,
    "complex": 1j,
    "object": object(),
    "class": float,
    "raises": Raises(),
    "numpy int": np.int8(3),
    "numpy float": np.float32(0.25),
    "array of one": np.array([3]),
    "array": np.array(3),
    "nan array": np.array(np.nan),
    "dtype": np.dtype("f4"),
    "generator": (n for n in range(3)),
}


def plain_copy(value):
    """Return what came as an array of its own, or as it is where it is none."""
    if isinstance(value, tuple | list):
        return type(value)(plain_copy(part) for part in value)
    if isinstance(value, dict):
        return {name: plain_copy(part) for name, part in value.items()}
    if isinstance(value, Exports):
        value = value.array
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return value
    try:
        array = np.asarray(value)
    except Exception:  # a stranger's own
        return value
    if array.dtype.kind not in "fiub":
        return value
    return np.array(array, array.dtype.newbyteorder("="), order="C")
