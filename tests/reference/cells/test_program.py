"""What only cells from their equations promise: those that are shipped are right."""

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import cells

SHIPPED = {name: getattr(cells, name) for name in cells.__all__}
SHIPPED["SLSTM, heads"] = cells.SLSTM(num_heads=2)
SHIPPED["MinGRU, positive"] = cells.MinGRU(positive=True)


# Truth: the shipped cells against their papers' equations, in plain NumPy


def sigma(a):
    return 1 / (1 + np.exp(-a))


def products(layer, part):
    """Return the row blocks of W or R and what is added to W's, by name."""
    form = layer._spec.compiled.form
    matrix = getattr(layer, f"weight_{part}_l0")
    names = form.w_names if part == "ih" else form.r_names
    found = dict(zip(names, np.split(matrix, len(names)), strict=True))
    biases = dict.fromkeys(names, 0.0)
    if part == "ih":
        biased = form.bias_names[0]
        own = np.split(layer.bias_ih_l0, len(biased))
        biases |= dict(zip(biased, own, strict=True))
    return found, biases


def paper_mgu(h, x, W, R, b):
    f = sigma(W["f"] @ x + R["f"] @ h + b["f"])
    n = np.tanh(W["n"] @ x + R["n"] @ (f * h) + b["n"])
    return (1 - f) * h + f * n


def paper_ugrnn(h, x, W, R, b):
    g = sigma(W["g"] @ x + R["g"] @ h + b["g"])
    return g * h + (1 - g) * np.tanh(W["n"] @ x + R["n"] @ h + b["n"])


def paper_janet(h, x, W, R, b):
    s = W["s"] @ x + R["s"] @ h + b["s"]
    n = np.tanh(W["n"] @ x + R["n"] @ h + b["n"])
    return sigma(s) * h + (1 - sigma(s - 1)) * n


def paper_min_gru(h, x, W, R, b):
    z = sigma(W["z"] @ x + b["z"])
    return (1 - z) * h + z * (W["n"] @ x + b["n"])


def paper_min_lstm(h, x, W, R, b):
    f, i = (sigma(W[k] @ x + b[k]) for k in "fi")
    return f / (f + i) * h + i / (f + i) * (W["n"] @ x + b["n"])


PAPERS = {
    "JANET": paper_janet,
    "MGU": paper_mgu,
    "UGRNN": paper_ugrnn,
    "MinGRU": paper_min_gru,
    "MinLSTM": paper_min_lstm,
}


@pytest.mark.parametrize("name", PAPERS)
def test_shipped_cell_of_one_state_is_that_of_the_paper(name):
    layer = xr.Layer(getattr(cells, name), 3, 4, seed=1, dtype="float64")
    W, b = products(layer, "ih")
    R = products(layer, "hh")[0] if "weight_hh_l0" in layer.state_dict() else {}
    rng = np.random.default_rng(0)
    h, x = rng.standard_normal(4), rng.standard_normal((5, 3))
    y, _ = layer(x, h[None])
    for x_t, y_t in zip(x, y, strict=True):
        h = PAPERS[name](h, x_t, W, R, b)
        np.testing.assert_allclose(y_t, h, rtol=1e-13, atol=1e-14)


def test_ind_rnn_is_that_of_the_paper():
    layer = xr.Layer(cells.IndRNN, 3, 4, seed=1, dtype="float64")
    x = np.random.default_rng(0).standard_normal((9, 3))
    h = np.zeros(4)
    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        u = layer.weight_unit_l0[0]
        h = np.maximum(layer.weight_ih_l0 @ x_t + u * h + layer.bias_ih_l0, 0)
        np.testing.assert_allclose(y_t, h, rtol=1e-13)


def test_sru_is_that_of_the_paper():
    layer = xr.Layer(cells.SRU, 3, 4, seed=1, dtype="float64")
    W, b = products(layer, "ih")
    v_f, v_r = layer.weight_unit_l0
    x = np.random.default_rng(0).standard_normal((9, 3))
    c = np.zeros(4)
    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        f = sigma(W["f"] @ x_t + v_f * c + b["f"])
        r = sigma(W["r"] @ x_t + v_r * c + b["r"])
        c = f * c + (1 - f) * (W["u"] @ x_t)
        np.testing.assert_allclose(y_t, r * c + (1 - r) * (W["x"] @ x_t), rtol=1e-13)


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_is_the_plain_form_without_m(forget):
    """Where nothing overflows: c = f*c + exp(a_i)*z, and so on."""
    layer = xr.Layer(cells.SLSTM(forget), 3, 4, seed=1, dtype="float64")
    W, b = products(layer, "ih")
    R, _ = products(layer, "hh")
    x = np.random.default_rng(0).standard_normal((9, 3))
    h, c, n = np.zeros((3, 4))
    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        a = {k: W[k] @ x_t + R[k] @ h + b[k] for k in "zifo"}
        f = sigma(a["f"]) if forget == "sigmoid" else np.exp(a["f"])
        c = f * c + np.exp(a["i"]) * np.tanh(a["z"])
        n = f * n + np.exp(a["i"])
        h = sigma(a["o"]) * c / n
        np.testing.assert_allclose(y_t, h, rtol=1e-12)


def test_slstm_stays_in_range_where_the_plain_form_does_not():
    layer = xr.Layer(cells.SLSTM("exp"), 3, 4, seed=1)
    x = 300 * np.random.default_rng(0).standard_normal((50, 2, 3)).astype("float32")
    y, _ = layer(x)
    assert np.isfinite(y).all()
    assert (np.abs(y) <= 1).all()


# Gradients: central differences


@pytest.mark.parametrize("cell", SHIPPED.values(), ids=SHIPPED)
def test_gradients_of_shipped_cells_are_central_differences(cell):
    layer = xr.Layer(cell, 3, 4, seed=1, dtype="float64")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2, 4))
    *_, cache = layer.forward(x)
    grads = layer.backward(cache, dy)

    def loss():
        return float(np.sum(layer(x)[0] * dy))

    with layer.editing() as weights:
        for name, weight in weights.items():
            found = differences(loss, weight)
            np.testing.assert_allclose(grads.weights[name], found, 1e-6, 1e-8)
    np.testing.assert_allclose(grads.x, differences(loss, x), 1e-6, 1e-8)


def differences(loss, array, step=1e-6):
    """Return the gradient of a loss by central differences, an element at a time."""
    found = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        ends = []
        for other in (value + step, value - step):
            array[index] = other
            ends.append(loss())
        array[index] = value
        found[index] = (ends[0] - ends[1]) / (2 * step)
    return found


def test_a_stopped_value_has_no_gradient():
    class Stopped(xr.Cell):
        def step(self, s):
            return s.tanh(s.W("a") + s.R("a", s.h)) + s.stop(s.v("u"))

    layer = xr.Layer(Stopped, 3, 4, seed=1)
    *_, cache = layer.forward(np.ones((2, 1, 3), "float32"))
    grads = layer.backward(cache, np.ones((2, 1, 4), "float32"))
    assert not grads.weights["weight_unit_l0"].any()
    assert grads.weights["weight_ih_l0"].all()
