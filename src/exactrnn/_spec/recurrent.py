"""What a layer is, without its weights: sizes, options, names and shapes of weights.

The kernels know eight weights of one layer in one direction, by role; names follow
`torch.nn`, with a suffix `_l0`, `_l0_reverse`, `_l1`, ... (none for a single step):

    0  weight_ih [G*H, I]   1  weight_hh [G*H, O]   2  bias_ih [G*H]   3  bias_hh [G*H]
    4  weight_hr [O, H], the product that makes the output of a cell that projects
       (in a Jordan network `weight_ho`)            5  bias_ho [O], there alone
    6  weight_peephole [V, H], weights of one per unit (`weight_unit` in a cell from its
       equations, `weight_norm` with layer normalisation)
    7  weight_gates [n*H, n*H], from the gates of the last step to the gates of this one

Each cell has some of them; G differs between W and R in a few. Their order is that of
`state_dict`. O is the width of the output h: H but for cells that project. In a layer
of memory blocks the user's H units are the cells, the kernels' are the blocks.

Two weights are not the kernels' own. Scalars of a cell from its equations, `scalar`
[K], stand in role 5, which such a cell has not; the kernels see a row of equal weights
of units for each, behind the others in role 6 (`_numeric/scalars.py`). Of a leaky layer
that learns its leak they see the leak itself in role 6, the user has `leak_logit`
(`_numeric/leak.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn import _core
from exactrnn._checks import Array, FloatType, check_weight
from exactrnn._checks.limits import check_weights
from exactrnn._graph.form import Form
from exactrnn._graph.program import Compiled
from exactrnn._numeric import leak as _leak
from exactrnn._numeric import scalars as _scalars
from exactrnn._spec.activations import Activation
from exactrnn._spec.dropping import Dropping
from exactrnn._spec.record import Record
from exactrnn._spec.rules import Init, Rule, forget_bias_of, set_biases
from exactrnn._system.locks import cached_property

Options: TypeAlias = Mapping[str, Any]
"""What the kernels are asked for beyond the plain cell; empty for most layers."""
Names: TypeAlias = tuple[str | None, ...]

ROLES = 8
LEAK_ROLE = VECTOR_ROLE = 6
SCALAR_ROLE = 5
GATES = "ifo"
PART_OF_GATE = {"v": "n", "x": "n"}
"""Sums that are a part of a gate's, by letter: row blocks are named by the gate."""


AXES = {
    "weight_ih": ("G*H", "I"),
    "bias_ih": ("G*H",),
    "bias_hh": ("G*H",),
    "bias_ho": ("O",),
    "weight_peephole": ("V", "H"),
    "weight_unit": ("V", "H"),
    "weight_norm": ("V", "H"),
    "weight_gates": ("n*H", "n*H"),
    "leak_logit": ("n",),
    "scalar": ("K",),
}
"""Letters of the axes of weights in messages, where O is not among them."""


BLOCK_AXES = {"weight_ih": ("U", "I"), "weight_hh": ("U", "U"), "bias_ih": ("U",)}
"""The same of layers of memory blocks: U counts all cells and gates."""


class Weight(NamedTuple):
    """One weight: its name, and what it is in the network.

    `blocks` are the letters of its row blocks of H rows (of its rows for peepholes);
    () where it has none. `rule` says how it is drawn first.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    blocks: tuple[str, ...]
    rule: Rule
    layer: int
    direction: int


class Entry(NamedTuple):
    """A weight of one layer in any direction, as in `Weight`."""

    kind: str
    shape: tuple[int, ...]
    blocks: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Config(Dropping):
    """Sizes and options, all checked; `suffixed` tells a layer from a single step.

    `cell` is the form of the network, `record` what its class says. `options` is what
    the kernels are told. `directed` tells whether `activations` are those of the
    forward direction and then those of the reverse one. `leak` and `phase` are for
    leaky and clockwork layers alone.
    """

    cell: str
    record: Record
    activations: tuple[Activation, ...]
    input_size: int
    hidden_size: int
    bias: bool
    dtype: FloatType
    directed: bool = False
    clip: float | None = None
    num_layers: int = 1
    bidirectional: bool = False
    reverse: bool = False
    batch_first: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float | tuple[float, float] = 0.0
    init: Init = "uniform"
    forget_bias: float | None = None
    suffixed: bool = True
    options: Options = field(default_factory=dict)
    leak: float | tuple[float, ...] | None = None
    learn_leak: bool = False
    phase: int = 0

    def __post_init__(self) -> None:
        """Raise for absurd sizes, before anything is listed by layer."""
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        sizes |= {"num_layers": self.num_layers} if self.suffixed else {}
        if self.output_size != self.hidden_size:
            name = "output_size" if self.record.readout else "proj_size"
            sizes[name] = self.output_size
        spelled = ", ".join(f"{name}={size}" for name, size in sizes.items())
        itemsize = self.dtype.itemsize
        check_weights(spelled, self.num_arrays, self.num_elements, itemsize)
        if isinstance(self.zoneout, tuple) and len(self.zones) < 2:
            raise ValueError(
                "zoneout: expected one number, as there is no state but "
                f"{self.state_names[0]}, got {self.zoneout}"
            )

    # Sizes

    @cached_property
    def directions(self) -> int:
        """D: 2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    def runs_back(self, direction: int) -> bool:
        """Tell whether a direction reads each row from its end to its start."""
        return self.reverse or direction == 1

    @cached_property
    def output_size(self) -> int:
        """O: the width of h."""
        return int(self.options.get("output_size") or self.hidden_size)

    @cached_property
    def units(self) -> int:
        """The hidden units that the kernels see: memory blocks, where there are any."""
        return self.hidden_size // int(self.options.get("cells", 1))

    @cached_property
    def compiled(self) -> Compiled | None:
        """What the definition of the cell comes to, where it has one."""
        found: Compiled | None = self.options.get("compiled")
        return found

    @cached_property
    def num_heads(self) -> int:
        """The number of groups of units that R does not mix."""
        return 1 if self.compiled is None else self.compiled.form.num_heads

    @cached_property
    def has_blocks(self) -> bool:
        """Whether hidden units are the cells of memory blocks."""
        return "cells" in self.options

    @cached_property
    def output_letter(self) -> str:
        """The letter of the width of h in messages."""
        if "output_size" not in self.options:
            return "H"
        return "O" if self.record.readout else "P"

    def input_size_of(self, layer: int) -> int:
        """Return I of one layer: the output of the layer below but for the first."""
        return self.directions * self.output_size if layer else self.input_size

    def activations_of(self, direction: int) -> tuple[Activation, ...]:
        """Return the activations of one direction."""
        count = len(self.activations) // (1 + self.directed)
        first = count * direction if self.directed else 0
        return self.activations[first : first + count]

    # What each layer of the stack runs

    def cell_of(self, layer: int) -> str:
        """Return the name of the cell that a layer runs."""
        bottom = self.record.bottom
        if self.compiled is not None:
            return "program"
        if layer == 0 and bottom is not None:
            return bottom[0]
        return self.record.cell or self.cell

    def options_of(self, layer: int) -> Options:
        """Return what that cell is asked for."""
        bottom = self.record.bottom
        own = self.options if layer or bottom is None else bottom[1]
        return {**own, "zoneout": self.zone_shares} if self.has_zones else own

    def info_of(self, layer: int) -> _core.CellInfo:
        """Return what the kernels say about the cell of a layer."""
        return self._infos[0 if layer == 0 else 1]

    @cached_property
    def _infos(self) -> tuple[_core.CellInfo, _core.CellInfo]:
        """The same of the first layer and of all others."""
        first, upper = (
            _core.cell_info(self.cell_of(layer), dict(self.options_of(layer)))
            for layer in (0, 1)
        )
        return first, upper

    @cached_property
    def hands_cells_up(self) -> bool:
        """Whether a layer reads the cell state of the layer below."""
        return any(self.info_of(k)["takes_lower"] for k in self._different_layers)

    @property
    def _different_layers(self) -> range:
        """The layers that stand for all: the first and, if there is one, the next."""
        return range(min(self.num_layers, 2))

    # States

    @cached_property
    def state_parts(self) -> tuple[tuple[str, str, int], ...]:
        """Name, letter of the width and width of each state but for the clock."""
        H = self.hidden_size
        outer = ("h", self.output_letter, self.output_size)
        if self.has_blocks:
            gates = [(name, "N", self.units) for name in "io"]
            return (outer, ("c", "H", H), *gates)
        if self.compiled is not None:
            return tuple((n, "H", H) for n in self.compiled.form.definition.states)
        inner = [(name, "H", H) for name in ("c", *self._linked_gates())]
        return (outer, *inner)[: self.info_of(0)["states"]]

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states but for the clock: h, c, ..."""
        return tuple(name for name, _, _ in self.state_parts)

    @cached_property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each state but for the clock."""
        return tuple(width for _, _, width in self.state_parts)

    @cached_property
    def zones(self) -> Mapping[str, int]:
        """Which of `zone_shares` each state has that may stay as it was: no gate."""
        names = [name for name in self.state_names if name not in self._linked_gates()]
        return {name: min(k, 1) for k, name in enumerate(names)}

    @cached_property
    def counts_steps(self) -> bool:
        """Whether a clock is part of the state."""
        return "modules" in self.options

    def kept_gates(self, layer: int) -> Mapping[str, int]:
        """Return the gates that a layer's cache keeps: names, and how wide they are."""
        info, found = self.info_of(layer), dict[str, int]()
        if self.compiled is not None:
            shown = self.compiled.gates if info["keeps_sums"] else {}
            return dict.fromkeys(shown, self.units)
        for name, w, r, stage in info["sums"]:
            has_product = not (w is None and r is None)
            if info["keeps_sums"] and has_product and not (info["projects"] and stage):
                found[name] = found.get(name, 0) + self.units
        return found

    @cached_property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the gates that the cache of the last layer keeps."""
        return tuple(self.kept_gates(self.num_layers - 1))

    # Weights

    def suffix(self, layer: int, direction: int) -> str:
        """Return what follows a weight's name in this layer and direction."""
        reverse = "_reverse" if direction else ""
        return f"_l{layer}{reverse}" if self.suffixed else ""

    def entries(self, layer: int) -> tuple[Entry | None, ...]:
        """Return the weights of one layer by role, None for those that are absent."""
        if self.compiled is not None:
            return self._defined_entries(self.compiled.form, self.input_size_of(layer))
        info, H, O = self.info_of(layer), self.units, self.output_size
        I, bias = self.input_size_of(layer), self.bias
        columns = O + info["heard"] * H
        w, r = self._blocks(layer, "W"), self._blocks(layer, "R")
        W, R = info["w_blocks"] * H, info["r_blocks"] * H
        readout, n = self.record.readout, info["links"] * H
        second = "weight_ho" if readout else "weight_hr"
        added = bias and not self.has_blocks
        output = Entry(second, (O, H), (), Rule("recurrent", (O, H)))
        linked = self._linked_gates()
        links = Entry("weight_gates", (n, n), linked, Rule("recurrent", (H, H)))
        return (
            Entry("weight_ih", (W, I), w, self._matrix_rule("input", W, w, I)),
            Entry("weight_hh", (R, columns), r, self._hh_rule(R, r, columns)),
            Entry("bias_ih", (W,), w, self._bias_rule(w)) if bias else None,
            Entry("bias_hh", (R,), r, self._bias_rule(r, zero=True)) if added else None,
            output if info["projects"] else None,
            Entry("bias_ho", (O,), (), Rule("vector")) if readout and bias else None,
            self._vectors(layer),
            links if n else None,
        )

    def _defined_entries(self, form: Form, inputs: int) -> tuple[Entry | None, ...]:
        """Return those of a layer whose cell is a definition."""
        H = self.hidden_size
        w, r, v, k = form.w_names, form.r_names, form.units, form.scalars
        w_bias, r_bias = form.bias_names if self.bias else ((), ())
        W, B, C = (len(names) * H for names in (w, w_bias, r_bias))
        w_rule = self._matrix_rule("input", W, w, inputs)
        vector = Rule("vector")
        rows = {n: form.firsts[name] for n, name in enumerate(v) if name in form.firsts}
        unit = "weight_unit" if self.record.defined else "weight_norm"
        firsts = dict(enumerate(form.firsts[name] for name in k))
        return (
            Entry("weight_ih", (W, inputs), w, w_rule),
            self._heads_entry(form) if r else None,
            Entry("bias_ih", (B,), w_bias, vector) if w_bias else None,
            Entry("bias_hh", (C,), r_bias, vector) if r_bias else None,
            None,
            Entry("scalar", (len(k),), k, Rule("vector", rows=firsts)) if k else None,
            Entry(unit, (len(v), H), v, Rule("vector", rows=rows)) if v else None,
            None,
        )

    def _heads_entry(self, form: Form) -> Entry:
        """Return that of R, of which each head's blocks are drawn on their own."""
        H, r, heads = self.hidden_size, form.r_names, form.num_heads
        size = H // heads
        blocks = tuple(f"{name}{k}" for name in r for k in range(heads))
        rule = self._matrix_rule("recurrent", len(r) * H, blocks, size)
        return Entry("weight_hh", (len(r) * H, size), r, rule)

    def _vectors(self, layer: int) -> Entry | None:
        """Return the entry of the weights of one per unit."""
        if self.leak is not None:
            if not self.learn_leak:
                return None
            leaks = 1 if isinstance(self.leak, float) else self.hidden_size
            first = partial(_leak.first_logit, self.leak, self.dtype)
            return Entry("leak_logit", (leaks,), (), Rule("given", first=first))
        rows = self.info_of(layer)["vectors"]
        if not rows:
            return None
        letters = tuple(self.options_of(layer).get("peepholes", ""))
        letters = letters or self.record.vectors
        shape = (rows, self.hidden_size)
        return Entry("weight_peephole", shape, letters, Rule("vector"))

    def _hh_rule(self, rows: int, blocks: tuple[str, ...], columns: int) -> Rule:
        rule = self._matrix_rule("recurrent", rows, blocks, columns)
        parts = tuple(size for size, _ in self.options.get("modules", ()))
        connected = self._connections if self.counts_steps else None
        return rule._replace(parts=parts, connected=connected)

    def _matrix_rule(
        self, path: str, rows: int, blocks: tuple[str, ...], columns: int
    ) -> Rule:
        """Return the rule of a matrix with these row blocks."""
        paper = {"input": "small", "recurrent": "identity"}[path]
        tile = (rows // max(1, len(blocks)), columns)
        return Rule(path, tile, paper if self._is_identity else "")

    def _bias_rule(self, blocks: tuple[str, ...], *, zero: bool = False) -> Rule:
        """Return the rule of a bias; `zero` for the one that leaves it to the other."""
        bias = forget_bias_of(self.init, self.forget_bias, self.record.paper)
        forgets = {"i": -1} if self.options.get("coupled") == "input" else {"f": 1}
        rule = set_biases(blocks, self.init, bias, (self.record.keeps, forgets))
        if zero:
            rule = rule._replace(signs=dict.fromkeys(rule.signs, 0))
        return rule._replace(paper="zeros" if self._is_identity else "")

    @property
    def _is_identity(self) -> bool:
        """Whether `init="paper"` is that of simple networks of relu."""
        return self.record.paper == "identity"

    def _blocks(self, layer: int, matrix: str) -> tuple[str, ...]:
        """Return the letters of the row blocks of a matrix, "W" or "R"."""
        info = self.info_of(layer)
        rows: dict[int, str] = {}
        for name, w, r, stage in info["sums"]:
            block = w if matrix == "W" else r
            projecting = matrix == "R" and info["projects"] and stage
            if block is not None and not projecting:
                rows[block] = PART_OF_GATE.get(name, name)
        return tuple(rows[block] for block in sorted(rows))

    def _linked_gates(self) -> tuple[str, ...]:
        """Return the gates that see each other's last activations."""
        if not self.options.get("full_gate_recurrence"):
            return ()
        return tuple(gate for gate in GATES if gate in self._blocks(0, "W"))

    @cached_property
    def num_arrays(self) -> int:
        """Number of weights as arrays, without listing them."""
        return self._over_layers(len)

    @cached_property
    def num_elements(self) -> int:
        """Number of all their elements, likewise."""
        return self._over_layers(lambda found: sum(prod(e.shape) for e in found))

    def _over_layers(self, count: Callable[[list[Entry]], int]) -> int:
        """Return the sum of a number over all layers and directions."""
        first, *upper = [
            self.directions * count([e for e in self.entries(layer) if e is not None])
            for layer in self._different_layers
        ]
        return first + sum(upper) * (self.num_layers - 1)

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """All weights, in the order of `state_dict`."""
        return tuple(
            Weight(entry.kind + self.suffix(layer, d), *entry, layer, d)
            for layer in range(self.num_layers)
            for d in range(self.directions)
            for entry in self.entries(layer)
            if entry is not None
        )

    @cached_property
    def weights_by_name(self) -> Mapping[str, Weight]:
        """The same by name."""
        return {weight.name: weight for weight in self.weights}

    @cached_property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each weight by name, in the order of `state_dict`."""
        return {weight.name: weight.shape for weight in self.weights}

    @cached_property
    def weight_groups(self) -> tuple[tuple[Names, ...], ...]:
        """Return the names of the weights per layer and direction, by role."""
        return tuple(
            tuple(self.weight_names(layer, d) for d in range(self.directions))
            for layer in range(self.num_layers)
        )

    def weight_names(self, layer: int, direction: int) -> Names:
        """Return the names of the eight weights, None for those that are absent."""
        suffix = self.suffix(layer, direction)
        return tuple(
            None if entry is None else entry.kind + suffix
            for entry in self.entries(layer)
        )

    @property
    def hh_mask(self) -> NDArray[np.bool_] | None:
        """Which connections [H, H] of a clockwork layer exist; None for all."""
        return self._connections() if self.counts_steps else None

    def _connections(self) -> NDArray[np.bool_]:
        modules = self.options["modules"]
        periods = np.repeat([period for _, period in modules], [n for n, _ in modules])
        return periods[:, None] <= periods

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""
        weight = self.weights_by_name[name]
        axes = {**AXES, "weight_hh": ("G*H", self.output_letter)}
        if self.has_blocks:
            axes |= BLOCK_AXES
        letters = axes.get(weight.kind, (self.output_letter, "H"))
        array = check_weight(name, value, letters, weight.shape, self.dtype)
        return self.clear_absent(weight, array)

    def clear_absent(self, weight: Weight, array: Array) -> Array:
        """Put zeros, in place, where a weight has connections that do not exist."""
        mask = self.hh_mask if weight.kind == "weight_hh" else None
        if mask is not None:
            array[~mask] = 0
        return array

    @cached_property
    def num_parameters(self) -> int:
        """Number of weights that exist, all arrays together."""
        total, mask = self.num_elements, self.hh_mask
        if mask is not None:
            absent = int(np.count_nonzero(~mask))
            total -= self.num_layers * self.directions * absent
        return total

    # Between the user's weights and the kernels'

    def engine_weights(
        self, weights: Mapping[str, Array], layer: int, direction: int
    ) -> tuple[Array | None, ...]:
        """Return the weights of one layer and direction by role, for the kernels."""
        names = self.weight_groups[layer][direction]
        found = [None if name is None else weights[name] for name in names]
        if self.leak is not None:
            size, dtype = self.hidden_size, self.dtype
            found[LEAK_ROLE] = _leak.leak_row(self.leak, found[LEAK_ROLE], size, dtype)
        return self._with_rows(found, _scalars.rows_of)

    @cached_property
    def gradients_differ(self) -> bool:
        """Whether the kernels' gradients are not all those of the user's weights."""
        return self.learn_leak or self.has_scalars

    @cached_property
    def has_scalars(self) -> bool:
        """Whether all units share some weight."""
        return self.compiled is not None and bool(self.compiled.form.scalars)

    def _with_rows(
        self,
        found: list[Array | None],
        rows_of: Callable[[Array | None, Array, int], Array],
    ) -> tuple[Array | None, ...]:
        """Return weights by role with the rows of scalars among those of units."""
        scalars = found[SCALAR_ROLE]
        if self.has_scalars and scalars is not None:
            rows = rows_of(found[VECTOR_ROLE], scalars, self.hidden_size)
            found[SCALAR_ROLE], found[VECTOR_ROLE] = None, rows
        return tuple(found)

    def engine_totals(
        self, totals: Mapping[str, Array], layer: int, direction: int
    ) -> tuple[Array | None, ...]:
        """Return the arrays by role to which the kernels add, made of these.

        They are these themselves, but for new ones where the user's gradients are
        others: zeros for a learned leak, totals with zeros for scalars.
        """
        names = self.weight_groups[layer][direction]
        found = [None if name is None else totals[name] for name in names]
        if self.learn_leak:
            found[LEAK_ROLE] = np.zeros((1, self.hidden_size), self.dtype)
        return self._with_rows(found, _scalars.totals_of)

    def user_gradients(
        self,
        weights: Mapping[str, Array],
        dweights: tuple[Array | None, ...],
        layer: int,
        direction: int,
    ) -> dict[str, Array]:
        """Return the gradients by name, from those by role."""
        found: dict[str, Array] = {}
        names = self.weight_groups[layer][direction]
        rows = dweights[VECTOR_ROLE]
        if self.has_scalars and rows is not None and self.compiled is not None:
            above = len(self.compiled.form.units)
            own = list(dweights)
            own[SCALAR_ROLE] = _scalars.gradient_of(rows[above:])
            own[VECTOR_ROLE] = rows[:above]
            dweights = tuple(own)
        for role, (name, dw) in enumerate(zip(names, dweights, strict=True)):
            if name is None or dw is None:
                continue
            learned = self.leak is not None and role == LEAK_ROLE
            found[name] = _leak.logit_gradient(weights[name], dw) if learned else dw
        return found
