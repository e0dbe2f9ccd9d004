"""Recurrent modules for PyTorch on exactrnn's kernels: `import exactrnn.torch as xrt`.

`LSTM`, `GRU`, `RNN`, `LSTMCell`, `GRUCell` and `RNNCell` take the arguments of
`torch.nn`, have its `state_dict` and its gradients; the other networks of `exactrnn`
come in the same manner. `swap` lets a model that exists use them, `unswap` undoes it;
`constant` makes single steps of large layers faster. `to_torch` makes torch's modules
of layers of `exactrnn`.
"""

from __future__ import annotations

try:
    import torch  # noqa: F401 (asked for first, to say what to do)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "exactrnn.torch needs PyTorch: pip install 'exactrnn[torch]'", name=error.name
    ) from error

# isort: split
from exactrnn._system import shown
from exactrnn.interop.torch._cells import GRUCell, LSTMCell, RNNCell
from exactrnn.interop.torch._export import to_state_dict, to_torch
from exactrnn.interop.torch._layers import GRU, LSTM, RNN
from exactrnn.interop.torch._network import constant
from exactrnn.interop.torch._others import (
    LSTM1997,
    MUT1,
    MUT2,
    MUT3,
    ClockworkRNN,
    DepthGatedLSTM,
    JordanRNN,
    LeakyRNN,
)
from exactrnn.interop.torch._swap import Swapped, swap, unswap

__all__ = [
    "GRU",
    "LSTM",
    "LSTM1997",
    "MUT1",
    "MUT2",
    "MUT3",
    "RNN",
    "ClockworkRNN",
    "DepthGatedLSTM",
    "GRUCell",
    "JordanRNN",
    "LSTMCell",
    "LeakyRNN",
    "RNNCell",
    "Swapped",
    "constant",
    "swap",
    "to_state_dict",
    "to_torch",
    "unswap",
]
__dir__ = shown.lists(globals())
