"""What a layer or a model is but its weights, as plain values, and back again.

A description has a class, arguments and, where calls draw random numbers, `generator`,
or it has parts, or modules: `exactrnn.io` says which forms there are. It is read as
what a file claims: nothing is made before all of it has been judged.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from exactrnn._checks import Array, describe
from exactrnn._checks.limits import quote
from exactrnn._checks.naming import check_names
from exactrnn._numeric.random import make_generator
from exactrnn.layers import CLASSES
from exactrnn.layers._composite import Composite
from exactrnn.layers._module import Module
from exactrnn.layers._sequential import Sequential
from exactrnn.layers._weightless import Dropout, Last, Weightless
from exactrnn.layers.echo_state import EchoState

__all__ = [
    "Layer",
    "Model",
    "Part",
    "Receiver",
    "as_parts",
    "describe_layer",
    "describe_model",
    "describe_parts",
    "restore_layer",
    "restore_model",
    "restore_parts",
    "weights_of_parts",
]

Layer: TypeAlias = Module | EchoState
Model: TypeAlias = Layer | Composite
Part: TypeAlias = Layer | Weightless | Sequential
Description: TypeAlias = Mapping[str, Any]
Named: TypeAlias = Sequence[tuple[str, Description]]

LONGEST_NAME = 300
WEIGHTLESS: Mapping[str, type[Weightless]] = {"Dropout": Dropout, "Last": Last}
"""Every class without weights that may be a part of a model in a file."""
TRAINING_ONLY = {
    *("dropout", "recurrent_dropout", "init", "forget_bias", "p", "variational")
}
"""Arguments in which a model may differ from what is copied into it."""


# Layers


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Return all that a layer is but its weights, as plain values."""
    if CLASSES.get(type(layer).__name__) is not type(layer):
        kinds = ", ".join(CLASSES)
        raise TypeError(f"layer: expected one of {kinds}, got {describe(layer)}")
    return _describe(layer)


def _describe_leaf(part: Layer | Weightless) -> dict[str, Any]:
    """Return what a part is that is no composite."""
    is_ours = WEIGHTLESS.get(type(part).__name__) is type(part)
    return _describe(part) if is_ours else describe_layer(cast(Layer, part))


def _describe(part: Layer | Weightless) -> dict[str, Any]:
    description = {"class": type(part).__name__, "arguments": part.arguments()}
    generator = part._generator_state()
    return description if generator is None else {**description, "generator": generator}


def restore_layer(description: Description, weights: Mapping[str, object]) -> Layer:
    """Make a layer of what `describe_layer` gave, and its weights; all is checked."""
    kind = _class_of(description["class"])
    layer: Layer = kind.restore(
        description["arguments"], weights, description.get("generator")
    )
    return layer


def _class_of(name: object) -> Any:
    """Return the class that a description names."""
    if name == "LanguageModel":
        raise ValueError("exactrnn.train.LanguageModel.load reads it")
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(f"it holds a {quote(name)}")
    return CLASSES[name]


# Several of them, by name


def describe_parts(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return all that the parts of a model are but their weights, by name."""
    return {"parts": [[name, _describe_part(part)] for name, part in parts.items()]}


def weights_of_parts(parts: Mapping[str, Part]) -> dict[str, Array]:
    """Return copies of all weights of the parts of a model."""
    return {
        f"{name}.{own}": array
        for name, part in parts.items()
        if not isinstance(part, Weightless)
        for own, array in part.state_dict().items()
    }


def as_parts(parts: dict[str, Part]) -> dict[str, Part]:
    """Return the parts of a model if a file can hold them."""
    for name in parts:
        _check_name(name)
    if not parts:
        raise ValueError("layer: expected at least one part, got none")
    if len({*map(id, parts.values())}) < len(parts):
        raise ValueError(
            "layer: expected each layer once, got one under two names, which would be "
            "two layers afterwards"
        )
    return parts


def _check_name(name: object) -> None:
    """Raise unless a file can hold a part of this name."""
    if not isinstance(name, str):
        raise TypeError(f"layer: expected parts with names, got {describe(name)}")
    if not name or "." in name or len(name) > LONGEST_NAME:
        raise ValueError(
            f"layer: expected names of parts of 1 to {LONGEST_NAME} letters "
            f"without a dot, got {quote(name)}"
        )


def restore_parts(named: Named, weights: Mapping[str, Array]) -> dict[str, Part]:
    """Make the parts of a model; every array must be one of theirs."""
    own = _by_part(named, weights)
    return as_parts({name: restore_model(part, own[name]) for name, part in named})


def _by_part(named: Named, weights: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Return the weights of each part by the names that they have in it."""
    own: dict[str, dict[str, Array]] = {name: {} for name, _ in named}
    if len(own) != len(named):
        raise ValueError("it has two parts of one name")
    for name, array in weights.items():
        part, _, rest = name.partition(".")
        own[part][rest] = array
    return own


# Models


def describe_model(model: Any) -> dict[str, Any]:
    """Return all that a layer or a model is but its weights, as plain values."""
    if isinstance(model, Sequential) and _is_ours(model):
        description = _describe_part(model)
        if len(_layers_in(description)) != len(model._leaves()):
            raise ValueError(
                "layer: expected each layer once, got one in two places of a "
                "Sequential, which would be two layers afterwards"
            )
        return description
    if isinstance(model, Composite):
        named = [[name, _describe_leaf(own)] for name, own in model._leaves().items()]
        return {"class": "Composite", "name": type(model).__name__, "modules": named}
    return describe_layer(model)


def _is_ours(part: Any) -> bool:
    """Tell whether the library can make a part, and what is in it, by itself."""
    if type(part) is Sequential:
        return all(_is_ours(inner) for inner in part.parts.values())
    return {**CLASSES, **WEIGHTLESS}.get(type(part).__name__) is type(part)


def _describe_part(part: Any) -> dict[str, Any]:
    if isinstance(part, Sequential):
        for name in part.parts:
            _check_name(name)
        named = [[name, _describe_part(own)] for name, own in part.parts.items()]
        return {"class": "Sequential", "parts": named}
    return _describe_leaf(part)


def restore_model(description: Description, weights: Mapping[str, Array]) -> Any:
    """Make what `describe_model` described, and its weights; all is checked."""
    kind = description["class"]
    if kind == "Composite":
        name = quote(description["name"])
        raise ValueError(
            f"it holds the parts of a {name}, whose wiring is code: make one, and give "
            "it as exactrnn.load(path, into=model)"
        )
    if kind == "Sequential":
        named = description["parts"]
        own = _by_part(named, weights)
        return Sequential({n: restore_model(part, own[n]) for n, part in named})
    if kind in WEIGHTLESS:
        check_names("weights", weights, [])
        state = description.get("generator")
        return WEIGHTLESS[kind].restore(description["arguments"], state)
    return restore_layer(description, weights)


def _layers_in(description: Description) -> dict[str, Description]:
    """Return the descriptions of the layers, by their names in the whole."""
    kind = description.get("class")
    if kind == "Composite":
        return dict(description["modules"])
    if kind != "Sequential" and "parts" not in description:
        return {"": description}
    return {
        f"{name}.{inner}" if inner else name: layer
        for name, part in description["parts"]
        for inner, layer in _layers_in(part).items()
    }


# Into a model that is there


class _Mapped(Composite):
    """A mapping of names to layers, as a composite."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.__dict__.update(as_parts(dict(parts)))


class Receiver:
    """A model that a description and weights are to be copied into.

    Parameters
    ----------
    model : layer, composite or mapping of names to layers

    Raises
    ------
    TypeError, ValueError
        If it is nothing that a file can hold.
    """

    def __init__(self, model: Any) -> None:
        self._model: Any = _Mapped(model) if isinstance(model, Mapping) else model
        if not isinstance(self._model, Module | Composite):
            raise TypeError(
                "into: expected a layer, a composite or a mapping of names to layers, "
                f"got {describe(model)}"
            )
        self._layers = _layers_in(describe_model(self._model))

    def take(self, description: Description, weights: Mapping[str, Array]) -> None:
        """Copy weights and the states of random numbers; all of them or none."""
        given = _layers_in(description)
        if ("" in given) != ("" in self._layers):
            kinds = ("one layer", "several layers")
            expected, got = kinds if "" in self._layers else kinds[::-1]
            raise ValueError(f"layers: expected a file of {expected}, got one of {got}")
        check_names("layers", given, self._layers)
        for name, own in self._layers.items():
            _check_alike(name, given[name], own)
        states = {n: own["generator"] for n, own in given.items() if "generator" in own}
        for state in states.values():
            make_generator(0).state = cast(Any, state)
        self._model.load_state_dict(weights)
        if isinstance(self._model, Composite):
            self._model._set_generator_states(states)
        elif states:
            self._model._set_generator_state(states[""])


def _check_alike(name: str, given: Description, own: Description) -> None:
    """Raise unless two layers are the same but for weights and how they are trained."""
    if given["class"] != own["class"]:
        raise ValueError(
            f"{name or 'layer'}: expected a file of {quote(own['class'])}, got one of "
            f"{quote(given['class'])}"
        )
    held, wanted = (_plain_arguments(layer) for layer in (given, own))
    for argument in sorted({*held, *wanted} - TRAINING_ONLY):
        if held.get(argument) != wanted.get(argument):
            raise ValueError(
                f"{name or 'layer'}: expected a file of {argument}="
                f"{quote(wanted.get(argument))}, got {quote(held.get(argument))}"
            )


def _plain_arguments(description: Description) -> dict[str, Any]:
    """Return all arguments of a layer as a file gives them back, defaults too."""
    kind = WEIGHTLESS.get(description["class"]) or _class_of(description["class"])
    parameters = inspect.signature(kind).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    defaults.pop("seed", None)
    whole: dict[str, Any] = json.loads(
        json.dumps(defaults | dict(description["arguments"]))
    )
    return whole
