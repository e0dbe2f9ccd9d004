"""One row of a benchmark: a computation and its sizes, as data.

Letters: T time steps, B rows of the batch, I inputs, H hidden units, O outputs of a
direction (H but for cells that project).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array
from exactrnn._checks.arrays import Index
from exactrnn.bench.cells import CELLS
from exactrnn.train import LanguageModel

TASKS = ("forward", "gradients", "step")
"""A whole sequence for inference; forward and backward; one step of a stream, with the
state carried from call to call (T is 1)."""

TRAINING = "training"
"""A task of the benchmark alone: a whole training step of a character model, as
`exactrnn lm` makes it. I is the width of the embedding."""

SYMBOLS, CHUNKS = 96, 8
"""Of the text that the character model reads: its alphabet, and how many chunks of it
are taken in turn."""

LEARNING_RATE, CLIP = 5e-3, 1.0

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
    beside: str = ""
    """Another cell that is measured in the same rounds, at the same sizes."""

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
    def layer_class(self) -> type[Any]:
        """The layer that is measured."""
        return CELLS[self.cell][0]

    @property
    def options(self) -> dict[str, Any]:
        """The layer's options besides its sizes."""
        options = CELLS[self.cell][1]
        return {k: v(self.H) if callable(v) else v for k, v in options.items()}

    @property
    def yardstick(self) -> Row:
        """The row that `beside` means."""
        return replace(self, cell=self.beside, beside="")

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

    def matrices(self) -> Iterator[tuple[float, float]]:
        """Yield the elements of W and of what is recurrent, by layer and direction.

        Of a clockwork cell those that a step multiplies, in the mean over all steps.
        """
        parts: dict[str, list[float]] = {}
        for name, elements in count_elements(self).items():
            part = parts.setdefault(name.rpartition("_l")[2], [0.0, 0.0])
            part[not name.startswith("weight_ih")] += elements
        yield from ((w, r) for w, r in parts.values())
        if self.task == TRAINING:  # the readout
            yield SYMBOLS * self.H, 0.0

    @property
    def goes_back(self) -> bool:
        """Whether gradients are among what is computed."""
        return self.task in ("gradients", TRAINING)

    @property
    def flops(self) -> int:
        """Operations of the products alone, an fma counted as two."""
        passes = 3 if self.goes_back else 1
        weights = sum(w + r for w, r in self.matrices())
        return round(2 * passes * int(self.active.sum()) * weights)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the name, for JSON."""
        return {"name": self.name, **asdict(self), "flops": self.flops}


@dataclass(frozen=True)
class Problem:
    """A row with its numbers, the same for every library.

    `weights` are under torch's names; `x` is [T, B, I]; `dy`, the gradient of the
    output, is [T, B, D*O]. Both are 0 past a row's length. A training step has symbols
    as `x`, [CHUNKS, T + 1, B], and no `dy`.
    """

    row: Row
    threads: int
    weights: dict[str, Array]
    x: Array | Index
    dy: Array


def make_layer(row: Row) -> Any:
    """Return the layer of a row."""
    both = row.directions == 2
    return row.layer_class(
        input_size=row.I,
        hidden_size=row.H,
        num_layers=row.layers,
        bidirectional=both,
        dtype=row.dtype,
        seed=0,
        **row.options,
    )


def make_model(row: Row) -> LanguageModel:
    """Return the character model of a training row."""
    return LanguageModel(
        "".join(map(chr, range(SYMBOLS))),
        cell=row.cell,
        num_layers=row.layers,
        hidden_size=row.H,
        embedding_size=row.I,
        dtype=np.dtype(row.dtype),
    )


@functools.cache
def count_elements(row: Row) -> dict[str, float]:
    """Return how many elements of each matrix a step multiplies, by name."""
    layer = make_layer(row)
    matrices = {
        name: weight.shape
        for name, weight in layer.state_dict().items()
        if weight.ndim == 2 and not name.startswith(("weight_peephole", "weight_unit"))
    }
    if row.cell == "clockwork":
        return {name: count_ticking(row, layer, name) for name in matrices}
    return {name: float(rows * columns) for name, (rows, columns) in matrices.items()}


def count_ticking(row: Row, layer: Any, name: str) -> float:
    """Return the elements that active modules multiply, in the mean over T steps."""
    modules = list(zip(layer.module_sizes, layer.periods, strict=True))
    count = 0.0
    for size, period in modules:
        seen = sum(n for n, other in modules if other >= period)
        columns = seen if name.startswith("weight_hh") else row.I
        count += size * columns * -(-row.T // period) / row.T
    return count


def make_problem(row: Row, threads: int = 1) -> Problem:
    """Return the row with random numbers."""
    rng = np.random.default_rng(SEED)
    if row.task == TRAINING:
        symbols = rng.integers(0, SYMBOLS, (CHUNKS, row.T + 1, row.B))
        own = dict(make_model(row).state_dict())
        return Problem(row, threads, own, symbols, np.empty(0, row.dtype))
    bound = row.H**-0.5
    layer = make_layer(row)
    weights = {
        name: rng.uniform(-bound, bound, array.shape).astype(row.dtype)
        for name, array in layer.state_dict().items()
    }
    x = rng.standard_normal((row.T, row.B, row.I)).astype(row.dtype)
    width = layer(x[:1])[0].shape[2]
    dy = rng.standard_normal((row.T, row.B, width)).astype(row.dtype)
    if row.lengths is not None:
        outside = np.arange(row.T)[:, None] >= row.lengths
        x[outside] = 0
        dy[outside] = 0
    return Problem(row, threads, weights, x, dy)
