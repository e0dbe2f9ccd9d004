"""Threads that hand over work in the middle of a call, at every chance: the bits stay.

Whoever has an item lays it down wherever it can be handed on, and another thread goes
on with it; each phase begins with other shares (`_core.exchanging`). That they did so
is counted: a call in which nothing changes hands is no test.
"""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from bits import (
    as_tuple,
    assert_same_bits,
    assert_same_results,
    collect,
    random_array,
    random_problem,
    to_bytes,
)
from decoders import FEW_SETTINGS, SMALL, draw_problem, make_decoder, run_kernels, spell
from exchanging import every_hand_over, exchanged_result, moves_of
from grids import make_grid, random_borders, random_sides, run_kernel
from interrupted_calls import GRIDS
from layer_kinds import KINDS, make_kind
from variants import HELPERS

import exactrnn as xr
from exactrnn._run.dropout import NOTHING
from exactrnn._run.foreign import ForeignStack
from exactrnn._run.protocol import Call
from exactrnn._run.stack import Wanted

I, THREADS = 5, 3
# T, B, H, directions. Few rows, some of which end early; rows that take x along with h,
# more than two tiles of them; lanes of units; several chunks of the weights' gradients.
WAYS = {
    "rows": (9, 5, 37, 1),
    "many rows": (4, 61, 37, 1),
    "directions": (7, 1, 37, 2),
    "rows and directions": (6, 2, 37, 2),
    "units": (5, 1, 200, 1),
    "chunks": (3, 230, 17, 2),
}
LENGTHS = {"rows": [9, 4, 0, 7, 9], "rows and directions": [3, 6]}
RUNS = {"f32-2threads": ("float32", 2), "f64-3threads": ("float64", 3)}
DEFINED = {"mgu": xr.cells.MGU, "slstm": xr.cells.SLSTM, "sru": xr.cells.SRU}
NORMED = {"lstm-normed": xr.LSTM, "gru-normed": xr.GRU}

every_run = pytest.mark.parametrize(("dtype", "threads"), RUNS.values(), ids=RUNS)


def make_layer(kind, way, dtype):
    """Return a layer, and a problem for it that is split in this way."""
    T, B, H, directions = WAYS[way]
    options = {"bidirectional": directions == 2, "dtype": dtype, "seed": 1}
    if kind in DEFINED:
        layer = xr.Layer(DEFINED[kind], I, H, **options)
    elif kind in NORMED:
        layer = NORMED[kind](I, H, layer_norm=True, **options)
    else:
        layer = make_kind(kind, I, H, **options)
    return layer, random_problem(layer, T, B, LENGTHS.get(way), seed=2)


def calls_of(layer, problem):
    """Return calls by name: forward, with a cache and without, and all ways back."""
    dy, dstate = problem["dy"], problem["dstate"]
    given = {name: problem[name] for name in ("x", "state", "lengths")}
    y, final, cache = layer.forward(**given)

    def forward():
        y, final, cache = layer.forward(**given, gates=True)
        return y, as_tuple(final), tuple(cache.gates.values())

    def back():
        return collect(y, final, layer.backward(cache, dy, dstate), {})

    stack, run = kept_run(layer, y, **given)

    def without(x, weights):
        wanted = Wanted(x, weights)
        return lambda: as_bytes(stack.run_back(run, dy, None, wanted=wanted))

    return {
        "infer": lambda: to_bytes(tuple(map(as_tuple, layer(**given)))),
        "forward": lambda: to_bytes(forward()),
        "back": back,
        "back without dx": without(x=False, weights=True),
        "back without weights": without(x=True, weights=False),
    }


def kept_run(layer, y, x, state, lengths):
    """Return a stack with a layer's weights and a run that gave y: it goes back to what
    is wanted of the gradients.
    """
    stack = ForeignStack(layer._spec, xr.get_num_threads)
    with stack.store.edit() as own:
        for name, weight in layer.state_dict().items():
            own[name][...] = weight
    begin, clock = (state[:1], state[1]) if layer.counts_steps else (state, None)
    again = np.empty_like(y)
    given = Call(
        x, as_tuple(begin), np.asarray(lengths or [len(x)] * x.shape[1]), clock
    )
    _, run = stack.keep(given, again, NOTHING)
    assert_same_bits("y", again, y)
    return stack, run


def as_bytes(gradients):
    """Return those of the input, the states and the weights as bytes."""
    dx, dstate, dweights = gradients
    return to_bytes((dx, as_tuple(dstate), tuple(dweights.values())))


def same_as(expected):
    """Return a function that compares a result, arrays by name or bytes."""

    def check(result):
        if isinstance(expected, dict):
            assert_same_results(result, expected)
        else:
            assert result == expected

    return check


def compare(make_calls, threads, *, handed_on, split="by units"):
    """Compare calls by name with what one thread makes of them.

    They are made anew: a cache goes back in as many threads as it was made.
    """
    with xr.threads(1):
        expected = {name: call() for name, call in make_calls().items()}
    with every_hand_over(threads, split):
        for name, call in make_calls().items():
            exchanged_result(call, same_as(expected[name]), handed_on=handed_on)


@every_run
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*KINDS, *DEFINED, *NORMED])
def test_layers_keep_their_bits_at_every_hand_over(kind, way, dtype, threads):
    layer, problem = make_layer(kind, way, dtype)
    split = "by units" if way == "units" else "by rows"
    make_calls = partial(calls_of, layer, problem)
    compare(make_calls, threads, handed_on=way != "units", split=split)


@every_run
@pytest.mark.parametrize("way", ["rows", "directions", "units"])
@pytest.mark.parametrize("kind", ["lstm", "gru_before", "jordan"])
def test_masks_keep_their_bits_at_every_hand_over(kind, way, dtype, threads):
    T, B, H, directions = WAYS[way]
    options = {"bidirectional": directions == 2, "dtype": dtype, "seed": 1}
    options |= {"zoneout": 0.3, "recurrent_dropout": 0.2}
    x = random_array(np.random.default_rng(4), (T, B, I), dtype)

    def run():
        layer = make_kind(kind, I, H, **options)  # each draws the same masks
        y, final, cache = layer.forward(x)
        return collect(y, final, layer.backward(cache, y), {})

    split = "by units" if way == "units" else "by rows"
    compare(lambda: {"all": run}, threads, handed_on=way != "units", split=split)


@every_run
@pytest.mark.parametrize(("T", "B"), [(171, 3), (22, 48)])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_rows_that_repeat_keep_their_bits_at_every_hand_over(
    kind, T, B, dtype, threads
):
    """Their products with W are taken once for each item, before or with those of h."""
    layer = make_kind(kind, 16, 37, dtype=dtype, seed=1)
    rng = np.random.default_rng(5)
    x = random_array(rng, (7, 16), dtype)[rng.integers(0, 7, (T, B))]
    call = {"infer": lambda: to_bytes(layer(x))}
    compare(lambda: call, threads, handed_on=True, split="by rows")


STREAM_WAYS = {"rows": (700, 17), "units": (1, 200)}
"""Rows and units of a stream, whose steps have few phases: other shares are enough."""


@every_run
@pytest.mark.parametrize("way", STREAM_WAYS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "lstm-proj", "clockwork"])
def test_streams_keep_their_bits_when_shares_change_hands(kind, way, dtype, threads):
    B, H = STREAM_WAYS[way]
    layer = make_kind(kind, I, H, dtype=dtype, seed=1)
    x = random_array(np.random.default_rng(3), (4, B, I), dtype)

    def steps():
        stream = layer.stream(B)
        return to_bytes(tuple(stream.step(part).copy() for part in x))

    compare(lambda: {"steps": steps}, threads, handed_on=False)


@every_run
@pytest.mark.parametrize("B", [1, 4])
@pytest.mark.parametrize("name", [*GRIDS, "2d-inputs"])
def test_grids_keep_their_bits_when_shares_change_hands(name, B, dtype, threads):
    """One row of a batch is shared point by point, in wavefronts."""
    options = dict(GRIDS.get(name, {"sizes": (2, 4), "kinds": ("lstm", "relu")}))
    if "lengths" in options:
        lengths = options["lengths"]
        options["lengths"] = np.resize(lengths, (B, lengths.shape[1]))
    grid = make_grid(H=18, dtype=dtype, **options)
    rng = np.random.default_rng(1)
    borders, dends = (random_borders(rng, grid, B) for _ in range(2))
    sides = random_sides(rng, grid, B, (7, 33)) if name == "2d-inputs" else ()

    def run(threads):
        given = (grid, borders, dends, xr.isa(), threads)
        return run_kernel(*given, sides=sides)

    expected = run(1)
    with every_hand_over(threads):
        exchanged_result(lambda: run(threads), same_as(expected), handed_on=False)


@every_run
@pytest.mark.parametrize("depth", ["lstm", "tanh"])
def test_time_and_depth_keep_their_bits_when_shares_change_hands(depth, dtype, threads):
    layer = xr.TimeDepthGridLSTM(I, 18, 2, depth=depth, dtype=dtype, seed=1)
    x = random_array(np.random.default_rng(1), (6, 5, I), dtype)

    def run():
        y, final, cache = layer.forward(x)
        return collect(y, final, layer.backward(cache, y), {})

    compare(lambda: {"whole": run}, threads, handed_on=False)


@every_run
@pytest.mark.parametrize("setting", FEW_SETTINGS, ids=spell)
@pytest.mark.parametrize("B", [2, 5])
def test_decoders_keep_their_bits_at_every_hand_over(setting, B, dtype, threads):
    sizes = {**SMALL, "B": B, "H": 17, "M": 18, "A": 19, "S": 9}
    decoder = make_decoder(setting, sizes, dtype)
    problem = draw_problem(decoder, sizes)
    call = {"whole": lambda: run_kernels(decoder, problem)}
    compare(lambda: call, threads, handed_on=True, split="by rows")


@every_run
def test_dense_layers_keep_their_bits_when_shares_change_hands(dtype, threads):
    rng = np.random.default_rng(2)
    x, dy = (random_array(rng, (600, n), dtype) for n in (33, 90))
    target = rng.integers(0, 90, 600)
    linear = xr.train.Linear(33, 90, dtype=dtype, seed=1)
    embedding = xr.train.Embedding(90, 33, dtype=dtype, seed=1)
    _, rows = linear.forward(x)
    _, lookup = embedding.forward(target)
    logits, labels = dy.reshape(100, 6, 90), rng.integers(1, 90, (6, 20))

    def linear_back():
        gradients = linear.backward(rows, dy)
        return {"dx": gradients.x, **gradients.weights}

    calls = {
        "linear": lambda: {"y": linear(x)},
        "linear, back": linear_back,
        "embedding, back": lambda: dict(embedding.backward(lookup, x).weights),
        "softmax": lambda: to_bytes(xr.train.softmax_cross_entropy(dy, target)),
        "ctc": lambda: to_bytes(xr.train.ctc_loss(logits, labels)),
    }
    compare(lambda: calls, threads, handed_on=False)


def test_nothing_changes_hands_in_one_thread():
    layer, problem = make_layer("lstm", "rows", "float32")
    with every_hand_over(1):
        for call in calls_of(layer, problem).values():
            _, moves = moves_of(call)
            assert moves == (0, 0)


STRESS = {"exchanged": 20, "left to chance": 40}
"""Seconds; where calls are left to chance, few items are handed on."""


@pytest.mark.deep
@pytest.mark.parametrize("way", STRESS)
def test_threads_that_call_and_change_everything_keep_their_bits(way):
    answer = subprocess.run(
        [sys.executable, str(HELPERS / "stressed.py"), str(STRESS[way]), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert answer.returncode == 0, answer.stderr
    calls, taken_over, handed_on = json.loads(answer.stdout)
    assert calls > 50
    assert taken_over > 50
    assert handed_on > (1000 if way == "exchanged" else 0)
