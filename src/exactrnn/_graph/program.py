"""From a form and its gradient to lists of operations for the kernels.

Where things lie (csrc/base/program.h): states, operands and gradients in
rows of their own, everything else in registers. In the place of a sum lies its value
or, where a chain of operations has this value as its only way on, what the chain comes
to: the value that the way back needs, as a gate after its activation.

Where there are moments of rows, the place of a weight of a unit that the way back does
not read, as of a bias, holds what *its* chain comes to: a gate, as its sums have to
stay as they were. What is normalised and has no place yet gets one of its own, a note,
and so do gradients that slopes are made of, unless a weight of a unit has the same.

No stage hands anything on but that: what a later stage needs besides, forward or back,
it computes again from sums, states and operands, which gives the same bits. So does
the way back with its own operations: the gradients that a step is given stay where they
are until stage 0 has read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from exactrnn import _core
from exactrnn._graph.adjoint import Adjoint, Op, Ref, adjoint_of
from exactrnn._graph.definition import BIAS, Definition
from exactrnn._graph.form import LIMITS, Form, form_of

Place: TypeAlias = tuple[str, int]
Operation: TypeAlias = tuple[str, bool, Place, tuple[Place, ...]]

Wanted: TypeAlias = tuple[
    int, int, tuple[Place, ...], tuple[Place, ...], tuple[Place, ...]
]
"""Moments or slopes that a stage begins with, as `_core.Program` takes them."""

CODES = {"stop": "copy", "gained": "mul"}
MOST_ROWS = 256
"""Of weights of units, scalars and constants together: a place's index is a byte."""
HIDDEN = "%"
"""What the name of a place begins with whose values are none of the user's."""


class Layout(NamedTuple):
    """What the places of sums hold.

    `kept` is by place the value in it, those of sums, of weights of units and notes;
    None for nothing. `keeps_sums` tells whether the way back reads any place.
    """

    kept: tuple[int | None, ...]
    keeps_sums: bool


def layout_of(form: Form, adjoint: Adjoint) -> Layout:
    """Decide what the places of sums hold."""
    readers: dict[int, set[int]] = {}
    for number, value in enumerate(form.values):
        for a in value.inputs:
            readers.setdefault(a, set()).add(number)
    back = {ref[1] for op in adjoint.ops for ref in op.inputs if ref[0] == "value"}
    grouped = [a for m in form.moments for a in form.values[m].inputs]
    last = {*form.outputs, *form.operands, *back, *grouped}
    kept: list[int | None] = []
    for number in form.sum_values:
        while number not in last and len(readers.get(number, ())) == 1:
            (reader,) = readers[number]
            if form.values[reader].stage != form.values[number].stage:
                break
            number = reader
        kept.append(form.sum_values[len(kept)] if number in kept else number)
    stored = {n: k for k, n in enumerate(form.outputs)}
    for number in _vector_values(form):
        first = number
        while form.moments and number not in last and len(readers[number]) == 1:
            (number,) = readers[number]
        taken = number == first or number in kept or number in last - back
        kept.append(None if taken else number)
    kept += dict.fromkeys(a for a in grouped if _needs_note(form, a, {*kept, *stored}))
    reads = _closure(form, back, {*kept, *stored})
    return Layout(tuple(kept), bool((reads & {*kept}) - {*stored}))


def _vector_values(form: Form) -> list[int]:
    """Return the values that weights of units are, by number."""
    found = {v.place: n for n, v in enumerate(form.values) if v.kind == "vector"}
    return [found[k] for k in range(len(form.vectors))]


def _needs_note(form: Form, number: int, placed: set[int | None]) -> bool:
    fixed = form.values[number].kind in ("prev", "vector", "const")
    return not fixed and number not in placed


def _closure(form: Form, wanted: Iterable[Any], known: set[int | None]) -> set[int]:
    """Return all values that some need, down to known ones."""
    found: set[int] = set()
    waiting = list(wanted)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += () if number in known else form.values[number].inputs
    return found


Stage: TypeAlias = tuple[tuple[Wanted, ...], list[Operation]]
"""What a stage begins with, and its operations."""


class _Stage:
    """The operations of one stage, as they are written.

    `place` tells where something lies already, None where it has to be computed by
    what `maker` tells: code, inputs and whether it is flushed. Results without a place
    of their own go to registers, numbered anew for each. Moments and slopes are not
    computed but wanted: what they are made of has a place.
    """

    def __init__(
        self,
        place: Callable[[Ref], Place | None],
        maker: Callable[[Ref], tuple[str, tuple[Ref, ...], bool]],
        form: Form,
    ) -> None:
        self._place, self._maker, self._form = place, maker, form
        self._at: dict[Ref, Place] = {}
        self.operations: list[Operation] = []
        self.wanted: list[Wanted] = []
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
            if code in ("moments", "slopes"):
                self._at[ref] = self._want(code, inputs)
                continue
            missing = [a for a in inputs if self._find(a) is None]
            if missing:
                waiting += reversed(missing)
                continue
            places = tuple(self._at[a] for a in inputs)
            self._at[ref] = homes.get(ref) or self._new_register()
            self.operations.append((code, flush, self._at[ref], places))
            waiting.pop()
        return self._at[ref]

    def _want(self, code: str, inputs: tuple[Ref, ...]) -> Place:
        """Have moments or slopes found before the stage; return where they are."""
        of, group, x = -1, len(inputs), inputs
        gain: tuple[Ref, ...] = ()
        g: tuple[Ref, ...] = ()
        if code == "slopes":
            of = self.need(inputs[0])[1]
            group = len(self._form.values[inputs[0][1]].inputs)
            g, gain, normed = (inputs[k::3] for k in (1, 2, 3))
            x = tuple(("value", self._form.values[n].inputs[0]) for _, n in normed)
        self.wanted.append((of, group, self._held(x), self._held(gain), self._held(g)))
        return "row", len(self.wanted) - 1

    def _held(self, refs: tuple[Ref, ...]) -> tuple[Place, ...]:
        """Return the places, for all units, of what has one."""
        found = [place for ref in refs if (place := self._place(ref)) is not None]
        assert len(found) == len(refs), refs
        return tuple(found)

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
        kept = reversed([*enumerate(self.layout.kept)])
        self.place_of = {n: s for s, n in kept if n is not None}
        self.noted: dict[Ref, Place] = {}
        self.levels: dict[Ref, int] = {}
        self.notes = len(form.sums) + len(form.vectors)
        self.early: set[int] = set()

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

    def forward(self, stage: int) -> Stage:
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
            for n in sorted({*self.place_of, *form.outputs, *form.operands})
            if form.values[n].stage == stage and form.values[n].kind != "sum"
        ]
        homes: dict[Ref, Place] = {
            ("value", n): home for n in made if (home := self._home(n)) is not None
        }
        own = _Stage(place, self._maker, form)
        for number in made:
            own.need(("value", number), homes)
            if number in form.operands:
                own.put(("value", number), ("operand", form.operands.index(number)))
        return tuple(own.wanted), own.operations

    # Back

    def level(self, ref: Ref) -> int:
        """Return the first stage, on the way back, that can compute something."""
        if ref not in self.levels:
            self.levels[ref] = self._level(ref)
        return self.levels[ref]

    def _level(self, ref: Ref) -> int:
        form, (kind, number), top = self.form, ref, self.form.stages - 1
        if kind == "value" and form.values[number].kind in ("norm", "moments"):
            return form.values[number].stage - 1  # where its slopes are wanted too
        if kind == "doperand":
            return form.values[number].stage
        if kind != "op":
            return top
        op = self.adjoint.ops[number]
        if op.code == "slopes":
            return self.form.values[op.inputs[0][1]].stage - 1
        return min(self.level(a) for a in op.inputs)

    def stage_of_vector(self, v: int) -> int:
        """Return the stage that finishes the gradient of a weight of a unit."""
        return self.level(self.adjoint.vectors[v]) if self.form.moments else 0

    def _note(self, own: _Stage, stage: int) -> dict[Ref, Place]:
        """See to it that what slopes are made of has a place for all units."""
        form, adjoint, found = self.form, self.adjoint, dict[Ref, Place]()
        for m, refs in adjoint.groups.items():
            for ref in refs if form.values[m].stage == stage else ():
                same = [v for v, other in enumerate(adjoint.vectors) if other == ref]
                if same:
                    found[ref] = ("da", len(form.sums) + same[0])
                elif ref not in found:
                    found[ref] = ("da", self.notes)
                    self.notes += 1
                own.put(ref, found[ref])
        return found

    def backward(self, stage: int) -> Stage:
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
                return self.noted.get(ref)
            if number in self.next_of:
                return "next", self.next_of[number]
            if number in self.place_of:
                return "sum", self.place_of[number]
            return self._fixed(number)

        own = _Stage(place, self._maker, form)
        for s, ref in enumerate(adjoint.sums):
            if form.stage_of(s) == stage:
                own.put(ref, ("da", s))
        noted = self._note(own, stage)
        for v, ref in enumerate(adjoint.vectors):
            home = ("da", len(form.sums) + v)
            if self.stage_of_vector(v) == stage and noted.get(ref) != home:
                own.put(ref, home)
        here = [
            k for k in range(len(adjoint.states)) if self.stage_of_state(k) == stage
        ]
        for k in here:
            own.need(adjoint.states[k])
        for k, ref in _settled(adjoint.states):
            if k in here:
                own.put(ref, ("dstate", k))
        self.noted |= noted
        return tuple(own.wanted), own.operations

    def stage_of_state(self, k: int) -> int:
        """Return the stage that finishes the gradient of a state before the step."""
        return self.level(self.adjoint.states[k]) if k in self.early else 0

    def way_back(self) -> list[Stage]:
        """Return all stages of the way back.

        Where there are slopes, which it costs something to find again, gradients of
        states are finished as soon as they can be, unless a later stage still reads
        what was there before.
        """
        states = range(len(self.adjoint.states))
        if self.form.moments:
            for k in range(len(self.adjoint.ops)):  # in order, so that none asks far
                self.level(("op", k))
        self.early = {*states} if self.form.moments else set()
        while True:
            self.noted, self.notes = {}, len(self.form.sums) + len(self.form.vectors)
            stages = [self.backward(k) for k in reversed(range(self.form.stages))][::-1]
            late = {
                k
                for k in self.early
                for _, operations in stages[: self.stage_of_state(k)]
                if any(("dstate", k) in op[3] for op in operations)
            }
            if not late:
                return stages
            self.early -= late

    def program(self) -> _core.Program:
        form = self.form
        lists = [
            tuple((wanted, tuple(allot(made))) for wanted, made in stages)
            for stages in (
                [self.forward(k) for k in range(form.stages)],
                self.way_back(),
            )
        ]
        self._check_rows(lists)
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
            tuple(self._places()),
            tuple(range(len(form.sums), len(form.sums) + len(form.vectors))),
            tuple(map(float.fromhex, self.constants)),
            *lists,
        )

    def _places(self) -> Iterable[EngineSum]:
        """Give the sums as the kernels list them, and notes behind them."""
        shown = gates_of(self.form, self.layout)
        for s, own in enumerate(engine_sums(self.form)):
            hidden = own[0] not in shown or shown[own[0]] != self.layout.kept[s]
            yield (HIDDEN * hidden + own[0], *own[1:])
        places = max(self.notes, len(self.layout.kept))
        for k in range(len(self.form.sums) + len(self.form.vectors), places):
            yield f"{HIDDEN}{k}", None, None, 0, 0, ("none", 0)

    def _check_rows(self, lists: Any) -> None:
        """Raise unless moments, places, notes and constants are few enough."""
        most = max(len(wanted) for stages in lists for wanted, _ in stages)
        places = max(self.notes, len(self.layout.kept))
        rows = len(self.form.vectors) + len(self.constants)
        for count, limit, what in (
            (most, LIMITS["moments"], "normalisations, forward or back, in a stage"),
            (places, LIMITS["sums"], "sums, weights of units and normalised values"),
            (rows, MOST_ROWS, "weights of units, scalars and different numbers"),
        ):
            if count > limit:
                raise ValueError(
                    f"step: expected at most {limit} {what}, got {count}"
                    f"{self.form.definition.result_line}"
                )

    def _registers(self, lists: Any) -> int:
        used = [
            index
            for stages in lists
            for _, operations in stages
            for _, _, out, inputs in operations
            for space, index in (out, *inputs)
            if space == "register"
        ]
        most = 1 + max(used, default=-1)
        if most > LIMITS["registers"]:
            raise ValueError(
                f"step: expected at most {LIMITS['registers']} values that wait for "
                f"each other, got {most}{self.form.definition.result_line}"
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


def gates_of(form: Form, layout: Layout) -> dict[str, int]:
    """Return the values in the cache that have a user's name.

    Those of sums, but for what is normalised as it is; and of weights of units that
    hold what their chain comes to, but for biases of normalised values.
    """
    grouped = {a for m in form.moments for a in form.values[m].inputs}
    names = [s.name for s in form.sums] + list(form.vectors)
    found: dict[str, int] = {}
    for name, kept in zip(names, layout.kept, strict=False):  # notes have no names
        if kept is not None and kept not in grouped and not name.startswith(BIAS):
            found.setdefault(name, kept)
    return found


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
    gates: Mapping[str, int]
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
    gates = gates_of(compiler.form, compiler.layout)
    return Compiled(compiler.form, compiler.adjoint, compiler.layout, gates, program)
