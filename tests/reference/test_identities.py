"""What the equations say of each other: cells that must be one another, exactly or so.

No other library is needed to see these. Where two ways of computing a thing are the
same operations on other zeros and ones, the bits are compared; where they are the same
numbers by algebra alone, they must agree to rounding.
"""

from dataclasses import replace

import numpy as np
import pytest
from bits import assert_same_bits
from directions import (
    H,
    I,
    assert_same_runs,
    at_both_widths,
    kind_problem,
    make_direction,
    make_problem,
    weight_shapes,
)

from exactrnn.reference.arith import CHUNK, long_sum
from exactrnn.reference.sequence import flat
from exactrnn.reference.sequence_backward import add_vector_gradients

CLOSED, OPEN = -1000.0, 40.0
"""Pre-activations whose sigmoid is 0 (or next to nothing) and exactly 1."""

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
"""Errors of some sums of a dozen terms of about 1, in float64."""


def rows_of(cell, gate, part="w"):
    """Return the rows of a gate in W and its bias, or in R and its bias."""
    gates = cell.gates if part == "w" else cell.recurrent_gates
    first = gates.index(gate) * H
    return slice(first, first + H)


def with_rows(cell, gate, weights, **values):
    """Return copies of weights with the rows of a gate set to a value, by role."""
    changed = {}
    for role, value in values.items():
        array = getattr(weights, role).copy()
        array[rows_of(cell, gate, "r" if role.endswith("hh") else "w")] = value
        changed[role] = array
    return changed


def assert_close_runs(found, wanted, names):
    """Fail unless these results agree to rounding, and are more than noise."""
    for name in names:
        assert np.abs(wanted[name]).max() > 1e-3, name
        np.testing.assert_allclose(found[name], wanted[name], **CLOSE, err_msg=name)


# LSTM: peepholes, links, gates left out, coupled gates, projection


def lstm_problem(options=None, **kwargs):
    """Return a problem of an LSTM with options."""
    return make_problem(make_direction("lstm", options=options, **kwargs))


def like(problem, other, **roles):
    """Return `problem` run on what `other` is run on, with its weights and others."""
    weights = other.direction.weights._replace(**roles)
    direction = replace(problem.direction, weights=weights)
    return replace(other, direction=direction)


def test_peepholes_of_zero_are_none():
    plain = lstm_problem()
    peephole = lstm_problem({"peepholes": "ifo"})
    zeros = like(peephole, plain, vectors=np.zeros((3, H)))
    assert_same_runs(plain, zeros)
    assert np.abs(zeros.gradients()["vectors"]).min() > 1e-3


@pytest.mark.parametrize("peepholes", ["i", "f", "o", "io"])
def test_an_absent_peephole_is_one_of_zero(peepholes):
    some = lstm_problem({"peepholes": peepholes})
    rows = ["ifo".index(gate) for gate in peepholes]
    vectors = np.zeros((3, H))
    vectors[rows] = some.direction.weights.vectors
    every = like(lstm_problem({"peepholes": "ifo"}), some, vectors=vectors)
    assert_same_runs(some, every, leave_out=["dvectors"])
    found, wanted = some.gradients()["vectors"], every.gradients()["vectors"][rows]
    assert_same_bits("dvectors", found, wanted)


def test_the_gradient_of_a_peephole_is_the_diagonal_of_a_matrix_s():
    problem = lstm_problem({"peepholes": "io"})
    steps = 1 + CHUNK // len(problem.state[0])
    _, _, cache = make_problem(problem.direction, steps=steps).forward()
    rng = np.random.default_rng(2)
    da = {gate: rng.normal(size=(steps * len(problem.dy[0]), H)) for gate in "io"}
    totals = rng.normal(size=(2, H))
    factors = (cache.prev["c"], cache.state["c"])
    wanted = [
        np.diagonal(long_sum(np.diag(total), da[gate], flat(factor)))
        for total, gate, factor in zip(totals, "io", factors, strict=True)
    ]
    add_vector_gradients(cache, da, totals)
    assert_same_bits("vectors", totals, np.array(wanted))


def test_links_of_zero_are_none():
    plain = lstm_problem({"peepholes": "ifo"})
    linked = lstm_problem({"peepholes": "ifo", "full_gate_recurrence": True})
    zeros = like(linked, plain, w_gates=np.zeros((3 * H, 3 * H)))
    gates, none = linked.state[2:], (np.zeros_like(plain.state[0]),) * 3
    zeros.state, zeros.dstate = plain.state + gates, plain.dstate + none
    assert_same_runs(plain, zeros)
    assert np.abs(zeros.gradients()["w_gates"]).min() > 1e-3


@pytest.mark.parametrize("gate", "ifo")
def test_a_gate_that_is_left_out_is_one_that_is_open(gate):
    kept = [other for other in "ifo" if other != gate]
    without = lstm_problem({"peepholes": "".join(kept), "omit": gate})
    every = lstm_problem({"peepholes": "ifo"})
    cell, small = every.direction.cell, without.direction.weights
    rows = [r for r in range(4 * H) if r // H != cell.gates.index(gate)]
    shapes = weight_shapes(cell, {})
    full = {role: np.zeros(shape) for role, shape in shapes.items()}
    for role in ("w_ih", "w_hh", "b_ih", "b_hh"):
        full[role][rows] = getattr(small, role)
    full["b_ih"][rows_of(cell, gate)] = OPEN
    full["vectors"][["ifo".index(other) for other in kept]] = small.vectors
    saturated = like(every, without, **full)
    weights = [f"d{role}" for role in full]
    assert_same_runs(without, saturated, leave_out=weights)
    found, wanted = without.gradients(), saturated.gradients()
    for role in ("w_ih", "w_hh", "b_ih", "b_hh"):
        assert_same_bits(role, found[role], wanted[role][rows])


def test_without_input_and_forget_gate_the_cell_integrates():
    problem = lstm_problem({"omit": "if"})
    _, _, cache = problem.forward()
    c = problem.state[1]
    for t in range(len(problem.x)):
        c = c + cache.slots["g"][t]
        assert_same_bits("c", cache.state["c"][t], c)


def test_the_two_couplings_are_one_with_the_gate_negated():
    by_input = lstm_problem({"coupled": "input", "peepholes": "io"})
    by_forget = lstm_problem({"coupled": "forget", "peepholes": "of"})
    weights = by_input.direction.weights
    sign = np.where(np.arange(3 * H) < H, -1.0, 1.0)
    negated = {
        role: getattr(weights, role) * (sign if role[0] == "b" else sign[:, None])
        for role in ("w_ih", "w_hh", "b_ih", "b_hh")
    }
    negated["vectors"] = weights.vectors * np.array([[-1.0], [1.0]])
    found = by_input.results()
    wanted = like(by_forget, by_input, **negated).results()
    assert_close_runs(found, wanted, ["y", "state c", "dx", "dstate h", "dstate c"])
    assert_close_runs({"db": found["db_ih"]}, {"db": sign * wanted["db_ih"]}, ["db"])


@pytest.mark.parametrize("coupled", ["input", "forget"])
def test_coupled_gates_keep_the_cell_between_its_start_and_one(coupled):
    problem = lstm_problem({"coupled": coupled})
    _, _, cache = problem.forward()
    bound = np.maximum(np.abs(problem.state[1]), 1)
    assert (np.abs(cache.state["c"]) <= bound).all()


def test_a_projection_by_the_identity_is_none():
    plain = lstm_problem()
    projected = lstm_problem({"output_size": H})
    assert_same_runs(plain, like(projected, plain, w_hr=np.eye(H)))


# The constant error carousel


def test_the_cell_alone_carries_errors_by_the_product_of_forget_gates():
    problem = lstm_problem()
    problem = problem.changed(w_hh=np.zeros((4 * H, H)))
    problem.dy[...], problem.dcells[...], problem.dstate[0][...] = 0, 0, 0
    for (one,) in at_both_widths(problem):
        _, _, cache = one.forward()
        dc = one.dstate[1]
        for f in cache.slots["f"][::-1]:
            dc = dc * f
        assert_same_bits("dc", one.backward().state[1], dc)


def test_without_forget_gate_the_truncated_error_is_constant():
    problem = lstm_problem({"omit": "f", "peepholes": "io", "output_size": 2})
    problem.dy[...], problem.dcells[...], problem.dstate[0][...] = 0, 0, 0
    for (one,) in at_both_widths(problem):
        dh, dc = one.backward(truncated=True).state
        assert_same_bits("dc", dc, one.dstate[1])
        assert_same_bits("dh", dh, np.zeros_like(dh))
        assert not np.array_equal(one.backward().state[1], one.dstate[1])


@pytest.mark.parametrize(
    "options",
    [{}, {"coupled": "input"}, {"omit": "f"}, {"output_size": 2}],
    ids=["lstm", "coupled", "1997", "projected"],
)
def test_truncated_is_to_take_the_output_before_as_an_input(options):
    """Then nothing goes back through it, and W and R are one matrix side by side."""
    problem = lstm_problem(options)
    _, _, cache = problem.forward()
    w = problem.direction.weights
    wide = problem.changed(
        w_ih=np.concatenate([w.w_ih, w.w_hh], axis=1), w_hh=np.zeros_like(w.w_hh)
    )
    for one, other in at_both_widths(problem, wide):
        _, _, cache = one.forward()
        other.x = np.concatenate([one.x, cache.prev["h"]], axis=2)
        found, wanted = one.results(truncated=True), other.results()
        for name in ("y", "state c", "dstate c", "db_ih", "db_hh"):
            assert_same_bits(name, found[name], wanted[name])
        assert_same_bits("dx", found["dx"], wanted["dx"][:, :, :I])
        both = np.concatenate([found["dw_ih"], found["dw_hh"]], axis=1)
        assert_same_bits("dw", both, wanted["dw_ih"])


def test_truncated_peepholes_carry_nothing_back():
    """Of one step the cell gets back dc * f, whatever the peepholes are."""
    problem = lstm_problem({"peepholes": "ifo", "full_gate_recurrence": True})
    problem = make_problem(problem.direction, steps=1)
    _, _, cache = problem.forward()
    slots, (dh, dc) = cache.slots, problem.dstate[:2]
    y = np.tanh(cache.state["c"][0])
    dh = dh + problem.dy[0]
    dct = dc + problem.dcells[0] + dh * slots["o"][0] * (1 - y * y)
    found = problem.backward(truncated=True).state
    np.testing.assert_allclose(found[1], dct * slots["f"][0], **CLOSE)
    for letter, part in zip("h ifo", found, strict=True):
        if letter != " ":
            assert_same_bits(letter, part, np.zeros_like(part))


# Gated recurrent units


def test_the_two_resets_are_one_where_R_is_diagonal():
    after, before = (kind_problem(kind) for kind in ("gru", "gru_before"))
    weights, cell = after.direction.weights, after.direction.cell
    roles = with_rows(cell, "n", weights, w_hh=np.diag([0.5, -0.9, 0.3]), b_hh=0.0)
    after = after.changed(**roles)
    found, wanted = after.results(), like(before, after).results()
    assert_close_runs(found, wanted, ["y", "dx", "dstate h", "dw_ih", "db_ih"])


def test_the_two_resets_are_one_where_the_gate_is_open():
    after, before = (kind_problem(kind) for kind in ("gru", "gru_before"))
    weights, cell = after.direction.weights, after.direction.cell
    roles = with_rows(cell, "r", weights, w_ih=0.0, w_hh=0.0, b_ih=OPEN, b_hh=0.0)
    after = after.changed(**roles)
    found, wanted = after.results(), like(before, after).results()
    assert_close_runs(found, wanted, ["y", "dx", "dstate h", "dw_hh", "dw_ih"])


def test_mut2_is_the_gru_with_its_update_gate_negated():
    gru, mut2 = (kind_problem(kind) for kind in ("gru_before", "mut2"))
    weights, update = gru.direction.weights, rows_of(gru.direction.cell, "z")
    negated = {}
    for role in ("w_ih", "w_hh", "b_ih", "b_hh"):
        negated[role] = getattr(weights, role).copy()
        negated[role][update] *= -1
    found, wanted = gru.results(), like(mut2, gru, **negated).results()
    wanted["db_ih"][update] *= -1
    assert_close_runs(found, wanted, ["y", "dx", "dstate h", "db_ih"])


def test_mut3_is_mut2_where_the_update_gate_sees_no_state():
    mut2, mut3 = (kind_problem(kind) for kind in ("mut2", "mut3"))
    roles = with_rows(mut2.direction.cell, "z", mut2.direction.weights, w_hh=0.0)
    mut2 = mut2.changed(**roles)
    assert_same_runs(mut2, like(mut3, mut2), leave_out=["dw_hh"])


def test_mut1_is_mut2_where_neither_sees_what_the_other_does_not():
    mut1, mut2 = (kind_problem(kind) for kind in ("mut1", "mut2"))
    weights, cell = mut1.direction.weights, mut1.direction.cell
    mut1 = mut1.changed(**with_rows(cell, "n", weights, w_ih=0.0))
    w_hh, b_hh = np.zeros((3 * H, H)), np.zeros(3 * H)
    for gate in "rn":
        here, there = rows_of(mut2.direction.cell, gate), rows_of(cell, gate, "r")
        w_hh[here], b_hh[here] = weights.w_hh[there], weights.b_hh[there]
    roles = ["dw_ih", "dw_hh", "db_hh"]
    other = like(mut2, mut1, w_hh=w_hh, b_hh=b_hh)
    assert_same_runs(mut1, other, leave_out=[*roles, "slot x"])


@pytest.mark.parametrize("kind", ["gru", "gru_before", "mut1", "mut2", "mut3"])
def test_a_gated_unit_stays_between_its_start_and_one(kind):
    problem = kind_problem(kind)
    _, _, cache = problem.forward()
    assert (np.abs(cache.state["h"]) <= np.maximum(np.abs(problem.state[0]), 1)).all()


# Leaky and clockwork units


def test_units_that_leak_everything_are_plain():
    plain, leaky = kind_problem("rnn"), kind_problem("leaky")
    ones = like(leaky, plain, vectors=np.ones((1, H)))
    assert_same_runs(plain, ones)


def clockwork_like(plain, modules):
    """Return a plain problem as one of a clockwork layer; its clocks stand at 0."""
    rows = plain.x.shape[1]
    direction = replace(plain.direction, options={"modules": modules})
    return replace(plain, direction=direction, clock=np.zeros(rows, np.int64))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("sizes", [(6,), (1, 2, 3), (1,) * 6], ids=len)
def test_modules_that_always_tick_are_a_plain_network(sizes, reverse):
    direction = make_direction("rnn", sizes=(I, 6))
    plain = make_problem(direction, lengths=(4, 0, 2), reverse=reverse)
    modules = tuple((size, 1) for size in sizes)
    assert_same_runs(plain, clockwork_like(plain, modules))


def test_modules_in_another_order_compute_the_same():
    sizes, periods, order = (1, 2, 3), (2, 1, 4), (2, 0, 1)
    units = np.split(np.arange(6), np.cumsum(sizes)[:-1])
    moved = np.concatenate([units[m] for m in order])
    modules = tuple(zip(sizes, periods, strict=True))
    direction = make_direction("rnn", sizes=(I, 6), options={"modules": modules})
    problem = make_problem(direction, steps=6)
    w = direction.weights
    other = problem.changed(
        w_ih=w.w_ih[moved],
        w_hh=w.w_hh[np.ix_(moved, moved)],
        b_ih=w.b_ih[moved],
        b_hh=w.b_hh[moved],
    )
    options = {"modules": tuple(modules[m] for m in order)}
    other.direction = replace(other.direction, options=options)
    other.state, other.dstate = (
        tuple(part[:, moved] for part in parts)
        for parts in (problem.state, problem.dstate)
    )
    other.dy = problem.dy[:, :, moved]
    found, wanted = problem.results(), other.results()
    found["dw_hh"] = found["dw_hh"][np.ix_(moved, moved)]
    for name in ("dw_ih", "db_ih", "db_hh"):
        found[name] = found[name][moved]
    for name in ("y", "dstate h"):
        found[name] = found[name][..., moved]
    assert_close_runs(
        found, wanted, ["y", "dx", "dstate h", "dw_hh", "dw_ih", "db_ih", "db_hh"]
    )


def test_a_module_between_its_ticks_passes_state_and_error_on():
    direction = make_direction(
        "rnn", sizes=(I, 4), options={"modules": ((2, 1), (2, 4))}
    )
    problem = make_problem(direction, steps=3)
    problem.clock = np.array([1, 5, 9])
    w_hh = direction.weights.w_hh.copy()
    w_hh[:2, 2:] = 0  # nobody hears the slow module
    problem = problem.changed(w_hh=w_hh)
    problem.dy[:, :, 2:] = 0
    for (one,) in at_both_widths(problem):
        y, (h,), _ = one.forward()
        for output in (*y, h):
            assert_same_bits("h", output[:, 2:], one.state[0][:, 2:])
        (dh,) = one.backward().state
        assert_same_bits("dh", dh[:, 2:], one.dstate[0][:, 2:])


def test_a_clock_shifts_the_ticks_of_its_row_alone():
    options = {"modules": ((1, 1), (1, 2), (1, 3))}
    problem = make_problem(make_direction("rnn", options=options), steps=7)
    problem.clock = np.array([0, 2, 5])
    _, _, cache = problem.forward()
    clocks = np.arange(7)[:, None] + problem.clock
    for module, period in enumerate((1, 2, 3)):
        assert np.array_equal(cache.ticks[:, :, module], clocks % period == 0)


# Depth-gated stacks


def test_a_closed_depth_gate_leaves_a_peephole_lstm():
    plain = lstm_problem({"peepholes": "ifo"})
    gated = kind_problem("depth_gated")
    w, more = plain.direction.weights, gated.direction.weights
    closed = like(
        gated,
        plain,
        w_ih=np.concatenate([w.w_ih, more.w_ih[4 * H :]]),
        b_ih=np.concatenate([w.b_ih, np.full(H, CLOSED)]),
        vectors=np.concatenate([w.vectors, more.vectors[3:]]),
    )
    closed.lower = gated.lower
    roles = ["dw_ih", "db_ih", "dvectors"]
    assert_same_runs(plain, closed, leave_out=roles)
    for first, second in at_both_widths(plain, closed):
        found, wanted = first.results(), second.results()
        for name in roles:
            rows = len(found[name])
            assert_same_bits(name, found[name], wanted[name][:rows])
            assert not wanted[name][rows:].any()
        assert not wanted["dlower"].any()


def test_an_open_depth_gate_adds_the_lower_cell():
    gated = kind_problem("depth_gated")
    roles = with_rows(gated.direction.cell, "d", gated.direction.weights, w_ih=0.0)
    roles |= with_rows(gated.direction.cell, "d", gated.direction.weights, b_ih=OPEN)
    vectors = gated.direction.weights.vectors.copy()
    vectors[3:] = 0
    gated = gated.changed(**roles, vectors=vectors)
    _, _, cache = gated.forward()
    i, f, g = (cache.slots[gate] for gate in "ifg")
    c = gated.lower + f * cache.prev["c"] + i * g
    np.testing.assert_allclose(cache.state["c"], c, **CLOSE)
