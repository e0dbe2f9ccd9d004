"""Heads: groups of units that products with R do not mix, each with a block of its own.

The twin knows them too, so what is right is asked of layers without heads: a dense R
with zeros outside of the blocks, and one layer for each head.
"""

import io
import pickle

import numpy as np
import pytest
from arrays import as_tuple
from bits import assert_same_bits

import exactrnn as xr
from exactrnn import cells
from exactrnn._graph.definition import from_data

HEADS = 3
SIZES = {"a head is a whole number of vectors": 48, "it is not": 21}


class Staged(xr.Cell):
    """Products with a state before the step, with another and with a made value."""

    states = ("h", "c")

    def __init__(self, num_heads=1):
        self.num_heads = num_heads

    def step(self, s):
        f = s.sigmoid(s.fma(s.v("f"), s.c, s.W("f") + s.R("f", s.h) + s.b("f")))
        n = s.tanh(s.W("n") + s.R("n", f * s.h) + s.b("n"))
        c = s.mix(f, n, s.c)
        return s.tanh(c) * s.sigmoid(s.R("o", s.c) + s.b("o")), c


def dense_of(R, H):
    """Return R as a whole matrix, with zeros between the heads."""
    size = H // HEADS
    whole = np.zeros((len(R), H), R.dtype)
    for row, part in enumerate(R):
        first = row % H // size * size
        whole[row, first : first + size] = part
    return whole


def make_pair(H, **options):
    """Return a layer with heads and one without that has the same weights."""
    ours = xr.Layer(Staged(HEADS), 4, H, **options)
    dense = xr.Layer(Staged(), 4, H, **options)
    weights = ours.state_dict()
    for name, array in weights.items():
        if name.startswith("weight_hh"):
            weights[name] = dense_of(array, H)
    dense.load_state_dict(weights)
    return ours, dense


def run(layer):
    """Return results, gates and states among them, and gradients of weights."""
    rng, lengths = np.random.default_rng(0), np.array([6, 0, 3, 5, 6])
    x = rng.standard_normal((6, 5, 4)).astype(layer.dtype)
    y, final, cache = layer.forward(x, lengths=lengths, gates=True)
    grads = layer.backward(cache, rng.standard_normal(y.shape).astype(layer.dtype))
    runs = np.arange(6)[:, None] < lengths
    kept = [a[runs] for a in (*cache.gates.values(), *cache.states.values())]
    return [y, *as_tuple(final), *kept, grads.x, *as_tuple(grads.state)], grads.weights


@pytest.mark.parametrize("H", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("threads", [1, 3])
def test_heads_are_a_matrix_with_zeros_between_them(H, threads, all_splits):
    ours, dense = make_pair(H, num_layers=2, bidirectional=True, seed=1)
    with xr.threads(threads):
        (found, dfound), (expected, dexpected) = run(ours), run(dense)
    for k, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert_same_bits(f"result {k}", one, other)
    for name, gradient in dfound.items():
        wanted = dexpected[name]
        if name.startswith("weight_hh"):
            ones = dense_of(np.ones_like(gradient), H)
            wanted = wanted[ones != 0].reshape(gradient.shape)
        assert_same_bits(name, gradient, wanted)


@pytest.fixture
def all_splits():
    """Units are shared among threads however small the work."""
    limits = xr._core.thread_work()
    xr._core.thread_work((0, 0))
    yield
    xr._core.thread_work(limits)


def test_a_stream_of_heads_goes_on_as_a_call_does(all_splits):
    layer = xr.Layer(cells.SLSTM(num_heads=HEADS), 4, 21, seed=1)
    x = np.random.default_rng(0).standard_normal((6, 2, 4)).astype("float32")
    stream = layer.stream(2)
    assert_same_bits("stream", np.stack([stream.step(x_t) for x_t in x]), layer(x)[0])


def test_heads_have_weights_of_their_own_in_every_initialisation():
    for init in ("uniform", "orthogonal", "glorot"):
        layer = xr.Layer(cells.SLSTM(num_heads=4), 3, 20, init=init, seed=0)
        assert layer.weight_hh_l0.shape == (80, 5)
        assert layer.num_parameters == 4 * (20 * 3 + 20 * 20 // 4 + 20)
        if init == "orthogonal":
            for block in layer.weight_hh_l0.reshape(16, 5, 5):
                np.testing.assert_allclose(block @ block.T, np.eye(5), atol=1e-6)


def test_files_and_pickles_have_heads():
    pytest.importorskip("safetensors", reason="files need safetensors")
    layer = xr.Layer(cells.SLSTM(num_heads=2), 3, 4, seed=0)
    x, file = np.ones((3, 1, 3), "float32"), io.BytesIO()
    xr.save(layer, file)
    for other in (xr.load(file.getvalue()), pickle.loads(pickle.dumps(layer))):
        assert_same_bits("y", other(x)[0], layer(x)[0])
    data = layer.arguments()["cell"]
    assert (data["version"], data["num_heads"]) == (2, 2)
    assert from_data(data).num_heads == 2


def test_definitions_without_heads_are_written_as_before():
    data = cells.SLSTM().definition.data
    assert data["version"] == 1
    assert "num_heads" not in data


@pytest.mark.parametrize("heads", [0, -1, 65, 10**30, True, 2.0, "2", None, []])
def test_strange_numbers_of_heads_are_refused(heads):
    with pytest.raises(ValueError, match="num_heads: expected a whole number of 1 to"):
        xr.Layer(cells.SLSTM(num_heads=heads), 3, 60)
    data = {**cells.MGU().definition.data, "version": 2, "num_heads": heads}
    with pytest.raises(ValueError, match="num_heads: expected a whole number of 1 to"):
        xr.Layer(data, 3, 60)


def test_heads_share_the_units_and_something():
    with pytest.raises(ValueError, match=r"hidden_size: .* num_heads = 4, got 18"):
        xr.Layer(cells.SLSTM(num_heads=4), 3, 18)

    class Alone(xr.Cell):
        num_heads = 2

        def step(self, s):
            return s.tanh(s.W("a"))

    with pytest.raises(ValueError, match=r"num_heads: .* 2 heads share, got none"):
        xr.Layer(Alone, 3, 4)
