"""What grid layers do with arrays: `GridStore` owns weights, `GridStack` runs kernels.

What a grid is stands in `_spec/grid.py`; the public classes are in `grid.py` and
`layers/time_depth.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.dropout import Masks
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.grid import OUTPUTS, GridConfig, Pair
from exactrnn._weights.store import STALE, Packs, ParameterStore

S = TypeVar("S")


class SidePack:
    """A copy of the weights of a side with input; immutable."""

    has_backward = True

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self.weight = weight.copy()
        self.bias = None if bias is None else bias.copy()

    def equals(self, other: SidePack) -> bool:
        """Tell whether both are of the same bytes."""
        mine, theirs = (
            [part.tobytes() for part in (pack.weight, pack.bias) if part is not None]
            for pack in (self, other)
        )
        return mine == theirs


class GridStore(ParameterStore):
    """Owner of the weights of a grid layer.

    Its packed copies, `Packs.panels`, are for each direction the sets, and then the
    sides with input.
    """

    _config: Any

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        config: GridConfig = self._config
        block = _core.GridBlock(
            isa,
            config.dtype.name,
            config.hidden_size,
            tuple(
                kind if kind == "lstm" else with_parameters(kind)
                for kind in config.kinds
            ),
            config.phases,
            config.output == OUTPUTS[0],
        )
        panels: list[tuple[Any, ...]] = []
        for direction in range(config.directions):
            for dimensions in config.block_names(direction):
                made: dict[str, _core.GridPacked] = {}
                for k, (weight, bias) in enumerate(dimensions):
                    if weight not in made:
                        made[weight] = _core.grid_pack(
                            block, k, weights[weight], _bias(weights, bias), backward
                        )
                panels.append(tuple(made[weight] for weight, _ in dimensions))
            names = config.side_names(direction)
            sides = [SidePack(weights[w], _bias(weights, b)) for w, b in names]
            panels.append(tuple(sides))
        return Packs(isa, self._version, backward, tuple(panels))


def _bias(weights: Mapping[str, Array], name: str | None) -> Array | None:
    return None if name is None else weights[name]


class GridCall(NamedTuple):
    """A checked call of one direction.

    `inputs` [..., B, I] by side with input, zero where a row has no line; `borders` by
    dimension, those with input ignored; `lengths` [B, N].
    """

    inputs: tuple[Array, ...]
    borders: tuple[Pair, ...]
    sizes: tuple[int, ...]
    batch: int
    lengths: Lengths | None


@dataclass(frozen=True, slots=True)
class GridRun:
    """What a run that keeps for backward leaves behind, of one direction.

    `layer` is the one position along dimension 0 that was run, or None for all.
    """

    version: int
    direction: int
    call: GridCall
    kept: _core.GridCache
    layer: int | None = None


class GridStack:
    """Options and weights of a grid layer, and its runs.

    Parameters
    ----------
    config : GridConfig
        What the layer is.
    weights : mapping of str to ndarray
        As for `ParameterStore`; taken over.
    generator : numpy.random.PCG64
        Taken over; after the first weights only dropout draws from it.
    """

    def __init__(
        self,
        config: GridConfig,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        self.config = config
        self.store = GridStore(cast(Any, config), weights)
        self.masks = Masks(config, generator)

    def run(self, call: GridCall, direction: int, ends: tuple[Pair, ...]) -> None:
        """Compute the far borders into `ends`."""
        packs = self.store.packs(engine.isa())
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
        then at side 0 and read by the first layer. `packs` are the weights, if the
        caller has fetched them for several runs.
        """
        packs = packs or self.store.packs(engine.isa(), backward=True)
        kept = self._run(packs, call, direction, ends, keep=True, layer=layer)
        kept = cast(_core.GridCache, kept)
        return GridRun(packs.version, direction, call, kept, layer)

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
        threads = engine.threads_for_calls()
        borders = list(call.borders)
        dims = self.config.sides[: len(sides)]
        for k, pack, x in zip(dims, sides, call.inputs, strict=True):
            borders[k] = self.project(pack, x, packs.isa, threads)
        return _core.grid_forward(
            sets,
            (call.sizes, call.batch, self.config.set_steps),
            tuple(borders),
            ends,
            call.lengths,
            threads,
            keep,
        )

    def of_direction(
        self, packs: Packs, direction: int, layer: int | None = None
    ) -> tuple[tuple[tuple[_core.GridPacked, ...], ...], tuple[SidePack, ...]]:
        """Return the packed sets and sides of one direction, of one layer or all."""
        count = self.config.sets + 1
        panels: Any = packs.panels[direction * count : (direction + 1) * count]
        sides = () if layer else panels[-1]
        return self._of_layer(panels[:-1], layer), sides

    def _of_layer(self, sets: tuple[S, ...], layer: int | None) -> tuple[S, ...]:
        """Return those sets that the points of a layer have."""
        step = self.config.set_steps[0]
        if layer is None or step == 0:
            return sets
        return sets[layer * step : (layer + 1) * step]

    def project(self, pack: SidePack, x: Array, isa: str, threads: int) -> Pair:
        """Return (h, m) of a side: a linear layer of its input."""
        H, (rows, columns) = self.config.hidden_size, pack.weight.shape
        flat = x.reshape(-1, columns)
        y = _checks.allocate((len(flat), rows), self.config.dtype)
        _core.linear_forward(flat, pack.weight, pack.bias, y, isa, threads)
        h = np.ascontiguousarray(y[:, :H])
        return h, np.ascontiguousarray(y[:, H:]) if rows > H else None

    def new_borders(self, call: GridCall) -> tuple[Pair, ...]:
        """Return arrays [the other sizes, B, H] for h and m of every dimension."""
        config = self.config
        pairs = []
        for k in range(config.dims):
            others = call.sizes[:k] + call.sizes[k + 1 :]
            shape = (*others, call.batch, config.hidden_size)
            h = _checks.allocate(shape, config.dtype)
            has_memory = config.kinds[k] == "lstm"
            pairs.append((h, np.empty_like(h) if has_memory else None))
        return tuple(pairs)

    def new_gradients(self) -> dict[str, Array]:
        """Return zeros for the gradients of all weights, by name."""
        shapes, dtype = self.config.weight_shapes, self.config.dtype
        return {name: np.zeros(shape, dtype) for name, shape in shapes.items()}

    def run_back(
        self, run: GridRun, dends: tuple[Pair, ...], dweights: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], tuple[Pair, ...]]:
        """Add to `dweights`; return the gradients of the inputs and of the borders."""
        config, call = self.config, run.call
        packs = self.store.packs(engine.isa(), backward=True)
        _checks.check_version(run.version, packs.version)
        sets, sides = self.of_direction(packs, run.direction, run.layer)
        dborders = self.new_borders(call)
        arrays = tuple(
            tuple((dweights[w], None if b is None else dweights[b]) for w, b in names)
            for names in self._of_layer(
                tuple(config.block_names(run.direction)), run.layer
            )
        )
        _core.grid_backward(sets, run.kept, dends, dborders, arrays)
        dinputs = []
        side_names = config.side_names(run.direction)[: len(sides)]
        for index, names in enumerate(side_names):
            k, x = config.sides[index], call.inputs[index]
            parts = [part for part in dborders[k] if part is not None]
            rows = [part.reshape(-1, config.hidden_size) for part in parts]
            dy = np.ascontiguousarray(np.concatenate(rows, axis=1))
            flat = x.reshape(-1, x.shape[-1])
            dx = np.empty_like(flat)
            db = None if names[1] is None else dweights[names[1]]
            _core.linear_backward(
                flat,
                sides[index].weight,
                dy,
                dx,
                dweights[names[0]],
                db,
                packs.isa,
                engine.threads_for_calls(),
            )
            dinputs.append(dx.reshape(x.shape))
        return tuple(dinputs), dborders

    def describe_run(self, run: GridRun) -> dict[str, Any]:
        """Return a run as plain values, for `restore_run` of an equal stack."""
        return {
            "current": self.store.is_current(run.version),
            "direction": run.direction,
            "call": run.call,
            "kept": run.kept.content(),
            "layer": run.layer,
        }

    def restore_run(self, described: Mapping[str, Any]) -> GridRun:
        """Return the run that has been described, as one of this stack."""
        packs = self.store.packs(engine.isa(), backward=True)
        direction, layer = described["direction"], described["layer"]
        sets, _ = self.of_direction(packs, direction, layer)
        return GridRun(
            packs.version if described["current"] else STALE,
            direction,
            described["call"],
            _core.restore_grid_cache(sets, described["kept"]),
            layer,
        )


def line_mask(
    sizes: Sequence[int], lengths: Lengths, but: int = -1
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which points each row has: [sizes, B], without dimension `but`."""
    kept = [k for k in range(len(sizes)) if k != but]
    mask = np.ones((*(sizes[k] for k in kept), len(lengths)), np.bool_)
    for axis, k in enumerate(kept):
        places = np.arange(sizes[k])[:, None] < lengths[:, k]
        mask &= places.reshape(
            (1,) * axis + (sizes[k],) + (1,) * (len(kept) - axis - 1) + (len(lengths),)
        )
    return mask
