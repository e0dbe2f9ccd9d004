"""Streams as sessions: rows that step, join, leave and move, each as if it were alone.

Over every kind of stream in modules.py. The truth is a stream of one row for each
session, which nobody joins or leaves.
"""

import copy
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from arrays import as_state, as_tuple, draw, same_bits
from bits import SPLITS, every_thread_used
from interrupted_calls import Chances, Stopped, asking, chances_of
from modules import STREAMS, flat, step_of
from modules import I as INPUTS

import exactrnn as xr
from exactrnn import _core, engine

every_stream = pytest.mark.parametrize("name", STREAMS)
# One of each kind of stepper, and one with clocks.
KINDS = ("lstm", "clockwork-equal", "time-depth", "echo-state")
of_every_kind = pytest.mark.parametrize("name", KINDS)


def inputs_of(stream, rows, seed=0):
    return draw(rows, INPUTS, dtype=step_of(stream).dtype, seed=seed)


def scramble(stream, seed=9):
    """Do a step of all rows, so that no state is zero; return the stream."""
    stream.step(inputs_of(stream, len(stream.rows), seed=seed))
    return stream


def pick(state, rows):
    """Return the state of some rows, from that of all."""
    return as_state(
        [part[:, rows] if part.ndim == 3 else part[rows] for part in as_tuple(state)]
    )


class Sessions:
    """A stream of many sessions beside a stream of one row for each of them."""

    def __init__(self, name, rows):
        self.name, self.many = name, STREAMS[name](rows=rows)
        self.alone = {row: STREAMS[name](rows=1) for row in range(rows)}

    def step(self, rows, seed):
        x = inputs_of(self.many, len(rows), seed)
        y = self.many.step(x, rows=rows)
        expected = [self.alone[row].step(x[k : k + 1])[0] for k, row in enumerate(rows)]
        assert same_bits(list(y), expected)

    def join(self, count):
        for row in self.many.join(count).tolist():
            assert row not in self.alone
            self.alone[row] = STREAMS[self.name](rows=1)

    def leave(self, rows):
        self.many.leave(rows)
        for row in rows:
            del self.alone[row]

    def check(self):
        assert self.many.rows.tolist() == sorted(self.alone)
        for row, alone in self.alone.items():
            assert same_bits(flat(self.many.state_of(row)), flat(alone.state))


def live(name, seed):
    """Run sessions through a drawn life; return all states at its end."""
    source = np.random.default_rng(seed)
    sessions = Sessions(name, rows=4)
    for t in range(12):
        rows = np.array(sorted(sessions.alone), np.intp)
        some = source.permutation(rows)[: source.integers(0, len(rows) + 1)]
        deed = source.integers(0, 5)
        if deed == 0:
            sessions.join(int(source.integers(1, 4)))
        elif deed == 1 and len(some) < len(rows):
            sessions.leave(some.tolist())
        else:
            sessions.step(some, seed=t)
        sessions.check()
    return flat(sessions.many.state)


@every_stream
def test_every_session_has_the_bits_that_it_has_alone(name):
    for seed in range(4):
        live(name, seed)


@of_every_kind
@pytest.mark.parametrize("split", SPLITS)
def test_bits_of_sessions_on_every_isa_and_number_of_threads(name, isa, split):
    expected = live(name, seed=5)
    with every_thread_used(split), xr.threads(3):
        assert same_bits(live(name, seed=5), expected)


# Which rows


@of_every_kind
def test_rows_may_be_named_in_several_ways(name):
    whole = scramble(STREAMS[name](rows=4))
    x = inputs_of(whole, 2)
    ways = {
        (3, 1): [np.array([3, 1]), [3, 1], [-1, 1], np.array([3, -3], np.int8)],
        (1, 2): [np.array([False, True, True, False]), [False, True, True, False]],
        (0, 3): [(0, 3), np.array([0, 9, 3, 9])[::2], np.array([0, 3], "u8")],
    }
    for rows, spellings in ways.items():
        ends = []
        for spelling in spellings:
            stream = copy.copy(whole)
            y = stream.step(x, rows=spelling)
            ends.append([y, *flat(stream.state)])
            others = [row for row in range(4) if row not in rows]
            before, after = whole.state_of(others), stream.state_of(others)
            assert same_bits(flat(after), flat(before))
        assert all(same_bits(end, ends[0]) for end in ends)


@of_every_kind
def test_one_row_may_be_an_integer_and_come_without_its_axis(name):
    stream, other = scramble(STREAMS[name](rows=4)), scramble(STREAMS[name](rows=4))
    x = inputs_of(stream, 1)
    expected = stream.step(x, rows=np.array([2]))
    y = other.step(x[0], rows=2)
    assert same_bits(y, expected[0])
    assert same_bits(flat(stream.state), flat(other.state))
    out = np.zeros_like(y)
    assert other.step(x[0], out, rows=2) is out
    assert same_bits(out, stream.step(x, rows=2)[0])


@of_every_kind
def test_no_row_is_a_step_of_nobody(name):
    stream = scramble(STREAMS[name](rows=3))
    before = flat(stream.state)
    for rows in ([], np.zeros(0, np.intp), np.zeros(3, bool)):
        y = stream.step(inputs_of(stream, 0), rows=rows)
        assert y.shape[0] == 0
    assert same_bits(flat(stream.state), before)
    stream.leave([0, 1, 2])
    assert stream.step(inputs_of(stream, 0)).shape == y.shape
    assert not any(np.any(part) for part in as_tuple(stream.state)[:1])


@of_every_kind
def test_without_rows_all_in_use_go_on(name):
    stream, named = scramble(STREAMS[name](rows=5)), scramble(STREAMS[name](rows=5))
    for each in (stream, named):
        each.leave([1, 4])
    x = inputs_of(stream, 3)
    assert same_bits(stream.step(x), named.step(x, rows=[0, 2, 3]))
    assert same_bits(flat(stream.state), flat(named.state))
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    out = np.zeros_like(named.step(x, rows=[0, 2, 3]).T).T
    assert stream.step(wide, out) is out
    assert same_bits(flat(stream.state), flat(named.state))
    with pytest.raises(ValueError, match=r"x: expected \[A=3, I=4\], got \(5, 4\)"):
        stream.step(inputs_of(stream, 5))


@of_every_kind
def test_arrays_that_the_kernels_cannot_take_give_the_same_bits(name):
    whole = scramble(STREAMS[name](rows=4))
    x, rows = inputs_of(whole, 2), np.array([3, 0])
    expected = copy.copy(whole).step(x, rows=rows)
    swapped = x.astype(x.dtype.newbyteorder())
    for other in (np.asfortranarray(x), swapped, memoryview(x)):
        assert same_bits(copy.copy(whole).step(other, rows=rows), expected)
    wide = np.zeros((2, 2 * expected.shape[1]), expected.dtype)
    for out in (np.zeros_like(expected.T).T, wide[:, ::2], np.zeros_like(expected)):
        assert copy.copy(whole).step(x, out, rows=rows) is out
        assert np.array_equal(out, expected)


# What is refused


def wrong_rows(stream):
    """Yield (rows, error, message) that a stream of 4, of which 2 has left, refuses."""
    gone = "rows: expected rows in use, got 2, which has left or not joined"
    yield np.array([0, 2]), ValueError, gone
    yield 2, ValueError, gone
    yield np.array([True, True, True, False]), ValueError, gone
    yield np.array([0, 4]), ValueError, r"rows: expected -4\.\.3 for B=4, got 4"
    yield [-5], ValueError, r"rows: expected -4\.\.3 for B=4, got -5"
    yield np.array([2**62]), ValueError, r"rows: expected -4\.\.3 for B=4"
    yield [True, False], ValueError, r"rows: expected \[B=4\], got \(2,\)"
    yield [0.5], TypeError, "rows: expected integers or a mask"
    yield np.array([[0, 1]]), TypeError, "rows: expected integers or a mask"
    yield "first", TypeError, "rows: expected integers or a mask"


@of_every_kind
def test_wrong_rows_are_refused_and_change_nothing(name):
    stream = scramble(STREAMS[name](rows=4))
    stream.leave(2)
    before = flat(stream.state)
    state = pick(stream.state, [0, 1])
    for rows, error, message in wrong_rows(stream):
        uses = [
            lambda rows=rows: stream.step(inputs_of(stream, 2), rows=rows),
            lambda rows=rows: stream.leave(rows),
            lambda rows=rows: stream.reset(rows),
            lambda rows=rows: stream.state_of(rows),
        ]
        for use in uses:
            with pytest.raises(error, match=message):
                use()
        with pytest.raises((TypeError, ValueError), match=r"rows|state"):
            stream.set_state(rows, state)
    twice = r"rows: expected each row once, got 3 again"
    for rows in ([3, 3], np.array([3, -1]), np.array([3, 3])):
        with pytest.raises(ValueError, match=twice):
            stream.step(inputs_of(stream, 2), rows=rows)
        with pytest.raises(ValueError, match=twice):
            stream.set_state(rows, state)
    assert same_bits(flat(stream.state), before)
    assert stream.rows.tolist() == [0, 1, 3]


@of_every_kind
def test_wrong_shapes_of_some_rows_are_refused_and_change_nothing(name):
    stream = scramble(STREAMS[name](rows=4))
    before, rows = flat(stream.state), np.array([3, 0])
    good = inputs_of(stream, 2)
    width = copy.copy(stream).step(good, rows=rows).shape[1]
    for shape in ((3, INPUTS), (INPUTS, 2), (2 * INPUTS,), (1, 2, INPUTS), (INPUTS,)):
        x = np.ones(shape, good.dtype)
        expected = r"\[(A=2|B), I=4\]"
        with pytest.raises(ValueError, match=rf"x: expected {expected}"):
            stream.step(x, rows=rows)
    other = good.astype("f4" if good.dtype == "f8" else "f8")
    with pytest.raises(TypeError, match=f"x: expected {good.dtype.name}"):
        stream.step(other, rows=rows)
    for shape in ((3, width), (width, 2), (2 * width,), (1, 2, width)):
        out = np.ones(shape, good.dtype)
        with pytest.raises(ValueError, match=r"out: expected \[A=2, [HO]=\d+\]"):
            stream.step(good, out, rows=rows)
        assert (out == 1).all()
    read_only = np.zeros((2, width), good.dtype)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writable array"):
        stream.step(good, read_only, rows=rows)
    assert same_bits(flat(stream.state), before)


def test_wrong_joins_and_states_are_refused():
    stream = xr.LSTM(INPUTS, 5, seed=1).stream(3)
    for n, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError)):
        with pytest.raises(error, match="n: expected an integer"):
            stream.join(n)
    with pytest.raises(ValueError, match=r"n=.*: expected states of at most"):
        stream.join(2**40)
    assert (stream.batch_size, stream.rows.tolist()) == (3, [0, 1, 2])
    h = np.zeros((1, 2, 5), np.float32)
    with pytest.raises(ValueError, match=r"state\[1\]: expected \[L=1, A=2, H=5\]"):
        stream.set_state([0, 2], (h, h[:, :1]))
    with pytest.raises(TypeError, match=r"state: expected the tuple \(h, c\)"):
        stream.set_state([0, 2], h)
    assert not np.any(stream.state)


# Joining, leaving, moving


@of_every_kind
def test_places_are_used_again_and_indices_stay(name):
    stream = scramble(STREAMS[name](rows=4))
    kept = flat(stream.state_of([0, 3]))
    fresh = flat(STREAMS[name](rows=1).state)
    stream.leave([2, 1])
    assert stream.rows.tolist() == [0, 3]
    assert repr(stream).endswith(", B=4, 2 in use>")
    assert stream.join().tolist() == [1]
    assert stream.join(2).tolist() == [2, 4]
    assert stream.batch_size == 6  # by a half
    assert stream.join(10).tolist() == list(range(5, 15))
    assert stream.batch_size == 15  # by what was lacking
    assert repr(stream).endswith(", B=15>")
    assert same_bits(flat(stream.state_of([0, 3])), kept)
    for row in (1, 2, 4, 14):
        assert same_bits(flat(stream.state_of(row)), fresh)


def test_rows_that_join_one_by_one_seldom_move_the_others(monkeypatch):
    stream = STREAMS["gru"](rows=1)
    made = []
    monkeypatch.setattr(
        xr.Stream,
        "_new_stepper",
        lambda self, packs, places, make=xr.Stream._new_stepper: (
            made.append(places) or make(self, packs, places)
        ),
    )
    for _ in range(999):
        stream.join()
    assert len(stream.rows) == 1000
    assert len(made) < 20


@of_every_kind
def test_a_session_moves_to_another_stream_with_its_bits(name):
    here = scramble(STREAMS[name](rows=4))
    stays = copy.deepcopy(here)
    there = STREAMS[name](rows=2)
    session = pickle.loads(pickle.dumps(here.state_of(2)))
    here.leave(2)
    [row] = there.join()
    there.set_state(row, session)
    for seed in range(3):
        x = inputs_of(here, 1, seed)
        assert same_bits(there.step(x, rows=[row]), stays.step(x, rows=[2]))
    assert same_bits(flat(there.state_of(row)), flat(stays.state_of(2)))
    assert same_bits(flat(there.state_of([0, 1])), flat(STREAMS[name](rows=2).state))


@of_every_kind
def test_states_of_several_rows_come_and_go_in_their_order(name):
    stream = scramble(STREAMS[name](rows=4))
    whole = flat(stream.state)
    axes = [part.ndim - 2 if part.ndim > 1 else 0 for part in whole]
    picked = [part.take([3, 1], axis) for part, axis in zip(whole, axes, strict=True)]
    assert same_bits(flat(stream.state_of([3, 1])), picked)
    stream.set_state([3, 1], stream.state_of([1, 3]))
    swapped = [
        part.take([0, 3, 2, 1], axis) for part, axis in zip(whole, axes, strict=True)
    ]
    assert same_bits(flat(stream.state), swapped)


@of_every_kind
def test_free_places_are_zero_and_keep_nothing_that_is_set(name):
    stream = scramble(STREAMS[name](rows=3))
    state = stream.state
    stream.leave(1)
    assert not np.any(as_tuple(stream.state)[0][:, 1])
    stream.state = state
    assert not np.any(as_tuple(stream.state)[0][:, 1])
    assert same_bits(flat(stream.state_of([0, 2])), flat(pick(state, [0, 2])))
    stream.join()
    stream.reset()
    assert same_bits(flat(stream.state), flat(STREAMS[name](rows=3).state))


# Copies, weights, instruction sets


@pytest.mark.parametrize(
    "make_copy",
    [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))],
    ids=["copy", "deepcopy", "pickle"],
)
@every_stream
def test_a_copy_knows_who_has_left(name, make_copy):
    stream = scramble(STREAMS[name](rows=4))
    stream.leave([0, 2])
    stream.join(4)
    stream.leave(1)
    twin = make_copy(stream)
    assert repr(twin) == repr(stream)
    assert twin.rows.tolist() == stream.rows.tolist() == [0, 2, 3, 4, 5]
    assert same_bits(flat(twin.state), flat(stream.state))
    x = inputs_of(stream, 2)
    assert same_bits(twin.step(x, rows=[4, 0]), stream.step(x, rows=[4, 0]))
    assert twin.join(2).tolist() == stream.join(2).tolist() == [1, 6]


@of_every_kind
def test_who_is_there_outlives_a_change_of_weights_and_isa(name):
    stream = scramble(STREAMS[name](rows=4))
    stream.leave(1)
    x = inputs_of(stream, 2)
    for isa in xr.isas():
        with xr.use_isa(isa):
            twin = copy.copy(stream)
            assert same_bits(stream.step(x, rows=[3, 0]), twin.step(x, rows=[3, 0]))
            assert stream.rows.tolist() == [0, 2, 3]
            assert same_bits(flat(stream.state), flat(twin.state))


def test_changed_weights_act_in_steps_of_some_rows():
    layer = xr.GRU(INPUTS, 6, 2, seed=1)
    stream = scramble(layer.stream(4))
    stream.leave(0)
    x = inputs_of(stream, 2)
    stream.step(x, rows=[2, 1])
    state = stream.state_of([2, 1])
    layer.weight_hh_l1 *= 2
    expected, final = layer(x[None], state)
    assert same_bits(stream.step(x, rows=[2, 1]), expected[0])
    assert same_bits(stream.state_of([2, 1]), final)
    assert stream.rows.tolist() == [1, 2, 3]


# Memory, interruption, threads


@of_every_kind
def test_a_step_of_rows_with_out_allocates_nothing_that_stays(name):
    stream = scramble(STREAMS[name](rows=8))
    rows = [np.array(some) for some in ([0], [3, 1], [5, 6, 7], [2, 4, 1, 0])]
    x = [inputs_of(stream, len(some)) for some in rows]
    pairs = zip(x, rows, strict=True)
    out = [np.zeros_like(stream.step(given, rows=some)) for given, some in pairs]

    def steps():
        for given, target, some in zip(x, out, rows, strict=True):
            stream.step(given, target, rows=some)

    for _ in range(50):
        steps()
    tracemalloc.start()
    try:
        steps()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(500):
            steps()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 512
    assert peak - before < 2048


def large_stream(name):
    """Return a stream of 16 rows whose steps, of half of them too, can be ended."""
    if name == "echo-state":
        series = draw(300, INPUTS)
        network = xr.EchoState(INPUTS, 200, ridge=1e-3, seed=1)
        return network.fit(series[:-1], series[1:]).stream(16)
    kinds = {
        "lstm": lambda: xr.LSTM(INPUTS, 128, 2, seed=1),
        "clockwork-equal": lambda: xr.ClockworkRNN(
            INPUTS, 256, 2, periods=(1, 2), seed=1
        ),
        "time-depth": lambda: xr.TimeDepthGridLSTM(INPUTS, 128, 2, seed=1),
    }
    return kinds[name]().stream(16)


@of_every_kind
def test_an_ended_step_of_rows_changes_nothing(name):
    stream = large_stream(name)
    stream.step(draw(16, INPUTS))
    rows, x = np.arange(15, 3, -1), draw(12, INPUTS, seed=1)
    with xr.threads(1):
        before = flat(stream.state)
        expected = copy.copy(stream).step(x, rows=rows)
        count = chances_of(lambda: copy.copy(stream).step(x, rows=rows))
        assert count > 1
        for chance in sorted({1, count // 2, count}):
            with asking(Chances(chance)), pytest.raises(Stopped):
                stream.step(x, rows=rows)
            assert same_bits(flat(stream.state), before)
        assert same_bits(stream.step(x, rows=rows), expected)


@of_every_kind
def test_rows_that_change_during_a_step_are_those_from_its_start(name):
    """What a handler, or another thread, writes there must not be read again."""
    stream = large_stream(name)
    stream.step(draw(16, INPUTS))
    rows, x = np.arange(12), draw(12, INPUTS, seed=1)
    expected = copy.copy(stream)
    expected.step(x, rows=rows.copy())
    asked = []

    def overwrite():
        asked.append(True)
        rows[:] = 2**40

    with asking(overwrite), xr.threads(1):
        stream.step(x, rows=rows)
    assert asked
    assert same_bits(flat(stream.state), flat(expected.state))


@of_every_kind
def test_large_steps_ask_for_threads_and_small_ones_never(name, monkeypatch):
    asked = []

    def count():
        asked.append(True)
        return 2

    monkeypatch.setattr(engine, "threads_for_calls", count)
    stream = large_stream(name)
    x = draw(16, INPUTS)
    before = _core.thread_work()
    try:
        for limit, asks in ((1, True), (before[0] * 1000, False)):
            _core.thread_work((limit, before[1]))
            asked.clear()
            stream.step(x)
            stream.step(x[:3], rows=np.array([7, 2, 0]))
            assert bool(asked) is asks
    finally:
        _core.thread_work(before)
    small = STREAMS[name](rows=8)
    asked.clear()
    scramble(small).step(inputs_of(small, 2), rows=[1, 3])
    assert not asked


@of_every_kind
def test_steps_that_share_their_work_give_the_same_bits(name):
    one, two = large_stream(name), large_stream(name)
    rows = np.array([5, 2, 11, 0, 15, 7])
    with every_thread_used("by rows"):
        for t in range(3):
            x, few = draw(16, INPUTS, seed=t), draw(6, INPUTS, seed=t)
            with xr.threads(1):
                expected = one.step(x), one.step(few, rows=rows)
            with xr.threads(2 + t):
                assert same_bits((two.step(x), two.step(few, rows=rows)), expected)
    assert same_bits(flat(two.state), flat(one.state))


def test_what_a_stream_that_has_left_rows_says():
    stream = xr.GRU(INPUTS, 6, seed=1).stream(2)
    stream.leave([0, 1])
    assert stream.rows.tolist() == []
    assert re.fullmatch(r"<stream of GRU\(4, 6\), B=2, 0 in use>", repr(stream))
    assert stream.join(3).tolist() == [0, 1, 2]
