"""The cases of recurrent layers, as data: every cell, every option, small sizes.

Weights and inputs are made in `cases.py`. A case never changes; new ones join at the
end. A network that has none here has one of its own accord: the example of its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from exactrnn import _core
from exactrnn._graph.symbols import Cell, Step
from exactrnn._graph.values import Symbol
from exactrnn._spec.record import Network
from exactrnn.cells import JANET, MGU, SLSTM, SRU, UGRNN, IndRNN, MinGRU, MinLSTM
from exactrnn.layers import (
    GRU,
    LSTM,
    LSTM1997,
    MUT1,
    MUT2,
    MUT3,
    NETWORKS,
    RNN,
    ClockworkRNN,
    DepthGatedLSTM,
    JordanRNN,
    Layer,
    LeakyRNN,
)


class RowsOfUnits(Cell):
    """What only definitions have: normalised values of any kind, and scalars."""

    states = ("h", "c")

    def step(self, s: Step) -> tuple[Symbol, Symbol]:
        """Return the new h and c."""
        seen = s.layer_norm(s.h, "seen")
        u = s.tanh(s.W("u") + s.R("u", seen) + s.b("u"))
        first, _ = s.layer_norm((u * s.c, s.W("e")), ("first", "second"))
        c = s.mix(s.sigmoid(first + s.scalar("k", 0.25)), s.c, u)
        return s.scalar("q", 1.5) * s.tanh(s.layer_norm(c, "c", bias=False)), c


@dataclass(frozen=True)
class LayerCase:
    """A recurrent layer: how it is made and on what it runs."""

    make: Callable[..., Any]
    options: dict[str, Any]
    T: int = 7
    B: int = 3
    I: int = 5
    H: int = 9
    lengths: tuple[int, ...] | None = None


RAGGED = (7, 0, 4)
BOTH_WAYS: dict[str, Any] = {"num_layers": 2, "bidirectional": True}

LAYER_CASES: dict[str, LayerCase] = {
    "rnn tanh": LayerCase(RNN, {}),
    "rnn relu ragged": LayerCase(RNN, {"nonlinearity": "relu"}, lengths=(7, 0, 4)),
    "lstm": LayerCase(LSTM, {}, H=17),
    "lstm no bias": LayerCase(LSTM, {"bias": False}, T=5, B=1, I=1, H=1),
    "lstm deep bidirectional ragged": LayerCase(
        LSTM, {"num_layers": 2, "bidirectional": True}, B=4, lengths=(3, 7, 0, 5)
    ),
    "lstm large": LayerCase(LSTM, {}, T=40, B=8, I=24, H=64),
    "lstm one row": LayerCase(LSTM, {}, T=12, B=1, I=8, H=100),
    "gru": LayerCase(GRU, {}, H=17),
    "gru deep bidirectional ragged": LayerCase(
        GRU, {"num_layers": 2, "bidirectional": True}, B=4, lengths=(7, 1, 6, 0)
    ),
    "gru large": LayerCase(GRU, {}, T=40, B=6, I=24, H=64),
    "gru reset before": LayerCase(GRU, {"reset_after": False}, H=17),
    "gru reset before one row": LayerCase(
        GRU, {"reset_after": False}, T=12, B=1, I=8, H=100
    ),
    "gru reset before bidirectional": LayerCase(
        GRU, {"reset_after": False, "bidirectional": True}, lengths=(2, 7, 5)
    ),
    "lstm peepholes": LayerCase(LSTM, {"peepholes": "ifo"}, H=17),
    "lstm output peephole ragged": LayerCase(LSTM, {"peepholes": "o"}, lengths=RAGGED),
    "lstm coupled input": LayerCase(LSTM, {"coupled": "input", "peepholes": "io"}),
    "lstm coupled forget": LayerCase(LSTM, {"coupled": "forget", "peepholes": "f"}),
    "lstm no input gate": LayerCase(LSTM, {"omit": "i", "peepholes": "fo"}),
    "lstm no forget gate": LayerCase(LSTM, {"omit": "f"}),
    "lstm no output gate": LayerCase(LSTM, {"omit": "o", "peepholes": "if"}),
    "lstm no gate": LayerCase(LSTM, {"omit": "ifo"}),
    "lstm identity candidate": LayerCase(
        LSTM, {"activations": ("sigmoid", "identity", "tanh")}
    ),
    "lstm identity output": LayerCase(
        LSTM, {"activations": ("sigmoid", "tanh", "identity")}
    ),
    "lstm hard_sigmoid softsign relu clip": LayerCase(
        LSTM, {"activations": ("hard_sigmoid", "softsign", "relu"), "clip": 0.75}
    ),
    "lstm full gate recurrence": LayerCase(
        LSTM, {"full_gate_recurrence": True, "peepholes": "ifo"}, H=17, lengths=RAGGED
    ),
    "lstm full gate recurrence of two": LayerCase(
        LSTM, {"full_gate_recurrence": True, "omit": "f"}
    ),
    "lstm projection": LayerCase(LSTM, {"proj_size": 5}, H=17),
    "lstm everything": LayerCase(
        LSTM,
        {
            "peepholes": "ifo",
            "full_gate_recurrence": True,
            "activations": ("hard_sigmoid", "relu", "softsign"),
            "clip": 1.5,
            "proj_size": 4,
            **BOTH_WAYS,
        },
        lengths=RAGGED,
    ),
    "lstm 1997": LayerCase(LSTM1997, {"block_size": 2}, H=18),
    "lstm 1997 deep bidirectional ragged": LayerCase(
        LSTM1997, {"block_size": 3, **BOTH_WAYS}, H=9, lengths=RAGGED
    ),
    "gru softsign relu clip": LayerCase(
        GRU, {"activations": ("softsign", "relu"), "clip": 0.75}
    ),
    "gru reset before hard_sigmoid clip": LayerCase(
        GRU,
        {
            "reset_after": False,
            "activations": ("hard_sigmoid", "softsign"),
            "clip": 0.75,
        },
    ),
    "mut1": LayerCase(MUT1, {}, H=17),
    "mut1 deep bidirectional ragged": LayerCase(MUT1, BOTH_WAYS, lengths=RAGGED),
    "mut2": LayerCase(MUT2, {}, H=17, lengths=RAGGED),
    "mut3": LayerCase(MUT3, {}, H=17, lengths=RAGGED),
    "jordan": LayerCase(JordanRNN, {"output_size": 4}, H=17),
    "jordan deep bidirectional ragged": LayerCase(
        JordanRNN,
        {"output_size": 11, "output_nonlinearity": "identity", **BOTH_WAYS},
        lengths=RAGGED,
    ),
    "leaky": LayerCase(LeakyRNN, {"leak": 0.3}, H=17),
    "leaky learned": LayerCase(LeakyRNN, {"leak": 0.3, "learn_leak": True}),
    "leaky learned by unit": LayerCase(
        LeakyRNN,
        {
            "leak": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
            "learn_leak": True,
            "nonlinearity": "relu",
        },
        lengths=RAGGED,
    ),
    "clockwork": LayerCase(ClockworkRNN, {"periods": (1, 2, 4, 8)}, T=20, H=40),
    "clockwork deep bidirectional ragged": LayerCase(
        ClockworkRNN,
        {"periods": (3, 1, 2, 3), "module_sizes": (2, 4, 1, 2), **BOTH_WAYS},
        lengths=RAGGED,
    ),
    "depth-gated": LayerCase(DepthGatedLSTM, {"num_layers": 3}, H=17),
    "depth-gated bidirectional ragged": LayerCase(
        DepthGatedLSTM, BOTH_WAYS, lengths=RAGGED
    ),
    "rnn sigmoid leaky_relu clip bidirectional": LayerCase(
        RNN,
        {"nonlinearity": ("sigmoid", ("leaky_relu", 0.125)), "clip": 0.75, **BOTH_WAYS},
        lengths=RAGGED,
    ),
    "lstm elu softplus scaled_tanh bidirectional": LayerCase(
        LSTM,
        {
            "activations": (
                *(("hard_sigmoid", 1 / 6, 0.5), ("elu", 0.5), "softplus"),
                *(
                    "sigmoid",
                    ("scaled_tanh", 1.7159, 2 / 3),
                    ("thresholded_relu", 0.25),
                ),
            ),
            **BOTH_WAYS,
        },
        H=17,
        lengths=RAGGED,
    ),
    "mgu defined bidirectional ragged": LayerCase(
        partial(Layer, MGU()), BOTH_WAYS, H=17, lengths=RAGGED
    ),
    "slstm defined ragged": LayerCase(partial(Layer, SLSTM()), {}, lengths=RAGGED),
    "slstm defined heads ragged": LayerCase(
        partial(Layer, SLSTM(num_heads=3)), {}, H=18, lengths=RAGGED
    ),
    "ind_rnn defined": LayerCase(partial(Layer, IndRNN()), {}),
    "janet defined": LayerCase(partial(Layer, JANET()), {}),
    "min_gru defined": LayerCase(partial(Layer, MinGRU(positive=True)), {}),
    "min_lstm defined": LayerCase(partial(Layer, MinLSTM()), {}),
    "sru defined": LayerCase(partial(Layer, SRU()), BOTH_WAYS),
    "ugrnn defined": LayerCase(partial(Layer, UGRNN()), {}),
    "lstm layer norm bidirectional ragged": LayerCase(
        LSTM, {"layer_norm": True, **BOTH_WAYS}, H=19, lengths=RAGGED
    ),
    "lstm layer norm one row": LayerCase(
        LSTM, {"layer_norm": True}, T=12, B=1, I=8, H=70
    ),
    "gru layer norm": LayerCase(GRU, {"layer_norm": True}, H=17),
    "rows defined ragged": LayerCase(
        partial(Layer, RowsOfUnits()), BOTH_WAYS, H=17, lengths=RAGGED
    ),
    "rnn zoneout": LayerCase(RNN, {"zoneout": 0.25}, H=17),
    "rnn recurrent dropout": LayerCase(RNN, {"recurrent_dropout": 0.25}, H=17),
    "lstm zoneout recurrent dropout bidirectional ragged": LayerCase(
        LSTM,
        {"zoneout": (0.125, 0.5), "recurrent_dropout": 0.5, **BOTH_WAYS},
        lengths=RAGGED,
    ),
    "lstm projected gate recurrence zoneout": LayerCase(
        LSTM,
        {
            "proj_size": 5,
            "peepholes": "ifo",
            "full_gate_recurrence": True,
            "zoneout": (0.5, 0.125),
        },
    ),
    "gru zoneout recurrent dropout": LayerCase(
        GRU, {"zoneout": 0.375, "recurrent_dropout": 0.25}, H=17
    ),
    "gru reset before zoneout recurrent dropout": LayerCase(
        GRU,
        {"reset_after": False, "zoneout": 0.375, "recurrent_dropout": 0.25},
        lengths=RAGGED,
    ),
    "mut2 zoneout recurrent dropout": LayerCase(
        MUT2, {"zoneout": 0.25, "recurrent_dropout": 0.5}, lengths=RAGGED
    ),
    "depth-gated zoneout recurrent dropout": LayerCase(
        DepthGatedLSTM,
        {"zoneout": (0.25, 0.25), "recurrent_dropout": 0.25, **BOTH_WAYS},
        lengths=RAGGED,
    ),
    "slstm defined heads zoneout recurrent dropout": LayerCase(
        partial(Layer, SLSTM(num_heads=3)),
        {"zoneout": (0.25, 0.375), "recurrent_dropout": 0.25},
        H=18,
        lengths=RAGGED,
    ),
}


def example_of(network: Network) -> LayerCase:
    """Return the case of a network by the example of its record."""
    layers = network.record.example_layers
    stack = {"num_layers": layers} if layers > 1 else {}
    return LayerCase(network.kind, network.options(LayerCase.H) | stack, lengths=RAGGED)


LAYER_CASES |= {
    name: example_of(network)
    for name, network in NETWORKS.items()
    if (network.record.cell or name) in _core.cells()
    and network.kind not in {case.make for case in LAYER_CASES.values()}
}
