"""The gated unit MUT3, found by a search over ten thousand architectures.

Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent
Network Architectures", ICML 2015, PMLR 37:2342-2350.

    stage 0:  ar = W_r x + R_r h_prev + b_ih_r + b_hh_r      r = sigmoid(ar)
              s  = r * h_prev
              q  = tanh(h_prev)
    stage 1:  az = W_z x + R_z q + b_ih_z + b_hh_z           z = sigmoid(az)
              an = W_n x + R_n s + b_ih_n + b_hh_n           n = tanh(an)
              h  = (1 - z) * h_prev + z * n                  z writes

Row blocks of W and R: r, z, n.  State: h.  Kept for backward: r, z, n, and s and q,
which the gradients of R_n and R_z are paired with.

Twin: ``csrc/kernels/cells/mut3.c``.
"""

from exactrnn.reference.arith import flush, fma, sigmoid, tanh
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward_0(step: Step) -> None:
    """From ar and h_prev to s and q."""
    h_prev = step.prev["h"]
    r = sigmoid(step.a["r"])
    s = flush(r * h_prev)
    q = flush(tanh(h_prev))
    step.slots.update(r=r, s=s, q=q)


def point_forward_1(step: Step) -> None:
    """From az, an and h_prev to h."""
    h_prev = step.prev["h"]
    z = sigmoid(step.a["z"])
    n = tanh(step.a["n"])
    h = flush(fma(z, n, (1 - z) * h_prev))
    step.slots.update(z=z, n=n)
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
    """From ds and dq, the gradients of s and q, to dar.

    s = r * h_prev:              dr = ds * h_prev         dh_prev gains ds * r
    q = tanh(h_prev):            dh_prev gains dq * (1 - q*q), with q computed again
    """
    r = step.slots["r"]
    h_prev = step.prev["h"]
    ds, dq = step.doperands["s"], step.doperands["q"]
    carry = step.dprev["h"]
    q = tanh(h_prev)
    dar = flush((ds * h_prev) * (r * (1 - r)))
    dh_init = fma(dq, fma(-q, q, 1), fma(ds, r, carry))
    step.da.update(r=dar)
    step.dprev.update(h=dh_init)


MUT3 = Cell(
    name="mut3",
    gates=("r", "z", "n"),
    states=("h",),
    sums=(
        Sum("r", w=0, r=0),
        Sum("z", w=1, r=1, stage=1, operand="q"),
        Sum("n", w=2, r=2, stage=1, operand="s"),
    ),
    slots=("r", "z", "n", "s", "q"),
    operands=("s", "q"),
    activations=(("sigmoid",), ("tanh",)),
    forward=(point_forward_0, point_forward_1),
    backward=(point_backward_0, point_backward_1),
)
