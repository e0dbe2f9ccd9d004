"""Live layers of Keras: the same outputs from ours, over every option, and back."""

import os
import pickle
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

import exactrnn as xr

os.environ["KERAS_BACKEND"] = "torch"
torch = pytest.importorskip("torch", reason="needs torch: extra rivals")
keras = pytest.importorskip("keras", reason="needs keras: extra rivals")
from exactrnn.keras import KerasLayer, from_keras, to_keras  # noqa: E402

L = keras.layers
B, T, I = 3, 6, 5
BOUND = {"float32": 1e-5, "float64": 1e-12}

KINDS = {
    "simple": lambda **given: L.SimpleRNN(4, **given),
    "lstm": lambda **given: L.LSTM(4, **given),
    "gru": lambda **given: L.GRU(4, **given),
    "gru before": lambda **given: L.GRU(4, reset_after=False, **given),
    "no bias": lambda **given: L.GRU(4, use_bias=False, **given),
    "one cell": lambda **given: L.RNN(L.LSTMCell(3), **given),
    "equal cells": lambda **given: L.RNN([L.GRUCell(4) for _ in range(3)], **given),
    "other cells": lambda **given: L.RNN(
        [L.LSTMCell(3), L.GRUCell(4, reset_after=False), L.GRUCell(2)], **given
    ),
}


@pytest.fixture(params=BOUND)
def dtype(request, monkeypatch):
    """Have Keras compute in one dtype, and NumPy draw in it.

    Keras 3.15 takes products of float64 in float32; torch does it for it here.
    """
    if request.param == "float64":
        monkeypatch.setattr(keras.src.ops, "matmul", torch.matmul)
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def draw(*shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype(keras.config.floatx())


def holes():
    """Return a mask with holes, a row without a step and one that ends early."""
    mask = np.random.default_rng(1).random((B, T)) < 0.6
    mask[0], mask[1, -2:], mask[2, :2] = False, False, False
    mask[1, 0] = mask[2, -1] = True
    return mask


def arrays_of(answer):
    return [keras.ops.convert_to_numpy(a) for a in keras.tree.flatten(answer)]


def fill_biases(layer):
    """Give a built layer biases that count: Keras's first ones are 0 and 1."""
    weights = layer.get_weights()
    drawn = [draw(*w.shape, seed=k) for k, w in enumerate(weights)]
    layer.set_weights([w / 3 for w in drawn])


def assert_same(layer, x=None, **given):
    """Compare the first answer of ours with Keras's, in numbers, shapes and order."""
    x = draw(B, T, I) if x is None else x
    layer(x)
    fill_biases(layer)
    if layer.stateful:
        layer.reset_state()
    expected = arrays_of(layer(x, **given))
    found = arrays_of(from_keras(layer)(x, **given))
    assert [a.shape for a in found] == [a.shape for a in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max() < BOUND[keras.config.floatx()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_layer_gives_what_keras_gives(kind, backwards, dtype):
    for sequences, state, zero in product([False, True], repeat=3):
        options = {"return_sequences": sequences, "return_state": state}
        options |= {"zero_output_for_mask": zero, "go_backwards": backwards}
        assert_same(KINDS[kind](**options))
        assert_same(KINDS[kind](**options), mask=holes())


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_give_what_keras_gives(kind, merge, dtype):
    for sequences, state in product([False, True], repeat=2):
        if merge is None and state and kind != "lstm":
            continue  # one kind is enough: Keras's own shapes are wrong there
        options = {"return_sequences": sequences, "return_state": state}
        for given in ({}, {"mask": holes()}):
            layer = L.Bidirectional(KINDS[kind](**options), merge_mode=merge)
            if merge is None and state:
                x = keras.ops.convert_to_tensor(draw(B, T, I))
                found = from_keras(built(layer))(draw(B, T, I), **given)
                expected = arrays_of(layer.call(x, **given))
                assert len(found) == len(expected) == 6
                assert all(map(close, found, expected))
                continue
            assert_same(layer, **given)


def close(ours, theirs):
    return np.abs(ours - theirs).max() < BOUND[keras.config.floatx()]


@pytest.mark.parametrize("sequences", [False, True])
def test_backward_layer_may_differ(sequences, dtype):
    options = {"return_sequences": sequences}
    back = options | {"go_backwards": True}
    pairs = [
        (L.LSTM(4, **options), L.LSTM(4, activation="relu", **back)),
        (L.LSTM(4, **options), L.LSTM(3, **back)),
        (L.GRU(4, **options), L.SimpleRNN(4, **back)),
        (L.LSTM(4, **back), L.LSTM(4, **options)),
    ]
    for ahead, behind in pairs:
        assert_same(L.Bidirectional(ahead, backward_layer=behind), mask=holes())
        assert_same(L.Bidirectional(ahead, backward_layer=behind))
    one = from_keras(built(L.Bidirectional(L.LSTM(4))))
    assert one.layer.bidirectional


ACTIVATIONS = ["linear", "sigmoid", "tanh", "relu", "softsign", "softplus", "elu"]
ACTIVATIONS += ["leaky_relu", "hard_sigmoid", None, "LeakyReLU", "ELU"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_keras_own(name, dtype):
    objects = {"LeakyReLU": L.LeakyReLU(negative_slope=0.1), "ELU": L.ELU(alpha=0.5)}
    activation = objects.get(name, name)
    assert_same(L.SimpleRNN(4, activation=activation), 2 * draw(B, T, I))
    assert_same(L.LSTM(4, activation=activation, recurrent_activation="hard_sigmoid"))
    assert_same(L.GRU(4, activation=activation, recurrent_activation="softsign"))


def test_initial_states_are_taken_in_keras_order(dtype):
    h = [draw(B, 4, seed=k) for k in range(4)]
    assert_same(L.GRU(4, return_state=True), initial_state=h[0])
    assert_same(L.LSTM(4, return_state=True), initial_state=h[:2])
    for mask in (None, holes()):
        layer = L.Bidirectional(L.LSTM(4, return_state=True))
        assert_same(layer, initial_state=h, mask=mask)
    behind = L.LSTM(3, go_backwards=True, return_state=True)
    layer = L.Bidirectional(L.LSTM(4, return_state=True), backward_layer=behind)
    assert_same(layer, initial_state=[*h[:2], draw(B, 3, seed=8), draw(B, 3, seed=9)])
    cells = [L.GRUCell(4), L.LSTMCell(4)]
    given = [[h[0]], [h[1], h[2]]]
    assert_same(L.RNN(cells, return_state=True), initial_state=given)


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional])
def test_stateful_layer_goes_on(wrap, dtype):
    layer = wrap(L.LSTM(4, stateful=True, return_sequences=True))
    x = draw(B, T, I)
    layer(x)
    layer.reset_state()
    ours = from_keras(layer)
    for _ in range(3):
        assert close(ours(x), arrays_of(layer(x))[0])
    with pytest.raises(ValueError, match=r"x: expected B=3, .* got B=2"):
        ours(x[:2])
    layer.reset_state()
    ours.reset_state()
    assert close(ours(x), arrays_of(layer(x))[0])


def test_dropout_does_nothing(dtype):
    assert_same(L.LSTM(4, dropout=0.5, recurrent_dropout=0.5))


def built(layer, width=I):
    layer.build((None, None, width))
    return layer


def test_inner_layer_streams_trains_and_is_saved(tmp_path):
    taken = from_keras(built(L.GRU(4, return_sequences=True, name="reader")))
    assert repr(taken) == f"<KerasLayer 'reader': {taken.layer!r}>"
    x = draw(B, T, I)
    y = taken(x)
    stream = taken.layer.stream(B)
    assert all(np.array_equal(stream.step(x[:, t]), y[:, t]) for t in range(T))
    xr.save(taken.layer, tmp_path / "gru")
    assert np.array_equal(xr.load(tmp_path / "gru")(x)[0], y)
    copy = pickle.loads(pickle.dumps(taken))
    assert np.array_equal(copy(x), y)
    assert xr.from_keras is from_keras


def test_several_layers_are_not_one():
    taken = from_keras(built(KINDS["other cells"]()))
    assert [type(layer) for layer in taken.layers] == [xr.LSTM, xr.GRU, xr.GRU]
    with pytest.raises(ValueError, match="expected one layer, got several"):
        _ = taken.layer
    stack = from_keras(built(KINDS["equal cells"]()))
    assert stack.layer.num_layers == 3


# What is refused


def own_activation(x):
    return x


class Stranger(L.LSTM):
    """A class of a user."""


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: L.LSTM(4, activation="gelu"), r"LSTM 'n': activation: .*'gelu'"),
        (lambda: L.GRU(4, activation=own_activation), r"activation: .*'function'"),
        (lambda: L.SimpleRNN(4, dtype="bfloat16"), r"dtype: expected one of float32,"),
        (lambda: Stranger(4), r"class: expected .*Stranger'"),
        (lambda: L.Bidirectional(L.ConvLSTM1D(4, 1)), r"layer: expected .*ConvLSTM1D"),
        (lambda: L.RNN([L.LSTMCell(4), Odd(4)]), r"class: expected .*'Odd'"),
        (lambda: L.ConvLSTM1D(4, 1), r"ConvLSTM1D 'n': class: expected"),
        (lambda: L.Dense(4), r"Dense 'n': class: expected a recurrent layer"),
    ],
)
def test_what_is_not_had_is_named(layer, said):
    made = layer()
    made.name = "n"  # not built: options are read before weights
    with pytest.raises(ValueError, match=said):
        from_keras(made)


class Odd(L.GRUCell):
    """A cell of a user."""


def test_option_that_is_not_known_is_refused(monkeypatch):
    layer = built(L.GRU(4, name="n"))
    config = layer.get_config()
    for option, value in (("swish_gate", 3), ("time_major", True), ("units", True)):
        monkeypatch.setattr(
            layer, "get_config", lambda o=option, v=value: config | {o: v}
        )
        with pytest.raises(ValueError, match=rf"GRU 'n': {option}: .* got {value}"):
            from_keras(layer)
    monkeypatch.setattr(layer, "get_config", lambda: config | {"swish_gate": None})
    assert isinstance(from_keras(layer), KerasLayer)


def test_calls_are_checked():
    taken = from_keras(built(L.LSTM(4)))
    x = draw(B, T, I)
    for given, said in (
        ({"x": x[..., :2]}, r"x: expected \[B, T, I=5\]"),
        ({"x": x[:, :0]}, r"T >= 1"),
        ({"x": x, "mask": holes()[:2]}, r"mask: expected \[B=3, T=6\]"),
        ({"x": x, "initial_state": x[:, 0, :4]}, r"initial_state: expected 2 arrays"),
        ({"x": x, "initial_state": [x[:, 0]] * 2}, r"initial_state\[0\]: .*H=4"),
    ):
        with pytest.raises(ValueError, match=said):
            taken(**given)
    for given in ({"x": x.astype("float64")}, {"x": x, "mask": holes().astype(int)}):
        with pytest.raises(TypeError, match=r"float32|bool"):
            taken(**given)
    with pytest.raises(ValueError, match="expected a built layer"):
        from_keras(L.LSTM(4))
    with pytest.raises(TypeError, match="expected a path or a layer or model"):
        from_keras(xr.GRU(3, 4))


# Back to Keras

EXPORTED = {
    "simple": lambda **g: xr.RNN(I, 4, nonlinearity="relu", **g),
    "lstm": lambda **g: xr.LSTM(
        I, 4, activations=(("hard_sigmoid", 1 / 6, 0.5), "softsign", "softsign"), **g
    ),
    "gru": lambda **g: xr.GRU(I, 4, **g),
    "gru before": lambda **g: xr.GRU(I, 4, reset_after=False, **g),
    "no bias": lambda **g: xr.LSTM(I, 4, bias=False, **g),
}
FORMS = [{}, {"reverse": True}, {"bidirectional": True}, {"num_layers": 3}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", EXPORTED)
def test_layer_goes_to_keras_and_back(kind, form, dtype):
    layer = EXPORTED[kind](batch_first=True, dtype=dtype, seed=1, **form)
    class_name, config, weights = to_keras(layer)
    made = built(getattr(L, class_name).from_config(config))
    made.set_weights(weights)
    x = draw(B, T, I)
    y, _ = layer(x)
    y = y[:, ::-1] if layer.reverse else y
    assert close(y, arrays_of(made(x))[0])
    assert close(y, from_keras(made)(x))


def test_directions_keep_their_own_activations():
    layer = xr.RNN(
        I, 4, nonlinearity=("relu", "tanh"), bidirectional=True, batch_first=True
    )
    class_name, config, weights = to_keras(layer)
    made = built(getattr(L, class_name).from_config(config))
    made.set_weights(weights)
    x = draw(B, T, I)
    assert close(layer(x)[0], arrays_of(made(x))[0])


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: xr.LSTM(3, 4, peepholes="i"), "peepholes '', got 'i'"),
        (lambda: xr.GRU(3, 4, clip=1.0), r"clip None, got 1\.0"),
        (lambda: xr.LSTM(3, 4, proj_size=2), "proj_size 0, got 2"),
        (lambda: xr.GRU(3, 4, layer_norm=True), "layer_norm False, got True"),
        (lambda: xr.LSTM(3, 4, coupled="input"), "coupled None, got 'input'"),
        (lambda: xr.GRU(3, 4, 2, bidirectional=True), "num_layers 1 in a bidir"),
        (lambda: xr.RNN(3, 4, nonlinearity=("affine", 2.0)), "activations one of"),
        (
            lambda: xr.LSTM(3, 4, activations=("sigmoid", "relu", "tanh")),
            "activations one for candidate and output",
        ),
    ],
)
def test_what_keras_has_not_is_named(layer, said):
    with pytest.raises(ValueError, match=said):
        to_keras(layer())
    with pytest.raises(TypeError, match="expected an RNN, LSTM or GRU"):
        to_keras(xr.JordanRNN(3, 4))


OTHER_BACKEND = """
import keras, numpy as np
from exactrnn.keras import from_keras
x = np.random.default_rng(0).standard_normal((3, 6, 5)).astype("float32")
layer = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True))
expected = keras.ops.convert_to_numpy(layer(x))
assert keras.backend.backend() == {backend!r}
assert np.abs(from_keras(layer)(x) - expected).max() < 1e-5
"""


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_live_layers_of_other_backends_are_taken(backend):
    pytest.importorskip(backend, reason=f"needs {backend}: extra rivals")
    code = OTHER_BACKEND.format(backend=backend)
    surroundings = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], env=surroundings, check=True)
