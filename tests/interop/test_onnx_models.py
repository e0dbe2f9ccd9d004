"""Models that packages ship: their recurrent parts are what ONNX Runtime computes.

The files are read where the packages are installed, which need not be importable; what
the recurrent nodes read and give is made an output of the model.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra rivals")
from exactrnn.onnx import from_onnx, layers_from_onnx  # noqa: E402


def path_of(package, file):
    """Return a file of an installed package, or skip."""
    found = find_spec(package)
    if found is None:
        pytest.skip(f"needs {package}: extra models")
    return Path(found.submodule_search_locations[0]) / file


def run_with(model, names, feed):
    """Return what ONNX Runtime gives for these names, made outputs of the model."""
    outputs = {given.name for given in model.graph.output}
    for name in dict.fromkeys(names):
        if name not in outputs:
            kind = onnx.TensorProto.FLOAT
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, kind, None)
            )
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, feed), strict=True))


def node_called(model, name):
    [found] = [op for op in model.graph.node if op.name == name]
    return found


def test_speech_detector_of_silero():
    model = onnx.load(path_of("silero_vad", "data/silero_vad_16k_sequence.onnx"))
    node = from_onnx(model)
    op = node_called(model, node.name)
    rng = np.random.default_rng(0)
    state = {s: (rng.standard_normal((1, 1, 128)) / 9).astype("f4") for s in "hc"}
    sound = (rng.standard_normal((20, 576)) / 9).astype("f4")
    names = [op.input[0], *op.output]
    x, *expected = run_with(model, names, {"input": sound, **state}).values()
    found = node(x, initial_h=state["h"], initial_c=state["c"])
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("silero_vad_op18_ifless.onnx", ["model.decoder.rnn"]),
        ("silero_vad_16k_op15.onnx", ["/model/decoder/rnn/LSTM"]),
        ("silero_vad.onnx", ["If_0_then_branch__Inline_0__/decoder/rnn/LSTM"]),
    ],
)
def test_detector_is_the_same_in_each_of_sileros_files(file, names):
    """A cell taken apart, and nodes in branches whose weights are put together."""
    whole = from_onnx(path_of("silero_vad", "data/silero_vad_16k_sequence.onnx"))
    layers = layers_from_onnx(path_of("silero_vad", f"data/{file}"))
    for name in names:
        weights = layers[name].layer.state_dict()
        for key, weight in whole.layer.state_dict().items():
            assert weights[key].tobytes() == weight.tobytes()


def test_quantised_reader_of_dksplit():
    """ONNX Runtime quantises x and h too: off by 0.045 at most, 0.002 on average."""
    model = onnx.load(path_of("dksplit", "models/dksplit-int8.onnx"))
    nodes = layers_from_onnx(model)
    assert len(nodes) == 3
    ops = [node_called(model, name) for name in nodes]
    names = [name for op in ops for name in (op.input[0], op.output[0])]
    symbols = np.random.default_rng(0).integers(1, 25, (2, 24))
    given = run_with(model, names, {"chars": symbols})
    for op, node in zip(ops, nodes.values(), strict=True):
        off = np.abs(node(given[op.input[0]])[0] - given[op.output[0]])
        assert off.max() < 0.1
        assert off.mean() < 0.004


@pytest.mark.parametrize("name", ["lstm_fwd.cell", "lstm_bwd.cell"])
def test_unrolled_reader_of_captcha_whisperer(name):
    model = onnx.load(path_of("captcha_whisperer", "models/captcha_crnn.onnx"))
    node = layers_from_onnx(model)[name]
    gemms = {part: [] for part in ("ih", "hh")}
    for op in model.graph.node:
        if op.op_type == "Gemm" and op.input[1].startswith(f"{name}.weight_"):
            gemms[op.input[1][-2:]].append(op.input[0])
    image = np.random.default_rng(0).random((2, 3, 60, 160)).astype("f4")
    names = [*dict.fromkeys([*gemms["ih"], *gemms["hh"][1:]])]
    given = run_with(model, names, {"image": image})
    y, *_ = node(np.stack([given[n] for n in gemms["ih"]]))
    expected = np.stack([given[n] for n in gemms["hh"][1:]])
    assert len(expected) > 2
    assert np.abs(y[:-1, 0] - expected).max() < 1e-4
