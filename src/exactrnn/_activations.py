"""The activations that a layer may choose from, with clipping, and their slopes.

    sigmoid       1 / (1 + exp(-a))           y * (1 - y)
    hard_sigmoid  0.2 * a + 0.5 in [0, 1]     0.2 inside, 0 at the limits and beyond
    tanh          tanh(a)                     1 - y*y
    relu          a where positive, else 0    1 where y > 0, else 0
    softsign      a / (1 + |a|)               (1 - |y|)^2
    identity      a                           1

A slope is computed from the value ``y``, which is what a cell keeps.  `clip` limits
``a`` to [-clip, clip] beforehand; the slope is then 0 where the limit was reached,
which ``y`` tells too.  NaN passes each of them.

Sources: hard_sigmoid as in Keras 2 and ONNX; softsign: J. Turian, J. Bergstra,
Y. Bengio, "Quadratic Features and Deep Architectures for Chunking", NAACL 2009.

Twin: ``csrc/kernels/activations.h``.
"""

from __future__ import annotations

import numpy as np

from exactrnn._arith import Array, clamp, fma, sigmoid, tanh

ACTIVATIONS = ("sigmoid", "hard_sigmoid", "tanh", "relu", "softsign", "identity")
"""Their names; a cell lists first what is its default."""


def default_first(name: str) -> tuple[str, ...]:
    """Return all activations, the one that is a cell's default first."""
    return (name, *(other for other in ACTIVATIONS if other != name))


def relu(a: Array) -> Array:
    """Return a where it is positive or NaN, else +0.0."""
    return np.where(a <= 0, a.dtype.type(0), a)


def unlimited(kind: str, a: Array) -> Array:
    """Return ``kind(a)``."""
    if kind == "sigmoid":
        return sigmoid(a)
    if kind == "tanh":
        return tanh(a)
    if kind == "relu":
        return relu(a)
    if kind == "hard_sigmoid":
        return clamp(fma(float(a.dtype.type(0.2)), a, 0.5), 0, 1)
    if kind == "softsign":
        y: Array = a / (1 + np.abs(a))
        return y
    return a


def unlimited_slope(kind: str, y: Array) -> Array:
    """Return the derivative of `kind` where its value is `y`."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    if kind == "sigmoid":
        return y * (1 - y)
    if kind == "tanh":
        return fma(-y, y, 1)
    if kind == "relu":
        return np.where(y > 0, one, zero)
    if kind == "hard_sigmoid":
        return np.where((y > 0) & (y < 1), y.dtype.type(0.2), zero)
    if kind == "softsign":
        t: Array = 1 - np.abs(y)
        return t * t
    return np.full_like(y, one)


def activate(kind: str, a: Array, clip: float | None = None) -> Array:
    """Return the activation of `a`, limited to +-`clip`.

    Parameters
    ----------
    kind : str
        One of `ACTIVATIONS`.
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
    """
    if clip is not None:
        a = clamp(a, -clip, clip)
    return unlimited(kind, a)


def slope(kind: str, y: Array, clip: float | None = None) -> Array:
    """Return the derivative of `activate` from its value.

    Parameters
    ----------
    kind : str
        One of `ACTIVATIONS`.
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
    steep = unlimited_slope(kind, y)
    if clip is None:
        return steep
    limit = np.full(1, clip, y.dtype)
    least, most = unlimited(kind, -limit), unlimited(kind, limit)
    return np.where((y <= least) | (y >= most), y.dtype.type(0), steep)
