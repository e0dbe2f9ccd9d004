"""Masks and resets mean what they say: step by step, as torch's cells, as differences.

None of these tests knows of episodes: they go through the steps in order, a masked one
leaves the state as it is, a reset makes it zero.
"""

import numpy as np
import pytest
from bits import as_state, as_tuple, assert_same_bits, random_problem
from episodes import NAMES, draw_steps, make_any, taken_steps
from truth import assert_all_close

import exactrnn as xr

T, B, I, H = 8, 5, 3, 5
every_name = pytest.mark.parametrize("name", NAMES)


def problem_of(layer, seed):
    problem = random_problem(layer, T, B, seed=seed)
    return problem | draw_steps(np.random.default_rng(seed), T, B)


@every_name
@pytest.mark.parametrize("state", [False, True], ids=["from zeros", "from a state"])
def test_a_stream_that_rests_and_resets_gives_the_same_bits(name, state, isa, dtype):
    layer = make_any(name, I, H, num_layers=2, dtype=dtype)
    problem = problem_of(layer, seed=1)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    begin = problem["state"] if state else None
    y, final = layer(problem["x"], begin, **steps)
    taken = taken_steps(problem)
    within = np.arange(T)[:, None] < problem["lengths"]
    stream = layer.stream(batch_size=B)
    if state:
        stream.state = begin
    for t in range(T):
        stream.reset(rows=problem["resets"][t] & within[t])
        before = stream.state
        y_t = stream.step(problem["x"][t])
        stream.state = as_state(
            np.where(taken[t] if new.ndim == 1 else taken[t][:, None], new, old)
            for new, old in zip(as_tuple(stream.state), as_tuple(before), strict=True)
        )
        y_t[~taken[t]] = 0
        assert_same_bits("y", y_t, y[t])
    for own, expected in zip(as_tuple(final), as_tuple(stream.state), strict=True):
        assert_same_bits("state", own, expected)


# Gradients

STEP, TOLERANCE = 1e-5, 1e-7
SMOOTH = [
    *("rnn", "lstm", "lstm_1997", "gru", "gru_before", "mut1", "mut2", "mut3"),
    *("jordan", "leaky", "clockwork", "depth_gated", "lstm-fgr", "lstm-peepholes"),
    *("lstm-proj", "lstm-proj-equal", "lstm-proj-wide", "lstm-peepholes-cifg-proj"),
    *("leaky-learned", "grid", "grid-shared", "grid-without-memory"),
]


def floats(state):
    return [part for part in as_tuple(state) if part.dtype.kind == "f"]


@pytest.mark.parametrize("way", ["bidirectional", "reverse", "dropout"])
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_through_masks_and_resets_are_central_differences(name, way):
    """Every input is moved by itself along a random direction of signs."""
    options = {way: 0.3 if way == "dropout" else True, "num_layers": 2}
    layer = make_any(name, I, H, dtype="float64", **options)
    problem = problem_of(layer, seed=2)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    generator = layer._generator_state()
    weights = layer.state_dict()
    inputs = {"x": problem["x"], **weights}
    inputs |= {f"state{k}": part for k, part in enumerate(floats(problem["state"]))}

    def forward():
        again = type(layer).restore(layer.arguments(), weights, generator)
        return again.forward(problem["x"], problem["state"], **steps)  # the same masks

    def loss():
        y, final, _ = forward()
        pairs = [(y, problem["dy"])]
        pairs += zip(floats(final), as_tuple(problem["dstate"]), strict=True)
        return sum(np.sum(a * da) for a, da in pairs)

    cache = forward()[2]
    found = cache.layer.backward(cache, problem["dy"], problem["dstate"])
    gradients = {"x": found.x, **found.weights}
    gradients |= {f"state{k}": part for k, part in enumerate(as_tuple(found.state))}
    rng = np.random.default_rng(3)
    for key, array in inputs.items():
        along = rng.choice((-1.0, 1.0), array.shape)
        if key.startswith("weight_hh") and isinstance(layer, xr.ClockworkRNN):
            along *= layer.state_dict()[key] != 0
        before, losses = array.copy(), []
        for way in (STEP, -STEP):
            array[...] = before + way * along
            losses.append(loss())
        array[...] = before
        terms = gradients[key] * along
        assert np.abs(terms).max() > 1e-3, key
        error = (losses[0] - losses[1]) / (2 * STEP) - np.sum(terms)
        assert abs(error) <= TOLERANCE * (np.sum(np.abs(terms)) + 1), key


# torch


def run_torch(layer, problem):
    """Return the results by torch's cells, step by step in each direction."""
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    leaves = {n: torch.tensor(w) for n, w in layer.state_dict().items()}
    inputs = [torch.tensor(problem["x"]), *map(torch.tensor, floats(problem["state"]))]
    wanted = [*inputs, *leaves.values()]
    for tensor in wanted:
        tensor.requires_grad_()
    taken = torch.tensor(taken_steps(problem))[..., None]
    within = np.arange(T)[:, None] < problem["lengths"]
    cuts = torch.tensor(problem["resets"] & within)[..., None]
    cell = getattr(torch.nn, f"{type(layer).__name__}Cell")(I, H).double()
    outputs, finals = [], []
    for d in range(1 + layer.bidirectional):
        back = layer._spec.runs_back(d)
        end = "_l0" + "_reverse" * d
        own = {name: leaves[name + end] for name, _ in cell.named_parameters()}
        state = [part[d] for part in inputs[1:]]
        steps = [None] * T
        for t in reversed(range(T)) if back else range(T):
            if not back:
                state = [torch.where(cuts[t], 0.0, part) for part in state]
            given = tuple(state) if len(state) > 1 else state[0]
            new = torch.func.functional_call(cell, own, (inputs[0][t], given))
            new = as_tuple(new)
            state = [
                torch.where(taken[t], a, b) for a, b in zip(new, state, strict=True)
            ]
            steps[t] = torch.where(taken[t], new[0], 0.0)
            if back:
                state = [torch.where(cuts[t], 0.0, part) for part in state]
        outputs.append(torch.stack(steps))
        finals.append(state)
    y = torch.cat(outputs, dim=-1)
    final = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    pairs = [(y, problem["dy"])]
    pairs += zip(final, as_tuple(problem["dstate"]), strict=True)
    loss = sum((value * torch.tensor(d)).sum() for value, d in pairs)
    grads = [grad.numpy() for grad in torch.autograd.grad(loss, wanted)]
    final = [part.detach().numpy() for part in final]
    found = {"y": y.detach().numpy(), "dx": grads[0]}
    found |= {f"state{k}": part for k, part in enumerate(final)}
    found |= {f"dstate{k}": p for k, p in enumerate(grads[1 : len(inputs)])}
    found |= dict(zip((f"d{n}" for n in leaves), grads[len(inputs) :], strict=True))
    return found


@pytest.mark.parametrize("way", [None, "bidirectional", "reverse"])
@pytest.mark.parametrize("kind", [xr.RNN, xr.LSTM, xr.GRU], ids=lambda k: k.__name__)
def test_masks_and_resets_are_those_of_a_loop_of_torch(kind, way):
    layer = kind(I, H, dtype="float64", seed=4, **({way: True} if way else {}))
    problem = problem_of(layer, seed=5)
    x, state = problem["x"], problem["state"]
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    y, final, cache = layer.forward(x, state, **steps)
    grads = layer.backward(cache, problem["dy"], problem["dstate"])
    found = {"y": y, "dx": grads.x}
    found |= {f"state{k}": part for k, part in enumerate(as_tuple(final))}
    found |= {f"dstate{k}": part for k, part in enumerate(as_tuple(grads.state))}
    found |= {f"d{name}": dw for name, dw in grads.weights.items()}
    assert_all_close(found, run_torch(layer, problem))
