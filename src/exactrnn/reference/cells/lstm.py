"""Long short-term memory, with the options of its literature.

Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
9(8):1735-1780, 1997; the forget gate: F. Gers, J. Schmidhuber, F. Cummins, "Learning
to Forget", Neural Computation 12(10):2451-2471, 2000; the full gradient: A. Graves,
J. Schmidhuber, Neural Networks 18(5-6):602-610, 2005.

    a_ = W_ x + R_ h_prev + b_ih_ + b_hh_          _ in i f g o
    i = sigmoid(ai)     f = sigmoid(af)     g = tanh(ag)     o = sigmoid(ao)
    c = f * c_prev + i * g
    h = o * tanh(c)

Options; K. Greff et al., "LSTM: A Search Space Odyssey", IEEE TNNLS 28(10), 2017, has
most of them:

    peepholes (F. Gers, J. Schmidhuber, IJCNN 2000; any of i f o)
        ai += p_i * c_prev      af += p_f * c_prev      ao += p_o * c, the new c
    omit (any of i f o): the gate is 1 and not computed
    coupled: "input", f = 1 - i;  "forget", i = 1 - f
    activations: of the gates, of g, and in the place of tanh(c); see ../activations.py
    clip: a_, finished, is limited to [-clip, clip]
    full_gate_recurrence: every gate also sees all gates of the step before,
        a_ += R_i_ i_prev + R_f_ f_prev + R_o_ o_prev
    output_size (H. Sak, A. Senior, F. Beaufays, Interspeech 2014; torch's proj_size)
        m = o * tanh(c),  h = W_hr m:  a second stage

Row blocks of W and R: i, f, g, o, as in torch (Keras: i f c o; ONNX: i o f c), without
the gates that are omitted or replaced by a coupling.  States: h, c, and with full gate
recurrence the gates.  Kept for backward: the gates, g and c, and m, which W_hr is
multiplied with; tanh(c) and a gate that is coupled are computed again.

Twin: ``csrc/kernels/cells/lstm.c``.
"""

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from exactrnn._spec.activations import default_first
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import flush, fma
from exactrnn.reference.cells._cell import Array, Cell, Options, Step, Sum, Vector

MaybeArray: TypeAlias = Array | None


def open_gate(step: Step, gate: str, c: Array) -> MaybeArray:
    """Return a gate's activation, None where the gate is not computed.

    `c` is what its peephole sees: c_prev, or for the output gate the new c.
    """
    if gate not in step.a:
        return None
    a = step.a[gate]
    if gate in step.vectors:
        a = fma(step.vectors[gate], c, a)
    return activate(step.activations[0], a, step.clip)


def couple(step: Step, i: MaybeArray, f: MaybeArray) -> tuple[MaybeArray, MaybeArray]:
    """Return i and f, with the one that the coupling replaces."""
    coupled = step.options.get("coupled")
    if coupled == "input" and i is not None:
        f = 1 - i
    if coupled == "forget" and f is not None:
        i = 1 - f
    return i, f


def point_forward_0(step: Step) -> None:
    """From ai, af, ag, ao and c_prev to c and h, or to c and m."""
    c_prev = step.prev["c"]
    i = open_gate(step, "i", c_prev)
    f = open_gate(step, "f", c_prev)
    g = activate(step.activations[1], step.a["g"], step.clip)
    kept = {gate: v for gate, v in (("i", i), ("f", f), ("g", g)) if v is not None}
    i, f = couple(step, i, f)
    entry = g if i is None else i * g
    c = flush(c_prev + entry if f is None else fma(f, c_prev, entry))
    o = open_gate(step, "o", c)
    if o is not None:
        kept["o"] = o
    y = activate(step.activations[2], c)
    m = flush(y if o is None else o * y)
    step.slots.update(kept)
    step.state.update(c=c)
    if step.options.get("full_gate_recurrence"):
        step.state.update((gate, flush(kept[gate])) for gate in kept if gate != "g")
    if step.options.get("output_size") is None:
        step.state.update(h=m)
    else:
        step.slots.update(m=m)


def point_forward_1(step: Step) -> None:
    """From the sum of the projection to h."""
    step.state.update(h=flush(step.a["p"]))


def point_backward_1(step: Step) -> None:
    """From dh to the gradient of the projection's sum.

    h_prev is seen by R alone, so the chain of dh_prev starts at zero.
    """
    dh = step.dstate["h"]
    step.da.update(p=flush(dh))
    step.dprev.update(h=np.zeros_like(dh))


def join(step: Step, gate: str, d: Array, v: Array) -> Array:
    """Return ``d * v``, plus what the next step sends back to a gate it has seen.

    That gate's gradient then starts again at zero.
    """
    if not step.options.get("full_gate_recurrence"):
        return d * v
    step.dprev[gate] = np.zeros_like(d)
    return fma(d, v, step.dstate[gate])


def close_gate(step: Step, gate: str, dgate: Array) -> Array:
    """Return the gradient of a gate's sum from that of the gate."""
    return flush(dgate * slope(step.activations[0], step.slots[gate], step.clip))


def point_backward_0(step: Step) -> None:
    """From dh (or dm) and dc to dai, daf, dag, dao and dc_prev.

    h = o * y, y = tanh(c):      do = dh * y        dct = dc + dh * o * (1 - y*y)
    c = f * c_prev + i * g:      di = dct * g       dg = dct * i
                                 df = dct * c_prev  dc_prev = dct * f
    each through its activation: sigmoid' = s * (1 - s), tanh' = 1 - g*g.
    Peepholes:  dct += p_o * dao      dc_prev += p_i * dai + p_f * daf
                but for the truncated gradient, which goes back along c alone
    Coupled:    di = dct * (g - c_prev), or df = dct * (c_prev - g)
    Full gate recurrence: di, df, do gain what the next step sends back.
    h_prev is seen by R alone, so the chain of dh_prev starts at zero, and those of the
    gates before likewise.
    """
    p = {} if step.truncated else step.vectors
    coupled = step.options.get("coupled")
    i, f = couple(step, step.slots.get("i"), step.slots.get("f"))
    g, o = step.slots["g"], step.slots.get("o")
    c_prev, c = step.prev["c"], step.state["c"]
    if step.options.get("output_size") is None:
        dh = step.dstate["h"]
        step.dprev.update(h=np.zeros_like(dh))
    else:
        dh = step.doperands["m"]
    y = activate(step.activations[2], c)
    dy = dh if o is None else dh * o
    dct = fma(dy, slope(step.activations[2], y), step.dstate["c"])
    if o is not None:
        dao = close_gate(step, "o", join(step, "o", dh, y))
        step.da.update(o=dao)
        if "o" in p:
            dct = fma(p["o"], dao, dct)
    dc_prev = dct if f is None else dct * f
    if "i" in step.slots:
        v = g - c_prev if coupled else g
        dai = close_gate(step, "i", join(step, "i", dct, v))
        step.da.update(i=dai)
        if "i" in p:
            dc_prev = fma(p["i"], dai, dc_prev)
    if "f" in step.slots:
        v = c_prev - g if coupled else c_prev
        daf = close_gate(step, "f", join(step, "f", dct, v))
        step.da.update(f=daf)
        if "f" in p:
            dc_prev = fma(p["f"], daf, dc_prev)
    dg = dct if i is None else dct * i
    dag = flush(dg * slope(step.activations[1], g, step.clip))
    step.da.update(g=dag)
    step.dprev.update(c=flush(dc_prev))


def adapt(options: Options) -> Cell:
    """Return the LSTM with a layer's options."""
    absent = set(options.get("omit") or "")
    absent |= {"input": {"f"}, "forget": {"i"}}.get(options.get("coupled") or "", set())
    present = tuple(gate for gate in "ifgo" if gate not in absent)
    gates = tuple(gate for gate in present if gate != "g")
    peepholes = [gate for gate in gates if gate in (options.get("peepholes") or "")]
    factors = {"i": "prev:c", "f": "prev:c", "o": "next:c"}
    cell = replace(
        LSTM,
        gates=present,
        sums=tuple(Sum(gate, w=k, r=k) for k, gate in enumerate(present)),
        slots=present,
        vectors=tuple(Vector(gate, gate, factors[gate]) for gate in peepholes),
    )
    if options.get("full_gate_recurrence"):
        links = tuple((gate, gate) for gate in gates)
        cell = replace(cell, states=("h", "c", *gates), links=links)
    if options.get("output_size") is None:
        return cell
    projection = Sum("p", w=None, r=0, stage=1, operand="m", matrix="hr", bias="none")
    return replace(
        cell,
        sums=(*cell.sums, projection),
        slots=(*cell.slots, "m"),
        operands=("m",),
        projects=True,
        forward=(point_forward_0, point_forward_1),
        backward=(point_backward_0, point_backward_1),
    )


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
    activations=tuple(map(default_first, ("sigmoid", "tanh", "tanh"))),
    forward=(point_forward_0,),
    backward=(point_backward_0,),
    adapt=adapt,
)
