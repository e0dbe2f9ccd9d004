"""ONNX files as they come: weights anywhere, dtypes, constants, names."""

import copy
import os
import pickle
import re

import numpy as np
import pytest
from onnx_nodes import (
    SIZES,
    as_slices,
    constant,
    define,
    draw_lstm,
    draw_node,
    make_model,
)

onnx = pytest.importorskip("onnx", reason="needs onnx: extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from exactrnn.onnx import from_onnx, layers_from_onnx  # noqa: E402

T, B, I, H = SIZES


def assert_defined(model, drawn, bound=1e-6, **given):
    """Compare a model's only node with the definition."""
    found = from_onnx(model, **given)(drawn.x)
    for ours, theirs in zip(found, define(drawn), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < bound


# Weights made by other nodes: each moves an array, and gives nodes that bring it back


def as_constant(name, array):
    return [constant(name, array)], []


def as_turned(name, array):
    """Store it without its first axis, transposed, to be Unsqueezed and turned."""
    flat = array[0].T if array.ndim == 3 else array[0]
    nodes = [
        constant(f"{name}.0", np.array([0])),
        helper.make_node("Transpose", [f"{name}.s"], [f"{name}.t"]),
        helper.make_node("Identity", [f"{name}.t"], [f"{name}.i"]),
        helper.make_node("Unsqueeze", [f"{name}.i", f"{name}.0"], [name]),
    ]
    return nodes, [numpy_helper.from_array(np.ascontiguousarray(flat), f"{name}.s")]


def as_split(name, array):
    """Store it beside another array, flat: Split, Gather and Reshape give it back."""
    both = np.stack([array.ravel(), np.zeros(array.size, array.dtype)])
    nodes = [
        constant(f"{name}.1", np.array(0)),
        constant(f"{name}.2", np.array(array.shape)),
        helper.make_node("Split", [f"{name}.s"], [f"{name}.p", f"{name}.q"], axis=0),
        helper.make_node("Squeeze", [f"{name}.p"], [f"{name}.f"]),
        helper.make_node("Unsqueeze", [f"{name}.f", f"{name}.1"], [f"{name}.u"]),
        helper.make_node("Gather", [f"{name}.u", f"{name}.1"], [f"{name}.g"], axis=0),
        helper.make_node("Reshape", [f"{name}.g", f"{name}.2"], [name]),
    ]
    nodes[0] = constant(f"{name}.1", np.array([0]))
    return nodes, [numpy_helper.from_array(both, f"{name}.s")]


def as_cast(name, array):
    """Store it as float64."""
    cast = helper.make_node("Cast", [f"{name}.s"], [name], to=TensorProto.FLOAT)
    return [cast], [numpy_helper.from_array(array.astype("f8"), f"{name}.s")]


MOVES = [as_constant, as_slices, as_turned, as_split, as_cast]


@pytest.mark.parametrize("move", MOVES)
def test_weights_are_found_behind_nodes_that_arrange_them(move):
    drawn = draw_lstm()
    model = make_model(drawn, put=move)
    assert_defined(model, drawn)
    plain = from_onnx(make_model(drawn)).layer.state_dict()
    for name, weight in from_onnx(model).layer.state_dict().items():
        assert weight.tobytes() == plain[name].tobytes()


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 12, 13, 18, 21])
def test_nodes_that_arrange_weights_are_those_of_the_models_opset(opset, domain):
    drawn = draw_lstm()
    drawn.opset = opset

    def move(name, array):
        """Store it beside another one: Split, and two Squeezes of the first axis."""
        axes, attribute, nodes = [], {"axes": [0]}, []
        if opset >= 13:
            axes, attribute = [f"{name}.axes"], {}
            nodes = [constant(*axes, np.array([0]))]
        parts = {"num_outputs": 2} if opset >= 18 else {}
        chain = (
            ("Split", {"axis": 0, **parts}, []),
            *((kind, attribute, axes) for kind in ("Squeeze", "Unsqueeze", "Squeeze")),
        )
        names = [*(f"{name}.{k}" for k in range(len(chain))), name]
        for k, (kind, given, more) in enumerate(chain):
            ends = [names[k + 1], *([f"{name}.rest"] if kind == "Split" else [])]
            inputs = [names[k], *more]
            nodes.append(helper.make_node(kind, inputs, ends, domain=domain, **given))
        return nodes, [numpy_helper.from_array(np.stack([array, array + 1]), names[0])]

    assert_defined(make_model(drawn, put=move), drawn)


# Graphs in graphs


def wrap(drawn, kind, *, own=("W",)):
    """Return a model whose node is in a branch or a loop, some weights within it."""
    model = make_model(drawn)
    node = model.graph.node[0]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    within = [stored.pop(name) for name in own]
    outs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in node.output
    ]
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    if kind == "If":
        inner = helper.make_graph([node], "branch", [], outs, within)
        other = helper.make_graph(
            [helper.make_node("Identity", ["X"], [f"o{k}"]) for k in range(len(outs))],
            "other",
            [],
            [
                helper.make_tensor_value_info(f"o{k}", TensorProto.FLOAT, None)
                for k in range(len(outs))
            ],
        )
        ends = [f"end{k}" for k in range(len(outs))]
        around = helper.make_node(
            "If", ["go"], ends, "choose", then_branch=inner, else_branch=other
        )
    else:
        step = helper.make_tensor_value_info("step", TensorProto.INT64, [])
        going = helper.make_node("Identity", ["go_in"], ["go_out"])
        go_in = helper.make_tensor_value_info("go_in", TensorProto.BOOL, [])
        go_out = helper.make_tensor_value_info("go_out", TensorProto.BOOL, [])
        inner = helper.make_graph(
            [going, node], "body", [step, go_in], [go_out, *outs], within
        )
        ends = [f"end{k}" for k in range(len(outs))]
        around = helper.make_node("Loop", ["", "go"], ends, "again", body=inner)
    graph = helper.make_graph(
        [around],
        "graph",
        [*model.graph.input, condition],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ends],
        [*stored.values()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.mark.parametrize("own", [(), ("W",), ("W", "R", "B")], ids=str)
@pytest.mark.parametrize("kind", ["If", "Loop"])
def test_node_is_found_in_an_inner_graph(kind, own):
    drawn = draw_lstm()
    assert_defined(wrap(drawn, kind, own=own), drawn)


def test_name_of_an_inner_graph_hides_that_of_the_outer():
    drawn = draw_lstm()
    model = wrap(drawn, "If", own=("W",))
    other = numpy_helper.from_array(np.zeros_like(drawn.arrays["W"]), "W")
    model.graph.initializer.append(other)
    assert_defined(model, drawn)


def test_input_of_a_loop_hides_a_constant_around_it():
    model = wrap(draw_lstm(), "Loop", own=())
    body = model.graph.node[0].attribute[0].g
    body.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match="W is not constant: it is an input"):
        from_onnx(model)


@pytest.mark.parametrize("version", [17, 13, 18], ids=str)
def test_node_in_a_function_of_the_model_is_found(version):
    drawn = draw_lstm()
    model = make_model(drawn)
    node = model.graph.node[0]
    opset = [helper.make_opsetid("", version)]
    inputs = [name for name in node.input if name]
    function = helper.make_function("mine", "Cell", inputs, node.output, [node], opset)
    call = helper.make_node("Cell", inputs, node.output, "call", domain="mine")
    model.graph.ClearField("node")
    model.graph.node.append(call)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert_defined(model, drawn)


# Files beside the model


@pytest.fixture
def beside(tmp_path):
    """Return a model whose weights are in a file beside it, and its path."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "lstm.onnx"
    drawn = draw_lstm()
    onnx.save(
        make_model(drawn),
        path,
        save_as_external_data=True,
        location="lstm.data",
        size_threshold=0,
    )
    return drawn, path


def test_weights_in_a_file_beside_the_model_are_read(beside, monkeypatch):
    drawn, path = beside
    assert_defined(path, drawn)
    assert_defined(str(path), drawn)
    monkeypatch.chdir(path.parent)
    assert_defined("lstm.onnx", drawn)
    assert_defined(onnx.load(path), drawn)
    with pytest.raises(
        ValueError, match=r"W: its numbers are in 'lstm.data': give the model's path"
    ):
        from_onnx(path.read_bytes())


def rewrite(path, **entries):
    """Change what the model says of W's external data."""
    model = onnx.load(path, load_external_data=False)
    [tensor] = [t for t in model.graph.initializer if t.name == "W"]
    found = {entry.key: entry.value for entry in tensor.external_data} | entries
    tensor.ClearField("external_data")
    for key, value in found.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "link", "", "sub/../../secret"]
)
def test_file_outside_the_models_folder_is_refused(beside, location):
    _, path = beside
    (path.parents[1] / "secret").write_bytes(bytes(4096))
    (path.parent / "link").symlink_to(path.parents[1] / "secret")
    rewrite(path, location=location)
    with pytest.raises(ValueError, match="a file in the model's folder"):
        from_onnx(path)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"length": "8"}, "expected 192 bytes"),
        ({"length": str(2**62)}, "expected 192 bytes"),
        ({"offset": "-1"}, "expected 192 bytes"),
        ({"offset": "1000000"}, "192 bytes of 'lstm.data' at 1000000, got 0"),
        ({"offset": "x"}, "not an ONNX model"),
    ],
    ids=str,
)
def test_external_data_that_are_not_there_are_refused(beside, entries, says):
    _, path = beside
    rewrite(path, **entries)
    with pytest.raises(ValueError, match=says):
        from_onnx(path)


def test_missing_or_strange_file_beside_the_model_is_named(beside):
    _, path = beside
    data = path.parent / "lstm.data"
    data.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("lstm.data")):
        from_onnx(path)
    os.mkfifo(data)
    with pytest.raises(ValueError, match="a FIFO"):
        from_onnx(path)


# Dtypes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_weights_are_taken_where_rounding_is_asked_for(dtype):
    drawn = draw_lstm()
    model = make_model(drawn)
    for tensor in model.graph.initializer:
        own = drawn.arrays[tensor.name]
        if dtype == "float16":
            half = numpy_helper.from_array(own.astype("f2"), tensor.name)
            drawn.arrays[tensor.name] = own.astype("f2").astype("f4")
        else:
            bits = (own.view("u4") >> 16).astype("u2")
            half = TensorProto(
                name=tensor.name, dims=own.shape, raw_data=bits.tobytes()
            )
            half.data_type = TensorProto.BFLOAT16
            drawn.arrays[tensor.name] = (bits.astype("u4") << 16).view("f4")
        tensor.CopyFrom(half)
    with pytest.raises(ValueError, match=rf"got.*{dtype}.*asks for rounding"):
        from_onnx(model)
    assert_defined(model, drawn, dtype="float32")
    drawn.arrays["X"] = drawn.x.astype("f8")
    assert_defined(model, drawn, 1e-12, dtype="float64")


def test_other_dtype_is_asked_for():
    drawn = draw_lstm(dtype="float64")
    layer = from_onnx(make_model(drawn), dtype="float32").layer
    assert layer.dtype == np.float32
    drawn.arrays["W"] = drawn.arrays["W"].astype("f4")
    with pytest.raises(ValueError, match=r"expected float32 or float64, got.*asks for"):
        from_onnx(make_model(drawn))
    drawn.arrays["W"] = np.full_like(drawn.arrays["W"], 1e300, "f8")
    with pytest.raises(ValueError, match=r"LSTM 'cell'.*expected numbers that float32"):
        from_onnx(make_model(drawn), dtype="float32")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("columns", [False, True], ids=["whole", "columns"])
@pytest.mark.parametrize("D", [1, 2])
def test_quantised_weights_are_the_numbers_that_they_stand_for(dtype, columns, D):
    drawn = draw_lstm(D=D)
    rng = np.random.default_rng(1)
    shape = (D, 4 * H) if columns else (D,)
    low, end = (0, 256) if dtype == "uint8" else (-128, 128)
    if dtype == "int8" and not columns:
        low, end = -64, 64  # beyond them ONNX Runtime saturates on AVX2 without VNNI
    stored = {"X": drawn.x, "B": drawn.arrays["B"]}
    for letter, width in (("W", I), ("R", H)):
        q = rng.integers(low, end, (D, width, 4 * H)).astype(dtype)
        zero = rng.integers(low + 44, low + 84, shape).astype(dtype)
        scale = rng.uniform(0.002, 0.01, shape).astype("f4")
        stored |= {letter: q, f"{letter}_scale": scale, f"{letter}_zero": zero}
        centred = q.astype("i4") - zero.astype("i4").reshape(D, 1, -1)
        real = centred.astype("f4") * scale.reshape(D, 1, -1)
        drawn.arrays[letter] = real.swapaxes(1, 2)
    places = ["X", "W", "R", "B", "", "", "", ""]
    places += ["W_scale", "W_zero", "R_scale", "R_zero"]
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        places,
        ["Y", "Y_h", "Y_c"],
        "quant",
        domain="com.microsoft",
        **drawn.attributes,
    )
    model = make_model(drawn)
    model.graph.node[0].CopyFrom(node)
    model.graph.ClearField("initializer")
    for name in filter(None, places[1:]):
        model.graph.initializer.append(numpy_helper.from_array(stored[name], name))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert_defined(model, drawn)
    if not columns:  # for which ONNX Runtime takes a zero point of 0 alone
        near_onnxruntime(model, drawn)
    for name in ("W_scale", "W_zero"):
        damaged = copy.deepcopy(model)
        [tensor] = [t for t in damaged.graph.initializer if t.name == name]
        tensor.CopyFrom(numpy_helper.from_array(stored[name][..., :-1], name))
        with pytest.raises(ValueError, match="W: expected scale and zero point"):
            from_onnx(damaged)


def near_onnxruntime(model, drawn):
    """ONNX Runtime quantises x and h too, to a part in 255 of their range."""
    runtime = pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime: extra rivals"
    )
    session = runtime.InferenceSession(model.SerializeToString())
    found = from_onnx(model)(drawn.x)
    for ours, theirs in zip(found, session.run(None, {"X": drawn.x}), strict=True):
        assert np.abs(ours - theirs).max() < 0.05


# What a call begins with


@pytest.mark.parametrize("layout", [0, 1])
def test_constants_of_the_model_are_taken_unless_others_are_given(layout):
    drawn = draw_lstm(dtype="float64", layout=layout)
    rng = np.random.default_rng(2)
    state = (B, 1, H) if layout else (1, B, H)
    fixed = {"sequence_lens": np.array([T, 2], "i4")}
    fixed |= {f"initial_{s}": rng.standard_normal(state) for s in "hc"}
    if layout:
        drawn.arrays["X"] = drawn.x.swapaxes(0, 1).copy()
    drawn.arrays |= fixed
    assert_defined(make_model(drawn), drawn, 1e-12)
    node = from_onnx(make_model(drawn))
    assert sorted(node.constants) == sorted(fixed)
    assert node.wired == ()
    other = {"sequence_lens": np.array([1, T]), "initial_h": fixed["initial_c"]}
    found = node(drawn.x, **other)
    drawn.arrays |= other
    for ours, theirs in zip(found, define(drawn), strict=True):
        assert np.abs(ours - theirs).max() < 1e-12
    wide = np.repeat(drawn.x, 2, axis=1 - layout)
    with pytest.raises(ValueError, match=r"x: expected B=2, for which the model fixes"):
        node(wide)


def test_states_of_zeros_are_no_constants_and_inputs_are_wired():
    drawn = draw_lstm()
    drawn.arrays["initial_h"] = np.zeros((1, B, H), "f4")
    drawn.arrays["initial_c"] = np.ones((1, B, H), "f4")
    drawn.fed |= {"initial_c"}
    node = from_onnx(make_model(drawn))
    assert node.constants == {}
    assert node.wired == ("initial_c",)
    y, *_ = node(np.repeat(drawn.x, 2, axis=1))
    assert np.array_equal(y[:, :, ::2], node(drawn.x)[0])


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"x": np.zeros((T, I), "f4")}, ValueError, r"x: expected \[T, B, I=3\]"),
        ({"x": np.zeros((T, B, I))}, TypeError, "x: expected float32"),
        ({"sequence_lens": [1, 2, 3]}, ValueError, r"sequence_lens: expected \[B=2\]"),
        ({"sequence_lens": [1, 9]}, ValueError, r"^sequence_lens\[1\]: .* 0..T=5"),
        ({"sequence_lens": [1.0, 2]}, TypeError, "^sequence_lens: expected integers"),
        ({"sequence_lens": [[1], 2]}, TypeError, "^sequence_lens: expected integers"),
        ({"initial_h": np.zeros((1, B, 3), "f4")}, ValueError, r"initial_h: .*H=4"),
        ({"initial_c": np.zeros((B, H), "f4")}, ValueError, r"initial_c: .*D=1, B=2"),
        ({"initial_c": np.zeros((1, B, H))}, TypeError, "initial_c: expected float32"),
    ],
    ids=str,
)
def test_call_with_a_bad_argument_says_which(given, error, says):
    node = from_onnx(make_model(draw_lstm()))
    with pytest.raises(error, match=says):
        node(**{"x": np.zeros((T, B, I), "f4")} | given)


def test_messages_have_the_layout_of_the_call():
    node = from_onnx(make_model(draw_lstm(layout=1)))
    x = np.zeros((B, T, I), "f4")
    with pytest.raises(ValueError, match=r"sequence_lens\[0\]: expected 0..T=5"):
        node(x, [T + 1, T])
    says = r"initial_h: expected \[B=2, D=1, H=4\], got \(1, 2, 4\)"
    with pytest.raises(ValueError, match=says):
        node(x, initial_h=np.zeros((1, B, H), "f4"))


def test_gru_has_no_cell_state():
    drawn = draw_node(1)
    with pytest.raises(TypeError, match="initial_c: expected None for this GRU"):
        from_onnx(make_model(drawn))(drawn.x, initial_c=np.zeros((1, B, H)))


def test_layer_streams_and_copies_are_whole():
    drawn = draw_lstm()
    node = from_onnx(make_model(drawn))
    y, *_ = node(drawn.x)
    stream = node.layer.stream(B)
    steps = np.stack([stream.step(x_t) for x_t in drawn.x])
    assert np.array_equal(steps, y[:, 0])
    for twin in (copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        assert np.array_equal(twin(drawn.x)[0], y)
    assert repr(node) == "<OnnxLayer 'cell': LSTM(3, 4)>"


# Which node


def several():
    """Return a model of three nodes: a name in two branches, and one without a name."""
    model = wrap(draw_lstm(), "If")
    branch = model.graph.node[0].attribute
    [then] = [a.g for a in branch if a.name == "then_branch"]
    [other] = [a.g for a in branch if a.name == "else_branch"]
    other.ClearField("node")
    other.node.append(then.node[0])
    other.initializer.extend(then.initializer)
    for k, name in enumerate(then.node[0].output):
        other.output[k].name = name
    more = copy.deepcopy(then.node[0])
    more.name, more.output[0] = "", "free"
    model.graph.node.append(more)
    model.graph.initializer.extend(then.initializer)
    return model


NAMES = ["choose.then_branch/cell", "choose.else_branch/cell", "free"]


def test_nodes_are_found_by_name():
    model = several()
    found = layers_from_onnx(model)
    assert sorted(found) == sorted(NAMES)
    for name in NAMES:
        assert from_onnx(model, name).name == name
    with pytest.raises(
        ValueError, match=r"name of one of LSTM 'free', .*then_branch/cell'"
    ):
        from_onnx(model)
    with pytest.raises(ValueError, match="'cell' is more than one of"):
        from_onnx(model, "cell")
    with pytest.raises(ValueError, match="'other' is no node of"):
        from_onnx(model, "other")
    assert from_onnx(make_model(draw_lstm()), "Y_h").name == "cell"
    with pytest.raises(TypeError, match="node: expected the name"):
        from_onnx(model, 3)


def test_no_node_is_lost_where_names_are_there_twice():
    model = make_model(draw_lstm())
    [node] = model.graph.node
    for k, name in enumerate(["cell", "cell (2)", "cell", "Y3", ""]):
        more = copy.deepcopy(node)
        more.name, more.output[:] = name, [f"Y{k}"]
        model.graph.node.append(more)
    model.graph.node[-1].output[0] = "Y3"
    found = layers_from_onnx(model)
    assert len(found) == 6
    assert found["cell (2)"].name == "cell (2)"
    for name in found:
        assert from_onnx(model, name).name == name


def test_model_without_a_recurrent_node_says_so():
    node = helper.make_node("Identity", ["X"], ["Y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "XY"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    assert layers_from_onnx(model) == {}
    with pytest.raises(ValueError, match="the model has none"):
        from_onnx(model)
