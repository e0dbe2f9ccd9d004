"""The executable definition of the layers, forward and back, in NumPy.

The kernels must give these bits (``NUMERICS_VERSION``).  Here is what a layer adds to
its directions: layers on top of each other, dropout between them, the caller's
layouts.  One layer in one direction, the time loop, is in ``_sequence.py``; the
elementwise mathematics of a step in ``cells/<name>.py``; sums of products and
elementary functions in ``_arith.py``.

Letters: T time, B batch, I input, H hidden, G gates, D directions; x [T,B,I],
h [T,B,H], W [G*H,I], R [G*H,H]; d in front: gradient; a in front: pre-activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from exactrnn._checks import (
    as_array,
    check_gradient_given,
    check_lengths,
    check_sequence,
    check_shape,
    check_state,
    make_readable,
)
from exactrnn._sequence import (
    Direction,
    DirectionCache,
    direction_backward,
    direction_forward,
)
from exactrnn.cells import CELLS
from exactrnn.cells._cell import Array, Arrays, Cell

State: TypeAlias = Array | tuple[Array, ...]

__all__ = [
    "Cache",
    "Direction",
    "DirectionCache",
    "Gradients",
    "backward",
    "direction_backward",
    "direction_forward",
    "forward",
]


class Layer(Protocol):
    """What the reference asks of a layer: its configuration and copies of weights."""

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    dtype: np.dtype[Any]
    activations: tuple[str, ...]

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


@np.errstate(all="ignore")
def forward(
    layer: Layer,
    x: object,
    state: object = None,
    *,
    lengths: object = None,
    dropout_masks: Sequence[Array] | None = None,
) -> tuple[Array, State, Cache]:
    """Compute what ``layer.forward`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        An `exactrnn.RNN`, `exactrnn.LSTM` or `exactrnn.GRU`.
    x : array_like
        Input [T, B, I]; [B, T, I] if the layer is ``batch_first``; or [T, I].
    state : array_like or tuple, optional
        ``h_0`` or ``(h_0, c_0)``, [num_layers * D, B, H], or [num_layers * D, H]
        without a batch; zeros by default.
    lengths : array_like, optional
        Integers 0 to T, [B].
    dropout_masks : sequence of Array, optional
        For each boundary between two layers the factors 0 or 1 / (1 - p),
        [T, B, D * H], time first also in a ``batch_first`` layer.  Without them there
        is no dropout.

    Returns
    -------
    y : Array
        Output, shaped like x but for its last axis, D * H.
    state : Array or tuple of Array
        Final states, shaped like the initial ones.
    cache : Cache
        For `backward`.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype.
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
    """
    cell, D = CELLS[layer.cell], 1 + layer.bidirectional
    given = check_sequence(x, layer.input_size, layer.dtype, layer.batch_first)
    batched = given.ndim == 3
    y = time_major(layer, make_readable(given), batched)
    T, B, _ = y.shape
    states = split_state(layer, "state", state, B, batched)
    ends = None if lengths is None else check_lengths(lengths, T, B, batched)

    last, caches = [], []
    for depth in range(layer.num_layers):
        if depth > 0 and dropout_masks is not None:
            y = y * dropout_masks[depth - 1]
        runs = []
        for d in range(D):
            initial = states and tuple(s[depth * D + d] for s in states)
            direction = layer_direction(layer, depth, d)
            runs.append(direction_forward(direction, y, initial, ends))
        y = np.concatenate([run[0] for run in runs], axis=2)
        last += [run[1] for run in runs]
        caches.append(tuple(run[2] for run in runs))
    cache = Cache(tuple(caches), tuple(dropout_masks or ()), batched)
    return caller_major(layer, y, batched), joined_state(cell, last, batched), cache


@np.errstate(all="ignore")
def backward(
    layer: Layer, cache: Cache, dy: object, dstate: object = None
) -> Gradients:
    """Compute what ``layer.backward`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        The layer that `forward` was given.
    cache : Cache
        From `forward`.
    dy : array_like or None
        Gradient of the output, shaped like it; None where the output is not used.
    dstate : array_like or tuple, optional
        Gradients of the final states, shaped like them; zeros by default.

    Returns
    -------
    Gradients
        Of the input, the initial state and all weights.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype.
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
    check_gradient_given(dy, dstate)
    cell, D, H = CELLS[layer.cell], 1 + layer.bidirectional, layer.hidden_size
    T, B, _ = cache.directions[0][0].x.shape
    dout = None
    if dy is not None:
        given = make_readable(as_array("dy", dy, layer.dtype))
        check_shape("dy", given, **output_sizes(layer, T, B, cache.batched))
        dout = time_major(layer, given, cache.batched)
    dstates = split_state(layer, "dstate", dstate, B, cache.batched)

    dinitial: list[tuple[Array, ...]] = []
    dweights: Arrays = {}
    for depth in reversed(range(layer.num_layers)):
        runs = []
        for d in range(D):
            dy_d = None if dout is None else dout[:, :, d * H : (d + 1) * H]
            final = dstates and tuple(s[depth * D + d] for s in dstates)
            run = direction_backward(cache.directions[depth][d], dy_d, final)
            pairs = zip(weight_names(depth, d), run[2], strict=True)
            dweights |= {name: dw for name, dw in pairs if dw is not None}
            runs.append(run)
        dx = runs[0][0] if D == 1 else runs[0][0] + runs[1][0]
        if depth > 0 and cache.dropout_masks:
            dx = dx * cache.dropout_masks[depth - 1]
        dinitial = [run[1] for run in runs] + dinitial
        dout = dx
    return Gradients(
        caller_major(layer, dx, cache.batched),
        joined_state(cell, dinitial, cache.batched),
        {name: dweights[name] for name in layer.state_dict()},
    )


def weight_names(depth: int, d: int) -> tuple[str, ...]:
    """Return the weights' names in layer `depth` and direction `d`, as in torch."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(f"{kind}_l{depth}" + "_reverse" * d for kind in kinds)


def layer_direction(layer: Layer, depth: int, d: int) -> Direction:
    """Return layer number `depth` in direction `d`: 0 forward, 1 reverse."""
    cell = CELLS[layer.cell]
    weights = layer.state_dict()
    w_ih, w_hh, b_ih, b_hh = weight_names(depth, d)
    biases = (weights.get(b_ih), weights.get(b_hh))
    return Direction(
        cell, (weights[w_ih], weights[w_hh], *biases), layer.activations, d == 1
    )


def output_sizes(layer: Layer, T: int, B: int, batched: bool) -> dict[str, int]:
    """Return the shape of the output in the caller's layout, by letter."""
    columns = {"D_H": (1 + layer.bidirectional) * layer.hidden_size}
    if not batched:
        return {"T": T} | columns
    return ({"B": B, "T": T} if layer.batch_first else {"T": T, "B": B}) | columns


def time_major(layer: Layer, array: Array, batched: bool) -> Array:
    """From the caller's layout to [T, B, ...]."""
    if not batched:
        return array[:, None]
    return array.swapaxes(0, 1) if layer.batch_first else array


def caller_major(layer: Layer, array: Array, batched: bool) -> Array:
    """From [T, B, ...] to the caller's layout."""
    if not batched:
        return array[:, 0]
    return array.swapaxes(0, 1) if layer.batch_first else array


def split_state(
    layer: Layer, name: str, state: object, B: int, batched: bool
) -> tuple[Array, ...] | None:
    """Return the arrays of a state, each [num_layers * D, B, H], or None for zeros."""
    if state is None:
        return None
    sizes = {"L_D": layer.num_layers * (1 + layer.bidirectional)}
    sizes |= {"B": B} if batched else {}
    sizes |= {"H": layer.hidden_size}
    states = len(CELLS[layer.cell].states)
    arrays = check_state(name, state, states, layer.dtype, sizes)
    return tuple(array if batched else array[:, None] for array in arrays)


def joined_state(cell: Cell, runs: list[tuple[Array, ...]], batched: bool) -> State:
    """Join the states of all layers and directions, in the caller's layout."""
    states = tuple(np.stack(parts) for parts in zip(*runs, strict=True))
    states = states if batched else tuple(array[:, 0] for array in states)
    return states if len(cell.states) > 1 else states[0]
