"""OpenVINO: the row's ONNX model on the CPU, from NumPy arrays without copying them.

float32 is asked for: where the processor has bfloat16, OpenVINO would use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exactrnn.bench.rivals import Prepared, _onnx_model
from exactrnn.bench.rows import Problem

NAME = "openvino"


def version() -> str:
    """Return the version of openvino."""
    import onnx  # noqa: F401 - needed to build the model
    import openvino

    return str(openvino.__version__).split("-")[0]


def prepare(problem: Problem) -> Prepared | None:
    """Make the row ready."""
    import openvino

    row = problem.row
    if not _onnx_model.supports(row):
        return None
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": problem.threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = core.read_model(_onnx_model.make_model(problem))
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    feed = {"x0": problem.x}
    states = _onnx_model.state_names(row) if row.task == "step" else ()
    zeros = np.zeros((1, row.B, row.H), np.float32)
    feed |= {f"{s}_0": zeros for s in states}

    def run() -> Any:
        found = request.infer(feed, share_inputs=True, share_outputs=True)
        for s in states:
            feed[f"{s}_0"] = found[f"{s}_n"].copy()  # the memory is used again
        return found[0]

    return Prepared(run, lambda y: {"y": _onnx_model.join_directions(y.copy())})
