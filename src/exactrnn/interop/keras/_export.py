"""From here to Keras: a layer's weights and options as its layers have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from exactrnn import layers
from exactrnn._checks import Array, describe
from exactrnn._checks.limits import quote
from exactrnn._spec.activations import Activation, with_parameters
from exactrnn.interop.keras._cells import KINDS
from exactrnn.interop.keras._options import NAMED

KERAS_OF = {kind: name for name, kind in KINDS.items()}
ACTIVATIONS = {"SimpleRNN": 1, "LSTM": 3, "GRU": 2}
"""Number of activations of one direction."""
PLAIN = {
    "clip": None,
    "zoneout": 0.0,
    "peepholes": "",
    "coupled": None,
    "omit": "",
    "proj_size": 0,
    "full_gate_recurrence": False,
    "layer_norm": False,
}
"""Options of our layers that Keras's have not, as they must be."""


class KerasParts(NamedTuple):
    """What makes a Keras layer.

    Attributes
    ----------
    class_name : str
        Of `keras.layers`.
    config : dict
        For `from_config` of that class.
    weights : list of ndarray
        For `set_weights` of the layer, once it is built.
    """

    class_name: str
    config: dict[str, Any]
    weights: list[Array]


def to_keras(layer: layers.RNN | layers.LSTM | layers.GRU) -> KerasParts:
    """Give a layer's weights and options as Keras has them.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Of one direction, or bidirectional with one layer. Several layers are an `RNN`
        of stacked cells, a reverse one has `go_backwards`.

    Returns
    -------
    KerasParts
        ``class_name, config, weights``. The layer returns sequences, in Keras's order:
        that of a reverse one begins with the last step.

    Raises
    ------
    TypeError
        If `layer` is of another class.
    ValueError
        If it has an option that Keras has not, naming it.

    Notes
    -----
    The two biases of an LSTM, an RNN and a GRU that resets before the product are one
    in Keras: their sum, rounded once. Dropout is not handed on.

    Examples
    --------
    With ``keras``: ``made = getattr(keras.layers, parts.class_name)`` and then
    ``made.from_config(parts.config)``, ``build((None, None, 3))`` and
    ``set_weights(parts.weights)``.

    >>> import exactrnn as xr
    >>> from exactrnn.keras import to_keras
    >>> parts = to_keras(xr.LSTM(3, 4, seed=1))
    >>> parts.class_name, [weight.shape for weight in parts.weights]
    ('LSTM', [(3, 16), (4, 16), (16,)])
    """
    kind = KERAS_OF.get(type(layer), "")
    if not kind:
        got = describe(layer)
        raise TypeError(f"layer: expected an RNN, LSTM or GRU, got {got}")
    for option, plain in PLAIN.items():
        value = getattr(layer, option, plain)
        if value != plain:
            raise _refused(option, value, repr(plain))
    ways = _directions(layer)
    if layer.num_layers > 1 and len(ways) > 1:
        raise _refused("num_layers", layer.num_layers, "1 in a bidirectional layer")
    weights = [
        array
        for suffix in ways
        for k in range(layer.num_layers)
        for array in _weights(layer, kind, f"l{k}{suffix}")
    ]
    if layer.num_layers > 1:
        return KerasParts("RNN", _stacked_config(layer, kind), weights)
    configs = [_layer_config(layer, kind, k) for k in range(len(ways))]
    if len(configs) == 1:
        return KerasParts(kind, configs[0], weights)
    ahead, back = (_serialized(kind, config) for config in configs)
    both = {"layer": ahead, "backward_layer": back, "merge_mode": "concat"}
    return KerasParts("Bidirectional", {**both, "dtype": layer.dtype.name}, weights)


def _directions(layer: Any) -> tuple[str, ...]:
    """Return the suffixes of the weights of each direction."""
    return ("", "_reverse") if layer.bidirectional else ("",)


def _weights(layer: Any, kind: str, suffix: str) -> list[Array]:
    """Return kernel, recurrent kernel and bias of a cell."""
    named = layer.state_dict()
    arrays = [named[f"weight_{part}_{suffix}"].T for part in ("ih", "hh")]
    if layer.bias:
        pair = [named[f"bias_{part}_{suffix}"] for part in ("ih", "hh")]
        two = kind == "GRU" and layer.reset_after
        arrays.append(np.stack(pair) if two else pair[0] + pair[1])
    if kind == "GRU":
        split = [np.split(array, 3, axis=-1) for array in arrays]
        arrays = [np.concatenate([z, r, n], axis=-1) for r, z, n in split]
    return [np.ascontiguousarray(array) for array in arrays]


def _cell_config(layer: Any, kind: str, direction: int) -> dict[str, Any]:
    """Return the options of a cell of one direction."""
    own = ACTIVATIONS[kind]
    part = layer.activations[direction * own :][:own] or layer.activations[:own]
    config = {"units": layer.hidden_size, "use_bias": layer.bias}
    config |= {"dtype": layer.dtype.name}
    if kind == "SimpleRNN":
        return {**config, "activation": _keras_name(part[0])}
    if kind == "LSTM" and with_parameters(part[1]) != with_parameters(part[2]):
        raise _refused("activations", part, "one for candidate and output")
    config |= {"recurrent_activation": _keras_name(part[0])}
    if kind == "GRU":
        config["reset_after"] = layer.reset_after
    return {**config, "activation": _keras_name(part[1])}


def _keras_name(activation: Activation) -> str:
    """Return Keras's name of an activation."""
    for name, ours in NAMED.items():
        if with_parameters(ours) == with_parameters(activation):
            return name
    raise _refused(
        "activations", activation, "one of " + ", ".join(map(str, NAMED.values()))
    )


def _layer_config(layer: Any, kind: str, direction: int) -> dict[str, Any]:
    """Return the options of a layer of one direction."""
    backwards = layer.reverse or direction == 1
    sequence = {"return_sequences": True, "go_backwards": backwards}
    return {**_cell_config(layer, kind, direction), **sequence}


def _stacked_config(layer: Any, kind: str) -> dict[str, Any]:
    """Return the options of an `RNN` of cells on top of each other."""
    cell = _serialized(f"{kind}Cell", _cell_config(layer, kind, 0))
    cells = {"cells": [cell] * layer.num_layers, "dtype": layer.dtype.name}
    sequence = {"return_sequences": True, "go_backwards": layer.reverse}
    stack = _serialized("StackedRNNCells", cells)
    return {"cell": stack, **sequence, "dtype": layer.dtype.name}


def _serialized(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer in a config, as Keras writes it."""
    module = {"module": "keras.layers", "registered_name": None}
    return {**module, "class_name": kind, "config": dict(config)}


def _refused(option: str, value: object, expected: str) -> ValueError:
    """Return the error for an option that Keras's layers have not."""
    return ValueError(f"layer: expected {option} {expected}, got {quote(value)}")
