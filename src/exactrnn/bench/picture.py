"""Pictures of reports: the ratio to the best rival, and the part of the limit.

Each report is one run, for example with 1 and with 2 threads; rows stand in the order
of the first. matplotlib is imported when a picture is drawn (extra `plot`).
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from exactrnn.bench.control import verdict_of
from exactrnn.bench.report import Measured, extras_of, sizes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report: TypeAlias = Mapping[str, Any]

INK, MUTED, TRACK = "#1f2933", "#7b8794", "#eef1f4"
AHEAD = ("#1b6ca8", "#6fb1dd")  # one colour a run
BEHIND, EQUAL = "#c2410c", "#9aa5b1"
ROW_HEIGHT = 0.19  # inches
WIDTH, LEFT = 8.6, 2.32
"""Inches: of the figure, and of it what row labels have; more where they are longer."""
CHARACTER = 0.0098
"""Inches of a wide character for each point of its size."""
FONT, SMALL, TINY = 8, 6.5, 6  # points
TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)
DECADES = [10.0**power for power in range(-6, 7)]
BESIDE = 12
"""Points from a stem to its label's end that are no letters."""
SCALES = (
    TICKS,
    sorted(first * decade for decade in DECADES for first in (1, 2, 5)),
    sorted(first * decade for decade in DECADES for first in (1, 3)),
    DECADES,
    DECADES[::2],
    DECADES[::3],
)
"""Ratios that a scale may name, from the finest; all have 1."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Line:
    """One row of the picture: its place, and its figures in each run, or None."""

    y: float
    label: str
    measured: list[Measured | None]


def arrange_lines(runs: Sequence[Report]) -> tuple[list[Line], list[tuple[float, str]]]:
    """Return ([Line], [(y, heading)]): rows below a heading for each cell and task."""
    known = [{row["name"]: row for row in run["rows"]} for run in runs]
    parts: dict[str, list[Measured]] = {}
    for row in runs[0]["rows"]:
        parts.setdefault(f"{row['cell']} {row['task']}", []).append(row)
    lines, headings, y = [], [], 0.0
    for heading, rows in parts.items():
        headings.append((y, heading))
        y += 1
        for row in rows:
            label = ", ".join([sizes_of(row), *extras_of(row)])
            lines.append(Line(y, label, [names.get(row["name"]) for names in known]))
            y += 1
        y += 0.5
    return lines, headings


def drawn(lines: Sequence[Line], key: str) -> Iterator[tuple[float, int, Measured]]:
    """Yield (y, run, row) where a row has that figure; y is apart for each run."""
    for line in lines:
        count = len(line.measured)
        for k, row in enumerate(line.measured):
            if row and row[key]:
                yield line.y + (k - (count - 1) / 2) * 0.34, k, row


def draw_ratios(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw stems from 1 to the ratio, to the right where exactrnn is faster.

    Those that the control does not tell from 1 are grey.
    """
    others = {"equal": EQUAL, "unclear": EQUAL, "behind": BEHIND}
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=1, zorder=3)
    ends = [0.8, 2.0]
    for y, k, row in drawn(lines, "ratio"):
        ratio = row["ratio"]
        ends.append(ratio)
        color = others.get(str(verdict_of(row)), AHEAD[min(k, 1)])
        axes.plot([1, ratio], [y, y], color=color, linewidth=1.6, zorder=2)
        axes.plot(ratio, y, "o", color=color, markersize=3.6, zorder=4)
    low, high = min(ends) / 1.1, max(ends) * 1.35
    width = axes.bbox.width / axes.figure.dpi
    for line in lines:
        ratios = [row["ratio"] for row in line.measured if row and row["ratio"]]
        if line.measured[0] and line.measured[0]["ratio"]:
            text, end = spell(ratios[0]), max(1, *ratios)
            annotate_end(axes, text, end, line.y)
            room = (BESIDE + len(text) * TINY) * CHARACTER / width
            high = max(high, low * (end / low) ** (1 / (1 - room)))
    axes.set_xlim(low, high)
    ticks = choose_ticks(low, high, width)
    axes.set_xticks([*ticks], [*ticks.values()])
    axes.set_xticks([], minor=True)
    axes.set_title("time of the best rival / exactrnn", fontsize=8, loc="left", pad=22)


def annotate_end(axes: Axes, text: str, end: float, y: float) -> None:
    """Write a ratio behind the stems of a row."""
    axes.annotate(
        text,
        (end, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=TINY,
        color=MUTED,
    )


def spell(ratio: float) -> str:
    """Return a ratio with three digits or fewer behind the point."""
    if ratio < 0.1:
        return f"{ratio:.1g}"
    return f"{ratio:,.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


def choose_ticks(low: float, high: float, width: float) -> dict[float, str]:
    """Return ratios to name and their names, as many as stand apart on so many inches.

    It is the finest scale that reaches both ends; the coarsest is taken as it is.
    """
    for scale in SCALES:
        named = {tick: f"{tick:g}×" for tick in scale if low <= tick <= high}
        inches = width / math.log(high / low)
        apart = all(
            math.log(b / a) * inches
            >= (len(named[a]) + len(named[b]) + 1) / 2 * FONT * CHARACTER
            for a, b in itertools.pairwise(named)
        )
        if apart and scale[0] < 2 * low and high < 2 * scale[-1]:
            break
    return named


def draw_fractions(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw bars from 0 to the part of the limit, on a track to its end.

    A time below the limit, whose loops had a slow moment then, ends there.
    """
    for line in lines:
        axes.barh(line.y, 1, height=0.74, color=TRACK, zorder=1)
    for y, k, row in drawn(lines, "fraction"):
        fraction = min(row["fraction"], 1.0)
        height = 0.62 / len(lines[0].measured)
        axes.barh(y, fraction, height=height, color=AHEAD[min(k, 1)], zorder=2)
    axes.axvline(1, color=INK, linewidth=1, zorder=3)
    axes.set_xlim(0, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_title("part of the machine's limit", fontsize=8, loc="left", pad=22)


def clean_axes(axes: Axes, bottom: float) -> None:
    """Leave only what is read: ticks above, no box."""
    axes.set_ylim(bottom, -0.8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(axis="x", color=TRACK, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def describe(run: Report) -> str:
    """Return what tells a run from another."""
    about = run["about"]
    plural = "s" if about["threads"] > 1 else ""
    return f"{about['threads']} thread{plural}, {about['isa']}"


def draw(runs: Sequence[Report]) -> Figure:
    """Return the figure of one run or several."""
    from matplotlib.figure import Figure

    lines, headings = arrange_lines(runs)
    bottom = lines[-1].y + 0.8
    above, below = 0.95, 0.55  # inches
    longest = max(len(line.label) for line in lines)
    left_of = max(LEFT, longest * FONT * CHARACTER + 0.2)
    wide = WIDTH - LEFT + left_of
    size = (wide, above + below + ROW_HEIGHT * (bottom + 0.8))
    figure = Figure(figsize=size, dpi=160, facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.subplots_adjust(
        left=left_of / wide,
        right=1 - 0.215 / wide,
        wspace=0.06,
        top=1 - above / size[1],
        bottom=below / size[1],
    )
    draw_ratios(left, lines)
    draw_fractions(right, lines)
    for axes in (left, right):
        clean_axes(axes, bottom)
    left.set_yticks([line.y for line in lines], [line.label for line in lines])
    for y, heading in headings:
        left.text(
            -0.02,
            y,
            heading,
            transform=left.get_yaxis_transform(),
            fontweight="bold",
            ha="right",
            va="center",
        )
    annotate(figure, runs, size[1])
    return figure


def annotate(figure: Figure, runs: Sequence[Report], height: float) -> None:
    """Write the title, what the colours are and where this was measured."""
    from matplotlib.lines import Line2D

    figure.text(
        0.02, 1 - 0.28 / height, "exactrnn", fontsize=12, fontweight="bold", va="center"
    )
    handles = [
        Line2D([], [], color=AHEAD[min(k, 1)], marker="o", markersize=4)
        for k in range(len(runs))
    ]
    handles += [
        Line2D([], [], color=color, marker="o", markersize=4)
        for color in (BEHIND, EQUAL)
    ]
    figure.legend(
        handles,
        [*map(describe, runs), "rival is faster", "equal or unclear"],
        loc="center right",
        bbox_to_anchor=(0.985, 1 - 0.28 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=7,
    )
    about = runs[0]["about"]
    libraries = ", ".join(f"{n} {v}" for n, v in about["versions"].items())
    where = f"T, B, H of each row; {about['processor']}; {libraries}"
    most = int(figure.get_figwidth() * 0.96 / (SMALL * CHARACTER))
    figure.text(
        0.02,
        0.2 / height,
        textwrap.fill(where, most),
        fontsize=SMALL,
        color=MUTED,
        va="center",
    )


def save_picture(runs: Sequence[Report], path: Path) -> None:
    """Draw reports into a file whose ending says which kind; PNG, SVG, PDF.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, OSError
        If the ending is none of a picture's, or the file cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        draw(runs).savefig(path)
