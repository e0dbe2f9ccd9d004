"""Language models over many texts: logits, and how likely each text is."""

import math

import numpy as np
import pytest
from arrays import same_bits

import exactrnn as xr
from exactrnn.distributed import map_sequences
from exactrnn.train import LanguageModel

TEXTS = [
    "the cat sat on the mat",
    "a",
    "to be or not to be, that is the question",
    "mat",
    "the dog",
] * 3


def model_of(cell="lstm", unit="characters", dtype="float32"):
    alphabet = LanguageModel.find_alphabet(" ".join(TEXTS), unit)
    sizes = {"hidden_size": 7, "embedding_size": 4, "num_layers": 2}
    return LanguageModel(alphabet, unit=unit, cell=cell, dtype=dtype, seed=3, **sizes)


def truth_of(model, text):
    """Return a text's log-probability by exact sums of the logits' definition."""
    index = model.encode(text)
    logits, _ = model(index[:, None])
    total = 0.0
    for row, symbol in zip(logits[:-1, 0].astype(float), index[1:], strict=True):
        total += row[symbol] - math.log(math.fsum(np.exp(row)))
    return total


@pytest.mark.parametrize("unit", ["characters", "bytes", "words"])
def test_log_probability_is_the_sum_over_the_symbols(unit):
    model = model_of("gru", unit, "float64")
    for text in TEXTS[:5]:
        [found] = model.log_probability(model.encode(text)[:, None])
        assert math.isclose(found, truth_of(model, text), rel_tol=1e-12, abs_tol=1e-12)
    [single] = model.log_probability(model.encode("a")[:, None])
    assert single == 0


def test_log_probability_is_what_evaluate_measures():
    model = model_of()
    text = TEXTS[2]
    [found] = model.log_probability(model.encode(text)[:, None])
    bits = -found / (len(text) - 1) / math.log(2)
    assert math.isclose(bits, model.evaluate(text), rel_tol=1e-5)


def test_rows_have_the_log_probability_that_they_have_alone():
    model = model_of()
    own = [model.encode(text) for text in TEXTS]
    index = np.full((50, len(own)), 1)
    for b, row in enumerate(own):
        index[: len(row), b] = row
    lengths = [*map(len, own)]
    lengths[3] = 0
    found = model.log_probability(index, lengths=lengths)
    alone = [model.log_probability(row[:, None])[0] for row in own]
    alone[3] = 0
    assert same_bits(found, np.array(alone, np.float32))
    with xr.threads(2):
        assert same_bits(model.log_probability(index, lengths=lengths), found)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("memory", [1, 1 << 14, 1 << 28])
def test_a_map_gives_each_text_what_it_has_alone(workers, memory):
    model = model_of()
    engine = "inline" if workers else None
    options = {"workers": workers, "engine": engine, "memory": memory}
    mapped = [*map_sequences(model, TEXTS, returns="log_probability", **options)]
    logits = [*map_sequences(model, map(model.encode, TEXTS), **options)]
    for text, one, other in zip(TEXTS, mapped, logits, strict=True):
        index = model.encode(text)[:, None]
        assert one.y.shape == ()
        assert one.state is None
        assert same_bits(one.y[None], model.log_probability(index))
        y, (h, c) = model(index)
        assert same_bits([other.y, *other.state], [y[:, 0], h[:, 0], c[:, 0]])


def test_texts_that_cannot_be_read_are_bad():
    source = ["the cat", "THE CAT", "", "mat", 5.0]
    mapped = map_sequences(
        model_of(), source, returns="log_probability", on_error="skip"
    )
    assert [one.index for one in mapped] == [0, 3]
    reasons = [error.reason for error in mapped.bad]
    assert [error.index for error in mapped.bad] == [1, 2, 4]
    assert reasons[0] == "characters unknown to the model: 'ACEHT'"
    assert reasons[1].startswith("expected a text, or integers [T] with T >= 1, got ")


def test_other_models_have_no_log_probability():
    with pytest.raises(TypeError, match=r"^returns: .* a LanguageModel alone, got "):
        map_sequences(xr.GRU(3, 4), [], returns="log_probability")


WRONG = {
    "index: expected .T, B., got ": {"index": [1, 2]},
    "index: expected integers from 0 to ": {"index": [[99]]},
    "index: expected integers": {"index": [[0.5]]},
    "lengths: expected ": {"index": [[1, 2], [1, 1]], "lengths": [1]},
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_symbols_are_named(message):
    model, given = model_of(), dict(WRONG[message])
    index = given.pop("index")
    for call in (model.log_probability, model, model.forward):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            call(index, **given)


def test_a_model_has_the_gradients_of_its_parts():
    model = model_of()
    index = np.random.default_rng(0).integers(0, len(model.alphabet), (9, 4))
    loss, gradients, state = model.loss_and_gradients(index[:-1], index[1:])
    logits, after, cache = model.forward(index[:-1])
    own, dy = xr.train.softmax_cross_entropy(logits, index[1:])
    assert own == loss
    assert same_bits([*after], [*state])
    assert same_bits(model.backward(cache, dy).weights, gradients)
    assert same_bits(model(index[:-1])[0], logits)
    with pytest.raises(TypeError, match=r"^cache: expected one of forward, got "):
        model.backward(None, dy)
