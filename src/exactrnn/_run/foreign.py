"""Runs of a layer whose weights are someone else's, for adapters to other libraries.

What forward keeps for backward is handed out as plain arrays, which the other library
owns as it owns its tensors, and is taken in again: nothing is held here between the two
calls, whether the second comes once, twice or never.

    kept  =  a cache of bytes for each layer,
             what each layer but the first has read, [T, B, D*O],
             the cell states that each layer but the last has handed up, if it does

Arguments are time-major and checked by the adapter, in the words of its library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.stack import Stack, StackRun
from exactrnn._spec.recurrent import Config
from exactrnn._weights.foreign import ForeignStore

NO_BYTES = np.zeros(0, np.uint8)
"""The cache of an empty call."""


class ForeignStack(Stack):
    """What runs a layer whose weights others own; it draws no masks of its own.

    Parameters
    ----------
    spec : Config
        What the layer is.
    threads : callable
        Returns how many threads the other library would use; no call uses more.
    """

    store: ForeignStore

    def __init__(self, spec: Config, threads: Callable[[], int]) -> None:
        super().__init__(spec, {}, np.random.PCG64(0))
        self._threads = threads

    def _new_store(self, weights: Mapping[str, Array]) -> ForeignStore:  # noqa: ARG002
        """Return the owner of a copy of weights that others own."""
        return ForeignStore(self.spec)

    def threads_for_calls(self) -> int:
        """Return the number of threads that a call may use."""
        return min(engine.threads_for_calls(), self._threads())


@dataclass(frozen=True, slots=True)
class Began:
    """What a call has read beside the weights, time-major, and its dropout masks."""

    x: Array
    lengths: Lengths | None
    clock: Lengths | None
    masks: tuple[Array, ...]


def hand_out(run: StackRun) -> list[Array]:
    """Return what a run has kept as plain arrays; the caches without a copy."""
    caches = [np.asarray(cache.buffer()) for cache in run.kept]
    caches = caches or [NO_BYTES] * run.stack.spec.num_layers
    cells = [array for array in run.cells if array is not None]
    return [*caches, *run.inputs[1:], *cells]


def take_in(stack: Stack, began: Began, kept: Sequence[Array]) -> StackRun:
    """Return the run that was handed out, as one of the weights as they are now."""
    spec, L = stack.spec, stack.spec.num_layers
    packs = stack.store.packs(engine.isa(), backward=True)
    steps, rows, _ = began.x.shape
    sweep = _core.Sweep(
        began.lengths, began.clock, spec.reverse, stack.threads_for_calls(), keep=True
    )
    caches = [] if began.x.size == 0 else kept[:L]
    cells: Sequence[Array | None] = kept[2 * L - 1 :] or [None] * (L - 1)
    return StackRun(
        stack,
        packs.version,
        began.lengths,
        (began.x, *kept[L : 2 * L - 1]),
        began.masks,
        tuple(
            _core.view_cache(copies, steps, rows, sweep, memory)
            for copies, memory in zip(packs.copies, caches, strict=False)
        ),
        (*cells, None),
    )


def sizes_kept(spec: Config, steps: int, rows: int) -> list[tuple[int, ...]]:
    """Return the shapes of what `hand_out` gives; bytes first, all else of the dtype.

    T and B may be symbols of the other library: they are multiplied and added alone.
    """
    L, D, width = spec.num_layers, spec.directions, spec.directions * spec.output_size
    caches = []
    for layer in range(L):
        step, row = _bytes_kept(spec, layer)
        caches.append((step * steps * rows + row * rows,))
    inputs = [(steps, rows, width)] * (L - 1)
    padded = _core.padded(spec.hidden_size)
    cells = [(D, steps, rows, padded)] * (L - 1 if spec.hands_cells_up else 0)
    return [*caches, *inputs, *cells]


def _bytes_kept(spec: Config, layer: int) -> tuple[int, int]:
    """Return the bytes of a layer's cache for each step of a row, and for each row."""
    cell, options = spec.cell_of(layer), dict(spec.options_of(layer))
    of_row, of_both = (
        _core.cache_bytes(
            cell, spec.dtype.name, spec.units, options, (steps, 1, spec.directions)
        )
        for steps in (0, 1)
    )
    return of_both - of_row, of_row
