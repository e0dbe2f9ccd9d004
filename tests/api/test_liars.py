"""Objects that say one thing and then another, over every public call.

What a caller hands in is asked once, and what has been checked is what is used: later
answers, changed shapes of the caller's own arrays and changed indices have no effect.
All of this is Python alone; without the care taken most of it would be a wrong number
or a crash.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from arrays import draw, same_bits
from layer_kinds import KINDS
from modules import LAYERS, STREAMS, WEIGHTED, B, H, I, flat, input_of, step_of
from public_calls import CALLS
from variants import options_of

import exactrnn as xr

every_module = pytest.mark.parametrize("module", CALLS)


def shorter(array):
    """Return less than was promised."""
    return array[:0].copy()


def wider(array):
    return np.repeat(np.repeat(array, 3, axis=0), 3, axis=-1)


def other_kind(array):
    return array.astype("f2" if array.dtype.kind == "f" else "i1")


def out_of_range(array):
    """Return indices that are nowhere, numbers that are none."""
    if array.dtype.kind == "f":
        return np.full_like(array, np.nan)
    return np.full_like(array, True if array.dtype.kind == "b" else 10**9)


LATER = (shorter, wider, other_kind, out_of_range)


class Liar:
    """An array at the first question, something else at every later one."""

    def __init__(self, value, later):
        self.value, self.later, self.asked = value, later, 0

    def __array__(self, dtype=None, copy=None):
        self.asked += 1
        return self.value if self.asked == 1 else self.later(self.value)


def arguments_of(module):
    """Give each call of a module, its result, and the names of its arguments in turn.

    At most three of the weights, which are all alike.
    """
    for what, call in CALLS[module].items():
        names = list(call.values())
        if "weight" in names[0]:
            names = [*dict.fromkeys([*names[:2], names[-1]])]
        yield what, call, flat(call.run(call.values())), names


@every_module
def test_every_array_is_asked_once(module):
    for what, call, expected, names in arguments_of(module):
        for argument, later in product(names, LATER):
            values = call.values()
            liar = values[argument] = Liar(values[argument], later)
            assert same_bits(flat(call.run(values)), expected), (what, argument)
            assert liar.asked == 1, (what, argument)


class Saboteur:
    """An array that reshapes other arrays, which were read before, when it is asked."""

    def __init__(self, value, sabotage):
        self.value, self.sabotage = value, sabotage

    def __array__(self, dtype=None, copy=None):
        self.sabotage()
        return self.value


class Holder:
    """Gives an array that it keeps."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


def flatten(array):
    array.shape = (-1,)


def empty_out(array):
    array.strides = (0,) * array.ndim  # all elements are the first


def as_bytes(array):
    array.dtype = np.uint8


def spoil(array):
    """Change the numbers themselves: of indices the library has its own."""
    if array.dtype.kind != "f":
        array[...] = out_of_range(array)


@pytest.mark.filterwarnings("ignore:Setting the strides:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype):DeprecationWarning")
@pytest.mark.parametrize("change", [flatten, empty_out, as_bytes, spoil])
@every_module
def test_an_array_that_changes_its_form_after_it_was_read_is_no_danger(module, change):
    unharmed = 0
    for what, call, expected, names in arguments_of(module):
        # Earlier arrays are the caller's own, or those of objects of his.
        for held, (position, argument) in product((False, True), enumerate(names)):
            values = call.values()
            before = [n for n in names[:position] if n != "out"]
            earlier = [values[n] for n in before]
            if held:
                values |= {n: Holder(values[n]) for n in before}

            def sabotage(arrays=earlier):
                for array in arrays:
                    change(array)

            values[argument] = Saboteur(values[argument], sabotage)
            try:
                found = flat(call.run(values))
            except (ValueError, TypeError):
                continue  # the order of the call is another: it was read changed
            assert same_bits(found, expected), (what, argument)
            unharmed += position > 0
    assert unharmed > 0


class Shape:
    """Has the right shape and the buffer of something else."""

    def __init__(self, shape, array):
        self.shape, self.array = shape, array
        self.dtype, self.flags = np.dtype("f4"), np.zeros(1, "f4").flags
        self.ndim = len(shape)

    def __array__(self, dtype=None, copy=None):
        return self.array

    def reshape(self, *shape):
        return Shape(shape, self.array)

    def view(self):
        return self


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_does_not_believe_a_shape(name):
    stream = STREAMS[name]()
    x, before = step_of(stream), flat(stream.state)
    shape = stream.step(x).shape
    stream.reset()
    for array in (x[:1], x[:, :1], np.zeros(0, x.dtype), x.astype("f2")):
        with pytest.raises((ValueError, TypeError)):
            stream.step(Shape(x.shape, array))
        with pytest.raises((ValueError, TypeError)):
            stream.step(x, Shape(shape, array))
    assert same_bits([np.asarray(p) for p in flat(stream.state)], before)


# Tuples and mappings


class Changeable(list):
    """A list that is longer, or shorter, each time that it is looked through."""

    def __init__(self, items, step):
        super().__init__(items)
        self.items, self.step, self.asked = list(items), step, 0

    def _now(self):
        self.asked += 1
        return (self.items * 3)[: max(0, len(self.items) + self.step * self.asked)]

    def __iter__(self):
        return iter(self._now())

    def __len__(self):
        return len(self._now())


@pytest.mark.parametrize("step", [-1, 1, 0])
@pytest.mark.parametrize("name", LAYERS)
def test_lists_that_change_are_states_or_refused(name, step):
    layer = LAYERS[name]()
    x = input_of(layer)
    y, state, cache = layer.forward(x)
    if not isinstance(state, tuple):
        state = (state,)
    for run in (
        lambda s: layer(x, s),
        lambda s: layer.forward(x, s)[:2],
        lambda s: layer.backward(cache, y, s),
        lambda s: setattr(layer.stream(B), "state", s),
        lambda s: xr.reference.forward(layer, x, s)[:2],
    ):
        try:
            run(Changeable(state, step))
        except (ValueError, TypeError) as error:
            assert "state" in str(error)  # noqa: PT017 (not every list is refused)


class Names(Mapping):
    """A mapping that has lost its first half when it is gone through again."""

    def __init__(self, weights):
        self.weights, self.looked = weights, 0

    def __iter__(self):
        self.looked += 1
        names = list(self.weights)
        return iter(names if self.looked == 1 else names[len(names) // 2 :])

    def __getitem__(self, name):
        return self.weights[name]

    def __len__(self):
        return len(self.weights)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_mapping_that_changes_is_gone_through_once(name):
    module = WEIGHTED[name]()
    new = {n: 0.5 * weight for n, weight in module.state_dict().items()}
    module.load_state_dict(Names(new))
    assert same_bits(module.state_dict(), new)
    prefixed = {f"rnn.{n}": weight for n, weight in new.items()}
    module.load_state_dict(Names(prefixed), prefix="rnn.")
    twin = type(module).restore(module.arguments(), Names(new))
    assert same_bits(twin.state_dict(), new)


# Sizes


class Size:
    """An integer that is another at each question."""

    def __init__(self, value, step):
        self.value, self.step = value - step, step

    def __index__(self):
        self.value += self.step
        return self.value


@pytest.mark.parametrize("step", [1, 3, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_size_that_changes_makes_a_layer_of_its_first(kind, step):
    make, own = options_of(kind, H)
    own = {
        name: tuple(Size(v, step) for v in value)
        if name in ("periods", "module_sizes")
        else Size(value, step)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in own.items()
    }
    layer = make(Size(I, step), Size(H, step), Size(2, step), seed=1, **own)
    plain, options = options_of(kind, H)
    same = plain(I, H, 2, seed=1, **options)
    assert repr(layer) == repr(same)
    x = draw(3, B, I)
    assert same_bits(flat(layer(x)), flat(same(x)))


@pytest.mark.parametrize("step", [1, 3, -1])
def test_sizes_that_change_make_grids_networks_and_streams_of_their_first(step):
    def size(value):
        return Size(value, step)

    grid = xr.GridLSTM(
        (size(I), size(I)),
        size(H),
        size(2),
        sides=[size(0), size(1)],
        sizes=[None, size(2)],
        seed=1,
    )
    assert repr(grid) == "GridLSTM(4, 6, sides=(0, 1), sizes=(None, 2))"
    x = draw(2, B, I), draw(3, B, I)
    same = xr.GridLSTM(I, H, sides=(0, 1), sizes=(None, 2), seed=1)
    assert same_bits(flat(grid(x)), flat(same(x, sizes=[size(3), size(2)])))
    depth = xr.TimeDepthGridLSTM(size(I), size(H), size(2), seed=1)
    same = xr.TimeDepthGridLSTM(I, H, 2, seed=1)
    assert same_bits(flat(depth(x[1])), flat(same(x[1])))
    network = xr.EchoState(size(I), size(20), washout=size(1), seed=1)
    assert repr(network) == "EchoState(4, 20, washout=1)"
    series = draw(40, I)
    network.fit(series[:-1], series[1:])
    assert network.run(size(3))[0].shape == (3, I)
    assert network.stream(size(B)).step(x[1][0]).shape == (B, I)
    assert depth.stream(size(B)).step(x[1][0]).shape == (B, H)


# What is no array


class Sparse:
    """As SciPy's sparse matrices: a shape and a dtype, but no array."""

    shape, dtype, ndim = (B, I), np.dtype("f4"), 2

    def __len__(self):
        raise TypeError("sparse matrix length is ambiguous")


class Silent:
    def __array__(self, dtype=None, copy=None):
        return None


class Raising:
    def __array__(self, dtype=None, copy=None):
        raise KeyError("a fault of its own")


NO_ARRAYS = {
    "text": lambda: "text",
    "bytes": lambda: b"text",
    "number": lambda: 1.5,
    "object": object,
    "dict": dict,
    "set": lambda: {1, 2},
    "generator": lambda: (k for k in range(3)),
    "function": lambda: len,
    "ragged list": lambda: [[1.0], [2.0, 3.0]],
    "empty tuple": tuple,
    "array of text": lambda: np.array(["a", "b"]),
    "array of objects": lambda: np.array([object(), None], dtype=object),
    "array of records": lambda: np.zeros(3, [("a", "f4"), ("b", "i4")]),
    "array of times": lambda: np.zeros(3, "M8[s]"),
    "complex numbers": lambda: np.zeros((B, I), complex),
    "half precision": lambda: np.zeros((B, I), "f2"),
    "masked array": lambda: np.ma.masked_array(np.zeros((B, I), "f4")),
    "masked integers": lambda: np.ma.masked_array([1, 2, 0], mask=[0, 1, 0]),
    "sparse": Sparse,
    "array that is none": Silent,
    "array that raises": Raising,
    "integers out of range": lambda: [10**30] * B,
    "nothing": lambda: None,
}

OPTIONAL = (
    "state",
    "lengths",
    "out",
    "dy",
    "dstate",
    "borders",
    "dends",
    "x0",
    "rows",
    "w",
    "w_in",
)


@every_module
def test_what_is_no_array_is_refused_by_name(module):
    for what, call, _, names in arguments_of(module):
        for argument, thing in product(names, NO_ARRAYS):
            values = call.values()
            values[argument] = NO_ARRAYS[thing]()
            base = argument.split("[")[0]
            if thing == "nothing" and base in OPTIONAL:
                continue
            if thing == "empty tuple" and base == "rows":
                continue  # no rows
            try:
                call.run(values)
            except (TypeError, ValueError) as error:
                assert str(error).startswith(base), (what, argument, thing)  # noqa: PT017
            else:
                pytest.fail(f"{what}: {argument} was taken from: {thing}")


class PackedSequence(tuple):  # the fields are a named tuple's, as torch's are
    """As torch's: data and batch sizes, which no call takes."""

    __slots__ = ()
    batch_sizes = None


def test_a_packed_sequence_is_answered_with_what_to_do():
    calls = [call for calls in CALLS.values() for call in calls.values()]
    taking = [call for call in calls if "x" in call.values()]
    assert len(taking) > 50
    for call in taking:
        values = call.values()
        values["x"] = PackedSequence((np.zeros((7, I), "f4"), np.array([3, 2, 2])))
        with pytest.raises(TypeError, match=r"^x: .*pad_packed_sequence.*lengths="):
            call.run(values)
