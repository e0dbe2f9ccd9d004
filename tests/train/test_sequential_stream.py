"""A chain step by step: the bits of the whole, sessions, states, copies."""

import copy
import pickle

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.train import (
    Composite,
    Dropout,
    Embedding,
    Last,
    Linear,
    ModuleGradients,
    Sequential,
)

T, B, I, H = 6, 4, 3, 5
X = draw(T, B, I)
WORDS = np.random.default_rng(0).integers(0, 9, (T, B))


class Shift:
    """A part of a user: it reads sequences [T, B, K] alone."""

    def __call__(self, x):
        assert np.asarray(x).ndim == 3, np.shape(x)
        return x + np.float32(0.5)

    def forward(self, x):
        return self(x), None

    def backward(self, cache, dy):  # noqa: ARG002
        return ModuleGradients(dy, {})


class Twice(Composite):
    """A composite of a user, without a state."""

    def __init__(self):
        self.inner = Linear(H, H, seed=1)

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, cache, dy):
        return self.inner.backward(cache, dy)


CHAINS = {
    "plain": lambda: Sequential(xr.LSTM(I, H, 2, dropout=0.5), Linear(H, 2), seed=1),
    "symbols": lambda: Sequential(
        Embedding(9, I, dropout=0.5), xr.GRU(I, H), Linear(H, 9), seed=1
    ),
    "deep": lambda: Sequential(
        Sequential(Dropout(0.5), Linear(I, H)),
        Sequential(xr.GRU(H, H), Shift(), xr.ClockworkRNN(H, 6, periods=(1, 2))),
        Sequential(Linear(6, H), Twice()),
        xr.Layer(xr.cells.MGU, H, H),
        seed=1,
    ),
    "batch first": lambda: Sequential(
        Shift(), xr.GRU(I, H, batch_first=True), Shift(), seed=1
    ),
}


def input_of(name):
    return WORDS if name == "symbols" else X


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rows", [1, B])
def test_steps_have_the_bits_of_the_whole(name, rows):
    model, x = CHAINS[name](), input_of(name)[:, :rows]
    whole, state = model(x.swapaxes(0, 1) if name == "batch first" else x)
    stream = model.stream(rows)
    steps = np.stack([stream.step(x_t) for x_t in x])
    assert same_bits(steps, whole.swapaxes(0, 1) if name == "batch first" else whole)
    assert repr(stream.state) == repr(state)
    stream.reset()
    assert same_bits(stream.step(x[0]), steps[0])


def test_behind_last_a_step_is_the_answer_so_far():
    model = Sequential(xr.LSTM(I, H), Last(), Linear(H, 2), seed=1)
    stream = model.stream(B)
    for t in range(T):
        assert same_bits(stream.step(X[t]), model(X[: t + 1])[0])


def test_sessions_come_pause_and_go():
    model = CHAINS["deep"]()
    whole, _ = model(X)
    stream = model.stream(2)
    stream.leave(0)
    assert stream.rows.tolist() == [1]
    assert stream.join(3).tolist() == [0, 2, 3]
    stream.reset()
    assert stream.batch_size >= B
    found = np.empty_like(whole)
    for t in range(T):
        for rows in ([2, 0], [3], [1]):
            found[t, rows] = stream.step(X[t, rows], rows=rows)
    assert same_bits(found, whole)
    other = model.stream(1)
    other.set_state(0, stream.state_of(2))
    assert same_bits(other.step(X[:1, 0]), stream.step(X[:1, 0], rows=[2]))


def test_a_state_is_set_in_all_parts_or_in_none():
    model = CHAINS["deep"]()
    stream, other = model.stream(B), model.stream(B)
    for x in X[:3]:
        stream.step(x)
    other.state = stream.state
    assert same_bits(other.step(X[3]), stream.step(X[3]))
    before = repr(other.state)
    zeros = model.stream(B).state
    for wrong in ((zeros[0], np.zeros((1, B, 9))), zeros[:1], None, 5):
        with pytest.raises((TypeError, ValueError)):
            other.state = wrong
        with pytest.raises((TypeError, ValueError)):
            other.set_state(range(B), wrong)
        assert repr(other.state) == before


@pytest.mark.parametrize(
    "make_copy", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies_go_on_by_themselves(make_copy):
    stream = CHAINS["deep"]().stream(B)
    stream.step(X[0])
    twin = make_copy(stream)
    assert repr(twin) == repr(stream)
    expected = stream.step(X[1])
    stream.step(X[2])
    assert same_bits(twin.step(X[1]), expected)


def test_a_change_of_weights_acts_from_the_next_step_on():
    model = CHAINS["plain"]()
    stream = model.stream(B)
    stream.step(X[0])
    state = stream.state
    model.load_state_dict({n: 2 * w for n, w in model.state_dict().items()})
    expected, _ = model(X[1:2], state)
    assert same_bits(stream.step(X[1]), expected[0])


STREAM = CHAINS["plain"]().stream(2)


class NoStream(Shift):
    def forward(self, x, state=None):
        return x, state, None


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: Sequential(Linear(I, H)).stream(),
            TypeError,
            "a part with a state",
        ),
        (lambda: Sequential(NoStream()).stream(), TypeError, r"parts\[0\]: .* stream"),
        (
            lambda: Sequential(xr.GRU(I, H, bidirectional=True)).stream(),
            ValueError,
            "bidirectional",
        ),
        (lambda: CHAINS["plain"]().stream(0), ValueError, "batch_size"),
        (lambda: CHAINS["plain"]().stream(2).step(X[0]), ValueError, "x: expected"),
        (
            lambda: CHAINS["plain"]().stream(2).step(X[0, :1], rows=[2]),
            ValueError,
            "row",
        ),
        (lambda: CHAINS["deep"]().stream(2).join(0), ValueError, "n: expected"),
    ],
)
def test_what_does_not_fit_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
