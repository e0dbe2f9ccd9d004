"""The lists that tests run over, as data: cells, variants, isas, dtypes, threads.

Cells and instruction sets come from the same `.def` files that C and CMake read,
networks from the list of the public classes, so a new one enters every generic test by
its own line there. A variant is a public class with options. Ids use the lists'
words: a test of all of these reads `gru-avx2-f32-2threads`.
"""

import re
from pathlib import Path

import exactrnn as xr
from exactrnn import layers
from exactrnn._spec.activations import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
HELPERS = TESTS / "helpers"
CSRC = ROOT / "csrc"


def read_def(path):
    """Return the names listed in a .def file, in its order."""
    return tuple(re.findall(r"^XR_\w+\((\w+)\)", path.read_text(), re.MULTILINE))


CELLS = read_def(CSRC / "kernels" / "cells.def")
KNOWN_ISAS = read_def(CSRC / "kernels" / "isas.def")
ISAS = xr.isas()
DTYPES = {"f32": "float32", "f64": "float64"}
THREADS = (1, 2, 3, 7)

PUBLIC = {
    name: (network.kind, network.form)
    for name, network in layers.NETWORKS.items()
    if (network.record.cell or name) in CELLS
}
"""The public class of each network that runs a cell, with what chooses the cell.

Sizes that depend on the number of units are functions of it.
"""
NETWORKS = tuple(PUBLIC)


def lstm(**options):
    return xr.LSTM, options


def thirds(H):
    """Return sizes of three modules, of very different widths where H allows it."""
    return (H - H // 2 - H // 5, H // 5, H // 2)


def cells(H):
    """Return the size of the largest memory blocks that H cells can be put into."""
    return max(size for size in (1, 2, 3, 4) if H % size == 0)


def part(H):
    """Return the size of a projection, none for one unit."""
    return H // 2


ACTIVATIONS = (
    *PARAMETERS,
    ("hard_sigmoid", 1 / 6, 0.5),  # torch's, and that of Keras 3
    ("hard_sigmoid", -0.3, 0.4),  # falling
    ("leaky_relu", 0.25),
    ("leaky_relu", 0.0),
    ("leaky_relu", 3.0),
    ("elu", 0.5),
    ("elu", 2.0),
    ("elu", 0.0),
    ("scaled_tanh", 1.7159, 2 / 3),
    ("scaled_tanh", -1.5, 0.75),
    ("thresholded_relu", 0.5),
    ("thresholded_relu", 0.0),
    ("affine", -0.5, 0.25),
    ("affine", 0.0, 0.5),
)
"""Every activation, with the usual parameters and with others."""

VARIANTS = {
    "rnn-relu": (xr.RNN, {"nonlinearity": "relu"}),
    "rnn-relu-clip": (xr.RNN, {"nonlinearity": "relu", "clip": 0.7}),
    "rnn-leaky_relu": (xr.RNN, {"nonlinearity": ("leaky_relu", 0.1)}),
    "rnn-sigmoid-clip": (xr.RNN, {"nonlinearity": "sigmoid", "clip": 0.7}),
    "lstm-peepholes": lstm(peepholes="ifo"),
    "lstm-peephole-o": lstm(peepholes="o"),
    "lstm-cifg": lstm(coupled="input"),
    "lstm-cifg-forget": lstm(coupled="forget", peepholes="fo"),
    "lstm-nig": lstm(omit="i", peepholes="fo"),
    "lstm-nfg": lstm(omit="f", peepholes="io"),
    "lstm-nog": lstm(omit="o", peepholes="if"),
    "lstm-no-gates": lstm(omit="ifo"),
    "lstm-niaf": lstm(activations=("sigmoid", "identity", "tanh"), peepholes="ifo"),
    "lstm-noaf": lstm(activations=("sigmoid", "tanh", "identity"), peepholes="ifo"),
    "lstm-hard": lstm(activations=("hard_sigmoid", "softsign", "relu")),
    "lstm-odd-activations": lstm(activations=("tanh", "sigmoid", "hard_sigmoid")),
    "lstm-parameters": lstm(
        activations=(
            ("hard_sigmoid", 1 / 6, 0.5),
            ("scaled_tanh", 1.7159, 2 / 3),
            "elu",
        )
    ),
    "lstm-falling": lstm(
        activations=(
            ("affine", -0.4, 0.5),
            ("leaky_relu", 0.3),
            ("scaled_tanh", -1, 1),
        ),
        clip=0.9,
        peepholes="ifo",
    ),
    "lstm-clip": lstm(clip=0.7),
    "lstm-fgr": lstm(full_gate_recurrence=True),
    "lstm-proj": lstm(proj_size=part),
    "lstm-proj-equal": lstm(proj_size=lambda H: H),
    "lstm-proj-wide": lstm(proj_size=lambda H: H + 3),
    "lstm-peepholes-cifg-proj": lstm(peepholes="io", coupled="input", proj_size=part),
    "lstm-fgr-nfg": lstm(full_gate_recurrence=True, omit="f", peepholes="io"),
    "lstm-fgr-cifg-clip": lstm(full_gate_recurrence=True, coupled="forget", clip=1.4),
    "lstm-everything": lstm(
        peepholes="ifo",
        full_gate_recurrence=True,
        activations=("hard_sigmoid", "relu", "softsign"),
        clip=1.9,
        proj_size=part,
    ),
    "lstm_1997-large-blocks": (xr.LSTM1997, {"block_size": cells}),
    "gru-clip": (
        xr.GRU,
        {"activations": ("hard_sigmoid", "softsign"), "clip": 0.7},
    ),
    "gru_before-clip": (
        xr.GRU,
        {"activations": ("softsign", "relu"), "clip": 0.7, "reset_after": False},
    ),
    "gru-elu": (xr.GRU, {"activations": (("hard_sigmoid", 1 / 6), ("elu", 0.5))}),
    "gru_before-softplus": (
        xr.GRU,
        {"activations": ("sigmoid", "softplus"), "clip": 2, "reset_after": False},
    ),
    "jordan-softplus-clip": (
        xr.JordanRNN,
        {"nonlinearity": "softplus", "output_nonlinearity": ("elu", 2), "clip": 0.7},
    ),
    "jordan-wide": (
        xr.JordanRNN,
        {"output_size": lambda H: H + 3, "output_nonlinearity": "identity"},
    ),
    "leaky-learned": (xr.LeakyRNN, {"leak": 0.3, "learn_leak": True}),
    "leaky-per-unit": (
        xr.LeakyRNN,
        {
            "leak": lambda H: tuple((k + 1) / (H + 1) for k in range(H)),
            "learn_leak": True,
            "nonlinearity": "relu",
        },
    ),
    "leaky-thresholded-clip": (
        xr.LeakyRNN,
        {"leak": 0.3, "nonlinearity": ("thresholded_relu", 0.25), "clip": 0.9},
    ),
    "clockwork-elu-clip": (
        xr.ClockworkRNN,
        {"periods": (1, 3), "module_sizes": None, "nonlinearity": "elu", "clip": 0.7},
    ),
    "clockwork-unordered": (
        xr.ClockworkRNN,
        {"periods": (3, 1, 2), "module_sizes": thirds, "nonlinearity": "relu"},
    ),
    "clockwork-equal": (
        xr.ClockworkRNN,
        {"periods": (2, 3, 2), "module_sizes": thirds, "phase": 5},
    ),
}
"""Cells with options; every option of a public class by itself, and some together."""


def options_of(name, hidden_size):
    """Return the class of a cell or variant, and its options at a size."""
    layer_class, options = (PUBLIC | VARIANTS)[name]
    return layer_class, {
        key: value(hidden_size) if callable(value) else value
        for key, value in options.items()
    }


def make_layer(name, input_size, hidden_size, *, seed=0, **options):
    """Return a layer of a network or of a variant, by name.

    Of a network whose upper layers are others than the first there are two at least.
    """
    layer_class, own = options_of(name, hidden_size)
    least = layer_class.record.example_layers
    options["num_layers"] = max(least, options.get("num_layers", 1))
    return layer_class(input_size, hidden_size, seed=seed, **(own | options))
