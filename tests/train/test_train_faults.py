"""What a user may do to the parts of training: an error that names it, or right bits.

Caches that are none, arrays that change or lie, shapes that are set, threads that
write, claims of a size: nothing crashes and no gradient is silently another's.
"""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
from arrays import draw, same_bits
from writing import NEW, H, ways

import exactrnn as xr
from exactrnn.train import (
    SGD,
    Chunk,
    Embedding,
    LanguageModel,
    Linear,
    mean_squared_error,
    softmax_cross_entropy,
    stream_batches,
    truncated_bptt,
)

V, K, O = 6, 4, 3
MODULES = {
    "linear": lambda **o: Linear(K, O, **{"seed": 1, **o}),
    "linear without bias": lambda **o: Linear(K, O, bias=False, **{"seed": 1, **o}),
    "embedding": lambda **o: Embedding(V, O, **{"seed": 1, **o}),
}
of_every_module = pytest.mark.parametrize("name", MODULES)


def input_of(name, dtype="float32"):
    if name == "embedding":
        return np.array([[0, 5, 5], [2, 0, 1]])
    return draw(2, 3, K, dtype=dtype)


def gradient_of(y):
    return draw(*y.shape, dtype=y.dtype, seed=9)


def gradients(module, cache, dy):
    found = module.backward(cache, dy)
    return [found.weights, *([] if found.x is None else [found.x])]


# Caches


@of_every_module
def test_a_cache_that_is_none_is_refused(name, dtype):
    module = MODULES[name](dtype=dtype)
    y, cache = module.forward(input_of(name, dtype))
    layer = xr.GRU(K, O, dtype=dtype)
    _, _, other = layer.forward(draw(2, 3, K, dtype=dtype))
    foreign = [None, 1, "cache", [cache], (), input_of(name, dtype), module, other]
    foreign += [np.zeros((2, 3), np.float64), np.zeros((2, 3, K), dtype).T]
    for thing in foreign:
        with pytest.raises(TypeError, match="cache: expected one made by forward, got"):
            module.backward(thing, gradient_of(y))
    with pytest.raises((TypeError, ValueError), match="cache: expected one made by"):
        layer.backward(cache, np.zeros((2, 3, O), dtype))


@of_every_module
def test_a_cache_of_another_module_is_refused(name):
    module = MODULES[name]()
    y, cache = module.forward(input_of(name))
    others = [make() for make in MODULES.values()]
    others += [Linear(K + 1, O), Embedding(1, O), copy.deepcopy(module)]
    for other in others:
        with pytest.raises(ValueError, match="cache: expected one made by this layer"):
            other.backward(cache, gradient_of(y))


@of_every_module
def test_a_cache_owns_what_it_keeps(name, dtype):
    module, x = MODULES[name](dtype=dtype), input_of(name, dtype)
    y, cache = module.forward(x)
    expected = gradients(module, cache, gradient_of(y))
    x[...] = 1000 if name == "embedding" else np.nan
    y[...] = np.nan
    found = gradients(module, cache, gradient_of(y))
    assert same_bits(found, expected)
    for array in (found[0]["weight"], found[-1]):  # what is given away is given away
        if isinstance(array, np.ndarray):
            array[...] = 7
    assert same_bits(gradients(module, cache, gradient_of(y)), expected)


WAYS = {
    "attribute": lambda m: setattr(m, "weight", m.weight + 1),
    "in place": lambda m: m.weight.__iadd__(1),
    "slice": lambda m: m.weight.__setitem__((0, 0), 7),
    "parameters": lambda m: m.parameters()["weight"].fill(2),
    "memoryview": lambda m: (
        memoryview(m.parameters(writable=True)["weight"]).cast("B").__setitem__(0, 77)
    ),
    "view of a view": lambda m: m.weight.T[::-1].__setitem__(0, 3),
    "load_state_dict": lambda m: m.load_state_dict(
        {n: a + 1 for n, a in m.state_dict().items()}
    ),
    "part": lambda m: m.load_state_dict({"weight": m.weight + 1}, strict=False),
    "optimiser": lambda m: SGD(m, lr=1.0).step(
        {n: np.ones_like(a) for n, a in m.state_dict().items()}
    ),
    "optimiser of parameters": lambda m: SGD(m.parameters(), lr=1.0).step(
        {n: np.ones_like(a) for n, a in m.state_dict().items()}
    ),
}


@of_every_module
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("held", [False, True])
def test_changed_weights_are_refused_and_act(name, way, held):
    module, x = MODULES[name](), input_of(name)
    kept = module.parameters(writable=True) if held else None
    y, cache = module.forward(x)
    WAYS[way](module)
    with pytest.raises(ValueError, match="cache: expected the weights that forward"):
        module.backward(cache, gradient_of(y))
    twin = MODULES[name](seed=2)
    twin.load_state_dict(module.state_dict())
    after, cache = module.forward(x)
    wanted, twin_cache = twin.forward(x)
    assert same_bits(after, wanted)
    assert same_bits(module(x), wanted)
    assert not same_bits(after, y)
    dy = gradient_of(y)
    assert same_bits(gradients(module, cache, dy), gradients(twin, twin_cache, dy))
    del kept


NAMED = {"linear": lambda: Linear(H, 3 * H), "embedding": lambda: Embedding(3 * H, H)}


@pytest.mark.parametrize("write", [*ways("view"), *ways("memory")])
@pytest.mark.parametrize("name", NAMED)
def test_every_way_to_write_a_weight_acts(name, write):
    module = NAMED[name]()
    x = np.arange(3 * H) if name == "embedding" else np.eye(H, dtype="float32")
    before = module(x)
    module.forward(x)
    if write.__name__.startswith("view"):
        write(module.weight)
    else:
        write(module.parameters(writable=True)["weight"])
    expected = NEW if name == "embedding" else NEW.T + module.bias
    assert not same_bits(module(x), before)
    np.testing.assert_allclose(module(x), expected, rtol=1e-6)
    assert same_bits(module.state_dict()["weight"], NEW)


@of_every_module
def test_weights_that_were_only_looked_at_are_not_refused(name):
    module, x = MODULES[name](), input_of(name)
    y, cache = module.forward(x)
    expected = gradients(module, cache, gradient_of(y))
    held = module.parameters(writable=True)
    held["weight"][...] = held["weight"].copy()
    module.load_state_dict(module.state_dict())
    with xr.use_isa(xr.isas()[-1]):
        assert same_bits(gradients(module, cache, gradient_of(y)), expected)


@of_every_module
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_modules_and_caches_are_copied(name, way):
    copied = copy.deepcopy
    if way == "pickle":
        copied = lambda thing: pickle.loads(pickle.dumps(thing))  # noqa: E731
    module, x = MODULES[name](), input_of(name)
    module.weight += 1
    y, cache = module.forward(x)
    expected = gradients(module, cache, gradient_of(y))
    twin, twin_cache = copied((module, cache))
    assert same_bits(gradients(twin, twin_cache, gradient_of(y)), expected)
    with pytest.raises(ValueError, match="another layer's"):
        module.backward(twin_cache, gradient_of(y))
    twin.weight += 1
    assert same_bits(gradients(module, cache, gradient_of(y)), expected)
    module.weight += 1  # the version at which the cache was made is over
    twin, twin_cache = copied((module, cache))
    with pytest.raises(ValueError, match="the weights that forward used"):
        twin.backward(twin_cache, gradient_of(y))
    shallow = copy.copy(module)
    shallow.weight += 1
    assert not same_bits(shallow.state_dict(), module.state_dict())


# Shapes of what is handed out


def reshape(array):
    array.shape = (-1,)


def retype(array):
    array.dtype = np.int8


def resize(array):
    array.resize((1000, 1000), refcheck=False)


@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype):DeprecationWarning")
@of_every_module
@pytest.mark.parametrize("change", [reshape, retype, resize])
def test_shapes_of_what_is_handed_out_are_the_callers(name, change):
    module, x = MODULES[name](), input_of(name)
    expected, cache = module.forward(x)
    handed = [*module.parameters().values(), *module.state_dict().values()]
    handed += module.parameters(writable=True).values()
    handed += [module.weight, *([module.bias] if hasattr(module, "bias") else [])]
    wanted = gradients(module, cache, gradient_of(expected))
    for array in handed:
        if array is None:
            continue
        try:
            change(array)
        except ValueError:
            assert change is resize
        assert same_bits(module(x), expected)
    gc.collect()
    assert same_bits(gradients(module, cache, gradient_of(expected)), wanted)
    assert module.weight.shape == MODULES[name]().weight.shape


@of_every_module
def test_sizes_and_dtype_cannot_change(name):
    module = MODULES[name]()
    for attribute in ("in_features", "out_features", "num_embeddings", "dtype"):
        if hasattr(module, attribute):
            with pytest.raises(
                AttributeError, match=f"{attribute} cannot change: make"
            ):
                setattr(module, attribute, 1000)
    module.note = "mine"
    assert copy.deepcopy(module).note == "mine"


# Objects that lie, threads that write


class Liar:
    """Gives other arrays when it is asked again."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def __array__(self, dtype=None, copy=None):
        return self.arrays.pop(0) if len(self.arrays) > 1 else self.arrays[0]


def test_what_is_given_is_asked_for_once():
    huge, wide = np.full((2, 3), 10**6), np.zeros((2, 3, 9), "float64")
    embedding, linear = MODULES["embedding"](), MODULES["linear"]()
    index, x, dy = input_of("embedding"), input_of("linear"), draw(2, 3, O, seed=2)
    logits, targets = draw(2, 3, V), index
    for call, honest, lie in (
        (embedding, index, huge),
        (
            lambda i: embedding.backward(embedding.forward(i)[1], dy).weights,
            index,
            huge,
        ),
        (linear, x, wide),
        (lambda a: linear.backward(linear.forward(x)[1], a).weights, dy, wide),
        (lambda a: softmax_cross_entropy(a, targets)[1], logits, wide),
        (lambda t: softmax_cross_entropy(logits, t)[1], targets, huge),
        (lambda a: mean_squared_error(a, x)[1], x, wide),
        (lambda a: mean_squared_error(x, a)[1], x, wide),
    ):
        assert same_bits(call(Liar(honest, lie)), call(honest))


@pytest.mark.parametrize("value", [-2, V, 2**40, -(2**60)])
def test_indices_are_the_librarys_own(value):
    index = input_of("embedding").astype(np.int64)
    _, cache = MODULES["embedding"]().forward(index)
    assert not np.shares_memory(cache._input, index)
    for dtype in (np.int64, np.int8, np.uint64):
        for bad in (value, 2**64 - 1):
            if np.iinfo(dtype).min <= bad <= np.iinfo(dtype).max:
                wrong = np.array([1, bad], dtype)
                with pytest.raises(ValueError, match="index: expected integers from 0"):
                    MODULES["embedding"]().forward(wrong)
                with pytest.raises(ValueError, match="targets: expected integers from"):
                    softmax_cross_entropy(draw(2, V), wrong)


def test_a_thread_that_writes_targets_changes_nothing():
    rows = 4000
    logits, targets = draw(rows, V), np.zeros(rows, np.int64)
    index, embedding = np.zeros(rows, np.int64), Embedding(V, 8, seed=1)
    dy, ended = draw(rows, 8, seed=1), threading.Event()

    def disturb():
        while not ended.is_set():
            for array in (targets, index):
                array[...] = 2**50
                array[...] = 0

    writer = threading.Thread(target=disturb)
    writer.start()
    done = 0
    for _ in range(2000):
        try:
            loss, _ = softmax_cross_entropy(logits, targets)
            assert np.isfinite(loss)
            found = embedding.backward(embedding.forward(index)[1], dy)
            assert np.isfinite(found.weights["weight"]).all()
            done += 1
        except ValueError as error:
            assert "expected integers" in str(error)  # noqa: PT017
    ended.set()
    writer.join()
    assert done


def test_masked_arrays_are_refused_by_name():
    masked = np.ma.masked_array(np.zeros((2, K), "float32"), mask=True)
    linear = MODULES["linear"]()
    _, cache = linear.forward(np.zeros((2, K), "float32"))
    for call, name in (
        (lambda: linear(masked), "x"),
        (lambda: linear.backward(cache, masked[:, :O]), "dy"),
        (lambda: softmax_cross_entropy(masked, [0, 0]), "logits"),
        (lambda: mean_squared_error(masked, masked), "y"),
        (lambda: MODULES["embedding"]()(masked.astype(int)), "index"),
        (lambda: truncated_bptt(xr.RNN(K, 2), masked, length=1), "x"),
        (lambda: stream_batches(masked, 1, 1), "sequence"),
        (lambda: linear.load_state_dict({"weight": masked, "bias": masked}), "weight"),
    ):
        with pytest.raises(
            TypeError, match=f"{name}: expected an array without a mask"
        ):
            call()


def test_arrays_of_every_layout_give_the_same_bits():
    linear, x = MODULES["linear"](), draw(5, K)
    y, cache = linear.forward(x)
    dx = linear.backward(cache, y).x
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view("float32").reshape(x.shape)
    raw[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (x.astype(">f4"), np.asfortranarray(x), raw, read_only, x[::-1][::-1]):
        found, kept = linear.forward(other)
        assert same_bits(found, y)
        assert same_bits(linear.backward(kept, y).x, dx)
    loss, dlogits = softmax_cross_entropy(x, [0, 1, 2, 3, 0])
    for targets in (np.array([0, 1, 2, 3, 0], ">i2"), np.uint8([0, 1, 2, 3, 0])):
        again, same = softmax_cross_entropy(np.asfortranarray(x), targets)
        assert (again, same_bits(same, dlogits)) == (loss, True)
    scalar = softmax_cross_entropy(x[0], np.int64(2))
    assert scalar[1].shape == (K,)


# Sizes that are claimed


@of_every_module
def test_claims_are_compared_before_they_are_copied(name):
    module, model = MODULES[name](), LanguageModel("ab", hidden_size=2)
    huge = np.broadcast_to(np.float32(0), (2**31,))
    before = module.state_dict()
    for key in before:
        with pytest.raises(ValueError, match=rf"{key}: expected \["):
            module.load_state_dict({**before, key: huge})
        with pytest.raises(ValueError, match=rf"{key}: expected \["):
            setattr(module, key, huge)
    for key, array in model.state_dict().items():
        with pytest.raises(ValueError, match=rf"^{key}: expected \["):
            model.load_state_dict({**model.state_dict(), key: huge})
        assert same_bits(model.state_dict()[key], array)
    with pytest.raises(ValueError, match="targets: expected shape"):
        softmax_cross_entropy(draw(2, 3), np.broadcast_to(np.int64(0), (2**31,)))
    assert same_bits(module.state_dict(), before)


def calls_with_a_gradient(huge):
    """Return calls that take an array of the shape of another one, by its name."""
    linear, embedding = Linear(2, 3, seed=0), Embedding(5, 2, seed=0)
    _, of_linear = linear.forward(draw(4, 2))
    _, of_embedding = embedding.forward([1, 2])
    layer = xr.GRU(2, 3, seed=0)
    chunk = next(truncated_bptt(layer, draw(4, 1, 2), length=2))
    return {
        "linear": ("dy", lambda: linear.backward(of_linear, huge)),
        "embedding": ("dy", lambda: embedding.backward(of_embedding, huge)),
        "chunk": ("dy", lambda: chunk.backward(huge)),
        "squared error": ("target", lambda: mean_squared_error(draw(2, 3), huge)),
    }


@pytest.mark.parametrize("call", calls_with_a_gradient(None))
def test_gradients_are_compared_before_they_are_copied(call):
    # Backwards, so that it has to be copied; not a byte of it is there.
    huge = np.broadcast_to(np.float32(0), (2**20, 2**31))[::-1]
    name, make = calls_with_a_gradient(huge)[call]
    with pytest.raises(ValueError, match=f"{name}: expected shape"):
        make()


@of_every_module
def test_names_are_strict_unless_asked(name):
    module = MODULES[name]()
    weights = module.state_dict()
    for bad in ({"other": weights["weight"]}, {**weights, "w": weights["weight"]}, {}):
        with pytest.raises(ValueError, match=r"state_dict: expected weight.*; got"):
            module.load_state_dict(bad)
    keys = module.load_state_dict(
        {"w": None, "weight": weights["weight"]}, strict=False
    )
    assert keys.unexpected_keys == ["w"]
    assert keys.missing_keys == [key for key in weights if key != "weight"]
    with pytest.raises(TypeError, match="state_dict: expected a mapping, got list"):
        module.load_state_dict([*weights.items()])
    assert same_bits(module.state_dict(), weights)


# Chunks


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "TimeDepthGridLSTM"])
def test_what_carries_a_state_on_refuses_both_directions(kind):
    layer = getattr(xr, kind)(2, 3, bidirectional=True)
    message = "layer: expected a layer with bidirectional=False"
    with pytest.raises(ValueError, match=message):
        truncated_bptt(layer, draw(6, 1, 2), length=2)


def test_a_language_model_refuses_both_directions():
    model = LanguageModel("ab", hidden_size=4, embedding_size=2)
    model.recurrent = xr.LSTM(2, 2, bidirectional=True)
    for use in (
        lambda: model.loss_and_gradients([[0], [1]], [[1], [0]]),
        lambda: model.evaluate("abab"),
        lambda: model.fit("abababab", steps=1, batch_size=1, length=2),
        lambda: "".join(model.sample(length=2)),
    ):
        with pytest.raises(
            ValueError, match="expected a layer with bidirectional=False"
        ):
            use()


def test_a_chunk_stays_what_it_was():
    layer = xr.LSTM(2, 3, seed=1)
    x = draw(6, 2, 2)
    for depth in (2, 4):
        for chunk in truncated_bptt(layer, x, length=2, depth=depth):
            assert isinstance(chunk, Chunk)
            dy = gradient_of(chunk.y)
            expected = chunk.backward(dy).weights
            chunk.y = chunk.y[:0]
            assert same_bits(chunk.backward(dy).weights, expected)
    chunk = next(truncated_bptt(layer, x, length=2))
    layer.weight_hh_l0 = layer.weight_hh_l0 + 1
    with pytest.raises(ValueError, match="the weights that forward used"):
        chunk.backward(np.zeros((2, 2, 3), "float32"))


def test_the_wrong_dtype_is_named_before_the_first_chunk():
    with pytest.raises(TypeError, match="x: expected float32, got float64"):
        truncated_bptt(xr.RNN(2, 3), np.zeros((4, 1, 2)), length=2)
    with pytest.raises(ValueError, match=r"x: expected \[T, B, I\]"):
        truncated_bptt(xr.RNN(2, 3), np.zeros(4, "float32"), length=2)


def test_places_outside_the_alphabet_are_refused():
    model = LanguageModel("abc", hidden_size=2)
    for bad in ([-1], [3], [2**40]):
        with pytest.raises(ValueError, match="index: expected integers from 0 to 2"):
            model.decode(bad)
    text = "".join(chr(0x4E00 + k) for k in range(20_000))
    with pytest.raises(ValueError, match="unknown to the model") as caught:
        model.encode(text)
    assert len(str(caught.value)) < 200
