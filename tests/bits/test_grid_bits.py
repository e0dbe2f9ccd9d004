"""Grid kernels give the twin's bits: every isa, dtype, thread count, kind of grid.

Contract N3, N5 and N6 for points in place of steps.
"""

import numpy as np
import pytest
import variants
from bits import assert_same_results, every_thread_used
from grids import (
    any_grid,
    lines_of,
    make_grid,
    random_borders,
    random_sides,
    run_kernel,
    run_twin,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from exactrnn.reference import grid as twin

GRIDS = {
    "1d": {"sizes": (5,), "H": 5},
    "1d without memory": {"sizes": (4,), "H": 3, "kinds": ("tanh",)},
    "2d": {"sizes": (4, 3), "H": 17},
    "2d o*tanh(m)": {"sizes": (4, 3), "H": 17, "tanh_outside": False},
    "2d priority 1": {"sizes": (5, 2), "H": 9, "phases": (0, 1)},
    "2d priority 1, 0": {"sizes": (3, 3), "H": 4, "phases": (2, 1)},
    "2d without bias": {"sizes": (3, 3), "H": 4, "bias": False},
    "2d relu": {"sizes": (3, 3), "H": 6, "kinds": ("lstm", "relu"), "phases": (0, 1)},
    "2d sigmoid": {"sizes": (3, 2), "H": 6, "kinds": ("sigmoid", "lstm")},
    "2d unshared": {"sizes": (4, 3), "H": 7, "unshared": (1,), "phases": (0, 1)},
    "2d unshared, 9 rows": {"sizes": (4, 3), "H": 7, "unshared": (0,), "B": 9},
    "2d unshared in both": {"sizes": (2, 3), "H": 4, "unshared": (0, 1)},
    "2d tied": {"sizes": (4, 3), "H": 7, "tied": True},
    "2d tied, unshared": {"sizes": (4, 2), "H": 7, "tied": True, "unshared": (1,)},
    "3d": {"sizes": (3, 2, 3), "H": 5},
    "3d priority 0, 2": {"sizes": (2, 3, 3), "H": 5, "phases": (1, 0, 2)},
    "3d, one row": {"sizes": (3, 4, 2), "H": 5, "phases": (0, 1, 0), "B": 1},
    "2d, one row": {"sizes": (3, 5), "H": 18, "unshared": (0,), "B": 1},
    "3d, 10 rows": {"sizes": (2, 3, 2), "H": 5, "phases": (1, 0, 2), "B": 10},
    "3d priority all": {"sizes": (2, 2, 3), "H": 4, "phases": (3, 1, 2)},
    "3d identity": {
        "sizes": (3, 2, 2),
        "H": 4,
        "kinds": ("lstm", "lstm", "identity"),
        "phases": (0, 0, 1),
        "unshared": (2,),
    },
    "4d": {"sizes": (2, 2, 2, 2), "H": 3, "phases": (0, 0, 0, 1)},
    "long": {"sizes": (150, 2), "H": 2, "phases": (0, 1)},
    "wide": {"sizes": (2, 2), "H": 70},
    "many rows": {"sizes": (3, 2), "H": 3, "B": 110},
}
BATCH = 3


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


def problem(grid, B, seed=1):
    rng = np.random.default_rng(seed)
    return random_borders(rng, grid, B), random_borders(rng, grid, B, 1.0)


_expected = {}


def twin_results(key, make):
    """Return the twin's results, computed once: instruction sets share them."""
    if key not in _expected:
        _expected[key] = make()
    return _expected[key]


@pytest.mark.parametrize("name", GRIDS)
def test_kernel_equals_twin(isa, dtype, threads, name):
    options = dict(GRIDS[name])
    B = options.pop("B", BATCH)
    grid = make_grid(dtype=dtype, **options)
    borders, dends = problem(grid, B)
    expected = twin_results((name, dtype), lambda: run_twin(grid, borders, dends))
    assert_same_results(run_kernel(grid, borders, dends, isa, threads), expected)


@settings(max_examples=25, deadline=None)
@given(any_grid(size=3, H=5, dtype="float32"), st.sampled_from(variants.ISAS))
def test_any_combination_equals_twin(grid, isa):
    borders, dends = problem(grid, 2)
    expected = run_twin(grid, borders, dends)
    for threads in (1, 5):
        actual = run_kernel(grid, borders, dends, isa, threads)
        assert_same_results(actual, expected)


LENGTHS = {
    "1d": [[0], [4], [2], [4]],
    "2d": [[4, 3], [1, 3], [0, 2], [4, 0], [3, 2]],
    "3d": [[3, 2, 2], [1, 2, 1], [3, 0, 2]],
}


@pytest.mark.parametrize("name", LENGTHS)
def test_ragged_grids_equal_twin(isa, dtype, threads, name):
    lengths = np.array(LENGTHS[name])
    sizes = tuple(int(n) for n in np.maximum.reduce(lengths))
    unshared = (len(sizes) - 1,)
    phases = (0,) * (len(sizes) - 1) + (1,)
    grid = make_grid(
        sizes, 5, dtype=dtype, lengths=lengths, phases=phases, unshared=unshared
    )
    borders, dends = problem(grid, len(lengths))
    key = ("ragged", name, dtype)
    expected = twin_results(key, lambda: run_twin(grid, borders, dends))
    assert_same_results(run_kernel(grid, borders, dends, isa, threads), expected)


def test_padding_is_never_read(isa):
    lengths = np.array([[2, 2], [3, 1]])
    grid = make_grid((3, 2), 4, lengths=lengths)
    borders, dends = problem(grid, 2)
    expected = run_kernel(grid, borders, dends, isa, 1)
    for pairs in (borders, dends):
        pairs[0][0][1, 1] = np.nan  # h of dimension 0, line 1, row 1: past its length
        pairs[1][1][2, 0] = np.nan
    assert_same_results(run_kernel(grid, borders, dends, isa, 1), expected)


def test_padding_counts_as_plus_zero(isa):
    """Its only effect: where all products underflow to -0.0, so would the gradient."""
    tiny = 2.0**-600
    grid = make_grid((3, 2), 4, lengths=np.array([[2, 2], [3, 1]]))
    before = []
    for dims in grid.weights:
        for pair in dims:
            for array in pair:
                array[...] = 0.0
    for _ in range(2):
        zeros = twin.new_gradients(grid)
        before.append([[(-dW, -db) for dW, db in dims] for dims in zeros])
    borders, dends = problem(grid, 2)
    borders = tuple((h * tiny, m * tiny) for h, m in borders)
    dends = tuple((h * tiny, m * tiny) for h, m in dends)
    expected = run_twin(grid, borders, dends, before[0])
    assert not expected["set 0 dW0"].any()
    actual = run_kernel(grid, borders, dends, isa, 1, before[1])
    assert_same_results(actual, expected)


# Widths of the inputs by dimension, and the options of the grid.
SIDES = {
    "1d": ((3,), {"sizes": (5,), "H": 5}),
    "1d without memory": ((20,), {"sizes": (4,), "H": 3, "kinds": ("tanh",)}),
    "depth": ((7, None), {"sizes": (2, 5), "H": 17, "unshared": (0,)}),
    "depth without bias": ((7, None), {"sizes": (2, 5), "H": 6, "bias": False}),
    "both": ((1, 33), {"sizes": (4, 3), "H": 18, "kinds": ("lstm", "relu")}),
    "the last of three": ((None, None, 40), {"sizes": (3, 2, 2), "H": 5}),
    "no points": ((4, None), {"sizes": (0, 3), "H": 4}),
    "many rows": ((2, 50), {"sizes": (2, 3), "H": 33, "B": 150}),
    "ragged": (
        (7, 5),
        {
            "sizes": (4, 3),
            "H": 9,
            "lengths": np.array([[4, 3], [1, 3], [0, 2], [4, 0], [3, 2]]),
            "B": 5,
        },
    ),
}


@pytest.mark.parametrize("name", SIDES)
def test_inputs_at_sides_equal_twin(isa, dtype, threads, name):
    widths, options = SIDES[name]
    B = options.get("B", BATCH)
    grid = make_grid(
        dtype=dtype, **{key: value for key, value in options.items() if key != "B"}
    )
    borders, dends = problem(grid, B)
    rng = np.random.default_rng(2)
    sides = random_sides(rng, grid, B, widths, bias=options.get("bias", True))
    expected = twin_results(
        ("sides", name, dtype), lambda: run_twin(grid, borders, dends, sides=sides)
    )
    for side in sides:  # what a row does not have is not read
        side.x[~lines_of(grid, side.k, B)] = np.nan
    actual = run_kernel(grid, borders, dends, isa, threads, sides=sides)
    assert_same_results(actual, expected)


def test_rows_do_not_depend_on_each_other(isa, dtype):
    grid = make_grid((3, 4), 6, dtype=dtype, phases=(0, 1))
    borders, dends = problem(grid, 5)
    whole = run_kernel(grid, borders, dends, isa, 2)
    for b in range(5):
        own = [
            tuple((h[:, b : b + 1].copy(), m[:, b : b + 1].copy()) for h, m in pairs)
            for pairs in (borders, dends)
        ]
        alone = run_kernel(grid, *own, isa, 1)
        for name, array in alone.items():
            if not name.startswith("set"):
                part = whole[name][..., b : b + 1, :]
                assert part.tobytes() == array.tobytes(), name


def test_nan_stays_in_its_row(isa):
    grid = make_grid((3, 2), 4)
    borders, dends = problem(grid, 3)
    clean = run_kernel(grid, borders, dends, isa, 1)
    borders[0][0][0, 1] = np.nan
    touched = run_kernel(grid, borders, dends, isa, 1)
    for name, array in touched.items():
        if not name.startswith("set"):
            assert np.isnan(array[..., 1, :]).any() or "border" in name, name
            for b in (0, 2):
                assert array[..., b, :].tobytes() == clean[name][..., b, :].tobytes()


def test_gradients_are_added_to_what_is_there(isa, dtype):
    grid = make_grid((3, 2), 5, dtype=dtype, unshared=(1,))
    borders, dends = problem(grid, 2)
    before = []
    for _ in range(2):
        rng = np.random.default_rng(4)
        before.append(
            [
                [(rng.standard_normal(W.shape).astype(dtype), b + 1) for W, b in dims]
                for dims in grid.weights
            ]
        )
    expected = run_twin(grid, borders, dends, before[0])
    actual = run_kernel(grid, borders, dends, isa, 2, before[1])
    assert_same_results(actual, expected)


@pytest.mark.parametrize("outside", [True, False], ids=["paper", "lstm"])
def test_tiny_states_are_flushed(isa, dtype, outside):
    """Without weights each point halves m, and h once more."""
    least = 2.0**-100 if dtype == "float32" else 2.0**-900
    grid = make_grid((3, 2), 20, dtype=dtype, tanh_outside=outside)
    borders, dends = problem(grid, 2)
    borders = tuple((40 * least * h, 40 * least * m) for h, m in borders)
    for scale in (1, 0):
        for W, b in grid.weights[0]:
            W[...], b[...] = scale * W, scale * b
        tiny = tuple((9 * least * dh, 9 * least * dm) for dh, dm in dends)
        expected = run_twin(grid, borders, tiny)
        assert_same_results(run_kernel(grid, borders, tiny, isa, 1), expected)
        kept = np.abs(expected["dborder h0"])
        assert (kept[kept > 0] >= least).all()
    for name in ("end h0", "end m0", "dborder m1"):
        values = np.abs(expected[name])
        assert (values == 0).any(), name
        assert ((values > 0) & (values < 2 * least)).any(), name
        assert not ((values > 0) & (values < least)).any(), name


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0,), (2, 0, 2)], ids=str)
def test_grid_without_points_hands_its_borders_on(isa, sizes):
    grid = make_grid(sizes, 4)
    borders, dends = problem(grid, 2)
    results = run_kernel(grid, borders, dends, isa, 2)
    assert_same_results(results, run_twin(grid, borders, dends))
    for k, size in enumerate(sizes):
        if size == 0:
            np.testing.assert_array_equal(results[f"end h{k}"], borders[k][0])
            np.testing.assert_array_equal(results[f"dborder m{k}"], dends[k][1])


def test_batch_without_rows(isa):
    grid = make_grid((2, 2), 4)
    borders, dends = problem(grid, 0)
    results = run_kernel(grid, borders, dends, isa, 2)
    assert results["end h0"].shape == (2, 0, 4)
    assert not results["set 0 dW0"].any()
