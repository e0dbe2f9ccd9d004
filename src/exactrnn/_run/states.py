"""States, from the caller's form to that of the kernels and back.

The kernels know the states as arrays [L*D, B, width], in the cell's order: h, c, ...
The caller has one array for a cell of one state, else the tuple; without a batch they
lose the axis B. A clockwork layer has a clock besides: int64 [B], the number of steps
that each row has done, for all its layers and directions. It has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, Lengths
from exactrnn._spec.recurrent import Config


def take_state(
    config: Config, state: object, rows: int, batched: bool
) -> tuple[tuple[Array, ...] | None, Lengths | None]:
    """Return the arrays of an initial state, None for zeros, and the clock [B].

    The clock is None for cells that do not count steps.
    """
    if not config.counts_steps:
        if state is None:
            return None, None
        return _take("state", config, state, rows, batched), None
    if state is None:
        return None, np.full(rows, config.phase, np.int64)
    h, clock = _checks.check_parts("state", state, ("h", "clock"))
    parts = _take("state[0]", config, h, rows, batched)
    return parts, _checks.check_clock("state[1]", clock, rows, batched)


def take_gradient(
    config: Config, dstate: object, rows: int, batched: bool
) -> tuple[Array, ...] | None:
    """Return the arrays of the gradient of a final state, None for zeros.

    One of several may be None as well.
    """
    if dstate is None:
        return None
    return _take("dstate", config, dstate, rows, batched, fill=True)


def pack_state(parts: Sequence[Array], clock: Lengths | None, batched: bool) -> Any:
    """Return a state, or with no clock the gradient of one, as the caller has it."""
    if not batched:
        parts = [part[:, 0, :] for part in parts]
    if clock is not None:
        return parts[0], clock if batched else clock.reshape(())
    return tuple(parts) if len(parts) > 1 else parts[0]


def moved_clock(clock: Lengths, steps: int, lengths: Lengths | None) -> Lengths:
    """Return the clock after `steps`, or after the length of each row."""
    return clock + (steps if lengths is None else lengths)


def _take(
    name: str,
    config: Config,
    state: object,
    rows: int,
    batched: bool,
    *,
    fill: bool = False,
) -> tuple[Array, ...]:
    lead = {"L_D": config.num_layers * config.directions}
    if batched:
        lead["B"] = rows
    parts = _checks.check_state(
        name, state, config.state_parts, config.dtype, lead, fill=fill
    )
    return parts if batched else tuple([part[:, None, :] for part in parts])
