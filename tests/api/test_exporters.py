"""Arrays of other libraries, in the place of every array that a public call takes.

Over `CALLS` of public_calls.py, so over all classes and their streams: what exports
its memory (`__array_interface__`, `__array_struct__`, DLPack, torch, JAX, pandas) gives
the bits of the NumPy array, and is read where it lies. What cannot be taken is refused
by the name of the argument, and nothing has changed.
"""

import numpy as np
import pytest
from arrays import draw, same_bits
from modules import MODULES, STREAMS, flat, input_of, step_of
from public_calls import CALLS
from strange import Exports

import exactrnn as xr
from exactrnn import _checks

every_module = pytest.mark.parametrize("module", CALLS)


class Interface:
    """Exports its memory by `__array_interface__` alone, perhaps with a mask."""

    def __init__(self, array, mask=None):
        self._array, self._mask = np.ascontiguousarray(array), mask

    @property
    def __array_interface__(self):
        described = dict(self._array.__array_interface__)
        if self._mask is not None:
            described["mask"] = self._mask
        return described


class Struct:
    """Exports its memory by `__array_struct__` alone."""

    def __init__(self, array):
        self._array = np.ascontiguousarray(array)

    @property
    def __array_struct__(self):
        return self._array.__array_struct__


def as_torch(array):
    torch = pytest.importorskip("torch", reason="torch, whose tensors these are")
    return torch.from_numpy(np.array(array))


def as_jax(array):
    jax = pytest.importorskip("jax", reason="JAX, whose arrays these are")
    with jax.enable_x64(True):
        return jax.numpy.array(array)


def as_pandas(array):
    pandas = pytest.importorskip("pandas", reason="pandas, whose tables these are")
    if array.ndim == 1:
        return pandas.Series(array)
    return pandas.DataFrame(array) if array.ndim == 2 else array


EXPORTERS = {
    "__array_interface__": Interface,
    "__array_struct__": Struct,
    "__dlpack__": Exports,
    "torch": as_torch,
    "JAX": as_jax,
    "pandas": as_pandas,
}
every_exporter = pytest.mark.parametrize("exporter", EXPORTERS)


def is_array(value):
    return isinstance(value, np.ndarray) and value.dtype.isnative


@every_exporter
@every_module
def test_exporters_give_the_bits_of_the_array(module, exporter):
    export, given = EXPORTERS[exporter], 0
    for what, call in CALLS[module].items():
        expected = flat(call.run(call.values()))
        names = [n for n, value in call.values().items() if is_array(value)]
        for argument in names:
            if argument == "out":  # is written to: not all of these can be
                continue
            values = call.values()
            values[argument] = export(values[argument])
            given += 1
            assert same_bits(flat(call.run(values)), expected), (what, argument)
    assert given > 0


@every_exporter
def test_exporters_are_read_where_they_lie(exporter):
    for dtype in ("float32", "float64"):
        value = EXPORTERS[exporter](draw(6, 5, dtype=dtype))
        first = _checks.as_array("x", value, np.dtype(dtype))
        again = _checks.as_array("x", value, np.dtype(dtype))
        assert np.shares_memory(first, again)
        assert _checks.make_readable(first) is first or not first.flags.c_contiguous


@pytest.mark.parametrize("kind", [Interface, Struct, as_torch])
@pytest.mark.parametrize("name", STREAMS)
def test_a_step_writes_into_what_exports_its_memory(name, kind):
    stream, other = STREAMS[name](), STREAMS[name]()
    x = step_of(stream)
    expected = other.step(x)
    out = kind(np.zeros_like(expected))
    given = stream.step(x, out)
    assert same_bits(given, expected)
    assert same_bits(np.asarray(out), expected)


def refused(array):
    """Yield (what, value): arrays of other libraries that must not be taken."""
    mask = np.zeros(array.shape, bool)
    yield "masked", np.ma.masked_array(array, mask)
    yield "masked, with nothing masked", np.ma.masked_array(array)
    yield "an interface with a mask", Interface(array, mask)
    yield "a list", array.tolist()
    torch = pytest.importorskip("torch", reason="torch, whose tensors these are")
    if array.dtype.kind == "f":
        tensor = torch.from_numpy(array.copy())
        yield "a tensor with gradients", tensor.clone().requires_grad_()
        yield "a tensor of bfloat16", tensor.to(torch.bfloat16)
        yield "a sparse tensor", tensor.to_sparse()
        yield "a tensor without memory", tensor.to("meta")
    jax = pytest.importorskip("jax", reason="JAX, whose arrays these are")
    if array.dtype.kind == "f":
        yield "JAX of bfloat16", jax.numpy.array(array, "bfloat16")
    pandas = pytest.importorskip("pandas", reason="pandas, whose tables these are")
    nullable = pandas.DataFrame(array.reshape(len(array), -1)).astype("Float32")
    nullable.iloc[0, 0] = None
    yield "a table with nothing in a place", nullable


@pytest.mark.parametrize("name", [n for n in MODULES if n != "embedding"])
def test_what_is_no_plain_array_is_refused_by_name(name):
    module = MODULES[name]()
    if isinstance(module, xr.GridLSTM) and len(module.sides) == 2:
        first, second = input_of(module)
        calls = [(first, lambda x: module((x, second)), r"^x\[0\]: ")]
    else:
        calls = [(input_of(module), module, "^x: ")]
    if name in STREAMS:
        stream = module.stream(3)
        x = step_of(stream)
        calls.append((x, stream.step, "^x: "))
        calls.append((x[:2], lambda x: stream.step(x, rows=[2, 0]), "^x: "))
        before = flat(stream.state)
    for array, call, message in calls:
        for what, value in refused(array):
            with pytest.raises(TypeError, match=message):
                print(what, call(value))
    if name in STREAMS:
        assert same_bits(flat(stream.state), before)


def test_the_way_out_is_in_the_message():
    layer = xr.GRU(4, 6, seed=1)
    x = draw(5, 3, 4)
    with pytest.raises(TypeError, match="expected an array without a mask, got Mask"):
        layer(np.ma.masked_array(x))
    with pytest.raises(TypeError, match="expected an array without a mask, got Interf"):
        layer(Interface(x, np.zeros(x.shape, bool)))
    torch = pytest.importorskip("torch", reason="torch, whose tensors these are")
    with pytest.raises(TypeError, match=r"tensor\.detach\(\)\.numpy\(\)"):
        layer(torch.from_numpy(x.copy()).requires_grad_())
