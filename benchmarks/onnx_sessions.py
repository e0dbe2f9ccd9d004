"""Sessions of ONNX Runtime, stock against `exactrnn.onnx.accelerate`.

The models are files of packages on PyPI, read where they are installed; one whose
package is missing is left out; the extra `models` names them.

`chunk` is a chunk of 32 ms of speech, `sequence` 100 chunks in one call, `image` a
picture of 160 x 64 pixels, `word` and `words` 1 and 32 texts of 24 letters. Three
sessions of a model are called in turns: a stock one, ours, and a second stock one,
whose ratio to the first is what a difference is worth. Rows that begin with `-` are
the recurrent nodes alone, of the same sizes, in a model of their own. Reported are
medians over rounds, and the ratio of stock to ours.

    python benchmarks/onnx_sessions.py
    python benchmarks/onnx_sessions.py --threads 2 --models 'silero*' --no-spin
"""

import argparse
import importlib.util
import json
import statistics
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnxruntime
from arguments import output
from onnx import TensorProto, helper, numpy_helper

import exactrnn as xr
from exactrnn.onnx import accelerate

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PAUSE = 0.05
rng = np.random.default_rng(0)


def speech(*shape):
    return rng.normal(0, 0.1, shape).astype(np.float32)


def chunk():
    state = np.zeros((2, 1, 128), np.float32)
    return {"input": speech(1, 576), "state": state, "sr": np.array(16000)}


def sequence():
    h = np.zeros((1, 1, 128), np.float32)
    return {"input": speech(100, 576), "h": h, "c": h}


def image():
    return {"input1": rng.uniform(-1, 1, (1, 1, 64, 160)).astype(np.float32)}


def letters(rows):
    return {"chars": rng.integers(2, 38, (rows, 24))}


# package, file, what a call is given, and the recurrent nodes: T, B and (I, H, D) each
MODELS = {
    "silero-vad chunk": (
        *("silero_vad", "data/silero_vad.onnx", chunk),
        *(1, 1, [(128, 128, 1)]),
    ),
    "silero-vad sequence": (
        *("silero_vad", "data/silero_vad_16k_sequence.onnx", sequence),
        *(100, 1, [(128, 128, 1)]),
    ),
    "ddddocr image": (
        *("ddddocr", "common.onnx", image),
        *(20, 1, [(512, 512, 2)]),
    ),
    "ddddocr old, quantised image": (
        *("ddddocr", "common_old.onnx", image),
        *(20, 1, []),
    ),
    "dksplit, quantised word": (
        *("dksplit", "models/dksplit-int8.onnx", lambda: letters(1)),
        *(24, 1, []),
    ),
    "dksplit, quantised words": (
        *("dksplit", "models/dksplit-int8.onnx", lambda: letters(32)),
        *(24, 32, []),
    ),
}


def find_model(package, file):
    """Return the path of an installed package's model, None if it is not there."""
    found = importlib.util.find_spec(package)
    path = found and Path(found.submodule_search_locations[0]) / file
    return path if path and path.is_file() else None


def make_node(T, B, sizes):
    """Return a model of one LSTM with random weights, and what a call is given."""
    I, H, D = sizes
    G = GATES["LSTM"]
    shapes = {"W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H)}
    stored = [numpy_helper.from_array(speech(*s), n) for n, s in shapes.items()]
    way = "bidirectional" if D == 2 else "forward"
    states = ["", "h", "c"]
    node = helper.make_node(
        "LSTM", ["x", *shapes, *states], ["y"], "node", hidden_size=H, direction=way
    )
    feed = {"x": speech(T, B, I), "h": speech(D, B, H), "c": speech(D, B, H)}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feed.items()
    ]
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "graph", inputs, [end], stored)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8), feed


def make_options(parsed):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = parsed.threads
    options.log_severity_level = 3
    if not parsed.spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def make_sessions(model, parsed):
    """Return a stock session, ours and a second stock one; say what ours has left."""
    content = model if isinstance(model, str) else model.SerializeToString()

    def stock():
        return onnxruntime.InferenceSession(content, make_options(parsed))

    ours = accelerate(
        model, session_options=make_options(parsed), dequantize=parsed.dequantize
    )
    return {"stock": stock(), "ours": ours, "control": stock()}


def measure(sessions, feed, parsed):
    """Return the median time of a call in µs, for each session."""
    for session in sessions.values():
        session.run(None, feed)
    start = time.perf_counter()
    sessions["stock"].run(None, feed)
    calls = max(1, round(0.01 / (time.perf_counter() - start)))
    times = {name: [] for name in sessions}
    names = [*sessions]
    for _ in range(parsed.rounds):
        rng.shuffle(names)
        for name in names:
            if parsed.threads > 1:  # the others' threads spin for a while
                time.sleep(PAUSE)
                sessions[name].run(None, feed)
            start = time.perf_counter()
            for _ in range(calls):
                sessions[name].run(None, feed)
            times[name].append((time.perf_counter() - start) / calls)
    return {name: 1e6 * statistics.median(each) for name, each in times.items()}


def report(name, found):
    stock, ours = found["stock"], found["ours"]
    control = stock / found["control"]
    print(f"| {name} | {stock:.0f} | {ours:.0f} | {stock / ours:.2f} | {control:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument(
        "--no-spin",
        dest="spin",
        action="store_false",
        help="the runtime's threads rest",
    )
    parser.add_argument(
        "--dequantize", action="store_true", help="take these nodes too"
    )
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(
        f"{parsed.threads} threads, {xr.isa()}, onnxruntime {onnxruntime.__version__}"
    )
    print("| a call, µs | stock | ours | ratio | control |\n|---|---:|---:|---:|---:|")
    for name, (package, file, draw, T, B, nodes) in MODELS.items():
        path = find_model(package, file)
        if not any(fnmatch(name, pattern) for pattern in parsed.models):
            continue
        if path is None:
            print(f"| {name} | {package} is not installed | | | |")
            continue
        found[name] = measure(make_sessions(str(path), parsed), draw(), parsed)
        report(name, found[name])
        for sizes in nodes:
            model, feed = make_node(T, B, sizes)
            own = f"- LSTM of {name}"
            found[own] = measure(make_sessions(model, parsed), feed, parsed)
            report(own, found[own])
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
