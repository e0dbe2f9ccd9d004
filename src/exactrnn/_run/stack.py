"""One stack of layers and directions: what calls the kernels.

`Stack` knows nothing of the caller's layouts: it works on the time-major arrays of a
checked call (`_run/call.py`). Dropout between the layers happens here, in
`run_keeping` and `run_back`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run import state_masks
from exactrnn._run.dropout import NOTHING, Drawn, Masks, drop
from exactrnn._run.layout import Layout, layouts_of
from exactrnn._run.plans import Plans
from exactrnn._run.protocol import Back, Call, Gradients, Kept, Reduced, States, Totals
from exactrnn._run.state_masks import StateMasks
from exactrnn._spec.recurrent import LEAK_ROLE, ROLES, Config
from exactrnn._weights.packs import LayerStore
from exactrnn._weights.store import STALE, Packs


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which gradients a caller asks for; those of the initial states cost nothing."""

    x: bool = True
    weights: bool = True


EVERYTHING = Wanted()
NO_WEIGHTS: tuple[None, ...] = (None,) * ROLES
"""Where no gradient of a weight is put, by role."""


class StackRun(NamedTuple):
    """What a `run` that keeps for backward leaves behind.

    `inputs[layer]` [T, B, I of the layer] is what each layer read, after the dropout
    `masks[layer - 1]`; `kept[layer]` is the kernels' own, none for an empty call.
    `cells[layer]` [D, T, B, Hp] are the cell states that a layer handed up, or None.
    """

    stack: Stack
    version: int
    lengths: Lengths | None
    inputs: tuple[Array, ...]
    masks: tuple[Array, ...]
    kept: tuple[_core.LayerCache, ...]
    cells: tuple[Array | None, ...]

    @property
    def state_masks(self) -> dict[str, Array]:
        """Those of recurrent dropout and zoneout, by name and suffix."""
        kept = (cache.masks for cache in self.kept)
        masks = tuple(StateMasks(*own) for own in kept if own is not None)
        return state_masks.show(self.stack.spec, masks)

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        steps, rows, _ = self.inputs[0].shape
        return steps, rows

    def back(
        self,
        dy: Array | None,
        dstate: States | None,
        truncated: bool = False,
        totals: Totals | None = None,
    ) -> Gradients:
        """Return all gradients, from those of output and final states."""
        return self.stack.run_back(self, dy, dstate, truncated, totals=totals)

    def back_plain(
        self,
        layout: Layout,
        dy: object,
        dstate: object,
        truncated: bool,
        totals: object = None,
    ) -> Back | None:
        """Return all gradients as the caller has them; None if his are not plain."""
        return self.stack.back_plain(self, layout, dy, dstate, truncated, totals)

    def gates(self) -> dict[str, Array]:
        """Return the gates [T, B, H] by name and suffix."""
        return self.stack.gates(self)

    def states(self) -> dict[str, Array]:
        """Return the states after each step, [T, B, width], by name and suffix."""
        return self.stack.states(self)

    def reduce(self) -> Reduced:
        """Return what makes an equal run of an equal stack."""
        return restore_run, {
            "current": self.stack.store.is_current(self.version),
            "lengths": self.lengths,
            "inputs": self.inputs,
            "masks": self.masks,
            "kept": tuple(cache.content() for cache in self.kept),
            "cells": self.cells,
        }


def restore_run(stack: Stack, described: Mapping[str, Any]) -> StackRun:
    """Return the run that has been reduced, as one of this stack."""
    packs = stack.store.packs(engine.isa(), backward=True)
    pairs = zip(packs.copies, described["kept"], strict=False)  # none if empty
    return StackRun(
        stack,
        packs.version if described["current"] else STALE,
        described["lengths"],
        described["inputs"],
        described["masks"],
        tuple(_core.restore_cache(copies, content) for copies, content in pairs),
        described["cells"],
    )


def _with_others(
    totals: Totals, weights: Mapping[str, Array], spec: Config
) -> dict[str, Array]:
    """Return the totals; what has been computed apart from them is added.

    That are leaks and scalars, of whose gradients the kernels know none. Those of
    weights of units beside scalars have begun at their totals.
    """
    for name, dw in weights.items():
        if dw is not totals[name]:
            begun = spec.has_scalars and spec.weights_by_name[name].kind != "scalar"
            totals[name][...] = dw if begun else totals[name] + dw
    return dict(totals)


def _new_plan(spec: Config, packs: Packs) -> _core.Plan:
    """Return what the plain calls of a stack have in common."""
    steps = not spec.suffixed
    shapes = dict(spec.weight_shapes)
    if spec.learn_leak:  # of which the kernels see the leak itself
        every = [names for directions in spec.weight_groups for names in directions]
        leaks = (cast(str, names[LEAK_ROLE]) for names in every)
        shapes.update((name, (1, spec.hidden_size)) for name in leaks)
    layouts = layouts_of(batch_first=spec.batch_first, steps=steps)
    return _core.Plan(packs, spec, layouts, steps, shapes)


class Stack:
    """Options, weights and random numbers of a layer, and its runs.

    Parameters
    ----------
    spec : Config
        What the layer is.
    weights : mapping of str to ndarray
        As for `ParameterStore`; taken over.
    generator : numpy.random.PCG64
        Where dropout draws from; taken over.
    """

    def __init__(
        self,
        spec: Config,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        self.spec = spec
        self.store = self._new_store(weights)
        self.masks = Masks(spec, generator)
        self._plans = Plans(self.store, partial(_new_plan, spec))
        self._drops = (spec.dropout != 0 and spec.num_layers > 1) or spec.drops_in_time

    def _new_store(self, weights: Mapping[str, Array]) -> LayerStore:
        """Return the owner of the weights, whom plans ask too."""
        return LayerStore(self.spec, weights)

    def run_plain(self, x: object, state: object) -> Any:
        """Return what the caller of a plain call gets; None if it is not plain."""
        return self._plans.run(x, state)

    def keep_plain(
        self, x: object, state: object, one_step: bool = False
    ) -> Kept | None:
        """Return that, what is kept and the layout; None if the call is not plain."""
        if self._drops:
            return None
        if one_step:
            found = self._plans.keep_step(x, state)
        else:
            found = self._plans.keep(x, state)
        if found is None:
            return None
        answer, layout, (inputs, kept, cells), version = found
        return answer, StackRun(self, version, None, inputs, (), kept, cells), layout

    def back_plain(
        self,
        run: StackRun,
        layout: Layout,
        dy: object,
        dstate: object,
        truncated: bool,
        totals: object,
    ) -> Back | None:
        """Return the gradients as the caller has them; None if this is not plain."""
        if run.masks or not run.kept or run.kept[0].masks is not None:
            return None
        if self.spec.has_scalars or (totals is not None and self.spec.learn_leak):
            return None  # the user's gradients are others
        plan = self._plans.current(backward=True)
        if plan.packs.version != run.version:
            return None
        found: Back | None = plan.back(run, layout, dy, dstate, truncated, totals)
        if found is not None and self.spec.learn_leak:
            self._name_all(found[2])
        return found

    def threads_for_calls(self) -> int:
        """Return the number of threads that a call may use."""
        return engine.threads_for_calls()

    def run(self, call: Call, y: Array, packs: Packs | None = None) -> States:
        """Compute the output into `y` [T, B, D*O] and return the final states.

        `packs` are the weights, if the caller has fetched them for several runs.
        """
        packs = packs or self.store.packs(engine.isa())
        sweep = _core.Sweep(
            call.lengths,
            call.clock,
            self.spec.reverse,
            self.threads_for_calls(),
            keep=False,
        )
        state_out = self._new_states(call)
        if call.empty:
            return state_out
        top = self.spec.num_layers - 1
        x, lower = call.x, None
        for layer, copies in enumerate(packs.copies):
            target = y if layer == top else self.new_output(call)
            cells = self._new_cells(layer, call)
            before, after = self._states_of(layer, call, state_out)
            _core.forward(copies, sweep, x, target, before, after, (lower, cells))
            x, lower = target, cells
        return state_out

    def run_keeping(self, call: Call, y: Array) -> tuple[States, StackRun]:
        """Compute as `run`, with dropout, and keep what `run_back` needs."""
        if not self._drops:
            return self.keep(call, y, NOTHING)
        with self.masks.drawn(*call.x.shape[:2]) as masks:
            return self.keep(call, y, masks)

    def keep(
        self, call: Call, y: Array, masks: Drawn, packs: Packs | None = None
    ) -> tuple[States, StackRun]:
        """Do what `run_keeping` does, with masks that are drawn already."""
        packs = packs or self.store.packs(engine.isa(), backward=True)
        sweep = _core.Sweep(
            call.lengths,
            call.clock,
            self.spec.reverse,
            self.threads_for_calls(),
            keep=True,
        )
        state_out = self._new_states(call)
        top = self.spec.num_layers - 1
        inputs, kept = [call.x], []
        cells = [self._new_cells(layer, call) for layer in range(top + 1)]
        for layer, copies in enumerate(packs.copies):
            target = y if layer == top else self.new_output(call)
            if not call.empty:
                before, after = self._states_of(layer, call, state_out)
                cache = _core.forward(
                    copies,
                    sweep,
                    inputs[-1],
                    target,
                    before,
                    after,
                    (cells[layer - 1] if layer else None, cells[layer]),
                    tuple(masks.states[layer]) if masks.states else None,
                )
                kept.append(cast(_core.LayerCache, cache))
            if layer < top:
                between = masks.between
                inputs.append(drop(target, between[layer]) if between else target)
        run = StackRun(
            self,
            packs.version,
            call.lengths,
            tuple(inputs),
            masks.between,
            tuple(kept),
            tuple(cells),
        )
        return state_out, run

    def run_back(
        self,
        run: StackRun,
        dy: Array | None,
        dstate: States | None,
        truncated: bool = False,
        wanted: Wanted = EVERYTHING,
        totals: Totals | None = None,
    ) -> Gradients:
        """Return the gradients of input, initial states and weights.

        That of the input is empty where it is not `wanted`, and there are none of
        weights. Those of weights are added to `totals`, if there are some.
        """
        spec = self.spec
        packs = self.store.packs(engine.isa(), backward=True)
        _checks.check_version(run.version, packs.version)
        weights = {
            name: np.zeros(shape, spec.dtype)
            for name, shape in spec.weight_shapes.items()
            if wanted.weights and totals is None
        }
        if totals is not None:
            weights.update(totals)
        call = Call(run.inputs[0], dstate, run.lengths)
        dstate_out = self._new_states(call)
        if not run.kept:
            return np.zeros_like(call.x), dstate_out, weights
        dcells = None
        for layer in reversed(range(spec.num_layers)):
            if dy is not None and run.masks and layer < spec.num_layers - 1:
                dy = drop(dy, run.masks[layer])
            dx = None
            if layer or wanted.x:
                dx = _checks.allocate(run.inputs[layer].shape, spec.dtype)
            dweights = self._new_gradients(layer, weights)
            lower = run.cells[layer - 1] if layer else None
            dlower = None if lower is None else np.empty_like(lower)
            own = None if dstate is None else self._at(layer, dstate)
            _core.backward(
                packs.copies[layer],
                run.kept[layer],
                run.inputs[layer],
                lower,
                _core.GradientsIn(dy, own, dcells),
                _core.GradientsOut(dx, self._at(layer, dstate_out), dlower, dweights),
                truncated,
            )
            if spec.gradients_differ and wanted.weights:
                self._name_gradients(layer, dweights, weights)
            dy, dcells = dx, dlower
        if totals is not None:
            weights = _with_others(totals, weights, spec)
        return (np.zeros(0, spec.dtype) if dy is None else dy), dstate_out, weights

    def new_stepper(self, packs: Packs, batch_size: int) -> _core.Stepper:
        """Return what steps that many rows, from a state of zeros."""
        phase, team = self.spec.phase, engine.threads_for_calls
        return _core.Stepper(packs.copies, batch_size, phase, team)

    def _new_gradients(
        self, layer: int, weights: Mapping[str, Array]
    ) -> tuple[tuple[Array | None, ...], ...]:
        """Return where the kernels add the gradients of a layer: by direction and role.

        They are the arrays of `weights`, but for the leak, of which the user has
        another gradient. Without `weights` there is no such place.
        """
        directions = range(self.spec.directions)
        if not weights:
            return (NO_WEIGHTS,) * len(directions)
        return tuple(self.spec.engine_totals(weights, layer, d) for d in directions)

    def _name_gradients(
        self,
        layer: int,
        dweights: tuple[tuple[Array | None, ...], ...],
        weights: dict[str, Array],
    ) -> None:
        """Put the user's gradients of a layer in the place of the kernels'."""
        with self.store.read() as own:
            for direction, by_role in enumerate(dweights):
                weights |= self.spec.user_gradients(own, by_role, layer, direction)

    def _name_all(self, weights: dict[str, Array]) -> None:
        """Do that in all layers; the kernels' gradients have the users' names."""
        for layer, directions in enumerate(self.spec.weight_groups):
            dweights = tuple(
                tuple(None if name is None else weights[name] for name in names)
                for names in directions
            )
            self._name_gradients(layer, dweights, weights)

    def new_output(self, call: Call) -> Array:
        steps, rows, _ = call.x.shape
        width = self.spec.directions * self.spec.output_size
        return _checks.allocate((steps, rows, width), self.spec.dtype)

    def _new_cells(self, layer: int, call: Call) -> Array | None:
        """Return where a layer puts the cell states that the one above reads."""
        spec = self.spec
        if layer == spec.num_layers - 1 or not spec.hands_cells_up:
            return None
        steps, rows, _ = call.x.shape
        padded = _core.padded(spec.hidden_size)
        shape = (spec.directions, steps, rows, padded)
        return _checks.allocate(shape, spec.dtype)

    def _new_states(self, call: Call) -> tuple[Array, ...]:
        """Return arrays [L*D, B, width] for final states; those of an empty call."""
        spec = self.spec
        lead = (spec.num_layers * spec.directions, call.x.shape[1])
        sizes, dtype = spec.state_sizes, spec.dtype
        if not call.empty:
            return tuple([_checks.allocate((*lead, width), dtype) for width in sizes])
        if call.state is not None:
            return tuple([part.copy() for part in call.state])
        return tuple([np.zeros((*lead, width), dtype) for width in sizes])

    def _states_of(
        self, layer: int, call: Call, state_out: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...] | None, tuple[Array, ...]]:
        """Return the states of one layer before, None for zeros, and after."""
        before = None if call.state is None else self._at(layer, call.state)
        return before, self._at(layer, state_out)

    def _at(self, layer: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the part [D, B, width] of the states that belongs to one layer."""
        if self.spec.num_layers == 1:
            return states
        directions = self.spec.directions
        rows = slice(layer * directions, (layer + 1) * directions)
        return tuple([part[rows] for part in states])

    def gates(self, run: StackRun) -> dict[str, Array]:
        """Return the gates [T, B, H] by name and suffix."""
        return self._collect(run, lambda cache, d: cache.gates(d), self._gate_parts)

    def states(self, run: StackRun) -> dict[str, Array]:
        """Return the states after each step, [T, B, width], by name and suffix."""
        names = self.spec.state_names

        def read(cache: _core.LayerCache, direction: int) -> dict[str, Array]:
            return dict(zip(names, cache.states(direction), strict=True))

        return self._collect(run, read, lambda _: self.spec.state_parts)

    def _gate_parts(self, layer: int) -> Iterable[tuple[str, str, int]]:
        """Return the gates of a layer as `Config.state_parts` are the states."""
        kept = self.spec.kept_gates(layer)
        return [(name, "H", width) for name, width in kept.items()]

    def _collect(
        self,
        run: StackRun,
        read: Callable[[_core.LayerCache, int], dict[str, Array]],
        parts: Callable[[int], Iterable[tuple[str, str, int]]],
    ) -> dict[str, Array]:
        """Return what `read` finds in the caches; zeros of an empty call's `parts`."""
        spec, found = self.spec, {}
        steps, rows, _ = run.inputs[0].shape
        for layer in range(spec.num_layers):
            for direction in range(spec.directions):
                if run.kept:
                    arrays = read(run.kept[layer], direction)
                else:
                    arrays = {
                        name: np.zeros((steps, rows, width), spec.dtype)
                        for name, _, width in parts(layer)
                    }
                suffix = spec.suffix(layer, direction)
                found.update({name + suffix: a for name, a in arrays.items()})
        return found
