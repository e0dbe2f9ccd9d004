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
from exactrnn.io import load, save
from exactrnn.layers import *  # noqa: F403 (the list of the networks stands there)

if typing.TYPE_CHECKING:  # which is all of `__getattr__` that a type checker sees
    from exactrnn import cells, plot, reference, train
    from exactrnn import keras as keras
    from exactrnn import torch as torch
    from exactrnn.interop.keras import from_keras as from_keras

    __version__: str

__all__ = [
    "NUMERICS_VERSION",
    "Cell",
    "cells",
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


_MODULES = ("cells", "keras", "plot", "reference", "torch", "train")
"""Imported when first used."""


def _import_late(name: str) -> typing.Any:
    """Import one of `_MODULES`, or find a name that is not always needed."""
    if name in _MODULES:
        from importlib import import_module

        return import_module(f"exactrnn.{name}")
    if name == "from_keras":
        from exactrnn.interop.keras import from_keras

        return from_keras
    if name == "__version__":
        from importlib.metadata import version

        return version("exactrnn")
    raise AttributeError(f"module 'exactrnn' has no attribute {name!r}")


if not typing.TYPE_CHECKING:
    __getattr__ = _import_late


def __dir__() -> list[str]:
    special = {name for name in globals() if name.startswith("__")}
    return sorted({*__all__, *_MODULES, "from_keras", "__version__", *special})
