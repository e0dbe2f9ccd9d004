"""Optimisers as objects: what they are made from, copies, steps that are whole.

Their formulas are in test_train_parts.py, their bits in test_dense_bits.py.
"""

import copy
import gc
import pickle
import signal
import threading

import numpy as np
import pytest
from arrays import draw, same_bits
from layer_kinds import KINDS, make_kind

import exactrnn as xr
from exactrnn.train import SGD, Adam, Embedding, LanguageModel, Linear

I, H = 3, 4

RULES = {
    "sgd": lambda source: SGD(source, lr=0.1),
    "momentum": lambda source: SGD(source, lr=0.1, momentum=0.9),
    "adam": lambda source: Adam(source, lr=0.1),
}
MODULES = {
    "layer": lambda: xr.LSTM(I, H, seed=1),
    "grid": lambda: xr.GridLSTM(I, H, sizes=(None, 2), seed=1),
    "cell": lambda: xr.GRUCell(I, H, seed=1),
    "linear": lambda: Linear(I, H, seed=1),
    "embedding": lambda: Embedding(I, H, seed=1),
    "language model": lambda: LanguageModel("abc", hidden_size=H, seed=1),
}
of_every_rule = pytest.mark.parametrize("rule", RULES)
of_every_module = pytest.mark.parametrize("name", MODULES)


class Model:
    """A model of a user: two modules under names of its own."""

    def __init__(self):
        self.layer, self.readout = xr.GRU(I, H, seed=1), Linear(H, 2, seed=1)

    def parameters(self):
        first, second = self.layer.parameters(), self.readout.parameters()
        return {f"layer.{n}": a for n, a in first.items()} | {
            f"readout.{n}": a for n, a in second.items()
        }

    def state_dict(self):
        return {name: array.copy() for name, array in self.parameters().items()}


SOURCES = {**MODULES, "user's model": Model}


def gradients_for(source, seed=0):
    return {
        name: draw(*array.shape, dtype=array.dtype, seed=seed + k)
        for k, (name, array) in enumerate(source.state_dict().items())
    }


def trajectory(make_source, rule, steps=3):
    """Return the weights before each step and after the last."""
    source = make_source()
    optimizer, found = RULES[rule](source), [source.state_dict()]
    for seed in range(steps):
        optimizer.step(gradients_for(source, seed))
        found.append(source.state_dict())
    return found


# Sources


@of_every_rule
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_its_parameters_and_own_arrays_are_trained_alike(name, rule):
    source, arrays = SOURCES[name](), SOURCES[name]()
    own = {n: array.copy() for n, array in source.state_dict().items()}
    optimizers = [RULES[rule](s) for s in (source, arrays.parameters(), own)]
    for weights in trajectory(SOURCES[name], rule)[1:]:
        for optimizer in optimizers:
            seed = optimizer.num_steps
            optimizer.step(gradients_for(source, seed))
        for found in (source.state_dict(), arrays.state_dict(), own):
            assert same_bits(found, weights)
    assert not same_bits(own, SOURCES[name]().state_dict())


class Snapshots:
    """What somebody might write who does not know what `state_dict` gives."""

    def __init__(self, module):
        self.module = module

    def parameters(self):
        return self.module.state_dict()


class FreshCopies(Snapshots):
    def parameters(self):
        return {name: a.copy() for name, a in self.module.state_dict().items()}


COPIES = {
    "state_dict": lambda module: module.state_dict(),
    "dict of it": lambda module: {**module.state_dict()},
    "views of it": lambda module: {n: a[...] for n, a in module.state_dict().items()},
    "memoryviews of it": lambda module: {
        n: np.asarray(memoryview(a)) for n, a in module.state_dict().items()
    },
    "part of it": lambda module: {
        **module.parameters(),
        "copy": next(iter(module.state_dict().values())),
    },
    "parameters that are copies": Snapshots,
    "parameters that are new": FreshCopies,
}


@of_every_rule
@of_every_module
@pytest.mark.parametrize("kind", COPIES)
def test_copies_that_no_layer_uses_are_refused(name, rule, kind):
    with pytest.raises(ValueError, match="parameters: expected"):
        RULES[rule](COPIES[kind](MODULES[name]()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_dict_of_every_layer_is_refused(kind):
    layer = make_kind(kind, I, 6)
    with pytest.raises(ValueError, match="got copies that state_dict"):
        Adam(layer.state_dict())
    Adam({name: array.copy() for name, array in layer.state_dict().items()})


def test_an_echo_state_network_is_no_source():
    network = xr.EchoState(I, H, density=1.0, seed=1)
    with pytest.raises(TypeError, match="parameters: expected a layer"):
        Adam(network)
    with pytest.raises(ValueError, match="got copies that state_dict"):
        Adam(network.state_dict())


@of_every_rule
@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (None, TypeError, "parameters: expected a layer"),
        ([np.zeros(3)], TypeError, "parameters: expected a layer"),
        (np.zeros(3), TypeError, "parameters: expected a layer"),
        ({"w": [1.0]}, TypeError, "w: expected float32 or float64, got list"),
        ({"w": np.zeros(3, int)}, TypeError, "w: expected float32 or float64"),
        ({"w": np.zeros(3, ">f8")}, TypeError, "w: expected float32 or float64"),
        ({"w": np.ma.zeros(3)}, TypeError, "w: expected float32 or float64"),
    ],
)
def test_what_is_no_source_is_named(rule, source, error, message):
    with pytest.raises(error, match=message):
        RULES[rule](source)


@of_every_rule
def test_a_torch_module_is_no_source(rule):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="parameters: expected parameters\\(\\) to"):
        RULES[rule](torch.nn.Linear(2, 2))


@of_every_rule
def test_parameters_that_share_memory_are_refused(rule):
    array = np.zeros(10)
    for second in (array, array[5:], array[::-1][:5][::-1]):
        with pytest.raises(ValueError, match="memory that a and b share"):
            RULES[rule]({"a": array, "b": second})
    RULES[rule]({"a": array[:5], "b": array[5:]})


@of_every_rule
@pytest.mark.parametrize("name", SOURCES)
def test_gradients_may_be_the_parameters(name, rule):
    source, twin = SOURCES[name](), SOURCES[name]()
    optimizer, other = RULES[rule](source), RULES[rule](twin)
    for _ in range(2):
        other.step(twin.state_dict())
        optimizer.step(source.parameters())
        assert same_bits(source.state_dict(), twin.state_dict())


@of_every_rule
def test_gradients_may_be_other_parameters(rule):
    arrays = {"a": draw(9), "b": draw(9, seed=1)}
    swapped = {"a": arrays["b"], "b": arrays["a"]}
    twin = {name: array.copy() for name, array in arrays.items()}
    RULES[rule](twin).step({"a": arrays["b"].copy(), "b": arrays["a"].copy()})
    RULES[rule](arrays).step(swapped)
    assert same_bits(arrays, twin)


# What a step is given


def result_of_backward(name):
    module = MODULES[name]()
    if name == "embedding":
        y, cache = module.forward([0, 2])
    elif name == "linear":
        y, cache = module.forward(draw(2, I))
    elif name == "grid":
        ends, cache = module.forward(draw(2, 2, I))
        return module, module.backward(cache, ends)
    else:
        y, _, cache = module.forward(draw(2, 2, I))
    return module, module.backward(cache, draw(*y.shape, seed=1))


@of_every_rule
@pytest.mark.parametrize("name", ["layer", "grid", "linear", "embedding"])
def test_what_backward_returns_is_taken_as_it_is(name, rule):
    first, grads = result_of_backward(name)
    second, same = result_of_backward(name)
    assert xr.train.global_norm(grads) == xr.train.global_norm(same.weights) > 0
    limit = xr.train.global_norm(grads) / 2
    assert xr.train.clip_global_norm(grads, limit) == 2 * limit
    xr.train.clip_global_norm(same.weights, limit)
    assert same_bits(grads.weights, same.weights)
    RULES[rule](first).step(grads)
    RULES[rule](second).step(same.weights)
    assert same_bits(first.state_dict(), second.state_dict())
    assert not same_bits(first.state_dict(), MODULES[name]().state_dict())


@pytest.mark.parametrize("bad", [None, [1.0], np.zeros(3), (1, 2), "weights"])
def test_what_is_no_gradient_is_named(bad):
    optimizer = Adam(xr.GRU(I, H))
    for use in (
        optimizer.step,
        xr.train.global_norm,
        lambda g: xr.train.clip_global_norm(g, 1.0),
    ):
        with pytest.raises(TypeError, match="gradients: expected a mapping of names"):
            use(bad)


def test_clipping_scales_all_or_none():
    good, fixed = np.full(3, 4.0), np.full(3, 4.0)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="b: expected a writable array"):
        xr.train.clip_global_norm({"a": good, "b": fixed}, 1.0)
    assert (good == 4.0).all()
    assert xr.train.global_norm({"a": good, "b": fixed}) > 1


@of_every_rule
def test_attributes_that_were_set_wrong_stop_the_step(rule):
    for name, bad in (
        ("lr", -1.0),
        ("lr", np.nan),
        ("lr", "fast"),
        ("betas", (1.0, 0.9)),
        ("betas", 0.9),
        ("eps", 0.0),
        ("momentum", 2.0),
    ):
        layer = xr.GRU(I, H, seed=1)
        optimizer = RULES[rule](layer)
        if not hasattr(optimizer, name):
            continue
        setattr(optimizer, name, bad)
        with pytest.raises((ValueError, TypeError), match=name):
            optimizer.step(gradients_for(layer))
        assert optimizer.num_steps == 0
        assert same_bits(layer.state_dict(), xr.GRU(I, H, seed=1).state_dict())


def test_momentum_cannot_be_turned_on_later():
    layer = xr.GRU(I, H, seed=1)
    optimizer = SGD(layer, lr=0.1)
    optimizer.momentum = 0.9
    with pytest.raises(ValueError, match="momentum: expected 0"):
        optimizer.step(gradients_for(layer))


def test_messages_are_short():
    layer = xr.GRU(I, H)
    many = {f"weight {k}" * 1000: np.zeros(3) for k in range(10_000)}
    for use in (Adam(layer).step, Linear(2, 2).load_state_dict):
        with pytest.raises(ValueError, match=r"\d+ more") as caught:
            use(many)
        assert len(str(caught.value)) < 2000


# Copies


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
}
TOGETHER = {"deepcopy": WAYS["deepcopy"], "pickle": WAYS["pickle"]}
KINDS_OF_SOURCE = {
    "itself": lambda source: source,
    "parameters": lambda source: source.parameters(),
    "mixed": lambda source: {"own": np.zeros(2), **source.parameters()},
}


@of_every_rule
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("way", TOGETHER)
@pytest.mark.parametrize("turned", [False, True])
def test_copied_together_they_stay_together(name, rule, way, turned):
    expected = trajectory(SOURCES[name], rule)
    source = SOURCES[name]()
    optimizer = RULES[rule](source)
    optimizer.step(gradients_for(source, 0))
    if turned:
        other, twin = TOGETHER[way]((optimizer, source))
    else:
        twin, other = TOGETHER[way]((source, optimizer))
    assert other.num_steps == 1
    for seed in (1, 2):
        other.step(gradients_for(source, seed))
        assert same_bits(twin.state_dict(), expected[seed + 1])
        assert same_bits(source.state_dict(), expected[1])
    for seed in (1, 2):
        optimizer.step(gradients_for(source, seed))
        assert same_bits(source.state_dict(), expected[seed + 1])


@of_every_rule
@pytest.mark.parametrize("way", TOGETHER)
def test_copied_alone_an_optimiser_brings_its_layer_along(rule, way):
    source = xr.LSTM(I, H, seed=1)
    other = TOGETHER[way](RULES[rule](source))
    other.step(gradients_for(source))
    assert same_bits(source.state_dict(), xr.LSTM(I, H, seed=1).state_dict())
    expected = trajectory(MODULES["layer"], rule, 1)[1]
    assert same_bits(other._source.state_dict(), expected)


@of_every_rule
@of_every_module
@pytest.mark.parametrize("way", TOGETHER)
@pytest.mark.parametrize("kind", ["parameters", "mixed"])
def test_an_optimiser_of_handed_out_arrays_refuses_to_be_copied(name, rule, way, kind):
    source = MODULES[name]()
    optimizer = RULES[rule](KINDS_OF_SOURCE[kind](source))
    for thing in (optimizer, (source, optimizer)):
        with pytest.raises(TypeError, match="parameters: expected the layer itself"):
            TOGETHER[way](thing)


@of_every_rule
@of_every_module
@pytest.mark.parametrize("kind", KINDS_OF_SOURCE)
def test_a_shallow_copy_trains_the_same_layer_with_a_state_of_its_own(name, rule, kind):
    source = MODULES[name]()
    optimizer = RULES[rule](KINDS_OF_SOURCE[kind](source))
    grads = [gradients_for(source, seed) for seed in range(3)]
    if kind == "mixed":
        grads = [{"own": np.ones(2), **g} for g in grads]
    optimizer.step(grads[0])
    before = source.state_dict()
    other = copy.copy(optimizer)
    other.step(grads[1])
    assert (optimizer.num_steps, other.num_steps) == (1, 2)
    after = source.state_dict()
    assert not same_bits(before, after)
    source.load_state_dict(before)
    optimizer.step(grads[1])  # as if the other had not been
    assert same_bits(source.state_dict(), after)


@of_every_rule
@pytest.mark.parametrize("way", TOGETHER)
def test_own_arrays_stay_together_with_their_optimiser(rule, way):
    arrays = {"w": draw(5)}
    optimizer = RULES[rule](arrays)
    optimizer.step({"w": draw(5, seed=1)})
    twin, other = TOGETHER[way]((arrays, optimizer))
    optimizer.step({"w": draw(5, seed=2)})
    assert not same_bits(twin, arrays)
    other.step({"w": draw(5, seed=2)})
    assert same_bits(twin, arrays)


# Whole or not at all


class StopError(Exception):
    """Raised by a signal, as KeyboardInterrupt is."""


# A signal may come while Python ends a generator that another one has stopped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@of_every_rule
@pytest.mark.parametrize("handed_out", [False, True])
def test_a_step_that_a_signal_stops_is_whole_or_not_at_all(rule, handed_out):
    def make():
        return xr.LSTM(8, 64, 3, seed=1)

    def stop(*_):
        raise StopError

    steps = 60
    grads = gradients_for(make())
    twin = make()
    reference, expected = RULES[rule](twin), [twin.state_dict()]
    for _ in range(steps):
        reference.step(grads)
        expected.append(twin.state_dict())
    layer = make()
    optimizer = RULES[rule](layer.parameters() if handed_out else layer)
    before, stopped = signal.signal(signal.SIGALRM, stop), 0
    try:
        while optimizer.num_steps < steps:
            done = optimizer.num_steps
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + stopped % 60))
                optimizer.step(grads)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except StopError:
                stopped += 1
            assert optimizer.num_steps - done in (0, 1)
            assert same_bits(layer.state_dict(), expected[optimizer.num_steps])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.collect()  # what pytest would report with the next test
    assert stopped > 5
    for mine, theirs in zip(
        optimizer._slots.values(), reference._slots.values(), strict=True
    ):
        assert same_bits(mine, theirs)


TOGGLED = {
    "layer": (lambda: xr.LSTM(64, 256, seed=1), draw(3, 2, 64)),
    "layers": (lambda: xr.GRU(64, 128, 3, seed=1), draw(3, 2, 64)),
    "grid": (lambda: xr.TimeDepthGridLSTM(64, 128, seed=1), draw(3, 2, 64)),
    "linear": (lambda: Linear(400, 300, seed=1), draw(3, 400)),
    "embedding": (lambda: Embedding(300, 400, seed=1), np.arange(300)),
}


@pytest.mark.parametrize("handed_out", [False, True])
@pytest.mark.parametrize("name", TOGGLED)
def test_a_call_beside_a_step_sees_old_weights_or_new_ones(name, handed_out):
    make, x = TOGGLED[name]
    layer = make()

    def output():
        result = layer(x)
        return (result[0] if isinstance(result, tuple) else result).tobytes()

    def jump(size):
        return {n: np.full(a.shape, size, a.dtype) for n, a in zeros.items()}

    zeros = {n: np.zeros_like(a) for n, a in layer.state_dict().items()}
    layer.load_state_dict(zeros)
    optimizer = SGD(layer.parameters() if handed_out else layer, lr=1.0)
    known = {output()}
    optimizer.step(jump(-0.5))
    known.add(output())
    optimizer.step(jump(0.5))
    assert len(known) == 2
    seen, ended = set(), threading.Event()

    def call():
        while not ended.is_set():
            seen.add(output())

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    up, down = jump(-0.5), jump(0.5)
    for _ in range(60):
        optimizer.step(up)
        optimizer.step(down)
    ended.set()
    for caller in callers:
        caller.join()
    assert seen <= known
    assert optimizer.num_steps == 122


def test_steps_in_two_threads_are_steps_one_after_the_other():
    layer = xr.GRU(16, 64, seed=1)
    layer.load_state_dict({n: np.zeros_like(a) for n, a in layer.state_dict().items()})
    optimizer = SGD(layer, lr=1.0)
    ones = {n: np.ones_like(a) for n, a in layer.state_dict().items()}
    workers = [
        threading.Thread(target=lambda: [optimizer.step(ones) for _ in range(100)])
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert optimizer.num_steps == 300
    assert all((array == -300).all() for array in layer.state_dict().values())
