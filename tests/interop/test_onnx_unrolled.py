"""Cells that torch's exporter takes apart: found where the pattern is whole, alone.

Every change of a pattern, node by node, makes it none: what is found is what torch
computes.
"""

import io
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: extra onnx")
torch = pytest.importorskip("torch", reason="needs torch: extra rivals")
from onnx import helper, numpy_helper  # noqa: E402

from exactrnn.onnx import accelerate, from_onnx, layers_from_onnx  # noqa: E402

T, B, I, H = 4, 2, 3, 5
CELLS = {"LSTM": torch.nn.LSTMCell, "GRU": torch.nn.GRUCell}
CALLED = {"LSTM": ("x", "h", "c"), "GRU": ("x", "h")}


class Loop(torch.nn.Module):
    """A cell in a loop over time, as people write it."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, *state):
        outputs = []
        for x_t in x.unbind(0):
            given = state if len(state) > 1 else state[0]
            found = self.cell(x_t, given)
            state = found if isinstance(found, tuple) else (found,)
            outputs.append(state[0])
        return torch.stack(outputs)


def export(module, inputs, names, opset=17):
    """Return a module as torch's older exporter writes it, which unrolls."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, inputs, file, dynamo=False, input_names=names, opset_version=opset
        )
    return onnx.load_model_from_string(file.getvalue())


def draw(kind, width=I, **options):
    """Return a cell, and inputs of a loop: x [T, B, I] and the state."""
    torch.manual_seed(0)
    cell = CELLS[kind](width, H, **options)
    return cell, (
        torch.randn(T, B, width),
        *(torch.randn(B, H) for _ in CALLED[kind][1:]),
    )


def step_of(kind, width=I, opset=17, **options):
    """Return the model of one step."""
    cell, (x, *state) = draw(kind, width, **options)
    given = tuple(state) if kind == "LSTM" else state[0]
    return cell, export(cell, (x[0], given), [*CALLED[kind]], opset)


def assert_same(layer, cell, inputs):
    """Compare a layer with torch's loop, which begins with a state."""
    x, *state = [part.detach().numpy() for part in inputs]
    begins = [part[None] for part in state]
    y, _ = layer(x, tuple(begins) if len(begins) > 1 else begins[0])
    expected = Loop(cell)(*inputs).detach().numpy()
    assert np.abs(y - expected).max() < 1e-6


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_single_step_is_found(kind, bias, opset):
    cell, model = step_of(kind, opset=opset, bias=bias)
    node = from_onnx(model)
    assert node.kind == kind
    assert node.wired == ("initial_h", "initial_c")[: len(CALLED[kind]) - 1]
    assert node.layer.bias == bias
    _, inputs = draw(kind)
    assert_same(node.layer, cell, inputs)


@pytest.mark.parametrize("width", [I, H])
@pytest.mark.parametrize("kind", CELLS)
def test_loop_is_one_layer_with_torchs_name(kind, width):
    cell, inputs = draw(kind, width)
    model = export(Loop(cell), inputs, [*CALLED[kind]])
    assert [op.op_type for op in model.graph.node].count("Tanh") >= T
    assert [*layers_from_onnx(model)] == ["cell"]
    assert_same(from_onnx(model).layer, cell, inputs)


def rename(model):
    """Take the names of weights away."""
    for tensor in model.graph.initializer:
        for op in model.graph.node:
            for k, name in enumerate(op.input):
                if name == tensor.name:
                    op.input[k] = f"stored.{name[-7:]}"
        tensor.name = f"stored.{tensor.name[-7:]}"
    return model


def test_steps_or_widths_tell_where_names_do_not():
    for width in (I, H):
        cell, inputs = draw("LSTM", width)
        model = rename(export(Loop(cell), inputs, ["x", "h", "c"]))
        assert_same(from_onnx(model).layer, cell, inputs)
    cell, model = step_of("LSTM")
    assert_same(from_onnx(rename(model)).layer, cell, draw("LSTM")[1])


@pytest.mark.parametrize("kind", CELLS)
def test_steps_with_other_biases_are_another_cell(kind):
    cell, inputs = draw(kind)
    model = export(Loop(cell), inputs, [*CALLED[kind]])
    name = "cell.bias_hh"
    [stored] = [t for t in model.graph.initializer if t.name == name]
    readers = [op for op in model.graph.node if name in op.input]
    changed = numpy_helper.to_array(stored) + 1
    for k, op in enumerate(readers):  # an exporter may store one for each step
        array = changed if k == T - 1 else numpy_helper.to_array(stored)
        own = numpy_helper.from_array(array, f"{name}.{k}")
        model.graph.initializer.append(own)
        op.input[:] = [own.name if n == name else n for n in op.input]
    first, last = layers_from_onnx(model).values()
    assert_same(first.layer, cell, inputs)
    cell.bias_hh.data += 1
    assert_same(last.layer, cell, inputs)


def test_cell_that_is_not_clear_is_not_taken():
    _, model = step_of("LSTM", H)
    assert layers_from_onnx(model) != {}
    assert layers_from_onnx(rename(model)) == {}
    _, model = step_of("GRU", H)  # whose nodes tell
    assert layers_from_onnx(rename(model)) != {}


def node_changes(model):
    """Yield models each of which differs from a pattern in one node."""
    others = {"Sigmoid": "HardSigmoid", "Tanh": "Softsign", "Mul": "Div", "Sub": "Add"}
    others |= {"Add": "Sub", "Split": "Identity", "Gemm": "Conv", "MatMul": "Add"}
    for k, op in enumerate(model.graph.node):
        if op.op_type == "Constant":
            continue
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.node[k].op_type = others[op.op_type]
        yield f"{op.op_type} {k}", changed
        if op.op_type == "Sub":
            changed.CopyFrom(model)
            changed.graph.node[k].input[:] = reversed(op.input)
            yield f"{op.op_type} {k} turned", changed
        if op.op_type not in ("Gemm", "MatMul"):
            for n in range(len(op.input) if op.op_type != "Split" else 1):
                changed.CopyFrom(model)
                changed.graph.node[k].input[n] = "elsewhere"
                yield f"{op.op_type} {k} input {n}", changed
        changed.CopyFrom(model)
        changed.graph.node[k].domain = "mine"
        yield f"{op.op_type} {k} of another domain", changed


FREE = {
    # what an LSTM's c and a step's x are is free
    "LSTM": {"Mul 9 input 1"},
    "GRU": set(),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_pattern_with_a_change_is_none(kind, bias):
    _, model = step_of(kind, bias=bias)
    found = {change for change, model in node_changes(model) if layers_from_onnx(model)}
    assert found == FREE[kind]


ATTRIBUTES = {"alpha": 2.0, "beta": 0.5, "transA": 1, "transB": 0}


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("kind", CELLS)
def test_product_that_scales_or_turns_is_none(kind, name):
    _, model = step_of(kind)
    gemm = next(op for op in model.graph.node if op.op_type == "Gemm")
    kept = [given for given in gemm.attribute if given.name != name]
    gemm.ClearField("attribute")
    gemm.attribute.extend(kept)
    gemm.attribute.append(helper.make_attribute(name, ATTRIBUTES[name]))
    assert layers_from_onnx(model) == {}


@pytest.mark.parametrize("kind", CELLS)
def test_split_into_unequal_parts_is_none(kind):
    _, model = step_of(kind)
    split = next(op for op in model.graph.node if op.op_type == "Split")
    sizes = next(op for op in model.graph.node if split.input[1] in op.output)
    parts = len(split.output)
    uneven = np.array([H - 1, H + 1] + [H] * (parts - 2))
    sizes.attribute[0].t.CopyFrom(numpy_helper.from_array(uneven))
    assert layers_from_onnx(model) == {}


@pytest.mark.parametrize("kind", CELLS)
def test_weights_that_do_not_fit_or_are_not_constant_are_none(kind):
    _, model = step_of(kind)
    for tensor in model.graph.initializer:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        [own] = [t for t in changed.graph.initializer if t.name == tensor.name]
        array = numpy_helper.to_array(own)
        own.CopyFrom(numpy_helper.from_array(array[1:], own.name))
        assert layers_from_onnx(changed) == {}, own.name
        changed.graph.initializer.remove(own)
        changed.graph.input.append(helper.make_tensor_value_info(tensor.name, 1, None))
        assert layers_from_onnx(changed) == {}, tensor.name


def test_half_weights_of_a_cell_follow_the_rule():
    cell, model = step_of("LSTM")
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype("f2")
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    with pytest.raises(ValueError, match=r"float16.*asks for rounding"):
        from_onnx(model)
    layer = from_onnx(model, dtype="float32").layer
    expected = cell.weight_hh.detach().numpy()
    assert np.abs(layer.weight_hh_l0 - expected).max() < 1e-3


# In a session


def compare_sessions(model, inputs):
    """Return the largest difference from the runtime, and what was accelerated."""
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra rivals")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    stock = ort.InferenceSession(model.SerializeToString(), options)
    session = accelerate(model, session_options=options)
    names = [given.name for given in model.graph.input]
    feed = {n: part.numpy() for n, part in zip(names, inputs, strict=True)}
    pairs = zip(stock.run(None, feed), session.run(None, feed), strict=True)
    return max(np.abs(a - b).max() for a, b in pairs), session.accelerated


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_single_step_is_one_node_of_a_session(kind, bias, opset):
    _, model = step_of(kind, opset=opset, bias=bias)
    _, (x, *state) = draw(kind)
    difference, found = compare_sessions(model, (x[0], *state))
    assert [*found.accelerated.values()] == [f"exactrnn.{kind}"]
    assert not found.left
    assert difference < 1e-6


@pytest.mark.parametrize("kind", CELLS)
def test_step_whose_inner_values_are_read_is_left(kind):
    _, model = step_of(kind)
    _, (x, *state) = draw(kind)
    results = {end.name for end in model.graph.output}
    inner = {
        op.output[0]: op.op_type
        for op in model.graph.node
        if op.op_type != "Constant" and op.output[0] not in results
    }
    assert len(inner) > 8
    for name, made_by in inner.items():
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.output.append(helper.make_tensor_value_info(name, 1, None))
        difference, found = compare_sessions(changed, (x[0], *state))
        assert found.accelerated == {}, made_by
        assert difference == 0


@pytest.mark.parametrize("kind", CELLS)
def test_loop_is_left_to_the_runtime(kind):
    cell, inputs = draw(kind)
    model = export(Loop(cell), inputs, [*CALLED[kind]])
    difference, found = compare_sessions(model, inputs)
    assert found.accelerated == {}
    assert difference == 0
