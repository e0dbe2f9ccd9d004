"""AttentionDecoder as an object: bad input, copies, streams, caches, files."""

import copy
import pickle

import numpy as np
import pytest
from arrays import same_bits
from decoders import PAPERS, SMALL, draw_problem, given_to, make_decoder
from modules import flat

import exactrnn as xr

T, B, S, I, H, M = (SMALL[letter] for letter in "TBSIHM")


def through_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


every_deep_way = pytest.mark.parametrize("make_copy", [copy.deepcopy, through_pickle])
every_way = pytest.mark.parametrize(
    "make_copy", [copy.copy, copy.deepcopy, through_pickle]
)
every_paper = pytest.mark.parametrize("paper", PAPERS)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def decoder_of(**options):
    return xr.AttentionDecoder("lstm", I, H, M, seed=1, **options)


# Bad input

WRONG_OPTIONS = {
    "cell": ({"cell": "rnn"}, "cell: expected one of 'gru', 'gru_before', 'lstm', "),
    "score": ({"score": "cosine"}, "score: expected one of 'additive', 'general', "),
    "query": (
        {"query": "next"},
        "query: expected one of 'previous', 'new', got 'next'",
    ),
    "width of dot": (
        {"score": "dot"},
        "memory_size: expected H=5 with score='dot', got 6",
    ),
    "units of dot": (
        {"score": "dot", "memory_size": 5, "attention_size": 4},
        "attention_size: expected None with score='dot', got 4",
    ),
    "no units": ({"attention_size": 0}, "attention_size: expected an integer >= 1, "),
    "output": ({"output": "both"}, "output: expected one of 'state', 'concat', got "),
    "context that goes nowhere": (
        {"query": "new"},
        "output: expected 'concat' with query='new', whose context goes nowhere else, "
        "got 'state'",
    ),
    "no selector": ({"selector": 1}, "selector: expected True or False, got 1"),
    "memory": ({"memory_size": -1}, "memory_size: expected an integer >= 1, got -1"),
    "absurd memory": (
        {"memory_size": 2**39},
        "memory_size=549755813888, hidden_size=5: ",
    ),
    "absurd units": (
        {"attention_size": 2**39},
        "memory_size=6, attention_size=549755813888: expected weights of at most ",
    ),
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_a_wrong_option_is_named(name):
    options, message = WRONG_OPTIONS[name]
    given = {"cell": "lstm", "input_size": I, "hidden_size": H, "memory_size": M}
    with pytest.raises((ValueError, TypeError)) as error:
        xr.AttentionDecoder(**{**given, **options})
    assert str(error.value).startswith(message)


WRONG_CALLS = {
    "x": ({"x": zeros(T, B, 4)}, "x: expected [T, B, I=3], got (5, 3, 4)"),
    "x unbatched": ({"x": zeros(T, I)}, "x: expected [T, B, I=3], got (5, 3)"),
    "memory": (
        {"memory": zeros(S, B, 5)},
        "memory: expected [S, B=3, M=6], got (7, 3, 5)",
    ),
    "rows of memory": (
        {"memory": zeros(S, 2, M)},
        "memory: expected [S, B=3, M=6], got (7, 2, 6)",
    ),
    "dtype of memory": (
        {"memory": zeros(S, B, M, dtype="float64")},
        "memory: expected float32, got float64",
    ),
    "no memory": ({"memory": None}, "memory: expected a NumPy array or a CPU array"),
    "state": ({"state": zeros(1, B, H)}, "state: expected the tuple (h, c), got "),
    "width of state": (
        {"state": (zeros(1, B, H), zeros(1, B, 4))},
        "state[1]: expected [L*D=1, B=3, H=5], got (1, 3, 4)",
    ),
    "lengths": ({"lengths": [1, 6, 2]}, "lengths[1]: expected 0..T=5, got 6"),
    "memory lengths": (
        {"memory_lengths": [1, 2, 8]},
        "memory_lengths[2]: expected 0..S=7, got 8",
    ),
    "memory lengths of too few": (
        {"memory_lengths": [1, 2]},
        "memory_lengths: expected [B=3], got (2,)",
    ),
    "memory lengths that are none": (
        {"memory_lengths": [1.0, 2.0, 3.0]},
        "memory_lengths: expected integers, got float64",
    ),
    "negative memory lengths": (
        {"memory_lengths": [-1, 2, 3]},
        "memory_lengths[0]: expected 0..S=7, got -1",
    ),
}


@pytest.mark.parametrize("call", ["__call__", "forward"])
@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_argument_is_named_with_letters_and_numbers(name, call):
    wrong, message = WRONG_CALLS[name]
    given = {"x": zeros(T, B, I), "memory": zeros(S, B, M), **wrong}
    with pytest.raises((ValueError, TypeError)) as error:
        getattr(decoder_of(), call)(**given)
    assert message in str(error.value)


WRONG_GRADIENTS = {
    "nothing": ({"dy": None}, "dy: expected an array because dstate is not given"),
    "dy": ({"dy": zeros(T, B, H + 1)}, "dy: expected [T=5, B=3, H+M=11], got "),
    "dattention": (
        {"dattention": zeros(T, S, B)},
        "dattention: expected [T=5, B=3, S=7], got (5, 7, 3)",
    ),
    "dstate": (
        {"dstate": (zeros(1, 2, H), None)},
        "dstate[0]: expected [L*D=1, B=3, H=5], got (1, 2, 5)",
    ),
    "dtype": (
        {"dy": zeros(T, B, H + M, dtype="float64")},
        "dy: expected float32, got float64",
    ),
    "cache": ({"cache": "mine"}, "cache: expected one made by forward, got 'mine'"),
}


@pytest.mark.parametrize("name", WRONG_GRADIENTS)
def test_a_wrong_gradient_is_named(name):
    wrong, message = WRONG_GRADIENTS[name]
    decoder = decoder_of(output="concat")
    y, _, cache = decoder.forward(zeros(T, B, I), zeros(S, B, M))
    with pytest.raises((ValueError, TypeError)) as error:
        decoder.backward(**{"cache": cache, "dy": y, **wrong})
    assert message in str(error.value)


def test_a_cache_is_of_its_decoder_and_of_its_weights():
    decoder, other = decoder_of(), decoder_of()
    y, _, cache = decoder.forward(zeros(T, B, I), zeros(S, B, M))
    with pytest.raises(ValueError, match="got another layer's"):
        other.backward(cache, y)
    decoder.weight_query_l0 *= 2
    with pytest.raises(ValueError, match="have changed since"):
        decoder.backward(cache, y)


# Nothing to do


@every_paper
@pytest.mark.parametrize("empty", ["T", "B", "S"])
def test_calls_without_steps_rows_or_places(paper, empty):
    sizes = {**SMALL, empty: 0}
    decoder = make_decoder(PAPERS[paper], sizes)
    problem = draw_problem(decoder, sizes, ragged=False)
    given = given_to(problem, "x", "memory", "state")
    y, state, cache = decoder.forward(**given)
    grads = decoder.backward(cache, **given_to(problem, "dy", "dstate", "dattention"))
    assert y.shape == (sizes["T"], sizes["B"], decoder.output_size)
    assert grads.x.shape == problem["x"].shape
    assert grads.memory.shape == problem["memory"].shape
    assert not np.isnan(y).any()
    assert {n: g.shape for n, g in grads.weights.items()} == {
        n: w.shape for n, w in decoder.state_dict().items()
    }
    if empty == "T":
        assert same_bits(flat(state), flat(problem["state"]))
        assert same_bits(flat(grads.state), flat(problem["dstate"]))
    assert same_bits(flat(decoder(**given)), flat((y, state)))


# What the caller has


@every_paper
def test_nothing_of_the_callers_is_kept_or_written(paper):
    decoder = make_decoder(PAPERS[paper], SMALL, "float32")
    problem = draw_problem(decoder, SMALL)
    given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
    before = copy.deepcopy(given)
    _, _, cache = decoder.forward(**given)
    stream = decoder.stream(problem["memory"], problem["memory_lengths"])
    step = copy.deepcopy(stream).step(zeros(B, I))
    back = given_to(problem, "dy", "dstate", "dattention")
    expected = decoder.backward(cache, **back)
    for name in ("x", "memory", "lengths", "memory_lengths"):
        assert same_bits(given[name], before[name])
        given[name][...] = 0
    assert same_bits(flat(decoder.backward(cache, **back)), flat(expected))
    assert same_bits(stream.step(zeros(B, I)), step)


def test_a_cache_shows_what_was_given_and_found():
    decoder = make_decoder(PAPERS["xu"], SMALL)
    problem = draw_problem(decoder, SMALL)
    given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
    y, _, cache = decoder.forward(**given)
    steps = problem["lengths"]
    assert repr(cache) == f"<cache of {decoder!r}, T=5, B=3, S=7>"
    assert cache.layer is decoder
    assert same_bits(cache.memory, problem["memory"])
    assert same_bits(cache.lengths, steps)
    assert same_bits(cache.memory_lengths, problem["memory_lengths"])
    assert same_bits(cache.x[: steps[0], 0], problem["x"][: steps[0], 0])
    assert same_bits(cache.contexts, y[..., H:])
    gates = ["attention_l0", "selector_l0", "i_l0", "f_l0", "g_l0", "o_l0"]
    assert sorted(cache.gates) == sorted(gates)
    assert cache.gates["selector_l0"].shape == (T, B)
    assert same_bits(cache.states["h_l0"][: steps[0], 0], y[: steps[0], 0, :H])
    shown = [cache.x, cache.memory, cache.contexts, *cache.gates.values()]
    assert not any(array.flags.writeable for array in shown)


# Copies


@every_deep_way
@every_paper
def test_a_cache_is_copied_with_its_decoder(paper, make_copy):
    decoder = make_decoder(PAPERS[paper], SMALL)
    problem = draw_problem(decoder, SMALL)
    given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
    back = given_to(problem, "dy", "dstate", "dattention")
    _, _, cache = decoder.forward(**given)
    twin, copied = make_copy((decoder, cache))
    expected = flat(decoder.backward(cache, **back))
    assert same_bits(flat(twin.backward(copied, **back)), expected)
    assert same_bits(flat(decoder.backward(copy.copy(cache), **back)), expected)
    with pytest.raises(ValueError, match="expected one made by this layer"):
        decoder.backward(copied, **back)
    decoder.bias_hh_l0 += 1
    twin, copied = make_copy((decoder, cache))
    with pytest.raises(ValueError, match="have changed since"):
        twin.backward(copied, **back)


@every_way
@every_paper
def test_a_copied_stream_goes_on_by_itself(paper, make_copy):
    decoder = make_decoder(PAPERS[paper], SMALL)
    problem = draw_problem(decoder, SMALL, ragged=False)
    stream = decoder.stream(problem["memory"], [7, 0, 3])
    stream.step(problem["x"][0])
    twin = make_copy(stream)
    assert (type(twin), repr(twin)) == (type(stream), repr(stream))
    assert same_bits(twin.attention, stream.attention)
    expected = twin.step(problem["x"][1])
    assert same_bits(stream.step(problem["x"][1]), expected)
    assert same_bits(flat(stream.state), flat(twin.state))


# Streams


def test_a_stream_sees_new_weights_and_instruction_sets_at_the_next_step():
    decoder = decoder_of()
    memory, x = draw_problem(decoder, SMALL, ragged=False)["memory"], zeros(B, I)
    stream = decoder.stream(memory)
    first = stream.step(x)
    decoder.weight_memory_l0 *= 3
    stream.reset()
    changed = stream.step(x)
    assert not same_bits(changed, first)
    assert same_bits(changed, decoder.stream(memory).step(x))
    for isa in xr.isas():
        with xr.use_isa(isa):
            stream.reset()
            assert same_bits(stream.step(x), changed)


def test_a_stream_keeps_state_and_attention_when_the_weights_change():
    decoder = decoder_of()
    memory = draw_problem(decoder, SMALL, ragged=False)["memory"]
    stream = decoder.stream(memory)
    stream.step(zeros(B, I) + 1)
    state, looked = flat(stream.state), stream.attention
    decoder.weight_hh_l0 *= 2
    other = decoder.stream(memory)
    other.state = stream.state
    with pytest.raises(ValueError, match="x: expected"):
        stream.step(zeros(B, I + 1))
    assert same_bits([*flat(stream.state), stream.attention], [*state, looked])
    assert same_bits(stream.step(zeros(B, I)), other.step(zeros(B, I)))


def test_a_step_takes_every_layout_and_leaves_the_input():
    decoder = decoder_of()
    stream = decoder.stream(zeros(S, B, M) + 1)
    x = zeros(B, I)
    x[...] = np.arange(B * I).reshape(B, I)
    first, given = stream.step(x), x.copy()
    for same in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], memoryview(x)):
        stream.reset()
        assert same_bits(stream.step(same), first)
    assert same_bits(x, given)


def test_rows_of_a_stream_go_together():
    """Each has a memory of its own, which no other row could look at."""
    stepper = decoder_of().stream(zeros(S, B, M))._stepper
    with pytest.raises(TypeError, match="rows: expected None"):
        stepper.step_rows(zeros(1, I), None, np.array([1]))


def test_a_stream_starts_again():
    decoder = decoder_of()
    stream = decoder.stream(zeros(S, B, M) + 1)
    assert repr(stream) == f"<stream of {decoder!r}, B=3, S=7>"
    first = stream.step(zeros(B, I) + 1)
    stream.step(zeros(B, I) + 1)
    stream.reset()
    assert not stream.attention.any()
    assert not any(part.any() for part in stream.state)
    assert same_bits(stream.step(zeros(B, I) + 1), first)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.step(zeros(B, 4)), r"x: expected \[B=3, I=3\], got \(3, 4\)"),
        (lambda s: s.step(zeros(B, I, dtype="f8")), "x: expected float32, got float64"),
        (lambda s: setattr(s, "state", None), "state: expected an array or a tuple"),
        (lambda s: setattr(s, "state", zeros(1, B, H)), r"state: expected the tuple"),
    ],
)
def test_a_stream_refuses_what_does_not_fit_and_stays_as_it_was(call, message):
    stream = decoder_of().stream(zeros(S, B, M))
    stream.step(zeros(B, I) + 1)
    before = flat(stream.state)
    with pytest.raises((ValueError, TypeError), match=message):
        call(stream)
    assert same_bits(flat(stream.state), before)


def test_a_stream_belongs_to_one_thread_at_a_time():
    stream = decoder_of().stream(zeros(S, B, M))
    with (
        stream._stepper,
        pytest.raises(RuntimeError, match="in use by another thread"),
    ):
        stream.step(zeros(B, I))


def test_a_memory_of_a_stream_is_checked():
    with pytest.raises(ValueError, match=r"memory: expected \[S, B, M=6\], got"):
        decoder_of().stream(zeros(S, B, 5))
    with pytest.raises(ValueError, match=r"memory_lengths\[0\]: expected 0..S=7"):
        decoder_of().stream(zeros(S, B, M), [9, 1, 1])
