"""Layers and cells on disk, as safetensors files.

A file holds the weights under their names and one metadata entry `exactrnn`, a JSON
object: `class`, `arguments` of the constructor, `numerics` (the version of the numerics
contract under which it was written) and `generator` (the state from which dropout goes
on). It is one entry because the order of several is not fixed in the file: so equal
layers give equal files, to the byte.

`write_file` and `read_file` are the same for anything else that is made of named arrays
and a description, such as the language model.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exactrnn import cell_layers, grid, grid_layer, layers
from exactrnn._checks import Array, describe
from exactrnn._module import Module
from exactrnn.echo_state import EchoState
from exactrnn.engine import NUMERICS_VERSION

__all__ = ["load", "read_file", "save", "write_file"]

ENTRY = "exactrnn"
CLASSES: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        layers.RNN,
        layers.LSTM,
        layers.GRU,
        layers.MUT1,
        layers.MUT2,
        layers.MUT3,
        layers.JordanRNN,
        layers.LeakyRNN,
        layers.ClockworkRNN,
        layers.LSTM1997,
        layers.DepthGatedLSTM,
        EchoState,
        grid.GridLSTM,
        grid_layer.TimeDepthGridLSTM,
        cell_layers.RNNCell,
        cell_layers.LSTMCell,
        cell_layers.GRUCell,
    )
}
BAD_CONTENT = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What parsing a damaged description or building a layer from it may raise."""

_ADVICE = "reading and writing models needs safetensors: pip install 'exactrnn[lm]'"


def save(layer: Module[Any] | EchoState, path: str | os.PathLike[str]) -> None:
    """Write a layer or cell to a safetensors file.

    Parameters
    ----------
    layer : RNN, LSTM, ..., EchoState, RNNCell, LSTMCell or GRUCell
        What to write: weights, options, and where dropout's random numbers stand.
    path : str or path-like
        The file; an old one is replaced only when the new one is complete.

    Raises
    ------
    TypeError
        If `layer` is something else, as an object of a derived class is.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import exactrnn as xr
    >>> layer = xr.GRU(3, 4, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "gru.safetensors"
    ...     xr.save(layer, path)
    ...     xr.load(path)
    GRU(3, 4)
    """
    if CLASSES.get(type(layer).__name__) is not type(layer):
        kinds = ", ".join(CLASSES)
        raise TypeError(f"layer: expected one of {kinds}, got {describe(layer)}")
    description = {
        "class": type(layer).__name__,
        "arguments": layer.arguments(),
        "numerics": NUMERICS_VERSION,
        "generator": layer._stack.masks.generator_state(),
    }
    write_file(path, layer.state_dict(), description)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a layer or cell from a file that `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    RNN, LSTM, ..., EchoState, RNNCell, LSTMCell or GRUCell
        Equal to the one written, to the bit.

    Raises
    ------
    ValueError
        If the file is not such a file, or is damaged.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If it was written under another version of the numerics contract: the weights
        are the same, results may differ in bits.
    """
    weights, description = read_file(path)
    try:
        kind = CLASSES[description["class"]]
        layer = kind.restore(
            description["arguments"], weights, description.get("generator")
        )
        numerics = int(description["numerics"])
    except BAD_CONTENT as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"path: not an exactrnn layer: {path} ({reason})") from error
    if numerics != NUMERICS_VERSION:
        warnings.warn(
            f"{path} was written under numerics version {numerics}, this is version "
            f"{NUMERICS_VERSION}: results may differ in bits",
            stacklevel=2,
        )
    return layer


def write_file(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    description: Mapping[str, Any],
) -> None:
    """Write named arrays and a description, completely or not at all."""
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise ImportError(_ADVICE) from error
    text = json.dumps(description, sort_keys=True)
    content = save(dict(arrays), metadata={ENTRY: text})
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        part.write_bytes(content)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_file(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the named arrays and the description that `write_file` wrote."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(_ADVICE) from error
    with Path(path).open("rb"):
        pass  # what is not a readable file is an OSError, with its usual message
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(metadata[ENTRY])
        if not isinstance(description, dict):
            raise TypeError("the description is not a JSON object")
    except (SafetensorError, *BAD_CONTENT) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"path: not a model file: {path} ({reason})") from error
    return arrays, description
