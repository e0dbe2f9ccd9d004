"""Libraries with threads of their own in the same process, whoever is imported first.

Each computes with several threads, then the layers do, then a forked child, which has
none of anybody's threads. A wheel brings no OpenMP runtime; another build shares the
system's with some of these, which is where processes of others have hung.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

HASH = """
import hashlib, os, signal, sys
import numpy as np

def digest():
    import exactrnn as xr
    from exactrnn import _core
    _core.thread_work((0, 0))
    xr.set_num_threads(2)
    layer = xr.GRU(7, 40, seed=1)
    x = np.linspace(-1, 1, 9 * 4 * 7, dtype="float32").reshape(9, 4, 7)
    y, state, cache = layer.forward(x)
    gradients = layer.backward(cache, y)
    parts = [y, gradients.x, *gradients.weights.values()]
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()

def digest_in_child():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(200)  # one that hangs ends
        os.write(writer, digest().encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.read(reader, 100).decode() if status == 0 else f"status {status}"
"""

WORK = {
    "torch": """
def use_torch():
    import torch
    torch.set_num_threads(2)
    a = torch.ones(600, 600)
    assert float((a @ a)[0, 0]) == 600
""",
    "sklearn": """
def use_sklearn():
    from sklearn.cluster import KMeans
    points = np.random.default_rng(0).random((4000, 4))
    assert KMeans(3, n_init=1, random_state=0).fit(points).inertia_ > 0
""",
    "onnxruntime": """
def use_onnxruntime():
    import onnx, onnxruntime
    make = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("MatMul", ["a", "a"], ["b"])
    form = onnx.TensorProto.FLOAT, [600, 600]
    graph = onnx.helper.make_graph([node], "g", [make("a", *form)], [make("b", *form)])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    assert run(None, {"a": np.ones((600, 600), np.float32)})[0][0, 0] == 600
""",
    "openvino": """
def use_openvino():
    import openvino as ov
    from openvino import opset13 as ops
    a = ops.parameter([600, 600], np.float32)
    model = ov.Model([ops.matmul(a, a, False, False)], [a], "m")
    run = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 2})
    assert abs(run([np.ones((600, 600), np.float32)])[0][0, 0] - 600) < 1
""",
}
NEEDED = {"onnxruntime": ("onnx", "onnxruntime")}
ORDERS = {
    "before": "{work}; print(digest())",
    "after": "print(digest()); {work}",
}


def run(*lines, **environment):
    command = [sys.executable, "-W", "ignore", "-c", "\n".join(lines)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


@pytest.fixture(scope="module")
def alone():
    return run(HASH, "print(digest())")


def missing(libraries):
    needed = [name for one in libraries for name in NEEDED.get(one, (one,))]
    return [name for name in needed if importlib.util.find_spec(name) is None]


def check(libraries, order, alone):
    if absent := missing(libraries):
        pytest.skip(f"needs {', '.join(absent)}")
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    calls = "; ".join(f"use_{one}()" for one in libraries)
    first = ORDERS[order].format(work=calls)
    ends = "print(digest_in_child()); print(digest())"
    found = run(HASH, *(WORK[one] for one in libraries), first, ends)
    assert found == 3 * alone


@pytest.mark.parametrize("order", ORDERS)
def test_all_neighbours_together(order, alone):
    check([*WORK], order, alone)


@pytest.mark.deep
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("library", WORK)
def test_each_neighbour_alone(library, order, alone):
    check([library], order, alone)
