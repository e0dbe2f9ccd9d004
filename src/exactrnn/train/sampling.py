"""Choosing a class at random from logits, with defined bits."""

from __future__ import annotations

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa

__all__ = ["pick"]

UNIT = 2.0**-53


@ieee_mode()
def pick(logits: Array, temperature: float, raw: int) -> int:
    """Return a class drawn from the softmax of ``logits / temperature``.

    In float64, whatever the dtype of `logits`: with ``m = max(l)`` and
    ``e = exp((l - m) / temperature)`` the classes' bounds are the sums of ``e`` in
    ascending order, ``u = (raw >> 11) * 2**-53`` times the last bound is the point
    drawn, and the class is the first whose bound lies above it.

    Parameters
    ----------
    logits : ndarray, ``[V]``
        Unnormalised log-probabilities, without NaN.
    temperature : float
        At least 0; 0 returns the first of the likeliest classes.
    raw : int
        64 random bits.

    Returns
    -------
    int
        A class, ``0 .. V-1``.

    Examples
    --------
    >>> import numpy as np
    >>> from exactrnn.train.sampling import pick
    >>> pick(np.array([0.0, 0.0]), 1.0, 0), pick(np.array([0.0, 0.0]), 1.0, 2**64 - 1)
    (0, 1)
    """
    likeliest = int(np.argmax(logits))
    if temperature == 0.0:
        return likeliest
    values = np.ascontiguousarray(logits, np.float64)
    scaled = (values - values[likeliest]) / temperature
    weights = np.empty_like(scaled)
    _core.elementary("exp", scaled, weights, isa())
    bounds = np.add.accumulate(weights)
    point = (raw >> 11) * UNIT * float(bounds[-1])
    return min(int(np.searchsorted(bounds, point, side="right")), len(bounds) - 1)
