"""Series as callers have them, and windows of series as a layer reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn.interop.sklearn._given import read_array
from exactrnn.interop.sklearn._scaling import Scaling
from exactrnn.interop.sklearn._sequences import FLOATS, Sequences, starts_of

Numbers = NDArray[np.float64]


class Series(NamedTuple):
    """Series as a caller has given them.

    Attributes
    ----------
    parts : list of ndarray of float64, ``[S_k, I]``
    is_list : bool
        Whether they came as a list.
    is_flat : bool
        Whether a step was one number, not an array of them.
    """

    parts: list[Numbers]
    is_list: bool
    is_flat: bool

    @property
    def width(self) -> int:
        """I, values of a step."""
        return int(self.parts[0].shape[1])

    def changes(self, window: int, horizon: int) -> Numbers:
        """Return by how much steps differ from those 1 .. horizon before them.

        Only of steps that have a window before the horizon.
        """
        return np.concatenate(
            [
                part[window + step :] - part[window - 1 : -step - 1]
                for part in self.parts
                for step in range(horizon)
            ]
        )

    def divided(self, share: float, window: int, horizon: int) -> tuple[Series, Series]:
        """Return the series without their ends, and these with a window before them."""
        kept, held = [], []
        for k, part in enumerate(self.parts):
            cut = len(part) - max(horizon, round(len(part) * share))
            if cut < window + horizon:
                raise ValueError(
                    f"validation_fraction: expected a share that leaves window + "
                    f"horizon = {window + horizon} steps of each series, got {share:g} "
                    f"of {len(part)} in series {k}"
                )
            kept.append(part[:cut])
            held.append(part[cut - window :])
        return self._replace(parts=kept), self._replace(parts=held)


def read_series(X: Any, least: int, width: int | None, estimator: Any) -> Series:
    """Return the series in X, or raise.

    Parameters
    ----------
    X : array_like ``[S]`` or ``[S, I]``, or list of arrays
    least : int
        Steps that each must have.
    width : int or None
        I, where it is known.
    estimator : estimator
        Named in messages.
    """
    several = isinstance(X, list | tuple) and any(
        hasattr(item, "ndim") and np.ndim(item) > 0 for item in X
    )
    named = {f"X[{k}]": item for k, item in enumerate(X)} if several else {"X": X}
    expected = "[S] or [S, I]" if several else "[S], [S, I] or a list of such arrays"
    arrays = {
        name: read_array(
            name, item, expected, dtype=FLOATS, ensure_2d=False, estimator=estimator
        )
        for name, item in named.items()
    }
    parts: list[Numbers] = []
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(array) < least or 0 in array.shape:
            raise ValueError(
                f"{name}: expected [S] or [S, I] with S >= {least}, got {array.shape}"
            )
        parts.append(np.asarray(array.reshape(len(array), -1), np.float64))
        wanted = parts[0].shape[1] if width is None else width
        if parts[-1].shape[1] != wanted:
            where = "X[0]" if width is None else "fit"
            raise ValueError(
                f"{name}: expected I={wanted} values per step, as in {where}, got "
                f"{parts[-1].shape[1]}"
            )
    flat = all(array.ndim == 1 for array in arrays.values())
    return Series(parts, several, flat)


class Windows(NamedTuple):
    """Windows of series.

    Attributes
    ----------
    sequences : Sequences
        As the layer reads them, scaled.
    last : ndarray, ``[n, I]``
        The last step of each, in the units of the series.
    targets : ndarray, ``[n, P, I]``
        What follows each, likewise.
    """

    sequences: Sequences
    last: Numbers
    targets: Numbers


def all_windows(series: Series, window: int, horizon: int) -> NDArray[np.int64]:
    """Return where windows begin that have `horizon` steps behind them."""
    lengths = np.array([len(part) for part in series.parts])
    counts = lengths - window - horizon + 1
    begins = zip(starts_of(lengths), counts, strict=True)
    return np.concatenate([begin + np.arange(count) for begin, count in begins])


def last_windows(series: Series, window: int) -> NDArray[np.int64]:
    """Return where the last window of each series begins."""
    lengths = np.array([len(part) for part in series.parts])
    begins: NDArray[np.int64] = starts_of(lengths) + lengths - window
    return begins


def cut_windows(
    series: Series,
    starts: NDArray[np.int64],
    spans: tuple[int, int],
    scaling: Scaling,
    *,
    relative: bool,
) -> Windows:
    """Return windows that begin there.

    Parameters
    ----------
    series : Series
    starts : ndarray of int, ``[n]``
    spans : tuple of two ints
        T, steps of a window, and P, steps behind it.
    scaling : Scaling
    relative : bool
        Whether windows are read from their last step.
    """
    window, horizon = spans
    values = np.concatenate(series.parts)
    ends = starts + window - 1
    behind = ends[:, None] + 1 + np.arange(horizon)
    scaled = scaling.apply("X", values, np.dtype("float64"))
    lengths = np.full(len(starts), window)
    sequences = Sequences(scaled, starts, lengths, values.shape[1])
    if relative:
        sequences = replace(sequences, offsets=scaled[ends])
    return Windows(sequences, values[ends], values[behind])
