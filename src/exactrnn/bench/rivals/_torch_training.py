"""A training step of a character model as a user of PyTorch writes it.

`nn.Embedding`, a recurrent layer and `nn.Linear`, `cross_entropy`, `clip_grad_norm_`
and `Adam` in its default form: the fused one was no faster for a model of this size.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from exactrnn.bench.rivals import Outcome, Prepared
from exactrnn.bench.rows import CLIP, LEARNING_RATE, SYMBOLS, Problem


def prepare(problem: Problem, layer: str) -> Prepared:
    """Make the steps ready, the state carried on; `layer` is torch's for the cell."""
    import torch
    from torch.nn import functional

    row = problem.row
    dtype = getattr(torch, row.dtype)
    recurrent = getattr(torch.nn, layer)(row.I, row.H, row.layers, dtype=dtype)
    model = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(SYMBOLS, row.I, dtype=dtype),
            "recurrent": recurrent,
            "readout": torch.nn.Linear(row.H, SYMBOLS, dtype=dtype),
        }
    )
    given = {k: torch.from_numpy(np.array(w)) for k, w in problem.weights.items()}
    model.load_state_dict(given)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    chunks = itertools.cycle(torch.from_numpy(problem.x))
    state: Any = None

    def run() -> float:
        nonlocal state
        chunk = next(chunks)
        y, after = model["recurrent"](model["embedding"](chunk[:-1]), state)
        is_pair = isinstance(after, tuple)
        state = tuple(s.detach() for s in after) if is_pair else after.detach()
        logits = model["readout"](y).flatten(0, 1)
        loss = functional.cross_entropy(logits, chunk[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return float(loss.item())

    def read(loss: float) -> Outcome:
        gradients = {k: w.grad.numpy() for k, w in model.named_parameters()}
        return {"loss": np.array(loss), **gradients}

    return Prepared(run, read)
