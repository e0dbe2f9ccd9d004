"""The form of a cell: its sums of products, stages, and what is flushed.

From the nodes of a definition to values that are computed unit by unit:

* Products and biases that are added, in any order, are one sum, if there is one of each
  kind at most and nobody else reads the parts. All other additions are elementwise.
* A sum whose R is multiplied with the first state before the step is finished in stage
  0. With anything else, the *operand*, it comes one stage after that is made.
* Moments of rows come one stage after the last of their values, which has to be there
  for all units, and what is normalised by them with them.
* A state before the step or a weight of units is one value, though data may have it in
  several nodes: one place has its gradient.
* New states and operands are flushed (contract N6) where they are made, and all who
  read them see that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from exactrnn import _core
from exactrnn._graph.definition import FUNCTIONS, Definition, Node, inputs_of
from exactrnn._system.locks import cached_property

LIMITS = _core.program_limits()
Term: TypeAlias = dict[str, Node]
"""The parts of a sum by kind: W, R and b."""
LEAVES = ("prev", "v", "scalar")
"""Nodes that are one value, however often they are written."""


class SumForm(NamedTuple):
    """A sum of products: its name, what it runs over and where it starts.

    `operand` is the value that R is multiplied with, None for the first state before
    the step.
    """

    name: str
    has_w: bool
    has_r: bool
    has_b: bool
    operand: int | None


class Value(NamedTuple):
    """What is computed unit by unit: an operation on earlier values.

    `kind` is one of the functions or "copy", or "sum", "prev", "vector" with a number
    in `place`, or "const" with a number in `constant`; or "moments" of values, "norm"
    of a value by moments, "gained" of that and its gain.
    """

    kind: str
    inputs: tuple[int, ...] = ()
    place: int = 0
    constant: float = 0.0
    stage: int = 0
    flush: bool = False


@dataclass(frozen=True)
class Form:
    """What a definition comes to.

    Parameters
    ----------
    definition : Definition
        Where it comes from.
    values : tuple of Value
        In an order in which they can be computed.
    sums : tuple of SumForm
        By number.
    vectors : tuple of str
        The weights of each unit, and then the scalars, whose rows have equal units.
    scalars : tuple of str
        The last of `vectors`.
    firsts : mapping of str to float
        First values of vectors that are not drawn.
    operands : tuple of int
        Values that recurrent products are made with.
    outputs : tuple of int
        The value that each state is after the step, each another one.
    """

    definition: Definition
    values: tuple[Value, ...]
    sums: tuple[SumForm, ...]
    vectors: tuple[str, ...]
    operands: tuple[int, ...]
    outputs: tuple[int, ...]
    scalars: tuple[str, ...] = ()
    firsts: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The weights of each unit alone."""
        return self.vectors[: len(self.vectors) - len(self.scalars)]

    @cached_property
    def moments(self) -> tuple[int, ...]:
        """The values that are moments of rows."""
        return tuple(n for n, v in enumerate(self.values) if v.kind == "moments")

    @cached_property
    def sum_values(self) -> tuple[int, ...]:
        """The value that each sum is."""
        found = {v.place: n for n, v in enumerate(self.values) if v.kind == "sum"}
        return tuple(found[s] for s in range(len(self.sums)))

    def stage_of(self, s: int) -> int:
        """Return the stage in which a sum is finished."""
        return self.values[self.sum_values[s]].stage

    @cached_property
    def stages(self) -> int:
        """Number of stages."""
        return 1 + max(value.stage for value in self.values)

    @cached_property
    def w_names(self) -> tuple[str, ...]:
        """Names of the row blocks of W in storage order."""
        return tuple(s.name for s in self.sums if s.has_w)

    @cached_property
    def r_names(self) -> tuple[str, ...]:
        """Names of the row blocks of R in storage order."""
        return tuple(s.name for s in self.sums if s.has_r)

    @cached_property
    def bias_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The sums that have a bias: with W, and with R alone."""
        biased = [s for s in self.sums if s.has_b]
        return (
            tuple(s.name for s in biased if s.has_w),
            tuple(s.name for s in biased if not s.has_w),
        )

    @cached_property
    def num_heads(self) -> int:
        """The number of groups of units that R does not mix."""
        return self.definition.num_heads

    @cached_property
    def sees_output(self) -> bool:
        """Whether R sees the first state before the step."""
        return any(s.has_r and s.operand is None for s in self.sums)


def form_of(definition: Definition) -> Form:
    """Return the form of a definition that is well formed.

    Raises
    ------
    ValueError
        If the kernels cannot run it, with the line that says so.
    """
    return _Builder(definition).form()


class _Builder:
    """What is known of a form while it is made."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.uses = self._count_uses()
        self.values: list[Value] = []
        self.sums: dict[str, SumForm] = {}
        self.nodes: dict[str, list[int]] = {
            kind: [] for kind in ("products", "operands", "vectors", "moments")
        }
        self.vectors: dict[str, int] = {}
        self.scalars: dict[str, int] = {}
        self.firsts: dict[str, float] = {}
        self.value_of: dict[int, int] = {}
        self.leaves: dict[Node, int] = {}
        self.operands: dict[int, int] = {}

    def _count_uses(self) -> Counter[int]:
        """Return how often each node is read, 0 for what no output needs."""
        uses = Counter(self.definition.outputs)
        for number in reversed(range(len(self.definition.nodes))):
            if uses[number]:
                uses.update(inputs_of(self.definition.nodes[number]))
        return uses

    def form(self) -> Form:
        terms = self._terms()
        for number, node in enumerate(self.definition.nodes):
            if number in terms:
                self._add_sum(number, terms[number])
            elif node[:2] in self.leaves:
                self.value_of[number] = self._again(number, node)
            elif self.uses[number] and number not in self._absorbed:
                self.value_of[number] = self._add(self._value(node))
                if node[0] in LEAVES:
                    self.leaves[node[:2]] = number
                counted = {"v": "vectors", "scalar": "vectors", "moments": "moments"}
                if node[0] in counted:
                    self.nodes[counted[node[0]]].append(number)
        outputs = self._outputs()
        for number in {*outputs, *self.operands.values()}:
            self.values[number] = self.values[number]._replace(flush=True)
        if not any(s.has_w for s in self.sums.values()):
            raise ValueError(
                "step: expected a product with x, s.W(...), got none"
                f"{self.definition.result_line}"
            )
        heads = self.definition.num_heads
        if heads > 1 and not any(s.has_r for s in self.sums.values()):
            raise ValueError(
                f"num_heads: expected products s.R(...), which {heads} heads share, "
                f"got none{self.definition.result_line}"
            )
        self._place_scalars()
        form = Form(
            self.definition,
            tuple(self.values),
            tuple(self.sums.values()),
            (*self.vectors, *self.scalars),
            tuple(dict.fromkeys(self.operands.values())),
            outputs,
            tuple(self.scalars),
            self.firsts,
        )
        if heads > 1 and form.moments:
            raise ValueError(
                f"step: expected no layer_norm in a cell of {heads} heads, got "
                f"one{self._line_of('moments')}"
            )
        self._check_limits()
        return form

    def _place_scalars(self) -> None:
        """Put the rows of scalars behind those of the weights of each unit."""
        if {*self.vectors} & {*self.scalars}:
            both = min({*self.vectors} & {*self.scalars})
            raise ValueError(f"step: expected one weight {both!r}, got two")
        for number, value in enumerate(self.values):
            if value.kind == "scalar":
                place = len(self.vectors) + value.place
                self.values[number] = Value("vector", place=place)

    def _line_of(self, kind: str) -> str:
        nodes = self.definition.nodes
        return self.definition.line(
            next(n for n, x in enumerate(nodes) if x[0] == kind)
        )

    # Sums

    def _terms(self) -> dict[int, Term]:
        """Return the parts of each sum, by the node that is the sum."""
        terms: dict[int, Term] = {}
        self._absorbed: set[int] = set()
        for number, node in enumerate(self.definition.nodes):
            if not self.uses[number]:
                continue
            if node[0] in ("W", "R", "b"):
                terms[number] = {node[0]: node}
            elif node[0] == "add" and self._are_one_sum(node, terms):
                terms[number] = {**terms.pop(node[1]), **terms.pop(node[2])}
                self._absorbed |= {node[1], node[2]}
        return terms

    def _are_one_sum(self, node: Node, terms: dict[int, Term]) -> bool:
        _, a, b = node
        if a not in terms or b not in terms or a == b:
            return False
        alone = self.uses[a] == self.uses[b] == 1
        return alone and not {*terms[a]} & {*terms[b]}

    def _add_sum(self, number: int, term: Term) -> None:
        line = self.definition.line(number)
        names = {node[1] for node in term.values()}
        name = min(names)
        if len(names) > 1:
            listed = ", ".join(sorted(names))
            raise ValueError(f"step: expected one name in a sum, got {listed}{line}")
        if {*term} == {"b"}:
            raise ValueError(
                f"step: expected s.b({name!r}) to be added once to a product of that "
                f"name{line}"
            )
        if name in self.sums:
            raise ValueError(f"step: expected one sum {name!r}, got a second{line}")
        operand, stage = self._operand_of(term, line)
        self.sums[name] = SumForm(name, "W" in term, "R" in term, "b" in term, operand)
        self.nodes["products"].append(number)
        value = Value("sum", place=len(self.sums) - 1, stage=stage)
        self.value_of[number] = self._add(value)

    def _operand_of(self, term: Term, line: str) -> tuple[int | None, int]:
        """Return what R of a sum is multiplied with, and the sum's stage."""
        if "R" not in term:
            return None, 0
        node = term["R"][2]
        source = self.definition.nodes[node]
        if source == ("prev", self.definition.states[0]):
            return None, 0
        if node not in self.operands:
            self.operands[node] = self._own_value(self.value_of[node])
            self.nodes["operands"].append(node)
        operand = self.operands[node]
        return operand, self._next_stage(self.values[operand].stage, line)

    def _next_stage(self, stage: int, line: str) -> int:
        if stage + 1 >= LIMITS["stages"]:
            raise ValueError(
                f"step: expected at most {LIMITS['stages'] - 1} products and "
                f"normalisations that wait for each other, got another{line}"
            )
        return stage + 1

    # Values

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _value(self, node: Node) -> Value:
        kind = node[0]
        if kind == "prev":
            return Value("prev", place=self.definition.states.index(node[1]))
        if kind == "const":
            return Value("const", constant=float.fromhex(node[1]))
        if kind in ("v", "scalar"):
            rows = self.vectors if kind == "v" else self.scalars
            index = rows.setdefault(node[1], len(rows))
            if node[2:]:
                self.firsts[node[1]] = float.fromhex(node[2])
            return Value("vector" if kind == "v" else "scalar", place=index)
        assert kind in (*FUNCTIONS, "norm", "moments")
        inputs = tuple(self.value_of[a] for a in node[1:])
        stage = max(self.values[a].stage for a in inputs)
        if kind == "norm":
            value, moments, gain = inputs
            normed = self._add(Value("norm", (value, moments), stage=stage))
            return Value("gained", (normed, gain), stage=stage)
        if kind == "moments":
            stage = self._next_stage(stage, self._line_of("moments"))
        return Value(kind, inputs, stage=stage)

    def _again(self, number: int, node: Node) -> int:
        """Return the value of a leaf that another node has been before."""
        first = self.leaves[node[:2]]
        if self.definition.nodes[first] != node:
            raise ValueError(
                f"step: expected one first value of {node[1]!r}, got another"
                f"{self.definition.line(number)}"
            )
        return self.value_of[first]

    def _own_value(self, number: int) -> int:
        """Return a value that may be flushed: a copy of what others have made."""
        value = self.values[number]
        if value.kind in FUNCTIONS or value.kind == "copy":
            return number
        return self._add(Value("copy", (number,), stage=value.stage))

    def _outputs(self) -> tuple[int, ...]:
        found: list[int] = []
        for node in self.definition.outputs:
            number = self._own_value(self.value_of[node])
            if number in found:
                stage = self.values[number].stage
                number = self._add(Value("copy", (number,), stage=stage))
            found.append(number)
        return tuple(found)

    def _check_limits(self) -> None:
        meanings = {
            "products": "sums of products",
            "operands": "values that R is multiplied with",
            "vectors": "weights of units and scalars",
            "moments": "normalisations",
        }
        for kind, nodes in self.nodes.items():
            most = LIMITS[kind] // (2 if kind == "moments" else 1)  # forward and back
            if len(nodes) > most:
                raise ValueError(
                    f"step: expected at most {most} {meanings[kind]}, got {len(nodes)}"
                    f"{self.definition.line(nodes[most])}"
                )
