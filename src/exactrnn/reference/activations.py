"""The activations that a layer may choose from, with clipping, and their slopes.

    sigmoid           1 / (1 + exp(-a))          y * (1 - y)
    hard_sigmoid      α*a + β in [0, 1]          α inside, 0 at the limits and beyond
    tanh              tanh(a)                    1 - y*y
    relu              a where positive, else 0   1 where y > 0, else 0
    softsign          a / (1 + |a|)              (1 - |y|)^2
    identity          a                          1
    leaky_relu        a where positive, else α*a           1 where y > 0, else α
    elu               a where positive, else α*(exp(a)-1)  1 where y > 0, else y + α
    softplus          log(1 + exp(a))            1 - exp(-y)
    scaled_tanh       α * tanh(β*a)              α * (1 - (y/α)^2) * β
    thresholded_relu  a where a > α, else 0      1 where y != 0, else 0
    affine            α*a + β                    α

A slope is computed from the value ``y``, which is what a cell keeps.  So of the
functions with two branches ``y`` must tell which one it was: α is at least 0 there;
scaled_tanh divides by its α, which is not 0.  `clip` limits ``a`` to [-clip, clip]
beforehand; the slope is then 0 where the limit was reached, which ``y`` tells too.  NaN
passes each of them.

Names and parameters are in ``_spec/activations.py``.

Sources: hard_sigmoid as in Keras 2 and ONNX; softsign: J. Turian, J. Bergstra,
Y. Bengio, "Quadratic Features and Deep Architectures for Chunking", NAACL 2009; from
leaky_relu on as ONNX defines them for its recurrent operators.

Twin: ``csrc/kernels/math/activations.h``, and ``activations.c`` there.
"""

from __future__ import annotations

import numpy as np

from exactrnn._spec.activations import Activation, with_parameters
from exactrnn.reference.arith import Array, clamp, expm1, fma, sigmoid, softplus, tanh


def _rounded_parameters(activation: Activation, a: Array) -> tuple[str, float, float]:
    """Return them with the parameters rounded to the dtype of `a`."""
    name, alpha, beta = with_parameters(activation)
    with np.errstate(under="ignore"):
        return name, float(a.dtype.type(alpha)), float(a.dtype.type(beta))


def relu(a: Array) -> Array:
    """Return a where it is positive or NaN, else +0.0."""
    return np.where(a <= 0, a.dtype.type(0), a)


def seldom_value(kind: str, a: Array, alpha: float, beta: float) -> Array:
    """Return ``kind(a)`` for one of the functions from leaky_relu on."""
    zero, is_low = a.dtype.type(0), a <= 0
    if kind == "leaky_relu":
        return np.where(is_low, alpha * a, a)
    if kind == "elu":
        return np.where(is_low, alpha * expm1(a), a)
    if kind == "softplus":
        return softplus(a)
    if kind == "scaled_tanh":
        return alpha * tanh(beta * a)
    if kind == "thresholded_relu":
        return np.where(a <= alpha, zero, a)
    return fma(alpha, a, beta)


def seldom_slope(kind: str, y: Array, alpha: float, beta: float) -> Array:
    """Return the derivative of one of them where its value is `y`."""
    zero, one, times = y.dtype.type(0), y.dtype.type(1), y.dtype.type(alpha)
    if kind == "leaky_relu":
        return np.where(y > 0, one, times)
    if kind == "elu":
        return np.where(y > 0, one, y + times)
    if kind == "softplus":
        return -expm1(-y)
    if kind == "scaled_tanh":
        t = y / times
        return (alpha * fma(-t, t, 1)) * beta
    if kind == "thresholded_relu":
        return np.where(y == 0, zero, one)
    return np.full_like(y, times)


def unlimited(activation: Activation, a: Array) -> Array:
    """Return the activation of `a`, without a clip."""
    kind, alpha, beta = _rounded_parameters(activation, a)
    if kind == "sigmoid":
        return sigmoid(a)
    if kind == "tanh":
        return tanh(a)
    if kind == "relu":
        return relu(a)
    if kind == "hard_sigmoid":
        return clamp(fma(alpha, a, beta), 0, 1)
    if kind == "softsign":
        y: Array = a / (1 + np.abs(a))
        return y
    if kind == "identity":
        return a
    return seldom_value(kind, a, alpha, beta)


def unlimited_slope(activation: Activation, y: Array) -> Array:
    """Return the derivative of `activation` where its value is `y`."""
    kind, alpha, beta = _rounded_parameters(activation, y)
    zero, one = y.dtype.type(0), y.dtype.type(1)
    if kind == "sigmoid":
        return y * (1 - y)
    if kind == "tanh":
        return fma(-y, y, 1)
    if kind == "relu":
        return np.where(y > 0, one, zero)
    if kind == "hard_sigmoid":
        return np.where((y > 0) & (y < 1), y.dtype.type(alpha), zero)
    if kind == "softsign":
        t: Array = 1 - np.abs(y)
        return t * t
    if kind == "identity":
        return np.full_like(y, one)
    return seldom_slope(kind, y, alpha, beta)


def inside_clip(
    activation: Activation, y: Array, steep: Array, clip: float | None
) -> Array:
    """Return `steep`, or 0 where the limit was reached."""
    if clip is None:
        return steep
    limit = np.full(1, clip, y.dtype)
    first, last = unlimited(activation, -limit), unlimited(activation, limit)
    least, most = (
        np.where(first < last, first, last),
        np.where(first > last, first, last),
    )
    return np.where((y <= least) | (y >= most), y.dtype.type(0), steep)


def activate(activation: Activation, a: Array, clip: float | None = None) -> Array:
    """Return the activation of `a`, limited to +-`clip`.

    Parameters
    ----------
    activation : str or tuple
        One of `ACTIVATIONS`, or such a name and its parameters.
    a : Array
        float32 or float64, of any shape.
    clip : float, optional
        Limit of the size of `a`, representable in its dtype; none by default.

    Returns
    -------
    Array
        Of the shape and dtype of `a`.

    Examples
    --------
    >>> import numpy as np
    >>> activate("softsign", np.array([-3.0, 1.0, 9.0]), clip=1.0)
    array([-0.5,  0.5,  0.5])
    >>> activate(("leaky_relu", 0.5), np.array([-3.0, 1.0]))
    array([-1.5,  1. ])
    """
    if clip is not None:
        a = clamp(a, -clip, clip)
    return unlimited(activation, a)


def slope(activation: Activation, y: Array, clip: float | None = None) -> Array:
    """Return the derivative of `activate` from its value.

    Parameters
    ----------
    activation : str or tuple
        As `activate` was given.
    y : Array
        What `activate` returned.
    clip : float, optional
        As `activate` was given.

    Returns
    -------
    Array
        Of the shape and dtype of `y`; 0 where the limit was reached.

    Examples
    --------
    >>> import numpy as np
    >>> slope("softsign", np.array([-0.5, 0.25, 0.5]), clip=1.0)
    array([0.    , 0.5625, 0.    ])
    """
    return inside_clip(activation, y, unlimited_slope(activation, y), clip)
