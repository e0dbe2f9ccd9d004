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
from exactrnn.io import load, save
from exactrnn.layers import *  # noqa: F403 (the list of the networks stands there)

if typing.TYPE_CHECKING:
    from exactrnn import plot, reference, train

__all__ = [
    "NUMERICS_VERSION",
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


def __getattr__(name: str) -> typing.Any:
    """Import the modules that are not needed by all, when they are first used."""
    if name in ("jax", "keras", "plot", "reference", "torch", "train"):
        from importlib import import_module

        return import_module(f"exactrnn.{name}")
    if name == "from_keras":
        from exactrnn.interop.keras import from_keras

        return from_keras
    if name == "from_torch":
        from exactrnn.interop.checkpoints import from_torch

        return from_torch
    if name == "__version__":
        from importlib.metadata import version

        return version("exactrnn")
    raise AttributeError(f"module 'exactrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
