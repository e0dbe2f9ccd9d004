"""What runs a layer, and what its runs leave behind: one interface for all kinds.

    of                     runner            run             call
    layers, single steps   Stack             StackRun        Call
    grids in time          TimeDepthStack    TimeDepthRun    Call
    either, with episodes  -                 EpisodesRun     Call
    grids of N dimensions  GridStack         GridRun         GridCall

A run knows its runner: it goes back and shows what it has kept by itself. The last kind
has no time, so its calls are its own; all else is as with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from exactrnn import _core
from exactrnn._checks import Array, Lengths
from exactrnn._run.dropout import Drawn, Masks
from exactrnn._run.episodes import Episodes
from exactrnn._run.layout import TIME_MAJOR, Layout
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._weights.store import Packs, ParameterStore

States: TypeAlias = tuple[Array, ...]
"""States or their gradients, [L*D, B, width] each."""
Gradients: TypeAlias = tuple[Array, States, dict[str, Array]]
"""Of the input [T, B, I], the initial states and the weights by name."""
Back: TypeAlias = tuple[Array, Any, dict[str, Array]]
"""Gradients in the caller's layout: of the input, the initial state and the weights."""
Totals: TypeAlias = Mapping[str, Array]
"""Gradients of weights by name so far, contiguous: those of a run are added to them."""
Reduced: TypeAlias = tuple[Callable[..., "Run"], Mapping[str, Any]]
"""What restores a run: a function of an equal runner and of these plain values."""


class Call(NamedTuple):
    """A checked call: `x` [T, B, I] time-major, states [L*D, B, width] each or None.

    `clock` [B] is None for cells that do not count steps, `episodes` for a call without
    holes and resets; a runner is asked for the runs of a call's episodes one by one.
    `layout` is the caller's own, to which results go back.
    """

    x: Array
    state: States | None
    lengths: Lengths | None = None
    clock: Lengths | None = None
    episodes: Episodes | None = None
    layout: Layout = TIME_MAJOR

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compute: no time step or no row."""
        return self.x.size == 0


class Run(Protocol):
    """What a call that keeps leaves behind: enough to look at, and to go back."""

    def gates(self) -> dict[str, Array]:
        """Return the gates by name and suffix, time-major."""

    def states(self) -> dict[str, Array]:
        """Return the states after each step likewise."""

    def reduce(self) -> Reduced:
        """Return what makes an equal run of an equal runner."""


class SequenceRun(Run, Protocol):
    """A run in time; that of one step takes `totals` besides when it goes back."""

    @property
    def version(self) -> int:
        """Of the weights that were used."""

    @property
    def lengths(self) -> Lengths | None:
        """The lengths [B] of the call."""

    @property
    def masks(self) -> tuple[Array, ...]:
        """The dropout masks [T, B, D*O] between the layers; none without dropout."""

    @property
    def state_masks(self) -> dict[str, Array]:
        """Those of recurrent dropout and zoneout, by name and suffix."""

    @property
    def inputs(self) -> tuple[Array, ...]:
        """What was read [T, B, ...]: first of all the call's `x`."""

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""

    def back(
        self, dy: Array | None, dstate: States | None, truncated: bool = False
    ) -> Gradients:
        """Return all gradients, from those of output and final states."""

    def back_plain(
        self, layout: Layout, dy: object, dstate: object, truncated: bool
    ) -> Back | None:
        """Return them as the caller has them, None if his are not plain."""


Kept: TypeAlias = tuple[Any, SequenceRun, Layout]
"""What the caller of a call that keeps gets, its run, and the layout."""


class Owner(Protocol):
    """What owns the weights of a layer, in time or not, and its random numbers."""

    @property
    def store(self) -> ParameterStore:
        """The owner of the weights."""

    @property
    def masks(self) -> Masks:
        """Where dropout draws from."""


class Runner(Owner, Protocol):
    """What runs a layer in time."""

    @property
    def spec(self) -> SequenceSpec:
        """What the layer is."""

    def run_plain(self, x: object, state: object) -> Any:
        """Return what the caller of a plain call gets, None if it is not plain.

        What is plain is said in `_core_plain.pxi`; nothing has happened if it is not.
        """

    def keep_plain(
        self, x: object, state: object, one_step: bool = False
    ) -> Kept | None:
        """Do the same for a call that keeps, of a sequence or of one step."""

    def run(self, call: Call, y: Array, packs: Packs | None = None) -> States:
        """Compute the output into `y` [T, B, D*O] and return the final states.

        `packs` are the weights, if the caller has fetched them for several runs.
        """

    def run_keeping(self, call: Call, y: Array) -> tuple[States, SequenceRun]:
        """Compute as `run`, with dropout, and keep what going back needs."""

    def keep(
        self, call: Call, y: Array, masks: Drawn, packs: Packs | None = None
    ) -> tuple[States, SequenceRun]:
        """Do what `run_keeping` does, with masks that are drawn already."""

    def new_stepper(self, packs: Packs, batch_size: int) -> _core.AnyStepper:
        """Return what steps that many rows, from a state of zeros."""
