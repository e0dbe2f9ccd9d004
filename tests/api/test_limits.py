"""Absurd sizes are refused at once, and no message is longer than a screenful.

Over every public class with sizes, and every parameter of its constructor.
"""

import inspect
import re
import time

import numpy as np
import pytest
from layer_kinds import CELL_KINDS, KINDS, class_of, make_cell, make_kind
from variants import options_of

import exactrnn as xr
from exactrnn import layers
from exactrnn._checks import limits
from exactrnn.train import Embedding, LanguageModel, Linear

SCREENFUL = 24 * 80

LAYERS = {name: (kind, {}) for name, kind in layers.CLASSES.items()}
LAYERS |= {class_of(kind).__name__: options_of(kind, 6) for kind in KINDS}
LAYERS["Layer"] = (xr.Layer, {"cell": xr.cells.MGU()})
LAYERS["AttentionDecoder"] = (xr.AttentionDecoder, {"cell": "gru", "memory_size": 5})
MODULES = {
    "Linear": (Linear, {"in_features": 3, "out_features": 6}),
    "Embedding": (Embedding, {"num_embeddings": 3, "embedding_dim": 6}),
    "LanguageModel": (LanguageModel, {"alphabet": "abc", "hidden_size": 6}),
}
SIZED = {"input_size": 3, "hidden_size": 6}
CLASSES = {
    name: (kind, {**SIZED, **options}) for name, (kind, options) in LAYERS.items()
} | MODULES
"""Every public class that is made from sizes, and arguments that make one."""


def test_no_class_is_forgotten():
    made = set(layers.CLASSES) | {*xr.train.__all__} & {*MODULES}
    assert made == set(CLASSES)


def parameters():
    """Return every parameter of every class."""
    return [
        pytest.param(kind, options, name, id=f"{kind.__name__}-{name}")
        for kind, options in CLASSES.values()
        for name in inspect.signature(kind).parameters
    ]


def refused(make, *, seconds=2.0, kinds=(ValueError, TypeError)):
    """Return the message with which a call is refused, quickly, or None."""
    begin = time.monotonic()
    try:
        make()
    except kinds as error:
        return str(error)
    finally:
        assert time.monotonic() - begin < seconds
    return None


# Absurd sizes

NOT_FREE = ("proj_size", "dims", "sizes")
"""Parameters that have a limit of their own, tested elsewhere."""
SIZES = ("size", "features", "embedding", "num_layers", "dim")
ABSURD = (10**9, 2**31, 2**47, 10**18, 2**63, 10**30, 10**5000)


def has_size(name):
    return any(word in name for word in SIZES) and name not in NOT_FREE


def sizes():
    """Return those parameters that are sizes."""
    return [p for p in parameters() if has_size(p.values[2])]


@pytest.mark.parametrize("absurd", ABSURD, ids=lambda n: f"{n.bit_length()}bits")
@pytest.mark.parametrize(("kind", "options", "name"), sizes())
def test_an_absurd_size_is_refused_at_once(kind, options, name, absurd, monkeypatch):
    monkeypatch.setattr(limits, "memory_size", lambda: 2**34)
    if kind is Linear or kind is Embedding:  # 10**9 by 1 may be wanted
        options = dict.fromkeys(options, 10**6)
    value = [absurd] * 3 if name == "module_sizes" else absurd
    with pytest.raises(ValueError, match=r"expected|hidden_size") as caught:
        kind(**{**options, name: value})
    assert name in str(caught.value) or str(absurd)[:20] in str(caught.value)
    assert len(str(caught.value)) < SCREENFUL


@pytest.mark.parametrize("options", [{"shared": False, "sizes": (10**9, 3)}, {}])
def test_absurd_grids_are_refused_at_once(options):
    message = refused(lambda: xr.GridLSTM(3, 4, **options))
    assert bool(message) == bool(options)
    sizes = (10**30, None)
    assert refused(lambda: xr.GridLSTM(3, 4, sizes=sizes)).startswith("sizes[0]: ")
    assert "dims: expected 1..6" in refused(lambda: xr.GridLSTM(3, 4, dims=10**9))
    shared = {"num_layers": 10**9, "shared": True}
    message = refused(lambda: xr.TimeDepthGridLSTM(3, 4, **shared))
    assert message.startswith("num_layers: expected at most")


@pytest.mark.parametrize("kind", [*KINDS, "grid", "grid layer"])
def test_absurdly_many_arrays_are_refused_though_they_are_small(kind):
    def make(count):
        if kind == "grid":
            return xr.GridLSTM(1, 1, sizes=(count, None), shared=(False, True))
        if kind == "grid layer":
            return xr.TimeDepthGridLSTM(1, 1, count)
        return make_kind(kind, 1, 6, num_layers=count)

    assert "at most 65536 arrays of weights, got" in refused(lambda: make(2**18))
    make(20)


@pytest.mark.parametrize("batch_size", [10**12, 2**47, 10**18, 10**30])
@pytest.mark.parametrize("kind", [k for k in KINDS if class_of(k) is not xr.EchoState])
def test_streams_of_absurd_batches_are_refused_at_once(kind, batch_size):
    layer = make_kind(kind, 3, 6, num_layers=2)
    message = refused(lambda: layer.stream(batch_size))
    assert re.match(r"batch_size(=\d+)?: expected", message)


def test_streams_of_others_are_refused_too():
    x = np.sin(np.arange(60, dtype=np.float32))[:, None]
    network = xr.EchoState(1, 20, seed=1).fit(x[:-1], x[1:])
    grid = xr.TimeDepthGridLSTM(3, 4)
    for layer in (network, grid):
        assert refused(lambda stream=layer.stream: stream(10**12)).startswith("batch")


def test_what_fits_the_memory_is_not_refused(monkeypatch):
    need = 4 * (4 * 6 * (3 + 6) + 2 * 4 * 6)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "memory_size", lambda: need)
        xr.LSTM(3, 6)
        patch.setattr(limits, "memory_size", lambda: need - 1)
        with pytest.raises(ValueError, match="input_size=3, hidden_size=6, num_layers"):
            xr.LSTM(3, 6)


def test_the_memory_of_this_machine_is_known():
    assert 2**28 < limits.memory_size() < 2**47
    assert limits.spell_bytes(limits.memory_size()).endswith(" GB")


# What is counted without listing it


def counted():
    """Return modules of every kind, with what has a config."""
    for kind in KINDS:
        for options in ({}, {"num_layers": 3, "bidirectional": True}, {"bias": False}):
            yield make_kind(kind, 3, 6, **options)
    for kind in CELL_KINDS:
        yield make_cell(kind, 3, 6)
    for tied in (False, True):
        for shared in (False, True):
            options = {"tied": tied, "shared": shared}
            yield xr.TimeDepthGridLSTM(3, 4, 2, bidirectional=True, **options)
            options |= {"sides": (0, 2), "sizes": (2, 3, 2), "bias": tied}
            yield xr.GridLSTM((3, 5), 4, dims=3, **options)
    yield xr.GridLSTM(3, 4, kinds=("lstm", "relu"))


def test_numbers_are_those_of_the_list():
    for module in counted():
        config = module._spec
        arrays = module.state_dict()
        assert config.num_arrays == len(arrays), repr(module)
        assert config.num_elements == sum(a.size for a in arrays.values())
    for module in (*counted(), Embedding(5, 3), Linear(5, 3), Linear(2, 3, bias=False)):
        check_counts(module)
    model = LanguageModel("abcd", num_layers=2, hidden_size=5, embedding_size=3)
    check_counts(model)
    for name in ("embedding", "recurrent", "readout"):
        check_counts(getattr(model, name))


def check_counts(module):
    spec, arrays = module._spec, module.state_dict()
    assert spec.num_arrays == len(arrays), repr(module)
    assert {name: a.shape for name, a in arrays.items()} == spec.weight_shapes
    if module.__dict__.get("cell") != "clockwork":  # which has fewer connections
        assert module.num_parameters == sum(a.size for a in arrays.values())


# Messages


class Endless:
    """A thing whose repr is long, as its class's name is."""

    def __repr__(self):
        return "x" * 10**6


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no")


LONG = "x" * 10**6
HOSTILE = {
    "text": LONG,
    "lines": "\n" * 10**5,
    "bytes": b"x" * 10**6,
    "digits": 10**5000,
    "negative digits": -(10**5000),
    "list": ["x" * 100] * 10**4,
    "nested": [[[[["x" * 100] * 9] * 9] * 9] * 9] * 9,
    "tuple": ("x",) * 10**6,
    "claim": range(10**12),
    "dict": {str(k): k for k in range(10**5)},
    "set": set(range(10**5)),
    "array": np.arange(10**5),
    "array of 64 axes": np.zeros((1,) * 64),
    "texts": np.array([LONG]),
    "record": np.zeros(1, [(f"field{k}", "f4") for k in range(10**3)]),
    "object": Endless(),
    "object without words": Unspeakable(),
    "class of a long name": type("X" * 10**5, (), {}),
    "object of a long name": type("X" * 10**5, (), {})(),
    "object called int": type("int", (), {})(),
    "nan": float("nan"),
    "inf": float("inf"),
    "complex": 1j,
    "none": None,
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_every_message_of_a_constructor_is_a_screenful(hostile):
    value = HOSTILE[hostile]
    for parameter in parameters():
        kind, options, name = parameter.values
        message = refused(lambda k=kind, o=options, n=name: k(**{**o, n: value}))
        assert message is None or len(message) < SCREENFUL, parameter.id


@pytest.mark.parametrize("hostile", HOSTILE)
def test_every_message_about_an_argument_is_a_screenful(hostile):
    value = HOSTILE[hostile]
    x = np.zeros((2, 1, 3), np.float32)
    layer, linear = xr.LSTM(3, 6), Linear(3, 6)
    network = xr.EchoState(3, 6)
    grid, model = xr.GridLSTM(3, 4), LanguageModel("abc")
    for call in (
        lambda: layer(value),
        lambda: layer(x, value),
        lambda: layer(x, (value, value)),
        lambda: layer(x, lengths=value),
        lambda: layer(x, out=value),
        lambda: layer.backward(value, value),
        lambda: layer.load_state_dict(value),
        lambda: layer.load_state_dict(dict.fromkeys(layer.state_dict(), value)),
        lambda: layer.stream(value),
        lambda: layer.stream().step(value),
        lambda: layer.stream().reset(value),
        lambda: setattr(layer, "weight_ih_l0", value),
        lambda: xr.ClockworkRNN(3, 6, periods=(1, 2))(x, (value, value)),
        lambda: network.fit(x, value),
        lambda: network.run(value),
        lambda: grid(x[0], sizes=value),
        lambda: grid(x[0], value),
        lambda: grid(x[0], lengths=value),
        lambda: linear(value),
        lambda: linear.load_state_dict(dict.fromkeys(linear.state_dict(), value)),
        lambda: Embedding(3, 4)(value),
        lambda: model.encode(value),
        lambda: model.fit(value, steps=1),
        lambda: model.load_state_dict(dict.fromkeys(model.state_dict(), value)),
        lambda: xr.save(value, "never"),
    ):
        message = refused(call)
        assert message is None or len(message) < SCREENFUL, inspect.getsource(call)


def modules():
    """Return one of every class with weights."""
    return [kind(**options) for kind, options in CLASSES.values()]


@pytest.mark.parametrize("module", modules(), ids=CLASSES)
def test_messages_about_many_names_are_a_screenful(module):
    wrong = {f"{LONG}{k}": 0 for k in range(100)}
    for given in (wrong, {}, {**module.state_dict(), **wrong}):
        message = refused(lambda g=given: module.load_state_dict(g))
        assert len(message) < SCREENFUL
        assert message.startswith("state_dict: expected ")


@pytest.mark.parametrize("module", modules(), ids=CLASSES)
def test_a_weight_of_a_wrong_shape_is_refused_before_it_is_copied(module):
    for name, weight in module.state_dict().items():
        vast = np.broadcast_to(weight.dtype.type(0), (2**40, *weight.shape))
        given = {**module.state_dict(), name: vast}
        assert name in refused(lambda g=given: module.load_state_dict(g))


def test_long_values_are_cut_and_short_ones_are_not():
    for value in (5, "text", None, (1, 2, 3), ["a"], 1.5, 10**20, b"bytes"):
        assert limits.quote(value) == repr(value)
    assert limits.quote("x" * 1000).startswith("'xxx")
    assert limits.quote(2**1000) == "an integer of 1001 bits"
    assert limits.list_names(["a", "b"]) == "a, b"
    assert limits.list_names(range(20)).endswith(", 11, ... (8 more)")
    assert limits.quote_names(["a", 5]) == "'a', 5"
