"""Hostile model files, read in C: an error, or what Python reads as well.

The mutations are those of tests/api/test_mutated_files.py. The reader runs under gcc's
address and undefined behaviour sanitizers, on content of exactly its size.
"""

import importlib.util
import json
import re
import subprocess

import pytest
from c_library import sanitized_program
from variants import CSRC, TESTS

import exactrnn as xr
from exactrnn.layers import CLASSES

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

OK, BAD_FILE, UNSUPPORTED = 0, 2, 3
SHARE, ALL = 600, 20_000
DEEP = [pytest.param(k, marks=pytest.mark.deep) for k in range(SHARE, ALL, SHARE)]


def load_mutations():
    """Return the module of the mutations, which is a test of its own."""
    path = TESTS / "api" / "test_mutated_files.py"
    spec = importlib.util.spec_from_file_location("mutations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def program():
    return sanitized_program("models")


def read(program, contents):
    """Return the status and the message of each content."""
    framed = b"".join(len(c).to_bytes(8, "little") + c for c in contents)
    done = subprocess.run(
        [str(program), "read"],
        input=framed,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    lines = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    assert len(lines) == len(contents)
    return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]


def loads(content):
    """Tell whether Python reads a content."""
    try:
        xr.load(content)
    except (ValueError, UserWarning):
        return False
    return True


def description_of(content):
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["exactrnn"])


def may_differ(status, content):
    """Tell whether the difference is one of those that are meant.

    C does not draw random numbers, so that it does not look at their generator; and it
    takes whole numbers of 64 bits alone as the version of the numerics.
    """
    description = description_of(content)
    if status == OK:
        return "generator" in description
    version = description["numerics"]
    is_whole = type(version) is int and abs(version) < 2**63
    return status == BAD_FILE and not is_whole


@pytest.mark.parametrize("first", [0, *DEEP])
@pytest.mark.filterwarnings("ignore:.*was written under numerics version")
def test_a_mutated_file_is_refused_where_python_refuses_it(program, first):
    mutations = load_mutations()
    contents = {
        name: mutations.file_of(model)
        for name, model in mutations.make_models().items()
    }
    mutated = [
        mutations.mutate(contents, seed)[0] for seed in range(first, first + SHARE)
    ]
    refused = 0
    for seed, (status, message) in enumerate(read(program, mutated), first):
        assert status in (OK, BAD_FILE, UNSUPPORTED), (seed, status, message)
        content = mutated[seed - first]
        refused += status == BAD_FILE
        if status != UNSUPPORTED and (status == OK) != loads(content):
            assert may_differ(status, content), (seed, status, message)
    assert 0 < refused < SHARE


def test_whole_files_are_read_and_others_named(program):
    mutations = load_mutations()
    models = mutations.make_models()
    answers = read(program, [mutations.file_of(model) for model in models.values()])
    found = dict(zip(models, answers, strict=True))
    others = {"echo", "grid", "grid layer", "linear", "embedding", "model", "parts"}
    others |= {"sequential", "normed"}
    assert {name for name, (status, _) in found.items() if status != OK} == others
    for name in others:
        assert found[name][0] == UNSUPPORTED
        assert "Python alone" in found[name][1]


def test_every_class_is_known():
    text = (CSRC / "library" / "network.c").read_text()
    tables = re.findall(r"^static const [^\n]*\[\] = \{(.*?)^\};", text, re.S | re.M)
    kinds, others = tables
    named = set(re.findall(r'\{"(\w+)",', kinds)) | set(re.findall(r'"(\w+)"', others))
    assert named == {*CLASSES, "LanguageModel"}


def test_no_bit_of_a_file_changes_unseen(program):
    """Of a small one each bit; where reading goes on the file is the same to JSON."""
    mutations = load_mutations()
    content = mutations.file_of(xr.GRU(1, 1, seed=1))
    flipped = []
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        flipped.append(bytes(damaged))
    for place, (status, _) in enumerate(read(program, flipped)):
        if status == OK:  # a blank for another blank
            assert flipped[place][place // 8] in b" \t\n\r", place
        else:
            assert status == BAD_FILE


def test_a_name_that_occurs_twice_is_refused(program):
    content = load_mutations().file_of(xr.GRU(1, 1, seed=1))
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size].decode(), content[8 + size :]
    twice = [
        header.replace("{", '{"__metadata__":{},', 1),
        header.replace('\\"class\\"', '\\"numerics\\": 1, \\"class\\"', 1),
    ]
    assert header not in twice
    framed = [len(t.encode()).to_bytes(8, "little") + t.encode() + data for t in twice]
    for status, message in read(program, framed):
        assert (status, "header" in message or "JSON" in message) == (BAD_FILE, True)


def test_foreign_files_are_named(program):
    answers = read(
        program, [b"PK\3\4" + bytes(90), b"\x89HDF\r\n\x1a\n" + bytes(90), b""]
    )
    assert [status for status, _ in answers] == [BAD_FILE] * 3
    assert ["zip" in answers[0][1], "HDF5" in answers[1][1]] == [True, True]
