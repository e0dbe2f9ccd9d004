"""ONNX Runtime: the row's ONNX model on the CPU provider, from NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from exactrnn.bench.rivals import Prepared, _onnx_model
from exactrnn.bench.rows import Problem

NAME = "onnxruntime"


def version() -> str:
    """Return the version of onnxruntime."""
    import onnx  # noqa: F401 - needed to build the model
    import onnxruntime

    return str(onnxruntime.__version__)


def prepare(problem: Problem) -> Prepared | None:
    """Make the row ready."""
    import onnxruntime

    row = problem.row
    if not _onnx_model.supports(row):
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(
        _onnx_model.make_model(problem), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x0": problem.x}
    if row.task == "forward":
        return Prepared(
            lambda: session.run(None, feed)[0],
            lambda y: {"y": _onnx_model.join_directions(y)},
        )
    states = [f"{s}_0" for s in _onnx_model.state_names(row)]
    feed |= {name: np.zeros((1, row.B, row.H), np.float32) for name in states}

    def step() -> Any:
        y, *state = session.run(None, feed)
        feed.update(zip(states, state, strict=True))
        return y

    return Prepared(step, lambda y: {"y": _onnx_model.join_directions(y)})
