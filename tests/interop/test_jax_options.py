"""Options of `exactrnn.jax`: what the layers take is taken, what they refuse is not."""

import numpy as np
import pytest
from arrays import draw, same_bits

jax = pytest.importorskip("jax", reason="needs JAX: extra jax")
import jax.numpy as jnp  # noqa: E402

import exactrnn as xr  # noqa: E402
import exactrnn.jax as xrj  # noqa: E402

T, B, I, H = 5, 3, 4, 6

NUMPYS = {"clip": np.float32(0.5), "reverse": np.True_, "reset_after": np.False_}


@pytest.mark.parametrize("name", NUMPYS)
def test_numbers_of_numpy_are_options_as_of_layers(name):
    options = {name: NUMPYS[name]}
    layer, x = xr.GRU(I, H, seed=1, **options), draw(T, B, I)
    assert same_bits(xrj.gru(x, layer.state_dict(), **options)[0], layer(x)[0])


STRANGE = {
    "clip": [np.array(0.5, "f4"), jnp.float32(0.5), 1j, b"1"],
    "activations": [{"sigmoid", "tanh"}, object(), b"ab", np.float32(1)],
    "reverse": [jnp.array(True), b"", np.int64(1)],
}


@pytest.mark.parametrize("name", STRANGE)
def test_options_that_are_none_are_refused_as_by_layers(name):
    weights, x = xr.GRU(I, H, seed=1).state_dict(), draw(T, B, I)
    for value in STRANGE[name]:
        with pytest.raises((TypeError, ValueError)) as of_layer:
            xr.GRU(I, H, **{name: value})
        with pytest.raises(of_layer.type, match=f"^{name}: expected"):
            xrj.gru(x, weights, **{name: value})
