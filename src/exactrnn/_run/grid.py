"""What grid layers do with arrays: `GridStore` owns weights, `GridStack` runs kernels.

What a grid is stands in `_spec/grid.py`; the public classes are in `grid.py` and
`layers/time_depth.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array
from exactrnn._run.dropout import Masks
from exactrnn._run.grid_call import GridCall, line_mask
from exactrnn._run.plans import Plans
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.grid import OUTPUTS, GridConfig, Pair
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._weights.store import STALE, Packs, ParameterStore

S = TypeVar("S")


class GridStore(ParameterStore):
    """Owner of the weights of a grid layer.

    Its packed copies, `Packs.copies`, are for each direction the sets, and then the
    sides with input.
    """

    def __init__(self, spec: GridConfig, weights: Mapping[str, Array]) -> None:
        super().__init__(weights)
        self._spec = spec

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        spec = self._spec
        block = _core.GridBlock(
            isa,
            spec.dtype.name,
            spec.hidden_size,
            tuple(
                kind if kind == "lstm" else with_parameters(kind) for kind in spec.kinds
            ),
            spec.phases,
            spec.output == OUTPUTS[0],
            spec.input_sizes,
        )
        copies: list[tuple[Any, ...]] = []
        for direction in range(spec.directions):
            for dimensions in spec.block_names(direction):
                made: dict[str, _core.GridPacked] = {}
                for k, (weight, bias) in enumerate(dimensions):
                    if weight not in made:
                        made[weight] = _core.grid_pack(
                            block, k, weights[weight], _bias(weights, bias), backward
                        )
                copies.append(tuple(made[weight] for weight, _ in dimensions))
            pairs = zip(spec.sides, spec.side_names(direction), strict=True)
            copies.append(
                tuple(
                    _core.grid_pack_side(
                        block, k, weights[weight], _bias(weights, bias), backward
                    )
                    for k, (weight, bias) in pairs
                )
            )
        return Packs(isa, self._version, backward, tuple(copies))


def _bias(weights: Mapping[str, Array], name: str | None) -> Array | None:
    return None if name is None else weights[name]


class GridRun(NamedTuple):
    """What a run that keeps for backward leaves behind, of one direction.

    `layer` is the one position along dimension 0 that was run, or None for all.
    """

    stack: GridStack
    version: int
    direction: int
    call: GridCall
    kept: _core.GridCache
    layer: int | None = None

    def back(
        self, dends: tuple[Pair, ...], dweights: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], tuple[Pair, ...]]:
        """Add to `dweights`; return the gradients of the inputs and of the borders."""
        return self.stack.run_back(self, dends, dweights)

    def back_plain(self, dends: object) -> Any:
        """Return all gradients as the caller has them; None if his are not plain."""
        return self.stack.back_plain(self, dends)

    def gates(self) -> dict[str, Array]:
        """Return copies [sizes, B, H] of the gates by letter and label, as `i_d0`."""
        return {
            f"{letter}_{label}": self._copy(gate)
            for k, label in enumerate(self.stack.spec.labels)
            for letter, gate in self.kept.gates(k).items()
        }

    def states(self) -> dict[str, Array]:
        """Return copies of what each point hands on likewise, as `h_d0`, `m_d0`."""
        return {
            f"{letter}_{label}": self._copy(np.moveaxis(part[1:], 0, k))
            for k, label in enumerate(self.stack.spec.labels)
            for letter, part in zip("hm", self.kept.states(k), strict=True)
            if part is not None
        }

    def _copy(self, array: Array) -> Array:
        """Return a copy with zeros where a row has no point."""
        if self.call.lengths is None:
            return array.copy()
        mask = line_mask(self.call.sizes, self.call.lengths)
        return np.where(mask[..., None], array, array.dtype.type(0))

    def reduce(self) -> tuple[Callable[..., GridRun], Mapping[str, Any]]:
        """Return what makes an equal run of an equal stack."""
        return restore_run, {
            "current": self.stack.store.is_current(self.version),
            "direction": self.direction,
            "call": self.call,
            "kept": self.kept.content(),
            "layer": self.layer,
        }


def restore_run(stack: GridStack, described: Mapping[str, Any]) -> GridRun:
    """Return the run that has been reduced, as one of this stack."""
    packs = stack.store.packs(engine.isa(), backward=True)
    direction, layer = described["direction"], described["layer"]
    sets, _ = stack.of_direction(packs, direction, layer)
    return GridRun(
        stack,
        packs.version if described["current"] else STALE,
        direction,
        described["call"],
        _core.restore_grid_cache(sets, described["kept"]),
        layer,
    )


def _new_plan(spec: GridConfig, packs: Packs) -> _core.SpacePlan:
    """Return what the plain calls of a stack have in common."""
    return _core.SpacePlan(packs, spec, dict(spec.weight_shapes))


class GridStack:
    """Options and weights of a grid layer, and its runs.

    Parameters
    ----------
    spec : GridConfig
        What the layer is.
    weights : mapping of str to ndarray
        As for `ParameterStore`; taken over.
    generator : numpy.random.PCG64
        Taken over; after the first weights only dropout draws from it.
    in_time : SequenceSpec, optional
        What the layer is in time, which may drop something.
    """

    def __init__(
        self,
        spec: GridConfig,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
        *,
        in_time: SequenceSpec | None = None,
    ) -> None:
        self.spec = spec
        self.store = GridStore(spec, weights)
        self.masks = Masks(in_time, generator)
        self._plans = Plans(self.store, partial(_new_plan, spec))

    def run_plain(self, x: object, borders: object) -> Any:
        """Return what the caller of a plain call gets; None if it is not plain."""
        return self._plans.run(x, borders)

    def keep_plain(self, x: object, borders: object) -> tuple[Any, GridRun] | None:
        """Return that and what is kept; None if the call is not plain."""
        found = self._plans.keep(x, borders)
        if found is None:
            return None
        ends, inputs, sizes, batch, cache, version = found
        call = GridCall(inputs, ((None, None),) * len(sizes), sizes, batch, None)
        return ends, GridRun(self, version, 0, call, cache)

    def back_plain(self, run: GridRun, dends: object) -> Any:
        """Return the gradients as the caller has them; None if this is not plain."""
        plan = self._plans.current(backward=True)
        if plan.packs.version != run.version or run.call.lengths is not None:
            return None
        return plan.back(run, dends)

    def run(
        self,
        call: GridCall,
        direction: int,
        ends: tuple[Pair, ...],
        packs: Packs | None = None,
    ) -> None:
        """Compute the far borders into `ends`.

        `packs` are the weights, if the caller has fetched them for several runs.
        """
        packs = packs or self.store.packs(engine.isa())
        self._run(packs, call, direction, ends, keep=False)

    def run_keeping(
        self,
        call: GridCall,
        direction: int,
        ends: tuple[Pair, ...],
        layer: int | None = None,
        packs: Packs | None = None,
    ) -> GridRun:
        """Compute the far borders into `ends` and keep what `run_back` needs.

        With `layer` the call is of this position along dimension 0 alone; an input is
        then at side 0 and read by the first layer. `packs` are as for `run`.
        """
        packs = packs or self.store.packs(engine.isa(), backward=True)
        kept = self._run(packs, call, direction, ends, keep=True, layer=layer)
        kept = cast(_core.GridCache, kept)
        return GridRun(self, packs.version, direction, call, kept, layer)

    def _run(
        self,
        packs: Packs,
        call: GridCall,
        direction: int,
        ends: tuple[Pair, ...],
        *,
        keep: bool,
        layer: int | None = None,
    ) -> _core.GridCache | None:
        sets, sides = self.of_direction(packs, direction, layer)
        sweep = _core.GridSweep(
            call.sizes,
            call.batch,
            self.spec.set_steps,
            call.lengths,
            engine.threads_for_calls(),
            keep,
        )
        return _core.grid_forward(sets, sides, sweep, call.inputs, call.borders, ends)

    def of_direction(
        self, packs: Packs, direction: int, layer: int | None = None
    ) -> tuple[tuple[tuple[_core.GridPacked, ...], ...], tuple[_core.GridPacked, ...]]:
        """Return the packed sets and sides of one direction, of one layer or all."""
        count = self.spec.sets + 1
        copies: Any = packs.copies[direction * count : (direction + 1) * count]
        sides = () if layer else copies[-1]
        return self._of_layer(copies[:-1], layer), sides

    def _of_layer(self, sets: tuple[S, ...], layer: int | None) -> tuple[S, ...]:
        """Return those sets that the points of a layer have."""
        step = self.spec.set_steps[0]
        if layer is None or step == 0:
            return sets
        return sets[layer * step : (layer + 1) * step]

    def new_borders(self, call: GridCall, but: Sequence[int] = ()) -> tuple[Pair, ...]:
        """Return arrays [the other sizes, B, H] for h and m of every dimension.

        None stands for those of the dimensions in `but`.
        """
        spec = self.spec
        pairs: list[Pair] = []
        for k in range(spec.dims):
            if k in but:
                pairs.append((None, None))
                continue
            others = call.sizes[:k] + call.sizes[k + 1 :]
            shape = (*others, call.batch, spec.hidden_size)
            h = _checks.allocate(shape, spec.dtype)
            has_memory = spec.kinds[k] == "lstm"
            pairs.append((h, np.empty_like(h) if has_memory else None))
        return tuple(pairs)

    def new_gradients(self) -> dict[str, Array]:
        """Return zeros for the gradients of all weights, by name."""
        shapes, dtype = self.spec.weight_shapes, self.spec.dtype
        return {name: np.zeros(shape, dtype) for name, shape in shapes.items()}

    def run_back(
        self, run: GridRun, dends: tuple[Pair, ...], dweights: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], tuple[Pair, ...]]:
        """Add to `dweights`; return the gradients of the inputs and of the borders.

        A border that an input enters has none of its own.
        """
        spec, call = self.spec, run.call
        packs = self.store.packs(engine.isa(), backward=True)
        _checks.check_version(run.version, packs.version)
        sets, sides = self.of_direction(packs, run.direction, run.layer)
        dinputs = tuple(np.empty_like(x) for x in call.inputs)
        dborders = self.new_borders(call, but=spec.sides[: len(sides)])
        blocks = self._of_layer(tuple(spec.block_names(run.direction)), run.layer)
        side_names = spec.side_names(run.direction)[: len(sides)]
        wanted = _core.GridGradients(
            dinputs,
            dborders,
            tuple(_named(dweights, names) for names in blocks),
            _named(dweights, side_names),
        )
        _core.grid_backward(sets, sides, run.kept, call.inputs, dends, wanted)
        return dinputs, dborders


def _named(
    arrays: Mapping[str, Array], names: Sequence[tuple[str, str | None]]
) -> tuple[tuple[Array, Array | None], ...]:
    """Return the arrays of weights and biases by their names."""
    return tuple((arrays[w], None if b is None else arrays[b]) for w, b in names)
