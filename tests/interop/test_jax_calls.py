"""`exactrnn.jax`: the bits of the layers under JAX's transformations; what is refused.

Gradients are compared with the bits of `backward`, and with what JAX derives from a
`lax.scan` in float64, which is not ours.
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits
from layer_kinds import KINDS, draw_state, make_kind
from processes import run_python

jax = pytest.importorskip("jax", reason="needs jax: extra jax")

import jax.numpy as jnp  # noqa: E402 (jax first)
from jax.sharding import Mesh, PartitionSpec  # noqa: E402

import exactrnn as xr  # noqa: E402
import exactrnn.jax as xrj  # noqa: E402
from exactrnn import _core  # noqa: E402
from exactrnn.interop import _lines  # noqa: E402
from exactrnn.interop.jax import _calls, _operators, _plans  # noqa: E402

T, B, I, H = 5, 3, 4, 6
ROWS = _core.DIRECT_ROWS
FUNCTIONS = {"LSTM": xrj.lstm, "GRU": xrj.gru, "RNN": xrj.rnn}
RUN_KINDS = [k for k in KINDS if not re.match("clockwork|leaky-", k)]
LAYERS = {
    "lstm": lambda **o: xr.LSTM(I, H, seed=1, **o),
    "lstm-proj": lambda **o: xr.LSTM(I, H, 2, bidirectional=True, proj_size=2, **o),
    "lstm-peepholes": lambda **o: xr.LSTM(I, H, 2, peepholes="ifo", clip=0.5, **o),
    "lstm-cifg": lambda **o: xr.LSTM(I, H, coupled="input", omit="o", **o),
    "gru": lambda **o: xr.GRU(I, H, 3, bidirectional=True, seed=1, **o),
    "gru-before": lambda **o: xr.GRU(I, H, reset_after=False, reverse=True, **o),
    "gru-no-bias": lambda **o: xr.GRU(I, H, bias=False, **o),
    "rnn": lambda **o: xr.RNN(I, H, 2, seed=1, **o),
    "rnn-relu": lambda **o: xr.RNN(I, H, nonlinearity=("leaky_relu", 0.3), **o),
}
"""Layers by name, with what of their options is not read from weights."""
OWN = {
    "lstm-peepholes": {"peepholes": "ifo", "clip": 0.5},
    "lstm-cifg": {"coupled": "input", "omit": "o"},
    "gru-before": {"reset_after": False, "reverse": True},
    "rnn-relu": {"nonlinearity": ("leaky_relu", 0.3)},
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def arrays(result):
    """Return the arrays of a result of JAX as NumPy's, in order."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def input_of(layer, seed=0):
    axes = (B, T) if layer.batch_first else (T, B)
    return draw(*axes, I, dtype=layer.dtype.name, seed=seed)


# Bits


@pytest.mark.parametrize("name", LAYERS)
def test_functions_give_the_bits_of_layers(name, dtype):
    batch_first = dtype == "float64"
    layer = LAYERS[name](dtype=dtype, batch_first=batch_first)
    function, weights = FUNCTIONS[type(layer).__name__], layer.state_dict()
    own = {**OWN.get(name, {}), "batch_first": batch_first}
    x, state = input_of(layer), draw_state(layer, B, seed=3)
    lengths = np.array([2, T, 0])

    def call(x, weights, state=None, lengths=None):
        return function(x, weights, state, lengths=lengths, **own)

    compiled = jax.jit(call)
    for run, given in (
        (compiled, (x, None, None)),
        (call, (x, state, None)),
        (compiled, (x, state, lengths)),
    ):
        first, *rest = given
        expected = layer(first, rest[0], lengths=rest[1])
        expected = [expected[0], *as_tuple(expected[1])]
        assert same_bits(arrays(run(first, weights, *rest)), expected)


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_every_layer_runs_forward_and_back_with_its_bits(kind):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True, seed=1)
    x, state = input_of(layer), draw_state(layer, B, seed=3)
    lengths = np.array([2, T, 1])
    y, final, cache = layer.forward(x, state, lengths=lengths)
    dy = draw(*y.shape, seed=5)
    dstate = tuple(
        draw(*part.shape, seed=6 + k) for k, part in enumerate(as_tuple(final))
    )
    given = dstate if isinstance(final, tuple) else dstate[0]
    known = layer.backward(cache, dy, given)

    @jax.jit
    def both(x, weights, state, dy, given):
        def call(x, weights, state):
            return xrj.run(layer, x, weights, state, lengths=lengths)

        found, back = jax.vjp(call, x, weights, state)
        return found, back((dy, given))

    found, (dx, dweights, dbegin) = both(x, layer.state_dict(), state, dy, given)
    assert same_bits(arrays(found), [y, *as_tuple(final)])
    assert same_bits(np.asarray(dx), known.x)
    assert same_bits(arrays(dbegin), [*as_tuple(known.state)])
    assert {*dweights} == {*known.weights}
    for name, dw in dweights.items():
        assert same_bits(np.asarray(dw), known.weights[name]), name


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_functions_are_those_of_layers(name, dtype):
    layer = LAYERS[name](dtype=dtype, batch_first=True)
    function, own = FUNCTIONS[type(layer).__name__], OWN.get(name, {})
    x, weights = input_of(layer), layer.state_dict()
    y, _, cache = layer.forward(x)
    dy = draw(*y.shape, dtype=dtype, seed=5)
    known = layer.backward(cache, dy)

    def loss(x, weights):
        return (function(x, weights, batch_first=True, **own)[0] * dy).sum()

    dx, dweights = jax.grad(loss, (0, 1))(x, weights)
    assert same_bits(np.asarray(dx), known.x)
    for key, dw in dweights.items():
        assert same_bits(np.asarray(dw), known.weights[key]), key


@pytest.mark.parametrize("isa", xr.isas())
def test_bits_are_the_same_on_every_instruction_set_and_thread_count(isa):
    layer = LAYERS["gru"]()
    x, weights = input_of(layer), layer.state_dict()
    expected = layer(x)
    with xr.use_isa(isa), xr.threads(2):
        found = xrj.gru(x, weights)
    assert same_bits(arrays(found), [*expected])


def test_an_instruction_set_that_is_not_there_is_replaced(monkeypatch):
    layer = LAYERS["lstm"]()
    expected = layer(input_of(layer))
    monkeypatch.setattr(xr.engine, "isa", lambda: "avx1024")
    found = xrj.lstm(input_of(layer), layer.state_dict())
    assert same_bits(arrays(found), [expected[0], *expected[1]])


# Truth


def scanned(x, w, state):
    """Return y of an LSTM over x [T, B, I], as JAX would have it."""

    def step(carry, x_t):
        h, c = carry
        sums = x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        sums += h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = jnp.split(sums, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), y = jax.lax.scan(step, state, x)
    return y, (h, c)


def test_gradients_are_those_that_jax_derives_from_a_scan():
    with jax.enable_x64(True):
        layer = LAYERS["lstm"](dtype="float64")
        x, weights = input_of(layer), layer.state_dict()
        h, c = (draw(1, B, H, dtype="float64", seed=k) for k in (3, 4))
        target = draw(T, B, H, dtype="float64", seed=5)

        def ours(x, weights, h, c):
            y, (h, c) = xrj.lstm(x, weights, (h, c))
            return ((y - target) ** 2).sum() + (h * c).sum()

        def theirs(x, weights, h, c):
            y, (h, c) = scanned(x, weights, (h[0], c[0]))
            return ((y - target) ** 2).sum() + (h * c).sum()

        mine = jax.jit(jax.grad(ours, (0, 1, 2, 3)))(x, weights, h, c)
        known = jax.jit(jax.grad(theirs, (0, 1, 2, 3)))(x, weights, h, c)
    for one, other in zip(arrays(mine), arrays(known), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


# Transformations


def calls_in(function, *arguments):
    """Return how many calls of ours, and loops, a traced function has."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return len(re.findall(r"ffi_call\[", text)), len(re.findall(r"scan\[", text))


@pytest.mark.parametrize("batch_first", [False, True], ids=["time", "batch"])
def test_vmap_over_the_batch_is_one_call(batch_first):
    layer = LAYERS["lstm-proj"](batch_first=batch_first)
    weights = layer.state_dict()
    x = np.stack([input_of(layer, seed=k) for k in range(4)])
    lengths = np.arange(4 * B, dtype=np.int32).reshape(4, B) % (T + 1)
    state = draw_state(layer, B, seed=3)

    def call(x, state, lengths):
        return xrj.lstm(x, weights, state, lengths=lengths, batch_first=batch_first)

    mapped = jax.vmap(call, (0, None, 0))
    found = jax.jit(mapped)(x, state, lengths)
    for k in range(4):
        expected = layer(x[k], state, lengths=lengths[k])
        mine = [a[k] for a in arrays(found)]
        assert same_bits(mine, [expected[0], *expected[1]])
    assert calls_in(mapped, x, state, lengths) == (2, 0)  # of two layers


def test_vmap_of_single_sequences_and_of_vmap():
    layer = LAYERS["gru"]()
    weights = layer.state_dict()
    x = draw(2, 3, T, I)

    def call(x):
        return xrj.gru(x, weights)

    found = jax.vmap(jax.vmap(call))(x)
    assert calls_in(jax.vmap(jax.vmap(call)), x) == (3, 0)
    for k in range(2):
        for b in range(3):
            y, h = layer(x[k, b])
            assert same_bits([a[k, b] for a in arrays(found)], [y, h])


@pytest.mark.parametrize("shape", [(0, T, I), (0, T, B, I), (0, T, 0, I)], ids=str)
def test_vmap_over_nothing_gives_nothing(shape):
    weights = LAYERS["gru"]().state_dict()
    for transform in (lambda call: call, jax.jit):
        y, h = transform(jax.vmap(lambda x: xrj.gru(x, weights)))(jnp.zeros(shape))
        assert y.shape == (*shape[:-1], y.shape[-1])
        assert h.shape[0] == 0


def test_vmap_over_weights_is_a_call_for_each():
    layers = [xr.GRU(I, H, 2, seed=k) for k in range(3)]
    weights = jax.tree.map(lambda *w: np.stack(w), *[g.state_dict() for g in layers])
    x = input_of(layers[0])
    found = jax.vmap(xrj.gru, (None, 0))(x, weights)
    for k, layer in enumerate(layers):
        assert same_bits([a[k] for a in arrays(found)], [*layer(x)])


def test_gradients_of_each_example_are_those_of_the_example_alone():
    layer = LAYERS["lstm"]()
    weights, x = layer.state_dict(), draw(4, T, 2, I)

    def loss(weights, x):
        y, (h, _) = xrj.lstm(x, weights)
        return (y * y).sum() + h.sum()

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(weights, x)
    for k in range(4):
        alone = jax.grad(loss)(weights, x[k])
        for name, dw in alone.items():
            assert same_bits(np.asarray(each[name][k]), np.asarray(dw))


def test_gradients_of_a_mapped_loss_add_up():
    layer = LAYERS["lstm"]()
    weights, x = layer.state_dict(), draw(4, T, I)

    def mapped(weights):
        return jax.vmap(lambda row: xrj.lstm(row, weights)[0].sum())(x).mean()

    def whole(weights):
        y, _ = xrj.lstm(jnp.moveaxis(jnp.asarray(x), 0, 1), weights)
        return y.sum() / 4

    for function in (mapped, jax.jit(mapped)):
        found, known = jax.grad(function)(weights), jax.grad(whole)(weights)
        for name, dw in known.items():
            np.testing.assert_allclose(found[name], dw, rtol=2e-5, atol=1e-6)


def test_a_scan_around_it_carries_the_state():
    layer = LAYERS["lstm"]()
    weights, x = layer.state_dict(), draw(12, B, I)

    def step(state, chunk):
        y, state = xrj.lstm(chunk, weights, state)
        return state, y

    zeros = tuple(np.zeros((1, B, H), np.float32) for _ in range(2))
    final, y = jax.lax.scan(step, zeros, x.reshape(4, 3, B, I))
    expected = layer(x)
    assert same_bits(np.asarray(y).reshape(12, B, H), expected[0])
    assert same_bits(arrays(final), [*expected[1]])


def test_checkpoint_gives_the_same_gradients():
    layer = LAYERS["gru"]()
    x, weights = input_of(layer), layer.state_dict()

    def loss(weights):
        return xrj.gru(x, weights)[0].sum()

    plain, again = (jax.grad(f)(weights) for f in (loss, jax.checkpoint(loss)))
    assert same_bits(arrays(again), arrays(plain))


def test_threads_of_the_caller_share_a_compiled_function():
    layer = LAYERS["gru"]()
    weights = layer.state_dict()
    call = jax.jit(lambda x: xrj.gru(x, weights))
    inputs = [input_of(layer, seed=k) for k in range(20)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, inputs))
    for x, mine in zip(inputs, found, strict=True):
        assert same_bits(arrays(mine), [*layer(x)])


@pytest.mark.parametrize("name", LAYERS)
def test_a_single_step_has_the_bits_of_the_layer(name, dtype):
    """Of few rows it reads the weights themselves, of more a packed copy."""
    layer = LAYERS[name](dtype=dtype)
    function, weights = FUNCTIONS[type(layer).__name__], layer.state_dict()
    own = OWN.get(name, {})
    call = jax.jit(lambda x, weights, state: function(x, weights, state, **own))
    for rows, begins in ((2, False), (2, True), (ROWS, True), (ROWS + 1, True)):
        x = draw(1, rows, I, dtype=dtype, seed=rows)
        state = draw_state(layer, rows, seed=3) if begins else None
        y, final = call(x, weights, state)
        expected, ends = layer(x, state)
        assert same_bits([*arrays(y), *arrays(final)], [expected, *as_tuple(ends)])


def test_changed_weights_count_in_the_next_step():
    step, x = jax.jit(xrj.gru), draw(1, 2, I)
    for seed in range(3):
        layer = xr.GRU(I, H, 3, bidirectional=True, seed=seed)
        y, h = step(x, layer.state_dict())
        assert same_bits([*arrays(y), *arrays(h)], [*layer(x)])


# Devices


def assert_close(found, expected):
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        assert np.abs(one - other).max() < 1e-5


def check_devices(count):
    """Compare outputs and gradients of rows on some devices with those of one call."""
    layer, rows = LAYERS["lstm-peepholes"](), 2 * count
    own, weights = OWN["lstm-peepholes"], jax.tree.map(jnp.asarray, layer.state_dict())
    x, lengths = jnp.asarray(draw(T, rows, I)), jnp.arange(rows) % T
    state = tuple(map(jnp.asarray, draw_state(layer, rows, seed=3)))
    shared, all_alike = PartitionSpec(None, "rows"), PartitionSpec()
    share = partial(
        jax.shard_map,
        mesh=Mesh(np.array(jax.devices()[:count]), ("rows",)),
        in_specs=(shared, all_alike, shared, PartitionSpec("rows")),
    )

    def call(x, weights, state, lengths):
        return xrj.lstm(x, weights, state, lengths=lengths, **own)[0]

    def loss(*given):
        return (call(*given) ** 2).sum()

    def loss_of_all(*given):
        return (share(call, out_specs=shared)(*given) ** 2).sum()

    def own_gradient(*given):  # of the loss of all devices, which each has a part of
        return jax.grad(lambda w: jax.lax.psum(loss(given[0], w, *given[2:]), "rows"))(
            given[1]
        )

    given = (x, weights, state, lengths)
    found = jax.jit(share(call, out_specs=shared))(*given)
    assert same_bits(arrays(found), arrays(call(*given)))
    gradients = [jax.grad(f, argnums=(0, 1, 2))(*given) for f in (loss_of_all, loss)]
    assert_close(*gradients)
    assert_close(share(own_gradient, out_specs=all_alike)(*given), gradients[1][1])


def test_devices_of_shard_map_share_rows_and_add_up_gradients():
    code = "import test_jax_calls as t; t.check_devices(2)"
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    flags = "--xla_force_host_platform_device_count=2"
    run_python(code, PYTHONPATH=path, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")


def test_what_has_no_steps_or_rows_gives_the_state_back():
    layer = LAYERS["lstm"]()
    weights, state = layer.state_dict(), draw_state(layer, B, seed=3)
    y, final = xrj.lstm(draw(0, B, I), weights, state)
    assert y.shape == (0, B, H)
    assert same_bits(arrays(final), [*state])
    y, (h, _) = xrj.lstm(draw(T, 0, I), weights)
    assert (y.shape, h.shape) == ((T, 0, H), (1, 0, H))
    dx = jax.grad(lambda x: xrj.lstm(x, weights)[0].sum())(draw(0, B, I))
    assert dx.shape == (0, B, I)


# What is refused


def test_second_derivatives_and_forward_mode_are_errors():
    layer = LAYERS["gru"]()
    x, weights = input_of(layer), layer.state_dict()

    def loss(x):
        return xrj.gru(x, weights)[0].sum()

    with pytest.raises(TypeError, match=r"forward-mode|jvp"):
        jax.jvp(loss, (x,), (x,))
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.grad(lambda x: jax.grad(loss)(x).sum())(x)


def test_lengths_out_of_range_are_an_error_when_it_runs():
    layer = LAYERS["gru"]()
    x, weights = input_of(layer), layer.state_dict()
    call = jax.jit(lambda lengths: xrj.gru(x, weights, lengths=lengths)[0])
    call(np.array([0, 1, T], np.int32))
    for wrong in (T + 1, -1):
        lengths = np.array([0, wrong, 1], np.int32)
        with pytest.raises(
            Exception, match=rf"lengths\[1\]: expected 0..T=5, got {wrong}"
        ):
            call(lengths).block_until_ready()
        with pytest.raises(ValueError, match=r"lengths\[1\]: expected 0..T=5"):
            xrj.gru(x, weights, lengths=lengths)


def wrong_calls():
    weights = xr.LSTM(I, H, seed=1).state_dict()
    x, h = draw(T, B, I), draw(1, B, H)
    less = {name: w for name, w in weights.items() if name != "bias_hh_l0"}
    return [
        ((draw(T, B, I + 1), weights), {}, ValueError, r"x: expected \[T, B, I=4\]"),
        ((draw(I), weights), {}, ValueError, r"x: expected \[T, B, I=4\]"),
        ((x.tolist(), weights), {}, TypeError, "x: expected an array of float32 or"),
        ((x.astype("f2"), weights), {}, TypeError, "x: expected an array of float32"),
        ((x.astype("f8"), weights), {}, TypeError, "x: expected float32, got float64"),
        ((x, [1]), {}, TypeError, "weights: expected a mapping"),
        ((x, {}), {}, ValueError, "weights: expected weight_ih_l0"),
        ((x, {0: x, **weights}), {}, TypeError, "weights: expected names as keys"),
        (
            (x, {n: w.tolist() for n, w in weights.items()}),
            {},
            TypeError,
            "weight_ih_l0: expected an array of float32 or float64, got list",
        ),
        (
            (x, {n: w.ravel() for n, w in weights.items()}),
            {},
            ValueError,
            r"weight_ih_l0: expected \[G\*H, I\], got \(96,\)",
        ),
        ((x, less), {}, ValueError, "weights: expected .* missing 'bias_hh_l0'"),
        (
            (x, {**less, "bias_ih_l0": draw(7)}),
            {},
            ValueError,
            r"missing 'bias_hh_l0'\nbias_ih_l0: expected \(24,\), got \(7,\)",
        ),
        ((x, weights, h), {}, TypeError, r"state: expected the tuple \(h, c\)"),
        ((x, weights, (h, h[0])), {}, ValueError, r"state c: expected \(1, 3, 6\)"),
        ((x, weights), {"lengths": [1, 2]}, ValueError, r"lengths: expected \[B=3\]"),
        ((x, weights), {"lengths": [1.0] * 3}, TypeError, "lengths: expected integers"),
        ((x, weights), {"peephole": "i"}, ValueError, "options: .*unknown 'peephole'"),
        ((x, weights), {"dropout": 0.5}, ValueError, "dropout: expected none of"),
        ((x, weights), {"num_layers": 2}, ValueError, "num_layers: expected none of"),
        ((x, weights), {"peepholes": "x"}, ValueError, "peepholes: expected"),
    ]


@pytest.mark.parametrize(("given", "options", "error", "says"), wrong_calls())
def test_what_is_wrong_is_said_while_it_is_traced(given, options, error, says):
    with pytest.raises(error, match=says):
        xrj.lstm(*given, **options)


def test_layers_that_cannot_be_run_are_named():
    x = draw(T, B, I)
    clockwork = xr.ClockworkRNN(I, H, periods=(1, 2), seed=1)
    others = xr.GRU(I, H, layer_norm=True, seed=1), xr.Layer(xr.cells.MGU(), I, H)
    leaky = xr.LeakyRNN(I, H, leak=0.5, learn_leak=True, seed=1)
    for layer in (clockwork, leaky, *others):
        with pytest.raises(
            NotImplementedError, match="without a clock, a learned leak"
        ):
            xrj.run(layer, x)
    for layer in (xr.LSTMCell(I, H), xr.EchoState(I, H), None, xr.LSTM):
        with pytest.raises(TypeError, match="layer: expected a recurrent layer, got"):
            xrj.run(layer, x)


# The handlers by themselves: programs that were made for others


def call_handler(name="forward", drop=0, **changes):
    """Call a handler as `_calls` does, with some attributes or arguments changed."""
    layer = xr.GRU(I, H, seed=1)
    plan = _plans.plan_of(_lines.describe("GRU", layer.arguments()))
    [own] = plan.layers
    numbers = _calls._core.xla_call(own.numbers, False, False, 0, own.roles, ())
    attributes = {
        "cell": "gru",
        "isa": xr.isa(),
        "numbers": np.array(numbers, np.int64),
        "reals": np.array(own.reals, np.float64),
    }
    for key, change in changes.items():
        attributes[key] = change(attributes[key])
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((T, B, H), (1, B, H))]
    arguments = [draw(T, B, I), *layer.state_dict().values()]
    found = jax.ffi.ffi_call(f"exactrnn_{name}", shapes)(
        *arguments[: len(arguments) - drop], **attributes
    )
    return [part.block_until_ready() for part in found]


def changed(place, value):
    def change(numbers):
        return np.where(np.arange(len(numbers)) == place, value, numbers)

    return change


def test_a_right_call_of_a_handler_is_right():
    layer = xr.GRU(I, H, seed=1)
    assert same_bits(arrays(call_handler()), [*layer(draw(T, B, I))])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cell": lambda _: "toy"}, "compiled with this version"),
        ({"numbers": changed(0, 0)}, "compiled with this version"),
        ({"numbers": lambda n: n[:-1]}, "compiled with this version"),
        ({"numbers": lambda n: n.astype("i4")}, "compiled with this version"),
        ({"numbers": changed(9, 2)}, "compiled with this version"),
        ({"numbers": changed(9, 99)}, "compiled with this version"),
        ({"reals": lambda r: r[:2]}, "compiled with this version"),
        ({"numbers": changed(1, H + 1)}, "argument 1: expected 84 elements"),
        ({"numbers": changed(14, 1)}, "argument 1: expected 3 elements"),
        ({"numbers": changed(14, 8)}, "result 2: expected"),
        ({"numbers": changed(14, 16)}, "result 2: expected .* elements of type 6"),
        ({"numbers": changed(13, 7)}, "expected fewer buffers"),
        ({"drop": 1}, "argument 4: expected 18 elements"),
        ({"name": "backward"}, "argument 1: expected"),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_a_call_that_does_not_fit_is_an_error(changes, says):
    with pytest.raises(Exception, match=f"exactrnn: .*{says}"):
        call_handler(**changes)


def test_equal_networks_have_one_plan_and_one_operator():
    layer = LAYERS["lstm-peepholes"]()
    lines = {_lines.describe("LSTM", layer.arguments()) for _ in range(2)}
    [line] = lines
    plan = _plans.plan_of(line)
    assert _operators.operator_of(plan) is _operators.operator_of(_plans.plan_of(line))
