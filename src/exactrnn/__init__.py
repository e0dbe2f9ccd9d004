"""Recurrent cells for the CPU: fast, and the same bits everywhere.

The layers are `RNN`, `LSTM` and `GRU`; their docstrings are the documentation.
"""

import typing

# First, because it says what to do where the compiled module is missing.
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
from exactrnn._module import Cache, Gradients
from exactrnn.cell_layers import GRUCell, LSTMCell, RNNCell
from exactrnn.io import load, save
from exactrnn.layers import GRU, LSTM, RNN
from exactrnn.stream import Stream

if typing.TYPE_CHECKING:
    from exactrnn import reference, train

__all__ = [
    "GRU",
    "LSTM",
    "NUMERICS_VERSION",
    "RNN",
    "Cache",
    "GRUCell",
    "Gradients",
    "LSTMCell",
    "RNNCell",
    "Stream",
    "get_num_threads",
    "isa",
    "isas",
    "load",
    "reference",
    "save",
    "set_num_threads",
    "show_config",
    "threads",
    "train",
    "use_isa",
]


def __getattr__(name: str) -> typing.Any:
    """Import `train` and `reference` when they are first used."""
    if name in ("reference", "train"):
        from importlib import import_module

        return import_module(f"exactrnn.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("exactrnn")
    raise AttributeError(f"module 'exactrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
