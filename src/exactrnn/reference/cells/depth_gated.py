"""Depth-gated LSTM: an upper layer of a stack whose memory cells are linked.

Source: K. Yao, T. Cohn, K. Vylomova, K. Duh, C. Dyer, "Depth-Gated LSTM", arXiv
1508.03790.  The bottom layer of such a stack is an LSTM with all three peepholes.

    a_ = W_ x + R_ h_prev + b_ih_ + b_hh_                    _ in i f g o
    ad = W_d x + b_ih_d
    ai += p_i * c_prev         i = sigmoid(ai)      g = tanh(ag)
    af += p_f * c_prev         f = sigmoid(af)
    ad += w_cd * c_prev + w_ld * lower              d = sigmoid(ad)
    c  = f * c_prev + i * g + d * lower             lower: c of the layer below
    ao += p_o * c              o = sigmoid(ao)
    h  = o * tanh(c)

Row blocks of W: i, f, g, o, d; of R: i, f, g, o.  Vectors: p_i, p_f, p_o, w_cd, w_ld.
States: h, c.  Kept for backward: i, f, g, o, d and c; tanh(c) is computed again.

Twin: ``csrc/kernels/cells/depth_gated.c``.
"""

import numpy as np

from exactrnn.reference.arith import flush, fma, sigmoid, tanh
from exactrnn.reference.cells._cell import Cell, Step, Sum, Vector


def point_forward(step: Step) -> None:
    """From ai, af, ag, ao, ad, c_prev and the lower cell to c and h."""
    p_i, p_f, p_o, w_cd, w_ld = step.vectors.values()
    c_prev, lower = step.prev["c"], step.lower
    i = sigmoid(fma(p_i, c_prev, step.a["i"]))
    f = sigmoid(fma(p_f, c_prev, step.a["f"]))
    g = tanh(step.a["g"])
    d = sigmoid(fma(w_ld, lower, fma(w_cd, c_prev, step.a["d"])))
    c = flush(fma(d, lower, fma(f, c_prev, i * g)))
    o = sigmoid(fma(p_o, c, step.a["o"]))
    h = flush(o * tanh(c))
    step.slots.update(i=i, f=f, g=g, o=o, d=d)
    step.state.update(h=h, c=c)


def point_backward(step: Step) -> None:
    """From dh and dc to dai, daf, dag, dao, dad, dc_prev and dlower.

    h = o * y, y = tanh(c):      do = dh * y        dct = dc + dh * o * (1 - y*y)
                                                    dct += p_o * dao
    c = f * c_prev + i * g + d * lower:
                                 di = dct * g       dg = dct * i
                                 df = dct * c_prev  dc_prev = dct * f
                                 dd = dct * lower   dlower = dct * d
    each through its activation: sigmoid' = s * (1 - s), tanh' = 1 - g*g.
    dc_prev += p_i * dai + p_f * daf + w_cd * dad     dlower += w_ld * dad
    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    p_i, p_f, p_o, w_cd, w_ld = step.vectors.values()
    i, f, g, o, d = (step.slots[gate] for gate in "ifgod")
    c_prev, c, lower = step.prev["c"], step.state["c"], step.lower
    dh, dc = step.dstate["h"], step.dstate["c"]
    y = tanh(c)
    dao = flush((dh * y) * (o * (1 - o)))
    dct = fma(p_o, dao, fma(dh * o, fma(-y, y, 1), dc))
    dai = flush((dct * g) * (i * (1 - i)))
    daf = flush((dct * c_prev) * (f * (1 - f)))
    dag = flush((dct * i) * fma(-g, g, 1))
    dad = flush((dct * lower) * (d * (1 - d)))
    dc_prev = fma(w_cd, dad, fma(p_f, daf, fma(p_i, dai, dct * f)))
    step.da.update(i=dai, f=daf, g=dag, o=dao, d=dad)
    step.dprev.update(h=np.zeros_like(dh), c=flush(dc_prev))
    step.dlower = flush(fma(w_ld, dad, dct * d))


DEPTH_GATED = Cell(
    name="depth_gated",
    gates=("i", "f", "g", "o", "d"),
    r_gates=("i", "f", "g", "o"),
    states=("h", "c"),
    sums=(
        Sum("i", w=0, r=0),
        Sum("f", w=1, r=1),
        Sum("g", w=2, r=2),
        Sum("o", w=3, r=3),
        Sum("d", w=4, r=None),
    ),
    slots=("i", "f", "g", "o", "d"),
    activations=(("sigmoid",), ("tanh",), ("tanh",)),
    forward=(point_forward,),
    backward=(point_backward,),
    vectors=(
        Vector("i", sum="i", factor="prev:c"),
        Vector("f", sum="f", factor="prev:c"),
        Vector("o", sum="o", factor="next:c"),
        Vector("cd", sum="d", factor="prev:c"),
        Vector("ld", sum="d", factor="lower"),
    ),
    takes_lower=True,
)
