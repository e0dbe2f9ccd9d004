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

A bias that is set, also by `forget_bias`, is stored in bias_ih; the same rows of
bias_hh are zero. Where f = 1 - i, the input gate gets the bias with its sign turned:
σ(-b) is 1 - σ(b).

Rows of one module of a clockwork layer count as a gate's block; "orthogonal" makes the
connections that exist orthonormal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, FloatType, allocate
from exactrnn._numeric.algebra import orthonormal_rows
from exactrnn._numeric.random import FLOAT64, Seed, elementary, normal, symmetric, unit
from exactrnn._spec.recurrent import Config, Weight

__all__ = ["draw_mask", "draw_weights"]

RECURRENT = ("weight_hh", "weight_hr", "weight_ho", "weight_gates")
"""Matrices that a state passes on its way to the next step."""
KEEPING_GATES: Mapping[str, Mapping[str, int]] = {
    "lstm": {"f": 1, "i": -1},
    "depth_gated": {"f": 1, "i": -1},
    "gru": {"z": 1},
    "gru_before": {"z": 1},
}
"""Signs of the bias with which a cell's gates keep their state, for chrono."""
IRNN_DEVIATION = 0.001
PAPER_FORGET_BIAS = 1.0


def draw_weights(config: Config, seed: Seed) -> dict[str, Array]:
    """Return the first weights by name, in the order of `state_dict`.

    Zeros stand for weights that are not drawn: the logits of learned leaks.

    Raises
    ------
    ValueError
        If `config.init` has no meaning for the cell.
    """
    _check_rule(config)
    weights = {}
    for weight in config.weights:
        array = allocate(weight.shape, config.dtype)
        array[...] = _draw_weight(weight, config, seed.stream(weight.name))
        weights[weight.name] = array
    _set_biases(weights, config, seed)
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


def _check_rule(config: Config) -> None:
    """Raise where options take away what a rule is about; cells are checked before."""
    got = f"got {config.init!r}"
    if config.init == "paper" and config.cell == "rnn" and not _is_irnn(config):
        raise ValueError(
            f"init: expected another with nonlinearity={config.activations[0]!r}, {got}"
        )
    if config.init == "paper" and config.cell != "rnn" and not config.bias:
        raise ValueError(f"init: expected another with bias=False, {got}")
    if isinstance(config.init, tuple) and "f" in config.options.get("omit", ""):
        raise ValueError(f"init: expected another without a forget gate, {got}")


def _is_irnn(config: Config) -> bool:
    return config.cell == "rnn" and set(config.activations) == {"relu"}


# Weights


def _draw_weight(
    weight: Weight, config: Config, generator: np.random.PCG64
) -> Array | float:
    """Return one weight, or a number that fills it."""
    if weight.kind == "leak_logit":
        return 0.0
    if config.init == "paper" and _is_irnn(config):
        return _draw_irnn(weight, generator)
    if config.init not in ("glorot", "orthogonal"):
        number = config.dtype.type
        bound = number(1) / np.sqrt(number(config.hidden_size))
        return symmetric(weight.shape, bound, config.dtype, generator)
    if len(weight.shape) == 1 or weight.kind == "weight_peephole":
        return 0.0
    if config.init == "orthogonal" and weight.kind in RECURRENT:
        return _draw_orthogonal(weight, config, generator)
    rows, columns = _block_shape(weight)
    bound = np.sqrt(6.0 / (rows + columns))
    return symmetric(weight.shape, bound, config.dtype, generator)


def _draw_irnn(weight: Weight, generator: np.random.PCG64) -> Array | float:
    if weight.kind == "weight_hh":
        return np.eye(weight.shape[0])
    if weight.kind == "weight_ih":
        return normal(weight.shape, generator) * IRNN_DEVIATION
    return 0.0


def _block_shape(weight: Weight) -> tuple[int, int]:
    """Return rows and columns of the part of a matrix that makes one gate's sum."""
    rows, columns = weight.shape
    count = len(weight.blocks) or 1
    if weight.kind == "weight_gates":
        return rows // count, columns // count
    return rows // count, columns


def _draw_orthogonal(
    weight: Weight, config: Config, generator: np.random.PCG64
) -> Array:
    """Return a matrix whose blocks are orthogonal; zeros where nothing is connected."""
    matrix = np.zeros(weight.shape)
    for rows, columns in _orthogonal_blocks(weight, config):
        height, width = matrix[rows, columns].shape
        matrix[rows, columns] = _orthogonal(height, width, generator)
    return matrix


def _orthogonal_blocks(
    weight: Weight, config: Config
) -> Iterator[tuple[slice, slice | NDArray[np.bool_]]]:
    """Give the rows and columns of each block, in storage order."""
    if weight.kind == "weight_hh" and config.hh_mask is not None:
        start = 0
        for size, _ in config.options["modules"]:
            yield slice(start, start + size), config.hh_mask[start]
            start += size
        return
    height, width = _block_shape(weight)
    for row in range(0, weight.shape[0], height):
        for column in range(0, weight.shape[1], width):
            yield slice(row, row + height), slice(column, column + width)


def _orthogonal(height: int, width: int, generator: np.random.PCG64) -> Array:
    """Return a block with orthonormal rows, or columns where it is higher than wide."""
    if height > width:
        return orthonormal_rows(normal((width, height), generator)).T
    return orthonormal_rows(normal((height, width), generator))


# Biases that are set


def _set_biases(weights: Mapping[str, Array], config: Config, seed: Seed) -> None:
    """Put the biases of the gates that are to keep the state, in place."""
    values: Mapping[str, Array | float] = {}
    for weight in config.weights:
        if weight.kind == "bias_ih":
            values = _gate_biases(config, seed.stream(weight.name, "chrono"))
        elif weight.kind == "bias_hh":
            values = dict.fromkeys(values, 0.0)
        else:
            continue
        gates = weights[weight.name].reshape(len(weight.blocks), -1)
        for gate, value in values.items():
            if gate in weight.blocks:
                gates[weight.blocks.index(gate)] = value


def _gate_biases(
    config: Config, generator: np.random.PCG64
) -> Mapping[str, Array | float]:
    """Return the biases of one layer and direction by gate; none that are drawn."""
    signs = KEEPING_GATES.get(config.cell, {})
    if isinstance(config.init, tuple):
        kept = _draw_chrono(config.hidden_size, config.init[1], generator)
        return {gate: 0.0 + sign * kept for gate, sign in signs.items()}
    bias = config.forget_bias
    if bias is None and config.init == "paper" and "f" in signs:
        bias = PAPER_FORGET_BIAS
    if bias is None:
        return {}
    if config.options.get("coupled") == "input":
        return {"i": 0.0 - bias}
    return {"f": bias}


def _draw_chrono(size: int, steps: int, generator: np.random.PCG64) -> Array:
    """Return ln(u) for `size` numbers u uniform from 1 to steps - 1."""
    spread = float(steps - 2)
    return elementary("log", 1 + spread * unit((size,), FLOAT64, generator))
