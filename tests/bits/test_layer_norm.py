"""Layer normalisation and scalars (N3): the kernels give the bits of the twin.

In any equations, as options of LSTM and GRU, with threads that share units, in pieces,
step by step; and a row has the bits that it has alone.
"""

import copy
import pickle

import numpy as np
import pytest
from arrays import as_tuple
from bits import assert_same_bits
from definitions import random_cell
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from variants import DTYPES, ISAS

import exactrnn as xr
from exactrnn.verify.layer_cases import RowsOfUnits

LENGTHS = [5, 0, 3]


def shaken(layer):
    """Return the layer, its gains, biases and scalars no longer what they are first."""
    rng = np.random.default_rng(5)
    for name, weight in layer.parameters(writable=True).items():
        if name.startswith(("weight_unit", "weight_norm", "scalar")):
            weight += 0.3 * rng.standard_normal(weight.shape).astype(weight.dtype)
    return layer


def layer_of(kind, H, dtype="float32", **options):
    if kind in ("LSTM", "GRU"):
        made = getattr(xr, kind)(4, H, layer_norm=True, dtype=dtype, seed=1, **options)
    else:
        made = xr.Layer(kind, 4, H, dtype=dtype, seed=1, **options)
    return shaken(made)


def results(module, layer, x, dy):
    y, final, cache = module.forward(*layer, x, lengths=LENGTHS)
    grads = module.backward(*layer, cache, dy)
    named = {"y": y, "dx": grads.x, **grads.weights}
    named |= {f"state {k}": part for k, part in enumerate(as_tuple(final))}
    return named | {f"dstate {k}": d for k, d in enumerate(as_tuple(grads.state))}


def assert_kernels_are_the_twin(layer):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3, 4)).astype(layer.dtype)
    width = layer.hidden_size * (1 + layer.bidirectional)
    dy = rng.standard_normal((5, 3, width)).astype(layer.dtype)
    expected = results(xr.reference, (layer,), x, dy)
    for isa in ISAS:
        with xr.use_isa(isa):
            found = results(layer, (), x, dy)
            plain = layer(x, lengths=LENGTHS)[0]
        for name, twin in expected.items():
            assert_same_bits(f"{isa}: {name}", found[name], twin)
        assert_same_bits(f"{isa}: kept or not", plain, expected["y"])


KINDS = {"LSTM": "LSTM", "GRU": "GRU", "definition": RowsOfUnits()}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@every_kind
def test_kernels_have_the_bits_of_the_twin(kind, dtype):
    for H in (19, 1):
        assert_kernels_are_the_twin(layer_of(kind, H, dtype, bidirectional=True))


@pytest.mark.parametrize("seed", range(4))
def test_random_equations_have_the_bits_of_the_twin(seed):
    cell = random_cell(np.random.default_rng(seed), 40, rows=True)
    dtype = [*DTYPES.values()][seed % 2]
    assert_kernels_are_the_twin(xr.Layer(cell, 4, 19, dtype=dtype, seed=seed))


@pytest.mark.deep
@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([*DTYPES.values()]),
    st.integers(20, 80),
    st.integers(1, 40),
)
def test_any_equations_have_the_bits_of_the_twin(seed, dtype, nodes, H):
    cell = random_cell(np.random.default_rng(seed), nodes, rows=True)
    assume(runs(cell))
    layer = xr.Layer(cell, 4, H, bidirectional=True, dtype=dtype, seed=seed % 1000)
    assert_kernels_are_the_twin(layer)


def runs(cell):
    """Tell whether a cell has no more of anything than the kernels take."""
    try:
        xr.Layer(cell, 4, 3)
    except ValueError as error:
        return "expected at most" not in str(error)
    return True


@every_kind
def test_threads_pieces_single_rows_and_steps_give_the_same_bits(kind):
    layer = layer_of(kind, 70, num_layers=2)
    x = np.random.default_rng(0).standard_normal((9, 20, 4)).astype("float32")
    y, _ = layer(x)
    first, state = layer(x[:4])
    second, _ = layer(x[4:], state)
    assert_same_bits("pieces", np.concatenate([first, second]), y)
    assert_same_bits("one row", layer(x[:, 2:3])[0][:, 0], y[:, 2])
    stream = layer.stream(20)
    assert_same_bits("stream", np.stack([stream.step(x_t) for x_t in x]), y)
    grads = gradients(layer, x)
    limits = xr._core.thread_work()
    try:
        xr._core.thread_work((0, 0))
        for threads in (2, 3):
            with xr.threads(threads):
                assert_same_bits(f"{threads} threads", layer(x)[0], y)
                assert_same_bits("units shared", layer(x[:, :1])[0], y[:, :1])
                for name, dw in gradients(layer, x).items():
                    assert_same_bits(f"{threads} threads: {name}", dw, grads[name])
                alone = gradients(layer, x[:, :1])
            for name, dw in alone.items():
                assert_same_bits(f"units shared: {name}", dw, alone_of(layer, x)[name])
    finally:
        xr._core.thread_work(limits)


def gradients(layer, x):
    y, _, cache = layer.forward(x)
    found = layer.backward(cache, np.ones_like(y))
    return {"dx": found.x, **found.weights}


def alone_of(layer, x):
    with xr.threads(1):
        return gradients(layer, x[:, :1])


@every_kind
def test_a_loop_of_steps_has_the_gradients_of_one_call(kind):
    layer = layer_of(kind, 12)
    x = np.random.default_rng(0).standard_normal((6, 3, 4)).astype("float32")
    y, _, cache = layer.forward(x)
    expected = layer.backward(cache, np.ones_like(y))
    caches, state, dstate, dweights = [], None, None, None
    apart = {name: np.zeros_like(w) for name, w in layer.state_dict().items()}
    for x_t in x:
        _, state, cache = layer.step(x_t, state)
        caches.append(cache)
    for cache in reversed(caches):
        alone = layer.step_back(cache, np.ones_like(y[0]), dstate).weights
        apart = {name: total + alone[name] for name, total in apart.items()}
        dx, dstate, dweights = layer.step_back(
            cache, np.ones_like(y[0]), dstate, dweights
        )
    assert_same_bits("dx of the first step", dx, expected.x[0])
    for name, dw in dweights.items():
        np.testing.assert_allclose(dw, expected.weights[name], rtol=1e-4, atol=1e-5)
        assert_same_bits(f"{name}, call by call", dw, apart[name])


@every_kind
def test_copies_pickles_and_files_give_the_same_bits(kind, tmp_path):
    layer = layer_of(kind, 10, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    y = layer(x)[0]
    xr.save(layer, tmp_path / "model.safetensors")
    others = {
        "copy": copy.deepcopy(layer),
        "pickle": pickle.loads(pickle.dumps(layer)),
        "file": xr.load(tmp_path / "model.safetensors"),
    }
    for name, other in others.items():
        assert_same_bits(name, other(x)[0], y)


@every_kind
def test_what_is_not_finite_in_a_row_stays_there(kind):
    layer = layer_of(kind, 12)
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    y, _ = layer(x)
    x[2, 1, 0] = np.inf
    spoiled, _ = layer(x)
    assert np.isnan(spoiled[2:, 1]).any()
    assert_same_bits("other rows", spoiled[:, ::2], y[:, ::2])


def test_gates_of_the_cache_are_those_of_the_equations():
    layer = layer_of("LSTM", 8)
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    _, _, cache = layer.forward(x, gates=True)
    assert layer.gate_names == ("i", "f", "g", "o")
    i, f, g = (cache.gates[f"{k}_l0"] for k in "ifg")
    c = cache.states["c_l0"]
    np.testing.assert_allclose(f[1:] * c[:-1] + i[1:] * g[1:], c[1:], atol=1e-6)
    assert layer_of("GRU", 8).gate_names == ("r", "z", "v", "n")
