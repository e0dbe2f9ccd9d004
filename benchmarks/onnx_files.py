"""The recurrent nodes of ONNX files: this library beside ONNX Runtime.

Each case is a file that `exactrnn.onnx.to_onnx` writes, of the size of a model that
people run: the LSTM of a speech detector for one chunk of sound, the reader of a text
recogniser for an image, a tagger for a batch of sentences with their lengths, GRUs.
ONNX Runtime runs the file; we call what `from_onnx` takes out of it. They have to agree
and take turns of many calls, with a rest between them, since each has threads that wait
for more work for a while; what is reported are medians of a call's time, minima, and
the ratio of the medians. With paths, files of yours: every node in the main graph is a
case, in a file of its own, for `--steps` and `--rows`; a quantised one against ONNX
Runtime's own quantised operator.

    python benchmarks/onnx_files.py
    python benchmarks/onnx_files.py --threads 2 model.onnx --steps 24 --rows 1
"""

import argparse
import json
import statistics
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from arguments import output, positive_float

import exactrnn as xr
from exactrnn.onnx import from_onnx, layers_from_onnx, to_onnx

LOOSE, CLOSE = 0.2, 1e-4
"""Largest difference, with and without quantised weights."""

TURNS, REST = 10, 0.05
"""How often each takes its turn, and seconds for the other's threads to fall asleep."""

CASES = {
    # name: class, I, H, options, T, B, whether rows have lengths
    "detector-lstm-128": (xr.LSTM, 128, 128, {}, 1, 1, False),
    "reader-lstm-512": (xr.LSTM, 512, 512, {"bidirectional": True}, 20, 1, False),
    "tagger-lstm-256": (xr.LSTM, 128, 256, {"bidirectional": True}, 40, 32, True),
    "sound-gru-128": (xr.GRU, 40, 128, {}, 100, 8, False),
    "sound-gru-512": (xr.GRU, 80, 512, {}, 100, 1, False),
    "before-gru-128": (xr.GRU, 40, 128, {"reset_after": False}, 100, 8, False),
    "plain-rnn-128": (xr.RNN, 40, 128, {}, 100, 8, False),
}


def make_case(name):
    """Return a model, and its feed."""
    kind, I, H, options, T, B, ragged = CASES[name]
    rng = np.random.default_rng(0)
    model = to_onnx(kind(I, H, seed=1, **options), lengths=ragged)
    feed = {"x": rng.standard_normal((T, B, I)).astype("f4")}
    if ragged:
        feed["lengths"] = rng.integers(5, T + 1, B).astype(np.int32)
    return model, feed


def cases_of(path, steps, rows):
    """Yield name, model and feed for each node in the main graph of a file."""
    whole = onnx.load(path)
    for name, node in layers_from_onnx(whole).items():
        found = [op for op in whole.graph.node if name in (op.name, *op.output[:1])]
        if not found or node.layout:
            continue
        rng = np.random.default_rng(0)
        x = rng.standard_normal((steps, rows, node.layer.input_size)).astype("f4")
        yield name, cut_out(whole, found[0]), {found[0].input[0]: x}


def cut_out(whole, op):
    """Return a model of one node and its weights; its states begin with zeros."""
    alone = onnx.NodeProto()
    alone.CopyFrom(op)
    for place in (4, 5, 6):
        if place < len(alone.input):
            alone.input[place] = ""
    stored = [t for t in whole.graph.initializer if t.name in alone.input]
    kind = onnx.TensorProto.FLOAT
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, None)
        for name in (op.input[0], op.output[0])
    ]
    graph = onnx.helper.make_graph([alone], "alone", ends[:1], ends[1:], stored)
    model = onnx.helper.make_model(graph, opset_imports=whole.opset_import)
    model.ir_version = whole.ir_version
    return model


def measure(model, feed, threads, seconds):
    """Return times of a call in µs: median and minimum of both, after they agree."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    node = from_onnx(model)
    x, lengths = next(iter(feed.values())), feed.get("lengths")
    y = session.run(None, feed)[0]
    ours = node.layer(x, lengths=lengths)[0]
    quantised = any(op.op_type.startswith("Dynamic") for op in model.graph.node)
    turned = y if y.ndim == 3 else y.transpose(0, 2, 1, 3).reshape(ours.shape)
    assert np.abs(ours - turned).max() < (LOOSE if quantised else CLOSE)
    calls = {
        "runtime": lambda: session.run(None, feed),
        "ours": lambda: node.layer(x, lengths=lengths),
    }
    times = {name: [] for name in calls}
    for turn in range(TURNS):
        for name in sorted(calls, reverse=bool(turn % 2)):
            times[name] += time_calls(calls[name], seconds / TURNS / 2)
    return {n: (statistics.median(t), min(t)) for n, t in times.items()}


def time_calls(call, seconds):
    """Return times of calls in µs, as many as there are time for, without the first."""
    time.sleep(REST)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return times[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--steps", type=int, default=20, help="of nodes in files")
    parser.add_argument("--rows", type=int, default=1, help="of nodes in files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--seconds", type=positive_float, default=1.0, help="for each case"
    )
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    xr.set_num_threads(parsed.threads)
    if parsed.isa:
        xr.use_isa(parsed.isa)
    cases = [(n, *make_case(n)) for n in CASES if not parsed.files]
    for path in parsed.files:
        cases += cases_of(path, parsed.steps, parsed.rows)
    print(
        f"{parsed.threads} threads, {xr.isa()}, onnxruntime {onnxruntime.__version__}"
    )
    print("| call, µs: median, least | ONNX Runtime | exactrnn | ratio |")
    print("|---|---:|---:|---:|")
    found = {}
    for name, model, feed in cases:
        if not any(fnmatch(name, pattern) for pattern in parsed.cases):
            continue
        times = found[name] = measure(model, feed, parsed.threads, parsed.seconds)
        (theirs, low), (ours, least) = times["runtime"], times["ours"]
        shown = f"{theirs:.0f}, {low:.0f} | {ours:.0f}, {least:.0f}"
        print(f"| {name} | {shown} | {theirs / ours:.2f} |")
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
