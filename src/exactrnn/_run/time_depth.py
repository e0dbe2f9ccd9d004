"""The grid of time and depth under the interface of a recurrent layer's stack.

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
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._checks.limits import MAX_ARRAYS
from exactrnn._run.dropout import drop
from exactrnn._run.grid import GridCall, GridRun, GridStack, line_mask
from exactrnn._run.stack import Call
from exactrnn._spec.grid import GridConfig, Pair
from exactrnn._system.locks import cached_property
from exactrnn._weights.store import Packs

DEPTH, TIME = 0, 1


@dataclass(frozen=True, kw_only=True)
class TimeDepthConfig(GridConfig):
    """A grid of two dimensions, with what a recurrent layer is asked for."""

    batch_first: bool
    dropout: float
    reverse: bool = False

    phase = 0
    counts_steps = False
    output_letter = "H"
    state_names = ("h", "m")

    def __post_init__(self) -> None:
        """Raise for absurd sizes; layers that share their weights are no arrays."""
        super().__post_init__()
        if self.num_layers > MAX_ARRAYS:
            got = f"got {self.num_layers}"
            raise ValueError(f"num_layers: expected at most {MAX_ARRAYS}, {got}")

    @property
    def num_layers(self) -> int:
        """L."""
        return cast(int, self.sizes[DEPTH])

    def runs_back(self, direction: int) -> bool:
        """Tell whether a direction reads each row from its end to its start."""
        return self.reverse or direction == 1

    @property
    def output_size(self) -> int:
        """H, the width of the output of one direction."""
        return self.hidden_size

    @cached_property
    def state_parts(self) -> tuple[tuple[str, str, int], ...]:
        """Name, letter of the width and width of each state."""
        return tuple((name, "H", self.hidden_size) for name in self.state_names)

    def suffix(self, layer: int, direction: int) -> str:
        """Return what follows a gate's or state's name."""
        return f"_l{layer}" + "_reverse" * direction


@dataclass(frozen=True, slots=True)
class TimeDepthRun:
    """What a run that keeps for backward leaves behind.

    `runs` has by direction one run of the whole grid, or with dropout one by layer.
    """

    version: int
    lengths: Lengths | None
    inputs: tuple[Array, ...]
    masks: tuple[Array, ...]
    runs: tuple[tuple[GridRun, ...], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        steps, rows, _ = self.inputs[0].shape
        return steps, rows


class TimeDepthStack(GridStack):
    """What `_layer.RecurrentLayer` asks of a stack, done by grids."""

    config: TimeDepthConfig

    def run(  # type: ignore[override]
        self, call: Call, y: Array, packs: Packs | None = None
    ) -> tuple[Array, ...]:
        """Compute the output into `y` [T, B, D*H] and return the final states.

        `packs` are the weights, if the caller has fetched them for several runs.
        """
        packs = packs or self.store.packs(engine.isa())
        state_out = self._new_states(call)
        for direction in range(self.config.directions):
            part = self._grid_call(call, direction)
            ends = self.new_borders(part)
            self._run(packs, part, direction, ends, keep=False)
            self._give(call, direction, ends, y, state_out)
        return state_out

    def run_keeping(  # type: ignore[override]
        self, call: Call, y: Array
    ) -> tuple[tuple[Array, ...], TimeDepthRun]:
        """Compute as `run`, with dropout, and keep what `run_back` needs."""
        with self.masks.drawn(*call.x.shape[:2]) as masks:
            return self.keep(call, y, masks)

    def keep(
        self,
        call: Call,
        y: Array,
        masks: Sequence[Array],
        packs: Packs | None = None,
    ) -> tuple[tuple[Array, ...], TimeDepthRun]:
        """Do what `run_keeping` does, with masks that are drawn already."""
        packs = packs or self.store.packs(engine.isa(), backward=True)
        state_out = self._new_states(call)
        runs: list[tuple[GridRun, ...]] = []
        for direction in range(self.config.directions):
            part = self._grid_call(call, direction)
            ends = self.new_borders(part)
            own = self._masks_of(call, masks, direction)
            runs.append(self._keep_layers(part, (direction, packs), ends, own))
            self._give(call, direction, ends, y, state_out)
        version = runs[0][0].version
        return state_out, TimeDepthRun(
            version, call.lengths, (call.x,), tuple(masks), tuple(runs)
        )

    def run_back(  # type: ignore[override]
        self,
        run: TimeDepthRun,
        dy: Array | None,
        dstate: tuple[Array, ...] | None,
        truncated: bool = False,  # noqa: ARG002 (an LSTM's)
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Return the gradients of input, initial states and weights."""
        H, D = self.config.hidden_size, self.config.directions
        call = Call(run.inputs[0], None, run.lengths, batched=True)
        dstate_out, weights, dinputs = self._new_states(call), self.new_gradients(), []
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

    def describe_run(self, run: TimeDepthRun) -> dict[str, Any]:  # type: ignore[override]
        """Return a run as plain values, for `restore_run` of an equal stack."""
        describe = super().describe_run
        return {
            "lengths": run.lengths,
            "inputs": run.inputs,
            "masks": run.masks,
            "runs": tuple(tuple(map(describe, parts)) for parts in run.runs),
        }

    def restore_run(  # type: ignore[override]
        self, described: Mapping[str, Any]
    ) -> TimeDepthRun:
        """Return the run that has been described, as one of this stack."""
        restore = super().restore_run
        runs = tuple(tuple(map(restore, parts)) for parts in described["runs"])
        return TimeDepthRun(
            runs[0][0].version,
            described["lengths"],
            described["inputs"],
            described["masks"],
            runs,
        )

    def _masks_of(
        self, call: Call, masks: Sequence[Array], direction: int
    ) -> list[Array]:
        """Return the part [T, B, H] of the masks [T, B, D*H] that one grid meets."""
        H = self.config.hidden_size
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
            return (super().run_keeping(whole, direction, ends, packs=packs),)
        steps, runs = whole.sizes[TIME], []
        lengths = whole.lengths
        if lengths is not None:
            lengths = np.minimum(lengths, (1, steps))
        below: Pair = (None, None)
        for layer in range(self.config.num_layers):
            inputs = () if layer else whole.inputs
            borders = (below, _at_layer(whole.borders[TIME], layer))
            call = GridCall(inputs, borders, (1, steps), whole.batch, lengths)
            far = (ends[DEPTH], _at_layer(ends[TIME], layer))
            runs.append(super().run_keeping(call, direction, far, layer, packs))
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
        """Go back through `_keep_layers` as `GridStack.run_back` through a grid."""
        if not masks:
            return super().run_back(runs[0], tuple(dends), dweights)
        above: Pair = dends[DEPTH]
        dstates: list[Any] = []
        for layer in reversed(range(len(runs))):
            own = (above, _at_layer(dends[TIME], layer))
            dinputs, dborders = super().run_back(runs[layer], own, dweights)
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
            f"{letter}_{self.config.labels[k]}{suffix}": gate
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
                found[f"{letter}_{self.config.labels[k]}{suffix}"] = array
        return found

    def _layers(self, run: TimeDepthRun) -> Iterator[tuple[int, str, int, GridRun]]:
        """Give dimension, suffix, layer and run of everything that is kept."""
        for layer in range(self.config.num_layers):
            for parts in run.runs:
                part = parts[layer] if len(parts) > 1 else parts[0]
                for k in (TIME, DEPTH):
                    yield k, self.config.suffix(layer, part.direction), layer, part

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
        call = Call(run.inputs[0], None, run.lengths, batched=True)
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
            full = np.full(rows, self.config.num_layers)
            lengths = np.stack([full, call.lengths], axis=1).astype(np.int64)
        states: Pair = (None, None)
        if call.state is not None:
            states = self._of_direction(call.state, direction)
        sizes = (self.config.num_layers, steps)
        return GridCall((x,), ((None, None), states), sizes, rows, lengths)

    def _in_order(self, call: Call, array: Array, direction: int) -> Array:
        """Return a contiguous array [T, B, ...], turned round if the direction is.

        Each row is turned round within its own length; turning twice changes nothing.
        """
        if not self.config.runs_back(direction):
            return np.ascontiguousarray(array)
        if call.lengths is None:
            return np.ascontiguousarray(array[::-1])
        t = np.arange(len(array))[:, None]
        turned = np.where(t < call.lengths, call.lengths - 1 - t, t)
        return array[turned, np.arange(array.shape[1])]

    def _of_direction(self, states: tuple[Array, ...], direction: int) -> Pair:
        """Return the part [L, B, H] of the states [L*D, B, H] of one direction."""
        step = self.config.directions
        h, m = (np.ascontiguousarray(part[direction::step]) for part in states)
        return h, m

    def _new_states(self, call: Call) -> tuple[Array, Array]:
        lead = (self.config.num_layers * self.config.directions, call.x.shape[1])
        shape = (*lead, self.config.hidden_size)
        h = _checks.allocate(shape, self.config.dtype)
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
        H, h = self.config.hidden_size, cast(Array, ends[DEPTH][0])
        own = self._in_order(call, h, direction)
        y[:, :, direction * H : (direction + 1) * H] = own
        for to, state in zip(state_out, ends[TIME], strict=True):
            to[direction :: self.config.directions] = state


def _at_layer(states: Pair, layer: int) -> Pair:
    """Return the part [1, B, H] of states [L, B, H], a view."""
    h, m = (None if part is None else part[layer : layer + 1] for part in states)
    return h, m


class TimeDepthStepper(_core.Turn):
    """One time step over and over: what `stream.Stream` asks of a stepper.

    Parameters
    ----------
    stack : TimeDepthStack
        The layer's.
    packs : Packs
        Its packed weights.
    batch_size : int
        B.
    """

    def __init__(self, stack: TimeDepthStack, packs: Packs, batch_size: int) -> None:
        config = stack.config
        sets, sides = stack.of_direction(packs, 0)
        L, B, H = config.num_layers, batch_size, config.hidden_size
        has_memory = config.kinds[DEPTH] == "lstm"

        def new(*shape: int) -> Array:
            return np.zeros(shape, config.dtype)

        self.state = (new(L, B, H), new(L, B, H))
        self.clock = None
        self._side, self._isa = sides[0], packs.isa
        self._projected = new(B, (2 if has_memory else 1) * H)
        self._near = (new(1, B, H), new(1, B, H) if has_memory else None)
        self._far = (new(1, B, H), new(1, B, H) if has_memory else None)
        self._grid = _core.GridStepper(
            sets,
            ((L, 1), B, config.set_steps),
            (self._near, self.state),
            (self._far, self.state),
        )

    def step(self, x: Array, out: Array) -> Array:
        """Read `x` [B, I], write `out` [B, H], both contiguous; returns `out`."""
        side, y = self._side, self._projected
        if not (type(x) is type(out) is np.ndarray):
            raise TypeError("x, out: expected arrays")
        # Views, whose shapes are no one else's to change.
        given, target = x.view(), out.view()
        sizes = (len(y), side.weight.shape[1]), self._near[0].shape[1:]
        if given.dtype != y.dtype or not (
            given.flags.c_contiguous and given.flags.aligned
        ):
            raise ValueError("x: expected a contiguous array of the layer's dtype")
        if target.dtype != y.dtype or not target.flags.carray:
            raise ValueError("out: expected a contiguous array of the layer's dtype")
        if np.may_share_memory(given, target):
            raise ValueError("out: expected memory of its own, got x's")
        with self:
            self._step(given.reshape(sizes[0]), target.reshape(sizes[1]))
        return out

    def _step(self, x: Array, out: Array) -> None:
        side, y, H = self._side, self._projected, self._near[0].shape[-1]
        _core.linear_forward(x, side.weight, side.bias, y, self._isa, 1)
        self._near[0][0] = y[:, :H]
        if self._near[1] is not None:
            self._near[1][0] = y[:, H:]
        self._grid.run()
        out[...] = self._far[0][0]
