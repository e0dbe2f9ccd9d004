"""One layer in one direction of any cell, with random weights and inputs.

`Problem` is a direction with all that it is run on and differentiated with. Tests of
the reference alone drive it directly: every cell and option that the reference knows,
whether or not a public class or a kernel has it.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from bits import assert_same_bits
from definitions import options_of
from twice import LSTM

import exactrnn as xr
from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.cells import CELLS

I, H, T, B = 2, 3, 4, 3

UNSORTED = ((1, 4), (2, 1), (1, 2), (1, 4), (1, 3))
"""Sizes and periods of clockwork modules: in no order, two of them equal."""

KINDS = {
    **{cell: {} for cell in CELLS if cell != "program"},
    "program mgu": {"options": options_of(xr.cells.MGU())},
    "program peepholes": {"options": options_of(LSTM(peepholes="ifo"))},
    "jordan": {"options": {"output_size": 2}},
    "rnn softsign": {"activations": ("softsign",)},
    "rnn softplus clipped": {"activations": ("softplus",), "clip": 0.8},
    "lstm peepholes": {"options": {"peepholes": "ifo"}},
    "lstm linked": {"options": {"full_gate_recurrence": True, "peepholes": "ifo"}},
    "lstm projected": {"options": {"output_size": 2, "peepholes": "io"}},
    "lstm_1997 blocks": {"options": {"cells": 3}},
    "gru clipped": {"clip": 0.8},
    "gru_before clipped": {"clip": 0.8},
    "jordan clipped": {
        "options": {"output_size": 2},
        "activations": (("leaky_relu", 0.1), ("scaled_tanh", 1.5, 0.75)),
        "clip": 0.8,
    },
    "jordan wide": {
        "options": {"output_size": 4},
        "activations": ("sigmoid", "softsign"),
    },
    "leaky identity": {"activations": ("identity",)},
    "leaky elu clipped": {"activations": (("elu", 0.5),), "clip": 0.8},
    "rnn modules": {"sizes": (I, 6), "options": {"modules": UNSORTED}},
}
"""Every cell, and options that change what the engine does: for `make_direction`."""


def weight_shapes(cell, options, input_size=I, hidden_size=H):
    """Return the shape of each weight by role; roles the cell has not are absent."""
    width = options.get("output_size") or hidden_size
    width = width * cell.cells + len(cell.heard) * hidden_size
    rows = sum(map(cell.values, cell.gates)) * hidden_size
    recurrent_rows = sum(map(cell.values, cell.recurrent_gates)) * hidden_size
    shapes = {"w_ih": (rows, input_size), "w_hh": (recurrent_rows, width)}
    shapes |= {"b_ih": (rows,), "b_hh": (recurrent_rows,)}
    if "compiled" in options:  # those chosen have one bias in each sum
        del shapes["b_hh"]
    projections = [s for s in cell.sums if s.matrix == "hr"]
    if projections:
        shapes["w_hr"] = (width, hidden_size)
    if any(s.bias != "none" for s in projections):
        shapes["b_hr"] = (width,)
    if cell.vectors:
        shapes["vectors"] = (len(cell.vectors), hidden_size)
    if cell.links:
        shapes["w_gates"] = (len(cell.links) * hidden_size,) * 2
    return shapes


def make_direction(
    name, *, sizes=(I, H), options=None, activations=None, clip=None, seed=0
):
    """Return a direction in float64 whose weights are random, distinct, not small."""
    options = options or {}
    cell = CELLS[name].adapted(options)
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(cell, options, *sizes)
    weights = Weights(**{r: 0.6 * rng.normal(size=s) for r, s in shapes.items()})
    chosen = activations or cell.default_activations
    return Direction(cell, weights, chosen, clip=clip, options=options)


@dataclass
class Problem:
    """A direction and what it is run on; `dcells` is None in cells without c."""

    direction: Direction
    x: np.ndarray
    state: tuple
    lengths: np.ndarray | None
    clock: np.ndarray | None
    lower: np.ndarray | None
    dy: np.ndarray
    dstate: tuple
    dcells: np.ndarray | None

    def forward(self):
        """Return y, the final states and the cache."""
        return direction_forward(
            self.direction, self.x, self.state, self.lengths, self.clock, self.lower
        )

    def loss(self):
        """Return the scalar whose gradient `backward` computes."""
        y, final, cache = self.forward()
        pairs = zip((y, *final), (self.dy, *self.dstate), strict=True)
        total = sum(np.sum(a * da) for a, da in pairs)
        if self.dcells is not None:
            total += np.sum(cache.state["c"] * self.dcells)
        return total

    def backward(self, truncated=False):
        """Return the gradients of everything that forward reads."""
        _, _, cache = self.forward()
        return direction_backward(
            cache, self.dy, self.dstate, dcells=self.dcells, truncated=truncated
        )

    def inputs(self):
        """Return what forward reads by name, without what is absent."""
        named = {"x": self.x} | named_states(self.direction, self.state)
        named |= named_weights(self.direction.weights)
        return named if self.lower is None else named | {"lower": self.lower}

    def gradients(self):
        """Return the gradients by the names of `inputs`."""
        found = self.backward()
        named = {"x": found.x} | named_states(self.direction, found.state)
        named |= named_weights(found.weights)
        return named if found.lower is None else named | {"lower": found.lower}

    def results(self, truncated=False):
        """Return all that forward and backward compute, by name."""
        y, final, cache = self.forward()
        found = self.backward(truncated)
        named = {"y": y, "dx": found.x} | named_states(self.direction, final)
        dstate = named_states(self.direction, found.state)
        dweights = named_weights(found.weights)
        named |= {f"d{name}": a for name, a in (dstate | dweights).items()}
        named |= {f"slot {name}": a for name, a in cache.slots.items()}
        return named if found.lower is None else named | {"dlower": found.lower}

    def changed(self, **weights):
        """Return the same problem with other weights, by role."""
        new = replace(
            self.direction, weights=self.direction.weights._replace(**weights)
        )
        return replace(self, direction=new)

    def in_float32(self):
        """Return the same problem with every float array in float32."""
        narrow = {
            field.name: to_float32(getattr(self, field.name)) for field in fields(self)
        }
        weights = Weights(*(to_float32(w) for w in self.direction.weights))
        narrow["direction"] = replace(self.direction, weights=weights)
        return Problem(**narrow)


def kind_problem(kind, **run):
    """Return a problem of one of `KINDS`."""
    return make_problem(make_direction(kind.split()[0], **KINDS[kind]), **run)


def to_float32(value):
    """Return a float64 array, or a tuple of them, in float32; all else as it is."""
    if isinstance(value, tuple):
        return tuple(to_float32(part) for part in value)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    return value


def named_states(direction, parts):
    """Return states by name."""
    return dict(zip((f"state {s}" for s in direction.cell.states), parts, strict=True))


def named_weights(weights):
    """Return weights, or their gradients, by role; the absent ones left out."""
    return {role: w for role, w in weights._asdict().items() if w is not None}


def make_problem(direction, *, steps=T, lengths=None, reverse=False, seed=1):
    """Return a problem with random inputs and gradients for a direction."""
    rng = np.random.default_rng(seed)
    direction = replace(direction, reverse=reverse)
    cell, sizes = (
        direction.cell,
        (direction.weights.w_ih.shape[1], direction.hidden_size),
    )
    rows = B if lengths is None else len(lengths)
    states = [(rows, direction.state_width(name)) for name in cell.states]
    cells = (steps, rows, direction.slot_width("c"))
    return Problem(
        direction,
        x=rng.normal(size=(steps, rows, sizes[0])),
        state=tuple(rng.normal(size=shape) for shape in states),
        lengths=None if lengths is None else np.array(lengths),
        clock=rng.integers(0, 9, rows) if "modules" in direction.options else None,
        lower=rng.normal(size=cells) if cell.takes_lower else None,
        dy=rng.normal(size=(steps, rows, direction.output_size)),
        dstate=tuple(rng.normal(size=shape) for shape in states),
        dcells=rng.normal(size=cells) if "c" in cell.states else None,
    )


def at_both_widths(*problems):
    """Yield the problems in float64 and in float32."""
    yield problems
    yield tuple(problem.in_float32() for problem in problems)


def assert_same_runs(problem, other, *, leave_out=(), truncated=(False, False)):
    """Fail unless the bits of all results that both have are the same.

    A result of `problem` that `other` has not, or has in another shape, fails unless
    it is among those to leave out.
    """
    for first, second in at_both_widths(problem, other):
        found = first.results(truncated[0])
        wanted = second.results(truncated[1])
        assert "y" in wanted
        for name in found.keys() - set(leave_out):
            assert_same_bits(name, found[name], wanted[name])
