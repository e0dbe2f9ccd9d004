"""Layers out of torch's weights, without torch: what is read, what is refused.

test_torch_reader.py has the reader of its files, test_torch_files.py files and modules
of torch itself.
"""

import io

import numpy as np
import pytest
import torch_files as tf
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.interop.checkpoints._kinds import KINDS
from exactrnn.layers import CLASSES

LONGEST_MESSAGE = 24 * 80


def make_layers():
    """Return layers of every kind that torch has, by name."""
    kinds = {"lstm": xr.LSTM, "gru": xr.GRU, "rnn": xr.RNN}
    found = {}
    for name, kind in kinds.items():
        found[name] = kind(3, 4, seed=1)
        found[f"{name}-deep"] = kind(3, 4, 3, bidirectional=True, seed=1)
        found[f"{name}-no-bias"] = kind(3, 4, 2, bias=False, dtype="float64", seed=1)
    found["lstm-proj"] = xr.LSTM(3, 4, 2, bidirectional=True, proj_size=2, seed=1)
    found["lstm-narrow"] = xr.LSTM(1, 1, seed=1)
    for kind in (xr.LSTMCell, xr.GRUCell, xr.RNNCell):
        found[kind.__name__] = kind(3, 4, seed=1)
        found[f"{kind.__name__}-no-bias"] = kind(3, 4, bias=False, seed=1)
    found["linear"] = xr.train.Linear(3, 4, seed=1)
    return found


LAYERS = make_layers()
every_layer = pytest.mark.parametrize("name", LAYERS)


def as_torch_file(state):
    return tf.file_of(state)


def as_safetensors(state):
    numpy = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    return numpy.save(state)


WAYS = (dict, as_torch_file, as_safetensors)


@every_layer
@pytest.mark.parametrize("write", WAYS)
def test_a_layer_is_known_by_its_weights(name, write):
    layer = LAYERS[name]
    others = {"norm.weight": draw(4), "norm.bias": draw(4)}
    state = {f"net.rnn.{n}": w for n, w in layer.state_dict().items()}
    kind = "Linear" if name == "linear" else None
    for options in ({"kind": kind}, {"prefix": "net.rnn."}):
        twin = xr.from_torch(write(others | state), **options)
        assert repr(twin) == repr(layer)
        assert same_bits(twin.state_dict(), layer.state_dict())
    assert repr(xr.from_torch(write(layer.state_dict()), "")) == repr(layer)


@pytest.mark.parametrize("write", WAYS)
def test_paths_and_open_files_are_read(write, tmp_path):
    layer, path = LAYERS["gru"], tmp_path / "weights"
    content = write(layer.state_dict())
    if isinstance(content, dict):
        return
    path.write_bytes(content)
    for source in (path, str(path), io.BytesIO(content), memoryview(content)):
        assert same_bits(xr.from_torch(source).state_dict(), layer.state_dict())
    with path.open("rb") as file:
        assert repr(xr.from_torch(file)) == repr(layer)


def test_what_weights_do_not_tell_is_an_argument():
    relu = xr.from_torch(
        LAYERS["rnn-deep"].state_dict(),
        nonlinearity="relu",
        batch_first=True,
        dropout=0.5,
    )
    assert (relu.nonlinearity, relu.batch_first, relu.dropout) == ("relu", True, 0.5)
    matrix = {"weight": draw(5, 3)}
    assert repr(xr.from_torch(matrix, kind="Embedding")) == "Embedding(5, 3)"
    assert repr(xr.from_torch(matrix, kind="Linear")) == "Linear(3, 5, bias=False)"
    cell = LAYERS["RNNCell"].state_dict()
    assert xr.from_torch(cell, nonlinearity="relu").nonlinearity == "relu"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("lstm", {"nonlinearity": "relu"}, "nonlinearity: expected None for LSTM"),
        ("GRUCell", {"batch_first": True}, "batch_first: expected None for GRUCell"),
        ("linear", {"prefix": "", "dropout": 0.5}, "dropout: expected None for Linear"),
        ("rnn", {"nonlinearity": "sin"}, "nonlinearity: expected"),
        ("gru", {"dropout": 2}, "dropout: expected"),
        ("gru", {"kind": "LSTM"}, "source: expected weights of LSTM, got 'weight_ih"),
        ("gru", {"kind": "LSTM", "prefix": ""}, "kind: expected 'GRU' for these"),
        ("gru", {"kind": "GRUCell", "prefix": ""}, "kind: expected 'GRU' for these"),
        ("gru", {"kind": "Transformer"}, "kind: expected one of 'RNN', 'GRU', 'LSTM'"),
        ("gru", {"prefix": "rnn."}, "prefix: expected a beginning of 'weight_ih_l0'"),
        ("gru", {"prefix": "w"}, "source: expected weight_ih_l0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(name, options, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        xr.from_torch(LAYERS[name].state_dict(), **options)


def test_arguments_of_the_wrong_type_are_named():
    for options, says in (
        ({"prefix": 3}, "prefix: expected a string or None, got 3"),
        ({"kind": 3}, "kind: expected one of"),
        ({"dtype": "float16"}, "dtype: expected float32 or float64, got float16"),
        ({"batch_first": 1}, "batch_first: expected True or False"),
    ):
        with pytest.raises(TypeError, match=f"^{says}"):
            xr.from_torch(LAYERS["gru"].state_dict(), **options)
    for wrong in (5, None, xr.GRU, [draw(2)], xr.GRU(3, 4)):
        with pytest.raises(TypeError, match=r"^source: expected a path, bytes"):
            xr.from_torch(wrong)


def test_several_that_could_be_meant_are_listed():
    state = {
        f"{part}.{n}": w
        for part, name in (("encoder", "lstm"), ("decoder", "GRUCell"))
        for n, w in LAYERS[name].state_dict().items()
    }
    says = r"^prefix: expected one of 'encoder.' \(LSTM\), 'decoder.' \(GRUCell\)"
    with pytest.raises(ValueError, match=says):
        xr.from_torch(state)
    assert repr(xr.from_torch(state, kind="LSTM")) == "LSTM(3, 4)"
    assert repr(xr.from_torch(state, "decoder.")) == "GRUCell(3, 4)"
    with pytest.raises(ValueError, match="expected weights of a recurrent module, got"):
        xr.from_torch({"norm.weight": draw(4)})
    with pytest.raises(ValueError, match="kind: expected 'Embedding' or 'Linear'"):
        xr.from_torch({"weight": draw(4, 3)}, "")


# What does not fit is listed, all of it


@pytest.mark.parametrize("write", WAYS)
def test_all_that_is_wrong_is_said_at_once(write):
    state = LAYERS["lstm-deep"].state_dict()
    del state["weight_hh_l1"], state["bias_hh_l2_reverse"]
    state |= {"extra": draw(2), "bias_ih_l1": draw(15), "weight_ih_l2": draw(16, 7)}
    with pytest.raises(ValueError, match=r"^source: expected weight_ih_l0, ") as caught:
        xr.from_torch(write(state), "")
    message = str(caught.value)
    for part in (
        "missing 'weight_hh_l1', 'bias_hh_l2_reverse'; unknown 'extra'",
        "bias_ih_l1: expected [G*H=16], got (15,)",
        "weight_ih_l2: expected [G*H=16, I=8], got (16, 7)",
    ):
        assert part in message
    assert len(message) < LONGEST_MESSAGE


def test_loading_into_a_layer_lists_all_and_changes_nothing():
    layer = xr.LSTM(3, 4, 3, bidirectional=True, seed=2)
    before = layer.state_dict()
    state = LAYERS["lstm-deep"].state_dict()
    del state["weight_hh_l1"]
    state |= {"extra": draw(2), "bias_ih_l1": draw(15), "weight_ih_l2": draw(16, 7)}
    for dtype in (None, "float32"):
        with pytest.raises(ValueError, match=r"^state_dict: expected ") as caught:
            layer.load_state_dict(state, dtype=dtype)
        message = str(caught.value)
        assert "missing 'weight_hh_l1'; unknown 'extra'" in message
        assert "\nweight_ih_l2: expected [G*H=16, I=8], got (16, 7)" in message
        assert "\nbias_ih_l1: expected [G*H=16], got (15,)" in message
    assert same_bits(layer.state_dict(), before)
    doubles = {name: weight.astype("f8") for name, weight in before.items()}
    with pytest.raises(TypeError, match=r"^weight_ih_l0: expected float32") as caught:
        layer.load_state_dict(doubles)
    assert "\n... (12 more)" in str(caught.value)
    with pytest.raises(ValueError, match="more") as caught:
        layer.load_state_dict({name: draw(1) for name in before})
    assert len(str(caught.value)) < LONGEST_MESSAGE


def test_a_reservoir_lists_all_too():
    network = xr.EchoState(2, 5, seed=1)
    wrong = {"weight_ih": draw(5, 3), "weight_hh": draw(4, 4), "other": draw(1)}
    with pytest.raises(ValueError, match="missing 'bias_ih'; unknown") as caught:
        network.load_state_dict(wrong)
    assert "weight_hh: expected" in str(caught.value)
    assert "weight_ih: expected" in str(caught.value)


def test_layers_that_are_not_there_are_missing():
    state = LAYERS["gru"].state_dict()
    state = {
        n.replace("_l0", "_l7") if "weight_ih" in n else n: w for n, w in state.items()
    }
    with pytest.raises(ValueError, match=r"^source: expected weight_ih_l0 \[G\*H, I\]"):
        xr.from_torch(state, "")
    far = LAYERS["gru"].state_dict() | {"weight_ih_l99999999999": draw(12, 4)}
    with pytest.raises(ValueError, match="unknown 'weight_ih_l99999999999'"):
        xr.from_torch(far)


# Dtypes


HALVES = {
    "float16": lambda w: w.astype("f2"),
    "bfloat16": lambda w: (w.view("u4") >> 16).astype("u2"),
}


def upper_half(weight):
    """Return float32 whose lower half is 0: the numbers of bfloat16."""
    return (weight.view("u4") & 0xFFFF0000).view("f4")


def file_of_halves(dtype, state):
    """Return a file of half as many bits, and the numbers that are in it."""
    narrow = {name: HALVES[dtype](weight) for name, weight in state.items()}
    program = tf.finish(
        tf.dictionary(
            {
                name: tf.tensor(dtype, str(key), weight.shape)
                for key, (name, weight) in enumerate(state.items())
            }
        )
    )
    held = {
        name: upper_half(weight) if dtype == "bfloat16" else narrow[name].astype("f4")
        for name, weight in state.items()
    }
    return tf.archive(program, [w.tobytes() for w in narrow.values()]), held


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_widened_only_if_asked(dtype):
    content, held = file_of_halves(dtype, LAYERS["lstm"].state_dict())
    with pytest.raises(TypeError, match=rf"^source: .* got {dtype}; give dtype= to"):
        xr.from_torch(content)
    for target in ("float32", "float64"):
        layer = xr.from_torch(content, dtype=target)
        assert layer.dtype == target
        wide = {name: weight.astype(target) for name, weight in held.items()}
        assert same_bits(layer.state_dict(), wide)


def test_bfloat16_of_ml_dtypes_goes_into_a_layer_if_asked():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes, as jax has")
    state = LAYERS["gru"].state_dict()
    halves = {name: w.astype(ml_dtypes.bfloat16) for name, w in state.items()}
    layer = xr.GRU(3, 4, seed=2)
    with pytest.raises(TypeError, match="expected float32, got bfloat16"):
        layer.load_state_dict(halves)
    layer.load_state_dict(halves, dtype="float32")
    wide = {name: half.astype("f4") for name, half in halves.items()}
    assert same_bits(layer.state_dict(), wide)
    assert same_bits(xr.from_torch(halves, dtype="float32").state_dict(), wide)


def test_dtypes_are_never_changed_unasked():
    state = LAYERS["gru"].state_dict()
    mixed = state | {"bias_ih_l0": state["bias_ih_l0"].astype("f8")}
    with pytest.raises(TypeError, match="got float32, float64; give dtype="):
        xr.from_torch(mixed)
    assert same_bits(xr.from_torch(mixed, dtype="float32").state_dict(), state)
    wide = {name: weight.astype("f8") for name, weight in state.items()}
    assert xr.from_torch(wide).dtype == "float64"
    large = wide | {"bias_ih_l0": wide["bias_ih_l0"] + 1e39}
    with pytest.raises(ValueError, match="bias_ih_l0: expected numbers that float32"):
        xr.from_torch(large, dtype="float32")
    whole = state | {"bias_ih_l0": np.zeros(12, "i8")}
    with pytest.raises(TypeError, match=r"bias_ih_l0: expected float16, .*int64"):
        xr.from_torch(whole, dtype="float32")


@pytest.mark.parametrize("cut", [np.s_[:0], np.s_[..., :0]], ids=["first", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_without_numbers_are_the_sources_fault(kind, cut):
    """No size of a layer is an argument here: what is wrong is in the source."""
    layer = CLASSES[kind](3, 4)
    state = {name: value[cut] for name, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match=r"^source: "):
        xr.from_torch(state, kind=kind)
