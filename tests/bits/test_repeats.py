"""Rows of x that repeat are multiplied once (kernels/layer/repeats.h): the same bits.

What a call gives that finds them is compared with calls of a few rows of the batch
each, too few to be looked at. T * B is the least for which rows are looked for, or a
little more, and x has the fewest columns.
"""

import time

import numpy as np
import pytest
from bits import (
    as_tuple,
    assert_same_bits,
    every_thread_used,
    random_array,
    random_state,
    rows_of,
    run_layer,
)
from interrupted_calls import Chances, Stopped, asking, chances_of
from variants import NETWORKS, VARIANTS, make_layer

import exactrnn as xr

I, H, SYMBOLS = 16, 21, 7
SHAPES = {"few rows": (86, 6), "many rows": (22, 24)}
"""T, B of batches that take x ahead of h and along with it."""

every_name = pytest.mark.parametrize("name", [*NETWORKS, *VARIANTS])
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def draw_rows(rng, T, B, dtype, symbols=SYMBOLS, columns=I):
    """Return x [T, B, I] whose rows are those of a table."""
    table = random_array(rng, (symbols, columns), dtype)
    return table[rng.integers(0, symbols, (T, B))]


def state_of(state, rows):
    if state is None:
        return None
    parts = tuple(rows_of(part, rows) for part in as_tuple(state))
    return parts if len(parts) > 1 else parts[0]


def results_of(layer, x, state, lengths, rows):
    """Return all that forward and backward give of some rows, but for the weights'."""
    width = layer._spec.output_size * (1 + layer.bidirectional)
    T, B = x.shape[:2]
    dy = random_array(np.random.default_rng(3), (T, B, width), layer.dtype)
    given = {
        "x": x[:, rows].copy(),
        "state": state_of(state, rows),
        "dy": dy[:, rows].copy(),
        "dstate": None,
        "lengths": lengths[rows],
    }
    found = run_layer(layer, **given)
    y, final = layer(given["x"], given["state"], lengths=given["lengths"])
    found |= {"inferred y": y}
    found |= {f"inferred {k}": part for k, part in enumerate(as_tuple(final))}
    return {name: a for name, a in found.items() if not name.startswith("dweight")}


def assert_rows_alike(layer, x, state, lengths, step=3):
    """Compare a whole batch with its rows, a few at a time."""
    B = x.shape[1]
    whole = results_of(layer, x, state, lengths, np.arange(B))
    for first in range(0, B, step):
        rows = np.arange(B)[first : first + step]
        part = results_of(layer, x, state, lengths, rows)
        for name in ("y", "inferred y", "dx"):
            assert_same_bits(name, whole[name][:, rows], part[name])
        for name in part:
            if name.startswith(("state", "dstate", "inferred ")) and "y" not in name:
                assert_same_bits(name, rows_of(whole[name], rows), part[name])
            if name.startswith("gate"):
                assert_same_bits(name, whole[name][:, rows], part[name])


@every_name
@every_shape
def test_rows_that_repeat_give_the_bits_of_others(name, shape, isa):
    T, B = shape
    rng = np.random.default_rng(1)
    layer = make_layer(name, I, H, dtype="float32", seed=5)
    lengths = rng.integers(T - 4, T + 1, B)
    lengths[0] = T
    x = draw_rows(rng, T, B, layer.dtype)
    assert_rows_alike(layer, x, random_state(rng, layer, B), lengths, step=B // 2)


@every_shape
def test_in_all_ways_to_split_a_call(cell, shape, threads):
    """Both directions, and units, rows or neither shared."""
    T, B = shape
    rng = np.random.default_rng(2)
    layer = make_layer(cell, I, H, dtype="float64", seed=5, bidirectional=True)
    x = draw_rows(rng, T, B, "float64")
    lengths = np.full(B, T)
    for split in ("by units", "by rows"):
        with every_thread_used(split):
            assert_rows_alike(layer, x, None, lengths, step=B // 2)


@pytest.mark.parametrize("column", [0, 7, 8, 9, 15, 16])
def test_rows_that_differ_in_one_column_are_told_apart(column, isa):
    """In each that is looked at first, before and behind them."""
    rng = np.random.default_rng(3)
    T, B = 40, 16
    layer = xr.LSTM(17, 16, seed=1)
    x = draw_rows(rng, T, B, "float32", columns=17)
    x[..., column] = rng.integers(0, 2, (T, B))
    assert_rows_alike(layer, x, None, np.full(B, T), step=4)


@pytest.mark.parametrize("symbols", [1, 64, 255, 256, 257, 300, 700])
def test_with_any_number_of_distinct_rows(symbols, isa):
    """One more than half of 512 rows is too many; a hash is that of several."""
    rng = np.random.default_rng(4)
    table = random_array(rng, (symbols, I), "float32")
    order = rng.permutation(np.arange(1024) % symbols)
    layer = xr.GRU(I, 8, seed=1)
    for T in (32, 64):
        x = table[order[: T * 16]].reshape(T, 16, I)
        assert_rows_alike(layer, x, None, np.full(16, T), step=4)


def test_a_row_of_nan_stays_alone(isa):
    rng = np.random.default_rng(5)
    layer = xr.LSTM(I, H, seed=1)
    x = draw_rows(rng, 64, 16, "float32")
    x[3, 5] = x[9, 7] = np.nan
    assert_rows_alike(layer, x, None, np.full(16, 64), step=4)
    others = [b for b in range(16) if b not in (5, 7)]
    assert np.isfinite(layer(x)[0][:, others]).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_call_can_be_ended_while_it_looks(threads):
    rng = np.random.default_rng(6)
    layer = xr.LSTM(I, H, seed=1)
    x = draw_rows(rng, 64, 16, "float32")
    with every_thread_used(), xr.threads(threads):
        y, final = layer(x)
        count = chances_of(lambda: layer(x))
        for n in range(1, count + 1, 1 + count // 40):
            with asking(Chances(n)):
                try:
                    layer(x)
                except Stopped:
                    continue
        again, final_again = layer(x)
    assert_same_bits("y", again, y)
    for one, other in zip(final_again, final, strict=True):
        assert_same_bits("state", one, other)


def least_seconds(layer, x):
    found = []
    for _ in range(5):
        begin = time.perf_counter()
        layer(x)
        found.append(time.perf_counter() - begin)
    return min(found)


@pytest.mark.parametrize("B", [4, 64])
def test_rows_that_repeat_take_less_time(B):
    """With x far wider than h, what is left is a small part."""
    rng = np.random.default_rng(7)
    layer = xr.LSTM(512, 8, seed=1)
    others = rng.standard_normal((1024 // B, B, 512)).astype(np.float32)
    repeating = draw_rows(rng, 1024 // B, B, "float32", columns=512)
    with xr.threads(1):
        assert least_seconds(layer, repeating) < 0.7 * least_seconds(layer, others)
