"""What can be measured: every public network, the main options of two, definitions.

A name here is the `cell` of a row. Options that depend on the number of units are
functions of it.
"""

from __future__ import annotations

from typing import Any

from exactrnn import cells
from exactrnn.layers import GRU, LSTM, NETWORKS, Layer


def half(H: int) -> int:
    """Return half of the units, for projections."""
    return max(1, H // 2)


def slstm_with_heads(H: int) -> cells.SLSTM:
    """Return an sLSTM of as few heads, four at least, as divide H."""
    return cells.SLSTM(num_heads=next((n for n in range(4, 65) if H % n == 0), 1))


OPTIONS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "lstm_peephole": (LSTM, {"peepholes": "ifo"}),
    "lstm_cifg": (LSTM, {"coupled": "input"}),
    "lstm_cifg_forget": (LSTM, {"coupled": "forget"}),
    "lstm_nig": (LSTM, {"peepholes": "fo", "omit": "i"}),
    "lstm_nfg": (LSTM, {"peepholes": "io", "omit": "f"}),
    "lstm_nog": (LSTM, {"peepholes": "if", "omit": "o"}),
    "lstm_niaf": (
        LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "identity", "tanh")},
    ),
    "lstm_noaf": (
        LSTM,
        {"peepholes": "ifo", "activations": ("sigmoid", "tanh", "identity")},
    ),
    "lstm_fgr": (LSTM, {"peepholes": "ifo", "full_gate_recurrence": True}),
    "lstm_proj": (LSTM, {"proj_size": half}),
    "lstm_clip": (LSTM, {"clip": 3.0}),
    "lstm_hard": (LSTM, {"activations": ("hard_sigmoid", "tanh", "tanh")}),
    "lstm_soft": (LSTM, {"activations": ("sigmoid", "softsign", "softsign")}),
    "lstm_layer_norm": (LSTM, {"layer_norm": True}),
    "gru_layer_norm": (GRU, {"layer_norm": True}),
    "gru_clip": (GRU, {"clip": 3.0}),
    "gru_hard": (GRU, {"activations": ("hard_sigmoid", "tanh")}),
}
"""The options of LSTM and GRU, and the variants of Greff et al."""

DEFINITIONS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    **{
        name.lower(): (Layer, {"cell": getattr(cells, name)()})
        for name in sorted(cells.__all__, key=str.lower)
    },
    "slstm_heads": (Layer, {"cell": slstm_with_heads}),
}
"""Cells from their equations."""

CELLS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    **{name: (network.kind, dict(network.form)) for name, network in NETWORKS.items()},
    **OPTIONS,
    **DEFINITIONS,
}
