"""The attributes of recurrent nodes, each read with its default, checked and refused.

How many inputs and outputs a node has is checked along with them.

An attribute that is not known is refused, whatever its value: it may change numbers.
Parameters of activations stand in lists of their own, from which each function takes
those that it has, in the order of the functions. Values that no function takes are
passed over where none has parameters, and refused where they may have been meant for
one, by place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exactrnn._checks import FloatType
from exactrnn._checks.limits import MAX_SIZE
from exactrnn._spec.activations import PARAMETERS, Activation
from exactrnn.interop.onnx._graph import Node
from exactrnn.interop.onnx._words import (
    ACTIVATIONS,
    FEWEST_INPUTS,
    MOST_INPUTS,
    MOST_OUTPUTS,
    OPERATORS,
    WAYS,
    WITHOUT_DEFAULT,
    Operator,
    count_parameters,
)

FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 8: "strings"}
"""Where an AttributeProto has its value, by its type."""
COMMON = {
    "activation_alpha": "floats",
    "activation_beta": "floats",
    "activations": "strings",
    "clip": "f",
    "direction": "s",
    "hidden_size": "i",
    "layout": "i",
}
OWN = {"LSTM": {"input_forget": "i"}, "GRU": {"linear_before_reset": "i"}, "RNN": {}}
"""Attributes and the types of their values."""
LOWEST_ALPHA = ("LeakyRelu", "Elu", "ThresholdedRelu")
"""Functions whose α is at least 0 here."""
NAMES = {name.lower(): name for name in ACTIVATIONS}
"""Names as ONNX Runtime reads them, without regard to case."""


@dataclass(frozen=True)
class Options:
    """What a node's attributes say; `hidden_size` is None if only weights tell."""

    hidden_size: int | None
    ways: int
    reverse: bool
    layout: int
    clip: float | None
    activations: tuple[Activation, ...]
    flag: bool
    """`input_forget` of an LSTM, `linear_before_reset` of a GRU."""

    def written_for(self, dtype: FloatType) -> Options:
        """Return them with the shortest numbers that are the same in a dtype.

        Attributes are float32: there 0.2 may be written as 0.2.
        """
        if dtype != np.float32:
            return self
        clip = None if self.clip is None else _shortest(self.clip)
        named = tuple(_renamed(activation) for activation in self.activations)
        return replace(self, clip=clip, activations=named)


def read_options(node: Node) -> Options:
    """Return a node's options."""
    _check_ends(node)
    given = _values(node)
    direction = given.get("direction", b"forward").decode("utf-8", "replace")
    if direction not in WAYS:
        raise node.refused("direction", direction, "one of " + ", ".join(WAYS))
    [flag] = [_flag(node, given, name) for name in OWN[node.kind]] or [0]
    return Options(
        _hidden_size(node, given),
        WAYS[direction],
        direction == "reverse",
        _flag(node, given, "layout"),
        _clip(node, given),
        _activations(node, given, WAYS[direction]),
        bool(flag),
    )


def _check_ends(node: Node) -> None:
    """Raise for more inputs or outputs than the operator has, or fewer than it needs.

    W and R are looked for where weights are read.
    """
    kind, op = str(node.op.op_type), node.op
    inputs, outputs = len(op.input), len(op.output)
    if not FEWEST_INPUTS <= inputs <= MOST_INPUTS[kind]:
        raise node.refused("inputs", inputs, f"{FEWEST_INPUTS} to {MOST_INPUTS[kind]}")
    if not node.has(0):
        raise node.refused("inputs", "", "X as the first")
    if not 1 <= outputs <= MOST_OUTPUTS[kind]:
        raise node.refused("outputs", outputs, f"1 to {MOST_OUTPUTS[kind]}")


def _values(node: Node) -> dict[str, Any]:
    """Return the attributes by name, of the types that they must have."""
    known, found = COMMON | OWN[node.kind], {}
    for given in node.op.attribute:
        field = FIELDS.get(given.type, "")
        value = getattr(given, field) if field else None
        if given.name not in known:
            raise node.refused(given.name, value, "no such attribute")
        if field != known[given.name]:
            raise node.refused(given.name, value, f"a value in {known[given.name]}")
        found[given.name] = value
    return found


def _flag(node: Node, given: dict[str, Any], name: str) -> int:
    """Return an attribute that is 0 or 1."""
    value = given.get(name, 0)
    if value not in (0, 1):
        raise node.refused(name, value, "0 or 1")
    return int(value)


def _hidden_size(node: Node, given: dict[str, Any]) -> int | None:
    """Return the number of units, None if it is not given."""
    value = given.get("hidden_size")
    if value is not None and not 1 <= value <= MAX_SIZE:
        raise node.refused("hidden_size", value, "an integer >= 1")
    return value


def _clip(node: Node, given: dict[str, Any]) -> float | None:
    """Return the limit of what goes into activations, None for none."""
    value = given.get("clip")
    if value is not None and not 0 < value < math.inf:
        raise node.refused("clip", value, "a number > 0")
    return None if value is None else float(value)


def _shortest(value: float) -> float:
    """Return the number with the fewest digits that is this one in float32."""
    return float(str(np.float32(value)))


def _renamed(activation: Activation) -> Activation:
    """Return a function with parameters of few digits, if it has any."""
    if isinstance(activation, str):
        return activation
    name, *parameters = activation
    return _named(name, tuple(map(_shortest, parameters)))


def _named(name: str, parameters: tuple[float, ...]) -> Activation:
    """Return a function of ours; its name alone where the parameters are the usual."""
    if name == "affine" and parameters == (1.0, 0.0):
        return "identity"
    if parameters == PARAMETERS[name]:
        return name
    return (name, *parameters)  # type: ignore[return-value]


# Activations


def _activations(
    node: Node, given: dict[str, Any], ways: int
) -> tuple[Activation, ...]:
    """Return the activations of one direction, or of both where they differ."""
    operator = OPERATORS[node.kind]
    names = _names(node, given, operator, ways)
    values = {
        "activation_alpha": [*given.get("activation_alpha", [])],
        "activation_beta": [*given.get("activation_beta", [])],
    }
    left = {name: [*numbers] for name, numbers in values.items()}
    found = [_activation(node, name, left) for name in names]
    takes = any(map(count_parameters, names))
    for attribute, rest in left.items():
        if rest and takes:
            raise node.refused(attribute, values[attribute], _expected(names))
    uses = len(operator.activations)
    return tuple(found[:uses] if found[:uses] == found[uses:] else found)


def _names(
    node: Node, given: dict[str, Any], operator: Operator, ways: int
) -> Sequence[str]:
    """Return ONNX's names of all activations."""
    if not given.get("activations"):
        return operator.activations * ways
    texts = [text.decode("utf-8", "replace") for text in given["activations"]]
    count = len(operator.activations) * ways
    if len(texts) != count:
        raise node.refused("activations", texts, f"{count} names")
    for text in texts:
        if text.lower() not in NAMES:
            raise node.refused("activations", text, "one of " + ", ".join(ACTIVATIONS))
    return [NAMES[text.lower()] for text in texts]


def _activation(node: Node, name: str, left: dict[str, list[float]]) -> Activation:
    """Return a function with its parameters, taken from what is left of the lists."""
    ours = ACTIVATIONS[name]
    usual = PARAMETERS[ours]
    parameters = []
    for attribute, default in zip(left, usual, strict=False):
        if left[attribute]:
            value = left[attribute].pop(0)
            _check_parameter(node, name, attribute, value)
            parameters.append(value)
        elif name in WITHOUT_DEFAULT:
            raise node.refused(attribute, None, f"a number for {name}")
        else:
            parameters.append(default)
    return _named(ours, tuple(parameters))


def _check_parameter(node: Node, name: str, attribute: str, value: float) -> None:
    """Raise for a parameter that a function has not here."""
    if not math.isfinite(value):
        raise node.refused(attribute, value, f"a finite number for {name}")
    if attribute == "activation_alpha":
        if name in LOWEST_ALPHA and value < 0:
            raise node.refused(attribute, value, f"a number >= 0 for {name}")
        if name == "ScaledTanh" and value == 0:
            raise node.refused(attribute, value, f"a number other than 0 for {name}")


def _expected(names: Sequence[str]) -> str:
    """Say how many parameters the functions take."""
    each = ", ".join(f"{count_parameters(name)} of {name}" for name in names)
    return f"as many values as the functions take ({each})"
