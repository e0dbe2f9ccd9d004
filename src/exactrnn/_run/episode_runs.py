"""The runs of a call's episodes, group by group, as one run (see `episodes.py`).

What runs a layer knows nothing of episodes: it is asked for a run of each group, a
batch with lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from exactrnn import _checks, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.episodes import Bools, Episodes, Group
from exactrnn._run.protocol import (
    Call,
    Gradients,
    Reduced,
    Runner,
    SequenceRun,
    States,
)
from exactrnn._spec.sequence import SequenceSpec

R = TypeVar("R")


def directions_back(spec: SequenceSpec) -> Bools:
    """Tell which of all layers and directions [L*D] read rows from their ends."""
    one_layer = [spec.runs_back(d) for d in range(spec.directions)]
    return np.array(one_layer * spec.num_layers, np.bool_)


def new_states(spec: SequenceSpec, rows: int) -> States:
    """Return states of zeros, [L*D, rows, n]."""
    lead = (spec.num_layers * spec.directions, rows)
    return tuple(
        np.zeros((*lead, width), spec.dtype) for _, _, width in spec.state_parts
    )


def moved_clock(spec: SequenceSpec, episodes: Episodes, clock: Lengths) -> Lengths:
    """Return the clock [B] after the call."""
    return episodes.moved_clock(clock, spec.phase, directions_back(spec))


@dataclass(frozen=True, slots=True)
class EpisodesRun:
    """What a call with episodes leaves behind: a run of each group.

    `lengths`, the dropout `masks` [T, B, D*O] and the `state_masks` by name are those
    of the call.
    """

    spec: SequenceSpec
    version: int
    lengths: Lengths | None
    masks: tuple[Array, ...]
    state_masks: dict[str, Array]
    runs: tuple[SequenceRun, ...]
    episodes: Episodes

    @property
    def shape(self) -> tuple[int, int]:
        """T and B of the call."""
        return self.episodes.steps, self.episodes.rows

    @property
    def inputs(self) -> tuple[Array, ...]:
        """What each layer read [T, B, I of the layer], zeros where nothing was."""
        by_layer = zip(*(run.inputs for run in self.runs), strict=True)
        return tuple(self.episodes.collect(parts) for parts in by_layer)

    def gates(self) -> dict[str, Array]:
        """Return the gates [T, B, H] by name and suffix."""
        return self._collect([run.gates() for run in self.runs])

    def states(self) -> dict[str, Array]:
        """Return the states after each step likewise."""
        return self._collect([run.states() for run in self.runs])

    def _collect(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        collect = self.episodes.collect
        return {name: collect([part[name] for part in parts]) for name in parts[0]}

    def back(
        self, dy: Array | None, dstate: States | None, truncated: bool = False
    ) -> Gradients:
        """Return all gradients, from those of output and final states."""

        def run_part(
            part: SequenceRun, group: Group, dends: States | None
        ) -> Gradients:
            own = None if dy is None else group.gather(dy)
            return part.back(own, dends, truncated)

        return back_parts(self.spec, self.episodes, self.runs, dstate, run_part)

    def back_plain(self, *_: object) -> None:
        """Return None: what groups read and get has to be gathered."""

    def reduce(self) -> Reduced:
        """Return what makes an equal run of an equal runner."""
        return restore_run, {
            "lengths": self.lengths,
            "masks": self.masks,
            "state_masks": self.state_masks,
            "parts": tuple(part.reduce() for part in self.runs),
            "episodes": self.episodes,
        }


def restore_run(runner: Runner, described: Mapping[str, Any]) -> EpisodesRun:
    """Return the run that has been reduced, as one of this runner."""
    parts = tuple(restore(runner, part) for restore, part in described["parts"])
    return EpisodesRun(
        runner.spec,
        parts[0].version,
        described["lengths"],
        described["masks"],
        described["state_masks"],
        parts,
        described["episodes"],
    )


def run(runner: Runner, call: Call, episodes: Episodes, y: Array) -> States:
    """Do what `Runner.run` does, with the episodes of the call."""
    packs = runner.store.packs(engine.isa())

    def run_part(part: Call, target: Array, _: Group) -> States:
        return runner.run(part, target, packs)

    return _run_parts(runner.spec, call, episodes, y, run_part)


def run_keeping(
    runner: Runner, call: Call, episodes: Episodes, y: Array
) -> tuple[States, EpisodesRun]:
    """Do what `Runner.run_keeping` does, with the episodes of the call.

    Dropout draws for all steps, as without episodes.
    """
    packs = runner.store.packs(engine.isa(), backward=True)
    runs: list[SequenceRun] = []
    with runner.masks.drawn(*call.x.shape[:2]) as masks:

        def run_part(part: Call, target: Array, group: Group) -> States:
            own = masks.gather(group)
            ends, kept = runner.keep(part, target, own, packs)
            runs.append(kept)
            return ends

        ends = _run_parts(runner.spec, call, episodes, y, run_part)
    return ends, EpisodesRun(
        runner.spec,
        packs.version,
        call.lengths,
        masks.between,
        masks.show(runner.spec),
        tuple(runs),
        episodes,
    )


def _run_parts(
    spec: SequenceSpec,
    call: Call,
    episodes: Episodes,
    y: Array,
    run_part: Callable[[Call, Array, Group], States],
) -> States:
    """Run each group, fill `y` and return the final states."""
    back, final = directions_back(spec), new_states(spec, episodes.rows)
    y[...] = 0
    for group, clock in clocked(spec, episodes, call.clock):
        part = Call(
            group.gather(call.x),
            group.take(call.state, group.enters(back)),
            group.lengths,
            clock,
        )
        target = _checks.allocate((*group.active.shape, y.shape[2]), y.dtype)
        ends = run_part(part, target, group)
        group.scatter(target, y)
        group.give(ends, group.leaves(back), final)
    return final


def clocked(
    spec: SequenceSpec, episodes: Episodes, clock: Lengths | None
) -> Iterator[tuple[Group, Lengths | None]]:
    """Give each group and its clocks [B'], None if there is no `clock` [B]."""
    clocks: Iterable[Lengths | None] = [None] * len(episodes.groups)
    if clock is not None:
        clocks = episodes.clocks(clock, spec.phase, directions_back(spec))
    yield from zip(episodes.groups, clocks, strict=True)


@np.errstate(all="ignore")
def back_parts(
    spec: SequenceSpec,
    episodes: Episodes,
    runs: Sequence[R],
    dstate: States | None,
    run_part: Callable[[R, Group, States | None], Gradients],
) -> Gradients:
    """Go back through the run of each group and put the gradients together.

    `run_part` gives the gradients of one group's input, initial states and weights.
    """
    back, dinitial = directions_back(spec), new_states(spec, episodes.rows)
    dinputs, dweights = [], dict[str, Array]()
    for group, part in zip(episodes.groups, runs, strict=True):
        dends = group.take(dstate, group.leaves(back))
        dx, dbegin, own = run_part(part, group, dends)
        dinputs.append(dx)
        group.give(dbegin, group.enters(back), dinitial)
        for name, dw in own.items():
            dweights[name] = dweights[name] + dw if name in dweights else dw
    return episodes.collect(dinputs), dinitial, dweights
