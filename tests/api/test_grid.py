"""GridLSTM and TimeDepthGridLSTM: interface, results, errors."""

import math
import pickle

import numpy as np
import pytest
from bits import assert_same_bits, assert_same_results, every_thread_used, random_array
from grids import run_twin
from strange import LAYOUTS

import exactrnn as xr
from exactrnn.reference import dense
from exactrnn.reference import grid as twin


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


def block_weights(layer, direction=0):
    """Return the weights of a layer's blocks for the twin, shared ones once."""
    config, weights = layer._spec, layer.state_dict()
    return [
        [(weights[w], None if b is None else weights[b]) for w, b in dims]
        for dims in config.block_names(direction)
    ]


def twin_grid(layer, sizes, direction=0, lengths=None):
    config = layer._spec
    return twin.Grid(
        config.kinds,
        config.phases,
        config.output == "tanh(o*m)",
        block_weights(layer, direction),
        tuple(sizes),
        config.set_steps,
        lengths,
    )


def random_layer_input(layer, shape, seed=1):
    return random_array(np.random.default_rng(seed), shape, layer.dtype.name, 2.0)


def twin_side(layer, k, x, direction=0):
    """Return (h, m) of a side with input, by the twin of a linear layer."""
    config, weights = layer._spec, layer.state_dict()
    w, b = config.side_names(direction)[config.sides.index(k)]
    flat = x.reshape(-1, x.shape[-1])
    y = dense.linear_forward(flat, weights[w], None if b is None else weights[b])
    H = config.hidden_size
    parts = [y[:, i : i + H] for i in range(0, y.shape[1], H)]
    parts = [part.reshape(*x.shape[:-1], H) for part in parts]
    return (parts[0], parts[1]) if len(parts) > 1 else (parts[0], None)


# The general grid


GENERAL = {
    "plain": {"dims": 2, "sizes": (None, 3)},
    "paper's image": {
        "dims": 3,
        "sizes": (None, None, 2),
        "shared": (True, True, False),
        "priority": (2,),
    },
    "two sides": {"dims": 2, "sides": (0, 1), "input_size": (3, 4)},
    "without memory": {"dims": 2, "kinds": ("lstm", "relu"), "sizes": (None, 2)},
    "tied": {"dims": 2, "tied": True, "sizes": (None, 2), "bias": False},
    "one dimension": {"dims": 1, "sizes": (4,)},
}


def make_general(name, dtype="float32"):
    options = {"input_size": 3, "hidden_size": 5, "seed": 2, "dtype": dtype}
    return xr.GridLSTM(**(options | GENERAL[name]))


def general_problem(layer, B=2):
    """Return sizes, inputs and borders for a layer."""
    sizes = tuple(size or 3 + k for k, size in enumerate(layer.sizes))
    rng = np.random.default_rng(7)
    inputs, borders, dends = [], [], []
    for k in range(layer.dims):
        lead = (*twin.line_of(sizes, k), B)
        shape = (*lead, layer.hidden_size)
        h, m, dh, dm = (random_array(rng, shape, layer.dtype.name) for _ in range(4))
        memory = layer.kinds == "lstm" or layer.kinds[k] == "lstm"
        width = layer._spec.input_sizes[k]
        if width is not None:
            inputs.append(random_array(rng, (*lead, width), layer.dtype.name))
            borders.append(None)
        else:
            borders.append((h, m) if memory else h)
        dends.append((dh, dm) if memory else dh)
    return sizes, inputs, borders, dends


def as_pair(border):
    return border if isinstance(border, tuple) else (border, None)


@pytest.mark.parametrize("name", GENERAL)
def test_general_grid_equals_twin(isa, dtype, name):
    layer = make_general(name, dtype)
    sizes, inputs, borders, dends = general_problem(layer)
    x = inputs[0] if len(inputs) == 1 else inputs
    ends, cache = layer.forward(x, borders, sizes=sizes)
    grads = layer.backward(cache, dends)
    for one, other in zip(layer(x, borders, sizes=sizes), ends, strict=True):
        for a, b in zip(as_pair(one), as_pair(other), strict=True):
            assert a is b or a.tobytes() == b.tobytes()

    config = layer._spec
    pairs, places = [], dict(zip(config.sides, inputs, strict=True))
    for k, border in enumerate(borders):
        pairs.append(twin_side(layer, k, places[k]) if k in places else as_pair(border))
    grid = twin_grid(layer, sizes)
    expected = run_twin(grid, tuple(pairs), tuple(as_pair(d) for d in dends))
    for k, end in enumerate(ends):
        for letter, part in zip("hm", as_pair(end), strict=True):
            if part is not None:
                assert_same_bits(f"end {letter}{k}", part, expected[f"end {letter}{k}"])
    for k, points in enumerate(cache.points):
        assert_same_bits(f"points {k}", as_pair(points)[0], expected[f"point h{k}"])
    for index, k in enumerate(config.sides):
        parts = [
            expected[f"dborder {s}{k}"] for s in "hm" if f"dborder {s}{k}" in expected
        ]
        dy = np.concatenate([p.reshape(-1, 5) for p in parts], axis=1)
        w, b = config.side_names(0)[index]
        W, flat = layer.state_dict()[w], inputs[index].reshape(len(dy), -1)
        zeros = [np.zeros_like(W), np.zeros(len(W), dtype) if b else None]
        dx, dW, db = dense.linear_backward(flat, W, dy, *zeros)
        got = grads.x if len(inputs) == 1 else grads.x[index]
        assert_same_bits("dx", got, dx.reshape(inputs[index].shape))
        assert_same_bits(w, grads.weights[w], dW)
        assert b is None or grads.weights[b].tobytes() == db.tobytes()
        assert grads.borders[k] is None
    for number, dims in enumerate(config.block_names(0)):
        for k, (w, b) in enumerate(dims):
            assert_same_bits(w, grads.weights[w], expected[f"set {number} dW{k}"])
            assert b is None or b in grads.weights


def test_borders_default_to_zeros_and_give_gradients():
    layer = xr.GridLSTM(3, 4, sizes=(None, 2), seed=1)
    x = random_layer_input(layer, (5, 2, 3))
    zero = np.zeros((2, 2, 4), np.float32)
    for borders in (None, (None, None), ((None, zero), None), ((zero, zero), None)):
        ends = layer(x, borders)
        assert_same_bits("h", ends[0][0], layer(x)[0][0])
    _, cache = layer.forward(x)
    grads = layer.backward(cache, (None, (np.ones((5, 2, 4), np.float32), None)))
    dh, dm = grads.borders[0]
    assert dh.shape == dm.shape == (2, 2, 4)
    assert dh.any()
    assert dm.any()
    assert grads.x.shape == x.shape
    assert grads.weights.keys() == layer.state_dict().keys()


def test_grid_without_sides_runs_on_borders():
    layer = xr.GridLSTM(1, 4, sides=(), seed=1)
    h = np.ones((3, 2, 4), np.float32)
    ends = layer(None, ((h, None), None), sizes=(5, None))
    assert ends[0][0].shape == (3, 2, 4)
    assert ends[1][0].shape == (5, 2, 4)
    _, cache = layer.forward(None, ((h, None), None), sizes=(5, None))
    assert layer.backward(cache, (ends[0], None)).x is None


def test_lengths_of_a_row_are_a_smaller_grid():
    layer = xr.GridLSTM(3, 4, dims=2, sides=(0, 1), seed=1)
    lengths = np.array([[4, 3], [2, 3], [1, 1], [0, 2]])
    x = [random_layer_input(layer, (3, 4, 3)), random_layer_input(layer, (4, 4, 3), 2)]
    dends = [
        tuple(random_layer_input(layer, (n, 4, 4), 3 + n) for _ in "hm") for n in (3, 4)
    ]
    ends, cache = layer.forward(x, lengths=lengths)
    grads = layer.backward(cache, dends)
    for b, (n0, n1) in enumerate(lengths):
        own = [x[0][:n1, b : b + 1], x[1][:n0, b : b + 1]]
        alone, kept = layer.forward(own)
        for k, n in enumerate((n1, n0)):
            assert_same_bits("h", ends[k][0][:n, b : b + 1], alone[k][0])
            assert not ends[k][0][n:, b].any()
        part = [
            tuple(d[:n, b : b + 1] for d in pair)
            for n, pair in zip((n1, n0), dends, strict=True)
        ]
        single = layer.backward(kept, part)
        for k, n in enumerate((n1, n0)):
            assert_same_bits("dx", grads.x[k][:n, b : b + 1], single.x[k])
            assert not grads.x[k][n:, b].any()
        for name, gate in cache.gates.items():
            assert_same_bits(name, gate[:n0, :n1, b : b + 1], kept.gates[name])
            assert not gate[n0:, :, b].any()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layout_of_lengths_does_not_matter(layout):
    layer = xr.GridLSTM(3, 4, sizes=(None, 3), seed=1)
    x = random_layer_input(layer, (4, 4, 3))
    lengths = np.array([[4, 3], [2, 3], [1, 1], [0, 2]])
    ends = [layer(x, lengths=form) for form in (lengths, layout(lengths))]
    assert_same_bits("h", ends[1][0][0], ends[0][0][0])


def test_padding_of_the_input_is_never_read():
    layer = xr.GridLSTM(3, 4, dims=2, sides=(0, 1), seed=1)
    lengths = [[4, 3], [2, 1]]
    x = [random_layer_input(layer, (3, 2, 3)), random_layer_input(layer, (4, 2, 3), 2)]
    results = []
    for fill in (0.0, np.nan):
        x[0][1:, 1], x[1][2:, 1] = fill, fill
        ends, cache = layer.forward(x, lengths=lengths)
        grads = layer.backward(cache, ends)
        results.append({"end": ends[0][0], "dx": grads.x[0], **grads.weights})
    assert_same_results(results[1], results[0])


def test_cache_owns_its_input():
    layer = xr.GridLSTM(3, 4, sizes=(None, 2), seed=1)
    x = random_layer_input(layer, (5, 2, 3))
    ends, cache = layer.forward(x)
    before = layer.backward(cache, ends)
    x[...] = 7
    after = layer.backward(cache, ends)
    assert_same_results(after.weights, before.weights)


def test_threads_do_not_change_bits(threads, dtype):
    layer = make_general("paper's image", dtype)
    sizes, (x,), borders, dends = general_problem(layer, B=3)
    ends, cache = layer.forward(x, borders, sizes=sizes)
    grads = layer.backward(cache, dends)
    with xr.threads(1):
        expected, kept = layer.forward(x, borders, sizes=sizes)
        one = layer.backward(kept, dends)
    assert_same_bits("end", ends[0][0], expected[0][0])
    assert_same_results(grads.weights, one.weights)


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_parameter_count_is_the_papers(dims):
    """N * 4d(Nd + 1) for one block, that times D untied layers."""
    d, D = 5, 3
    sizes = (None,) * (dims - 1) + (D,)
    block = dims * 4 * d * (dims * d + 1)
    side = 2 * d * (3 + 1)
    shared = xr.GridLSTM(3, d, dims, sizes=sizes)
    assert shared.num_parameters == block + side
    layered = xr.GridLSTM(
        3, d, dims, sizes=sizes, shared=(True,) * (dims - 1) + (False,)
    )
    assert layered.num_parameters == D * block + side
    tied = xr.GridLSTM(3, d, dims, sizes=sizes, tied=True)
    assert tied.num_parameters == block // dims + side


def test_weights_are_named_by_dimension_and_position():
    layer = xr.GridLSTM(3, 4, sizes=(2, 2), shared=(False, False), bias=False)
    names = ["weight_ih_d1"]
    names += [
        f"weight_hh_d{k}_p{i}_{j}" for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ]
    assert list(layer.state_dict()) == names
    tied = xr.GridLSTM(3, 4, tied=True)
    assert list(tied.state_dict()) == [
        "weight_ih_d1",
        "bias_ih_d1",
        "weight_hh",
        "bias_hh",
    ]
    assert tied.weight_hh.shape == (16, 8)


def test_initialisation_options():
    layer = xr.GridLSTM(3, 4, init="orthogonal", forget_bias=2.0, seed=1)
    bias = layer.bias_hh_d0.reshape(4, 4)
    assert (bias[1] == 2).all()
    assert not bias[[0, 2, 3]].any()
    block = layer.weight_hh_d0[:4]
    np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-6)
    chrono = xr.TimeDepthGridLSTM(3, 4, init=("chrono", 50), seed=1)
    bias = chrono.bias_hh_time_l0.reshape(4, 4)
    assert_same_bits("i = -f", bias[0], -bias[1])
    assert repr(layer) == "GridLSTM(3, 4, init='orthogonal', forget_bias=2.0)"


# Time and depth


LAYERS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "shared": {"num_layers": 3, "shared": True},
    "tied": {"num_layers": 2, "tied": True},
    "time first": {"num_layers": 2, "priority": "time"},
    "no priority": {"num_layers": 2, "priority": "none", "output": "o*tanh(m)"},
    "depth without memory": {"num_layers": 2, "depth": "tanh", "bias": False},
    "bidirectional": {"num_layers": 2, "bidirectional": True},
}
LENGTHS = np.array([4, 6, 0, 1])


def make_layer(name, dtype="float32", **options):
    return xr.TimeDepthGridLSTM(3, 5, seed=4, dtype=dtype, **(LAYERS[name] | options))


def layer_problem(layer, T=6, B=4):
    rng = np.random.default_rng(5)
    D = 1 + layer.bidirectional
    dtype = layer.dtype.name
    shape = (layer.num_layers * D, B, 5)
    return {
        "x": random_array(rng, (T, B, 3), dtype, 2.0),
        "state": tuple(random_array(rng, shape, dtype) for _ in "hm"),
        "dy": random_array(rng, (T, B, D * 5), dtype),
        "dstate": tuple(random_array(rng, shape, dtype) for _ in "hm"),
    }


def run(layer, x, state, dy, dstate, lengths=None):
    y, final, cache = layer.forward(x, state, lengths=lengths, gates=True)
    grads = layer.backward(cache, dy, dstate)
    results = {"y": y, "h": final[0], "m": final[1], "dx": grads.x}
    results |= {"dh": grads.state[0], "dm": grads.state[1], **grads.weights}
    return results | {f"gate {name}": gate for name, gate in cache.gates.items()}


def turned(array, lengths):
    """Return rows turned round within their lengths."""
    array = array.copy()
    for b, n in enumerate(lengths):
        array[:n, b] = array[:n, b][::-1]
    return array


def run_layer_twin(layer, x, state, dy, dstate, lengths):
    """The results of `run`, by the twins of grid and linear layer."""
    config, L, D = layer._spec, layer.num_layers, 1 + layer.bidirectional
    boxes = np.stack([np.full(len(lengths), L), lengths], axis=1)
    mask = np.arange(len(x))[:, None] < lengths
    x = np.where(mask[..., None], x, x.dtype.type(0))
    parts = []
    for d in range(D):
        own = turned(x, lengths) if d else x
        grid = twin_grid(layer, (L, len(x)), d, boxes)
        borders = (twin_side(layer, 0, own, d), tuple(s[d::D] for s in state))
        dh = dy[:, :, 5 * d : 5 * d + 5]
        dh = turned(dh, lengths) if d else dh
        dm = np.zeros_like(dh) if layer.depth == "lstm" else None
        dends = ((dh, dm), tuple(s[d::D] for s in dstate))
        found = run_twin(grid, borders, dends)
        dy_side = [found[f"dborder {s}0"] for s in "hm" if f"dborder {s}0" in found]
        flat = np.concatenate([p.reshape(-1, 5) for p in dy_side], axis=1)
        (w, b), weights = config.side_names(d)[0], layer.state_dict()
        zeros = [np.zeros_like(weights[n]) if n else None for n in (w, b)]
        dx, dW, db = dense.linear_backward(own.reshape(-1, 3), weights[w], flat, *zeros)
        found["dx"] = np.where(mask[..., None], dx.reshape(x.shape), x.dtype.type(0))
        found["dx"] = turned(found["dx"], lengths) if d else found["dx"]
        found["y"] = turned(found["end h0"], lengths) if d else found["end h0"]
        found |= {w: dW, b: db}
        for number, names in enumerate(config.block_names(d)):
            for k, pair in enumerate(names):
                for name, letter in zip(pair, ("dW", "db"), strict=True):
                    if name:
                        found[name] = found[f"set {number} {letter}{k}"]
        parts.append(found)
    results = {"y": np.concatenate([p["y"] for p in parts], axis=2)}
    results["dx"] = parts[0]["dx"] + parts[1]["dx"] if D == 2 else parts[0]["dx"]
    for key, name in (
        ("h", "end h1"),
        ("m", "end m1"),
        ("dh", "dborder h1"),
        ("dm", "dborder m1"),
    ):
        results[key] = np.stack([p[name] for p in parts], axis=1).reshape(L * D, -1, 5)
    for part in parts:
        results |= {n: part[n] for n in layer.state_dict() if n in part}
    return results


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
def test_layer_equals_twin(isa, dtype, name, lengths):
    layer = make_layer(name, dtype)
    problem = layer_problem(layer)
    full = np.full(4, 6) if lengths is None else lengths
    actual = run(layer, **problem, lengths=lengths)
    expected = run_layer_twin(layer, **problem, lengths=full)
    assert_same_results({n: actual[n] for n in expected}, expected)
    y, final = layer(problem["x"], problem["state"], lengths=lengths)
    assert_same_bits("y", y, expected["y"])
    assert_same_bits("m", final[1], expected["m"])


@pytest.mark.parametrize("name", LAYERS)
def test_pieces_of_time_equal_the_whole(name):
    layer = make_layer(name, bidirectional=False)
    problem = layer_problem(layer)
    x, state = problem["x"], problem["state"]
    y, final = layer(x, state)
    first, between = layer(x[:2], state)
    second, last = layer(x[2:], between)
    assert_same_bits("y", np.concatenate([first, second]), y)
    assert_same_bits("h", last[0], final[0])
    assert_same_bits("m", last[1], final[1])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("B", [1, 3])
def test_stream_equals_the_whole(isa, dtype, name, B):
    layer = make_layer(name, dtype, bidirectional=False)
    x = random_layer_input(layer, (5, B, 3))
    y, final = layer(x)
    stream = layer.stream(batch_size=B)
    out = np.empty((B, 5), dtype)
    for t in range(5):
        given = None if t % 2 else out
        assert_same_bits(f"y {t}", stream.step(x[t], given), y[t])
    for own, other in zip(stream.state, final, strict=True):
        assert_same_bits("state", own, other)
    stream.reset()
    assert_same_bits("again", stream.step(x[0]), y[0])


def test_stream_takes_strided_input_and_follows_the_weights():
    layer = make_layer("three layers")
    stream = layer.stream(batch_size=2)
    wide = random_layer_input(layer, (2, 6))
    expected = layer(np.ascontiguousarray(wide[:, ::2])[None])[0][0]
    assert_same_bits("y", stream.step(wide[:, ::2]), expected)
    layer.weight_ih = layer.weight_ih * 2
    stream.reset()
    expected = layer(np.ascontiguousarray(wide[None, :, :3]))[0][0]
    assert_same_bits("y", stream.step(wide[:, :3]), expected)
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="out: expected"):
        stream.step(x, np.empty((2, 4), np.float32))
    with pytest.raises(TypeError, match="x: expected float32"):
        stream.step(x.astype("float64"))
    with pytest.raises(ValueError, match="bidirectional"):
        make_layer("bidirectional").stream()


def test_layouts_agree():
    layer = make_layer("three layers")
    first = make_layer("three layers", batch_first=True)
    x = random_layer_input(layer, (6, 4, 3))
    y, _ = layer(x)
    assert_same_bits("batch first", first(x.swapaxes(0, 1))[0].swapaxes(0, 1), y)
    alone, (h, _) = layer(x[:, 1])
    assert_same_bits("unbatched", alone, y[:, 1])
    assert h.shape == (3, 5)
    out = np.empty((4, 6, 5), np.float32)
    result, _ = first(x.swapaxes(0, 1), out=out)
    assert result is out
    assert_same_bits("out", out.swapaxes(0, 1), y)


def test_no_steps_hand_the_state_on():
    layer = make_layer("three layers")
    state = layer_problem(layer)["state"]
    y, final, cache = layer.forward(np.zeros((0, 4, 3), np.float32), state)
    assert y.shape == (0, 4, 5)
    assert_same_bits("h", final[0], state[0])
    grads = layer.backward(cache, y, state)
    assert_same_bits("dm", grads.state[1], state[1])


def test_cache_shows_gates_and_states():
    layer = make_layer("bidirectional")
    problem = layer_problem(layer)
    y, _, cache = layer.forward(problem["x"], lengths=LENGTHS, gates=True)
    assert len(cache.gates) == 4 * 2 * 2 * 2
    assert cache.gates["o_depth_l1_reverse"].shape == (6, 4, 5)
    assert not cache.gates["i_time_l0"][4:, 0].any()
    last = cache.states["h_depth_l1"], cache.states["h_depth_l1_reverse"]
    assert_same_bits("y", np.concatenate(last, axis=2), y)


def test_saved_layers_are_equal(tmp_path):
    pytest.importorskip("safetensors")
    layers = [
        make_layer("bidirectional", forget_bias=1.0),
        make_general("paper's image"),
    ]
    layers += [make_general("two sides")]
    for number, layer in enumerate(layers):
        xr.save(layer, tmp_path / f"{number}")
        for other in (
            xr.load(tmp_path / f"{number}"),
            pickle.loads(pickle.dumps(layer)),
        ):
            assert repr(other) == repr(layer)
            assert_same_results(other.state_dict(), layer.state_dict())
            assert other._spec == layer._spec


def test_repr_says_what_differs():
    assert repr(xr.TimeDepthGridLSTM(3, 4, 2, priority="none")) == (
        "TimeDepthGridLSTM(3, 4, num_layers=2, priority='none')"
    )
    grid = xr.GridLSTM((3, 2), 4, sides=[0, 1], kinds=["lstm", "tanh"], priority=[-1])
    assert repr(grid) == (
        "GridLSTM((3, 2), 4, sides=(0, 1), kinds=('lstm', 'tanh'), priority=(1,))"
    )


def test_central_difference_of_the_whole_layer():
    """Projection, grid and layouts together, in float64."""
    layer = make_layer("bidirectional", "float64")
    problem = layer_problem(layer, T=4)
    lengths = np.array([4, 2, 0, 3])
    results = run(layer, **problem, lengths=lengths)
    rng = np.random.default_rng(9)

    def loss():
        y, final = layer(problem["x"], problem["state"], lengths=lengths)
        pairs = [(y, problem["dy"]), *zip(final, problem["dstate"], strict=True)]
        return math.fsum(math.fsum((a * b).flat) for a, b in pairs)

    places = {"dx": problem["x"], "dh": problem["state"][0], "dm": problem["state"][1]}
    places |= layer.parameters()
    for name, array in places.items():
        direction, before = rng.standard_normal(array.shape), array.copy()
        sides = []
        for sign in (1, -1):
            array[...] = before + sign * 1e-5 * direction
            sides.append(loss())
        array[...] = before
        expected = (sides[0] - sides[1]) / 2e-5
        actual = math.fsum((results[name] * direction).flat)
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-8), name
