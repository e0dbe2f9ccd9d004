"""Gradients by name, as optimisers and clipping take them: neither copied nor cast.

Several, of modules that are trained together, stand in a list or a mapping, as the
modules do that an optimiser is made of: their names get the same prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from exactrnn._checks import Array, describe

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


class HasWeights(Protocol):
    """What a `backward` returns: gradients of weights by name, among others."""

    @property
    def weights(self) -> Mapping[str, Array]:
        """Gradient of each weight."""


GradientsLike: TypeAlias = (
    Mapping[str, Array]
    | HasWeights
    | Mapping[str, "GradientsLike"]
    | Sequence["GradientsLike"]
)


def weights_of(gradients: GradientsLike) -> dict[str, Array]:
    """Return the gradients of weights by name, of a mapping or what has one."""
    given: object = gradients
    if hasattr(given, "weights"):
        given = given.weights
    elif isinstance(given, list | tuple) and _are_several(given):
        given = {str(k): part for k, part in enumerate(given)}
    if not isinstance(given, Mapping):
        raise TypeError(
            "gradients: expected a mapping of names to arrays, or what backward "
            f"returned, got {describe(given)}"
        )
    if not _are_several(given.values()):
        return dict(given)
    return {
        f"{name}.{own}": array
        for name, part in given.items()
        for own, array in weights_of(part).items()
    }


def _are_several(given: Iterable[object]) -> bool:
    """Tell whether these are gradients of modules, not arrays."""
    return any(
        isinstance(g, Mapping)
        or hasattr(g, "weights")
        or (isinstance(g, list | tuple) and _are_several(g))
        for g in given
    )


def as_gradient(name: str, value: object, argument: str = "") -> Array:
    """Return an array as an object of its own over the same memory.

    `argument` is what it is an item of, for the message.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value).view()
        if array.dtype is FLOAT32 or array.dtype is FLOAT64:
            return array
        if array.dtype in (FLOAT32, FLOAT64):  # in native byte order alone
            return array
    label = f"{argument}[{name!r}]" if argument else name
    got = describe(value)
    raise TypeError(f"{label}: expected float32 or float64, got {got}")
