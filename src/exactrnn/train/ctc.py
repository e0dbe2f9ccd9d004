"""Connectionist temporal classification: labels without their places in time.

A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal
Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks*,
ICML 2006, doi 10.1145/1143844.1143891.  A network reads T times and says at each one
how likely each of K symbols is, one of which is the blank.  A path, one symbol a time,
spells the labels that are left when repeats are drawn together and blanks taken out;
the loss is minus the logarithm of the probability of all paths that spell the right
ones.  :mod:`exactrnn.train.ctc_decoding` goes the other way.

The bits are defined (contract N9), and a row has those that it has alone.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn import _core
from exactrnn._checks import (
    Array,
    as_any_array,
    check_choice,
    check_integer,
    check_lengths,
)
from exactrnn._checks.arrays import Index, check_floats
from exactrnn._checks.limits import shorten
from exactrnn.engine import isa, threads_for_calls

__all__ = ["ctc_loss"]

INFEASIBLE = ("inf", "zero", "raise")


def ctc_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    *,
    blank: int = 0,
    on_infeasible: Literal["inf", "zero", "raise"] = "inf",
) -> tuple[Array, Array]:
    """Loss of each row in nats, and its gradient at the logits.

    The recursions are those of the paper (section 4.1) in logarithms, with β free of
    its own time's output; the gradient is ``softmax - Σ γ``, γ the posterior of a
    label's places.  Nothing is averaged: weigh the rows as the task asks, e.g. by
    ``dlogits / B``.

    Parameters
    ----------
    logits : array_like, ``[T, B, K]``
        Unnormalised log-probabilities, float32 or float64.  What lies beyond a row's
        length is not read.
    labels : array_like of int, ``[B, L]``
        Symbols ``0 .. K-1`` without the blank.  What lies beyond a row's
        `label_lengths` may be anything.
    lengths : array_like of int, ``[B]``, optional
        Times of each row, in any order, 0 among them; all T if not given.
    label_lengths : array_like of int, ``[B]``, optional
        Labels of each row, 0 among them; all L if not given.
    blank : int
        The symbol that stands for no label: the first one as in torch, ``K - 1`` in
        some other libraries.
    on_infeasible : {"inf", "zero", "raise"}
        What becomes of a row whose labels no path spells, which needs a time for each
        label and one between two that are equal: a loss of inf, a loss of zero, or a
        ValueError that names the rows.  The gradient is zero.

    Returns
    -------
    losses : ndarray, ``[B]``
        Of the dtype of `logits`.
    dlogits : ndarray, ``[T, B, K]``
        The gradient of each row's own loss; zero beyond its length.

    Raises
    ------
    TypeError
        If `logits` are not float32 or float64, or the others are not integers.
    ValueError
        If shapes do not fit, a label is the blank or no symbol, a length is out of
        range, or by ``on_infeasible="raise"``.

    Examples
    --------
    Four of the nine paths of two times over three symbols spell nothing or the label 2:

    >>> import numpy as np
    >>> import exactrnn as xr
    >>> losses, dlogits = xr.train.ctc_loss(np.zeros((2, 1, 3)), [[2]])
    >>> round(float(np.exp(-losses[0])) * 9)  # blank 2, 2 blank, 2 2
    3
    >>> dlogits[0, 0].round(3).tolist()
    [0.0, 0.333, -0.333]
    """
    values = check_logits(logits)
    T, B, K = values.shape
    blank = check_blank(blank, K)
    choice = check_choice("on_infeasible", on_infeasible, INFEASIBLE)
    given = _check_labels(labels, B)
    counts = (
        np.full(B, T) if lengths is None else check_lengths(lengths, T, B, batched=True)
    )
    sizes = _check_label_lengths(label_lengths, given)
    _check_symbols(given, sizes, blank, K)
    losses, dlogits = np.empty(B, values.dtype), np.empty_like(values)
    _core.ctc_loss(
        values,
        (given, counts, sizes),
        losses,
        dlogits,
        blank,
        isa(),
        threads_for_calls(),
    )
    return _judge(losses, choice), dlogits


def check_logits(logits: ArrayLike) -> Array:
    """Return logits ``[T, B, K]``, or raise."""
    values = check_floats("logits", logits)
    if values.ndim != 3 or values.shape[2] == 0:
        got = shorten(values.shape)
        raise ValueError(f"logits: expected [T, B, K] with K >= 1, got {got}")
    return values


def check_blank(blank: int, symbols: int) -> int:
    """Return the number of the blank among K symbols, or raise."""
    number = check_integer("blank", blank)
    if not 0 <= number < symbols:
        raise ValueError(
            f"blank: expected 0..{symbols - 1} for K={symbols}, got {blank}"
        )
    return number


def _check_integers(name: str, value: object) -> NDArray[Any]:
    given = as_any_array(name, value)
    if given.dtype.kind not in "iu" and given.size > 0:
        raise TypeError(f"{name}: expected integers, got {shorten(given.dtype)}")
    return given


def _check_labels(labels: object, rows: int) -> Index:
    """Return labels ``[B, L]`` as a fresh int64 array; what is past it is -1."""
    given = _check_integers("labels", labels)
    if given.ndim != 2 or given.shape[0] != rows:
        got = shorten(given.shape)
        raise ValueError(f"labels: expected [B={rows}, L], got {got}")
    fresh = given.astype(np.int64, order="C")
    if given.dtype.kind == "u":
        fresh[fresh < 0] = -1  # which no symbol is
    return fresh


def _check_label_lengths(value: object, labels: Index) -> Index:
    rows, most = labels.shape
    if value is None:
        return np.full(rows, most)
    given = _check_integers("label_lengths", value)
    if given.shape != (rows,):
        got = shorten(given.shape)
        raise ValueError(f"label_lengths: expected [B={rows}], got {got}")
    sizes = given.astype(np.int64)
    outside = np.flatnonzero((sizes < 0) | (sizes > most))
    if outside.size:
        b = outside[0]
        raise ValueError(f"label_lengths[{b}]: expected 0..L={most}, got {given[b]}")
    return sizes


def _check_symbols(labels: Index, sizes: Index, blank: int, symbols: int) -> None:
    """Raise where a label is the blank or no symbol."""
    counts = np.arange(labels.shape[1]) < sizes[:, None]
    wrong = (labels < 0) | (labels >= symbols) | (labels == blank)
    for b, i in np.argwhere(counts & wrong)[:1]:
        expected = f"0..{symbols - 1} for K={symbols} without the blank, {blank}"
        got = labels[b, i]
        raise ValueError(f"labels[{b}, {i}]: expected {expected}, got {got}")


def _judge(losses: Array, on_infeasible: str) -> Array:
    infeasible = np.flatnonzero(np.isposinf(losses))
    if on_infeasible == "zero":
        losses[infeasible] = 0
    elif on_infeasible == "raise" and infeasible.size:
        rows = shorten(", ".join(str(b) for b in infeasible))
        raise ValueError(
            f"labels: expected labels that a path of the row's length spells, "
            f"got too many, or outputs of 0, in rows {rows}"
        )
    return losses
