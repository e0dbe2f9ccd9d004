"""The gated unit MUT2, found by a search over ten thousand architectures.

Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent
Network Architectures", ICML 2015, PMLR 37:2342-2350; x in its reset gate is projected,
so that I and H may differ.

    stage 0:  ar = W_r x + R_r h_prev + b_ih_r + b_hh_r      r = sigmoid(ar)
              az = W_z x + R_z h_prev + b_ih_z + b_hh_z      z = sigmoid(az)
              s  = r * h_prev
    stage 1:  an = W_n x + R_n s + b_ih_n + b_hh_n           n = tanh(an)
              h  = (1 - z) * h_prev + z * n                  z writes

With its projected x this is the gated recurrent unit of ``gru_before.py`` but for the
side that z is on.

Row blocks of W and R: r, z, n.  State: h.  Kept for backward: r, z, n, and s, which
the gradient of R_n is paired with.

Twin: ``csrc/kernels/cells/mut2.c``.
"""

from exactrnn.reference.arith import flush, fma, sigmoid, tanh
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward_0(step: Step) -> None:
    """From ar, az and h_prev to s."""
    h_prev = step.prev["h"]
    r = sigmoid(step.a["r"])
    z = sigmoid(step.a["z"])
    s = flush(r * h_prev)
    step.slots.update(r=r, z=z, s=s)


def point_forward_1(step: Step) -> None:
    """From an, z and h_prev to h."""
    h_prev = step.prev["h"]
    z = step.slots["z"]
    n = tanh(step.a["n"])
    h = flush(fma(z, n, (1 - z) * h_prev))
    step.slots.update(n=n)
    step.state.update(h=h)


def point_backward_1(step: Step) -> None:
    """From dh to dan, daz.

    h = (1-z) * h_prev + z * n:  dz = dh * (n - h_prev)   dn = dh * z
                                 dh_prev starts at dh * (1-z)
    n = tanh(an):                dan = dn * (1 - n*n)
    """
    z, n = step.slots["z"], step.slots["n"]
    h_prev = step.prev["h"]
    dh = step.dstate["h"]
    t = 1 - z
    dan = flush((dh * z) * fma(-n, n, 1))
    daz = flush((dh * (n - h_prev)) * (z * t))
    carry = dh * t
    step.da.update(n=dan, z=daz)
    step.dprev.update(h=carry)


def point_backward_0(step: Step) -> None:
    """From ds, the gradient of s, to dar.

    s = r * h_prev:              dr = ds * h_prev         dh_prev gains ds * r
    """
    r = step.slots["r"]
    h_prev = step.prev["h"]
    ds, carry = step.doperands["s"], step.dprev["h"]
    dar = flush((ds * h_prev) * (r * (1 - r)))
    dh_init = fma(ds, r, carry)
    step.da.update(r=dar)
    step.dprev.update(h=dh_init)


MUT2 = Cell(
    name="mut2",
    gates=("r", "z", "n"),
    states=("h",),
    sums=(
        Sum("r", w=0, r=0),
        Sum("z", w=1, r=1),
        Sum("n", w=2, r=2, stage=1, operand="s"),
    ),
    slots=("r", "z", "n", "s"),
    operands=("s",),
    activations=(("sigmoid",), ("tanh",)),
    forward=(point_forward_0, point_forward_1),
    backward=(point_backward_0, point_backward_1),
)
