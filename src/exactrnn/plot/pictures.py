"""Pictures of what a layer does: its gates and states over time, how far errors reach.

The functions return a matplotlib `Figure` and leave matplotlib's global state alone:
what they have in common is said in the package's docstring.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._spec.activations import name_of
from exactrnn._spec.recurrent import Config
from exactrnn.layers._results import Cache
from exactrnn.layers.grid import GridCache
from exactrnn.plot._bands import (
    BETWEEN_0_AND_1,
    BLUES,
    MEANINGS,
    MUTED,
    ORANGES,
    STYLE,
    TRACK,
    Band,
    Place,
    check_labels,
    check_units,
    choose_bands,
    draw_grid,
    import_matplotlib,
    meaning_of,
    new_figure,
    number_steps,
    size_of,
)
from exactrnn.plot._flow import check_index, gradient_norms
from exactrnn.plot._grid import PLANE_WIDTH, GridView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from typing_extensions import TypeVar  # which knows defaults; for type checkers

    AnyFigure = TypeVar("AnyFigure", bound=Figure | SubFigure, default=Figure)

__all__ = ["gates", "gradient_flow", "gradient_norms", "grid"]

ARRAY_NAME = re.compile(r"(?P<letter>.+?)(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?")


def gates(
    cache: Cache | GridCache,
    row: SupportsIndex = 0,
    *,
    labels: Sequence[object] | None = None,
    layer: SupportsIndex | None = None,
    direction: SupportsIndex | None = None,
    units: slice | Sequence[int] | None = None,
    names: Iterable[str] | None = None,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draw heat maps of the gates and states of one sequence over time.

    A row of the picture is a gate or a state, a column is a layer in one direction.
    Time runs to the right, the units downwards. Gates with a logistic activation are
    white at 0 and dark at 1; all else is blue above zero and orange below, to the
    largest size drawn. Nothing is drawn past the sequence's own end. NaN is violet.

    Parameters
    ----------
    cache : Cache or GridCache
        From ``forward(..., gates=True)`` of a layer or a cell. That of a `GridLSTM` is
        drawn as `grid` does.
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
    if isinstance(cache, GridCache):
        for name, value in (("layer", layer), ("direction", direction)):
            if value is not None:
                got = _checks.describe(value)
                raise ValueError(f"{name}: expected None for a grid, got {got}")
        options = {"units": units, "names": names, "labels": labels, "figure": figure}
        return cast("AnyFigure", grid(cache, row, **cast(Any, options)))
    mpl = import_matplotlib()
    if not isinstance(cache, Cache):
        raise TypeError(f"cache: expected a Cache, got {_checks.describe(cache)}")
    known, places, steps = _collect(cache, row, units)
    places = _choose_places(places, layer, direction)
    bands = choose_bands(known, places, names, labels is None)
    total = len(_time_major(cache, cache.x))
    shown = None if labels is None else check_labels(labels, steps, total)
    with mpl.rc_context(STYLE):
        target = cast(
            "AnyFigure", figure or new_figure(mpl, *size_of(bands, places, steps))
        )
        draw_grid(target, bands, places, shown)
    return target


def grid(
    cache: GridCache,
    row: SupportsIndex = 0,
    *,
    at: Sequence[SupportsIndex | None] | None = None,
    units: slice | Sequence[int] | None = None,
    names: Iterable[str] | None = None,
    labels: Sequence[object] | None = None,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draw heat maps of the gates and states of one `GridLSTM` over its points.

    A row of the picture is a gate or a state, a column is the transform along one
    dimension, d0, d1, ... `at` says which points are drawn. Over one dimension they run
    to the right and the units downwards. Over two the first runs downwards and the
    second to the right, each point in the mean of its units. Colours are as in `gates`.

    Parameters
    ----------
    cache : GridCache
        From `GridLSTM.forward`.
    row : int
        The row of the batch, 0 <= row < B.
    at : sequence of int or None, optional
        For each dimension the one point that is drawn, or None for all that the row
        has; None for one or two dimensions. By default all points of the first two
        dimensions, at the row's last point of the others.
    units : slice or sequence of int, optional
        The units to draw, or to take the mean of; all by default.
    names : iterable of str, optional
        The letters to draw, in this order, of ``"ifgomh"``.
    labels : str or sequence, optional
        What stands below the axis that runs to the right, one for each point.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure or SubFigure
        The figure drawn into. Its axes have the labels ``"f_d0"``, ``"h_d1"``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `cache` is no cache of a `GridLSTM`.
    ValueError
        If the row has no points, or there is no such row, point, unit or name.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.GridLSTM(1, 8, dims=3, sizes=(None, None, 2), seed=0)
    >>> ends, cache = layer.forward(np.ones((12, 16, 1, 1), "float32"))
    >>> figure = xr.plot.grid(cache)                               # doctest: +SKIP
    >>> column = xr.plot.grid(cache, at=(None, 3, 1))              # doctest: +SKIP
    """
    mpl = import_matplotlib()
    if not isinstance(cache, GridCache):
        raise TypeError(f"cache: expected a GridCache, got {_checks.describe(cache)}")
    view = GridView(cache, row, at, units, names)
    total = view.sizes[view.over[-1]]
    shown = None if labels is None else check_labels(labels, view.steps, total)
    width, height = size_of(view.bands, view.places, view.steps)
    if view.is_plane:
        width = 1.3 + PLANE_WIDTH * max(2, len(view.places))
    with mpl.rc_context(STYLE):
        target = cast("AnyFigure", figure or new_figure(mpl, width, height + 0.2))
        target.suptitle(view.title, fontsize=8)
        draw_grid(target, view.bands, view.places, shown, f"d{view.over[-1]}")
    return target


def gradient_flow(
    layer: Any,
    x: ArrayLike,
    dy: ArrayLike | None = None,
    *,
    state: Any = None,
    step: SupportsIndex | None = None,
    figure: AnyFigure | None = None,
) -> AnyFigure:
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
    mpl = import_matplotlib()
    norms = gradient_norms(layer, x, dy, state=state, step=step)
    with mpl.rc_context(STYLE):
        target = cast("AnyFigure", figure or new_figure(mpl, 6.4, 3.4))
        _draw_norms(target.subplots(), norms, dy is None, step)
    return target


# What a cache holds of one row


def _collect(
    cache: Cache, row: SupportsIndex, units: slice | Sequence[int] | None
) -> tuple[dict[str, Band], list[Place], int]:
    """Return bands by letter, the places that they have, and the row's steps."""
    owner, (steps, rows, _) = cache.layer, _time_major(cache, cache.x).shape
    index, lengths = check_index("row", row, rows, "B"), cache.lengths
    length = steps if lengths is None else int(lengths[index])
    if length == 0:
        raise ValueError(f"row: expected one with steps to draw, got {index} without")

    def one_row(array: Array) -> Array:
        """Return [length, units] of an array in the caller's layout."""
        array = _time_major(cache, array)[:length, index]
        return array[:, check_units(units, array.shape[1])]

    bands: dict[str, Band] = {}
    places: set[Place] = set()
    logistic = _has_logistic_gates(owner)
    record = owner.record
    for name, array in (*cache.gates.items(), *cache.states.items()):
        letter, place = _split(name)
        kind, _, dimension = letter.partition("_")
        bounded = logistic and kind in record.gates
        title = meaning_of(record, kind)
        title += f", along the {dimension}" if dimension else ""
        band = bands.setdefault(letter, Band(letter, title, bounded))
        band.values.setdefault(place, one_row(array))
        places.add(place)
    if "h" in bands:
        bands["h"] = bands.pop("h")  # the output is the last thing a step makes
    read = Band("input", MEANINGS["input"], False)
    inputs = list(_inputs_of(cache))
    read.values = {  # a grid has one input, and its layers hand on more than h
        place: inputs[place.layer][:length, index]
        for place in places
        if place.layer < len(inputs)
    }
    return {"input": read, **bands}, sorted(places), length


def _time_major(cache: Cache, array: Array) -> Array:
    """Return a view [T, B, n] of an array of the cache."""
    return cache._layout.inward(array)


def _inputs_of(cache: Cache) -> Iterator[Array]:
    """Give what each layer read, [T, B, n]: after dropout, the h of the one below."""
    yield _time_major(cache, cache.x)
    layer, states = cache.layer, cache.states
    for below in range(layer.num_layers - 1):
        ends = ("", "_reverse")[: layer.num_directions]
        parts = [states.get(f"h_l{below}{end}") for end in ends]
        if any(part is None for part in parts):
            return
        both = [_time_major(cache, part) for part in parts if part is not None]
        h = np.concatenate(both, axis=2)
        yield h * cache.masks[below] if cache.masks else h


def _has_logistic_gates(owner: Any) -> bool:
    """Tell whether gates are between 0 and 1, in all directions.

    Grids and the LSTM of 1997 have no choice of activations: gates are logistic.
    """
    spec = owner._spec
    if not isinstance(spec, Config) or not spec.activations:
        return True
    chosen = [spec.activations_of(d)[0] for d in range(spec.directions)]
    return all(name_of(activation) in BETWEEN_0_AND_1 for activation in chosen)


def _split(name: str) -> tuple[str, Place]:
    """Return letter and place of an array's name: "f_l1_reverse" is f at (1, 1)."""
    match = ARRAY_NAME.fullmatch(name)
    assert match is not None
    place = Place(int(match["layer"] or 0), int(match["reverse"] is not None))
    return match["letter"], place


def _choose_places(
    places: list[Place],
    layer: SupportsIndex | None,
    direction: SupportsIndex | None,
) -> list[Place]:
    """Return the columns to draw."""
    if layer is not None:
        count = 1 + max(place.layer for place in places)
        wanted = check_index("layer", layer, count, "num_layers")
        places = [place for place in places if place.layer == wanted]
    if direction is not None:
        count = 1 + max(place.direction for place in places)
        wanted = check_index("direction", direction, count, "D")
        places = [place for place in places if place.direction == wanted]
    return places


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
    number_steps(axes)
    axes.grid(color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.legend(frameon=False, ncols=max(1, len(norms) // 4))
