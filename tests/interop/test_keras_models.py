"""Files that Keras wrote, chains of layers, their streams; files that are hostile."""

import json
import os
import re
import subprocess
import sys
import zipfile

import keras_files
import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
pytest.importorskip("torch", reason="needs torch: extra rivals")
keras = pytest.importorskip("keras", reason="needs keras: extra rivals")
h5py = pytest.importorskip("h5py", reason="needs h5py: extra keras")
from exactrnn.keras import from_keras, layers_from_keras  # noqa: E402

L = keras.layers
B, T, I = 3, 7, 3
FORMATS = ["keras", "h5"]

# Keras says that a model in a model destroys a mask, and hands it on all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Layer 'inner'")


def give_weights(model):
    """Draw weights that tell layers, gates and biases apart."""
    generator = np.random.default_rng(0)
    drawn = [generator.standard_normal(w.shape) / 3 for w in model.get_weights()]
    model.set_weights(drawn)
    return model


def functional():
    """Return a chain with every kind of layer, models in it, names out of order."""
    inner = keras.Sequential(
        [
            keras.Input((None, 6)),
            L.LSTM(5, return_sequences=True, name="zed"),
            L.LSTM(5, return_sequences=True, name="deep"),
        ],
        name="inner",
    )
    x = given = keras.Input((None, I), name="x")
    for layer in (
        L.Masking(),
        L.GRU(6, return_sequences=True, name="zed"),
        L.GRU(6, return_sequences=True, reset_after=False, name="alpha"),
        L.GRU(6, return_sequences=True, reset_after=False, name="beta"),
        L.Bidirectional(L.LSTM(4, return_sequences=True), name="both"),
        L.TimeDistributed(L.Dense(6, activation="tanh")),
        L.Dropout(0.5),
        inner,
        L.RNN([L.LSTMCell(4), L.LSTMCell(4), L.GRUCell(4)], return_sequences=True),
        L.SimpleRNN(4, name="last", dropout=0.5),
        L.Dense(2, activation="softmax"),
    ):
        x = layer(x)
    return give_weights(keras.Model(given, x))


PATHS = ["zed", "alpha", "beta", "both", "inner/zed", "inner/deep", "rnn", "last"]


@pytest.fixture(scope="module")
def model():
    return functional()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Return a folder with the model in each format."""
    folder = tmp_path_factory.mktemp("models")
    for kind in FORMATS:
        model.save(folder / f"model.{kind}")
    return folder


@pytest.fixture
def path(folder, tmp_path):
    """Return a copy of the `.keras` file, to be changed."""
    copy = tmp_path / "model.keras"
    copy.write_bytes((folder / "model.keras").read_bytes())
    return copy


def inputs():
    """Return input with masked steps: holes, the beginning, the end."""
    x = np.random.default_rng(1).standard_normal((B, T, I)).astype("float32")
    x[0, 2] = x[0, 4] = x[1, -2:] = x[2, :3] = 0
    return x


@pytest.mark.parametrize("kind", FORMATS)
def test_file_gives_what_the_model_gives(kind, model, folder):
    expected = model.predict(inputs(), verbose=0)
    chain = from_keras(folder / f"model.{kind}")
    found = chain(inputs())
    assert np.abs(found - expected).max() < 1e-6
    assert np.array_equal(found, from_keras(model)(inputs()))
    assert [name.split("_")[0] for name in chain.layers] == PATHS


@pytest.mark.parametrize("kind", FORMATS)
def test_layers_are_found_by_name_with_their_own_weights(kind, model, folder):
    path = folder / f"model.{kind}"
    taken = layers_from_keras(path)
    assert [name.split("_")[0] for name in taken] == PATHS
    live = layers_from_keras(model)
    for name, layer in taken.items():
        for ours, same in zip(layer.layers, live[name].layers, strict=True):
            for weight, value in ours.state_dict().items():
                assert np.array_equal(value, same.state_dict()[weight]), (name, weight)
    alone = from_keras(path, "inner/zed").layer
    kernel = model.get_layer("inner").get_layer("zed").get_weights()[0]
    assert np.array_equal(alone.weight_ih_l0, kernel.T)
    assert from_keras(path, "deep").name == "deep"
    outer = from_keras(path, "zed").layer
    assert outer.input_size == I
    for name in ("gone", "inner", 3):
        with pytest.raises(ValueError, match=r"name: .* is no layer of .*'alpha'"):
            from_keras(path, name)


def test_ambiguous_name_is_refused():
    parts = [
        keras.Sequential(
            [keras.Input((None, 3)), L.GRU(3, return_sequences=True, name="g")], name=n
        )
        for n in ("a", "b")
    ]
    whole = keras.Sequential([keras.Input((None, 3)), *parts])
    with pytest.raises(ValueError, match="more than one layer"):
        from_keras(whole, "g")
    assert from_keras(whole, "b/g").layer.hidden_size == 3


def test_reading_needs_no_keras(folder):
    code = f"""
import sys
from exactrnn.keras import from_keras
chain = from_keras({str(folder / "model.keras")!r})
assert not {{"keras", "tensorflow", "torch"}} & {{*sys.modules}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_groups_without_names_are_counted(path):
    expected = from_keras(path)(inputs())
    with keras_files.weights_of(path) as file:
        named = []
        file.visititems(lambda _, entry: named.append(entry))
        for entry in named:
            entry.attrs.pop("name", None)
    assert np.array_equal(from_keras(path)(inputs()), expected)


def test_hard_sigmoid_of_keras_2_is_its_own(path):
    with keras_files.json_of(path) as spec:
        config = keras_files.config_of(spec, "alpha")
        config["recurrent_activation"] = "hard_sigmoid"
    assert from_keras(path, "alpha").layer.activations[0][1:] == (1 / 6, 0.5)
    with keras_files.json_of(path, "metadata.json") as facts:
        facts["keras_version"] = "2.15.0"
    assert from_keras(path, "alpha").layer.activations[0] in (
        "hard_sigmoid",
        ("hard_sigmoid", 0.2, 0.5),
    )


# Chains and streams


def characters(**options):
    layers = [
        keras.Input((None,), dtype="int32"),
        L.Embedding(20, 6, **options),
        L.SpatialDropout1D(0.5),
        L.GRU(5, return_sequences=True),
        L.LSTM(4, return_sequences=True, name="top"),
        L.Dense(3),
        L.Activation("softmax"),
    ]
    return give_weights(keras.Sequential(layers))


def symbols():
    return np.random.default_rng(2).integers(0, 20, (4, 9))


@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding_and_readout_are_part_of_a_chain(mask_zero):
    model = characters(mask_zero=mask_zero)
    ids = symbols()
    ids[0, 3:5] = ids[1, -1] = 0
    found = from_keras(model)(ids)
    assert np.abs(found - model.predict(ids, verbose=0)).max() < 1e-6


def test_file_streams_with_the_bits_of_the_chain(tmp_path):
    characters().save(tmp_path / "model.keras")
    chain = from_keras(tmp_path / "model.keras")
    y, stream = chain(symbols()), chain.stream(4)
    for t in range(symbols().shape[1]):
        assert np.array_equal(stream.step(symbols()[:, t]), y[:, t])


def test_last_output_alone_streams_too():
    layers = [keras.Input((None, 3)), L.GRU(4), L.Dense(2, activation="elu")]
    chain = from_keras(give_weights(keras.Sequential(layers)))
    x, stream = inputs(), chain.stream(B)
    assert repr(stream) == "<stream of KerasModel of 2 steps>"
    for t in range(T):
        assert np.array_equal(stream.step(x[:, t]), chain(x[:, : t + 1]))


def test_what_cannot_stream_says_so(folder):
    with pytest.raises(ValueError, match=r"stream: .* got Masking with mask_value"):
        from_keras(folder / "model.keras").stream()
    with pytest.raises(ValueError, match=r"stream: .* Embedding with mask_zero"):
        from_keras(characters(mask_zero=True)).stream()
    layers = [keras.Input((None, 3)), L.Bidirectional(L.GRU(4))]
    with pytest.raises(ValueError, match="stream"):
        from_keras(keras.Sequential(layers)).stream()


def branches():
    x = keras.Input((None, 3), name="x")
    a = L.GRU(4, return_sequences=True, name="a")(x)
    return keras.Model(x, L.Dense(2)(L.Concatenate()([a, x])))


def outside_mask():
    x = keras.Input((None, 3))
    mask = keras.Input((None,), dtype="bool")
    return keras.Model([x, mask], L.GRU(4, name="a")(x, mask=mask))


def own_mask():
    x = keras.Input((None, 3))
    steps = keras.ops.any(keras.ops.not_equal(x, 5.0), axis=-1)
    return keras.Model(x, L.GRU(4, name="a")(L.Masking(0.0)(x), mask=steps))


def state_from_outside():
    x, h = keras.Input((None, 3)), keras.Input((4,))
    return keras.Model([x, h], L.GRU(4, name="a")(x, initial_state=[h]))


def called_twice():
    x, layer = keras.Input((None, 4)), L.GRU(4, return_sequences=True, name="a")
    return keras.Model(x, layer(layer(x)))


def unknown_layer():
    layers = [keras.Input((None, 3)), L.GRU(4, name="a"), L.LayerNormalization()]
    return keras.Sequential(layers)


def two_arrays():
    x = keras.Input((None, 3))
    return keras.Model(x, L.GRU(4, return_state=True, name="a")(x)[0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (branches, "chain of layers, but .* is not the output of a layer"),
        (outside_mask, "chain of layers, but .*a mask from elsewhere|inputs"),
        (own_mask, "chain of layers, but GRU 'a' has a mask from elsewhere"),
        (state_from_outside, "chain of layers, but"),
        (called_twice, "chain of layers, but"),
        (unknown_layer, "got LayerNormalization .*by name= can be taken: a$"),
        (two_arrays, "GRU 'a': return_state: expected False in a chain"),
    ],
)
def test_what_is_no_chain_is_refused_and_gives_its_layers(make, said):
    made = make()
    with pytest.raises(ValueError, match=said):
        from_keras(made)
    assert layers_from_keras(made)["a"].layer.hidden_size == 4


# Weights that do not fit


def test_all_that_is_wrong_with_weights_is_said_at_once(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/gru/cell/vars"]
        del cell["0"], cell["1"]
        cell["1"] = np.zeros((6, 17), "float32")
        cell["7"] = np.zeros(3, "float32")
    with pytest.raises(ValueError, match="GRU 'zed': weights") as caught:
        from_keras(path, "zed")
    said = str(caught.value)
    assert "cell/vars/0 [I, 18] is missing" in said
    assert "cell/vars/1 [6, 18] has shape (6, 17)" in said
    assert "'cell/vars/7' (3,) is surplus" in said
    assert from_keras(path, "alpha").layer.hidden_size == 6


def test_widths_must_agree_between_directions(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/bidirectional/backward_layer/cell/vars"]
        del cell["0"]
        cell["0"] = np.zeros((7, 16), "float32")
    with pytest.raises(ValueError, match=r"backward_layer.*has shape \(7, 16\)"):
        from_keras(path, "both")


def test_weights_of_another_dtype_are_refused(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/gru/cell/vars"]
        del cell["2"]
        cell["2"] = np.zeros((2, 18), "float16")
    with pytest.raises(ValueError, match="is float16, not float32/float64"):
        from_keras(path, "zed")


# Hostile files


def bomb(path):
    members = keras_files.read_members(path)
    members["model.weights.h5"] += bytes(2**25)
    keras_files.write_members(path, members, zipfile.ZIP_DEFLATED)


def text_bomb(path):
    members = keras_files.read_members(path) | {"config.json": b" " * 2**25}
    keras_files.write_members(path, members, zipfile.ZIP_DEFLATED)


def shape_bomb(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/gru/cell/vars"]
        del cell["0"]
        cell.create_dataset("0", (2**30, 18), "float32", chunks=(1024, 18))


def soft_link(path):
    with keras_files.weights_of(path) as file:
        del file["layers/gru/cell/vars"]
        file["layers/gru/cell/vars"] = h5py.SoftLink("/layers/gru_1/cell/vars")


def soft_link_of_a_layer(path):
    with keras_files.weights_of(path) as file:
        del file["layers/gru"]
        file["layers/gru"] = h5py.SoftLink("/layers/gru_1")


def external_link(path):
    with keras_files.weights_of(path) as file:
        del file["layers/gru"]
        file["layers/gru"] = h5py.ExternalLink("/etc/hostname", "/")


def external_values(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/gru/cell/vars"]
        del cell["0"]
        outside = [("/etc/hostname", 0, 216)]
        cell.create_dataset("0", (3, 18), "float32", external=outside)


def virtual_values(path):
    with keras_files.weights_of(path) as file:
        cell = file["layers/gru/cell/vars"]
        del cell["0"]
        layout = h5py.VirtualLayout((3, 18), "float32")
        layout[:] = h5py.VirtualSource(path.with_name("elsewhere.h5"), "x", (3, 18))
        cell.create_virtual_dataset("0", layout)


def deep_text(path):
    members = keras_files.read_members(path)
    members["config.json"] = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    keras_files.write_members(path, members)


def huge_units(path):
    with keras_files.json_of(path) as spec:
        keras_files.config_of(spec, "zed")["units"] = 2**40


def text_for_units(path):
    with keras_files.json_of(path) as spec:
        keras_files.config_of(spec, "zed")["units"] = "6" * 10_000


def layers_as_number(path):
    with keras_files.json_of(path) as spec:
        spec["config"]["layers"] = 3


def name_with_a_path(path):
    with keras_files.json_of(path) as spec:
        keras_files.config_of(spec, "zed")["name"] = "../../zed"


def no_weights(path):
    members = keras_files.read_members(path)
    del members["model.weights.h5"]
    keras_files.write_members(path, members)


def two_members(path):
    members = keras_files.read_members(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(match="Dupl"):
        archive.writestr("config.json", members["config.json"])


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def no_archive(path):
    path.write_bytes(b"hello, world")


HOSTILE = [
    *(bomb, text_bomb, shape_bomb, soft_link, soft_link_of_a_layer, external_link),
    *(external_values, virtual_values, deep_text, huge_units, text_for_units),
    *(layers_as_number, name_with_a_path, no_weights, two_members, cut, no_archive),
]


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_hostile_file_is_a_value_error(spoil, path):
    spoil(path)
    with pytest.raises(ValueError, match="path: ") as caught:
        from_keras(path)
    assert len(str(caught.value)) < 2500
    with pytest.raises(ValueError, match="path: "):
        layers_from_keras(path)


def take_whatever(path):
    """Take a model in every way; nothing but a ValueError may come of it."""
    for take in (layers_from_keras, from_keras):
        try:
            take(path)
        except ValueError as error:
            assert str(error).startswith("path: ")  # noqa: PT017 (either is right)


def damaged(content, generator):
    """Return bytes of which some are others."""
    changed = np.frombuffer(content, np.uint8).copy()
    places = generator.integers(0, len(changed), generator.integers(1, 100))
    changed[places] = generator.integers(0, 256, len(places))
    return changed.tobytes()


@pytest.mark.parametrize("kind", ["whole", "config.json", "model.weights.h5", "h5"])
def test_damaged_file_is_a_value_error_or_read(kind, folder, path):
    generator = np.random.default_rng(3)
    content = (folder / f"model.{'h5' if kind == 'h5' else 'keras'}").read_bytes()
    members = keras_files.read_members(path)
    for _ in range(60):
        if kind in members:
            change = {kind: damaged(members[kind], generator)}
            keras_files.write_members(path, members | change)
        else:
            path.write_bytes(damaged(content, generator))
        take_whatever(path)


def places_in(value):
    """Yield (container, key) of everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in [*items]:
        yield value, key
        if isinstance(inner, dict | list):
            yield from places_in(inner)


def test_description_of_wrong_kinds_is_a_value_error_or_read(path):
    generator = np.random.default_rng(4)
    values = [None, 3, -1, 0.5, "x", "", True, [], {}, [3], {"config": 3}]
    original = keras_files.read_members(path)
    count = len([*places_in(json.loads(original["config.json"]))])
    for place in generator.permutation(count)[:150]:
        keras_files.write_members(path, original)
        with keras_files.json_of(path) as spec:
            container, key = [*places_in(spec)][place]
            container[key] = values[generator.integers(len(values))]
        take_whatever(path)


def test_links_in_legacy_files_are_not_followed(folder, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes((folder / "model.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        del weights["alpha"]
        weights["alpha"] = h5py.SoftLink("/model_weights/beta")
        del weights["zed/zed/gru_cell/kernel"]
    with pytest.raises(ValueError, match="'alpha' is a link to elsewhere"):
        from_keras(path, "alpha")
    with pytest.raises(ValueError, match="zed/gru_cell/kernel' is listed and not"):
        from_keras(path, "zed")


def test_code_in_a_file_is_never_run(tmp_path):
    layers = [keras.Input((None, 3)), L.GRU(4, name="a"), L.Lambda(boom_later)]
    path = tmp_path / "lambda.keras"
    keras.Sequential(layers).save(path)
    assert "a" in layers_from_keras(path)
    with pytest.raises(ValueError, match=r"got Lambda .*by name= can be taken: a"):
        from_keras(path)


def boom_later(x):
    """Stand for code that must not run on loading."""
    return x


def test_weights_alone_and_foreign_files_say_what_to_give(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match="weights alone: give the model"):
        from_keras(tmp_path / "model.weights.h5")
    with pytest.raises(FileNotFoundError):
        from_keras(tmp_path / "gone.keras")
    with pytest.raises(IsADirectoryError):
        from_keras(tmp_path)


def test_without_h5py_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'exactrnn[keras]'")):
        from_keras(folder / "model.keras")
