"""The ONNX model of a row: a node per layer, weights and lengths inside.

ONNX Runtime and OpenVINO both read it. ONNX orders the gates i, o, f, c and z, r, h;
torch (and exactrnn) i, f, g, o and r, z, n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn.bench.rows import Problem, Row

# The operator, and for each gate in ONNX's order its place in torch's.
OPERATORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "rnn": ("RNN", (0,)),
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (1, 0, 2)),
    "gru_before": ("GRU", (1, 0, 2)),
}


def supports(row: Row) -> bool:
    """Whether ONNX has the row: its cells have no gradients and no float64 kernels."""
    return (
        row.cell in OPERATORS
        and row.dtype == "float32"
        and not row.goes_back
        and (row.task == "forward" or row.layers == 1)
    )


def state_names(row: Row) -> tuple[str, ...]:
    """Return the states of the row's cell."""
    return ("h", "c") if row.cell == "lstm" else ("h",)


def join_weights(problem: Problem, layer: int, *names: str) -> Array:
    """Return [D, ...]: the named weights one after another, gates in ONNX's order."""
    order = OPERATORS[problem.row.cell][1]

    def reorder(name: str) -> Array:
        blocks = np.split(problem.weights[name], len(order))
        return np.concatenate([blocks[g] for g in order])

    ends = (f"_l{layer}", f"_l{layer}_reverse")[: problem.row.directions]
    return np.stack(
        [np.concatenate([reorder(name + end) for name in names]) for end in ends]
    )


def make_layer_nodes(row: Row, layer: int) -> list[Any]:
    """Return the nodes from x{layer} to y{layer}, [T, D, B, H], and x{layer + 1}."""
    from onnx import helper

    operator = OPERATORS[row.cell][0]
    attributes: dict[str, Any] = {"hidden_size": row.H}
    if row.directions == 2:
        attributes["direction"] = "bidirectional"
    if operator == "GRU":
        attributes["linear_before_reset"] = int(row.cell == "gru")
    inputs = [f"x{layer}", f"W{layer}", f"R{layer}", f"b{layer}"]
    inputs += ["lengths" if row.ragged else ""]
    outputs = [f"y{layer}"]
    if row.task == "step":
        inputs += [f"{s}_0" for s in state_names(row)]
        outputs += [f"{s}_n" for s in state_names(row)]
    node = helper.make_node(operator, inputs, outputs, **attributes)
    if layer + 1 == row.layers:
        return [node]
    swap = helper.make_node(
        "Transpose", [f"y{layer}"], [f"s{layer}"], perm=[0, 2, 1, 3]
    )
    join = helper.make_node("Reshape", [f"s{layer}", "joined"], [f"x{layer + 1}"])
    return [node, swap, join]


def make_model(problem: Problem) -> bytes:
    """Return the model of a row, serialised: from `x0` to the last layer's output."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    row = problem.row
    T, B, H, D = row.T, row.B, row.H, row.directions
    nodes: list[Any] = []
    arrays: dict[str, Array] = {"joined": np.array([T, B, D * H])}
    for layer in range(row.layers):
        nodes += make_layer_nodes(row, layer)
        arrays[f"W{layer}"] = join_weights(problem, layer, "weight_ih")
        arrays[f"R{layer}"] = join_weights(problem, layer, "weight_hh")
        arrays[f"b{layer}"] = join_weights(problem, layer, "bias_ih", "bias_hh")
    if row.lengths is not None:
        arrays["lengths"] = row.lengths.astype(np.int32)

    def tensor(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [tensor("x0", T, B, row.I)]
    outputs = [tensor(f"y{row.layers - 1}", T, D, B, H)]
    if row.task == "step":
        inputs += [tensor(f"{s}_0", D, B, H) for s in state_names(row)]
        outputs += [tensor(f"{s}_n", D, B, H) for s in state_names(row)]
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(a, n) for n, a in arrays.items() if n in used]
    graph = helper.make_graph(nodes, row.name, inputs, outputs, constants)
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def join_directions(y: Array) -> Array:
    """Return ONNX's [T, D, B, H] as [T, B, D*H]."""
    T, D, B, H = y.shape
    return y.transpose(0, 2, 1, 3).reshape(T, B, D * H)
