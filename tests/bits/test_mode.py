"""NumPy's own arithmetic is the library's in every mode of the caller: contract N1.

`np.errstate(all="raise")` stops nothing half-way, rounding modes and flush-to-zero
change nothing, and both are as they were afterwards.
"""

import functools

import numpy as np
import pytest
from arrays import draw, same_bits
from float_mode import CONTROL_BITS, MODES, FloatingPointEnvironment, needs_mxcsr
from test_init import LAYERS, rules_of

import exactrnn as xr
from exactrnn import train
from exactrnn.train.sampling import pick

TINY = np.float32(3e-39)


@functools.cache
def drawn(shape, seed, factor):
    values = draw(*shape, seed=seed)
    if factor is not None:
        return values * np.float32(factor)
    values.reshape(-1)[::5] *= TINY
    values.reshape(-1)[1::7] *= np.float32(1e30)
    return values


def numbers(*shape, seed=0, factor=None):
    """Return numbers times a factor, or some that under- and overflow in products.

    They are drawn once: not in the mode that is tried.
    """
    return drawn(shape, seed, factor).copy()


def weights():
    return {"a": numbers(40), "b": numbers(6, 5, seed=1)}


def train_some(make):
    parameters, gradients = weights(), {"a": numbers(40, seed=2), "b": numbers(6, 5)}
    parameters["wide"] = np.arange(9.0)
    gradients["wide"] = np.arange(9.0)[::-1] + 0.25
    gradients["a"][0], gradients["b"][0, 0] = np.nan, np.inf
    optimizer = make(parameters)
    for _ in range(3):
        optimizer.step(gradients)
    return list(parameters.values())


def clip():
    gradients = {"a": numbers(40, factor=1e-20), "b": numbers(9, factor=1)}
    norm = train.clip_global_norm(gradients, 0.3)
    huge = train.global_norm({"a": numbers(40)})
    return [np.array([norm, huge]), *gradients.values()]


def losses():
    loss, dy = train.mean_squared_error(numbers(30), numbers(30, seed=1))
    other, dlogits = train.softmax_cross_entropy(numbers(7, 5), [0, 1, 2, 3, 4, -1, 0])
    return [np.array([loss, other]), dy, dlogits]


def dropped(make):
    layer = make(num_layers=3, dropout=0.3, seed=1)
    x, width = numbers(6, 2, layer.input_size), 4 * (1 + layer.bidirectional)
    dy = numbers(6, 2, width, seed=3)
    x[4, 0, 0] = dy[5, 1] = np.inf  # times a mask's 0: NumPy calls it invalid
    y, _, cache = layer.forward(x)
    grads = layer.backward(cache, dy)
    return [y, *cache.masks, grads.x, *grads.weights.values()]


def reference():
    layer = xr.LSTM(3, 4, 2, seed=1)
    y, _, cache = xr.reference.forward(layer, numbers(5, 2, 3))
    return [y, xr.reference.backward(layer, cache, numbers(5, 2, 4)).x]


def echo_state():
    network = xr.EchoState(2, 20, ridge=1e-3, leak=0.3, bias_scaling=0.1, seed=1)
    x = numbers(30, 3, 2, factor=1)
    network.fit(x, x)
    y, state = network.predict(x)
    run = network.run(3, state, y[-1])
    return [*network.state_dict().values(), y, *run[:1]]


def language_model():
    text = "to be or not to be " * 9
    model = train.LanguageModel("".join(sorted(set(text))), hidden_size=9, seed=1)
    bits = model.fit(text, steps=3, batch_size=2, length=5, lr=0.01)
    written = "".join(model.sample("to", length=20, temperature=0.7))
    found = np.array([*bits, model.evaluate(text), *map(ord, written)])
    return [found, *model.state_dict().values()]


def modules():
    linear, embedding = train.Linear(5, 4, seed=1), train.Embedding(6, 4, seed=1)
    y, cache = linear.forward(numbers(7, 5))
    rows, seen = embedding.forward([1, 5, 5, 0])
    found = [linear.backward(cache, numbers(7, 4)).x, y, rows]
    found += [embedding.backward(seen, numbers(4, 4)).weights["weight"]]
    return [*found, linear.weight.copy(), linear.bias.copy()]


def rounded_weights():
    layer = train.Linear(4, 1, bias=False)
    weight = np.array([[1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e-40, 0.75 * 2.0**-149]])
    layer.load_state_dict({"weight": weight}, dtype="float32")
    return [*layer.state_dict().values()]


def pictures():
    layer = xr.RNN(3, 4, seed=1)
    return [np.asarray(xr.plot.gradient_norms(layer, numbers(6, 2, 3), [5]))]


def first_weights(kind, rule):
    return list(LAYERS[kind](init=rule).state_dict().values())


CALCULATIONS = {
    "sgd": lambda: train_some(lambda p: train.SGD(p, 0.1)),
    "momentum": lambda: train_some(lambda p: train.SGD(p, 0.1, momentum=0.9)),
    "adam": lambda: train_some(lambda p: train.Adam(p, 0.1)),
    "clip": clip,
    "losses": losses,
    "dropout lstm": lambda: dropped(lambda **o: xr.LSTM(3, 4, **o)),
    "dropout both ways": lambda: dropped(
        lambda **o: xr.GRU(3, 4, bidirectional=True, **o)
    ),
    "dropout relu": lambda: dropped(lambda **o: xr.RNN(3, 4, nonlinearity="relu", **o)),
    "dropout grid": lambda: dropped(lambda **o: xr.TimeDepthGridLSTM(3, 4, **o)),
    "reference": reference,
    "echo state": echo_state,
    "language model": language_model,
    "modules": modules,
    "rounded weights": rounded_weights,
    "pick": lambda: [np.array([pick(numbers(9), 0.5, 2**k) for k in range(0, 64, 7)])],
    "learned leak": lambda: dropped(
        lambda **o: xr.LeakyRNN(3, 4, leak=0.1, learn_leak=True, **o)
    ),
    **{
        f"first weights {kind} {rule}": lambda kind=kind, rule=rule: first_weights(
            kind, rule
        )
        for kind in ("rnn", "lstm", "gru", "leaky", "clockwork", "depth-gated")
        for rule in rules_of(kind)
    },
}


@pytest.mark.parametrize("name", CALCULATIONS)
def test_numpys_error_mode_neither_stops_nor_changes_anything(name):
    expected = CALCULATIONS[name]()
    with np.errstate(all="raise"):
        before = np.geterr()
        assert same_bits(CALCULATIONS[name](), expected)
        assert np.geterr() == before


@needs_mxcsr
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CALCULATIONS)
def test_the_callers_mode_changes_nothing_and_is_found_again(name, mode):
    environment = FloatingPointEnvironment()
    expected = CALCULATIONS[name]()
    with environment.changed(MODES[mode]):
        found = CALCULATIONS[name]()
        after = environment.get()
    assert after & CONTROL_BITS == (environment.get() | MODES[mode]) & CONTROL_BITS
    assert same_bits(found, expected)


@needs_mxcsr
def test_the_mode_comes_back_when_a_step_raises():
    environment = FloatingPointEnvironment()
    optimizer = train.Adam(weights())
    before = environment.get()
    with environment.changed(MODES["ftz"]):
        with pytest.raises(ValueError, match="missing"):
            optimizer.step({})
        assert environment.get() & MODES["ftz"]
    assert environment.get() & CONTROL_BITS == before & CONTROL_BITS
