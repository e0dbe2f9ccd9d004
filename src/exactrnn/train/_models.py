"""What training asks of a model: a layer, a composite, or one of a user.

And what it asks of a user's functions: numbers, and of a loss its gradient with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exactrnn._checks import describe
from exactrnn._checks.limits import list_names
from exactrnn.layers._composite import Composite
from exactrnn.layers._module import Module


def check_model(name: str, model: object) -> Any:
    """Return a model that has what training needs, or raise."""
    missing = [
        method
        for method in ("forward", "backward", "parameters", "state_dict")
        if not callable(getattr(model, method, None))
    ]
    if missing:
        raise TypeError(
            f"{name}: expected a layer or a model with forward, backward, parameters "
            f"and state_dict, got {describe(model)} without {list_names(missing)}"
        )
    return model


def generator_states(model: Any) -> dict[str, Any]:
    """Return where the random numbers of a model stand: of a layer's under ''."""
    if isinstance(model, Composite):
        return model._generator_states()
    state = model._generator_state() if isinstance(model, Module) else None
    return {} if state is None else {"": state}


def set_generator_states(model: Any, states: Mapping[str, Any]) -> None:
    """Let the random numbers of a model go on from what `generator_states` gave."""
    if isinstance(model, Composite):
        model._set_generator_states(states)
    elif isinstance(model, Module) and "" in states:
        model._set_generator_state(states[""])


def check_carried(model: Any, state: Any) -> Any:
    """Return the state that a model gave behind its output, or raise without one."""
    if state is None:
        raise ValueError(
            "carry: expected a model that gives back its state behind the output, got "
            f"{describe(model)}, which gives none"
        )
    return state


def check_of_model(name: str, model: Any, arrays: Mapping[str, Any]) -> None:
    """Raise if none of the arrays is a weight of the model: it is another one's."""
    own, given = _places_of(model.parameters()), _places_of(arrays)
    if own and given and not own & given:
        raise ValueError(
            f"{name}: expected one of the weights of this model, got one of another "
            "model's, which would change in its place"
        )


def _places_of(arrays: Mapping[str, Any]) -> set[int]:
    """Return where the memory of arrays begins."""
    plain = (np.asarray(array) for array in arrays.values())
    return {a.__array_interface__["data"][0] for a in plain if a.size}


def check_loss(found: Any) -> tuple[Any, Any]:
    """Return the number and the gradient that a loss gave, as they are, or raise."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        got = f"{len(found)} values" if isinstance(found, tuple) else describe(found)
        raise TypeError(
            "loss: expected one that returns a number and the gradient at the output, "
            f"got {got}"
        )
    value, dy = found
    return check_told("loss", value), dy


def check_told(name: str, value: Any) -> Any:
    """Return the number that a function gave, as it is, or raise."""
    try:
        if isinstance(value, str | bytes) or np.ndim(value):
            raise TypeError
        float(value)
    except (TypeError, ValueError):
        got = describe(value)
        raise TypeError(f"{name}: expected a number from it, got {got}") from None
    return value
