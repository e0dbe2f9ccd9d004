"""Simple recurrent network.

Source: J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2):179-211,
1990; with tanh or relu in place of the logistic units, as usual today.

    a = W x + R h_prev + b_ih + b_hh
    h = act(a)                                act: tanh, relu

Row blocks of W and R: the one of a.  State: h.  Nothing is kept besides it: tanh' is
1 - h*h, and relu' is 1 where h > 0, else 0 (also where a is 0, as in torch).

Twin: ``csrc/kernels/cells/rnn.c``.
"""

import numpy as np

from exactrnn._arith import flush, fma, tanh
from exactrnn.cells._cell import Array, Cell, Step, Sum


def relu(a: Array) -> Array:
    """Return a where it is positive or NaN, else +0.0."""
    return np.where(a <= 0, a.dtype.type(0), a)


def point_forward(step: Step) -> None:
    """From a to h."""
    a = step.a["a"]
    if step.activations == ("relu",):
        h = flush(relu(a))
    else:
        h = flush(tanh(a))
    step.state.update(h=h)


def point_backward(step: Step) -> None:
    """From dh to da.

    h = act(a):    da = dh * act'(a)
    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    h = step.state["h"]
    dh = step.dstate["h"]
    if step.activations == ("relu",):
        da = flush(np.where(h > 0, dh, dh.dtype.type(0)))
    else:
        da = flush(dh * fma(-h, h, 1))
    dh_init = np.zeros_like(dh)
    step.da.update(a=da)
    step.dprev.update(h=dh_init)


RNN = Cell(
    name="rnn",
    gates=("a",),
    states=("h",),
    sums=(Sum("a", w=0, r=0),),
    slots=(),
    operands=("h",),
    activations=(("tanh", "relu"),),
    forward=(point_forward,),
    backward=(point_backward,),
)
