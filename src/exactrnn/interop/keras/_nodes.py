"""A model as a tree of nodes, wherever it comes from: class, options, weights.

Options are Keras's own configuration, a mapping that JSON may have brought: nothing in
it is believed before it is checked. Weights lie at places within the layer, named as in
a `.keras` file (`cell/vars/0`); sources that only have an order give them these names.
`take_weights` compares all of them with what the options ask for before one is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from exactrnn._checks import DTYPES, Array
from exactrnn._checks.limits import list_names, quote, shorten

MODELS = ("Sequential", "Functional", "Model")
"""Classes whose options list layers."""
WRAPPER = "TimeDistributed"
"""The class whose options have one layer, which may be a model, beside its own."""
FREE = "I"
"""The letter of an axis whose size is that of the weights: the input's."""


class RefusedError(ValueError):
    """What cannot be taken, in words of ours that need no others around them."""


class Slot(NamedTuple):
    """A weight that the options ask for: its place, and its shape."""

    place: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.place} [{', '.join(map(str, self.shape))}]"


class Weights(Protocol):
    """Where a layer's weights come from."""

    def entries(self, places: Sequence[str]) -> dict[str, Any]:
        """Return what is there by place, with `shape`; `places` are those expected."""

    def read(self, entry: Any) -> Array:
        """Return the numbers of an entry."""


@dataclass(frozen=True)
class Node:
    """A layer or a model. `path` has the names of what is around it and its own.

    `children` are a model's layers, and those in a wrapper or a class of the user's.
    """

    kind: str
    config: Mapping[str, Any]
    path: str
    weights: Weights
    children: tuple[Node, ...] = ()
    keras2: bool = False
    """Whether Keras 2 wrote it, whose `hard_sigmoid` is another function."""

    @property
    def name(self) -> str:
        """The layer's own name, which may have slashes in models of Keras 2."""
        own = self.config.get("name")
        if isinstance(own, str) and f"/{self.path}".endswith(f"/{own}"):
            return own
        return self.path.rpartition("/")[2]

    @property
    def is_model(self) -> bool:
        """Whether it consists of layers."""
        return self.kind in MODELS

    def refused(self, option: str, value: object, expected: str) -> RefusedError:
        """Return the error for an option that is not had here."""
        return RefusedError(
            f"{self.title()}: {option}: expected {expected}, got {quote(value)}"
        )

    def title(self) -> str:
        """Return class and name, for messages."""
        return f"{shorten(self.kind, 40)} {quote(self.path)}"

    def inner(self, spec: object, option: str) -> Node:
        """Return what an option holds that is a layer or a cell itself."""
        if not isinstance(spec, Mapping) or not isinstance(spec.get("config"), Mapping):
            raise self.refused(option, spec, "a layer")
        kind = str(spec.get("class_name"))
        return Node(kind, spec["config"], self.path, self.weights, (), self.keras2)


def all_nodes(root: Node) -> list[Node]:
    """Return all layers that are no models, in their order."""
    own = [] if root.is_model else [root]
    return own + [node for child in root.children for node in all_nodes(child)]


def list_nodes(nodes: Sequence[Node]) -> str:
    """Write classes and names for a message."""
    return list_names([node.title() for node in nodes])


def take_weights(node: Node, slots: Sequence[Slot]) -> list[Array]:
    """Return the weights of these slots; all that is wrong is said at once."""
    found = node.weights.entries([slot.place for slot in slots])
    left, faults, sizes = {**found}, [], dict[str | int, int]()
    for slot in slots:
        entry = left.pop(slot.place, None)
        if entry is None:
            faults.append(f"{slot} is missing")
        elif not fits(slot.shape, entry.shape, sizes):
            faults.append(f"{slot} has shape {shorten(tuple(entry.shape), 40)}")
        elif np.dtype(entry.dtype).name not in DTYPES:
            faults.append(f"{slot} is {shorten(entry.dtype, 40)}, not float32/float64")
    faults += [
        f"{quote(place)} {shorten(tuple(entry.shape), 40)} is surplus"
        for place, entry in left.items()
    ]
    if faults:
        raise RefusedError(f"{node.title()}: weights: {list_names(faults)}")
    return [node.weights.read(found[slot.place]) for slot in slots]


def fits(
    expected: tuple[int | str, ...], shape: Sequence[int], sizes: dict[str | int, int]
) -> bool:
    """Tell whether a shape is as expected, a letter being one size throughout."""
    if len(expected) != len(shape):
        return False
    wanted = [
        sizes.setdefault(size, found) if isinstance(size, str) else size
        for size, found in zip(expected, shape, strict=True)
    ]
    return wanted == [*shape] and 0 not in shape
