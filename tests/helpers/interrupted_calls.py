"""End calls of the package at one chance after another, as a signal handler would.

Run by test_interrupts.py in a process of its own, which it ends if a thread waits for
ever, with the name of something to call as argument. Kernels look after every piece of
work, and what they ask instead of signal handlers raises at the n-th time. Every ended
call must leave what it was called on, and what it was given, as it was; the same call
must then give the bits that it gives undisturbed. Prints how many calls were ended.
"""

import contextlib
import json
import sys

import numpy as np
from bits import (
    as_tuple,
    contents,
    every_thread_used,
    random_array,
    random_problem,
    to_bytes,
)
from decoders import PAPERS, draw_problem, make_decoder
from grids import make_grid, random_borders, run_kernel
from variants import make_layer

import exactrnn as xr
from exactrnn import _core

T, B, I, H = 4, 3, 5, 37
LENGTHS = np.array([2, 4, 0])
STREAM_ROWS = 640  # a step must be worth giving up the GIL: less is never ended
EVERY_CHANCE = 6  # of the first ones; then further and further apart
THREADS = (1, 2, 3)
# How work is split, among how many threads, and whether there are two directions: with
# three rows seven threads are two for the units of each, and one that has nothing.
WAYS = (
    ("by units", 1, True),
    ("by units", 2, True),
    ("by units", 7, False),
    ("by rows", 3, False),
)


class Stopped(BaseException):
    """What the handler raises: it must come out as it is."""


class Chances:
    """Counts the questions of a call, and raises at one of them."""

    def __init__(self, last=None):
        self.count, self.last = 0, last

    def __call__(self):
        self.count += 1
        if self.count == self.last:
            raise Stopped(self.last)


@contextlib.contextmanager
def asking(handler):
    """Let kernels look after every piece of work, and ask `handler`."""
    before = _core.stop_pace((0, 0), handler)
    try:
        yield handler
    finally:
        _core.stop_pace(before)


def chances_of(call):
    """Return how often a call could be ended."""
    with asking(Chances()) as chances:
        call()
    return chances.count


def positions(count):
    """Yield the chances to be taken: the first ones, some between, the last ones."""
    n = 1
    while n < count - 1:
        yield n
        n += 1 + max(0, n - EVERY_CHANCE) // 2
    yield from range(max(n - 1, count - 1, 1), count + 1)


def end_each(make, call, remembered=contents):
    """End `call(make())` at many chances; return at how many."""
    subject = make()
    before, expected = remembered(subject), to_bytes(call(subject))
    after = remembered(subject)
    subject = make()
    count = chances_of(lambda: call(subject))
    assert count > 0, "the call never asks"
    ended = 0
    for n in positions(count):
        subject = make()
        # Threads that share work differ in how often the calling one comes to look.
        with asking(Chances(n)), contextlib.suppress(Stopped):
            call(subject)
            continue
        ended += 1
        assert remembered(subject) == before, f"chance {n} of {count}"
        assert to_bytes(call(subject)) == expected, f"chance {n} of {count}"
        assert remembered(subject) == after, f"chance {n} of {count}"
    assert ended > 0
    return ended


def layer_calls(kind, bidirectional):
    """Yield (make, call) of a layer of this kind: infer, forward, backward, step."""
    options = {"num_layers": 2, "bidirectional": bidirectional, "dropout": 0.25}

    def make():
        return make_layer(kind, I, H, seed=1, **options)

    problem = random_problem(make(), T, B, lengths=LENGTHS)
    given = {name: problem[name] for name in ("x", "state", "lengths")}
    unchanged = to_bytes(tuple(map(to_bytes, as_tuple(problem["state"]))))

    def infer(layer):
        y, final = layer(**given)
        assert to_bytes(as_tuple(problem["state"])) == unchanged
        return y, as_tuple(final)

    def forward(layer):
        y, final, layer.kept = layer.forward(**given)
        return y, as_tuple(final)

    def trained():
        layer = make()
        forward(layer)
        return layer

    def backward(layer):
        gradients = layer.backward(layer.kept, problem["dy"], problem["dstate"])
        weights = tuple(gradients.weights.values())
        return gradients.x, as_tuple(gradients.state), weights

    yield make, infer
    yield make, forward
    yield trained, backward
    if not bidirectional:
        yield stream_call(make)
        yield stream_call(lambda: make_layer(kind, I, H, seed=1))


def stream_call(make):
    x = random_array(np.random.default_rng(4), (2, STREAM_ROWS, I), "float32")

    def stepped():
        stream = make().stream(STREAM_ROWS)
        stream.step(x[0])
        return stream

    return stepped, lambda stream: stream.step(x[1])


def end_layer_calls(kind):
    """End all calls of a kind of layer, with its work split in every way."""
    ended = 0
    for split, threads, bidirectional in WAYS:
        with every_thread_used(split), xr.threads(threads):
            for make, call in layer_calls(kind, bidirectional):
                ended += end_each(make, call)
    return ended


GRIDS = {
    "1d": {"sizes": (4,), "kinds": ("tanh",)},
    "2d": {"sizes": (3, 4)},
    "2d-priority": {"sizes": (3, 2), "kinds": ("lstm", "relu"), "phases": (0, 1)},
    "2d-unshared": {"sizes": (4, 3), "unshared": (0,)},
    "3d": {"sizes": (2, 3, 2), "phases": (1, 0, 2)},
    "3d-ragged": {"sizes": (3, 2, 2), "lengths": np.array([[3, 2, 2], [1, 0, 1]])},
}


def end_grid_calls(name):
    """End the kernels of a grid: packing, forward both ways, backward."""
    rows = 2 if "lengths" in GRIDS[name] else 1
    grid = make_grid(H=18, **GRIDS[name])
    rng = np.random.default_rng(1)
    borders, dends = random_borders(rng, grid, rows), random_borders(rng, grid, rows)

    def given(_):
        return to_bytes((borders, dends))

    def run(threads):
        return tuple(run_kernel(grid, borders, dends, xr.isa(), threads).values())

    with every_thread_used():
        return sum(end_each(lambda n=n: n, run, given) for n in THREADS)


def end_grid_layer_calls():
    """End the calls of a grid of time and depth, and the steps of its stream."""
    ended = 0

    def make():
        return xr.TimeDepthGridLSTM(I, H, 2, seed=1, dropout=0.25)

    rng = np.random.default_rng(3)
    x = random_array(rng, (T, B, I), "float32")

    def forward(layer):
        y, final, layer.kept = layer.forward(x, lengths=LENGTHS)
        return y, as_tuple(final)

    def trained():
        layer = make()
        layer.y, _ = forward(layer)
        return layer

    def backward(layer):
        gradients = layer.backward(layer.kept, layer.y)
        return gradients.x, tuple(gradients.weights.values())

    calls = ((make, forward), (trained, backward), stream_call(make))
    for threads in THREADS:
        with every_thread_used(), xr.threads(threads):
            ended += sum(end_each(*call) for call in calls)
    return ended


def dense_calls():
    """Yield (make, call) of the parts of training that are not a cell."""
    rng = np.random.default_rng(2)
    x, dy = (
        random_array(rng, (70, 33), "float32"),
        random_array(rng, (70, 90), "float32"),
    )
    target = rng.integers(0, 90, 70)
    scores = random_array(rng, (70, 90), "float32")

    def linear():
        return xr.train.Linear(33, 90, seed=1)

    def linear_back(module):
        y, cache = module.forward(x)
        gradients = module.backward(cache, dy)
        return y, gradients.x, tuple(gradients.weights.values())

    def embed_back(module):
        y, cache = module.forward(target)
        return y, tuple(module.backward(cache, y).weights.values())

    def weights(module):
        return {name: w.tobytes() for name, w in module.state_dict().items()}

    def nothing(subject):
        return subject

    yield linear, linear_back, weights
    yield lambda: xr.train.Embedding(90, 33, seed=1), embed_back, weights
    yield (
        lambda: None,
        lambda _: xr.train.softmax_cross_entropy(scores, target),
        nothing,
    )
    yield lambda: None, lambda _: xr.train.mean_squared_error(x, x + 1), nothing
    yield lambda: None, lambda _: (elementary(x),), nothing


def elementary(x):
    out = np.empty(x.size, x.dtype)
    _core.elementary("tanh", x.reshape(-1), out, xr.isa())
    return out


def end_dense_calls():
    ended = 0
    for threads in THREADS:
        with every_thread_used(), xr.threads(threads):
            for make, call, remembered in dense_calls():
                ended += end_each(make, call, remembered)
    return ended


def decoder_calls(setting):
    """Yield (make, call) of an attention decoder: infer, forward, backward, step."""
    sizes = {"T": 4, "B": 3, "S": 18, "I": 3, "H": 17, "M": 18, "A": 19}

    def make():
        return make_decoder(setting, sizes, "float32")

    problem = draw_problem(make(), sizes)
    names = ("x", "memory", "state", "memory_lengths", "lengths")
    given = {name: problem[name] for name in names}

    def forward(decoder):
        y, final, decoder.kept = decoder.forward(**given)
        return y, as_tuple(final)

    def trained():
        decoder = make()
        forward(decoder)
        return decoder

    def backward(decoder):
        gradients = decoder.backward(decoder.kept, problem["dy"], problem["dstate"])
        weights = tuple(gradients.weights.values())
        return gradients.x, gradients.memory, as_tuple(gradients.state), weights

    def stream():
        return make().stream(problem["memory"], problem["memory_lengths"])

    def remembered(subject):
        if isinstance(subject, xr.DecoderStream):
            return to_bytes((*as_tuple(subject.state), subject.attention))
        return contents(subject)

    yield make, lambda decoder: decoder(**given)[0], remembered
    yield make, forward, remembered
    yield trained, backward, remembered
    yield stream, lambda stream: stream.step(np.ones((3, 3), "f4")), remembered


def end_decoder_calls():
    ended = 0
    for threads in THREADS:
        with every_thread_used(), xr.threads(threads):
            for setting in (PAPERS["xu"], PAPERS["luong-general"]):
                for make, call, remembered in decoder_calls(setting):
                    ended += end_each(make, call, remembered)
    return ended


def end_echo_state_calls():
    """End `fit` and `predict` of an echo state network."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 2, 3))
    targets = rng.standard_normal((60, 2, 1))

    def make():
        return xr.EchoState(3, 20, dtype="float64", seed=1)

    def fit(network):
        return tuple(network.fit(x, targets).state_dict().values())

    def fitted():
        return make().fit(x, targets)

    def remembered(network):
        return {name: w.tobytes() for name, w in network.state_dict().items()}

    calls = ((make, fit), (fitted, lambda network: network.predict(x)))
    return sum(end_each(*call, remembered) for call in calls)


def end_calls(name):
    group, _, which = name.partition(":")
    if group == "layer":
        return end_layer_calls(which)
    if group == "grid":
        return end_grid_calls(which)
    others = {
        "attention": end_decoder_calls,
        "dense": end_dense_calls,
        "echo_state": end_echo_state_calls,
        "time_depth": end_grid_layer_calls,
    }
    return others[group]()


if __name__ == "__main__":
    print(json.dumps(end_calls(sys.argv[1])))
