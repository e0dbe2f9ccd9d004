"""Simple recurrent network.

Source: J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2):179-211,
1990; with tanh or relu in place of the logistic units, as usual today.

    a = W x + R h_prev + b_ih + b_hh
    h = act(a)                                act: tanh, relu, ... (../activations.py)

Clockwork networks run it too: which modules take part in a step and what they hear is
the engine's business; here is one step of units that do.

Row blocks of W and R: the one of a.  State: h.  Nothing is kept besides it: tanh' is
1 - h*h, and relu' is 1 where h > 0, else 0 (also where a is 0, as in torch).

Twin: ``csrc/kernels/cells/rnn.c``.
"""

import numpy as np

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, inside_clip, slope
from exactrnn.reference.arith import flush
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward(step: Step) -> None:
    """From a to h."""
    a = step.a["a"]
    h = flush(activate(step.activations[0], a, step.clip))
    step.state.update(h=h)


def point_backward(step: Step) -> None:
    """From dh to da.

    h = act(a):    da = dh * act'(a)
    A relu that is shut stops even an infinite dh.
    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    h = step.state["h"]
    dh = step.dstate["h"]
    if step.activations[0] == "relu":
        open_ = np.where(h > 0, dh, dh.dtype.type(0))
        da = flush(inside_clip("relu", h, open_, step.clip))
    else:
        da = flush(dh * slope(step.activations[0], h, step.clip))
    dh_init = np.zeros_like(dh)
    step.da.update(a=da)
    step.dprev.update(h=dh_init)


RNN = Cell(
    name="rnn",
    gates=("a",),
    states=("h",),
    sums=(Sum("a", w=0, r=0),),
    slots=(),
    activations=(default_first("tanh"),),
    forward=(point_forward,),
    backward=(point_backward,),
)
