"""The public networks, a file each, and the list of them that everything walks.

A class that is imported and named here is public as `exactrnn.Foo`. Its record makes it
known to files, benchmarks, pictures and the generic tests, which have no lists of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn._spec.record import Network
from exactrnn._system import shown
from exactrnn.layers._attention_stream import DecoderStream
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._recurrent import RecurrentLayer
from exactrnn.layers._results import Cache, Gradients
from exactrnn.layers._stream import Stream
from exactrnn.layers.attention import (
    AttentionDecoder,
    DecoderCache,
    DecoderGradients,
)
from exactrnn.layers.clockwork import ClockworkRNN
from exactrnn.layers.defined import Layer
from exactrnn.layers.depth_gated import DepthGatedLSTM
from exactrnn.layers.echo_state import EchoState, EchoStream
from exactrnn.layers.grid import GridCache, GridGradients, GridLSTM
from exactrnn.layers.gru import GRU
from exactrnn.layers.jordan import JordanRNN
from exactrnn.layers.leaky import LeakyRNN
from exactrnn.layers.lstm import LSTM, greff_variant
from exactrnn.layers.lstm_1997 import LSTM1997
from exactrnn.layers.mut import MUT1, MUT2, MUT3
from exactrnn.layers.rnn import RNN
from exactrnn.layers.single_step import GRUCell, LSTMCell, RNNCell
from exactrnn.layers.time_depth import TimeDepthGridLSTM

__all__ = [
    "GRU",
    "LSTM",
    "LSTM1997",
    "MUT1",
    "MUT2",
    "MUT3",
    "RNN",
    "AttentionDecoder",
    "Cache",
    "ClockworkRNN",
    "DecoderCache",
    "DecoderGradients",
    "DecoderStream",
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
    "Layer",
    "LeakyRNN",
    "RNNCell",
    "Stream",
    "TimeDepthGridLSTM",
    "greff_variant",
]
__dir__ = shown.lists(globals())

CLASSES: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (*(globals()[name] for name in __all__), Embedding, Linear)
    if hasattr(kind, "record")
}
"""Every class with weights that a file may hold, by its name."""

NETWORKS: Mapping[str, Network] = {
    name: Network(kind, form)
    for kind in CLASSES.values()
    if issubclass(kind, RecurrentLayer) and not kind.record.defined
    for name, form in kind.record.forms.items()
}
"""Every network that reads sequences, in each of its forms, by `layer.cell`.

But for `Layer`, which is as many as there are definitions."""
