"""From Keras to here: `from_keras` and `layers_from_keras`."""

from __future__ import annotations

import os
from typing import Any

from exactrnn._checks import describe
from exactrnn._checks.limits import list_names, quote
from exactrnn.interop.keras._files import read_file, reading
from exactrnn.interop.keras._layer import RECURRENT, KerasLayer, make_layer
from exactrnn.interop.keras._model import KerasModel, make_model
from exactrnn.interop.keras._nodes import Node, RefusedError, all_nodes, list_nodes
from exactrnn.interop.keras._objects import is_keras, read_object


def from_keras(
    model: str | os.PathLike[str] | Any, name: str | None = None
) -> KerasLayer | KerasModel:
    """Take a recurrent layer, or a chain of layers, from Keras.

    Parameters
    ----------
    model : str, path-like, or a layer or model of Keras 3
        A `.keras` file, a legacy `.h5` file of Keras 2 or 3, or the object itself, on
        any backend. Files are read without keras and without TensorFlow; nothing in
        them is run.
    name : str, optional
        The layer of a model that is wanted, `"encoder/gru"` within a model in it where
        `"gru"` is not the only one. Without it a model is taken as a whole.

    Returns
    -------
    KerasLayer or KerasModel
        A layer that is called as Keras's is, whose `layer` is the layer of this
        library; or a chain of layers as one callable, whose `layers` are those that
        are recurrent.

    Raises
    ------
    ValueError
        If an option, a class or a connection is not had here, naming it; if weights
        are missing, surplus or of another shape, naming all of them; if the file is
        none of Keras's, is damaged, or claims more than it holds. Nothing is half
        loaded.
    TypeError
        If `model` is something else.
    ImportError
        If a file is to be read and the package h5py is missing.
    OSError
        If a file cannot be read.

    Notes
    -----
    SimpleRNN, LSTM, GRU (both `reset_after`), `RNN` of their cells or a list of them,
    and `Bidirectional` of these. Weights are those of the file to the bit; results are
    Keras's up to rounding.

    Examples
    --------
    >>> from exactrnn.keras import from_keras
    >>> from_keras("model.txt")
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] No such file or directory: 'model.txt'
    """
    if isinstance(model, str | os.PathLike):
        root = read_file(model)
        with reading(model):
            return _take(root, name)
    return _take(_read_live(model), name)


def layers_from_keras(model: str | os.PathLike[str] | Any) -> dict[str, KerasLayer]:
    """Take all recurrent layers of a Keras model, whatever else is in it.

    Parameters
    ----------
    model : str, path-like, or a model of Keras 3
        As in `from_keras`.

    Returns
    -------
    dict of str to KerasLayer
        By name, `"encoder/gru"` for a layer of a model in the model, of a
        `TimeDistributed` and, in the object, of a class of the user's; in its order.

    Raises
    ------
    ValueError, TypeError, ImportError, OSError
        As in `from_keras`.

    Examples
    --------
    >>> from exactrnn.keras import layers_from_keras
    >>> layers_from_keras(3)
    Traceback (most recent call last):
        ...
    TypeError: model: expected a path or a layer or model of Keras 3, got 3
    """
    if isinstance(model, str | os.PathLike):
        root = read_file(model)
        with reading(model):
            return _take_all(root)
    return _take_all(_read_live(model))


def _read_live(model: object) -> Node:
    """Return the node of an object of Keras."""
    if not is_keras(model):
        expected = "a path or a layer or model of Keras 3"
        raise TypeError(f"model: expected {expected}, got {describe(model)}")
    return read_object(model)


def _take(root: Node, name: str | None) -> KerasLayer | KerasModel:
    """Return the layer of this name, or the whole."""
    if name is not None:
        return make_layer(_find(root, name))
    inside = (node for child in root.children for node in all_nodes(child))
    if root.is_model or any(node.kind in RECURRENT for node in inside):
        return make_model(root)
    return make_layer(root)


def _take_all(root: Node) -> dict[str, KerasLayer]:
    """Return the recurrent layers by their paths."""
    nodes = [node for node in all_nodes(root) if node.kind in RECURRENT]
    if not nodes and not root.is_model and not root.children:
        expected = "a model that lists its layers, or the object"
        raise root.refused("class", root.kind, expected)
    paths = [node.path for node in nodes]
    if len({*paths}) < len(paths):
        raise RefusedError(f"name: two layers have one path among {list_names(paths)}")
    return {node.path: make_layer(node) for node in nodes}


def _find(root: Node, name: object) -> Node:
    """Return the layer of this path, or of this name if there is one alone."""
    nodes = all_nodes(root)
    found = [node for node in nodes if node.path == name]
    found = found or [node for node in nodes if node.name == name]
    if len(found) != 1:
        how = "no layer" if not found else "more than one layer"
        raise RefusedError(f"name: {quote(name)} is {how} of {list_nodes(nodes)}")
    return found[0]
