"""Jordan network: the output is fed back, not the hidden units.

Source: M. I. Jordan, "Attractor dynamics and parallelism in a connectionist sequential
machine", Proceedings of the 8th Annual Conference of the Cognitive Science Society,
531-546, 1986.  The state is the output of the step before; the paper's plan units are
part of x, its decaying sum of outputs is left out.

    stage 0:  a = W x + R y_prev + b_ih + b_hh
              s = act(a)                      the hidden units, [H]
    stage 1:  ay = V s + b_ho
              y = out(ay)                     the output, [O]

with act and out any of ../activations.py.  V is ``weight_ho`` [O, H], R is [H, O].

Row blocks of W and R: the one of a.  State: y, in the place of other cells' h.  Kept
for backward: act(a), under the letter of its sum, and s, the same flushed, which V is
multiplied with.

Twin: ``csrc/kernels/cells/jordan.c``.
"""

import numpy as np

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush
from exactrnn.reference.cells._cell import Cell, Step, Sum


def point_forward_0(step: Step) -> None:
    """From a to s."""
    hidden = activate(step.activations[0], step.a["a"], step.clip)
    s = flush(hidden)
    step.slots.update(a=hidden, s=s)


def point_forward_1(step: Step) -> None:
    """From ay to y."""
    y = flush(activate(step.activations[1], step.a["y"], step.clip))
    step.state.update(h=y)


def point_backward_1(step: Step) -> None:
    """From dy to day.

    y = out(ay):   day = dy * out'(ay)
    y_prev is seen by R alone, so the chain of dy_prev starts at zero.
    """
    y = step.state["h"]
    dy = step.dstate["h"]
    day = flush(dy * slope(step.activations[1], y, step.clip))
    dy_init = np.zeros_like(dy)
    step.da.update(y=day)
    step.dprev.update(h=dy_init)


def point_backward_0(step: Step) -> None:
    """From ds, the gradient of s, to da.

    s = act(a):    da = ds * act'(a)
    """
    hidden = step.slots["a"]
    ds = step.doperands["s"]
    da = flush(ds * slope(step.activations[0], hidden, step.clip))
    step.da.update(a=da)


JORDAN = Cell(
    name="jordan",
    gates=("a",),
    states=("h",),
    sums=(
        Sum("a", w=0, r=0),
        Sum("y", w=None, r=0, stage=1, operand="s", matrix="hr"),
    ),
    slots=("a", "s"),
    activations=(default_first("tanh"), default_first("identity")),
    forward=(point_forward_0, point_forward_1),
    backward=(point_backward_0, point_backward_1),
    operands=("s",),
    projects=True,
)
