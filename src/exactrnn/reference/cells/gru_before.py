"""Gated recurrent unit, the reset gate applied before the recurrent product.

Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
Statistical Machine Translation", arXiv 1406.1078 version 3 (the EMNLP 2014 text).
With the reset after the product, as in cuDNN and torch, it is ``gru.py``.

    stage 0:  ar = W_r x + R_r h_prev + b_ih_r + b_hh_r      r = sigmoid(ar)
              az = W_z x + R_z h_prev + b_ih_z + b_hh_z      z = sigmoid(az)
              s  = r * h_prev
    stage 1:  an = W_n x + R_n s + b_ih_n + b_hh_n           n = tanh(an)
              h  = z * h_prev + (1 - z) * n                  z keeps

Options: other activations of the gates and of n (../activations.py); clip, which limits
ar, az and an to [-clip, clip].

R_n is multiplied with s, which needs r of all units first: hence two stages.
Row blocks of W and R: r, z, n.  State: h.  Kept for backward: r, z, n, and s, which
the gradient of R_n is paired with.

Twin: ``csrc/kernels/cells/gru_before.c``.
"""

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush, fma
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward_0(step: Step) -> None:
    """From ar, az and h_prev to s."""
    h_prev = step.prev["h"]
    r = activate(step.activations[0], step.a["r"], step.clip)
    z = activate(step.activations[0], step.a["z"], step.clip)
    s = flush(r * h_prev)
    step.slots.update(r=r, z=z, s=s)


def point_forward_1(step: Step) -> None:
    """From an, z and h_prev to h."""
    h_prev = step.prev["h"]
    z = step.slots["z"]
    n = activate(step.activations[1], step.a["n"], step.clip)
    h = flush(fma(z, h_prev, (1 - z) * n))
    step.slots.update(n=n)
    step.state.update(h=h)


def point_backward_1(step: Step) -> None:
    """From dh to dan, daz.

    h = z * h_prev + (1-z) * n:  dz = dh * (h_prev - n)   dn = dh * (1-z)
                                 dh_prev starts at dh * z
    n = tanh(an):                dan = dn * (1 - n*n)
    """
    gate, candidate = step.activations
    z, n = step.slots["z"], step.slots["n"]
    h_prev = step.prev["h"]
    dh = step.dstate["h"]
    t = 1 - z
    dan = flush((dh * t) * slope(candidate, n, step.clip))
    daz = flush((dh * (h_prev - n)) * slope(gate, z, step.clip))
    carry = dh * z
    step.da.update(n=dan, z=daz)
    step.dprev.update(h=carry)


def point_backward_0(step: Step) -> None:
    """From ds, the gradient of s, to dar.

    s = r * h_prev:              dr = ds * h_prev         dh_prev gains ds * r
    """
    r = step.slots["r"]
    h_prev = step.prev["h"]
    ds, carry = step.doperands["s"], step.dprev["h"]
    dar = flush((ds * h_prev) * slope(step.activations[0], r, step.clip))
    dh_init = fma(ds, r, carry)
    step.da.update(r=dar)
    step.dprev.update(h=dh_init)


GRU_BEFORE = Cell(
    name="gru_before",
    gates=("r", "z", "n"),
    states=("h",),
    sums=(
        Sum("r", w=0, r=0),
        Sum("z", w=1, r=1),
        Sum("n", w=2, r=2, stage=1, operand="s"),
    ),
    slots=("r", "z", "n", "s"),
    operands=("s",),
    activations=(default_first("sigmoid"), default_first("tanh")),
    forward=(point_forward_0, point_forward_1),
    backward=(point_backward_0, point_backward_1),
)
