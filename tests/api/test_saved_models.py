"""Models of several parts on disk: chains come back whole, others into what is there.

What test_io.py says of layers, of `Sequential` and of composites of users.
"""

import io
import json

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.train import (
    Composite,
    Dropout,
    Embedding,
    LanguageModel,
    Last,
    Linear,
    Sequential,
)

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

WORDS = np.random.default_rng(0).integers(0, 9, (6, 3))


def chain(seed=1, units=4):
    return Sequential(
        {
            "symbols": Embedding(9, 3, dropout=0.3),
            "inner": Sequential(
                Dropout(0.5, variational=True), xr.LSTM(3, units, 2, dropout=0.5)
            ),
            "last": Last(),
            "readout": Linear(units, 2),
        },
        seed=seed,
    )


class Tagger(Composite):
    """A model of a user, with a drop between its parts."""

    def __init__(self, seed=1, units=4, dropout=0.5):
        self.symbols = Embedding(9, 3)
        self.heads = {"tag": Linear(units, 2), "drop": Dropout(dropout)}
        self.layers = [xr.GRU(3, units, 2, dropout=dropout)]
        self.seed_parts(seed)

    def forward(self, x):
        values, first = self.symbols.forward(x)
        values, second = self.heads["drop"].forward(values)
        values, _, third = self.layers[0].forward(values)
        values, fourth = self.heads["tag"].forward(values)
        return values, (first, second, third, fourth)

    def backward(self, cache, dy):
        raise NotImplementedError


def bytes_of(model):
    file = io.BytesIO()
    xr.save(model, file)
    return file.getvalue()


def test_a_chain_comes_back_whole_with_its_random_numbers():
    model = chain()
    model.forward(WORDS)
    content = bytes_of(model)
    twin = xr.load(content)
    assert type(twin) is Sequential
    assert repr(twin) == repr(model)
    assert same_bits(twin.state_dict(), model.state_dict())
    assert same_bits(twin(WORDS)[0], model(WORDS)[0])
    assert same_bits(twin.forward(WORDS)[0], model.forward(WORDS)[0])
    assert bytes_of(xr.load(content)) == content


def test_a_model_of_a_user_is_copied_into_one_of_its_class():
    model, other = Tagger(seed=1), Tagger(seed=2)
    model.forward(WORDS)
    content = bytes_of(model)
    assert xr.load(content, into=other) is other
    assert same_bits(other.state_dict(), model.state_dict())
    assert same_bits(other.forward(WORDS)[0], model.forward(WORDS)[0])
    assert bytes_of(other) == bytes_of(model)
    with pytest.raises(
        ValueError, match=r"parts of a 'Tagger'.*load\(path, into=model"
    ):
        xr.load(content)


def test_how_a_model_is_trained_may_differ():
    model, other = Tagger(seed=1, dropout=0.5), Tagger(seed=2, dropout=0.0)
    xr.load(bytes_of(model), into=other)
    assert same_bits(other(WORDS), model(WORDS))
    assert other.layers[0].dropout == other.heads["drop"].p == 0.0


def test_layers_mappings_and_chains_are_copied_into_too():
    layer, parts = xr.LSTM(3, 4, 2, dropout=0.5, seed=1), {"a": xr.GRU(3, 4, seed=1)}
    layer.forward(draw(2, 2, 3))
    into = xr.LSTM(3, 4, 2, dropout=0.5, seed=2)
    assert xr.load(bytes_of(layer), into=into) is into
    x = draw(5, 2, 3)
    assert same_bits(into.forward(x)[0], layer.forward(x)[0])
    others = {"a": xr.GRU(3, 4, seed=2)}
    assert xr.load(bytes_of(parts), into=others) is others
    assert same_bits(others["a"].state_dict(), parts["a"].state_dict())
    whole, empty = chain(seed=1), chain(seed=2)
    xr.load(bytes_of(whole), into=empty)
    assert same_bits(empty.state_dict(), whole.state_dict())


def test_a_file_without_an_argument_has_its_default():
    layer, other = xr.GRU(3, 4, seed=1), xr.GRU(3, 4, seed=2)
    description = xr.io.describe_layer(layer)
    del description["arguments"]["reset_after"]
    file = io.BytesIO()
    xr.io.write_file(file, layer.state_dict(), {**description, "numerics": 1})
    xr.load(file.getvalue(), into=other)
    assert same_bits(other.state_dict(), layer.state_dict())
    with pytest.raises(ValueError, match="expected a file of reset_after=False"):
        xr.load(file.getvalue(), into=xr.GRU(3, 4, reset_after=False))


class Lonely:
    """A part of a user that the library cannot make."""

    def __call__(self, x):
        return x

    def forward(self, x):
        return x, None

    def backward(self, cache, dy):  # noqa: ARG002
        return xr.train.ModuleGradients(dy, {})


def test_a_chain_with_a_part_of_a_user_is_copied_into_one_alone():
    def make(seed):
        return Sequential(Lonely(), xr.GRU(3, 4), Tagger(), seed=seed)

    content, other = bytes_of(make(1)), make(2)
    with pytest.raises(ValueError, match="into=model"):
        xr.load(content)
    xr.load(content, into=other)
    assert same_bits(other.state_dict(), make(1).state_dict())


SHARED = xr.GRU(3, 4, seed=1)


class Derived(xr.GRU):
    pass


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        (Sequential({"a.b": SHARED}), ValueError, "without a dot, got 'a.b'"),
        (Sequential(SHARED, Sequential(SHARED)), ValueError, "one in two places"),
        (Sequential(Derived(3, 4)), TypeError, "expected one of GRU"),
    ],
)
def test_what_no_file_can_hold_is_not_written(tmp_path, model, error, says):
    path = tmp_path / "model"
    with pytest.raises(error, match=f"^layer: .*{says}"):
        xr.save(model, path)
    assert not path.exists()


def two(first, second):
    """Return a model of these parts."""
    model = Composite()
    model.first, model.second = first, second
    return model


@pytest.mark.parametrize(
    ("into", "error", "says"),
    [
        (Tagger(units=5), ValueError, "hidden_size=5, got 4|in_features=5, got 4"),
        (chain(), ValueError, "layers: expected .*missing 'inner.0'"),
        (two(xr.GRU(3, 4), None), ValueError, "layers: expected first; got missing"),
        (xr.GRU(3, 4), ValueError, "a file of one layer, got one of several"),
        ({"a": xr.GRU(3, 4)}, ValueError, "layers: expected a; got missing"),
        ({}, ValueError, "at least one part"),
        (5, TypeError, "into: expected a layer, a composite or a mapping"),
        (xr.EchoState(1, 3), TypeError, "into: expected a layer"),
        (LanguageModel("ab", hidden_size=2), TypeError, "expected one of GRU"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_of_other_parts_takes_nothing(into, error, says):
    content = bytes_of(Tagger())
    before = into.state_dict() if hasattr(into, "state_dict") else None
    with pytest.raises(error, match=says):
        xr.load(content, into=into)
    if before is not None:
        assert same_bits(into.state_dict(), before)


def test_another_class_or_dtype_takes_nothing():
    content = bytes_of(two(xr.GRU(3, 4, seed=1), Linear(4, 2)))
    for into, says in (
        (two(xr.RNN(3, 4, seed=2), Linear(4, 2)), "first: expected a file of 'RNN'"),
        (
            two(xr.GRU(3, 4, dtype="float64", seed=2), Linear(4, 2)),
            "first: expected a file of dtype='float64', got 'float32'",
        ),
    ):
        before, states = into.state_dict(), into._generator_states()
        with pytest.raises(ValueError, match=says):
            xr.load(content, into=into)
        assert same_bits(into.state_dict(), before)
        assert into._generator_states() == states


def rewrite(content, change):
    """Return a file whose description is another, with a right checksum."""
    weights, description = xr.io.read_file(content)
    file = io.BytesIO()
    xr.io.write_file(file, weights, change(json.loads(json.dumps(description))))
    return file.getvalue()


def test_a_description_that_lies_changes_nothing():
    def lie(description):
        description["modules"][2][1]["generator"]["state"] = {"state": -1, "inc": 0}
        return description

    content, model = bytes_of(Tagger(seed=1)), Tagger(seed=2)
    before, states = model.state_dict(), model._generator_states()
    with pytest.raises(ValueError, match="not a file of the layers of into"):
        xr.load(rewrite(content, lie), into=model)
    assert same_bits(model.state_dict(), before)
    assert model._generator_states() == states


@pytest.mark.parametrize("claim", ["__import__", ["Last"], "Composite", None, "Module"])
def test_a_chain_of_what_is_no_part_is_refused(claim):
    def lie(description):
        description["parts"][2][1]["class"] = claim
        return description

    with pytest.raises(ValueError, match=r"^path: not an exactrnn layer"):
        xr.load(rewrite(bytes_of(chain()), lie))
