"""What estimators are given as X, in one form: one array of all steps, cut in places.

    a list of arrays [T_k, I], or [T_k] of one value per step
    one array [n, T, I], or [n, I, T] with axis_order="NIT"
    a table [n, T]: each row a sequence of one value per step, as scikit-learn has rows

A table has scikit-learn's rules: its columns are the features, as many in every call.
Values are checked together, whatever the number of sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from exactrnn import train
from exactrnn._checks import Array, FloatType, check_choice, describe
from exactrnn._system.mode import ieee_mode
from exactrnn.interop.sklearn._given import check_plain, naming, read_array

AXES = ("NTI", "NIT")
"""Orders of the axes that arrays may have: sequences, steps, values of a step."""
FLOATS = [np.float64, np.float32]
"""What values are read as; all others become the first."""
FORMS = "a list of arrays [T_k, I], an array [n, T, I] or a table [n, T]"
"""What X may be."""

Index = NDArray[np.int64]


class Padded(NamedTuple):
    """Some sequences as a layer reads them.

    Attributes
    ----------
    x : ndarray, ``[T, B, I]``
        T is the length of the longest.
    lengths : ndarray of int or None
        None if all are as long.
    """

    x: Array
    lengths: Index | None


@dataclass(frozen=True)
class Sequences:
    """Sequences that lie, or overlap, in one array of steps.

    Parameters
    ----------
    values : ndarray, ``[S, I]``
        All steps.
    starts, lengths : ndarray of int, ``[n]``
        Where each sequence lies in it.
    columns : int
        What scikit-learn counts as features: the columns of a table, else I.
    is_table : bool
        Whether they came as a table.
    offsets : ndarray, ``[n, I]``, optional
        What is taken off each step of a sequence where it is read.
    """

    values: Array
    starts: Index
    lengths: Index
    columns: int
    is_table: bool = False
    offsets: Array | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def width(self) -> int:
        """I, values of a step."""
        return int(self.values.shape[1])

    def with_values(self, values: Array) -> Sequences:
        """Return the same sequences of other values."""
        return replace(self, values=values)

    def take(self, rows: Index) -> Sequences:
        """Return some of the sequences."""
        offsets = None if self.offsets is None else self.offsets[rows]
        starts, lengths = self.starts[rows], self.lengths[rows]
        return replace(self, starts=starts, lengths=lengths, offsets=offsets)

    def compact(self) -> Sequences:
        """Return the same sequences without steps that are in none of them."""
        starts = starts_of(self.lengths)
        total = int(self.lengths.sum())
        places = np.repeat(self.starts - starts, self.lengths) + np.arange(total)
        return replace(self, values=self.values[places], starts=starts)

    @ieee_mode()
    def padded(self, rows: Index, dtype: FloatType) -> Padded:
        """Return some of the sequences side by side, zeros behind the short ones."""
        lengths, starts = self.lengths[rows], self.starts[rows]
        steps = np.arange(int(lengths.max(initial=0)))[:, None]
        there = steps < lengths
        x = self.values[np.where(there, starts + steps, starts)]
        if self.offsets is not None:
            x = x - self.offsets[rows]
        x = np.ascontiguousarray(x, dtype)
        if there.all():
            return Padded(x, None)
        x[~there] = 0
        return Padded(x, lengths)


class Examples(NamedTuple):
    """Sequences and what is to be answered to each.

    Attributes
    ----------
    sequences : Sequences
    targets : ndarray, ``[n, ...]``
    weights : ndarray, ``[n]``, or None
    """

    sequences: Sequences
    targets: NDArray[Any]
    weights: Array | None = None

    def take(self, rows: Index) -> Examples:
        """Return some of the examples."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.sequences.take(rows), self.targets[rows], weights)


class SequenceBatches:
    """Examples in batches, each padded to its own longest: what `train.fit` walks.

    Parameters
    ----------
    examples : Examples
    dtype : dtype
        Of what is read.
    size : int
        Examples in a batch.
    seed : int or None
        Of the order of each epoch; None keeps that of the examples.
    first : int
        Epochs that came before, whose orders are not taken again.
    """

    def __init__(
        self,
        examples: Examples,
        dtype: FloatType,
        size: int,
        seed: int | None = None,
        first: int = 0,
    ) -> None:
        self._examples, self._dtype, self._first = examples, dtype, first
        rows = np.arange(len(examples.sequences))
        self._rows = train.batches(rows, rows, size, seed, axes=(0, 0))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[train.Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[train.Batch]:
        """Go through the examples once, in the order of this epoch."""
        sequences, targets, weights = self._examples
        for rows, *_ in self._rows.epoch(self._first + number):
            x: Any = sequences.padded(rows, self._dtype)
            own = None if weights is None else weights[rows]
            yield train.Batch(x, targets[rows], weights=own)


# Reading


def read_sequences(
    estimator: Any, X: Any, axis_order: str, *, fitted: Sequences | None = None
) -> Sequences:
    """Return what a caller means by X, or raise.

    Parameters
    ----------
    estimator : estimator
        Named in messages; scikit-learn notes the columns of a table in it.
    X : list of arrays, or array
    axis_order : {"NTI", "NIT"}
    fitted : Sequences, optional
        What came in `fit`, to be like it.
    """
    check_choice("axis_order", axis_order, AXES)
    if is_list(X):
        found = _of_list(estimator, list(X), axis_order)
    elif _axes_of(X) == 3:
        found = _of_array(estimator, X, axis_order)
    else:
        found = _of_table(estimator, X, fitted)
    if fitted is None:
        if not found.is_table:
            vars(estimator).pop("feature_names_in_", None)
        estimator.n_features_in_ = found.columns
    elif found.width != fitted.width:
        raise ValueError(
            f"X: expected sequences of I={fitted.width} values per step, as in fit, "
            f"got {found.width}"
        )
    return found


def is_list(X: Any) -> bool:
    """Tell whether X is a list of sequences, not an array written as one."""
    if isinstance(X, list | tuple):
        items: Sequence[Any] = X
    elif getattr(X, "ndim", 0) == 1 and X.dtype == np.dtype(object):
        items = list(X)
    else:
        return False
    if any(hasattr(item, "ndim") and np.ndim(item) > 0 for item in items):
        return True
    listed = [item for item in items if isinstance(item, list | tuple)]
    deep = any(isinstance(step, list | tuple) for item in listed for step in item[:1])
    return deep or len({len(item) for item in listed}) > 1


def _axes_of(X: Any) -> int:
    """Return the number of axes of what may not know it itself."""
    if hasattr(X, "ndim"):
        return int(X.ndim)
    with naming("X", X, FORMS):
        return np.asarray(X).ndim


def _of_list(estimator: Any, X: list[Any], axis_order: str) -> Sequences:
    arrays = [_step_rows(k, item, axis_order) for k, item in enumerate(X)]
    width = arrays[0].shape[1]
    for k, array in enumerate(arrays):
        if array.shape[1] != width:
            raise ValueError(
                f"X[{k}]: expected I={width} values per step, as X[0] has, got "
                f"{array.shape[1]}"
            )
    expected = "finite numbers in each sequence"
    joined = np.concatenate(arrays)
    values = read_array("X", joined, expected, dtype=FLOATS, estimator=estimator)
    lengths = np.array([len(array) for array in arrays], np.int64)
    return Sequences(values, starts_of(lengths), lengths, width)


def _step_rows(k: int, item: Any, axis_order: str) -> NDArray[Any]:
    """Return one sequence of a list as ``[T, I]``."""
    name, expected = f"X[{k}]", "[I, T]" if axis_order == "NIT" else "[T, I]"
    check_plain(name, item)
    with naming(name, item, f"{expected} or [T]"):
        array = np.asarray(item)
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim == 2 and axis_order == "NIT":
        array = array.T
    if array.ndim != 2 or 0 in array.shape:
        got = f"shape {np.shape(item)}" if array.ndim else describe(item)
        raise ValueError(
            f"{name}: expected {expected} or [T], with at least one step and one "
            f"value, got {got}"
        )
    return array


def _of_array(estimator: Any, X: Any, axis_order: str) -> Sequences:
    array = read_array("X", X, FORMS, dtype=FLOATS, allow_nd=True, estimator=estimator)
    if axis_order == "NIT":
        array = array.transpose(0, 2, 1)
    count, steps, width = array.shape
    if 0 in array.shape:
        raise ValueError(
            f"X: expected [n, T, I] with at least 1 sequence, step and value (while a "
            f"minimum of 1 is required), got shape {array.shape}"
        )
    lengths = np.full(count, steps, np.int64)
    return Sequences(array.reshape(-1, width), starts_of(lengths), lengths, width)


def _of_table(estimator: Any, X: Any, fitted: Sequences | None) -> Sequences:
    if fitted is None or fitted.is_table:
        check_plain("X", X)
        with naming("X", X, FORMS):
            table = validate_data(
                estimator, X, reset=fitted is None, dtype=FLOATS, ensure_2d=True
            )
    else:
        table = read_array("X", X, FORMS, dtype=FLOATS, estimator=estimator)
    count, steps = table.shape
    lengths = np.full(count, steps, np.int64)
    return Sequences(table.reshape(-1, 1), starts_of(lengths), lengths, steps, True)


def starts_of(lengths: Index) -> Index:
    """Return where sequences begin that lie one after the other."""
    starts: Index = np.add.accumulate(lengths) - lengths
    return starts
