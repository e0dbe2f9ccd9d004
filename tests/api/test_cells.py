"""`Cell` and `Layer`: what users write, what they are told, what files hold."""

import copy
import gc
import inspect
import io
import json
import math
import pickle
import time
import tracemalloc

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import cells
from exactrnn._graph.definition import from_data


def cell_of(step, states=("h",)):
    """Return a cell with this method."""
    return type("Mine", (xr.Cell,), {"states": states, "step": step})()


def layer_of(step, states=("h",), **options):
    return xr.Layer(cell_of(step, states), 3, 4, **options)


def simple(s):
    return s.W("a") + s.R("a", s.h) + s.b("a")


# What cannot be expressed, with the user's own line


def branch(self, s):
    return s.h if s.h > 0 else simple(s)


def matrix(self, s):
    return s.h @ simple(s)


def power(self, s):
    return simple(s) ** 2


def item(self, s):
    return simple(s)[0]


def loop(self, s):
    return sum(simple(s))


def equality(self, s):
    return s.where(s.h == 0, 1, simple(s))


def array(self, s):
    return simple(s) + np.ones(4)


def huge(self, s):
    return simple(s) * 1e39


def strange_name(self, s):
    return s.W("über")


def unknown_state(self, s):
    return s.c + simple(s)


def not_a_value(self, s):
    return s.W("a") + s.R("a", 1.0)


def lonely_bias(self, s):
    return s.W("a") * s.b("a")


def two_names(self, s):
    return s.W("a") + s.R("b", s.h)


def one_name_twice(self, s):
    return s.tanh(s.W("a")) * s.R("a", s.h)


def seven_stages(self, s):
    a = simple(s)
    for name in "bcdefg":
        a = s.R(name, s.tanh(a))
    return a


def many_sums(self, s):
    a = s.h
    for k in range(13):
        a = a * s.W(f"a{k}")
    return a


def many_nodes(self, s):
    a = simple(s)
    for k in range(500):
        a = a + k
    return a


def many_vectors(self, s):
    a = s.W("a")
    for k in range(21):
        a = a * s.v(f"v{k}")
    return a


def no_product_with_x(self, s):
    return s.tanh(s.R("a", s.h))


def transposed(self, s):
    return s.W("v") @ s.W("k").T


def of_numpy(self, s):
    return np.tanh(s.W("a"))


def of_math(self, s):
    return math.exp(s.W("a"))


def nothing(self, s):
    s.tanh(s.W("a"))


def two_of_one(self, s):
    return s.W("a"), s.h


def norm_of_a_number(self, s):
    return s.layer_norm((s.W("a"), 1.0), ("a", "b"))[0]


def norm_of_one_twice(self, s):
    a = s.W("a")
    return s.layer_norm((a, a), ("a", "b"))[0]


def norm_without_names(self, s):
    return s.layer_norm((s.W("a"), s.W("b")), "a")[0]


def many_norms(self, s):
    a = simple(s)
    for k in range(7):
        a = s.layer_norm(a, f"a{k}")
    return a


def scalar_twice(self, s):
    return s.scalar("k", 1.0) * s.W("a") * s.scalar("k", 2.0)


def scalar_and_vector(self, s):
    return s.scalar("k", 1.0) * s.W("a") * s.v("k")


def truth_returned(self, s):
    return True


def huge_returned(self, s):
    return 1e39


def others_returned(self, s):
    return copy.deepcopy(s.h)


def constant_returned(self, s):
    return 0.5


def name_of_no_letter(self, s):
    return s.W("_a")


def many_numbers(self, s):
    a = s.W("a")
    for k in range(130):
        a = s.fma(a, 2.0 * k + 1, 2.0 * k + 2)
    return a


LINES = {
    truth_returned: ("def truth_returned", "a value of the step, got True"),
    huge_returned: ("def huge_returned", "finite number of float32"),
    others_returned: ("def others_returned", "another step"),
    constant_returned: ("def constant_returned", "a product with x"),
    name_of_no_letter: ('s.W("_a")', "a letter first, got '_a'"),
    many_numbers: ("s.fma(a, 2.0", "at most 256 weights of units, scalars and"),
    many_sums: ("a = a * s.W", "at most 12 sums of products"),
    many_vectors: ("a = a * s.v", "at most 20 weights of units"),
    no_product_with_x: ("s.tanh(s.R", "a product with x"),
    transposed: ('s.W("v") @', "has no T"),
    of_numpy: ("np.tanh", "got NumPy's tanh"),
    of_math: ("math.exp", "no value yet"),
    nothing: ("def nothing", "got None"),
    two_of_one: ("def two_of_one", "each of the states h, got 2"),
    norm_of_a_number: ('(s.W("a"), 1.0)', "values of the step"),
    norm_of_one_twice: ("((a, a)", "different values"),
    norm_without_names: ('"a")[0]', "a name for each value"),
    many_norms: ("a = s.layer_norm", "at most 5 products and normalisations"),
    scalar_twice: ("2.0", "one first value of 'k'"),
    scalar_and_vector: ('s.v("k")', "one weight 'k'"),
    branch: ("if s.h > 0", "s.where"),
    matrix: ("s.h @ simple", "unit by unit"),
    power: ("simple(s) ** 2", "no power"),
    item: ("simple(s)[0]", "no elements"),
    loop: ("sum(simple(s))", "no elements"),
    equality: ("s.h == 0", "s.equal"),
    array: ("np.ones(4)", "expected a number"),
    huge: ("1e39", "finite number of float32"),
    strange_name: ("über", "at most 31 letters"),
    unknown_state: ("s.c + simple", "expected a state (h)"),
    not_a_value: ('s.R("a", 1.0)', "expected a value of the step"),
    lonely_bias: ('s.b("a")', "added once"),
    two_names: ('s.R("b", s.h)', "one name in a sum, got a, b"),
    one_name_twice: ('s.R("a", s.h)', "one sum 'a'"),
    seven_stages: ("s.R(name, s.tanh(a))", "at most 5 products"),
    many_nodes: ("a = a + k", "at most 400"),
}


@pytest.mark.parametrize("step", LINES, ids=lambda step: step.__name__)
def test_message_shows_the_users_line(step):
    line, why = LINES[step]
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        layer_of(step)
    message = str(caught.value)
    assert why in message
    assert line in message
    assert "test_cells.py, line" in message


UNSAID = (
    *(lambda a: 2**a, lambda a: pow(a, 2, 3), lambda a: a // 2, lambda a: 2 // a),
    *(lambda a: a % 2, lambda a: 2 % a, lambda a: divmod(a, 2), lambda a: divmod(2, a)),
    *(lambda a: a << 1, lambda a: 1 << a, lambda a: a >> 1, lambda a: 1 >> a),
    *(lambda a: ~(a > 0), lambda a: (a > 0) & (a < 1), lambda a: 1 & a),
    *(lambda a: a | a, lambda a: 1 | a, lambda a: a ^ a, lambda a: 1 ^ a),
    *(lambda a: [1] @ a, lambda a: a @ a, lambda a: np.ones(4) @ a),
    *(int, float, complex, round, math.floor, math.ceil, math.trunc, range),
    *(len, iter, next, reversed, hash, bool, lambda a: {a: 1}, lambda a: 1 in a),
    *(lambda a: [1, 2][a], lambda a: a[0], lambda a: a(1), lambda a: f"{a:.2f}"),
    *(lambda a: a.__setitem__(0, 1), lambda a: a.__delitem__(0)),
    *(lambda a: max(a, 0), lambda a: 0 < a < 1, lambda a: a == 1, lambda a: a != 1),
    *(np.sin, np.sum, np.mean, lambda a: np.dot(a, a), lambda a: np.where(a, 1, 0)),
    *(lambda a: np.clip(a, 0, 1), lambda a: np.concatenate([a, a])),
    *(lambda a: np.ones(4) * a, lambda a: a * np.ones(4), lambda a: np.True_ * a),
    *(np.add.reduce, lambda a: np.multiply(2, a, dtype=float)),
)


@pytest.mark.parametrize("do", UNSAID)
def test_what_symbols_cannot_do_is_said_with_the_line(do):
    def step(_, s):
        do(simple(s))
        return simple(s)

    with pytest.raises(TypeError, match=r"^step: .*test_cells\.py, line \d+: "):
        layer_of(step)


def test_functions_of_torch_are_refused_with_the_line():
    torch = pytest.importorskip("torch", reason="torch, whose functions they are")

    with pytest.raises(TypeError, match=r"torch's tanh.*torch\.tanh\(simple"):
        layer_of(lambda _, s: torch.tanh(simple(s)))


NUMBERS = (
    2,
    2.0,
    np.float64(2),
    np.float32(2),
    np.float16(2),
    np.int64(2),
    np.uint8(2),
)


@pytest.mark.parametrize("two", NUMBERS, ids=lambda two: type(two).__name__)
def test_numbers_of_numpy_are_numbers_on_either_side(two):
    def step(_, s):
        a = two * simple(s) + two - s.v("v", two) / two
        return s.where(two < a, two - a, +a) * two, (two <= a) + (two > a), two

    def plain(_, s):
        a = 2 * simple(s) + 2 - s.v("v", 2) / 2
        return s.where(a > 2, 2 - a, a) * 2, (a >= 2) + (a < 2), 2

    states = ("h", "c", "k")
    assert cell_of(step, states).definition == cell_of(plain, states).definition


def test_number_of_heads_may_be_one_of_numpy():
    cell = type("Mine", (cells.MGU,), {"num_heads": np.int64(2)})()
    assert cell.definition.data["num_heads"] == 2


def test_more_than_the_kernels_take_is_said():
    with pytest.raises(ValueError, match="at most 12 sums of products"):
        layer_of(many_sums)
    with pytest.raises(ValueError, match=r"expected a product with x, s\.W"):
        layer_of(lambda _, s: s.tanh(s.R("a", s.h)))


def test_as_many_new_states_as_names_are_expected():
    with pytest.raises(ValueError, match="each of the states h, c, got 1"):
        layer_of(lambda _, s: simple(s), ("h", "c"))
    with pytest.raises(NotImplementedError, match="Empty: expected a method step"):
        xr.Layer(type("Empty", (xr.Cell,), {}), 3, 4)


@pytest.mark.parametrize("name", ["_Mine", "Größe", "M" * 32, "Mine[int]"])
def test_a_class_has_a_name_that_files_can_hold(name):
    cell = type(name, (xr.Cell,), {"step": lambda _, s: simple(s)})
    with pytest.raises(ValueError, match=r"a class with a name of.*py, line \d+: "):
        xr.Layer(cell, 3, 4)


STATES = {
    "h": "states: expected a tuple of names",
    ("W",): "that a step does not have already, got 'W'",
    ("h", "h"): "different states",
    (): "1 to 10 different states",
    (1,): "states: expected names of at most 31 letters",
    ("a b",): "states: expected names of at most 31 letters",
    ("_h",): "a letter first, got '_h'",
}


@pytest.mark.parametrize("states", STATES, ids=str)
def test_states_are_different_names(states):
    with pytest.raises((TypeError, ValueError), match=STATES[states]):
        layer_of(lambda _, s: s.W("a"), states)


def test_values_of_another_step_are_refused():
    kept = []

    def step(_, s):
        kept.append(s.h)
        return s.W("a") * kept[0]

    layer_of(step)
    with pytest.raises(TypeError, match="another step"):
        layer_of(step)


# What is written down


def test_products_and_biases_that_are_added_are_one_sum_in_any_order():
    orders = (
        lambda _, s: s.tanh(s.b("a") + (s.R("a", s.h) + s.W("a"))),
        lambda _, s: s.tanh(s.W("a") + s.R("a", s.h) + s.b("a")),
    )
    layers = [layer_of(step, seed=1) for step in orders]
    x = np.ones((5, 2, 3), np.float32)
    assert layers[0](x)[0].tobytes() == layers[1](x)[0].tobytes()
    assert [*layers[0].state_dict()] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"]


def test_a_product_that_is_read_twice_is_a_sum_of_its_own():
    layer = layer_of(lambda _, s: s.tanh((u := s.W("u")) + s.R("r", s.h)) * u)
    assert layer.gate_names == ("u", "r")
    assert layer.weight_hh_l0.shape == (4, 4)


def test_states_and_weights_have_the_names_that_the_user_has_given():
    def step(_, s):
        fast = s.tanh(s.W("a") + s.R("a", s.y))
        slow = s.mix(s.sigmoid(s.v("leak")), fast, s.slow)
        return s.tanh(slow), slow

    layer = layer_of(step, ("y", "slow"))
    assert layer.state_names == ("y", "slow")
    assert layer.cell == "Mine"
    assert layer.weight_unit_l0.shape == (1, 4)
    *_, cache = layer.forward(np.ones((2, 1, 3), "float32"), gates=True)
    assert {*cache.states} >= {"slow_l0"}


def test_without_bias_there_is_none():
    layer = xr.Layer(cells.MGU, 3, 4, bias=False)
    assert [*layer.state_dict()] == ["weight_ih_l0", "weight_hh_l0"]
    layer(np.ones((2, 1, 3), "float32"))


def test_a_state_may_be_handed_on_or_be_a_constant():
    layer = layer_of(
        lambda _, s: (s.b_, s.h, s.W("a"), 0.25), ("h", "b_", "x", "k"), seed=1
    )
    x = np.ones((4, 1, 3), "float32")
    y, (h, b, w, k), cache = layer.forward(x)
    assert (k == 0.25).all()
    grads = layer.backward(cache, None, tuple(map(np.ones_like, (h, b, w, k))))
    assert [float(part.mean()) for part in grads.state] == [1, 1, 0, 0]
    assert y.shape == (4, 1, 4)


# Copies, files


def test_a_copy_a_pickle_and_a_file_run_the_same_equations(tmp_path):
    layer = xr.Layer(cells.SLSTM("exp"), 3, 4, num_layers=2, seed=1)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    file = io.BytesIO()
    made = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    pytest.importorskip("safetensors", reason="files need safetensors")
    xr.save(layer, file)
    made.append(xr.load(file.getvalue()))
    for other in made:
        assert repr(other) == "Layer(SLSTM(), 3, 4, num_layers=2)"
        assert other.arguments() == layer.arguments()
        assert other(x)[0].tobytes() == layer(x)[0].tobytes()


def test_a_definition_is_plain_data_and_comes_back():
    for name in cells.__all__:
        definition = getattr(cells, name)().definition
        data = json.loads(json.dumps(definition.data))
        assert from_data(data) == definition
        assert xr.Layer(data, 3, 4).arguments()["cell"] == data


DATA = json.loads(json.dumps(cells.MGU().definition.data))
MOMENTS = [["W", "a"], ["moments", 0]]
HOSTILE = {
    "a cycle": {"nodes": [["tanh", 0], *DATA["nodes"][1:]]},
    "millions of nodes": {"nodes": [["prev", "h"]] * 3_000_000},
    "a huge constant": {"nodes": [["const", "0x1p+9999999"], *DATA["nodes"][1:]]},
    "infinity": {"nodes": [["const", "inf"], *DATA["nodes"][1:]]},
    "code": {"nodes": [["__import__('os')", 0], *DATA["nodes"][1:]]},
    "a list for a name": {"nodes": [["W", []], *DATA["nodes"][1:]]},
    "true for a node": {"nodes": [*DATA["nodes"], ["tanh", True]]},
    "too few arguments": {"nodes": [["W"], *DATA["nodes"][1:]]},
    "a later version": {"version": 4},
    "true for a version": {"version": True},
    "no version": {"version": None},
    "an output that is none": {"outputs": [10**30]},
    "outputs that are none": {"outputs": 3},
    "a state too many": {"states": ["h", "c"]},
    "states of one name": {"states": ["h", "h"], "outputs": [0, 0]},
    "many states": {"states": [f"s{k}" for k in range(99)]},
    "moments for a value": {"version": 3, "nodes": [*MOMENTS, ["tanh", 1]]},
    "moments for a state": {"version": 3, "nodes": MOMENTS, "outputs": [1]},
    "moments of one twice": {"version": 3, "nodes": [["W", "a"], ["moments", 0, 0]]},
    "no moments": {"version": 3, "nodes": [*MOMENTS, ["v", "g"], ["norm", 0, 0, 2]]},
    "others' moments": {
        "version": 3,
        "outputs": [4],
        "nodes": [*MOMENTS, ["W", "b"], ["v", "g"], ["norm", 2, 1, 3]],
    },
    "a gain that is none": {"version": 3, "nodes": [*MOMENTS, ["norm", 0, 1, 0]]},
    "a scalar without a value": {"version": 3, "nodes": [["scalar", "k"]]},
    "a scalar of infinity": {"version": 3, "nodes": [["scalar", "k", "inf"]]},
    "many moments": {"version": 3, "nodes": [["W", "a"], ["moments", *[0] * 400]]},
    "a long name": {"name": "x" * 10_000},
    "no name": {"name": None},
    "nothing": {"nodes": [], "outputs": []},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_data_is_refused_at_once(what):
    begin = time.monotonic()
    with pytest.raises((ValueError, TypeError)) as caught:
        xr.Layer(DATA | HOSTILE[what], 3, 4)
    assert time.monotonic() - begin < 2
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("cell", [None, 3, "MGU", [], {}, object(), xr.Layer])
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises((ValueError, TypeError), match="cell: expected"):
        xr.Layer(cell, 3, 4)


def test_signature_of_a_step_is_documented():
    methods = inspect.getmembers(xr._graph.symbols.Step, inspect.isfunction)
    assert all(m.__doc__ for name, m in methods if name[0] != "_")


def test_memory_stays_flat_over_many_definitions():
    def make(count):
        for _ in range(count):
            xr.Layer(cells.MGU, 3, 4, seed=1)
        gc.collect()

    def growth():
        before = tracemalloc.get_traced_memory()[0]
        make(40)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        make(20)
        # The least of three: other threads of the process may take memory meanwhile.
        assert min(growth() for _ in range(3)) < 20_000
    finally:
        tracemalloc.stop()
