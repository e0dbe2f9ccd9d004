"""Keras's cells: what they are, where their weights lie, and layers made of them.

Keras's matrices are transposed here: kernel [I, G*H] is W, recurrent kernel [H, G*H] is
R. The gates of an LSTM stand in the same order, i f c o; those of a GRU are z r h there
and r z n here. A bias that counts once is `bias_ih`, and `bias_hh` is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exactrnn import layers
from exactrnn._checks import Array
from exactrnn._spec.activations import Activation
from exactrnn.interop.keras._nodes import Node, Slot
from exactrnn.interop.keras._options import (
    check_known,
    read_activation,
    read_dtype,
    read_flag,
    read_size,
)

KINDS: Mapping[str, Any] = {
    "SimpleRNN": layers.RNN,
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
}
"""Keras's layers; their cells are called `...Cell`."""
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}

OF_CELL = frozenset(
    {
        *("units", "activation", "use_bias", "dropout", "recurrent_dropout"),
        *("recurrent_activation", "reset_after", "unit_forget_bias", "implementation"),
    }
)
"""Options of a cell; both dropouts act in training alone."""


@dataclass(frozen=True)
class Cell:
    """What a cell is, without its weights: equal ones can be layers of one stack."""

    kind: str
    units: int
    bias: bool
    activations: tuple[Activation, ...]
    reset_after: bool
    dtype: str

    @property
    def states(self) -> int:
        """Number of arrays in its state."""
        return STATES[self.kind]

    @property
    def columns(self) -> int:
        """Columns of its matrices: the units of all gates."""
        return GATES[self.kind] * self.units

    def slots(self, place: str, width: int | str) -> list[Slot]:
        """Return its weights within the layer, for inputs of a width."""
        wide = self.columns
        bias = (2, wide) if self.reset_after and self.kind == "GRU" else (wide,)
        shapes = [(width, wide), (self.units, wide), bias][: 3 if self.bias else 2]
        return [Slot(f"{place}/vars/{k}", shape) for k, shape in enumerate(shapes)]

    def named(self, arrays: Sequence[Array], suffix: str) -> dict[str, Array]:
        """Return its weights as a layer here has them, by name with the suffix."""
        kernel, recurrent, *biases = (self._ordered(array) for array in arrays)
        named = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
        if biases:
            [bias] = biases
            pair = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            named |= {"bias_ih": pair[0], "bias_hh": pair[1]}
        return {f"{name}_{suffix}": array for name, array in named.items()}

    def _ordered(self, array: Array) -> Array:
        """Return a weight with its gates in our order."""
        if self.kind != "GRU":
            return array
        z, r, n = np.split(array, 3, axis=-1)
        return np.concatenate([r, z, n], axis=-1)

    def make(self, width: int, **options: Any) -> Any:
        """Return a layer of such cells; its weights are to be loaded."""
        options |= {"bias": self.bias, "dtype": self.dtype, "batch_first": True}
        if self.kind == "GRU":
            options["reset_after"] = self.reset_after
        return KINDS[self.kind](width, self.units, **options)

    def choice(self, *others: Cell) -> dict[str, Any]:
        """Return the argument that says the activations of one direction, or two."""
        if self.kind == "SimpleRNN":
            names = [cell.activations[0] for cell in (self, *others)]
            return {"nonlinearity": tuple(names) if others else names[0]}
        joined = sum((cell.activations for cell in (self, *others)), start=())
        return {"activations": joined}


def read_cell(node: Node, more: frozenset[str] = frozenset()) -> Cell:
    """Return the cell that options describe: of a cell, or of the layer around one."""
    check_known(node, OF_CELL | more)
    kind = node.kind.removesuffix("Cell")
    if kind not in KINDS:
        raise node.refused("class", node.kind, "one of " + ", ".join(KINDS))
    own = read_activation(node, "activation", "tanh")
    activations: tuple[Activation, ...] = (own,)
    if kind != "SimpleRNN":
        gate = read_activation(node, "recurrent_activation", "sigmoid")
        activations = (gate, own, own) if kind == "LSTM" else (gate, own)
    return Cell(
        kind,
        read_size(node, "units"),
        read_flag(node, "use_bias", True),
        activations,
        kind == "GRU" and read_flag(node, "reset_after", not node.keras2),
        read_dtype(node),
    )
