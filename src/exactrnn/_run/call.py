"""A call of a layer or cell: what the caller hands in, checked, to the runs and back.

All arguments become time-major views here, and results go back into the caller's layout
(`layout.py`); what computes knows neither. `run`, `run_keeping` and `run_back` are for
layers, `step`, `step_keeping` and `step_back` for single steps, which are sequences of
one step. What goes back to the caller as a state is typed by the public classes.

Each first offers the caller's arguments as they are to what runs the layer: a plain
call is answered there (`plans.py`), and everything here is for those that are not.
"""

from __future__ import annotations

from typing import Any

from exactrnn import _checks
from exactrnn._checks import Array, Lengths
from exactrnn._run import episode_runs, episodes, states
from exactrnn._run import layout as layouts
from exactrnn._run.episodes import Bools
from exactrnn._run.layout import Layout
from exactrnn._run.protocol import Back, Call, Kept, Runner, SequenceRun, States
from exactrnn._spec.sequence import SequenceSpec

# Layers


def run(
    runner: Runner,
    x: object,
    state: object,
    lengths: object,
    mask: object,
    resets: object,
) -> tuple[Array, Any]:
    """Return the output and the final state, keeping nothing."""
    if lengths is None and mask is None and resets is None:
        answer: tuple[Array, Any] | None = runner.run_plain(x, state)
        if answer is not None:
            return answer
    spec = runner.spec
    call = begin(spec, x, state, lengths, mask, resets)
    y = new_output(spec, call)
    final = _run(runner, call, call.layout.inward(y))
    return y, final_state(spec, call, final)


def run_into(
    runner: Runner,
    out: object,
    x: object,
    state: object,
    lengths: object,
    mask: object,
    resets: object,
) -> tuple[Array, Any]:
    """Do what `run` does with the output in `out`."""
    spec = runner.spec
    given = _checks.as_array("x", x, spec.dtype)
    call = begin(spec, given, state, lengths, mask, resets)
    steps, rows, _ = call.x.shape
    sizes = output_sizes(spec, call.layout, steps, rows)
    inputs = (given, *(call.state or ()))
    y = _checks.check_out(out, spec.dtype, sizes, inputs)
    direct = _checks.make_readable(y) is y
    result = y if direct else new_output(spec, call)
    final = _run(runner, call, call.layout.inward(result))
    if not direct:
        y[...] = result
    return _checks.as_given(out, y), final_state(spec, call, final)


def run_keeping(
    runner: Runner,
    x: object,
    state: object,
    lengths: object,
    mask: object,
    resets: object,
) -> Kept:
    """Return output and final state, what `run_back` needs, and the caller's layout."""
    if lengths is None and mask is None and resets is None:
        found = runner.keep_plain(x, state)
        if found is not None:
            return found
    spec = runner.spec
    call = begin(spec, x, state, lengths, mask, resets)
    y = new_output(spec, call)
    target = call.layout.inward(y)
    kept: SequenceRun
    if call.episodes is not None:  # which gather what they read
        final, kept = episode_runs.run_keeping(runner, call, call.episodes, target)
    else:
        final, kept = runner.run_keeping(with_own_input(call), target)
    return (y, final_state(spec, call, final)), kept, call.layout


def run_back(
    spec: SequenceSpec,
    kept: SequenceRun,
    layout: Layout,
    dy: object,
    dstate: object,
    truncated: bool = False,
) -> Back:
    """Return the gradients, from those of output and final state."""
    found = kept.back_plain(layout, dy, dstate, truncated)
    if found is not None:
        return found
    _checks.check_gradient_given(dy, dstate)
    steps, rows = kept.shape
    dout = take_gradient(spec, layout, dy, steps, rows)
    dfinal = states.take_gradient(spec, dstate, rows, layout)
    dx, dinitial, dweights = kept.back(dout, dfinal, truncated)
    dbegin = states.pack_state(dinitial, None, layout)
    return layout.outward(dx), dbegin, dweights


def _run(runner: Runner, call: Call, y: Array) -> States:
    if call.episodes is None:
        return runner.run(call, y)
    return episode_runs.run(runner, call, call.episodes, y)


def with_own_input(call: Call) -> Call:
    """Return a call whose input is no one else's; `_replace` takes 0.7 µs more."""
    return Call(call.x.copy(), *call[1:])


def begin(
    spec: SequenceSpec,
    x: object,
    state: object = None,
    lengths: object = None,
    mask: object = None,
    resets: object = None,
) -> Call:
    """Check the arguments of a call and bring them into time-major views."""
    batch_first = spec.batch_first
    given = _checks.check_sequence(x, spec.input_size, spec.dtype, batch_first)
    layout = layouts.of_sequence(given.ndim, batch_first)
    inward = _checks.make_readable(layout.inward(given))
    steps, rows, _ = inward.shape
    ends = None
    if lengths is not None:
        ends = _checks.check_lengths(lengths, steps, rows, layout.batched)
    found = None
    if mask is not None or resets is not None:
        sizes = layout.sizes(steps, rows)
        ends, found = episodes.arrange(
            (steps, rows),
            ends,
            _take_steps("mask", mask, layout, sizes),
            _take_steps("resets", resets, layout, sizes),
        )
    parts, clock = None, None
    if state is not None or spec.counts_steps:
        parts, clock = states.take_state(spec, state, rows, layout)
    return Call(inward, parts, ends, clock, found, layout)


def plain_state(spec: SequenceSpec, x: object, state: object) -> Any:
    """Return an initial state as arrays of NumPy's, None if none is given."""
    if state is None:
        return None
    call = begin(spec, x, state)
    return states.pack_state(call.state or (), call.clock, call.layout)


def _take_steps(
    name: str, value: object, layout: Layout, sizes: dict[str, int]
) -> Bools | None:
    """Return booleans of all steps as an array [T, B] of their own."""
    if value is None:
        return None
    return layout.inward(_checks.check_booleans(name, value, sizes))


def take_gradient(
    spec: SequenceSpec, layout: Layout, dy: object, steps: int, rows: int
) -> Array | None:
    """Return the gradient of the output as a view [T, B, D*O], None for none."""
    if dy is None:
        return None
    given = _checks.as_array("dy", dy, spec.dtype)
    width = spec.directions * spec.output_size
    if given.shape != layout.shape(steps, rows, width):
        expected = _checks.spell(output_sizes(spec, layout, steps, rows))
        raise _checks.shape_error("dy", expected, given.shape)
    return _checks.make_readable(layout.inward(given))


def output_sizes(
    spec: SequenceSpec, layout: Layout, steps: int, rows: int
) -> dict[str, int]:
    """Return the sizes of the output by letter, in the caller's order of axes."""
    width = {f"D_{spec.output_letter}": spec.directions * spec.output_size}
    return layout.sizes(steps, rows, **width)


def new_output(spec: SequenceSpec, call: Call) -> Array:
    """Return an array for the output, in the caller's layout."""
    steps, rows, _ = call.x.shape
    shape = call.layout.shape(steps, rows, spec.directions * spec.output_size)
    return _checks.allocate(shape, spec.dtype)


def final_state(spec: SequenceSpec, call: Call, parts: tuple[Array, ...]) -> Any:
    """Return final states as the caller has them, the clock moved on."""
    clock = None if call.clock is None else _moved_clock(spec, call, call.clock)
    return states.pack_state(parts, clock, call.layout)


def _moved_clock(spec: SequenceSpec, call: Call, clock: Lengths) -> Lengths:
    if call.episodes is None:
        return states.moved_clock(clock, call.x.shape[0], call.lengths)
    return episode_runs.moved_clock(spec, call.episodes, clock)


# Single steps


def step(runner: Runner, x: object, state: object) -> Any:
    """Return the next state of a cell."""
    answer = runner.run_plain(x, state)
    if answer is not None:
        return answer
    call = begin_step(runner.spec, x, state)
    final = runner.run(call, new_step(runner.spec, call))
    return states.pack_state(final, None, call.layout)


def step_keeping(runner: Runner, x: object, state: object) -> Kept:
    """Return the next state, what `step_back` needs, and the caller's layout."""
    found = runner.keep_plain(x, state)
    if found is not None:
        return found
    call = begin_step(runner.spec, x, state)
    call = with_own_input(call)
    final, kept = runner.run_keeping(call, new_step(runner.spec, call))
    return states.pack_state(final, None, call.layout), kept, call.layout


def step_back(
    spec: SequenceSpec, kept: SequenceRun, layout: Layout, dstate: object
) -> Back:
    """Return the gradients, from those of the next state."""
    found = kept.back_plain(layout, None, dstate, truncated=False)
    if found is not None:
        return found
    if isinstance(dstate, tuple | list) and not _checks.has_parts(dstate):
        raise ValueError("dstate: expected at least one array, got only None")
    _, rows = kept.shape
    taken = states.take_parts("dstate", spec, dstate, rows, layout, fill=True)
    dx, dbegin, dweights = kept.back(None, taken)
    return layout.outward(dx), states.pack_state(dbegin, None, layout), dweights


def new_step(spec: SequenceSpec, call: Call) -> Array:
    """Return an array [1, B, O] for an output that the state has as well."""
    return _checks.allocate((1, call.x.shape[1], spec.output_size), spec.dtype)


def begin_step(spec: SequenceSpec, x: object, state: object) -> Call:
    """Check the arguments of a cell's call, as `begin` does a layer's."""
    given = _checks.check_step(x, spec.input_size, spec.dtype)
    layout = layouts.of_step(given.ndim)
    inward = layout.inward(given)
    taken = None
    if state is not None:
        rows = inward.shape[1]
        taken = states.take_parts("state", spec, state, rows, layout)
    return Call(_checks.make_readable(inward), taken, layout=layout)
