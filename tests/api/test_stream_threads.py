"""One stream and several threads: an error for all but one, never a state of two.

In the lists of modules.py every kind of stream. Some tests hold a turn open, so that
there is nothing to chance; others let threads meet as they like.
"""

import copy
import pickle
import sys
import threading
import time

import numpy as np
import pytest
from arrays import draw, same_bits
from interrupted_calls import Chances, Stopped, asking, chances_of
from modules import STREAMS, B, flat, step_of

import exactrnn as xr

IN_USE = "^stream is in use by another thread$"
every_stream = pytest.mark.parametrize("name", STREAMS)


def assign_state(stream, state):
    stream.state = state


def uses_of(stream):
    """Return everything that reads or writes the state, by name."""
    x, state = step_of(stream), stream.state
    swapped = x.astype(x.dtype.newbyteorder())
    return {
        "step": lambda: stream.step(x),
        "step of an array that needs a copy": lambda: stream.step(swapped),
        "read the state": lambda: stream.state,
        "set the state": lambda: assign_state(stream, state),
        "reset": stream.reset,
        "reset a row": lambda: stream.reset(rows=[0]),
        "copy": lambda: copy.copy(stream),
        "deep copy": lambda: copy.deepcopy(stream),
        "pickle": lambda: pickle.dumps(stream),
    }


def error_in_thread(function):
    """Return what a call raises in another thread, None for nothing."""
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[0] if errors else None


@every_stream
def test_every_use_beside_a_step_is_an_error_that_changes_nothing(name):
    stream = STREAMS[name]()
    stream.step(step_of(stream, seed=1))
    uses, before = uses_of(stream), flat(stream.state)
    with stream._stepper:
        for what, use in uses.items():
            error = error_in_thread(use)
            assert isinstance(error, RuntimeError), what
            assert str(error) == "stream is in use by another thread"
    assert same_bits(flat(stream.state), before)
    for what, use in uses.items():
        assert error_in_thread(use) is None, what


@every_stream
def test_weights_that_change_beside_a_step_do_not_break_in(name):
    stream = STREAMS[name]()
    x = step_of(stream)
    stream.step(x)
    layer, before = stream._layer, flat(stream.state)
    with stream._stepper:
        layer.load_state_dict({n: 0.5 * w for n, w in layer.state_dict().items()})
        with pytest.raises(RuntimeError, match=IN_USE):
            stream.step(x)
    assert same_bits(flat(stream.state), before)
    old = stream._stepper
    expected = copy.copy(stream).step(x)
    assert same_bits(stream.step(x), expected)
    # A thread that had the old one in its hands cannot step it unseen.
    with pytest.raises(RuntimeError, match=IN_USE):
        old.step(x, np.empty_like(expected))


@every_stream
def test_a_refused_step_leaves_the_stream_free(name):
    stream = STREAMS[name]()
    x = step_of(stream)
    for wrong in ("x", x[:1], x.astype("f2"), np.zeros((B, 40), x.dtype)):
        with pytest.raises((TypeError, ValueError)):
            stream.step(wrong)
        with pytest.raises((TypeError, ValueError)):
            stream.step(x, wrong)
        with pytest.raises((TypeError, ValueError)):
            stream.state = wrong
        with pytest.raises((TypeError, ValueError)):
            stream.reset(x)
    read_only = np.zeros_like(stream.step(x))
    read_only.flags.writeable = False
    with pytest.raises((TypeError, ValueError)):
        stream.step(x, read_only)
    stream.step(x)


def large_streams():
    """Return streams whose steps give the GIL away, or are of several parts."""
    x = np.linspace(-1, 1, 2 * 256, dtype=np.float32).reshape(2, 256)
    lstm = xr.LSTM(256, 256, 2, seed=1).stream(2)
    clockwork = xr.ClockworkRNN(256, 256, periods=(1, 2), seed=1).stream(2)
    grid = xr.TimeDepthGridLSTM(256, 128, 2, seed=1).stream(2)
    series = draw(300, 3)
    network = xr.EchoState(3, 200, ridge=1e-3, seed=1).fit(series[:-1], series[1:])
    return {
        "lstm": (lstm, x),
        "clockwork": (clockwork, x),
        "time-depth": (grid, x),
        "echo-state": (network.stream(2), series[:2]),
    }


@pytest.mark.parametrize("name", ["lstm", "time-depth", "echo-state"])
def test_a_step_that_is_ended_inside_leaves_the_stream_free_and_as_it_was(name):
    """At the last chance the readout of a network is at work."""
    stream, x = large_streams()[name]
    if name == "echo-state":  # large enough to be ended
        stream, x = stream._network.stream(16), draw(16, 3)
    stream.step(x)
    before, expected = flat(stream.state), copy.copy(stream).step(x)
    count = chances_of(lambda: copy.copy(stream).step(x))
    assert count > 1
    for chance in (1, count - 1, count):
        with asking(Chances(chance)), pytest.raises(Stopped):
            stream.step(x)
        assert same_bits(flat(stream.state), before)
    assert same_bits(stream.step(x), expected)


def turned_away(use, unexpected):
    """Return whether a use of a stream found another thread in it."""
    try:
        use()
    except RuntimeError as error:
        if str(error) != "stream is in use by another thread":
            unexpected.append(error)
        return True
    return False


@pytest.mark.parametrize("name", large_streams())
def test_threads_that_meet_in_a_stream_never_share_a_step(name):
    """Whether steps meet each other is up to chance; they do meet a turn held open."""
    stream, x = large_streams()[name]
    alone = copy.copy(stream)
    steps, unexpected = [], []
    begin, end = threading.Barrier(4), time.monotonic() + 60

    def hold():
        with stream._stepper:
            time.sleep(1e-3)

    def work():
        begin.wait()
        done = refused = 0
        while refused < 20 and time.monotonic() < end:
            if turned_away(lambda: stream.step(x), unexpected):
                refused += 1
            else:
                done += 1
                turned_away(lambda: flat(stream.state), unexpected)
        if refused == 20:
            steps.append(done)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            turned_away(hold, unexpected)
            time.sleep(1e-4)
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not unexpected
    assert len(steps) == 3  # all have been turned away
    for _ in range(sum(steps)):
        alone.step(x)
    assert same_bits(flat(stream.state), flat(alone.state))
