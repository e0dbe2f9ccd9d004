"""Clockwork recurrent network.

Source: J. Koutnik, K. Greff, F. Gomez, J. Schmidhuber, "A Clockwork RNN", ICML 2014,
PMLR 32, arXiv 1402.3511.

Units form modules, each with a period.  Module i takes part in a step whose number is
a multiple of its period T_i; there

    a_i = W_i x + (sum over modules j with T_j >= T_i) R_ij h_prev_j + b_ih_i + b_hh_i
    h_i = act(a_i)                            act: tanh, relu

and in the other steps h_i = h_prev_i: slow modules speak to fast ones, not the other
way round.  Steps are counted from 0, where all modules take part.

Which module takes part and what it hears is the engine's business: units that do not
take part pass h on and dh back.  Here is one step of units that do.

Row blocks of W and R: the one of a.  State: h.  Nothing is kept besides it.

Twin: ``csrc/kernels/cells/clockwork.c``.
"""

import numpy as np

from exactrnn._activations import activate, slope
from exactrnn._arith import flush
from exactrnn.cells._cell import Cell, Step, Sum


def point_forward(step: Step) -> None:
    """From a to h."""
    a = step.a["a"]
    h = flush(activate(step.activations[0], a))
    step.state.update(h=h)


def point_backward(step: Step) -> None:
    """From dh to da.

    h = act(a):    da = dh * act'(a)
    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    h = step.state["h"]
    dh = step.dstate["h"]
    if step.activations[0] == "relu":
        da = flush(np.where(h > 0, dh, dh.dtype.type(0)))
    else:
        da = flush(dh * slope(step.activations[0], h))
    dh_init = np.zeros_like(dh)
    step.da.update(a=da)
    step.dprev.update(h=dh_init)


CLOCKWORK = Cell(
    name="clockwork",
    gates=("a",),
    states=("h",),
    sums=(Sum("a", w=0, r=0),),
    slots=(),
    activations=(("tanh", "relu"),),
    forward=(point_forward,),
    backward=(point_backward,),
)
