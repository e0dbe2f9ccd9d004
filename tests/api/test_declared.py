"""What classes declare for type checkers is what their objects have, and no more.

A type checker sees no `__getattr__` of a module: a name that is declared nowhere is a
mistake in a user's program, and so is a right one that was forgotten.
"""

import inspect
import itertools
import re
import subprocess
import sys

import pytest
from modules import WEIGHTED
from variants import PUBLIC, ROOT, VARIANTS, options_of

import exactrnn as xr
from exactrnn import layers, train

DEPTH = 4
"""Layers whose weights are declared; `layers/_named.py` says so."""
CLASSES = {**layers.CLASSES, "LanguageModel": train.LanguageModel}
"""Every class that has weights by name."""


class EveryKind(xr.Cell):
    """A cell with weights of every kind that equations may ask for."""

    def step(self, s):
        heard = s.tanh(s.R("r", s.h) + s.b("r"))
        seen = s.tanh(s.W("w") + s.b("w")) * s.v("v")
        return s.mix(s.sigmoid(s.scalar("k", 0.5)), heard, seen)


def attempt(make, *arguments, **options):
    """Return an object in a list; none where options exclude each other."""
    try:
        return [make(*arguments, **options)]
    except (TypeError, ValueError):
        return []


def every_choice(make, *arguments, **choices):
    """Return objects with every choice of options that there is."""
    found = []
    for chosen in itertools.product(*choices.values()):
        options = dict(zip(choices, chosen, strict=True))
        found += attempt(make, *arguments, **options)
    return found


def all_objects():
    """Return objects with all options that bring weights, deep and in both ways."""
    found = [make() for make in WEIGHTED.values()]
    for name in (*PUBLIC, *VARIANTS):
        kind, own = options_of(name, 12)
        deep = {"num_layers": DEPTH, "bidirectional": True}
        found += attempt(kind, 3, 12, **own, **deep)
        found += attempt(kind, 3, 12, **own, num_layers=DEPTH)
        cells = [c for c in CLASSES.values() if c.record is kind.record and c != kind]
        for cell in cells:
            found += attempt(cell, 3, 12, **own)
    both = {"num_layers": [DEPTH], "bidirectional": [False, True]}
    for kind in (xr.LSTM, xr.GRU):
        found += every_choice(kind, 3, 4, layer_norm=[True], **both)
    found += every_choice(xr.Layer, EveryKind, 3, 4, **both)
    found += every_choice(
        *(xr.TimeDepthGridLSTM, 3, 4),
        **both,
        shared=[False, True],
        tied=[False, True],
    )
    for dims in range(1, 7):
        own = {"dims": [dims], "sides": [None, tuple(range(dims))]}
        found += every_choice(xr.GridLSTM, 3, 4, tied=[False, True], **own)
    found += every_choice(
        *(xr.AttentionDecoder, "gru", 3, 4, 4),
        score=["additive", "general", "dot"],
        selector=[False, True],
    )
    return found


@pytest.fixture(scope="module")
def objects():
    """Objects of every class, by its name."""
    found = {}
    for each in all_objects():
        found.setdefault(type(each).__name__, []).append(each)
    assert found.keys() == CLASSES.keys()
    return found


def declared(kind):
    """Return the public names that a class declares, with what is written there."""
    found = {}
    for parent in reversed(kind.__mro__):
        found |= inspect.get_annotations(parent)
    own = {n: str(said) for n, said in found.items() if not n.startswith("_")}
    return {n: said for n, said in own.items() if not said.startswith("ClassVar")}


WEIGHT_BY_CLASS = {
    name: [n for n, said in declared(kind).items() if said == "Weight"]
    for name, kind in CLASSES.items()
}


def weights_of(module):
    """Return the weights that are attributes; of positions of a grid none is declared.

    A language model's are in its parts, an echo state network's in `state_dict`.
    """
    names = module.state_dict() if hasattr(module, "_names") else ()
    return {n for n in names if "." not in n and not re.search(r"_p\d", n)}


@pytest.mark.parametrize("name", CLASSES)
def test_declared_weights_are_those_that_objects_have(objects, name):
    real = set().union(*map(weights_of, objects[name]))
    known = {*WEIGHT_BY_CLASS[name]} | ({"bias"} if name == "Linear" else set())
    assert known == real


NOT_OF_GRIDS = {"activations", "cell", "clip"}
"""What a layer of time and depth does not have, though every other layer does."""


@pytest.mark.parametrize("name", CLASSES)
def test_declared_options_are_those_that_objects_have(objects, name):
    known = {*declared(CLASSES[name])} - {*WEIGHT_BY_CLASS[name]}
    for each in objects[name]:
        real = {n for n in vars(each) if n[0] != "_" and not hasattr(type(each), n)}
        absent = NOT_OF_GRIDS if name == "TimeDepthGridLSTM" else set()
        assert real <= known
        assert {n for n in known if not hasattr(each, n)} == absent


HEAD = """
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import exactrnn as xr
from exactrnn import train
from exactrnn._graph.symbols import Step
from exactrnn._graph.values import Symbol

Array = NDArray[np.floating[Any]]
"""
SYMBOLS = """

def use_symbols(s: Step) -> None:
    a = s.tanh(s.W("a") + s.u)
    assert_type(a * s.h, Symbol)
    a.shape  # type: ignore[attr-defined]
    a.shape = 3  # type: ignore[attr-defined]
    s.tanhh(a)  # type: ignore[operator]
    a**2  # type: ignore[operator]
    a & a  # type: ignore[operator]
    a @ a  # type: ignore[operator]
    a[0]  # type: ignore[index]
    len(a)  # type: ignore[arg-type]
    float(a)  # type: ignore[arg-type]
"""
BODY = """

def use_{0}(layer: {1}, array: Array) -> None:
    layer.wieght_ih_l0  # type: ignore[attr-defined]
    layer.wieght_ih_l0 = array  # type: ignore[attr-defined]
    layer.hidden_sise  # type: ignore[attr-defined]
    layer.hidden_sise = 3  # type: ignore[attr-defined]
"""


def users_program():
    """Return a program that reads and sets every name of a weight, and mistakes."""
    text = HEAD + SYMBOLS
    for name in CLASSES:
        room = "xr" if name in xr.__all__ else "train"
        text += BODY.format(name, f"{room}.{name}")
        for weight in WEIGHT_BY_CLASS[name]:
            text += f"    assert_type(layer.{weight}, Array)\n"
            text += f"    layer.{weight} = array\n"
    return text


@pytest.mark.slow
def test_a_type_checker_knows_right_names_and_no_others(tmp_path):
    pytest.importorskip("mypy", reason="what checks the program")
    program = tmp_path / "program.py"
    program.write_text(users_program())
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=")
    # From the root, whose cache other runs fill.
    done = subprocess.run(
        (*mypy, program), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
