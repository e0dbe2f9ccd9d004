"""The executable definition of the layers, forward and back, in NumPy.

The kernels must give these bits (``NUMERICS_VERSION``).  Here is what a layer adds to
its directions: layers on top of each other and dropout between them.  One layer in one
direction, the time loop, is in ``sequence.py`` and ``sequence_backward.py``, over the
blocks of ``direction.py``; the elementwise mathematics of a step in
``cells/<name>.py``; sums of products and elementary functions in ``arith.py``.  Grids
are in ``grid.py`` and ``grid_layers.py``.  Masks and resets cut a call into groups of
episodes (``_run/episodes.py``), and each group is run as a call of its own.

Letters: T time, B batch, I input, H hidden, O output, which is H but for cells that
project, G gates, D directions; x [T,B,I], h [T,B,O], W [G*H,I], R [G*H,O]; d in front:
gradient; a in front: pre-activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, overload

import numpy as np

from exactrnn._checks import check_gradient_given, describe
from exactrnn._run.call import begin, final_state
from exactrnn._run.call import take_gradient as output_gradient
from exactrnn._run.episode_runs import (
    back_parts,
    clocked,
    directions_back,
    new_states,
)
from exactrnn._run.episodes import Episodes, Group
from exactrnn._run.layout import Layout
from exactrnn._run.protocol import Call, States
from exactrnn._run.protocol import Gradients as Triple
from exactrnn._run.states import pack_state, take_gradient
from exactrnn._spec.grid import GridConfig
from exactrnn._spec.recurrent import LEAK_ROLE, SCALAR_ROLE, Config
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._spec.time_depth import TimeDepthConfig
from exactrnn._system.mode import ieee_mode
from exactrnn.layers.grid import GridGradients
from exactrnn.reference.cells import CELLS
from exactrnn.reference.cells._cell import Array, Arrays
from exactrnn.reference.direction import Direction, Weights
from exactrnn.reference.grid_layers import (
    GridCache,
    TimeDepthCache,
    TimeDepthTwin,
    backward_grid,
    forward_grid,
)
from exactrnn.reference.masks import Masks, masks_of
from exactrnn.reference.sequence import DirectionCache, direction_forward
from exactrnn.reference.sequence_backward import direction_backward

if TYPE_CHECKING:
    from exactrnn.layers.grid import Border, GridLSTM
    from exactrnn.layers.time_depth import TimeDepthGridLSTM

State: TypeAlias = Array | tuple[Array, ...]


class Layer(Protocol):
    """What the reference asks of a layer: what it is, and copies of its weights."""

    @property
    def _spec(self) -> Any: ...

    def state_dict(self) -> Mapping[str, Array]:
        """Weights by name, copied."""
        ...


@dataclass(frozen=True)
class Cache:
    """What `forward` keeps for `backward`.

    Parameters
    ----------
    directions : tuple of tuple of DirectionCache
        By layer, then by direction, forward first; time-major, batched.
    dropout_masks : tuple of Array
        The masks between the layers; empty where there was no dropout.
    layout : exactrnn._run.layout.Layout
        The caller's.
    """

    directions: tuple[tuple[DirectionCache, ...], ...]
    dropout_masks: tuple[Array, ...]
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        T, B, _ = self.directions[0][0].x.shape
        return T, B


@dataclass(frozen=True)
class EpisodesCache:
    """What `forward` keeps of a call with holes or resets; see ``_run/episodes.py``.

    Parameters
    ----------
    runs : tuple of Cache or TimeDepthCache
        One of each group of episodes.
    episodes : exactrnn._run.episodes.Episodes
        Which steps are whose.
    layout : exactrnn._run.layout.Layout
        The caller's.
    """

    runs: tuple[Any, ...]
    episodes: Episodes
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        return self.episodes.steps, self.episodes.rows


@dataclass(frozen=True)
class Gradients:
    """Gradients of a scalar with respect to what `forward` was given.

    Parameters
    ----------
    x : Array
        With the shape of the input.
    state : Array or tuple of Array
        With the shape of the initial state, also where none was given.
    weights : dict
        By the names of ``state_dict``.
    """

    x: Array
    state: State
    weights: Arrays


@overload
def forward(
    layer: GridLSTM,
    x: object = None,
    state: object = None,
    *,
    lengths: object = None,
    sizes: object = None,
) -> tuple[tuple[Border, ...], GridCache]: ...


@overload
def forward(
    layer: TimeDepthGridLSTM,
    x: object,
    state: object = None,
    *,
    lengths: object = None,
    mask: object = None,
    resets: object = None,
    dropout_masks: Sequence[Array] | None = None,
) -> tuple[Array, State, TimeDepthCache | EpisodesCache]: ...


@overload
def forward(
    layer: Layer,
    x: object,
    state: object = None,
    *,
    lengths: object = None,
    mask: object = None,
    resets: object = None,
    dropout_masks: Sequence[Array] | Mapping[str, Any] | None = None,
) -> tuple[Array, State, Cache | EpisodesCache]: ...


@ieee_mode()
def forward(
    layer: Any,
    x: object = None,
    state: object = None,
    *,
    lengths: object = None,
    mask: object = None,
    resets: object = None,
    dropout_masks: Sequence[Array] | Mapping[str, Any] | None = None,
    sizes: object = None,
) -> Any:
    """Compute what ``layer.forward`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        Any recurrent layer of the library, as `exactrnn.LSTM`, or a grid.
    x : array_like
        Input [T, B, I]; [B, T, I] if the layer is ``batch_first``; or [T, I].  What a
        `GridLSTM` takes.
    state : array_like or tuple, optional
        ``h_0`` [num_layers * D, B, O], or what the layer takes as its state, as
        ``(h_0, c_0)``; without a batch [num_layers * D, O].  The borders of a
        `GridLSTM`.  Zeros by default.
    lengths : array_like, optional
        Integers 0 to T, [B]; [B, N] for a `GridLSTM`.
    mask, resets : array_like of bool, optional
        Which steps there are, and before which a row starts anew: [T, B], as the layer
        takes them; not for a `GridLSTM`.
    dropout_masks : sequence of Array, optional
        For each boundary between two layers the factors 0 or 1 / (1 - p),
        [T, B, D * O], time first also in a ``batch_first`` layer.  Without them there
        is no dropout.  Or a mapping: the masks of recurrent dropout and zoneout, as
        ``cache.state_masks`` of the layer's ``forward`` has them, and under
        ``"between"`` those factors.  Without them the mean of zoneout is computed.
    sizes : sequence of int or None, optional
        As a `GridLSTM` takes them; for no other layer.

    Returns
    -------
    y : Array
        Output, shaped like x but for its last axis, D * O.
    state : Array or tuple of Array
        Final states, shaped like the initial ones.
    cache : Cache
        For `backward`.  Of a `GridLSTM` the far borders and the cache are returned, as
        by the layer.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype, or the layer has no such option.
    ValueError
        An array has the wrong shape, or a length is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> lstm = xr.LSTM(3, 4, seed=0)
    >>> x = np.linspace(-1, 1, 15, dtype="float32").reshape(5, 1, 3)
    >>> y, (h, c) = lstm(x)
    >>> y_reference, _, cache = xr.reference.forward(lstm, x)
    >>> np.array_equal(y.view("uint32"), y_reference.view("uint32"))
    True

    A grid returns what the layer returns:

    >>> grid = xr.GridLSTM(3, 4, sizes=(None, 2), seed=0)
    >>> (time_h, time_m), (depth_h, depth_m) = grid(x)
    >>> _, (h, m) = xr.reference.forward(grid, x)[0]
    >>> h.tobytes() == depth_h.tobytes()
    True
    """
    spec = layer._spec
    in_time = is_in_time(spec)
    refuse("sizes", sizes, not in_time)
    for name, value in (("mask", mask), ("resets", resets)):
        refuse(name, value, in_time)
    refuse("dropout_masks", dropout_masks, in_time)
    if not in_time:
        return forward_grid(layer, x, state, sizes, lengths)
    call = begin(spec, x, state, lengths, mask, resets)
    twin = twin_of(layer)
    masks = Masks.of(dropout_masks or ())
    if call.episodes is not None:
        y, final, cache = run_episodes(twin, call, call.episodes, masks)
    else:
        y, final, cache = twin.run(call, masks)
    return call.layout.outward(y), final_state(spec, call, final), cache


@overload
def backward(layer: GridLSTM, cache: GridCache, dy: object) -> GridGradients: ...


@overload
def backward(
    layer: Layer,
    cache: Cache | TimeDepthCache | EpisodesCache,
    dy: object,
    dstate: object = None,
    *,
    truncated: bool = False,
) -> Gradients: ...


@ieee_mode()
def backward(
    layer: Any,
    cache: Any,
    dy: object,
    dstate: object = None,
    *,
    truncated: bool = False,
) -> Any:
    """Compute what ``layer.backward`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        The layer that `forward` was given.
    cache : Cache
        From `forward`.
    dy : array_like or None
        Gradient of the output, shaped like it; None where the output is not used.  Of
        a `GridLSTM` the gradients of its far borders.
    dstate : array_like or tuple, optional
        Gradients of the final states, shaped like them; zeros by default.
    truncated : bool
        Whether errors go back in time along the cell state alone (LSTM).

    Returns
    -------
    Gradients
        Of the input, the initial state and all weights; a `GridLSTM` has
        `GridGradients`, as from its own `backward`.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype, or the layer has no such option.
    ValueError
        An array has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> gru = xr.GRU(3, 4, seed=0)
    >>> x = np.linspace(-1, 1, 15, dtype="float32").reshape(5, 1, 3)
    >>> y, h, cache = xr.reference.forward(gru, x)
    >>> grads = xr.reference.backward(gru, cache, np.ones_like(y))
    >>> grads.weights["weight_hh_l0"].shape
    (12, 4)
    """
    spec = layer._spec
    refuse("dstate", dstate, is_in_time(spec))
    refuse("truncated", truncated or None, not isinstance(spec, GridConfig))
    if not is_in_time(spec):
        return GridGradients(*backward_grid(layer, cache, dy))
    check_gradient_given(dy, dstate)
    (T, B), twin = cache.shape, twin_of(layer)
    dout = output_gradient(spec, cache.layout, dy, T, B)
    dstates = take_gradient(spec, dstate, B, cache.layout)
    back = back_episodes if isinstance(cache, EpisodesCache) else type(twin).back
    dx, dinitial, dweights = back(twin, cache, dout, dstates, truncated)
    return Gradients(
        cache.layout.outward(dx),
        cast(State, pack_state(dinitial, None, cache.layout)),
        {name: dweights[name] for name in spec.weight_shapes},
    )


# What runs a layer in time


class Twin(Protocol):
    """What runs a layer, by the definition: time-major, without episodes."""

    @property
    def spec(self) -> SequenceSpec:
        """What the layer is."""

    def run(self, call: Call, masks: Masks) -> tuple[Array, States, Any]:
        """Return the output [T, B, D*O], the final states and what `back` needs."""

    def back(
        self,
        cache: Any,
        dy: Array | None,
        dstates: States | None,
        truncated: bool,
        totals: Arrays | None = None,
    ) -> Triple:
        """Return all gradients, from those of output and final states.

        Those of weights begin at the totals.
        """


def twin_of(layer: Any) -> Twin:
    """Return what runs a layer with its weights as they are."""
    spec, weights = layer._spec, layer.state_dict()
    if isinstance(spec, TimeDepthConfig):
        return TimeDepthTwin(spec, weights)
    return StackTwin(spec, weights)


def is_in_time(spec: object) -> bool:
    """Tell whether a layer reads sequences: all do but grids of N dimensions."""
    return isinstance(spec, TimeDepthConfig) or not isinstance(spec, GridConfig)


@dataclass(frozen=True)
class StackTwin:
    """What runs layers on top of each other, by the definition."""

    spec: Config
    weights: Arrays

    def run(self, call: Call, masks: Masks) -> tuple[Array, States, Cache]:
        """Return the output [T, B, D*O], the final states and what `back` needs."""
        spec, y, states = self.spec, call.x, call.state
        last: list[States] = []
        caches: list[tuple[DirectionCache, ...]] = []
        for depth in range(spec.num_layers):
            if depth > 0 and masks.between:
                y = y * masks.between[depth - 1]
            runs = []
            for d in range(spec.directions):
                direction = self.direction(depth, d)
                row = depth * spec.directions + d
                initial = states and tuple(part[row] for part in states)
                lower = caches[-1][d].state["c"] if direction.cell.takes_lower else None
                runs.append(
                    direction_forward(
                        direction,
                        y,
                        initial,
                        call.lengths,
                        call.clock,
                        lower,
                        masks_of(masks.states, spec.suffix(depth, d)),
                    )
                )
            y = np.concatenate([run[0] for run in runs], axis=2)
            last += [run[1] for run in runs]
            caches.append(tuple(run[2] for run in runs))
        return y, stacked(last), Cache(tuple(caches), masks.between, call.layout)

    def back(
        self,
        cache: Cache,
        dy: Array | None,
        dstates: States | None,
        truncated: bool,
        totals: Arrays | None = None,
    ) -> Triple:
        """Return all gradients, from those of output and final states.

        Those of weights begin at the totals.
        """
        spec, D, O = self.spec, self.spec.directions, self.spec.output_size
        dout, dinitial, dweights = dy, list[States](), Arrays()
        dcells: list[Array | None] = [None] * D
        for depth in reversed(range(spec.num_layers)):
            runs = []
            for d in range(D):
                dy_d = None if dout is None else dout[:, :, d * O : (d + 1) * O]
                final = dstates and tuple(part[depth * D + d] for part in dstates)
                run = direction_backward(
                    cache.directions[depth][d],
                    dy_d,
                    final,
                    self.begun(totals, depth, d),
                    dcells=dcells[d],
                    truncated=truncated,
                )
                found = spec.user_gradients(self.weights, run.weights, depth, d)
                dweights |= self.with_others(totals, found, depth, d)
                runs.append(run)
            dx = runs[0].x if D == 1 else runs[0].x + runs[1].x
            if depth > 0 and cache.dropout_masks:
                dx = dx * cache.dropout_masks[depth - 1]
            dinitial = [run.state for run in runs] + dinitial
            dcells = [run.lower for run in runs]
            dout = dx
        return dx, stacked(dinitial), dweights

    def begun(self, totals: Arrays | None, depth: int, d: int) -> Weights | None:
        """Return where the gradients of one layer and direction begin, by role."""
        if totals is None:
            return None
        parts = list(self.spec.engine_totals(totals, depth, d))
        if self.spec.leak is not None:
            parts[LEAK_ROLE] = np.zeros((1, self.spec.hidden_size), self.spec.dtype)
        return Weights.of(parts)

    def with_others(
        self, totals: Arrays | None, found: Arrays, depth: int, d: int
    ) -> Arrays:
        """Return what is found, with what began at zero added to its total.

        That are the gradients of a learned leak and of scalars.
        """
        names, spec = self.spec.weight_groups[depth][d], self.spec
        role = SCALAR_ROLE if spec.has_scalars else LEAK_ROLE
        name = names[role]
        apart = spec.has_scalars or spec.leak is not None
        if totals is None or not apart or name is None:
            return found
        return found | {name: totals[name] + found[name]}

    def direction(self, depth: int, d: int) -> Direction:
        """Return layer number `depth` in direction `d`: 0 forward, 1 reverse."""
        spec, options = self.spec, self.spec.options_of(depth)
        return Direction(
            CELLS[spec.cell_of(depth)].adapted(options),
            Weights.of(spec.engine_weights(self.weights, depth, d)),
            spec.activations_of(d),
            spec.runs_back(d),
            spec.clip,
            options,
        )


def stacked(runs: list[States]) -> States:
    """Join the states of all layers and directions: [num_layers * D, B, ...] each."""
    return tuple(np.stack(parts) for parts in zip(*runs, strict=True))


# Episodes


def run_episodes(
    twin: Twin, call: Call, episodes: Episodes, masks: Masks
) -> tuple[Array, States, EpisodesCache]:
    """Do what `Twin.run` does with the episodes of a call, one group by another."""
    back, final = directions_back(twin.spec), new_states(twin.spec, episodes.rows)
    runs, outputs = [], []
    for group, clock in clocked(twin.spec, episodes, call.clock):
        state = group.take(call.state, group.enters(back))
        part = Call(group.gather(call.x), state, group.lengths, clock)
        y, ends, cache = twin.run(part, masks.gather(group))
        outputs.append(y)
        runs.append(cache)
        group.give(ends, group.leaves(back), final)
    kept = EpisodesCache(tuple(runs), episodes, call.layout)
    return episodes.collect(outputs), final, kept


def back_episodes(
    twin: Twin,
    cache: EpisodesCache,
    dy: Array | None,
    dstates: States | None,
    truncated: bool,
) -> Triple:
    """Do what `Twin.back` does, one group by another."""

    def run_part(part: Any, group: Group, dends: States | None) -> Triple:
        own = None if dy is None else group.gather(dy)
        return twin.back(part, own, dends, truncated)

    return back_parts(twin.spec, cache.episodes, cache.runs, dstates, run_part)


def refuse(name: str, value: object, known: bool) -> None:
    """Raise if an argument is given to a layer that does not know it."""
    if value is not None and not known:
        got = describe(value)
        raise TypeError(f"{name}: expected None, as this layer has none, got {got}")
