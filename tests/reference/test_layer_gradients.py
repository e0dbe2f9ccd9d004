"""Whole layers by the reference: their gradients are central differences.

One layer in one direction is test_twin_gradients.py's business, and the tolerance is
explained there. Here is what stacks, directions and parameters of the user's own add:
cell states handed up, clocks, a leak that is learned, dropout.
"""

import numpy as np
import pytest
from bits import as_tuple, assert_same_bits

import exactrnn as xr
from exactrnn import layers, reference

I, H, T, B = 2, 3, 3, 2
LENGTHS = np.array([3, 2])
STEP, TOLERANCE = 1e-5, 1e-8

LAYERS = {
    **{name: (own.kind, own.options(H)) for name, own in layers.NETWORKS.items()},
    "peephole lstm": (xr.LSTM, {"peepholes": "ifo"}),
    "projected lstm": (xr.LSTM, {"proj_size": 2, "peepholes": "o"}),
    "linked lstm": (xr.LSTM, {"full_gate_recurrence": True, "coupled": "input"}),
    "blocks of 1997": (xr.LSTM1997, {"block_size": 3}),
    "wide jordan": (xr.JordanRNN, {"output_size": 5}),
    "one learned leak": (xr.LeakyRNN, {"leak": 0.4, "learn_leak": True}),
    "learned leaks": (xr.LeakyRNN, {"leak": (0.2, 0.5, 0.9), "learn_leak": True}),
    "shared grid": (xr.TimeDepthGridLSTM, {"shared": True, "priority": "time"}),
}
"""Every network there is, and options that change what a stack does."""


def make_layer(kind, num_layers=2, **options):
    """Return a bidirectional float64 layer whose weights are random and not small."""
    make, own = LAYERS[kind]
    options = {"bidirectional": True, "dtype": "float64", "seed": 0} | own | options
    layer = make(I, H, num_layers, **options)
    rng = np.random.default_rng(1)
    weights = {n: 0.6 * rng.normal(size=w.shape) for n, w in layer.state_dict().items()}
    layer.load_state_dict(weights)
    return layer


def make_arrays(layer, seed=2):
    """Return x, states, dy, dstates: random, the states as lists."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(T, B, I))
    y, final, _ = run(layer, x, None)
    shapes = [part.shape for part in float_parts(final)]
    state, dstate = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    return x, state, rng.normal(size=y.shape), dstate


def run(layer, x, state, masks=None):
    """Run the reference; `state` is a list of arrays, clocks are added."""
    if state is not None:
        clock = np.array([3, 4])
        is_clockwork = isinstance(layer, xr.ClockworkRNN)
        state = joined([*state, clock] if is_clockwork else state)
    return reference.forward(layer, x, state, lengths=LENGTHS, dropout_masks=masks)


def joined(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def float_parts(state):
    return [part for part in as_tuple(state) if part.dtype.kind == "f"]


def loss(layer, arrays, masks):
    """Return the scalar whose gradient is taken."""
    x, state, dy, dstate = arrays
    y, final, _ = run(layer, x, state, masks)
    pairs = zip([y, *float_parts(final)], [dy, *dstate], strict=True)
    return sum(np.sum(a * da) for a, da in pairs)


def gradients(layer, arrays, masks=None):
    """Return the gradients of x, of the states and of the weights, by name."""
    x, state, dy, dstate = arrays
    _, _, cache = run(layer, x, state, masks)
    found = reference.backward(layer, cache, dy, joined(dstate))
    states = {f"state{k}": part for k, part in enumerate(as_tuple(found.state))}
    return {"x": found.x} | states | found.weights


def wrong_gradients(layer, arrays, masks=None):
    """Return the kinds of arrays whose gradients are not central differences.

    The weights of one kind, in all layers and directions, are moved together.
    """
    x, state, _, _ = arrays
    weights = layer.state_dict()
    moved = {"x": x} | {f"state{k}": part for k, part in enumerate(state)} | weights
    found, wrong = gradients(layer, arrays, masks), []
    assert found.keys() == moved.keys()
    rng = np.random.default_rng(3)
    along = {
        name: rng.choice((-1, 1), a.shape) * rng.uniform(0.5, 1, a.shape)
        for name, a in moved.items()
    }
    terms = {name: found[name] * along[name] for name in moved}
    for kind in {name.partition("_l")[0]: None for name in moved}:
        names = [name for name in moved if name.partition("_l")[0] == kind]
        assert all(np.abs(terms[name]).max() > 1e-4 for name in names)
        before, losses = {name: moved[name].copy() for name in names}, []
        for way in (STEP, -STEP, 0):
            for name in names:
                moved[name][...] = before[name] + way * along[name]
            layer.load_state_dict(weights)
            losses.append(loss(layer, arrays, masks) if way else None)
        error = (losses[0] - losses[1]) / (2 * STEP)
        error -= sum(np.sum(terms[name]) for name in names)
        size = sum(np.sum(np.abs(terms[name])) for name in names)
        if not abs(error) <= TOLERANCE * (size + 1e-2):
            wrong.append(kind)
    return wrong


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_layers_are_central_differences(kind):
    layer = make_layer(kind)
    assert wrong_gradients(layer, make_arrays(layer)) == []


def test_gradients_of_three_depth_gated_layers_with_dropout():
    layer = make_layer("depth_gated", 3, bidirectional=False)
    rng = np.random.default_rng(4)
    masks = [np.where(rng.random((T, B, H)) < 0.3, 0.0, 1 / 0.7) for _ in range(2)]
    assert wrong_gradients(layer, make_arrays(layer), masks) == []


def test_closed_depth_gates_leave_a_stack_of_peephole_lstms():
    gated = make_layer("depth_gated", 3)
    plain = make_layer("peephole lstm", 3)
    weights = gated.state_dict()
    for name in weights:
        if name.startswith("bias_ih") and "_l0" not in name:
            weights[name][4 * H :] = -1000.0
    gated.load_state_dict(weights)
    own = {n: weights[n][: len(w)] for n, w in plain.state_dict().items()}
    plain.load_state_dict(own)
    arrays = make_arrays(plain)
    for found, wanted in zip(
        float_parts(run(gated, *arrays[:2])[1]),
        float_parts(run(plain, *arrays[:2])[1]),
        strict=True,
    ):
        assert_same_bits("state", found, wanted)
    found, wanted = gradients(gated, arrays), gradients(plain, arrays)
    for name in wanted:
        rows = slice(len(wanted[name]))
        assert_same_bits(name, found[name][rows], wanted[name])


def test_clocks_go_on_from_call_to_call():
    layer = make_layer("clockwork", bidirectional=False)
    x = np.random.default_rng(5).normal(size=(7, B, I))
    y, (h, clock), _ = reference.forward(layer, x)
    first, state, _ = reference.forward(layer, x[:3])
    second, (h_end, clock_end), _ = reference.forward(layer, x[3:], state)
    assert_same_bits("y", np.concatenate([first, second]), y)
    assert_same_bits("h", h_end, h)
    assert state[1].tolist() == [3, 3]
    assert clock_end.tolist() == clock.tolist() == [7, 7]


def test_a_clock_counts_the_steps_of_its_own_row():
    layer = make_layer("clockwork", phase=2)
    x = np.ones((T, B, I))
    _, (_, clock), _ = reference.forward(layer, x, lengths=LENGTHS)
    assert clock.tolist() == [5, 4]
    _, (_, alone), _ = reference.forward(layer, x[:, 0])
    assert alone.shape == ()
    assert alone == 5
