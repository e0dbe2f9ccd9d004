"""How good a model is, in the numbers that people compare.

They are for reading, not for training: no gradients. Sums are long sums (contract N3),
so that they have defined bits as losses have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _core
from exactrnn._checks import Array, check_size, describe
from exactrnn._checks.arrays import check_floats
from exactrnn._checks.numbers import check_number
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import isa
from exactrnn.train._counted import step_mask
from exactrnn.train.losses import IGNORED, check_logits, mean_squared_error
from exactrnn.train.regression import mean_absolute_error

__all__ = ["accuracy", "bits_per_symbol", "label_error_rate", "mase", "rmse"]

LN2 = 0.6931471805599453


def accuracy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: object = None,
    batch_first: bool = False,
) -> float:
    """Share of the targets that have the largest logit, of several the first.

    Parameters
    ----------
    logits : array_like, ``[..., V]``
        Of float32 or float64.
    targets : array_like of int, ``[...]``
        Classes; ``-1`` is left out.
    lengths : array_like of int, ``[B]``, optional
        Steps of each row of ``[T, B]``; the others are left out.
    batch_first : bool
        Whether rows are the first axis; for `lengths` alone.

    Returns
    -------
    float
        0.0 if nothing counts.

    Raises
    ------
    TypeError, ValueError
        As for `softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> xr.train.accuracy(np.array([[1.0, 2.0], [3.0, 0.0]]), [1, 1])
    0.5
    """
    if lengths is not None:
        given = np.asarray(targets)
        targets = np.where(step_mask(given, lengths, batch_first), given, IGNORED)
    values, index = check_logits(logits, targets)
    counts = index != IGNORED
    right = np.argmax(values, axis=-1) == index
    number = int(np.count_nonzero(counts))
    return int(np.count_nonzero(right & counts)) / number if number else 0.0


@ieee_mode()
def bits_per_symbol(loss: float) -> float:
    """A cross-entropy in nats as bits per character, byte or word.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.train.bits_per_symbol(0.6931471805599453)
    1.0
    """
    return check_number("loss", loss, "a number") / LN2


def rmse(
    y: ArrayLike,
    target: ArrayLike,
    *,
    lengths: object = None,
    batch_first: bool = False,
) -> float:
    """Root of the mean squared error.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.
    lengths : array_like of int, ``[B]``, optional
        Steps of each row of ``[T, B, ...]``.
    batch_first : bool
        Whether rows are the first axis; for `lengths` alone.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> xr.train.rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 2**0.5
    True
    """
    loss, _ = mean_squared_error(y, target, lengths=lengths, batch_first=batch_first)
    return float(np.sqrt(loss))


@ieee_mode()
def mase(
    y: ArrayLike, target: ArrayLike, history: ArrayLike, *, season: int = 1
) -> float:
    """Mean absolute scaled error (R. Hyndman, A. Koehler, 2006).

    The mean absolute error divided by that which the naive forecast makes within the
    history: what came `season` steps before. Below 1 is better than naive.

    Parameters
    ----------
    y, target : array_like
        Equal shapes and dtypes, float32 or float64.
    history : array_like, ``[N, ...]``
        What the model was trained on, N above `season`.
    season : int
        Steps that the naive forecast looks back.

    Returns
    -------
    float
        Infinite, or NaN for an error of 0, if the history repeats itself exactly.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit, or the history is too short.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> history = np.array([1.0, 2.0, 4.0, 5.0])
    >>> xr.train.mase(np.array([6.0]), np.array([8.0]), history)
    1.5
    """
    error, slopes = mean_absolute_error(y, target)
    past = check_floats("history", history, slopes.dtype)
    back = check_size("season", season)
    if past.ndim == 0 or past.shape[0] <= back:
        got = past.shape
        raise ValueError(
            f"history: expected [N, ...] with N > season={back}, got {got}"
        )
    changes: Array = np.abs(past[back:] - past[:-back])
    number = past.dtype.type
    total = number(_core.long_sum(np.ascontiguousarray(changes).reshape(-1), isa()))
    return float(number(error) / (total / number(changes.size)))


def label_error_rate(
    decoded: Sequence[Sequence[object]], labels: Sequence[Sequence[object]]
) -> float:
    """Insertions, deletions and substitutions for each label that was to come.

    The least number of edits that make the decoded labels the right ones, all rows
    together, divided by the number of right ones: character or word error rate, by
    what a label is.

    Parameters
    ----------
    decoded, labels : sequence of sequences
        For each row what was decoded and what is right; texts are sequences too.

    Returns
    -------
    float
        0.0 if there is no label and nothing decoded, infinite if there is no label.

    Raises
    ------
    TypeError
        If it is no list of rows: of `ctc_greedy_decode`, take the ``labels`` of each.
    ValueError
        If there are not as many rows.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.train.label_error_rate(["kitten", "abc"], ["sitting", "abc"])
    0.3
    """
    all_found, all_right = _rows("decoded", decoded), _rows("labels", labels)
    if len(all_found) != len(all_right):
        raise ValueError(
            f"decoded: expected B={len(all_right)} rows, as labels, got "
            f"{len(all_found)}"
        )
    pairs = zip(all_found, all_right, strict=True)
    edits = sum(_edits(found, right) for found, right in pairs)
    number = sum(len(right) for right in all_right)
    if number == 0:
        return float("inf") if edits else 0.0
    return edits / number


def _rows(name: str, value: object) -> list[list[object]]:
    """Return the labels of each row, or raise."""
    rows = _elements(name, value, "rows of labels")
    return [_elements(f"{name}[{b}]", row, "labels") for b, row in enumerate(rows)]


def _elements(name: str, value: object, what: str) -> list[object]:
    """Return what a sequence holds, of an array plain numbers, or raise."""
    given = value.tolist() if hasattr(value, "tolist") else value
    if not hasattr(given, "__len__") or not hasattr(given, "__iter__"):
        raise TypeError(f"{name}: expected a list of {what}, got {describe(value)}")
    return list(given)


def _edits(found: list[object], right: list[object]) -> int:
    """Return the least number of edits from one list to the other."""
    before = list(range(len(right) + 1))
    for i, one in enumerate(found, 1):
        row = [i]
        for j, other in enumerate(right, 1):
            row.append(
                min(before[j] + 1, row[j - 1] + 1, before[j - 1] + bool(one != other))
            )
        before = row
    return before[-1]
