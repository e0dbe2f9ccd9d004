"""Every cell of the reference against its equations in plain NumPy, in float64.

The equations are written anew here, from the papers' letters: with `@` and `np.tanh`,
one row at a time, no thought given to order or rounding. They see what no gradient and
no identity sees: which gate listens to which, where a bias stands, which way z mixes.
Those of a cell that is not here stand in its own test file, as `equations`.
"""

import functools
import importlib.util

import numpy as np
import pytest
from directions import KINDS, H, kind_problem, make_direction, make_problem
from variants import ACTIVATIONS, TESTS

CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


FUNCTIONS = {
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda a, p, q: np.clip(p * a + q, 0, 1),
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "identity": lambda a: a,
    "leaky_relu": lambda a, p: np.where(a > 0, a, p * a),
    "elu": lambda a, p: np.where(a > 0, a, p * np.expm1(a)),
    "softplus": lambda a: np.logaddexp(a, 0),
    "scaled_tanh": lambda a, p, q: p * np.tanh(q * a),
    "thresholded_relu": lambda a, p: np.where(a > p, a, 0),
    "affine": lambda a, p, q: p * a + q,
}


def function_of(activation):
    """Return the function of a name or of a name and parameters."""
    name = activation if isinstance(activation, str) else activation[0]
    usual = {"leaky_relu": (0.01,), "elu": (1,), "scaled_tanh": (1, 1)}
    usual |= {"thresholded_relu": (1,), "affine": (1, 0), "hard_sigmoid": (0.2, 0.5)}
    parameters = usual.get(name, ()) if activation == name else activation[1:]
    return lambda a: FUNCTIONS[name](a, *parameters)


class Equations:
    """One direction's weights by the letters of the gates, and its steps."""

    def __init__(self, direction):
        weights, cell = direction.weights, direction.cell
        self.all_w, self.all_r = weights.w_ih, weights.w_hh
        self.all_b = weights.b_ih, weights.b_hh
        self.W = self.by_gate(weights.w_ih, cell.gates)
        self.b = self.by_gate(weights.b_ih, cell.gates)
        self.R = self.by_gate(weights.w_hh, cell.recurrent_gates)
        self.c = self.by_gate(weights.b_hh, cell.recurrent_gates)
        self.p = direction.vectors()
        self.V, self.b_out = weights.w_hr, weights.b_hr
        self.links, self.clip = weights.w_gates, direction.clip
        self.options = direction.options
        self.act = [function_of(activation) for activation in direction.activations]

    @staticmethod
    def by_gate(array, letters):
        return dict(zip(letters, np.split(array, len(letters)), strict=True))

    def sum(self, gate, x, h):
        """Return W x + R h + b + c of a gate."""
        return self.W[gate] @ x + self.R[gate] @ h + self.b[gate] + self.c[gate]

    def limited(self, a):
        return a if self.clip is None else np.clip(a, -self.clip, self.clip)

    def rnn(self, x, state, _):
        return (self.act[0](self.limited(self.sum("a", x, state[0]))),)

    def leaky(self, x, state, _):
        alpha, h = self.p["alpha"], state[0]
        return (
            (1 - alpha) * h + alpha * self.act[0](self.limited(self.sum("a", x, h))),
        )

    def jordan(self, x, state, _):
        hidden = self.act[0](self.limited(self.sum("a", x, state[0])))
        return (self.act[1](self.limited(self.V @ hidden + self.b_out)),)

    def gru(self, x, state, _):
        h = state[0]
        r = sigmoid(self.limited(self.sum("r", x, h)))
        z = sigmoid(self.limited(self.sum("z", x, h)))
        v = self.R["n"] @ h + self.c["n"]
        n = np.tanh(self.limited(self.W["n"] @ x + self.b["n"] + r * v))
        return (z * h + (1 - z) * n,)

    def gru_before(self, x, state, _):
        h = state[0]
        r = sigmoid(self.limited(self.sum("r", x, h)))
        z = sigmoid(self.limited(self.sum("z", x, h)))
        n = np.tanh(self.limited(self.sum("n", x, r * h)))
        return (z * h + (1 - z) * n,)

    def mut1(self, x, state, _):
        h = state[0]
        z = sigmoid(self.W["z"] @ x + self.b["z"])
        r = sigmoid(self.sum("r", x, h))
        bias = self.b["n"] + self.c["n"]
        n = np.tanh(self.R["n"] @ (r * h) + np.tanh(self.W["n"] @ x) + bias)
        return (z * n + (1 - z) * h,)

    def mut2(self, x, state, _):
        h = state[0]
        z, r = sigmoid(self.sum("z", x, h)), sigmoid(self.sum("r", x, h))
        n = np.tanh(self.sum("n", x, r * h))
        return (z * n + (1 - z) * h,)

    def mut3(self, x, state, _):
        h = state[0]
        z, r = sigmoid(self.sum("z", x, np.tanh(h))), sigmoid(self.sum("r", x, h))
        n = np.tanh(self.sum("n", x, r * h))
        return (z * n + (1 - z) * h,)

    def lstm(self, x, state, _):
        (h, c), before = state[:2], state[2:]
        gates = [gate for gate in "ifo" if gate in self.W]
        a = {gate: self.sum(gate, x, h) for gate in (*gates, "g")}
        if before:
            for row, to in enumerate(gates):
                for column in range(len(gates)):
                    link = self.links[
                        row * H : row * H + H, column * H : column * H + H
                    ]
                    a[to] = a[to] + link @ before[column]
        p = {gate: self.p.get(gate, 0.0) for gate in "ifo"}
        gate_of = {
            gate: self.act[0](self.limited(a[gate] + p[gate] * c))
            for gate in gates
            if gate != "o"
        }
        i, f = gate_of.get("i", 1.0), gate_of.get("f", 1.0)
        f = 1 - i if self.options.get("coupled") == "input" else f
        i = 1 - f if self.options.get("coupled") == "forget" else i
        c = f * c + i * self.act[1](self.limited(a["g"]))
        o = 1.0
        if "o" in gates:
            o = gate_of["o"] = self.act[0](self.limited(a["o"] + p["o"] * c))
        h = o * self.act[2](c)
        h = h if self.V is None else self.V @ h
        return (h, c, *(gate_of[gate] for gate in gates if before))

    def lstm_1997(self, x, state, _):
        """Gates of a block for each of its cells, which lie cell by cell in blocks."""
        c, before = state[1], np.concatenate([state[0], state[2], state[3]])
        a = self.all_w @ x + self.all_r @ before + self.all_b[0] + self.all_b[1]
        of_block = np.arange(len(c)) % len(state[2])
        i, o, g = np.split(a, np.cumsum([len(state[2])] * 2))
        i, o, g = sigmoid(i), sigmoid(o), 4 * sigmoid(g) - 2
        c = c + i[of_block] * g
        return o[of_block] * (2 * sigmoid(c) - 1), c, i, o

    def depth_gated(self, x, state, lower):
        h, c = state
        a = {gate: self.sum(gate, x, h) for gate in "ifgo"}
        d = self.W["d"] @ x + self.b["d"] + self.p["cd"] * c + self.p["ld"] * lower
        i, f = sigmoid(a["i"] + self.p["i"] * c), sigmoid(a["f"] + self.p["f"] * c)
        c = sigmoid(d) * lower + f * c + i * np.tanh(a["g"])
        return sigmoid(a["o"] + self.p["o"] * c) * np.tanh(c), c

    def clockwork(self, x, state, clock):
        """A module listens to itself and to those that tick as slowly, or slower."""
        sizes, periods = zip(*self.options["modules"], strict=True)
        period, h = np.repeat(periods, sizes), state[0]
        heard = np.where(period[:, None] <= period, self.R["a"], 0)
        a = self.W["a"] @ x + heard @ h + self.b["a"] + self.c["a"]
        return (np.where(clock % period == 0, np.tanh(a), h),)


def step_of(name, equations):
    """Return one step in plain NumPy: from here, or from the cell's own test file."""
    if hasattr(equations, name):
        return getattr(equations, name)
    path = TESTS / "reference" / "cells" / f"test_{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return functools.partial(module.equations, equations)


def assert_equations_hold(name, problem):
    """Compare all states of all steps."""
    y, final, cache = problem.forward()
    step = step_of(name, Equations(problem.direction))
    for row in range(problem.x.shape[1]):
        state = tuple(part[row] for part in problem.state)
        for t in problem.direction.times(len(problem.x)):
            third = None if problem.lower is None else problem.lower[t, row]
            if problem.clock is not None:
                done = len(y) - 1 - t if problem.direction.reverse else t
                third = problem.clock[row] + done
            state = step(problem.x[t, row], state, third)
            for letter, part in zip(problem.direction.cell.states, state, strict=True):
                kept = cache.state[letter][t, row]
                np.testing.assert_allclose(kept, part, **CLOSE, err_msg=letter)
            np.testing.assert_allclose(y[t, row], state[0], **CLOSE)
        for part, end in zip(state, final, strict=True):
            np.testing.assert_allclose(end[row], part, **CLOSE)


# A definition is its equations: tests/reference/cells/test_program.py has their truth.
WITH_EQUATIONS = [kind for kind in KINDS if not kind.startswith("program")]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", WITH_EQUATIONS)
def test_cells_are_their_equations(kind, reverse):
    name = "clockwork" if kind == "rnn modules" else kind.split()[0]
    assert_equations_hold(name, kind_problem(kind, reverse=reverse))


@pytest.mark.parametrize(
    "options",
    [
        {"peepholes": "f", "omit": "i"},
        {"peepholes": "o", "omit": "f"},
        {"omit": "o", "full_gate_recurrence": True},
        {"omit": "ifo"},
        {"coupled": "input", "peepholes": "i"},
        {"coupled": "forget", "full_gate_recurrence": True},
        {"full_gate_recurrence": True, "output_size": 2},
    ],
    ids=str,
)
def test_options_of_the_lstm_are_their_equations(options):
    assert_equations_hold("lstm", make_problem(make_direction("lstm", options=options)))


@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("place", range(3), ids=["gates", "input", "output"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations_of_the_lstm_are_their_equations(activation, place, clip):
    activations = ["sigmoid", "tanh", "tanh"]
    activations[place] = activation
    direction = make_direction(
        "lstm", activations=tuple(activations), options={"peepholes": "ifo"}, clip=clip
    )
    assert_equations_hold("lstm", make_problem(direction))
