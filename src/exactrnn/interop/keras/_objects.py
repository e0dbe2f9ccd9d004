"""Live objects of Keras 3 as nodes, on any backend; keras itself is not imported here.

A layer gives its class, its `get_config()` and its `get_weights()`; a model its layers.
A class that is not Keras's own is one of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exactrnn._checks import Array, describe
from exactrnn.interop.keras._nodes import MODELS, WRAPPER, Node, RefusedError


def is_keras(value: object) -> bool:
    """Tell whether something has what a Keras layer has."""
    return all(hasattr(value, name) for name in ("get_config", "get_weights", "name"))


def read_object(value: Any, path: str = "", around: Sequence[Any] = ()) -> Node:
    """Return the node of a layer or model; `path` is empty for the outermost.

    `around` are the objects that it is in.
    """
    kind = type(value).__name__
    own = type(value).__module__.partition(".")[0] == "keras"
    if not own:
        kind = f"{type(value).__module__}.{kind}"
    within = (*around, value)
    children = tuple(
        read_object(layer, f"{path}/{layer.name}" if path else layer.name, within)
        for layer in _layers_in(value, kind, own)
        if not any(layer is outer for outer in within)
    )
    config: Mapping[str, Any] = _config_of(value) if own else {}
    path = path if kind in MODELS else path or value.name
    return Node(kind, config, path, OrderedWeights(value), children)


def _layers_in(value: Any, kind: str, own: bool) -> Sequence[Any]:
    """Return the layers of a model, of a wrapper, and of a class of the user's."""
    if kind in MODELS:
        return list(value.layers)
    if kind == WRAPPER:
        return [value.layer]
    find = None if own else getattr(value, "_flatten_layers", None)
    return [] if find is None else list(find(include_self=False, recursive=False))


def _config_of(value: Any) -> Mapping[str, Any]:
    """Return the options of a layer or model, which may hold objects of the user's."""
    try:
        config: Mapping[str, Any] = value.get_config()
    except Exception as error:  # whatever these raise
        got = describe(value)
        raise RefusedError(
            f"model: expected a layer with a config, got {got}"
        ) from error
    return config


class OrderedWeights:
    """The weights of a live layer, in its order."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def entries(self, places: Sequence[str]) -> dict[str, Any]:
        """Return its arrays, the first ones at the places that are expected."""
        if not getattr(self._layer, "built", True):
            raise RefusedError(
                f"{self._layer.name}: expected a built layer: call it once"
            )
        arrays = [np.asarray(array) for array in self._layer.get_weights()]
        more = [f"weight {k}" for k in range(len(places), len(arrays))]
        return dict(zip([*places, *more], arrays, strict=False))

    def read(self, entry: Any) -> Array:
        """Return the numbers of an array."""
        found: Array = entry
        return found
