"""ONNX files that are refused: what is not had, what is damaged, what is hostile.

A message names the node, the attribute or the weight, and what came.
"""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from onnx_nodes import (
    GATES,
    SIZES,
    Drawn,
    as_slices,
    define,
    draw_lstm,
    make_model,
)

import exactrnn as xr

pytest.importorskip("onnx", reason="needs onnx: extra onnx")
from onnx import helper, numpy_helper

from exactrnn.onnx import from_onnx, layers_from_onnx

T, B, I, H = SIZES

# What is refused

BAD_ATTRIBUTES = [
    ("direction", "sideways", "direction: expected one of forward.*'sideways'"),
    ("direction", 1, "direction: expected a value in s, got 1"),
    ("hidden_size", 5, r"R: expected \[1, 20, 5\]"),
    ("hidden_size", 0, "hidden_size: expected an integer >= 1, got 0"),
    ("layout", 2, "layout: expected 0 or 1, got 2"),
    ("clip", 0.0, "clip: expected a number > 0, got 0.0"),
    ("clip", float("nan"), "clip: expected a number > 0, got nan"),
    ("input_forget", -1, "input_forget: expected 0 or 1"),
    (
        "linear_before_reset",
        1,
        "linear_before_reset: expected no such attribute, got 1",
    ),
    ("output_sequence", 1, "output_sequence: expected no such attribute, got 1"),
    ("activations", ["Tanh"], "activations: expected 3 names"),
    ("activations", ["Tanh", "Cos", "Tanh"], "activations: expected one of.*'Cos'"),
]
BAD_PARAMETERS = [
    ("LeakyRelu", [-0.5], None, "activation_alpha: expected a number >= 0 for LeakyR"),
    ("ScaledTanh", [0.0], [1.0], "activation_alpha: expected a number other than 0"),
    ("Affine", None, None, "activation_alpha: expected a number for Affine, got None"),
    ("ScaledTanh", [1.0], None, "activation_beta: expected a number for ScaledTanh"),
    ("Elu", [float("inf")], None, "activation_alpha: expected a finite number for Elu"),
    ("Elu", [0.5, 0.5], None, "activation_alpha: expected as many values.*1 of Elu"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD_ATTRIBUTES)
def test_attribute_that_is_not_had_is_named(name, value, says):
    drawn = draw_lstm()
    drawn.attributes[name] = value
    with pytest.raises(ValueError, match=f"LSTM 'cell': .*{says}"):
        from_onnx(make_model(drawn))


@pytest.mark.parametrize(("name", "alpha", "beta", "says"), BAD_PARAMETERS)
def test_parameter_that_is_not_had_is_named(name, alpha, beta, says):
    drawn = draw_lstm(activations=["Sigmoid", name, "Tanh"])
    drawn.attributes |= {"activation_alpha": alpha} if alpha else {}
    drawn.attributes |= {"activation_beta": beta} if beta else {}
    with pytest.raises(ValueError, match=f"LSTM 'cell': {says}"):
        from_onnx(make_model(drawn))


def test_parameters_that_no_function_has_are_passed_over():
    drawn = draw_lstm(activation_alpha=[0.0, 0.0, 0.0])
    for ours, theirs in zip(
        from_onnx(make_model(drawn))(drawn.x), define(drawn), strict=True
    ):
        assert np.abs(ours - theirs).max() < 1e-6


def test_activations_are_written_shortly():
    drawn = draw_lstm(activations=["hardsigmoid", "Affine", "leakyrelu"], clip=0.3)
    drawn.attributes |= {
        "activation_alpha": [0.2, 1.0, 0.1],
        "activation_beta": [0.5, 0],
    }
    drawn.attributes["activation_beta"] = [0.5, 0.0]
    layer = from_onnx(make_model(drawn)).layer
    assert layer.activations == ("hard_sigmoid", "identity", ("leaky_relu", 0.1))
    assert layer.clip == 0.3


@pytest.mark.parametrize("version", [6, 999])
def test_opset_that_is_not_known_is_refused(version):
    drawn = draw_lstm()
    model = make_model(drawn)
    model.opset_import[0].version = version
    with pytest.raises(ValueError, match=f"opset: expected 7 to .*, got {version}"):
        from_onnx(model)


def test_all_that_is_wrong_with_weights_is_said_at_once():
    drawn = draw_lstm()
    drawn.arrays["P"] = np.zeros((1, 2 * H), "f4")
    drawn.arrays["W"] = drawn.arrays["W"][:, 1:]
    drawn.arrays["B"] = drawn.arrays["B"][..., 1:]
    with pytest.raises(ValueError, match=r"weights: W: .*B: .*P: expected"):
        from_onnx(make_model(drawn))
    drawn = draw_lstm()
    drawn.fed |= {"W", "B"}
    says = "W is not constant: it is an input of the graph, B is not constant"
    with pytest.raises(ValueError, match=says):
        from_onnx(make_model(drawn))
    model = make_model(draw_lstm())
    model.graph.node.insert(0, helper.make_node("Relu", ["w"], ["W"], "made"))
    model.graph.initializer[0].name = "w"
    with pytest.raises(
        ValueError, match="W is not constant: it is computed by Relu 'm"
    ):
        from_onnx(model)
    model.graph.node[1].input[2] = ""
    with pytest.raises(ValueError, match=r"W is not constant.*R is missing"):
        from_onnx(model)


KINDS = {"RNN": (6, 2), "GRU": (6, 2), "LSTM": (8, 3)}
"""Inputs and outputs that each operator has: ONNX's pages of operators."""


def small_model(kind):
    """Return a model of a node of an operator that takes no more than it needs."""
    G = GATES[kind]
    arrays = {
        name: np.ones(shape, "f4")
        for name, shape in (
            ("X", (T, B, I)),
            ("W", (1, G * H, I)),
            ("R", (1, G * H, H)),
        )
    }
    return make_model(Drawn(kind, {"hidden_size": H}, arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_have_as_many_inputs_and_outputs_as_their_operator(kind):
    most, most_outputs = KINDS[kind]
    given = ["X", "W", "R"]
    for more in range(most - 2):
        model = small_model(kind)
        model.graph.node[0].input[:] = given + [""] * more
        assert from_onnx(model).layer.hidden_size == H
    faults = {
        f"inputs: expected 3 to {most}, got 2": (given[:2], ["Y"]),
        f"inputs: expected 3 to {most}, got 0": ([], ["Y"]),
        "inputs: expected X as the first, got ''": (["", "W", "R"], ["Y"]),
        "outputs: expected 1 to": (given, []),
        f"outputs: expected 1 to {most_outputs}, got {most_outputs + 1}": (
            given,
            [*"abcd"[: most_outputs + 1]],
        ),
    }
    for count in (most + 1, most + 2, 40):
        padded = ["X"] * (count - 3)
        faults[f"inputs: expected 3 to {most}, got {count}"] = (given + padded, ["Y"])
    for says, (inputs, outputs) in faults.items():
        model = small_model(kind)
        model.graph.node[0].input[:] = inputs
        model.graph.node[0].output[:] = outputs
        with pytest.raises(ValueError, match=f"{kind} 'cell': {says}"):
            from_onnx(model)


@pytest.mark.parametrize("model", [3, None, ["model.onnx"], np.zeros(3)], ids=str)
def test_what_is_no_model_is_a_type_error(model):
    for take in (from_onnx, layers_from_onnx):
        with pytest.raises(TypeError, match="model: expected a path, bytes or an"):
            take(model)


def test_dtype_is_checked():
    for take in (from_onnx, layers_from_onnx):
        with pytest.raises(TypeError, match="dtype: expected float32 or float64"):
            take(make_model(draw_lstm()), dtype="float16")


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"not a model", b"\x08\x08"])
def test_content_that_is_no_model_is_refused(content, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    for model in (path, content):
        with pytest.raises(ValueError, match="not an ONNX model"):
            from_onnx(model)


# Hostile files


def with_nodes(nodes, stored):
    """Return a model whose W is made by nodes from what is stored."""
    model = make_model(draw_lstm())
    kept = [t for t in model.graph.initializer if t.name != "W"]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend([*kept, *stored])
    old = [*model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend([*nodes, *old])
    return model


def test_constants_that_grow_without_end_are_refused():
    small = numpy_helper.from_array(np.zeros((1, 1024), "f4"), "0")
    nodes = [
        helper.make_node("Concat", [str(k), str(k)], [str(k + 1)], axis=0)
        for k in range(60)
    ]
    nodes.append(helper.make_node("Identity", ["60"], ["W"]))
    with pytest.raises(ValueError, match=r"Concat '\d+': the model makes"):
        from_onnx(with_nodes(nodes, [small]))
    many = numpy_helper.from_array(np.zeros(100_000, "i8"), "many")
    row = numpy_helper.from_array(np.zeros((1, 1024), "f4"), "0")
    nodes = [helper.make_node("Gather", ["0", "many"], ["W"])]
    with pytest.raises(ValueError, match="Gather 'W': the model makes"):
        from_onnx(with_nodes(nodes, [many, row]))


def test_constants_in_a_circle_or_too_deep_are_refused():
    circle = [helper.make_node("Identity", ["W"], ["W"])]
    with pytest.raises(ValueError, match="W is not constant"):
        from_onnx(with_nodes(circle, []))
    deep = [helper.make_node("Identity", [str(k)], [str(k + 1)]) for k in range(5000)]
    deep.append(helper.make_node("Identity", ["5000"], ["W"]))
    first = numpy_helper.from_array(draw_lstm().arrays["W"], "0")
    with pytest.raises(ValueError, match="W is not constant"):
        from_onnx(with_nodes(deep, [first]))


@pytest.mark.parametrize("dims", [[2**40, 2**20], [-1, 16, 3], [1, 16, 4]], ids=str)
def test_tensor_that_claims_more_than_it_holds_is_refused(dims):
    model = make_model(draw_lstm())
    [tensor] = [t for t in model.graph.initializer if t.name == "W"]
    tensor.ClearField("dims")
    tensor.dims.extend(dims)
    with pytest.raises(ValueError, match=r"not an ONNX model|W: its shape is \(-1"):
        from_onnx(model)


def check_damaged(seeds):
    """Damage a model's bytes: it is taken or is a ValueError, whatever they are."""
    drawn = draw_lstm()
    content = make_model(drawn, put=as_slices).SerializeToString()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] ^= int(rng.integers(1, 256))
        if seed % 3 == 0:
            del damaged[int(rng.integers(len(content))) :]
        with contextlib.suppress(ValueError, TypeError):
            from_onnx(bytes(damaged))(drawn.x)


def test_damaged_models_are_value_errors():
    check_damaged(range(150))


@pytest.mark.deep
@pytest.mark.parametrize("start", range(0, 9000, 3000))
def test_more_damaged_models_are_value_errors(start):
    check_damaged(range(start, start + 3000))


# Without the package onnx


def test_what_needs_onnx_says_how_to_get_it(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model(draw_lstm()).SerializeToString())
    code = f"""
import sys
import exactrnn as xr
assert not any(name.split(".")[0] == "onnx" for name in sys.modules)
sys.modules["onnx"] = None
for call in (
    lambda: xr.from_onnx({str(path)!r}),
    lambda: xr.onnx.from_onnx(3),
    lambda: xr.onnx.to_onnx(xr.GRU(3, 4)),
):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("pip install 'exactrnn[onnx]'") == 3


def test_load_of_an_onnx_file_says_what_it_is(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model(draw_lstm()).SerializeToString())
    with pytest.raises(
        ValueError, match=r"an ONNX model, not a safetensors.*from_onnx"
    ):
        xr.load(path)
    assert xr.from_onnx is xr.onnx.from_onnx
