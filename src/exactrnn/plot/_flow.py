"""The size of an error on its way back through time, step by step, by the public calls.

A layer that runs in pieces, states handed on and gradients handed back, gives the same
bits as in one. Here a piece is one step, so every gradient between two steps is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._run.call import plain_state
from exactrnn._run.dropout import without_dropout
from exactrnn._system.mode import ieee_mode
from exactrnn.layers._recurrent import RecurrentLayer


@ieee_mode()
def gradient_norms(
    layer: RecurrentLayer[Any, Any],
    x: ArrayLike,
    dy: ArrayLike | None = None,
    *,
    state: Any = None,
    step: SupportsIndex | None = None,
) -> dict[str, Array]:
    """Return how large the gradient is with respect to the state between two steps.

    The loss L is given by its gradient `dy`, or is an error of norm 1 in the output of
    one step, the same in each of its units.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
        A stack in one direction, or one layer in two. It runs without dropout and is
        left as it is.
    x : array_like
        One sequence [T, I], of the layer's dtype.
    dy : array_like, optional
        Gradient of L with respect to the output [T, D*H].
    state : array_like or tuple of array_like, optional
        Initial state, as for an unbatched call of the layer; zeros by default.
    step : int, optional
        Without `dy`: the step of the error, 0 <= step < T. By default the one that a
        direction reads last.

    Returns
    -------
    dict of str to ndarray
        For each state, named ``"h_l0"``, ``"c_l0"``, ``"h_l0_reverse"``, the Euclidean
        norms [T], float64. Entry t belongs to the state that step t receives: it is the
        norm of the derivative of L by that state, over all the ways on which the state
        acts through step t. Entry 0 is that of the initial state (of a reverse
        direction: entry T-1). They have the unit of L over that of the state.

    Raises
    ------
    TypeError
        If `layer` is no layer, or something is not an array of its dtype.
    ValueError
        If the layer is bidirectional with several layers, a shape is wrong, there is no
        such step, or both `dy` and `step` are given.

    Notes
    -----
    It takes a call forward and a call backward for each step.

    Examples
    --------
    An error passes the cell state of an LSTM by the forget gate alone if R is zero:

    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LSTM(1, 1, seed=0)
    >>> layer.weight_hh_l0 = np.zeros((4, 1), "float32")
    >>> x = np.zeros((5, 1), "float32")
    >>> norms = xr.plot.gradient_norms(layer, x)["c_l0"]
    >>> f = layer.forward(x, gates=True)[2].gates["f_l0"][0, 0]
    >>> bool(np.allclose(norms[:-1] / norms[1:], f))
    True
    """
    _check_layer(layer)
    given = _checks.as_array("x", x, layer.dtype)
    if given.ndim != 2 or given.shape[1] != layer.input_size or len(given) == 0:
        raise _checks.shape_error("x", f"T>=1, I={layer.input_size}", given.shape)
    state = plain_state(layer._spec, given, state)
    steps, width, directions = len(given), layer.output_size, layer.num_directions
    if dy is not None and step is not None:
        raise ValueError("step: expected None beside dy, got both")
    errors = np.zeros((steps, directions * width), layer.dtype)
    if dy is not None:
        errors = _checks.as_array("dy", dy, layer.dtype)
        _checks.check_shape("dy", errors, T=steps, D_H=directions * width)
    elif step is not None:
        errors[check_index("step", step, steps, "T")] = 1 / np.sqrt(width)
    else:
        for d in range(directions):
            last = 0 if _runs_back(layer, d) else -1
            errors[last, d * width : (d + 1) * width] = 1 / np.sqrt(width)
    norms: dict[str, Array] = {}
    for d in range(directions):
        order = slice(None, None, -1 if _runs_back(layer, d) else 1)
        own = errors[order, d * width : (d + 1) * width]
        part = _one_direction(layer, d)
        begin = _one_state(state, d) if layer.bidirectional else state
        found = np.array(list(_walk_back(part, given[order], own, begin)))[::-1]
        for k, name in enumerate(layer.state_names):
            for depth in range(layer.num_layers):
                suffix = f"_l{depth}" + "_reverse" * d
                norms[name + suffix] = found[order, k, depth]
    return norms


def check_index(name: str, value: object, count: int, letter: str) -> int:
    """Return `value` as an index from 0."""
    index = _checks.check_integer(name, value)
    if not 0 <= index < count:
        wanted = f"0 <= {name} < {letter}={count}"
        raise ValueError(f"{name}: expected {wanted}, got {index}")
    return index


def _check_layer(layer: object) -> None:
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer: expected a layer, got {_checks.describe(layer)}")
    if layer.bidirectional and layer.num_layers > 1:
        raise ValueError(
            "layer: expected one direction or one layer, "
            f"got bidirectional=True and num_layers={layer.num_layers}"
        )


def _runs_back(layer: RecurrentLayer[Any, Any], d: int) -> bool:
    """Tell whether direction d reads the steps from the last to the first."""
    return layer.reverse or d == 1


def _one_direction(layer: RecurrentLayer[Any, Any], d: int) -> RecurrentLayer[Any, Any]:
    """Return a layer that runs forward with the weights of direction d."""
    arguments = layer.arguments()
    plain = {"bidirectional": False, "reverse": False, "dropout": 0.0}
    plain |= {"recurrent_dropout": 0.0}
    arguments |= {name: plain[name] for name in plain if name in arguments}
    weights = {
        name.removesuffix("_reverse"): weight
        for name, weight in layer.state_dict().items()
        if name.endswith("_reverse") == bool(d)
    }
    return type(layer).restore(arguments, weights)


def _one_state(state: Any, d: int) -> Any:
    """Return the part of direction d; a clock has no directions."""
    if isinstance(state, tuple | list):
        return tuple(_one_state(part, d) for part in state)
    if state is None:
        return None
    array = np.asarray(state)
    return array[d : d + 1] if array.ndim else array


def _walk_back(
    layer: RecurrentLayer[Any, Any], x: Array, errors: Array, state: Any
) -> Iterator[list[Array]]:
    """Yield the norms [L] of the gradient by each state, from the last step back."""
    caches = []
    with without_dropout():
        for t in range(len(x)):
            _, state, cache = layer.forward(x[t : t + 1], state)
            caches.append(cache)
    dstate = None
    for t in reversed(range(len(x))):
        dstate = layer.backward(caches[t], errors[t : t + 1], dstate).state
        parts = dstate if isinstance(dstate, tuple) else (dstate,)
        squares = [np.square(part, dtype=np.float64) for part in parts]
        yield [np.sqrt(square.sum(axis=-1)) for square in squares]
