"""Cells as definitions: those of this library once more, and random ones.

`TWICE` are cells that have a hand-written kernel, written as equations; `random_cell`
draws equations of any kind that the kernels run.
"""

from dataclasses import dataclass

import numpy as np

import exactrnn as xr
from exactrnn._graph.definition import from_data
from exactrnn._graph.program import compile_definition


def options_of(cell):
    """Return the options with which a layer runs a cell."""
    compiled = compile_definition(cell.definition)
    return {"program": compiled.program, "compiled": compiled}


def full_sum(s, name):
    return s.W(name) + s.R(name, s.h) + s.b(name)


class Tanh(xr.Cell):
    def step(self, s):
        return s.tanh(full_sum(s, "a"))


class Relu(xr.Cell):
    def step(self, s):
        return s.relu(full_sum(s, "a"))


class LSTM(xr.Cell):
    states = ("h", "c")

    def step(self, s):
        i, f = s.sigmoid(full_sum(s, "i")), s.sigmoid(full_sum(s, "f"))
        g, o = s.tanh(full_sum(s, "g")), s.sigmoid(full_sum(s, "o"))
        c = s.fma(f, s.c, i * g)
        return o * s.tanh(c), c


class Peepholes(xr.Cell):
    states = ("h", "c")

    def step(self, s):
        i = s.sigmoid(s.fma(s.v("i"), s.c, full_sum(s, "i")))
        f = s.sigmoid(s.fma(s.v("f"), s.c, full_sum(s, "f")))
        g, o = s.tanh(full_sum(s, "g")), full_sum(s, "o")
        c = s.fma(f, s.c, i * g)
        return s.sigmoid(s.fma(s.v("o"), c, o)) * s.tanh(c), c


class Coupled(xr.Cell):
    states = ("h", "c")

    def step(self, s):
        i, g = s.sigmoid(full_sum(s, "i")), s.tanh(full_sum(s, "g"))
        o = s.sigmoid(full_sum(s, "o"))
        c = s.fma(1 - i, s.c, i * g)
        return o * s.tanh(c), c


class GRU(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        n = s.tanh(s.fma(r, s.R("v", s.h) + s.b("v"), s.W("n") + s.b("n")))
        return s.mix(z, s.h, n)


class GRUBefore(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        n = s.tanh(s.W("n") + s.R("n", r * s.h) + s.b("n"))
        return s.mix(z, s.h, n)


class MUT2(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        n = s.tanh(s.W("n") + s.R("n", r * s.h) + s.b("n"))
        return s.mix(z, n, s.h)


class MUT3(xr.Cell):
    def step(self, s):
        r = s.sigmoid(full_sum(s, "r"))
        z = s.sigmoid(s.W("z") + s.R("z", s.tanh(s.h)) + s.b("z"))
        n = s.tanh(s.W("n") + s.R("n", r * s.h) + s.b("n"))
        return s.mix(z, n, s.h)


@dataclass(frozen=True)
class Twice:
    """A cell in both forms.

    `bias_hh` tells which blocks of it the definition has as its own; `same_back`
    whether gradients too have the same bits.
    """

    cell: type
    kind: type
    options: dict
    own_bias: tuple = ()
    same_back: bool = True


TWICE = {
    "rnn": Twice(Tanh, xr.RNN, {}),
    "relu": Twice(Relu, xr.RNN, {"nonlinearity": "relu"}),
    "lstm": Twice(LSTM, xr.LSTM, {}),
    # The gradient of a peephole is a sum of rounded products here.
    "peepholes": Twice(Peepholes, xr.LSTM, {"peepholes": "ifo"}, same_back=False),
    # di is dc*g - dc*c' here, dc*(g - c') there.
    "coupled": Twice(Coupled, xr.LSTM, {"coupled": "input"}, same_back=False),
    "gru": Twice(GRU, xr.GRU, {}, own_bias=(2,)),
    "gru_before": Twice(GRUBefore, xr.GRU, {"reset_after": False}),
    "mut2": Twice(MUT2, xr.MUT2, {}),
    "mut3": Twice(MUT3, xr.MUT3, {}),
}


def make_both(name, **options):
    """Return a layer of the hand-written kernel and one of the definition.

    Their weights are the same: where there are two biases, their sum is the one.
    """
    twice = TWICE[name]
    ours = twice.kind(5, 17, **twice.options, **options)
    theirs = xr.Layer(twice.cell, 5, 17, **options)
    H, given, taken = 17, ours.state_dict(), {}
    for weight in theirs.state_dict():
        source = weight.replace("weight_unit", "weight_peephole")
        taken[weight] = given.get(source)
        if "bias_ih" in weight:
            other = given[weight.replace("_ih", "_hh")].copy()
            for block in twice.own_bias:
                other[block * H : (block + 1) * H] = 0
            taken[weight] = given[weight] + other
        elif "bias_hh" in weight:
            rows = [given[weight][b * H : (b + 1) * H] for b in twice.own_bias]
            taken[weight] = np.concatenate(rows)
    theirs.load_state_dict(taken)
    return ours, theirs


# Random equations

ONE = ("neg", "abs", "tanh", "sigmoid", "relu", "softplus", "stop", "tanh", "sigmoid")
TWO = ("add", "sub", "mul", "min", "max", "lt", "le", "eq")
THREE = ("fma", "mix", "where")


def random_cell(rng, nodes=24):
    """Return the definition of a random cell; its values stay of moderate size."""
    states = tuple("hcnmpq"[: rng.integers(1, 7)])
    listed = [("prev", state) for state in states]
    listed += [("const", float(rng.choice([0.5, -1.0, 0.25])).hex()), ("v", "v")]
    listed += [("W", "a"), ("R", "a", 0), ("b", "a")]
    first = len(listed)
    listed += [("add", first - 3, first - 2), ("add", first, first - 1)]
    listed += [("tanh", first + 1), ("R", "k", first + 2), ("b", "k")]
    listed += [("add", first + 3, first + 4), ("W", "u")]
    used = {first - 3, first - 2, first - 1, first, first + 3, first + 4}
    if rng.random() < 0.5:
        listed += [("sigmoid", first + 5), ("R", "l", len(listed))]
    while len(listed) < nodes:
        functions = (ONE, TWO, THREE)[rng.integers(3)]
        count = {ONE: 1, TWO: 2, THREE: 3}[functions]
        free = [n for n in range(len(listed)) if n not in used]
        chosen = [int(n) for n in rng.choice(free, count)]
        listed.append((str(rng.choice(functions)), *chosen))
    outputs, listed = [len(listed)], [*listed, ("mul", first + 2, len(listed) - 1)]
    if listed[-1][2] in used:
        listed[-1] = ("neg", first + 2)
    for _ in states[1:]:
        listed.append(("tanh", int(rng.integers(first + 2, nodes))))
        if listed[-1][1] in used:
            listed[-1] = ("tanh", len(listed) - 2)
        outputs.append(len(listed) - 1)
    data = {"version": 1, "name": "Random", "states": states, "nodes": listed}
    return from_data(data | {"outputs": outputs}).data
