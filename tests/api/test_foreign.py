"""Layers whose weights are someone else's: what adapters are built on, without them.

`_weights/foreign.py` and `_run/foreign.py` give the bits of the layer that owns the
same weights, see every byte that is written, and take back what they handed out
wherever it lies.
"""

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn import _core
from exactrnn._run import foreign
from exactrnn._run.dropout import NOTHING
from exactrnn._run.protocol import Call
from exactrnn._run.stack import Wanted

T, B, I, H = 4, 3, 5, 6
STACKED = [name for name in xr.layers.NETWORKS if name != "grid"]
"""Networks that a `Stack` runs: all but the grid in time, which has its own."""


def make_layer(name, **options):
    """Return two layers of a network on top of each other, in both directions."""
    network = xr.layers.NETWORKS[name]
    shared = {"num_layers": 2, "bidirectional": True, "seed": 1}
    return network.kind(I, H, **shared, **network.options(H), **options)


def addresses_of(arrays):
    return tuple(array.ctypes.data for array in arrays)


def follow(stack, weights):
    """Let a stack have these weights."""
    if not stack.store.holds(addresses_of(weights.values())):
        with stack.store.edit() as own:
            for name, weight in weights.items():
                own[name][...] = weight


def clock_of(layer):
    return np.arange(B) if layer.counts_steps else None


@pytest.mark.parametrize("name", STACKED)
def test_what_is_handed_out_and_taken_in_again_gives_the_same_bits(name):
    layer = make_layer(name)
    weights = layer.state_dict()
    stack = foreign.ForeignStack(layer._spec, lambda: 1)
    follow(stack, weights)
    x, lengths = draw(T, B, I), np.array([2, T, 0])
    clock, y = clock_of(layer), np.empty((T, B, 2 * layer.output_size), "f4")
    ends, run = stack.keep(Call(x, None, lengths, clock), y, NOTHING)
    kept = [crooked(array) for array in foreign.hand_out(run)]
    assert [a.shape for a in kept] == foreign.sizes_kept(layer._spec, T, B)
    del run
    began = foreign.Began(x, lengths, clock, ())
    grads = stack.run_back(foreign.take_in(stack, began, kept), y, None)
    state = None
    if clock is not None:
        state = np.zeros((4, B, H), "f4"), clock
    expected, state, cache = layer.forward(x, state, lengths=lengths)
    known = layer.backward(cache, y)
    states = state if isinstance(state, tuple) else (state,)
    assert same_bits(y, expected)
    assert same_bits(ends, states[: len(ends)])
    assert same_bits([grads[0], grads[2]], [known.x, known.weights])


def crooked(array):
    """Return a copy of an array in memory that is aligned to its elements alone."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    first = 64 - memory.ctypes.data % 64 + array.itemsize % 64
    part = memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    part[...] = array
    return part


def test_gradients_that_are_not_wanted_change_no_other():
    layer = make_layer("gru")
    stack = foreign.ForeignStack(layer._spec, lambda: 1)
    follow(stack, layer.state_dict())
    x, y = draw(T, B, I), np.empty((T, B, 2 * H), "f4")
    _, run = stack.keep(Call(x, None), y, NOTHING)
    dx, dbegin, dweights = stack.run_back(run, y, None)
    for want_x in (True, False):
        for want_weights in (True, False):
            wanted = Wanted(want_x, want_weights)
            found = stack.run_back(run, y, None, wanted=wanted)
            assert same_bits(found[1], dbegin)
            assert same_bits(found[0], dx) if want_x else found[0].size == 0
            assert same_bits(found[2], dweights) if want_weights else found[2] == {}


def test_plain_calls_are_of_the_weights_that_were_last_seen():
    layer = make_layer("lstm")
    stack = foreign.ForeignStack(layer._spec, lambda: 1)
    x = draw(T, B, I)
    for scale in (1.0, 0.5):
        layer.load_state_dict({n: scale * w for n, w in layer.state_dict().items()})
        follow(stack, layer.state_dict())
        assert same_bits(stack.run_plain(x, None), layer(x))


def test_every_byte_of_weights_is_compared():
    layer = xr.LSTM(I, 150, seed=1)  # one small array, one beyond 64 kB
    stack = foreign.ForeignStack(layer._spec, lambda: 1)
    weights = layer.state_dict()
    assert weights["weight_hh_l0"].nbytes > 65536
    at = addresses_of(weights.values())
    assert not stack.store.holds(at)
    follow(stack, weights)
    assert stack.store.holds(at)
    for name in ("bias_ih_l0", "weight_hh_l0"):
        memory = weights[name].reshape(-1).view(np.uint8)
        for place in (0, memory.size // 2, memory.size - 1):
            memory[place] ^= 1
            assert not stack.store.holds(at)
            memory[place] ^= 1
            assert stack.store.holds(at)


def test_threads_are_no_more_than_either_library_says():
    stack = foreign.ForeignStack(xr.GRU(I, H)._spec, lambda: 2)
    with xr.threads(1):
        assert stack.threads_for_calls() == 1
    with xr.threads(3):
        assert stack.threads_for_calls() == 2


def test_cache_of_too_few_bytes_is_refused():
    layer = xr.GRU(I, H, seed=1)
    stack = foreign.ForeignStack(layer._spec, lambda: 1)
    follow(stack, layer.state_dict())
    packs = stack.store.packs(xr.isa(), backward=True)
    sweep = _core.Sweep(None, None, False, 1, keep=True)
    [(size,)] = foreign.sizes_kept(layer._spec, T, B)
    memory = np.zeros(size - 1, np.uint8)
    with pytest.raises(
        ValueError, match=rf"^cache: expected {size} bytes for this call"
    ):
        _core.view_cache(packs.copies[0], T, B, sweep, memory)
