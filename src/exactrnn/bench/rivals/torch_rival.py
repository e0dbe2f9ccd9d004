"""PyTorch: `torch.nn` modules, in inference mode or with autograd.

A step is one call of `LSTMCell` or `GRUCell`, faster than the layers at T = 1. A
ragged batch is a `PackedSequence` made beforehand; autograd returns gradients, it does
not add them to any `.grad`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array
from exactrnn.bench.rivals import Outcome, Prepared, _torch_training
from exactrnn.bench.rows import TRAINING, Problem

NAME = "torch"
MODULES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def version() -> str:
    """Return the version of torch."""
    import torch

    return str(torch.__version__)


def prepare(problem: Problem) -> Prepared | None:
    """Make the row ready."""
    import torch

    row = problem.row
    if row.cell not in MODULES or (row.task == "step" and row.layers > 1):
        return None
    torch.set_num_threads(problem.threads)
    if row.task == TRAINING:
        return _torch_training.prepare(problem, MODULES[row.cell])
    weights = {k: torch.from_numpy(w) for k, w in problem.weights.items()}
    x = torch.from_numpy(problem.x)
    if row.task == "step":
        return prepare_step(problem, weights, x[0])
    module = getattr(torch.nn, MODULES[row.cell])(
        row.I,
        row.H,
        row.layers,
        bidirectional=row.directions == 2,
        dtype=getattr(torch, row.dtype),
    )
    module.load_state_dict(weights)
    if row.task == "gradients":
        return prepare_gradients(problem, module, x)
    return prepare_forward(problem, module.eval(), x)


def pack(array: Any, lengths: NDArray[np.int64] | None) -> Any:
    """Return a padded array as a PackedSequence; as it is without lengths."""
    import torch
    from torch.nn.utils import rnn

    if lengths is None:
        return array
    return rnn.pack_padded_sequence(
        array, torch.from_numpy(lengths), enforce_sorted=False
    )


def unpack(sequence: Any) -> Array:
    """Return an array, padded, from either."""
    from torch.nn.utils import rnn

    packed = isinstance(sequence, rnn.PackedSequence)
    padded = rnn.pad_packed_sequence(sequence)[0] if packed else sequence
    array: Array = padded.numpy()
    return array


def prepare_forward(problem: Problem, module: Any, x: Any) -> Prepared:
    """Make a whole sequence ready, for inference."""
    import torch

    given = pack(x, problem.row.lengths)

    def run() -> Any:
        with torch.inference_mode():
            return module(given)[0]

    return Prepared(run, lambda y: {"y": unpack(y)})


def prepare_gradients(problem: Problem, module: Any, x: Any) -> Prepared:
    """Make forward and backward ready."""
    import torch

    ragged = problem.row.ragged
    given = pack(x, problem.row.lengths)
    dy = pack(torch.from_numpy(problem.dy), problem.row.lengths)
    (given.data if ragged else given).requires_grad_()
    names, weights = zip(*module.named_parameters(), strict=True)

    def run() -> Any:
        y = module(given)[0]
        if ragged:
            return torch.autograd.grad(y.data, (given.data, *weights), dy.data)
        return torch.autograd.grad(y, (given, *weights), dy)

    def read(gradients: Any) -> Outcome:
        dx, *dweights = gradients
        outcome = {n: d.numpy() for n, d in zip(names, dweights, strict=True)}
        return outcome | {"x": unpack(given._replace(data=dx) if ragged else dx)}

    return Prepared(run, read)


def prepare_step(problem: Problem, weights: dict[str, Any], x_t: Any) -> Prepared:
    """Make one step ready, which keeps the state for its next call."""
    import torch

    row = problem.row
    cell_class = getattr(torch.nn, f"{MODULES[row.cell]}Cell")
    cell = cell_class(row.I, row.H, dtype=getattr(torch, row.dtype))
    cell.load_state_dict({k.removesuffix("_l0"): w for k, w in weights.items()})
    return Prepared(step_runner(cell.eval(), x_t), lambda h: {"y": h.numpy()[None]})


def step_runner(cell: Any, x_t: Any) -> Callable[[], Any]:
    """Return a function that makes one step."""
    import torch

    state = None

    def run() -> Any:
        nonlocal state
        with torch.inference_mode():
            state = cell(x_t, state)
            return state[0] if isinstance(state, tuple) else state

    return run
