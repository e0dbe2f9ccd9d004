"""Every cell against implementations of others: torch, plain loops, ReservoirPy.

The kernels in float64, forward and back, are compared with

- torch's own LSTM with a projection;
- for every cell and option a loop of plain torch (`rivals/_torch_steps.py`), written
  from the papers, with gradients of everything by autograd;
- ReservoirPy's leaky units.

Each comparison is seen to fail: the faults planted below are what public
implementations really do otherwise. ONNX is in test_onnx_truth.py.
"""

import numpy as np
import pytest
from truth import (
    CLOCK,
    LENGTHS,
    H,
    I,
    T,
    assert_all_close,
    assert_close,
    draw_arrays,
    draw_layer,
    draw_weights,
    run_layer,
)
from variants import NETWORKS, VARIANTS, options_of

from exactrnn.bench.rivals.torch_loop_rival import has_loop, make_loop
from exactrnn.layers import LeakyRNN
from exactrnn.layers.time_depth import TimeDepthGridLSTM

NAMES = [name for name in (*NETWORKS, *VARIANTS) if has_loop(options_of(name, H)[0])]
"""Cells that torch has a loop for; every other has equations of its own to hold."""


# torch


def differentiate(layer, arrays, run):
    """Return what `run_layer` does, by `run` and autograd.

    `run` gets the weights by name, x and the state as tensors and returns y and the
    final state.
    """
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    [x], state, [dy], dstate = arrays
    leaves = {n: torch.tensor(w) for n, w in layer.state_dict().items()}
    inputs = [torch.tensor(x), *map(torch.tensor, state)]
    wanted = [*inputs, *leaves.values()]
    for tensor in wanted:
        tensor.requires_grad_()
    y, final = run(leaves, inputs[0], tuple(inputs[1:]))
    pairs = zip((y, *final), (dy, *dstate), strict=True)
    loss = sum((value * torch.tensor(d)).sum() for value, d in pairs)
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    dx, *rest = [
        np.zeros(v.shape) if g is None else g.numpy()
        for v, g in zip(wanted, grads, strict=True)
    ]
    names = layer.state_names
    found = {"y": y.detach().numpy(), "dx": dx}
    found |= {f"{s}_n": v.detach().numpy() for s, v in zip(names, final, strict=True)}
    found |= {f"d{s}_0": d for s, d in zip(names, rest, strict=False)}
    weights = zip(leaves, rest[len(names) :], strict=True)
    return found | {f"d{name}": d for name, d in weights}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("num_layers", [1, 2], ids="{}layers".format)
def test_projection_is_torchs(num_layers, bidirectional, lengths):
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    layer = draw_layer("lstm-proj", **options)
    arrays = draw_arrays(layer, lengths)

    def run(leaves, x, state):
        import torch
        from torch.nn.utils import rnn

        module = torch.nn.LSTM(I, H, proj_size=H // 2, dtype=torch.float64, **options)
        if lengths is not None:
            x = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, final = torch.func.functional_call(module, leaves, (x, state))
        if lengths is not None:
            y, _ = rnn.pad_packed_sequence(y, total_length=T)
        return y, final

    # torch's order of names is ours, weight_hr last in each layer and direction.
    assert_all_close(
        run_layer(layer, arrays, lengths), differentiate(layer, arrays, run)
    )


# Loops of plain torch


def run_loop(layer, name, arrays, lengths=None):
    """Return what `run_layer` does, by a loop over steps in torch and autograd."""
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    layer_class, options = options_of(name, layer.hidden_size)
    size = (layer.num_layers, 1 + layer.bidirectional)
    counts = layer.counts_steps
    ends = None if lengths is None else torch.tensor(lengths)

    def run(leaves, x, state):
        loop = make_loop(leaves, layer_class.__name__, options, size)
        given = (*state, torch.tensor(CLOCK)) if counts else state
        y, final = loop(x, given, ends)
        return y, final[:1] if counts else final

    return differentiate(layer, arrays, run)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", NAMES)
def test_cell_is_a_loop_of_torch(name, lengths):
    layer = draw_layer(name)
    arrays = draw_arrays(layer, lengths)
    want = run_loop(layer, name, arrays, lengths)
    assert_all_close(run_layer(layer, arrays, lengths), want)


@pytest.mark.parametrize("name", NAMES)
def test_stack_of_both_directions_is_a_loop_of_torch(name):
    layer = draw_layer(name, num_layers=2, bidirectional=True)
    arrays = draw_arrays(layer, LENGTHS)
    want = run_loop(layer, name, arrays, LENGTHS)
    assert_all_close(run_layer(layer, arrays, LENGTHS), want)


@pytest.mark.parametrize("name", NAMES)
def test_cell_without_bias_is_a_loop_of_torch(name):
    layer = draw_layer(name, bias=False)
    assert not any("bias" in weight for weight in layer.state_dict())
    arrays = draw_arrays(layer)
    assert_all_close(run_layer(layer, arrays), run_loop(layer, name, arrays))


GRIDS = {
    "plain": {},
    "o*tanh(m), depth without memory": {"output": "o*tanh(m)", "depth": "relu"},
    "time comes last": {"priority": "time", "shared": True},
    "no priority": {"priority": "none", "tied": True, "bias": False},
}


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("options", GRIDS.values(), ids=GRIDS)
def test_grid_of_time_and_depth_is_a_loop_of_torch(options, bidirectional):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    size = (3, 1 + bidirectional)
    layer = draw_weights(
        TimeDepthGridLSTM(
            I, H, num_layers=3, bidirectional=bidirectional, dtype="float64", **options
        )
    )
    arrays = draw_arrays(layer, LENGTHS)

    def run(leaves, x, state):
        loop = make_loop(leaves, "TimeDepthGridLSTM", options, size)
        return loop(x, state, torch.tensor(LENGTHS))

    want = differentiate(layer, arrays, run)
    assert_all_close(run_layer(layer, arrays, LENGTHS), want)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("lstm")])
def test_truncated_gradient_is_that_of_states_cut_off(name, monkeypatch):
    """1997: errors stop at the net inputs of a step and go back along c alone."""
    pytest.importorskip("torch", reason="torch, the oracle, is absent")
    from exactrnn.bench.rivals import _torch_steps

    layer = draw_layer(name, num_layers=2)
    kind = type(layer).__name__

    class Truncated(_torch_steps.CLASSES[kind]):
        def gate(self, k, a, c):
            return super().gate(k, a, c.detach())

        def step(self, a, state):
            h, c, *before = state
            return super().step(a, (h.detach(), c, *(s.detach() for s in before)))

    arrays = draw_arrays(layer, LENGTHS)
    monkeypatch.setitem(_torch_steps.CLASSES, kind, Truncated)
    want = run_loop(layer, name, arrays, LENGTHS)
    got = run_layer(layer, arrays, LENGTHS, truncated=True)
    cut = [f"d{s}_0" for s in layer.state_names if s != "c"]
    for state in cut:
        assert not got.pop(state).any()
        assert not want.pop(state).any()
    assert_all_close(got, want)


# ReservoirPy


@pytest.mark.parametrize("leak", [0.3, tuple(np.linspace(0.1, 1, H))], ids=["one", "H"])
def test_leaky_units_are_reservoirpys(leak):
    nodes = pytest.importorskip(
        "reservoirpy.nodes", reason="reservoirpy, the oracle, is absent"
    )
    layer = draw_weights(LeakyRNN(I, H, leak=leak, dtype="float64"))
    weights = layer.state_dict()
    [x], *_ = draw_arrays(layer)
    reservoir = nodes.Reservoir(
        lr=np.array(leak),
        Win=weights["weight_ih_l0"],
        W=weights["weight_hh_l0"],
        bias=weights["bias_ih_l0"] + weights["bias_hh_l0"],
    )
    assert_close("y", layer(x[:, 0])[0], reservoir.run(x[:, 0]))


# Faults: what others do otherwise, and what is easily done wrong


def plant(faults, name, attribute, function):
    """Replace a method of a loop's cell by one that gets the right one as first."""
    from exactrnn.bench.rivals import _torch_steps

    cell_class = getattr(_torch_steps, name)
    right = getattr(cell_class, attribute)
    faults.setattr(
        cell_class, attribute, lambda self, *given: function(right, self, *given)
    )


def after_prepare(change):
    """Return a fault that changes what a cell has prepared."""

    def prepare(right, self):
        right(self)
        change(self)

    return prepare


def output_gate_sees_old_cell(right, self, k, a, c):
    if k != "o":
        self.seen = c
    return right(self, k, a, self.seen)


def clip_after_activation(right, self, k, a, c):
    limit, self.clip = self.clip, None
    found = right(self, k, a, c).clamp(-limit, limit)
    self.clip = limit
    return found


def z_keeps(right, self, a, state):
    """The convention of the GRU."""
    from torch import sigmoid, tanh
    from torch.nn.functional import linear

    [h] = state
    ar, az, an = a.chunk(3, -1)
    r = sigmoid(ar + linear(h, self.Rs[0], self.bs[0]))
    z = sigmoid(az + linear(h, self.Rs[1], self.bs[1]))
    n = tanh(an + linear(r * h, self.Rs[2], self.bs[2]))
    return (z * h + (1 - z) * n,)


def z_sees_h(right, self, h):
    """MUT2 in the place of MUT3."""
    return h


def cut(right, self, a, state):
    return right(self, a, tuple(s.detach() for s in state))


def bias_inside(right, self, x):
    """As theanets has it."""
    from torch.nn.functional import pad

    b_n, self.b_n = self.b_n, 0.0
    return right(self, x) + pad(b_n, (2 * H, 0))


def clock_starts_later(right, self, a, state):
    h, clock = state
    h, clock = right(self, a, (h, clock + 1))
    return h, clock - 1


def slow_hear_fast(self):
    """As tomrunia/ClockworkRNN has it: the mask is right for h @ R, not for R @ h."""
    self.R = self.R.T


def old_lower_cell(right, self, a, state, lower=None):
    before, self.before = getattr(self, "before", lower), lower
    return right(self, a, state, before)


def swap_p(self):
    self.p["f"], self.p["o"] = self.p["o"], self.p["f"]


def transpose_links(self):
    self.between_gates = self.between_gates.T


def swap_coupling(self):
    self.coupled = {"input": "forget", "forget": "input"}[self.coupled]


def leak_other_way(self):
    self.α = 1 - self.α


def swap_reset_update(self):
    self.Rs = (self.Rs[1], self.Rs[0], *self.Rs[2:])


# Name of the variant, class in the loop, its method, and the fault.
FAULTS = {
    "a gradient is cut": ("lstm", "LSTM", "step", cut),
    "o sees the old cell": (
        "lstm-peepholes", "LSTM", "gate", output_gate_sees_old_cell,
    ),
    "peepholes in ONNX's order": (
        "lstm-peepholes", "LSTM", "prepare", after_prepare(swap_p),
    ),
    "the other gate is coupled": (
        "lstm-cifg", "LSTM", "prepare", after_prepare(swap_coupling),
    ),
    "links transposed": (
        "lstm-fgr", "LSTM", "prepare", after_prepare(transpose_links),
    ),
    "clip after the activation": ("lstm-clip", "LSTM", "gate", clip_after_activation),
    "z keeps": ("mut2", "MUT2", "step", z_keeps),
    "r and z swapped": ("mut3", "MUT3", "prepare", after_prepare(swap_reset_update)),
    "z sees h": ("mut3", "MUT3", "seen_by_z", z_sees_h),
    "bias inside": ("mut1", "MUT1", "project", bias_inside),
    "leak the other way": ("leaky", "Leaky", "prepare", after_prepare(leak_other_way)),
    "slow modules hear fast ones": (
        "clockwork", "Clockwork", "prepare", after_prepare(slow_hear_fast),
    ),
    "the clock starts at 1": ("clockwork", "Clockwork", "step", clock_starts_later),
    "lower cell of the step before": (
        "depth_gated", "DepthGated", "step", old_lower_cell,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_loops_show_a_fault(fault, monkeypatch):
    pytest.importorskip("torch", reason="torch, the oracle, is absent")
    name, *place, function = FAULTS[fault]
    layer = draw_layer(name)
    arrays = draw_arrays(layer)
    got = run_layer(layer, arrays)
    assert_all_close(got, run_loop(layer, name, arrays))
    plant(monkeypatch, *place, function)
    want = run_loop(layer, name, arrays)
    with pytest.raises(AssertionError, match="is off by"):
        assert_all_close(got, want)


def test_the_loops_show_another_hard_sigmoid(monkeypatch):
    """torch's hardsigmoid has the slope 1/6, that of Keras and ONNX 0.2."""
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    from exactrnn.bench.rivals import _torch_steps

    other = torch.nn.functional.hardsigmoid
    monkeypatch.setitem(_torch_steps.ACTIVATIONS, "hard_sigmoid", other)
    with pytest.raises(AssertionError, match="is off by"):
        test_cell_is_a_loop_of_torch("lstm-hard", None)
