"""Long short-term memory as it was first: memory blocks whose cells share their gates.

Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
9(8):1735-1780, 1997.  A block has one input gate, one output gate and some cells; there
is no forget gate.  The hidden layer is fully connected, gates included: with
s = [h, i, o] of the step before, every sum sees all of s.

    ai = W_i x + R_i s_prev + b_i        i = sigmoid(ai)
    ao = W_o x + R_o s_prev + b_o        o = sigmoid(ao)
    ag = W_g x + R_g s_prev + b_g        g = 4 sigmoid(ag) - 2 = 2 tanh(ag / 2)
    c  = c_prev + i * g                  i of the cell's block
    h  = o * (2 sigmoid(c) - 1)          = o * tanh(c / 2), o of the cell's block

The squashing functions are computed in the form with tanh, which keeps small values
exact to the last bits where 2 sigmoid - 1 cancels.

A unit of the layer is a block: i and o are [B, H], while g, c and h are [B, cells*H],
those of the first cell of every block, then those of the second, and so on.

Row blocks of W and R: i, o, g; column blocks of R: h, i, o.  States: h, c, i, o.  Kept
for backward: i, o, g and c; tanh(c / 2) is computed again.

Twin: ``csrc/kernels/cells/lstm_1997.c``.
"""

from dataclasses import replace

import numpy as np

from exactrnn.reference.arith import flush, fma, sigmoid, tanh
from exactrnn.reference.cells._cell import Array, Cell, Options, Step, Sum


def for_cells(gate: Array, cells: int) -> Array:
    """From a gate of each block [B, H] to each cell of theirs [B, cells*H]."""
    return np.tile(gate, (1, cells))


def point_forward(step: Step) -> None:
    """From ai, ao, ag and c_prev to the new state."""
    cells = step.options.get("cells", 1)
    i, o = sigmoid(step.a["i"]), sigmoid(step.a["o"])
    g = 2 * tanh(step.a["g"] * 0.5)
    c = flush(fma(for_cells(i, cells), g, step.prev["c"]))
    h = flush(for_cells(o, cells) * tanh(c * 0.5))
    step.slots.update(i=i, o=o, g=g)
    step.state.update(h=h, c=c, i=flush(i), o=flush(o))


def point_backward(step: Step) -> None:
    """From the gradients of the states to dai, dao, dag and dc_prev.

    h = o * y,  y = tanh(c/2):   do += dh * y         dc += dh * o * (1 - y*y) / 2
    c = c_prev + i * g:          di += dc * g         dag = dc * i * (1 - (g/2)^2)
                                 dc_prev = dc

    di and do begin at what comes back from the step after, and gather over the cells
    of a block, one after the other.  h, i and o of the step before have no elementwise
    path.
    """
    cells = step.options.get("cells", 1)
    i, o, g = (step.slots[name] for name in "iog")
    every_i, every_o = for_cells(i, cells), for_cells(o, cells)
    dh, di, do = (step.dstate[name] for name in "hio")
    y = tanh(step.state["c"] * 0.5)
    dc = fma(dh * every_o, 0.5 * fma(-y, y, 1), step.dstate["c"])
    for k in range(cells):
        of_k = slice(k * i.shape[1], (k + 1) * i.shape[1])
        do = fma(dh[:, of_k], y[:, of_k], do)
        di = fma(dc[:, of_k], g[:, of_k], di)
    q = g * 0.5
    dag = flush((dc * every_i) * fma(-q, q, 1))
    dai = flush(di * (i * (1 - i)))
    dao = flush(do * (o * (1 - o)))
    step.da.update(i=dai, o=dao, g=dag)
    step.dprev.update(
        h=np.zeros_like(dh), c=flush(dc), i=np.zeros_like(i), o=np.zeros_like(o)
    )


def adapt(options: Options) -> Cell:
    """Return the cell with so many cells in each block."""
    return replace(LSTM_1997, cells=options.get("cells", 1))


LSTM_1997 = Cell(
    name="lstm_1997",
    gates=("i", "o", "g"),
    states=("h", "c", "i", "o"),
    sums=(
        Sum("i", w=0, r=0),
        Sum("o", w=1, r=1),
        Sum("g", w=2, r=2),
    ),
    slots=("i", "o", "g"),
    activations=(),
    forward=(point_forward,),
    backward=(point_backward,),
    per_cell=("h", "c", "g"),
    heard=("i", "o"),
    adapt=adapt,
)
