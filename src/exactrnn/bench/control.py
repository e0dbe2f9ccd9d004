"""What a difference is worth: exactrnn measured against itself.

In the rounds of every row a second copy of exactrnn runs as if it were a rival. Its
time differs from the first one's by what the machine does, and by nothing else: a rival
that is no further away than that is equal.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CONTROL = "control"

MOST_PIECES = 100
REDRAWN = 200
SEED = 11
INNER = (2.5, 97.5)
"""Percentiles of the redrawn ratios that the control is said to lie between."""

CLEAR_MARGIN = 1.25
"""Within a wider margin than this nothing is equal: the run was too rough to tell."""

PERCENTILES = (50, 90, 99)


def compare_control(own: Sequence[float], control: Sequence[float]) -> dict[str, float]:
    """Return how far exactrnn seems to be from itself.

    Parameters
    ----------
    own, control : sequence of float
        Seconds of the two copies in the order of the rounds, as many of each.

    Returns
    -------
    dict
        `control_us`, the second copy's median; `control_ratio`, it divided by the
        first one's; `control_spread`; `margin`, a factor of at least 1: that ratio, and
        95 % of those that come out when the rounds are drawn again with replacement,
        lie between 1 / margin and margin.
    """
    ratio = statistics.median(control) / statistics.median(own)
    ratios = [ratio, *redraw_ratios(own, control)]
    low, high = np.percentile(ratios, INNER)
    return {
        "control_us": statistics.median(control) * 1e6,
        "control_ratio": ratio,
        "control_spread": spread_of(control),
        "margin": float(max(ratio, 1 / ratio, high, 1 / low)),
    }


def redraw_ratios(own: Sequence[float], control: Sequence[float]) -> list[float]:
    """Return ratios of the medians of rounds that were drawn with replacement."""
    pieces = min(len(own), len(control), MOST_PIECES)
    of_both = np.array(
        [
            [np.median(piece) for piece in np.array_split(values, pieces)]
            for values in (np.asarray(own), np.asarray(control))
        ]
    )
    drawn = np.random.default_rng(SEED).integers(pieces, size=(REDRAWN, pieces))
    medians = np.median(of_both[:, drawn], axis=2)
    ratios: list[float] = (medians[1] / medians[0]).tolist()
    return ratios


def judge_ratio(ratio: float | None, margin: float) -> str | None:
    """Return "faster", "equal", "behind" or "unclear"; None where there is no ratio.

    `ratio` is the time of another library divided by exactrnn's, `margin` what the
    control shows: within it rows are equal, or unclear if it is wide. With a margin of
    1, as of reports that have no control, any difference counts.
    """
    if ratio is None:
        return None
    if 1 / margin <= ratio <= margin:
        return "equal" if margin <= CLEAR_MARGIN else "unclear"
    return "faster" if ratio > 1 else "behind"


def verdict_of(row: Mapping[str, Any]) -> str | None:
    """Return what `judge_ratio` says of a row of a report, an old one too."""
    return judge_ratio(row["ratio"], row.get("margin", 1.0))


def spread_of(values: Sequence[float]) -> float:
    """Return the interquartile range divided by the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle if middle else 0.0


def percentiles_of(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90 and p99 of seconds in microseconds, between neighbours linear."""
    found = np.percentile(values, PERCENTILES) * 1e6
    return {f"p{p}_us": float(us) for p, us in zip(PERCENTILES, found, strict=True)}
