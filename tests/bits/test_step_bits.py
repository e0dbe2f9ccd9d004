"""Single steps of layers, forward and back: the bits of one call, and of the twin.

Outputs, states, gates and gradients of inputs and states are those of a call of T
steps (contract N7). Gradients of weights add up from step to step by a rule of their
own (contract N3), which the twin follows; here they begin as in the middle of a loop.
"""

import functools

import numpy as np
import pytest
from bits import (
    SPLITS,
    as_tuple,
    assert_same_bits,
    assert_same_results,
    every_thread_used,
    random_array,
    random_problem,
)
from variants import NETWORKS, VARIANTS, make_layer

import exactrnn as xr
from exactrnn import reference

T, B, I = 3, 2, 3
NAMES = (*NETWORKS, "time-depth", "time-depth-shared", "defined")
ONCE = (*NETWORKS, "lstm-everything", "leaky-learned", "time-depth", "defined")
"""Those with a choice of variants; no weight of them acts in two places."""
CUT = ("lstm", "lstm_1997", "lstm-everything", "lstm-peepholes-cifg-proj")


def draw_layer(name, dtype, H=5, **options):
    """Return a layer, of a network one with two layers of units."""
    layers = 1 if name in VARIANTS else 2
    options = {"num_layers": layers, "dtype": dtype, "seed": 1, **options}
    if name == "defined":
        return xr.Layer(xr.cells.MGU, I, H, **options)
    if name.startswith("time-depth"):
        shared = name.endswith("shared")
        return xr.TimeDepthGridLSTM(I, H, shared=shared, tied=shared, **options)
    return make_layer(name, I, H, **options)


def draw_totals(layer, seed=5):
    """Return gradients of the weights so far."""
    rng = np.random.default_rng(seed)
    return {
        name: random_array(rng, w.shape, w.dtype)
        for name, w in layer.state_dict().items()
    }


def loop(layer, step, step_back, problem, totals):
    """Go T steps forward and back; return every result by name."""
    x, state, dy = problem["x"], problem["state"], problem["dy"]
    dstate, outputs, caches, dx = problem["dstate"], [], [], []
    for x_t in x:
        y, state, cache = step(layer, x_t, state)
        outputs.append(y)
        caches.append(cache)
    for t in reversed(range(len(x))):
        dx_t, dstate, totals = unpacked(
            step_back(layer, caches[t], dy[t], dstate, totals)
        )
        dx.insert(0, dx_t)
    found = {"y": np.stack(outputs), "dx": np.stack(dx)}
    found |= {f"state{k}": part for k, part in enumerate(as_tuple(state))}
    found |= {f"dstate{k}": part for k, part in enumerate(as_tuple(dstate))}
    return found, totals


def unpacked(gradients):
    return gradients.x, gradients.state, gradients.weights


def kernel_loop(layer, problem, totals):
    kind = type(layer)
    return loop(layer, kind.step, kind.step_back, problem, totals)


@functools.cache
def problem_and_twin(name, dtype):
    layer = draw_layer(name, dtype)
    problem = random_problem(layer, T, B, seed=3)
    twin = loop(layer, reference.step, reference.step_back, problem, draw_totals(layer))
    return layer, problem, twin


def assert_steps_equal_one_call_and_the_twin(name, dtype):
    layer, problem, (expected, expected_totals) = problem_and_twin(name, dtype)
    found, totals = kernel_loop(layer, problem, draw_totals(layer))
    assert_same_results(found, expected)
    assert_same_results(totals, expected_totals)
    y, state, cache = layer.forward(problem["x"], problem["state"])
    grads = layer.backward(cache, problem["dy"], problem["dstate"])
    whole = {"y": y, "dx": grads.x}
    whole |= {f"state{k}": part for k, part in enumerate(as_tuple(state))}
    whole |= {f"dstate{k}": part for k, part in enumerate(as_tuple(grads.state))}
    assert_same_results(found, whole)


@pytest.mark.parametrize("name", NAMES)
def test_single_steps_equal_one_call_and_the_twin(name, isa, dtype):
    assert_steps_equal_one_call_and_the_twin(name, dtype)


@pytest.mark.parametrize("name", VARIANTS)
def test_single_steps_with_options_equal_one_call_and_the_twin(name, isa):
    assert_steps_equal_one_call_and_the_twin(name, "float32")


def test_threads_share_the_totals_of_a_step(cell, isa, dtype, threads):
    layer, problem, (_, expected) = problem_and_twin(cell, dtype)
    for split in SPLITS:
        with every_thread_used(split):
            _, totals = kernel_loop(layer, problem, draw_totals(layer))
        assert_same_results(totals, expected)


@functools.cache
def many_rows_and_twin(name):
    layer = draw_layer(name, "float32", H=2)
    problem = random_problem(layer, 1, 300, seed=4)
    totals = draw_totals(layer)
    return (
        layer,
        problem,
        loop(layer, reference.step, reference.step_back, problem, totals)[1],
    )


@pytest.mark.parametrize("name", ["rnn", "lstm-peepholes", "leaky-learned"])
def test_the_long_sum_of_many_rows_goes_on_from_the_totals(name, isa):
    """Two chunks are two additions: what is there first, then each chain."""
    layer, problem, expected = many_rows_and_twin(name)
    _, totals = kernel_loop(layer, problem, draw_totals(layer))
    assert_same_results(totals, expected)


@pytest.mark.parametrize("name", ONCE)
def test_totals_are_the_sum_of_the_steps_in_their_order(name, dtype):
    """The rule in words: each call adds what it would return by itself."""
    layer, problem, _ = problem_and_twin(name, dtype)
    x, state = problem["x"], problem["state"]
    dy, expected, totals = problem["dy"], None, None
    for t in (1, 0, 2):  # in the order of the calls, whatever that is
        _, _, cache = layer.step(x[t], state)
        own = layer.step_back(cache, dy[t]).weights
        totals = layer.step_back(cache, dy[t], None, totals).weights
        expected = (
            own if expected is None else {n: expected[n] + own[n] for n in expected}
        )
    assert_same_results(totals, expected)


@pytest.mark.parametrize("name", CUT)
def test_truncated_steps_equal_the_truncated_call_and_the_twin(name, isa, dtype):
    layer, problem, _ = problem_and_twin(name, dtype)
    cut = {"truncated": True}

    def step_back(layer, *arguments):
        return layer.step_back(*arguments, **cut)

    def twin_back(*arguments):
        return reference.step_back(*arguments, **cut)

    found, totals = loop(
        layer, type(layer).step, step_back, problem, draw_totals(layer)
    )
    expected, expected_totals = loop(
        layer, reference.step, twin_back, problem, draw_totals(layer)
    )
    assert_same_results(found, expected)
    assert_same_results(totals, expected_totals)
    cache = layer.forward(problem["x"], problem["state"])[2]
    grads = layer.backward(cache, problem["dy"], problem["dstate"], **cut)
    assert_same_bits("dx", found["dx"], grads.x)
