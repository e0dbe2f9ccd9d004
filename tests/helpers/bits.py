"""Comparing bits as integers, and the arrays that tests compare.

`assert_same_bits` is the one comparison of agreement: no tolerance, -0.0 and +0.0
distinct, NaN equal to NaN of any payload (contract N8).
"""

import contextlib

import numpy as np

import exactrnn as xr
from exactrnn import _core, reference


def as_integers(array):
    """Return the bits of a float array, every NaN turned into one."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "ib":
        return array
    array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array.view({4: np.uint32, 8: np.uint64}[array.itemsize])


def assert_same_bits(name, actual, expected):
    """Fail unless both arrays have the same shape, dtype and bits."""
    assert actual.dtype == expected.dtype, name
    assert actual.shape == expected.shape, name
    differs = as_integers(actual) != as_integers(expected)
    assert not differs.any(), (
        f"{name}: {differs.sum()} of {differs.size} elements differ, "
        f"first at {tuple(np.argwhere(differs)[0])}"
    )


def as_tuple(state):
    """Return a state as a tuple of arrays."""
    return state if isinstance(state, tuple) else (state,)


def assert_same_results(actual, expected):
    """Compare two dicts of arrays, name by name."""
    assert actual.keys() == expected.keys()
    for name in expected:
        assert_same_bits(name, actual[name], expected[name])


def to_bytes(result):
    """Return all arrays in nested tuples as bytes."""
    if isinstance(result, np.ndarray):
        return result.tobytes()
    if isinstance(result, tuple):
        return tuple(to_bytes(part) for part in result)
    return result


def contents(subject):
    """Return all that a layer, a stream or an optimiser remembers."""
    if isinstance(subject, xr.Stream):
        return to_bytes(as_tuple(subject.state))
    if isinstance(subject, xr.train.Optimizer):
        slots = to_bytes(tuple(subject._slots.values()))
        return contents(subject._source), slots, subject.num_steps
    weights = {name: w.tobytes() for name, w in subject.state_dict().items()}
    return weights, subject._generator_state()


def random_array(rng, shape, dtype, scale=1.0):
    """Return a normal sample with a few exact zeros, negative ones among them."""
    array = (scale * rng.standard_normal(shape)).astype(dtype)
    array[rng.random(shape) < 0.02] = 0.0
    array[rng.random(shape) < 0.02] = -0.0
    return array


def random_gradient(rng, layer, B):
    """Return a gradient of a layer's final state; as a state but without a clock."""
    config = layer._spec
    L_D = config.num_layers * config.directions
    return as_state(
        random_array(rng, (L_D, B, width), layer.dtype, 0.5)
        for _, _, width in config.state_parts
    )


def random_state(rng, layer, B):
    """Return an initial state; where a clock is part of it, rows differ in theirs."""
    parts = random_gradient(rng, layer, B)
    if not layer.counts_steps:
        return parts
    return parts, rng.integers(0, 13, B)


def as_state(parts):
    """Return an iterable of arrays as the state that a layer has."""
    parts = tuple(parts)
    return parts if len(parts) > 1 else parts[0]


def random_problem(layer, T, B, lengths=None, seed=0):
    """Return x, state, dy, dstate and lengths: the keyword arguments of `run_layer`."""
    rng = np.random.default_rng(seed)
    width = layer._spec.output_size * (1 + layer.bidirectional)
    return {
        "x": random_array(rng, (T, B, layer.input_size), layer.dtype, 2.0),
        "state": random_state(rng, layer, B),
        "dy": random_array(rng, (T, B, width), layer.dtype),
        "dstate": random_gradient(rng, layer, B),
        "lengths": lengths,
    }


def rows_of(part, rows):
    """Return some rows of one array of a state: [L*D, B, width], or a clock [B]."""
    return part[..., rows, :].copy() if part.ndim > 1 else part[rows].copy()


def run_layer(layer, x, state, dy, dstate, lengths, **options):
    """Forward and backward of a layer; every result by name, kept gates included."""
    y, final, cache = layer.forward(x, state, lengths=lengths, gates=True)
    gradients = layer.backward(cache, dy, dstate, **options)
    return collect(y, final, gradients, cache.gates)


def kept_sums(config, depth):
    """Return the names of the sums in whose places a layer keeps values."""
    options = dict(config.options_of(depth))
    info = _core.cell_info(config.cell_of(depth), options)
    return [entry[0] for entry in info["sums"]] if info["keeps_sums"] else []


def run_twin(layer, x, state, dy, dstate, lengths, **options):
    """The same results as `run_layer`, by the NumPy reference."""
    y, final, cache = reference.forward(layer, x, state, lengths=lengths)
    gradients = reference.backward(layer, cache, dy, dstate, **options)
    gates = {
        f"{name}_l{depth}{'_reverse' * d}": direction.slots[name]
        for depth, directions in enumerate(cache.directions)
        for d, direction in enumerate(directions)
        for name in kept_sums(layer._spec, depth)
        if name in direction.slots
    }
    return collect(y, final, gradients, gates)


def collect(y, final, gradients, gates):
    """Return all results in one dict."""
    results = {"y": y, "dx": gradients.x}
    results |= {f"state{k}": part for k, part in enumerate(as_tuple(final))}
    results |= {f"dstate{k}": part for k, part in enumerate(as_tuple(gradients.state))}
    results |= {f"gate {name}": gate for name, gate in gates.items()}
    return results | {f"d{name}": array for name, array in gradients.weights.items()}


SPLITS = {"by units": (0, 0), "by rows": (0, 1 << 60)}
"""Least work of a call and of a step worth another thread: all threads, split so."""


@contextlib.contextmanager
def every_thread_used(split="by units"):
    """Let calls of any size use all threads they are given, split by units or rows."""
    before = _core.thread_work(SPLITS[split])
    try:
        yield
    finally:
        _core.thread_work(before)
