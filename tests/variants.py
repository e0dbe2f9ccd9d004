"""The lists that tests run over, as data: cells, instruction sets, dtypes, threads.

Cells and instruction sets come from the same `.def` files that C and CMake read, so a
new one enters every generic test by its own line there. Ids use the lists' words:
a test of all four reads `gru-avx2-f32-2threads`.
"""

import re
from pathlib import Path

import exactrnn as xr
from exactrnn.cells import CELLS as TWINS
from exactrnn.layers import RecurrentLayer, _layer_config

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"


def read_def(path):
    """Return the names listed in a .def file, in its order."""
    return tuple(re.findall(r"^XR_\w+\((\w+)\)", path.read_text(), re.MULTILINE))


CELLS = read_def(CSRC / "kernels" / "cells.def")
KNOWN_ISAS = read_def(CSRC / "isas.def")
ISAS = xr.isas()
DTYPES = {"f32": "float32", "f64": "float64"}
THREADS = (1, 2, 3, 7)


class CellLayer(RecurrentLayer):
    """A layer of any cell of cells.def, also of one that has no public class."""

    @classmethod
    def _configure(cls, arguments):
        cell = arguments["cell"]
        return _layer_config(cell, TWINS[cell].default_activations, arguments)


COMMON = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
COMMON |= {"bidirectional": False, "dtype": "float32"}


def make_layer(cell, input_size, hidden_size, *, seed=0, **options):
    """Return a layer that runs the kernel cell of this name: public classes first."""
    if cell == "gru_before":
        options["reset_after"] = False
    classes = {"rnn": xr.RNN, "lstm": xr.LSTM, "gru": xr.GRU, "gru_before": xr.GRU}
    if cell in classes:
        return classes[cell](input_size, hidden_size, seed=seed, **options)
    sizes = {"cell": cell, "input_size": input_size, "hidden_size": hidden_size}
    return CellLayer(sizes | COMMON | options, seed)
