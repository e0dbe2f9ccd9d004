"""The executable definition of the layers, forward and back, in NumPy.

The kernels must give these bits (``NUMERICS_VERSION``).  Here is what a layer adds to
its directions: layers on top of each other, dropout between them, the caller's
layouts.  One layer in one direction, the time loop, is in ``sequence.py`` and
``sequence_backward.py``, over the blocks of ``direction.py``; the elementwise
mathematics of a step in ``cells/<name>.py``; sums of products and elementary functions
in ``arith.py``.  Grids are in ``grid.py`` and ``grid_layers.py``.  Masks and resets cut
a call into groups of episodes (``_run/episodes.py``), and each group is run as a call
of its own.

Letters: T time, B batch, I input, H hidden, O output, which is H but for cells that
project, G gates, D directions; x [T,B,I], h [T,B,O], W [G*H,I], R [G*H,O]; d in front:
gradient; a in front: pre-activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, overload

import numpy as np

from exactrnn._checks import (
    as_array,
    check_gradient_given,
    check_lengths,
    check_sequence,
    check_shape,
    describe,
    make_readable,
)
from exactrnn._run.episodes import (
    Episodes,
    Group,
    back_parts,
    directions_back,
    new_states,
)
from exactrnn._run.states import moved_clock, pack_state, take_gradient, take_state
from exactrnn._spec.grid import GridConfig
from exactrnn._spec.recurrent import Config
from exactrnn._system.mode import ieee_mode
from exactrnn.layers.grid import GridGradients
from exactrnn.reference.cells import CELLS
from exactrnn.reference.cells._cell import Array, Arrays
from exactrnn.reference.direction import Direction, Weights
from exactrnn.reference.grid_layers import (
    GridCache,
    TimeDepthCache,
    backward_grid,
    backward_layer,
    forward_grid,
    forward_layer,
)
from exactrnn.reference.sequence import DirectionCache, direction_forward
from exactrnn.reference.sequence_backward import direction_backward

if TYPE_CHECKING:
    from exactrnn._run.stack import Call, Stack
    from exactrnn.layers.grid import Border, GridLSTM
    from exactrnn.layers.time_depth import TimeDepthGridLSTM

State: TypeAlias = Array | tuple[Array, ...]


class Layer(Protocol):
    """What the reference asks of a layer: its configuration and copies of weights."""

    @property
    def _stack(self) -> Stack: ...

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
    batched : bool
        Whether the input had a batch axis.
    """

    directions: tuple[tuple[DirectionCache, ...], ...]
    dropout_masks: tuple[Array, ...]
    batched: bool


@dataclass(frozen=True)
class EpisodesCache:
    """What `forward` keeps of a call with holes or resets; see ``_run/episodes.py``.

    Parameters
    ----------
    runs : tuple of Cache or TimeDepthCache
        One of each group of episodes.
    episodes : exactrnn._episodes.Episodes
        Which steps are whose.
    batched : bool
        Whether the input had a batch axis.
    """

    runs: tuple[Any, ...]
    episodes: Episodes
    batched: bool


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
    dropout_masks: Sequence[Array] | None = None,
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
    dropout_masks: Sequence[Array] | None = None,
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
        is no dropout.
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
    config, weights = layer._stack.config, layer.state_dict()
    is_grid = isinstance(config, GridConfig)
    in_time = hasattr(config, "num_layers")
    refuse("sizes", sizes, is_grid and not in_time)
    for name, value in (("mask", mask), ("resets", resets)):
        refuse(name, value, in_time)
    refuse("dropout_masks", dropout_masks, in_time)
    if mask is not None or resets is not None:
        call = layer._begin(x, state, lengths, mask, resets)
        if call.episodes is not None:
            return forward_episodes(layer, call, dropout_masks)
        lengths = call.lengths
    if is_grid and in_time:
        return forward_layer(layer, x, state, lengths, dropout_masks or ())
    if is_grid:
        return forward_grid(layer, x, state, sizes, lengths)
    given = check_sequence(x, config.input_size, config.dtype, config.batch_first)
    batched = given.ndim == 3
    y = time_major(config, make_readable(given), batched)
    T, B, _ = y.shape
    ends = None if lengths is None else check_lengths(lengths, T, B, batched)
    states, clock = take_state(config, state, B, batched)

    last: list[tuple[Array, ...]] = []
    caches: list[tuple[DirectionCache, ...]] = []
    for depth in range(config.num_layers):
        if depth > 0 and dropout_masks is not None:
            y = y * dropout_masks[depth - 1]
        runs = []
        for d in range(config.directions):
            direction = layer_direction(config, weights, depth, d)
            row = depth * config.directions + d
            initial = states and tuple(part[row] for part in states)
            lower = caches[-1][d].state["c"] if direction.cell.takes_lower else None
            runs.append(direction_forward(direction, y, initial, ends, clock, lower))
        y = np.concatenate([run[0] for run in runs], axis=2)
        last += [run[1] for run in runs]
        caches.append(tuple(run[2] for run in runs))
    if clock is not None:
        clock = moved_clock(clock, T, ends)
    final = pack_state(stacked(last), clock, batched)
    cache = Cache(tuple(caches), tuple(dropout_masks or ()), batched)
    return caller_major(config, y, batched), final, cache


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
    config = layer._stack.config
    if isinstance(cache, EpisodesCache):
        return backward_episodes(layer, cache, dy, dstate, truncated)
    if isinstance(config, GridConfig):
        in_time = hasattr(config, "num_layers")
        refuse("dstate", dstate, in_time)
        refuse("truncated", truncated or None, False)
        if in_time:
            return Gradients(*backward_layer(layer, cache, dy, dstate))
        return GridGradients(*backward_grid(layer, cache, dy))
    check_gradient_given(dy, dstate)
    config, weights = layer._stack.config, layer.state_dict()
    D, O = config.directions, config.output_size
    T, B, _ = cache.directions[0][0].x.shape
    dout = None
    if dy is not None:
        given = make_readable(as_array("dy", dy, config.dtype))
        check_shape("dy", given, **output_sizes(config, T, B, cache.batched))
        dout = time_major(config, given, cache.batched)
    dstates = take_gradient(config, dstate, B, cache.batched)

    dinitial: list[tuple[Array, ...]] = []
    dweights: Arrays = {}
    dcells: list[Array | None] = [None] * D
    for depth in reversed(range(config.num_layers)):
        runs = []
        for d in range(D):
            dy_d = None if dout is None else dout[:, :, d * O : (d + 1) * O]
            final = dstates and tuple(part[depth * D + d] for part in dstates)
            run = direction_backward(
                cache.directions[depth][d],
                dy_d,
                final,
                dcells=dcells[d],
                truncated=truncated,
            )
            dweights |= config.user_gradients(weights, run.weights, depth, d)
            runs.append(run)
        dx = runs[0].x if D == 1 else runs[0].x + runs[1].x
        if depth > 0 and cache.dropout_masks:
            dx = dx * cache.dropout_masks[depth - 1]
        dinitial = [run.state for run in runs] + dinitial
        dcells = [run.lower for run in runs]
        dout = dx
    return Gradients(
        caller_major(config, dx, cache.batched),
        cast(State, pack_state(stacked(dinitial), None, cache.batched)),
        {name: dweights[name] for name in weights},
    )


def forward_episodes(
    layer: Any, call: Call, masks: Sequence[Array] | None
) -> tuple[Array, State, EpisodesCache]:
    """Compute what a layer does with the episodes of a call, one group by another."""
    config, episodes = layer._stack.config, cast(Episodes, call.episodes)
    back = directions_back(config)
    clocks: Any = [None] * len(episodes.groups)
    if call.clock is not None:
        clocks = episodes.clocks(call.clock, config.phase, back)
    final = new_states(config, episodes.rows)
    runs, outputs = [], []
    for group, clock in zip(episodes.groups, clocks, strict=True):
        begin = group.take(call.state, group.enters(back))
        if begin is None:
            begin = new_states(config, len(group.rows))
        y, end, cache = forward(
            layer,
            caller_major(config, group.gather(call.x), True),
            pack_state(begin, clock, True),
            lengths=group.lengths,
            dropout_masks=masks and [group.gather(mask) for mask in masks],
        )
        outputs.append(time_major(config, y, True))
        runs.append(cache)
        ends = end if isinstance(end, tuple) else (end,)
        group.give(ends[: len(final)], group.leaves(back), final)
    y = episodes.collect(outputs)
    moved = call.clock
    if moved is not None:
        moved = episodes.moved_clock(moved, config.phase, back)
    kept = EpisodesCache(tuple(runs), episodes, call.batched)
    return (
        caller_major(config, y, call.batched),
        cast(State, pack_state(final, moved, call.batched)),
        kept,
    )


def backward_episodes(
    layer: Any, cache: EpisodesCache, dy: object, dstate: object, truncated: bool
) -> Gradients:
    """Compute what a layer's `backward` does, one group by another."""
    check_gradient_given(dy, dstate)
    config, episodes, batched = layer._stack.config, cache.episodes, cache.batched
    dout = None
    if dy is not None:
        given = make_readable(as_array("dy", dy, config.dtype))
        sizes = output_sizes(config, episodes.steps, episodes.rows, batched)
        check_shape("dy", given, **sizes)
        dout = time_major(config, given, batched)

    def run_part(part: Any, group: Group, dends: tuple[Array, ...] | None) -> Any:
        own = None
        if dout is not None:
            own = caller_major(config, group.gather(dout), True)
        ends = None if dends is None else pack_state(dends, None, True)
        found = backward(layer, part, own, ends, truncated=truncated)
        state = found.state
        begins = state if isinstance(state, tuple) else (state,)
        return time_major(config, found.x, True), begins, found.weights

    dends = take_gradient(config, dstate, episodes.rows, batched)
    dx, dinitial, dweights = back_parts(config, cache, dends, run_part)
    return Gradients(
        caller_major(config, dx, batched),
        cast(State, pack_state(dinitial, None, batched)),
        dweights,
    )


def refuse(name: str, value: object, known: bool) -> None:
    """Raise if an argument is given to a layer that does not know it."""
    if value is not None and not known:
        got = describe(value)
        raise TypeError(f"{name}: expected None, as this layer has none, got {got}")


def layer_direction(
    config: Config, weights: Mapping[str, Array], depth: int, d: int
) -> Direction:
    """Return layer number `depth` in direction `d`: 0 forward, 1 reverse."""
    options = config.options_of(depth)
    return Direction(
        CELLS[config.cell_of(depth)].adapted(options),
        Weights.of(config.engine_weights(weights, depth, d)),
        config.activations_of(d),
        config.runs_back(d),
        config.clip,
        options,
    )


def output_sizes(config: Config, T: int, B: int, batched: bool) -> dict[str, int]:
    """Return the shape of the output in the caller's layout, by letter."""
    letter = f"D_{config.output_letter}"
    columns = {letter: config.directions * config.output_size}
    if not batched:
        return {"T": T} | columns
    return ({"B": B, "T": T} if config.batch_first else {"T": T, "B": B}) | columns


def time_major(config: Config, array: Array, batched: bool) -> Array:
    """From the caller's layout to [T, B, ...]."""
    if not batched:
        return array[:, None]
    return array.swapaxes(0, 1) if config.batch_first else array


def caller_major(config: Config, array: Array, batched: bool) -> Array:
    """From [T, B, ...] to the caller's layout."""
    if not batched:
        return array[:, 0]
    return array.swapaxes(0, 1) if config.batch_first else array


def stacked(runs: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Join the states of all layers and directions: [num_layers * D, B, ...] each."""
    return tuple(np.stack(parts) for parts in zip(*runs, strict=True))
