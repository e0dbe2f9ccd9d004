"""What a layer is, without its weights: sizes, options, names and shapes of weights.

Weights are named as in `torch.nn`, in the order of its `state_dict`: for each layer and
direction `weight_ih [G*H, I]`, `weight_hh [G*H, H]`, `bias_ih [G*H]`, `bias_hh [G*H]`,
with a suffix `_l0`, `_l0_reverse`, `_l1`, ... (none for a single cell).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from exactrnn import _core
from exactrnn._checks import FloatType

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and options, all checked; `suffixed` tells a layer from a single cell."""

    cell: str
    activations: tuple[str, ...]
    input_size: int
    hidden_size: int
    bias: bool
    dtype: FloatType
    clip: float | None = None
    num_layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    dropout: float = 0.0
    suffixed: bool = True

    @cached_property
    def directions(self) -> int:
        """D: 2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    @cached_property
    def gates(self) -> int:
        """G: row blocks of the weight matrices."""
        return int(_core.cell_info(self.cell)["gates"])

    @cached_property
    def states(self) -> int:
        """Number of state arrays: 1 (h), or 2 (h, c)."""
        return int(_core.cell_info(self.cell)["states"])

    @cached_property
    def sums(self) -> tuple[str, ...]:
        """Names of the gates that the cache keeps; none if `h` says it all."""
        info = _core.cell_info(self.cell)
        return tuple(entry[0] for entry in info["sums"]) if info["keeps_sums"] else ()

    def suffix(self, layer: int, direction: int) -> str:
        """Return what follows a weight's name in this layer and direction."""
        reverse = "_reverse" if direction else ""
        return f"_l{layer}{reverse}" if self.suffixed else ""

    def input_size_of(self, layer: int) -> int:
        """Return I of one layer: the output of the layer below but for the first."""
        return self.directions * self.hidden_size if layer else self.input_size

    def weight_names(self, layer: int, direction: int) -> tuple[str | None, ...]:
        """Return the names of the four weights, None for those that are absent."""
        suffix = self.suffix(layer, direction)
        return tuple(
            kind + suffix if self.bias or kind.startswith("weight") else None
            for kind in KINDS
        )

    @cached_property
    def weight_groups(self) -> tuple[tuple[tuple[str | None, ...], ...], ...]:
        """Return the names of the weights per layer and direction."""
        return tuple(
            tuple(self.weight_names(layer, d) for d in range(self.directions))
            for layer in range(self.num_layers)
        )

    @cached_property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each weight by name, in the order of `state_dict`."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, directions in enumerate(self.weight_groups):
            columns = (self.input_size_of(layer), self.hidden_size)
            sizes = ((rows, columns[0]), (rows, columns[1]), (rows,), (rows,))
            for names in directions:
                pairs = zip(names, sizes, strict=True)
                shapes.update({name: size for name, size in pairs if name is not None})
        return shapes
