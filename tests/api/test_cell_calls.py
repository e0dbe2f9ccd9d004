"""Methods of a step that are called wrongly: what they take, what came, which line."""

import inspect
import re

import pytest

import exactrnn as xr
from exactrnn._graph.symbols import Step

ONE = ("sigmoid", "tanh", "relu", "exp", "expm1", "log", "softplus", "sqrt", "abs")
CALLS = {
    "s.W(name)": [((), {}), (("a", "b"), {}), ((), {"n": "a"})],
    "s.R(name, value)": [((), {}), (("a",), {})],
    "s.b(name)": [((), {}), (("a", "b"), {})],
    "s.v(name, first=None)": [((), {}), (("a", 1.0, 2.0), {})],
    "s.scalar(name, first)": [(("a",), {}), ((), {"first": 1.0})],
    "s.layer_norm(values, name, bias=True)": [(("a",), {}), (("a", "b"), {"gain": 2})],
    "s.fma(a, b, c)": [((1, 2), {}), ((1, 2, 3, 4), {})],
    "s.mix(gate, a, b)": [((1, 2), {}), ((1, 2, 3, 4), {})],
    "s.min(a, b)": [((1,), {}), (([1, 2],), {}), ((1, 2, 3), {})],
    "s.max(a, b)": [((1,), {}), (([1, 2],), {}), ((1, 2, 3), {})],
    "s.equal(a, b)": [((1,), {}), ((1, 2, 3), {})],
    "s.where(condition, a, b)": [((1,), {}), ((1, 2), {"otherwise": 3})],
    "s.hard_sigmoid(a, alpha=0.2, beta=0.5)": [((), {}), ((1,), {"gamma": 1})],
    **{
        f"s.{name}(a)": [((), {}), ((1, 2), {}), ((1,), {"out": 2})]
        for name in (*ONE, "softsign", "stop")
    },
}
"""How each method is called, and how it is not."""


def name_of(call):
    return call[2:].partition("(")[0]


def layer_of(step):
    cell = type("Mine", (xr.Cell,), {"step": step})()
    return xr.Layer(cell, 3, 4)


def simple(s):
    return s.W("a") + s.R("a", s.h)


def test_every_method_of_a_step_is_here():
    methods = {name for name in dir(Step) if name[0] != "_"}
    assert {*map(name_of, CALLS)} == methods


@pytest.mark.parametrize("call", CALLS)
def test_arguments_that_no_method_takes_are_said_with_the_line(call):
    name = name_of(call)
    for given, options in CALLS[call]:

        def step(_, s, given=given, options=options):
            getattr(s, name)(*given, **options)
            return simple(s)

        with pytest.raises(TypeError) as caught:
            layer_of(step)
        said = rf"step: {name}: expected {re.escape(call)}, got s\.{name}\(.*\) "
        line = r"\(test_cell_calls\.py, line \d+: getattr\(s, name\)"
        assert re.match(said + line, str(caught.value))


def test_what_came_is_described_in_messages_of_calls():
    with pytest.raises(TypeError, match=r"got s\.tanh\(a value, 2\.0, out=list\) \("):
        layer_of(lambda _, s: s.tanh(s.h, 2.0, out=[]))


def test_help_and_signatures_of_methods_are_as_written():
    taken = [*inspect.signature(Step.layer_norm).parameters]
    assert taken == ["self", "values", "name", "bias"]
    assert Step.tanh.__doc__ == "Return tanh(a)."
    assert Step.tanh.__qualname__ == "Step.tanh"


def without_symbols(self):
    return self


def with_more(self, s, more):
    return simple(s), more, self


@pytest.mark.parametrize(
    ("step", "came"),
    [
        (without_symbols, r"step\(self\)"),
        (with_more, r"step\(self, s, more\)"),
        (3, "3"),
    ],
    ids=("none", "more", "number"),
)
def test_a_step_takes_the_symbols_alone(step, came):
    with pytest.raises(TypeError, match=rf"step: expected step\(self, s\), got {came}"):
        layer_of(step)
