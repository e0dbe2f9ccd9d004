"""The cells: one file each with equations, description and point functions."""

from exactrnn.cells._cell import Cell, Step, Sum
from exactrnn.cells.gru import GRU
from exactrnn.cells.gru_before import GRU_BEFORE
from exactrnn.cells.lstm import LSTM
from exactrnn.cells.rnn import RNN

CELLS = {cell.name: cell for cell in (RNN, LSTM, GRU, GRU_BEFORE)}

__all__ = ["CELLS", "Cell", "Step", "Sum"]
