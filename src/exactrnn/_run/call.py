"""A call of a layer or cell: what the caller hands in, checked, to the runs and back.

All arguments become time-major views here, and results go back into the caller's layout
(`layout.py`); what computes knows neither. `run`, `run_keeping` and `run_back` are for
layers, `step`, `step_keeping` and `step_back` for single cells, which are sequences of
one step. What goes back to the caller as a state is typed by the public classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from exactrnn import _checks
from exactrnn._checks import Array, Lengths
from exactrnn._run import episodes, states
from exactrnn._run import layout as layouts
from exactrnn._run.episodes import Bools
from exactrnn._run.layout import Layout
from exactrnn._run.stack import Call

Back: TypeAlias = tuple[Array, Any, dict[str, Array]]
"""Gradients in the caller's layout: of the input, the initial state and the weights."""

# Layers


def run(
    stack: Any, x: object, state: object, lengths: object, mask: object, resets: object
) -> tuple[Array, Any]:
    """Return the output and the final state, keeping nothing."""
    config = stack.config
    call = begin(config, x, state, lengths, mask, resets)
    y = new_output(config, call)
    final = episodes.run(stack, call, call.layout.inward(y))
    return y, final_state(config, call, final)


def run_into(
    stack: Any,
    out: object,
    x: object,
    state: object,
    lengths: object,
    mask: object,
    resets: object,
) -> tuple[Array, Any]:
    """Do what `run` does with the output in `out`."""
    config = stack.config
    given = _checks.as_array("x", x, config.dtype)
    call = begin(config, given, state, lengths, mask, resets)
    steps, rows, _ = call.x.shape
    sizes = output_sizes(config, call.layout, steps, rows)
    inputs = (given, *(call.state or ()))
    y = _checks.check_out(out, config.dtype, sizes, inputs)
    direct = _checks.make_readable(y) is y
    result = y if direct else new_output(config, call)
    final = episodes.run(stack, call, call.layout.inward(result))
    if not direct:
        y[...] = result
    return _checks.as_given(out, y), final_state(config, call, final)


def run_keeping(
    stack: Any, x: object, state: object, lengths: object, mask: object, resets: object
) -> tuple[Array, Any, Any, Layout]:
    """Return output and final state, what `run_back` needs, and the caller's layout."""
    config = stack.config
    call = begin(config, x, state, lengths, mask, resets)
    if call.episodes is None:  # which gather what they read
        call = call._replace(x=call.x.copy())
    y = new_output(config, call)
    final, kept = episodes.run_keeping(stack, call, call.layout.inward(y))
    return y, final_state(config, call, final), kept, call.layout


def run_back(
    stack: Any,
    kept: Any,
    layout: Layout,
    dy: object,
    dstate: object,
    truncated: bool = False,
) -> Back:
    """Return the gradients, from those of output and final state."""
    config = stack.config
    _checks.check_gradient_given(dy, dstate)
    steps, rows = kept.shape
    dout = take_gradient(config, layout, dy, steps, rows)
    dfinal = states.take_gradient(config, dstate, rows, layout)
    dx, dinitial, dweights = episodes.run_back(stack, kept, dout, dfinal, truncated)
    dbegin = states.pack_state(dinitial, None, layout)
    return layout.outward(dx), dbegin, dweights


def begin(
    config: Any,
    x: object,
    state: object = None,
    lengths: object = None,
    mask: object = None,
    resets: object = None,
) -> Call:
    """Check the arguments of a call and bring them into time-major views."""
    batch_first = config.batch_first
    given = _checks.check_sequence(x, config.input_size, config.dtype, batch_first)
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
    if state is not None or config.counts_steps:
        parts, clock = states.take_state(config, state, rows, layout)
    return Call(inward, parts, ends, clock, found, layout)


def plain_state(config: Any, x: object, state: object) -> Any:
    """Return an initial state as arrays of NumPy's, None if none is given."""
    if state is None:
        return None
    call = begin(config, x, state)
    return states.pack_state(call.state or (), call.clock, call.layout)


def _take_steps(
    name: str, value: object, layout: Layout, sizes: dict[str, int]
) -> Bools | None:
    """Return booleans of all steps as an array [T, B] of their own."""
    if value is None:
        return None
    return layout.inward(_checks.check_booleans(name, value, sizes))


def take_gradient(
    config: Any, layout: Layout, dy: object, steps: int, rows: int
) -> Array | None:
    """Return the gradient of the output as a view [T, B, D*O], None for none."""
    if dy is None:
        return None
    given = _checks.as_array("dy", dy, config.dtype)
    width = config.directions * config.output_size
    if given.shape != layout.shape(steps, rows, width):
        expected = _checks.spell(output_sizes(config, layout, steps, rows))
        raise _checks.shape_error("dy", expected, given.shape)
    return _checks.make_readable(layout.inward(given))


def output_sizes(config: Any, layout: Layout, steps: int, rows: int) -> dict[str, int]:
    """Return the sizes of the output by letter, in the caller's order of axes."""
    width = {f"D_{config.output_letter}": config.directions * config.output_size}
    return layout.sizes(steps, rows, **width)


def new_output(config: Any, call: Call) -> Array:
    """Return an array for the output, in the caller's layout."""
    steps, rows, _ = call.x.shape
    shape = call.layout.shape(steps, rows, config.directions * config.output_size)
    return _checks.allocate(shape, config.dtype)


def final_state(config: Any, call: Call, parts: tuple[Array, ...]) -> Any:
    """Return final states as the caller has them, the clock moved on."""
    clock = None if call.clock is None else _moved_clock(config, call, call.clock)
    return states.pack_state(parts, clock, call.layout)


def _moved_clock(config: Any, call: Call, clock: Lengths) -> Lengths:
    if call.episodes is None:
        return states.moved_clock(clock, call.x.shape[0], call.lengths)
    back = episodes.directions_back(config)
    return call.episodes.moved_clock(clock, config.phase, back)


# Single cells


def step(stack: Any, x: object, state: object) -> Any:
    """Return the next state of a cell."""
    call = begin_step(stack.config, x, state)
    final = stack.run(call, stack.new_output(call))
    return states.pack_state(final, None, call.layout)


def step_keeping(stack: Any, x: object, state: object) -> tuple[Any, Any, Layout]:
    """Return the next state, what `step_back` needs, and the caller's layout."""
    call = begin_step(stack.config, x, state)
    call = call._replace(x=call.x.copy())
    final, kept = stack.run_keeping(call, stack.new_output(call))
    return states.pack_state(final, None, call.layout), kept, call.layout


def step_back(stack: Any, kept: Any, layout: Layout, dstate: object) -> Back:
    """Return the gradients, from those of the next state."""
    if isinstance(dstate, tuple | list) and not _checks.has_parts(dstate):
        raise ValueError("dstate: expected at least one array, got only None")
    _, rows = kept.shape
    taken = states.take_parts("dstate", stack.config, dstate, rows, layout, fill=True)
    dx, dbegin, dweights = stack.run_back(kept, None, taken)
    return layout.outward(dx), states.pack_state(dbegin, None, layout), dweights


def begin_step(config: Any, x: object, state: object) -> Call:
    """Check the arguments of a cell's call, as `begin` does a layer's."""
    given = _checks.check_step(x, config.input_size, config.dtype)
    layout = layouts.of_step(given.ndim)
    inward = layout.inward(given)
    taken = None
    if state is not None:
        rows = inward.shape[1]
        taken = states.take_parts("state", config, state, rows, layout)
    return Call(_checks.make_readable(inward), taken, layout=layout)
