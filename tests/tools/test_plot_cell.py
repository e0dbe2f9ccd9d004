"""The graph of a cell: every value is drawn, lines go forwards, letters are right."""

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import cells
from exactrnn._graph.definition import MOST_GROUP
from exactrnn._graph.form import form_of
from exactrnn.plot import _cell

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch


class Ordered(xr.Cell):
    """Differences and quotients, with numbers too, and a value that is read twice."""

    states = ("h", "c", "k")

    def step(self, s):
        a = s.W("a") + s.R("a", s.c) + s.b("a")
        b = s.tanh(a) / (1 + a * a)
        return s.where(b < 0.5, s.h - b, s.v("k")), s.max(0.25, a) - 1, 0.75


def boxes_of(cell):
    return _cell.boxes_of(form_of(cell().definition))


def texts(figure):
    """Return what stands in the boxes."""
    return sorted(text.get_text() for text in figure.axes[0].texts)


LABELS = (
    "h'; c'; a: W x + R · + b; v k; tanh; {0} × {0}; + 1; {0} ÷ {1}; {0} < 0.5; "
    "{0} − {1}; {0} ? {1} : {2}; max(0.25, {0}); {0} − 1; 0.75; h; c; k"
)


def test_every_value_has_a_box():
    boxes = boxes_of(Ordered)
    assert sorted(box.label for box in boxes) == sorted(LABELS.split("; "))
    assert len(texts(xr.plot.cell(Ordered))) == len(boxes)


@pytest.mark.parametrize("name", cells.__all__)
def test_boxes_are_apart_and_lines_go_forwards(name):
    boxes = boxes_of(getattr(cells, name))
    columns = _cell.arrange(boxes)
    places, _ = _cell.places_of(boxes, columns)
    for column in columns:
        heights = np.sort([boxes[n].height for n in column])
        assert (np.diff(heights) >= _cell.BOX).all()
    for number, box in enumerate(boxes):
        for source in box.sources:
            assert boxes[source].column == box.column - 1
            right = places[source] + boxes[source].width / 2
            assert right < places[number] - box.width / 2


def test_letters_go_from_top_to_bottom():
    boxes = boxes_of(cells.SRU)
    written = [list(box.sources) for box in boxes]
    labels = [box.label for box in boxes]
    _cell.arrange(boxes)
    for box, before, label in zip(boxes, written, labels, strict=False):
        heights = [boxes[a].height for a in box.sources]
        assert heights == sorted(heights)
        if "{" in label:  # where each source went
            ways = [follow(boxes, a) for a in box.sources]
            assert box.label == label.format(*("abc"[ways.index(a)] for a in before))


def follow(boxes, number):
    """Return the box at which a line begins."""
    while not boxes[number].drawn:
        (number,) = boxes[number].sources
    return number


def test_cells_of_every_kind_are_drawn_into_a_figure_of_the_callers():
    layer = xr.Layer(cells.SLSTM(num_heads=2), 3, 4)
    figure = Figure()
    given = [cells.MGU, cells.MGU(), cells.MGU().definition.data, layer]
    assert xr.plot.cell(given[0], figure=figure) is figure
    assert len({tuple(texts(xr.plot.cell(one))) for one in given[:3]}) == 1
    axes = xr.plot.cell(layer).axes[0]
    assert axes.get_title(loc="left") == "SLSTM, 2 heads"
    assert sum(isinstance(p, FancyBboxPatch) for p in axes.patches) == len(axes.texts)


def test_as_many_values_as_are_normalised_together_are_drawn():
    names = tuple("abcdefgh"[:MOST_GROUP])

    class Normed(xr.Cell):
        def step(self, s):
            return sum(s.layer_norm(tuple(map(s.W, names)), names))

    (moments,) = (box for box in boxes_of(Normed) if box.label == "mean, scale")
    assert len(moments.sources) == MOST_GROUP
    assert "mean, scale" in texts(xr.plot.cell(Normed))


@pytest.mark.parametrize("given", [None, 3, xr.LSTM(2, 3), Figure])
def test_what_is_no_cell_is_refused(given):
    with pytest.raises(TypeError, match="cell: expected a Cell or its data"):
        xr.plot.cell(given)
