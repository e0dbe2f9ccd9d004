"""The reader of torch.save's files: damaged, hostile and odd ones, without torch."""

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

LONGEST_MESSAGE = 24 * 80
MEMORY = 2 << 30
GRU = xr.GRU(3, 4, seed=1)
PROJECTED = xr.LSTM(3, 4, 2, bidirectional=True, proj_size=2, seed=1)


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
    state = GRU.state_dict()
    memory = [weight.astype(">f4").tobytes() for weight in state.values()]
    content = tf.archive(tf.program_of(state), memory, byteorder="big")
    assert same_bits(xr.from_torch(content).state_dict(), state)
    with pytest.raises(ValueError, match="byte order 'middle'"):
        xr.from_torch(tf.archive(tf.program_of(state), memory, byteorder="middle"))


def test_what_is_around_the_tensors_is_left():
    state = GRU.state_dict()
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
    state = GRU.state_dict()
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
    content = bytearray(tf.file_of(GRU.state_dict()))
    place = content.index(GRU.state_dict()["weight_hh_l0"].tobytes())
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
    state = PROJECTED.state_dict()
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
    code = f"import test_torch_reader as t; t.run_share({first}, {first + 800})"
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
