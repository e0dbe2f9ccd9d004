"""What follows from the options can be read: states, gates, what a cache is of.

Adapters and pictures build on these facts, so that they read nothing else.
"""

import copy

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits
from layer_kinds import CELL_KINDS, KINDS, make_cell, make_kind

import exactrnn as xr

T, B, I, H = 4, 3, 2, 6
LAYERS = {
    kind: lambda kind=kind, **more: make_kind(kind, I, H, **more) for kind in KINDS
}
LAYERS["grid"] = lambda **more: xr.TimeDepthGridLSTM(I, H, seed=0, **more)
FACTS = ("state_names", "state_sizes", "gate_names", "num_directions", "counts_steps")


def assert_describes(layer, state, lead):
    """A state has the parts that the facts name, each as wide as they say."""
    parts = as_tuple(state)
    if layer.counts_steps:
        *parts, clock = parts
        assert clock.dtype == np.int64
    assert [part.shape for part in parts] == [(*lead, n) for n in layer.state_sizes]
    assert len(layer.state_names) == len(parts)
    assert layer.state_names[0] == "h"


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", LAYERS)
def test_states_and_gates_are_those_of_the_facts(kind, both):
    layer = LAYERS[kind](num_layers=2, bidirectional=both)
    _, state, cache = layer.forward(draw(T, B, I), gates=True)
    assert layer.num_directions == 1 + both
    assert_describes(layer, state, (2 * layer.num_directions, B))
    ends = ("_l1", "_l1_reverse")[: layer.num_directions]
    gates = {name + end for name in layer.gate_names for end in ends}
    assert {name for name in cache.gates if "_l1" in name} == gates
    below = {name.replace("_l1", "_l0") for name in gates}
    assert {name for name in cache.gates if "_l0" in name} <= below
    if kind != "grid":  # which shows what goes along the depth as well
        states = {name + end for name in layer.state_names for end in ends}
        assert {name for name in cache.states if "_l1" in name} == states


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_facts_of_single_cells(kind):
    cell = make_cell(kind, I, H)
    state, cache = cell.forward(draw(B, I), gates=True)
    assert_describes(cell, state, (B,))
    assert set(cell.gate_names) == set(cache.gates)
    assert set(cell.state_names) == set(cache.states)
    assert cell.num_directions == 1
    assert cache.layer is cell


def test_facts_of_an_echo_state_network():
    network = xr.EchoState(I, H, density=0.5, leak=0.5, seed=1)
    assert_describes(network, network(draw(T, B, I))[1], (1, B))
    assert (network.gate_names, network.num_directions) == (("a",), 1)


def test_facts_of_a_grid_of_any_dimensions():
    grid = xr.GridLSTM(I, H, 3, sides=(0, 2), kinds=("lstm", "tanh", "lstm"), seed=0)
    given = draw(2, 3, B, I), draw(4, 2, B, I, seed=2)
    lengths = [[4, 2, 3], [1, 2, 1], [0, 0, 0]]
    _, cache = grid.forward(given, lengths=lengths)
    assert tuple(cache.gates) == grid.gate_names
    assert cache.layer is grid
    assert (cache.sizes, cache.batch_size) == ((4, 2, 3), B)
    assert cache.lengths.tolist() == lengths
    for shown, own in zip(cache.x, given, strict=True):
        assert same_bits(shown[:, :, 0], own[:, :, 0])  # the row with all points
        assert not shown[:, :, 2].any()
        assert not shown.flags.writeable
        shown.flags.writeable = True
        shown[...] = 1  # a copy
    assert same_bits(cache.x[0][:, :, 0], given[0][:, :, 0])
    borders = [(draw(2, B, H), None), None]
    assert xr.GridLSTM(I, H, sides=()).forward(None, borders, sizes=(4, 2))[1].x is None


@pytest.mark.parametrize("kind", ["gru", "grid"])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"num_layers": 2}])
def test_a_cache_shows_its_layer_and_the_input(kind, options):
    layer, x = LAYERS[kind](**options), draw(B, T, I)
    cache = layer.forward(x)[2]
    assert cache.layer is layer
    assert same_bits(cache.x, x)
    assert not cache.x.flags.writeable
    x[...] = 0
    assert cache.x.any()
    assert same_bits(layer.forward(x[0])[2].x, x[0])
    again = copy.deepcopy(cache)
    assert again.layer is not layer
    assert same_bits(again.x, cache.x)


@pytest.mark.parametrize("kind", ["lstm", "grid"])
def test_the_input_is_zero_where_no_step_was_read(kind):
    x, mask = draw(T, B, I), np.ones((T, B), bool)
    mask[:2, 1] = False
    shown = LAYERS[kind]().forward(x, mask=mask)[2].x
    assert same_bits(shown, np.where(mask[..., None], x, np.float32(0)))


@pytest.mark.parametrize("fact", FACTS)
def test_facts_cannot_be_set(fact):
    layer = xr.LSTM(I, H)
    with pytest.raises(AttributeError):
        setattr(layer, fact, getattr(layer, fact))
