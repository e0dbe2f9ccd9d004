"""Pictures: what is drawn is what the cache holds, and nothing past a row's end.

The pictures' data are read back from the axes, by the label that each has. Every check
is also seen to fail, on a drawing with a planted fault.
"""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits

import exactrnn as xr

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from exactrnn import plot
from exactrnn.plot._bands import MISSING

T, B, I, H = 7, 3, 5, 6
LENGTHS = [7, 4, 0]

LAYERS = {
    "rnn": xr.RNN,
    "lstm": xr.LSTM,
    "lstm-peepholes": partial(xr.LSTM, peepholes="ifo"),
    "lstm-cifg": partial(xr.LSTM, coupled="input", peepholes="io"),
    "lstm-no-forget": partial(xr.LSTM, omit="f"),
    "lstm-gates-of-relu": partial(xr.LSTM, activations=("relu", "tanh", "tanh")),
    "lstm-full-gates": partial(xr.LSTM, full_gate_recurrence=True),
    "lstm-projected": partial(xr.LSTM, proj_size=2),
    "lstm-1997": partial(xr.LSTM1997, block_size=3),
    "gru": xr.GRU,
    "gru-before": partial(xr.GRU, reset_after=False),
    "mut1": xr.MUT1,
    "mut2": xr.MUT2,
    "mut3": xr.MUT3,
    "jordan": partial(xr.JordanRNN, output_size=2),
    "leaky": partial(xr.LeakyRNN, leak=0.3),
    "clockwork": partial(xr.ClockworkRNN, periods=(1, 2)),
    "depth-gated": partial(xr.DepthGatedLSTM, num_layers=2),
    "grid": partial(xr.TimeDepthGridLSTM, num_layers=2),
}


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def make(request):
    """A class with options that make it each cell, to be called with sizes."""
    return request.param


def run(layer, *, lengths=None, seed=0):
    """Return x and the cache, gates kept, of a batch in the layer's layout."""
    shape = (B, T, I) if layer.batch_first else (T, B, I)
    x = draw(*shape, dtype=layer.dtype, seed=seed)
    return x, layer.forward(x, lengths=lengths, gates=True)[2]


def axes_of(figure):
    """Return the axes with something drawn, by label; colour bars have none."""
    return {
        axes.get_label(): axes
        for axes in figure.axes
        if axes.get_visible() and not axes.get_label().startswith("<")
    }


def drawn(figure):
    """Return what the heat maps show, [t, units] by label."""
    maps = {n: axes for n, axes in axes_of(figure).items() if axes.images}
    return {n: axes.images[0].get_array().T for n, axes in maps.items()}


def held(cache):
    """Return what the cache holds, by label."""
    return {**cache.states, **cache.gates}


def assert_shows_row(figure, cache, row, length):
    """Check that every gate and state of this row is drawn, and only to its end."""
    shown = {n: a for n, a in drawn(figure).items() if not n.startswith("input")}
    assert shown.keys() == held(cache).keys()
    for name, array in held(cache).items():
        assert shown[name].shape == (length, array.shape[2])
        assert np.array_equal(shown[name], array[:length, row])
        image = axes_of(figure)[name].images[0]
        assert tuple(image.get_extent()[:2]) == (-0.5, length - 0.5)
        assert axes_of(figure)[name].get_xlim() == (-0.5, length - 0.5)


# Heat maps


def test_every_gate_and_state_of_a_row_is_drawn(make):
    layer = make(I, H, seed=1)
    _, cache = run(layer, lengths=LENGTHS)
    for row in (0, 1):
        figure = plot.gates(cache, row)
        assert isinstance(figure, Figure)
        assert_shows_row(figure, cache, row, LENGTHS[row])


def test_what_is_drawn_last_is_the_output(make):
    layer = make(I, H, seed=1)
    x = draw(T, I)
    names = ["h_depth"] if isinstance(layer, xr.TimeDepthGridLSTM) else ["h"]
    figure = plot.gates(layer.forward(x, gates=True)[2], names=names)
    shown = list(drawn(figure).values())[-1]
    assert np.array_equal(shown, layer(x)[0])


@pytest.mark.parametrize("name", ["lstm", "gru-before", "clockwork"])
def test_layers_and_directions_stand_side_by_side(name):
    layer = LAYERS[name](I, H, num_layers=2, bidirectional=True, seed=1)
    _, cache = run(layer, lengths=LENGTHS)
    assert_shows_row(plot.gates(cache, 1), cache, 1, 4)
    one = plot.gates(cache, layer=1, direction=1)
    ends = {name.partition("_")[2] for name in drawn(one)}
    assert ends == {"l1_reverse"}


def plant_row(cache, monkeypatch):
    """The first row, whatever was asked for."""
    monkeypatch.setattr(plot.pictures, "check_index", lambda *_: 0)
    return plot.gates(cache, 1)


def plant_length(cache, monkeypatch):
    """One step past the row's end."""
    longer = cache.lengths.copy()
    longer[1] += 1
    monkeypatch.setattr(xr.Cache, "lengths", property(lambda _: longer))
    figure = plot.gates(cache, 1)
    monkeypatch.undo()
    return figure


def plant_swap(cache, monkeypatch):
    """The cell state with the name of the output."""
    names = dict(zip(("h_l0", "c_l0"), cache.states.values(), strict=True))
    swapped = {"h_l0": names["c_l0"], "c_l0": names["h_l0"]}
    monkeypatch.setattr(xr.Cache, "states", property(lambda _: swapped))
    figure = plot.gates(cache, 1)
    monkeypatch.undo()
    return figure


def plant_gap(cache, monkeypatch):
    """A gate left out."""
    return plot.gates(cache, 1, names=("input", *"ifghc"))


@pytest.mark.parametrize("plant", [plant_row, plant_length, plant_swap, plant_gap])
def test_planted_fault_is_seen(plant, monkeypatch):
    _, cache = run(xr.LSTM(I, H, seed=1), lengths=LENGTHS)
    assert_shows_row(plot.gates(cache, 1), cache, 1, 4)
    with pytest.raises(AssertionError):
        assert_shows_row(plant(cache, monkeypatch), cache, 1, 4)


@pytest.mark.parametrize("batch_first", [False, True])
def test_layout_does_not_change_the_picture(batch_first):
    plain = xr.GRU(I, H, num_layers=2, seed=1)
    layer = xr.GRU(I, H, num_layers=2, batch_first=batch_first, seed=1)
    x, cache = run(plain)
    given = x.swapaxes(0, 1) if batch_first else x
    whole = plot.gates(layer.forward(given, gates=True)[2], 2)
    alone = plot.gates(layer.forward(x[:, 2], gates=True)[2])
    expected = drawn(plot.gates(cache, 2))
    assert same_bits(drawn(whole), expected)
    assert same_bits(drawn(alone), expected)


@pytest.mark.parametrize("rows", [(), (B,)])
def test_single_step_is_drawn_as_one_step(rows):
    cell = xr.LSTMCell(I, H, seed=1)
    x = draw(*rows, I)
    (h, c), cache = cell.forward(x, gates=True)
    shown = drawn(plot.gates(cache, B - 1 if rows else 0))
    assert shown["h_l0"].shape == (1, H)
    assert np.array_equal(shown["c_l0"][0], c[-1] if rows else c)
    assert np.array_equal(shown["h_l0"][0], h[-1] if rows else h)


def test_gates_between_0_and_1_are_told_from_signed_values():
    _, cache = run(xr.LSTM(I, H, seed=1))
    axes = axes_of(plot.gates(cache))
    maps = {name: axes[f"{name}_l0"].images[0] for name in "ifgohc"}
    for name in "ifo":
        assert maps[name].get_clim() == (0, 1)
        low, high = maps[name].cmap([0.0, 1.0])[:, :3].sum(axis=1)
        assert low > 2.5  # white where the gate is shut
        assert high < 1.0
    for name in "ghc":
        values = maps[name].get_array()
        low, high = maps[name].get_clim()
        assert -low == high == np.abs(values).max()
        middle = maps[name].cmap(0.5)
        assert min(middle[:3]) > 0.9  # white at 0
        negative, positive = maps[name].cmap([0.2, 0.8])
        assert negative[0] > negative[2]  # orange
        assert positive[2] > positive[0]  # blue
    assert {map_.cmap.name for map_ in maps.values()} == {
        "exactrnn gate",
        "exactrnn signed",
    }


def test_gate_of_another_activation_is_signed():
    _, cache = run(LAYERS["lstm-gates-of-relu"](I, H, seed=1))
    image = axes_of(plot.gates(cache))["f_l0"].images[0]
    low, high = image.get_clim()
    assert low == -high


def test_gates_are_signed_if_those_of_one_direction_are():
    activations = ("sigmoid", "tanh", "relu", "tanh")
    for chosen, is_signed in ((activations, True), (activations[:2] * 2, False)):
        layer = xr.GRU(I, H, activations=chosen, bidirectional=True, seed=1)
        _, cache = run(layer)
        low, _ = axes_of(plot.gates(cache))["z_l0"].images[0].get_clim()
        assert (low < 0) == is_signed


def test_columns_of_a_row_have_one_scale():
    _, cache = run(xr.LSTM(I, H, num_layers=2, seed=1))
    axes = axes_of(plot.gates(cache))
    limits = {axes[f"c_l{layer}"].images[0].get_clim() for layer in (0, 1)}
    assert len(limits) == 1
    largest = max(np.abs(cache.states[f"c_l{k}"][:, 0]).max() for k in (0, 1))
    assert limits.pop()[1] == largest


def test_every_row_says_what_it_is(make):
    _, cache = run(make(I, H, seed=1))
    figure = plot.gates(cache, layer=0)
    for name, axes in axes_of(figure).items():
        assert axes.get_title(loc="left"), name
        assert axes.get_ylabel() == name.removesuffix("_l0")


def test_update_gate_is_explained_by_its_cell():
    titles = {}
    for name in ("gru", "mut2"):
        _, cache = run(LAYERS[name](I, H, seed=1))
        axes = axes_of(plot.gates(cache))["z_l0"]
        titles[name] = axes.get_title(loc="left")
    assert titles == {
        "gru": "update gate: what h keeps",
        "mut2": "update gate: what is written",
    }


def test_values_that_are_not_finite_are_violet_and_do_not_set_the_scale():
    layer = xr.LSTM(I, H, seed=1)
    x = draw(T, I)
    x[5:] = np.nan
    cache = layer.forward(x, gates=True)[2]
    image = axes_of(plot.gates(cache))["c_l0"].images[0]
    shown = image.get_array()
    assert shown.mask[5:].all() if shown.shape[0] == T else shown.mask[:, 5:].all()
    assert image.get_clim()[1] == np.abs(cache.states["c_l0"][:5]).max()
    assert np.isfinite(image.get_clim()).all()
    bad = tuple(round(255 * part) for part in image.cmap.get_bad()[:3])
    assert bad == tuple(bytes.fromhex(MISSING[1:]))


# Labels, input, choice


def labels_below(figure):
    """Return the labels of the time axis by step, as drawn."""
    FigureCanvasAgg(figure).draw()
    axes = list(axes_of(figure).values())[-1]
    ticks, texts = axes.get_xticks(), axes.get_xticklabels()
    return {round(t): text.get_text() for t, text in zip(ticks, texts, strict=True)}


def test_labels_stand_below_their_steps():
    _, cache = run(xr.GRU(I, H, seed=1), lengths=LENGTHS)
    assert labels_below(plot.gates(cache, labels="to be\n!")) == dict(
        enumerate("to␣be↵!")
    )
    expected = dict(enumerate("to␣b"))
    assert labels_below(plot.gates(cache, 1, labels="to be\n!")) == expected
    assert labels_below(plot.gates(cache, 1, labels="to b")) == expected
    numbers = labels_below(plot.gates(cache, labels=[1.5, 2, 3, 4, 5, 6, 7]))
    assert numbers[0] == "1.5"


def test_labels_without_room_are_thinned():
    layer = xr.GRU(I, H, seed=1)
    text = "abcdefghij" * 100
    cache = layer.forward(draw(len(text), I), gates=True)[2]
    shown = labels_below(plot.gates(cache, labels=text))
    assert 50 < len(shown) < 200
    assert all(text[t] == label for t, label in shown.items())


def test_input_is_drawn_where_there_are_no_labels():
    layer = xr.GRU(I, H, num_layers=2, seed=1)
    x, cache = run(layer, lengths=LENGTHS)
    shown = drawn(plot.gates(cache, 1))
    assert np.array_equal(shown["input_l0"], x[:4, 1])
    assert "input_l1" not in shown
    shown = drawn(plot.gates(cache, 1, layer=1))
    assert np.array_equal(shown["input_l1"], cache.states["h_l0"][:4, 1])
    assert "input_l0" not in drawn(plot.gates(cache, 1, labels="abcd"))


def test_narrow_input_is_drawn_as_lines():
    layer = xr.GRU(2, H, seed=1)
    x = draw(T, 2)
    figure = plot.gates(layer.forward(x, gates=True)[2])
    lines = axes_of(figure)["input_l0"].lines
    assert np.array_equal([line.get_ydata() for line in lines], x.T)


def test_names_and_units_choose_what_is_drawn():
    _, cache = run(xr.LSTM(I, H, seed=1))
    figure = plot.gates(cache, names="cf", units=[4, 0])
    assert list(drawn(figure)) == ["c_l0", "f_l0"]
    forget = cache.gates["f_l0"][:, 0]
    assert np.array_equal(drawn(figure)["f_l0"], forget[:, [4, 0]])
    figure = plot.gates(cache, names=["f"], units=slice(1, 5, 2))
    assert np.array_equal(drawn(figure)["f_l0"], forget[:, 1:5:2])


def test_figure_of_the_caller_is_drawn_into():
    _, cache = run(xr.GRU(I, H, seed=1))
    own = Figure()
    assert plot.gates(cache, figure=own) is own
    left, right = Figure().subfigures(1, 2)
    assert plot.gates(cache, figure=left) is left
    assert plot.gradient_flow(xr.GRU(I, H), draw(T, I), figure=right) is right
    assert left.axes
    assert right.axes


def test_global_settings_of_matplotlib_stay():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    _, cache = run(xr.GRU(I, H, seed=1))
    plot.gates(cache)
    plot.gradient_flow(xr.GRU(I, H), draw(T, I))
    assert dict(mpl.rcParams) == before


def test_texts_stay_inside_the_figure_and_apart(make):
    _, cache = run(make(I, H, seed=1))
    figure = plot.gates(cache, labels="to be\n!")
    FigureCanvasAgg(figure).draw()
    frame = figure.bbox
    titles = []
    for axes in axes_of(figure).values():
        for text in (axes._left_title, axes.yaxis.label, axes.xaxis.label):
            box = text.get_window_extent()
            inside = frame.containsx(box.x0) and frame.containsx(box.x1)
            assert inside or not text.get_text(), text
        titles.append(axes._left_title)
    for title in titles:
        box = title.get_window_extent()
        for axes in axes_of(figure).values():
            assert not title.get_text() or not box.overlaps(axes.bbox), title


# Errors of heat maps


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"row: expected 0 <= row < B=3, got 3", {"row": 3}),
        (ValueError, r"row: expected 0 <= row < B=3, got -1", {"row": -1}),
        (TypeError, r"row: expected an integer, got 1.0", {"row": 1.0}),
        (ValueError, r"row: expected one with steps to draw, got 2", {"row": 2}),
        (ValueError, r"layer: expected 0 <= layer < num_layers=2", {"layer": 2}),
        (ValueError, r"direction: expected 0 <= direction < D=1", {"direction": 1}),
        (ValueError, r"units: expected 0 <= units < H=6, got 6", {"units": [6]}),
        (ValueError, r"units: expected units below H=6, got none", {"units": []}),
        (ValueError, r"units: expected units below H=6", {"units": slice(6, 9)}),
        (ValueError, r"names: expected some of input, .*h.*, got 'q'", {"names": "q"}),
        (ValueError, r"names: expected some of .*, got none", {"names": ""}),
        (ValueError, r"labels: expected T=7 labels, got 3", {"labels": "abc"}),
    ],
)
def test_error_names_the_argument(error, message, options):
    _, cache = run(xr.LSTM(I, H, num_layers=2, seed=1), lengths=LENGTHS)
    with pytest.raises(error, match=message):
        plot.gates(cache, **options)


def test_what_is_no_cache_or_has_no_gates_is_refused():
    layer = xr.LSTM(I, H, seed=1)
    with pytest.raises(TypeError, match="cache: expected a Cache, got LSTM"):
        plot.gates(layer)
    cache = layer.forward(draw(T, I))[2]
    with pytest.raises(ValueError, match=r"expected forward\(..., gates=True\)"):
        plot.gates(cache)


# Gradients on their way back


def last_error(layer, steps):
    """Return dy with the error that gradient_norms takes by default."""
    width = layer(draw(1, I, dtype=layer.dtype))[0].shape[1]
    dy = np.zeros((steps, width), layer.dtype)
    half = width // (1 + layer.bidirectional)
    dy[-1, :half] = dy[0, half:] = 1 / np.sqrt(half)
    return dy


def norms_of(state):
    """Return the norms of the parts of a state, ordered as gradient_norms does."""
    parts = [part for part in as_tuple(state) if np.asarray(part).dtype.kind == "f"]
    return [np.sqrt(np.square(part, dtype="f8").sum(axis=-1)) for part in parts]


@pytest.mark.parametrize("steps", [1, T])
def test_first_norm_is_that_of_the_whole_gradient(make, steps):
    layer = make(I, H, dtype="float64", seed=1)
    x = draw(steps, I, dtype="float64")
    dy = last_error(layer, steps)
    grads = layer.backward(layer.forward(x)[2], dy)
    for norms in (plot.gradient_norms(layer, x), plot.gradient_norms(layer, x, dy)):
        found = np.array([norm[0] for norm in norms.values()])
        assert np.array_equal(found, np.ravel(norms_of(grads.state)))


def test_norm_in_the_middle_is_that_of_the_rest(make):
    layer = make(I, H, dtype="float64", seed=1)
    x, dy = draw(T, I, dtype="float64"), last_error(layer, T)
    dy[5] = 0.3
    _, state = layer(x[:3])
    grads = layer.backward(layer.forward(x[3:], state)[2], dy[3:])
    norms = plot.gradient_norms(layer, x, dy)
    found = np.array([norm[3] for norm in norms.values()])
    assert np.array_equal(found, np.ravel(norms_of(grads.state)))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "clockwork"])
def test_both_directions_are_followed(name):
    layer = LAYERS[name](I, H, bidirectional=True, dtype="float64", seed=1)
    x, dy = draw(T, I, dtype="float64"), draw(T, 2 * H, dtype="float64", seed=3)
    for given, whole in ((dy, dy), (None, last_error(layer, T))):
        grads = layer.backward(layer.forward(x)[2], whole)
        norms = plot.gradient_norms(layer, x, given)
        for letter, both in zip("hc", norms_of(grads.state), strict=False):
            assert norms[f"{letter}_l0"][0] == both[0]
            assert norms[f"{letter}_l0_reverse"][-1] == both[1]


def test_initial_state_is_taken():
    layer = xr.LSTM(I, H, num_layers=2, dtype="float64", seed=1)
    x, state = draw(T, I, dtype="float64"), tuple(draw(2, 2, H, dtype="float64"))
    grads = layer.backward(layer.forward(x, state)[2], last_error(layer, T))
    norms = plot.gradient_norms(layer, x, state=state)
    found = np.array([norm[0] for norm in norms.values()])
    assert np.array_equal(found, np.ravel(norms_of(grads.state)))
    assert norms["h_l0"][0] != plot.gradient_norms(layer, x)["h_l0"][0]


def test_nothing_comes_from_after_the_error():
    layer = xr.LSTM(I, H, seed=1)
    norms = plot.gradient_norms(layer, draw(T, I), step=3)
    for norm in norms.values():
        assert np.array_equal(norm > 0, np.arange(T) <= 3)


def test_broken_carry_is_seen(monkeypatch):
    layer = xr.LSTM(I, H, dtype="float64", seed=1)
    x, dy = draw(T, I, dtype="float64"), last_error(layer, T)
    expected = norms_of(layer.backward(layer.forward(x)[2], dy).state)[0][0]
    backward = xr.LSTM.backward
    monkeypatch.setattr(
        xr.LSTM, "backward", lambda self, cache, dy, _: backward(self, cache, dy)
    )
    assert plot.gradient_norms(layer, x)["h_l0"][0] != expected


def test_layer_is_left_as_it_is():
    layer = xr.LSTM(I, H, num_layers=2, dropout=0.5, seed=1)
    twin = xr.LSTM(I, H, num_layers=2, dropout=0.5, seed=1)
    x = draw(T, I)
    norms = plot.gradient_norms(layer, x)
    assert same_bits(layer.state_dict(), twin.state_dict())
    assert same_bits(layer.forward(x)[0], twin.forward(x)[0])
    assert same_bits(plot.gradient_norms(layer, x), norms)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"x: expected \[T>=1, I=5\], got \(7, 4\)", {"x": draw(T, 4)}),
        (ValueError, r"x: expected \[T>=1, I=5\]", {"x": draw(T, B, I)}),
        (ValueError, r"x: expected \[T>=1, I=5\]", {"x": draw(0, I)}),
        (TypeError, r"x: expected float32", {"x": draw(T, I, dtype="float64")}),
        (ValueError, r"dy: expected \[T=7, D\*H=6\]", {"dy": draw(T, I)}),
        (TypeError, r"dy: expected float32", {"dy": draw(T, H, dtype="float64")}),
        (ValueError, r"step: expected 0 <= step < T=7, got 7", {"step": 7}),
        (TypeError, r"step: expected an integer, got 'a'", {"step": "a"}),
        (ValueError, r"step: expected None beside dy", {"step": 1, "dy": draw(T, H)}),
        (TypeError, r"state: expected the tuple \(h, c\)", {"state": draw(1, H)}),
        (TypeError, r"layer: expected a layer, got Linear", {"layer": None}),
        (ValueError, r"layer: expected one direction or one layer", {"layer": "both"}),
    ],
)
def test_error_of_gradient_norms_names_the_argument(error, message, options):
    given = {"layer": xr.LSTM(I, H, seed=1), "x": draw(T, I), **options}
    if given["layer"] is None:
        given["layer"] = xr.train.Linear(I, H)
    elif given["layer"] == "both":
        given["layer"] = xr.LSTM(I, H, 2, bidirectional=True)
    with pytest.raises(error, match=message):
        plot.gradient_norms(**given)


def lines_of(figure):
    """Return the lines (x, y) of a picture of norms by their names."""
    lines = figure.axes[0].lines
    named = {line.get_label(): line for line in lines}
    return {
        name: (line.get_xdata(), line.get_ydata())
        for name, line in named.items()
        if not name.startswith("_")
    }


def test_norms_are_drawn_over_the_way_of_the_error():
    layer = xr.LSTM(I, H, seed=1)
    x = draw(T, I)
    figure = plot.gradient_flow(layer, x, step=4)
    assert figure.axes[0].get_yscale() == "log"
    norms = plot.gradient_norms(layer, x, step=4)
    for name, (over, shown) in lines_of(figure).items():
        assert np.array_equal(shown[:5], norms[name][:5])
        assert np.array_equal(over[:5], [5, 4, 3, 2, 1])
        assert np.isnan(shown[5:]).all()  # a gap, no zero on a logarithmic scale
    assert lines_of(figure).keys() == norms.keys()


def test_norms_of_a_reverse_direction_are_drawn_over_its_own_way():
    layer = xr.GRU(I, H, bidirectional=True, seed=1)
    lines = lines_of(plot.gradient_flow(layer, draw(T, I)))
    assert np.array_equal(lines["h_l0"][0], np.arange(T, 0, -1))
    assert np.array_equal(lines["h_l0_reverse"][0], np.arange(1, T + 1))


def test_norms_of_a_loss_are_drawn_over_time():
    layer = xr.GRU(I, H, seed=1)
    x, dy = draw(T, I), draw(T, H, seed=2)
    over, shown = lines_of(plot.gradient_flow(layer, x, dy))["h_l0"]
    assert np.array_equal(over, np.arange(T))
    assert np.array_equal(shown, plot.gradient_norms(layer, x, dy)["h_l0"])


def test_gradient_of_zero_is_drawn_as_nothing():
    layer = xr.RNN(I, H, seed=1)
    figure = plot.gradient_flow(layer, draw(T, I), np.zeros((T, H), "float32"))
    assert np.isnan(lines_of(figure)["h_l0"][1]).all()
    FigureCanvasAgg(figure).draw()


# Without matplotlib


def test_matplotlib_is_imported_when_a_picture_is_drawn():
    code = (
        "import sys, exactrnn as xr; xr.plot.gradient_norms; "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    layer, x = xr.GRU(I, H), draw(T, I)
    cache = layer.forward(x, gates=True)[2]
    wanted = r"pip install 'exactrnn\[plot\]'"
    with pytest.raises(ImportError, match=wanted):
        plot.gates(cache)
    with pytest.raises(ImportError, match=wanted):
        plot.gradient_flow(layer, x)
    assert plot.gradient_norms(layer, x)["h_l0"].shape == (T,)
