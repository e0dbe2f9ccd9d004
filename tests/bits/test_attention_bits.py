"""Attention decoders give the twin's bits, and a row those that it has alone."""

import numpy as np
import pytest
from bits import as_tuple, assert_same_bits, assert_same_results, every_thread_used
from decoders import (
    FEW_SETTINGS,
    PAPERS,
    SETTINGS,
    SMALL,
    draw_problem,
    given_to,
    make_decoder,
    run_kernels,
    run_twin,
    spell,
)

import exactrnn as xr

PAST_VECTORS = {"T": 2, "B": 26, "S": 18, "I": 3, "H": 17, "M": 18, "A": 19}
ONE_WIDE_ROW = {"T": 4, "B": 1, "S": 7, "I": 3, "H": 100, "M": 6, "A": 5}
PAST_A_CHUNK = {"T": 515, "B": 2, "S": 2, "I": 1, "H": 2, "M": 2, "A": 2}
ROW_BY_ROW = ("x", "memory", "dy", "dattention")

every_paper = pytest.mark.parametrize("paper", PAPERS)


@pytest.fixture(autouse=True)
def small_calls_use_all_threads():
    with every_thread_used():
        yield


@pytest.mark.parametrize("setting", FEW_SETTINGS, ids=spell)
def test_a_decoder_equals_its_twin(dtype, setting):
    """On every instruction set."""
    assert_equals_twin(make_decoder(setting, SMALL, dtype), SMALL)


@pytest.mark.deep
@pytest.mark.parametrize("setting", SETTINGS, ids=spell)
def test_a_decoder_of_every_setting_equals_its_twin(dtype, setting):
    assert_equals_twin(make_decoder(setting, SMALL, dtype), SMALL)


def assert_equals_twin(decoder, sizes):
    problem = draw_problem(decoder, sizes)
    expected = run_twin(decoder, problem)
    for isa in xr.isas():
        with xr.use_isa(isa):
            assert_same_results(run_kernels(decoder, problem), expected)


@every_paper
def test_a_wide_decoder_equals_its_twin(paper):
    """More rows, places and units than are taken at once."""
    with xr.threads(2):
        assert_equals_twin(
            make_decoder(PAPERS[paper], PAST_VECTORS, "float32"), PAST_VECTORS
        )


@pytest.mark.deep
@every_paper
def test_a_wide_decoder_of_float64_equals_its_twin(paper):
    with xr.threads(2):
        assert_equals_twin(make_decoder(PAPERS[paper], PAST_VECTORS), PAST_VECTORS)


@pytest.mark.deep
@pytest.mark.parametrize("paper", ["bahdanau", "luong-dot"])
def test_sums_over_many_steps_are_long_sums(paper):
    """Of two chunks and a part, walked from the end."""
    decoder = make_decoder(PAPERS[paper], PAST_A_CHUNK, "float32")
    problem = draw_problem(decoder, PAST_A_CHUNK, ragged=False)
    problem["lengths"] = np.array([PAST_A_CHUNK["T"], 300])
    assert_same_results(run_kernels(decoder, problem), run_twin(decoder, problem))


@every_paper
def test_a_row_has_the_bits_that_it_has_alone(paper, isa, dtype, threads):
    """Of outputs, states and all gradients but those of the weights, unpadded."""
    decoder = make_decoder(PAPERS[paper], SMALL, dtype)
    problem = draw_problem(decoder, SMALL)
    whole = run_kernels(decoder, problem)
    for b in range(SMALL["B"]):
        steps, places = problem["lengths"][b], problem["memory_lengths"][b]
        own = {name: problem[name][:steps, b : b + 1] for name in ("x", "dy")}
        own["memory"] = problem["memory"][:places, b : b + 1]
        own["dattention"] = problem["dattention"][:steps, b : b + 1, :places]
        for name in ("state", "dstate"):
            parts = tuple(part[:, b : b + 1] for part in as_tuple(problem[name]))
            own[name] = parts if len(parts) > 1 else parts[0]
        alone = run_kernels(decoder, {**own, "memory_lengths": None, "lengths": None})
        for name in ("y", "dx", "contexts"):
            assert_same_bits(name, whole[name][:steps, b : b + 1], alone[name])
            assert not whole[name][steps:, b].any()
        seen = whole["attention"][:, b : b + 1]
        assert_same_bits("attention", seen[:steps, :, :places], alone["attention"])
        assert not seen[steps:].any()
        assert not seen[..., places:].any()
        seen = whole["dmemory"][:, b : b + 1]
        assert_same_bits("dmemory", seen[:places], alone["dmemory"])
        assert not seen[places:].any()
        for name in alone:
            if "state" in name:
                assert_same_bits(name, whole[name][:, b : b + 1], alone[name])


@every_paper
def test_threads_and_layouts_cannot_be_seen(paper, isa, dtype):
    decoder = make_decoder(PAPERS[paper], PAST_VECTORS, dtype)
    problem = draw_problem(decoder, PAST_VECTORS)
    with xr.threads(1):
        alone = run_kernels(decoder, problem)
    turned = {name: np.asfortranarray(problem[name][::-1])[::-1] for name in ROW_BY_ROW}
    with xr.threads(2):
        assert_same_results(run_kernels(decoder, {**problem, **turned}), alone)


@pytest.mark.parametrize("paper", [*PAPERS, "gru-new"])
def test_one_row_in_several_threads_and_in_steps_has_the_same_bits(paper, isa):
    """Threads share its units, and meet before and after each look; a stream walks the
    panels of units back and forth."""
    setting = PAPERS.get(paper, {"cell": "gru", "query": "new"})
    decoder = make_decoder(setting, ONE_WIDE_ROW, "float32")
    problem = draw_problem(decoder, ONE_WIDE_ROW, ragged=False)
    with xr.threads(1):
        expected = run_kernels(decoder, problem)
    for threads in (1, 2, 3):
        with xr.threads(threads):
            assert_same_results(run_kernels(decoder, problem), expected)
            stream = decoder.stream(problem["memory"])
            stream.state = problem["state"]
            found = np.stack([stream.step(x_t) for x_t in problem["x"]])
            assert_same_bits(f"{threads} threads, steps", found, expected["y"])


@pytest.mark.parametrize("setting", FEW_SETTINGS, ids=spell)
def test_calls_streams_and_pieces_have_the_bits_of_the_whole(setting, isa):
    decoder = make_decoder(setting, SMALL, "float32")
    problem = draw_problem(decoder, SMALL, ragged=False)
    problem["memory_lengths"] = np.array([7, 0, 3])
    known = given_to(problem, "memory", "memory_lengths")
    x, state = problem["x"], problem["state"]
    y, last, cache = decoder.forward(x, state=state, **known)
    plain, end = decoder(x, state=state, **known)
    assert_same_bits("call", plain, y)
    first, between = decoder(x[:2], state=state, **known)
    second, end_of_pieces = decoder(x[2:], state=between, **known)
    assert_same_bits("pieces", np.concatenate([first, second]), y)
    stream = decoder.stream(**known)
    stream.state = state
    for t, x_t in enumerate(x):
        assert_same_bits("step", stream.step(x_t), y[t])
        assert_same_bits("look", stream.attention, cache.gates["attention_l0"][t])
    for states in (end, end_of_pieces, stream.state):
        for one, other in zip(as_tuple(states), as_tuple(last), strict=True):
            assert_same_bits("state", one, other)


@every_paper
def test_nan_and_infinity_stay_in_their_rows(paper):
    decoder = make_decoder(PAPERS[paper], SMALL, "float32")
    clean = draw_problem(decoder, SMALL, ragged=False)
    broken = {name: clean[name].copy() for name in ROW_BY_ROW}
    broken["x"][1, 1, 0], broken["memory"][2, 1, 3] = np.inf, np.nan
    broken = {**clean, **broken}
    found, whole = run_kernels(decoder, broken), run_kernels(decoder, clean)
    assert_same_results(found, run_twin(decoder, broken))
    for name in ("y", "attention", "dx", "dmemory", "state 0", "dstate 0"):
        for b in (0, 2):
            assert_same_bits(name, found[name][:, b], whole[name][:, b])
    assert all(np.isnan(found[name][:, 1]).any() for name in ("y", "dx", "dmemory"))


def test_numbers_too_small_to_keep_are_zero(isa):
    """Shares of α and gradients of scores below 2**-100 (contract N6)."""
    decoder = make_decoder({"cell": "gru", "score": "general"}, SMALL, "float32")
    decoder.weight_memory_l0 = 60 * decoder.weight_memory_l0
    problem = draw_problem(decoder, SMALL, ragged=False)
    problem["memory"] *= 8
    found = run_kernels(decoder, problem)
    shares = found["attention"]
    assert_same_results(found, run_twin(decoder, problem))
    assert (shares == 0).any()
    assert shares[shares > 0].min() >= 2.0**-100


def test_gradients_may_be_left_out():
    for setting in PAPERS.values():
        decoder = make_decoder(setting, SMALL)
        problem = draw_problem(decoder, SMALL)
        given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
        y, state, cache = decoder.forward(**given)
        zeros = tuple(np.zeros_like(part) for part in as_tuple(state))
        zeros = zeros if len(zeros) > 1 else zeros[0]
        none = decoder.backward(cache, dattention=problem["dattention"])
        full = decoder.backward(cache, 0 * y, zeros, dattention=problem["dattention"])
        assert_same_bits("dmemory", none.memory, full.memory)
        assert_same_results(none.weights, full.weights)
