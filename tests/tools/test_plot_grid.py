"""Pictures of grids of any dimensions: the points drawn are those the cache holds."""

import numpy as np
import pytest
from arrays import draw

import exactrnn as xr

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_plot import axes_of, drawn

from exactrnn import plot

H, B = 5, 3
SIZES = (4, 3, 2)
LENGTHS = np.array([[4, 3, 2], [2, 3, 1], [4, 0, 2]])


def make_cache(dims, *, lengths=None, **options):
    """Return the cache of a grid whose last side has an input."""
    sizes = SIZES[:dims]
    grid = xr.GridLSTM(2, H, dims=dims, sizes=sizes, seed=1, **options)
    return grid.forward(draw(*sizes[:-1], B, 2), lengths=lengths)[1]


def held(cache):
    """Return what the cache holds [sizes, B, H], by label."""
    arrays = cache.gates
    for k, border in enumerate(cache.points):
        parts = border if isinstance(border, tuple) else (border,)
        arrays |= {f"{s}_d{k}": a for s, a in zip("hm", parts, strict=False)}
    return arrays


def test_a_line_is_drawn_with_its_units():
    cache = make_cache(1)
    for figure in (plot.grid(cache, 2), plot.gates(cache, 2)):
        shown = drawn(figure)
        assert shown.keys() == held(cache).keys()
        for name, array in held(cache).items():
            assert np.array_equal(shown[name], array[:, 2])
    assert [name[0] for name in shown] == list("ifgomh")


def test_a_plane_is_drawn_in_the_mean_of_its_units():
    cache = make_cache(2)
    for units in (None, [3], slice(1, 4)):
        shown = drawn(plot.grid(cache, 1, units=units))
        assert shown.keys() == held(cache).keys()
        for name, array in held(cache).items():
            chosen = array[:, :, 1][..., units or slice(None)]
            assert np.array_equal(shown[name].T, chosen.mean(axis=-1))


def test_other_dimensions_stay_at_a_point():
    cache = make_cache(3)
    for at, index in (
        (None, np.s_[:, :, 1]),
        ((None, None, 0), np.s_[:, :, 0]),
        ((1, None, None), np.s_[1]),
        ([None, 2, None], np.s_[:, 2]),
    ):
        figure = plot.grid(cache, at=at)
        for name, array in held(cache).items():
            expected = array[..., 0, :][index].mean(axis=-1)
            assert np.array_equal(drawn(figure)[name].T, expected)
    for at, index in (((None, 2, 1), np.s_[:, 2, 1]), ((3, 0, None), np.s_[3, 0])):
        shown = drawn(plot.grid(cache, at=at, units=[4, 0]))
        for name, array in held(cache).items():
            assert np.array_equal(shown[name], array[..., 0, :][index][:, [4, 0]])


def test_nothing_is_drawn_past_the_lengths_of_a_row():
    cache = make_cache(3, lengths=LENGTHS)
    shown = drawn(plot.grid(cache, 1))
    for name, array in held(cache).items():
        assert np.array_equal(shown[name].T, array[:2, :, 0, 1].mean(axis=-1))
    with pytest.raises(ValueError, match=r"at\[0\]: expected 0 <= at\[0\] < n_0=2"):
        plot.grid(cache, 1, at=(2, None, 0))
    with pytest.raises(ValueError, match="row: expected one with points"):
        plot.grid(cache, 2)


def test_dimensions_without_memory_have_their_h_alone():
    cache = make_cache(2, kinds=("lstm", "tanh"))
    shown = drawn(plot.grid(cache))
    assert shown.keys() == held(cache).keys()
    assert "h_d1" in shown
    assert "m_d1" not in shown
    assert drawn(plot.grid(cache, names="m")).keys() == {"m_d0"}


def test_the_picture_says_what_runs_where():
    cache = make_cache(3)
    figure = plot.grid(cache, names="ih")
    assert figure.get_suptitle() == "d1 to the right, d0 down; d2 = 1; mean of 5 units"
    axes = axes_of(figure)
    assert axes["h_d2"].get_xlabel() == "d1  (transform along d2)"
    assert axes["i_d0"].get_title(loc="left") == "input gate: what is written"
    assert axes["i_d0"].images[0].get_clim() == (0, 1)
    low, high = axes["h_d0"].images[0].get_clim()
    assert -low == high == axes["h_d1"].images[0].get_clim()[1]
    line = plot.grid(cache, at=(0, None, 1), labels="abc")
    assert line.get_suptitle() == "d1 to the right, units down; d0 = 0; d2 = 1"
    texts = [text.get_text() for text in axes_of(line)["h_d0"].get_xticklabels()]
    assert texts == list("abc")


@pytest.mark.parametrize("at", [None, (0, None, 1)], ids=["plane", "line"])
def test_texts_stay_inside_the_figure(at):
    figure = plot.grid(make_cache(3), at=at)
    FigureCanvasAgg(figure).draw()
    for axes in axes_of(figure).values():
        for text in (axes._left_title, axes.yaxis.label, axes.xaxis.label):
            box = text.get_window_extent()
            inside = figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1)
            assert inside or not text.get_text(), text


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (r"row: expected 0 <= row < B=3, got 3", {"row": 3}),
        (r"at: expected a point or None for each of 2 .*got 3", {"at": (1, 0, None)}),
        (r"at: expected a point or None for each of 2 .*got 'ab'", {"at": "ab"}),
        (r"at: expected None for one or two", {"at": (1, 0)}),
        (r"at\[1\]: expected 0 <= at\[1\] < n_1=3, got -1", {"at": (None, -1)}),
        (r"units: expected 0 <= units < H=5, got 5", {"units": [5]}),
        (r"names: expected some of i, f, g, o, m, h, got 'c'", {"names": "fc"}),
        (r"labels: expected T=3 labels, got 2", {"labels": "ab"}),
    ],
)
def test_error_names_the_argument(message, options):
    with pytest.raises(ValueError, match=message):
        plot.grid(make_cache(2), **options)


def test_layers_are_not_those_of_a_grid():
    cache = make_cache(2)
    for name in ("layer", "direction"):
        with pytest.raises(ValueError, match=f"{name}: expected None for a grid"):
            plot.gates(cache, **{name: 0})
    layer = xr.TimeDepthGridLSTM(2, H)
    other = layer.forward(draw(4, B, 2), gates=True)[2]
    with pytest.raises(TypeError, match="cache: expected a GridCache, got Cache"):
        plot.grid(other)
