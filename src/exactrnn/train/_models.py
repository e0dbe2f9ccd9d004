"""What training asks of a model: a layer, a composite, or one of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
