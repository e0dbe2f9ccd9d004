"""States, from the caller's form to that of the kernels and back.

The kernels know the states as arrays [L*D, B, width], in the cell's order: h, c, ...
The caller has one array for a cell of one state, else the tuple, in a layout of their
own. A clockwork layer has a clock besides: int64 [B], the number of steps that each row
has done, for all its layers and directions. It has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, Lengths
from exactrnn._run.layout import ALL, Layout
from exactrnn._spec.sequence import SequenceSpec


def take_state(
    spec: SequenceSpec, state: object, rows: int, layout: Layout
) -> tuple[tuple[Array, ...] | None, Lengths | None]:
    """Return the arrays of an initial state, None for zeros, and the clock [B].

    The clock is None for cells that do not count steps.
    """
    if not spec.counts_steps:
        if state is None:
            return None, None
        return take_parts("state", spec, state, rows, layout), None
    if state is None:
        return None, np.full(rows, spec.phase, np.int64)
    h, clock = _checks.check_parts("state", state, ("h", "clock"))
    parts = take_parts("state[0]", spec, h, rows, layout)
    return parts, _checks.check_clock("state[1]", clock, rows, layout.batched)


def take_gradient(
    spec: SequenceSpec, dstate: object, rows: int, layout: Layout
) -> tuple[Array, ...] | None:
    """Return the arrays of the gradient of a final state, None for zeros.

    One of several may be None as well.
    """
    if dstate is None:
        return None
    return take_parts("dstate", spec, dstate, rows, layout, fill=True)


def take_parts(
    name: str,
    spec: SequenceSpec,
    state: object,
    rows: int,
    layout: Layout,
    *,
    fill: bool = False,
) -> tuple[Array, ...]:
    """Return the arrays [L*D, B, n] of a state without its clock.

    With `fill` one of several may be None, for zeros.
    """
    lead = layout.state_sizes(spec.num_layers * spec.directions, rows)
    parts = _checks.check_state(
        name, state, spec.state_parts, spec.dtype, lead, fill=fill
    )
    if layout.state_add is ALL:
        return parts
    return tuple([layout.state_inward(part) for part in parts])


def pack_state(parts: Sequence[Array], clock: Lengths | None, layout: Layout) -> Any:
    """Return a state, or with no clock the gradient of one, as the caller has it."""
    if layout.state_drop is not ALL:
        parts = [layout.state_outward(part) for part in parts]
    if clock is not None:
        return parts[0], clock if layout.batched else clock.reshape(())
    return tuple(parts) if len(parts) > 1 else parts[0]


def moved_clock(clock: Lengths, steps: int, lengths: Lengths | None) -> Lengths:
    """Return the clock after `steps`, or after the length of each row."""
    return clock + (steps if lengths is None else lengths)
