"""Work shared with threads that come late, are slow, or do not come: the bits stay, and
the calling thread waits for nothing that nobody has begun.
"""

import signal
import statistics
import threading
import time
from functools import partial

import numpy as np
import pytest
from processes import run_python

import exactrnn as xr
from exactrnn import _core
from exactrnn.bench.busy import busy_processes

MILLISECOND = 1_000_000
DELAYS = {
    "prompt": (0, 0, 0),
    "late": (2 * MILLISECOND, 0, 0),
    "slow to begin": (0, MILLISECOND // 2, 0),
    "slow": (0, 0, MILLISECOND),
}
# T, B: rows are split; directions; units, where a phase is a stage of a step.
SIZES = {"rows": (5, 9), "directions": (7, 1), "units": (6, 1)}


@pytest.fixture
def every_split():
    """Calls of any size are shared, on busy machines too."""
    before = _core.thread_work((0, 0))
    yield
    _core.thread_work(before)


@pytest.fixture
def delays():
    """A function that delays workers until the test ends."""
    before = _core.worker_delay()
    yield _core.worker_delay
    _core.worker_delay(before)


def everything_of(layer, x):
    y, state, cache = layer.forward(x)
    gradients = layer.backward(cache, y)
    states = state if isinstance(state, tuple) else (state,)
    arrays = [y, *states, gradients.x, *gradients.weights.values()]
    return bytes_of(arrays)


def bytes_of(arrays):
    return b"".join(array.tobytes() for array in arrays)


def make_layer(kind, size):
    T, B = SIZES[size]
    layer = kind(5, 50, bidirectional=size == "directions", seed=1)
    return layer, np.linspace(-1, 1, T * B * 5, dtype="f4").reshape(T, B, 5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("kind", [xr.LSTM, xr.GRU])
def test_bits_do_not_depend_on_when_workers_come(
    every_split, delays, kind, delay, size
):
    layer, x = make_layer(kind, size)
    with xr.threads(1):
        expected = everything_of(layer, x)
    delays(DELAYS[delay])
    for threads in (2, 3, 5):
        with xr.threads(threads):
            for _ in range(4):
                assert everything_of(layer, x) == expected


@pytest.mark.parametrize("delay", DELAYS)
def test_callers_at_once_share_the_workers(every_split, delays, delay):
    cases = [make_layer(xr.GRU, size) for size in SIZES]
    with xr.threads(1):
        expected = [everything_of(*case) for case in cases]
    delays(DELAYS[delay])
    found = []

    def call(number):
        case = number % len(cases)
        with xr.threads(3):
            same = [everything_of(*cases[case]) == expected[case] for _ in range(5)]
        found.extend(same)

    callers = [threading.Thread(target=call, args=(n,)) for n in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [True] * 100


@pytest.mark.parametrize("size", SIZES)
def test_a_caller_does_not_wait_for_workers_that_have_not_begun(
    every_split, delays, size
):
    layer, x = make_layer(xr.LSTM, size)
    with xr.threads(3):
        everything_of(layer, x)  # the workers are there
        delays((3000 * MILLISECOND, 0, 0))
        begin = time.monotonic()
        everything_of(layer, x)
        assert time.monotonic() - begin < 2


def test_what_a_slow_worker_has_not_begun_is_done_by_others(every_split, delays):
    """One worker with all of its share would take 2 s, and begins one item of it."""
    layer = xr.RNN(4, 16, seed=0)
    x = np.ones((2, 36, 4), np.float32)
    with xr.threads(9):
        expected = layer(x)[0]
        delays((0, 500 * MILLISECOND, 0))
        begin = time.monotonic()
        assert np.array_equal(layer(x)[0], expected)
        assert time.monotonic() - begin < 1.9


# T, B, whether with gradients. A worker that keeps what it has begun takes 10 ms for
# each of 100 steps, or for each of 79 chunks of the gradients' sums.
HANDED_ON = {
    "rows": (100, 2, False),
    "directions": (100, 1, False),
    "backward": (100, 2, True),
    "gradients": (5, 4000, True),
}


def gradients_of(layer, cache, dy):
    found = layer.backward(cache, dy)
    return [found.x, found.state, *found.weights.values()]


@pytest.mark.parametrize("case", HANDED_ON)
def test_what_a_slow_worker_has_begun_is_handed_on(every_split, delays, case):
    T, B, with_gradients = HANDED_ON[case]
    layer = xr.RNN(3, 8, bidirectional=case == "directions", seed=2)
    x = np.random.default_rng(1).standard_normal((T, B, 3), np.float32)
    y, _, cache = layer.forward(x)
    go_back = partial(gradients_of, layer, cache, y)
    work = go_back if with_gradients else partial(layer, x)
    expected = bytes_of(work())
    took = []
    with xr.threads(2):
        work()
        delays((0, 0, 10 * MILLISECOND))
        while len(took) < 5 and min(took, default=1) > 0.5:  # others may be busy here
            begin = time.monotonic()
            found = bytes_of(work())
            took.append(time.monotonic() - begin)
            assert found == expected
    assert min(took) < 0.5


@pytest.mark.parametrize("size", ["rows", "directions"])
def test_a_call_after_one_with_items_handed_on_waits_for_all_of_its_own(
    every_split, delays, size
):
    """What is counted of items is right again: no call ends before its slow worker."""
    layer, x = make_layer(xr.LSTM, size)
    inputs = [np.float32(k) * x for k in (1, -1, 0.5)]
    expected = [layer(x)[0].tobytes() for x in inputs]
    with xr.threads(2):
        for _ in range(3):
            delays((0, 0, MILLISECOND))
            for _ in range(3):
                layer(x)
            delays((0, 10 * MILLISECOND, 0))
            assert [layer(x)[0].tobytes() for x in inputs] == expected


def call_for_ever(layer, x):
    """Call: 30 ms each time, but half an hour when the slow worker has come."""
    while True:
        layer(x)


def test_a_call_that_waits_for_a_slow_worker_can_be_interrupted(every_split, delays):
    layer, _ = make_layer(xr.LSTM, "units")
    x = np.ones((20_000, 1, 5), np.float32)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with xr.threads(2):
            layer(x)
            delays((0, 100 * MILLISECOND, 0))
            signal.setitimer(signal.ITIMER_REAL, 2)
            begin = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                call_for_ever(layer, x)
            assert time.monotonic() - begin < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_two_threads_beside_busy_processes_take_no_longer_than_one():
    """By the median; a time slice is ten times the bound, and comes in single calls."""
    layer = xr.LSTM(128, 128, seed=0)
    x = np.zeros((100, 2, 128), np.float32)
    times = {1: [], 2: []}
    with busy_processes(2):
        for round_ in range(6):
            for threads, found in times.items():
                with xr.threads(threads):
                    end = time.monotonic() + (0.4 if round_ else 1.5)
                    while time.monotonic() < end:
                        begin = time.perf_counter()
                        layer(x)
                        if round_:
                            found.append(time.perf_counter() - begin)
    one, two = (statistics.median(times[n]) for n in (1, 2))
    assert two < 1.3 * one, (one, two)


def test_auto_is_the_number_that_nobody_has_chosen():
    code = """
import exactrnn as xr
before = xr.get_num_threads()
assert xr.engine.describe_config()["threads"] == f"{before} (auto)"
xr.set_num_threads(before + 3)
assert xr.engine.describe_config()["threads"] == str(before + 3)
xr.set_num_threads("auto")
assert xr.get_num_threads() == before
assert xr.engine.describe_config()["threads"] == f"{before} (auto)"
with xr.threads(before + 1):
    xr.set_num_threads("auto")
    assert xr.get_num_threads() == before
print(before)
"""
    assert run_python(code, OMP_NUM_THREADS="3") == "3"
    run_python(code)
