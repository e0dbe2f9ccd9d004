"""Layers in reverse: direction 1 of a bidirectional layer, alone; every class.

ONNX Runtime's `direction=reverse` is asked in test_onnx_truth.py.
"""

import pickle
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
from bits import run_layer as run_with_gates
from bits import run_twin as run_twin_with_gates
from episodes import GRIDS, NAMES, episode_problem, make_any, run_layer, run_twin

import exactrnn as xr

T, B, I, H = 7, 5, 3, 5
LENGTHS = np.array([7, 3, 0, 5, 1])
STEPS = ("whole", "ragged", "with masks and resets")

every_name = pytest.mark.parametrize("name", NAMES)
every_steps = pytest.mark.parametrize("steps", STEPS)


def problem_for(layer, steps, seed=1):
    if steps == STEPS[2]:
        return episode_problem(layer, T, B, seed=seed)
    lengths = LENGTHS if steps == STEPS[1] else None
    return random_problem(layer, T, B, lengths, seed=seed)


def reverse_half(both, reverse):
    """Give a layer in reverse the weights of the second direction of another."""
    weights = both.state_dict()
    ends = {name: name + "_reverse" for name in reverse.state_dict()}
    reverse.load_state_dict({name: weights[end] for name, end in ends.items()})
    return ends


@every_steps
@every_name
def test_a_layer_in_reverse_is_half_a_bidirectional_one(name, isa, dtype, steps):
    # A depth-gated cell is that of upper layers, which read both directions.
    make = xr.DepthGatedLSTM if name == "depth_gated" else partial(make_any, name)
    both = make(I, H, bidirectional=True, dtype=dtype, seed=0)
    layer = make(I, H, reverse=True, dtype=dtype)
    ends = reverse_half(both, layer)
    problem = problem_for(layer, steps)
    in_episodes = steps == STEPS[2]
    if in_episodes and layer.counts_steps:
        # The one clock of two directions goes with the forward one: a new one here.
        problem["state"] = (problem["state"][0], np.full(B, layer.phase))
    width = layer.output_size
    wide = dict(problem)
    wide["dy"] = np.concatenate([np.zeros_like(problem["dy"]), problem["dy"]], axis=2)
    for key in ("state", "dstate"):
        parts = [
            part if part.ndim == 1 else np.concatenate([np.zeros_like(part), part])
            for part in as_tuple(problem[key])
        ]
        wide[key] = tuple(parts) if len(parts) > 1 else parts[0]
    found, expected = run_layer(layer, **problem), run_layer(both, **wide)
    assert_same_bits("y", found["y"], expected["y"][..., width:])
    for key, array in found.items():
        if key.startswith(("state", "dstate")):
            half = expected[key] if array.ndim == 1 else expected[key][1:]
            if array.ndim > 1 or not in_episodes:
                assert_same_bits(key, array, half)
    for key, end in ends.items():
        assert_same_bits(key, found[f"d{key}"], expected[f"d{end}"])
    # dx there is the sum of both directions: here zeros of one, whose signs are lost.
    assert (found["dx"] + 0.0).tobytes() == (expected["dx"] + 0.0).tobytes()


@every_name
def test_a_layer_in_reverse_reads_each_row_from_its_end(name, isa, dtype):
    """All but gradients of weights, which are summed over time the other way round."""
    layer = make_any(name, I, H, num_layers=2, reverse=True, dtype=dtype)
    forward = make_any(name, I, H, num_layers=2, dtype=dtype)
    forward.load_state_dict(layer.state_dict())
    problem = random_problem(layer, T, B, LENGTHS, seed=2)
    found = run_layer(layer, **problem)
    turned = dict(problem)
    turned |= {key: problem[key].copy() for key in ("x", "dy")}
    for b, n in enumerate(LENGTHS):
        for array in (turned["x"], turned["dy"], found["y"], found["dx"]):
            array[:n, b] = array[:n, b][::-1].copy()
    expected = run_layer(forward, **turned)
    for key in expected:
        if key in ("y", "dx") or key.startswith(("state", "dstate")):
            assert_same_bits(key, found[key], expected[key])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in GRIDS])
def test_kernels_in_reverse_equal_their_twin(name, isa, dtype):
    layer = make_any(name, I, H, num_layers=2, reverse=True, dtype=dtype)
    problem = random_problem(layer, 4, B, [4, 3, 0, 2, 1], seed=3)
    expected = run_twin_with_gates(layer, **problem)
    for threads in (1, 3):
        with every_thread_used(), xr.threads(threads):
            assert_same_results(run_with_gates(layer, **problem), expected)


@every_steps
@pytest.mark.parametrize("name", GRIDS)
def test_grids_in_reverse_equal_their_twin(name, isa, dtype, steps):
    layer = make_any(name, I, H, num_layers=2, reverse=True, dtype=dtype)
    problem = problem_for(layer, steps, seed=4)
    assert_same_results(run_layer(layer, **problem), run_twin(layer, **problem))


# What a layer in reverse is as an object


@every_name
def test_weights_have_no_suffix_and_pickles_and_files_keep_the_direction(
    name, tmp_path
):
    layer = make_any(name, I, H, reverse=True)
    assert layer.reverse
    assert not layer.bidirectional
    assert "reverse=True" in repr(layer)
    assert not any("reverse" in key for key in layer.state_dict())
    x = random_problem(layer, T, B, seed=5)["x"]
    copies = [pickle.loads(pickle.dumps(layer))]
    pytest.importorskip("safetensors", reason="safetensors, which writes the file")
    xr.save(layer, tmp_path / "layer")
    copies.append(xr.load(tmp_path / "layer"))
    for copy in copies:
        assert repr(copy) == repr(layer)
        assert_same_bits("y", copy(x)[0], layer(x)[0])


@every_name
def test_a_layer_from_before_reads_forward(name):
    layer = make_any(name, I, H)
    arguments = layer.arguments()
    assert arguments.pop("reverse") is False
    old = type(layer).restore(arguments, layer.state_dict())
    assert not old.reverse
    assert "reverse" not in repr(old)


@every_name
def test_reverse_is_not_both_directions_and_nothing_but_a_flag(name):
    message = "reverse: expected False because bidirectional=True has both directions"
    with pytest.raises(ValueError, match=message):
        make_any(name, I, H, reverse=True, bidirectional=True)
    with pytest.raises(TypeError, match="reverse: expected True or False, got 1"):
        make_any(name, I, H, reverse=1)


@every_name
@pytest.mark.parametrize("option", ["reverse", "bidirectional"])
def test_what_carries_a_state_on_refuses_to_read_from_the_end(name, option):
    layer = make_any(name, I, H, **{option: True})
    message = f"expected a layer with {option}=False"
    with pytest.raises(ValueError, match=f"stream: {message}"):
        layer.stream()
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=f"layer: {message}"):
        xr.train.truncated_bptt(layer, x, length=2)


@pytest.mark.parametrize("name", ["lstm", "clockwork", "grid"])
def test_gradients_flow_from_the_end_that_is_read_last(name):
    layer = make_any(name, I, H, num_layers=2, reverse=True)
    forward = make_any(name, I, H, num_layers=2)
    forward.load_state_dict(layer.state_dict())
    x = random_problem(layer, T, 1, seed=6)["x"][:, 0]
    found = xr.plot.gradient_norms(layer, x)
    for key, norms in xr.plot.gradient_norms(forward, x[::-1]).items():
        assert_same_bits(key, found[key], np.ascontiguousarray(norms[::-1]))


def test_gates_and_states_stand_at_their_steps():
    layer = xr.LSTM(I, H, 2, reverse=True, batch_first=True, seed=1)
    x = random_problem(layer, B, T, seed=7)["x"]  # [B, T, I]
    y, (h, c), cache = layer.forward(x, gates=True)
    assert_same_bits("h", np.ascontiguousarray(cache.states["h_l1"]), y)
    assert_same_bits("c", np.ascontiguousarray(cache.states["c_l0"][:, 0]), c[0])
    assert_same_bits("h", h[1], np.ascontiguousarray(y[:, 0]))
    assert cache.gates.keys() == {f"{gate}_l{k}" for gate in "ifgo" for k in (0, 1)}
