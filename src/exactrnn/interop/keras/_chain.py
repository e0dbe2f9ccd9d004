"""The order of layers in a model that is a chain: each reads the one before.

In a functional model the connections are in its config, `inbound_nodes`. A layer's mask
is there too: Keras makes it of a Masking or Embedding layer's input by the operations
NotEqual and Any, which are followed; masks of another origin are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn._checks.limits import quote
from exactrnn.interop.keras._nodes import Node, RefusedError, list_nodes

OF_MASK = ("NotEqual", "Any")
"""Operations of which Keras makes a mask."""
QUIET = frozenset({"training", "mask"})
"""Arguments of a call that a chain may have."""
RANDOM = ("rate", "stddev", "dropout", "recurrent_dropout")
"""Options by which a layer draws numbers in training."""


def links_of(root: Node) -> list[Node]:
    """Return the layers of a chain in the order of the data."""
    if not root.is_model:
        return [root]
    ordered = [*root.children] if root.kind == "Sequential" else _follow(root)
    return [node for child in ordered for node in links_of(child)]


def _follow(root: Node) -> list[Node]:
    """Return the layers of a functional model, from its input to its only output."""
    specs = {spec["config"]["name"]: spec for spec in root.config["layers"]}
    nodes = {node.name: node for node in root.children}
    name, found = _only(root, root.config["output_layers"]), list[Node]()
    while True:
        if name not in nodes or nodes[name] in found:
            raise _refused(root, f"{quote(name)} is no layer of a chain")
        found.append(nodes[name])
        if nodes[name].kind == "InputLayer":
            _only(root, root.config["input_layers"])
            break
        name = _source(root, nodes[name], specs)
    found.reverse()
    _check_masks(root, found, specs)
    return found


def _only(root: Node, ends: Any) -> str:
    """Return the name of a model's only input or output."""
    if isinstance(ends, Mapping):
        ends = [*ends.values()]
    if len(ends) == 3 and isinstance(ends[0], str):
        ends = [ends]
    if len(ends) != 1:
        raise _refused(root, f"it has {len(ends)} inputs or outputs")
    return str(ends[0][0])


def _call_of(root: Node, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a layer's only call."""
    calls = spec.get("inbound_nodes") or []
    if len(calls) != 1 or not isinstance(calls[0], Mapping):
        raise _refused(root, f"{quote(spec['config']['name'])} is not called once")
    call: Mapping[str, Any] = calls[0]
    return call


def _source(root: Node, node: Node, specs: Mapping[str, Any]) -> str:
    """Return the name of the layer whose output is this one's input."""
    call = _call_of(root, specs[node.name])
    used = {key for key, value in call["kwargs"].items() if value not in (None, False)}
    if len(call["args"]) != 1 or used - QUIET:
        raise _refused(root, f"{node.title()} has more than one input")
    if call["kwargs"].get("training") and _is_random(node.config):
        raise _refused(root, f"{node.title()} is called with training=True")
    return _tensor(root, call["args"][0])


def _is_random(config: Mapping[str, Any]) -> bool:
    """Tell whether a layer of these options draws numbers in training."""
    inner = config.get("layer")
    inside = inner.get("config") if isinstance(inner, Mapping) else None
    return any(config.get(option) for option in RANDOM) or (
        isinstance(inside, Mapping) and _is_random(inside)
    )


def _tensor(root: Node, value: Any) -> str:
    """Return the name of the layer that has made a tensor."""
    if not isinstance(value, Mapping) or value.get("class_name") != "__keras_tensor__":
        raise _refused(root, f"{quote(value)} is not the output of a layer")
    return str(value["config"]["keras_history"][0])


def _check_masks(root: Node, found: list[Node], specs: Mapping[str, Any]) -> None:
    """Raise for a mask that is not what the layers of the chain make of their input."""
    made = [
        node.config.get("mask_value", 0.0) if node.kind == "Masking" else 0
        for node in found
        if node.kind == "Masking" or node.config.get("mask_zero")
    ]
    for node in found[1:]:
        mask = _call_of(root, specs[node.name])["kwargs"].get("mask")
        while mask is not None:
            spec = specs[_tensor(root, mask)]
            if spec["class_name"] not in OF_MASK:
                raise _refused(root, f"{node.title()} has a mask from elsewhere")
            args = _call_of(root, spec)["args"]
            if spec["class_name"] == "NotEqual" and args[1] not in made:
                raise _refused(root, f"{node.title()} has a mask from elsewhere")
            mask = args[0] if spec["class_name"] == "Any" else None


def _refused(root: Node, why: str) -> RefusedError:
    """Return the error for a model that is no chain, with what is in it."""
    return RefusedError(
        f"model: expected a chain of layers, but {why}; it has "
        f"{list_nodes(root.children)}; take one by name=, or layers_from_keras"
    )
