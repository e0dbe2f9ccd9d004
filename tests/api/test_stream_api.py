"""Streams: the bits of the whole sequence, one step at a time, in any company (N7)."""

import re
import tracemalloc

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits
from layer_kinds import KINDS, as_gradient, make_kind
from modules import STREAMS, step_of
from modules import H as UNITS

import exactrnn as xr

T, B, I, H = 6, 3, 4, 5

of_every_kind = pytest.mark.parametrize("kind", KINDS)
# One of each kind of stepper: rows B, inputs I.
of_every_stepper = pytest.mark.parametrize("name", ["gru", "time-depth", "echo-state"])


def output_of(stream):
    """Return letter and width of a stream's output."""
    return ("O", I) if isinstance(stream, xr.EchoStream) else ("H", UNITS)


@of_every_kind
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_T_steps_are_one_call(kind, isa, dtype, num_layers):
    layer = make_kind(kind, I, H, num_layers=num_layers, dtype=dtype)
    x = draw(T, B, I, dtype=dtype)
    y, final = layer(x)
    stream = layer.stream(batch_size=B)
    out = np.full((B, layer.output_size), np.nan, dtype)
    for t in range(T):
        if t % 2:
            assert stream.step(x[t], out=out) is out
            assert same_bits(out, y[t])
        else:
            assert same_bits(stream.step(x[t]), y[t])
    for part, expected in zip(as_tuple(stream.state), as_tuple(final), strict=True):
        assert same_bits(part, expected)


@of_every_kind
def test_one_row_may_come_without_its_batch_axis(kind):
    layer = make_kind(kind, I, H)
    x = draw(T, I)
    y, _ = layer(x)
    stream, other = layer.stream(), layer.stream()
    for t in range(T):
        assert same_bits(stream.step(x[t]), y[t])
        assert same_bits(other.step(x[t : t + 1]), y[t : t + 1])
    assert stream.batch_size == 1
    assert repr(stream) == f"<stream of {layer!r}, B=1>"


@of_every_stepper
def test_arrays_that_the_kernels_cannot_take_give_the_same_bits(name):
    make = STREAMS[name]
    x = step_of(make())
    expected = make().step(x)
    others = [
        np.asfortranarray(x),
        x.astype(x.dtype.newbyteorder()),
        np.repeat(x, 2, axis=1)[:, ::2],
        memoryview(x),
    ]
    for other in others:
        assert same_bits(make().step(other), expected)
    wide = np.zeros((B, 2 * expected.shape[1]), expected.dtype)
    for out in (np.zeros_like(expected.T).T, wide[:, ::2]):
        assert make().step(x, out) is out
        assert np.array_equal(out, expected)


@of_every_stepper
def test_a_fresh_output_is_not_overwritten_by_the_next_step(name):
    stream = STREAMS[name]()
    first = stream.step(step_of(stream))
    kept = first.copy()
    stream.step(step_of(stream, seed=1))
    assert same_bits(first, kept)


@of_every_kind
def test_state_can_be_read_set_and_reset_by_row(kind):
    layer = make_kind(kind, I, H, num_layers=2)
    x = draw(T, B, I)
    stream = layer.stream(B)
    for t in range(3):
        stream.step(x[t])
    half_way = stream.state
    y = stream.step(x[3])
    for part in as_tuple(stream.state):
        part[...] = 0  # a copy: the stream does not see it
    stream.state = half_way
    assert same_bits(stream.step(x[3]), y)

    def parts():
        return as_tuple(as_gradient(layer, stream.state))

    stream.reset(rows=1)
    assert not any(part[:, 1].any() for part in parts())
    assert all(part[:, [0, 2]].any() for part in parts())
    assert same_bits(stream.step(x[0])[1], layer(x[:1])[0][0, 1])
    before = parts()
    stream.reset([True, False, False])
    stream.reset(np.array([-1]))
    stream.reset([])
    assert same_bits([p[:, 1] for p in parts()], [p[:, 1] for p in before])
    assert not any(part[:, [0, 2]].any() for part in parts())
    stream.reset()
    assert not any(part.any() for part in parts())


def test_the_clock_of_a_stream_goes_with_its_state():
    layer = make_kind("clockwork-equal", I, H, num_layers=2)
    stream = layer.stream(B)
    assert stream.state[1].tolist() == [5, 5, 5]  # the phase
    for x_t in draw(4, B, I):
        stream.step(x_t)
    assert stream.state[1].tolist() == [9, 9, 9]
    stream.reset(rows=[1])
    h, clock = stream.state
    assert clock.tolist() == [9, 5, 9]
    stream.state = h, [10, 11, 2**40]
    x = draw(1, B, I, seed=2)
    layer.weight_hh_l0 *= 2  # a new packed copy, with the clock as it was
    y, final = layer(x, (h, [10, 11, 2**40]))
    assert same_bits(stream.step(x[0]), y[0])
    assert same_bits(stream.state, final)


def test_changed_weights_act_from_the_next_step_and_keep_the_state():
    layer = xr.GRU(I, H, 2, seed=1)
    x = draw(2, B, I)
    stream = layer.stream(B)
    stream.step(x[0])
    state = stream.state
    layer.weight_hh_l1[...] *= 2
    expected, _ = layer(x[1:], state)
    assert same_bits(stream.step(x[1]), expected[0])


@pytest.mark.parametrize("name", ["lstm", "time-depth", "echo-state"])
def test_changing_the_isa_in_midstream_changes_no_bit(name):
    stream, other = STREAMS[name](), STREAMS[name]()
    for t in range(T):
        x = step_of(stream, seed=t)
        expected = other.step(x)
        with xr.use_isa(xr.isas()[t % len(xr.isas())]):
            assert same_bits(stream.step(x), expected)


def test_dropout_does_not_act():
    layer = xr.GRU(I, H, 2, dropout=0.9, seed=1)
    x = draw(B, I)
    assert same_bits(layer.stream(B).step(x), layer(x[None])[0][0])


@of_every_stepper
def test_a_step_with_out_allocates_nothing_that_stays(name):
    stream = STREAMS[name]()
    x = step_of(stream)
    out = np.zeros_like(stream.step(x))
    for _ in range(100):
        stream.step(x, out)
    tracemalloc.start()
    try:
        stream.step(x, out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(1000):
            stream.step(x, out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 512
    assert peak - before < 2048


def wrong_steps(stream):
    """Yield (x, out, error, message) of steps that a stream must refuse."""
    letter, width = output_of(stream)
    x = step_of(stream)
    name, other = x.dtype.name, "float64" if x.dtype == "f4" else "float32"
    sizes = r"\[B=3, I=4\]"
    if isinstance(stream, xr.EchoStream):
        sizes = r"\[B(=3)?, I=4\]( or \[I=4\])?"
    for shape in (I + 1,), (I, B), (B * I,), (B, I + 1), (1, B, I), (I,):
        got = re.escape(str(shape))
        yield (
            np.ones(shape, x.dtype),
            None,
            ValueError,
            f"x: expected {sizes}, got {got}",
        )
    yield x.astype(other), None, TypeError, f"x: expected {name}, got {other}"
    yield x.tolist(), None, TypeError, "x: expected a NumPy array .* got list"
    yield None, None, TypeError, "x: expected a NumPy array"
    wanted = rf"out: expected \[B=3, {letter}={width}\]"
    for shape in (B, width + 1), (width + 1, B), (B, width, 1), (width,):
        yield x, np.ones(shape, x.dtype), ValueError, wanted
    yield x, np.ones((B, width), other), TypeError, f"out: expected {name}"
    yield x, [0.0], TypeError, "out: expected a NumPy array"


@of_every_stepper
def test_a_wrong_step_is_refused_and_changes_nothing(name):
    stream = STREAMS[name]()
    stream.step(step_of(stream, seed=3))
    before = stream.state
    for x, out, error, message in wrong_steps(stream):
        with pytest.raises(error, match=message):
            stream.step(x, out)
    assert same_bits(as_tuple(stream.state), as_tuple(before))


def test_the_prediction_of_an_echo_stream_may_take_the_place_of_its_input():
    stream, other = STREAMS["echo-state"](), STREAMS["echo-state"]()
    x = step_of(stream)
    expected = other.step(x)
    assert stream.step(x, x) is x
    assert same_bits(x, expected)
    assert same_bits(stream.state, other.state)


@pytest.mark.parametrize("name", ["gru", "time-depth"])
def test_a_read_only_or_overlapping_out_is_refused(name):
    layers = {"gru": xr.GRU, "time-depth": xr.TimeDepthGridLSTM}
    stream = layers[name](H, H, seed=1).stream(B)
    x = draw(B, H)
    frozen = np.zeros((B, H), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writable array"):
        stream.step(x, frozen)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        stream.step(x, x)
    memory = np.zeros(B * H + 2, np.float32)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        stream.step(memory[2:].reshape(B, H), memory[:-2].reshape(B, H))
    assert not any(part.any() for part in as_tuple(stream.state))


def test_one_row_with_a_step_that_needs_bringing_into_shape():
    layer = xr.GRU(I, H, seed=1)
    x = draw(I)
    expected = layer.stream().step(x)
    swapped = x.astype(x.dtype.newbyteorder())
    assert same_bits(layer.stream().step(swapped), expected)
    out = np.zeros(2 * H, np.float32)[::2]
    assert layer.stream().step(x, out) is out
    assert np.array_equal(out, expected)
    with pytest.raises(ValueError, match=r"x: expected \[I=4\], got \(5,\)"):
        layer.stream().step(draw(I + 1))


def test_wrong_streams_states_and_rows_are_refused():
    with pytest.raises(ValueError, match="stream: expected a layer with bidirectional"):
        xr.GRU(I, H, bidirectional=True).stream()
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1, got 0"):
        xr.GRU(I, H).stream(0)
    stream = xr.LSTM(I, H).stream(B)
    with pytest.raises(TypeError, match=r"state: expected the tuple \(h, c\)"):
        stream.state = np.zeros((1, B, H), np.float32)
    h = np.zeros((1, B, H), np.float32)
    with pytest.raises(ValueError, match=r"state\[1\]: expected \[L=1, B=3, H=5\]"):
        stream.state = (h, h[:, :2])
    with pytest.raises(ValueError, match=r"rows: expected -3\.\.2 for B=3, got 3"):
        stream.reset(rows=[0, 3])
    clockwork = make_kind("clockwork", I, H).stream(B)
    with pytest.raises(TypeError, match=r"state: expected the tuple \(h, clock\)"):
        clockwork.state = h
    with pytest.raises(ValueError, match=r"state\[1\]: expected \[B=3\], got \(2,\)"):
        clockwork.state = h, [1, 2]
    with pytest.raises(ValueError, match=r"state\[0\]: expected \[L=1, B=3, H=5\]"):
        clockwork.state = h[:, :2], [1, 2, 3]
    assert clockwork.state[1].tolist() == [0, 0, 0]
    with pytest.raises(TypeError, match="rows: expected integers or a mask"):
        stream.reset(rows=[0.5])
    with pytest.raises(ValueError, match=r"rows: expected \[B=3\], got \(2,\)"):
        stream.reset(rows=[True, False])
