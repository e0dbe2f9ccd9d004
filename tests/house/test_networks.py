"""The list of public networks is complete, and its records say what others ask.

Files, benchmarks, pictures, first weights and the generic tests walk
`exactrnn.layers.NETWORKS`: what is not in it nobody sees, so here it is compared with
what there is.
"""

import ast
import inspect
import re
import sys

import numpy as np
import pytest
from arrays import as_tuple
from sources import PACKAGE
from variants import CELLS, make_layer

import exactrnn as xr
from exactrnn.layers import CLASSES, NETWORKS
from exactrnn.layers._module import Module

CONSTRUCTED = [
    thing
    for module in (xr, xr.train)
    for thing in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(thing) and hasattr(thing, "record")
]
every_network = pytest.mark.parametrize("name", NETWORKS)
every_class = pytest.mark.parametrize("kind", CLASSES.values(), ids=[*CLASSES])
EXAMPLES = {
    "AttentionDecoder": {"cell": "gru"},
    "ClockworkRNN": {"periods": (1, 2)},
    "GridLSTM": {"sizes": (3, 2)},
    "Layer": {"cell": xr.cells.MGU()},
}
SIZES = (
    *("input_size", "hidden_size", "num_embeddings", "embedding_dim"),
    *("in_features", "out_features", "memory_size"),
)
CHECKS = ("_checks", "_checks.naming", "_spec.option_checks", "_spec.grid_checks")


def test_every_class_with_arguments_is_in_the_list():
    files_of_its_own = {xr.train.LanguageModel}
    assert {*CONSTRUCTED} - files_of_its_own == {*CLASSES.values()}


def test_every_class_of_a_layer_file_is_in_the_list():
    """A class whose file nobody imports would be in no list."""
    found = set()
    for path in (PACKAGE / "layers").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
        found |= {node.name for node in classes if says_record(node)}
    assert found == {*CLASSES}


def says_record(node):
    names = [target.id for item in node.body for target in getattr(item, "targets", [])]
    return "record" in names


def test_every_cell_is_a_network():
    defined = {kind.record.cell for kind in CLASSES.values() if kind.record.defined}
    assert {NETWORKS[n].record.cell or n for n in NETWORKS} | defined >= {*CELLS}


@every_network
def test_network_is_the_cell_that_its_layer_runs(name):
    network = NETWORKS[name]
    layer = network.kind(3, 6, **network.options(6))
    assert getattr(layer, "cell", network.record.name) == name


@every_network
def test_every_gate_and_state_has_a_meaning_of_its_own_class(name):
    network = NETWORKS[name]
    layers = {"num_layers": network.record.example_layers}
    layer = network.kind(3, 6, **layers, **network.options(6))
    *_, cache = layer.forward(np.ones((2, 1, 3), "float32"), gates=True)
    letters = {array.partition("_")[0] for array in [*cache.gates, *cache.states]}
    assert letters - {"h"} <= {*network.record.meanings}
    assert {*network.record.gates} <= letters


@every_network
def test_gates_of_the_record_are_those_between_0_and_1(name):
    network = NETWORKS[name]
    layers = {"num_layers": network.record.example_layers}
    layer = network.kind(3, 6, seed=1, **layers, **network.options(6))
    x = 100 * np.random.default_rng(0).standard_normal((9, 4, 3)).astype("float32")
    *_, cache = layer.forward(x, gates=True)
    for key, gate in cache.gates.items():
        letter = key.partition("_")[0]
        inside = bool((gate >= 0).all())
        assert inside == (letter in network.record.gates), key


@every_network
def test_gates_that_keep_are_gates(name):
    record = NETWORKS[name].record
    assert {*record.keeps} <= {*record.gates}
    assert {*record.keeps.values()} <= {1, -1}


@pytest.mark.parametrize(
    "name", [n for n in NETWORKS if NETWORKS[n].record.keeps and n in CELLS]
)
def test_a_large_time_of_chrono_keeps_the_state(name):
    """With `chrono` a state lives long: the signs of the record are right."""
    uniform, chrono = (
        remembered(name, init) for init in ("uniform", ("chrono", 10**6))
    )
    assert uniform < 0.1
    assert chrono > 0.5


def remembered(name, init):
    """Return what is left of a difference of states after 20 steps, by biases alone."""
    layer = make_layer(name, 3, 16, init=init, seed=1)
    biases = {n: w * ("bias" in n) for n, w in layer.state_dict().items()}
    layer.load_state_dict(biases)
    x = np.zeros((20, 1, 3), "float32")
    *_, zero = layer(x[:0])
    one = tuple(part + 1 for part in zero) if isinstance(zero, tuple) else zero + 1
    ends = [as_tuple(layer(x, state)[1])[-1] for state in (zero, one)]
    return float(np.abs(ends[0] - ends[1]).mean())


# Constructors: the arguments stand in the signature and in the docstring


@every_class
def test_docstring_has_the_arguments_of_the_signature(kind):
    text = inspect.getdoc(kind).partition("Parameters\n----------\n")[2]
    text = re.split(r"\n\n\w+\n-+\n", text)[0]
    heads = [line for line in text.splitlines() if line and line[0] != " "]
    named = [n for head in heads for n in head.partition(" :")[0].split(", ")]
    assert sorted(named) == sorted(inspect.signature(kind).parameters)


@every_class
def test_no_constructor_repeats_its_arguments(kind):
    source = inspect.cleandoc("\n" + inspect.getsource(kind.__init__))
    [function] = ast.parse(source).body
    body = [node for statement in function.body for node in ast.walk(statement)]
    names = {*inspect.signature(kind).parameters} - {"w", "w_in"}  # EchoState's arrays
    assert not names & {node.value for node in body if is_text(node)}


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def checks_of(kind, **arguments):
    """Return the checks that a construction calls, each with the name it is given."""
    modules = {f"exactrnn.{name}" for name in CHECKS}
    called = []

    def watch(frame, event, _):
        caller = frame.f_back.f_globals.get("__name__") if frame.f_back else None
        name = frame.f_code.co_name
        module = frame.f_globals.get("__name__")
        is_check = event == "call" and name.startswith("check_")
        if is_check and module in modules and caller not in modules:
            called.append((name, frame.f_locals.get("name")))

    sys.setprofile(watch)
    try:
        kind(**arguments)
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES.values() if kind is not xr.EchoState]
)
def test_construction_checks_each_argument_once(kind):
    """An echo state network makes a layer, which checks what it is given again."""
    sizes = [n for n in inspect.signature(kind).parameters if n in SIZES]
    needed = dict.fromkeys(sizes, 6) | EXAMPLES.get(kind.__name__, {})
    called = checks_of(kind, **needed)
    assert len(called) > 3
    assert {call for call in called if called.count(call) > 1} == set()


def test_classes_derived_by_users_keep_the_arguments_of_their_base():
    class Mine(xr.LSTM):
        def __init__(self, label, *sizes, **options):
            self.label = label
            super().__init__(*sizes, **options)

    layer = Mine("mine", 3, 4, peepholes="io", seed=1)
    assert layer.label == "mine"
    assert layer.arguments() == xr.LSTM(3, 4, peepholes="io").arguments()
    assert Mine.__name__ not in CLASSES
    assert isinstance(layer, Module)
