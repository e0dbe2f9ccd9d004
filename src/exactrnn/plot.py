"""Pictures of what a layer does: its gates and states over time, how far errors reach.

Both functions return a matplotlib `Figure` and leave matplotlib's global state alone:
save it with `figure.savefig("gates.png")`, show it by returning it from a notebook's
cell, or pass a figure of your own, from `matplotlib.pyplot.figure()`, to be drawn into.

matplotlib is imported when a picture is drawn; `pip install 'exactrnn[plot]'` gets it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._flow import check_index, gradient_norms
from exactrnn._module import Cache

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = ["gates", "gradient_flow", "gradient_norms"]

Place: TypeAlias = tuple[int, int]
"""Layer and direction, 1 for the reverse one."""

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

MEANINGS = {
    "input": "input: what the layer reads",
    "i": "input gate: what is written",
    "f": "forget gate: what c keeps",
    "g": "candidate: what may be written",
    "o": "output gate: what is shown of c",
    "d": "depth gate: what comes from the c below",
    "r": "reset gate: what the candidate sees of h",
    "z": "update gate: what h keeps",
    "n": "candidate: what h may become",
    "v": "recurrent part of the candidate, before the reset",
    "s": "r * h: what the candidate sees of h",
    "q": "tanh(h): what the update gate sees of h",
    "x": "tanh(W x): what the candidate sees of x",
    "m": "o * tanh(c), before the projection",
    "a": "activation",
    "h": "output",
    "c": "cell state",
}
MEANINGS_OF_CELL = {
    ("mut1", "z"): "update gate: what is written",
    ("mut2", "z"): "update gate: what is written",
    ("mut3", "z"): "update gate: what is written",
    ("lstm_1997", "i"): "input gate of each block: what is written",
    ("lstm_1997", "o"): "output gate of each block: what is shown of c",
    ("jordan", "a"): "hidden units",
    ("jordan", "s"): "hidden units",
    ("jordan", "h"): "output, which is fed back",
    ("leaky", "a"): "activation: what h moves towards",
    ("grid", "f"): "forget gate: what m keeps",
    ("grid", "o"): "output gate: what is shown of m",
    ("grid", "m"): "memory",
}
GATES = frozenset("ifodrz")
"""Letters of what multiplies; with a logistic activation they are between 0 and 1."""
BETWEEN_0_AND_1 = ("sigmoid", "hard_sigmoid")

ARRAY_NAME = re.compile(r"(?P<letter>.+?)(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?")
VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})
MOST_LINES = 3
"""Inputs of no more values than this are drawn as lines, others as heat maps."""
LABEL_WIDTH = 0.105
"""Inches of the time axis that a label of one letter needs."""


@dataclass
class _Panel:
    """One row of the picture: a gate, a state or the input, [t, units] per column."""

    letter: str
    title: str
    bounded: bool
    values: dict[Place, Array] = field(default_factory=dict)

    def limits(self) -> tuple[float, float]:
        """Return the ends of the colour scale: 0 and 1, or symmetric about 0."""
        if self.bounded:
            return 0.0, 1.0
        sizes = np.concatenate([np.abs(a).ravel() for a in self.values.values()])
        sizes = sizes[np.isfinite(sizes)]
        largest = float(sizes.max(initial=0.0))
        return (-largest, largest) if largest > 0 else (-1.0, 1.0)


def gates(
    cache: Cache,
    row: SupportsIndex = 0,
    *,
    labels: Sequence[object] | None = None,
    layer: SupportsIndex | None = None,
    direction: SupportsIndex | None = None,
    units: slice | Sequence[int] | None = None,
    names: Iterable[str] | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw heat maps of the gates and states of one sequence over time.

    A row of the picture is a gate or a state, a column is a layer in one direction.
    Time runs to the right, the units downwards. Gates with a logistic activation are
    white at 0 and dark at 1; all else is blue above zero and orange below, to the
    largest size drawn. Nothing is drawn past the sequence's own end. NaN is violet.

    Parameters
    ----------
    cache : Cache
        From ``forward(..., gates=True)`` of a layer or a cell.
    row : int
        The row of the batch, 0 <= row < B; 0 for an unbatched call.
    labels : str or sequence, optional
        What stands below the time axis, one for each step, [T] or as many as the row
        has steps: the characters of a text, words, values. Without, the number of the
        step stands there and the first row is the input of the lowest layer drawn.
    layer, direction : int, optional
        The one layer, the one direction (1: reverse) to draw; all by default.
    units : slice or sequence of int, optional
        The units to draw, in this order; all by default. The input has all its values.
    names : iterable of str, optional
        The letters to draw, in this order, as in `cache.gates` and `cache.states`
        without the layer's suffix, and ``"input"``: ``"fc"``, ``("input", "z", "h")``.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure or SubFigure
        The figure drawn into. Its axes have the labels ``"f_l0"``, ``"c_l0_reverse"``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `cache` is no cache.
    ValueError
        If the cache has no gates, the row no steps, or there is no such row, layer,
        direction, unit or name.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> text = "to be or not"
    >>> x = np.eye(128, dtype="float32")[[ord(letter) for letter in text]]
    >>> layer = xr.LSTM(128, 16, seed=0)
    >>> y, state, cache = layer.forward(x, gates=True)
    >>> figure = xr.plot.gates(cache, labels=text)           # doctest: +SKIP
    >>> figure.savefig("gates.png")                          # doctest: +SKIP
    """
    mpl = _import_matplotlib()
    if not isinstance(cache, Cache):
        raise TypeError(f"cache: expected a Cache, got {_checks.describe(cache)}")
    known, places, steps = _collect(cache, row, units)
    places = _choose_places(places, layer, direction)
    panels = _choose_panels(known, places, names, labels is None)
    total = cache._run.inputs[0].shape[0]
    shown = None if labels is None else _check_labels(labels, steps, total)
    with mpl.rc_context(STYLE):
        target = figure or _new_figure(mpl, *_size_of(panels, places, steps))
        _draw_grid(target, panels, places, shown)
    return target


def gradient_flow(
    layer: Any,
    x: ArrayLike,
    dy: ArrayLike | None = None,
    *,
    state: Any = None,
    step: SupportsIndex | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw how an error grows or vanishes on its way back through time.

    Parameters
    ----------
    layer, x, dy, state, step
        As in `gradient_norms`, which computes what is drawn.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure or SubFigure
        The norms on a logarithmic scale, one line for each state of each layer, over
        the steps that the error of one step has gone back, or, with `dy`, over t.
        Zeros, and what is not finite, are gaps.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        As `gradient_norms`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x = np.random.default_rng(0).standard_normal((100, 8)).astype("float32")
    >>> figure = xr.plot.gradient_flow(xr.LSTM(8, 16, seed=0), x)   # doctest: +SKIP
    """
    mpl = _import_matplotlib()
    norms = gradient_norms(layer, x, dy, state=state, step=step)
    with mpl.rc_context(STYLE):
        target = figure or _new_figure(mpl, 6.4, 3.4)
        _draw_norms(target.subplots(), norms, dy is None, step)
    return target


def _import_matplotlib() -> Any:
    try:
        import matplotlib as mpl
        import matplotlib.figure  # binds nothing: `mpl.figure` is what is used
    except ImportError as error:
        raise ImportError(
            "exactrnn.plot needs matplotlib: pip install 'exactrnn[plot]'"
        ) from error
    return mpl


def _new_figure(mpl: Any, width: float, height: float) -> Figure:
    """Return a figure of this size in inches that pyplot does not know of."""
    figure: Figure = mpl.figure.Figure((width, height), 150, facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.05, w_pad=0.05)
    return figure


# What a cache holds of one row


def _collect(
    cache: Cache, row: SupportsIndex, units: slice | Sequence[int] | None
) -> tuple[dict[str, _Panel], list[Place], int]:
    """Return panels by letter, the places that they have, and the row's steps."""
    run, owner = cache._run, cache._owner
    steps, rows, _ = run.inputs[0].shape
    index = check_index("row", row, rows, "B")
    length = steps if run.lengths is None else int(run.lengths[index])
    if length == 0:
        raise ValueError(f"row: expected one with steps to draw, got {index} without")

    def one_row(array: Array) -> Array:
        """Return [length, units] of an array in the caller's layout."""
        if array.ndim == 3 and cache._batched and getattr(owner, "batch_first", False):
            array = array.swapaxes(0, 1)
        array = array.reshape(steps, rows, -1)[:length, index]
        return array[:, _check_units(units, array.shape[1])]

    panels: dict[str, _Panel] = {}
    places: set[Place] = set()
    # The blocks of a grid have one activation for all gates and no name of a cell.
    logistic = getattr(owner, "activations", BETWEEN_0_AND_1)[0] in BETWEEN_0_AND_1
    cell = getattr(owner, "cell", "grid")
    for name, array in (*cache.gates.items(), *cache.states.items()):
        letter, place = _split(name)
        kind, _, dimension = letter.partition("_")
        bounded = logistic and kind in GATES
        title = MEANINGS_OF_CELL.get((cell, kind), MEANINGS.get(kind, "value kept"))
        title += f", along the {dimension}" if dimension else ""
        panel = panels.setdefault(letter, _Panel(letter, title, bounded))
        panel.values.setdefault(place, one_row(array))
        places.add(place)
    if "h" in panels:
        panels["h"] = panels.pop("h")  # the output is the last thing a step makes
    read = _Panel("input", MEANINGS["input"], False)
    read.values = {  # a grid has one input, and its layers hand on more than h
        place: run.inputs[place[0]][:length, index]
        for place in places
        if place[0] < len(run.inputs)
    }
    return {"input": read, **panels}, sorted(places), length


def _split(name: str) -> tuple[str, Place]:
    """Return letter and place of an array's name: "f_l1_reverse" is f at (1, 1)."""
    match = ARRAY_NAME.fullmatch(name)
    assert match is not None
    place = int(match["layer"] or 0), int(match["reverse"] is not None)
    return match["letter"], place


def _choose_places(
    places: list[Place],
    layer: SupportsIndex | None,
    direction: SupportsIndex | None,
) -> list[Place]:
    """Return the columns to draw."""
    if layer is not None:
        count = 1 + max(place[0] for place in places)
        wanted = check_index("layer", layer, count, "num_layers")
        places = [place for place in places if place[0] == wanted]
    if direction is not None:
        count = 1 + max(place[1] for place in places)
        wanted = check_index("direction", direction, count, "D")
        places = [place for place in places if place[1] == wanted]
    return places


def _choose_panels(
    panels: dict[str, _Panel],
    places: list[Place],
    names: Iterable[str] | None,
    with_input: bool,
) -> list[_Panel]:
    """Return the rows to draw, each with the columns to draw alone."""
    known = [n for n in panels if any(place in panels[n].values for place in places)]
    if names is None:
        chosen = [name for name in known if with_input or name != "input"]
    else:
        chosen = list(dict.fromkeys(names))
        strange = [repr(name) for name in chosen if name not in known]
        if strange or not chosen:
            got = strange[0] if strange else "none"
            raise ValueError(f"names: expected some of {', '.join(known)}, got {got}")
    lowest = [place for place in places if place[0] == places[0][0]]
    for name in chosen:
        # What a layer reads is the output of the layer below, if that is drawn.
        shown = lowest if name == "input" else places
        values = panels[name].values
        panels[name].values = {p: a for p, a in values.items() if p in shown}
    return [panels[name] for name in chosen]


def _check_units(units: slice | Sequence[int] | None, count: int) -> Array | slice:
    if units is None or isinstance(units, slice):
        chosen = slice(None) if units is None else units
        if len(range(*chosen.indices(count))) == 0:
            raise ValueError(f"units: expected units below H={count}, got {units}")
        return chosen
    listed = [check_index("units", unit, count, "H") for unit in units]
    if not listed:
        raise ValueError(f"units: expected units below H={count}, got none")
    return np.array(listed)


def _check_labels(labels: Sequence[object], steps: int, total: int) -> list[str]:
    """Return one string for each step of the row."""
    if len(labels) not in (steps, total):
        wanted = f"T={total}" + (f" or {steps}" if steps < total else "")
        raise ValueError(f"labels: expected {wanted} labels, got {len(labels)}")
    return [str(label).translate(VISIBLE) for label in labels[:steps]]


# Drawing


def _size_of(
    panels: list[_Panel], places: list[Place], steps: int
) -> tuple[float, float]:
    """Return width and height in inches: what the steps and the units need."""
    column = min(max(3.0, LABEL_WIDTH * steps), max(3.0, 14.0 / len(places)))
    heights = [_height_of(panel) for panel in panels]
    return 1.3 + column * len(places), 0.7 + sum(heights) + 0.28 * len(heights)


def _height_of(panel: _Panel) -> float:
    count = max(array.shape[1] for array in panel.values.values())
    return 0.6 if _as_lines(panel) else min(max(0.35, 0.045 * count), 1.5)


def _as_lines(panel: _Panel) -> bool:
    widest = max(array.shape[1] for array in panel.values.values())
    return panel.letter == "input" and widest <= MOST_LINES


def _color_map(bounded: bool) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    colors = BLUES if bounded else (*ORANGES, *BLUES[1:])
    name = "exactrnn gate" if bounded else "exactrnn signed"
    return LinearSegmentedColormap.from_list(name, colors).with_extremes(bad=MISSING)


def _draw_grid(
    figure: Figure | SubFigure,
    panels: list[_Panel],
    places: list[Place],
    labels: list[str] | None,
) -> None:
    """Draw a row for each panel and a column for each place."""
    grid = figure.subplots(
        len(panels),
        len(places),
        squeeze=False,
        sharex=True,
        height_ratios=[_height_of(panel) for panel in panels],
    )
    for panel, line in zip(panels, grid, strict=True):
        drawn = []
        for place, axes in zip(places, line, strict=True):
            axes.set_label(panel.letter + _suffix(place))
            if place not in panel.values:
                axes.set_visible(False)
                continue
            drawn.append(axes)
            _draw_panel(axes, panel, place)
        drawn[0].set_title(panel.title, loc="left", pad=3, color=INK)
        drawn[0].set_ylabel(panel.letter, rotation=0, ha="right", va="center")
        if drawn[0].images:
            _draw_color_bar(figure, panel, list(line), drawn[0].images[0])
    for place, axes in zip(places, grid[-1], strict=True):
        axes.set_visible(True)
        _draw_time_axis(axes, labels)
        if len(places) > 1:
            way = ", reverse" if place[1] else ""
            axes.set_xlabel(f"{axes.get_xlabel()}  (layer {place[0]}{way})".strip())


def _draw_color_bar(
    figure: Figure | SubFigure, panel: _Panel, line: list[Axes], image: AxesImage
) -> None:
    """Draw the scale of a row at its right, as high as the row."""
    bar = figure.colorbar(
        image, ax=line, pad=0.01, fraction=0.02, aspect=_height_of(panel) / 0.09
    )
    bar.outline.set_visible(False)
    low, high = panel.limits()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(length=0)


def _suffix(place: Place) -> str:
    return f"_l{place[0]}" + ("_reverse" if place[1] else "")


def _draw_panel(axes: Axes, panel: _Panel, place: Place) -> None:
    values = panel.values[place]
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    if _as_lines(panel):
        axes.plot(values, color=BLUES[2], linewidth=1, marker=".", markersize=2)
        axes.margins(x=0)
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.grid(axis="y", color=TRACK, linewidth=0.8)
        return
    low, high = panel.limits()
    axes.imshow(
        np.ma.masked_invalid(values.T.astype(float)),
        cmap=_color_map(panel.bounded),
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    count = values.shape[1]
    axes.set_yticks([0, count - 1] if count > 1 else [0])


def _draw_time_axis(axes: Axes, labels: list[str] | None) -> None:
    """Write the labels, as many as have room, or the numbers of the steps."""
    axes.tick_params(labelbottom=True)
    if labels is None:
        _number_steps(axes)
        axes.set_xlabel("step t")
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


def _number_steps(axes: Axes) -> None:
    """Put ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def _draw_norms(
    axes: Axes, norms: dict[str, Array], single: bool, step: SupportsIndex | None
) -> None:
    """Draw one line for each state; over the way of the error if it is a single one."""
    axes.set_yscale("log")
    colors = {"h": (BLUES[2], BLUES[1]), "c": (ORANGES[1], ORANGES[2])}
    colors["m"] = colors["c"]
    for name, values in norms.items():
        letter, (layer, reverse) = _split(name)
        color = colors.get(letter, (MUTED, MUTED))[min(layer, 1)]
        drawn = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        over = np.arange(len(drawn))
        if single:
            last = 0 if reverse else len(drawn) - 1
            entered = last if step is None else operator.index(step)
            over = over - entered + 1 if reverse else entered - over + 1
        axes.plot(
            over,
            drawn,
            color=color,
            linewidth=1.6,
            linestyle="--" if reverse else "-",
            label=name,
        )
    if single:
        axes.axhline(1, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_xlabel("steps that the error has gone back")
        axes.set_xlim(left=0)
    else:
        axes.set_xlabel("step t that received the state")
    axes.set_title("norm of the gradient with respect to a state", loc="left")
    _number_steps(axes)
    axes.grid(color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.legend(frameon=False, ncols=max(1, len(norms) // 4))
