"""Models of users: classes of their own, wrappers, shared layers, odd names."""

import json
import os

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
pytest.importorskip("torch", reason="needs torch: extra rivals")
keras = pytest.importorskip("keras", reason="needs keras: extra rivals")
h5py = pytest.importorskip("h5py", reason="needs h5py: extra keras")
import exactrnn as xr  # noqa: E402
from exactrnn.keras import from_keras, layers_from_keras  # noqa: E402

L = keras.layers
B, T, I = 2, 6, 3
WAYS = ["live", "keras", "h5"]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def as_source(model, way, folder):
    """Draw the weights of a model and return it, or a file of it."""
    drawn = [draw(*w.shape, seed=k) / 2 for k, w in enumerate(model.get_weights())]
    model.set_weights(drawn)
    if way == "live":
        return model
    path = folder / f"model.{way}"
    model.save(path)
    return path


def close(ours, theirs):
    return np.abs(ours - keras.ops.convert_to_numpy(theirs)).max() < 1e-5


# Layers in wrappers and in classes of the user's


@pytest.mark.parametrize("way", WAYS)
def test_layers_in_wrappers_are_found(way, tmp_path):
    words = L.TimeDistributed(
        L.LSTM(4, return_sequences=True, name="word"), name="each"
    )
    inner = keras.Sequential([L.Bidirectional(L.GRU(2), name="both")], name="model")
    sentences = L.TimeDistributed(inner, name="all")
    model = keras.Sequential(
        [keras.Input((5, T, I)), words, sentences, L.GRU(3, name="text")]
    )
    source = as_source(model, way, tmp_path)
    taken = layers_from_keras(source)
    assert [*taken] == ["each/word", "all/model/both", "text"]
    x = draw(B, 5, T, I)
    middle = keras.ops.convert_to_numpy(words(x))
    ours = taken["each/word"](x.reshape(B * 5, T, I))
    assert close(ours.reshape(middle.shape), middle)
    ours = taken["all/model/both"](middle.reshape(B * 5, T, 4))
    assert close(ours.reshape(B, 5, 4), sentences(middle))
    assert from_keras(source, "word").layer.hidden_size == 4


@keras.saving.register_keras_serializable()
class Block(L.Layer):
    """A layer of a user, whose own options do not know its name."""

    def __init__(self):
        super().__init__(name="block")
        self.reader = L.LSTM(4, return_sequences=True, name="reader")

    def build(self, shape):
        self.reader.build(shape)
        self.built = True

    def call(self, x):
        return self.reader(x)

    def get_config(self):
        return {}


class Model(keras.Model):
    """A model of a user; it has no description that could be read."""

    def __init__(self):
        super().__init__(name="mine")
        self.block, self.last = Block(), L.GRU(2, name="last")
        self.parts = [L.Dense(3), L.SimpleRNN(2, name="listed")]

    def call(self, x):
        x = self.parts[0](self.last(self.block(x))[:, None])
        return self.parts[1](x)

    def get_config(self):
        raise NotImplementedError


def test_layers_in_classes_of_users_are_found_in_the_live_model(tmp_path):
    model, x = Model(), draw(B, T, I)
    model(x)
    taken = layers_from_keras(as_source(model, "live", tmp_path))
    assert [*taken] == ["block/reader", "last", "listed"]
    middle = model.block(x)
    assert close(taken["block/reader"](x), middle)
    assert close(taken["last"](keras.ops.convert_to_numpy(middle)), model.last(middle))
    with pytest.raises(
        ValueError, match=r"got .*Model 'mine'; by name= can be taken: "
    ):
        from_keras(model)
    assert from_keras(model, "reader").layer.hidden_size == 4


def test_files_with_classes_of_users_give_the_other_layers(tmp_path):
    chain = keras.Sequential([keras.Input((None, I)), Block(), L.GRU(2, name="last")])
    path = as_source(chain, "keras", tmp_path)
    assert [*layers_from_keras(path)] == ["last"]
    assert from_keras(path, "last").layer.hidden_size == 2
    with pytest.raises(
        ValueError, match="got Block 'Block'; by name= can be taken: last"
    ):
        from_keras(path)


@keras.saving.register_keras_serializable()
class Described(Model):
    """A model of a user that can be saved."""

    def get_config(self):
        return {}


def test_a_file_that_lists_no_layers_says_to_give_the_model(tmp_path):
    model = Described()
    model(draw(B, T, I))
    model.save(tmp_path / "model.keras")
    with pytest.raises(
        ValueError, match=r"class: .*that lists its layers, .*the object"
    ):
        layers_from_keras(tmp_path / "model.keras")


# Layers in two places


def within(*layers, name=None):
    """Return a functional model that is a chain of these."""
    x = given = keras.Input((None, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(given, x, name=name)


@pytest.mark.filterwarnings("ignore:Layer 'inner'")
@pytest.mark.parametrize("way", ["live", "keras"])
@pytest.mark.parametrize("first", ["inner", "outer", "model"])
def test_layers_of_two_models_have_their_weights_in_both(first, way, tmp_path):
    shared = L.GRU(3, return_sequences=True, name="shared")
    inner = within(shared, L.LSTM(3, return_sequences=True), name="inner")
    chains = {
        "inner": (inner, shared, L.Dense(2)),
        "outer": (shared, inner, L.Dense(2)),
        "model": (inner, within(inner, name="around"), L.Dense(2)),
    }
    model = within(*chains[first])
    source = as_source(model, way, tmp_path)
    x = draw(B, T, I)
    assert close(from_keras(source)(x), model(x))


# Forms of calls


@pytest.mark.parametrize("way", WAYS)
def test_inputs_and_outputs_may_be_named_or_listed(way, tmp_path):
    for form in (lambda x: {"a": x}, lambda x: [x]):
        x = keras.Input((None, I), name="a")
        model = keras.Model(form(x), form(L.GRU(4, name="reader")(x)))
        chain = from_keras(as_source(model, way, tmp_path))
        assert close(
            chain(draw(B, T, I)), keras.tree.flatten(model(form(draw(B, T, I))))[0]
        )
    x = keras.Input((None, I), name="a")
    model = keras.Model({"a": x}, {"b": L.GRU(4)(x), "c": L.GRU(4)(x)})
    with pytest.raises(ValueError, match="it has 2 inputs or outputs"):
        from_keras(as_source(model, way, tmp_path))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Dropout(0.5),
        lambda: L.GaussianNoise(0.1),
        lambda: L.LSTM(4, dropout=0.1, return_sequences=True),
        lambda: L.Bidirectional(L.GRU(4, recurrent_dropout=0.1, return_sequences=True)),
    ],
)
def test_dropout_that_always_acts_is_refused(layer):
    x = keras.Input((None, I))
    made = layer()
    model = keras.Model(x, L.GRU(4, name="reader")(made(x, training=True)))
    with pytest.raises(ValueError, match="is called with training=True"):
        from_keras(model)
    assert "reader" in layers_from_keras(model)


def test_a_call_in_training_where_nothing_is_drawn_is_taken():
    x = keras.Input((None, I))
    model = keras.Model(x, L.GRU(4)(L.LSTM(4, return_sequences=True)(x, training=True)))
    assert close(from_keras(model)(draw(B, T, I)), model(draw(B, T, I)))


# Files of Keras 2


def write_legacy(path, layers):
    """Write a Sequential as Keras 2 does: of each layer class, options and weights."""
    specs = [{"class_name": kind, "config": config} for kind, config, _ in layers]
    described = {"name": "sequential", "layers": specs}
    with h5py.File(path, "w") as file:
        spec = {"class_name": "Sequential", "config": described}
        file.attrs["model_config"] = json.dumps(spec)
        groups = file.create_group("model_weights")
        groups.attrs["keras_version"] = b"2.1.2"
        for _, config, weights in layers:
            name = config["name"]
            group = groups.create_group(name)
            names = [f"{name}/cell/{k}:0" for k in range(len(weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                group.create_dataset(name, data=weight)


def test_names_with_slashes_are_names(tmp_path):
    lstm, gru = (draw(I, 16), draw(4, 16), draw(16)), (draw(4, 6), draw(2, 6))
    options = {"units": 4, "return_sequences": True}
    layers = [
        ("LSTM", {"name": "block1/reader", **options}, lstm),
        ("GRU", {"name": "block2/reader", "units": 2, "use_bias": False}, gru),
        ("Dense", {"name": "block2/out", "units": 2}, (draw(2, 2), draw(2))),
    ]
    path = tmp_path / "model.h5"
    write_legacy(path, layers)
    taken = layers_from_keras(path)
    assert [*taken] == ["block1/reader", "block2/reader"]
    weight = from_keras(path, "block1/reader").layer.state_dict()["weight_ih_l0"]
    assert np.array_equal(weight, lstm[0].T)
    assert from_keras(path)(draw(B, T, I)).shape == (B, 2)


def test_a_gru_of_old_keras_resets_before_the_product(tmp_path):
    path = tmp_path / "model.h5"
    config = {"name": "gru", "units": 2, "use_bias": False}  # what 2.1 wrote, in short
    write_legacy(path, [("GRU", config, (draw(I, 6), draw(2, 6)))])
    assert from_keras(path, "gru").layer.reset_after is False
    assert isinstance(from_keras(path, "gru").layer, xr.GRU)
