"""ONNX files whose weights are integers that DequantizeLinear makes numbers of."""

import numpy as np
import pytest
from onnx_nodes import define, draw_lstm, make_model

pytest.importorskip("onnx", reason="needs onnx: extra onnx")
from onnx import helper, numpy_helper

from exactrnn.onnx import from_onnx

INTEGERS = {"int8": 10, "uint8": 10, "int32": 10, "int16": 21, "uint16": 21}
"""What DequantizeLinear reads, and the opsets that brought it: operators' page."""
OPSETS = (10, 13, 19, 20, 21, 22)
FIRST = {"one": 10, "rows": 13, "blocks": 21}
"""Opsets that brought scales to each row, and to blocks of rows."""
SCALES = {"one": (), "rows": (1, 16), "blocks": (1, 8, 3)}


def quantise(kind, opset, scales="one", zero=True):
    """Return a node, and its model, whose W is stored as integers of a kind."""
    drawn = draw_lstm()
    drawn.opset = opset
    del drawn.arrays["B"]
    step = np.random.default_rng(1).uniform(0.5, 1, SCALES[scales]) / 1e4
    step = (step if "16" in kind or kind == "int32" else step * 100).astype("f4")
    attributes, wide = {"rows": {"axis": 1}}.get(scales, {}), step
    if scales == "rows":
        step, wide = step[0], step[:, :, None]
    if scales == "blocks":
        attributes, wide = {"axis": 1, "block_size": 2}, step.repeat(2, axis=1)
    offset = np.full(step.shape, 3 if "u" not in kind else 2 ** (int(kind[4:]) - 1))
    wide_offset = offset.flat[0] if zero else 0
    numbers = np.round(drawn.arrays["W"] / wide) + wide_offset
    limits = np.iinfo(kind)
    stored = np.clip(numbers, limits.min, limits.max).astype(kind)
    drawn.arrays["W"] = (stored - np.float64(wide_offset)).astype("f4") * wide
    given = {"q": stored, "scale": step}
    given |= {"zero": offset.astype(kind)} if zero else {}

    def move(name, array):
        if name != "W":
            return [], [numpy_helper.from_array(array, name)]
        node = helper.make_node("DequantizeLinear", [*given], [name], **attributes)
        return [node], [numpy_helper.from_array(a, n) for n, a in given.items()]

    return drawn, make_model(drawn, put=move)


@pytest.mark.parametrize("zero", [True, False], ids=("zero", "plain"))
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("kind", INTEGERS)
def test_dequantised_weights_are_found(kind, scales, zero):
    first = max(INTEGERS[kind], FIRST[scales])
    for opset in (opset for opset in OPSETS if opset >= first):
        drawn, model = quantise(kind, opset, scales, zero)
        layer = from_onnx(model)
        for ours, theirs in zip(layer(drawn.x), define(drawn), strict=True):
            assert np.abs(ours - theirs).max() < 1e-6
        plain = from_onnx(make_model(drawn)).layer.state_dict()
        for name, weight in layer.layer.state_dict().items():
            assert weight.tobytes() == plain[name].tobytes()


@pytest.mark.parametrize("kind", ["int16", "uint16", "int64", "float16", "float32"])
def test_types_that_a_models_opset_does_not_dequantise_are_named(kind):
    for opset in OPSETS:
        if opset >= INTEGERS.get(kind, 99):
            continue
        _, model = quantise("int32", opset)
        [stored] = [t for t in model.graph.initializer if t.name == "q"]
        as_kind = numpy_helper.to_array(stored).astype(kind)
        stored.CopyFrom(numpy_helper.from_array(as_kind, "q"))
        expected = ", ".join(k for k, first in INTEGERS.items() if first <= opset)
        says = f"DequantizeLinear 'W': expected {expected} in opset {opset}, got {kind}"
        with pytest.raises(ValueError, match=says):
            from_onnx(model)
