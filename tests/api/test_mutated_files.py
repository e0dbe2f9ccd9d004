"""Files damaged or made to do harm: a ValueError, or the layer that was saved.

Each mutation is one of the ways in which files come to be wrong: bits that flip, ends
that are lost, headers whose numbers, names or sizes are exchanged, descriptions that
claim what is not there, JSON made to hurt its parser. All are drawn from one seed. Some
run here, in a process of its own with a limit on memory and time, so that a signal, a
hang or a greedy allocation is seen; `pytest -m deep` runs 20,000 of them, and flips
every single bit of a file.
"""

import copy
import io
import json
import random
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import exactrnn as xr
from exactrnn.io import _digest
from exactrnn.train import (
    Dropout,
    Embedding,
    LanguageModel,
    Last,
    Linear,
    Sequential,
)

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
MEMORY = 2 << 30
"""Bytes of address space of a process that reads mutated files."""
SECONDS_EACH = 2.0
LONGEST_MESSAGE = 24 * 80
NUMBERS = (
    0,
    1,
    2,
    3,
    5,
    7,
    10**4,
    10**7,
    2**31,
    2**47,
    2**63,
    2**64,
    10**30,
    -1,
    -(2**63),
)
NOT_NUMBERS = (None, True, "4", 4.0, 1e308, [], [4], {}, {"a": 4}, "x" * 10**5)
HEADER_WORDS = (b"F32", b"F64", b"F16", b"BF16", b"I64", b"F8_E4M3", b"BOOL", b"C64")


def make_models():
    """Return small models of every kind of file, by name."""
    x = np.sin(np.arange(40, dtype=np.float32))[:, None]
    return {
        "gru": xr.GRU(2, 3, seed=1),
        "lstm": xr.LSTM(2, 3, 2, bidirectional=True, dropout=0.5, proj_size=2, seed=1),
        "normed": xr.LSTM(2, 3, layer_norm=True, seed=1),
        "cell": xr.LSTMCell(2, 3, peepholes="ifo", dtype="float64", seed=1),
        "clockwork": xr.ClockworkRNN(2, 4, periods=(1, 2), seed=1),
        "leaky": xr.LeakyRNN(2, 3, leak=(0.1, 0.2, 0.3), learn_leak=True, seed=1),
        "blocks": xr.LSTM1997(2, 4, block_size=2, seed=1),
        "jordan": xr.JordanRNN(2, 3, output_size=2, seed=1),
        "depth-gated": xr.DepthGatedLSTM(2, 3, 2, seed=1),
        "echo": xr.EchoState(1, 10, seed=1).fit(x[:-1], x[1:]),
        "grid": xr.GridLSTM(2, 3, sizes=(2, None), shared=(False, True), seed=1),
        "grid layer": xr.TimeDepthGridLSTM(2, 3, 2, seed=1),
        "linear": Linear(2, 3, seed=1),
        "embedding": Embedding(4, 2, dtype="float64", seed=1),
        "model": LanguageModel("abcd", hidden_size=3, embedding_size=2, seed=1),
        "sequential": Sequential(
            {
                "symbols": Embedding(4, 2, dropout=0.5),
                "inner": Sequential(Dropout(0.5), xr.GRU(2, 3)),
                "last": Last(),
                "readout": Linear(3, 2),
            },
            seed=1,
        ),
        "parts": {"encoder": xr.GRU(2, 3, seed=1), "readout": Linear(3, 2, seed=2)},
    }


def file_of(model):
    """Return the content of a model's file."""
    file = io.BytesIO()
    if isinstance(model, LanguageModel):
        model.save(file)
    else:
        xr.save(model, file)
    return file.getvalue()


def load(content):
    """Return what a content holds, by either door; what a user would try."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another version of the numerics contract
        try:
            return xr.load(content)
        except ValueError as first:
            try:
                return LanguageModel.load(content)
            except ValueError:
                raise first from None


def split(content):
    """Return header and data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(header, data):
    """Return the content with a header, which may be text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# Mutations: each takes a content and a source of chance, and returns another content


def flip_bits(content, chance):
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def change_bytes(content, chance):
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged)


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def add_bytes(content, chance):
    place = chance.choice((0, 8, len(content), chance.randrange(len(content))))
    return content[:place] + chance.randbytes(chance.randint(1, 9)) + content[place:]


def drop_bytes(content, chance):
    place = chance.randrange(len(content))
    return content[:place] + content[place + chance.randint(1, 9) :]


def claim_header(content, chance):
    size = chance.choice((0, 1, 2**31, 2**63, 2**64 - 1, 10**8, len(content)))
    return size.to_bytes(8, "little") + content[8:]


def swap_words(content, chance):
    old, new = chance.sample(HEADER_WORDS, 2)
    return content.replace(old, new, chance.randint(1, 3))


def change_shape(content, chance):
    header, data = split(content)
    name = chance.choice([n for n in header if n != "__metadata__"])
    entry = header[name]
    kind = chance.choice(("shape", "data_offsets", "swap", "rename", "drop", "double"))
    if kind in ("shape", "data_offsets"):
        numbers = entry[kind]
        numbers[chance.randrange(len(numbers))] = chance.choice(NUMBERS + NOT_NUMBERS)
    elif kind == "swap":
        other = header[chance.choice([n for n in header if n != "__metadata__"])]
        entry["data_offsets"], other["data_offsets"] = (
            other["data_offsets"],
            entry["data_offsets"],
        )
    elif kind == "rename":
        header[chance.choice((f"{name}_l1", "", "x" * 10**4, "\ud800"))] = header.pop(
            name
        )
    elif kind == "drop":
        del header[name]
    else:
        header[f"{name}_again"] = entry
    return join(header, data)


def change_claims(content, chance):
    """Change the description: its checksum is the old one, a right one, or gone."""
    header, data = split(content)
    text = header["__metadata__"]["exactrnn"]
    description = json.loads(text)
    chosen = chance.choice(descriptions_in(description))
    arguments = chosen["arguments"]
    where = chance.choice((arguments, arguments, arguments, chosen, description))
    name = chance.choice([*where, "extra", "__class__", "forward", "_stack"])
    value = chance.choice(NUMBERS + NOT_NUMBERS)
    if chance.random() < 0.1:
        where.pop(name, None)
    else:
        where[name] = value
    if chance.random() < 0.8:
        checksum = description.pop("sha256", None)
        if chance.random() < 0.5 and checksum:
            arrays = arrays_of(content)
            description["sha256"] = _digest(arrays, description)
    header["__metadata__"]["exactrnn"] = json.dumps(description, sort_keys=True)
    return join(header, data)


def descriptions_in(description):
    """Return the descriptions of the layers in a file, one or several."""
    parts = description.get("parts")
    if parts is None:
        return [description]
    return [found for _, part in parts for found in descriptions_in(part)]


def arrays_of(content):
    from safetensors.numpy import load

    return load(content)


HOSTILE_TEXTS = (
    "[" * 10**5,
    '{"a":' * 10**5,
    "9" * 10**5,
    "-" * 100,
    "1e999",
    '"' + "x" * 10**6 + '"',
    '{"class": "GRU"}',
    '{"class": ["GRU"], "arguments": {}, "numerics": 1}',
    '{"class": "Cache", "arguments": {}, "numerics": 1}',
    '{"class": "__builtins__", "arguments": {}, "numerics": 1}',
    '{"class": "GRU", "arguments": {"input_size": 1e400, "hidden_size": NaN}}',
    "{" + ", ".join(f'"k{k}": {k}' for k in range(10**4)) + "}",
    "",
    "null",
    "\ud800",
)


def hurt_parser(content, chance):
    header, data = split(content)
    text = chance.choice(HOSTILE_TEXTS)
    kind = chance.choice(("entry", "header", "metadata", "not text"))
    if kind == "entry":
        header["__metadata__"]["exactrnn"] = text
    elif kind == "header":
        return join(text.encode("utf-8", "surrogatepass"), data)
    elif kind == "metadata":
        header["__metadata__"] = chance.choice((text, [], None, 5, {"a": 5}, {}))
    else:
        header["__metadata__"]["exactrnn"] = chance.choice((5, None, [], {"a": "b"}))
    return join(header, data)


MUTATIONS = (
    *(flip_bits, change_bytes, cut, add_bytes, drop_bytes, claim_header, swap_words),
    *(change_shape, change_claims, change_claims, hurt_parser),
)


def mutate(contents, seed):
    """Return a mutated content, the one it comes from, and what was done to it."""
    chance = random.Random(seed)
    name = chance.choice([*contents])
    mutation = chance.choice(MUTATIONS)
    content = mutation(contents[name], chance)
    if chance.random() < 0.1:
        content = chance.choice(MUTATIONS[:7])(content or b"\0", chance)
    return content, name, mutation


def judge(content, model, mutation):
    """Load a mutated content; raise unless it is refused or right."""
    message, found = None, None
    try:
        found = load(content)
    except ValueError as error:
        message = str(error)
    if message is not None:
        assert message.startswith("path: not "), message
        assert len(message) < LONGEST_MESSAGE, len(message)
        return
    use(found)
    if mutation is not change_claims:  # which makes whole files of other claims
        assert options_of(found) == options_of(model)
        weights, origin = weights_of(found), weights_of(model)
        assert [*weights] == [*origin]
        assert all(weights[n].tobytes() == origin[n].tobytes() for n in origin)


def use(model):
    """Compute with a model, whatever it is; its methods are those of its class."""
    if isinstance(model, dict | Sequential):
        for part in (model if isinstance(model, dict) else model.parts).values():
            use(part)
        return
    assert not {"forward", "__class__", "extra"} & {*vars(model)}
    if isinstance(model, LanguageModel):
        model.evaluate(model.alphabet[:1] * 3)
    elif isinstance(model, Embedding):
        model.forward([[0], [0]])
    elif isinstance(model, Dropout | Last):
        model.forward(np.zeros((2, 1, 2)))
    elif isinstance(model, Linear):
        model(np.zeros((2, model.in_features), model.dtype))
    elif not isinstance(model, xr.GridLSTM):
        x = np.zeros((2, 1, model.input_size), model.dtype)
        model(x[0] if type(model).__name__.endswith("Cell") else x)


def options_of(model):
    """Return what a model is but for its weights."""
    if isinstance(model, dict | Sequential):
        parts = model if isinstance(model, dict) else model.parts
        return [(name, options_of(part)) for name, part in parts.items()]
    if isinstance(model, LanguageModel):
        return model.alphabet, model.config
    return type(model), model.arguments()


def weights_of(model):
    """Return the weights of a model by name."""
    if not isinstance(model, dict):
        return model.state_dict()
    parts = [(name, part.state_dict()) for name, part in model.items()]
    return {f"{name}.{own}": w for name, part in parts for own, w in part.items()}


def run_share(first, last):
    """Judge the mutations of some seeds; this runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    models = make_models()
    contents = {name: file_of(model) for name, model in models.items()}
    for seed in range(first, last):
        content, name, mutation = mutate(contents, seed)
        print(f"seed {seed}: {mutation.__name__} of {name}", flush=True)
        judge(content, models[name], mutation)


def run_child(first, last):
    """Run a share; return the child's status, its last line and its errors."""
    code = f"import test_mutated_files as t; t.run_share({first}, {last})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=60 + SECONDS_EACH * (last - first),
        check=False,
    )
    return done.returncode, done.stdout.splitlines()[-1:], done.stderr[-2000:]


SHARE, ALL = 500, 20_000
DEEP_SHARES = [
    pytest.param(first, marks=pytest.mark.deep) for first in range(SHARE, ALL, SHARE)
]


@pytest.mark.parametrize("first", [0, *DEEP_SHARES])
def test_a_mutated_file_is_refused_or_right(first):
    status, last, errors = run_child(first, first + SHARE)
    assert status == 0, (last, errors)


def test_every_mutation_is_tried_and_most_are_refused():
    models = make_models()
    contents = {name: file_of(model) for name, model in models.items()}
    refused, tried = {}, {}
    for seed in range(400):
        content, _, mutation = mutate(contents, seed)
        tried[mutation] = tried.get(mutation, 0) + 1
        try:
            load(content)
        except ValueError:
            refused[mutation] = refused.get(mutation, 0) + 1
    assert set(tried) == set(MUTATIONS)
    assert sum(refused.values()) > 300


def assert_bits_are_seen(content, places):
    damaged = bytearray(content)
    for place in places:
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="path: not a"):
            load(bytes(damaged))
        damaged[place // 8] ^= 1 << place % 8
    load(bytes(damaged))


@pytest.mark.parametrize("name", make_models())
def test_a_single_flipped_bit_is_seen(name):
    content = file_of(make_models()[name])
    bits = range(8 * len(content))
    assert_bits_are_seen(content, random.Random(1).sample(bits, 150))


@pytest.mark.deep
@pytest.mark.parametrize("name", make_models())
def test_every_single_flipped_bit_is_seen(name):
    content = file_of(make_models()[name])
    assert_bits_are_seen(content, range(8 * len(content)))


def without_checksum(content, **entries):
    """Return a content as it was written before there were checksums."""
    header, data = split(content)
    description = json.loads(header["__metadata__"]["exactrnn"])
    del description["sha256"]
    text = json.dumps({**description, **entries}, sort_keys=True)
    header["__metadata__"]["exactrnn"] = text
    return join(header, data)


ONE_LAYER = [name for name in make_models() if name not in ("parts", "sequential")]


def test_parts_are_younger_than_checksums():
    content = file_of(make_models()["parts"])
    with pytest.raises(ValueError, match="no checksum, but entries 'parts'"):
        load(without_checksum(content))


@pytest.mark.parametrize("name", ONE_LAYER)
def test_files_from_before_there_were_checksums_are_taken(name):
    model = make_models()[name]
    twin = load(without_checksum(file_of(model)))
    for name, weight in weights_of(twin).items():
        np.testing.assert_array_equal(weight, weights_of(model)[name])
    with pytest.raises(ValueError, match="no checksum, but entries 'sha257'"):
        load(without_checksum(file_of(model), sha257=""))


@pytest.mark.parametrize("name", make_models())
def test_what_a_file_claims_is_compared_before_anything_is_made(name):
    content = file_of(make_models()[name])
    header, data = split(content)
    description = json.loads(header["__metadata__"]["exactrnn"])
    del description["sha256"]
    for size in ("num_layers", "hidden_size", "input_size", "embedding_size"):
        for claimed in (16_000, 20_000, 200_000, 10**7, 2**40, 10**30):
            changed = copy.deepcopy(description)
            arguments = descriptions_in(changed)[0]["arguments"]
            if size not in arguments:
                continue
            arguments[size] = claimed
            changed["sha256"] = _digest(arrays_of(content), changed)
            text = json.dumps(changed, sort_keys=True)
            header["__metadata__"]["exactrnn"] = text
            begin = time.process_time()
            with pytest.raises(ValueError, match="path: not a") as caught:
                load(join(header, data))
            assert time.process_time() - begin < 0.3
            assert len(str(caught.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: text[:20])
def test_a_hostile_text_is_a_value_error(text):
    header, data = split(file_of(xr.GRU(2, 3, seed=1)))
    header["__metadata__"]["exactrnn"] = text
    raw = text.encode("utf-8", "surrogatepass")
    for content in (join(header, data), join(raw, data), raw):
        for door in (xr.load, LanguageModel.load):
            with pytest.raises(ValueError, match="path: not a") as caught:
                door(content)
            assert len(str(caught.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    "error", [KeyError("k"), AttributeError("a"), MemoryError(), RecursionError("r")]
)
@pytest.mark.parametrize("where", ["parse", "build"])
def test_whatever_damage_raises_is_a_value_error(error, where, monkeypatch):
    content = file_of(xr.GRU(2, 3, seed=1))

    def fail(*arguments, **options):
        raise error

    place = (json, "loads") if where == "parse" else (xr.GRU, "restore")
    monkeypatch.setattr(*place, fail)
    with pytest.raises(ValueError, match=f"path: not a.*{type(error).__name__}"):
        xr.load(content)


def test_names_that_are_no_arguments_are_refused():
    header, data = split(file_of(xr.GRU(2, 3, seed=1)))
    description = json.loads(header["__metadata__"]["exactrnn"])
    del description["sha256"]
    for name in ("forward", "_stack", "__class__", "seed", "extra"):
        arguments = {**description["arguments"], name: 5}
        changed = {**description, "arguments": arguments}
        header["__metadata__"]["exactrnn"] = json.dumps(changed)
        with pytest.raises(ValueError, match=f"arguments: .* unknown '{name}'"):
            xr.load(join(header, data))


def test_a_file_of_torch_says_how_it_is_loaded():
    from safetensors.numpy import save

    layer = xr.LSTM(3, 4, 2, seed=1)
    content = save(layer.state_dict())
    for door in (xr.load, LanguageModel.load):
        with pytest.raises(ValueError, match=r"exactrnn\.from_torch\(path\)") as caught:
            door(content)
        assert "'weight_ih_l0'" in str(caught.value)
        assert len(str(caught.value)) < LONGEST_MESSAGE


def test_each_door_names_the_other():
    models = make_models()
    with pytest.raises(ValueError, match=r"exactrnn\.train\.LanguageModel\.load reads"):
        xr.load(file_of(models["model"]))
    with pytest.raises(ValueError, match=r"'GRU', which exactrnn\.load reads"):
        LanguageModel.load(file_of(models["gru"]))


# The mark of what takes minutes


class Item:
    """A test as pytest has it when it selects."""

    nodeid = "tests/test_some.py::test_thing"

    def __init__(self, *marks):
        self.marks = marks

    def get_closest_marker(self, name):
        return name in self.marks


def select(request, items, expression, share=1):
    """Return what is left of `items` and what is left out."""
    conftest = request.config.pluginmanager.get_plugin(str(CONFTEST))
    left, left_out = [*items], []
    config = SimpleNamespace(
        option=SimpleNamespace(markexpr=expression),
        hook=SimpleNamespace(pytest_deselected=lambda *, items: left_out.extend(items)),
        getoption={"share": share}.get,
    )
    conftest.pytest_collection_modifyitems(config, left)
    return left, left_out


@pytest.mark.parametrize("expression", ["", "slow", "not slow", "deep", "deep or slow"])
def test_what_is_deep_runs_only_where_it_is_named(expression, request):
    deep, items = Item("deep"), [Item(), Item("slow")]
    given, left_out = select(request, [*items, deep], expression)
    named = "deep" in expression
    assert given == ([*items, deep] if named else items)
    assert left_out == ([] if named else [deep])


def test_each_deep_test_has_one_day_of_many(request, monkeypatch):
    conftest = request.config.pluginmanager.get_plugin(str(CONFTEST))
    items = [Item("deep") for _ in range(30)]
    for number, item in enumerate(items):
        item.nodeid = f"tests/test_some.py::test_{number}"
    found = []
    for day in range(5):
        today = SimpleNamespace(toordinal=lambda day=day: 739_000 + day)
        date = SimpleNamespace(today=lambda today=today: today)
        monkeypatch.setattr(conftest, "datetime", SimpleNamespace(date=date))
        left, left_out = select(request, items, "deep", share=5)
        assert len(left) + len(left_out) == len(items)
        found += left
    assert sorted(map(id, found)) == sorted(map(id, items))
