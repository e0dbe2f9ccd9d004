"""What a grid of time and depth is: a grid of two dimensions, and a layer in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from exactrnn._checks.limits import MAX_ARRAYS
from exactrnn._spec.grid import GridConfig
from exactrnn._system.locks import cached_property

DEPTH, TIME = 0, 1
"""The dimensions: a block sums over what comes from the input first."""


@dataclass(frozen=True, kw_only=True)
class TimeDepthConfig(GridConfig):
    """A grid of two dimensions, with what a recurrent layer is asked for."""

    batch_first: bool
    dropout: float
    reverse: bool = False

    phase = 0
    counts_steps = False
    output_letter = "H"
    state_names = ("h", "m")

    def __post_init__(self) -> None:
        """Raise for absurd sizes; layers that share their weights are no arrays."""
        super().__post_init__()
        if self.num_layers > MAX_ARRAYS:
            got = f"got {self.num_layers}"
            raise ValueError(f"num_layers: expected at most {MAX_ARRAYS}, {got}")

    @property
    def input_size(self) -> int:
        """I."""
        return cast(int, self.input_sizes[DEPTH])

    @property
    def num_layers(self) -> int:
        """L."""
        return cast(int, self.sizes[DEPTH])

    def runs_back(self, direction: int) -> bool:
        """Tell whether a direction reads each row from its end to its start."""
        return self.reverse or direction == 1

    @property
    def output_size(self) -> int:
        """H, the width of the output of one direction."""
        return self.hidden_size

    @cached_property
    def state_parts(self) -> tuple[tuple[str, str, int], ...]:
        """Name, letter of the width and width of each state."""
        return tuple((name, "H", self.hidden_size) for name in self.state_names)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each state."""
        return tuple(width for _, _, width in self.state_parts)

    def suffix(self, layer: int, direction: int) -> str:
        """Return what follows a gate's or state's name."""
        return f"_l{layer}" + "_reverse" * direction
