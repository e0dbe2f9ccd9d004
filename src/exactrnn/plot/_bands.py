"""What pictures of gates are made of: bands, columns, colours, axes.

`plot.py` and `plot/_grid.py` say what is to be drawn, this file draws it. matplotlib is
imported when a picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.limits import list_names, quote
from exactrnn._spec.record import Record
from exactrnn.plot._flow import check_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage


class Place(NamedTuple):
    """A column: a layer in one direction, 1 for the reverse one."""

    layer: int
    direction: int

    @property
    def suffix(self) -> str:
        """What follows the letters of its gates."""
        return f"_l{self.layer}" + "_reverse" * self.direction

    @property
    def caption(self) -> str:
        """What stands below it."""
        return f"layer {self.layer}" + ", reverse" * self.direction


class GridPlace(NamedTuple):
    """A column: the transform along one dimension of a grid."""

    dim: int

    @property
    def suffix(self) -> str:
        """What follows the letters of its gates."""
        return f"_d{self.dim}"

    @property
    def caption(self) -> str:
        """What stands below it."""
        return f"transform along d{self.dim}"


Column: TypeAlias = Place | GridPlace

INK, MUTED, TRACK = "#1f2933", "#7b8794", "#eef1f4"
BLUES = ("#f7f9fb", "#6fb1dd", "#1b6ca8", "#0c3554")
"""From nothing, or shut, to 1, or open."""
ORANGES = ("#7a2705", "#c2410c", "#f0935f", "#f7f9fb")
"""From the lowest value to 0, in front of BLUES."""
MISSING = "#b8a9c9"
"""NaN, which no colour scale has."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 6.5,
}

MEANINGS = {"input": "input: what the layer reads", "h": "output"}
"""What a row shows where the cell's own record says nothing."""
BETWEEN_0_AND_1 = ("sigmoid", "hard_sigmoid")

VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})
MOST_LINES = 3
"""Inputs of no more values than this are drawn as lines, others as heat maps."""
LABEL_WIDTH = 0.105
"""Inches of the time axis that a label of one letter needs."""


@dataclass
class Band:
    """One row of the picture: a gate, a state or the input, [t, units] per column."""

    letter: str
    title: str
    bounded: bool
    values: dict[Column, Array] = field(default_factory=dict)
    height: float | None = None  # in inches; None: by the number of units

    def limits(self) -> tuple[float, float]:
        """Return the ends of the colour scale: 0 and 1, or symmetric about 0."""
        if self.bounded:
            return 0.0, 1.0
        sizes = np.concatenate([np.abs(a).ravel() for a in self.values.values()])
        sizes = sizes[np.isfinite(sizes)]
        largest = float(sizes.max(initial=0.0))
        return (-largest, largest) if largest > 0 else (-1.0, 1.0)


def import_matplotlib() -> Any:
    try:
        import matplotlib as mpl
        import matplotlib.figure  # binds nothing: `mpl.figure` is what is used
    except ImportError as error:
        raise ImportError(
            "exactrnn.plot needs matplotlib: pip install 'exactrnn[plot]'"
        ) from error
    return mpl


def new_figure(mpl: Any, width: float, height: float) -> Figure:
    """Return a figure of this size in inches that pyplot does not know of."""
    figure: Figure = mpl.figure.Figure((width, height), 150, facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.05, w_pad=0.05)
    return figure


# What to draw


def meaning_of(record: Record, letter: str) -> str:
    """Return what a gate or state of a network is, in words."""
    return record.meanings.get(letter, MEANINGS.get(letter, "value kept"))


def choose_bands(
    bands: dict[str, Band],
    places: Sequence[Column],
    names: Iterable[str] | None,
    with_input: bool,
) -> list[Band]:
    """Return the rows to draw, each with the columns to draw alone."""
    known = [n for n in bands if any(place in bands[n].values for place in places)]
    if names is None:
        chosen = [name for name in known if with_input or name != "input"]
    else:
        chosen = list(dict.fromkeys(names))
        strange = [quote(name) for name in chosen if name not in known]
        if strange or not chosen:
            got = strange[0] if strange else "none"
            raise ValueError(f"names: expected some of {list_names(known)}, got {got}")
    lowest = [place for place in places if place[0] == places[0][0]]
    for name in chosen:
        # What a layer reads is the output of the layer below, if that is drawn.
        shown = lowest if name == "input" else places
        values = bands[name].values
        bands[name].values = {p: a for p, a in values.items() if p in shown}
    return [bands[name] for name in chosen]


def check_units(units: slice | Sequence[int] | None, count: int) -> Array | slice:
    if units is None or isinstance(units, slice):
        chosen = slice(None) if units is None else units
        if len(range(*chosen.indices(count))) == 0:
            got = quote(units)
            raise ValueError(f"units: expected units below H={count}, got {got}")
        return chosen
    listed = [check_index("units", unit, count, "H") for unit in units]
    if not listed:
        raise ValueError(f"units: expected units below H={count}, got none")
    return np.array(listed)


def check_labels(labels: Sequence[object], steps: int, total: int) -> list[str]:
    """Return one string for each step of the row."""
    if len(labels) not in (steps, total):
        wanted = f"T={total}" + (f" or {steps}" if steps < total else "")
        raise ValueError(f"labels: expected {wanted} labels, got {len(labels)}")
    return [str(label).translate(VISIBLE) for label in labels[:steps]]


# Drawing


def size_of(
    bands: list[Band], places: Sequence[Column], steps: int
) -> tuple[float, float]:
    """Return width and height in inches: what the steps and the units need."""
    column = min(max(3.0, LABEL_WIDTH * steps), max(3.0, 14.0 / len(places)))
    return 1.3 + column * len(places), total_height(bands)


def total_height(bands: list[Band]) -> float:
    """Return the height of a picture in inches."""
    heights = [height_of(band) for band in bands]
    return 0.7 + sum(heights) + 0.28 * len(heights)


def height_of(band: Band) -> float:
    if band.height is not None:
        return band.height
    count = max(array.shape[1] for array in band.values.values())
    return 0.6 if as_lines(band) else min(max(0.35, 0.045 * count), 1.5)


def as_lines(band: Band) -> bool:
    widest = max(array.shape[1] for array in band.values.values())
    return band.letter == "input" and widest <= MOST_LINES


def color_map(bounded: bool) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    colors = BLUES if bounded else (*ORANGES, *BLUES[1:])
    name = "exactrnn gate" if bounded else "exactrnn signed"
    return LinearSegmentedColormap.from_list(name, colors).with_extremes(bad=MISSING)


def draw_grid(
    figure: Figure | SubFigure,
    bands: list[Band],
    places: Sequence[Column],
    labels: list[str] | None,
    numbered: str = "step t",
) -> None:
    """Draw a row for each band and a column for each place.

    `numbered` stands below the axis where there are no labels.
    """
    grid = figure.subplots(
        len(bands),
        len(places),
        squeeze=False,
        sharex=True,
        height_ratios=[height_of(band) for band in bands],
    )
    for band, line in zip(bands, grid, strict=True):
        drawn = []
        for place, axes in zip(places, line, strict=True):
            axes.set_label(band.letter + place.suffix)
            if place not in band.values:
                axes.set_visible(False)
                continue
            drawn.append(axes)
            draw_band(axes, band, place)
        drawn[0].set_title(band.title, loc="left", pad=3, color=INK)
        drawn[0].set_ylabel(band.letter, rotation=0, ha="right", va="center")
        if drawn[0].images:
            draw_color_bar(figure, band, list(line), drawn[0].images[0])
    for place, axes in zip(places, grid[-1], strict=True):
        axes.set_visible(True)
        draw_time_axis(axes, labels, numbered)
        if len(places) > 1:
            axes.set_xlabel(f"{axes.get_xlabel()}  ({place.caption})".strip())


def draw_color_bar(
    figure: Figure | SubFigure, band: Band, line: list[Axes], image: AxesImage
) -> None:
    """Draw the scale of a row at its right, as high as the row."""
    bar = figure.colorbar(
        image, ax=line, pad=0.01, fraction=0.02, aspect=height_of(band) / 0.09
    )
    bar.outline.set_visible(False)
    low, high = band.limits()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(length=0)


def draw_band(axes: Axes, band: Band, place: Column) -> None:
    values = band.values[place]
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    if as_lines(band):
        axes.plot(values, color=BLUES[2], linewidth=1, marker=".", markersize=2)
        axes.margins(x=0)
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.grid(axis="y", color=TRACK, linewidth=0.8)
        return
    low, high = band.limits()
    axes.imshow(
        np.ma.masked_invalid(values.T.astype(float)),
        cmap=color_map(band.bounded),
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    count = values.shape[1]
    axes.set_yticks([0, count - 1] if count > 1 else [0])


def draw_time_axis(axes: Axes, labels: list[str] | None, numbered: str) -> None:
    """Write the labels, as many as have room, or the numbers of the steps."""
    axes.tick_params(labelbottom=True)
    if labels is None:
        number_steps(axes)
        axes.set_xlabel(numbered)
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    width = figure.get_figwidth() * axes.get_position().width
    stride = math.ceil(len(labels) * LABEL_WIDTH * 0.8 / width)
    ticks = range(0, len(labels), stride)
    letters = all(len(label) <= 1 for label in labels)
    axes.set_xticks(
        ticks,
        [labels[t] for t in ticks],
        rotation=0 if letters else 90,
        fontfamily="DejaVu Sans Mono" if letters else None,
    )


def number_steps(axes: Axes) -> None:
    """Put ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
