"""Layers as ONNX files: in ONNX Runtime, in the reference evaluator, and back."""

import itertools

import numpy as np
import pytest
from arrays import as_state, as_tuple

import exactrnn as xr

WHY = "needs onnx 1.23, whose evaluator has directions: extra rivals"
onnx = pytest.importorskip("onnx", minversion="1.23", reason=WHY)
from onnx.reference import ReferenceEvaluator  # noqa: E402

from exactrnn.onnx import from_onnx, layers_from_onnx, to_onnx  # noqa: E402

T, B, I, H = 6, 3, 4, 5
LENGTHS = np.array([T, 2, 4], "i4")
ORT_BOUND, EXACT = 5e-6, 1e-12

KINDS = {
    "rnn": (xr.RNN, {}),
    "rnn-relu": (xr.RNN, {"nonlinearity": "relu", "clip": 0.5}),
    "gru": (xr.GRU, {}),
    "gru-before": (xr.GRU, {"reset_after": False}),
    "gru-odd": (xr.GRU, {"activations": (("hard_sigmoid", 0.1, 0.5), "softsign")}),
    "lstm": (xr.LSTM, {}),
    "lstm-peepholes": (xr.LSTM, {"peepholes": "ifo"}),
    "lstm-io": (xr.LSTM, {"peepholes": "io", "coupled": "input", "clip": 1.0}),
    "lstm-f": (xr.LSTM, {"peepholes": "f"}),
    "lstm-odd": (
        xr.LSTM,
        {"activations": ("hard_sigmoid", "identity", ("scaled_tanh", 1.5, 0.5))},
    ),
    "no-bias": (xr.LSTM, {"bias": False, "peepholes": "o"}),
}
SHAPES = {
    "one": {},
    "reverse": {"reverse": True},
    "both": {"bidirectional": True},
    "stack": {"num_layers": 3},
    "batch first": {"batch_first": True, "num_layers": 2, "bidirectional": True},
}
IN_REFERENCE = ("rnn", "gru", "lstm", "lstm-peepholes", "lstm-f", "no-bias")


def make(kind, dtype="float32", **options):
    made, own = KINDS[kind]
    return made(I, H, dtype=dtype, seed=1, **own, **options)


def draw_call(layer):
    """Return x and the parts of a state."""
    rng = np.random.default_rng(0)
    lead = (B, T) if layer.batch_first else (T, B)
    x = rng.standard_normal((*lead, I)).astype(layer.dtype)
    shape = (layer.num_layers * layer.num_directions, B, H)
    return x, [
        rng.standard_normal(shape).astype(layer.dtype) for _ in layer.state_names
    ]


def outputs_of(layer, x, state=None, lengths=None):
    """Return y and the parts of the final state of a call."""
    begin = None if state is None else as_state(state)
    y, final = layer(x, begin, lengths=lengths)
    return [y, *as_tuple(final)]


def run_onnxruntime(model, feed):
    runtime = pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime: extra rivals"
    )
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession(model.SerializeToString(), providers=providers)
    return session.run(None, feed)


def assert_near(found, expected, bound):
    assert [a.shape for a in found] == [a.shape for a in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max(initial=0) < bound


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_file_is_the_layer_in_onnxruntime(kind, shape):
    layer = make(kind, **SHAPES[shape])
    x, state = draw_call(layer)
    named = dict(zip(("h_0", "c_0"), state, strict=False))
    for lengths, begins in itertools.product([False, True], repeat=2):
        model = to_onnx(layer, lengths=lengths, state=begins)
        feed = {"x": x} | ({"lengths": LENGTHS} if lengths else {})
        feed |= named if begins else {}
        expected = outputs_of(
            layer, x, state if begins else None, LENGTHS if lengths else None
        )
        assert_near(run_onnxruntime(model, feed), expected, ORT_BOUND)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", IN_REFERENCE)
def test_file_is_the_layer_in_the_reference_evaluator(kind, shape):
    layer = make(kind, "float64", **SHAPES[shape])
    x, state = draw_call(layer)
    feed = {"x": x, **dict(zip(("h_0", "c_0"), state, strict=False))}
    found = ReferenceEvaluator(to_onnx(layer, state=True)).run(None, feed)
    assert_near(found, outputs_of(layer, x, state), EXACT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", ["one", "reverse", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_gives_the_same_bits(kind, shape, dtype):
    layer = make(kind, dtype, **SHAPES[shape])
    back = from_onnx(to_onnx(layer)).layer
    x, state = draw_call(layer)
    if dtype == "float64" and kind.endswith("-odd"):  # parameters are float32 in ONNX
        assert_near(outputs_of(back, x, state), outputs_of(layer, x, state), 1e-7)
        return
    if layer.arguments().get("peepholes") in (None, "", "ifo", "io"):  # all of a node
        assert back.arguments() == layer.arguments()
    for ours, theirs in zip(
        outputs_of(back, x, state), outputs_of(layer, x, state), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_each_layer_of_a_stack_comes_back():
    layer = xr.GRU(I, H, num_layers=3, seed=1)
    parts = [node.layer for node in layers_from_onnx(to_onnx(layer)).values()]
    x, _ = draw_call(layer)
    y = x
    for part in parts:
        y, _ = part(y)
    assert len(parts) == 3
    assert y.tobytes() == layer(x)[0].tobytes()


def test_time_and_batch_are_free():
    layer = make("lstm", num_layers=2)
    model = to_onnx(layer)
    for t, b in ((1, 1), (9, 4)):
        x = np.random.default_rng(t).standard_normal((t, b, I)).astype("f4")
        assert_near(run_onnxruntime(model, {"x": x}), outputs_of(layer, x), ORT_BOUND)


# Chains


def test_chain_is_its_layers():
    for first in (False, True):
        embedding = xr.train.Embedding(10, I, seed=1)
        lower = xr.LSTM(I, H, bidirectional=True, batch_first=first, seed=2)
        upper = xr.GRU(2 * H, H, num_layers=2, batch_first=first, seed=3)
        readout = xr.train.Linear(H, 7, seed=4)
        model = to_onnx([embedding, lower, upper, readout], lengths=True, state=True)
        names = [given.name for given in model.graph.input]
        assert names == ["x", "lengths", "1.h_0", "1.c_0", "2.h_0"]
        symbols = np.random.default_rng(0).integers(0, 10, (B, T) if first else (T, B))
        h = np.random.default_rng(1).standard_normal((2, B, H)).astype("f4")
        feed = {"x": symbols, "lengths": LENGTHS}
        feed |= {"1.h_0": h, "1.c_0": -h, "2.h_0": h / 2}
        y, (h_n, c_n) = lower(embedding(symbols), (h, -h), lengths=LENGTHS)
        y, top = upper(y, h / 2, lengths=LENGTHS)
        expected = [readout(y), h_n, c_n, top]
        assert_near(run_onnxruntime(model, feed), expected, ORT_BOUND)


def test_language_model_is_a_chain():
    model = xr.train.LanguageModel("abcd", hidden_size=8, embedding_size=4, seed=0)
    symbols = np.array([[0], [1], [3]])
    y, (h, c) = model.recurrent(model.embedding(symbols))
    found = run_onnxruntime(to_onnx(model), {"x": symbols})
    assert_near(found, [model.readout(y), h, c], ORT_BOUND)


def test_sequential_is_a_chain():
    model = xr.train.Sequential(
        xr.train.Embedding(10, I), xr.GRU(I, H), xr.train.Linear(H, 7), seed=1
    )
    symbols = np.random.default_rng(0).integers(0, 10, (T, B))
    expected = model(symbols, lengths=LENGTHS)
    feed = {"x": symbols, "lengths": LENGTHS}
    found = run_onnxruntime(to_onnx(model, lengths=True), feed)
    assert_near(found, expected, ORT_BOUND)
    with pytest.raises(TypeError, match=r"got .*Last"):
        to_onnx(xr.train.Sequential(xr.GRU(I, H), xr.train.Last()))


@pytest.mark.parametrize(
    "part",
    [xr.train.Embedding(10, I, seed=1), xr.train.Linear(I, 7, bias=False, seed=1)],
    ids=["embedding", "linear"],
)
def test_dense_layer_alone_is_a_file(part):
    x = np.arange(T * B).reshape(T, B) % 10
    if isinstance(part, xr.train.Linear):
        x = np.random.default_rng(0).standard_normal((T, B, I)).astype("f4")
    assert_near(run_onnxruntime(to_onnx(part), {"x": x}), [part(x)], ORT_BOUND)


# Files


def test_file_is_written_whole_and_always_the_same(tmp_path):
    path = tmp_path / "lstm.onnx"
    layer = make("lstm")
    model = to_onnx(layer, path)
    assert onnx.load(path) == model
    before = path.read_bytes()
    to_onnx(layer, str(path))
    assert path.read_bytes() == before
    back = from_onnx(path).layer.state_dict()
    assert all(back[n].tobytes() == w.tobytes() for n, w in layer.state_dict().items())
    with pytest.raises(IsADirectoryError):
        to_onnx(layer, tmp_path)
    with pytest.raises(ValueError, match="proj_size"):
        to_onnx(xr.LSTM(I, H, proj_size=2), path)
    assert path.read_bytes() == before


# What ONNX has not

REFUSED = [
    (lambda: xr.LSTM(I, H, proj_size=2), "expected proj_size 0, which ONNX's LSTM"),
    (lambda: xr.GRU(I, H, layer_norm=True), "layer_norm False, which ONNX's GRU"),
    (lambda: xr.LSTM(I, H, omit="o"), "expected omit '', which ONNX's LSTM has not"),
    (lambda: xr.LSTM(I, H, coupled="forget"), "expected coupled None or 'input'"),
    (lambda: xr.LSTM(I, H, full_gate_recurrence=True), "full_gate_recurrence False"),
    (list, "at least one layer"),
    (lambda: [xr.GRU(I, H), xr.GRU(I, H)], r"model\[1\]: expected .* width 5"),
    (lambda: [xr.GRU(I, H), xr.train.Embedding(H, H)], r"model\[1\]: .* width 5"),
    (
        lambda: [xr.GRU(I, H), xr.GRU(H, H, dtype="float64")],
        r"model\[1\]: expected float32, got float64",
    ),
    (
        lambda: [xr.GRU(I, H), xr.GRU(H, H, batch_first=True)],
        "one batch_first for all layers",
    ),
]


@pytest.mark.parametrize(("make_bad", "says"), REFUSED)
def test_what_onnx_has_not_is_named(make_bad, says):
    with pytest.raises(ValueError, match=says):
        to_onnx(make_bad())


@pytest.mark.parametrize(
    "model", [xr.MUT1(I, H), xr.LSTMCell(I, H), 3, [xr.GRU(I, H), None]], ids=repr
)
def test_class_that_onnx_has_not_is_a_type_error(model):
    with pytest.raises(TypeError, match="model: expected one of RNN, GRU, LSTM, Emb"):
        to_onnx(model)


def test_weights_too_large_for_a_file_are_refused(monkeypatch):
    from exactrnn.interop.onnx import _export

    monkeypatch.setattr(_export, "LARGEST", 100)
    with pytest.raises(ValueError, match="weights of at most 100 bytes"):
        to_onnx(make("gru"))


@pytest.mark.parametrize("name", ["lengths", "state"])
def test_flags_are_checked(name):
    with pytest.raises(TypeError, match=f"{name}: expected True or False"):
        to_onnx(make("gru"), **{name: 1})
