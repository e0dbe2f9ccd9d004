"""Nodes of ONNX as the operators' definition has them, in other eyes as well.

The definition is in `onnx_nodes.py`, in float64: there a difference is a fault. The
reference evaluator of the package onnx knows neither lengths nor clip, other
activations nor coupled gates; ONNX Runtime computes in float32 and knows no `layout`.
"""

import numpy as np
import onnx_nodes
import pytest
from onnx_nodes import STATES, Drawn, define, draw_node, make_model

WHY = "needs onnx 1.23, whose evaluator has directions: extra rivals"
pytest.importorskip("onnx", minversion="1.23", reason=WHY)
from onnx.reference import ReferenceEvaluator  # noqa: E402

from exactrnn.onnx import from_onnx  # noqa: E402

NODES, MORE = 300, 3000
EXACT = 1e-11  # float64 over at most six steps: sums in another order
ORT_BOUND = 2e-5  # its tanh and sigmoid are off by 4e-7, Elu and Softplus let it grow


def far(found, expected):
    """Return the largest difference of two lists of arrays, relative beyond 1."""
    assert [a.shape for a in found] == [a.shape for a in expected]
    return max(
        float((np.abs(a - b) / np.maximum(1, np.abs(b))).max(initial=0))
        for a, b in zip(found, expected, strict=True)
    )


def run_ours(drawn, **given):
    return from_onnx(make_model(drawn).SerializeToString(), **given)(
        drawn.x, **drawn.given()
    )


def feed_of(drawn):
    return {name: drawn.arrays[name] for name in drawn.fed if name in drawn.arrays}


def is_plain(drawn):
    """Tell whether the reference evaluator knows the node."""
    more = {"clip", "input_forget", "activations"} & {*drawn.attributes}
    gru = drawn.kind == "GRU" and not drawn.attributes.get("linear_before_reset")
    return not more and not gru and "sequence_lens" not in drawn.arrays


def check_nodes(seeds):
    """Compare nodes with the definition, and it with the reference evaluator."""
    plain = 0
    for seed in seeds:
        drawn = draw_node(seed)
        expected = define(drawn)
        assert far(run_ours(drawn), expected) < EXACT, seed
        if is_plain(drawn):
            plain += 1
            reference = ReferenceEvaluator(make_model(drawn))
            told = reference.run(None, feed_of(drawn))
            assert far(told, expected) < EXACT, seed
    return plain


def test_nodes_are_as_onnx_defines_them():
    assert check_nodes(range(NODES)) > 15


@pytest.mark.deep
@pytest.mark.parametrize("start", range(NODES, MORE, NODES))
def test_more_nodes_are_as_onnx_defines_them(start):
    assert check_nodes(range(start, start + NODES)) > 15


# ONNX Runtime


def differs_in_onnxruntime(drawn):
    """Tell whether ONNX Runtime is known to compute another thing, or nothing."""
    return (
        drawn.attributes.get("layout")  # not supported
        or 0 in drawn.arrays.get("sequence_lens", [1])  # drops the state of such a row
        or has_silent_threshold(drawn)
    )


def has_silent_threshold(drawn):
    """Tell whether a threshold is left to its default, there 0 instead of 1."""
    named = [onnx_nodes.activations_of(drawn, d) for d in (0, 1)]
    return ("ThresholdedRelu", 1.0, None) in [one for part in named for one in part]


def run_onnxruntime(drawn):
    runtime = pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime: extra rivals"
    )
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        make_model(drawn).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    return session.run(None, feed_of(drawn))


def check_with_onnxruntime(seeds):
    compared = 0
    for seed in seeds:
        drawn = draw_node(seed, "float32")
        drawn.attributes["hidden_size"] = drawn.arrays["R"].shape[2]  # it asks for it
        if differs_in_onnxruntime(drawn):
            continue
        compared += 1
        assert far(run_ours(drawn), run_onnxruntime(drawn)) < ORT_BOUND, seed
    return compared


def test_nodes_are_those_of_onnxruntime():
    assert check_with_onnxruntime(range(NODES)) > 150


@pytest.mark.deep
@pytest.mark.parametrize("start", range(NODES, MORE, NODES))
def test_more_nodes_are_those_of_onnxruntime(start):
    assert check_with_onnxruntime(range(start, start + NODES)) > 150


def test_onnxruntime_drops_the_state_of_a_row_without_steps():
    """The difference that `docs/onnx.md` names: the definition keeps the state."""
    rng = np.random.default_rng(0)
    arrays = {
        "X": rng.normal(size=(3, 2, 4)),
        "W": rng.normal(size=(1, 9, 4)),
        "R": rng.normal(size=(1, 9, 3)),
        "sequence_lens": np.array([3, 0]),
        "initial_h": rng.normal(size=(1, 2, 3)),
    }
    kinds = {name: "i4" if name == "sequence_lens" else "f4" for name in arrays}
    arrays = {name: array.astype(kinds[name]) for name, array in arrays.items()}
    drawn = Drawn("GRU", {"hidden_size": 3}, arrays, 14)
    _, ours = run_ours(drawn)
    _, theirs = run_onnxruntime(drawn)
    assert np.array_equal(ours[0, 1], arrays["initial_h"][0, 1])
    assert not theirs[0, 1].any()
    assert far([ours[:, :1]], [theirs[:, :1]]) < ORT_BOUND


# The node tests of the package onnx


def node_tests():
    """Return the package's own tests of the operators, by name."""
    import importlib

    from onnx.backend.test.case import node

    for kind in STATES:
        importlib.import_module(f"{node.__name__}.{kind.lower()}")
    cases = {case.name: case for case in node._NodeTestCases}
    return {n: c for n, c in cases.items() if c.model.graph.node[0].op_type in STATES}


def as_drawn(case):
    """Return a test's node, all of whose inputs but X are constants then."""
    from onnx import helper

    op, [(inputs, outputs)] = case.model.graph.node[0], case.data_sets
    names = [n for n in op.input if n]
    places = dict(zip(op.input, onnx_nodes.PLACES, strict=False))
    arrays = {places[n]: a for n, a in zip(names, inputs, strict=True)}
    attributes = {a.name: helper.get_attribute_value(a) for a in op.attribute}
    version = case.model.opset_import[0].version
    wanted = [("Y", "Y_h", "Y_c")[k] for k, n in enumerate(op.output) if n]
    return Drawn(op.op_type, attributes, arrays, version), wanted, outputs


def test_node_tests_of_the_package_onnx_pass():
    cases = node_tests()
    assert len(cases) >= 18
    for name, case in cases.items():
        drawn, wanted, expected = as_drawn(case)
        found = dict(zip(("Y", "Y_h", "Y_c"), run_ours(drawn), strict=False))
        assert far([found[n] for n in wanted], expected) < 1e-6, name
