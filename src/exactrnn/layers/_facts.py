"""What follows from a layer's options and can be read: states, gates, directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exactrnn._spec.sequence import SequenceSpec


class SequenceFacts:
    """Facts of whatever reads sequences, for adapters and pictures."""

    if TYPE_CHECKING:

        @property
        def _spec(self) -> SequenceSpec: ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the arrays of a state, but for a clock: `h`, `c`, ...

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.LSTM(3, 4, 2).state_names
        ('h', 'c')
        """
        return self._spec.state_names

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each of these arrays: [L*D, B, width], [B, width] of a cell.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.LSTM(3, 4, proj_size=2).state_sizes
        (2, 4)
        """
        return self._spec.state_sizes

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names in `cache.gates`, without what follows for layer and direction.

        They are what a step computes from sums of products, so that `v`, the recurrent
        sum that r of a GRU acts on, is one. The first layer of a depth-gated LSTM has
        no `d`.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.GRU(3, 4).gate_names, xr.RNN(3, 4).gate_names
        (('r', 'z', 'n', 'v'), ())
        """
        return self._spec.gate_names

    @property
    def num_directions(self) -> int:
        """D: 2 with `bidirectional`, else 1.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.GRU(3, 4, bidirectional=True).num_directions
        2
        """
        return self._spec.directions

    @property
    def counts_steps(self) -> bool:
        """Whether a state ends with a clock, int64 [B], as a clockwork layer's.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.ClockworkRNN(3, 4, periods=(1, 2)).counts_steps
        True
        """
        return self._spec.counts_steps
