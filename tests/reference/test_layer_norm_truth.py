"""Layer normalisation and scalars are what the papers say.

torch's autograd over `nn.functional.layer_norm` in a loop, and central differences, in
float64.
"""

import numpy as np
import pytest
from definitions import random_cell
from truth import assert_all_close, assert_close

import exactrnn as xr

T, B, I, H = 6, 3, 4, 10


class Scaled(xr.Cell):
    """A scalar that multiplies, one that is used twice; values normalised together."""

    states = ("h", "c")

    def step(self, s):
        u, v = s.layer_norm((s.W("u") + s.R("u", s.h), s.W("v") * s.c), ("u", "v"))
        k = s.scalar("k", 0.5)
        c = s.fma(k, s.tanh(u), s.c * (1 - k))
        return s.tanh(s.scalar("q", -0.75) * c + v), c


class Partly(xr.Cell):
    """Of what is normalised together one value is not read, one without gradient."""

    states = ("h", "c")

    def step(self, s):
        sums = tuple(s.W(k) + s.R(k, s.h) for k in "uv")
        u, _, c = s.layer_norm((*sums, s.c), ("u", "v", "c"))
        return s.tanh(u) * s.where(c < 0, 0.5, 1.0), s.mix(0.5, s.c, u)


def random_rows(seed):
    """Return a random cell with rows, without what differences know nothing of."""
    cell = random_cell(np.random.default_rng(seed), 40, rows=True)
    nodes = [["neg" if n[0] == "stop" else n[0], *n[1:]] for n in cell["nodes"]]
    return cell | {"nodes": nodes}


def shaken(layer):
    rng = np.random.default_rng(1)
    for weight in layer.parameters(writable=True).values():
        weight += 0.4 * rng.standard_normal(weight.shape)
    return layer


def problem(layer):
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    count = len(layer.state_names)
    state, dstate = (tuple(0.5 * rng.standard_normal((count, 1, B, H))) for _ in "01")
    return x, dy, state, dstate


def outer(parts):
    return parts if len(parts) > 1 else parts[0]


def found_by(layer, x, dy, state, dstate):
    y, final, cache = layer.forward(x, outer(state))
    grads = layer.backward(cache, dy, outer(dstate))
    as_tuple = lambda part: part if isinstance(part, tuple) else (part,)  # noqa: E731
    found = {"y": y, "dx": grads.x, **grads.weights}
    found |= {f"state {k}": part for k, part in enumerate(as_tuple(final))}
    return found | {f"dstate {k}": d for k, d in enumerate(as_tuple(grads.state))}


def lstm_step(torch, w, x, h, c):
    """Ba, Kiros, Hinton, supplement, with the two biases and b as one."""
    norm = torch.nn.functional.layer_norm
    gain_x, gain_h, b = (w["norm"][k : k + 4].reshape(-1) for k in (0, 4, 8))
    gain_c, bias_c = w["norm"][12:]
    a = norm(x @ w["ih"].T, (4 * H,), gain_x) + norm(h @ w["hh"].T, (4 * H,), gain_h)
    i, f, g, o = (a + b).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm(c, (H,), gain_c, bias_c)), c


def gru_step(torch, w, x, h):
    norm = torch.nn.functional.layer_norm
    ax, ah, rows = x @ w["ih"].T, h @ w["hh"].T, w["norm"]
    gates = norm(ax[:, : 2 * H], (2 * H,), rows[:2].reshape(-1))
    gates = gates + norm(ah[:, : 2 * H], (2 * H,), rows[3:5].reshape(-1))
    r, z = torch.sigmoid(gates + rows[5:7].reshape(-1)).chunk(2, dim=1)
    v = norm(ah[:, 2 * H :], (H,), rows[7], rows[8])
    n = torch.tanh(norm(ax[:, 2 * H :], (H,), rows[2], rows[9]) + r * v)
    return (z * h + (1 - z) * n,)


STEPS = {"LSTM": lstm_step, "GRU": gru_step}


@pytest.mark.parametrize("kind", STEPS)
def test_torch_computes_the_same(kind):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    layer = shaken(getattr(xr, kind)(I, H, layer_norm=True, dtype="float64", seed=1))
    arrays = problem(layer)
    x, dy, state, dstate = (
        [torch.tensor(p, requires_grad=True) for p in part]
        if isinstance(part, tuple)
        else torch.tensor(part, requires_grad=True)
        for part in arrays
    )
    weights = {
        name: torch.tensor(w, requires_grad=True)
        for name, w in layer.state_dict().items()
    }
    short = {name.split("_")[1]: w for name, w in weights.items()}
    now, outputs = [part[0] for part in state], []
    for x_t in x:
        now = STEPS[kind](torch, short, x_t, *now)
        outputs.append(now[0])
    y = torch.stack(outputs)
    loss = (y * dy).sum()
    loss += sum((p * d[0]).sum() for p, d in zip(now, dstate, strict=True))
    loss.backward()
    want = {"y": y, "dx": x.grad} | {n: w.grad for n, w in weights.items()}
    want |= {f"state {k}": part[None] for k, part in enumerate(now)}
    want |= {f"dstate {k}": part.grad for k, part in enumerate(state)}
    got = found_by(layer, *arrays)
    want = {name: want[name].detach().numpy() for name in got}
    assert_all_close(got, want, 1e-11)


@pytest.mark.parametrize(
    "layer",
    [
        xr.LSTM(I, H, layer_norm=True, dtype="float64", seed=1),
        xr.GRU(I, H, layer_norm=True, dtype="float64", seed=1),
        *(
            xr.Layer(cell, I, H, dtype="float64", seed=1)
            for cell in (Scaled(), Partly(), *map(random_rows, (0, 2, 5, 7)))
        ),
    ],
    ids=lambda layer: layer.cell,
)
def test_gradients_are_those_of_central_differences(layer):
    layer = shaken(layer)
    x, dy, state, dstate = problem(layer)
    grads = found_by(layer, x, dy, state, dstate)
    rng = np.random.default_rng(3)

    def loss(moved_x, moved_state):
        y, final = layer(moved_x, outer(moved_state))
        final = final if isinstance(final, tuple) else (final,)
        total = (y * dy).sum()
        return total + sum((p * d).sum() for p, d in zip(final, dstate, strict=True))

    def slope(move):
        eps = 1e-5
        return (move(eps) - move(-eps)) / (2 * eps)

    way = rng.standard_normal(x.shape)
    ways = [rng.standard_normal(part.shape) for part in state]
    assert_close(
        "x",
        (grads["dx"] * way).sum(),
        slope(lambda e: loss(x + e * way, state)),
        1e-6,
    )
    assert_close(
        "state",
        sum((grads[f"dstate {k}"] * w).sum() for k, w in enumerate(ways)),
        slope(lambda e: loss(x, [s + e * w for s, w in zip(state, ways, strict=True)])),
        1e-6,
    )
    for name, weight in layer.state_dict().items():
        way = rng.standard_normal(weight.shape)

        def move(e, name=name, weight=weight, way=way):
            layer.load_state_dict({**layer.state_dict(), name: weight + e * way})
            return loss(x, state)

        got = (grads[name] * way).sum()
        assert_close(name, got, slope(move), 1e-6)
        layer.load_state_dict({**layer.state_dict(), name: weight})


def test_a_row_without_spread_is_its_bias_and_has_a_finite_gradient():
    """At h = 0 the products with h have no variance: 1/sqrt(eps) is what is left."""
    layer = xr.LSTM(I, H, layer_norm=True, dtype="float64", seed=1)
    y, _, cache = layer.forward(np.ones((1, B, I)))
    dh, _ = layer.backward(cache, np.ones_like(y)).state
    assert np.isfinite(y).all()
    assert np.isfinite(dh).all()
    assert np.abs(dh).max() > 1
