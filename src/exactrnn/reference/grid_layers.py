"""Layers of grids in NumPy: what they add to the grid of ``grid.py``.

That is inputs at sides, which are linear layers, and in time and depth the directions
and dropout.  The door is ``layers.py``.

With dropout a grid of time and depth is run layer by layer: the mask multiplies the h
that goes up, not m.  Back, the last layer comes first and each adds a long sum of its
own to the gradients of weights that layers share.

Twin: ``_run/grid.py`` and ``_run/time_depth.py`` over the kernels.  Letters as in
``grid.py``; dimension 0 is the depth, 1 the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from exactrnn._checks import Array, Lengths
from exactrnn._run.grid_call import GridCall, begin_grid, check_gradients
from exactrnn._run.layout import Layout
from exactrnn._run.protocol import Call, Gradients, States
from exactrnn._spec.grid import OUTPUTS, GridConfig, Pair
from exactrnn._spec.time_depth import TimeDepthConfig
from exactrnn.reference.dense import linear_backward, linear_forward
from exactrnn.reference.grid import Grid, grid_backward, grid_forward, line_of
from exactrnn.reference.grid import GridCache as TwinCache
from exactrnn.reference.masks import Masks

DEPTH, TIME = 0, 1

Arrays: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class GridCache:
    """What `forward` keeps of a grid, and of one direction in time and depth.

    Parameters
    ----------
    inputs : tuple of Array
        By side, +0.0 on lines that a row does not have.
    kept : exactrnn._grid_reference.GridCache
        States and gates of all points.
    """

    inputs: tuple[Array, ...]
    kept: TwinCache


@dataclass(frozen=True)
class TimeDepthCache:
    """What `forward` keeps of a grid of time and depth.

    Parameters
    ----------
    runs : tuple of tuple of GridCache
        By direction: one of the whole grid, or with dropout one for each layer.
    dropout_masks : tuple of Array
        The masks between the layers; empty where there was no dropout.
    lengths : NDArray or None
        Integers [B].
    layout : exactrnn._run.layout.Layout
        The caller's.
    """

    runs: tuple[tuple[GridCache, ...], ...]
    dropout_masks: tuple[Array, ...]
    lengths: Lengths | None
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        T, B, _ = self.runs[0][0].inputs[0].shape
        return T, B


# One grid with its sides


@dataclass(frozen=True)
class GridTwin:
    """A grid layer in one direction: its runs with the weights that it has there.

    In time and depth `layer` says which one is run; None is all of them.
    """

    spec: GridConfig
    weights: Arrays
    direction: int = 0

    def sets(self, arrays: Arrays, layer: int | None) -> list[list[Any]]:
        """Return the arrays (weight, bias) of the blocks by set and dimension."""
        sets = [
            [(arrays[w], None if b is None else arrays[b]) for w, b in names]
            for names in self.spec.block_names(self.direction)
        ]
        return sets if layer is None or len(sets) == 1 else sets[layer : layer + 1]

    def sides(
        self, inputs: Sequence[Array]
    ) -> list[tuple[int, str, str | None, Array]]:
        """Return dimension, names (weight, bias) and input of each side."""
        names = self.spec.side_names(self.direction)
        triples = zip(self.spec.sides, names, inputs, strict=False)
        return [(k, w, b, x) for k, (w, b), x in triples]

    def forward(
        self, call: GridCall, layer: int | None = None
    ) -> tuple[tuple[Pair, ...], GridCache]:
        """Run a grid from its inputs and borders to its far borders."""
        spec, borders = self.spec, []
        for k, (h, m) in enumerate(call.borders):
            shape = (*line_of(call.sizes, k), call.batch, spec.hidden_size)
            zeros = np.zeros(shape, spec.dtype)
            m = zeros if m is None and spec.kinds[k] == "lstm" else m
            borders.append((zeros if h is None else h, m))
        for k, w, b, x in self.sides(call.inputs):
            bias = None if b is None else self.weights[b]
            y = linear_forward(flat(x), self.weights[w], bias)
            parts = np.split(y, y.shape[1] // spec.hidden_size, axis=1)
            shape = (*x.shape[:-1], spec.hidden_size)
            h, *rest = (part.reshape(shape) for part in parts)
            borders[k] = h, rest[0] if rest else None
        grid = Grid(
            spec.kinds,
            spec.phases,
            spec.output == OUTPUTS[0],
            self.sets(self.weights, layer),
            call.sizes,
            spec.set_steps,
            call.lengths,
        )
        ends, kept = grid_forward(grid, borders)
        return ends, GridCache(call.inputs, kept)

    def backward(
        self,
        cache: GridCache,
        dends: Sequence[Pair],
        dweights: Arrays,
        layer: int | None = None,
    ) -> tuple[tuple[Array, ...], tuple[Pair, ...]]:
        """Go back through `forward`: add to `dweights`, return the other gradients."""
        full = []
        for k, (dh, dm) in enumerate(dends):
            zeros = np.zeros_like(cache.kept.h[k][-1])
            full.append((zeros if dh is None else dh, dm))
        dborders, _ = grid_backward(cache.kept, full, self.sets(dweights, layer))
        dinputs = []
        for k, w, b, x in self.sides(cache.inputs):
            parts = [flat(part) for part in dborders[k] if part is not None]
            dy, db = np.concatenate(parts, axis=1), None if b is None else dweights[b]
            dx, dW, db = linear_backward(flat(x), self.weights[w], dy, dweights[w], db)
            dweights[w] = dW
            if b is not None and db is not None:
                dweights[b] = db
            dinputs.append(dx.reshape(x.shape))
        return tuple(dinputs), dborders


def flat(x: Array) -> Array:
    """Return [rows, width]."""
    return x.reshape(-1, x.shape[-1])


def new_gradients(spec: GridConfig) -> Arrays:
    """Return zeros for the gradients of all weights, by name."""
    return {n: np.zeros(s, spec.dtype) for n, s in spec.weight_shapes.items()}


# A grid of any dimensions


def forward_grid(
    layer: Any, x: object, borders: object, sizes: object, lengths: object
) -> tuple[Any, GridCache]:
    """Compute what `GridLSTM.forward` does."""
    call = begin_grid(layer._spec, x, borders, sizes, lengths)
    ends, cache = GridTwin(layer._spec, layer.state_dict()).forward(call)
    return tuple(as_border(pair) for pair in ends), cache


def backward_grid(
    layer: Any, cache: GridCache, dends: object
) -> tuple[Any, Any, Arrays]:
    """Compute what `GridLSTM.backward` does: gradients of x, borders and weights."""
    spec, sizes = layer._spec, cache.kept.grid.sizes
    batch, dweights = cache.kept.h[0].shape[-2], new_gradients(spec)
    taken = check_gradients(spec, dends, sizes, batch)
    twin = GridTwin(spec, layer.state_dict())
    dinputs, dborders = twin.backward(cache, taken, dweights)
    borders = tuple(
        None if k in spec.sides else as_border(pair) for k, pair in enumerate(dborders)
    )
    dx = dinputs if len(dinputs) > 1 else dinputs[0] if dinputs else None
    return dx, borders, dweights


def as_border(pair: Pair) -> Any:
    """Return `(h, m)`, or `h` without memory."""
    return pair if pair[1] is not None else pair[0]


# Time and depth


@dataclass(frozen=True)
class TimeDepthTwin:
    """What runs a grid of time and depth, by the definition."""

    spec: TimeDepthConfig
    weights: Arrays

    def run(self, call: Call, masks: Masks) -> tuple[Array, States, TimeDepthCache]:
        """Return the output [T, B, D*H], the final states and what `back` needs."""
        spec, ends = self.spec, call.lengths
        T, B, _ = call.x.shape
        points = None
        if ends is not None:
            points = np.stack([np.full(B, spec.num_layers), ends], axis=1)
        outputs, finals, runs = [], [], []
        for d in range(spec.directions):
            back = spec.runs_back(d)
            inputs = (in_order(without_padding(call.x, ends), ends, back),)
            borders = ((None, None), of_direction(spec, call.state, d))
            whole = GridCall(inputs, borders, (spec.num_layers, T), B, points)
            own = [
                in_order(columns(spec, mask, d), ends, back) for mask in masks.between
            ]
            y, final, kept = run_layers(GridTwin(spec, self.weights, d), whole, own)
            outputs.append(in_order(y, ends, back))
            finals.append(final)
            runs.append(kept)
        cache = TimeDepthCache(tuple(runs), masks.between, ends, call.layout)
        return np.concatenate(outputs, axis=2), of_both(finals), cache

    def back(
        self,
        cache: TimeDepthCache,
        dy: Array | None,
        dstates: States | None,
        truncated: bool,  # noqa: ARG002 (an LSTM's)
        totals: Arrays | None = None,
    ) -> Gradients:
        """Return all gradients, from those of output and final states.

        Those of weights begin at the totals.
        """
        spec, ends, dweights = self.spec, cache.lengths, new_gradients(self.spec)
        dweights.update(totals or {})
        dinputs, dinitial = [], []
        for d in range(spec.directions):
            back = spec.runs_back(d)
            dh = None if dy is None else in_order(columns(spec, dy, d), ends, back)
            dends = ((dh, None), of_direction(spec, dstates, d))
            own = [
                in_order(columns(spec, mask, d), ends, back)
                for mask in cache.dropout_masks
            ]
            twin = GridTwin(spec, self.weights, d)
            dx, initial = back_layers(twin, cache.runs[d], dends, dweights, own)
            dinputs.append(in_order(dx, ends, back))
            dinitial.append(initial)
        dx = dinputs[0] if len(dinputs) == 1 else dinputs[0] + dinputs[1]
        return without_padding(dx, ends), of_both(dinitial), dweights


def run_layers(
    twin: GridTwin, whole: GridCall, masks: Sequence[Array]
) -> tuple[Array, Pair, tuple[GridCache, ...]]:
    """Run a grid at once or, where there are masks, layer by layer."""
    finals, caches = [], []
    below: Pair = (None, None)
    for layer in range(whole.sizes[DEPTH]) if masks else [None]:
        borders = (below, of_layer(whole.borders[TIME], layer))
        call = whole._replace(borders=borders)
        if layer is not None:
            inputs = () if layer else whole.inputs
            lengths = whole.lengths
            if lengths is not None:
                lengths = np.minimum(lengths, (1, whole.sizes[TIME]))
            sizes = (1, whole.sizes[TIME])
            call = call._replace(inputs=inputs, sizes=sizes, lengths=lengths)
        ends, cache = twin.forward(call, layer)
        finals.append(ends[TIME])
        caches.append(cache)
        y, m = cast(tuple[Array, Array | None], ends[DEPTH])
        if layer is not None and layer < len(masks):
            below = y * masks[layer], m
    return y, of_all(finals), tuple(caches)


def back_layers(
    twin: GridTwin,
    caches: Sequence[GridCache],
    dends: tuple[Pair, Pair],
    dweights: Arrays,
    masks: Sequence[Array],
) -> tuple[Array, Pair]:
    """Go back through `run_layers`: gradients of its input and initial states."""
    above, dfinal = dends
    dinitial: list[Pair] = []
    for layer in reversed(range(len(caches))) if masks else [None]:
        own = (above, of_layer(dfinal, layer))
        dinputs, dborders = twin.backward(caches[layer or 0], own, dweights, layer)
        dinitial.insert(0, dborders[TIME])
        if layer:
            dh, dm = cast(tuple[Array, Array | None], dborders[DEPTH])
            above = dh * masks[layer - 1], dm
    return dinputs[0], of_all(dinitial)


def without_padding(x: Array, lengths: Lengths | None) -> Array:
    """Return x [T, B, ...] with +0.0 past each row's length."""
    if lengths is None:
        return x
    mask = np.arange(len(x))[:, None] < lengths
    return np.where(mask[..., None], x, x.dtype.type(0))


def in_order(x: Array, lengths: Lengths | None, back: bool) -> Array:
    """Return x [T, B, ...]; rows turned round within their lengths if `back`."""
    turned = x.copy()
    for b in range(x.shape[1] if back else 0):
        n = len(x) if lengths is None else int(lengths[b])
        turned[:n, b] = x[:n, b][::-1]
    return turned


def columns(spec: GridConfig, y: Array, d: int) -> Array:
    """Return what belongs to a direction, [T, B, H] of [T, B, D*H]."""
    return y[..., d * spec.hidden_size : (d + 1) * spec.hidden_size]


def of_direction(spec: GridConfig, states: tuple[Array, ...] | None, d: int) -> Pair:
    """Return what belongs to a direction, [L, B, H] of [L*D, B, H]."""
    if states is None:
        return None, None
    h, m = (part[d :: spec.directions] for part in states)
    return h, m


def of_layer(states: Pair, layer: int | None) -> Pair:
    """Return what belongs to a layer, [1, B, H] of [L, B, H]; None for all layers."""
    if layer is None:
        return states
    h, m = (None if part is None else part[layer : layer + 1] for part in states)
    return h, m


def of_all(states: Sequence[Pair]) -> Pair:
    """Return the states [L, B, H] of layers that follow one another."""
    h, m = (np.concatenate(cast(Any, parts)) for parts in zip(*states, strict=True))
    return h, m


def of_both(states: Sequence[Pair]) -> tuple[Array, ...]:
    """Return the states [L*D, B, H] of the directions, [L, B, H] each."""
    found = []
    for parts in zip(*states, strict=True):
        both = np.stack(cast(Any, parts), axis=1)
        found.append(both.reshape(-1, *both.shape[2:]))
    return tuple(found)
