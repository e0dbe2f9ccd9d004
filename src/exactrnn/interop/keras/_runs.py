"""What runs the cells of a Keras layer: a chain of our layers for each direction.

A direction is a cell or several on top of each other (`RNN([cells])`), which are one
layer of a stack where they are equal. Two directions of one cell each are one
bidirectional layer. A run gives for each direction the output in the order of time,
[B, T, H], and the states one after the other, as Keras lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from exactrnn._checks import Array
from exactrnn.interop.keras._cells import KINDS, Cell, read_cell
from exactrnn.interop.keras._files import counted_names
from exactrnn.interop.keras._nodes import FREE, Node, Slot

Run: TypeAlias = tuple[Array, list[Array]]
"""The output of a direction, and its states."""


@dataclass(frozen=True)
class Direction:
    """The cells of one direction, the lowest first, and where their weights lie."""

    cells: tuple[Cell, ...]
    places: tuple[str, ...]
    backwards: bool

    def slots(self) -> list[Slot]:
        """Return the weights of all cells, in the order of the cells."""
        widths: list[int | str] = [FREE, *(cell.units for cell in self.cells)]
        together = zip(self.cells, self.places, widths, strict=False)
        return [s for cell, place, width in together for s in cell.slots(place, width)]

    @property
    def states(self) -> int:
        """Number of arrays in the state."""
        return sum(cell.states for cell in self.cells)


def read_direction(node: Node, options: frozenset[str], prefix: str = "") -> Direction:
    """Return the direction that a layer's options describe."""
    backwards = node.config.get("go_backwards", False)
    if not isinstance(backwards, bool):
        raise node.refused("go_backwards", backwards, "True or False")
    if node.kind != "RNN":
        return Direction((read_cell(node, options),), (f"{prefix}cell",), backwards)
    around = node.inner(node.config.get("cell"), "cell")
    if around.kind != "StackedRNNCells":
        return Direction((read_cell(around),), (f"{prefix}cell",), backwards)
    given = around.config.get("cells")
    if not isinstance(given, list | tuple) or not given:
        raise node.refused("cells", given, "a list of cells")
    cells = [around.inner(spec, "cells") for spec in given]
    names = counted_names([cell.kind for cell in cells])
    places = tuple(f"{prefix}cell/cells/{name}" for name in names)
    return Direction(tuple(map(read_cell, cells)), places, backwards)


def make_run(directions: Sequence[Direction], arrays: Sequence[Array]) -> AnyRun:
    """Return what runs these directions with these weights, given in order."""
    if _is_one_layer(directions):
        return Both(directions[0].cells[0], directions[1].cells[0], arrays)
    given, chains = [*arrays], []
    for direction in directions:
        count = len(direction.slots())
        chains.append(Chain(direction, given[:count]))
        del given[:count]
    return Each(chains)


def _is_one_layer(directions: Sequence[Direction]) -> bool:
    """Tell whether two directions differ in weights and activations alone."""
    if len(directions) != 2 or any(len(d.cells) != 1 for d in directions):
        return False
    facts = [(d.cells[0].kind, d.cells[0].units, d.cells[0].bias) for d in directions]
    more = [(d.cells[0].reset_after, d.cells[0].dtype) for d in directions]
    ordered = [d.backwards for d in directions] == [False, True]
    return ordered and facts[0] == facts[1] and more[0] == more[1]


class Chain:
    """Layers on top of each other in one direction."""

    def __init__(self, direction: Direction, arrays: Sequence[Array]) -> None:
        groups: list[list[Cell]] = []
        for cell in direction.cells:
            below = groups[-1][-1] if groups else None
            if below == cell:
                groups[-1].append(cell)
            else:
                groups.append([cell])
        given, backwards = [*arrays], direction.backwards
        self.layers = tuple(_make_stack(group, given, backwards) for group in groups)
        self.counts = [len(group) * group[0].states for group in groups]

    def run(self, x: Array, state: Sequence[Array] | None, mask: Any) -> Run:
        """Run over a sequence [B, T, I]."""
        states: list[Array] = []
        for layer, count in zip(self.layers, self.counts, strict=True):
            begin = None if state is None else state[len(states) : len(states) + count]
            x, final = layer(x, _as_ours(begin, layer), mask=mask)
            states += _as_keras(final)
        return x, states


def _make_stack(group: Sequence[Cell], given: list[Array], backwards: bool) -> Any:
    """Return a layer of equal cells; it takes the first of the given weights."""
    cell, weights = group[0], dict[str, Array]()
    width = given[0].shape[0]
    for k, each in enumerate(group):
        count = 3 if each.bias else 2
        weights |= each.named(given[:count], f"l{k}")
        del given[:count]
    options = {"num_layers": len(group), "reverse": backwards, **cell.choice()}
    layer = cell.make(width, **options)
    layer.load_state_dict(weights, dtype=layer.dtype)
    return layer


def _as_ours(state: Sequence[Array] | None, layer: Any) -> Any:
    """Return Keras's list of states, cell by cell, as a layer takes it."""
    if state is None:
        return None
    parts = len(layer.state_names)
    stacked = [np.stack(state[k::parts]) for k in range(parts)]
    return stacked[0] if parts == 1 else tuple(stacked)


def _as_keras(final: Any) -> list[Array]:
    """Return a layer's final state as Keras's list."""
    parts = final if isinstance(final, tuple) else (final,)
    return [part[k] for k in range(len(parts[0])) for part in parts]


class Each:
    """One chain for each direction."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._chains = tuple(chains)
        self.layers = tuple(layer for chain in chains for layer in chain.layers)
        self.input_size: int = self.layers[0].input_size

    def run(self, x: Array, state: Sequence[Array] | None, mask: Any) -> list[Run]:
        """Run every direction over the sequence."""
        runs, done = [], 0
        for chain in self._chains:
            count = sum(chain.counts)
            own = None if state is None else state[done : done + count]
            runs.append(chain.run(x, own, mask))
            done += count
        return runs


class Both:
    """One bidirectional layer."""

    def __init__(self, ahead: Cell, back: Cell, arrays: Sequence[Array]) -> None:
        half = len(arrays) // 2
        weights = ahead.named(arrays[:half], "l0")
        weights |= back.named(arrays[half:], "l0_reverse")
        options = ahead.choice() if ahead == back else ahead.choice(back)
        width = arrays[0].shape[0]
        layer = ahead.make(width, bidirectional=True, **options)
        layer.load_state_dict(weights, dtype=layer.dtype)
        self.layers, self.input_size = (layer,), layer.input_size

    def run(self, x: Array, state: Sequence[Array] | None, mask: Any) -> list[Run]:
        """Run both directions over the sequence."""
        [layer] = self.layers
        y, final = layer(x, _as_ours(state, layer), mask=mask)
        states, half = _as_keras(final), layer.hidden_size
        count = len(states) // 2
        ahead, back = y[..., :half], y[..., half:]
        return [(ahead, states[:count]), (back, states[count:])]


AnyRun: TypeAlias = Each | Both

NAMES = ", ".join([*KINDS, "Bidirectional", "RNN"])
"""Layers that are taken."""
