"""ONNX Runtime sessions with our operators: bits of our layers, answers of the runtime.

Every function of the runtime's table that csrc/onnxruntime/api.h names is called by a
node here, as a wrong place in that table would show in no other way: constant weights
and such that come with a call, optional inputs and outputs, all attributes, errors,
items on the session's threads, two libraries made at once.
"""

import contextlib
import re
import resource
import subprocess
import sys

import numpy as np
import onnx_nodes
import pytest
from onnx_nodes import Drawn, define, draw_node, make_model

import exactrnn as xr
from exactrnn import _core

onnx = pytest.importorskip("onnx", reason="needs onnx: extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from exactrnn.interop.onnx import _accelerate  # noqa: E402
from exactrnn.onnx import accelerate, from_onnx  # noqa: E402

NODES = 150
BOUND = 2e-5
T, B, I, H = 6, 4, 3, 5


def options(threads=1):
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.intra_op_num_threads = threads
    return made


def session_of(model, threads=1, **given):
    given = {"session_options": options(threads), "dequantize": True} | given
    return accelerate(model, **given)


def stock_session(model):
    return ort.InferenceSession(model.SerializeToString(), options())


def feed_of(drawn):
    return {name: drawn.arrays[name] for name in drawn.fed if name in drawn.arrays}


def far(found, expected):
    """Return the largest difference of two lists of arrays, relative beyond 1."""
    assert [a.shape for a in found] == [a.shape for a in expected]
    return max(
        float((np.abs(a - b) / np.maximum(1, np.abs(b))).max(initial=0))
        for a, b in zip(found, expected, strict=True)
    )


def assert_same_bits(found, expected):
    assert [a.shape for a in found] == [a.shape for a in expected]
    for ours, theirs in zip(found, expected, strict=True):
        integers = np.uint32 if ours.dtype == np.float32 else np.uint64
        assert ours.dtype == theirs.dtype
        assert np.array_equal(
            np.ascontiguousarray(ours).view(integers),
            np.ascontiguousarray(theirs).view(integers),
        )


def draw_lstm(D=2, kind="LSTM", seed=0, **attributes):
    """Return a node with all inputs but peepholes, which reads rows of lengths."""
    rng = np.random.default_rng(seed)
    G = onnx_nodes.GATES[kind]
    shapes = {
        "X": (T, B, I),
        "W": (D, G * H, I),
        "R": (D, G * H, H),
        "B": (D, 2 * G * H),
    }
    arrays = {n: rng.standard_normal(s).astype("f4") / 2 for n, s in shapes.items()}
    arrays["sequence_lens"] = np.array([6, 1, 4, 2], np.int32)
    for name in ("initial_h", "initial_c")[: onnx_nodes.STATES[kind]]:
        arrays[name] = rng.standard_normal((D, B, H)).astype("f4")
    if D == 2:
        attributes["direction"] = "bidirectional"
    attributes = {"hidden_size": H, **attributes}
    fed = {"X", "sequence_lens", "initial_h", "initial_c"}
    return Drawn(kind, attributes, arrays, 14, fed)


@contextlib.contextmanager
def every_split():
    """Share calls of any size."""
    before = _core.thread_work((0, 0))
    try:
        yield
    finally:
        _core.thread_work(before)


# Nodes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nodes_have_the_bits_of_our_layers(dtype):
    for seed in range(NODES):
        drawn = draw_node(seed, dtype)
        if seed % 2:  # weights that come with each call
            drawn.fed |= {"W", "R", "B", "P"}
        model = make_model(drawn)
        session = session_of(model)
        assert [*session.accelerated.accelerated] == ["cell"], session.accelerated
        found = session.run(None, feed_of(drawn))
        fixed = Drawn(drawn.kind, drawn.attributes, drawn.arrays, drawn.opset)
        layer = from_onnx(make_model(fixed))
        assert_same_bits(found, layer(drawn.x))
        assert far(found, define(drawn)) < (BOUND if dtype == "float32" else 1e-11)


def test_nodes_agree_with_the_runtime():
    for kind in ("RNN", "GRU", "LSTM"):
        drawn = draw_lstm(kind=kind)
        model = make_model(drawn)
        expected = stock_session(model).run(None, feed_of(drawn))
        assert far(session_of(model).run(None, feed_of(drawn)), expected) < 1e-6


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("D", [1, 2])
def test_bits_are_the_same_for_every_number_of_threads(D, layout):
    drawn = draw_lstm(D, layout=layout)
    if layout:
        for name in ("X", "initial_h", "initial_c"):
            drawn.arrays[name] = drawn.arrays[name].swapaxes(0, 1).copy()
    model = make_model(drawn)
    expected = session_of(model).run(None, feed_of(drawn))
    assert far(expected, define(drawn)) < BOUND
    with every_split(), xr.threads(8):
        for threads in (2, 3, 8):
            session = session_of(model, threads)
            assert_same_bits(session.run(None, feed_of(drawn)), expected)


def test_a_single_row_uses_the_engines_threads():
    drawn = draw_lstm(1)
    for name in ("sequence_lens", "initial_h", "initial_c"):
        del drawn.arrays[name]
    drawn.arrays["X"] = drawn.x[:, :1].copy()
    model = make_model(drawn)
    expected = session_of(model).run(None, feed_of(drawn))
    with every_split(), xr.threads(2):
        assert_same_bits(session_of(model, 2).run(None, feed_of(drawn)), expected)


@pytest.mark.parametrize("name", xr.isas())
def test_session_keeps_its_instruction_set(name):
    drawn = draw_lstm()
    model = make_model(drawn)
    expected = session_of(model).run(None, feed_of(drawn))
    with xr.use_isa(name):
        session = session_of(model)
        assert f"{name}".encode() in _rewritten(model)
    assert_same_bits(session.run(None, feed_of(drawn)), expected)


def _rewritten(model):
    """Return the bytes of a model as a session gets it."""
    from exactrnn.interop.onnx._files import open_model
    from exactrnn.interop.onnx._rewrite import Setting, rewrite

    source = open_model(model.SerializeToString(), None)
    rewrite(source, Setting(xr.isa(), 1, True))
    return source.model.SerializeToString()


@pytest.mark.parametrize("wanted", ["Y", "Y_h", "Y_c"])
def test_outputs_that_nobody_wants_are_left_out(wanted):
    drawn = draw_lstm()
    model = make_model(drawn)
    expected = session_of(model).run([wanted], feed_of(drawn))
    node = model.graph.node[-1]
    for k, name in enumerate(node.output):
        node.output[k] = name if name == wanted else ""
    kept = [end for end in model.graph.output if end.name == wanted]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    assert_same_bits(session_of(model).run(None, feed_of(drawn)), expected)


@pytest.mark.parametrize("shape", [(0, B), (T, 0), (0, 0)])
def test_empty_calls_give_empty_results(shape):
    drawn = draw_lstm()
    del drawn.arrays["sequence_lens"]
    model = make_model(drawn)
    for given in model.graph.input:
        given.type.tensor_type.ClearField("shape")
    feed = feed_of(drawn)
    feed["X"] = np.zeros((*shape, I), np.float32)
    for name in ("initial_h", "initial_c"):
        feed[name] = feed[name][:, : shape[1]]
    y, h, c = session_of(model).run(None, feed)
    assert y.shape == (shape[0], 2, shape[1], H)
    assert_same_bits([h, c], [feed["initial_h"], feed["initial_c"]])


# Models


def with_if(drawn):
    """Return a model whose node is in both branches of an If, weights outside."""
    model = make_model(drawn)
    graph = model.graph
    node = graph.node[-1]
    branches = {}
    for branch in ("then_branch", "else_branch"):
        inner = onnx.NodeProto()
        inner.CopyFrom(node)
        inner.name = branch
        inner.output[:] = [f"{branch}_{name}" for name in node.output]
        last = [inner]
        if branch == "else_branch":
            twice = helper.make_node("Add", [inner.output[0]] * 2, ["twice"])
            last.append(twice)
        kind = graph.output[0].type.tensor_type.elem_type
        end = helper.make_tensor_value_info(last[-1].output[0], kind, None)
        branches[branch] = helper.make_graph(last, branch, [], [end])
    outer = helper.make_node("If", ["which"], ["result"], "choice", **branches)
    which = helper.make_tensor_value_info("which", TensorProto.BOOL, [])
    end = helper.make_tensor_value_info("result", kind, None)
    whole = helper.make_graph(
        [outer], "graph", [which, *graph.input], [end], [*graph.initializer]
    )
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=8)


def test_nodes_within_branches_are_ours():
    drawn = draw_lstm()
    model = with_if(drawn)
    session = session_of(model)
    names = {"then_branch": "exactrnn.LSTM", "else_branch": "exactrnn.LSTM"}
    assert session.accelerated.accelerated == names
    y = session_of(make_model(drawn)).run(["Y"], feed_of(drawn))[0]
    for which in (True, False):
        feed = {"which": np.array(which), **feed_of(drawn)}
        assert_same_bits(session.run(None, feed), [y if which else y + y])


def quantise(drawn):
    """Return a node of the runtime's own with weights of integers, and its model.

    They have seven bits: more let the runtime's products saturate on AVX2 without VNNI.
    """
    model = make_model(drawn)
    node, graph = model.graph.node[-1], model.graph
    kept = [t for t in graph.initializer if t.name not in "WR"]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    parts = []
    for letter in "WR":
        array = drawn.arrays[letter].swapaxes(1, 2)
        scale = (np.abs(array).max((1, 2)) / 63).astype(np.float32)
        integers = np.rint(array / scale[:, None, None]).astype(np.int8)
        values = {"": integers, "_scale": scale, "_zero": np.zeros(2, np.int8)}
        for end, value in values.items():
            graph.initializer.append(numpy_helper.from_array(value, letter + end))
        parts += [f"{letter}_scale", f"{letter}_zero"]
        drawn.arrays[letter] = np.ascontiguousarray(
            (integers.astype(np.float32) * scale[:, None, None]).swapaxes(1, 2)
        )
    node.op_type, node.domain = "DynamicQuantizeLSTM", "com.microsoft"
    node.input.extend(["", *parts])
    model.opset_import.add(domain="com.microsoft", version=1)
    return model


def test_quantised_nodes_compute_with_what_their_integers_stand_for():
    drawn = draw_lstm()
    model = quantise(drawn)
    before = model.SerializeToString()
    session = session_of(model)
    assert model.SerializeToString() == before
    assert session.accelerated.accelerated == {"cell": "exactrnn.LSTM"}
    found = session.run(None, feed_of(drawn))
    assert_same_bits(found, session_of(make_model(drawn)).run(None, feed_of(drawn)))
    stock = stock_session(model).run(None, feed_of(drawn))
    assert 1e-5 < far(found, stock) < 0.05


def test_quantised_nodes_are_left_unless_asked_for():
    drawn = draw_lstm()
    session = accelerate(quantise(drawn), session_options=options())
    assert [*session.accelerated.left] == ["cell"]
    assert "dequantize" in str(session.accelerated)


def test_node_that_we_lack_is_left_and_named():
    drawn = draw_lstm(1, activations=["Sigmoid", "LeakyRelu", "Tanh"])
    drawn.attributes["activation_alpha"] = [-0.1]
    model = make_model(drawn)
    session = session_of(model)
    assert session.accelerated.accelerated == {}
    assert re.match("activation_alpha: expected", session.accelerated.left["cell"])
    assert str(session.accelerated).startswith("cell: left, activation_alpha")
    expected = stock_session(model).run(None, feed_of(drawn))
    assert_same_bits(session.run(None, feed_of(drawn)), expected)


def test_weights_of_another_type_are_left():
    drawn = draw_lstm()
    drawn.arrays = {
        n: a if a.dtype == np.int32 else a.astype(np.float16)
        for n, a in drawn.arrays.items()
    }
    from exactrnn.interop.onnx._files import open_model
    from exactrnn.interop.onnx._rewrite import Setting, rewrite

    source = open_model(make_model(drawn).SerializeToString(), None)
    done = rewrite(source, Setting("scalar", 1, True))
    assert done.left == {"cell": "W: expected float32 or float64, got FLOAT16"}


def test_model_without_recurrent_nodes_is_a_plain_session():
    kind = TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [2]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = accelerate(model)
    assert str(session.accelerated) == "no recurrent nodes"
    assert session.run(None, {"x": np.array([-1, 2], "f4")})[0].tolist() == [0, 2]


def test_paths_bytes_and_files_beside_them(tmp_path):
    drawn = draw_lstm()
    model = make_model(drawn)
    feed = feed_of(drawn)
    expected = session_of(model).run(None, feed)
    assert_same_bits(session_of(model.SerializeToString()).run(None, feed), expected)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    assert_same_bits(session_of(path).run(None, feed), expected)
    assert_same_bits(session_of(str(path)).run(None, feed), expected)


def test_options_serve_several_sessions():
    shared = options()
    for seed in (0, 1):
        drawn = draw_lstm(seed=seed)
        session = session_of(make_model(drawn), session_options=shared)
        assert far(session.run(None, feed_of(drawn)), define(drawn)) < BOUND


# What is wrong


BAD = {
    "X": (np.zeros((T, B, I + 1), "f4"), r"X: expected \[6, 4, 3\].*got \[6, 4, 4\]"),
    "initial_h": (np.zeros((2, B, H + 1), "f4"), r"initial_h: expected \[2, 4, 5\]"),
    "initial_c": (np.zeros((1, B, H), "f4"), r"initial_c: .*got \[1, 4, 5\]"),
    "sequence_lens": (np.full(B, T + 1, "i4"), "sequence_lens: expected 0 to 6, got 7"),
    "W": (np.zeros((2, 4 * H + 1, I), "f4"), r"W: expected \[2, 20, -1\]"),
    "R": (np.zeros((2, 4 * H, H + 1), "f4"), r"R: expected \[2, 24, 6\]"),
    "B": (np.zeros((2, 8 * H + 1), "f4"), r"B: expected \[2, 40\], got|B: expected"),
    "P": (np.zeros((2, 3 * H + 1), "f4"), r"P: expected \[2, 15\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_inputs_that_do_not_fit_are_errors(name):
    drawn = draw_lstm()
    drawn.arrays["P"] = np.zeros((2, 3 * H), "f4")
    drawn.fed |= {"W", "R", "B", "P"}
    model = make_model(drawn)
    for given in model.graph.input:
        given.type.tensor_type.ClearField("shape")
    session = session_of(model)
    value, message = BAD[name]
    with pytest.raises(Exception, match=f"exactrnn: {message}"):
        session.run(None, {**feed_of(drawn), name: value})
    assert far(session.run(None, feed_of(drawn)), define(drawn)) < BOUND


def test_constant_weights_that_do_not_fit_are_errors_at_once():
    drawn = draw_lstm()
    drawn.arrays["B"] = drawn.arrays["B"][:, 1:].copy()
    with pytest.raises(Exception, match="exactrnn: B: expected"):
        session_of(make_model(drawn))


def test_negative_length_is_an_error():
    drawn = draw_lstm()
    drawn.arrays["sequence_lens"][2] = -1
    with pytest.raises(Exception, match="sequence_lens: expected 0 to 6, got -1"):
        session_of(make_model(drawn)).run(None, feed_of(drawn))


def test_arguments_are_checked(tmp_path):
    model = make_model(draw_lstm())
    with pytest.raises(TypeError, match=r"session_options: expected .*, got int"):
        accelerate(model, session_options=3)
    with pytest.raises(TypeError, match="dequantize"):
        accelerate(model, dequantize="yes")
    with pytest.raises(TypeError, match="model: expected a path"):
        accelerate(3)
    with pytest.raises(ValueError, match="not an ONNX model"):
        accelerate(b"nothing of the kind")
    with pytest.raises(FileNotFoundError):
        accelerate(tmp_path / "none.onnx")


@pytest.mark.parametrize("version", ["1.20.1", "0.9", "abc"])
def test_old_runtimes_are_refused(version):
    with pytest.raises(ImportError, match=f"expected 1.21 or later, got {version}"):
        _accelerate._check_version(version)
    for fine in ("1.21.0", "1.32.0.dev2", "2.0"):
        _accelerate._check_version(fine)


REFUSED = """
import ctypes, sys
from exactrnn import _core
library = ctypes.CDLL(_core.__file__)
library.RegisterCustomOps.restype = ctypes.c_void_p
messages = []
CREATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
API = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)
VERSION = ctypes.CFUNCTYPE(ctypes.c_char_p)
create = CREATE(lambda code, message: messages.append((code, message)) or 77)
first = (ctypes.c_void_p * 1)(ctypes.cast(create, ctypes.c_void_p))
has_first = sys.argv[1] == "first"
table = ctypes.addressof(first) if has_first else None
api = API(lambda version: table if version == 1 else None)
version = VERSION(lambda: b"0.9")
base = (ctypes.c_void_p * 2)(
    ctypes.cast(api, ctypes.c_void_p), ctypes.cast(version, ctypes.c_void_p)
)
print(library.RegisterCustomOps(None, base), messages)
"""


@pytest.mark.parametrize("table", ["first", "none"])
def test_runtime_without_the_table_wanted_is_told(table):
    run = [sys.executable, "-c", REFUSED, table]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    expected = (
        r"77 \[\(1, b'exactrnn: expected a runtime with version 17 .*got 0.9'\)\]"
    )
    assert re.match(expected if table == "first" else r"None \[\]", said)


# Memory


def grown(repeat, times):
    """Return by how many KiB the process grows in `times` calls, after as many."""
    for _ in range(times):
        repeat()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(times):
        repeat()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_calls_and_sessions_keep_no_memory():
    drawn = draw_lstm()
    drawn.fed |= {"W", "R", "B"}
    H = 256  # packed weights of 2 MiB and a call of as much would show at once
    for name, shape in {
        "W": (2, 4 * H, I),
        "R": (2, 4 * H, H),
        "B": (2, 8 * H),
        "initial_h": (2, B, H),
        "initial_c": (2, B, H),
    }.items():
        drawn.arrays[name] = np.zeros(shape, "f4")
    drawn.attributes["hidden_size"] = H
    session = session_of(make_model(drawn))
    assert grown(lambda: session.run(None, feed_of(drawn)), 30) < 10_000
    drawn.fed -= {"W", "R", "B"}
    content = make_model(drawn).SerializeToString()
    session = session_of(content)
    assert grown(lambda: session.run(None, feed_of(drawn)), 400) < 10_000
    assert grown(lambda: session_of(content), 15) < 10_000
