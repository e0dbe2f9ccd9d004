"""One row of a benchmark: a computation and its sizes, as data.

Letters: T time steps, B rows of the batch, I inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn import _core, layers
from exactrnn._checks import Array

TASKS = ("forward", "gradients", "step")
"""A whole sequence for inference; forward and backward; one step of a stream, with the
state carried from call to call (T is 1)."""

CELLS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "rnn": (layers.RNN, {}),
    "lstm": (layers.LSTM, {}),
    "gru": (layers.GRU, {}),
    "gru_before": (layers.GRU, {"reset_after": False}),
}
"""The layer of each cell that can be measured, and its options."""

SHORTEST = 0.24
"""Shortest length of a ragged batch as a part of T; evenly spread, the mean is 0.62."""

SEED = 32023


@dataclass(frozen=True)
class Row:
    """What is measured: one computation at one size."""

    task: str
    cell: str
    T: int
    B: int
    I: int
    H: int
    layers: int = 1
    directions: int = 1
    dtype: str = "float32"
    ragged: bool = False

    @property
    def name(self) -> str:
        """A short name of its own, as `lstm-forward-100x8x128`."""
        parts = [self.cell, self.task, f"{self.T}x{self.B}x{self.H}"]
        parts += [f"I{self.I}"] if self.I != self.H else []
        parts += [f"{self.layers}layers"] if self.layers > 1 else []
        parts += ["bidirectional"] if self.directions == 2 else []
        parts += ["ragged"] if self.ragged else []
        parts += [self.dtype] if self.dtype != "float32" else []
        return "-".join(parts)

    @property
    def gates(self) -> int:
        """Row blocks of the weight matrices."""
        return _core.cell_info(self.cell)["gates"]

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Steps of each row of a ragged batch, in random order."""
        if not self.ragged:
            return None
        steps = np.linspace(SHORTEST * self.T, self.T, self.B).round().astype(np.int64)
        return np.random.default_rng(SEED).permutation(steps)

    @property
    def active(self) -> NDArray[np.int64]:
        """How many rows take part in each step, [T]."""
        lengths = self.lengths
        if lengths is None:
            return np.full(self.T, self.B)
        active: NDArray[np.int64] = (lengths[:, None] > np.arange(self.T)).sum(axis=0)
        return active

    def matrices(self) -> Iterator[tuple[int, int]]:
        """Yield the elements of W and of R, for every layer and direction."""
        inputs = self.I
        for _ in range(self.layers):
            for _ in range(self.directions):
                yield self.gates * self.H * inputs, self.gates * self.H * self.H
            inputs = self.directions * self.H

    @property
    def flops(self) -> int:
        """Operations of the products alone, an fma counted as two."""
        passes = 3 if self.task == "gradients" else 1
        weights = sum(w + r for w, r in self.matrices())
        return 2 * passes * int(self.active.sum()) * weights

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the name, for JSON."""
        return {"name": self.name, **asdict(self), "flops": self.flops}


@dataclass(frozen=True)
class Problem:
    """A row with its numbers, the same for every library.

    `weights` are under torch's names; `x` is [T, B, I]; `dy`, the gradient of the
    output, is [T, B, D*H]. Both are 0 past a row's length.
    """

    row: Row
    threads: int
    weights: dict[str, Array]
    x: Array
    dy: Array


def make_layer(row: Row) -> Any:
    """Return the layer of a row."""
    layer_class, options = CELLS[row.cell]
    both = row.directions == 2
    return layer_class(
        row.I, row.H, row.layers, bidirectional=both, dtype=row.dtype, seed=0, **options
    )


def make_problem(row: Row, threads: int = 1) -> Problem:
    """Return the row with random numbers."""
    rng = np.random.default_rng(SEED)
    bound = row.H**-0.5
    weights = {
        name: rng.uniform(-bound, bound, array.shape).astype(row.dtype)
        for name, array in make_layer(row).state_dict().items()
    }
    x = rng.standard_normal((row.T, row.B, row.I)).astype(row.dtype)
    dy = rng.standard_normal((row.T, row.B, row.directions * row.H)).astype(row.dtype)
    if row.lengths is not None:
        outside = np.arange(row.T)[:, None] >= row.lengths
        x[outside] = 0
        dy[outside] = 0
    return Problem(row, threads, weights, x, dy)
