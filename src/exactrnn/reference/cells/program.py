"""A cell from its equations: the values of its definition, computed one by one.

The kernels run a program made of the same values and of the same gradient
(``exactrnn._graph``); here they are computed as they stand, each once, all kept.  What
an operation is, in terms of contract N2 and N4, stands in `FUNCTIONS`.

Twin: ``csrc/kernels/cells/program.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from exactrnn._graph.adjoint import Ref
from exactrnn._graph.program import Compiled, engine_sums
from exactrnn.reference import arith, moments
from exactrnn.reference.activations import relu
from exactrnn.reference.cells._cell import Array, Cell, Options, Step, Sum, Vector

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "copy": lambda a: a,
    "stop": lambda a: a,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "fma": arith.fma,
    "mix": lambda z, a, b: arith.fma(z, a, (1 - z) * b),
    "neg": lambda a: -a,
    "abs": abs,
    "sqrt": np.sqrt,
    "min": lambda a, b: np.where(a < b, a, b),
    "max": lambda a, b: np.where(a > b, a, b),
    "lt": lambda a, b: as_number(a < b, a),
    "le": lambda a, b: as_number(a <= b, a),
    "eq": lambda a, b: as_number(a == b, a),
    "where": lambda condition, a, b: np.where(condition == 0, b, a),
    "exp": arith.exp,
    "expm1": arith.expm1,
    "log": arith.log,
    "softplus": arith.softplus,
    "tanh": arith.tanh,
    "sigmoid": arith.sigmoid,
    "relu": relu,
    "tanh_slope": lambda y: arith.fma(-y, y, 1),
    "sigmoid_slope": lambda s: s * (1 - s),
    "gained": lambda normed, gain: normed * gain,
    "moments": moments.moments,
    "norm": moments.norm,
    "slopes": moments.slopes,
    "norm_slope": moments.norm_slope,
}


def as_number(truth: Any, like: Array) -> Array:
    """Return 1 where something holds, else 0."""
    return np.where(truth, like.dtype.type(1), like.dtype.type(0))


def letter(number: int) -> str:
    """Return the letter of a value."""
    return f"%{number}"


def compute(code: str, inputs: list[Array], flush: bool) -> Array:
    """Return what an operation makes of its inputs."""
    made = FUNCTIONS[code](*inputs)
    return arith.flush(made) if flush else made


def forward_stage(step: Step, stage: int) -> None:
    """From the sums of a stage to its values, operands and states."""
    compiled: Compiled = step.options["compiled"]
    form = compiled.form
    like = step.prev[form.definition.states[0]]
    names = form.definition.states
    for number, value in enumerate(form.values):
        if value.stage != stage:
            continue
        if value.kind == "sum":
            found = step.a[form.sums[value.place].name]
        elif value.kind == "prev":
            found = step.prev[names[value.place]]
        elif value.kind == "vector":
            row = step.vectors[form.vectors[value.place]]
            found = np.broadcast_to(row, like.shape)
        elif value.kind == "const":
            found = np.full_like(like, value.constant)
        else:
            inputs = [step.slots[letter(a)] for a in value.inputs]
            found = compute(value.kind, inputs, value.flush)
        step.slots[letter(number)] = found
        for k, output in enumerate(form.outputs):
            if output == number:
                step.state[names[k]] = found
    for name, kept in compiled.gates.items():
        if form.values[kept].stage == stage:
            step.slots[name] = step.slots[letter(kept)]


class WayBack:
    """The gradient of one step, as far as it is wanted."""

    def __init__(self, step: Step) -> None:
        self.step = step
        compiled: Compiled = step.options["compiled"]
        self.form, self.adjoint = compiled.form, compiled.adjoint
        self.found: dict[Ref, Array] = {}
        self.like = step.prev[self.form.definition.states[0]]

    def of(self, ref: Ref) -> Array:
        """Return what an operation reads, after computing what that is made of."""
        waiting = [ref]
        while waiting:
            last = waiting[-1]
            inputs = self.adjoint.ops[last[1]].inputs if last[0] == "op" else ()
            missing = [a for a in inputs if a not in self.found]
            if missing and last not in self.found:
                waiting += missing
                continue
            if last not in self.found:
                self.found[last] = self._compute(last)
            waiting.pop()
        return self.found[ref]

    def _compute(self, ref: Ref) -> Array:
        kind, which = ref
        step = self.step
        if kind == "value" and which in self.form.moments:
            inputs = self.form.values[which].inputs
            return compute("moments", [self.of(("value", a)) for a in inputs], False)
        if kind == "value":
            return step.slots[letter(which)]
        if kind == "const":
            return np.full_like(self.like, float.fromhex(which))
        if kind == "dnext":
            return step.dstate[self.form.definition.states[which]]
        if kind == "doperand":
            return step.doperands[letter(which)]
        op = self.adjoint.ops[which]
        return compute(op.code, [self.of(a) for a in op.inputs], op.flush)


def backward_stage(step: Step, stage: int) -> None:
    """From the gradients that a step is given to those of a stage's sums.

    In stage 0 also to those of weights of units and of the states before the step.
    """
    back = WayBack(step)
    form, adjoint = back.form, back.adjoint
    for s, own in enumerate(form.sums):
        if form.stage_of(s) == stage:
            step.da[own.name] = back.of(adjoint.sums[s])
    if stage == 0:
        for name, ref in zip(form.vectors, adjoint.vectors, strict=True):
            step.da[vector_sum(name)] = back.of(ref)
        for name, ref in zip(form.definition.states, adjoint.states, strict=True):
            step.dprev[name] = back.of(ref)


def vector_sum(name: str) -> str:
    """Return the letter of the place where the gradient of a vector lies."""
    return f"d{name}%"


def point_forward_0(step: Step) -> None:
    """Stage 0."""
    forward_stage(step, 0)


def point_forward_1(step: Step) -> None:
    """Stage 1."""
    forward_stage(step, 1)


def point_forward_2(step: Step) -> None:
    """Stage 2."""
    forward_stage(step, 2)


def point_forward_3(step: Step) -> None:
    """Stage 3."""
    forward_stage(step, 3)


def point_forward_4(step: Step) -> None:
    """Stage 4."""
    forward_stage(step, 4)


def point_forward_5(step: Step) -> None:
    """Stage 5."""
    forward_stage(step, 5)


def point_backward_5(step: Step) -> None:
    """Stage 5."""
    backward_stage(step, 5)


def point_backward_4(step: Step) -> None:
    """Stage 4."""
    backward_stage(step, 4)


def point_backward_3(step: Step) -> None:
    """Stage 3."""
    backward_stage(step, 3)


def point_backward_2(step: Step) -> None:
    """Stage 2."""
    backward_stage(step, 2)


def point_backward_1(step: Step) -> None:
    """Stage 1."""
    backward_stage(step, 1)


def point_backward_0(step: Step) -> None:
    """Stage 0."""
    backward_stage(step, 0)


def adapt(options: Options) -> Cell:
    """Return the cell of a definition."""
    compiled: Compiled = options["compiled"]
    form, sums = compiled.form, []
    for name, w, r, stage, operand, bias in engine_sums(form):
        source = letter(form.operands[operand - 1]) if operand else None
        own = vector_sum(name) if w is None and r is None else name
        start = "none" if bias[0] == "none" else bias
        sums.append(Sum(own, w=w, r=r, stage=stage, operand=source, bias=start))
    numbers = [n for n in range(len(form.values)) if n not in form.moments]
    slots = map(letter, numbers)
    return replace(
        PROGRAM,
        gates=form.w_names,
        r_gates=form.r_names,
        states=form.definition.states,
        sums=tuple(sums),
        slots=(*compiled.gates, *slots),
        operands=tuple(map(letter, form.operands)),
        vectors=tuple(Vector(name, vector_sum(name), "one") for name in form.vectors),
        forward=PROGRAM.forward[: form.stages],
        backward=PROGRAM.backward[: form.stages],
    )


PROGRAM = Cell(
    name="program",
    gates=(),
    states=("h",),
    sums=(),
    slots=(),
    activations=(),
    forward=(
        *(point_forward_0, point_forward_1, point_forward_2),
        *(point_forward_3, point_forward_4, point_forward_5),
    ),
    backward=(
        *(point_backward_0, point_backward_1, point_backward_2),
        *(point_backward_3, point_backward_4, point_backward_5),
    ),
    adapt=adapt,
)
