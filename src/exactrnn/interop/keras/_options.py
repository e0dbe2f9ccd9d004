"""The options of Keras's layers, each read with its default, checked and refused.

An option that is not known is refused, whatever its value: it may change the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from exactrnn._checks.limits import MAX_SIZE
from exactrnn._spec.activations import Activation
from exactrnn.interop.keras._nodes import Node

COMMON = frozenset(
    {
        *("name", "trainable", "dtype", "batch_input_shape", "batch_shape", "seed"),
        *("input_shape", "input_dim", "input_length", "build_config", "ragged"),
        *("activity_regularizer", "autocast"),
        *(
            f"{weight}_{kind}"
            for weight in ("kernel", "recurrent", "bias", "embeddings")
            for kind in ("initializer", "regularizer", "constraint")
        ),
    }
)
"""Options that say nothing of the numbers that a layer with weights gives."""

DTYPE_OF_POLICY: dict[str, Literal["float32", "float64"]] = {
    "float32": "float32",
    "float64": "float64",
    "mixed_float16": "float32",
    "mixed_bfloat16": "float32",
}
"""The dtype of the weights, in which is computed here."""

NAMED: Mapping[str, Activation] = {
    "linear": "identity",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softsign": "softsign",
    "softplus": "softplus",
    "elu": ("elu", 1.0),
    "leaky_relu": ("leaky_relu", 0.2),
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
}
"""Keras 3's activations that the layers have."""

OF_KERAS_2: Mapping[str, Activation] = {"hard_sigmoid": ("hard_sigmoid", 0.2, 0.5)}

WRAPPED = {
    "LeakyReLU": ("leaky_relu", ("negative_slope", "alpha"), 0.3),
    "ELU": ("elu", ("alpha",), 1.0),
}
"""Layers that stand for an activation with a parameter: its names and its default."""


def check_known(node: Node, known: Iterable[str]) -> None:
    """Raise for an option that is not in the list and is not None."""
    for option, value in node.config.items():
        if option not in COMMON and option not in known and value is not None:
            raise node.refused(str(option), value, "no such option")


def read_flag(node: Node, option: str, default: bool = False) -> bool:
    """Return an option that is a bool."""
    value = node.config.get(option, default)
    if not isinstance(value, bool):
        raise node.refused(option, value, "True or False")
    return value


def read_size(node: Node, option: str) -> int:
    """Return an option that is a number of units."""
    value = node.config.get(option)
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise node.refused(option, value, "an integer >= 1")
    return int(value)


def read_dtype(node: Node) -> Literal["float32", "float64"]:
    """Return the dtype of a layer's weights: of its policy's variables."""
    value: Any = node.config.get("dtype") or "float32"
    given = value
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        value = value["config"].get("name")
    if not isinstance(value, str) or value not in DTYPE_OF_POLICY:
        raise node.refused("dtype", given, "one of " + ", ".join(DTYPE_OF_POLICY))
    return DTYPE_OF_POLICY[value]


def read_activation(node: Node, option: str, default: str) -> Activation:
    """Return an activation that the recurrent layers have."""
    value: Any = node.config.get(option, default)
    if value is None:
        return "identity"
    if isinstance(value, Mapping):
        found = _parametric(value)
        if found is not None:
            return found
    elif isinstance(value, str) and value in NAMED:
        return OF_KERAS_2.get(value, NAMED[value]) if node.keras2 else NAMED[value]
    raise node.refused(option, value, "one of " + ", ".join([*NAMED, *WRAPPED]))


def _parametric(value: Mapping[str, Any]) -> Activation | None:
    """Return the activation that an object stands for, None if it is unknown."""
    kind, config = value.get("class_name"), value.get("config")
    if kind not in WRAPPED or not isinstance(config, Mapping):
        return None
    name, options, default = WRAPPED[str(kind)]
    given = [config[option] for option in options if option in config]
    alpha = given[0] if given else default
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or alpha < 0:
        return None
    return name, float(alpha)
