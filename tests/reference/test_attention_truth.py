"""Attention decoders are what the papers say: torch's autograd, and differences.

In float64, with the kernels, whose bits are the twin's (tests/bits).
"""

import numpy as np
import pytest
from bits import as_tuple
from decoders import SETTINGS, SMALL, draw_problem, given_to, make_decoder, spell

import exactrnn as xr

TIGHT = {"rtol": 1e-9, "atol": 1e-11}
SIZES = {**SMALL, "T": 4, "S": 5}


def run_kernels(decoder, problem):
    """Return y and the final states, and all gradients by name."""
    given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
    y, state, cache = decoder.forward(**given)
    grads = decoder.backward(cache, **given_to(problem, "dy", "dstate", "dattention"))
    found = {"x": grads.x, "memory": grads.memory, **grads.weights}
    found |= {f"state {k}": part for k, part in enumerate(as_tuple(grads.state))}
    return (y, cache.gates["attention_l0"], *as_tuple(state)), found


def without_nan(problem):
    """Return a problem with zeros where nothing is read: torch reads all."""
    return {
        name: np.nan_to_num(value)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else value
        for name, value in problem.items()
    }


# By torch, from the papers' equations


def cell_step(torch, kind, w, x, state):
    """One step of a GRU or an LSTM, from the equations in their docstrings."""
    if kind == "lstm":
        h, c = state
        a = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        a = a + h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = a.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    (h,) = state
    ar, az, an = (x @ w["weight_ih_l0"].T + w["bias_ih_l0"]).chunk(3, dim=1)
    Rr, Rz, Rn = w["weight_hh_l0"].chunk(3, dim=0)
    br, bz, bn = w["bias_hh_l0"].chunk(3)
    r, z = torch.sigmoid(ar + h @ Rr.T + br), torch.sigmoid(az + h @ Rz.T + bz)
    if kind == "gru":
        n = torch.tanh(an + r * (h @ Rn.T + bn))
    else:
        n = torch.tanh(an + (r * h) @ Rn.T + bn)
    return ((1 - z) * n + z * h,)


def attend(torch, decoder, w, h, memory, inside):
    """α [B, S] and the context [B, M] of the queries h; memory is [B, S, M]."""
    if decoder.score == "additive":
        keys = memory @ w["weight_memory_l0"].T + w["bias_attention_l0"]
        query = (h @ w["weight_query_l0"].T)[:, None]
        score = torch.tanh(keys + query) @ w["weight_score_l0"]
    else:
        general = decoder.score == "general"
        keys = memory @ w["weight_memory_l0"].T if general else memory
        score = (keys * h[:, None]).sum(2)
    score = score.masked_fill(~inside, -1e30)
    alpha = torch.softmax(score, 1) * inside
    context = (alpha[:, :, None] * memory).sum(1)
    if decoder.selector:
        beta = torch.sigmoid(h @ w["weight_selector_l0"] + w["bias_selector_l0"])
        context = beta[:, None] * context
    return alpha, context


def run_torch(decoder, problem):
    """Return the same as `run_kernels`."""
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")

    def leaf(array):
        return torch.tensor(array, requires_grad=True)

    w = {name: leaf(array) for name, array in decoder.state_dict().items()}
    x, memory = leaf(problem["x"]), leaf(problem["memory"])
    first = [leaf(part) for part in as_tuple(problem["state"])]
    T, S = len(problem["x"]), len(problem["memory"])
    inside = torch.tensor(np.arange(S) < problem["memory_lengths"][:, None])
    places, state = memory.transpose(0, 1), tuple(part[0] for part in first)
    ys, alphas = [], []
    for t in range(T):
        takes = torch.tensor(t < problem["lengths"])[:, None]
        given = x[t]
        if decoder.query == "previous":
            alpha, context = attend(torch, decoder, w, state[0], places, inside)
            given = torch.cat([given, context], 1)
        new = cell_step(torch, decoder.cell, w, given, state)
        state = tuple(torch.where(takes, a, b) for a, b in zip(new, state, strict=True))
        if decoder.query == "new":
            alpha, context = attend(torch, decoder, w, state[0], places, inside)
        wide = decoder.output == "concat"
        y = torch.cat([state[0], context], 1) if wide else state[0]
        ys.append(y * takes)
        alphas.append(alpha * takes)
    y, alpha = torch.stack(ys), torch.stack(alphas)
    loss = (y * torch.tensor(problem["dy"])).sum()
    loss = loss + (alpha * torch.tensor(problem["dattention"])).sum()
    for part, d in zip(state, as_tuple(problem["dstate"]), strict=True):
        loss = loss + (part * torch.tensor(d[0])).sum()
    loss.backward()
    leaves = {"x": x, "memory": memory, **w}
    leaves |= {f"state {k}": part for k, part in enumerate(first)}
    grads = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
    results = (y, alpha, *(part[None] for part in state))
    return tuple(part.detach().numpy() for part in results), grads


@pytest.mark.parametrize("setting", SETTINGS, ids=spell)
def test_a_decoder_and_all_its_gradients_are_those_of_torch(setting):
    decoder = make_decoder(setting, SIZES)
    problem = draw_problem(decoder, SIZES)
    results, grads = run_kernels(decoder, problem)
    expected, their_grads = run_torch(decoder, without_nan(problem))
    for one, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(one, other, **TIGHT)
    assert grads.keys() == their_grads.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, their_grads[name], err_msg=name, **TIGHT)


# By differences


def loss_at(decoder, problem, step, direction):
    """The loss where all that it depends on has moved so far."""
    moved = {name: problem[name] + step * direction[name] for name in ("x", "memory")}
    parts = as_tuple(problem["state"])
    state = tuple(p + step * direction[f"state {k}"] for k, p in enumerate(parts))
    twin = type(decoder).restore(
        decoder.arguments(),
        {n: w + step * direction[n] for n, w in decoder.state_dict().items()},
    )
    known = given_to(problem, "memory_lengths", "lengths")
    y, last, cache = twin.forward(
        state=state if len(state) > 1 else state[0], **moved, **known
    )
    total = (y * problem["dy"]).sum()
    total += (cache.gates["attention_l0"] * problem["dattention"]).sum()
    for part, d in zip(as_tuple(last), as_tuple(problem["dstate"]), strict=True):
        total += (part * d).sum()
    return total


@pytest.mark.parametrize("setting", SETTINGS, ids=spell)
def test_gradients_are_the_slopes_of_the_loss(setting):
    """Along random directions through all inputs and weights at once."""
    decoder = make_decoder(setting, SIZES)
    problem = without_nan(draw_problem(decoder, SIZES))
    _, grads = run_kernels(decoder, problem)
    rng, step = np.random.default_rng(3), 1e-5
    for _ in range(3):
        direction = {n: rng.standard_normal(g.shape) for n, g in grads.items()}
        ahead, behind = (
            loss_at(decoder, problem, sign * step, direction) for sign in (1, -1)
        )
        slope = sum((grads[name] * direction[name]).sum() for name in grads)
        np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-6)


# What must hold without any oracle


def test_attention_is_a_share_of_each_place():
    for setting in SETTINGS:
        decoder = make_decoder(setting, SIZES)
        problem = draw_problem(decoder, SIZES)
        (_, alpha, *_), _ = run_kernels(decoder, problem)
        for b, (steps, places) in enumerate(
            zip(problem["lengths"], problem["memory_lengths"], strict=True)
        ):
            total = alpha[:steps, b].sum(axis=1)
            np.testing.assert_allclose(total, float(places > 0), rtol=1e-14)


def test_a_memory_of_one_place_is_read_whatever_the_query():
    decoder = make_decoder({"cell": "lstm", "query": "new"}, SIZES)
    problem = draw_problem(decoder, {**SIZES, "S": 1}, ragged=False)
    y, _ = decoder(problem["x"], problem["memory"])
    expected = np.broadcast_to(
        problem["memory"][0], y[..., decoder.hidden_size :].shape
    )
    np.testing.assert_array_equal(y[..., decoder.hidden_size :], expected)


def test_a_decoder_without_memory_is_the_layer_with_a_context_of_zeros():
    decoder = make_decoder({"cell": "gru"}, SIZES)
    problem = draw_problem(decoder, SIZES, ragged=False)
    nothing = np.zeros(SIZES["B"], int)
    y, _ = decoder(problem["x"], problem["memory"], memory_lengths=nothing)
    layer = xr.GRU(
        decoder.input_size + decoder.memory_size, SIZES["H"], dtype="float64"
    )
    own = decoder.state_dict()
    layer.load_state_dict({name: own[name] for name in layer.state_dict()})
    zeros = np.zeros((*problem["x"].shape[:2], decoder.memory_size))
    expected, _ = layer(np.concatenate([problem["x"], zeros], axis=2))
    np.testing.assert_array_equal(y, expected)
