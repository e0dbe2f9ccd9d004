"""The gradient of a cell: reverse mode on its values, written down once.

Kernel and twin run the same operations, in the order that is settled here. From the
last value to the first, later stages first, each hands its gradient g to its inputs,
by the rules of `_RULES`; a product p*q is added to what an input has already by an fma.
The gradient of a new state begins with what comes back from the next step; to that of
an operand, the recurrent products' is added last. Nothing is computed for what depends
on no weight and no state.

The gradient of what has been normalised and multiplied with its gain is flushed before
it goes on, and joins those of its group where the moments are ("slopes"): there all of
its readers have had their turn.

The gradient of each sum and weight of a unit is flushed (contract N6), and of each
state before the step but the first, whose chain goes on over R.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from exactrnn._graph.form import Form

Ref: TypeAlias = tuple[str, Any]
"""What an operation reads: ("value", n) of the form, ("const", hex), ("dnext", k)
and ("doperand", n), the gradients that the step is given, of state k and of the operand
n; ("op", k), an earlier operation."""

ZERO: Ref = ("const", (0.0).hex())
ONE: Ref = ("const", (1.0).hex())
HALF: Ref = ("const", (0.5).hex())


class Op(NamedTuple):
    """An operation of the way back."""

    code: str
    inputs: tuple[Ref, ...]
    flush: bool = False


class Adjoint(NamedTuple):
    """All operations, and which are the gradients of what.

    `sums`, `vectors` and `states` are by number, `states` those before the step.
    `groups` are by moments the gradients that their slopes are made of.
    """

    ops: tuple[Op, ...]
    sums: tuple[Ref, ...]
    vectors: tuple[Ref, ...]
    states: tuple[Ref, ...]
    groups: Mapping[int, tuple[Ref, ...]] = {}


def adjoint_of(form: Form) -> Adjoint:
    """Return the gradient of a form."""
    return _Reverse(form).run()


class _Reverse:
    """The gradients so far."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.ops: dict[Op, int] = {}
        self.found: dict[int, Ref] = {}
        self.depends = _depending(form)
        self.gained: dict[int, tuple[Ref, Ref]] = {}

    def run(self) -> Adjoint:
        form = self.form
        for k, number in enumerate(form.outputs):
            self.give(number, ("dnext", k))
        values = form.values
        order = sorted(range(len(values)), key=lambda n: (-values[n].stage, -n))
        for number in order:
            if number in form.operands:
                self.give(number, ("doperand", number))
            if number in self.found and self.depends[number]:
                rule = _RULES.get(values[number].kind)
                if rule is not None:
                    rule(self, number, self.found[number])
        sums, vectors, states = (
            self.gradients(kind, count)
            for kind, count in (
                ("sum", len(form.sums)),
                ("vector", len(form.vectors)),
                ("prev", len(form.definition.states)),
            )
        )
        groups: dict[int, list[Ref]] = {}
        for normed, (own, _) in self.gained.items():
            groups.setdefault(values[normed].inputs[1], []).append(own)
        noted = {m: tuple(refs) for m, refs in groups.items()}
        return Adjoint(tuple(self.ops), sums, vectors, states, noted)

    def gradients(self, kind: str, count: int) -> tuple[Ref, ...]:
        """Return the gradients of all values of a kind, by number."""
        found = [ZERO] * count
        for number, value in enumerate(self.form.values):
            if value.kind == kind and number in self.found:
                keeps_on = kind == "prev" and not value.place and self.form.sees_output
                own = self.found[number]
                found[value.place] = own if keeps_on else self.flushed(own)
        return tuple(found)

    def flushed(self, ref: Ref) -> Ref:
        return self.op("copy", ref, flush=True)

    def op(self, code: str, *inputs: Ref, flush: bool = False) -> Ref:
        """Return the result of an operation; equal ones are one."""
        op = Op(code, inputs, flush)
        return "op", self.ops.setdefault(op, len(self.ops))

    def input(self, number: int, k: int) -> Ref:
        """Return input k of a value."""
        return self.ref(self.form.values[number].inputs[k])

    def ref(self, number: int) -> Ref:
        value = self.form.values[number]
        return (
            ("const", value.constant.hex())
            if value.kind == "const"
            else ("value", number)
        )

    def give(self, number: int, g: Ref, times: Ref | None = None) -> None:
        """Add g, or g times something, to the gradient of a value."""
        if not self.depends[number]:
            return
        before = self.found.get(number)
        if times is not None:
            self.found[number] = (
                self.op("mul", g, times)
                if before is None
                else self.op("fma", g, times, before)
            )
        else:
            self.found[number] = g if before is None else self.op("add", before, g)

    def hand(self, number: int, k: int, g: Ref, times: Ref | None = None) -> None:
        """Give to input k of a value."""
        self.give(self.form.values[number].inputs[k], g, times)

    def wants(self, number: int, k: int) -> bool:
        """Tell whether input k of a value has a gradient."""
        return self.depends[self.form.values[number].inputs[k]]


def _depending(form: Form) -> list[bool]:
    """Tell which values depend on weights or states."""
    found: list[bool] = []
    for value in form.values:
        leaf = value.kind in ("sum", "vector", "prev")
        ends = value.kind in ("lt", "le", "eq", "stop", "const")
        found.append(leaf or (not ends and any(found[a] for a in value.inputs)))
    return found


Rule: TypeAlias = Callable[[_Reverse, int, Ref], None]


def _copy(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g)


def _add(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g)
    r.hand(n, 1, g)


def _sub(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g)
    if r.wants(n, 1):
        r.hand(n, 1, r.op("neg", g))


def _mul(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g, r.input(n, 1))
    r.hand(n, 1, g, r.input(n, 0))


def _div(r: _Reverse, n: int, g: Ref) -> None:
    """Of y = a/b: da = g/b, db = -(g/b) * y."""
    part = r.op("div", g, r.input(n, 1))
    r.hand(n, 0, part)
    if r.wants(n, 1):
        r.hand(n, 1, r.op("neg", part), r.ref(n))


def _fma(r: _Reverse, n: int, g: Ref) -> None:
    _mul(r, n, g)
    r.hand(n, 2, g)


def _mix(r: _Reverse, n: int, g: Ref) -> None:
    """Of z*a + (1-z)*b: da = g*z, db = g*(1-z), dz = g*(a-b)."""
    z, a, b = (r.input(n, k) for k in range(3))
    r.hand(n, 1, g, z)
    if r.wants(n, 2):
        r.hand(n, 2, g, r.op("sub", ONE, z))
    if r.wants(n, 0):
        r.hand(n, 0, g, r.op("sub", a, b))


def _neg(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, r.op("neg", g))


def _abs(r: _Reverse, n: int, g: Ref) -> None:
    below = r.op("lt", r.input(n, 0), ZERO)
    r.hand(n, 0, r.op("where", below, r.op("neg", g), g))


def _sqrt(r: _Reverse, n: int, g: Ref) -> None:
    """Of y = sqrt(a): da = (g/2)/y."""
    r.hand(n, 0, r.op("div", r.op("mul", g, HALF), r.ref(n)))


def _choose(r: _Reverse, n: int, g: Ref, chosen: Ref) -> None:
    """Hand g to input 0 where it was chosen, else to input 1."""
    if r.wants(n, 0):
        r.hand(n, 0, r.op("where", chosen, g, ZERO))
    if r.wants(n, 1):
        r.hand(n, 1, r.op("where", chosen, ZERO, g))


def _min(r: _Reverse, n: int, g: Ref) -> None:
    _choose(r, n, g, r.op("lt", r.input(n, 0), r.input(n, 1)))


def _max(r: _Reverse, n: int, g: Ref) -> None:
    _choose(r, n, g, r.op("lt", r.input(n, 1), r.input(n, 0)))


def _where(r: _Reverse, n: int, g: Ref) -> None:
    condition = r.input(n, 0)
    if r.wants(n, 1):
        r.hand(n, 1, r.op("where", condition, g, ZERO))
    if r.wants(n, 2):
        r.hand(n, 2, r.op("where", condition, ZERO, g))


def _exp(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g, r.ref(n))


def _expm1(r: _Reverse, n: int, g: Ref) -> None:
    """Of y = exp(a) - 1: da = g*y + g."""
    r.hand(n, 0, r.op("fma", g, r.ref(n), g))


def _log(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, r.op("div", g, r.input(n, 0)))


def _softplus(r: _Reverse, n: int, g: Ref) -> None:
    """Of y = log(1 + exp(a)): da = g * (1 - exp(-y))."""
    r.hand(n, 0, g, r.op("neg", r.op("expm1", r.op("neg", r.ref(n)))))


def _tanh(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g, r.op("tanh_slope", r.ref(n)))


def _sigmoid(r: _Reverse, n: int, g: Ref) -> None:
    r.hand(n, 0, g, r.op("sigmoid_slope", r.ref(n)))


def _relu(r: _Reverse, n: int, g: Ref) -> None:
    """Give 0 where y is not positive, even if g is infinite."""
    r.hand(n, 0, r.op("where", r.op("lt", ZERO, r.ref(n)), g, ZERO))


def _gained(r: _Reverse, n: int, g: Ref) -> None:
    own = r.flushed(g)
    normed, _ = r.form.values[n].inputs
    r.gained[normed] = own, r.input(n, 1)
    r.hand(n, 0, own, r.input(n, 1))
    r.hand(n, 1, own, r.input(n, 0))


def _norm(r: _Reverse, n: int, g: Ref) -> None:  # noqa: ARG001 (g is read by _moments)
    """Let the moments have their turn."""
    r.found.setdefault(r.form.values[n].inputs[1], ZERO)


def _moments(r: _Reverse, n: int, g: Ref) -> None:  # noqa: ARG001 (there is none)
    """Of a group: dx = ((d - mean(d)) - x * mean(d*x)) * scale, x normalised.

    All values of the group have a part in the mean and the scale, those too that nobody
    reads normalised: their d is 0.
    """
    values = r.form.values
    members = {values[m].inputs[0]: m for m in r.gained if values[m].inputs[1] == n}
    graded = [(*r.gained[m], r.ref(m)) for m in members.values()]
    slopes = r.op("slopes", r.ref(n), *(ref for each in graded for ref in each))
    for value, m in members.items():
        r.give(value, r.op("norm_slope", r.found[m], r.ref(m), slopes))
    for value in values[n].inputs:
        if value not in members and r.depends[value]:
            normed = r.op("norm", r.ref(value), r.ref(n))
            r.give(value, r.op("norm_slope", ZERO, normed, slopes))


_RULES: Mapping[str, Rule] = {
    "gained": _gained,
    "norm": _norm,
    "moments": _moments,
    "copy": _copy,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "fma": _fma,
    "mix": _mix,
    "neg": _neg,
    "abs": _abs,
    "sqrt": _sqrt,
    "min": _min,
    "max": _max,
    "where": _where,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "softplus": _softplus,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "relu": _relu,
}
