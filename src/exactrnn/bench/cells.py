"""What can be measured: cells and their main options, one line each.

A name here is the `cell` of a row. Options that depend on the number of units are
functions of it.
"""

from __future__ import annotations

from typing import Any

import exactrnn as xr
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
    "rnn": (xr.RNN, {}),
    "lstm": (xr.LSTM, {}),
    "gru": (xr.GRU, {}),
    "gru_before": (xr.GRU, {"reset_after": False}),
    "lstm_1997": (xr.LSTM1997, {"block_size": block_size}),
    # The LSTM's options, and the variants of Greff et al.
    "lstm_peephole": (xr.LSTM, {"peepholes": "ifo"}),
    "lstm_cifg": (xr.LSTM, {"coupled": "input"}),
    "lstm_cifg_forget": (xr.LSTM, {"coupled": "forget"}),
    "lstm_nig": (xr.LSTM, {"peepholes": "fo", "omit": "i"}),
    "lstm_nfg": (xr.LSTM, {"peepholes": "io", "omit": "f"}),
    "lstm_nog": (xr.LSTM, {"peepholes": "if", "omit": "o"}),
    "lstm_niaf": (
        xr.LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "identity", "tanh")},
    ),
    "lstm_noaf": (
        xr.LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "tanh", "identity")},
    ),
    "lstm_fgr": (xr.LSTM, {"peepholes": "ifo", "full_gate_recurrence": True}),
    "lstm_proj": (xr.LSTM, {"proj_size": half}),
    "lstm_clip": (xr.LSTM, {"clip": 3.0}),
    "lstm_hard": (xr.LSTM, {"activations": ("hard_sigmoid", "tanh", "tanh")}),
    "lstm_soft": (xr.LSTM, {"activations": ("sigmoid", "softsign", "softsign")}),
    "gru_clip": (xr.GRU, {"clip": 3.0}),
    "gru_hard": (xr.GRU, {"activations": ("hard_sigmoid", "tanh")}),
    "mut1": (xr.MUT1, {}),
    "mut2": (xr.MUT2, {}),
    "mut3": (xr.MUT3, {}),
    "jordan": (xr.JordanRNN, {"output_size": half}),
    "leaky": (xr.LeakyRNN, {"leak": 0.3}),
    "clockwork": (xr.ClockworkRNN, {"periods": clock_periods}),
    "depth_gated": (xr.DepthGatedLSTM, {}),
    "grid": (TimeDepthGridLSTM, {}),
}
