"""Long short-term memory with forget gate, without peepholes.

Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
9(8):1735-1780, 1997; the forget gate: F. Gers, J. Schmidhuber, F. Cummins, "Learning
to Forget", Neural Computation 12(10):2451-2471, 2000; the full gradient: A. Graves,
J. Schmidhuber, Neural Networks 18(5-6):602-610, 2005.

    a_ = W_ x + R_ h_prev + b_ih_ + b_hh_          _ in i f g o
    i = sigmoid(ai)     f = sigmoid(af)     g = tanh(ag)     o = sigmoid(ao)
    c = f * c_prev + i * g
    h = o * tanh(c)

Row blocks of W and R: i, f, g, o, as in torch (Keras: i f c o; ONNX: i o f c).
States: h, c.  Kept for backward: i, f, g, o and c; tanh(c) is computed again.

Twin: ``csrc/kernels/cells/lstm.c``.
"""

import numpy as np

from exactrnn._arith import flush, fma, sigmoid, tanh
from exactrnn.cells._cell import Cell, Step, Sum


def point_forward(step: Step) -> None:
    """From ai, af, ag, ao and c_prev to c and h."""
    c_prev = step.prev["c"]
    i = sigmoid(step.a["i"])
    f = sigmoid(step.a["f"])
    g = tanh(step.a["g"])
    o = sigmoid(step.a["o"])
    c = flush(fma(f, c_prev, i * g))
    h = flush(o * tanh(c))
    step.slots.update(i=i, f=f, g=g, o=o)
    step.state.update(h=h, c=c)


def point_backward(step: Step) -> None:
    """From dh and dc to dai, daf, dag, dao and dc_prev.

    h = o * y, y = tanh(c):      do = dh * y        dct = dc + dh * o * (1 - y*y)
    c = f * c_prev + i * g:      di = dct * g       dg = dct * i
                                 df = dct * c_prev  dc_prev = dct * f
    each through its activation: sigmoid' = s * (1 - s), tanh' = 1 - g*g.
    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    i, f, g, o = (step.slots[gate] for gate in "ifgo")
    c_prev, c = step.prev["c"], step.state["c"]
    dh, dc = step.dstate["h"], step.dstate["c"]
    y = tanh(c)
    dao = flush((dh * y) * (o * (1 - o)))
    dct = fma(dh * o, fma(-y, y, 1), dc)
    dai = flush((dct * g) * (i * (1 - i)))
    daf = flush((dct * c_prev) * (f * (1 - f)))
    dag = flush((dct * i) * fma(-g, g, 1))
    dc_prev = flush(dct * f)
    dh_init = np.zeros_like(dh)
    step.da.update(i=dai, f=daf, g=dag, o=dao)
    step.dprev.update(h=dh_init, c=dc_prev)


LSTM = Cell(
    name="lstm",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    sums=(
        Sum("i", w=0, r=0),
        Sum("f", w=1, r=1),
        Sum("g", w=2, r=2),
        Sum("o", w=3, r=3),
    ),
    slots=("i", "f", "g", "o"),
    operands=("h",),
    activations=(("sigmoid",), ("tanh",), ("tanh",)),
    forward=(point_forward,),
    backward=(point_backward,),
)
