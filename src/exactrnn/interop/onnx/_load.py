"""From ONNX to here: `from_onnx` and `layers_from_onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exactrnn._checks import check_dtype
from exactrnn._checks.limits import quote
from exactrnn.interop.onnx._files import (
    Model,
    RefusedError,
    import_onnx,
    open_model,
    reading,
    take_content,
)
from exactrnn.interop.onnx._graph import Node, find_nodes, list_nodes
from exactrnn.interop.onnx._layer import OnnxLayer, make_layer
from exactrnn.interop.onnx._words import OPERATORS, QUANTISED


def from_onnx(
    model: Model, node: str | None = None, *, dtype: object = None
) -> OnnxLayer:
    """Take a recurrent node out of an ONNX model.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        The model. Weights that lie in files beside it are found by its path.
    node : str, optional
        The node that is wanted, by its name, or by that of one of its outputs; not
        needed if there is one alone.
    dtype : {"float32", "float64"}, optional
        Asks for rounding: weights of float16, bfloat16, float32 and float64 are then
        rounded to the nearest number of it. Without it the layer has the dtype of the
        weights, which must be float32 or float64.

    Returns
    -------
    OnnxLayer
        Called as the node, in ONNX's shapes; its `layer` is the layer of this library.

    Raises
    ------
    ValueError
        If there is no such node, or several and none is named, listing them; if an
        attribute is not had here, naming node, attribute and value; if weights are
        missing, computed from inputs, or of another shape, naming all of them; if the
        model is none, is damaged, or claims more than it holds.
    TypeError
        If `model`, `node` or `dtype` is something else.
    ImportError
        If the package onnx is missing.
    OSError
        If a file cannot be read.

    Notes
    -----
    `RNN`, `GRU` and `LSTM` of opset 7 and later with every attribute, in the main graph
    or in one within it, and `com.microsoft.DynamicQuantizeLSTM`, whose weights become
    the numbers that they stand for, while its activations are not quantised. Weights
    are those of the file to the bit; results are ONNX's up to rounding.

    Examples
    --------
    >>> from exactrnn.onnx import from_onnx
    >>> from_onnx("model.onnx")
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] No such file or directory: 'model.onnx'
    """
    if node is not None and not isinstance(node, str):
        raise TypeError(f"node: expected the name of a node, got {quote(node)}")
    if dtype is not None:
        check_dtype(dtype)
    content, folder = take_content(model)
    with reading(model):
        return make_layer(_choose(_nodes_of(content, folder), node), dtype)


def layers_from_onnx(model: Model, *, dtype: object = None) -> dict[str, OnnxLayer]:
    """Take all recurrent nodes out of an ONNX model, whatever else is in it.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        As in `from_onnx`.
    dtype : {"float32", "float64"}, optional
        As in `from_onnx`.

    Returns
    -------
    dict of str to OnnxLayer
        By name, in the order of the model. Where several nodes have one name, those of
        the nodes around them stand before it: `"If_0.then_branch/lstm"`.

    Raises
    ------
    ValueError, TypeError, ImportError, OSError
        As in `from_onnx`.

    Examples
    --------
    >>> from exactrnn.onnx import layers_from_onnx
    >>> layers_from_onnx("model.onnx")
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] No such file or directory: 'model.onnx'
    """
    if dtype is not None:
        check_dtype(dtype)
    content, folder = take_content(model)
    with reading(model):
        nodes = _nodes_of(content, folder)
        return {node.name: make_layer(node, dtype) for node in nodes}


def _nodes_of(content: Any, folder: Path | None) -> list[Node]:
    """Return the recurrent nodes of a model."""
    return find_nodes(open_model(content, folder), import_onnx())


def _choose(nodes: list[Node], name: str | None) -> Node:
    """Return the node of this name, or the only one."""
    if not nodes:
        kinds = ", ".join([*OPERATORS, QUANTISED])
        raise RefusedError(f"node: expected a node of {kinds}, the model has none")
    if name is None:
        found = nodes
    else:
        found = [node for node in nodes if name == node.name]
        found = found or [
            node for node in nodes if name in (node.op.name, *node.op.output)
        ]
    if len(found) == 1:
        return found[0]
    if name is None:
        raise RefusedError(f"node: expected the name of one of {list_nodes(nodes)}")
    how = "no node" if not found else "more than one"
    raise RefusedError(f"node: {quote(name)} is {how} of {list_nodes(nodes)}")
