"""A picture of how a training went: losses, learning rate, norms of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from exactrnn._checks import Array, describe
from exactrnn.plot._bands import STYLE, import_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from typing_extensions import TypeVar

    AnyFigure = TypeVar("AnyFigure", bound=Figure | SubFigure, default=Figure)

__all__ = ["history"]

ROWS = (("loss", "validation"), ("lr",), ("norm",))
"""What is drawn into one picture each, above the metrics."""
TITLES = {
    "loss": "loss",
    "lr": "learning rate",
    "norm": "global norm of the gradients",
}
COLORS = {"loss": "#2a6f97", "validation": "#d1662b"}
WIDTH, ROW_HEIGHT = 6.0, 1.3


def history(given: Any, *, figure: AnyFigure | None = None) -> AnyFigure:
    """Draw what `exactrnn.train.fit` returned.

    Loss and validation loss are one row of the picture, learning rate, norm of the
    gradients and each metric one each. A dotted line is the best epoch. What is NaN in
    every epoch, as a validation that there is not, is left out.

    Parameters
    ----------
    given : History
        From `fit`.
    figure : matplotlib Figure or SubFigure, optional
        Drawn into; a new one by default.

    Returns
    -------
    Figure or SubFigure
        The figure.

    Raises
    ------
    TypeError
        If it is no history.
    ValueError
        If it has no epoch.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.GRU(1, 2, seed=0)
    >>> data = [(np.ones((3, 1, 1), np.float32), np.ones((3, 1, 2), np.float32))]
    >>> mean_squared_error, Adam = xr.train.mean_squared_error, xr.train.Adam
    >>> found = xr.train.fit(layer, data, mean_squared_error, Adam(layer), epochs=3)
    >>> figure = xr.plot.history(found)  # doctest: +SKIP
    """
    rows = _rows_of(given)
    mpl = import_matplotlib()
    with mpl.rc_context(STYLE):
        height = ROW_HEIGHT * len(rows) + 0.4
        target = cast("AnyFigure", figure or new_figure(mpl, WIDTH, height))
        axes = target.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for one, (title, curves) in zip(axes, rows.items(), strict=True):
            _draw(one, title, curves)
            if given.best >= 0:
                one.axvline(given.best + 1, color="#888888", linestyle=":")
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return target


def _rows_of(given: Any) -> dict[str, dict[str, Array]]:
    """Return the curves of each row of the picture, by its title."""
    names = {name for row in ROWS for name in row} | {"metrics", "best"}
    if not all(hasattr(given, name) for name in names):
        got = describe(given)
        raise TypeError(f"given: expected a History, as fit returns it, got {got}")
    if len(given.loss) == 0:
        raise ValueError("given: expected a History of an epoch or more, got none")
    rows = {
        TITLES[row[0]]: {name: getattr(given, name) for name in row} for row in ROWS
    }
    rows |= {name: {name: curve} for name, curve in given.metrics.items()}
    kept = {
        title: {name: c for name, c in curves.items() if not np.isnan(c).all()}
        for title, curves in rows.items()
    }
    return {title: curves for title, curves in kept.items() if curves}


def _draw(axes: Axes, title: str, curves: dict[str, Array]) -> None:
    """Draw one row: a line with a dot for each epoch."""
    for name, curve in curves.items():
        epochs = np.arange(1, len(curve) + 1)
        color = COLORS.get(name, COLORS["loss"])
        axes.plot(epochs, curve, color=color, label=name, marker=".", linewidth=1)
    axes.set_title(title, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False)
