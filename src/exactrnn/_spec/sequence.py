"""What runs in time ask of what a layer is, whatever its kind."""

from __future__ import annotations

from typing import Protocol

from exactrnn._checks import FloatType


class SequenceSpec(Protocol):
    """What `Config` and `TimeDepthConfig` have in common: sizes, states, directions."""

    @property
    def input_size(self) -> int:
        """I."""

    @property
    def output_size(self) -> int:
        """O, the width of the output of one direction."""

    @property
    def output_letter(self) -> str:
        """The letter of that width in messages."""

    @property
    def num_layers(self) -> int:
        """L."""

    @property
    def directions(self) -> int:
        """D, 1 or 2."""

    @property
    def dtype(self) -> FloatType:
        """Of weights, inputs, states and outputs."""

    @property
    def batch_first(self) -> bool:
        """Whether the caller's sequences are [B, T, ...]."""

    @property
    def dropout(self) -> float:
        """Share of the values that are dropped between layers."""

    @property
    def state_parts(self) -> tuple[tuple[str, str, int], ...]:
        """Name, letter of the width and width of each state but for the clock."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of those."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Their widths."""

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the gates that a cache shows, without what follows for a layer."""

    @property
    def counts_steps(self) -> bool:
        """Whether a clock is part of the state."""

    @property
    def phase(self) -> int:
        """Where that clock begins."""

    def runs_back(self, direction: int) -> bool:
        """Tell whether a direction reads each row from its end to its start."""

    def suffix(self, layer: int, direction: int) -> str:
        """Return what follows a gate's or state's name in a layer and direction."""
