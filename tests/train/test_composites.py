"""Composites: parts under one set of names, trained as one, seeded as one."""

import copy
import pickle

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.train import (
    SGD,
    Adam,
    AdamW,
    Composite,
    Dropout,
    Embedding,
    Last,
    Linear,
    RMSprop,
    Sequential,
    clip_global_norm,
    global_norm,
)

I, H, O, T, B = 3, 5, 2, 6, 4
LENGTHS = [6, 1, 4, 0]
X = draw(T, B, I, dtype="float64")


def make_sequential(dtype="float64", seed=1):
    return Sequential(
        xr.LSTM(I, H, dtype=dtype),
        xr.GRU(H, H, dtype=dtype),
        Last(),
        Linear(H, O, dtype=dtype),
        seed=seed,
    )


class Tagger(Composite):
    """A model of a user: an embedding, two layers in a list, a readout in a dict."""

    def __init__(self, seed=None):
        self.embedding = Embedding(7, I)
        self.layers = [xr.GRU(I, H), xr.GRU(H, H)]
        self.heads = {"tag": Linear(H, O)}
        self.seed_parts(seed)

    def forward(self, x):
        embedded, first = self.embedding.forward(x)
        hidden, _, second = self.layers[0].forward(embedded)
        hidden, _, third = self.layers[1].forward(hidden)
        y, fourth = self.heads["tag"].forward(hidden)
        return y, (first, second, third, fourth)

    def backward(self, cache, dy):
        first, second, third, fourth = cache
        head = self.heads["tag"].backward(fourth, dy)
        upper = self.layers[1].backward(third, head.x)
        lower = self.layers[0].backward(second, upper.x)
        embedding = self.embedding.backward(first, lower.x)
        weights = {
            "embedding": embedding,
            "layers": [lower, upper],
            "heads": {"tag": head},
        }
        return xr.train.ModuleGradients(None, weights)


# Names


def test_names_are_those_of_the_parts_with_a_prefix():
    model = Tagger(seed=1)
    parts = {
        "embedding": model.embedding,
        "layers.0": model.layers[0],
        "layers.1": model.layers[1],
        "heads.tag": model.heads["tag"],
    }
    expected = {
        f"{name}.{own}": array
        for name, part in parts.items()
        for own, array in part.state_dict().items()
    }
    assert list(model.parts) == list(parts)
    assert list(model.parameters()) == list(expected)
    assert same_bits(model.state_dict(), expected)
    assert model.num_parameters == sum(a.size for a in expected.values())


def test_a_call_is_forward_without_dropout_and_draws_nothing():
    class Deep(Composite):
        def __init__(self):
            self.layer = xr.LSTM(I, H, 2, dropout=0.5, dtype="float64", seed=1)

        def forward(self, x, lengths=None):
            return self.layer.forward(x, lengths=lengths)

    model = Deep()
    before = model._generator_states()
    expected = model.layer(X, lengths=LENGTHS)[0]
    assert same_bits(model(X, lengths=LENGTHS)[0], expected)
    assert model._generator_states() == before
    assert not same_bits(model.forward(X, lengths=LENGTHS)[0], expected)
    with pytest.raises(TypeError, match="Composite: expected a method forward"):
        Composite()(X)


def test_a_model_is_shown_with_the_number_of_its_weights():
    model = Composite()
    model.net, model.itself = make_sequential(), model
    assert repr(model).split("\n") == [
        "Composite(",
        "  net=Sequential(",
        "    0=LSTM(3, 5, dtype='float64'),  # 200",
        "    1=GRU(5, 5, dtype='float64'),  # 180",
        "    2=Last(),",
        "    3=Linear(5, 2, dtype='float64'),  # 12",
        "  ),  # 392",
        ")  # 392 parameters",
    ]
    model.net = Composite()
    model.net.whole = model
    assert "whole=Composite(...)" in repr(model)
    assert repr(Composite()) == "Composite()"


def test_a_part_with_two_names_counts_once_and_cycles_end():
    model = Composite()
    model.encoder = xr.GRU(I, H, seed=1)
    model.again, model.itself = model.encoder, model
    model.child = Composite()
    model.child.parent, model.child.same = model, model.encoder
    model.child.own = Linear(H, O, seed=1)
    names = {name.rpartition(".")[0] for name in model.parameters()}
    assert names == {"encoder", "child.own"}


def test_weights_are_loaded_whole_or_not_at_all():
    model, other = make_sequential(seed=1), make_sequential(seed=2)
    before = model.state_dict()
    assert not same_bits(before, other.state_dict())
    wrong = {**other.state_dict(), "3.bias": np.zeros(O + 1)}
    with pytest.raises(ValueError, match="bias: expected"):
        model.load_state_dict(wrong)
    with pytest.raises(ValueError, match="missing"):
        model.load_state_dict({"3.bias": np.zeros(O)})
    assert same_bits(model.state_dict(), before)
    found = model.load_state_dict({"3.bias": np.ones(O), "x": 1}, strict=False)
    assert found.unexpected_keys == ["x"]
    assert len(found.missing_keys) == len(before) - 1
    prefixed = {f"net.{name}": a for name, a in other.state_dict().items()}
    model.load_state_dict(prefixed, prefix="net.")
    assert same_bits(model.state_dict(), other.state_dict())
    with model.editing() as weights:
        weights["3.bias"] = np.full(O, 7.0)
    assert model[3].bias.tolist() == [7.0, 7.0]


def through_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("make_copy", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("make", [make_sequential, Tagger])
def test_copies_have_weights_of_their_own(make, make_copy):
    model = make()
    before = model.state_dict()
    twin, optimizer = make_copy((model, Adam(model)))
    assert same_bits(twin.state_dict(), before)
    assert repr(twin) == repr(model)
    optimizer.step({name: np.ones_like(a) for name, a in before.items()})
    assert same_bits(model.state_dict(), before)
    assert not same_bits(twin.state_dict(), before)


def test_one_seed_gives_parts_of_one_kind_different_weights():
    def make(seed):
        return Sequential(
            xr.GRU(H, H, 2, dropout=0.5), xr.GRU(H, H, 2, dropout=0.5), seed=seed
        )

    model, same, other = make(5), make(5), make(6)
    assert same_bits(model.state_dict(), same.state_dict())
    first, second = model[0].state_dict(), model[1].state_dict()
    for name, array in first.items():
        assert not same_bits(array, second[name])
        assert not same_bits(array, other[0].state_dict()[name])
    x = draw(T, B, H)
    assert same_bits(model.forward(x)[0], same.forward(x)[0])  # dropout too
    assert not same_bits(model.forward(x)[0], model(x)[0])


# Sequential


def test_a_call_forward_and_pieces_agree():
    model, x = make_sequential(), draw(T, B, I, dtype="float64")
    y, state = model(x, lengths=LENGTHS)
    kept, after, _ = model.forward(x, lengths=LENGTHS)
    assert same_bits((y, state), (kept, after))
    hidden, _ = model[0](x, lengths=LENGTHS)
    hidden, _ = model[1](hidden, lengths=LENGTHS)
    assert same_bits(y, model[3](model[2](hidden, lengths=LENGTHS)))
    without = Sequential(model[0], model[1], model[3])
    whole, last = without(x)
    first, carried = without(x[:2])
    second, end = without(x[2:], carried)
    assert same_bits(whole, np.concatenate((first, second)))
    assert same_bits(last, end)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_of_a_sequence_of_parts_are_central_differences(lengths):
    model, x = make_sequential(), draw(T, B, I, dtype="float64")
    by = draw(B, O, dtype="float64", seed=1)
    options = {} if lengths is None else {"lengths": lengths}

    def value(x):
        return float((model(x, **options)[0] * by).sum())

    found = model.backward(model.forward(x, **options)[2], by)
    assert found.weights.keys() == model.parameters().keys()
    rng, step = np.random.default_rng(0), 1e-6
    along = rng.standard_normal(x.shape)
    expected = (value(x + step * along) - value(x - step * along)) / (2 * step)
    assert np.isclose((found.x * along).sum(), expected, rtol=1e-6, atol=1e-9)
    weights = model.state_dict()
    for name, array in weights.items():
        along = rng.standard_normal(array.shape)
        sides = []
        for sign in (1, -1):
            model.load_state_dict({**weights, name: array + sign * step * along})
            sides.append(value(x))
        expected = (sides[0] - sides[1]) / (2 * step)
        own = (found.weights[name] * along).sum()
        assert np.isclose(own, expected, rtol=1e-6, atol=1e-9)
        model.load_state_dict(weights)


def test_a_sequence_of_parts_goes_through_truncated_bptt_and_has_a_state_gradient():
    model = Sequential(xr.LSTM(I, H), xr.GRU(H, H), Linear(H, O), seed=0)
    x = draw(12, B, I)
    chunks = list(xr.train.truncated_bptt(model, x, length=4, depth=8))
    assert same_bits(np.concatenate([chunk.y for chunk in chunks]), model(x)[0])
    gradients = chunks[-1].backward(np.ones_like(chunks[-1].y))
    assert gradients.weights.keys() == model.parameters().keys()
    (h, c), g = gradients.state
    assert (h.shape, c.shape, g.shape) == ((1, B, H),) * 3


def test_nested_sequences_give_the_bits_of_flat_ones():
    flat = make_sequential()
    nested = Sequential(
        {"encoder": Sequential(flat[0], flat[1]), "head": Sequential(flat[2], flat[3])}
    )
    x, by = draw(T, B, I, dtype="float64"), draw(B, O, dtype="float64", seed=1)
    y, _, cache = flat.forward(x, lengths=LENGTHS)
    same, _, other = nested.forward(x, lengths=LENGTHS)
    assert same_bits(y, same)
    first, second = flat.backward(cache, by), nested.backward(other, by)
    assert same_bits([*first.weights.values()], [*second.weights.values()])
    assert "encoder.1.bias_ih_l0" in second.weights


@pytest.mark.parametrize("batch_first", [False, True])
def test_last_takes_the_last_step_of_each_row(batch_first):
    x = draw(T, B, H, dtype="float64")
    given = x.swapaxes(0, 1) if batch_first else x
    last = Last(batch_first=batch_first)
    y, cache = last.forward(given, lengths=LENGTHS)
    expected = [x[n - 1, b] if n else np.zeros(H) for b, n in enumerate(LENGTHS)]
    assert same_bits(y, np.array(expected))
    dx = last.backward(cache, np.ones((B, H))).x
    assert dx.shape == given.shape
    steps = dx.swapaxes(0, 1) if batch_first else dx
    assert [int(steps[:, b].sum()) for b in range(B)] == [H, H, H, 0]
    assert all(steps[n - 1, b].all() for b, n in enumerate(LENGTHS) if n)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (Sequential, ValueError, "parts: expected at least one"),
        (lambda: Sequential(xr.GRU), TypeError, r"parts\[0\]: expected a module"),
        (
            lambda: Sequential([xr.GRU(1, 2)]),
            TypeError,
            r"parts\[0\]: expected a module",
        ),
        (lambda: Sequential(*[Linear(2, 2)] * 2), ValueError, "each part in one place"),
        (
            lambda: make_sequential()(X, out=1),
            TypeError,
            "out: expected options",
        ),
        (
            lambda: make_sequential()(X, 1),
            ValueError,
            "state: expected a tuple of 2",
        ),
        (
            lambda: make_sequential().backward(None, None),
            TypeError,
            "cache: expected one",
        ),
        (lambda: Last()(np.zeros(3)), ValueError, r"x: expected \[T, B"),
        (lambda: Last()(np.zeros((3, 2)), lengths=[4, 1]), ValueError, r"lengths\[0\]"),
        (lambda: Tagger().seed_parts(-1), ValueError, "seed"),
    ],
)
def test_what_does_not_fit_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Optimisers of several parts


def test_several_modules_are_trained_as_the_composite_is():
    model, twin = Tagger(seed=1), Tagger(seed=1)
    parts = [twin.embedding, *twin.layers, twin.heads["tag"]]
    whole, several = Adam(model, lr=0.1), Adam(parts, lr=0.1)
    named = Adam({"ab": [twin.embedding, twin.layers[0]]})
    x, dy = np.arange(12).reshape(T, 2) % 7, draw(T, 2, O)
    for _ in range(3):
        gradients = model.backward(model.forward(x)[1], dy)
        grads = twin.backward(twin.forward(x)[1], dy).weights
        listed = [grads["embedding"], *grads["layers"], grads["heads"]["tag"]]
        assert global_norm(gradients) == global_norm(listed) > 0.1
        assert clip_global_norm(listed, 0.1) == clip_global_norm(gradients, 0.1)
        whole.step(gradients)
        several.step(listed)
        assert same_bits(model.state_dict(), twin.state_dict())
    named.step({"ab": listed[:2]})
    assert not same_bits(model.state_dict(), twin.state_dict())


def ones(model):
    return {name: np.ones_like(a) for name, a in model.state_dict().items()}


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
def test_frozen_parts_stay_and_factors_scale_the_rate(kind):
    model, before = make_sequential(), make_sequential().state_dict()
    optimizer = kind(
        model,
        lr=0.125,
        frozen=["0", "1.bias_ih_l0"],
        lr_factors={"3": 2.0, "3.bias": 4},
    )
    plain = make_sequential()
    kind(plain, lr=0.125).step(ones(plain))
    factors = {"3.weight": 2.0, "3.bias": 4.0}
    optimizer.step(ones(model))
    for name, array in model.state_dict().items():
        if name.startswith("0.") or name == "1.bias_ih_l0":
            assert same_bits(array, before[name])
        elif name not in factors:
            assert same_bits(array, plain.state_dict()[name])
        else:
            scaled = make_sequential()
            kind(scaled, lr=0.125 * factors[name]).step(ones(scaled))
            assert same_bits(array, scaled.state_dict()[name])
    trained = {n: g for n, g in ones(model).items() if n[0] == "3"}
    with pytest.raises(ValueError, match="missing or unknown names"):
        optimizer.step(trained)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"frozen": ["4"]}, ValueError, "frozen: expected a name among"),
        ({"frozen": ["0.weight"]}, ValueError, "frozen: expected a name among"),
        ({"frozen": "0"}, TypeError, "frozen: expected several names"),
        ({"frozen": ["0", "1", "3"]}, ValueError, "something left to train"),
        ({"lr_factors": {"x": 1.0}}, ValueError, "lr_factors: expected a name"),
        (
            {"lr_factors": {"0": -1.0}},
            ValueError,
            r"lr_factors\['0'\]: expected a finite",
        ),
        ({"lr_factors": [1]}, TypeError, "lr_factors: expected a mapping"),
    ],
)
def test_names_that_no_part_has_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Adam(make_sequential(), **options)


class NeedsTwo(Last):
    """Reads two arrays."""

    def forward(self, x, other):
        return x + other, None


class NeedsState(Last):
    """Reads a state, which `Sequential` gives."""

    def forward(self, x, state):
        return x, state, None


@pytest.mark.parametrize(
    ("make", "needed"),
    [(lambda: xr.AttentionDecoder("gru", 3, 4, 4), "memory"), (NeedsTwo, "other")],
)
def test_a_part_that_reads_more_than_its_input_is_refused(make, needed):
    message = rf"parts\[1\]: .* whose forward needs {needed} too"
    with pytest.raises(TypeError, match=message):
        Sequential(xr.GRU(3, 3), make())
    assert len(Sequential(NeedsState(), xr.GRU(3, 3))) == 2


def test_two_parts_of_one_name_are_refused():
    parts = {1: xr.GRU(3, 3), "1": xr.GRU(3, 3)}
    with pytest.raises(ValueError, match="parts: expected each name once, got '1'"):
        Sequential(parts)
    model = Composite()
    model.layers = parts
    with pytest.raises(ValueError, match=r"layers\.1: expected one part"):
        model.state_dict()


@pytest.mark.parametrize("part", [Last(), Dropout(0.5)])
@pytest.mark.parametrize("cache", [None, (1, 2), "abc"])
def test_a_part_without_weights_refuses_what_is_no_cache(part, cache):
    with pytest.raises(TypeError, match="cache: expected one of forward"):
        part.backward(cache, np.zeros((2, 3)))
