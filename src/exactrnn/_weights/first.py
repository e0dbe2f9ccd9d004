"""First weights of a layer, by the rule that `init` names.

Contract N9: the same seed gives the same bits on every machine. Numbers come from
`_numeric/random.py`; each weight has a stream of its own, named by the class of the
layer and the weight's name, and is drawn in storage order:

    "uniform"       all within ±1/sqrt(H), torch.nn's default
    "glorot"        matrices within ±sqrt(6 / (rows + columns)) of one gate's block,
                    biases and peepholes zero (X. Glorot, Y. Bengio, AISTATS 2010)
    "orthogonal"    each gate's block of the recurrent path (weight_hh, weight_hr,
                    weight_ho, weight_gates) with orthonormal rows or, where it is
                    higher than wide, columns, uniformly among all such (A. Saxe,
                    J. McClelland, S. Ganguli, arXiv 1312.6120); else as "glorot"
    "paper"         RNN with relu: R the identity, W normal of standard deviation 0.001,
                    biases zero (Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941)
                    LSTM, depth-gated LSTM: "uniform", the forget gate's bias 1
                    (R. Jozefowicz, W. Zaremba, I. Sutskever, ICML 2015)
    ("chrono", T)   "uniform", and with u_j uniform from 1 to T-1 for each unit j the
                    bias ln(u_j) for the gate that keeps, -ln(u_j) for the gate that
                    writes (C. Tallec, Y. Ollivier, arXiv 1804.11188): f and i of an
                    LSTM; z of a GRU, which keeps. The u_j are drawn in float64 from a
                    stream of their own, named by the bias and "chrono"

Which rule a weight has it says itself (`_spec/rules.py`): nothing here knows a cell.

A bias that is set, also by `forget_bias`, is stored in bias_ih; the same rows of
bias_hh are zero. Where f = 1 - i, the input gate gets the bias with its sign turned:
σ(-b) is 1 - σ(b).

Rows of one module of a clockwork layer count as a gate's block; "orthogonal" makes the
connections that exist orthonormal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, FloatType, allocate
from exactrnn._numeric.algebra import orthonormal_rows
from exactrnn._numeric.random import FLOAT64, Seed, elementary, normal, symmetric, unit
from exactrnn._spec.rules import Init, Rule

__all__ = ["draw_mask", "draw_weights"]

IRNN_DEVIATION = 0.001


class NamedWeight(Protocol):
    """A weight, as far as it is drawn."""

    @property
    def name(self) -> str:
        """Its name in `state_dict`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Letters of its row blocks."""

    @property
    def rule(self) -> Rule:
        """How it is drawn."""


class Drawn(Protocol):
    """What is drawn: weights, and the arguments that say how."""

    @property
    def weights(self) -> Sequence[NamedWeight]:
        """All weights, in the order of `state_dict`."""

    @property
    def hidden_size(self) -> int:
        """H, of which the bound of "uniform" is made."""

    @property
    def dtype(self) -> FloatType:
        """Of the weights."""

    @property
    def init(self) -> Init:
        """The rule that the user has named."""


def draw_weights(config: Drawn, seed: Seed) -> dict[str, Array]:
    """Return the first weights by name, in the order of `state_dict`."""
    weights = {}
    for weight in config.weights:
        array = allocate(weight.shape, config.dtype)
        array[...] = _draw_weight(weight, config, seed.stream(weight.name))
        for row, value in weight.rule.rows.items():
            array[row] = value
        if weight.rule.connected is not None:
            array[~weight.rule.connected()] = 0
        if weight.rule.signs:
            chrono = seed.stream(weight.name, "chrono")
            _set_biases(array, weight, config, chrono)
        weights[weight.name] = array
    return weights


def draw_mask(
    shape: tuple[int, ...], share: float, dtype: FloatType, generator: np.random.PCG64
) -> Array:
    """Return a dropout mask: 0 with probability `share`, else 1 / (1 - share).

    One raw integer for each element: kept where (raw >> 11) >= share * 2**53, so the
    pattern does not depend on the dtype.
    """
    threshold = np.uint64(math.ceil(share * 2.0**53))
    kept = (generator.random_raw(math.prod(shape)) >> np.uint64(11)) >= threshold
    scale = dtype.type(1.0 / (1.0 - share))
    return np.where(kept, scale, dtype.type(0)).reshape(shape)


# Weights


def _draw_weight(
    weight: NamedWeight, config: Drawn, generator: np.random.PCG64
) -> Array | float:
    """Return one weight, or a number that fills it."""
    rule, shape = weight.rule, weight.shape
    if rule.first is not None:
        return rule.first()
    if config.init == "paper" and rule.paper:
        return _draw_irnn(rule.paper, shape, generator)
    if config.init not in ("glorot", "orthogonal"):
        number = config.dtype.type
        bound = number(1) / np.sqrt(number(config.hidden_size))
        return symmetric(shape, bound, config.dtype, generator)
    if rule.path == "vector":
        return 0.0
    if config.init == "orthogonal" and rule.path == "recurrent":
        return _draw_orthogonal(weight, generator)
    rows, columns = rule.tile
    bound = np.sqrt(6.0 / (rows + columns))
    return symmetric(shape, bound, config.dtype, generator)


def _draw_irnn(
    kind: str, shape: tuple[int, ...], generator: np.random.PCG64
) -> Array | float:
    if kind == "identity":
        return np.eye(shape[0])
    return normal(shape, generator) * IRNN_DEVIATION if kind == "small" else 0.0


def _draw_orthogonal(weight: NamedWeight, generator: np.random.PCG64) -> Array:
    """Return a matrix whose blocks are orthogonal; zeros where nothing is connected."""
    matrix = np.zeros(weight.shape)
    for rows, columns in _orthogonal_blocks(weight):
        height, width = matrix[rows, columns].shape
        matrix[rows, columns] = _orthogonal(height, width, generator)
    return matrix


def _orthogonal_blocks(
    weight: NamedWeight,
) -> Iterator[tuple[slice, slice | NDArray[np.bool_]]]:
    """Give the rows and columns of each block, in storage order."""
    rule = weight.rule
    if rule.connected is not None:
        start, connected = 0, rule.connected()
        for size in rule.parts:
            yield slice(start, start + size), connected[start]
            start += size
        return
    height, width = rule.tile
    for row in range(0, weight.shape[0], height):
        for column in range(0, weight.shape[1], width):
            yield slice(row, row + height), slice(column, column + width)


def _orthogonal(height: int, width: int, generator: np.random.PCG64) -> Array:
    """Return a block with orthonormal rows, or columns where it is higher than wide."""
    if height > width:
        return orthonormal_rows(normal((width, height), generator)).T
    return orthonormal_rows(normal((height, width), generator))


# Biases that are set


def _set_biases(
    array: Array, weight: NamedWeight, config: Drawn, generator: np.random.PCG64
) -> None:
    """Put the biases of the gates that are to keep the state, in place."""
    value: Array | float | None = weight.rule.bias
    if value is None:
        steps = int(config.init[1])
        value = _draw_chrono(config.hidden_size, steps, generator)
    gates = array.reshape(len(weight.blocks), -1)
    for gate, sign in weight.rule.signs.items():
        gates[weight.blocks.index(gate)] = {1: value, -1: 0.0 - value, 0: 0.0}[sign]


def _draw_chrono(size: int, steps: int, generator: np.random.PCG64) -> Array:
    """Return ln(u) for `size` numbers u uniform from 1 to steps - 1."""
    spread = float(steps - 2)
    return elementary("log", 1 + spread * unit((size,), FLOAT64, generator))
