"""Copies and pickles: equal, apart, and with what the user has added; or refused.

Over the lists of modules.py: every public class that has weights or a state.
"""

import contextlib
import copy
import pickle
import re

import numpy as np
import pytest
from arrays import draw, same_bits
from modules import (
    CACHES,
    GRIDS,
    LAYERS,
    MODULES,
    STREAMS,
    WEIGHTED,
    B,
    H,
    I,
    T,
    fitted,
    flat,
    input_of,
    keep,
    step_of,
)

import exactrnn as xr
from exactrnn import _core
from exactrnn._run import stack


def through_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def through_old_pickle(thing):
    return pickle.loads(pickle.dumps(thing, protocol=2))


def out_of_band(thing):
    """Return what a pickle gives whose arrays lie in read-only memory elsewhere."""
    buffers = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


WAYS = (copy.copy, copy.deepcopy, through_pickle, through_old_pickle, out_of_band)
DEEP_WAYS = WAYS[1:]
every_way = pytest.mark.parametrize("make_copy", WAYS)
every_deep_way = pytest.mark.parametrize("make_copy", DEEP_WAYS)


def test_every_public_class_is_in_the_lists():
    public = {
        thing
        for package in (xr, xr.train)
        for thing in (getattr(package, name) for name in package.__all__)
        if isinstance(thing, type)
    }
    made = {type(make()) for make in WEIGHTED.values()}
    made |= {type(make()) for make in STREAMS.values()}
    for make in CACHES.values():
        module = make()
        cache, gradients = keep(module)
        made |= {type(cache), type(module.backward(cache, *gradients))}
    managers = {xr.threads, xr.use_isa}
    optimizers = {xr.train.Optimizer, xr.train.SGD, xr.train.Adam}  # test_optimizers.py
    optimizers |= {xr.train.AdamW, xr.train.RMSprop, xr.train.Accumulator}  # test_rules
    composites = {xr.train.Composite, xr.train.Sequential}  # test_composites.py
    composites |= {xr.train.Last, xr.train.WeightAverage}
    composites |= {xr.train.Dropout, xr.train.SequentialStream}  # tests of their own
    data = {xr.train.Batch, xr.train.Batches, xr.train.Fitting, xr.train.History}
    data |= {xr.train.RaggedBatches}
    schedules = {xr.train.Schedule, *xr.train.Schedule.__subclasses__()}
    handed_out = {xr.train.Chunk, xr.train.StreamChunk, xr.train.Progress}
    handed_out |= {xr.train.CTCLabels, xr.train.Decoded, xr.train.Training, xr.Cell}
    handed_out |= {xr.DecoderCache, xr.DecoderGradients, xr.DecoderStream}
    plain = composites | data | schedules
    assert public - made == managers | optimizers | handed_out | plain


# Modules


@every_way
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_module_is_copied_with_what_the_user_has_added(name, make_copy):
    module = WEIGHTED[name]()
    module.remark, module.notes = "mine", {"runs": [1, 2]}
    twin = make_copy(module)
    assert (twin.remark, twin.notes) == ("mine", {"runs": [1, 2]})
    assert repr(twin) == repr(module)
    assert same_bits(twin.state_dict(), module.state_dict())
    if name in MODULES:
        x = input_of(module)
        assert same_bits(flat(twin(x)), flat(module(x)))
    weights = module.state_dict()
    twin.load_state_dict({name: 0 * weight for name, weight in weights.items()})
    twin.remark = "its own"
    assert same_bits(module.state_dict(), weights)
    assert module.remark == "mine"


@every_deep_way
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_module_may_have_itself_and_its_stream_as_attributes(name, make_copy):
    module = WEIGHTED[name]()
    module.self = module
    if name in STREAMS:
        module.feed = module.stream(B)
        module.feed.step(step_of(module.feed))
    twin = make_copy(module)
    assert twin.self is twin
    if name in STREAMS:
        x = step_of(module.feed, seed=1)
        assert same_bits(twin.feed.step(x), module.feed.step(x))
        assert same_bits(flat(twin.feed.state), flat(module.feed.state))


@every_way
def test_attributes_of_derived_classes_survive(make_copy):
    network = DerivedNetwork("mine", I, 20, seed=1)
    twin = make_copy(network)
    assert (type(twin), twin.label, twin.calls) == (DerivedNetwork, "mine", 0)


class DerivedNetwork(xr.EchoState):
    """Sets attributes before and after it is a network."""

    def __init__(self, label, *sizes, **options):
        self.label = label
        super().__init__(*sizes, **options)
        self.calls = 0


# Streams


@every_way
@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("name", STREAMS)
def test_a_copied_stream_goes_on_by_itself(name, rows, make_copy):
    stream = STREAMS[name](rows=rows)
    x = [step_of(stream, seed=t) for t in range(T)]
    stream.step(x[0])
    stream.step(x[1])
    before = flat(stream.state)
    twin = make_copy(stream)
    assert type(twin) is type(stream)
    assert repr(twin) == repr(stream)
    mine = [twin.step(x_t) for x_t in x[2:]]
    end = flat(twin.state)
    assert same_bits(flat(stream.state), before)
    assert same_bits([stream.step(x_t) for x_t in x[2:]], mine)
    assert same_bits(flat(stream.state), end)
    twin.reset()
    assert same_bits(flat(stream.state), end)


@pytest.mark.parametrize("name", LAYERS)
def test_a_shallow_copy_of_a_stream_has_the_layer_a_deep_one_a_copy_of_it(name):
    layer = LAYERS[name]()
    stream = layer.stream(B)
    both, (deep_layer, deep) = copy.copy(stream), copy.deepcopy((layer, stream))
    x, before = step_of(stream), layer.state_dict()
    weights = {name: 0.5 * weight for name, weight in before.items()}
    old = copy.copy(stream).step(x)
    layer.load_state_dict(weights)
    new = both.step(x)
    assert same_bits(stream.step(x), new)
    # Of its modules none is at work in the step after its phase.
    assert same_bits(new, old) == (name == "clockwork-equal")
    assert same_bits(copy.copy(deep).step(x), old)
    deep_layer.load_state_dict(weights)
    assert same_bits(deep.step(x), new)


@every_way
def test_a_copied_echo_stream_keeps_its_own_reservoir(make_copy):
    network = fitted()
    stream = network.stream(B)
    stream.step(step_of(stream))
    other = {**network.state_dict(), "bias_ih": np.ones(20)}
    network.load_state_dict(other)
    x = step_of(stream, seed=1)
    assert same_bits(make_copy(stream).step(x), stream.step(x))


class DerivedStream(xr.Stream):
    """Of another constructor, with attributes."""

    def __init__(self, layer):
        super().__init__(layer, B)
        self.label = "mine"


class DerivedEchoStream(xr.EchoStream):
    def __init__(self, network):
        super().__init__(network, B)
        self.label = "mine"


@every_way
@pytest.mark.parametrize(
    ("kind", "make"), [(DerivedStream, LAYERS["gru"]), (DerivedEchoStream, fitted)]
)
def test_attributes_of_derived_streams_survive(kind, make, make_copy):
    stream = kind(make())
    stream.step(step_of(stream))
    twin = make_copy(stream)
    assert (type(twin), twin.label, twin.batch_size) == (kind, "mine", B)
    assert same_bits(flat(twin.state), flat(stream.state))


# Caches


OPTIONS = {
    "plain": {},
    "ragged": {"lengths": [T, 0, 2]},
}


def options_of(name, which):
    """Return options of forward that a module knows."""
    if name in LAYERS:
        return OPTIONS[which] | {"gates": True}
    if name == "grid" and which == "ragged":
        return {"lengths": [[T, 2], [0, 1], [2, 2]]}
    return {}


@every_deep_way
@pytest.mark.parametrize("which", OPTIONS)
@pytest.mark.parametrize("name", CACHES)
def test_a_cache_copied_with_its_layer_goes_back_to_the_same_bits(
    name, which, make_copy
):
    module = CACHES[name]()
    cache, gradients = keep(module, **options_of(name, which))
    twin, copied = make_copy((module, cache))
    expected = flat(module.backward(cache, *gradients))
    assert same_bits(flat(twin.backward(copied, *gradients)), expected)
    with xr.use_isa("scalar"):
        assert same_bits(flat(twin.backward(copied, *gradients)), expected)
    for attribute in ("states", "points", "lengths", "masks", "x"):
        if hasattr(cache, attribute):
            mine, its = (flat(getattr(c, attribute)) for c in (cache, copied))
            assert same_bits(mine, its)
    if name in GRIDS or options_of(name, which):
        assert same_bits(flat(copied.gates), flat(cache.gates))
    with pytest.raises(ValueError, match="cache: expected one made by this layer"):
        module.backward(copied, *gradients)
    with pytest.raises(ValueError, match="cache: expected one made by this layer"):
        twin.backward(cache, *gradients)
    weights = twin.state_dict()
    twin.load_state_dict({name: 0.5 * weight for name, weight in weights.items()})
    with pytest.raises(ValueError, match="have changed since"):
        twin.backward(copied, *gradients)
    assert same_bits(flat(module.backward(cache, *gradients)), expected)


@pytest.mark.parametrize("name", CACHES)
def test_a_shallow_copy_of_a_cache_is_of_the_same_layer(name):
    module = CACHES[name]()
    cache, gradients = keep(module)
    twin = copy.copy(cache)
    assert twin is not cache
    expected = flat(module.backward(cache, *gradients))
    assert same_bits(flat(module.backward(twin, *gradients)), expected)


@every_deep_way
@pytest.mark.parametrize("name", CACHES)
def test_a_copy_of_a_stale_cache_is_stale(name, make_copy):
    module = CACHES[name]()
    cache, gradients = keep(module)
    weights = module.state_dict()
    module.load_state_dict({name: 0.5 * weight for name, weight in weights.items()})
    twin, copied = make_copy((module, cache))
    with pytest.raises(ValueError, match="have changed since"):
        twin.backward(copied, *gradients)


@every_deep_way
@pytest.mark.parametrize("name", LAYERS)
def test_a_cache_with_dropout_and_two_directions_is_copied(name, make_copy):
    layer = LAYERS[name](bidirectional=True, dropout=0.5)
    cache, gradients = keep(layer, lengths=[T, 0, 2])
    twin, copied = make_copy((layer, cache))
    expected = flat(layer.backward(cache, *gradients))
    assert same_bits(flat(twin.backward(copied, *gradients)), expected)
    assert same_bits(list(copied.masks), list(cache.masks))


@every_deep_way
@pytest.mark.parametrize("name", LAYERS)
def test_a_cache_of_nothing_is_copied(name, make_copy):
    layer = LAYERS[name]()
    y, _, cache = layer.forward(draw(0, B, I))
    twin, copied = make_copy((layer, cache))
    assert same_bits(flat(twin.backward(copied, y)), flat(layer.backward(cache, y)))


@every_way
@pytest.mark.parametrize("name", CACHES)
def test_gradients_are_copied(name, make_copy):
    module = CACHES[name]()
    cache, gradients = keep(module)
    grads = module.backward(cache, *gradients)
    twin = make_copy(grads)
    assert type(twin) is type(grads)
    assert same_bits(flat(twin), flat(grads))


@every_deep_way
def test_caches_and_gradients_of_the_reference_are_copied(make_copy):
    for make in (LAYERS["lstm"], LAYERS["time-depth"], GRIDS["grid"]):
        module = make()
        *results, cache = xr.reference.forward(module, input_of(module))
        copied = make_copy(cache)
        y = results[0]
        expected = flat(xr.reference.backward(module, cache, y))
        assert same_bits(flat(xr.reference.backward(module, copied, y)), expected)


def kept_by(cache):
    """Return what a pickle has of the kernels' own caches."""
    _, (_, _, _, described, *_) = cache.__reduce__()
    return described["kept"]


def test_a_pickled_cache_of_another_size_is_refused():
    layer = LAYERS["lstm"]()
    cache, _ = keep(layer)
    content = kept_by(cache)[0]
    kept = content["memory"]
    packs = layer._store.packs(xr.isa(), backward=True).copies[0]
    assert type(_core.restore_cache(packs, content)) is _core.LayerCache
    for wrong in (kept[:-1], kept + b"x", b""):
        with pytest.raises(ValueError, match=r"cache: expected \d+ bytes for this"):
            _core.restore_cache(packs, {**content, "memory": wrong})


@pytest.mark.parametrize("name", LAYERS)
def test_arrays_of_a_cache_are_not_what_backward_reads_or_cannot_be_written(name):
    layer = LAYERS[name](bidirectional=True, dropout=0.5)
    cache, gradients = keep(layer, lengths=[T, 0, 2], gates=True)
    expected = flat(layer.backward(cache, *gradients))
    shown = [*flat(cache.gates), *flat(cache.states), cache.lengths, *cache.masks]
    shown.append(cache.x)
    for array in shown:
        with contextlib.suppress(ValueError):
            array.flags.writeable = True
            array[...] = 1
    assert same_bits(flat(layer.backward(cache, *gradients)), expected)


# What the kernels hold


def core_objects():
    layer, grid = LAYERS["lstm"](), GRIDS["grid"]()
    packs = layer._store.packs(xr.isa(), backward=True).copies
    sets = grid._store.packs(xr.isa(), backward=True).copies[0]
    stream = LAYERS["time-depth"]().stream()
    yield from (packs[0][0], sets[0], _core.Turn(), layer.stream()._stepper)
    yield from (stream._stepper, fitted().stream()._stepper)
    decoder = xr.AttentionDecoder("gru", I, H, H)
    yield decoder.stream(np.ones((3, B, H), np.float32))._stepper
    yield _core.Sweep(None, None, False, 1, keep=False)
    yield _core.GridSweep((2, 1), 1, (0, 0), None, 1, keep=False)
    yield _core.GradientsIn(None, None, None)
    yield _core.GradientsOut(None, (), None, ())
    yield _core.GridGradients((), (), (), ())
    yield _core.restore_cache(packs[0], kept_by(keep(layer)[0])[0])
    yield _core.restore_grid_cache((sets,), kept_by(keep(grid)[0]))
    yield _core.GridBlock(xr.isa(), "float32", H, ("lstm",), (0,), True)


@every_way
def test_what_the_kernels_hold_is_not_copied_by_itself(make_copy):
    for thing in core_objects():
        name = type(thing).__name__
        with pytest.raises(TypeError, match=re.escape(f"{name}: expected a copy of")):
            make_copy(thing)


def test_no_cython_class_has_cythons_words():
    kinds = [v for v in vars(_core).values() if isinstance(v, type)]
    assert len(kinds) > 8
    for kind in kinds:
        assert kind.__reduce__ is not object.__reduce__, kind


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, through_pickle])
def test_copies_of_leases_are_apart(make_copy):
    layer = LAYERS["gru"]()
    twin = make_copy(layer.weight_hh_l0)
    twin[...] = 0
    assert layer.weight_hh_l0.any()
    assert same_bits(make_copy(layer.parameters()), layer.state_dict())


def test_a_version_that_is_gone_is_never_current():
    assert LAYERS["gru"]()._store.packs(xr.isa()).version != stack.STALE
