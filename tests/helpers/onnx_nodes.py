"""Recurrent nodes of ONNX: drawn at random, in models, and computed by definition.

`define` follows the equations of ONNX's operator pages, row by row and step by step, in
float64 and in ONNX's order of gates; nothing of the library is in it. Where the
reference evaluator of the package onnx knows a node, both are compared with each other.
"""

import math
from dataclasses import dataclass, field

import numpy as np

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
USES = {"RNN": 1, "GRU": 2, "LSTM": 3}
USUAL = {
    "RNN": ["Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
PLACES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
SIZES = 5, 2, 3, 4
"""T, B, I and H of plain nodes."""
GIVEN = ("sequence_lens", "initial_h", "initial_c")

FUNCTIONS = {
    "Sigmoid": lambda x, *_: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, *_: np.tanh(x),
    "Relu": lambda x, *_: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, _: np.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, _: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, _: np.where(x >= 0, x, a * np.expm1(x)),
    "Softsign": lambda x, *_: x / (1 + np.abs(x)),
    "Softplus": lambda x, *_: np.log1p(np.exp(x)),
}
DEFAULTS = {
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0,),
    "Affine": (None, None),
    "ScaledTanh": (None, None),
}
"""Parameters by function; None where ONNX has no default."""
BOUNDED = ("Sigmoid", "HardSigmoid", "Softsign", "Tanh", "ScaledTanh")


@dataclass
class Drawn:
    """A node: its operator, attributes, and inputs by ONNX's names."""

    kind: str
    attributes: dict
    arrays: dict
    opset: int = 22
    fed: set = field(default_factory=lambda: {"X"})
    """Inputs of the graph; all other arrays are constants of the model."""

    @property
    def x(self):
        return self.arrays["X"]

    def given(self):
        """Return the inputs of a call that the model does not fix."""
        return {n: self.arrays[n] for n in GIVEN if n in self.fed and n in self.arrays}


def draw_node(seed, dtype="float64"):
    """Return a node with everything drawn: what is absent, too."""
    rng = np.random.default_rng(seed)
    kind = ("RNN", "GRU", "LSTM")[seed % 3]
    T, B, I, H = (int(rng.integers(1, most)) for most in (7, 5, 6, 6))
    way = ("forward", "reverse", "bidirectional")[int(rng.integers(3))]
    D, G = 1 + (way == "bidirectional"), GATES[kind]
    opset = int(rng.choice([7, 13, 14, 21, 22]))
    attributes = {"hidden_size": H} if rng.random() < 0.8 else {}
    attributes |= {"direction": way} if D == 2 or way != "forward" else {}
    layout = int(opset >= 14 and rng.random() < 0.4)
    attributes |= {"layout": layout} if layout else {}
    if rng.random() < 0.3:
        attributes["clip"] = float(np.float32(rng.uniform(0.2, 2)))
    if kind == "LSTM" and rng.random() < 0.3:
        attributes["input_forget"] = int(rng.integers(2))
    if kind == "GRU" and rng.random() < 0.6:
        attributes["linear_before_reset"] = int(rng.integers(2))
    if rng.random() < 0.5:
        attributes |= draw_activations(rng, kind, D)

    def normal(*shape):
        return (rng.standard_normal(shape) / 2).astype(dtype)

    lead = (B, T) if layout else (T, B)
    state = (B, D, H) if layout else (D, B, H)
    arrays = {"X": normal(*lead, I), "W": normal(D, G * H, I), "R": normal(D, G * H, H)}
    if rng.random() < 0.8:
        arrays["B"] = normal(D, 2 * G * H)
    if rng.random() < 0.5:
        arrays["sequence_lens"] = rng.integers(0, T + 1, B).astype(np.int32)
    for name in ("initial_h", "initial_c")[: STATES[kind]]:
        if rng.random() < 0.5:
            arrays[name] = normal(*state)
    if kind == "LSTM" and rng.random() < 0.4:
        arrays["P"] = normal(D, 3 * H)
    fed = {"X"} | {name for name in GIVEN if rng.random() < 0.5}
    return Drawn(kind, attributes, arrays, opset, fed)


def draw_activations(rng, kind, D):
    """Return attributes of drawn functions; some with parameters, as ONNX lists them.

    Parameters given begin the lists, those left out have their default; so a list may
    end early. Gates are bounded, that states do not grow beyond what rounding shows.
    """
    names = []
    for _ in range(D):
        names.append(str(rng.choice(BOUNDED if kind != "RNN" else [*FUNCTIONS])))
        names += [str(name) for name in rng.choice([*FUNCTIONS], USES[kind] - 1)]
    alpha = [float(np.float32(rng.uniform(0.1, 0.9))) for n in names if n in DEFAULTS]
    two = [name for name in names if len(DEFAULTS.get(name, ())) == 2]
    beta = [float(np.float32(rng.uniform(0.1, 0.9))) for _ in two]
    needed = any(name in ("Affine", "ScaledTanh") for name in names)
    if not needed:
        alpha = alpha[: int(rng.integers(len(alpha) + 1))]
        beta = beta[: int(rng.integers(len(beta) + 1))]
    found = {"activations": names}
    found |= {"activation_alpha": alpha} if alpha else {}
    return found | ({"activation_beta": beta} if beta else {})


def draw_lstm(seed=0, dtype="float32", D=1, **attributes):
    """Return a plain LSTM node that reads nothing but x."""
    T, B, I, H = SIZES
    rng = np.random.default_rng(seed)
    shapes = {"X": (T, B, I), "W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H)}
    arrays = {n: rng.standard_normal(s).astype(dtype) / 2 for n, s in shapes.items()}
    if D == 2:
        attributes["direction"] = "bidirectional"
    return Drawn("LSTM", {"hidden_size": H, **attributes}, arrays, 17)


def make_model(drawn, *, put=None):
    """Return the model of a node; `put` may move a constant into other nodes."""
    from onnx import helper, numpy_helper

    there = [n if n in drawn.arrays else "" for n in PLACES]
    while not there[-1]:
        there.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 1 + STATES[drawn.kind]]
    node = helper.make_node(drawn.kind, there, outputs, "cell", **drawn.attributes)
    kind = helper.np_dtype_to_tensor_dtype(drawn.x.dtype)
    nodes, stored, inputs = [], [], []
    for name, array in drawn.arrays.items():
        if name in drawn.fed:
            own = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, own, array.shape))
        elif put is not None:
            made, kept = put(name, array)
            nodes += made
            stored += kept
        else:
            stored.append(numpy_helper.from_array(array, name))
    ends = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    graph = helper.make_graph([*nodes, node], "graph", inputs, ends, stored)
    opset = [helper.make_opsetid("", drawn.opset)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def constant(name, array):
    """Return a Constant node."""
    from onnx import helper, numpy_helper

    value = numpy_helper.from_array(array, name)
    return helper.make_node("Constant", [], [name], value=value)


def as_slices(name, array):
    """Cut a weight along its last axis, in the other order, as torch reorders gates.

    Return the nodes that bring it back, and what is stored.
    """
    from onnx import helper, numpy_helper

    axis, half = array.ndim - 1, array.shape[-1] // 2
    turned = np.concatenate([array[..., half:], array[..., :half]], axis)
    rest = array.shape[-1] - half
    bounds = {"a": 0, "m": rest, "z": array.shape[-1], "x": axis}
    nodes = [constant(f"{name}.{k}", np.array([v])) for k, v in bounds.items()]
    cuts = (("1", "m", "z"), ("2", "a", "m"))
    for part, begin, end in cuts:
        ends = [f"{name}.{begin}", f"{name}.{end}", f"{name}.x"]
        nodes.append(
            helper.make_node("Slice", [f"{name}.s", *ends], [f"{name}.{part}"])
        )
    parts = [f"{name}.1", f"{name}.2"]
    nodes.append(helper.make_node("Concat", parts, [name], axis=axis))
    return nodes, [numpy_helper.from_array(turned, f"{name}.s")]


# The definition


def activations_of(drawn, direction):
    """Return the functions of a direction, with the parameters that they take."""
    names = drawn.attributes.get("activations") or USUAL[drawn.kind] * 2
    lists = [
        [*drawn.attributes.get(f"activation_{part}", [])] for part in ("alpha", "beta")
    ]
    found = []
    for name in names:
        usual = DEFAULTS.get(name, ())
        values = [
            given.pop(0) if given else default
            for given, default in zip(lists, usual, strict=False)
        ]
        found.append((name, *[*values, None, None][:2]))
    uses = USES[drawn.kind]
    return found[direction * uses :][:uses]


def define(drawn):
    """Return Y and the final states of a node, in its layout, in float64."""
    arrays = {n: a.astype("f8") for n, a in drawn.arrays.items() if n in PLACES}
    layout = drawn.attributes.get("layout", 0)
    x = arrays["X"].swapaxes(0, 1) if layout else arrays["X"]
    T, B, _ = x.shape
    D, _, H = arrays["R"].shape
    lengths = drawn.arrays.get("sequence_lens", np.full(B, T))
    count = STATES[drawn.kind]
    y, finals = np.zeros((T, D, B, H)), np.zeros((count, D, B, H))
    for n, name in enumerate(("initial_h", "initial_c")[:count]):
        if name in arrays:
            finals[n] = arrays[name].swapaxes(0, 1) if layout else arrays[name]
    way = drawn.attributes.get("direction", "forward")
    for d in range(D):
        step = Step(drawn, arrays, d)
        for b in range(B):
            state = [part[d, b] for part in finals]
            steps = range(lengths[b])
            for t in reversed(steps) if way == "reverse" or d else steps:
                state = step(x[t, b], *state)
                y[t, d, b] = state[0]
            for part, value in zip(finals, state, strict=True):
                part[d, b] = value
    if layout:
        return y.transpose(2, 0, 1, 3), *(part.swapaxes(0, 1) for part in finals)
    return y, *finals


class Step:
    """One step of one row in one direction."""

    def __init__(self, drawn, arrays, d):
        self.W, self.R = arrays["W"][d], arrays["R"][d]
        rows, H = self.R.shape
        self.b, self.rb = np.split(arrays.get("B", np.zeros((2, 2 * rows)))[d], 2)
        self.p = np.split(arrays.get("P", np.zeros((2, 3 * H)))[d], 3)
        self.clip = drawn.attributes.get("clip", math.inf)
        self.functions = activations_of(drawn, d)
        self.coupled = drawn.attributes.get("input_forget", 0)
        self.after = drawn.attributes.get("linear_before_reset", 0)
        self.run = {"RNN": self.rnn, "GRU": self.gru, "LSTM": self.lstm}[drawn.kind]

    def __call__(self, x, *state):
        return self.run(x, *state)

    def act(self, k, value, limited=True):
        """Return the k-th function of a value, which the clip limits before."""
        name, alpha, beta = self.functions[k]
        value = np.clip(value, -self.clip, self.clip) if limited else value
        return FUNCTIONS[name](value, alpha, beta)

    def rnn(self, x, h):
        return (self.act(0, self.W @ x + self.R @ h + self.b + self.rb),)

    def gru(self, x, h):
        wz, wr, wh = np.split(self.W @ x + self.b, 3)
        rz, rr, _ = np.split(self.R @ h + self.rb, 3)
        z, r = self.act(0, wz + rz), self.act(0, wr + rr)
        R, rb = np.split(self.R, 3)[2], np.split(self.rb, 3)[2]
        inner = r * (R @ h + rb) if self.after else R @ (r * h) + rb
        n = self.act(1, wh + inner)
        return ((1 - z) * n + z * h,)

    def lstm(self, x, h, c):
        i, o, f, g = np.split(self.W @ x + self.R @ h + self.b + self.rb, 4)
        p_i, p_o, p_f = self.p
        i = self.act(0, i + p_i * c)
        f = 1 - i if self.coupled else self.act(0, f + p_f * c)
        c = f * c + i * self.act(1, g)
        o = self.act(0, o + p_o * c)
        return o * self.act(2, c, limited=False), c
