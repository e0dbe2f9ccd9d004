"""Every public layer, and the options that change what its plumbing does.

`KINDS` are names of variants.py: every cell with a public class, and variants that have
other widths of outputs and states, more states, a clock, weights that others lack.
"""

import numpy as np
from arrays import draw
from variants import PUBLIC, options_of

from exactrnn import layers
from exactrnn.layers.single_step import SingleStep

KINDS = (
    *PUBLIC,
    "lstm-nig",
    "lstm-cifg",
    "lstm-proj",
    "lstm-fgr-cifg-clip",
    "lstm-everything",
    "lstm_1997-large-blocks",
    "gru_before-clip",
    "jordan-wide",
    "leaky-learned",
    "leaky-per-unit",
    "clockwork-equal",
)
CELL_CLASSES = {
    kind: cell
    for kind in layers.CLASSES.values()
    for cell in layers.CLASSES.values()
    if kind.record is cell.record and issubclass(cell, SingleStep) and kind != cell
}
"""The class of single steps of a layer's class, where it has one."""


def class_of(kind):
    """Return the class of a kind."""
    return options_of(kind, 6)[0]


CELL_KINDS = tuple(kind for kind in KINDS if class_of(kind) in CELL_CLASSES)
"""Kinds that have a class of single steps."""


def make_kind(kind, input_size, hidden_size, *, seed=0, **options):
    """Return a layer of this kind."""
    make, own = options_of(kind, hidden_size)
    return make(input_size, hidden_size, seed=seed, **own, **options)


def make_cell(kind, input_size, hidden_size, *, seed=0, **options):
    """Return a single step of this kind."""
    make, own = options_of(kind, hidden_size)
    cell_class = CELL_CLASSES[make]
    return cell_class(input_size, hidden_size, seed=seed, **own, **options)


def absent_connections(layer):
    """Return which entries [H, H] of R a clockwork layer does not have."""
    periods = np.repeat(layer.periods, layer.module_sizes)
    return periods[:, None] > periods  # a slow module does not hear a faster one


def draw_state(layer, *rows, seed=1):
    """Return a state of a layer, [rows] or unbatched."""
    parts = draw_parts(layer, *rows, seed=seed)
    if layer.counts_steps:
        return parts[0], np.arange(rows[0]) if rows else 5
    return tuple(parts) if len(parts) > 1 else parts[0]


def draw_gradient(layer, *rows, seed=1):
    """Return the gradient of a state: a clock has none."""
    parts = draw_parts(layer, *rows, seed=seed)
    return tuple(parts) if len(parts) > 1 else parts[0]


def draw_parts(layer, *rows, seed):
    lead = (layer.num_layers * (1 + layer.bidirectional), *rows)
    return [
        draw(*lead, width, dtype=layer.dtype, seed=seed + k)
        for k, width in enumerate(layer.state_sizes)
    ]


def as_gradient(layer, state):
    """Return the parts of a state that a gradient has."""
    return state[0] if layer.counts_steps else state


def move_axis(layer, state, move):
    """Apply `move` to each part of a state; a clock has no axis of layers."""
    if not isinstance(state, tuple):
        return move(state)
    if layer.counts_steps:
        return move(state[0]), state[1]
    return tuple(move(part) for part in state)
