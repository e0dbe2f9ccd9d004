"""Models on disk: what comes back is what was written; damage is a ValueError."""

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from arrays import draw, same_bits
from layer_kinds import CELL_KINDS, KINDS, make_cell, make_kind
from modules import DECODERS, DENSE, fitted

import exactrnn as xr
from exactrnn import io

safetensors = pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

EXAMPLES = [
    xr.RNN(3, 4, nonlinearity="relu", seed=1),
    xr.LSTM(3, 4, 2, bidirectional=True, batch_first=True, dropout=0.5, seed=1),
    xr.GRU(3, 4, reset_after=False, bias=False, dtype="float64", seed=1),
    xr.RNNCell(3, 4, seed=1),
    xr.LSTMCell(3, 4, dtype="float64", seed=1),
    xr.GRUCell(3, 4, bias=False, seed=1),
]


def make_examples():
    """Return the examples above and a layer and a cell of every kind, by name."""
    found = {type(layer).__name__: layer for layer in EXAMPLES}
    found |= {kind: make_kind(kind, 3, 6, num_layers=2, seed=1) for kind in KINDS}
    found |= {f"{kind} cell": make_cell(kind, 3, 6, seed=1) for kind in CELL_KINDS}
    found["echo state"] = xr.EchoState(3, 6, seed=1)
    found["grid"] = xr.GridLSTM(3, 4, dims=3, sizes=(None, None, 2), seed=1)
    found["grid layer"] = xr.TimeDepthGridLSTM(3, 4, num_layers=2, seed=1)
    found |= {name: make() for name, make in (DENSE | DECODERS).items()}
    found["init"] = xr.LSTM(3, 4, init="orthogonal", forget_bias=2, seed=1)
    found["chrono"] = xr.GRU(3, 4, init=("chrono", 9), seed=1)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(("name", "layer"), make_examples().items())
@pytest.mark.parametrize("as_path", [str, Path], ids=["text", "path"])
def test_what_is_read_is_what_was_written(name, layer, path, as_path):
    xr.save(layer, as_path(path))
    twin = xr.load(as_path(path))
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert twin.arguments() == layer.arguments()
    weights = layer.state_dict()
    assert list(twin.state_dict()) == list(weights)
    for name, weight in twin.state_dict().items():
        assert same_bits(weight, weights[name])
    assert list(path.parent.iterdir()) == [path]
    if name in KINDS:
        x = draw(5, 2, 3)
        assert same_bits(twin(x), layer(x))


def test_parts_of_a_model_come_back_by_name_and_in_order(path):
    parts = {name: EXAMPLES[k] for k, name in enumerate(("z", "encoder_1", "a"))}
    parts["echo"] = fitted()
    parts["readout"] = xr.train.Linear(4, 2, seed=1)
    xr.save(parts, path)
    twins = xr.load(path)
    assert list(twins) == list(parts)
    for name, twin in twins.items():
        assert repr(twin) == repr(parts[name])
        assert same_bits(twin.state_dict(), parts[name].state_dict())
    with safetensors.safe_open(path, framework="numpy") as file:
        assert "encoder_1.weight_ih_l1_reverse" in {*file.keys()}


def test_dropout_of_a_part_goes_on_where_it_stood(path):
    layer = xr.GRU(3, 4, 2, dropout=0.5, seed=1)
    x = draw(5, 2, 3)
    layer.forward(x)
    xr.save({"only": layer}, path)
    assert same_bits(layer.forward(x)[0], xr.load(path)["only"].forward(x)[0])


GRU = xr.GRU(3, 4, seed=1)


def test_parts_without_weights_and_chains_are_parts_too(path):
    chain = xr.train.Sequential({"drop": xr.train.Dropout(0.1, seed=1), "gru": GRU})
    parts = {"drop": xr.train.Dropout(0.5, seed=2), "chain": chain}
    xr.save(parts, path)
    twins = xr.load(path)
    assert list(twins) == list(parts)
    x = draw(5, 2, 3)
    for name, part in parts.items():
        assert repr(twins[name]) == repr(part)
        assert same_bits(twins[name].forward(x)[0], part.forward(x)[0])
    assert same_bits(twins["chain"].state_dict(), chain.state_dict())


@pytest.mark.parametrize(
    ("parts", "error", "says"),
    [
        ({}, ValueError, "at least one part"),
        ({"": GRU}, ValueError, "without a dot, got ''"),
        ({"a.b": GRU}, ValueError, "without a dot, got 'a.b'"),
        ({"x" * 301: GRU}, ValueError, "of 1 to 300 letters"),
        ({3: GRU}, TypeError, "parts with names, got 3"),
        ({"a": GRU, "b": GRU}, ValueError, "got one under two names"),
        ({"a": GRU, "b": {"c": EXAMPLES[0]}}, TypeError, "expected one of GRU"),
        ({"a": None}, TypeError, "expected one of GRU"),
    ],
    ids=str,
)
def test_what_is_no_model_of_parts_is_not_written(path, parts, error, says):
    with pytest.raises(error, match=f"^layer: .*{says}"):
        xr.save(parts, path)
    assert not path.exists()


def write_parts(path, described, **arrays):
    io.write_file(path, arrays, {"parts": described, "numerics": 1})


def test_parts_that_are_not_those_described_are_a_value_error(path):
    described = io.describe_layer(GRU)
    weights = {f"a.{name}": weight for name, weight in GRU.state_dict().items()}
    write_parts(path, [["a", described]], **weights)
    assert repr(xr.load(path)) == "{'a': GRU(3, 4)}"
    renamed = {name.replace("a.", "b."): w for name, w in weights.items()}
    for wrong, arrays in (
        ([["a", described]], {**weights, "b.weight": draw(2)}),
        ([["a", described]], {**weights, "weight": draw(2)}),
        ([["a", described]], {**weights, "a.weight": draw(2)}),
        ([["a", described], ["b", described]], weights),
        ([["a", described], ["a", described]], weights),
        ([["a", {**described, "class": "Cache"}]], weights),
        ([["a"]], weights),
        ([["a", None]], weights),
        ([[["a"], described]], weights),
        ([["b.a", described]], renamed),
        ([["", described]], {name.removeprefix("a"): w for name, w in weights.items()}),
        ([], {"a": draw(2)}),
        ({}, weights),
        (None, weights),
        (5, weights),
    ):
        write_parts(path, wrong, **arrays)
        with pytest.raises(ValueError, match=r"path: not an exactrnn layer: .*model"):
            xr.load(path)


def test_init_is_in_the_file_but_draws_nothing(path):
    layer = xr.LSTM(3, 4, init=("chrono", 9), seed=1)
    layer.bias_ih_l0 = layer.bias_ih_l0 * 2
    xr.save(layer, path)
    twin = xr.load(path)
    assert twin.init == ("chrono", 9)
    assert same_bits(twin.bias_ih_l0, layer.bias_ih_l0)


def test_dropout_goes_on_where_it_stood(path):
    layer = xr.GRU(3, 4, 2, dropout=0.5, seed=1)
    x = draw(5, 2, 3)
    layer.forward(x)
    xr.save(layer, path)
    assert same_bits(layer.forward(x)[0], xr.load(path).forward(x)[0])


def test_equal_layers_give_equal_files(path):
    contents = set()
    for _ in range(4):
        xr.save(xr.LSTM(3, 4, 2, seed=1), path)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_file_says_what_it_is(path):
    xr.save(EXAMPLES[1], path)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == set(EXAMPLES[1].state_dict())
        description = json.loads(file.metadata()["exactrnn"])
    assert description["class"] == "LSTM"
    assert description["numerics"] == 1
    assert description["arguments"]["dropout"] == 0.5
    assert description["arguments"]["dtype"] == "float32"


def write(path, layer=None, **changes):
    """Write a layer with some entries of its description changed or (None) left out."""
    layer = layer or xr.GRU(3, 4, seed=1)
    description = {
        "class": "GRU",
        "arguments": layer.arguments(),
        "numerics": 1,
        "generator": layer._generator_state(),
        **changes,
    }
    description = {
        key: value for key, value in description.items() if value is not None
    }
    io.write_file(path, layer.state_dict(), description)


def test_another_numerics_version_is_a_warning(path):
    write(path, numerics=2)
    with pytest.warns(UserWarning, match="numerics version 2, this is version 1"):
        layer = xr.load(path)
    assert same_bits(layer.weight_ih_l0, xr.GRU(3, 4, seed=1).weight_ih_l0)


def test_a_file_older_than_an_option_is_taken(path):
    kept = {name: GOOD[name] for name in ("input_size", "hidden_size")}
    write(path, arguments=kept)
    assert repr(xr.load(path)) == "GRU(3, 4)"


def test_a_file_without_a_generator_is_taken(path):
    write(path, generator=None)
    assert repr(xr.load(path)) == "GRU(3, 4)"


GOOD = xr.GRU(3, 4).arguments()
HUGE = 10**30
BAD_DESCRIPTIONS = [
    {"class": None},
    {"class": "LSTM"},
    {"class": "Cache"},
    {"class": ["GRU"]},
    {"class": {}},
    {"arguments": None},
    {"arguments": []},
    {"arguments": {}},
    {"arguments": {**GOOD, "hidden_size": 5}},
    {"arguments": {**GOOD, "hidden_size": HUGE}},
    {"arguments": {**GOOD, "hidden_size": "4"}},
    {"arguments": {**GOOD, "hidden_size": 4.0}},
    {"arguments": {**GOOD, "dropout": 1}},
    {"arguments": {**GOOD, "dtype": "float64"}},
    {"arguments": {**GOOD, "dtype": {"names": []}}},
    {"arguments": {**GOOD, "dtype": "O"}},
    {"arguments": {**GOOD, "bias": False}},
    {"arguments": {**GOOD, "bidirectional": True}},
    {"arguments": {**GOOD, "num_layers": 2}},
    {"arguments": {**GOOD, "reset_after": 1}},
    {"arguments": {**GOOD, "activations": ["tanh"]}},
    {"arguments": {**GOOD, "clip": -1}},
    {"arguments": {**GOOD, "init": ["chrono"]}},
    {"arguments": {**GOOD, "init": {}}},
    {"numerics": None},
    {"numerics": "one"},
    {"numerics": []},
    {"generator": 5},
    {"generator": {}},
    {"generator": {"bit_generator": "MT19937"}},
    {"generator": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 0}}},
    {"generator": {"bit_generator": "PCG64", "state": {"state": HUGE**2, "inc": 1}}},
    {"generator": {"bit_generator": "PCG64", "state": {"state": "a", "inc": 1}}},
]


@pytest.mark.parametrize("changes", BAD_DESCRIPTIONS, ids=str)
def test_a_wrong_description_is_a_value_error(path, changes):
    write(path, **changes)
    with pytest.raises(ValueError, match=r"path: not an exactrnn layer: .*model"):
        xr.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 100_000])
def test_a_description_that_is_no_object_is_a_value_error(path, text):
    from safetensors.numpy import save_file

    save_file({"w": draw(2)}, path, metadata={"exactrnn": text})
    with pytest.raises(ValueError, match=r"path: not a model file: .*model"):
        xr.load(path)


def test_files_of_others_are_a_value_error(path):
    from safetensors.numpy import save_file

    save_file({"w": draw(2)}, path)
    with pytest.raises(ValueError, match="path: not a model file"):
        xr.load(path)
    for content in (b"", b"\0" * 8, b"\xff" * 64, b"PK\3\4" + b"\0" * 60, b"{}" * 9):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path: not a model file"):
            xr.load(path)


def test_a_truncated_file_is_a_value_error_wherever_it_ends(path):
    xr.save(xr.GRU(2, 2, seed=1), path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="path: not a"):
            xr.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="path: not a"):
        xr.load(path)


def test_a_damaged_header_is_a_value_error_or_a_whole_layer(path):
    xr.save(xr.GRU(2, 2, seed=1), path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        for place in generator.integers(0, header, generator.integers(1, 4)):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            layer = xr.load(path)
        except ValueError as error:
            refused += str(error).startswith("path: not a")
        except UserWarning:  # the damage hit the number of the numerics version
            refused += 1
        else:
            layer(draw(2, 1, layer.input_size))
            refused += 1
    assert refused == 500


def test_a_file_that_is_not_there_is_an_os_error(path):
    with pytest.raises(FileNotFoundError):
        xr.load(path)
    with pytest.raises(IsADirectoryError):
        xr.load(path.parent)
    with pytest.raises(OSError, match="none"):
        xr.save(EXAMPLES[0], path.parent / "none" / "model.safetensors")


def test_only_layers_and_cells_of_the_package_are_written(path):
    class Mine(xr.GRU):
        pass

    for wrong in (Mine(3, 4), xr.GRU, None, EXAMPLES[0].state_dict()):
        with pytest.raises(TypeError, match="layer: expected one of GRU, LSTM, "):
            xr.save(wrong, path)
    assert not path.exists()


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    xr.save(EXAMPLES[0], path)
    before = path.read_bytes()

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        xr.save(EXAMPLES[1], path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_missing_safetensors_says_what_to_install(path):
    code = (
        "import sys; sys.modules['safetensors'] = None; import exactrnn as xr\n"
        "for call in (lambda: xr.save(xr.GRU(1, 1), 'x'), lambda: xr.load('x')):\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("pip install 'exactrnn[lm]'") == 2


def zip_of(*members):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            archive.writestr(member, "")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zip_of("model/data.pkl", "model/version"), "file of torch.save"),
        (zip_of("metadata.json", "model.weights.h5"), "a Keras model.*from_keras"),
        (b"\x89HDF\r\n\x1a\n" + bytes(32), "an HDF5 file.*from_keras"),
        (b"\x08\x08\x12\x07pytorch\x3a\x00", "an ONNX model.*from_onnx"),
    ],
    ids=["torch", "keras", "hdf5", "onnx"],
)
def test_files_of_other_libraries_are_called_by_name(content, says):
    with pytest.raises(ValueError, match=says):
        xr.load(content)


def test_a_damaged_zip_is_a_value_error():
    content = bytearray(zip_of("model/data.pkl"))
    content[content.rindex(b"PK\x01\x02")] ^= 1
    with pytest.raises(ValueError, match="not a model file"):
        xr.load(content)


def test_a_name_that_no_file_can_have_is_named():
    with pytest.raises(
        ValueError, match=r"^path: expected a name without null bytes, got "
    ):
        xr.load("a\0b")
    with pytest.raises(
        ValueError, match=r"^source: expected a name without null bytes, got "
    ):
        xr.from_torch("a\0b")
