"""Leaky integrator units, the reservoir of an echo state network.

Source: H. Jaeger, M. Lukosevicius, D. Popovici, U. Siewert, "Optimization and
applications of echo state networks with leaky-integrator neurons", Neural Networks
20(3):335-352, 2007; the form of M. Lukosevicius, "A Practical Guide to Applying Echo
State Networks", 2012, with the leak outside of the activation.

    a = W x + R h_prev + b_ih + b_hh
    u = act(a)                                act: tanh, relu, ... (../activations.py)
    h = (1 - alpha) * h_prev + alpha * u      alpha: one leak per unit

Row blocks of W and R: the one of a.  Vectors: alpha.  State: h.  Kept for backward: u,
under the letter of its sum; l is no sum, it is where the gradient of alpha is gathered.

Twin: ``csrc/kernels/cells/leaky.c``.
"""

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush, fma
from exactrnn.reference.cells._cell import Cell, Step, Sum, Vector


def point_forward(step: Step) -> None:
    """From a and h_prev to h."""
    alpha, h_prev = step.vectors["alpha"], step.prev["h"]
    u = activate(step.activations[0], step.a["a"], step.clip)
    h = flush(fma(alpha, u, (1 - alpha) * h_prev))
    step.slots.update(a=u)
    step.state.update(h=h)


def point_backward(step: Step) -> None:
    """From dh to da and to dl, the share of this step in the gradient of alpha.

    h = (1 - alpha) * h_prev + alpha * u:  du = dh * alpha    dl = dh * (u - h_prev)
                                           dh_prev starts at dh * (1 - alpha)
    u = act(a):                            da = du * act'(a)
    """
    alpha, h_prev = step.vectors["alpha"], step.prev["h"]
    u = step.slots["a"]
    dh = step.dstate["h"]
    da = flush((dh * alpha) * slope(step.activations[0], u, step.clip))
    dl = flush(dh * (u - h_prev))
    dh_init = dh * (1 - alpha)
    step.da.update(a=da, l=dl)
    step.dprev.update(h=dh_init)


LEAKY = Cell(
    name="leaky",
    gates=("a",),
    states=("h",),
    sums=(Sum("a", w=0, r=0), Sum("l", w=None, r=None, bias="none")),
    slots=("a",),
    activations=(default_first("tanh"),),
    forward=(point_forward,),
    backward=(point_backward,),
    vectors=(Vector("alpha", sum="l", factor="one"),),
)
