"""A loop of single steps against the truth: torch's autograd in float64.

Each step reads what the one before has put out, as in generative models, and every
third output counts besides, so that gradients come by all ways at once.
"""

import numpy as np
import pytest
from arrays import as_tuple
from truth import assert_all_close, assert_close

import exactrnn as xr

torch = pytest.importorskip("torch", reason="needs torch: extra rivals")

T, B, H = 7, 3, 5
KINDS = {
    "rnn": (xr.RNN, torch.nn.RNN, {}),
    "gru": (xr.GRU, torch.nn.GRU, {}),
    "lstm": (xr.LSTM, torch.nn.LSTM, {}),
    "two-layers": (xr.LSTM, torch.nn.LSTM, {"num_layers": 2}),
}


def weight_of(t):
    """Return how much the sum of the output of a step counts in the loss."""
    return 1.0 if t % 3 == 0 else 0.0


def ours(layer, x):
    """Return the gradients of the first input, the first state and the weights."""
    y, state, caches = x, None, []
    for _ in range(T):
        y, state, cache = layer.step(y, state)
        caches.append(cache)
    dy, dstate, dweights = np.zeros_like(y), None, None
    for t in reversed(range(T)):
        dy, dstate, dweights = layer.step_back(
            caches[t], dy + weight_of(t), dstate, dweights
        )
    return dy, as_tuple(dstate), dweights


def theirs(module, x, states):
    x = torch.tensor(x, requires_grad=True)
    shape = (module.num_layers, B, H)
    begin = [torch.zeros(shape, dtype=torch.float64) for _ in range(states)]
    for part in begin:
        part.requires_grad_()
    y, loss = x, 0.0
    state = tuple(begin) if states > 1 else begin[0]
    for t in range(T):
        y, state = module(y[None], state)
        y = y[0]
        loss = loss + weight_of(t) * y.sum()
    loss.backward()
    weights = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return x.grad.numpy(), tuple(part.grad.numpy() for part in begin), weights


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_steps_has_the_gradients_of_autograd(kind):
    make, theirs_class, options = KINDS[kind]
    layer = make(H, H, dtype="float64", seed=1, **options)
    module = theirs_class(H, H, dtype=torch.float64, **options)
    module.load_state_dict(
        {name: torch.tensor(w) for name, w in layer.state_dict().items()}
    )
    x = np.random.default_rng(2).standard_normal((B, H))
    dx, dstate, dweights = ours(layer, x)
    expected_dx, expected_state, expected = theirs(module, x, len(layer.state_names))
    assert_close("dx", dx, expected_dx)
    for part, other in zip(dstate, expected_state, strict=True):
        assert_close("dstate", part, other)
    assert_all_close(dweights, expected)
