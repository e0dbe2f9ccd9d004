"""Gradients by name, as optimisers and clipping take them: neither copied nor cast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np

from exactrnn._checks import Array, describe

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


class HasWeights(Protocol):
    """What a `backward` returns: gradients of weights by name, among others."""

    @property
    def weights(self) -> Mapping[str, Array]:
        """Gradient of each weight."""


GradientsLike: TypeAlias = Mapping[str, Array] | HasWeights


def weights_of(gradients: GradientsLike) -> dict[str, Array]:
    """Return the gradients of weights by name, of a mapping or what has one."""
    given: object = gradients
    if not isinstance(given, Mapping):
        given = getattr(given, "weights", given)
    if not isinstance(given, Mapping):
        raise TypeError(
            "gradients: expected a mapping of names to arrays, or what backward "
            f"returned, got {describe(given)}"
        )
    return dict(given)


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
