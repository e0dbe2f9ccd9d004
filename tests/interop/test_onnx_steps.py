"""A step of an LSTM that an exporter has taken apart: found, or left where unsafe."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra rivals")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import exactrnn as xr  # noqa: E402
from exactrnn.interop.onnx._files import open_model  # noqa: E402
from exactrnn.interop.onnx._steps import join_steps  # noqa: E402
from exactrnn.onnx import accelerate  # noqa: E402

I, H = 3, 5
FLOAT = TensorProto.FLOAT


def make_step(opset=18, columns=I, prefix="", weights=""):
    """Return the nodes of a step and its weights, as torch's exporter writes them."""
    rng = np.random.default_rng(0)
    stored = {
        f"{weights}{name}": rng.standard_normal(shape).astype(np.float32)
        for name, shape in {
            "W": (4 * H, columns),
            "R": (4 * H, H),
            "b": (4 * H,),
            "b2": (4 * H,),
        }.items()
    }
    W, R, b, b2 = stored
    split = {"axis": 1} | ({"num_outputs": 4} if opset >= 18 else {})
    p = prefix
    make = helper.make_node
    nodes = [
        make("Gemm", ["h", R, b2], [f"{p}hr"], transB=1),
        make("Gemm", ["x", W, b], [f"{p}xw"], transB=1),
        make("Add", [f"{p}hr", f"{p}xw"], [f"{p}sum"]),
        make("Split", [f"{p}sum"], [f"{p}{g}" for g in "ifgo"], **split),
        make("Sigmoid", [f"{p}i"], [f"{p}si"]),
        make("Sigmoid", [f"{p}f"], [f"{p}sf"]),
        make("Tanh", [f"{p}g"], [f"{p}tg"]),
        make("Sigmoid", [f"{p}o"], [f"{p}so"]),
        make("Mul", [f"{p}sf", "c"], [f"{p}kept"]),
        make("Mul", [f"{p}si", f"{p}tg"], [f"{p}entry"]),
        make("Add", [f"{p}kept", f"{p}entry"], [f"{p}c1"]),
        make("Tanh", [f"{p}c1"], [f"{p}tc"]),
        make("Mul", [f"{p}so", f"{p}tc"], [f"{p}h1"]),
    ]
    return nodes, stored


def as_model(nodes, stored, opset=18, columns=I, ends=("h1", "c1"), rows="B"):
    """Return a model of nodes whose x, h and c have `rows`."""
    shapes = {"x": columns, "h": H, "c": H}
    inputs = [
        helper.make_tensor_value_info(name, FLOAT, [rows, size])
        for name, size in shapes.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, FLOAT, [None, None]) for name in ends
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def draw_feed(rows=2, columns=I):
    rng = np.random.default_rng(1)
    sizes = {"x": columns, "h": H, "c": H}
    return {
        n: rng.standard_normal((rows, s)).astype(np.float32) for n, s in sizes.items()
    }


def compare(model, feed):
    """Return the largest difference from the runtime, and the session."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    stock = ort.InferenceSession(model.SerializeToString(), options)
    session = accelerate(model, session_options=options)
    pairs = zip(stock.run(None, feed), session.run(None, feed), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs), session


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("columns", [I, H])
def test_step_becomes_one_node(opset, columns):
    nodes, stored = make_step(opset, columns)
    model = as_model(nodes, stored, opset, columns)
    feed = draw_feed(columns=columns)
    difference, session = compare(model, feed)
    assert session.accelerated.accelerated == {"h1_lstm": "exactrnn.LSTM"}
    assert difference < 1e-6


def test_step_has_the_bits_of_a_cell():
    nodes, stored = make_step()
    feed = draw_feed()
    _, session = compare(as_model(nodes, stored), feed)
    cell = xr.LSTMCell(I, H, seed=0)
    names = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "b", "bias_hh": "b2"}
    cell.load_state_dict({ours: stored[theirs] for ours, theirs in names.items()})
    expected = cell(feed["x"], (feed["h"], feed["c"]))
    for ours, theirs in zip(session.run(None, feed), expected, strict=True):
        assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))


def test_nodes_around_a_step_keep_their_order():
    nodes, stored = make_step()
    make = helper.make_node
    nodes.insert(11, make("Neg", ["c1"], ["early"]))
    nodes[8].input[1] = "other"
    nodes.insert(8, make("Neg", ["c"], ["other"]))
    nodes.append(make("Add", ["h1", "other"], ["late"]))
    model = as_model(nodes, stored, ends=("early", "late", "c1"))
    source = open_model(model.SerializeToString(), None)
    join_steps(source, 18)
    onnx.checker.check_model(source.model)  # which asks for this order
    difference, session = compare(model, draw_feed())
    assert [*session.accelerated.accelerated] == ["h1_lstm"]
    assert difference < 1e-6


def test_two_cells_of_a_graph_are_both_found():
    nodes, stored = make_step()
    more, own = make_step(prefix="second_", weights="own_")
    model = as_model([*nodes, *more], stored | own, ends=("h1", "second_h1"))
    difference, session = compare(model, draw_feed())
    names = {"h1_lstm", "second_h1_lstm"}
    assert session.accelerated.accelerated.keys() == names
    assert difference < 1e-6


def test_steps_within_branches_are_found():
    nodes, stored = make_step()
    end = helper.make_tensor_value_info("h1", FLOAT, ["B", H])
    branch = helper.make_graph(nodes, "then", [], [end])
    same = helper.make_node("Identity", ["h"], ["same"])
    other = helper.make_graph(
        [same], "else", [], [helper.make_tensor_value_info("same", FLOAT, ["B", H])]
    )
    choice = helper.make_node(
        "If", ["which"], ["y"], then_branch=branch, else_branch=other
    )
    model = as_model([choice], stored, ends=("y",))
    model.graph.input.append(
        helper.make_tensor_value_info("which", TensorProto.BOOL, [])
    )
    for which in (True, False):
        feed = {**draw_feed(), "which": np.array(which)}
        difference, session = compare(model, feed)
        assert [*session.accelerated.accelerated] == ["h1_lstm"]
        assert difference < 1e-6


def with_turned_weights(nodes, stored):
    stored["R"] = np.ascontiguousarray(stored["R"].T)
    del nodes[0].attribute[:]


def with_given_parts(nodes, stored):
    stored["parts"] = np.array([H] * 4)
    nodes[3].input.append("parts")
    del nodes[3].attribute[:]
    nodes[3].attribute.append(helper.make_attribute("axis", 1))


@pytest.mark.parametrize("change", [with_turned_weights, with_given_parts])
def test_other_ways_to_write_the_same_are_found(change):
    nodes, stored = make_step()
    change(nodes, stored)
    difference, session = compare(as_model(nodes, stored), draw_feed())
    assert session.accelerated.accelerated == {"h1_lstm": "exactrnn.LSTM"}
    assert difference < 1e-6


# What is left


def with_factor(nodes, stored):
    nodes[0].attribute.append(helper.make_attribute("alpha", 0.5))


def with_other_activation(nodes, stored):
    nodes[6].op_type = "Sigmoid"


def with_gates_in_another_order(nodes, stored):
    nodes[3].output[:] = [*"figo"]


def with_another_reader(nodes, stored):
    nodes.append(helper.make_node("Neg", ["si"], ["read"]))


def with_a_reader_of_the_sum(nodes, stored):
    nodes.append(helper.make_node("Neg", ["sum"], ["read"]))


def with_computed_weights(nodes, stored):
    nodes.insert(0, helper.make_node("Concat", ["h"] * 10, ["R"], axis=0))
    del stored["R"]


def with_shared_weights(nodes, stored):
    nodes += make_step(prefix="second_")[0]


def with_doubles(nodes, stored):
    stored |= {name: array.astype(np.float64) for name, array in stored.items()}
    for name in ("x", "h", "c"):
        nodes.insert(0, helper.make_node("Cast", [name], [f"{name}64"], to=11))
    for op in nodes[3:]:
        op.input[:] = [f"{n}64" if n in ("x", "h", "c") else n for n in op.input]
    for name in ("h1", "c1"):
        [op] = [op for op in nodes if name in op.output]
        op.output[0] = f"{name}64"
        for reader in nodes:
            reader.input[:] = [f"{name}64" if n == name else n for n in reader.input]
        nodes.append(helper.make_node("Cast", [f"{name}64"], [name], to=1))


def with_tanh_of_another(nodes, stored):
    nodes[11].input[0] = "kept2"
    nodes.insert(11, helper.make_node("Neg", ["c1"], ["kept2"]))


FORMS = [
    with_factor,
    with_other_activation,
    with_gates_in_another_order,
    with_another_reader,
    with_a_reader_of_the_sum,
    with_computed_weights,
    with_shared_weights,
    with_doubles,
    with_tanh_of_another,
]


@pytest.mark.parametrize("change", FORMS, ids=lambda change: change.__name__)
def test_other_forms_are_left(change):
    nodes, stored = make_step()
    change(nodes, stored)
    ends = ("read", "h1") if any("read" in op.output for op in nodes) else ("h1", "c1")
    if change is with_shared_weights:
        ends = ("h1", "c1", "second_h1", "second_c1")
    difference, session = compare(as_model(nodes, stored, ends=ends), draw_feed())
    assert session.accelerated.accelerated == {}
    assert difference == 0


@pytest.mark.parametrize("version", [3, 8])
@pytest.mark.parametrize("name", ["W", "b2"])
def test_step_whose_weights_a_caller_may_give_is_left(name, version):
    nodes, stored = make_step()
    model = as_model(nodes, stored)
    model.ir_version = version
    shape = stored[name].shape
    for own in stored if version < 4 else [name]:  # before, each had to be an input
        given = helper.make_tensor_value_info(own, FLOAT, stored[own].shape)
        model.graph.input.append(given)
    _, session = compare(model, draw_feed())
    may_give = version > 3
    assert bool(session.accelerated.accelerated) == (not may_give)
    if may_give:
        compared, _ = compare(model, draw_feed() | {name: np.zeros(shape, "f4")})
        assert compared == 0


def test_step_whose_rows_are_unknown_is_left():
    nodes, stored = make_step()
    _, session = compare(as_model(nodes, stored, rows=None), draw_feed())
    assert session.accelerated.accelerated == {}


def test_step_whose_state_is_broadcast_is_left():
    nodes, stored = make_step()
    model = as_model(nodes, stored)
    model.graph.input[2].type.tensor_type.shape.dim[0].dim_value = 1
    feed = draw_feed()
    feed["c"] = feed["c"][:1].copy()
    difference, session = compare(model, feed)
    assert session.accelerated.accelerated == {}
    assert difference == 0
