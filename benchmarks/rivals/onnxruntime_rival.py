"""ONNX Runtime: a model of one LSTM, GRU or RNN node, on the CPU provider."""

import numpy as np

NAME = "onnxruntime"

# ONNX orders the gates i, o, f, c and z, r, h; torch (and exactrnn) i, f, g, o and
# r, z, n. Each tuple holds, for ONNX's order, the place of the gate in torch's.
GATE_ORDER = {
    "lstm": (0, 3, 1, 2),
    "gru": (1, 0, 2),
    "gru_before": (1, 0, 2),
    "rnn": (0,),
}
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "gru_before": "GRU", "rnn": "RNN"}


def version():
    import onnx  # noqa: F401 - needed to build the model
    import onnxruntime

    return onnxruntime.__version__


def reorder(cell, rows):
    """Return the gate blocks of a weight or bias in ONNX's order."""
    blocks = np.split(rows, len(GATE_ORDER[cell]))
    return np.concatenate([blocks[g] for g in GATE_ORDER[cell]])


def stack(row, weights, *names):
    """Return [directions, ...]: the named arrays reordered, those of a bias joined."""
    suffixes = ("_l0", "_l0_reverse")[: row.directions]
    return np.stack(
        [
            np.concatenate([reorder(row.cell, weights[name + end]) for name in names])
            for end in suffixes
        ]
    )


def make_model(row, weights):
    """Return an ONNX model of one node with the given weights inside."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    D, T, B, I, H = row.directions, row.T, row.B, row.I, row.H
    states = ["h", "c"] if row.cell == "lstm" else ["h"]
    attributes = {"hidden_size": H}
    if D == 2:
        attributes["direction"] = "bidirectional"
    if OPERATORS[row.cell] == "GRU":
        attributes["linear_before_reset"] = int(row.cell == "gru")
    node = helper.make_node(
        OPERATORS[row.cell],
        ["x", "W", "R", "b", "", *(f"{s}_0" for s in states)],
        ["y", *(f"{s}_n" for s in states)],
        **attributes,
    )

    def tensor(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [node],
        row.name,
        [tensor("x", [T, B, I]), *(tensor(f"{s}_0", [D, B, H]) for s in states)],
        [tensor("y", [T, D, B, H]), *(tensor(f"{s}_n", [D, B, H]) for s in states)],
        [
            numpy_helper.from_array(stack(row, weights, "weight_ih"), "W"),
            numpy_helper.from_array(stack(row, weights, "weight_hh"), "R"),
            numpy_helper.from_array(stack(row, weights, "bias_ih", "bias_hh"), "b"),
        ],
    )
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_session(row, weights, threads):
    """Return a session that runs its one node on `threads` threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(
        make_model(row, weights), options, providers=["CPUExecutionProvider"]
    )


def prepare(row, weights, x, threads):
    if row.dtype != "float32":
        return None
    session = make_session(row, weights, threads)
    states = ("h", "c") if row.cell == "lstm" else ("h",)
    zeros = np.zeros((row.directions, row.B, row.H), np.float32)
    feed = {"x": x} | {f"{s}_0": zeros for s in states}
    if row.task == "step":
        return step_runner(session, states, feed)
    return lambda: session.run(["y"], feed)[0]


def step_runner(session, states, feed):
    """Return a function that makes one step and keeps the state for its next call."""
    names = ["y", *(f"{s}_n" for s in states)]

    def run():
        y, *state = session.run(names, feed)
        feed.update({f"{s}_0": v for s, v in zip(states, state, strict=True)})
        return y

    return run
