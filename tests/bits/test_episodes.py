"""Masks and resets: an episode has the bits it has alone, and nothing else is read.

That the numbers are right, step by step and against torch, is in
test_episodes_truth.py.
"""

import time
from functools import partial

import numpy as np
import pytest
from bits import (
    as_tuple,
    assert_same_bits,
    assert_same_results,
    every_thread_used,
    random_problem,
)
from episodes import (
    GRIDS,
    NAMES,
    cut_rows,
    draw_steps,
    episode_problem,
    make_any,
    run_by_hand,
    run_layer,
    run_twin,
    taken_steps,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import exactrnn as xr
from exactrnn._run import episodes as _episodes

T, B, I, H = 9, 6, 3, 5
WAYS = {
    "both ways": {"num_layers": 2, "bidirectional": True},
    "forward": {},
    "reverse": {"num_layers": 2, "reverse": True},
}

every_name = pytest.mark.parametrize("name", NAMES)
every_way = pytest.mark.parametrize("way", WAYS)


@every_way
@every_name
def test_masks_and_resets_are_episodes_by_hand(name, isa, dtype, way):
    layer = make_any(name, I, H, dtype=dtype, **WAYS[way])
    problem = episode_problem(layer, T, B, seed=1)
    assert_same_results(run_layer(layer, **problem), run_by_hand(layer, **problem))


@every_name
def test_kernels_with_masks_and_resets_equal_their_twin(name, isa, dtype):
    layer = make_any(name, I, H, dtype=dtype, **WAYS["both ways"])
    problem = episode_problem(layer, 5, 4, seed=2)
    assert_same_results(run_layer(layer, **problem), run_twin(layer, **problem))


@pytest.mark.parametrize("name", ["lstm", "gru", "clockwork", *GRIDS])
def test_masks_and_resets_do_not_depend_on_threads(name, isa, dtype, threads):
    layer = make_any(name, I, H, dtype=dtype, **WAYS["both ways"])
    problem = episode_problem(layer, T, B, seed=3)
    with every_thread_used():
        found = run_layer(layer, **problem)
    with xr.threads(1):
        assert_same_results(found, run_layer(layer, **problem))


@every_way
@every_name
def test_an_episode_has_the_bits_it_has_alone(name, way):
    """From zeros, from the steps alone, without a batch: by plain calls."""
    layer = make_any(name, I, H, **WAYS[way])
    problem = episode_problem(layer, T, B, seed=4)
    steps = {name: problem[name] for name in ("mask", "resets", "lengths")}
    y, _, cache = layer.forward(problem["x"], **steps)
    dx = layer.backward(cache, problem["dy"]).x
    for b, episodes in enumerate(cut_rows(problem)):
        for times in filter(None, episodes):
            y_alone, _, cache = layer.forward(problem["x"][times, b])
            assert_same_bits("y", y[times, b], y_alone)
            alone = layer.backward(cache, problem["dy"][times, b])
            assert_same_bits("dx", dx[times, b], alone.x)


@every_name
def test_masked_steps_are_zero_in_all_that_comes_out(name):
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = episode_problem(layer, T, B, seed=5)
    steps = {name: problem[name] for name in ("mask", "resets", "lengths")}
    y, _, cache = layer.forward(problem["x"], problem["state"], gates=True, **steps)
    grads = layer.backward(cache, problem["dy"])
    holes = ~taken_steps(problem)
    assert holes.any()
    shown = {"y": y, "dx": grads.x} | cache.gates | cache.states
    for name, array in shown.items():
        assert not array[holes].any(), name
        assert not np.signbit(array[holes]).any(), name
        assert array[~holes].any(), name
    top = cache.states.get("h_l1", y[..., :H])
    if name not in GRIDS:
        assert_same_bits("h", top, y[..., : top.shape[-1]])


# What amounts to no mask, to no reset, to lengths


@every_name
def test_mask_of_all_and_no_reset_change_nothing(name, isa):
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = random_problem(layer, T, B, [9, 2, 0, 5, 9, 1], seed=6)
    expected = run_layer(layer, **problem)
    ones, zeros = np.ones((T, B), bool), np.zeros((T, B), bool)
    for steps in ({"mask": ones}, {"resets": zeros}, {"mask": ones, "resets": zeros}):
        assert_same_results(run_layer(layer, **problem, **steps), expected)
    whole = run_layer(layer, **{**problem, "lengths": None})
    steps = {"mask": ones, "resets": zeros, "lengths": None}
    assert_same_results(run_layer(layer, **{**problem, **steps}), whole)


@every_name
def test_mask_of_the_first_steps_is_lengths(name, isa):
    layer = make_any(name, I, H, **WAYS["both ways"])
    lengths = np.array([9, 2, 0, 5, 9, 1])
    problem = random_problem(layer, T, B, lengths, seed=7)
    expected = run_layer(layer, **problem)
    mask = np.arange(T)[:, None] < lengths
    for name in ("x", "dy"):
        problem[name][~mask] = np.nan
    found = run_layer(layer, **{**problem, "lengths": None, "mask": mask})
    assert_same_results(found, expected)


@every_name
def test_padding_on_the_left_is_padding_on_the_right(name, isa):
    layer = make_any(name, I, H, **WAYS["both ways"])
    lengths = np.array([9, 2, 0, 5, 8, 1])
    problem = random_problem(layer, T, B, lengths, seed=8)
    expected = run_layer(layer, **problem)
    mask = np.arange(T)[:, None] >= T - lengths
    moved = {"lengths": None, "mask": mask}
    moved |= {key: np.full_like(problem[key], np.nan) for key in ("x", "dy")}
    for b, n in enumerate(lengths):
        for key in ("x", "dy"):
            moved[key][T - n :, b] = problem[key][:n, b]
        for key in ("y", "dx"):
            expected[key][:, b] = np.roll(expected[key][:, b], T - n, axis=0)
    assert_same_results(run_layer(layer, **{**problem, **moved}), expected)


@every_name
def test_no_step_and_no_reset_pass_the_state_through(name):
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = random_problem(layer, T, B, seed=9)
    results = run_layer(layer, **problem, mask=np.zeros((T, B), bool))
    for of in ("state", "dstate"):
        for k, part in enumerate(as_tuple(problem[of])):
            assert_same_bits(of, results[f"{of}{k}"], part)
    assert not results["y"].any()
    assert not results["dx"].any()


@every_name
def test_resets_at_both_ends_let_nothing_in_or_out(name):
    """A reset counts where it stands: at the first step, and on a masked last one."""
    layer = make_any(name, I, H)
    problem = random_problem(layer, T, B, seed=10)
    resets, mask = np.zeros((T, B), bool), np.ones((T, B), bool)
    resets[0], resets[-1], mask[-1] = True, True, False
    results = run_layer(layer, **problem, mask=mask, resets=resets)
    alone, _ = layer(problem["x"][:-1])
    assert_same_bits("y", results["y"][:-1], alone)
    assert not results["state0"].any()
    assert not results["dstate0"].any()
    if layer.counts_steps:
        assert (results["state1"] == layer.phase).all()


def test_resets_past_a_rows_length_are_not_read():
    layer = xr.GRU(I, H, seed=1)
    problem = random_problem(layer, T, 2, np.array([4, 9]), seed=11)
    resets = np.zeros((T, 2), bool)
    resets[4:, 0] = True
    expected = run_layer(layer, **problem)
    assert_same_results(run_layer(layer, **problem, resets=resets), expected)


# Any steps


@st.composite
def any_steps(draw):
    """Draw T, B, a way, lengths or none, mask and resets, each or none."""
    T, B = draw(st.integers(0, 12)), draw(st.integers(0, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    steps = draw_steps(np.random.default_rng(seed), T, B)
    left_out = draw(st.sets(st.sampled_from(["mask", "resets", "lengths"])))
    return T, B, draw(st.sampled_from(list(WAYS))), steps, left_out


@pytest.mark.parametrize("name", ["lstm", "gru_before", "clockwork", "grid"])
@settings(deadline=None, max_examples=30)
@given(drawn=any_steps())
def test_any_steps_are_episodes_by_hand(name, drawn):
    T, B, way, steps, left_out = drawn
    layer = make_any(name, 2, 3, **WAYS[way])
    problem = random_problem(layer, T, B, seed=1)
    given = {key: None if key in left_out else value for key, value in steps.items()}
    if given["resets"] is None:
        steps["resets"] = np.zeros((T, B), bool)
    by_hand = {**problem, **given, "resets": steps["resets"]}
    if T == 0 or B == 0:
        found = run_layer(layer, **{**problem, **given})
        assert found["y"].shape == problem["dy"].shape
        return
    assert_same_results(
        run_layer(layer, **{**problem, **given}), run_by_hand(layer, **by_hand)
    )


# Layouts, calls


@every_name
def test_batch_first_is_time_major_transposed(name):
    plain = make_any(name, I, H, **WAYS["both ways"])
    turned = make_any(name, I, H, batch_first=True, **WAYS["both ways"])
    problem = episode_problem(plain, T, B, seed=12)
    expected = run_layer(plain, **problem)
    for key in ("x", "dy", "mask", "resets"):
        problem[key] = problem[key].swapaxes(0, 1)
    found = run_layer(turned, **problem)
    twin = run_twin(turned, **problem)
    for key in ("y", "dx"):
        expected[key] = expected[key].swapaxes(0, 1)
    assert_same_results(found, expected)
    assert_same_results(twin, expected)


@every_name
def test_a_row_without_batch_is_a_batch_of_one(name):
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = episode_problem(layer, T, 1, seed=13)
    problem["lengths"] = np.array([T - 1])
    expected = run_layer(layer, **problem)
    alone = {key: problem[key][:, 0] for key in ("x", "dy", "mask", "resets")}
    for key in ("state", "dstate"):
        parts = tuple(p[0] if p.ndim == 1 else p[:, 0] for p in as_tuple(problem[key]))
        alone[key] = parts if len(parts) > 1 else parts[0]
    for run in (run_layer, run_twin):
        found = run(layer, **alone, lengths=T - 1)
        assert found.keys() == expected.keys()
        for key, array in found.items():
            batched = array.reshape(expected[key].shape)
            assert_same_bits(key, batched, expected[key])


@every_name
def test_a_plain_call_and_out_give_what_forward_gives(name):
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = episode_problem(layer, T, B, seed=14)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    y, final, _ = layer.forward(problem["x"], problem["state"], **steps)
    y_plain, plain = layer(problem["x"], problem["state"], **steps)
    room = np.full((*y.shape[:2], 2 * y.shape[2]), np.nan, y.dtype)
    out = room[..., ::2]
    returned, given = layer(problem["x"], problem["state"], out=out, **steps)
    assert returned is out
    for found in (y_plain, out):
        assert_same_bits("y", np.ascontiguousarray(found), y)
    for parts in (plain, given):
        for part, expected in zip(as_tuple(parts), as_tuple(final), strict=True):
            assert_same_bits("state", part, expected)


@pytest.mark.parametrize("name", ["lstm", "depth_gated", "clockwork", "grid"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_dropout_draws_for_all_steps_and_acts_on_those_taken(name, bidirectional):
    options = {"num_layers": 3, "dropout": 0.4, "bidirectional": bidirectional}
    layer, other = (make_any(name, I, H, **options) for _ in "01")
    problem = episode_problem(layer, T, B, seed=15)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    y, _, cache = layer.forward(problem["x"], problem["state"], **steps)
    _, _, dense = other.forward(np.zeros_like(problem["x"]))
    for mask, expected in zip(cache.masks, dense.masks, strict=True):
        assert_same_bits("mask", mask, expected)
    y_twin, _, kept = xr.reference.forward(
        layer, problem["x"], problem["state"], dropout_masks=cache.masks, **steps
    )
    assert_same_bits("y", y, y_twin)
    found = layer.backward(cache, problem["dy"], problem["dstate"])
    twin = xr.reference.backward(layer, kept, problem["dy"], problem["dstate"])
    assert_same_bits("dx", found.x, twin.x)
    assert_same_results(found.weights, twin.weights)


def test_the_cache_shows_what_it_was_given_and_goes_back_again():
    layer = xr.LSTM(I, H, 2, seed=1)
    problem = episode_problem(layer, T, B, seed=16)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    y, _, cache = layer.forward(problem["x"], gates=True, **steps)
    assert repr(cache) == f"<cache of LSTM({I}, {H}, num_layers=2), T={T}, B={B}>"
    assert cache.lengths.tolist() == problem["lengths"].tolist()
    assert cache.gates["f_l1"].shape == (T, B, H)
    first, again = (layer.backward(cache, problem["dy"]) for _ in "01")
    assert_same_bits("dx", first.x, again.x)
    for array in steps.values():
        array[...] = 0  # the caller's
    assert_same_bits("dx", layer.backward(cache, problem["dy"]).x, first.x)
    layer.bias_ih_l0 = layer.bias_ih_l0 + np.float32(1)
    with pytest.raises(ValueError, match="have changed"):
        layer.backward(cache, np.zeros_like(y))


@pytest.mark.parametrize("name", ["lstm", "grid"])
def test_a_call_has_one_set_of_weights_for_all_its_episodes(name, monkeypatch):
    """Another thread may change them between two groups of episodes."""
    layer = make_any(name, I, H, **WAYS["both ways"])
    problem = episode_problem(layer, T, B, seed=20)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    store, asked = layer._store, []
    packs = type(store).packs

    def count(self, isa, **options):
        asked.append(isa)
        return packs(self, isa, **options)

    monkeypatch.setattr(type(store), "packs", count)
    layer(problem["x"], **steps)
    assert len(asked) == 1
    layer.forward(problem["x"], **steps)
    assert len(asked) == 2


def test_gates_with_holes_can_be_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib, which draws")
    layer = xr.LSTM(I, H, 2, bidirectional=True, seed=1)
    problem = episode_problem(layer, T, B, seed=21)
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    _, _, cache = layer.forward(problem["x"], gates=True, **steps)
    row = int(np.argmax(problem["lengths"]))
    labels = {axes.get_label() for axes in xr.plot.gates(cache, row=row).axes}
    assert {"f_l0", "c_l1_reverse", "input_l0"} <= labels


def test_truncated_gradients_go_with_episodes():
    layer = xr.LSTM1997(I, 4, block_size=2, seed=1)
    problem = episode_problem(layer, T, B, seed=17)
    x, dy = problem["x"], problem["dy"]
    steps = {key: problem[key] for key in ("mask", "resets", "lengths")}
    found = layer.backward(layer.forward(x, **steps)[2], dy, truncated=True)
    kept = xr.reference.forward(layer, x, **steps)[2]
    twin = xr.reference.backward(layer, kept, dy, truncated=True)
    whole = layer.backward(layer.forward(x, **steps)[2], dy).weights["weight_hh_l0"]
    assert_same_results(found.weights, twin.weights)
    assert not np.array_equal(found.weights["weight_hh_l0"], whole)


# What it costs


def test_episodes_take_little_more_room_than_the_call():
    """However resets fall: a long episode beside many short ones is the hard case."""
    rng = np.random.default_rng(18)
    T, B = 300, 4
    half = np.arange(T)[:, None] < T // 2
    patterns = [rng.random((T, B)) < share for share in (0.01, 0.1, 0.5, 1.0)]
    patterns += [np.broadcast_to(half, (T, B)), half & (np.arange(B) == 1)]
    for resets in patterns:
        _, found = _episodes.arrange((T, B), None, None, resets)
        assert sum(group.active.size for group in found.groups) <= 3 * T * B
        assert len(found.groups) <= 1 + T.bit_length()
        steps = [group.times * B + group.owners for group in found.groups]
        assert sorted(np.concatenate(steps)) == list(range(T * B))


def test_masked_steps_cost_no_time(record_property):
    layer = xr.LSTM(128, 128, seed=1)
    rng = np.random.default_rng(19)
    x = rng.standard_normal((100, 16, 128)).astype("float32")
    mask = rng.random((100, 16)) < 0.1
    dy = np.ones((100, 16, 128), "float32")

    def seconds(**steps):
        begin = time.perf_counter()
        layer.backward(layer.forward(x, **steps)[2], dy)
        return time.perf_counter() - begin

    with xr.threads(1):
        pairs = [(seconds(mask=mask), seconds()) for _ in range(7)]
    ratio = min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs)
    record_property("ratio", ratio)
    assert ratio < 0.3


# Errors

WRONG = [
    (
        "mask",
        np.ones((T, B), np.int64),
        TypeError,
        "expected bool [T=9, B=6], got int64",
    ),
    ("mask", np.ones((T, B), "float32"), TypeError, "expected bool [T=9, B=6], got"),
    ("resets", 1, TypeError, "expected bool [T=9, B=6], got int64"),
    ("resets", "yes", TypeError, "expected bool [T=9, B=6], got <U3"),
    ("mask", [[True], [True, False]], TypeError, "expected bool [T=9, B=6], got list"),
    ("mask", np.ma.ones((T, B), bool), TypeError, "got MaskedArray"),
    ("mask", np.ones((B, T), bool), ValueError, "expected [T=9, B=6], got (6, 9)"),
    ("resets", np.ones(T, bool), ValueError, "expected [T=9, B=6], got (9,)"),
    ("mask", np.ones((T, B, 1), bool), ValueError, "expected [T=9, B=6], got"),
    ("resets", np.bool_(True), ValueError, "expected [T=9, B=6], got ()"),
    ("mask", np.broadcast_to(np.True_, (2**31, B)), ValueError, "[T=9, B=6], got"),
]


@pytest.mark.parametrize("call", ["__call__", "forward", "twin"])
@pytest.mark.parametrize(("name", "value", "error", "message"), WRONG)
def test_wrong_masks_and_resets_are_named(call, name, value, error, message):
    layer = xr.GRU(I, H, seed=1)
    x = np.zeros((T, B, I), np.float32)
    run = getattr(layer, call, partial(xr.reference.forward, layer))
    with pytest.raises(error) as raised:
        run(x, **{name: value})
    assert str(raised.value).startswith(f"{name}: ")
    assert message in str(raised.value)


def test_layouts_are_named_in_errors():
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=r"mask: expected \[B=9, T=6\], got \(6, 9\)"):
        xr.GRU(I, H, batch_first=True)(x, mask=np.ones((B, T), bool))
    with pytest.raises(ValueError, match=r"resets: expected \[T=9\], got \(9, 1\)"):
        xr.GRU(I, H)(x[:, 0], resets=np.ones((T, 1), bool))


def test_a_grid_of_any_dimensions_takes_no_mask():
    grid = xr.GridLSTM(3, 4, sizes=(None, 2), seed=0)
    with pytest.raises(TypeError, match="mask: expected None, as this layer has none"):
        xr.reference.forward(grid, np.zeros((5, 1, 3), "float32"), mask=[True] * 5)


def test_lists_and_tensors_of_booleans_are_taken():
    layer = xr.GRU(I, H, seed=1)
    x = np.ones((3, 2, I), np.float32)
    mask = [[True, False], [False, False], [True, True]]
    expected = layer(x, mask=np.array(mask))[0]
    assert_same_bits("y", layer(x, mask=mask)[0], expected)
    torch = pytest.importorskip("torch", reason="torch, whose tensors these are")
    assert_same_bits("y", layer(x, mask=torch.tensor(mask))[0], expected)
