"""Losses of numbers: absolute, Huber, quantile, and two likelihoods (contract N9).

As every loss, each returns its value and the gradient at its first argument. All are
elementwise N2 operations and N4 functions in the order that the docstrings write down;
the mean, ``lengths`` and ``weights`` are those of ``_counted.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrnn._checks import Array
from exactrnn._checks.arrays import check_floats
from exactrnn._checks.limits import shorten
from exactrnn._checks.numbers import check_real
from exactrnn._numeric.random import elementary
from exactrnn._system.mode import ieee_mode
from exactrnn.train._counted import count, mean

__all__ = [
    "binary_cross_entropy",
    "gaussian_likelihood",
    "huber_loss",
    "mean_absolute_error",
    "quantile_loss",
]

HALF_LOG_2_PI = 0.9189385332046727


@ieee_mode()
def mean_absolute_error(
    y: ArrayLike,
    target: ArrayLike,
    *,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Mean of the absolute differences, and its gradient at `y`.

    With ``d = y - target`` the loss of an element is ``|d|``, its slope the sign of
    ``d``, 0 for 0.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.
    lengths, weights, batch_first
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
    dy : ndarray
        Gradient with respect to `y`, of its shape and dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> y, target = np.array([1.0, 2.0]), np.array([1.0, 4.0])
    >>> xr.train.mean_absolute_error(y, target)
    (1.0, array([ 0. , -0.5]))
    """
    output, wanted = _check_pair(y, target)
    d = np.asarray(output - wanted)
    counted = count(d, lengths, weights, batch_first=batch_first)
    return mean(np.abs(d), np.sign(d), counted)


@ieee_mode()
def huber_loss(
    y: ArrayLike,
    target: ArrayLike,
    *,
    delta: float = 1.0,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Squares near the target, absolute differences far from it (P. Huber, 1964).

    With ``d = y - target`` and ``a = |d|`` the loss of an element is ``(d*d) * 0.5``
    where ``a <= delta`` and ``(a - 0.5*delta) * delta`` elsewhere, as in
    ``torch.nn.HuberLoss``; its slope is ``d`` within ``±delta``.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.
    delta : float
        Where squares end, above 0.
    lengths, weights, batch_first
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
    dy : ndarray
        Gradient with respect to `y`, of its shape and dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`, and if `delta` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> xr.train.huber_loss(np.array([1.0, 5.0]), np.array([0.0, 1.0]))
    (2.0, array([0.5, 0.5]))
    """
    output, wanted = _check_pair(y, target)
    limit = output.dtype.type(check_real("delta", delta, 0.0, open_below=True))
    half = output.dtype.type(0.5)
    d = np.asarray(output - wanted)
    a = np.abs(d)
    losses = np.where(a <= limit, d * d * half, (a - half * limit) * limit)
    slopes = np.where(a <= limit, d, np.sign(d) * limit)
    return mean(losses, slopes, count(d, lengths, weights, batch_first=batch_first))


@ieee_mode()
def quantile_loss(
    y: ArrayLike,
    target: ArrayLike,
    *,
    quantiles: Sequence[float] = (0.5,),
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """The pinball loss, least where `y` are quantiles (R. Koenker, G. Bassett, 1978).

    With ``d = target - y`` the loss for the quantile ``q`` is ``d * q`` where ``d`` is
    positive and ``d * (q - 1)`` elsewhere; its slope is ``-q``, ``1 - q``, or 0 for a
    difference of 0.

    Parameters
    ----------
    y : array_like, ``[..., Q]``
        An output for each quantile, float32 or float64.
    target : array_like, ``[...]``
        What came.
    quantiles : sequence of Q floats
        Each above 0 and below 1.
    lengths, weights, batch_first
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
    dy : ndarray, ``[..., Q]``
        Gradient with respect to `y`.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`, and if a quantile is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> y, target = np.array([[1.0, 3.0]]), np.array([2.0])
    >>> xr.train.quantile_loss(y, target, quantiles=(0.25, 0.75))
    (0.25, array([[-0.125,  0.125]]))
    """
    output = check_floats("y", y)
    shares = _check_quantiles(quantiles)
    if output.ndim == 0 or output.shape[-1] != len(shares):
        got = shorten(output.shape)
        raise ValueError(f"y: expected [..., Q={len(shares)}], got {got}")
    wanted = check_floats("target", target, output.dtype, output.shape[:-1])
    q = np.array(shares, output.dtype)
    rest = np.array([share - 1.0 for share in shares], output.dtype)
    d = wanted[..., None] - output
    losses = np.where(d > 0, d * q, d * rest)
    slopes = np.where(d > 0, -q, np.where(d < 0, -rest, d))
    return mean(losses, slopes, count(d, lengths, weights, batch_first=batch_first))


@ieee_mode()
def gaussian_likelihood(
    y: ArrayLike,
    target: ArrayLike,
    *,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Minus the mean log-likelihood of `target` under normal distributions, in nats.

    Of the last axis of `y` the first half are means ``m``, the second the logarithms
    ``v`` of variances. With ``d = m - target`` and ``p = exp(-v)`` the loss of a number
    is ``((d*d*p + v) * 0.5) + log(2π)/2``, the slopes are ``d * p`` and
    ``(1 - d*d*p) * 0.5``.

    Parameters
    ----------
    y : array_like, ``[..., 2 O]``
        Means, then logarithms of variances, float32 or float64.
    target : array_like, ``[..., O]``
        What came.
    lengths, weights, batch_first
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
    dy : ndarray, ``[..., 2 O]``
        Gradient with respect to `y`.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> loss, dy = xr.train.gaussian_likelihood(np.array([[1.0, 0.0]]), np.ones((1, 1)))
    >>> round(loss, 6), dy.tolist()
    (0.918939, [[0.0, 0.5]])
    """
    output = check_floats("y", y)
    if output.ndim == 0 or output.shape[-1] % 2:
        got = shorten(output.shape)
        raise ValueError(f"y: expected [..., 2 O], means and log-variances, got {got}")
    O = output.shape[-1] // 2
    wanted = check_floats("target", target, output.dtype, (*output.shape[:-1], O))
    number = output.dtype.type
    half = number(0.5)
    m, v = output[..., :O], np.ascontiguousarray(output[..., O:])
    d = m - wanted
    p = elementary("exp", -v)
    square = d * d * p
    losses = (square + v) * half + number(HALF_LOG_2_PI)
    counted = count(d, lengths, weights, batch_first=batch_first)
    loss, dm = mean(losses, d * p, counted)
    _, dv = mean(losses, (1 - square) * half, counted)
    return loss, np.concatenate((dm, dv), axis=-1)


@ieee_mode()
def binary_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    lengths: object = None,
    weights: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Minus the mean log-likelihood of `target` under Bernoulli distributions, in nats.

    The loss of a logit ``l`` is ``softplus(l) - l * target``, its slope
    ``sigmoid(l) - target``.

    Parameters
    ----------
    logits : array_like
        Unnormalised log-odds, float32 or float64.
    target : array_like
        Of the same shape and dtype: 0, 1, or a probability between.
    lengths, weights, batch_first
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
    dlogits : ndarray
        Gradient with respect to `logits`.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> loss, dlogits = xr.train.binary_cross_entropy(np.zeros(2), np.array([0.0, 1.0]))
    >>> round(loss, 6), dlogits.tolist()
    (0.693147, [0.25, -0.25])
    """
    output = check_floats("logits", logits)
    wanted = check_floats("target", target, output.dtype, output.shape)
    losses = elementary("softplus", output) - output * wanted
    slopes = elementary("sigmoid", output) - wanted
    counted = count(output, lengths, weights, batch_first=batch_first)
    return mean(losses, slopes, counted)


def _check_pair(y: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    output = check_floats("y", y)
    return output, check_floats("target", target, output.dtype, output.shape)


def _check_quantiles(quantiles: Any) -> list[float]:
    if isinstance(quantiles, str) or not hasattr(quantiles, "__iter__"):
        got = type(quantiles).__name__
        raise TypeError(f"quantiles: expected a sequence of numbers, got {got}")
    return [
        check_real(f"quantiles[{k}]", q, 0.0, 1.0, open_below=True, open_above=True)
        for k, q in enumerate(quantiles)
    ]
