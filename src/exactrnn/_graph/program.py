"""From a form and its gradient to lists of operations for the kernels.

Where things lie (csrc/base/program.h): states, operands and gradients in
rows of their own, everything else in registers. In the place of a sum lies its value
or, where a chain of operations has this value as its only way on, what the chain comes
to: the value that the way back needs, as a gate after its activation.

No stage hands anything on but that: what a later stage needs besides, forward or back,
it computes again from sums, states and operands, which gives the same bits. So does
the way back with its own operations: the gradients that a step is given stay where they
are until stage 0 has read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from exactrnn import _core
from exactrnn._graph.adjoint import Adjoint, Op, Ref, adjoint_of
from exactrnn._graph.definition import Definition
from exactrnn._graph.form import LIMITS, Form, form_of

Place: TypeAlias = tuple[str, int]
Operation: TypeAlias = tuple[str, bool, Place, tuple[Place, ...]]

CODES = {"stop": "copy"}


class Layout(NamedTuple):
    """What the places of sums hold.

    `kept` is by sum the value in its place, `keeps_sums` whether the way back reads
    any place.
    """

    kept: tuple[int, ...]
    keeps_sums: bool


def layout_of(form: Form, adjoint: Adjoint) -> Layout:
    """Decide what the places of sums hold."""
    readers: dict[int, set[int]] = {}
    for number, value in enumerate(form.values):
        for a in value.inputs:
            readers.setdefault(a, set()).add(number)
    back = {ref[1] for op in adjoint.ops for ref in op.inputs if ref[0] == "value"}
    last = {*form.outputs, *form.operands, *back}
    kept: list[int] = []
    for number in form.sum_values:
        while number not in last and len(readers.get(number, ())) == 1:
            (reader,) = readers[number]
            if form.values[reader].stage != form.values[number].stage:
                break
            number = reader
        kept.append(form.sum_values[len(kept)] if number in kept else number)
    stored = {n: k for k, n in enumerate(form.outputs)}
    reads = _closure(form, back, {*kept, *stored})
    return Layout(tuple(kept), bool((reads & {*kept}) - {*stored}))


def _closure(form: Form, wanted: Iterable[Any], known: set[int]) -> set[int]:
    """Return all values that some need, down to known ones."""
    found: set[int] = set()
    waiting = list(wanted)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += () if number in known else form.values[number].inputs
    return found


class _Stage:
    """The operations of one stage, as they are written.

    `place` tells where something lies already, None where it has to be computed by
    what `maker` tells: code, inputs and whether it is flushed. Results without a place
    of their own go to registers, numbered anew for each.
    """

    def __init__(
        self,
        place: Callable[[Ref], Place | None],
        maker: Callable[[Ref], tuple[str, tuple[Ref, ...], bool]],
    ) -> None:
        self._place, self._maker = place, maker
        self._at: dict[Ref, Place] = {}
        self.operations: list[Operation] = []
        self._registers = 0

    def need(self, ref: Ref, homes: dict[Ref, Place] | None = None) -> Place:
        """Return where something lies, after computing what is missing."""
        waiting, homes = [ref], homes or {}
        while waiting:
            ref = waiting[-1]
            if self._find(ref) is not None:
                waiting.pop()
                continue
            code, inputs, flush = self._maker(ref)
            missing = [a for a in inputs if self._find(a) is None]
            if missing:
                waiting += reversed(missing)
                continue
            places = tuple(self._at[a] for a in inputs)
            self._at[ref] = homes.get(ref) or self._new_register()
            self.operations.append((code, flush, self._at[ref], places))
            waiting.pop()
        return self._at[ref]

    def _find(self, ref: Ref) -> Place | None:
        if ref not in self._at:
            place = self._place(ref)
            if place is None:
                return None
            self._at[ref] = place
        return self._at[ref]

    def _new_register(self) -> Place:
        self._registers += 1
        return "register", self._registers - 1

    def put(self, ref: Ref, place: Place) -> None:
        """See to it that something lies in a place."""
        source = self.need(ref)
        if source != place:
            self.operations.append(("copy", False, place, (source,)))


class _Compiler:
    """A form with what its program needs."""

    def __init__(self, form: Form) -> None:
        self.form, self.adjoint = form, adjoint_of(form)
        self.layout = layout_of(form, self.adjoint)
        self.constants: dict[str, int] = {}
        self.next_of = {n: k for k, n in enumerate(form.outputs)}
        self.place_of = {n: s for s, n in reversed([*enumerate(self.layout.kept)])}

    def _constant(self, text: str) -> Place:
        index = self.constants.setdefault(text, len(self.constants))
        return "vector", len(self.form.vectors) + index

    def _fixed(self, number: int) -> Place | None:
        """Return where a value lies that no stage makes."""
        value = self.form.values[number]
        if value.kind == "const":
            return self._constant(value.constant.hex())
        return (value.kind, value.place) if value.kind in ("prev", "vector") else None

    def _maker(self, ref: Ref) -> tuple[str, tuple[Ref, ...], bool]:
        kind, number = ref
        if kind == "op":
            op: Op = self.adjoint.ops[number]
            return op
        value = self.form.values[number]
        inputs: tuple[Ref, ...] = tuple(("value", a) for a in value.inputs)
        return CODES.get(value.kind, value.kind), inputs, value.flush

    # Forward

    def _home(self, number: int) -> Place | None:
        """Return where a value is kept from stage to stage."""
        if number in self.next_of:
            return "next", self.next_of[number]
        if number in self.place_of:
            return "sum", self.place_of[number]
        if number in self.form.operands:
            return "operand", self.form.operands.index(number)
        return None

    def forward(self, stage: int) -> list[Operation]:
        form = self.form

        def place(ref: Ref) -> Place | None:
            number = ref[1]
            value = form.values[number]
            if value.kind == "sum":
                return "sum", value.place
            if value.stage < stage and self._home(number) is not None:
                return self._home(number)
            return self._fixed(number)

        made = [
            n
            for n in sorted({*self.layout.kept, *form.outputs, *form.operands})
            if form.values[n].stage == stage and form.values[n].kind != "sum"
        ]
        homes: dict[Ref, Place] = {
            ("value", n): home for n in made if (home := self._home(n)) is not None
        }
        own = _Stage(place, self._maker)
        for number in made:
            own.need(("value", number), homes)
            if number in form.operands:
                own.put(("value", number), ("operand", form.operands.index(number)))
        return own.operations

    # Back

    def backward(self, stage: int) -> list[Operation]:
        form, adjoint = self.form, self.adjoint

        def place(ref: Ref) -> Place | None:
            kind, number = ref
            if kind == "const":
                return self._constant(number)
            if kind == "dnext":
                return "dstate", number
            if kind == "doperand":
                return "doperand", form.operands.index(number)
            if kind == "op":
                return None
            if number in self.next_of:
                return "next", self.next_of[number]
            if number in self.place_of:
                return "sum", self.place_of[number]
            return self._fixed(number)

        own = _Stage(place, self._maker)
        for s, ref in enumerate(adjoint.sums):
            if form.stage_of(s) == stage:
                own.put(ref, ("da", s))
        if stage == 0:
            for v, ref in enumerate(adjoint.vectors):
                own.put(ref, ("da", len(form.sums) + v))
            for ref in adjoint.states:
                own.need(ref)
            for k, ref in _settled(adjoint.states):
                own.put(ref, ("dstate", k))
        return own.operations

    def program(self) -> _core.Program:
        form, stages = self.form, range(self.form.stages)
        lists = [
            tuple(tuple(allot(make(k))) for k in stages)
            for make in (self.forward, self.backward)
        ]
        return _core.Program(
            {
                "states": len(form.outputs),
                "w_blocks": len(form.w_names),
                "r_blocks": len(form.r_names),
                "operands": len(form.operands),
                "heads": form.num_heads,
                "keeps_sums": self.layout.keeps_sums,
                "registers": self._registers(lists),
            },
            tuple(engine_sums(form)),
            tuple(range(len(form.sums), len(form.sums) + len(form.vectors))),
            tuple(map(float.fromhex, self.constants)),
            *lists,
        )

    def _registers(self, lists: list[tuple[tuple[Operation, ...], ...]]) -> int:
        used = [
            index
            for stages in lists
            for operations in stages
            for _, _, out, inputs in operations
            for space, index in (out, *inputs)
            if space == "register"
        ]
        most = 1 + max(used, default=-1)
        if most > LIMITS["registers"]:
            raise ValueError(
                f"step: expected at most {LIMITS['registers']} values that wait for "
                f"each other, got {most}"
            )
        return most


def _settled(states: tuple[Ref, ...]) -> list[tuple[int, Ref]]:
    """Return states in an order in which none is overwritten that is still read.

    A gradient that is another state's, handed on as it came, is read where it lies.
    """
    passed = [ref[1] for ref in states if ref[0] == "dnext"]
    return sorted(enumerate(states), key=lambda item: item[0] in passed)


EngineSum: TypeAlias = tuple[str, int | None, int | None, int, int, tuple[str, int]]


def engine_sums(form: Form) -> Iterable[EngineSum]:
    """Give the sums as the kernels list them, those of vectors' gradients last."""
    for s, own in enumerate(form.sums):
        w = form.w_names.index(own.name) if own.has_w else None
        r = form.r_names.index(own.name) if own.has_r else None
        operand = 0 if own.operand is None else 1 + form.operands.index(own.operand)
        bias = "none", 0
        if own.has_b:
            kind = "ih" if own.has_w else "hh"
            bias = kind, form.bias_names[kind == "hh"].index(own.name)
        yield own.name, w, r, form.stage_of(s), operand, bias
    for name in form.vectors:
        yield name, None, None, 0, 0, ("none", 0)


# Registers


def allot(operations: list[Operation]) -> list[Operation]:
    """Return operations on as few registers as their order allows.

    A copy of what one register held is made by who made that, where nothing in between
    touches the place.
    """
    merged = _merge_copies(operations)
    last: dict[Place, int] = {}
    for k, (_, _, out, inputs) in enumerate(merged):
        last |= dict.fromkeys((out, *inputs), k)
    free: list[int] = []
    names: dict[Place, Place] = {}
    found: list[Operation] = []
    for k, (code, flush, out, inputs) in enumerate(merged):
        sources = tuple(names.get(a, a) for a in inputs)
        ending = {a for a in inputs if a[0] == "register" and last[a] == k}
        free += sorted((names[a][1] for a in ending), reverse=True)
        if out[0] == "register" and out not in names:
            used = {place[1] for place in names.values()}
            index = free.pop() if free else 1 + max(used, default=-1)
            names[out] = ("register", index)
        found.append((code, flush, names.get(out, out), sources))
    return found


def _merge_copies(operations: list[Operation]) -> list[Operation]:
    merged = list(operations)
    for k in reversed(range(len(merged))):
        code, flush, out, inputs = merged[k]
        if code != "copy" or inputs[0][0] != "register" or out[0] == "register":
            continue
        source = inputs[0]
        makers = [j for j in range(k) if merged[j][2] == source]
        readers = [j for j, op in enumerate(merged) if source in op[3]]
        if len(makers) != 1 or readers != [k]:
            continue
        between = merged[makers[0] + 1 : k]
        if any(out == op[2] or out in op[3] for op in between):
            continue
        made = merged[makers[0]]
        merged[makers[0]] = (made[0], made[1] or flush, out, made[3])
        del merged[k]
    return merged


class Compiled(NamedTuple):
    """A definition with all that it comes to."""

    form: Form
    adjoint: Adjoint
    layout: Layout
    program: _core.Program


def compile_definition(definition: Definition) -> Compiled:
    """Return what a well-formed definition comes to.

    Raises
    ------
    ValueError
        If the kernels cannot run it, with the line that says so.
    """
    compiler = _Compiler(form_of(definition))
    program = compiler.program()
    return Compiled(compiler.form, compiler.adjoint, compiler.layout, program)
