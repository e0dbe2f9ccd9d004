"""What a prompt and a notebook show of modules and optimisers."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from modules import WEIGHTED

import exactrnn as xr
from exactrnn import distributed, train


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_notebook_shows_every_weight_and_its_shape(name):
    module = WEIGHTED[name]()
    root = ET.fromstring(module._repr_html_())
    summary = "".join(root.find("summary").itertext())
    assert summary.startswith(type(module).__name__)
    assert f"{module.num_parameters:,} parameters, {module.dtype.name}" in summary
    shown = {
        row[0][0].text: tuple(map(int, row[1].text.split(" × ")))
        for row in root.iter("tr")
        if row[1].text
    }
    arrays = module.state_dict()
    assert shown == {n: array.shape for n, array in arrays.items() if array.ndim}


STACKS = [name for name in WEIGHTED if hasattr(WEIGHTED[name](), "bidirectional")]


@pytest.mark.parametrize("name", STACKS)
def test_a_notebook_draws_layers_gates_and_widths(name):
    module = WEIGHTED[name]()
    drawn = ET.fromstring(module._repr_html_()).find("svg")
    texts = ["".join(text.itertext()) for text in drawn.iter("text")]
    assert f"x {module.input_size}" in texts
    assert f"y {module.output_size}" in texts
    boxes = [*drawn.iter("rect")]
    assert len(boxes) == module.num_layers
    assert texts.count(" ".join(module.state_names)) == module.num_layers
    right = max(float(box.get("x")) + float(box.get("width")) for box in boxes)
    assert right < float(drawn.get("width"))


def test_a_deep_stack_is_drawn_short_and_directions_apart():
    deep = xr.GRU(3, 4, num_layers=40, bidirectional=True)._repr_html_()
    drawn = ET.fromstring(deep).find("svg")
    texts = ["".join(text.itertext()) for text in drawn.iter("text")]
    assert len([*drawn.iter("rect")]) == 4  # first and last, in two directions
    assert {"…", "y 8", "layer 39, reads backward"} <= {*texts}
    assert float(drawn.get("width")) < 1000


def test_what_is_shown_is_text_and_never_markup():
    model = train.LanguageModel("<b>&", hidden_size=4, embedding_size=2)
    root = ET.fromstring(model._repr_html_())
    assert "<b>&" in "".join(root.find("summary").itertext())


@pytest.mark.parametrize(
    ("optimizer", "shown"),
    [
        (train.SGD, "<SGD(lr=0.5, momentum=0.0) of 6 parameters>"),
        (train.Adam, "<Adam(lr=0.5, betas=(0.9, 0.999), eps=1e-08) of 6 parameters>"),
    ],
)
def test_an_optimiser_says_its_options_and_what_it_trains(optimizer, shown):
    assert repr(optimizer({"w": np.zeros((2, 3))}, lr=0.5)) == shown


def test_what_is_frozen_is_not_trained():
    layer = xr.LSTM(3, 4, seed=0)
    frozen = train.SGD(layer, 0.5, frozen=["bias_ih_l0", "bias_hh_l0"])
    assert "of 112 parameters" in repr(frozen)


SCHEDULES = [
    train.Constant(0.5),
    train.StepDecay(0.5, every=3, factor=0.25),
    train.Cosine(0.5, steps=9, end=0.125),
    train.Plateau(0.5, patience=2),
    train.WarmUp(train.Cosine(0.5, steps=9), steps=3),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_schedule_says_how_it_was_made(schedule):
    twin = eval(repr(schedule), vars(train).copy())
    assert repr(twin) == repr(schedule)
    assert [twin.rate(step) for step in range(12)] == [
        schedule.rate(step) for step in range(12)
    ]


CELLS = [xr.cells.SLSTM(forget="exp", num_heads=2), xr.cells.JANET(beta=0.5)]
CELLS += [getattr(xr.cells, name)() for name in xr.cells.__all__]


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_a_cell_says_how_it_was_made(cell):
    twin = eval(repr(cell), vars(xr.cells).copy())
    assert twin.definition == cell.definition
    assert repr(twin) == repr(cell)


def made_by_options():
    """Return objects with what a prompt shows of them."""
    layer = xr.GRU(2, 3, seed=1)
    total = train.Accumulator()
    total.add({"w": np.ones(2)})
    x, y = np.zeros((5, 4, 2), np.float32), np.zeros(4, np.int64)
    stretches = train.truncated_bptt(layer, x, length=2)
    next(stretches)
    model = train.LanguageModel("ab", hidden_size=4, embedding_size=2)
    training = model.training("abab" * 9, steps=3, batch_size=2, length=3)
    next(training)
    closed = distributed.LocalEngine()
    closed.close()
    return {
        "threads(2)": xr.threads(2),
        "use_isa('scalar')": xr.use_isa("scalar"),
        "<Accumulator: count=1>": total,
        "WeightAverage(GRU(2, 3), decay=0.5)": train.WeightAverage(layer, 0.5),
        "<Batches of 4 examples, size=3, seed=None>": train.batches(
            x, y, size=3, axes=(1, 0)
        ),
        "<RaggedBatches of 2 examples, size=1, seed=7>": train.ragged_batches(
            ["a", "bc"], list, 1, 7
        ),
        "<chunk of GRU(2, 3), steps 2 to 4>": next(stretches),
        f"<training of {model!r}, step 1>": training,
        "InlineEngine()": distributed.InlineEngine(),
        "<LocalEngine: closed>": closed,
        "<results of map_sequences, 0 left out>": distributed.map_sequences(layer, [x]),
    }


def test_what_is_made_by_options_says_them():
    with xr.use_isa(xr.isa()):  # as `use_isa` acts at once
        shown = {expected: repr(each) for expected, each in made_by_options().items()}
    assert {*shown} == {*shown.values()}


def test_an_engine_says_how_many_workers_it_has():
    with distributed.LocalEngine() as engine:
        assert repr(engine) == "<LocalEngine: workers=0>"
        engine.place(list, 1)
        assert repr(engine) == "<LocalEngine: workers=1>"
