"""What can be measured: cells and their main options, one line each.

A name here is the `cell` of a row. Options that depend on the number of units are
functions of it.
"""

from __future__ import annotations

from typing import Any

from exactrnn import layers
from exactrnn.layers.time_depth import TimeDepthGridLSTM

CLOCK_PERIODS = (1, 2, 4, 8, 16, 32, 64, 128)


def half(H: int) -> int:
    """Return half of the units, for projections."""
    return max(1, H // 2)


def block_size(H: int) -> int:
    """Return the cells of a memory block: two where they come out even."""
    return 2 - H % 2


def clock_periods(H: int) -> tuple[int, ...]:
    """Return the periods of as many modules as there are units for."""
    return CLOCK_PERIODS[:H]


CELLS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "rnn": (layers.RNN, {}),
    "lstm": (layers.LSTM, {}),
    "gru": (layers.GRU, {}),
    "gru_before": (layers.GRU, {"reset_after": False}),
    "lstm_1997": (layers.LSTM1997, {"block_size": block_size}),
    # The LSTM's options, and the variants of Greff et al.
    "lstm_peephole": (layers.LSTM, {"peepholes": "ifo"}),
    "lstm_cifg": (layers.LSTM, {"coupled": "input"}),
    "lstm_cifg_forget": (layers.LSTM, {"coupled": "forget"}),
    "lstm_nig": (layers.LSTM, {"peepholes": "fo", "omit": "i"}),
    "lstm_nfg": (layers.LSTM, {"peepholes": "io", "omit": "f"}),
    "lstm_nog": (layers.LSTM, {"peepholes": "if", "omit": "o"}),
    "lstm_niaf": (
        layers.LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "identity", "tanh")},
    ),
    "lstm_noaf": (
        layers.LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "tanh", "identity")},
    ),
    "lstm_fgr": (layers.LSTM, {"peepholes": "ifo", "full_gate_recurrence": True}),
    "lstm_proj": (layers.LSTM, {"proj_size": half}),
    "lstm_clip": (layers.LSTM, {"clip": 3.0}),
    "lstm_hard": (layers.LSTM, {"activations": ("hard_sigmoid", "tanh", "tanh")}),
    "lstm_soft": (layers.LSTM, {"activations": ("sigmoid", "softsign", "softsign")}),
    "gru_clip": (layers.GRU, {"clip": 3.0}),
    "gru_hard": (layers.GRU, {"activations": ("hard_sigmoid", "tanh")}),
    "mut1": (layers.MUT1, {}),
    "mut2": (layers.MUT2, {}),
    "mut3": (layers.MUT3, {}),
    "jordan": (layers.JordanRNN, {"output_size": half}),
    "leaky": (layers.LeakyRNN, {"leak": 0.3}),
    "clockwork": (layers.ClockworkRNN, {"periods": clock_periods}),
    "depth_gated": (layers.DepthGatedLSTM, {}),
    "grid": (TimeDepthGridLSTM, {}),
}
