"""What the fuzzer calls: every public class, with good arguments for each of its calls.

A `Case` is one call ready to be made: `make` runs it with the arguments by name, and
`memory` shows what must be as before if it raises.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import fuzzed_attention
import fuzzed_training
import numpy as np
from layer_kinds import CELL_CLASSES, KINDS, draw_gradient, draw_state, make_kind
from variants import options_of

import exactrnn as xr
from exactrnn import layers, train

T, B, I, H = 4, 3, 2, 6


def nothing():
    """Show no memory: the call has none."""
    return ()


@dataclass
class Case:
    """One call: its arguments by name, how it is made, what it may not change."""

    arguments: dict
    make: Callable
    memory: Callable = nothing
    words: tuple = field(default=())
    """Further names that an error may give instead of the argument's."""


class Source:
    """Good arrays of one example."""

    def __init__(self, seed, dtype):
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype

    def __call__(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def integers(self, low, high, *shape):
        return self.rng.integers(low, high, shape)

    def coin(self):
        return bool(self.rng.integers(2))

    def seed(self):
        return int(self.rng.integers(2**31))


# Layers


DIRECTIONS = ({}, {}, {"bidirectional": True}, {"reverse": True})


@functools.cache
def cached_layer(kind, dtype, direction, batch_first, num_layers):
    return make_kind(
        kind,
        I,
        H,
        seed=1,
        dtype=dtype,
        batch_first=batch_first,
        num_layers=num_layers,
        **DIRECTIONS[direction],
    )


def layer_of(kind, source, *, streams=False):
    direction = 0 if streams else int(source.integers(0, len(DIRECTIONS)))
    depth = 1 + source.coin()
    return cached_layer(kind, source.dtype, direction, source.coin(), depth)


def weights_of(layer):
    """Return a function that shows the weights of a layer."""
    return layer.state_dict


def sequence_of(layer, source):
    """Return x, a state, lengths, and perhaps a mask, each in the layer's layout."""
    axes = (B, T) if layer.batch_first else (T, B)
    given = {
        "x": source(*axes, I),
        "state": draw_state(layer, B, seed=source.seed()),
        "lengths": source.integers(0, T + 1, B),
    }
    if source.coin():
        given["mask"] = source.integers(0, 2, *axes).astype(bool)
        given["resets"] = source.integers(0, 3, *axes) == 0
    return given


def layer_call(kind, source):
    layer = layer_of(kind, source)
    arguments = sequence_of(layer, source)
    y, _ = layer(**arguments)
    arguments["out"] = np.zeros_like(y)
    return Case(arguments, layer, weights_of(layer))


def layer_forward(kind, source):
    layer = layer_of(kind, source)
    arguments = {**sequence_of(layer, source), "gates": True}

    def make(**given):
        y, state, cache = layer.forward(**given)
        gradients = layer.backward(cache, np.ones_like(y))
        return y, state, gradients.x, gradients.weights

    return Case(arguments, make, weights_of(layer))


def layer_backward(kind, source):
    layer = layer_of(kind, source)
    y, _, cache = layer.forward(**sequence_of(layer, source))
    dstate = draw_gradient(layer, B, seed=source.seed())
    arguments = {"cache": cache, "dy": source(*y.shape), "dstate": dstate}

    def make(**given):
        return tuple(layer.backward(**given))

    return Case(arguments, make, weights_of(layer))


def layer_one_step(kind, source):
    layer = layer_of(kind, source, streams=True)
    arguments = {
        "x": source(B, I),
        "state": draw_state(layer, B, seed=source.seed()),
        "gates": True,
    }

    def make(**given):
        y, state, cache = layer.step(**given)
        return y, state, *layer.step_back(cache, np.ones_like(y))

    return Case(arguments, make, weights_of(layer))


def layer_step_back(kind, source):
    layer = layer_of(kind, source, streams=True)
    y, _, cache = layer.step(source(B, I))
    arguments = {
        "cache": cache,
        "dy": source(*y.shape),
        "dstate": draw_gradient(layer, B, seed=source.seed()),
        "weights": {n: source(*w.shape) for n, w in layer.state_dict().items()},
    }

    def make(**given):
        return tuple(layer.step_back(**given))

    return Case(arguments, make, weights_of(layer))


def layer_step(kind, source):
    layer = layer_of(kind, source, streams=True)
    stream = layer.stream(B)
    stream.state = draw_state(layer, B, seed=source.seed())
    before = stream.state
    arguments = {
        "x": source(B, I),
        "out": np.zeros((B, layer.output_size), layer.dtype),
    }

    def make(**given):
        stream.state = before
        return stream.step(**given), stream.state

    return Case(arguments, make, lambda: stream.state)


def layer_stream(kind, source):
    layer = layer_of(kind, source, streams=True)
    state = draw_state(layer, B, seed=source.seed())
    rows = source.integers(0, B, 2)

    def make(batch_size, state, rows):
        stream = layer.stream(batch_size)
        stream.state = state
        stream.reset(rows)
        return stream.state

    return Case({"batch_size": B, "state": state, "rows": rows}, make)


def layer_weights(kind, source):
    layer = layer_of(kind, source)
    own = layer.state_dict()
    given = {name: source(*array.shape) for name, array in own.items()}
    for name in ("leak_logit_l0", "leak_logit_l0_reverse"):
        given.pop(name, None)
    given = {**own, **given}

    def make(state_dict, strict, dtype):
        try:
            layer.load_state_dict(state_dict, strict, dtype=dtype)
            return layer.state_dict()
        finally:
            layer.load_state_dict(own)

    arguments = {"state_dict": given, "strict": True, "dtype": layer.dtype.name}
    return Case(arguments, make, words=tuple(own))


def layer_attribute(kind, source):
    layer = layer_of(kind, source)
    own = layer.state_dict()
    names = list(own)
    name = names[source.integers(0, len(names))]

    def make(**given):
        try:
            setattr(layer, name, given[name])
            return layer.state_dict()
        finally:
            layer.load_state_dict(own)

    return Case({name: own[name]}, make)


# Single steps, grids, reservoirs


@functools.cache
def cached_cell(kind, dtype):
    make, own = options_of(kind, H)
    return CELL_CLASSES[make](I, H, seed=1, dtype=dtype, **own)


def state_of_cell(cell, source):
    state = tuple(source(B, H) for _ in cell.state_sizes)
    return state if len(state) > 1 else state[0]


def cell_call(kind, source):
    cell = cached_cell(kind, source.dtype)
    arguments = {"x": source(B, I), "state": state_of_cell(cell, source)}
    return Case(arguments, cell, weights_of(cell))


def cell_backward(kind, source):
    cell = cached_cell(kind, source.dtype)
    _, cache = cell.forward(source(B, I), state_of_cell(cell, source))
    arguments = {"cache": cache, "dstate": state_of_cell(cell, source)}
    return Case(arguments, lambda **given: tuple(cell.backward(**given)))


@functools.cache
def cached_grid(dtype):
    return xr.GridLSTM(I, H, sizes=(None, 2), seed=1, dtype=dtype, shared=(True, False))


def grid_call(source):
    grid = cached_grid(source.dtype)
    arguments = {
        "x": source(T, B, I),
        "borders": [(source(2, B, H), source(2, B, H)), None],
        "sizes": (T, 2),
        "lengths": np.stack([source.integers(0, T + 1, B), [2, 1, 2]], axis=1),
    }
    return Case(arguments, grid, weights_of(grid))


def grid_backward(source):
    grid = cached_grid(source.dtype)
    ends, cache = grid.forward(source(T, B, I))
    dends = tuple(tuple(source(*part.shape) for part in pair) for pair in ends)
    arguments = {"cache": cache, "dends": dends}

    def make(**given):
        gradients = grid.backward(**given)
        return gradients.x, gradients.weights

    return Case(arguments, make)


def time_depth(dtype, source):
    return cached_time_depth(dtype, source.coin(), source.coin())


@functools.cache
def cached_time_depth(dtype, bidirectional, batch_first):
    return xr.TimeDepthGridLSTM(
        *(I, H, 2),
        bidirectional=bidirectional,
        batch_first=batch_first,
        dtype=dtype,
        seed=1,
    )


def time_depth_call(source):
    layer = time_depth(source.dtype, source)
    x = source(B, T, I) if layer.batch_first else source(T, B, I)
    lead = (2 * (1 + layer.bidirectional), B, H)
    arguments = {
        "x": x,
        "state": (source(*lead), source(*lead)),
        "lengths": source.integers(0, T + 1, B),
        "out": np.zeros_like(layer(x)[0]),
    }
    return Case(arguments, layer, weights_of(layer))


def time_depth_backward(source):
    layer = time_depth(source.dtype, source)
    x = source(B, T, I) if layer.batch_first else source(T, B, I)
    y, (h, m), cache = layer.forward(x)
    dstate = (source(*h.shape), source(*m.shape))
    arguments = {"cache": cache, "dy": source(*y.shape), "dstate": dstate}

    def make(**given):
        return tuple(layer.backward(**given))

    return Case(arguments, make)


@functools.cache
def cached_reservoir(dtype):
    network = xr.EchoState(I, 12, seed=1, ridge=1e-2, dtype=dtype)
    x = np.random.default_rng(3).standard_normal((40, I)).astype(dtype)
    return network.fit(x[:-1], x[1:])


def echo_fit(source):
    network = xr.EchoState(I, 12, seed=1, ridge=1e-2, dtype=source.dtype)
    arguments = {
        "x": source(12, B, I),
        "y": source(12, B, 2),
        "lengths": np.array([12, 11, 12]),
    }

    def make(**given):
        return network.fit(**given).state_dict()

    return Case(arguments, make, words=("ridge", "washout"))


def echo_predict(source):
    network = cached_reservoir(source.dtype)
    arguments = {
        "x": source(T, B, I),
        "state": source(1, B, 12),
        "lengths": source.integers(0, T + 1, B),
    }
    return Case(arguments, network.predict)


def echo_run(source):
    network = cached_reservoir(source.dtype)
    arguments = {"state": source(1, B, 12), "x0": source(B, I)}
    return Case(arguments, lambda **given: network.run(3, **given))


def echo_step(source):
    stream = cached_reservoir(source.dtype).stream(B)
    before = source(1, B, 12)
    arguments = {"x": source(B, I), "out": np.zeros((B, I), source.dtype)}

    def make(**given):
        stream.state = before
        return stream.step(**given), stream.state

    return Case(arguments, make)


# Training


OPTIMIZERS = (train.SGD, train.Adam, train.AdamW, train.RMSprop)


def embedding_call(source):
    module = train.Embedding(5, 3, dtype=source.dtype, seed=0)

    def make(index, dy):
        y, cache = module.forward(index)
        return y, module.backward(cache, dy).weights

    arguments = {"index": source.integers(0, 5, T, B), "dy": source(T, B, 3)}
    return Case(arguments, make, weights_of(module))


def linear_call(source):
    module = train.Linear(I, 3, dtype=source.dtype, seed=0)

    def make(x, dy):
        y, cache = module.forward(x)
        gradients = module.backward(cache, dy)
        return y, gradients.x, gradients.weights

    return Case({"x": source(T, B, I), "dy": source(T, B, 3)}, make, weights_of(module))


def linear_weights(source):
    module = train.Linear(I, 3, dtype=source.dtype, seed=0)

    def make(state_dict):
        module.load_state_dict(state_dict)
        return module.state_dict()

    given = {"weight": source(3, I), "bias": source(3)}
    return Case({"state_dict": given}, make, words=("weight", "bias"))


def torch_weights(source):
    layer = cached_layer("gru", source.dtype, 0, False, 2)
    own = layer.state_dict()

    def make(source, **given):
        try:
            return xr.from_torch(source, **given).state_dict()
        except OSError as error:  # a word is a path
            raise ValueError("source: no such file") from error

    arguments = {"source": own, "prefix": "", "kind": "GRU", "dtype": layer.dtype.name}
    return Case(arguments, make, words=tuple(own))


def cross_entropy(source):
    arguments = {"logits": source(T, B, 5), "targets": source.integers(-1, 5, T, B)}
    return Case(arguments, train.softmax_cross_entropy)


def squared_error(source):
    arguments = {"y": source(T, B, 5), "target": source(T, B, 5)}
    return Case(arguments, train.mean_squared_error)


def clipping(source):
    arguments = {"gradients": {"a": source(3), "b": source(2, 2)}, "limit": 0.5}

    def make(gradients, limit):
        norm = train.clip_global_norm(gradients, limit)
        return norm, dict(gradients)

    return Case(arguments, make, words=("a", "b"))


def optimizer_step(source):
    kind = OPTIMIZERS[source.integers(0, 4)]
    layer = xr.GRU(I, H, seed=1, dtype=source.dtype)
    optimizer = kind(layer, lr=0.1)
    gradients = {n: source(*a.shape) for n, a in layer.state_dict().items()}

    def make(gradients):
        before = layer.state_dict()
        try:
            optimizer.step(gradients)
            return {name: array.shape for name, array in layer.state_dict().items()}
        finally:
            layer.load_state_dict(before)

    return Case({"gradients": gradients}, make, words=tuple(gradients))


def optimizer_options(source):
    kind = OPTIMIZERS[source.integers(0, 4)]
    layer = xr.GRU(I, H, seed=1, dtype=source.dtype)
    names = [p for p in inspect.signature(kind).parameters if p != "parameters"]
    name = names[source.integers(0, len(names))]
    default = inspect.signature(kind).parameters[name].default
    given = {"lr": 0.1} | {name: 0.1 if default is inspect.Parameter.empty else default}

    def make(**options):
        return kind(layer, **options).lr

    return Case(given, make)


def of_parts(build, source):
    return Case(**build(source))


# Constructors: one argument is strange, and what comes is used once


CONSTRUCTORS = {
    **{name: (kind, {}) for name, kind in layers.CLASSES.items()},
    **{name: (own.kind, own.options(H)) for name, own in layers.NETWORKS.items()},
    "ClockworkRNN": (xr.ClockworkRNN, {"periods": (1, 2)}),
    "GridLSTM": (xr.GridLSTM, {"sizes": (3, 2)}),
    "Layer": (xr.Layer, {"cell": xr.cells.MGU()}),
    "AttentionDecoder": (xr.AttentionDecoder, {"cell": "gru", "memory_size": 3}),
    "Embedding": (train.Embedding, {"num_embeddings": 4, "embedding_dim": 3}),
    "Linear": (train.Linear, {"in_features": 4, "out_features": 3}),
}


def constructor(name, source):
    kind, own = CONSTRUCTORS[name]
    parameters = inspect.signature(kind).parameters
    sizes = {"input_size": I, "hidden_size": H}
    needed = {k: v for k, v in sizes.items() if k in parameters} | own | {"seed": 0}
    names = list(parameters)
    chosen = names[source.integers(0, len(names))]
    default = parameters[chosen].default
    given = {chosen: needed.get(chosen, default)}

    def make(**strange):
        made = kind(**{**needed, **strange})
        return {key: array.shape for key, array in made.state_dict().items()}

    return Case(given, make, words=tuple(needed))


def every_layer(build):
    return {
        f"{build.__name__} {kind}": functools.partial(build, kind) for kind in KINDS
    }


CASES = {
    **every_layer(layer_call),
    **every_layer(layer_forward),
    **every_layer(layer_backward),
    **every_layer(layer_one_step),
    **every_layer(layer_step_back),
    **every_layer(layer_step),
    **every_layer(layer_stream),
    **every_layer(layer_weights),
    **every_layer(layer_attribute),
    **{
        f"{build.__name__} {kind}": functools.partial(build, kind)
        for build in (cell_call, cell_backward)
        for kind in ("rnn", "lstm", "gru", "gru_before")
    },
    **{
        build.__name__: build
        for build in (
            *(grid_call, grid_backward, time_depth_call, time_depth_backward),
            *(echo_fit, echo_predict, echo_run, echo_step),
            *(embedding_call, linear_call, linear_weights, torch_weights),
            *(cross_entropy, squared_error, clipping),
            *(optimizer_step, optimizer_options),
        )
    },
    **{
        build.__name__: functools.partial(of_parts, build)
        for build in (*fuzzed_training.BUILDS, *fuzzed_attention.BUILDS)
    },
    **{
        f"constructor {name}": functools.partial(constructor, name)
        for name in CONSTRUCTORS
    },
}
