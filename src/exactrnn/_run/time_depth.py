"""The grid of time and depth as what runs a layer in time (see `protocol.py`).

Dimension 0 is the depth, dimension 1 the time, so that a block sums over what comes
from the input first, as every layer here does. The near border of the depth is the
projected input [T, B, H], its far border the output; the borders of the time are the
states [L, B, H]. The reverse direction is a grid of its own that reads each row from
its last step on.

Dropout multiplies the h that goes up from one layer to the next. The memory m beside it
stays whole, as c does in an LSTM, and so does what a block reads of its own new h. With
dropout each layer is a grid of its own, one point deep, with the mask in between; masks
of ones would give the bits of the whole grid, but for gradients of shared weights: each
layer, from the last to the first, adds a long sum of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.dropout import Drawn, drop
from exactrnn._run.grid import GridRun, GridStack
from exactrnn._run.grid_call import GridCall, line_mask
from exactrnn._run.layout import Layout, layouts_of
from exactrnn._run.plans import Plans
from exactrnn._run.protocol import Back, Call, Gradients, Kept, Reduced, States, Totals
from exactrnn._spec.grid import Pair
from exactrnn._spec.time_depth import DEPTH, TIME, TimeDepthConfig
from exactrnn._weights.store import Packs

NO_BORDERS: tuple[Pair, Pair] = ((None, None), (None, None))


class TimeDepthRun(NamedTuple):
    """What a run that keeps for backward leaves behind.

    `runs` has by direction one run of the whole grid, or with dropout one by layer.
    """

    stack: TimeDepthStack
    version: int
    lengths: Lengths | None
    inputs: tuple[Array, ...]
    masks: tuple[Array, ...]
    runs: tuple[tuple[GridRun, ...], ...]

    @property
    def state_masks(self) -> dict[str, Array]:
        """There are none: a grid has neither recurrent dropout nor zoneout."""
        return {}

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        steps, rows, _ = self.inputs[0].shape
        return steps, rows

    def back(
        self,
        dy: Array | None,
        dstate: States | None,
        truncated: bool = False,  # noqa: ARG002 (an LSTM's)
        totals: Totals | None = None,
    ) -> Gradients:
        """Return all gradients, from those of output and final states."""
        return self.stack.run_back(self, dy, dstate, totals)

    def back_plain(
        self,
        layout: Layout,
        dy: object,
        dstate: object,
        truncated: bool,  # noqa: ARG002 (an LSTM's)
        totals: object = None,
    ) -> Back | None:
        """Return all gradients as the caller has them; None if his are not plain."""
        return self.stack.back_plain(self, layout, dy, dstate, totals)

    def gates(self) -> dict[str, Array]:
        """Return the gates [T, B, H] by name: letter, dimension, suffix."""
        return self.stack.gates(self)

    def states(self) -> dict[str, Array]:
        """Return what each point hands on, [T, B, H], by name likewise."""
        return self.stack.states(self)

    def reduce(self) -> Reduced:
        """Return what makes an equal run of an equal stack."""
        return restore_run, {
            "lengths": self.lengths,
            "inputs": self.inputs,
            "masks": self.masks,
            "runs": tuple(
                tuple(part.reduce() for part in parts) for parts in self.runs
            ),
        }


def restore_run(stack: TimeDepthStack, described: Mapping[str, Any]) -> TimeDepthRun:
    """Return the run that has been reduced, as one of this stack."""
    runs = tuple(
        tuple(restore(stack.grid, part) for restore, part in parts)
        for parts in described["runs"]
    )
    return TimeDepthRun(
        stack,
        runs[0][0].version,
        described["lengths"],
        described["inputs"],
        described["masks"],
        runs,
    )


def _new_plan(spec: TimeDepthConfig, packs: Packs) -> _core.GridPlan:
    """Return what the plain calls of a stack have in common."""
    layouts = layouts_of(batch_first=spec.batch_first, steps=False)
    return _core.GridPlan(packs, spec, layouts, False, dict(spec.weight_shapes))


class TimeDepthStack:
    """What runs a grid of time and depth as a layer in time.

    Parameters
    ----------
    spec : TimeDepthConfig
        What the layer is.
    weights, generator
        As for `GridStack`.
    """

    def __init__(
        self,
        spec: TimeDepthConfig,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        self.spec = spec
        self.grid = GridStack(spec, weights, generator, in_time=spec)
        self.store = self.grid.store
        self.masks = self.grid.masks
        self._plans = Plans(self.store, partial(_new_plan, spec))
        self._drops = spec.dropout != 0 and spec.num_layers > 1

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
        spec = self.spec
        answer, layout, (copy, kept), version = found
        steps, rows, _ = copy.shape
        sizes, runs = (spec.num_layers, steps), []
        for direction, (turned, cache) in enumerate(kept):
            call = GridCall((turned,), NO_BORDERS, sizes, rows, None)
            runs.append((GridRun(self.grid, version, direction, call, cache),))
        run = TimeDepthRun(self, version, None, (copy,), (), (*runs,))
        return answer, run, layout

    def back_plain(
        self,
        run: TimeDepthRun,
        layout: Layout,
        dy: object,
        dstate: object,
        totals: object,
    ) -> Back | None:
        """Return the gradients as the caller has them; None if this is not plain."""
        if run.masks or run.lengths is not None:
            return None
        plan = self._plans.current(backward=True)
        if plan.packs.version != run.version:
            return None
        found: Back | None = plan.back(run, layout, dy, dstate, totals)
        return found

    def run(self, call: Call, y: Array, packs: Packs | None = None) -> States:
        """Compute the output into `y` [T, B, D*H] and return the final states.

        `packs` are the weights, if the caller has fetched them for several runs.
        """
        packs = packs or self.store.packs(engine.isa())
        state_out = self._new_states(call)
        for direction in range(self.spec.directions):
            part = self._grid_call(call, direction)
            ends = self.grid.new_borders(part)
            self.grid.run(part, direction, ends, packs)
            self._give(call, direction, ends, y, state_out)
        return state_out

    def run_keeping(self, call: Call, y: Array) -> tuple[States, TimeDepthRun]:
        """Compute as `run`, with dropout, and keep what `run_back` needs."""
        with self.masks.drawn(*call.x.shape[:2]) as masks:
            return self.keep(call, y, masks)

    def keep(
        self,
        call: Call,
        y: Array,
        masks: Drawn,
        packs: Packs | None = None,
    ) -> tuple[States, TimeDepthRun]:
        """Do what `run_keeping` does, with masks that are drawn already."""
        packs = packs or self.store.packs(engine.isa(), backward=True)
        state_out = self._new_states(call)
        runs: list[tuple[GridRun, ...]] = []
        for direction in range(self.spec.directions):
            part = self._grid_call(call, direction)
            ends = self.grid.new_borders(part)
            own = self._masks_of(call, masks.between, direction)
            runs.append(self._keep_layers(part, (direction, packs), ends, own))
            self._give(call, direction, ends, y, state_out)
        version = runs[0][0].version
        return state_out, TimeDepthRun(
            self, version, call.lengths, (call.x,), masks.between, tuple(runs)
        )

    def run_back(
        self,
        run: TimeDepthRun,
        dy: Array | None,
        dstate: States | None,
        totals: Totals | None,
    ) -> Gradients:
        """Return the gradients of input, initial states and weights.

        Those of weights are added to `totals`, if there are some.
        """
        H, D = self.spec.hidden_size, self.spec.directions
        call = Call(run.inputs[0], None, run.lengths)
        dstate_out, dinputs = self._new_states(call), []
        weights = self.grid.new_gradients() if totals is None else dict(totals)
        for direction, parts in enumerate(run.runs):
            own = None if dy is None else dy[:, :, direction * H : (direction + 1) * H]
            h = None if own is None else self._in_order(call, own, direction)
            m = None
            ends: list[Pair] = [(h, m), (None, None)]
            if dstate is not None:
                ends[TIME] = self._of_direction(dstate, direction)
            masks = self._masks_of(call, run.masks, direction)
            found, dborders = self._back_layers(parts, ends, weights, masks)
            dinputs.append(self._in_order(call, found[0], direction))
            for to, state in zip(dstate_out, dborders[TIME], strict=True):
                to[direction::D] = state
        dx = dinputs[0] if D == 1 else dinputs[0] + dinputs[1]
        if run.lengths is not None:
            mask = np.arange(len(dx))[:, None] < run.lengths
            dx = np.where(mask[..., None], dx, dx.dtype.type(0))
        return dx, dstate_out, weights

    def new_stepper(self, packs: Packs, batch_size: int) -> _core.GridStepper:
        """Return what runs one time step after the other, from a state of zeros."""
        spec = self.spec
        sets, (side,) = self.grid.of_direction(packs, 0)
        sweep = _core.GridSweep(
            (spec.num_layers, 1), batch_size, spec.set_steps, None, 1, keep=False
        )
        return _core.GridStepper(sets, side, sweep, engine.threads_for_calls)

    def _masks_of(
        self, call: Call, masks: Sequence[Array], direction: int
    ) -> list[Array]:
        """Return the part [T, B, H] of the masks [T, B, D*H] that one grid meets."""
        H = self.spec.hidden_size
        columns = slice(direction * H, (direction + 1) * H)
        return [self._in_order(call, mask[..., columns], direction) for mask in masks]

    def _keep_layers(
        self,
        whole: GridCall,
        weights: tuple[int, Packs],
        ends: tuple[Pair, ...],
        masks: Sequence[Array],
    ) -> tuple[GridRun, ...]:
        """Run a grid, layer by layer where there are masks, and fill `ends`.

        `weights` are the direction and the packed weights of all.
        """
        direction, packs = weights
        if not masks:
            return (self.grid.run_keeping(whole, direction, ends, packs=packs),)
        steps, runs = whole.sizes[TIME], []
        lengths = whole.lengths
        if lengths is not None:
            lengths = np.minimum(lengths, (1, steps))
        below: Pair = (None, None)
        for layer in range(self.spec.num_layers):
            inputs = () if layer else whole.inputs
            borders = (below, _at_layer(whole.borders[TIME], layer))
            call = GridCall(inputs, borders, (1, steps), whole.batch, lengths)
            far = (ends[DEPTH], _at_layer(ends[TIME], layer))
            runs.append(self.grid.run_keeping(call, direction, far, layer, packs))
            if layer < len(masks):
                h, m = ends[DEPTH]
                below = (
                    drop(cast(Array, h), masks[layer]),
                    None if m is None else m.copy(),
                )
        return tuple(runs)

    def _back_layers(
        self,
        runs: Sequence[GridRun],
        dends: Sequence[Pair],
        dweights: Mapping[str, Array],
        masks: Sequence[Array],
    ) -> tuple[tuple[Array, ...], tuple[Pair, ...]]:
        """Go back through `_keep_layers` as `GridRun.back` through a grid."""
        if not masks:
            return runs[0].back(tuple(dends), dweights)
        above: Pair = dends[DEPTH]
        dstates: list[Any] = []
        for layer in reversed(range(len(runs))):
            own = (above, _at_layer(dends[TIME], layer))
            dinputs, dborders = runs[layer].back(own, dweights)
            dstates.insert(0, dborders[TIME])
            if layer:
                h, m = dborders[DEPTH]
                above = (drop(cast(Array, h), masks[layer - 1]), m)
        h, m = (
            np.concatenate(cast(Any, parts)) for parts in zip(*dstates, strict=True)
        )
        return dinputs, (dborders[DEPTH], (h, m))

    def gates(self, run: TimeDepthRun) -> dict[str, Array]:
        """Return the gates [T, B, H] by name: letter, dimension, suffix."""
        return {
            f"{letter}_{self.spec.labels[k]}{suffix}": gate
            for k, suffix, layer, part in self._layers(run)
            for letter, gate in self._shown(run, part, part.kept.gates(k), layer)
        }

    def states(self, run: TimeDepthRun) -> dict[str, Array]:
        """Return what each point hands on, [T, B, H], by name likewise."""
        found: dict[str, Array] = {}
        for k, suffix, layer, part in self._layers(run):
            pair = part.kept.states(k)
            points = {
                letter: np.moveaxis(steps[1:], 0, k)
                for letter, steps in zip("hm", pair, strict=True)
                if steps is not None
            }
            for letter, array in self._shown(run, part, points, layer):
                found[f"{letter}_{self.spec.labels[k]}{suffix}"] = array
        return found

    def _layers(self, run: TimeDepthRun) -> Iterator[tuple[int, str, int, GridRun]]:
        """Give dimension, suffix, layer and run of everything that is kept."""
        for layer in range(self.spec.num_layers):
            for parts in run.runs:
                part = parts[layer] if len(parts) > 1 else parts[0]
                for k in (TIME, DEPTH):
                    yield k, self.spec.suffix(layer, part.direction), layer, part

    def _shown(
        self,
        run: TimeDepthRun,
        part: GridRun,
        arrays: Mapping[str, Array],
        layer: int,
    ) -> Iterator[tuple[str, Array]]:
        """Give arrays [L, T, B, H] as [T, B, H] of one layer, zeros in padding.

        L is 1 in the run of one layer.
        """
        call = Call(run.inputs[0], None, run.lengths)
        for letter, array in arrays.items():
            own = array[layer if part.layer is None else 0]
            if part.call.lengths is not None:
                mask = line_mask(part.call.sizes, part.call.lengths, but=DEPTH)
                own = np.where(mask[..., None], own, own.dtype.type(0))
            yield letter, self._in_order(call, own, part.direction)

    def _grid_call(self, call: Call, direction: int) -> GridCall:
        """Return what the grid of one direction is asked for."""
        steps, rows, _ = call.x.shape
        x, lengths = self._in_order(call, call.x, direction), None
        if call.lengths is not None:
            mask = np.arange(steps)[:, None] < call.lengths
            x = np.where(mask[..., None], x, x.dtype.type(0))
            full = np.full(rows, self.spec.num_layers)
            lengths = np.stack([full, call.lengths], axis=1).astype(np.int64)
        states: Pair = (None, None)
        if call.state is not None:
            states = self._of_direction(call.state, direction)
        sizes = (self.spec.num_layers, steps)
        return GridCall((x,), ((None, None), states), sizes, rows, lengths)

    def _in_order(self, call: Call, array: Array, direction: int) -> Array:
        """Return a contiguous array [T, B, ...], turned round if the direction is.

        Each row is turned round within its own length; turning twice changes nothing.
        """
        if not self.spec.runs_back(direction):
            return np.ascontiguousarray(array)
        if call.lengths is None:
            return np.ascontiguousarray(array[::-1])
        t = np.arange(len(array))[:, None]
        turned = np.where(t < call.lengths, call.lengths - 1 - t, t)
        return array[turned, np.arange(array.shape[1])]

    def _of_direction(self, states: tuple[Array, ...], direction: int) -> Pair:
        """Return the part [L, B, H] of the states [L*D, B, H] of one direction."""
        step = self.spec.directions
        h, m = (np.ascontiguousarray(part[direction::step]) for part in states)
        return h, m

    def _new_states(self, call: Call) -> tuple[Array, Array]:
        lead = (self.spec.num_layers * self.spec.directions, call.x.shape[1])
        shape = (*lead, self.spec.hidden_size)
        h = _checks.allocate(shape, self.spec.dtype)
        return h, np.empty_like(h)

    def _give(
        self,
        call: Call,
        direction: int,
        ends: tuple[Pair, ...],
        y: Array,
        state_out: tuple[Array, ...],
    ) -> None:
        """Copy the far borders of one direction to where the caller wants them."""
        H, h = self.spec.hidden_size, cast(Array, ends[DEPTH][0])
        own = self._in_order(call, h, direction)
        y[:, :, direction * H : (direction + 1) * H] = own
        for to, state in zip(state_out, ends[TIME], strict=True):
            to[direction :: self.spec.directions] = state


def _at_layer(states: Pair, layer: int) -> Pair:
    """Return the part [1, B, H] of states [L, B, H], a view."""
    h, m = (None if part is None else part[layer : layer + 1] for part in states)
    return h, m
