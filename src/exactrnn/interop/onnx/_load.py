"""From ONNX to here: `from_onnx` and `layers_from_onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exactrnn._checks import DTypeLike, check_dtype
from exactrnn._checks.limits import list_names, quote
from exactrnn.interop.onnx._files import (
    Model,
    RefusedError,
    import_onnx,
    open_model,
    reading,
    take_content,
)
from exactrnn.interop.onnx._graph import (
    Constants,
    Node,
    check_opset,
    find_nodes,
    find_scopes,
    name_all,
)
from exactrnn.interop.onnx._layer import OnnxLayer
from exactrnn.interop.onnx._make import make_layer
from exactrnn.interop.onnx._unrolled import Cell, find_cells
from exactrnn.interop.onnx._words import OPERATORS, QUANTISED


def from_onnx(
    model: Model, node: str | None = None, *, dtype: DTypeLike | None = None
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

    Single steps of an LSTM or a GRU that torch's exporter has taken apart into
    products, sums and functions are found by their pattern, all steps of one cell as
    one layer; it has torch's name of the module.

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
        return make_layer(_choose(_find_all(content, folder), node), dtype)


def layers_from_onnx(
    model: Model, *, dtype: DTypeLike | None = None
) -> dict[str, OnnxLayer]:
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
        By name; nodes first, those of the main graph before those in others. Where
        several have one name, what is around them is before it:
        `"If_0.then_branch/lstm"`.

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
        found = _find_all(content, folder)
        return {item.name: make_layer(item, dtype) for item in found}


def _find_all(content: Any, folder: Path | None) -> list[Node | Cell]:
    """Return the recurrent nodes and cells of a model, with their names."""
    source, onnx = open_model(content, folder), import_onnx()
    scopes = find_scopes(source.model)
    constants = Constants(source, check_opset(source.model, onnx), defaults=True)
    nodes, cells = find_nodes(scopes, constants), find_cells(scopes, constants)
    return name_all([*nodes, *cells])


def _choose(found: list[Node | Cell], name: str | None) -> Node | Cell:
    """Return the node or cell of this name, or the only one."""
    if not found:
        kinds = ", ".join([*OPERATORS, QUANTISED])
        raise RefusedError(f"node: expected a node of {kinds}, the model has none")
    listed = list_names([item.title() for item in found])
    if name is None:
        if len(found) > 1:
            raise RefusedError(f"node: expected the name of one of {listed}")
        return found[0]
    chosen = [item for item in found if name == item.name]
    chosen = chosen or [
        item for item in found if name in (item.own_name, *item.outputs)
    ]
    if len(chosen) != 1:
        how = "no node" if not chosen else "more than one"
        raise RefusedError(f"node: {quote(name)} is {how} of {listed}")
    return chosen[0]
