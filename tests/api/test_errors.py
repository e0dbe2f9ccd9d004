"""Every refusal: it names the argument, what was expected and what came.

And nothing is changed by a call that raises.
"""

import re

import numpy as np
import pytest
from layer_kinds import KINDS
from variants import options_of

import exactrnn as xr
from exactrnn import _checks

T, B, I, H = 5, 3, 4, 6


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


class OnDevice:
    """An array in memory that the CPU cannot read."""

    def __dlpack__(self, **options):
        raise BufferError("cannot export")

    def __dlpack_device__(self):
        return (2, 0)


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("requires grad")


X = zeros(T, B, I)
STATE = (zeros(1, B, H), zeros(1, B, H))

# What is passed to an LSTM(4, 6): (arguments, error, message)
WRONG_CALLS = {
    "columns of x": (
        {"x": zeros(T, B, 7)},
        ValueError,
        "x: expected [T, B, I=4], got (5, 3, 7)",
    ),
    "axes of x": (
        {"x": zeros(I)},
        ValueError,
        "x: expected [T, B, I=4] or [T, I=4], got (4,)",
    ),
    "x of float64": (
        {"x": X.astype("f8")},
        TypeError,
        "x: expected float32, got float64",
    ),
    "x of float16": (
        {"x": X.astype("f2")},
        TypeError,
        "x: expected float32, got float16",
    ),
    "x of integers": ({"x": X.astype(int)}, TypeError, "x: expected float32, got int"),
    "x of complex numbers": (
        {"x": X.astype("c8")},
        TypeError,
        "x: expected float32, got complex64",
    ),
    "list": ({"x": X.tolist()}, TypeError, "x: expected a NumPy array"),
    "number": ({"x": 1.0}, TypeError, "x: expected a NumPy array"),
    "text": ({"x": "x"}, TypeError, "x: expected a NumPy array"),
    "bytes": ({"x": b"xxxx"}, TypeError, "x: expected float32, got uint8"),
    "None": ({"x": None}, TypeError, "x: expected a NumPy array"),
    "masked array": (
        {"x": np.ma.MaskedArray(X)},
        TypeError,
        "x: expected an array without a mask",
    ),
    "array on a device": ({"x": OnDevice()}, TypeError, "got OnDevice"),
    "array that cannot be given": ({"x": Broken()}, TypeError, "(requires grad)"),
    "one array as state": (
        {"state": STATE[0]},
        TypeError,
        "state: expected the tuple (h, c), got an array of float32 with shape",
    ),
    "three states": (
        {"state": (*STATE, STATE[0])},
        TypeError,
        "state: expected the tuple (h, c), got a tuple of 3",
    ),
    "state of another batch": (
        {"state": (STATE[0], zeros(1, 1, H))},
        ValueError,
        "state[1]: expected [L*D=1, B=3, H=6], got (1, 1, 6)",
    ),
    "state of float64": (
        {"state": (STATE[0].astype("f8"), STATE[1])},
        TypeError,
        "state[0]: expected float32, got float64",
    ),
    "half a state": ({"state": (STATE[0], None)}, TypeError, "state[1]: expected"),
    "unbatched state": (
        {"state": tuple(part[:, 0] for part in STATE)},
        ValueError,
        "state[0]: expected [L*D=1, B=3, H=6], got (1, 6)",
    ),
    "batched state for unbatched x": (
        {"x": X[:, 0], "state": STATE},
        ValueError,
        "state[0]: expected [L*D=1, H=6], got (1, 3, 6)",
    ),
    "number of lengths": (
        {"lengths": [1, 2]},
        ValueError,
        "lengths: expected [B=3], got (2,)",
    ),
    "length beyond T": (
        {"lengths": [1, 6, 7]},
        ValueError,
        "lengths[1]: expected 0..T=5, got 6",
    ),
    "negative length": (
        {"lengths": [1, 2, -1]},
        ValueError,
        "lengths[2]: expected 0..T=5, got -1",
    ),
    "huge unsigned length": (
        {"lengths": np.array([1, 2, 2**64 - 1], np.uint64)},
        ValueError,
        "lengths[2]: expected 0..T=5, got 18446744073709551615",
    ),
    "length beyond 64 bits": ({"lengths": [1, 2, 2**70]}, TypeError, "lengths: "),
    "float lengths": (
        {"lengths": [1.0, 2.0, 3.0]},
        TypeError,
        "lengths: expected integers, got float64",
    ),
    "mask as lengths": (
        {"lengths": [True, False, True]},
        TypeError,
        "lengths: expected integers, got bool",
    ),
    "ragged lengths": ({"lengths": [[1], [2, 3], 4]}, TypeError, "lengths: expected"),
    "one length for a batch": (
        {"lengths": 4},
        ValueError,
        "lengths: expected [B=3], got ()",
    ),
    "lengths for unbatched x": (
        {"x": X[:, 0], "lengths": [1, 2]},
        ValueError,
        "lengths: expected [] (one integer) or [1], got (2,)",
    ),
}


@pytest.mark.parametrize("what", WRONG_CALLS)
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_wrong_argument_is_named(method, what):
    arguments, error, message = WRONG_CALLS[what]
    layer = xr.LSTM(I, H)
    with pytest.raises(error, match=re.escape(message)):
        getattr(layer, method)(**{"x": X, **arguments})


def test_messages_follow_the_layout_of_the_layer():
    layer = xr.GRU(I, H, 2, batch_first=True, bidirectional=True)
    with pytest.raises(ValueError, match=r"x: expected \[B, T, I=4\], got \(5, 3, 7\)"):
        layer(zeros(T, B, 7))
    with pytest.raises(ValueError, match=r"state: expected \[L\*D=4, B=5, H=6\], got"):
        layer(X, zeros(2, T, H))
    with pytest.raises(
        ValueError, match=r"out: expected \[B=5, T=3, D\*H=12\], got \(3, 5, 12\)"
    ):
        layer(X, out=zeros(3, 5, 12))
    with pytest.raises(
        ValueError, match=r"out: expected \[T=5, D\*H=12\], got \(5, 6\)"
    ):
        layer(X[:, 0], out=zeros(5, 6))
    with pytest.raises(TypeError, match=r"state: expected a NumPy array.* got tuple"):
        layer(X, (zeros(4, T, H),))


def frozen(array):
    array.flags.writeable = False
    return array


WRONG_OUTS = {
    "float64": (zeros(T, B, H, dtype="f8"), TypeError, "out: expected float32, got"),
    "shape": (
        zeros(T, H, B),
        ValueError,
        "out: expected [T=5, B=3, D*H=6], got (5, 6, 3)",
    ),
    "read-only": (
        frozen(zeros(T, B, H)),
        ValueError,
        "out: expected a writable array, got a read-only one",
    ),
    "other byte order": (
        zeros(T, B, H).astype(np.dtype("f4").newbyteorder()),
        TypeError,
        "out: expected float32 in native byte order",
    ),
    "one element many times": (
        np.lib.stride_tricks.as_strided(zeros(1), (T, B, H), (0, 0, 0)),
        ValueError,
        "out: expected separate elements",
    ),
    "windows that overlap": (
        np.lib.stride_tricks.as_strided(zeros(100), (T, B, H), (24, 12, 4)),
        ValueError,
        "out: expected separate elements",
    ),
    "list": ([0.0], TypeError, "out: expected a NumPy array"),
}


@pytest.mark.parametrize("what", WRONG_OUTS)
def test_wrong_out_is_named(what):
    out, error, message = WRONG_OUTS[what]
    with pytest.raises(error, match=re.escape(message)):
        xr.LSTM(I, H)(X, out=out)


@pytest.mark.parametrize("shift", [0, 1, -1])
def test_out_that_overlaps_an_input_is_refused_and_untouched(shift):
    layer = xr.GRU(H, H)
    memory = np.arange(T * B * H + 2, dtype=np.float32)
    before = memory.copy()
    x = memory[1:-1].reshape(T, B, H)
    out = memory[1 + shift : memory.size - 1 + shift].reshape(T, B, H)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        layer(x, out=out)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        layer(x[..., ::-1], out=out)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        layer(zeros(1, B, H), x[:1], out=out[:1])
    assert np.array_equal(memory, before)


def test_out_between_the_columns_of_the_input_is_apart_from_it():
    memory = np.ones((T, B, 2 * H), np.float32)
    layer = xr.GRU(H, H)
    expected, _ = layer(memory[..., H:])
    layer(memory[..., H:], out=memory[..., :H])
    assert np.array_equal(memory[..., :H], expected)
    assert (memory[..., H:] == 1).all()


def test_overlap_that_is_too_hard_to_decide_counts_as_overlap(monkeypatch):
    monkeypatch.setattr(_checks, "OVERLAP_EFFORT", 1)
    memory = zeros(10_000)
    strided = np.lib.stride_tricks.as_strided
    x = strided(memory[1:], (T, B, I), (4 * 700, 4 * 90, 4 * 13))
    out = strided(memory, (T, B, H), (4 * 810, 4 * 77, 4 * 11))
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        xr.LSTM(I, H)(x, out=out)


# Backward


def run_forward(layer, **options):
    y, state, cache = layer.forward(X, **options)
    return y, state, cache


def test_wrong_gradients_are_named():
    layer = xr.LSTM(I, H)
    y, state, cache = run_forward(layer)
    refused = [
        (y[:-1], None, ValueError, "dy: expected [T=5, B=3, D*H=6], got (4, 3, 6)"),
        (y.astype("f8"), None, TypeError, "dy: expected float32, got float64"),
        (y.tolist(), None, TypeError, "dy: expected a NumPy array"),
        (None, None, ValueError, "dy: expected an array because dstate is not given"),
        (y, state[0], TypeError, "dstate: expected the tuple (h, c)"),
        (y, (state[0][:, 1:], state[1]), ValueError, "dstate[0]: expected [L*D=1, B=3"),
    ]
    for dy, dstate, error, message in refused:
        with pytest.raises(error, match=re.escape(message)):
            layer.backward(cache, dy, dstate)
    assert layer.backward(cache, y).x.shape == X.shape


def test_a_cache_belongs_to_its_layer():
    layer, other = xr.GRU(I, H, seed=1), xr.GRU(I, H, seed=1)
    y, _, cache = run_forward(layer)
    with pytest.raises(ValueError, match="cache: expected one made by this layer"):
        other.backward(cache, y)
    with pytest.raises(
        TypeError, match="cache: expected one made by forward, got None"
    ):
        layer.backward(None, y)
    with pytest.raises(ValueError, match=r"gates: expected forward\(..., gates=True\)"):
        cache.gates  # noqa: B018
    with pytest.raises(TypeError, match="gates: expected True or False, got 1"):
        layer.forward(X, gates=1)


def test_wrong_arguments_of_a_cell_are_named():
    cell = xr.LSTMCell(I, H)
    x = zeros(B, I)
    refused = [
        ((zeros(B, I, 1),), r"x: expected [B, I=4] or [I=4], got (3, 4, 1)"),
        ((zeros(B, H),), r"x: expected [B, I=4] or [I=4], got (3, 6)"),
        ((x, (zeros(B, H), zeros(1, H))), "state[1]: expected [B=3, H=6], got (1, 6)"),
        ((x[0], (zeros(B, H), zeros(H))), "state[0]: expected [H=6], got (3, 6)"),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=re.escape(message)):
            cell(*arguments)
        with pytest.raises(ValueError, match=re.escape(message)):
            cell.forward(*arguments)
    _, cache = cell.forward(x)
    with pytest.raises(TypeError, match=re.escape("dstate: expected the tuple (h, c)")):
        cell.backward(cache, None)
    with pytest.raises(ValueError, match="cache: expected one made by this layer"):
        xr.LSTMCell(I, H).backward(cache, (zeros(B, H), zeros(B, H)))


# Constructors


WRONG_OPTIONS = {
    "input_size": [
        (0, ValueError),
        (-1, ValueError),
        (2.0, TypeError),
        (True, TypeError),
    ],
    "hidden_size": [(0, ValueError), ("6", TypeError), (None, TypeError)],
    "num_layers": [(0, ValueError), (1.5, TypeError)],
    "bias": [(1, TypeError), (None, TypeError)],
    "batch_first": [("yes", TypeError)],
    "bidirectional": [(2, TypeError)],
    "dropout": [
        (1.0, ValueError),
        (-0.1, ValueError),
        (float("nan"), ValueError),
        (True, TypeError),
        ("half", TypeError),
    ],
    "dtype": [
        ("float16", TypeError),
        ("int32", TypeError),
        ("real", TypeError),
        (None, TypeError),
        (object(), TypeError),
    ],
    "seed": [(-1, ValueError), (1.0, TypeError), (True, TypeError)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_option_is_named(name, kind):
    make, own = options_of(kind, H)
    for value, error in WRONG_OPTIONS[name]:
        options = {"input_size": I, "hidden_size": H, **own}
        with pytest.raises(error, match=f"^{name}: expected .*, got "):
            make(**{**options, name: value})


def test_sizes_may_be_any_integers():
    layer = xr.LSTM(np.int32(I), np.uint8(H), np.int64(1))
    assert type(layer.input_size) is type(layer.num_layers) is int


def test_more_than_all_memory_is_a_memory_error():
    x = np.broadcast_to(zeros(I), (2**40, 2**12, I))
    for method in ("__call__", "forward"):
        with pytest.raises(MemoryError):
            getattr(xr.GRU(I, 2**10, batch_first=True), method)(x)
