"""Calls of plain arrays: one way to the kernels, with the bits of every other way.

`_core_plain.pxi` says what is plain. A subclass of `ndarray` is not, and has the same
values: what it gets went through the checks in Python.
"""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from arrays import draw, same_bits
from modules import CELLS, GRIDS, LAYERS, MODULES, B, I, T, input_of, keep

import exactrnn as xr


class Strange(np.ndarray):
    """An array that is not plain."""


def strange(value):
    if isinstance(value, tuple | list):
        return type(value)(map(strange, value))
    return value.view(Strange) if isinstance(value, np.ndarray) else value


def gradient_of(layer, state):
    return state[0] if layer.counts_steps else state


def functions_of(function):
    """Return the names of the Python functions that a call is made of, with repeats."""
    names = []

    def watch(frame, event, argument):
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        function()
    except (TypeError, ValueError):  # what is not plain may be wrong
        pass
    finally:
        sys.setprofile(None)
    return names


CHECKED = {
    *("begin", "begin_step", "check_gradient_given", "take_parts"),
    *("begin_grid", "check_gradients"),
}
"""What every call that is not plain comes to."""


def is_plain(function, *arguments):
    """Tell whether a call has had no need of the checks in Python."""
    return not CHECKED & {*functions_of(lambda: function(*arguments))}


OPTIONS = {
    "": {},
    "float64": {"dtype": "float64"},
    "batch-first": {"batch_first": True},
    "both": {"bidirectional": True},
    "both-batch-first": {"bidirectional": True, "batch_first": True},
    "reverse": {"reverse": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_the_bits_of_the_checked_way(name, options):
    layer = LAYERS[name](**options)
    for shape in ((T, B, I), (T, I), (1, 1, I), (1, B, I)):
        x = draw(*shape, dtype=layer.dtype)
        y, end = layer(x)
        assert is_plain(layer, x)
        assert not is_plain(layer, strange(x))
        assert same_bits((y, end), layer(strange(x)))
        assert is_plain(layer, x, end)
        again = layer(x, end)
        assert same_bits(again, layer(strange(x), strange(end)))
        *plain, cache = layer.forward(x, end, gates=True)
        *other, checked = layer.forward(strange(x), strange(end), gates=True)
        assert same_bits(plain, again)
        assert same_bits(other, again)
        for kept in ("x", "gates", "states"):
            assert same_bits(getattr(cache, kept), getattr(checked, kept))
        dend = gradient_of(layer, end)
        for dy, dstate in ((y, None), (None, dend), (y, dend)):
            assert is_plain(layer.backward, cache, dy, dstate)
            grads = layer.backward(cache, dy, dstate)
            expected = layer.backward(checked, strange(dy), strange(dstate))
            assert same_bits(tuple(grads), tuple(expected))
            assert list(grads.weights) == list(layer.state_dict())


@pytest.mark.parametrize("name", CELLS)
def test_cells_give_the_bits_of_the_checked_way(name):
    cell = CELLS[name]()
    for shape in ((B, I), (I,)):
        x = draw(*shape)
        state = cell(x)
        assert is_plain(cell, x, state)
        assert same_bits(state, cell(strange(x)))
        again, cache = cell.forward(x, state)
        assert same_bits(again, cell(strange(x), strange(state)))
        grads = cell.backward(cache, state)
        assert is_plain(cell.backward, cache, state)
        assert same_bits(tuple(grads), tuple(cell.backward(cache, strange(state))))


SPACES = {
    "two": (GRIDS["grid"], draw(T, B, I), None),
    "two-sides": (
        GRIDS["grid-sides"],
        (draw(2, B, I), draw(T, B, I, seed=1)),
        None,
    ),
    "three-tied": (
        lambda: xr.GridLSTM(
            *(I, 6, 3), sizes=(None, None, 2), priority=(2,), tied=True, seed=1
        ),
        draw(4, 3, B, I),
        None,
    ),
    "no-side": (
        lambda: xr.GridLSTM(I, 6, sides=(), sizes=(2, 3), seed=1),
        None,
        [(draw(3, B, 6), None), None],
    ),
    "float64": (
        lambda: xr.GridLSTM(
            *(I, 6, 1), sides=(0,), sizes=(3,), bias=False, dtype="float64", seed=1
        ),
        draw(B, I, dtype="float64"),
        None,
    ),
}


@pytest.mark.parametrize(("make", "x", "borders"), SPACES.values(), ids=SPACES)
def test_grids_give_the_bits_of_the_checked_way(make, x, borders):
    grid = make()
    assert is_plain(grid, x, borders)
    assert x is None or not is_plain(grid, strange(x), borders)
    ends = grid(x, borders)
    assert same_bits(arrays_of(ends), arrays_of(grid(strange(x), strange(borders))))
    begin = [None if k in grid.sides else ends[k] for k in range(grid.dims)]
    assert is_plain(grid, x, begin)
    again = grid(x, begin)
    expected = arrays_of(grid(strange(x), strange(begin)))
    assert same_bits(arrays_of(again), expected)
    found, cache = grid.forward(x, begin)
    other, checked = grid.forward(strange(x), strange(begin))
    assert same_bits(arrays_of(found), expected)
    assert same_bits(arrays_of(other), expected)
    assert same_bits(arrays_of(cache.x), arrays_of(x))
    for kept in ("gates", "points"):
        assert same_bits(getattr(cache, kept), getattr(checked, kept))
    some = [ends[0], *(None for _ in ends[1:])]
    for dends in (ends, some):
        assert is_plain(grid.backward, cache, dends)
        grads = grid.backward(cache, dends)
        expected = grid.backward(checked, strange(dends))
        assert same_bits(arrays_of(tuple(grads)), arrays_of(tuple(expected)))
        assert list(grads.weights) == list(grid.state_dict())


def arrays_of(value):
    """Return all arrays of tuples within tuples, in order."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [array for part in value for array in arrays_of(part)]
    return [] if value is None else [value]


def test_what_a_grid_cannot_take_is_not_plain():
    grid = GRIDS["grid-sides"]()
    x = draw(2, B, I), draw(T, B, I)
    ends, cache = grid.forward(x)
    for wrong in (
        x[0],
        x[:1],
        (x[0], x[1][:, 1:]),
        (x[0], draw(T, B, 1)),
        (draw(2, 0, I), draw(T, 0, I)),
        (x[0], np.asfortranarray(x[1])),
    ):
        assert not is_plain(grid, wrong)
        assert not is_plain(grid.forward, wrong)
    assert not is_plain(grid, x, (ends[0], None))
    assert not is_plain(grid.backward, cache, (None, None))
    assert not is_plain(grid.backward, cache, (ends[0], ends[1][1:]))
    one = GRIDS["grid"]()
    assert not is_plain(one, draw(T, B, I), [(draw(2, B, 6), draw(1, B, 6)), None])
    assert not is_plain(lambda: one(draw(T, B, I), lengths=np.ones((B, 2), np.int64)))


def test_gradients_of_rows_that_end_early_are_those_of_the_checked_way():
    for name in ("gru", "lstm-everything", "clockwork"):
        layer = LAYERS[name]()
        y, _, cache = layer.forward(draw(T, B, I), lengths=[2, T, 0])
        assert is_plain(layer.backward, cache, y)
        grads = layer.backward(cache, y)
        assert same_bits(tuple(grads), tuple(layer.backward(cache, strange(y))))


def test_inputs_of_any_strides_are_plain():
    layer = xr.LSTM(I, 6, 2, bidirectional=True, seed=1)
    wide = draw(2 * T, 3 * B, 2 * I)
    seen = wide[::-2, 1::3, :I], wide[:T, :B, I:], np.swapaxes(wide, 0, 1)[:T, :B, :I]
    repeated = np.broadcast_to(draw(I), (T, B, I))
    for x in (*seen, repeated):
        assert is_plain(layer, x)
        assert same_bits(layer(x), layer(strange(x)))
        y, _, cache = layer.forward(x)
        assert same_bits(cache.x, x)
        for dy in (y, np.swapaxes(np.ascontiguousarray(np.swapaxes(y, 0, 1)), 0, 1)):
            grads = layer.backward(cache, dy)
            assert same_bits(tuple(grads), tuple(layer.backward(cache, strange(dy))))


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


NOT_PLAIN = {
    "a list": lambda x: x.tolist(),
    "a subclass": strange,
    "another dtype": lambda x: x.astype(np.float64),
    "another order of bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "no alignment": unaligned,
    "gaps": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "one axis more": lambda x: x[None],
    "too narrow": lambda x: x[..., 1:],
    "nothing": lambda x: x[:0],
    "no numbers": lambda x: x.astype("datetime64[s]"),
    "objects": lambda x: x.astype(object),
}


@pytest.mark.parametrize("change", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_whatever_needs_a_thought_is_not_plain(change):
    layer = xr.GRU(I, I, seed=1)
    x = draw(T, B, I)
    y, h, cache = layer.forward(x)
    with np.errstate(all="ignore"):
        other, state = change(x), change(h)
    assert not is_plain(layer, other)
    assert not is_plain(layer.forward, other)
    assert not is_plain(layer, x, state)
    assert not is_plain(layer.backward, cache, change(y))
    assert not is_plain(layer.backward, cache, None, state)


def test_a_state_in_another_order_is_not_plain():
    layer = xr.GRU(I, I, seed=1)
    x, h = draw(T, B, I), draw(1, B, I)
    fortran = np.asfortranarray(h)
    assert not is_plain(layer, x, fortran)
    assert same_bits(layer(x, fortran), layer(x, h))


@pytest.mark.parametrize("clock", [-1, 2**62 + 1])
def test_a_clock_out_of_range_is_not_plain(clock):
    layer = LAYERS["clockwork"]()
    x = draw(T, B, I)
    h, ticks = layer(x)[1]
    ticks[1] = clock
    assert not is_plain(layer, x, (h, ticks))
    with pytest.raises(ValueError, match=r"state\[1\]\[1\]: expected 0"):
        layer(x, (h, ticks))


def test_dropout_and_episodes_are_not_plain():
    layer = xr.GRU(I, 6, 2, dropout=0.5, seed=1)
    x = draw(T, B, I)
    assert is_plain(layer, x)
    assert not is_plain(layer.forward, x)
    y, _, cache = layer.forward(x)
    assert not is_plain(layer.backward, cache, y)
    y, _, cache = layer.forward(x, resets=np.arange(T * B).reshape(T, B) == 4)
    assert not is_plain(layer.backward, cache, y)


def test_what_a_plain_call_keeps_is_its_own():
    layer = LAYERS["clockwork"]()
    x = draw(T, B, I)
    h, clock = layer(x)[1]
    y, _, cache = layer.forward(x, (h, clock))
    before = layer.backward(cache, y)
    for array in (x, h, clock):
        array[...] = 0
    assert same_bits(tuple(layer.backward(cache, y)), tuple(before))


def test_weights_isas_and_leases_are_those_of_the_moment():
    layer, x = xr.LSTM(I, 6, seed=1), draw(T, B, I)
    first = layer(x)[0]
    lease = layer.parameters(writable=True)["weight_hh_l0"]
    lease *= 2
    for isa in xr.isas():
        with xr.use_isa(isa):
            changed = layer(x)[0]
            assert not same_bits(changed, first)
            assert same_bits(changed, layer(strange(x))[0])
            y, _, cache = layer.forward(x)
            layer.backward(cache, y)
    layer.bias_ih_l0[...] = 1
    with pytest.raises(ValueError, match="call forward again"):
        layer.backward(cache, y)


@pytest.mark.parametrize("name", [*LAYERS, *CELLS, *GRIDS])
def test_a_layer_that_was_called_goes_with_its_last_name(name):
    module = MODULES[name]()
    module(input_of(module))
    keep(module)
    seen = weakref.ref(module._store)
    gc.disable()
    try:
        del module
        assert seen() is None
    finally:
        gc.enable()


def test_threads_in_one_layer_get_their_own_results():
    layer = xr.LSTM(I, 6, 2, bidirectional=True, seed=1)
    inputs = [draw(T, B + k, I, seed=k) for k in range(4)]

    def work(x):
        y, end, cache = layer.forward(x)
        return y, end, tuple(layer.backward(cache, y, end)), layer(x, end)

    expected = [work(x) for x in inputs]
    wrong = []

    def repeat(x, result):
        wrong.extend(n for n in range(200) if not same_bits(work(x), result))

    pairs = zip(inputs, expected, strict=True)
    threads = [threading.Thread(target=repeat, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# How many Python functions a call is made of, so that it does not grow back.


def frames_of(function):
    """Return how many calls of Python functions a call is, its own not counted."""
    function()
    return len(functions_of(function)) - 1


MOST = {"call": 6, "carried": 6, "forward": 10, "backward": 9}
MORE = {
    "time-depth": {"forward": 14},  # a run for each direction
    "time-depth-tanh": {"forward": 14},
    "leaky-learned": {"backward": 160},  # the gradient of a logit, in NumPy
    "leaky-per-unit": {"backward": 160},
}


@pytest.mark.parametrize("name", [*LAYERS, *CELLS, *GRIDS])
def test_a_call_is_a_few_python_functions(name):
    module = MODULES[name]()
    x = input_of(module)
    state = module(x) if name in CELLS else None if name in GRIDS else module(x)[1]
    cache, gradients = keep(module)
    frames = {
        "call": frames_of(lambda: module(x)),
        "carried": frames_of(lambda: module(x, state)),
        "forward": frames_of(lambda: module.forward(x)),
        "backward": frames_of(lambda: module.backward(cache, *gradients)),
    }
    most = MOST | MORE.get(name, {})
    assert {kind: n for kind, n in frames.items() if n > most[kind]} == {}
