"""The cases of grids, as data, and what a grid gives as a list of arrays.

A grid has borders alone, no inputs: those are linear layers, which have their own case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from exactrnn._checks import Array
from exactrnn.layers.grid import GridLSTM
from exactrnn.reference import grid as twin

Arrays: TypeAlias = list[Array]


@dataclass(frozen=True)
class GridCase:
    """A grid: its options, and on what it runs."""

    options: dict[str, Any]
    sizes: tuple[int, ...]
    B: int = 2
    H: int = 5

    def make(self, **more: Any) -> GridLSTM:
        """Return the grid."""
        dims = len(self.sizes)
        return GridLSTM(1, self.H, dims, sides=(), **self.options, **more)

    def border_shapes(self, layer: GridLSTM) -> list[list[tuple[int, ...]]]:
        """Return the shapes of h and m at a border of each dimension."""
        found = []
        for k, kind in enumerate(layer._spec.kinds):
            line = self.sizes[:k] + self.sizes[k + 1 :]
            found.append([(*line, self.B, self.H)] * (2 if kind == "lstm" else 1))
        return found


GRID_CASES: dict[str, GridCase] = {
    "grid": GridCase({"priority": (2,)}, (3, 4, 2)),
    "grid two priorities": GridCase({"priority": (1, 0), "tied": True}, (3, 2), H=17),
    "grid without memory": GridCase(
        {
            "kinds": ("lstm", "tanh"),
            "output": "o*tanh(m)",
            "sizes": (None, 3),
            "shared": (True, False),
        },
        (4, 3),
    ),
}


def flatten(parts: Iterable[Any]) -> Arrays:
    """Return the arrays of borders, each (h, m), (h, None) or h, one after another."""
    found = []
    for part in parts:
        pair = part if isinstance(part, tuple) else (part,)
        found += [array for array in pair if array is not None]
    return found


def run_kernels(
    case: GridCase, layer: GridLSTM, borders: Sequence[Arrays], dends: Sequence[Arrays]
) -> Arrays:
    """Return far borders and all gradients, by the public class."""
    given, dgiven = ([_as_user(pair) for pair in part] for part in (borders, dends))
    ends, cache = layer.forward(None, given, sizes=case.sizes)
    grads = layer.backward(cache, dgiven)
    return [*flatten(ends), *flatten(grads.borders), *grads.weights.values()]


def run_twin(
    case: GridCase, layer: GridLSTM, borders: Sequence[Arrays], dends: Sequence[Arrays]
) -> Arrays:
    """Return the same by the NumPy reference."""
    config, weights = layer._spec, layer.state_dict()
    names = [
        [(W, b) for W, b in dims if b is not None] for dims in config.block_names(0)
    ]
    grid = twin.Grid(
        config.kinds,
        config.phases,
        config.output == "tanh(o*m)",
        [[(weights[W], weights[b]) for W, b in dims] for dims in names],
        case.sizes,
        config.set_steps,
    )
    near, dfar = ([_as_pair(pair) for pair in part] for part in (borders, dends))
    ends, cache = twin.grid_forward(grid, near)
    dborders, dsets = twin.grid_backward(cache, dfar)
    grads: dict[str, Array] = {}
    for places, dims in zip(names, dsets, strict=True):
        for (W, b), (dW, db) in zip(places, dims, strict=True):
            assert db is not None
            grads |= {W: dW, b: db}
    return [*flatten(ends), *flatten(dborders), *(grads[name] for name in weights)]


def _as_user(pair: Arrays) -> Any:
    return tuple(pair) if len(pair) > 1 else pair[0]


def _as_pair(pair: Arrays) -> tuple[Array, Array | None]:
    return pair[0], pair[1] if len(pair) > 1 else None
