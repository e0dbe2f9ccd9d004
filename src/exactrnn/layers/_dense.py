"""What the layers around a recurrent one, `Embedding` and `Linear`, have in common.

Like the recurrent layers they keep no gradients: `forward` returns what `backward`
needs, `backward` returns new arrays, and a cache knows the version of the weights that
it was made with. The twins are in `reference/dense.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.dense import DenseSpec
from exactrnn._weights.dense import DenseStore
from exactrnn._weights.store import STALE
from exactrnn.layers._module import Module

__all__ = ["ModuleCache", "ModuleGradients"]


class ModuleGradients(NamedTuple):
    """What `backward` returns: gradients of the input and of the weights.

    Attributes
    ----------
    x : ndarray or None
        Gradient of the input, in its shape; None for that of an embedding.
    weights : dict of str to ndarray
        Gradient of each weight by name.
    """

    x: Array | None
    weights: dict[str, Array]


class ModuleCache:
    """What `forward` keeps for `backward`; it stays valid until the weights change.

    It owns a copy of the input: changing the caller's array after `forward` cannot
    change a gradient. `backward` leaves it as it is and may be called again. A deep
    copy or a pickle takes its layer along, as that of a recurrent layer's cache does.
    """

    __slots__ = ("_input", "_owner", "_version")

    def __init__(self, owner: DenseModule, version: int, values: NDArray[Any]) -> None:
        self._owner = owner
        self._version = version
        self._input = values

    def __reduce__(self) -> tuple[Any, ...]:
        current = self._owner._store.now()[0] == self._version
        return restore_cache, (type(self), self._owner, current, self._input)

    def __copy__(self) -> ModuleCache:
        return type(self)(self._owner, self._version, self._input)

    def __repr__(self) -> str:
        return f"<cache of {self._owner!r}, input {self._input.shape}>"

    @property
    def layer(self) -> DenseModule:
        """The layer whose `forward` made it."""
        return self._owner

    @property
    def x(self) -> NDArray[Any]:
        """What `forward` was given, a read-only copy."""
        copy = self._input.copy()
        copy.flags.writeable = False
        return copy


def restore_cache(
    kind: type[ModuleCache],
    owner: DenseModule,
    current: bool,
    values: NDArray[Any],
    *more: Array,
) -> ModuleCache:
    """Make a cache for a copy or a pickle, of the copy of its owner."""
    version = owner._store.now()[0] if current else STALE
    return kind(owner, version, values, *more)


class DenseModule(Module):
    """What the two have in common: their store, and caches that go back to them."""

    _spec: DenseSpec
    _store: DenseStore

    def _assemble(
        self,
        spec: Any,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,  # noqa: ARG002 (no call draws)
    ) -> None:
        # A bias that is there is a weight, one that is not an option: None.
        options = {
            name: None if name == "bias" else value
            for name, value in given.items()
            if name not in weights
        }
        self._become(spec, options, dict(given), _store=DenseStore(weights))

    def _kept(self, cache: object) -> tuple[NDArray[Any], dict[str, Array]]:
        """Return the input in a cache of this layer and the weights it saw."""
        if not isinstance(cache, ModuleCache):
            got = _checks.describe(cache)
            raise TypeError(f"cache: expected one made by forward, got {got}")
        _checks.check_owner(cache, self)
        version, weights = self._store.now()
        _checks.check_version(cache._version, version)
        return cache._input, weights
