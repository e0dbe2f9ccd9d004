"""The cells: one file each with equations, description and point functions."""

from exactrnn.reference.cells._cell import Cell, Step, Sum, Vector
from exactrnn.reference.cells.depth_gated import DEPTH_GATED
from exactrnn.reference.cells.gru import GRU
from exactrnn.reference.cells.gru_before import GRU_BEFORE
from exactrnn.reference.cells.jordan import JORDAN
from exactrnn.reference.cells.leaky import LEAKY
from exactrnn.reference.cells.lstm import LSTM
from exactrnn.reference.cells.lstm_1997 import LSTM_1997
from exactrnn.reference.cells.mut1 import MUT1
from exactrnn.reference.cells.mut2 import MUT2
from exactrnn.reference.cells.mut3 import MUT3
from exactrnn.reference.cells.rnn import RNN

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
