"""Gated recurrent unit, the reset gate applied after the recurrent product.

Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
Statistical Machine Translation", arXiv 1406.1078 version 1; J. Chung et al.,
arXiv 1412.3555.  This is the form of cuDNN and torch; with the reset before the
product, as in Cho's final text, it is ``gru_before.py``.

    ar = W_r x + R_r h_prev + b_ih_r + b_hh_r      r = sigmoid(ar)
    az = W_z x + R_z h_prev + b_ih_z + b_hh_z      z = sigmoid(az)
    an = W_n x + b_ih_n
    v  = R_n h_prev + b_hh_n                       n = tanh(an + r * v)
    h  = z * h_prev + (1 - z) * n                  z keeps (Chung: z replaces)

Options: other activations of the gates and of n (../activations.py); clip, which limits
ar, az and the whole of an + r * v to [-clip, clip].

Row blocks of W and R: r, z, n, as in torch (Keras, ONNX: z r n).  The two biases of n
are different parameters: r multiplies only the second.
State: h.  Kept for backward: r, z, n, v.

Twin: ``csrc/kernels/cells/gru.c``.
"""

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush, fma
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward(step: Step) -> None:
    """From ar, az, an, v and h_prev to h."""
    h_prev = step.prev["h"]
    an, v = step.a["n"], step.a["v"]
    r = activate(step.activations[0], step.a["r"], step.clip)
    z = activate(step.activations[0], step.a["z"], step.clip)
    n = activate(step.activations[1], fma(r, v, an), step.clip)
    h = flush(fma(z, h_prev, (1 - z) * n))
    step.slots.update(r=r, z=z, n=n, v=v)
    step.state.update(h=h)


def point_backward(step: Step) -> None:
    """From dh to dar, daz, dan, dv.

    h = z * h_prev + (1-z) * n:  dz = dh * (h_prev - n)   dn = dh * (1-z)
                                 dh_prev starts at dh * z
    n = tanh(an + r * v):        dan = dn * (1 - n*n)     dr = dan * v   dv = dan * r
    and through sigmoid' = s * (1 - s).  W sees dar, daz, dan; R sees dar, daz, dv.
    """
    gate, candidate = step.activations
    r, z, n, v = (step.slots[name] for name in "rznv")
    h_prev = step.prev["h"]
    dh = step.dstate["h"]
    t = 1 - z
    dan = flush((dh * t) * slope(candidate, n, step.clip))
    dv = flush(dan * r)
    dar = flush((dan * v) * slope(gate, r, step.clip))
    daz = flush((dh * (h_prev - n)) * slope(gate, z, step.clip))
    dh_init = dh * z
    step.da.update(r=dar, z=daz, n=dan, v=dv)
    step.dprev.update(h=dh_init)


GRU = Cell(
    name="gru",
    gates=("r", "z", "n"),
    states=("h",),
    sums=(
        Sum("r", w=0, r=0),
        Sum("z", w=1, r=1),
        Sum("n", w=2, r=None),
        Sum("v", w=None, r=2),
    ),
    slots=("r", "z", "n", "v"),
    activations=(default_first("sigmoid"), default_first("tanh")),
    forward=(point_forward,),
    backward=(point_backward,),
)
