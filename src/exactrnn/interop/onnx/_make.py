"""From what is found in a model to layers: `make_layer`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn.interop.onnx._attributes import Options, read_options
from exactrnn.interop.onnx._files import RefusedError
from exactrnn.interop.onnx._graph import Node, NotConstantError
from exactrnn.interop.onnx._layer import Inputs, OnnxLayer
from exactrnn.interop.onnx._unrolled import Cell
from exactrnn.interop.onnx._weights import (
    Weights,
    choose_dtype,
    name_weights,
    peepholes_of,
    read_weights,
    widen,
)
from exactrnn.interop.onnx._words import OPERATORS

PLACES = {"sequence_lens": 4, "initial_h": 5, "initial_c": 6}
"""Inputs of a node beside x and the weights, and their places."""


def make_layer(found: Node | Cell, dtype: object) -> OnnxLayer:
    """Return the layer that a node or a cell describes, with its weights."""
    if isinstance(found, Cell):
        return _of_cell(found, dtype)
    options = read_options(found)
    weights = read_weights(found, options, dtype)
    options = options.written_for(weights.dtype)
    layer = _make_plain(found, options, weights)
    _load(found, layer, name_weights(found, options, weights))
    inputs = _read_inputs(found, layer, options.layout)
    return OnnxLayer(found.name, found.kind, layer, inputs)


def _of_cell(cell: Cell, dtype: object) -> OnnxLayer:
    """Return the layer whose steps a cell takes."""
    arrays = cell.weights()
    own = choose_dtype(cell.title(), arrays, dtype)
    I, H = (arrays[f"weight_{part}_l0"].shape[1] for part in ("ih", "hh"))
    bias = "bias_ih_l0" in arrays
    layer = OPERATORS[cell.kind].layer(I, H, bias=bias, dtype=own, seed=0)
    _load(cell, layer, {name: widen(array) for name, array in arrays.items()})
    wired = ("initial_h", "initial_c")[: len(OPERATORS[cell.kind].states)]
    return OnnxLayer(cell.name, cell.kind, layer, Inputs(0, {}, wired))


def _make_plain(node: Node, options: Options, weights: Weights) -> Any:
    """Return a layer of the node's sizes and options; its weights are to be loaded."""
    arguments: dict[str, Any] = {
        "bias": "B" in weights.arrays,
        "clip": options.clip,
        "bidirectional": options.ways == 2,
        "reverse": options.reverse,
        "batch_first": options.layout == 1,
        "dtype": weights.dtype,
        "seed": 0,
    }
    if node.kind == "RNN":
        one, *more = options.activations
        arguments["nonlinearity"] = (one, *more) if more else one
    else:
        arguments["activations"] = options.activations
    if node.kind == "GRU":
        arguments["reset_after"] = options.flag
    if node.kind == "LSTM":
        arguments["coupled"] = "input" if options.flag else None
        arguments["peepholes"] = peepholes_of(options) if "P" in weights.arrays else ""
    kind = OPERATORS[node.kind].layer
    return kind(weights.input_size, weights.hidden_size, **arguments)


def _load(found: Node | Cell, layer: Any, named: dict[str, Array]) -> None:
    """Give a layer its weights, rounded to its dtype."""
    try:
        layer.load_state_dict(named, dtype=layer.dtype)
    except ValueError as error:  # a number too large for the dtype asked for
        raise RefusedError(f"{found.title()}: {error}") from error


# What a node reads beside x and the weights


def _read_inputs(node: Node, layer: Any, layout: int) -> Inputs:
    """Return what the model fixes of a node's other inputs, and what it computes."""
    constants, wired = {}, []
    for name, place in PLACES.items():
        if not node.has(place):
            continue
        try:
            value = node.find(place)
        except NotConstantError:
            wired.append(name)
            continue
        except RefusedError as error:
            raise RefusedError(f"{node.title()}: {name}: {error}") from error
        if name == "sequence_lens":
            constants[name] = _as_lengths(node, value)
        elif value.any():
            constants[name] = _as_state(node, name, value, layer, layout)
    return Inputs(layout, constants, tuple(wired))


def _as_state(node: Node, name: str, value: Array, layer: Any, layout: int) -> Array:
    """Return a constant initial state, [D, B, H]."""
    D, H = layer.num_directions, layer.hidden_size
    axes = ("B", D, H) if layout else (D, "B", H)
    free = value.shape[:1] if layout else value.shape[1:2]
    if value.ndim != 3 or value.shape != tuple(
        free[0] if a == "B" else a for a in axes
    ):
        expected = ", ".join(map(str, axes))
        raise node.refused(name, value.shape, f"[{expected}]")
    own: Array = value.astype(layer.dtype)
    return own.swapaxes(0, 1) if layout else own


def _as_lengths(node: Node, value: Any) -> Any:
    """Return constant lengths, [B]."""
    if value.ndim != 1 or value.dtype.kind not in "iu":
        raise node.refused("sequence_lens", value.shape, "integers [B]")
    return value.astype(np.int64)
