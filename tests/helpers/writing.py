"""Ways to write NEW to the weight NAME of a GRU.

write_…    through the layer
view_…     through an array, if it is but a view to read: its own operators
memory_…   through the memory of an array that must be a lease
force_…    through the memory of a view that is made writable
"""

import ctypes
from contextlib import contextmanager

import numpy as np
import pytest
from arrays import draw

H = 5
NAME = "weight_hh_l0"
NEW = draw(3 * H, H, seed=5)


@contextmanager
def all_warnings_of(torch):
    """That an array is read-only, else said once in a process."""
    torch.set_warn_always(True)
    try:
        yield
    finally:
        torch.set_warn_always(False)


def write_attribute(layer):
    layer.weight_hh_l0 = NEW


def write_augmented(layer):
    layer.weight_hh_l0 *= 0
    layer.weight_hh_l0 += NEW


def write_load_state_dict(layer):
    layer.load_state_dict({**layer.state_dict(), NAME: NEW})


def write_part_of_state_dict(layer):
    assert layer.load_state_dict({NAME: NEW, "w": NEW}, strict=False) == (
        ["weight_ih_l0", "bias_ih_l0", "bias_hh_l0"],
        ["w"],
    )


def write_edit(layer):
    with layer._store.edit() as weights:
        weights[NAME][...] = NEW


def write_item_of_a_block(layer):
    with layer.editing() as weights:
        weights[NAME] = NEW


def view_slice(weight):
    weight[...] = NEW


def view_operators(weight):
    weight *= 0
    weight += NEW


def view_fill(weight):
    weight.fill(0)
    weight -= -NEW


def view_out(weight):
    np.positive(NEW, out=weight)


def view_one_of_two_outs(weight):
    mantissa, exponent = np.frexp(NEW, out=(weight, None))
    assert mantissa is weight
    np.ldexp(weight, exponent, out=weight, where=weight != 0)


def view_at(weight):
    weight.fill(0)
    np.add.at(weight, (slice(None), slice(None)), NEW)


def view_reduced(weight):
    np.add.reduce(np.stack([NEW, np.zeros_like(NEW)]), axis=0, out=weight)


def view_of_a_view(weight):
    weight.T[::-1].reshape(-1, 3 * H)[...] = NEW.T[::-1]


def view_row_by_row(weight):
    for row, values in zip(weight, NEW, strict=True):
        row[:] = values


def view_masked(weight):
    weight[np.ones(weight.shape, bool)] = NEW.ravel()


def view_ravel(weight):
    weight.ravel()[:] = NEW.ravel()


def view_other_dtype(weight):
    weight.view(np.uint32)[...] = NEW.view(np.uint32)


def view_field(weight):
    weight.view([("row", np.float32, H)])["row"] = NEW[:, None]


def memory_copyto(weight):
    np.copyto(weight, NEW)


def memory_memoryview(weight):
    memoryview(weight).cast("B")[:] = NEW.tobytes()


def memory_frombuffer(weight):
    np.frombuffer(weight, np.uint8)[:] = NEW.view(np.uint8).ravel()


def memory_plain(weight):
    np.asarray(weight)[...] = NEW


def memory_flat(weight):
    weight.flat[:] = NEW.ravel()


def memory_put(weight):
    weight.put(np.arange(NEW.size), NEW)


def memory_generator(weight):
    np.random.default_rng(0).random(out=weight, dtype=np.float32)
    weight[...] = NEW


def memory_iterator(weight):
    with np.nditer(weight, op_flags=[["readwrite"]]) as steps:
        for place, value in zip(steps, NEW.ravel(), strict=True):
            place[...] = value


def memory_strided(weight):
    strides = weight.strides
    np.lib.stride_tricks.as_strided(weight, (3 * H, H), strides)[...] = NEW


def memory_buffer(weight):
    np.ndarray((3 * H, H), np.float32, weight)[...] = NEW


def memory_dlpack(weight):
    np.from_dlpack(weight)[...] = NEW


def memory_base(weight):
    np.asarray(weight.base)[...] = NEW


def memory_deepest_base(weight):
    while weight.base is not None and isinstance(weight.base, np.ndarray):
        weight = weight.base
    np.asarray(weight.base)[...] = NEW


def memory_ctypes(weight):
    np.ctypeslib.as_array(np.ctypeslib.as_ctypes(weight))[...] = NEW


def memory_ctypes_buffer(weight):
    (ctypes.c_char * NEW.nbytes).from_buffer(weight).raw = NEW.tobytes()


def force_flags(weight):
    weight.flags.writeable = True
    memory_copyto(weight)


def force_flags_of_a_view(weight):
    view = weight.view(np.ndarray)[:]
    view.setflags(write=True)
    memory_copyto(view)


def memory_torch(weight):
    torch = pytest.importorskip("torch")
    with all_warnings_of(torch):
        torch.from_numpy(weight).copy_(torch.from_numpy(NEW))


def memory_torch_dlpack(weight):
    torch = pytest.importorskip("torch")
    torch.from_dlpack(weight)[...] = torch.from_numpy(NEW)


def memory_torch_parameter(weight):
    torch = pytest.importorskip("torch")
    with all_warnings_of(torch):
        parameter = torch.nn.Parameter(torch.from_numpy(weight))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = parameter.detach().clone()
    optimizer.step()
    parameter.data += torch.from_numpy(NEW)


def ways(kind):
    """Return the functions above of one kind, as parameters of a test."""
    start = f"{kind}_"
    return [
        pytest.param(function, id=name.removeprefix(start))
        for name, function in globals().items()
        if name.startswith(start)
    ]
