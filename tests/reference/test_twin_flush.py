"""What is too small to be kept is stored as +0.0, in every cell (contract N6).

By the reference alone: states, operands of a second stage, gradients of states and of
sums. That the kernels do the same is in test_bits.py.
"""

from dataclasses import replace

import numpy as np
import pytest
from bits import assert_same_bits
from directions import KINDS, make_direction, make_problem

WIDTH = 160
LEAST = 2.0**-900

LAYERS = {
    kind: options
    for kind, options in KINDS.items()
    if not kind.endswith(("clipped", "blocks"))
}
"""In blocks of cells so much is added up that hardly any sum is too small."""
MODULES = ((WIDTH // 2, 1), (WIDTH // 2, 2))


def make_layer(kind):
    """Return a wide layer of one of `LAYERS`, as wide in its output too."""
    options = dict(LAYERS[kind].get("options", {}))
    if "output_size" in options:
        options["output_size"] = WIDTH
    if "modules" in options:
        options["modules"] = MODULES
    name, activations = kind.split()[0], LAYERS[kind].get("activations")
    return make_direction(
        name, sizes=(2, WIDTH), options=options, activations=activations
    )


def tiny_numbers(rng, shape):
    """Return numbers of both signs from 2^-910 to 2^-880."""
    return rng.choice((-1, 1), shape) * 2.0 ** rng.uniform(-910, -880, shape)


def assert_flushed(array):
    """Fail unless small values are +0.0, and there are such values and others."""
    is_zero = array == 0
    assert is_zero.any()
    assert not is_zero.all()
    assert not np.signbit(array[is_zero]).any()
    assert (np.abs(array[~is_zero]) >= LEAST).all()


@pytest.mark.parametrize(
    ("kind", "clock"), [*((kind, 0) for kind in LAYERS), ("rnn modules", 1)]
)
def test_vanishing_gradients_are_stored_as_plus_zero(kind, clock):
    direction = make_layer(kind)
    halves = {
        role: np.tile(np.eye(WIDTH) / 2, np.array(w.shape) // WIDTH)
        for role, w in direction.weights._asdict().items()
        if role in ("w_hh", "w_hr", "w_gates") and w is not None
    }
    weights = direction.weights._replace(**halves)
    problem = make_problem(replace(direction, weights=weights), steps=1, lengths=[1])
    rng = np.random.default_rng(7)
    problem.clock = np.array([clock])
    problem.dy[...] = 0
    problem.dcells = None
    problem.dstate = tuple(tiny_numbers(rng, part.shape) for part in problem.dstate)
    found = problem.backward()
    for dstate in found.state:
        assert_flushed(dstate)
    for bias in (found.weights.b_ih, found.weights.b_hh, found.weights.b_hr):
        for gate in [] if bias is None else bias.reshape(-1, WIDTH):
            assert_flushed(gate)
    if found.weights.w_hr is not None:
        tiny = np.abs(problem.dstate[0][0]) < LEAST
        assert not found.weights.w_hr[tiny].any()
        assert found.weights.w_hr[~tiny].any()
    if found.lower is not None:
        assert_flushed(found.lower)
    assert found.x.all(), "the gradient of the input is not flushed"


KEEP_LITTLE = ("lstm", "lstm projected", "gru", "gru_before", "mut1", "mut2", "mut3")
KEEP_LITTLE += ("leaky", "depth_gated")
"""Cells whose states stay small where they are and all weights are 0."""


@pytest.mark.parametrize("kind", KEEP_LITTLE)
def test_vanishing_states_are_stored_as_plus_zero(kind):
    direction = make_layer(kind)
    zeros = {
        role: np.zeros_like(w)
        for role, w in direction.weights._asdict().items()
        if w is not None
    }
    if kind == "leaky":
        zeros["vectors"] += 0.5
    if kind == "lstm projected":
        zeros["w_hr"] = np.eye(WIDTH)
    weights = direction.weights._replace(**zeros)
    problem = make_problem(replace(direction, weights=weights), steps=1, lengths=[1])
    rng = np.random.default_rng(8)
    problem.state = tuple(tiny_numbers(rng, part.shape) for part in problem.state)
    if problem.lower is not None:
        problem.lower = tiny_numbers(rng, problem.lower.shape)
    _, final, cache = problem.forward()
    for name, part in zip(direction.cell.states, final, strict=True):
        assert_flushed(part)
        assert_same_bits(name, cache.state[name][0], part)
    for letter in direction.cell.operands:
        assert_flushed(cache.slots[letter])
