"""Pictures of attention: what is drawn is what the cache holds, within the ends."""

import numpy as np
import pytest
from decoders import SMALL, draw_problem, given_to, make_decoder

import exactrnn as xr

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

T, B, S = (SMALL[letter] for letter in "TBS")


def make_cache(**lengths):
    decoder = make_decoder({"cell": "gru"}, SMALL)
    problem = draw_problem(decoder, SMALL, ragged=False)
    return decoder.forward(**given_to(problem, "x", "memory"), **lengths)[2]


def image_of(axes, which=0):
    return np.asarray(axes.get_images()[which].get_array())


def test_a_map_has_the_shares_of_a_row_within_its_ends():
    cache = make_cache(lengths=[5, 3, 5], memory_lengths=[7, 4, 7])
    figure = xr.plot.attention(cache, 1, source="beau", target="lettre"[:3])
    axes = next(a for a in figure.axes if a.get_label() == "attention_l0")
    drawn = image_of(axes)
    assert drawn.shape == (3, 4)
    np.testing.assert_array_equal(drawn, cache.gates["attention_l0"][:3, 1, :4])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["l", "e", "t"]


def test_labels_of_all_places_are_cut_to_those_of_the_row():
    cache = make_cache(memory_lengths=[7, 4, 7])
    figure = xr.plot.attention(cache, 1, source="abcdefg")
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == ["a", "b", "c", "d"]


def test_an_image_has_a_view_for_each_step():
    cache = make_cache(memory_lengths=[6, 7, 7])
    picture = np.linspace(0, 1, 12 * 18).reshape(12, 18)
    own = Figure()
    figure = xr.plot.attention(cache, image=picture, grid=(2, 3), figure=own)
    assert figure is own
    views = [a for a in figure.axes if a.get_label().startswith("step")]
    assert len(views) == T
    for t, axes in enumerate(views):
        np.testing.assert_array_equal(image_of(axes), picture)
        shares = cache.gates["attention_l0"][t, 0, :6].reshape(2, 3)
        np.testing.assert_array_equal(image_of(axes, 1), shares)
    squarest = xr.plot.attention(cache, image=np.ones((4, 4, 3)))
    assert image_of(squarest.axes[0], 1).shape == (2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"row": 3}, "row: expected 0 <= row < B=3, got 3"),
        ({"row": 2}, "row: expected one with steps and places to draw, got 2 without"),
        ({"source": "abc"}, "source: expected S=7 labels, got 3"),
        ({"target": "abcdefg"}, "target: expected T=5 labels, got 7"),
        ({"grid": (1, 7)}, "grid: expected None without an image"),
        ({"image": np.ones((2, 2)), "grid": (2, 3)}, r"grid: expected rows \* columns"),
        ({"image": np.ones((2, 2)), "grid": 7}, r"grid: expected the tuple"),
        ({"image": np.ones((2, 2, 2))}, r"image: expected \[height, width\] or "),
        ({"image": [["a"]]}, r"image: expected numbers \[height, width\]"),
    ],
)
def test_what_cannot_be_drawn_is_named(given, message):
    cache = make_cache(memory_lengths=[7, 7, 0])
    with pytest.raises((ValueError, TypeError), match=message):
        xr.plot.attention(cache, **given)


def test_a_cache_of_another_layer_is_refused():
    _, _, cache = xr.GRU(2, 3).forward(np.ones((4, 2), np.float32))
    with pytest.raises(TypeError, match="cache: expected one of an AttentionDecoder"):
        xr.plot.attention(cache)
