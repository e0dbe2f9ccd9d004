"""The picture of a training: what is drawn is what `fit` returned."""

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn import plot, train

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure


def fitted(**options):
    layer = xr.GRU(2, 3, seed=0)
    data = [(draw(4, 5, 2), draw(4, 5, 3, seed=1))]
    return train.fit(
        layer, data, train.mean_squared_error, train.Adam(layer), epochs=4, **options
    )


def curves_of(figure):
    """Return what is drawn, by the titles of the rows and the names of the lines."""
    return {
        axes.get_title(loc="left"): {
            line.get_label(): np.asarray(line.get_ydata())
            for line in axes.lines
            if not line.get_label().startswith("_")
        }
        for axes in figure.axes
    }


def test_every_curve_is_drawn_and_no_other():
    data = [(draw(4, 5, 2, seed=2), draw(4, 5, 3, seed=3))]
    found = fitted(validation=data, metrics={"rmse": train.rmse})
    curves = curves_of(plot.history(found))
    assert list(curves) == [
        "loss",
        "learning rate",
        "global norm of the gradients",
        "rmse",
    ]
    assert same_bits(
        curves["loss"], {"loss": found.loss, "validation": found.validation}
    )
    assert same_bits(curves["learning rate"]["lr"], found.lr)
    assert same_bits(curves["rmse"]["rmse"], found.metrics["rmse"])
    assert list(curves_of(plot.history(fitted()))["loss"]) == ["loss"]


def test_it_draws_into_a_figure_that_is_given():
    figure = Figure()
    assert plot.history(fitted(), figure=figure) is figure
    assert len(figure.axes) == 3
    marks = [line.get_xdata()[0] for a in figure.axes for line in a.lines[1:]]
    assert marks == [4, 4, 4]  # the best epoch


def test_what_is_no_history_is_named():
    with pytest.raises(TypeError, match="given: expected a History"):
        plot.history([1, 2])
    empty = fitted()._replace(loss=np.zeros(0))
    with pytest.raises(ValueError, match="given: expected a History of an epoch"):
        plot.history(empty)
