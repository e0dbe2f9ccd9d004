"""Contract N7: what one sequence gives depends on nothing but itself."""

import numpy as np
import pytest
from bits import (
    as_tuple,
    assert_same_bits,
    assert_same_results,
    every_thread_used,
    random_problem,
    rows_of,
    run_layer,
)
from variants import NETWORKS, VARIANTS, make_layer

T, I, H = 6, 5, 37
LENGTHS = [6, 2, 0, 5, 1, 6, 3, 4, 4, 6, 2, 1, 0, 3, 5, 6, 1]

every_name = pytest.mark.parametrize("name", [*NETWORKS, *VARIANTS])


def ragged_layer(cell, dtype, **options):
    layer = make_layer(cell, I, H, dtype=dtype, seed=5, **options)
    return layer, random_problem(layer, T, len(LENGTHS), LENGTHS, seed=6)


def state_of(state, rows):
    parts = tuple(rows_of(part, rows) for part in as_tuple(state))
    return parts if len(parts) > 1 else parts[0]


def problem_of(problem, rows, T=T):
    """The problem of some rows alone, shortened to T steps."""
    return {
        "x": problem["x"][:T, rows].copy(),
        "state": state_of(problem["state"], rows),
        "dy": problem["dy"][:T, rows].copy(),
        "dstate": state_of(problem["dstate"], rows),
        "lengths": None,
    }


@every_name
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_a_row_alone_equals_the_row_in_a_ragged_batch(name, isa, dtype, bidirectional):
    layer, problem = ragged_layer(
        name, dtype, bidirectional=bidirectional, num_layers=2
    )
    together = run_layer(layer, **problem)
    for b, length in enumerate(LENGTHS):
        if length == 0:
            continue
        alone = run_layer(layer, **problem_of(problem, [b], length))
        for name in ("y", "dx"):
            assert_same_bits(name, together[name][:length, [b]], alone[name])
            assert not together[name][length:, b].any()
        for name in alone:
            if name.startswith(("state", "dstate")):
                assert_same_bits(name, rows_of(together[name], [b]), alone[name])


@every_name
@pytest.mark.parametrize(("B", "step"), [(25, 5), (31, 5), (230, 113)])
def test_rows_of_a_large_batch_equal_rows_of_small_ones(name, B, step, isa, dtype):
    """Few rows take x ahead, many along with h; 230 have too many sums to be kept.

    25 rows leave one for the last tile, 31 leave seven, which make the smallest tiles
    that go on from x to h.
    """
    layer = make_layer(name, I, H, dtype=dtype, seed=5)
    lengths = [3 - b % 3 for b in range(B)]
    problem = random_problem(layer, 3, B, lengths, seed=6)
    x, state = problem["x"], problem["state"]
    with every_thread_used():
        y, final = layer(x, state, lengths=lengths)
        y_kept, final_kept, _ = layer.forward(x, state, lengths=lengths)
    assert_same_bits("y", y, y_kept)
    for first in range(0, B, step):
        rows = slice(first, min(first + 5, B))
        part = np.arange(B)[rows]
        y_few, final_few = layer(
            x[:, part].copy(), state_of(state, part), lengths=lengths[rows]
        )
        assert_same_bits("y", y[:, part], y_few)
        for large, kept, few in zip(
            as_tuple(final), as_tuple(final_kept), as_tuple(final_few), strict=True
        ):
            assert_same_bits("state", rows_of(large, part), few)
            assert_same_bits("state", rows_of(kept, part), few)


def test_a_row_of_length_zero_returns_its_initial_state(cell, isa, dtype):
    layer, problem = ragged_layer(cell, dtype)
    results = run_layer(layer, **problem)
    rows = [LENGTHS.index(0)]
    for name in ("state", "dstate"):
        for k, part in enumerate(as_tuple(problem[name])):
            result = results[f"{name}{k}"]
            assert_same_bits(name, rows_of(result, rows), rows_of(part, rows))


def test_padding_is_never_read(cell, isa, dtype, threads):
    layer, problem = ragged_layer(cell, dtype, bidirectional=True)
    with every_thread_used():
        expected = run_layer(layer, **problem)
        for name in ("x", "dy"):
            for b, length in enumerate(LENGTHS):
                problem[name][length:, b] = np.nan
        assert_same_results(run_layer(layer, **problem), expected)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_poisoned_row_stays_alone(cell, isa, dtype, poison):
    layer, problem = ragged_layer(cell, dtype)
    expected = run_layer(layer, **problem)
    victim = 5
    problem["x"][2, victim, 1] = poison
    problem["dy"][4, victim, 3] = poison
    results = run_layer(layer, **problem)
    others = [b for b in range(len(LENGTHS)) if b != victim]
    for name in ("y", "dx"):
        assert_same_bits(name, results[name][:, others], expected[name][:, others])
    for name in expected:
        if name.startswith(("state", "dstate")):
            kept = rows_of(results[name], others)
            assert_same_bits(name, kept, rows_of(expected[name], others))
    assert not np.isfinite(results["dx"][:, victim]).all()


@every_name
def test_time_in_pieces_equals_time_at_once(name, isa, dtype):
    layer = make_layer(name, I, H, dtype=dtype, seed=7, num_layers=2)
    problem = random_problem(layer, T, 3, seed=8)
    y, final = layer(problem["x"], problem["state"])
    pieces, state = [], problem["state"]
    for first, last in ((0, 1), (1, 4), (4, 6)):
        piece, state = layer(problem["x"][first:last], state)
        pieces.append(piece)
    assert_same_bits("y", np.concatenate(pieces), y)
    for part, whole in zip(as_tuple(state), as_tuple(final), strict=True):
        assert_same_bits("state", part, whole)


@every_name
def test_gradients_in_pieces_equal_gradients_at_once(name, isa, dtype):
    """Passing dstate from piece to piece gives the gradients of the whole sequence."""
    layer = make_layer(name, I, H, dtype=dtype, seed=7)
    problem = random_problem(layer, T, 3, seed=8)
    whole = run_layer(layer, **problem)
    caches, state = [], problem["state"]
    for piece in (slice(0, 2), slice(2, 6)):
        _, state, cache = layer.forward(problem["x"][piece], state)
        caches.append((piece, cache))
    dstate, dx = problem["dstate"], []
    for piece, cache in reversed(caches):
        gradients = layer.backward(cache, problem["dy"][piece], dstate)
        dstate = gradients.state
        dx.append(gradients.x)
    assert_same_bits("dx", np.concatenate(dx[::-1]), whole["dx"])
    for k, part in enumerate(as_tuple(dstate)):
        assert_same_bits("dstate", part, whole[f"dstate{k}"])


@every_name
def test_single_steps_equal_one_call(name, isa, dtype):
    layer = make_layer(name, I, H, dtype=dtype, seed=9, num_layers=2)
    x = random_problem(layer, T, 3, seed=10)["x"]
    y, final = layer(x)
    stream = layer.stream(batch_size=3)
    for t in range(T):
        assert_same_bits("y", stream.step(x[t]), y[t])
    for part, whole in zip(as_tuple(stream.state), as_tuple(final), strict=True):
        assert_same_bits("state", part, whole)


def test_strides_and_alignment_do_not_matter(cell, isa, dtype):
    layer, problem = ragged_layer(cell, dtype)
    expected = run_layer(layer, **problem)
    for name in ("x", "dy"):
        array = problem[name]
        steps, rows, width = array.shape
        spaced = np.zeros((2 * steps, rows + 3, width + 1), dtype)[::-2, 1:-2, 1:]
        spaced[...] = array
        problem[name] = spaced
    assert_same_results(run_layer(layer, **problem), expected)


def test_out_receives_the_same_bits(cell, isa, dtype):
    layer = make_layer(cell, I, H, dtype=dtype, seed=11, bidirectional=True)
    x = random_problem(layer, T, 3, seed=12)["x"]
    y, _ = layer(x)
    width = y.shape[2]
    room = np.full((T + 2, 5, width + 3), np.nan, dtype)
    out = room[1:-1, 1:4, 1 : width + 1]
    returned, _ = layer(x, out=out)
    assert returned is out
    assert_same_bits("y", out, y)
    out[...] = np.nan
    assert np.isnan(room).all(), "written outside of out"
