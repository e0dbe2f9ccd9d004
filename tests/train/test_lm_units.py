"""The language model over every cell and unit; a training that is kept and goes on."""

import io

import numpy as np
import pytest
from arrays import same_bits

import exactrnn as xr
from exactrnn.train import LanguageModel
from exactrnn.train._model_spec import CELLS

TEXT = "to be or not to be, that is the question — ¿no?\n" * 12
SIZES = {"hidden_size": 12, "embedding_size": 5, "seed": 3}
STEPS = {"steps": 6, "batch_size": 3, "length": 9, "lr": 0.05}


def make(unit="characters", cell="lstm", **more):
    alphabet = LanguageModel.find_alphabet(TEXT, unit)
    return LanguageModel(alphabet, unit=unit, cell=cell, **SIZES, **more)


def bytes_of(model):
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


def test_every_network_and_every_definition_is_a_cell():
    assert {*xr.layers.NETWORKS} < {*CELLS}
    assert {name.lower() for name in xr.cells.__all__} < {*CELLS}


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_of_every_cell_learns_writes_and_comes_back(cell):
    pytest.importorskip("safetensors")
    model = make(cell=cell, num_layers=2)
    losses = model.fit(TEXT, **STEPS | {"steps": 12})
    assert losses[-1] < losses[0]
    written = "".join(model.sample("to be", length=8, temperature=0.0))
    read = model.encode("to be" + written)[:-1]
    whole, _ = model.recurrent(model.embedding(read[:, None]))
    likeliest = model.readout(whole)[4:, 0].argmax(axis=1)
    assert model.decode(likeliest) == written
    twin = LanguageModel.load(bytes_of(model))
    assert (twin.cell, twin.config) == (model.cell, model.config)
    assert same_bits(twin.state_dict(), model.state_dict())
    assert twin.evaluate(TEXT) == model.evaluate(TEXT)


@pytest.mark.parametrize("unit", ["characters", "bytes", "words"])
def test_symbols_of_a_text_are_the_text_again(unit):
    pytest.importorskip("safetensors")
    model = make(unit)
    for text in (TEXT, "be that no", "¿—\n to"):
        symbols = model.encode(text)
        assert model.decode(symbols) == text
    assert model.unit == unit
    model.fit(TEXT, **STEPS)
    twin = LanguageModel.load(bytes_of(model))
    assert (twin.alphabet, twin.unit) == (model.alphabet, unit)
    options = {"length": 40, "temperature": 1.0, "seed": 5}
    assert "".join(twin.sample("to", **options)) == "".join(
        model.sample("to", **options)
    )
    "".join(model.sample(length=5))


def test_words_are_fewer_symbols_and_unknown_ones_are_spelt():
    model = make("words")
    assert " be" in model.alphabet
    assert " the" in model.alphabet
    assert len(model.encode(TEXT)) < len(TEXT) / 2
    assert len(model.encode("hat")) == 3
    with pytest.raises(ValueError, match="text: characters unknown to the model: 'xz'"):
        model.encode("ozx")
    few = LanguageModel.find_alphabet(TEXT, "words", most_words=2)
    assert len(few) == len({*TEXT}) + 2


def test_bytes_have_no_unknown_text_and_are_written_as_characters():
    model = make("bytes")
    assert model.encode("Ω").tolist() == [0xCE, 0xA9]
    assert model.decode([0xCE, 0xA9, 0xFF, 65]) == "Ω\ufffdA"
    assert [*model._spec.codec.pieces(iter([0xCE, 0xA9, 0xCE]))] == [
        "",
        "Ω",
        "",
        "\ufffd",
    ]


def test_a_model_of_characters_has_the_bytes_that_it_had():
    """Files of before there were units: nothing of them is in a file of characters."""
    pytest.importorskip("safetensors")
    model = make()
    weights, description = xr.io.read_file(bytes_of(model))
    names = {"cell", "num_layers", "hidden_size", "embedding_size", "dtype"}
    assert {*description["arguments"]} == names
    assert model.config == description["arguments"]
    assert same_bits(weights, model.state_dict())


@pytest.mark.parametrize(
    ("cell", "unit"),
    [("lstm", "words"), ("clockwork", "characters"), ("slstm", "bytes")],
)
def test_a_training_that_goes_on_ends_with_the_bytes_of_a_whole_one(cell, unit):
    pytest.importorskip("safetensors")
    options = STEPS | {"steps": 40, "batch_size": 6}  # passes
    whole = make(unit, cell)
    losses = whole.fit(TEXT, **options)
    for stops in ([1], [7, 39], [40]):
        model, found = make(unit, cell), []
        training = model.training(TEXT, **options)
        for stop in stops:
            while training.step < stop:
                found.append(next(training).bits)
            kept = io.BytesIO()
            training.save(kept)
            model = make(unit, cell)
            training = model.training(TEXT, **options)
            training.load(kept.getvalue())
        found += [progress.bits for progress in training]
        assert found == losses
        assert bytes_of(model) == bytes_of(whole)


def kept_run(**more):
    model = make()
    training = model.training(TEXT, **STEPS | more)
    next(training)
    file = io.BytesIO()
    training.save(file)
    return file.getvalue()


OTHERS = {
    "steps: expected 7, got 6": (make, {"steps": 7}, TEXT),
    "lr: expected 0.5, got 0.05": (make, {"lr": 0.5}, TEXT),
    "text: expected": (make, {}, TEXT + "to be"),
    "hidden_size: expected 13, got 12": (
        lambda: LanguageModel(
            LanguageModel.find_alphabet(TEXT), **SIZES | {"hidden_size": 13}
        ),
        {},
        TEXT,
    ),
    "cell: expected 'gru'": (lambda: make(cell="gru"), {}, TEXT),
}


@pytest.mark.parametrize("says", OTHERS)
def test_a_run_of_something_else_changes_nothing(says):
    pytest.importorskip("safetensors")
    make_other, more, text = OTHERS[says]
    model = make_other()
    training = model.training(text, **STEPS | more)
    before = model.state_dict()
    with pytest.raises(ValueError, match=f"not a run file of this training.*{says}"):
        training.load(kept_run())
    assert same_bits(model.state_dict(), before)
    assert training.step == 0
    first = next(training).bits
    assert first == next(make_other().training(text, **STEPS | more)).bits


def test_only_what_differs_from_a_run_is_named():
    pytest.importorskip("safetensors")
    for unit in ("bytes", "words"):
        other = make(unit)
        with pytest.raises(ValueError, match="unit: expected") as caught:
            other.training(TEXT, **STEPS).load(kept_run())
        reason = f"unit: expected '{unit}', got 'characters'"
        assert str(caught.value).endswith(f"({reason})")
    model = make()
    training = model.training(TEXT, **STEPS)
    training.fix(seed=5, place="here")
    next(training)
    file = io.BytesIO()
    training.save(file)
    for said, reason in (
        ({}, "place: expected None, got 'here'; seed: expected None, got 5"),
        ({"seed": 5, "place": "there"}, "place: expected 'there', got 'here'"),
    ):
        again = make().training(TEXT, **STEPS)
        again.fix(**said)
        with pytest.raises(ValueError, match="not a run file") as caught:
            again.load(file.getvalue())
        assert str(caught.value).endswith(f"({reason})")
    again.fix(place="here")
    again.load(file.getvalue())
    assert again.step == 1


def test_damaged_runs_and_runs_by_the_clock_are_refused():
    pytest.importorskip("safetensors")
    weights, description = xr.io.read_file(kept_run())
    wrong_state = {**weights, "state.0": np.zeros((1, 2, 12), np.float32)}
    lies = [
        (wrong_state, description),
        (weights, description | {"counts": [99, 0, 0]}),
        (weights, description | {"kind": "training"}),
        ({n: w for n, w in weights.items() if n != "model.readout.bias"}, description),
    ]
    for arrays, claims in lies:
        file = io.BytesIO()
        xr.io.write_file(file, arrays, claims)
        model = make()
        training, before = model.training(TEXT, **STEPS), model.state_dict()
        with pytest.raises(ValueError, match="not a run file of this training"):
            training.load(file.getvalue())
        assert same_bits(model.state_dict(), before)
    timed = make().training(TEXT, **STEPS | {"steps": None, "seconds": 9.0})
    with pytest.raises(ValueError, match="steps: expected a training with steps"):
        timed.save(io.BytesIO())


WORDS = ("a", "b")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: LanguageModel("ab", unit="words"),
            TypeError,
            "alphabet: expected words",
        ),
        (lambda: LanguageModel(("a", ""), unit="words"), ValueError, "got '' among"),
        (lambda: LanguageModel(("a", "a"), unit="words"), ValueError, "2, 1 different"),
        (lambda: LanguageModel(WORDS), TypeError, "alphabet: expected a str"),
        (lambda: LanguageModel("aΩ", unit="bytes"), ValueError, "alphabet: .*'Ω'"),
        (lambda: LanguageModel("ab", unit="letters"), ValueError, "unit: expected"),
        (lambda: LanguageModel("ab", cell="elman"), ValueError, "cell: expected"),
        (lambda: LanguageModel.find_alphabet(5), TypeError, "text: expected a str"),
        (lambda: LanguageModel.find_alphabet("a", "b"), ValueError, "unit: expected"),
        (
            lambda: LanguageModel.find_alphabet("a", "words", 0),
            ValueError,
            "most_words: expected",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize(
    ("unit", "text", "got"),
    [("characters", "", 0), ("bytes", "a", 1), ("words", " the", 1)],
)
def test_a_text_of_one_symbol_is_not_measured(unit, text, got):
    model = make(unit)
    expected = f"text: expected at least two {unit}, got {got}"
    with pytest.raises(ValueError, match=expected):
        model.evaluate(text)
