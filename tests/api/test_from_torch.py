"""Layers out of torch's weights, without torch: what is read, what is refused.

test_torch_files.py has files and modules of torch itself.
"""

import io
import pickle
import random
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_files as tf
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.interop.checkpoints._kinds import KINDS
from exactrnn.layers import CLASSES

LONGEST_MESSAGE = 24 * 80
MEMORY = 2 << 30


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


# The reader of torch.save's files


def test_memory_is_read_as_it_lies():
    whole = draw(4, 6, seed=3)
    memory = np.ascontiguousarray(whole).tobytes()
    state = {
        "weight": tf.tensor("float32", "0", (3, 2), count=24, offset=7, strides=(1, 6)),
        "bias": tf.tensor("float32", "0", (3,), count=24, offset=0, strides=(8,)),
    }
    content = tf.archive(tf.finish(tf.dictionary(state)), [memory])
    layer = xr.from_torch(content, "")
    flat = whole.ravel()
    expected = np.array([[flat[7 + i + 6 * j] for j in range(2)] for i in range(3)])
    assert same_bits(layer.weight, expected)
    assert same_bits(layer.bias, flat[[0, 8, 16]])


def test_files_of_big_endian_machines_are_read():
    state = LAYERS["gru"].state_dict()
    memory = [weight.astype(">f4").tobytes() for weight in state.values()]
    content = tf.archive(tf.program_of(state), memory, byteorder="big")
    assert same_bits(xr.from_torch(content).state_dict(), state)
    with pytest.raises(ValueError, match="byte order 'middle'"):
        xr.from_torch(tf.archive(tf.program_of(state), memory, byteorder="middle"))


def test_what_is_around_the_tensors_is_left():
    state = LAYERS["gru"].state_dict()
    tensors = {
        name: tf.tensor("float32", str(key), weight.shape)
        for key, (name, weight) in enumerate(state.items())
    }
    tree = {
        "epoch": tf.number(3),
        "groups": pickle.EMPTY_LIST + tf.number(2**40) + pickle.APPEND,
        "model": tf.dictionary({"rnn": tf.dictionary(tensors)}),
        "state": tf.dictionary({7: tf.tensor("float32", "0", (2, 2))}),
        "best": pickle.NONE,
    }
    memory = [weight.tobytes() for weight in state.values()]
    content = tf.archive(tf.finish(tf.dictionary(tree)), memory)
    assert same_bits(xr.from_torch(content).state_dict(), state)
    assert repr(xr.from_torch(content, "model.rnn.")) == "GRU(3, 4)"


BIAS = tf.tensor("float32", "0", (2,))
MATRIX = tf.tensor("float32", "1", (2, 2))


def linear_with(weight=MATRIX, bias=BIAS, **more):
    return tf.finish(tf.dictionary({"weight": weight, "bias": bias, **more}))


def deep(levels):
    """Return dictionaries in each other."""
    tree = BIAS
    for _ in range(levels):
        tree = tf.dictionary({"a": tree})
    return tree


ITSELF = (
    pickle.EMPTY_DICT
    + pickle.BINPUT
    + b"\0"
    + pickle.MARK
    + tf.text("again")
    + pickle.BINGET
    + b"\0"
    + pickle.SETITEMS
)
LAUGHS = (
    pickle.EMPTY_DICT
    + pickle.BINPUT
    + b"\0"
    + b"".join(
        pickle.EMPTY_DICT
        + pickle.BINPUT
        + bytes([k + 1])
        + pickle.MARK
        + b"".join(tf.text(x) + pickle.BINGET + bytes([k]) for x in "abcdefgh")
        + pickle.SETITEMS
        for k in range(14)
    )
)
"""Fifteen dictionaries on the stack; the last has 8**14 ways to the first."""
SYSTEM = tf.name("os", "system")
HOSTILE = {
    "calls": tf.finish(tf.call(SYSTEM, tf.text("exit 7"))),
    "calls at a leaf": linear_with(x=tf.call(SYSTEM, tf.text("exit 7"))),
    "names": linear_with(x=SYSTEM),
    "name of torch": linear_with(x=tf.name("torch", "load")),
    "name on stack": linear_with(
        x=tf.text("os") + tf.text("system") + pickle.STACK_GLOBAL
    ),
    "module": linear_with(x=tf.name("torch.nn.modules.rnn", "LSTM")),
    "instance": linear_with(x=pickle.MARK + b"ios\nsystem\n"),
    "object": linear_with(x=pickle.MARK + SYSTEM + pickle.OBJ),
    "new object": linear_with(x=SYSTEM + pickle.EMPTY_TUPLE + pickle.NEWOBJ),
    "build": linear_with(x=BIAS + pickle.EMPTY_DICT + pickle.BUILD),
    "calls a dictionary": linear_with(
        x=tf.call(tf.name("collections", "OrderedDict"), tf.number(5))
    ),
    "calls a storage": linear_with(x=tf.call(tf.name("torch", "FloatStorage"))),
    "calls a number": linear_with(x=tf.call(tf.number(5))),
    "extension": linear_with(x=pickle.EXT1 + b"\1"),
    "text identity": linear_with(x=b"P0\n"),
    "long name": linear_with(**{"n" * 2000: BIAS}),
    "too deep": tf.finish(deep(40)),
    "itself": tf.finish(ITSELF),
    "laughs": tf.finish(LAUGHS),
    "no end": pickle.PROTO + b"\2" + pickle.EMPTY_DICT,
    "nothing": tf.finish(b""),
    "only a mark": tf.finish(pickle.MARK),
    "a number": tf.finish(tf.number(5)),
    "a list": tf.finish(pickle.EMPTY_LIST),
    "two keys": tf.finish(
        pickle.EMPTY_DICT + pickle.MARK + tf.text("a") + pickle.SETITEMS
    ),
    "a list as key": tf.finish(
        pickle.EMPTY_DICT + pickle.EMPTY_LIST + tf.number(1) + pickle.SETITEM
    ),
    "items of a number": tf.finish(tf.number(1) * 3 + pickle.SETITEM),
    "memo of nothing": tf.finish(pickle.BINGET + b"\x05"),
    "long text": tf.finish(pickle.BINUNICODE + b"\xff\xff\xff\x7f" + b"x"),
    "long number": tf.finish(pickle.LONG4 + b"\xff\xff\xff\x7f" + b"x"),
    "the same name": tf.finish(
        tf.dictionary({"a.b": BIAS, "a": tf.dictionary({"b": BIAS})})
    ),
    "negative size": linear_with(tf.tensor("float32", "1", (-2, 2), count=4)),
    "negative offset": linear_with(tf.tensor("float32", "1", (2, 2), offset=-1)),
    "negative stride": linear_with(tf.tensor("float32", "1", (2, 2), strides=(-2, 1))),
    "a size that is true": linear_with(
        tf.call(
            tf.name("torch._utils", "_rebuild_tensor_v2"),
            tf.storage("float32", "1", 4),
            tf.number(0),
            tf.several(pickle.NEWTRUE, tf.number(2)),
            tf.several(tf.number(2), tf.number(1)),
        )
    ),
    "few strides": linear_with(tf.tensor("float32", "1", (2, 2), strides=(1,))),
    "huge": linear_with(tf.tensor("float32", "1", (2**40, 2**40), count=4)),
    "many axes": linear_with(tf.tensor("float32", "1", (1,) * 70, count=4)),
    "no storage": linear_with(
        tf.call(tf.name("torch._utils", "_rebuild_tensor_v2"), *[tf.number(1)] * 4)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_a_value_error(name):
    content = tf.archive(HOSTILE[name], [draw(2).tobytes(), draw(2, 2).tobytes()])
    with pytest.raises(ValueError, match=r"^source: not a file of torch") as caught:
        xr.from_torch(content, "")
    assert len(str(caught.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("calls", "it asks for 'os.system', and only tensors are taken"),
        ("name on stack", "it asks for 'os.system', and only tensors are taken"),
        ("object", "it asks for 'os.system', and only tensors are taken"),
        ("instance", "the instruction INST"),
        ("few strides", r"of shape \(2, 2\) with other strides"),
        ("laughs", "too large or too deep"),
        ("itself", "too large or too deep"),
    ],
)
def test_a_refused_pickle_says_why(name, says):
    content = tf.archive(HOSTILE[name], [draw(2).tobytes(), draw(2, 2).tobytes()])
    with pytest.raises(ValueError, match=says):
        xr.from_torch(content, "")


CLAIMS = {
    "too many": tf.tensor("float32", "1", (3, 2)),
    "past the end": tf.tensor("float32", "1", (2, 2), offset=1, count=4),
    "long strides": tf.tensor("float32", "1", (2, 2), strides=(3, 1), count=4),
    "the same number": tf.tensor("float32", "1", (900, 900), strides=(0, 0), count=4),
    "not there": tf.tensor("float32", "2", (2, 2)),
    "elsewhere": tf.tensor("float32", "../data.pkl", (2, 2)),
    "another kind": tf.tensor("float64", "1", (2, 2)),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_memory_is_compared_with_what_is_there(name):
    program = linear_with(CLAIMS[name], tf.tensor(*bias_for(name)))
    content = tf.archive(program, [draw(900).tobytes(), draw(2, 2).tobytes()])
    with pytest.raises(ValueError, match=r"^source: not a file of torch"):
        xr.from_torch(content, "", dtype="float32")


def bias_for(name):
    """Return a bias with as many numbers as the matrix of a claim has rows."""
    return "float32", "0", ({"too many": 3, "the same number": 900}.get(name, 2),)


def test_a_right_linear_layer_of_the_same_parts_is_read():
    memory = [draw(2).tobytes(), draw(2, 2).tobytes()]
    assert repr(xr.from_torch(tf.archive(linear_with(), memory), "")) == "Linear(2, 2)"


def zip_with(*members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as made:
        for member, content in members:
            made.writestr(member, content)
    return file.getvalue()


def test_zip_files_that_are_no_file_of_torch_are_a_value_error():
    state = LAYERS["gru"].state_dict()
    program = tf.program_of(state)
    memory = [weight.tobytes() for weight in state.values()]
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_with(("a/data.pkl", program), ("a/data.pkl", program))
    for content, says in (
        (twice, "members of the same name"),
        (tf.archive(program, memory, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (zip_with(("a/b", b"")), "a zip file of 'a/b'"),
        (tf.archive(program, memory, **{"constants.pkl": b""}), "TorchScript program"),
        (tf.archive(program, memory[:2]), "no item named 'archive/data/2'"),
        (tf.archive(b"\x80\2}" + b"0" * 2**24, []), "more than 16777216 bytes"),
        (pickle.dumps({}), "before torch 1.6"),
        (b"", ""),
        (b"PK\3\4" + bytes(60), ""),
    ):
        if not content:
            pytest.importorskip("safetensors", reason="needs safetensors")
        with pytest.raises(ValueError, match=f"^source: not a file of torch.*{says}"):
            xr.from_torch(content)


def test_a_byte_of_memory_that_was_damaged_is_seen():
    content = bytearray(tf.file_of(LAYERS["gru"].state_dict()))
    place = content.index(LAYERS["gru"].state_dict()["weight_hh_l0"].tobytes())
    content[place] ^= 1
    with pytest.raises(ValueError, match="Bad CRC-32"):
        xr.from_torch(content)


def mutate(content, chance):
    """Return a content that is damaged in one of a few ways."""
    damaged = bytearray(content)
    kind = chance.randrange(4)
    if kind == 0:
        return damaged[: chance.randrange(len(damaged))]
    if kind == 1:
        begin = chance.randrange(len(damaged))
        del damaged[begin : begin + chance.randint(1, 9)]
        return damaged
    for _ in range(chance.choice((1, 1, 2, 8))):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return damaged


def run_share(first, last):
    """Read mutated files; this runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    state = LAYERS["lstm-proj"].state_dict()
    memory = [weight.tobytes() for weight in state.values()]
    content, program = tf.file_of(state), tf.program_of(state)
    refused = 0
    for seed in range(first, last):
        print(f"seed {seed}", flush=True)
        chance = random.Random(seed)
        if seed % 2:  # the pickle alone, its checksum is right
            damaged = tf.archive(bytes(mutate(program, chance)), memory)
        else:
            damaged = mutate(content, chance)
        try:
            layer = xr.from_torch(damaged, dtype="float32")
        except (ValueError, TypeError) as error:
            message = str(error)
            refused += 1
        else:
            message = "source: read"
            assert sum(w.size for w in layer.state_dict().values()) < 2000
        assert message.partition(":")[0] in {"source", "prefix", "kind", *state}
        assert len(message) < LONGEST_MESSAGE
    assert refused > 0.5 * (last - first)


@pytest.mark.parametrize(
    "first",
    [0, *(pytest.param(k, marks=pytest.mark.deep) for k in range(800, 20000, 800))],
)
def test_a_mutated_file_is_refused_or_read(first):
    code = f"import test_from_torch as t; t.run_share({first}, {first + 800})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=600,
        check=False,
        env={"PYTHONPATH": str(Path(tf.__file__).parent), "PATH": ""},
    )
    assert done.returncode == 0, (done.stdout[-200:], done.stderr[-2000:])
