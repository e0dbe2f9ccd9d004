"""What a grid is, without its weights: sizes, options, names and shapes of weights.

Names of weights: `weight_hh` and `bias_hh` of a dimension's block, with `_<label>` of
the dimension unless tied, with `_<place><positions>` where positions have weights of
their own; `weight_ih` and `bias_ih` of a side with input, rows h, then m. A grid that
runs in two directions has them twice, the second time with `_reverse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeAlias, cast

from exactrnn import _checks
from exactrnn._checks import Array, FloatType
from exactrnn._checks.limits import check_weights
from exactrnn._spec.activations import Activation
from exactrnn._spec.recurrent import Weight
from exactrnn._spec.rules import Init, Rule, Signs, set_biases
from exactrnn._system.locks import cached_property

OUTPUTS = ("tanh(o*m)", "o*tanh(m)")
GATES = ("i", "f", "g", "o")
KEEPS: Signs = {"f": 1, "i": -1}
FORGETS: Signs = {"f": 1}

Pair: TypeAlias = tuple[Array | None, Array | None]
"""h and m of one dimension, contiguous; None for zeros, or without memory."""


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Sizes and options, all checked.

    `input_sizes[k]` is the width of the input that enters at the near side of dimension
    k, None where none does; `sizes[k]` the number of points along it, None for any.
    """

    input_sizes: tuple[int | None, ...]
    hidden_size: int
    kinds: tuple[Activation, ...]
    priority: tuple[int, ...]
    output: str
    sizes: tuple[int | None, ...]
    shared: tuple[bool, ...]
    tied: bool
    bias: bool
    dtype: FloatType
    init: Init
    forget_bias: float | None
    labels: tuple[str, ...]
    place: str = "p"
    side_labels: bool = True
    directions: int = 1

    def __post_init__(self) -> None:
        """Raise for absurd sizes, before anything is listed by position."""
        widths = tuple(self.input_sizes[k] for k in self.sides)
        sizes = {"input_size": widths, "hidden_size": self.hidden_size}
        sizes |= {"sizes": self.sizes} if self.sets > 1 else {}
        spelled = ", ".join(f"{name}={size}" for name, size in sizes.items())
        itemsize = self.dtype.itemsize
        check_weights(spelled, self.num_arrays, self.num_elements, itemsize)

    @property
    def dims(self) -> int:
        """Number of dimensions."""
        return len(self.kinds)

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Dimensions with input at their near side."""
        return tuple(k for k in range(self.dims) if self.input_sizes[k] is not None)

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """0, or the place among the priority dimensions, from 1."""
        order = {k: place for place, k in enumerate(self.priority, 1)}
        return tuple(order.get(k, 0) for k in range(self.dims))

    @cached_property
    def own_sizes(self) -> tuple[int, ...]:
        """Positions with weights of their own, along each dimension; 1 if shared."""
        pairs = zip(self.sizes, self.shared, strict=True)
        return tuple(1 if shared else cast(int, size) for size, shared in pairs)

    @property
    def sets(self) -> int:
        """Number of sets of weights."""
        return prod(self.own_sizes)

    @cached_property
    def set_steps(self) -> tuple[int, ...]:
        """How the number of a point's set grows with its coordinates."""
        return tuple(
            0 if self.shared[k] else prod(self.own_sizes[k + 1 :])
            for k in range(self.dims)
        )

    @property
    def has_memory(self) -> bool:
        """Whether any dimension has memory, and so gates."""
        return "lstm" in self.kinds

    @cached_property
    def num_arrays(self) -> int:
        """Number of weights as arrays, without listing them."""
        per_set = 1 if self.tied else self.dims
        pairs = self.directions * (len(self.sides) + self.sets * per_set)
        return pairs * (1 + self.bias)

    @cached_property
    def num_elements(self) -> int:
        """Number of all their elements, likewise."""
        sides = sum(
            len(self._side_blocks(k)) * (cast(int, self.input_sizes[k]) + self.bias)
            for k in self.sides
        )
        dimensions = range(1 if self.tied else self.dims)
        rows = sum(len(self._blocks(k)) for k in dimensions)
        columns = self.dims * self.hidden_size + self.bias
        both = sides + self.sets * rows * columns
        return self.directions * self.hidden_size * both

    @cached_property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the gates of the transforms, by dimension: i_d0, f_d0, ..."""
        return tuple(
            f"{gate}_{label}"
            for kind, label in zip(self.kinds, self.labels, strict=True)
            if kind == "lstm"
            for gate in GATES
        )

    def _side_blocks(self, k: int) -> tuple[str, ...]:
        """Return the letters of the row blocks of the input of a side."""
        return ("h", "m") if self.kinds[k] == "lstm" else ("h",)

    def _blocks(self, k: int) -> tuple[str, ...]:
        """Return the letters of the row blocks of a dimension's block."""
        return GATES if self.kinds[k] == "lstm" else ("a",)

    def block_names(self, direction: int) -> Iterator[list[tuple[str, str | None]]]:
        """Give the names (weight, bias) by set, of each set by dimension."""
        for positions in product(*(range(size) for size in self.own_sizes)):
            pairs = zip(positions, self.shared, strict=True)
            place = "_".join(str(at) for at, shared in pairs if not shared)
            suffix = f"_{self.place}{place}" if place else ""
            suffix += "_reverse" * direction
            middle = [("" if self.tied else f"_{label}") for label in self.labels]
            yield [self._pair("hh", m + suffix) for m in middle]

    def side_names(self, direction: int) -> list[tuple[str, str | None]]:
        """Return the names (weight, bias) of the sides with input."""
        reverse = "_reverse" * direction
        return [
            self._pair("ih", (f"_{self.labels[k]}" * self.side_labels) + reverse)
            for k in self.sides
        ]

    def _pair(self, kind: str, suffix: str) -> tuple[str, str | None]:
        return f"weight_{kind}{suffix}", f"bias_{kind}{suffix}" if self.bias else None

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """What each weight is, in the order of `state_dict`."""
        found: dict[str, Weight] = {}
        H = self.hidden_size
        for direction in range(self.directions):
            for k, names in zip(self.sides, self.side_names(direction), strict=True):
                blocks, columns = self._side_blocks(k), cast(int, self.input_sizes[k])
                rules = (Rule("input", (H, columns)), Rule("vector"))
                found |= _weights_of(names, ("ih", blocks, columns), H, rules)
            for dimensions in self.block_names(direction):
                for k, names in enumerate(dimensions):
                    blocks, columns = self._blocks(k), self.dims * H
                    bias = set_biases(
                        blocks, self.init, self.forget_bias, (KEEPS, FORGETS)
                    )
                    rules = (Rule("recurrent", (H, columns)), bias)
                    found |= _weights_of(names, ("hh", blocks, columns), H, rules)
        return tuple(found.values())

    @cached_property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight, in the order of `state_dict`."""
        return {weight.name: weight.shape for weight in self.weights}

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together."""
        return self.num_elements

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""
        rows = "G*H" if "_hh" in name else "S*H"
        letters = (rows, "N*H" if "_hh" in name else "I")
        shape = self.weight_shapes[name]
        return _checks.check_weight(
            name, value, letters[: len(shape)], shape, self.dtype
        )


def _weights_of(
    names: tuple[str, str | None],
    matrix: tuple[str, tuple[str, ...], int],
    hidden_size: int,
    rules: tuple[Rule, Rule],
) -> dict[str, Weight]:
    """Return a matrix and its bias, if there is one, by name.

    `matrix` is its kind, "ih" or "hh", the letters of its row blocks and its columns.
    """
    kind, blocks, columns = matrix
    rows = len(blocks) * hidden_size
    kinds, shapes = (f"weight_{kind}", f"bias_{kind}"), ((rows, columns), (rows,))
    return {
        name: Weight(name, kind, shape, blocks, rule, 0, 0)
        for name, kind, shape, rule in zip(names, kinds, shapes, rules, strict=True)
        if name is not None
    }
