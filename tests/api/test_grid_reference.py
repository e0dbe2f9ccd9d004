"""`reference.forward` and `backward` of grids beside the kernels; dropout of a grid."""

import pickle

import numpy as np
import pytest
from bits import assert_same_bits, assert_same_results, every_thread_used
from test_grid import (
    GENERAL,
    LAYERS,
    LENGTHS,
    as_pair,
    general_problem,
    layer_problem,
    make_general,
    make_layer,
)

import exactrnn as xr


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


def border_arrays(name, borders):
    """Return the arrays of borders by name."""
    return {
        f"{name} {letter}{k}": part
        for k, border in enumerate(borders)
        if border is not None
        for letter, part in zip("hm", as_pair(border), strict=True)
        if part is not None
    }


def general_results(ends, grads):
    inputs = grads.x if isinstance(grads.x, tuple) else (grads.x,)
    results = border_arrays("end", ends) | border_arrays("dborder", grads.borders)
    results |= {f"dx{k}": dx for k, dx in enumerate(inputs) if dx is not None}
    return results | grads.weights


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
def test_grid_equals_its_reference(isa, dtype, name, ragged):
    layer = make_general(name, dtype)
    sizes, inputs, borders, dends = general_problem(layer)
    lengths = np.stack([np.array(sizes), np.array(sizes) - 1]) if ragged else None
    x = inputs[0] if len(inputs) == 1 else tuple(inputs)
    ends, cache = layer.forward(x, borders, sizes=sizes, lengths=lengths)
    grads = layer.backward(cache, dends)
    again, kept = xr.reference.forward(layer, x, borders, sizes=sizes, lengths=lengths)
    expected = xr.reference.backward(layer, kept, dends)
    assert type(expected) is xr.GridGradients
    assert isinstance(expected.x, tuple) == isinstance(grads.x, tuple)
    assert [type(border) for border in again] == [type(border) for border in ends]
    assert_same_results(general_results(ends, grads), general_results(again, expected))


def test_grid_of_borders_alone_equals_its_reference():
    layer = xr.GridLSTM(1, 4, sides=(), seed=1)
    h = np.ones((3, 2, 4), np.float32)
    ends, cache = layer.forward(None, ((h, None), None), sizes=(5, None))
    again, kept = xr.reference.forward(layer, None, ((h, None), None), sizes=(5, None))
    dends = (ends[0][0], None), None
    grads = layer.backward(cache, dends)
    expected = xr.reference.backward(layer, kept, dends)
    assert expected.x is None
    assert_same_results(general_results(ends, grads), general_results(again, expected))


def layer_results(y, final, grads):
    results = {"y": y, "dx": grads.x, **grads.weights}
    results |= dict(zip(("h", "m"), final, strict=True))
    return results | dict(zip(("dh", "dm"), grads.state, strict=True))


OPTIONS = {
    "plain": {},
    "dropout, batch first": {"dropout": 0.4, "batch_first": True},
}


@pytest.mark.filterwarnings("ignore:dropout option adds")  # one layer has none
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_its_reference(isa, dtype, name, lengths, options):
    layer = make_layer(name, dtype, **OPTIONS[options])
    problem = layer_problem(layer)
    x, state, dy, dstate = (problem[n] for n in ("x", "state", "dy", "dstate"))
    if layer.batch_first:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
    y, final, cache = layer.forward(x, state, lengths=lengths)
    grads = layer.backward(cache, dy, dstate)
    masks = cache.masks
    assert len(masks) == (layer.num_layers - 1 if layer.dropout else 0)
    again, end, kept = xr.reference.forward(
        layer, x, state, lengths=lengths, dropout_masks=masks
    )
    expected = xr.reference.backward(layer, kept, dy, dstate)
    assert type(expected) is xr.reference.Gradients
    assert_same_results(
        layer_results(y, final, grads), layer_results(again, end, expected)
    )


def test_unbatched_layer_and_zero_state_equal_their_reference():
    layer = make_layer("bidirectional", dropout=0.3)
    x = layer_problem(layer)["x"][:, 1]
    y, final, cache = layer.forward(x)
    again, end, kept = xr.reference.forward(layer, x, dropout_masks=cache.masks)
    grads = layer.backward(cache, y)
    expected = xr.reference.backward(layer, kept, again)
    assert_same_results(
        layer_results(y, final, grads), layer_results(again, end, expected)
    )
    only_state = layer.backward(cache, None, final)
    expected = xr.reference.backward(layer, kept, None, end)
    assert_same_results(only_state.weights, expected.weights)


def test_reference_refuses_what_a_layer_does_not_have():
    grid, layer = make_general("plain"), make_layer("one layer")
    x = np.ones((4, 2, 3), np.float32)
    mask = [np.ones((4, 2, 5), np.float32)]
    with pytest.raises(TypeError, match="sizes: expected None"):
        xr.reference.forward(layer, x, sizes=(1, 2))
    with pytest.raises(TypeError, match="sizes: expected None"):
        xr.reference.forward(xr.GRU(3, 5), x, sizes=(1, 2))
    with pytest.raises(TypeError, match="dropout_masks: expected None"):
        xr.reference.forward(grid, x, dropout_masks=mask)
    ends, cache = xr.reference.forward(grid, x)
    with pytest.raises(TypeError, match="dstate: expected None"):
        xr.reference.backward(grid, cache, ends, ends)
    with pytest.raises(TypeError, match="truncated: expected None"):
        xr.reference.backward(grid, cache, ends, truncated=True)


# Dropout between the layers of a grid


def test_a_call_has_no_dropout():
    layer, plain = make_layer("three layers", dropout=0.5), make_layer("three layers")
    x = layer_problem(layer)["x"]
    assert_same_bits("y", layer(x)[0], plain(x)[0])
    stream = layer.stream(batch_size=4)
    assert_same_bits("step", stream.step(x[0]), plain(x)[0][0])


def test_the_seed_gives_the_masks():
    x = layer_problem(make_layer("three layers"))["x"]
    first, second = (make_layer("three layers", dropout=0.5) for _ in range(2))
    for _ in range(2):
        one, other = first.forward(x), second.forward(x)
        assert_same_bits("y", one[0], other[0])
        for mask, same in zip(one[2].masks, other[2].masks, strict=True):
            assert mask.shape == (6, 4, 5)
            assert set(np.unique(mask)) == {0.0, 2.0}
            assert_same_bits("mask", mask, same)
    copy = pickle.loads(pickle.dumps(first))
    assert_same_bits("y", copy.forward(x)[0], first.forward(x)[0])


def test_masks_are_drawn_as_those_of_other_layers():
    """One after the other, [T, B, D*H] each, after the first weights."""
    grid = make_layer("three layers", dropout=0.5)
    gru = xr.GRU(3, 5, 3, dropout=0.5)
    parts = (gru.arguments(), gru.state_dict(), grid._generator_state())
    gru = xr.GRU.restore(*parts)
    x = layer_problem(grid)["x"]
    masks = [layer.forward(x)[2].masks for layer in (grid, gru)]
    for own, other in zip(*masks, strict=True):
        assert_same_bits("mask", own, other)


@pytest.mark.filterwarnings("ignore:dropout option adds")  # one layer has none
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
def test_masks_of_ones_are_no_dropout(name, lengths):
    """But for the order of the long sums of shared weights."""
    plain, layer = make_layer(name), make_layer(name, dropout=2.0**-60)
    problem = layer_problem(layer)
    results = []
    for each in (plain, layer):
        y, final, cache = each.forward(
            problem["x"], problem["state"], lengths=lengths, gates=True
        )
        assert all((mask == 1).all() for mask in cache.masks)
        grads = each.backward(cache, problem["dy"], problem["dstate"])
        found = layer_results(y, final, grads) | cache.gates | cache.states
        if each.shared:
            found = {
                n: a
                for n, a in found.items()
                if not n.endswith(("hh_depth", "hh_time"))
            }
        results.append(found)
    assert_same_results(results[1], results[0])


def test_what_goes_up_is_dropped_and_the_memory_is_not():
    """A depth that shows h alone hands up nothing; with memory m comes through."""
    for depth in ("lstm", "tanh"):
        layer = make_layer("three layers", depth=depth, num_layers=2)
        for name in ("weight_hh_time_l1", "weight_hh_depth_l1"):
            getattr(layer, name)[:, 5:] = 0  # what comes along the time
        x = layer_problem(layer)["x"]
        masks = [np.zeros((6, 4, 5), np.float32)]
        outputs = [
            xr.reference.forward(layer, part, dropout_masks=masks)[0]
            for part in (x, np.zeros_like(x))
        ]
        assert (outputs[0] == outputs[1]).all() == (depth == "tanh")


def test_central_difference_with_dropout():
    layer = make_layer("bidirectional", "float64", dropout=0.4)
    problem = layer_problem(layer, T=4)
    x, lengths = problem["x"], np.array([4, 2, 0, 3])
    state = layer._generator_state()
    cache = layer.forward(x, problem["state"], lengths=lengths)[2]
    grads = layer.backward(cache, problem["dy"], problem["dstate"])
    rng = np.random.default_rng(9)

    def loss():
        parts = (layer.arguments(), layer.state_dict(), state)
        again = type(layer).restore(*parts)  # draws the same masks
        y, final, _ = again.forward(x, problem["state"], lengths=lengths)
        pairs = [(y, problem["dy"]), *zip(final, problem["dstate"], strict=True)]
        return sum(float((a * b).sum()) for a, b in pairs)

    places = {"x": (x, grads.x), "m": (problem["state"][1], grads.state[1])}
    places |= {n: (w, grads.weights[n]) for n, w in layer.parameters().items()}
    for name, (array, gradient) in places.items():
        direction, before = rng.standard_normal(array.shape), array.copy()
        sides = []
        for sign in (1, -1):
            array[...] = before + sign * 1e-5 * direction
            sides.append(loss())
        array[...] = before
        actual = float((gradient * direction).sum())
        expected = (sides[0] - sides[1]) / 2e-5
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-8), name
