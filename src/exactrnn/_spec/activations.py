"""The activations that a layer may choose from: their names and parameters.

A name stands for a function with the parameters of `PARAMETERS`; with others it is a
tuple, ``("leaky_relu", 0.1)``. What they are is defined in
``reference/activations.py``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Activation: TypeAlias = str | tuple[str, float] | tuple[str, float, float]
"""A name, or a name and its parameters."""

Plain: TypeAlias = Literal[
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "relu",
    "softsign",
    "identity",
    "leaky_relu",
    "elu",
    "softplus",
    "scaled_tanh",
    "thresholded_relu",
    "affine",
]
WithOne: TypeAlias = tuple[Literal["leaky_relu", "elu", "thresholded_relu"], float]
WithTwo: TypeAlias = tuple[
    Literal["hard_sigmoid", "scaled_tanh", "affine"], float, float
]
ActivationLike: TypeAlias = Plain | WithOne | WithTwo
"""What an argument takes: to a type checker the names are few."""
KindLike: TypeAlias = ActivationLike | Literal["lstm"]
"""What a dimension of a grid does: an LSTM, or an activation."""

PARAMETERS: dict[str, tuple[float, ...]] = {
    "sigmoid": (),
    "hard_sigmoid": (0.2, 0.5),
    "tanh": (),
    "relu": (),
    "softsign": (),
    "identity": (),
    "leaky_relu": (0.01,),
    "elu": (1.0,),
    "softplus": (),
    "scaled_tanh": (1.0, 1.0),
    "thresholded_relu": (1.0,),
    "affine": (1.0, 0.0),
}
"""The parameters α, β that each function has, and what they are by default."""

ACTIVATIONS = tuple(PARAMETERS)
"""Their names; a cell lists first what is its default."""


def default_first(name: str) -> tuple[str, ...]:
    """Return all activations, the one that is a cell's default first."""
    return (name, *(other for other in ACTIVATIONS if other != name))


def name_of(activation: Activation) -> str:
    """Return the name alone."""
    return activation if isinstance(activation, str) else activation[0]


def with_parameters(activation: Activation) -> tuple[str, float, float]:
    """Return the name, α and β; 0 for what the function has not."""
    name = name_of(activation)
    given = PARAMETERS[name] if isinstance(activation, str) else activation[1:]
    alpha, beta, *_ = (*given, 0.0, 0.0)
    return name, alpha, beta
