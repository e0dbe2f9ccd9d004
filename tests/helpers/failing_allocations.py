"""Run calls of the package again and again, each time with another allocation failing.

Run by test_allocations.py, with tests/c/failing_malloc.c preloaded and a kind of layer
as argument. Prints, for each call, how many of its allocations raised MemoryError.
Every one of them must leave what it was called on as it was, and the same call must
then give the bits that it gives without a failure. A further round must leave no more
memory in use than the one before.
"""

import ctypes
import gc
import json
import sys

import numpy as np
from bits import as_tuple, contents, random_array, random_problem, to_bytes
from variants import make_layer

import exactrnn as xr

T, B, I, H = 20, 4, 16, 64  # kept for backward: 100 kB and more
LEAST_LEAK = 16384
ROUNDS = 3
"""Python's own tables grow once at some time; what is lost is lost in each round."""
# Some of NumPy's functions fail without saying why, and Python then says this.
NUMPY_FORGETS = "returned NULL without setting an exception"
process = ctypes.CDLL(None)
process.fail_allocation.argtypes = [ctypes.c_long]


class InUse(ctypes.Structure):
    """What mallinfo2 returns, of which two members are bytes in use."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "mapped", "usmblks"),
            *("fsmblks", "allocated", "fordblks", "keepcost"),
        )
    ]


def bytes_in_use():
    gc.collect()
    process.mallinfo2.restype = InUse
    info = process.mallinfo2()
    return info.mapped + info.allocated


def fail_each(make, run):
    """Return how many allocations of `run(make())` end in a MemoryError."""
    subject = make()
    expected = to_bytes(run(subject)), contents(subject)
    raised, number = 0, 0
    while True:
        number += 1
        subject = make()
        before = contents(subject)
        failed = False
        process.fail_allocation(number)
        try:
            result = run(subject)
        except MemoryError:
            failed = True
        except SystemError as error:
            if NUMPY_FORGETS not in str(error):
                raise
            failed = True
        finally:
            done = process.is_armed()
            process.fail_allocation(0)
        if failed:
            raised += 1
            assert contents(subject) == before, f"allocation {number}"
            result = run(subject)
        assert (to_bytes(result), contents(subject)) == expected, f"allocation {number}"
        if done:
            return raised


def new_layer(name):
    if name == "grid":
        return xr.GridLSTM(I, H, sizes=(None, 2), shared=(True, False), seed=1)
    return make_layer(name, I, H, seed=1, num_layers=2, dropout=0.25)


def layer_calls(layer):
    """Return (forward, backward) of a recurrent layer, on random numbers."""
    problem = random_problem(layer, T, B, lengths=np.array([T, 3, 0, 7]))

    def forward(layer):
        options = {"state": problem["state"], "lengths": problem["lengths"]}
        y, final, cache = layer.forward(problem["x"], **options)
        return (y, as_tuple(final)), cache

    def backward(layer, cache):
        gradients = layer.backward(cache, problem["dy"], problem["dstate"])
        weights = tuple(gradients.weights.values())
        return gradients.x, as_tuple(gradients.state), weights

    return forward, backward


def grid_calls(layer):
    """Return (forward, backward) of the grid of `new_layer`."""
    x = random_array(np.random.default_rng(3), (T, B, I), "float32")

    def backward(layer, cache):
        dends = layer(x)
        gradients = layer.backward(cache, dends)
        return gradients.x, tuple(gradients.weights.values())

    return lambda layer: layer.forward(x), backward


def calls_of(name):
    """Yield (word, make, run) of everything to be tried on a kind of layer."""
    layer = new_layer(name)
    x = random_array(np.random.default_rng(4), (T, B, I), "float32")
    forward, backward = (grid_calls if name == "grid" else layer_calls)(layer)
    loaded = {key: value + 1 for key, value in layer.state_dict().items()}

    def make():
        return new_layer(name)

    def trained():
        layer = make()
        layer.kept = forward(layer)[1]
        return layer

    def stepped():
        stream = make().stream(B)
        stream.step(x[0])
        return stream

    def new_optimizer():
        return xr.train.Adam(make(), lr=0.1)

    yield "call", make, lambda layer: layer(x)
    yield "forward", make, lambda layer: forward(layer)[0]
    yield "backward", trained, lambda layer: backward(layer, layer.kept)
    yield "load", make, lambda layer: layer.load_state_dict(loaded)
    yield "train", new_optimizer, lambda optimizer: optimizer.step(loaded)
    if name != "grid":
        yield "stream", make, lambda layer: layer.stream(B).step(x[0])
        yield "step", stepped, lambda stream: stream.step(x[1])


def growth_of(make, run):
    """Return how many bytes more are in use after a round than before."""
    before = bytes_in_use()
    fail_each(make, run)
    return bytes_in_use() - before


def main():
    xr.set_num_threads(1)  # OpenMP ends a process that has no memory for its team
    counts = {}
    for word, make, run in calls_of(sys.argv[1]):
        counts[word] = fail_each(make, run)
        grown = [growth_of(make, run)]
        while grown[-1] >= LEAST_LEAK and len(grown) < ROUNDS:
            grown.append(growth_of(make, run))
        assert grown[-1] < LEAST_LEAK, f"{word}: {grown} bytes are lost"
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
