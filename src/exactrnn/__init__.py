"""Recurrent cells for the CPU: fast, and the same bits everywhere.

The layers are `RNN`, `LSTM`, `GRU` and their kin; their docstrings are the
documentation.
"""

import typing

# First, because it says what to do where the extension cannot be loaded.
from exactrnn._system import loading  # noqa: F401

# isort: split
from exactrnn.engine import (
    NUMERICS_VERSION,
    get_include,
    get_num_threads,
    isa,
    isas,
    set_num_threads,
    show_config,
    threads,
    use_isa,
)

# isort: split
from exactrnn import layers
from exactrnn._graph.symbols import Cell
from exactrnn._system import late, shown
from exactrnn.io import load, save
from exactrnn.layers import *  # noqa: F403 (the list of the networks stands there)

if typing.TYPE_CHECKING:  # which is all of `__getattr__` that a type checker sees
    from exactrnn import cells, distributed, plot, reference, train
    from exactrnn import jax as jax
    from exactrnn import keras as keras
    from exactrnn import onnx as onnx
    from exactrnn import sklearn as sklearn
    from exactrnn import torch as torch
    from exactrnn.interop.checkpoints import from_torch as from_torch
    from exactrnn.interop.keras import from_keras as from_keras
    from exactrnn.interop.onnx import from_onnx as from_onnx
    from exactrnn.interop.torch import to_torch as to_torch

    __version__: str

__all__ = [
    "NUMERICS_VERSION",
    "Cell",
    "cells",
    "distributed",
    "get_include",
    "get_num_threads",
    "isa",
    "isas",
    "load",
    "plot",
    "reference",
    "save",
    "set_num_threads",
    "show_config",
    "threads",
    "train",
    "use_isa",
]
__all__ += layers.__all__


_MODULES = (
    *("cells", "distributed", "jax", "keras", "onnx", "plot", "reference", "sklearn"),
    "torch",
    "train",
)
"""Imported when first used."""

_FUNCTIONS = {
    "from_keras": "exactrnn.interop.keras",
    "from_onnx": "exactrnn.interop.onnx",
    "from_torch": "exactrnn.interop.checkpoints",
    "to_torch": "exactrnn.interop.torch",
}
"""So are the modules that these come from."""


def _import_late(name: str) -> typing.Any:
    """Import what is not always needed."""
    from importlib import import_module, metadata

    if name in _MODULES:
        return import_module(f"exactrnn.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name == "__version__":
        return metadata.version("exactrnn")
    raise AttributeError(f"module 'exactrnn' has no attribute {name!r}")


late.finds(_import_late)

if not typing.TYPE_CHECKING:
    __getattr__ = _import_late

__dir__ = shown.lists(globals(), *_MODULES, *_FUNCTIONS, "__version__")
