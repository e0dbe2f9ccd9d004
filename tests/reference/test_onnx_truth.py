"""Cells that ONNX has too, against ONNX Runtime and the reference of onnx.

ONNX Runtime is the one library with coupled gates, clipping and other activations, in
float32; the reference, NumPy by its authors, has peepholes in float64. ONNX has the
gates in the order i o f c, the peepholes i o f, the GRU's z r h.
"""

import numpy as np
import pytest
from truth import (
    LENGTHS,
    B,
    H,
    I,
    T,
    as_tuple,
    assert_all_close,
    draw_arrays,
    draw_layer,
)
from variants import ACTIVATIONS

import exactrnn as xr
from exactrnn._spec.activations import PARAMETERS, with_parameters

# ONNX Runtime's tanh and sigmoid are rational forms of 5 to 7 ulp, 4e-7 of a gate; they
# pass through T = 7 steps, each of which may add that much again.
ORT_TOLERANCE = 5e-6

# Public name, in ONNX's words.
ONNX_ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softsign": "Softsign",
    "identity": "Affine",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "softplus": "Softplus",
    "scaled_tanh": "ScaledTanh",
    "thresholded_relu": "ThresholdedRelu",
    "affine": "Affine",
}
OPERATORS = {"lstm": ("LSTM", "iofg"), "rnn": ("RNN", "a")}
OPERATORS |= dict.fromkeys(("gru", "gru_before"), ("GRU", "zrn"))


def activation_attributes(layer):
    """Return ONNX's attributes of the layer's activations, of every direction.

    Parameters stand in lists of their own, one entry for each function that has one.
    """
    chosen = layer.activations
    if not layer._spec.directed:
        chosen *= 1 + layer.bidirectional
    named = [with_parameters(one) for one in chosen]
    counts = {name: len(usual) for name, usual in PARAMETERS.items()}
    named = [("affine", 1.0, 0.0) if n[0] == "identity" else n for n in named]
    attributes = {"activations": [ONNX_ACTIVATIONS[name] for name, _, _ in named]}
    alpha = [a for name, a, _ in named if counts[name] >= 1]
    beta = [b for name, _, b in named if counts[name] == 2]
    attributes |= {"activation_alpha": alpha} if alpha else {}
    return attributes | ({"activation_beta": beta} if beta else {})


def gate_rows(weight, have, want, rng):
    """Return a weight's row blocks in ONNX's order; what is absent there is noise."""
    blocks = dict(zip(have, np.split(weight, len(have)), strict=True))
    noise = rng.normal(size=blocks[have[0]].shape).astype(weight.dtype)
    return np.concatenate([blocks.get(gate, noise) for gate in want])


def onnx_arrays(layer, orders):
    """Return W, R, B and P in ONNX's form: [D, ...]."""
    have, want = orders
    rng = np.random.default_rng(5)
    weights = layer.state_dict()
    ends = ("_l0", "_l0_reverse")[: 1 + layer.bidirectional]

    def stack(*kinds):
        rows = [
            [gate_rows(weights[kind + end], have, want, rng) for kind in kinds]
            for end in ends
        ]
        return np.stack([np.concatenate(parts) for parts in rows])

    found = {"W": stack("weight_ih"), "R": stack("weight_hh")}
    found["B"] = stack("bias_ih", "bias_hh")
    if "weight_peephole_l0" in weights:
        rows = [gate for gate in "ifo" if gate in layer.peepholes]
        H = layer.hidden_size
        peepholes = []
        for end in ends:
            values = dict(zip(rows, weights[f"weight_peephole{end}"], strict=True))
            noise = rng.normal(size=H).astype(layer.dtype)
            absent = noise if layer.coupled else np.zeros_like(noise)
            peepholes.append(np.concatenate([values.get(g, absent) for g in "iof"]))
        found["P"] = np.stack(peepholes)
    return found


def make_onnx_model(layer, lengths):
    """Return the ONNX model of a layer: x and states in, y and states out."""
    onnx = pytest.importorskip("onnx", reason="onnx, which makes the model, is absent")
    from onnx import helper, numpy_helper

    lstm = layer.cell == "lstm"
    operator, gates = OPERATORS[layer.cell]
    D, H = 1 + layer.bidirectional, layer.hidden_size
    orders = (layer._spec.weights[0].blocks, gates)
    arrays = onnx_arrays(layer, orders)
    if lengths is not None:
        arrays["lengths"] = np.array(lengths, np.int32)
    attributes = {"hidden_size": H, **activation_attributes(layer)}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    if layer.reverse:
        attributes["direction"] = "reverse"
    if layer.clip is not None:
        attributes["clip"] = layer.clip
    if lstm:
        attributes["input_forget"] = int(layer.coupled == "input")
    elif operator == "GRU":
        attributes["linear_before_reset"] = int(layer.cell == "gru")
    inputs = ["x", "W", "R", "B", "lengths" if lengths is not None else "", "h_0"]
    inputs += (["c_0"] if lstm else []) + (["P"] if "P" in arrays else [])
    outputs = ["y", "h_n", "c_n"] if lstm else ["y", "h_n"]
    node = helper.make_node(operator, inputs, outputs, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
    shapes = {"x": (T, B, I), "y": (T, D, B, H)}
    shapes |= {f"{s}_{e}": (D, B, H) for s in "hc" for e in "0n"}

    def values(wanted):
        return [
            helper.make_tensor_value_info(name, kind, shapes[name])
            for name in wanted
            if name in shapes
        ]

    constants = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    ends = (values(inputs), values(outputs))
    graph = helper.make_graph([node], layer.cell, *ends, constants)
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    return model


def forward_here(layer, arrays, lengths=None):
    """Return y and final states of the kernels by name."""
    [x], state, _, _ = arrays
    given = tuple(state) if len(state) > 1 else state[0]
    y, final = layer(x, given, lengths=lengths)
    return {"y": y} | dict(zip(("h_n", "c_n"), as_tuple(final), strict=False))


def onnx_results(layer, outputs):
    """Return the outputs of a model by name, as the kernels have them."""
    y, *states = outputs
    y = y.transpose(0, 2, 1, 3).reshape(T, B, -1)
    return {"y": y} | dict(zip(("h_n", "c_n"), states, strict=False))


def onnx_feed(layer, arrays):
    [x], state, _, _ = arrays
    return {"x": x} | dict(zip(("h_0", "c_0"), state, strict=False))


def run_onnxruntime(layer, arrays, lengths=None):
    runtime = pytest.importorskip(
        "onnxruntime", reason="onnxruntime, the oracle, is absent"
    )
    model = make_onnx_model(layer, lengths).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return onnx_results(layer, session.run(None, onnx_feed(layer, arrays)))


ONNX_NAMES = ["lstm", "gru", "gru_before", "gru-clip", "gru_before-clip"]
ONNX_NAMES += ["lstm-peepholes", "lstm-peephole-o", "lstm-cifg", "lstm-niaf"]
ONNX_NAMES += ["lstm-noaf", "lstm-hard", "lstm-odd-activations", "lstm-clip"]
ONNX_NAMES += ["rnn", "rnn-relu", "rnn-leaky_relu", "lstm-parameters", "gru-elu"]
ONNX_RUNS = {
    "full": (None, {}),
    "ragged, both ways": (LENGTHS, {"bidirectional": True}),
    "in reverse": (None, {"reverse": True}),
    "ragged, in reverse": (LENGTHS, {"reverse": True}),
}


@pytest.mark.parametrize("run", ONNX_RUNS)
@pytest.mark.parametrize("name", ONNX_NAMES)
def test_cell_is_onnxruntimes(name, run):
    lengths, options = ONNX_RUNS[run]
    layer = draw_layer(name, "float32", **options)
    arrays = draw_arrays(layer, lengths)
    want = run_onnxruntime(layer, arrays, lengths)
    assert_all_close(forward_here(layer, arrays, lengths), want, ORT_TOLERANCE)


# As the gates and the candidate of a GRU, as those and the output of an LSTM: functions
# that saturate, bounded or not, with parameters that are the usual ones and others.
ONNX_PAIRS = (
    ("sigmoid", "tanh", "tanh"),
    (("hard_sigmoid", 1 / 6, 0.5), ("leaky_relu", 0.1), "softsign"),
    ("hard_sigmoid", ("elu", 0.7), ("scaled_tanh", 1.7159, 2 / 3)),
    (("affine", 0.25, 0.5), "softplus", "relu"),
    (("scaled_tanh", 0.5, 0.5), ("thresholded_relu", 0.1), "leaky_relu"),
    ("softsign", "elu", "identity"),
)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "gru_before", "lstm"])
@pytest.mark.parametrize("forward", ONNX_PAIRS, ids=str)
def test_activations_of_each_direction_are_onnxruntimes(forward, kind, lengths):
    reverse = ONNX_PAIRS[ONNX_PAIRS.index(forward) - 1]
    if kind == "rnn":
        options = {"nonlinearity": (forward[1], reverse[1])}
    else:
        uses = 3 if kind == "lstm" else 2
        options = {"activations": forward[:uses] + reverse[:uses]}
    layer = draw_layer(kind, "float32", bidirectional=True, **options)
    # Half the weights: with functions that have no bound, states would grow at these,
    # and what ONNX Runtime's functions are off by with them.
    layer.load_state_dict({n: w / 2 for n, w in layer.state_dict().items()})
    arrays = draw_arrays(layer, lengths)
    want = run_onnxruntime(layer, arrays, lengths)
    assert_all_close(forward_here(layer, arrays, lengths), want, ORT_TOLERANCE)


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("nonlinearity", ACTIVATIONS, ids=str)
def test_simple_network_is_onnxruntimes(nonlinearity, clip):
    layer = draw_layer("rnn", "float32", nonlinearity=nonlinearity, clip=clip)
    arrays = draw_arrays(layer)
    want = run_onnxruntime(layer, arrays)
    assert_all_close(forward_here(layer, arrays), want, ORT_TOLERANCE)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_coupled_gates_with_peepholes_and_clip_are_onnxruntimes(clip):
    """The rows of f in its weights are noise, and so is p_f: it reads neither."""
    layer = xr.LSTM(I, H, peepholes="io", coupled="input", clip=clip, seed=3)
    arrays = draw_arrays(layer)
    want = run_onnxruntime(layer, arrays)
    assert_all_close(forward_here(layer, arrays), want, ORT_TOLERANCE)


@pytest.mark.parametrize("peepholes", ["i", "f", "o", "ifo"])
def test_peepholes_are_those_of_the_onnx_reference(peepholes):
    """In float64; it knows neither lengths, clip, activations nor coupled gates."""
    evaluator = pytest.importorskip(
        "onnx.reference", reason="onnx.reference, the oracle, is absent"
    ).ReferenceEvaluator
    layer = xr.LSTM(I, H, peepholes=peepholes, dtype="float64", seed=3)
    arrays = draw_arrays(layer)
    model = make_onnx_model(layer, None)
    outputs = evaluator(model).run(None, onnx_feed(layer, arrays))
    assert_all_close(forward_here(layer, arrays), onnx_results(layer, outputs))


@pytest.mark.parametrize(
    "options",
    [
        {"peepholes": "o"},
        {"clip": 0.5},
        {"activations": ("sigmoid", "softsign", "tanh")},
        {"activations": ("hard_sigmoid", "tanh", "tanh")},
        {"activations": ("sigmoid", ("leaky_relu", 0.9), "tanh")},
    ],
    ids=str,
)
def test_onnxruntime_shows_an_option_that_is_left_out(options):
    layer, plain = draw_layer("lstm", "float32"), xr.LSTM(I, H, **options)
    weights = {**plain.state_dict(), **layer.state_dict()}
    plain.load_state_dict(weights)
    arrays = draw_arrays(layer)
    want = run_onnxruntime(plain, arrays)
    assert_all_close(forward_here(plain, arrays), want, ORT_TOLERANCE)
    with pytest.raises(AssertionError, match="is off by"):
        assert_all_close(forward_here(layer, arrays), want, 100 * ORT_TOLERANCE)


def test_onnxruntime_shows_the_other_direction():
    layer = xr.GRU(I, H, reverse=True, reset_after=False, seed=3)
    other = xr.GRU(I, H, reset_after=False)
    other.load_state_dict(layer.state_dict())
    arrays = draw_arrays(layer)
    want = run_onnxruntime(layer, arrays)
    with pytest.raises(AssertionError, match="is off by"):
        assert_all_close(forward_here(other, arrays), want, 100 * ORT_TOLERANCE)


def test_onnxruntime_shows_the_other_gate_coupled():
    layer = xr.LSTM(I, H, coupled="input", seed=3)
    other = xr.LSTM(I, H, coupled="forget")
    other.load_state_dict(layer.state_dict())
    arrays = draw_arrays(layer)
    want = run_onnxruntime(layer, arrays)
    with pytest.raises(AssertionError, match="is off by"):
        assert_all_close(forward_here(other, arrays), want, 100 * ORT_TOLERANCE)
