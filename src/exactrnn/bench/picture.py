"""Pictures of reports: the ratio to the best rival, and the part of the limit.

Each report is one run, for example with 1 and with 2 threads; rows stand in the order
of the first. matplotlib is imported when a picture is drawn (extra `plot`).
"""

from __future__ import annotations

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
TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
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
        if k == 0:
            axes.annotate(
                f"{ratio:.2f}",
                (max(ratio, 1), y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color=MUTED,
            )
    low, high = min(ends) / 1.1, max(ends) * 1.35
    axes.set_xlim(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title("time of the best rival / exactrnn", fontsize=8, loc="left", pad=22)


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
    size = (8.6, above + below + ROW_HEIGHT * (bottom + 0.8))
    figure = Figure(figsize=size, dpi=160, facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.subplots_adjust(
        left=0.27,
        right=0.975,
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
    figure.text(
        0.02,
        0.2 / height,
        f"T, B, H of each row; {about['processor']}; {libraries}",
        fontsize=6.5,
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
