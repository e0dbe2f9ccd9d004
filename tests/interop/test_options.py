"""Options in other libraries' layers: those of ours are taken, others are refused."""

import importlib

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr

T, B, I, H = 5, 3, 4, 6


def run_jax(layer, x, options):
    """Return what `exactrnn.jax` makes of x with a layer's weights and options."""
    xrj = pytest.importorskip("exactrnn.jax", reason="needs jax: extra jax")
    return np.asarray(xrj.gru(x, layer.state_dict(), **options)[0])


def run_torch(layer, x, options):
    """Return what `exactrnn.torch` makes of x with a layer's weights and options."""
    xrt = pytest.importorskip("exactrnn.torch", reason="needs torch: extra torch")
    torch = importlib.import_module("torch")
    module = xrt.GRU(I, H, **options)
    weights = {n: torch.from_numpy(w) for n, w in layer.state_dict().items()}
    module.load_state_dict(weights)
    return module(torch.from_numpy(x))[0].detach().numpy()


LIBRARIES = [run_jax, run_torch]
NUMPYS = {"clip": np.float32(0.5), "reverse": np.True_, "reset_after": np.False_}
STRANGE = {
    "clip": [1j, b"1", {1}, np.complex64(1)],
    "activations": [{"sigmoid", "tanh"}, object(), b"ab", np.float32(1)],
    "reverse": [b"", np.int64(1), {True}],
}


@pytest.mark.parametrize("name", NUMPYS)
@pytest.mark.parametrize("run", LIBRARIES)
def test_numbers_of_numpy_are_options_as_of_layers(run, name):
    options = {name: NUMPYS[name]}
    layer, x = xr.GRU(I, H, seed=1, **options), draw(T, B, I)
    assert same_bits(run(layer, x, options), layer(x)[0])


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("run", LIBRARIES)
def test_options_that_are_none_are_refused_as_by_layers(run, name):
    layer, x = xr.GRU(I, H, seed=1), draw(T, B, I)
    for value in STRANGE[name]:
        with pytest.raises((TypeError, ValueError)) as of_layer:
            xr.GRU(I, H, **{name: value})
        with pytest.raises(of_layer.type, match=f"^{name}: expected"):
            run(layer, x, {name: value})


@pytest.mark.parametrize("name", ["seed", "peephole", "leaks"])
def test_options_of_no_class_are_refused_by_every_torch_module(name):
    xrt = pytest.importorskip("exactrnn.torch", reason="needs torch: extra torch")
    ours = [kind for kind in xr.layers.CLASSES if hasattr(xrt, kind)]
    assert len(ours) > 10
    for kind in ours:
        with pytest.raises(TypeError, match=f"keyword argument '{name}'"):
            getattr(xrt, kind)(I, H, **{name: 1})
