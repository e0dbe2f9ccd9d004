"""Pairs of recurrent modules of torch, stock and ours, with the same weights.

The options and inputs are those of torch's own tests of its modules: biases, batch
first or not, layers, directions, projections, initial states or none, batches, single
sequences, and packed ones in any order.
"""

import itertools

import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import exactrnn.torch as xrt

LAYERS = ("LSTM", "GRU", "RNN")
CELLS = ("LSTMCell", "GRUCell", "RNNCell")
OTHERS = {
    "LSTM1997": {"block_size": 2},
    "DepthGatedLSTM": {},
    "MUT1": {},
    "MUT2": {},
    "MUT3": {},
    "JordanRNN": {"output_size": 3},
    "LeakyRNN": {"leak": 0.5, "learn_leak": True},
    "ClockworkRNN": {"periods": (1, 2)},
}
"""Layers that torch does not have, with options that show what they are."""
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
I, H, T, B = 3, 4, 5, 3
"""Sizes of all that is made here."""

FORMS = ("batch", "alone", "sorted", "unsorted")
"""A padded batch, a sequence without a batch, packed sequences."""


def layer_options(kind):
    """Yield the options that torch's own tests go through, as keyword arguments."""
    names = ("bias", "batch_first", "bidirectional", "num_layers")
    for values in itertools.product(
        (True, False), (True, False), (True, False), (1, 2)
    ):
        options = dict(zip(names, values, strict=True))
        yield options
        if kind == "LSTM":
            yield {**options, "proj_size": 2}
        if kind == "RNN":
            yield {**options, "nonlinearity": "relu"}


def make_pair(kind, *sizes, dtype=torch.float32, **options):
    """Return a module of torch's and one of ours with its weights."""
    stock = getattr(torch.nn, kind)(*(sizes or (I, H)), dtype=dtype, **options)
    ours = getattr(xrt, kind)(*(sizes or (I, H)), dtype=dtype, **options)
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def draw_input(form, batch_first=False, dtype=torch.float32):
    """Return an input of this form that asks for gradients."""
    if form in ("sorted", "unsorted"):
        lengths = (5, 4, 2) if form == "sorted" else (2, 5, 4)
        rows = [torch.randn(n, I, dtype=dtype, requires_grad=True) for n in lengths]
        return pack_sequence(rows, enforce_sorted=form == "sorted")
    shape = (T, I) if form == "alone" else (B, T, I) if batch_first else (T, B, I)
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def draw_state(module, form, dtype=torch.float32):
    """Return an initial state for a layer."""
    planes = module.num_layers * (1 + module.bidirectional)
    rows = () if form == "alone" else (B,)
    outer = getattr(module, "proj_size", 0) or H
    h = torch.randn(planes, *rows, outer, dtype=dtype, requires_grad=True)
    if not isinstance(module, torch.nn.LSTM):
        return h
    return h, torch.randn(planes, *rows, H, dtype=dtype, requires_grad=True)


def flat(results):
    """Return all tensors of what a call gave, in order."""
    if isinstance(results, torch.Tensor):
        return [results]
    if isinstance(results, PackedSequence):
        return [t for t in results if t is not None]
    return [t for part in results for t in flat(part)]


def gradients(module, results, *inputs):
    """Return gradients of a nonlinear function of all results."""
    floating = [t for t in flat(results) if t.requires_grad]
    loss = sum(
        (t * (1 + torch.arange(t.numel()).reshape(t.shape)).cos()).sum()
        for t in floating
    )
    wanted = [*inputs, *module.parameters()]
    return torch.autograd.grad(loss, wanted, allow_unused=True)


def largest_difference(first, second):
    """Return the largest difference of tensors of the same shapes and dtypes."""
    pairs = list(zip(first, second, strict=True))
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return max(
        (float((a - b).detach().abs().max()) if a.numel() else 0.0) for a, b in pairs
    )


def leaves(x):
    """Return the tensors of an input or state that gradients are asked for."""
    return [t for t in flat(x) if t.is_leaf and t.requires_grad]
