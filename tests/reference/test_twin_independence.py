"""The reference by itself: rows, chunks and directions do not know of each other.

What test_independence.py shows of the kernels, here for every cell and option that the
reference knows (contract N7).
"""

from dataclasses import replace

import numpy as np
import pytest
from bits import assert_same_bits
from directions import KINDS, assert_same_runs, at_both_widths, kind_problem


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_is_never_reached_is_none(kind):
    problem = kind_problem(kind)
    direction = replace(problem.direction, clip=None)
    limited = replace(problem.direction, clip=1e30)
    assert_same_runs(
        replace(problem, direction=direction), replace(problem, direction=limited)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_is_forward_on_each_row_reversed(kind):
    lengths = (4, 1, 3)
    problem = kind_problem(kind, lengths=lengths)
    back = kind_problem(kind, lengths=lengths, reverse=True)

    def reversed_rows(array):
        turned = array.copy()
        for b, length in enumerate(lengths):
            turned[:length, b] = array[:length, b][::-1]
        return turned

    for name in ("x", "dy", "lower", "dcells"):
        if getattr(problem, name) is not None:
            setattr(back, name, reversed_rows(getattr(problem, name)))
    for one, other in at_both_widths(problem, back):
        found, wanted = one.results(), other.results()
        for name in found:
            if name in ("y", "dx", "dlower") or name.startswith("slot"):
                assert_same_bits(name, found[name], reversed_rows(wanted[name]))
            elif not name.startswith(("dw", "db", "dv")):
                assert_same_bits(name, found[name], wanted[name])


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_that_hand_the_state_on_are_the_whole(kind):
    whole = kind_problem(kind, steps=5)
    first, second = cut(whole, slice(0, 2)), cut(whole, slice(2, 5))
    y, final, _ = whole.forward()
    y_first, second.state, _ = first.forward()
    if whole.clock is not None:
        second.clock = whole.clock + 2
    y_second, end, _ = second.forward()
    assert_same_bits("y", np.concatenate([y_first, y_second]), y)
    late = second.backward()
    first.dstate = late.state
    early, gradients = first.backward(), whole.backward()
    assert_same_bits("dx", np.concatenate([early.x, late.x]), gradients.x)
    for found, wanted in zip(
        (*end, *early.state), (*final, *gradients.state), strict=True
    ):
        assert_same_bits("state", found, wanted)


def cut(problem, steps):
    """Return some steps of a problem; its state is still that of the whole."""
    parts = {
        name: array[steps]
        for name in ("x", "dy", "lower", "dcells")
        if (array := getattr(problem, name)) is not None
    }
    return replace(problem, **parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_computed_as_if_it_were_alone(kind):
    problem = kind_problem(kind, lengths=(4, 2, 3))
    row, steps = slice(1, 2), slice(0, 2)
    alone = cut(problem, steps)
    for name in ("x", "dy", "lower", "dcells"):
        if getattr(alone, name) is not None:
            setattr(alone, name, getattr(alone, name)[:, row])
    alone.state, alone.dstate = (
        tuple(part[row] for part in parts) for parts in (problem.state, problem.dstate)
    )
    alone.lengths = None
    alone.clock = None if problem.clock is None else problem.clock[row]
    for one, many in at_both_widths(alone, problem):
        found, wanted = one.results(), many.results()
        for name in found:
            if name in ("y", "dx", "dlower") or name.startswith("slot"):
                assert_same_bits(name, found[name], wanted[name][steps, row])
                assert not wanted[name][2:, row].any()
            elif not name.startswith(("dw", "db", "dv")):
                assert_same_bits(name, found[name], wanted[name][row])


@pytest.mark.parametrize(("steps", "lengths"), [(0, (0, 0)), (3, ()), (3, (0, 0))])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_do_leaves_the_state_and_no_gradients(kind, steps, lengths):
    problem = kind_problem(kind, steps=steps, lengths=lengths)
    y, final, _ = problem.forward()
    assert y.shape == problem.dy.shape
    found = problem.backward()
    assert found.x.shape == problem.x.shape
    for name, first, second in (
        *zip("hcifo", final, problem.state, strict=False),
        *zip("hcifo", found.state, problem.dstate, strict=False),
    ):
        assert_same_bits(name, first, second)
    assert not any(dw.any() for dw in found.weights if dw is not None)
