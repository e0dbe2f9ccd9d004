"""One step of a layer at a time, forward and back, for loops of the caller's own.

A step is a call of a sequence of one step, without the axis of time, so it has the bits
of that step in a call of many (N7). What is its own is where the gradients of weights
go: each step back adds to the totals of those before it, in place, and no step has to
make, fill and add arrays as large as the weights.

As in `call.py`, a plain call is answered by the plan (`_core_plain.pxi`), and what
follows is for those that are not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, naming
from exactrnn._run import layout as layouts
from exactrnn._run import states
from exactrnn._run.call import final_state, new_output, take_gradient, with_own_input
from exactrnn._run.layout import Layout
from exactrnn._run.protocol import (
    Back,
    Call,
    Gradients,
    Kept,
    Runner,
    SequenceRun,
    States,
    Totals,
)
from exactrnn._spec.sequence import SequenceSpec

AXES = ("rows", "columns")
"""Of a weight, in messages."""


class WeightedSpec(SequenceSpec, Protocol):
    """What a layer with weights is, without them."""

    @property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name."""


class StepRun(SequenceRun, Protocol):
    """A run that can add its gradients of weights to those of other runs."""

    def back(
        self,
        dy: Array | None,
        dstate: States | None,
        truncated: bool = False,
        totals: Totals | None = None,
    ) -> Gradients:
        """Return all gradients; those of weights are the totals, added to."""

    def back_plain(
        self,
        layout: Layout,
        dy: object,
        dstate: object,
        truncated: bool,
        totals: object = None,
    ) -> Back | None:
        """Return them as the caller has them, None if his are not plain."""


def keep(runner: Runner, x: object, state: object) -> Kept:
    """Return output and next state, what `back` needs, and the caller's layout."""
    found = runner.keep_plain(x, state, one_step=True)
    if found is not None:
        return found
    spec = runner.spec
    call = with_own_input(begin(spec, x, state))
    y = new_output(spec, call)
    final, kept = runner.run_keeping(call, call.layout.inward(y))
    return (y, final_state(spec, call, final)), kept, call.layout


def begin(spec: SequenceSpec, x: object, state: object) -> Call:
    """Check the arguments of a step and bring them into time-major views."""
    given = _checks.check_step(x, spec.input_size, spec.dtype)
    layout = layouts.of_layer_step(given.ndim)
    inward = _checks.make_readable(layout.inward(given))
    parts, clock = states.take_state(spec, state, inward.shape[1], layout)
    return Call(inward, parts, clock=clock, layout=layout)


def back(
    spec: WeightedSpec,
    kept: SequenceRun,
    layout: Layout,
    gradients: tuple[object, object],
    weights: object,
    truncated: bool,
) -> Back:
    """Return the gradients, from those of output and next state.

    Those of weights are added to `weights`, if they are given, and these are returned.
    """
    if layout.has_time:
        raise ValueError("cache: expected one made by step, got one made by forward")
    run, (dy, dstate) = cast(StepRun, kept), gradients
    found = run.back_plain(layout, dy, dstate, truncated, weights)
    if found is not None:
        return found
    _checks.check_gradient_given(dy, dstate)
    steps, rows = run.shape
    dout = take_gradient(spec, layout, dy, steps, rows)
    dfinal = states.take_gradient(spec, dstate, rows, layout)
    theirs, totals = None, None
    if weights is not None:
        read = [part for part in (dout, *(dfinal or ())) if part is not None]
        theirs = take_totals(spec, weights, read)
        totals = {name: _writable(part) for name, part in theirs.items()}
    dx, dinitial, dweights = run.back(dout, dfinal, truncated, totals)
    for name, part in (theirs or {}).items():
        if dweights[name] is not part:
            part[...] = dweights[name]
    answer = cast(Any, dweights if weights is None else weights)
    return layout.outward(dx), states.pack_state(dinitial, None, layout), answer


def take_totals(
    spec: WeightedSpec, weights: object, read: Sequence[Array]
) -> dict[str, Array]:
    """Return what is to be added to, by name: writable, and no memory of two names."""
    given = naming.take_named("weights", weights)
    naming.check_names("weights", given, spec.weight_shapes)
    taken: dict[str, Array] = {}
    for name, shape in spec.weight_shapes.items():
        sizes = dict(zip(AXES, shape, strict=False))
        where = f"weights[{name!r}]"
        taken[name] = _checks.check_out(given[name], spec.dtype, sizes, read, where)
    check_apart(taken)
    return taken


def check_apart(arrays: dict[str, Array]) -> None:
    """Raise if the memory of one array reaches into that of another."""
    spans = sorted((*np.lib.array_utils.byte_bounds(a), n) for n, a in arrays.items())
    for (_, end, first), (begin, _, second) in itertools.pairwise(spans):
        if begin < end:
            raise ValueError(
                "weights: expected arrays of memory of their own, got memory of both "
                f"{first} and {second}"
            )


def _writable(array: Array) -> Array:
    """Return an array that the kernels can add to, itself if it is one."""
    return np.ascontiguousarray(_checks.make_readable(array))
