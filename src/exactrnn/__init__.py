"""Recurrent cells for the CPU: fast, and the same bits everywhere.

The layers are `RNN`, `LSTM`, `GRU` and their kin; their docstrings are the
documentation.
"""

import typing

# First, because it says what to do where the compiled module cannot be loaded.
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
from exactrnn.io import load, save
from exactrnn.layers import (
    GRU,
    LSTM,
    LSTM1997,
    MUT1,
    MUT2,
    MUT3,
    RNN,
    ClockworkRNN,
    DepthGatedLSTM,
    JordanRNN,
    LeakyRNN,
    greff_variant,
)
from exactrnn.layers._module import Cache, Gradients
from exactrnn.layers._stream import Stream
from exactrnn.layers.echo_state import EchoState, EchoStream
from exactrnn.layers.grid import GridCache, GridGradients, GridLSTM
from exactrnn.layers.single_step import GRUCell, LSTMCell, RNNCell
from exactrnn.layers.time_depth import TimeDepthGridLSTM

if typing.TYPE_CHECKING:
    from exactrnn import plot, reference, train

__all__ = [
    "GRU",
    "LSTM",
    "LSTM1997",
    "MUT1",
    "MUT2",
    "MUT3",
    "NUMERICS_VERSION",
    "RNN",
    "Cache",
    "ClockworkRNN",
    "DepthGatedLSTM",
    "EchoState",
    "EchoStream",
    "GRUCell",
    "Gradients",
    "GridCache",
    "GridGradients",
    "GridLSTM",
    "JordanRNN",
    "LSTMCell",
    "LeakyRNN",
    "RNNCell",
    "Stream",
    "TimeDepthGridLSTM",
    "get_num_threads",
    "greff_variant",
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


def __getattr__(name: str) -> typing.Any:
    """Import `train`, `reference` and `plot` when they are first used."""
    if name in ("plot", "reference", "train"):
        from importlib import import_module

        return import_module(f"exactrnn.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("exactrnn")
    raise AttributeError(f"module 'exactrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
