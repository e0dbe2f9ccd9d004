"""The cells: one file each with equations, description and point functions."""

from exactrnn.cells._cell import Cell, Step, Sum, Vector
from exactrnn.cells.depth_gated import DEPTH_GATED
from exactrnn.cells.gru import GRU
from exactrnn.cells.gru_before import GRU_BEFORE
from exactrnn.cells.jordan import JORDAN
from exactrnn.cells.leaky import LEAKY
from exactrnn.cells.lstm import LSTM
from exactrnn.cells.lstm_1997 import LSTM_1997
from exactrnn.cells.mut1 import MUT1
from exactrnn.cells.mut2 import MUT2
from exactrnn.cells.mut3 import MUT3
from exactrnn.cells.rnn import RNN

CELLS = {
    cell.name: cell
    for cell in (
        RNN,
        LSTM,
        LSTM_1997,
        GRU,
        GRU_BEFORE,
        MUT1,
        MUT2,
        MUT3,
        JORDAN,
        LEAKY,
        DEPTH_GATED,
    )
}

__all__ = ["CELLS", "Cell", "Step", "Sum", "Vector"]
