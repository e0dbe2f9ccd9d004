"""The gated unit MUT1, found by a search over ten thousand architectures.

Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent
Network Architectures", ICML 2015, PMLR 37:2342-2350; x in its candidate is projected,
so that I and H may differ.

    stage 0:  ar = W_r x + R_r h_prev + b_ih_r + b_hh_r      r = sigmoid(ar)
              az = W_z x + b_ih_z                            z = sigmoid(az)
              ax = W_n x
              s  = r * h_prev
    stage 1:  an = R_n s + b_ih_n + b_hh_n                   n = tanh(an + tanh(ax))
              h  = (1 - z) * h_prev + z * n                  z writes

Row blocks of W: r, z, n; of R: r, n.  State: h.  Kept for backward: r, z, n, tanh(ax)
under the letter x, and s, which the gradient of R_n is paired with.

Twin: ``csrc/kernels/cells/mut1.c``.
"""

from exactrnn.reference.arith import flush, fma, sigmoid, tanh
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward_0(step: Step) -> None:
    """From ar, az, ax and h_prev to s."""
    h_prev = step.prev["h"]
    r = sigmoid(step.a["r"])
    z = sigmoid(step.a["z"])
    x = tanh(step.a["x"])
    s = flush(r * h_prev)
    step.slots.update(r=r, z=z, x=x, s=s)


def point_forward_1(step: Step) -> None:
    """From an, tanh(ax), z and h_prev to h."""
    h_prev = step.prev["h"]
    z, x = step.slots["z"], step.slots["x"]
    n = tanh(step.a["n"] + x)
    h = flush(fma(z, n, (1 - z) * h_prev))
    step.slots.update(n=n)
    step.state.update(h=h)


def point_backward_1(step: Step) -> None:
    """From dh to dan, dax, daz.

    h = (1-z) * h_prev + z * n:  dz = dh * (n - h_prev)   dn = dh * z
                                 dh_prev starts at dh * (1-z)
    n = tanh(an + x):            dan = dn * (1 - n*n)
    x = tanh(ax):                dax = dan * (1 - x*x)
    """
    z, n, x = (step.slots[name] for name in "znx")
    h_prev = step.prev["h"]
    dh = step.dstate["h"]
    t = 1 - z
    dan = flush((dh * z) * fma(-n, n, 1))
    dax = flush(dan * fma(-x, x, 1))
    daz = flush((dh * (n - h_prev)) * (z * t))
    carry = dh * t
    step.da.update(n=dan, x=dax, z=daz)
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


MUT1 = Cell(
    name="mut1",
    gates=("r", "z", "n"),
    r_gates=("r", "n"),
    states=("h",),
    sums=(
        Sum("r", w=0, r=0),
        Sum("z", w=1, r=None),
        Sum("x", w=2, r=None, bias="none"),
        Sum("n", w=None, r=1, stage=1, operand="s", bias=("x", 2)),
    ),
    slots=("r", "z", "x", "n", "s"),
    operands=("s",),
    activations=(("sigmoid",), ("tanh",)),
    forward=(point_forward_0, point_forward_1),
    backward=(point_backward_0, point_backward_1),
)
