"""One step of a layer, forward and back, by the definition; ``_run/steps.py``.

A step is a call of one step of the layer's twin (``layers.py``).  Going back, the long
sums of the gradients of weights begin at the totals of the steps before (contract N3).
"""

from __future__ import annotations

from typing import cast

from exactrnn._checks import check_gradient_given
from exactrnn._run import steps
from exactrnn._run.call import final_state
from exactrnn._run.call import take_gradient as output_gradient
from exactrnn._run.states import pack_state, take_gradient
from exactrnn._system.mode import ieee_mode
from exactrnn.reference.cells._cell import Array, Arrays
from exactrnn.reference.grid_layers import TimeDepthCache
from exactrnn.reference.layers import Cache, Gradients, Layer, State, twin_of
from exactrnn.reference.masks import Masks


@ieee_mode()
def step(
    layer: Layer, x: object, state: object = None
) -> tuple[Array, State, Cache | TimeDepthCache]:
    """Compute what ``layer.step`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        Any recurrent layer of the library that `exactrnn` can step.
    x : array_like
        Input [B, I] or [I].
    state : array_like or tuple, optional
        As in `forward`; zeros by default.

    Returns
    -------
    y : Array
        Output [B, O] or [O].
    state : Array or tuple of Array
        The next state.
    cache : Cache
        For `step_back`.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype.
    ValueError
        An array has the wrong shape.
    """
    call = steps.begin(layer._spec, x, state)
    y, final, cache = twin_of(layer).run(call, Masks())
    return call.layout.outward(y), final_state(layer._spec, call, final), cache


@ieee_mode()
def step_back(
    layer: Layer,
    cache: Cache | TimeDepthCache,
    dy: object,
    dstate: object = None,
    weights: Arrays | None = None,
    *,
    truncated: bool = False,
) -> Gradients:
    """Compute what ``layer.step_back`` does, from the definition, to the same bits.

    Parameters
    ----------
    layer : Layer
        The layer that `step` was given.
    cache : Cache
        From `step`.
    dy : array_like or None
        Gradient of the output, shaped like it; None where the output is not used.
    dstate : array_like or tuple, optional
        Gradients of the next state, shaped like it; zeros by default.
    weights : dict, optional
        The gradients of the weights so far, which are left as they are; zeros by
        default.
    truncated : bool
        Whether errors go back in time along the cell state alone (LSTM).

    Returns
    -------
    Gradients
        Of the input, the state and all weights; the last begin at those so far.

    Raises
    ------
    TypeError
        An array is not of the layer's dtype.
    ValueError
        An array or a name is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> gru = xr.GRU(3, 4, seed=0)
    >>> y, h, cache = xr.reference.step(gru, np.ones((2, 3), np.float32))
    >>> once = xr.reference.step_back(gru, cache, np.ones_like(y))
    >>> twice = xr.reference.step_back(gru, cache, np.ones_like(y), None, once.weights)
    >>> bool((twice.weights["bias_ih_l0"] == 2 * once.weights["bias_ih_l0"]).all())
    True
    """
    spec = layer._spec
    check_gradient_given(dy, dstate)
    (T, B), twin = cache.shape, twin_of(layer)
    dout = output_gradient(spec, cache.layout, dy, T, B)
    dstates = take_gradient(spec, dstate, B, cache.layout)
    totals = None if weights is None else steps.take_totals(spec, weights, ())
    dx, dinitial, dweights = twin.back(cache, dout, dstates, truncated, totals)
    return Gradients(
        cache.layout.outward(dx),
        cast(State, pack_state(dinitial, None, cache.layout)),
        {name: dweights[name] for name in spec.weight_shapes},
    )
