"""ONNX's recurrent operators in its words and in ours: gates, activations, limits.

A weight of ONNX has a row block for each gate in an order of its own: i o f c of an
LSTM, whose candidate c is called g here, and z r h of a GRU, whose candidate is n. Its
activations are functions of the same parameters as ours, under other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exactrnn import layers
from exactrnn._checks import Array
from exactrnn._spec.activations import PARAMETERS

FIRST_OPSET = 7
"""Before it the operators had other attributes."""
VERSIONS = (7, 14, 22)
"""Opsets in which they changed: `layout` came with 14, a type with 22."""
QUANTISED = "DynamicQuantizeLSTM"
"""ONNX Runtime's LSTM whose weights are integers with a scale."""
CONTRIBUTED = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
STANDARD = ("", "ai.onnx")
"""The names of the domain of ONNX's operators."""
FEWEST_INPUTS = 3
"""X, W and R."""
MOST_INPUTS = {"RNN": 6, "GRU": 6, "LSTM": 8, QUANTISED: 12}
MOST_OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3, QUANTISED: 3}
"""By operator, in every opset that is known here."""
WAYS = {"forward": 1, "reverse": 1, "bidirectional": 2}
"""The values of `direction`, and how many directions each has."""


@dataclass(frozen=True)
class Operator:
    """A recurrent operator: its class here, its gates in both orders, its defaults."""

    layer: Any
    gates: str
    rows: str
    activations: tuple[str, ...]
    states: tuple[str, ...]


OPERATORS: Mapping[str, Operator] = {
    "RNN": Operator(layers.RNN, "a", "a", ("Tanh",), ("h",)),
    "GRU": Operator(layers.GRU, "zrn", "rzn", ("Sigmoid", "Tanh"), ("h",)),
    "LSTM": Operator(
        layers.LSTM, "iofg", "ifgo", ("Sigmoid", "Tanh", "Tanh"), ("h", "c")
    ),
}
PEEPHOLES = "iof"
"""The rows of an LSTM's input P; here they are i f o."""

ACTIVATIONS: Mapping[str, str] = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Affine": "affine",
    "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
    "ScaledTanh": "scaled_tanh",
    "HardSigmoid": "hard_sigmoid",
    "Elu": "elu",
    "Softsign": "softsign",
    "Softplus": "softplus",
}
"""ONNX's functions, and what they are here; `identity` is an Affine of 1 and 0."""
WITHOUT_DEFAULT = ("Affine", "ScaledTanh")
"""Functions whose parameters must be given: no operator of ONNX has defaults."""


def count_parameters(name: str) -> int:
    """Return how many parameters a function of ONNX has: none, α, or α and β."""
    return len(PARAMETERS[ACTIVATIONS[name]])


def reorder(array: Array, have: str, want: str) -> Array:
    """Return the row blocks of gates in another order; zeros for one that is absent."""
    blocks = dict(zip(have, np.split(array, len(have)), strict=True))
    absent = np.zeros_like(blocks[have[0]])
    return np.concatenate([blocks.get(gate, absent) for gate in want])
