"""Everything public that has weights or a state, to run one test over all of it.

`MODULES` are layers, cells, grids, dense layers and a fitted network by name, `STREAMS`
those of them that can be fed step by step, `CACHES` those that go back; `WEIGHTED` are
the modules and what is called otherwise or not at all but has weights; `DECODERS` among
them have tests of their own in test_attention.py. A new class belongs here;
test_copies.py and test_public_facts.py count.
"""

import dataclasses

import numpy as np
from arrays import as_tuple, draw
from layer_kinds import CELL_KINDS, KINDS, make_cell, make_kind

import exactrnn as xr
from exactrnn.train import Embedding, LanguageModel, Linear

T, B, I, H = 5, 3, 4, 6


def fitted(**options):
    """Return a network with a readout of as many values as inputs."""
    x = draw(40, I, dtype="float64")
    network = xr.EchoState(I, 20, leak=0.7, dtype="float64", seed=1, **options)
    return network.fit(x[:-1], x[1:])


LAYERS = {
    kind: lambda kind=kind, **options: make_kind(kind, I, H, num_layers=2, **options)
    for kind in KINDS
}
LAYERS["time-depth"] = lambda **options: xr.TimeDepthGridLSTM(
    I, H, 2, **{"seed": 1, **options}
)
LAYERS["time-depth-tanh"] = lambda **options: xr.TimeDepthGridLSTM(
    I, H, 2, depth="tanh", **{"seed": 1, **options}
)
LAYERS["defined"] = lambda **options: xr.Layer(
    xr.cells.MGU, I, H, 2, **{"seed": 1, **options}
)
CELLS = {
    f"{kind} cell": lambda kind=kind: make_cell(kind, I, H, seed=1)
    for kind in CELL_KINDS
}
GRIDS = {
    "grid": lambda: xr.GridLSTM(I, H, sizes=(None, 2), shared=(True, False), seed=1),
    "grid-sides": lambda: xr.GridLSTM(
        I, H, kinds=("lstm", "tanh"), sides=(0, 1), seed=1
    ),
}
DENSE = {
    "linear": lambda: Linear(I, H, seed=1),
    "linear-no-bias": lambda: Linear(I, H, bias=False, seed=1),
    "embedding": lambda: Embedding(I, H, seed=1),
}
MODULES = {**LAYERS, **CELLS, **GRIDS, **DENSE, "echo-state": fitted}
DECODERS = {
    "decoder": lambda: xr.AttentionDecoder("gru", I, H, 5, seed=1),
    "decoder-new": lambda: xr.AttentionDecoder(
        "lstm",
        I,
        H,
        H,
        score="dot",
        query="new",
        selector=True,
        output="concat",
        seed=1,
    ),
}
WEIGHTED = {
    **MODULES,
    **DECODERS,
    "language-model": lambda: LanguageModel(
        "abcd", num_layers=2, hidden_size=H, embedding_size=I, seed=1
    ),
}


def input_of(module, seed=0):
    """Return one input of a module, as its plain call takes it."""
    if isinstance(module, xr.EchoState):
        return draw(T, B, I, dtype="float64", seed=seed)
    if isinstance(module, xr.GridLSTM) and len(module.sides) == 2:
        return draw(2, B, I, seed=seed), draw(T, B, I, seed=seed)
    if type(module) in (xr.RNNCell, xr.LSTMCell, xr.GRUCell):
        return draw(B, I, seed=seed)
    if isinstance(module, Embedding):
        return np.random.default_rng(seed).integers(0, I, (T, B))
    return draw(T, B, I, seed=seed)


def flat(result):
    """Return all arrays of a result, of tuples within tuples, in order."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in flat(part)]
    if isinstance(result, dict):
        return [array for part in result.values() for array in flat(part)]
    if dataclasses.is_dataclass(result):
        return flat([getattr(result, f.name) for f in dataclasses.fields(result)])
    if result is None:
        return []
    array = np.asarray(result)
    assert array.dtype.kind in "fi", f"what is {result!r}?"
    return [array]


STREAMS = {
    **{
        name: lambda make=make, rows=B: make().stream(rows)
        for name, make in LAYERS.items()
    },
    "echo-state": lambda rows=B: fitted().stream(rows),
}


def step_of(stream, seed=0):
    """Return one input of a stream."""
    dtype = "float64" if isinstance(stream, xr.EchoStream) else "float32"
    return draw(stream.batch_size, I, dtype=dtype, seed=seed)


def keep(module, **options):
    """Return a cache of a module's forward and what its backward is to be given."""
    x = input_of(module)
    *results, cache = module.forward(x, **options)
    if isinstance(module, xr.GridLSTM):
        return cache, (results[0],)
    if len(results) == 1:  # of a cell or a dense layer
        return cache, (results[0],)
    return cache, (results[0], as_gradient(module, results[1]))


def as_gradient(module, state):
    config = module._spec
    return as_tuple(state)[0] if config.counts_steps else state


CACHES = {**LAYERS, **CELLS, **GRIDS, **DENSE}
