"""Models of packages on PyPI in sessions with our operators: the answers stay.

The files are read where the packages are installed, of which nothing is imported:
the extra `models` names them.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx: extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra rivals")
from exactrnn.onnx import accelerate  # noqa: E402

rng = np.random.default_rng(0)


def find_model(package, file):
    found = importlib.util.find_spec(package)
    path = found and Path(found.submodule_search_locations[0]) / file
    if not path or not path.is_file():
        pytest.skip(f"needs {package} {file}: package {package}")
    return path


def options():
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.intra_op_num_threads = 1
    return made


def sessions_of(package, file, **given):
    path = find_model(package, file)
    stock = ort.InferenceSession(str(path), options())
    return stock, accelerate(path, session_options=options(), **given)


def differ(stock, ours, feed):
    """Return the largest difference of the results, relative to what is beyond 1."""
    pairs = zip(stock.run(None, feed), ours.run(None, feed), strict=True)
    return max(float(np.abs(a - b).max() / max(1, np.abs(a).max())) for a, b in pairs)


def speech(*shape):
    return rng.normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_voice_is_found_as_before_chunk_by_chunk(rate):
    stock, ours = sessions_of("silero_vad", "data/silero_vad.onnx")
    assert len(ours.accelerated.accelerated) == 4  # in branches of an If
    assert not ours.accelerated.left
    samples = 576 if rate == 16000 else 288
    states = [np.zeros((2, 1, 128), np.float32)] * 2
    for _ in range(20):
        feed = {"input": speech(1, samples), "sr": np.array(rate)}
        found = [
            session.run(None, {**feed, "state": state})
            for session, state in zip((stock, ours), states, strict=True)
        ]
        states = [state for _, state in found]
        assert np.abs(found[0][0] - found[1][0]).max() < 1e-5
        assert np.abs(states[0] - states[1]).max() < 1e-5


@pytest.mark.parametrize(
    ("file", "inputs"),
    [
        ("silero_vad_half.onnx", ("input", "state")),
        ("silero_vad_16k_op15.onnx", ("input", "state", "sr")),
        ("silero_vad_16k_sequence.onnx", ("input", "h", "c")),
    ],
)
def test_other_files_of_the_detector_are_taken(file, inputs):
    stock, ours = sessions_of("silero_vad", f"data/{file}")
    assert ours.accelerated.accelerated
    values = {"input": speech(1, 576), "sr": np.array(16000)}
    values["state"] = np.zeros((2, 1, 128), np.float32)
    values["h"] = values["c"] = np.zeros((1, 1, 128), np.float32)
    assert differ(stock, ours, {name: values[name] for name in inputs}) < 1e-5


def test_letters_are_read_as_before():
    stock, ours = sessions_of("ddddocr", "common.onnx")
    assert [*ours.accelerated.accelerated] == ["LSTM_79"]
    picture = rng.uniform(-1, 1, (1, 1, 64, 96)).astype(np.float32)
    assert differ(stock, ours, {"input1": picture}) < 1e-5


def test_quantised_reader_stays_near_what_it_was():
    file = "models/dksplit-int8.onnx"
    stock, ours = sessions_of("dksplit", file, dequantize=True)
    assert len(ours.accelerated.accelerated) == 3
    assert differ(stock, ours, {"chars": rng.integers(2, 38, (2, 12))}) < 0.05


def test_step_that_was_taken_apart_is_found():
    stock, ours = sessions_of("silero_vad", "data/silero_vad_op18_ifless.onnx")
    assert len(ours.accelerated.accelerated) == 2  # in branches, one for each rate
    feed = {"input": speech(1, 576), "sr": np.array(16000)}
    feed["state"] = np.zeros((2, 1, 128), np.float32)
    assert differ(stock, ours, feed) < 1e-5
