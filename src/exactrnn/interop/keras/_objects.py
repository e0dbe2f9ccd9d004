"""Live objects of Keras 3 as nodes, on any backend; keras itself is not imported here.

A layer gives its class, its `get_config()` and its `get_weights()`; a model its layers.
A class that is not Keras's own is one of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exactrnn._checks import Array, describe
from exactrnn.interop.keras._nodes import MODELS, Node, RefusedError


def is_keras(value: object) -> bool:
    """Tell whether something has what a Keras layer has."""
    return all(hasattr(value, name) for name in ("get_config", "get_weights", "name"))


def read_object(value: Any, path: str = "") -> Node:
    """Return the node of a layer or model; `path` is empty for a model itself."""
    kind = type(value).__name__
    own = type(value).__module__.partition(".")[0] == "keras"
    if not own:
        kind = f"{type(value).__module__}.{kind}"
    if kind in MODELS:
        return _read_model(value, kind, path)
    try:
        config = value.get_config()
    except Exception as error:  # of a class of the user's: whatever it raises
        got = describe(value)
        raise RefusedError(
            f"model: expected a layer with a config, got {got}"
        ) from error
    return Node(kind, config, path or value.name, OrderedWeights(value))


def _read_model(model: Any, kind: str, path: str) -> Node:
    """Return the node of a model; its config also says how layers are connected."""
    children = tuple(
        read_object(layer, f"{path}/{layer.name}" if path else layer.name)
        for layer in model.layers
    )
    config: Mapping[str, Any] = model.get_config()
    return Node(kind, config, path, OrderedWeights(model), children)


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
