"""Where an attention decoder looked: steps against places, or laid over an image.

What the figure has in common with the others is said in the package's docstring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._checks.limits import shorten
from exactrnn.layers.attention import DecoderCache
from exactrnn.plot._bands import (
    BLUES,
    LABEL_WIDTH,
    STYLE,
    VISIBLE,
    color_map,
    import_matplotlib,
    new_figure,
)
from exactrnn.plot._flow import check_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from typing_extensions import TypeVar

    AnyFigure = TypeVar("AnyFigure", bound=Figure | SubFigure, default=Figure)

__all__ = ["attention"]

VIEWS = 6
"""Images side by side."""
VIEW_WIDTH = 1.6
"""Inches."""


def attention(
    cache: DecoderCache,
    row: SupportsIndex = 0,
    *,
    source: Sequence[object] | None = None,
    target: Sequence[object] | None = None,
    image: ArrayLike | None = None,
    grid: tuple[int, int] | None = None,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draw where an attention decoder looked in one sequence.

    Steps run downwards, the places of the memory to the right; a share of 0 is white,
    one of 1 dark. Nothing is drawn past the ends of the row and of its memory. Over an
    `image`, whose parts the places are, there is a view for each step: the brighter
    the image, the more it was looked at.

    Parameters
    ----------
    cache : DecoderCache
        From `AttentionDecoder.forward`.
    row : int
        The row of the batch, 0 <= row < B.
    source, target : str or sequence, optional
        What stands at the places and at the steps, [S] and [T] or as many as the row
        has: letters, words. Their numbers by default.
    image : array_like, optional
        [height, width], or with colours [height, width, 3], of 0 to 1.
    grid : tuple of int, optional
        Rows and columns of the places over the image, row by row; as square as S is by
        default.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure or SubFigure
        The figure drawn into; its axes have the labels ``"attention_l0"``, or with an
        image ``"step 0"`` and so on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `cache` is no cache of an attention decoder.
    ValueError
        If the row has no steps or no places, there is no such row, the labels are too
        few, or the grid has not as many places as the row.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> decoder = xr.AttentionDecoder("gru", 2, 8, 4, seed=0)
    >>> x, memory = np.ones((3, 1, 2), np.float32), np.ones((5, 1, 4), np.float32)
    >>> y, h, cache = decoder.forward(x, memory)
    >>> figure = xr.plot.attention(cache, source="hello")    # doctest: +SKIP
    """
    mpl = import_matplotlib()
    shares = _shares_of(cache, row)
    T, _, S = cache.gates["attention_l0"].shape
    places = _labels("source", source, shares.shape[1], S)
    steps = _labels("target", target, shares.shape[0], T)
    if image is None:
        if grid is not None:
            raise ValueError("grid: expected None without an image")
        with mpl.rc_context(STYLE):
            drawn = cast("AnyFigure", figure or new_figure(mpl, *_size_of(shares)))
            _draw_map(drawn, shares, places, steps)
        return drawn
    picture = _check_image(image)
    form = _check_grid(grid, shares.shape[1])
    with mpl.rc_context(STYLE):
        size = _views_size(picture, len(shares))
        drawn = cast("AnyFigure", figure or new_figure(mpl, *size))
        _draw_views(drawn, shares.reshape(-1, *form), picture, steps)
    return drawn


def _shares_of(cache: object, row: SupportsIndex) -> Array:
    """Return the attention [steps, places] of a row, within its ends."""
    if not isinstance(cache, DecoderCache):
        got = _checks.describe(cache)
        raise TypeError(f"cache: expected one of an AttentionDecoder, got {got}")
    shares = cache.gates["attention_l0"]
    T, B, S = shares.shape
    b = check_index("row", row, B, "B")
    steps = T if cache.lengths is None else int(cache.lengths[b])
    places = S if cache.memory_lengths is None else int(cache.memory_lengths[b])
    if steps == 0 or places == 0:
        got = f"got {b} without"
        raise ValueError(f"row: expected one with steps and places to draw, {got}")
    return shares[:steps, b, :places]


def _labels(
    name: str, labels: Sequence[object] | None, count: int, total: int
) -> list[str]:
    """Return a text for each place or step of the row."""
    if labels is None:
        return [str(k) for k in range(count)]
    if len(labels) not in (count, total):
        letter = "S" if name == "source" else "T"
        wanted = f"{letter}={total}" + (f" or {count}" if count < total else "")
        raise ValueError(f"{name}: expected {wanted} labels, got {len(labels)}")
    return [str(label).translate(VISIBLE) for label in labels[:count]]


def _check_image(image: object) -> Array:
    """Return an image [height, width] or [height, width, 3] of floats."""
    array = np.asarray(_checks.as_any_array("image", image))
    if array.dtype.kind not in "fiub" or 0 in array.shape:
        got = _checks.describe(array)
        raise ValueError(f"image: expected numbers [height, width], got {got}")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        expected = "[height, width] or [height, width, 3]"
        raise ValueError(f"image: expected {expected}, got {shorten(array.shape)}")
    return array.astype(np.float64)


def _check_grid(grid: object, places: int) -> tuple[int, int]:
    """Return rows and columns of the places."""
    if grid is None:
        rows = next(n for n in range(math.isqrt(places), 0, -1) if places % n == 0)
        return rows, places // rows
    if not isinstance(grid, tuple | list) or len(grid) != 2:
        got = _checks.describe(grid)
        raise TypeError(f"grid: expected the tuple (rows, columns), got {got}")
    rows, columns = (_checks.check_positive("grid", part) for part in grid)
    if rows * columns != places:
        raise ValueError(
            f"grid: expected rows * columns = {places} places, got {rows} * {columns}"
        )
    return rows, columns


# Drawing


def _size_of(shares: Array) -> tuple[float, float]:
    """Return width and height of a map in inches: what its labels need."""
    steps, places = shares.shape
    width, height = (
        min(max(2.2, LABEL_WIDTH * 1.6 * n), 14.0) for n in (places, steps)
    )
    return 1.2 + width, 0.8 + height


def _draw_map(
    figure: Figure | SubFigure, shares: Array, places: list[str], steps: list[str]
) -> None:
    axes = figure.subplots()
    axes.set_label("attention_l0")
    drawn = axes.imshow(
        np.ma.masked_invalid(shares.astype(float)),
        cmap=color_map(True),
        vmin=0.0,
        vmax=1.0,
        aspect="auto",
        interpolation="nearest",
    )
    letters = all(len(label) <= 1 for label in places)
    stride = math.ceil(len(places) / 80)
    axes.set_xticks(range(0, len(places), stride), places[::stride])
    axes.tick_params(axis="x", rotation=0 if letters else 90)
    stride = math.ceil(len(steps) / 80)
    axes.set_yticks(range(0, len(steps), stride), steps[::stride])
    axes.set_xlabel("place of the memory")
    axes.set_ylabel("step")
    _bare(axes)
    bar = figure.colorbar(drawn, ax=axes, pad=0.01, fraction=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _views_size(picture: Array, count: int) -> tuple[float, float]:
    """Return width and height of all views in inches."""
    columns = min(count, VIEWS)
    high = VIEW_WIDTH * picture.shape[0] / picture.shape[1] + 0.25
    return VIEW_WIDTH * columns, high * math.ceil(count / VIEWS)


def _draw_views(
    figure: Figure | SubFigure, shares: Array, picture: Array, steps: list[str]
) -> None:
    columns = min(len(shares), VIEWS)
    lines = math.ceil(len(shares) / columns)
    grid: Any = figure.subplots(lines, columns, squeeze=False)
    high, wide = picture.shape[:2]
    for t, axes in enumerate(grid.flat):
        if t >= len(shares):
            axes.set_axis_off()
            continue
        axes.set_label(f"step {t}")
        axes.set_title(steps[t])
        extent = (-0.5, wide - 0.5, high - 0.5, -0.5)
        axes.imshow(picture, cmap="gray", extent=extent)
        axes.imshow(
            shares[t].astype(float),
            cmap=_veil(),
            vmin=0.0,
            vmax=max(float(shares[t].max()), 1e-12),
            extent=extent,
            interpolation="nearest",
        )
        axes.set_xticks([])
        axes.set_yticks([])
        _bare(axes)


def _veil() -> Any:
    """Return a scale from dark, which hides, to clear."""
    from matplotlib.colors import LinearSegmentedColormap

    dark = BLUES[-1]
    return LinearSegmentedColormap.from_list("veil", [dark + "d0", dark + "00"])


def _bare(axes: Axes) -> None:
    """Take away what is neither picture nor label."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
