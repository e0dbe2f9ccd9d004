"""Ctrl-C in long calls, and whatever else a signal handler raises.

A call ends early, nothing that was there before is changed, and the next call gives the
right bits: at every chance that kernels have to look (interrupted_calls.py), and for
real signals in calls that would take seconds.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from bits import assert_same_bits, every_thread_used
from interrupted_calls import GRIDS, Chances, Stopped, asking, chances_of
from variants import HELPERS, NETWORKS, PUBLIC, make_layer

import exactrnn as xr
from exactrnn import _core

CALLS = [f"layer:{name}" for name in (*NETWORKS, "lstm-everything", "lstm-proj")]
CALLS += [f"grid:{name}" for name in GRIDS]
CALLS += ["attention", "dense", "echo_state", "time_depth"]

on_unix = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no timers that signal"
)


def run_script(*words, timeout):
    """Run Python with the tests in reach; return what it prints."""
    paths = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("name", CALLS)
def test_a_call_can_be_ended_at_every_chance(name):
    ended = run_script(str(HELPERS / "interrupted_calls.py"), name, timeout=150)
    assert json.loads(ended) > 3


# Real signals. The timer counts processor time, so that a busy machine changes nothing.

SIGNAL_AFTER = 0.2  # seconds of processor time of all threads
LEAST_SECONDS = 2.0  # that a call would take undisturbed
LATEST = 0.1  # that it may go on
TIMER_STEP = 0.02  # processor time is told by the kernel's ticks


class AlarmError(Exception):
    """What the handler of the timer raises."""


@contextlib.contextmanager
def alarm():
    """Raise AlarmError in the main thread, SIGNAL_AFTER after the block begins."""

    def handle(number, frame):
        raise AlarmError

    before = signal.signal(signal.SIGPROF, handle)
    signal.setitimer(signal.ITIMER_PROF, SIGNAL_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def layer_forward(name, **options):
    def make(n):
        layer = make_layer(name, 32, 128, dtype="float64", seed=1, **options)
        x = np.ones((n, 2, 32))
        return lambda: layer(x)

    return make


def layer_backward(name, **options):
    def make(n):
        layer = make_layer(name, 32, 128, dtype="float64", seed=1, **options)
        y, _, cache = layer.forward(np.ones((n, 2, 32)))
        return lambda: layer.backward(cache, y)

    return make


def ragged_forward(n):
    layer = xr.GRU(32, 128, bidirectional=True, dtype="float64", seed=1)
    x, lengths = np.ones((n, 3, 32)), np.array([n, 0, n // 2])
    return lambda: layer.forward(x, lengths=lengths)


def grid_forward(n):
    layer = xr.GridLSTM(8, 24, sizes=(None, 3), dtype="float64", seed=1)
    x = np.ones((n, 2, 8))
    return lambda: layer(x)


def grid_with_an_empty_row(n):
    """The calling thread has the empty row, and waits for the other one."""
    layer = xr.GridLSTM(8, 24, sizes=(None, 3), dtype="float64", seed=1)
    x, lengths = np.ones((n, 2, 8)), np.array([[0, 3], [n, 3]])
    return lambda: layer(x, lengths=lengths)


def linear_forward(n):
    linear = xr.train.Linear(256, 256, dtype="float64", seed=1)
    x = np.ones((n, 256))
    return lambda: linear(x)


def linear_backward(n):
    linear = xr.train.Linear(256, 256, dtype="float64", seed=1)
    y, cache = linear.forward(np.ones((n, 256)))
    return lambda: linear.backward(cache, y)


def softmax(n):
    logits, targets = np.ones((n, 256)), np.zeros(n, np.int64)
    return lambda: xr.train.softmax_cross_entropy(logits, targets)


def reservoir(n):
    network = xr.EchoState(2, 200, dtype="float64", seed=1)
    x, y = np.ones((n, 2, 2)), np.ones((n, 2, 1))
    return lambda: network.fit(x, y)


LONG_CALLS = {f"{name} forward": layer_forward(name) for name in PUBLIC}
LONG_CALLS |= {
    "lstm backward": layer_backward("lstm"),
    "clockwork backward": layer_backward("clockwork"),
    "lstm both ways": layer_forward("lstm", bidirectional=True),
    "lstm stacked": layer_forward("lstm", num_layers=3),
    "gru ragged, kept": ragged_forward,
    "grid forward": grid_forward,
    "grid with an empty row": grid_with_an_empty_row,
    "linear forward": linear_forward,
    "linear backward": linear_backward,
    "softmax": softmax,
    "fit": reservoir,
}
WITH_THREADS = ("lstm forward", "lstm backward", "gru ragged, kept", "grid forward")
WITH_THREADS += ("grid with an empty row",)
RUNS = [(name, 1) for name in LONG_CALLS] + [(name, 2) for name in WITH_THREADS]


def long_call(make):
    """Return a call that would take LEAST_SECONDS of processor time, or longer."""
    n, seconds = 8, 0.0
    while True:
        call = make(n)
        call()  # packs weights
        begin = time.process_time()
        call()
        seconds = time.process_time() - begin
        if seconds > 0.03:
            return make(int(n * LEAST_SECONDS / seconds) + 1)
        n *= 4


@on_unix
@pytest.mark.parametrize(("name", "threads"), RUNS)
def test_a_signal_ends_a_long_call(name, threads):
    # Slow instructions make calls long that need little memory.
    with xr.use_isa("scalar"), xr.threads(threads), every_thread_used():
        call = long_call(LONG_CALLS[name])
        begin = time.process_time()
        with pytest.raises(AlarmError), alarm():
            call()
        late = time.process_time() - begin - SIGNAL_AFTER
    assert late < threads * LATEST + TIMER_STEP


def layer_and_input():
    return xr.LSTM(4, 16, seed=1), np.ones((50, 2, 4), np.float32)


def test_short_calls_never_ask():
    layer, x = layer_and_input()
    before = _core.stop_pace()
    chances = Chances()
    _core.stop_pace(before, chances)
    layer(x)
    _core.stop_pace(before)
    assert chances.count == 0


def test_only_the_main_thread_is_asked():
    layer, x = layer_and_input()
    with asking(Chances(1)) as chances:
        thread = threading.Thread(target=lambda: layer(x))
        thread.start()
        thread.join()
        assert chances.count == 0
        with pytest.raises(Stopped):
            layer(x)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_may_use_the_layer_and_let_the_call_go_on(threads):
    """A call is asked at each step of the rows that its own thread has claimed."""
    layer, x = layer_and_input()
    expected, _ = layer(x)
    asked, inner = [], []

    def handler():
        asked.append(None)
        if len(asked) == 1:
            inner.append(layer(x)[0])  # which asks too

    with asking(handler), xr.threads(threads), every_thread_used():
        y, _ = layer(x)
    assert threads > 1 or len(asked) > 100
    for result in (y, *inner):
        assert_same_bits("y", result, expected)


def test_a_call_with_out_that_is_ended_can_be_repeated():
    layer, x = layer_and_input()
    expected, _ = layer(x)
    out = np.empty_like(expected)
    with asking(Chances(5)), pytest.raises(Stopped):
        layer(x, out=out)
    layer(x, out=out)
    assert_same_bits("y", out, expected)


def test_a_large_step_of_several_layers_leaves_all_states():
    """The second layer is ended when the first one is done."""
    layer = xr.LSTM(8, 64, num_layers=3, seed=1)
    stream = layer.stream(64)
    x = np.ones((64, 8), np.float32)
    stream.step(x)
    before = stream.state
    count = chances_of(lambda: layer.stream(64).step(x))
    with asking(Chances(count - 1)), pytest.raises(Stopped):
        stream.step(x)
    for part, kept in zip(stream.state, before, strict=True):
        assert_same_bits("state", part, kept)


FORK_IN_A_THREAD = """
import os, threading
import numpy as np
import exactrnn as xr
from interrupted_calls import Chances, Stopped, asking

def in_child():
    try:
        with asking(Chances(1)):
            xr.LSTM(4, 16)(np.ones((50, 2, 4), np.float32))
    except Stopped:
        os._exit(7)
    os._exit(1)

def fork():
    global status
    child = os.fork() or in_child()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

xr.set_num_threads(1)
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert status == 7, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_thread_that_forked_is_asked_in_the_child():
    run_script("-W", "ignore", "-c", FORK_IN_A_THREAD, timeout=60)


@on_unix
def test_ctrl_c_ends_a_command_with_one_line():
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "exactrnn", "verify"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # At the second line all is imported: NumPy's own modules can lose a Ctrl-C.
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "exactrnn verify: stopped by Ctrl-C"
