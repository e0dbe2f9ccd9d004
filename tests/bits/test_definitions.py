"""Random equations: the kernels run what the twin computes, bit for bit.

On every instruction set, with threads that share units, ragged, whole and in pieces,
kept and not.
"""

import numpy as np
import pytest
from arrays import as_tuple
from bits import assert_same_bits
from definitions import random_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import DTYPES, ISAS

import exactrnn as xr
from exactrnn import cells
from exactrnn._graph.definition import MOST_NODES, inputs_of

LENGTHS = [5, 0, 3]


def results(module, layer, x, dy):
    y, final, cache = module.forward(*layer, x, lengths=LENGTHS)
    grads = module.backward(*layer, cache, dy)
    parts = [y, *as_tuple(final), grads.x, *as_tuple(grads.state)]
    return parts + list(grads.weights.values())


def assert_kernels_are_the_twin(cell, dtype, seed=0, H=19):
    layer = xr.Layer(cell, 4, H, bidirectional=True, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, 3, 4)).astype(dtype)
    dy = rng.standard_normal((5, 3, 2 * H)).astype(dtype)
    expected = results(xr.reference, (layer,), x, dy)
    for isa in ISAS:
        with xr.use_isa(isa):
            found = results(layer, (), x, dy)
            plain = layer(x, lengths=LENGTHS)[0]
        for k, (ours, twin) in enumerate(zip(found, expected, strict=True)):
            assert_same_bits(f"{isa}: result {k}", ours, twin)
        assert_same_bits(f"{isa}: kept or not", plain, expected[0])


@pytest.mark.parametrize("seed", range(6))
def test_random_equations_have_the_bits_of_the_twin(seed):
    cell = random_cell(np.random.default_rng(seed))
    assert_kernels_are_the_twin(cell, list(DTYPES.values())[seed % 2], seed)


class Swapped(xr.Cell):
    """The gradient of each state becomes the other's, which is still to be read."""

    states = ("h", "c")

    def step(self, s):
        return s.fma(s.c, 0.5, s.W("a")), s.h * 0.25


def test_states_that_change_places_have_the_bits_of_the_twin():
    assert_kernels_are_the_twin(Swapped, "float32")


class MadeAlone(xr.Cell):
    """R sees no state before the step: what y is given comes in by other panels."""

    def step(self, s):
        return s.tanh(s.W("a") + s.R("a", s.tanh(s.h)) + s.b("a"))


def test_products_with_made_values_alone_have_the_bits_of_the_twin():
    assert_kernels_are_the_twin(MadeAlone, "float32", H=70)


def long_chain(function, *others, rows):
    """Return a cell of as many values as there may be, each made of the one before."""
    nodes = [("prev", "h"), ("W", "a"), ("R", "a", 0), ("add", 1, 2)]
    nodes += [("const", (1.25).hex())]
    if rows:
        nodes += [("moments", 3), ("v", "g"), ("norm", 3, 5, 6)]
    first = len(nodes)
    nodes += [(function, 7 if rows else 3, *others)]
    nodes += [(function, n, *others) for n in range(first, MOST_NODES - 1)]
    data = {"version": 3, "name": "Long", "states": ["h"], "nodes": nodes}
    return data | {"outputs": [len(nodes) - 1]}


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(
    "step", [("neg",), ("mul", 4), ("div", 4), ("sub", 0)], ids=str
)
def test_equations_may_be_as_long_as_there_are_nodes(step, rows):
    assert_kernels_are_the_twin(long_chain(*step, rows=rows), "float64", H=2)


class Leaves(xr.Cell):
    """Each state and each weight of units is read more than once."""

    states = ("h", "c")

    def step(self, s):
        v, k = s.v("v", 0.5), s.scalar("k", 0.75)
        a = s.layer_norm(s.W("a") + s.R("a", s.h), "a") + s.v("gain_a", 1.0)
        c = s.fma(v, s.c, k * s.tanh(a)) + v * k
        return s.tanh(c * s.h) - s.c * s.h, c


def with_leaves_of_their_own(data):
    """Return equations in which whoever reads a leaf has a node of it."""
    nodes, place = [], {}

    def own(number):
        leaf = data["nodes"][number]
        if leaf[0] not in ("prev", "v", "scalar"):
            return place[number]
        nodes.append(leaf)
        return len(nodes) - 1

    for number, node in enumerate(data["nodes"]):
        inputs = {k: own(k) for k in inputs_of(tuple(node))}
        place[number] = len(nodes)
        nodes.append([node[0], *(inputs.get(a, a) for a in node[1:])])
    return data | {"nodes": nodes, "outputs": [place[n] for n in data["outputs"]]}


def test_a_leaf_in_many_nodes_is_one_value():
    data = Leaves().definition.data
    many = with_leaves_of_their_own(data)
    assert len(many["nodes"]) > len(data["nodes"]) + 5
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    found = [
        results(xr.Layer(cell, 4, 19, seed=1), (), x, np.ones((5, 3, 19), "float32"))
        for cell in (data, many)
    ]
    for k, (one, other) in enumerate(zip(*found, strict=True)):
        assert_same_bits(f"result {k}", one, other)
    nodes = [node[:2] if node[1] == "v" else node for node in data["nodes"]]
    nodes += [["v", "v", (2.0).hex()], ["add", len(nodes), data["outputs"][1]]]
    twice = data | {"nodes": nodes, "outputs": [data["outputs"][0], len(nodes) - 1]}
    with pytest.raises(ValueError, match="expected one first value of 'v', got an"):
        xr.Layer(twice, 4, 19)


@pytest.mark.deep
@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([*DTYPES.values()]),
    st.integers(14, 60),
    st.integers(1, 3),
)
def test_any_equations_have_the_bits_of_the_twin(seed, dtype, nodes, heads):
    cell = random_cell(np.random.default_rng(seed), nodes)
    if heads > 1:
        cell |= {"version": 2, "num_heads": heads}
    assert_kernels_are_the_twin(cell, dtype, seed % 1000, H=7 * heads)


@pytest.mark.parametrize("heads", [2, 3])
def test_random_equations_with_heads_have_the_bits_of_the_twin(heads):
    cell = random_cell(np.random.default_rng(heads))
    cell |= {"version": 2, "num_heads": heads}
    for H in (16 * heads, 7 * heads):
        assert_kernels_are_the_twin(cell, "float32", heads, H)


@pytest.mark.parametrize("name", cells.__all__)
def test_shipped_cells_have_the_bits_of_the_twin(name):
    assert_kernels_are_the_twin(getattr(cells, name), "float32")


VARIED = {
    "MGU": cells.MGU,
    "SLSTM": cells.SLSTM,
    "SLSTM, heads": cells.SLSTM(num_heads=5),
    "SRU": cells.SRU,
}


@pytest.mark.parametrize("cell", VARIED.values(), ids=VARIED)
def test_threads_pieces_and_single_rows_give_the_same_bits(cell):
    layer = xr.Layer(cell, 4, 70, num_layers=2, seed=1)
    x = np.random.default_rng(0).standard_normal((9, 5, 4)).astype("float32")
    y, final = layer(x)
    first, state = layer(x[:4])
    second, ended = layer(x[4:], state)
    assert_same_bits("pieces", np.concatenate([first, second]), y)
    assert_same_bits("one row", layer(x[:, 2:3])[0][:, 0], y[:, 2])
    stream = layer.stream(5)
    assert_same_bits("stream", np.stack([stream.step(x_t) for x_t in x]), y)
    limits = xr._core.thread_work()
    try:
        xr._core.thread_work((0, 0))
        for threads in (2, 3):
            with xr.threads(threads):
                assert_same_bits(f"{threads} threads", layer(x)[0], y)
                assert_same_bits("units shared", layer(x[:, :1])[0], y[:, :1])
    finally:
        xr._core.thread_work(limits)
    for k, part in enumerate(as_tuple(final)):
        assert_same_bits(f"state {k}", as_tuple(ended)[k], part)
