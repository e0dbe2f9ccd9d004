"""Zoneout and recurrent dropout: the kernels' bits are the twin's, for every cell.

Both are the time loop's, so each cell that may have them goes through them, in training
(whose masks are contract N9's) and in the mean; sizes, shares and ways to run are drawn
by hypothesis besides.
"""

import copy
import functools
import inspect
import pickle

import numpy as np
import pytest
from bits import (
    SPLITS,
    as_tuple,
    assert_same_bits,
    assert_same_results,
    collect,
    every_thread_used,
    random_problem,
    run_layer,
)
from episodes import episode_problem
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import NETWORKS, VARIANTS, make_layer, options_of

import exactrnn as xr
from exactrnn import _core, cells, reference
from exactrnn._run.dropout import without_dropout
from exactrnn.reference.masks import draw_next_masks

DEFINED = {
    "mgu": cells.MGU(),
    "slstm heads": cells.SLSTM(num_heads=3),
    "ind_rnn": cells.IndRNN(),
    "min_lstm": cells.MinLSTM(),
}


def may_drop(name):
    """Tell whether a network or variant has the options."""
    return "zoneout" in inspect.signature(options_of(name, 6)[0]).parameters


NAMES = (*filter(may_drop, (*NETWORKS, *VARIANTS)), *DEFINED)
BOTH_WAYS = {"num_layers": 2, "bidirectional": True}


def make(name, I, H, **options):
    """Return a layer of a network, a variant or a defined cell."""
    if name not in DEFINED:
        return make_layer(name, I, H, **options)
    return xr.Layer(DEFINED[name], I, H, **options)


def shares(name, h, others):
    """Return zoneout for a cell: two shares where it has other states than h."""
    one = make(name, 3, 6, num_layers=2)
    return (h, others) if len(one._spec.zones) > 1 else h


def run_twin(layer, masks, **problem):
    """Return what `run_layer` does, by the reference, but for the gates."""
    dy, dstate = problem.pop("dy"), problem.pop("dstate")
    truncated = problem.pop("truncated", False)
    y, final, cache = reference.forward(layer, **problem, dropout_masks=masks)
    back = reference.backward(layer, cache, dy, dstate, truncated=truncated)
    return collect(y, final, back, {})


def run_kernels(layer, **problem):
    """Return the same by the kernels; the next call draws the same masks again."""
    before = layer._generator_state()
    dy, dstate = problem.pop("dy"), problem.pop("dstate")
    back = {name: problem.pop(name) for name in ("truncated",) if name in problem}
    y, final, cache = layer.forward(**problem)
    layer._set_generator_state(before)
    return collect(y, final, layer.backward(cache, dy, dstate, **back), {})


@functools.cache
def problem_and_expected(name):
    """Return a layer of either dtype in turn, a problem, and what comes of it."""
    dtype = ("float32", "float64")[NAMES.index(name) % 2]
    layer = make(
        name,
        2,
        18 if name in DEFINED else 5,
        dtype=dtype,
        seed=1,
        zoneout=shares(name, 0.3, 0.4),
        recurrent_dropout=0.25,
        **BOTH_WAYS,
    )
    problem = random_problem(layer, 3, 4, [3, 0, 2, 3], seed=2)
    masks = draw_next_masks(layer, 3, 4)
    dropped = run_twin(layer, masks, **problem)
    return layer, problem, dropped, run_twin(layer, None, **problem)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_equals_twin(name, isa):
    layer, problem, dropped, mean = problem_and_expected(name)
    assert_same_results(run_kernels(layer, **problem), dropped)
    with without_dropout():
        assert_same_results(run_kernels(layer, **problem), mean)
    y, _ = layer(problem["x"], problem["state"], lengths=problem["lengths"])
    assert_same_bits("y of inference", y, mean["y"])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["lstm-everything", "gru_before", "jordan", "mut1"])
def test_threads_change_nothing(name, split, isa):
    layer, problem, dropped, mean = problem_and_expected(name)
    with every_thread_used(split), xr.threads(3):
        assert_same_results(run_kernels(layer, **problem), dropped)
        with without_dropout():
            assert_same_results(run_kernels(layer, **problem), mean)


@st.composite
def anything(draw):
    """Draw a layer, with what it drops, and a problem for it."""
    name = draw(st.sampled_from(NAMES))
    share = st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.875])
    h = draw(share)
    H = draw(st.integers(1, 35))
    one_way = {"reverse": draw(st.booleans())}
    way = draw(st.sampled_from([one_way, {"bidirectional": True}]))
    layer = make(
        name,
        draw(st.integers(1, 5)),
        3 * H if name == "slstm heads" else H,
        dtype=draw(st.sampled_from(["float32", "float64"])),
        num_layers=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 99)),
        zoneout=shares(name, h, draw(share)),
        recurrent_dropout=draw(share),
        **way,
    )
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 14))
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    problem = random_problem(layer, T, B, lengths, seed=draw(st.integers(0, 99)))
    if name.startswith("lstm"):
        problem["truncated"] = draw(st.booleans())
    return layer, problem, draw(st.integers(1, 3)), draw(st.sampled_from([*SPLITS]))


@settings(max_examples=20, deadline=None)
@given(anything())
def test_anything_equals_twin(drawn):
    layer, problem, threads, split = drawn
    masks = draw_next_masks(layer, *problem["x"].shape[:2])
    expected = run_twin(layer, masks, **problem)
    with every_thread_used(split), xr.threads(threads):
        assert_same_results(run_kernels(layer, **problem), expected)


# Masks


@pytest.mark.parametrize(
    "name", ["lstm-fgr-cifg-clip", "lstm-proj", "gru", "slstm heads"]
)
def test_masks_are_those_of_the_twin(name, dtype):
    zoneout = shares(name, 0.3, 0.1)
    options = {"zoneout": zoneout, "recurrent_dropout": 0.5, **BOTH_WAYS}
    layer = make(name, 3, 18, dtype=dtype, seed=5, **options)
    expected = draw_next_masks(layer, 7, 16)
    found = layer.forward(np.zeros((7, 16, 3), dtype))[2].state_masks
    assert_same_results(found, expected)
    wanted = {"r": 0.5, "h": 0.3, "c": 0.1}
    for name, mask in found.items():
        share = np.mean(mask == 0 if mask.ndim == 2 else mask)
        assert abs(share - wanted.get(name[0], 0.1)) < 0.1, name


def test_masks_of_a_row_depend_on_nothing_but_its_place():
    layer = xr.LSTM(3, 20, seed=1, zoneout=(0.3, 0.2), recurrent_dropout=0.4)
    few, many = (draw_next_masks(layer, T, B) for T, B in [(3, 2), (9, 11)])
    x = np.zeros((9, 11, 3), np.float32)
    found = layer.forward(x)[2].state_masks
    for name, mask in few.items():
        part = found[name][:2] if mask.ndim == 2 else found[name][:3, :2]
        assert_same_bits(name, part, mask)
        assert len({row.tobytes() for row in np.moveaxis(many[name], -1, 0)}) > 15


def test_every_layer_direction_and_use_has_masks_of_its_own():
    layer = xr.LSTM(3, 64, seed=1, zoneout=0.5, **BOTH_WAYS)
    masks = draw_next_masks(layer, 1, 1)
    assert len(masks) == 8
    assert len({mask.tobytes() for mask in masks.values()}) == 8


def test_each_call_draws_anew_and_a_seed_repeats_them():
    def draws():
        layer = xr.GRU(3, 20, seed=1, zoneout=0.5, recurrent_dropout=0.5)
        x = np.ones((4, 2, 3), np.float32)
        return [layer.forward(x)[0].tobytes() for _ in range(3)]

    assert len({*draws()}) == 3
    assert draws() == draws()


def test_a_call_that_raises_gives_its_masks_back(monkeypatch):
    def fail(*_):
        raise RuntimeError("late")

    layer = xr.GRU(3, 4, seed=1, zoneout=0.5)
    before = layer._generator_state()
    monkeypatch.setattr(_core, "forward", fail)
    with pytest.raises(RuntimeError, match="late"):
        layer.forward(np.zeros((2, 2, 3), np.float32))
    assert layer._generator_state() == before


# What is computed


@pytest.mark.parametrize("name", NAMES)
def test_zero_gives_the_bits_of_no_option(name, isa):
    none = {"zoneout": 0.0, "recurrent_dropout": 0.0}
    plain, zero = make(name, 3, 6, seed=3), make(name, 3, 6, seed=3, **none)
    problem = random_problem(plain, 4, 3, seed=4)
    assert_same_results(run_layer(zero, **problem), run_layer(plain, **problem))
    assert zero._generator_state() == plain._generator_state()


@pytest.mark.parametrize(
    "name", ["rnn", "lstm-proj", "gru_before", "leaky", "slstm heads"]
)
def test_streams_and_pieces_have_the_bits_of_one_call(name, isa):
    layer = make(name, 3, 18, seed=3, zoneout=shares(name, 0.25, 0.5), num_layers=2)
    x = random_problem(layer, 6, 2, seed=4)["x"]
    whole, final = layer(x)
    stream = layer.stream(2)
    assert_same_bits("stream", np.stack([stream.step(step) for step in x]), whole)
    first, state = layer(x[:2])
    second, last = layer(x[2:], state)
    assert_same_bits("pieces", np.concatenate([first, second]), whole)
    for one, other in zip(as_tuple(final), as_tuple(last), strict=True):
        assert_same_bits("state", one, other)


def test_rows_have_the_bits_they_have_alone():
    layer = xr.LSTM(3, 18, seed=3, zoneout=0.25)
    x = random_problem(layer, 6, 5, seed=4)["x"]
    whole, _ = layer(x)
    for b in range(5):
        assert_same_bits("row", layer(x[:, b])[0], whole[:, b])


def test_unit_that_stays_is_its_old_self_and_others_are_new():
    layer = xr.LSTM(3, 40, seed=3, zoneout=(0.5, 0.25))
    x = random_problem(layer, 6, 5, seed=4)["x"]
    _, _, cache = layer.forward(x)
    masks, states = cache.state_masks, cache.states
    for name in ("h_l0", "c_l0"):
        old, new, stays = states[name][:-1], states[name][1:], masks[name][1:]
        assert (old[stays] == new[stays]).all()
        assert (old[~stays] != new[~stays]).mean() > 0.99


def test_masked_units_of_h_are_not_heard():
    layer = xr.RNN(3, 8, seed=3, recurrent_dropout=0.5)
    x = np.zeros((1, 1, 3), np.float32)
    h = np.ones((1, 1, 8), np.float32)
    y, _, cache = layer.forward(x, h)
    scaled = cache.state_masks["recurrent_l0"][None]
    assert {*scaled.ravel().tolist()} == {0.0, 2.0}
    plain = xr.RNN(3, 8, seed=3)
    assert_same_bits("y", y, plain(x, h * scaled)[0])


@pytest.mark.parametrize("options", [{"zoneout": 0.3}, {"recurrent_dropout": 0.4}])
def test_mean_over_many_rows_is_what_inference_computes(options):
    """Of a linear network, whose mean is that recursion: each row draws its own."""
    T = 1 if "recurrent_dropout" in options else 5
    rnn = {"nonlinearity": "identity", "dtype": "float64", "seed": 2, **options}
    layer = xr.RNN(2, 6, **rnn)
    B = 20_000
    x = np.repeat(random_problem(layer, T, 1, seed=1)["x"], B, axis=1)
    h = np.full((1, B, 6), 0.75)
    y, _, _ = layer.forward(x, h)
    expected, _ = layer(x[:, :1], h[:, :1])
    error = np.abs(y.mean(axis=1) - expected[:, 0])
    assert (error <= 5 * y.std(axis=1) / np.sqrt(B) + 1e-15).all()
    assert y.std(axis=1)[-1].max() > 0.05


@pytest.mark.parametrize("drops", [True, False], ids=["masks", "mean"])
@pytest.mark.parametrize(
    "name", ["lstm-everything", "gru_before", "mut3", "jordan", "leaky"]
)
def test_gradients_are_central_differences(name, drops):
    layer = make(
        name, 2, 5, dtype="float64", seed=6, zoneout=shares(name, 0.3, 0.4),
        recurrent_dropout=0.25,
    )  # fmt: skip
    problem = random_problem(layer, 4, 2, seed=5)
    dy, state = problem["dy"], problem["state"]
    masks = draw_next_masks(layer, 4, 2) if drops else None

    def loss(x):
        y, _, _ = reference.forward(layer, x, state, dropout_masks=masks)
        return float((y * dy).sum())

    _, _, cache = reference.forward(layer, problem["x"], state, dropout_masks=masks)
    back = reference.backward(layer, cache, dy)
    rng = np.random.default_rng(3)
    direction = rng.normal(size=problem["x"].shape)
    step = 1e-6 * direction
    slope = (loss(problem["x"] + step) - loss(problem["x"] - step)) / 2e-6
    assert abs(slope - (back.x * direction).sum()) < 1e-7 * (1 + abs(slope))
    weights = layer.state_dict()
    for weight, dw in back.weights.items():
        direction = rng.normal(size=dw.shape)
        slopes = []
        for sign in (1, -1):
            moved = weights[weight] + sign * 1e-6 * direction
            layer.load_state_dict({**weights, weight: moved})
            slopes.append(sign * loss(problem["x"]))
        slope = sum(slopes) / 2e-6
        assert abs(slope - (dw * direction).sum()) < 1e-7 * (1 + abs(slope)), weight
        layer.load_state_dict(weights)


# Masks of steps, resets, single steps, copies


@pytest.mark.parametrize("name", ["lstm", "gru_before", "jordan"])
def test_masks_and_resets_equal_twin(name, isa):
    layer = make(
        name, 3, 9, seed=4, zoneout=shares(name, 0.3, 0.4), recurrent_dropout=0.25,
        **BOTH_WAYS,
    )  # fmt: skip
    problem = episode_problem(layer, 9, 6, seed=3)
    masks = draw_next_masks(layer, 9, 6)
    expected = run_twin(layer, masks, **problem)
    assert_same_results(run_kernels(layer, **problem), expected)
    x, lengths = problem["x"], problem["lengths"]
    steps = {name: problem[name] for name in ("mask", "resets")}
    cache = layer.forward(x, lengths=lengths, **steps)[2]
    assert_same_results(cache.state_masks, masks)
    twin = copy.deepcopy(cache)
    again = twin.layer.backward(twin, problem["dy"])
    assert_same_bits("dx", again.x, layer.backward(cache, problem["dy"]).x)


def test_single_steps_draw_anew_and_go_back():
    layer = xr.LSTM(3, 9, seed=4, zoneout=0.5, recurrent_dropout=0.25)
    x = random_problem(layer, 2, 3, seed=3)["x"]
    masks = draw_next_masks(layer, 1, 3)
    y, _, cache = layer.step(x[0])
    expected, _, twin = reference.forward(layer, x[:1], dropout_masks=masks)
    assert_same_bits("y", y, expected[0])
    back = layer.step_back(cache, np.ones_like(y))
    whole = reference.backward(layer, twin, np.ones_like(expected))
    assert_same_bits("dx", back.x, whole.x[0])
    assert_same_results(back.weights, whole.weights)
    other = layer.step(x[0])[2].state_masks
    assert any((other[name] != mask).any() for name, mask in cache.state_masks.items())


@pytest.mark.parametrize("shape", [(4, 3), (0, 3), (4, 0)])
def test_copies_and_pickles_go_back_to_the_same_gradients(shape):
    layer = xr.LSTM(3, 9, seed=4, zoneout=(0.5, 0.25), recurrent_dropout=0.25)
    assert repr(layer) == "LSTM(3, 9, recurrent_dropout=0.25, zoneout=(0.5, 0.25))"
    y, _, cache = layer.forward(np.ones((*shape, 3), np.float32))
    expected = layer.backward(cache, np.ones_like(y))
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        found = twin.layer.backward(twin, np.ones_like(y))
        assert_same_bits("dx", found.x, expected.x)
        assert_same_results(found.weights, expected.weights)
        assert_same_results(twin.state_masks, cache.state_masks)


def test_kernels_keep_no_more_for_layers_without():
    """What is kept of a layer without the options is as large as it was."""
    plain, zoned = xr.LSTM(3, 9, seed=4), xr.LSTM(3, 9, seed=4, zoneout=0.5)

    def kept(layer):
        options = dict(layer._spec.options_of(0))
        return _core.cache_bytes("lstm", "float32", 9, options, (4, 3, 1))

    row, gates, states = 16 * 4, 4 * 4 * 3, 2 * 5 * 3
    assert kept(plain) == row * (gates + states)
    assert kept(zoned) == kept(plain) + row * 2 * 4 * 3
