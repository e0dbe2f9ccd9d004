"""Recurrent layers over whole sequences: the public classes, by family.

Each class gives its constructor, its equations, and the name of its cell in the
kernels. What they do with a sequence is in `_layer.RecurrentLayer`.
"""

from __future__ import annotations

from exactrnn._layer import RecurrentLayer
from exactrnn.layers.clockwork import ClockworkRNN
from exactrnn.layers.depth_gated import DepthGatedLSTM
from exactrnn.layers.gru import GRU
from exactrnn.layers.jordan import JordanRNN
from exactrnn.layers.leaky import LeakyRNN
from exactrnn.layers.lstm import LSTM, greff_variant
from exactrnn.layers.lstm_1997 import LSTM1997
from exactrnn.layers.mut import MUT1, MUT2, MUT3
from exactrnn.layers.rnn import RNN

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
    "JordanRNN",
    "LeakyRNN",
    "RecurrentLayer",
    "greff_variant",
]
