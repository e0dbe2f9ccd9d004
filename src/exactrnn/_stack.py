"""One stack of layers and directions: what calls the kernels.

`Stack` knows nothing of the caller's layouts: it works on time-major arrays that
`_checks` has let through. `layers.py` and `cell_layers.py` put the public calls around
it. Dropout between the layers happens here, in `run_keeping` and `run_back`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from exactrnn import _checks, _core, _init, engine
from exactrnn._checks import Array, Lengths
from exactrnn._config import Config
from exactrnn._weights import ParameterStore


class Call(NamedTuple):
    """A checked call: `x` [T, B, I] time-major, states [L*D, B, H] each or None."""

    x: Array
    state: tuple[Array, ...] | None
    lengths: Lengths | None
    batched: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compute: no time step or no row."""
        return self.x.size == 0


@dataclass(frozen=True, slots=True)
class Run:
    """What a `run` that keeps for backward leaves behind.

    `inputs[layer]` [T, B, I of the layer] is what each layer read, after the dropout
    `masks[layer - 1]`; `kept[layer]` is the kernels' own, none for an empty call.
    """

    version: int
    lengths: Lengths | None
    inputs: tuple[Array, ...]
    masks: tuple[Array, ...]
    kept: tuple[_core.LayerCache, ...]


class Stack:
    """Options, weights and random numbers of a layer, and its runs.

    Parameters
    ----------
    config : Config
        What the layer is.
    weights : mapping of str to ndarray
        As for `ParameterStore`; taken over.
    generator : numpy.random.PCG64
        Where dropout draws from; taken over.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        self.config = config
        self.store = ParameterStore(config, weights)
        self._generator = generator
        self._lock = threading.Lock()

    def generator_state(self) -> dict[str, Any]:
        """Return where the random numbers stand, as plain values."""
        with self._lock:
            return dict(self._generator.state)

    def run(self, call: Call, y: Array) -> tuple[Array, ...]:
        """Compute the output into `y` [T, B, D*H] and return the final states."""
        config = self.config
        packs = self.store.packs(engine.isa())
        threads = engine.get_num_threads()
        state_out = self._new_states(call)
        if call.empty:
            return state_out
        x = call.x
        for layer, panels in enumerate(packs.panels):
            target = y if layer == config.num_layers - 1 else self.new_output(call)
            state = None if call.state is None else self._at(layer, call.state)
            final = self._at(layer, state_out)
            _core.forward(panels, x, target, state, final, call.lengths, threads, False)
            x = target
        return state_out

    def run_keeping(self, call: Call, y: Array) -> tuple[tuple[Array, ...], Run]:
        """Compute as `run`, with dropout, and keep what `run_back` needs."""
        config = self.config
        packs = self.store.packs(engine.isa(), backward=True)
        threads = engine.get_num_threads()
        state_out = self._new_states(call)
        inputs, masks, kept = [call.x], self._draw_masks(call), []
        for layer, panels in enumerate(packs.panels):
            top = layer == config.num_layers - 1
            target = y if top else self.new_output(call)
            state = None if call.state is None else self._at(layer, call.state)
            final = self._at(layer, state_out)
            if not call.empty:
                cache = _core.forward(
                    panels,
                    inputs[-1],
                    target,
                    state,
                    final,
                    call.lengths,
                    threads,
                    True,
                )
                kept.append(cast(_core.LayerCache, cache))
            if not top:
                inputs.append(target * masks[layer] if masks else target)
        kept_run = Run(
            packs.version, call.lengths, tuple(inputs), tuple(masks), tuple(kept)
        )
        return state_out, kept_run

    def run_back(
        self, run: Run, dy: Array | None, dstate: tuple[Array, ...] | None
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Return the gradients of input, initial states and weights."""
        config = self.config
        packs = self.store.packs(engine.isa(), backward=True)
        _checks.check_version(run.version, packs.version)
        weights = {
            name: np.zeros(shape, config.dtype)
            for name, shape in config.weight_shapes.items()
        }
        call = Call(run.inputs[0], dstate, run.lengths, batched=True)
        dstate_out = self._new_states(call)
        if not run.kept:
            return np.zeros_like(call.x), dstate_out, weights
        groups = config.weight_groups
        for layer in reversed(range(config.num_layers)):
            if dy is not None and run.masks and layer < config.num_layers - 1:
                dy = dy * run.masks[layer]
            dx = _checks.allocate(run.inputs[layer].shape, config.dtype)
            dweights = tuple(
                tuple(None if name is None else weights[name] for name in names)
                for names in groups[layer]
            )
            _core.backward(
                packs.panels[layer],
                run.kept[layer],
                run.inputs[layer],
                dy,
                None if dstate is None else self._at(layer, dstate),
                dx,
                self._at(layer, dstate_out),
                dweights,
            )
            dy = dx
        return dx, dstate_out, weights

    def new_output(self, call: Call) -> Array:
        steps, rows, _ = call.x.shape
        width = self.config.directions * self.config.hidden_size
        return _checks.allocate((steps, rows, width), self.config.dtype)

    def _new_states(self, call: Call) -> tuple[Array, ...]:
        """Return arrays [L*D, B, H] for final states; those of an empty call."""
        config = self.config
        rows = call.x.shape[1]
        shape = (config.num_layers * config.directions, rows, config.hidden_size)
        kinds = range(config.states)
        if not call.empty:
            return tuple([_checks.allocate(shape, config.dtype) for _ in kinds])
        if call.state is not None:
            return tuple([part.copy() for part in call.state])
        return tuple([np.zeros(shape, config.dtype) for _ in kinds])

    def _at(self, layer: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the part [D, B, H] of the states that belongs to one layer."""
        if self.config.num_layers == 1:
            return states
        directions = self.config.directions
        rows = slice(layer * directions, (layer + 1) * directions)
        return tuple([part[rows] for part in states])

    def _draw_masks(self, call: Call) -> list[Array]:
        config = self.config
        if config.dropout == 0.0:
            return []
        steps, rows, _ = call.x.shape
        shape = (steps, rows, config.directions * config.hidden_size)
        with self._lock:
            return [
                _init.draw_mask(shape, config.dropout, config.dtype, self._generator)
                for _ in range(config.num_layers - 1)
            ]

    def gates(self, run: Run) -> dict[str, Array]:
        """Return the gates [T, B, H] by name and suffix."""
        config = self.config
        gates: dict[str, Array] = {}
        steps, rows, _ = run.inputs[0].shape
        for layer in range(config.num_layers):
            for direction in range(config.directions):
                if run.kept:
                    found = run.kept[layer].gates(direction)
                else:
                    shape = (steps, rows, config.hidden_size)
                    found = {
                        name: np.zeros(shape, config.dtype) for name in config.sums
                    }
                suffix = config.suffix(layer, direction)
                gates.update({name + suffix: gate for name, gate in found.items()})
        return gates
